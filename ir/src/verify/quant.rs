//! Quantized types: each by itself, and the law of biases.

use crate::graph::{Graph, OpId, ValueId};
use crate::types::{Elem, Quant, TensorType, Type};
use crate::verify::Checker;

/// Largest relative difference between a bias's scale and the product it stands for: products are rounded to singles once
/// or twice on their way through a file.
const TOLERANCE: f64 = 1e-6;

impl Checker<'_> {
    /// Every tensor type inside a type.
    pub(super) fn quantized_types(&mut self, value: ValueId, ty: &Type) {
        let mut at = ty;
        let tensor = loop {
            match at {
                Type::Tensor(t) | Type::Sparse(t) => break t,
                Type::Sequence(inner) | Type::Optional(inner) | Type::Map(_, inner) => at = inner,
                Type::Unknown => return,
            }
        };
        if let Some(fault) = tensor.quant.as_ref().and_then(|quant| fault(quant, tensor)) {
            self.at_value(value, "quant-type", fault);
        }
    }

    /// The 32-bit bias of a convolution or product is added to sums of products: it must be in their unit.
    pub(super) fn bias_scale(&mut self, id: OpId) {
        let bias = self.graph.op(id).operand(2).and_then(|b| self.graph.value(b).ty().quant());
        if let Some((fault, note)) = bias.and_then(|bias| bias_scale_fault(self.graph, id, bias)) {
            self.push(id, "quant-scale-mismatch", fault, note);
        }
    }
}

/// What forbids that `op` has a bias of type `bias`, with what to do about it: 32-bit integers that are added to sums of
/// products must be in their unit. `None` for all other ops and types, and where input or weight are not quantized.
pub fn bias_scale_fault(graph: &Graph, op: OpId, bias: &Quant) -> Option<(String, Option<String>)> {
    let op = graph.op(op);
    if !["Conv", "ConvTranspose", "Gemm"].iter().any(|name| op.name().is_onnx(name)) {
        return None;
    }
    let quant = |index| graph.value(op.operand(index)?).ty().quant();
    let (x, w) = (quant(0)?, quant(1)?);
    if bias.store != Elem::I32 || x.scale.len() != 1 || w.scale.is_empty() || bias.scale.is_empty() {
        return None;
    }
    if bias.zero.iter().any(|&zero| zero != 0) {
        return Some(("the zero point of the bias must be 0".into(), None));
    }
    let (some, many) = (w.scale.len(), bias.scale.len());
    if some != many && some != 1 && many != 1 {
        return Some((format!("the bias has {many} scales, the weight {some}"), None));
    }
    // Gemm multiplies the product by alpha and the bias by beta.
    let factor =
        if op.name().is_onnx("Gemm") { f64::from(op.float("alpha", 1.0)) / f64::from(op.float("beta", 1.0)) } else { 1.0 };
    for channel in 0..some.max(many) {
        let pick = |list: &[f32]| f64::from(list[if list.len() == 1 { 0 } else { channel }]);
        let (product, found) = (pick(&x.scale) * pick(&w.scale) * factor, pick(&bias.scale));
        if (found - product).abs() > TOLERANCE * product.abs() {
            let place = if some.max(many) == 1 { String::new() } else { format!(" of channel {channel}") };
            let message = format!("the scale{place} of the bias is {found:?}, that of the sums {:?}", product as f32);
            return Some((message, Some("scale of bias = scale of input * scale of weight".to_owned())));
        }
    }
    None
}

/// What is wrong with a quantized type.
fn fault(quant: &Quant, ty: &TensorType) -> Option<String> {
    let Some((low, high)) = quant.store.int_range() else { return Some(format!("{} stores no integers", quant.store)) };
    if !ty.elem.is_float() {
        return Some(format!("stands for {}, which are no real numbers", ty.elem));
    }
    if let Some(scale) = quant.scale.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
        return Some(format!("scale {scale:?} is not positive and finite"));
    }
    if let Some(zero) = quant.zero.iter().find(|&&z| i64::from(z) < low || i64::from(z) > high) {
        return Some(format!("zero point {zero} is not in {low} to {high}"));
    }
    let (scales, zeros) = (quant.scale.len(), quant.zero.len());
    if zeros != 1 && zeros != scales {
        return Some(format!("{zeros} zero points for {scales} scales"));
    }
    let Some(axis) = quant.axis else {
        return (scales != 1).then(|| format!("{scales} scales without an axis"));
    };
    if ty.rank().is_some_and(|rank| axis >= rank) {
        return Some(format!("axis {axis} is beyond the rank"));
    }
    let extent = ty.dim(axis)?;
    (scales != extent).then(|| format!("{scales} scales for {extent} indices of axis {axis}"))
}
