//! Products that change nothing but the scale, and sums that change nothing but the zero point: the stored numbers stay, what they
//! stand for does not.
//!
//! ```text
//! %h = onnx.Mul %s, %sixth : qu8(1/255, 0)        where %s : qu8(6/255, 0)
//! %t = onnx.Add %x, %three : qu8(0.05, 68)        where %x : qu8(0.05, 128)
//! ```
//!
//! `c * scale * (stored - zero)` is `(c * scale) * (stored - zero)`, and `scale * (stored - zero) + n * scale` is `scale * (stored -
//! (zero - n))`: readers of the result may take the operand's bytes and read them so. The writers of quantized graphs write such ops
//! as nothing, and `lift-qdq` reads them back.

use std::sync::Arc;

use spaceevo_ir::{Elem, Graph, OpId, Quant, Tensor, TensorType, ValueId, interp};

use crate::analysis::constant_side;
use crate::quantize::placement::unfit;

/// Largest relative difference of scales that moves no stored number: below half a step at 2^16 steps, and as far apart as
/// singles lie that were rounded two or three times on their way.
const TOLERANCE: f64 = 1e-6;

/// True when both steps are the same up to how they were computed.
pub(crate) fn same_scale(a: f32, b: f32) -> bool {
    (f64::from(a) - f64::from(b)).abs() <= TOLERANCE * f64::from(a.min(b))
}

/// The operand whose stored numbers the result of a Mul or an Add has: the other operand is one constant. Of a Mul it is positive, and
/// the scales differ by it; of an Add it is whole steps, and the zero points differ by them. All else is the same.
pub(crate) fn rescaled(graph: &Graph, op: OpId) -> Option<ValueId> {
    let (is_product, is_sum) = (graph.op(op).name().is_onnx("Mul"), graph.op(op).name().is_onnx("Add"));
    if !(is_product || is_sum) || unfit(graph, op).is_some() {
        return None;
    }
    let (input, constant, _) = constant_side(graph, op)?;
    let quant = |value: ValueId| graph.value(value).ty().quant().filter(|q| q.axis.is_none());
    let (from, to): (&Quant, &Quant) = (quant(input)?, quant(graph.op(op).result())?);
    let constant_number = number(graph, constant)?;
    // One number of higher rank would raise the rank of the result.
    let rank = |value: ValueId| graph.value(value).ty().rank();
    let keeps_shape = rank(constant) == Some(0) || rank(constant).zip(rank(input)).is_some_and(|(c, x)| c <= x);
    let same = from.store == to.store && from.store.bits() <= 16 && keeps_shape;
    let ((scale, zero), (to_scale, to_zero)) = (from.at(0), to.at(0));
    let fits = if is_product {
        // Scales are positive: only a positive number brings one to another.
        zero == to_zero && same_scale(scale * constant_number, to_scale)
    } else {
        let moved = i64::from(zero) - i64::from(to_zero);
        same_scale(scale, to_scale) && whole_steps(constant_number, scale) == Some(moved)
    };
    (same && fits).then_some(input)
}

/// How many steps of a scale a number is, if it is a whole count of them up to how scales are rounded.
pub(crate) fn whole_steps(number: f32, scale: f32) -> Option<i64> {
    let steps = f64::from(number) / f64::from(scale);
    let whole = steps.round();
    ((steps - whole).abs() <= 1e-4 && whole.abs() <= f64::from(1 << 16)).then_some(whole as i64)
}

/// The real number that a constant of one element stands for.
pub(crate) fn number(graph: &Graph, constant: ValueId) -> Option<f32> {
    let tensor = graph.const_of(constant).filter(|t| t.len() == 1)?;
    match graph.value(constant).ty().quant() {
        Some(quant) => interp::dequantize(tensor, quant).ok()?.to_f32()?.first().copied(),
        None => tensor.to_f32()?.first().copied(),
    }
}

/// A stored constant of one number, which it stands for exactly: one step above or below zero.
pub(crate) fn one_step(graph: &mut Graph, op: OpId, name: String, number: f32, store: Elem) -> ValueId {
    let (stored, zero) = match number {
        n if n > 0.0 => (1.0, 0),
        n if n < 0.0 => (0.0, 1),
        _ => (0.0, 0),
    };
    let scale = if number == 0.0 { 1.0 } else { number.abs() };
    // Types of the target's activations always pack.
    let tensor = Tensor::from_f64(store, Vec::new(), &[stored]).unwrap_or_else(|| Tensor::scalar(0u8));
    let ty = TensorType { quant: Some(Arc::new(Quant::per_tensor(store, scale, zero))), ..TensorType::of(Elem::F32, &[]) };
    let region = graph.op(op).region();
    graph.add_typed_const(region, name, tensor, ty)
}

