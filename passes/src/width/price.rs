//! Predicted time of an op by its channel counts: the only place that a better model of latency would have to replace.

use spaceevo_ir::{Graph, OpId, ValueId};

use crate::target::{Cut, Rate, Target, WidthRule};

/// Predicted nanoseconds of an op whose first operand has `input` channels and whose result has `output`, from the target's
/// rates: multiply-adds or elements, divided by how many of them a kernel for such channels does in a nanosecond.
///
/// `runs_float` says that the op runs in float beside others that run in integers: float kernels have other steps, so that
/// more channels are only more work. Extents that are not known count as 1.
pub fn time(graph: &Graph, op: OpId, (input, output): (usize, usize), target: &Target, runs_float: bool) -> f64 {
    let Some(rule) = &target.width else { return 0.0 };
    let record = graph.op(op);
    let weights = record.operand(1).and_then(|w| graph.value(w).ty().dims());
    let pixels = record.results().first().map_or(1.0, |&v| volume(graph, v));
    // Fewer results take as long as that many, or longer.
    let least = if runs_float { 1 } else { rule.least_output };
    let (work, rate) = match (record.name().onnx_op(), weights.as_deref()) {
        ("Conv", Some([_, per_group, kernel @ ..])) => {
            let taps = kernel.iter().map(|&k| k as f64).product::<f64>();
            if *per_group == 1 && record.int("group", 1) > 1 {
                (pixels * output as f64 * taps, depthwise_rate(rule, output, taps))
            } else {
                let rate = if taps > 1.0 { &rule.rates.dense } else { &rule.rates.pointwise };
                (pixels * (input * output.max(least)) as f64 * taps, dense_rate(rule, rate, input, output))
            }
        }
        ("Gemm", _) => (pixels * (input * output) as f64, dense_rate(rule, &rule.rates.pointwise, input, output)),
        _ if target.ops.is_saturating(record.name()) => return 0.0,
        _ => {
            let read = record.operand(0).map_or(1.0, |v| volume(graph, v));
            ((read * input as f64).max(pixels * output as f64), rule.rates.element)
        }
    };
    let weighted = ["Conv", "Gemm"].iter().any(|name| record.name().is_onnx(name));
    work / if runs_float && weighted { rule.rates.pointwise.aligned } else { rate }
}

impl Cut {
    /// Predicted nanoseconds of the Slice that takes the first channels of a value.
    pub fn time(&self, graph: &Graph, value: ValueId) -> f64 {
        self.call + self.position * volume(graph, value)
    }
}

/// Elements for each channel.
fn volume(graph: &Graph, value: ValueId) -> f64 {
    let shape = graph.value(value).ty().tensor().and_then(|t| t.shape.clone()).unwrap_or_default();
    let others = shape.iter().enumerate().filter(|(axis, _)| *axis != 1);
    others.map(|(_, dim)| dim.known().map_or(1.0, |n| n as f64)).product()
}

fn dense_rate(rule: &WidthRule, rate: &Rate, input: usize, output: usize) -> f64 {
    if input.is_multiple_of(rule.input) && output.is_multiple_of(rule.output) && output >= rule.least_output {
        rate.aligned
    } else {
        unaligned(rate, input % 2 + output % 2 > 0)
    }
}

fn depthwise_rate(rule: &WidthRule, channels: usize, taps: f64) -> f64 {
    let rate = if taps > rule.rates.depthwise_taps { &rule.rates.depthwise_large } else { &rule.rates.depthwise };
    let aligned = channels.is_multiple_of(rule.depthwise);
    let usual = if aligned { rate.aligned } else { unaligned(rate, !channels.is_multiple_of(2)) };
    let narrow = rule.rates.narrow.iter().find(|(below, _)| channels < *below);
    narrow.map_or(usual, |(_, most)| usual.min(*most))
}

fn unaligned(rate: &Rate, odd: bool) -> f64 {
    if odd { rate.odd } else { rate.even }
}
