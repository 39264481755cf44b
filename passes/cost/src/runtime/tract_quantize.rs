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

    fn fill(&self, input: &Tensor) -> TractResult<Tensor> {
        let numbers = input.try_as_plain_ram()?.as_slice::<f32>()?;
        let (low, high) = if self.signed { (-128, 127) } else { (0, 255) };
        let (low, high) = ((low - self.zero) as f32, (high - self.zero) as f32);
        let (inverse, zero) = (self.inverse, self.zero as u8);
        let byte = |x: &f32| low_byte(x * inverse, low, high).wrapping_add(zero);
        if self.signed {
            Tensor::from_shape(input.shape(), &numbers.iter().map(|x| byte(x) as i8).collect::<Vec<i8>>())
        } else {
            Tensor::from_shape(input.shape(), &numbers.iter().map(byte).collect::<Vec<u8>>())
        }
    }
}

/// The last eight bits of the nearest integer, ties to even, of a number held within bounds of at most 2^22; 0 for NaN. Added to
/// 1.5 * 2^23, the integer is what the last bits of the sum say. Not `clamp`, which looks at its bounds for every number.
fn low_byte(x: f32, low: f32, high: f32) -> u8 {
    const SHIFT: f32 = 12_582_912.0;
    let x = if x.is_nan() { 0.0 } else { x };
    (x.max(low).min(high) + SHIFT).to_bits() as u8
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
        let output = self.fill(&inputs[0])?;
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
            let ours = ours.fill(&input).unwrap();
            let theirs: Vec<u8> = numbers.iter().map(|&x| quantize_linear_f32_u8(x, inverse, zero)).collect();
            assert_eq!(ours.try_as_plain_ram().unwrap().as_slice::<u8>().unwrap(), theirs);
            let zero = zero - 128;
            let ours = Quantize { inverse, zero, signed: true }.fill(&input).unwrap();
            let theirs: Vec<i8> = numbers.iter().map(|&x| quantize_linear_f32_i8(x, inverse, zero)).collect();
            assert_eq!(ours.try_as_plain_ram().unwrap().as_slice::<i8>().unwrap(), theirs);
        }
    }
}