#[cfg(test)]
mod tests {
    use spaceevo_ir::text::{NoBlobs, parse};

    use super::rescaled;

    /// Whether a Mul of `operand` by `constant` with such a result keeps its bytes.
    fn keeps(operand: &str, constant: &str, result: &str) -> bool {
        keeps_in("Mul", operand, constant, result)
    }

    fn keeps_in(name: &str, operand: &str, constant: &str, result: &str) -> bool {
        let text = format!(
            "graph @main(%x: {operand}) with {{opset = 17}} {{\n  %c = const {constant}\n  %y = onnx.{name} %c, %x : {result}\n  \
             return %y\n}}\n"
        );
        let graph = parse(&text, "-", &NoBlobs).into_result().unwrap_or_else(|e| panic!("{text}{e:?}"));
        let op = graph.all_ops()[0];
        rescaled(&graph, op).inspect(|&x| assert_eq!(graph.op(op).operand(1), Some(x))).is_some()
    }

    #[test]
    fn bytes_stay_where_only_the_scale_differs() {
        assert!(keeps("qu8(0.06, 7)[2]", "1 : qu8(0.5, 0)[]", "qu8(0.03, 7)[2]"));
        assert!(keeps("qu8(0.06, 7)[2]", "[4] : qu8(0.25, 2)[1]", "qu8(0.03, 7)[2]"));
        assert!(keeps("qi8(0.06, -128)[2]", "0.5 : f32[]", "qi8(0.03, -128)[2]"));
        // A single apart, and two hundred.
        assert!(keeps("qu8(0.06, 7)[2]", "1 : qu8(0.5, 0)[]", "qu8(0.030000001, 7)[2]"));
        assert!(!keeps("qu8(0.06, 7)[2]", "1 : qu8(0.5, 0)[]", "qu8(0.0300004, 7)[2]"));
    }

    #[test]
    fn bytes_stay_where_whole_steps_are_added() {
        let keeps = |operand, constant, result| keeps_in("Add", operand, constant, result);
        assert!(keeps("qu8(0.05, 128)[2]", "1 : qu8(3.0, 0)[]", "qu8(0.05, 68)[2]"));
        assert!(keeps("qi8(0.05, 0)[2]", "-3.0 : f32[]", "qi8(0.05, 60)[2]"));
        assert!(!keeps("qu8(0.05, 128)[2]", "1 : qu8(3.0, 0)[]", "qu8(0.05, 67)[2]"));
        assert!(!keeps("qu8(0.05, 128)[2]", "1 : qu8(3.0, 0)[]", "qu8(0.06, 68)[2]"));
        assert!(!keeps("qu8(0.05, 128)[2]", "3.02 : f32[]", "qu8(0.05, 68)[2]"));
    }

    #[test]
    fn everything_else_is_a_product() {
        assert!(!keeps("qu8(0.06, 7)[2]", "1 : qu8(0.5, 0)[]", "qu8(0.03, 8)[2]"));
        assert!(!keeps("qu8(0.06, 7)[2]", "1 : qu8(0.5, 0)[]", "qi8(0.03, 7)[2]"));
        assert!(!keeps("qu8(0.06, 7)[2]", "0 : qu8(0.5, 1)[]", "qu8(0.03, 7)[2]"));
        assert!(!keeps("qu8(0.06, 7)[2]", "0 : qu8(0.5, 0)[]", "qu8(0.03, 7)[2]"));
        assert!(!keeps("qu8(0.06, 7)[2]", "[1, 1] : qu8(0.5, 0)[2]", "qu8(0.03, 7)[2]"));
        assert!(!keeps("qu8(0.06, 7)[2]", "[[1]] : qu8(0.5, 0)[1,1]", "qu8(0.03, 7)[1,2]"));
        assert!(!keeps("f32[2]", "1 : qu8(0.5, 0)[]", "qu8(0.03, 7)[2]"));
        assert!(!keeps("qu8(0.06, 7)[2]", "1 : qu8(0.5, 0)[]", "f32[2]"));
        assert!(!keeps("qu8(axis 0, [0.06, 0.06], 7)[2]", "1 : qu8(0.5, 0)[]", "qu8(0.03, 7)[2]"));
    }
}
