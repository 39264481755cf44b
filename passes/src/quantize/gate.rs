//! Hard gates, `clip(alpha x + beta, 0, 1)`, of stored numbers without a float in between.
//!
//! ```text
//! %s = onnx.Add %x, beta / alpha : qu8(1 / (255 alpha), 0)      the type saturates to [0, 1 / alpha]
//! %g = onnx.Mul %s, alpha        : qu8(1 / 255, 0)              the same bytes, read with another scale
//! ```
//!
//! A clipped affine map is what an addition that stores its result does anyway. The sum rounds the gate to a multiple of
//! 1/255, which is what a type of the gate for [0, 1] does: the gate is off by at most 1/510.

use std::sync::Arc;

use spaceevo_ir::{Elem, Graph, NewOp, OpId, Quant, TensorType, Type, ValueId};

use crate::quantize::rescale::{one_step, same_scale};
use crate::rewrite;
use crate::target::StoreRule;

/// Steepest sum, in steps of the result for one step of an operand, whose kernels in single precision still place every step.
const STEEPEST: f64 = 1024.0;

/// How a gate is written.
pub(crate) struct Gate {
    alpha: f32,
    /// `beta / alpha`.
    offset: f32,
    sum: Quant,
    /// The type of the gate: its numbers from the lowest to the highest stored one are 0 to 1.
    pub(crate) quant: Quant,
}

impl Gate {
    /// The gate of an operand of type `x`; a sentence when it cannot be written.
    pub(crate) fn of(rule: &StoreRule, x: &Quant, alpha: f64, beta: f64) -> Result<Gate, String> {
        let store = rule.elem();
        let (low, high) = store.int_range().ok_or("the target stores no integers")?;
        if rule.symmetric || rule.stored_range() != (low as i32, high as i32) {
            return Err("the target's activations have no type whose lowest stored number means 0".into());
        }
        if x.store != store {
            return Err(format!("its operand is stored as {}, activations of the target as {store}", x.store));
        }
        if alpha.is_nan() || alpha <= 0.0 {
            return Err(format!("its slope {} is not positive", alpha as f32));
        }
        let steps = (high - low) as f64;
        let steepest = (f64::from(x.at(0).0) * alpha * steps).max(beta.abs() * steps);
        let (sum, offset) = ((1.0 / (alpha * steps)) as f32, (beta / alpha) as f32);
        let written = sum.is_normal() && (offset == 0.0 || offset.is_normal()) && (alpha as f32).is_normal();
        if !(written && steepest <= STEEPEST) {
            return Err(format!("slope {} and offset {} are too steep for its operand's steps", alpha as f32, beta as f32));
        }
        let typed = |scale: f32| Quant::per_tensor(store, scale, low as i32);
        Ok(Gate { alpha: alpha as f32, offset, sum: typed(sum), quant: typed((1.0 / steps) as f32) })
    }

    /// True when `quant` is the type of the gate up to how its scale was computed.
    pub(crate) fn is_type(&self, quant: &Quant) -> bool {
        quant.axis.is_none()
            && (quant.store, quant.at(0).1) == (self.quant.store, self.quant.at(0).1)
            && same_scale(quant.at(0).0, self.quant.at(0).0)
    }

    /// Puts the saturating sum before `op`; returns it and the product, not yet placed, that makes a gate of it.
    pub(crate) fn write(&self, graph: &mut Graph, op: OpId, by: &str, x: ValueId) -> (ValueId, NewOp) {
        let name = graph.value(graph.op(op).result()).name().clone();
        let offset = one_step(graph, op, format!("{name}.offset"), self.offset, self.quant.store);
        let sum = stored_like(graph, x, &self.sum);
        let add = NewOp::onnx("Add").operand(x).operand(offset);
        let sum = rewrite::insert_before(graph, op, by, format!("{name}.clipped"), sum, add);
        let alpha = one_step(graph, op, format!("{name}.slope"), self.alpha, self.quant.store);
        (sum, NewOp::onnx("Mul").operand(sum).operand(alpha))
    }
}

/// The type of `like`, stored in another way.
pub(crate) fn stored_like(graph: &Graph, like: ValueId, quant: &Quant) -> Type {
    let shape = graph.value(like).ty().tensor().and_then(|t| t.shape.clone());
    Type::Tensor(TensorType { elem: Elem::F32, shape, quant: Some(Arc::new(quant.clone())) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(store: &str, symmetric: bool, bits: u32) -> StoreRule {
        StoreRule { store: store.into(), symmetric, per_channel: false, bits }
    }

    #[test]
    fn types_saturate_where_the_gate_does() {
        for (store, low) in [("u8", 0), ("i8", -128)] {
            let rule = rule(store, false, 8);
            let gate = Gate::of(&rule, &Quant::per_tensor(rule.elem(), 0.02, 5), 1.0 / 6.0, 0.5).unwrap();
            assert_eq!((gate.sum.at(0), gate.quant.at(0)), ((6.0 / 255.0, low), (1.0 / 255.0, low)));
            assert_eq!(gate.sum.real_range(), Some((0.0, 6.0)));
            assert!(gate.is_type(&Quant::per_tensor(rule.elem(), 1.0 / 255.0 * (1.0 + 2e-7), low)));
            assert!(!gate.is_type(&Quant::per_tensor(rule.elem(), 1.0 / 256.0, low)));
        }
    }

    #[test]
    fn what_has_no_saturating_type_is_refused() {
        let x = |store| Quant::per_tensor(store, 0.02, 5);
        let refused = |rule: StoreRule, x: Quant, alpha: f64| Gate::of(&rule, &x, alpha, 0.5).err().unwrap_or_default();
        assert!(refused(rule("i8", true, 8), x(Elem::I8), 0.2).contains("no type whose lowest"));
        assert!(refused(rule("u8", true, 8), x(Elem::U8), 0.2).contains("no type whose lowest"));
        assert!(refused(rule("u8", false, 7), x(Elem::U8), 0.2).contains("no type whose lowest"));
        assert!(refused(rule("u8", false, 8), x(Elem::I8), 0.2).contains("stored as i8"));
        for alpha in [0.0, -0.2, f64::NAN, f64::NEG_INFINITY] {
            assert!(refused(rule("u8", false, 8), x(Elem::U8), alpha).contains("not positive"), "{alpha}");
        }
        for alpha in [1e-42, 1e9, f64::INFINITY] {
            assert!(refused(rule("u8", false, 8), x(Elem::U8), alpha).contains("too steep"), "{alpha}");
        }
    }
}
