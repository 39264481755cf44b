//! Ops that bound numbers from below and above: Relu, Clip, and Min and Max with a constant.

use spaceevo_ir::{Attr, Graph, NewOp, OpId, Tensor, ValueId};

use crate::analysis::{constant_side, is_plain, opset, scalar};
use crate::rewrite;

/// `min(max(x, low), high)`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Clamp {
    /// What it bounds.
    pub input: ValueId,
    /// Lower bound, or minus infinity.
    pub low: f64,
    /// Upper bound, or infinity.
    pub high: f64,
}

impl Clamp {
    /// The bounds of a Relu, a Clip with constant bounds, or a Min or Max with a constant of one number.
    pub fn of(graph: &Graph, op: OpId) -> Option<Clamp> {
        let record = graph.op(op);
        if &*record.name().domain != spaceevo_ir::ONNX || !is_plain(graph, record.operand(0)?) {
            return None;
        }
        let (low, high) = (f64::NEG_INFINITY, f64::INFINITY);
        let clamp = match record.name().onnx_op() {
            "Relu" => Clamp { input: record.operand(0)?, low: 0.0, high },
            "Clip" if opset(graph, op) < 11 => {
                let bound = |name: &str, default: f64| {
                    record.attrs().get(name).map_or(Some(default), |a| a.as_float().map(f64::from))
                };
                Clamp { input: record.operand(0)?, low: bound("min", low)?, high: bound("max", high)? }
            }
            "Clip" => {
                let bound = |index: usize, default: f64| record.operand(index).map_or(Some(default), |v| scalar(graph, v));
                Clamp { input: record.operand(0)?, low: bound(1, low)?, high: bound(2, high)? }
            }
            name @ ("Max" | "Min") => {
                let (input, constant, _) = constant_side(graph, op)?;
                let number = scalar(graph, constant)?;
                // A constant of a higher rank than the value widens it.
                let rank = graph.const_of(constant)?.dims().len();
                if rank > 0 && graph.value(input).ty().rank().is_none_or(|r| r < rank) {
                    return None;
                }
                if name == "Max" { Clamp { input, low: number, high } } else { Clamp { input, low, high: number } }
            }
            _ => return None,
        };
        // The largest finite number stands for no bound: it is the default of old operator sets, and what exporters write.
        let open = |bound: f64| if bound.abs() >= f64::from(f32::MAX) { bound.signum() * f64::INFINITY } else { bound };
        let clamp = Clamp { low: open(clamp.low), high: open(clamp.high), ..clamp };
        (clamp.low <= clamp.high).then_some(clamp)
    }

    /// This clamp behind another one, as one clamp of what that reads.
    pub fn after(self, inner: Clamp) -> Clamp {
        let bounded = |x: f64| x.max(self.low).min(self.high);
        Clamp { input: inner.input, low: bounded(inner.low), high: bounded(inner.high) }
    }

    /// True when the bounds are those, in single precision.
    pub fn is(self, low: f64, high: f64) -> bool {
        (self.low, self.high) == (low, high)
    }

    /// The op in canonical form: Relu, or Clip. Bounds become constants before `at`, or attributes below opset 11.
    pub fn build(self, graph: &mut Graph, at: OpId) -> NewOp {
        if self.is(0.0, f64::INFINITY) {
            return NewOp::onnx("Relu").operand(self.input);
        }
        if opset(graph, at) < 11 {
            let mut new = NewOp::onnx("Clip").operand(self.input);
            if self.low.is_finite() {
                new = new.attr("min", Attr::Float(self.low as f32));
            }
            if self.high.is_finite() {
                new = new.attr("max", Attr::Float(self.high as f32));
            }
            return new;
        }
        let elem = graph.value(self.input).ty().elem().unwrap_or(spaceevo_ir::Elem::F32);
        let mut bound = |name: &str, number: f64| {
            let tensor = number.is_finite().then(|| Tensor::from_f64(elem, [], &[number])).flatten();
            tensor.map(|tensor| rewrite::constant(graph, at, name, tensor))
        };
        let (low, high) = (bound("min", self.low), bound("max", self.high));
        let new = NewOp::onnx("Clip").operand(self.input);
        match (low, high) {
            (None, None) => new,
            (low, None) => new.operands([low]),
            bounds => new.operands([bounds.0, bounds.1]),
        }
    }
}
