//! What the ops of a graph take on a target, one by one: an analysis. Through [`Pricing`], so a table or a predictor answers.

use spaceevo_ir::{Graph, OpId};

use crate::price::Pricing;
use crate::target::Target;

/// Nanoseconds of an op as it stands: in integers if something there is stored, what it adds there if the kernel before it does it, 0 if it
/// depends on constants only. `None` where the target has no price, or extents are not known.
pub fn of_op(graph: &Graph, target: &Target, op: OpId) -> Option<f64> {
    let pricing = target.pricing()?;
    let record = graph.op(op);
    let operands = || record.operands().iter().flatten();
    if operands().all(|&v| graph.value(v).is_const()) {
        return Some(0.0);
    }
    let stored = operands().chain(record.results()).any(|&v| graph.value(v).ty().quant().is_some());
    if stored {
        return of_stored(graph, target, pricing, op);
    }
    match pricing.fused_into(graph, op) {
        Some(fused) => Some(fused.nanos),
        None => pricing.float(graph, op),
    }
}

fn of_stored(graph: &Graph, target: &Target, pricing: &dyn Pricing, op: OpId) -> Option<f64> {
    let name = graph.op(op).name();
    let before = graph.op(op).operand(0).and_then(|v| graph.def_op(v)).map(|op| graph.op(op).name());
    let saturates = target.ops.is_saturating(name) && before.is_some_and(|before| target.ops.is_integer(before));
    if saturates { Some(0.0) } else { pricing.integer(graph, target, op) }
}
