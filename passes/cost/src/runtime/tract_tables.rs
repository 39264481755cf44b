//! Keeps tract from a wrong rewrite of QDQ models. It replaces what lies between DequantizeLinear and QuantizeLinear by a
//! table of 256 bytes, and takes any op for elementwise whose axes come out as they went in: Softmax and Pad among them. Its
//! table also takes the input to be of the output's type. Where either would happen, the DequantizeLinear is written out as
//! Cast, Sub and Mul, which compute the same bits and start no table.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_hir::tract_core::ops::math::{mul, sub};
use tract_onnx::tract_hir::tract_core::ops::quant::DequantizeLinearF32;

/// Writes out the DequantizeLinear ops that tract's optimizer would begin a wrong table at.
pub(super) fn prevent(model: &mut TypedModel) -> TractResult<()> {
    let dequants: Vec<usize> = model.nodes().iter().filter(|n| n.op_is::<DequantizeLinearF32>()).map(|n| n.id).collect();
    for id in dequants {
        if !misleads(model, id)? {
            continue;
        }
        let node = model.node(id);
        let Some(op) = node.op_as::<DequantizeLinearF32>() else { continue };
        let (zero, scale) = (tensor0(op.zero_point as f32), tensor0(op.scale));
        let rank = model.outlet_fact(node.inputs[0])?.rank();
        let mut patch = TypedModelPatch::default();
        let stored = patch.tap_model(model, node.inputs[0])?;
        let zero = patch.add_const(format!("{}.zero", node.name), zero.broadcast_into_rank(rank)?)?;
        let scale = patch.add_const(format!("{}.scale", node.name), scale.broadcast_into_rank(rank)?)?;
        let wide = patch.wire_node(format!("{}.cast", node.name), cast(f32::datum_type()), &[stored])?;
        let centred = patch.wire_node(format!("{}.sub", node.name), sub(), &[wide[0], zero])?;
        let real = patch.wire_node(&node.name, mul(), &[centred[0], scale])?;
        patch.shunt_outside(model, id.into(), real[0])?;
        patch.apply(model)?;
    }
    Ok(())
}

/// True when the only path from this DequantizeLinear leads to another kind of byte, or through an op that is not elementwise
/// but whose axes look so.
fn misleads(model: &TypedModel, dequant: usize) -> TractResult<bool> {
    let stored = model.node_input_facts(dequant)?[0].datum_type;
    let mut at = dequant;
    while let Some(next) = model.single_succ(at)? {
        let (inputs, outputs) = model.node_facts(next.id)?;
        if next.op_is::<ElementWiseOp>() {
            let made = outputs[0].datum_type;
            if made.size_of() == 1 {
                return Ok(made != stored);
            }
        } else if next.op.axes_mapping(&inputs, &outputs)?.is_element_wise_unary() {
            return Ok(true);
        } else if inputs.iter().filter(|fact| fact.konst.is_none()).count() != 1 {
            return Ok(false);
        }
        at = next.id;
    }
    Ok(false)
}
