//! QuantizeLinear on whole vectors. tract rounds number by number; here rounding is a sum, and the bits are the same (but for
//! numbers beyond 2^31 steps, which overflow in tract and saturate here).

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_hir::tract_core::ops::quant::{QuantizeLinearI8, QuantizeLinearU8};

/// Exchanges the QuantizeLinear ops of a model that is not going to be rewritten any more.
pub(super) fn exchange(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        let node = model.node(id);
        let Some(op) = node.op_as::<ElementWiseOp>() else { continue };
        let quantize = if let Some(op) = op.0.downcast_ref::<QuantizeLinearU8>() {
            Quantize { inverse: op.scale, zero: i32::from(op.zero_point), signed: false }
        } else if let Some(op) = op.0.downcast_ref::<QuantizeLinearI8>() {
            Quantize { inverse: op.scale, zero: i32::from(op.zero_point), signed: true }
        } else {
            continue;
        };
        let read = model.outlet_fact(model.node(id).inputs[0])?.datum_type;
        let made = model.outlet_fact(id.into())?.datum_type;
        if read == f32::datum_type() && made == quantize.stored() {
            model.node_mut(id).op = Box::new(quantize);
        }
    }
    Ok(())
}

/// `saturate(round(x * inverse) + zero)`, ties to even.
#[derive(Clone, Debug, PartialEq)]
struct Quantize {
    inverse: f32,
    zero: i32,
    signed: bool,
}

impl Eq for Quantize {}

impl Quantize {
    fn stored(&self) -> DatumType {
        if self.signed { i8::datum_type() } else { u8::datum_type() }
    }

    fn fill<T: Datum + Copy>(&self, input: &Tensor, narrow: impl Fn(i32) -> T) -> TractResult<Tensor> {
        let numbers = input.try_as_plain_ram()?.as_slice::<f32>()?;
        let stored: Vec<T> = numbers.iter().map(|&x| narrow(nearest(x * self.inverse) + self.zero)).collect();
        Tensor::from_shape(input.shape(), &stored)
    }
}

/// The nearest integer, ties to even, held within what no zero point brings back into a byte; 0 for NaN. Adding 1.5 * 2^23
/// leaves no bits behind the point.
fn nearest(x: f32) -> i32 {
    const SHIFT: f32 = 12_582_912.0;
    ((x.clamp(-1024.0, 1024.0) + SHIFT) - SHIFT) as i32
}

impl Op for Quantize {
    fn name(&self) -> StaticName {
        "Quantize".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Quantize {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let output = if self.signed {
            self.fill(&inputs[0], |q| q.clamp(-128, 127) as i8)?
        } else {
            self.fill(&inputs[0], |q| q.clamp(0, 255) as u8)?
        };
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Quantize {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(self.stored().fact(inputs[0].shape.clone())))
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::tract_hir::tract_core::ops::quant::{quantize_linear_f32_i8, quantize_linear_f32_u8};

    use super::*;

    #[test]
    fn bits_are_those_of_tract() {
        let near = (-3000..3000).map(|i| i as f32 * 0.125);
        let odd = [f32::NAN, -1e6, -0.0, 1e6, 1024.5];
        let numbers: Vec<f32> = near.chain(odd).collect();
        let input = Tensor::from_shape(&[numbers.len()], &numbers).unwrap();
        for (zero, inverse) in [(0, 1.0), (128, 1.0), (7, 3.3), (255, 0.1)] {
            let ours = Quantize { inverse, zero, signed: false };
            let ours = ours.fill(&input, |q| q.clamp(0, 255) as u8).unwrap();
            let theirs: Vec<u8> = numbers.iter().map(|&x| quantize_linear_f32_u8(x, inverse, zero)).collect();
            assert_eq!(ours.try_as_plain_ram().unwrap().as_slice::<u8>().unwrap(), theirs);
            let zero = zero - 128;
            let ours = Quantize { inverse, zero, signed: true }.fill(&input, |q| q.clamp(-128, 127) as i8).unwrap();
            let theirs: Vec<i8> = numbers.iter().map(|&x| quantize_linear_f32_i8(x, inverse, zero)).collect();
            assert_eq!(ours.try_as_plain_ram().unwrap().as_slice::<i8>().unwrap(), theirs);
        }
    }
}
