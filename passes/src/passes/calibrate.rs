//! Runs the samples and notes the range of every tensor that will be stored as integers.
//!
//! ```text
//! %c = onnx.Conv %x, %w : f32[1,8,4,4]      ──▶     %c = onnx.Conv %x, %w : f32[1,8,4,4] range(-1.25, 3.5)
//! ```
//!
//! Samples stream by: memory does not grow with their number, and the ranges do not depend on their order.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Diagnostic, Graph, Loc, Range, ValueId};

use super::quantize::{EXCLUDE, placed};
use crate::calibrate::{Method, Statistics};
use crate::pass::{Aborted, Effect, OptionInfo, OptionKind, Outcome, Pass, PassContext, PassInfo, evenly_spaced};
use crate::quantize::placement::clip_bounds;

/// See the module documentation.
pub(crate) struct Calibrate;

static INFO: PassInfo = PassInfo {
    name: "calibrate",
    summary: "run the samples and note the range of every tensor that will be stored as integers",
    doc: "Needs samples (--calibrate). Methods: 'min-max' takes the extremes, 'moving-average' the mean of each sample's extremes, \
          'percentile' the interval that holds a share of the numbers, 'entropy' the range of least relative entropy, 'mse' the \
          range of least squared error. What a Relu or Clip cuts off anyway is not part of a range.",
    effect: Effect::Exact,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[
        OptionInfo {
            name: "method",
            kind: OptionKind::Word(Method::WORDS),
            default: "min-max",
            help: "how a range is chosen",
        },
        OptionInfo {
            name: "share",
            kind: OptionKind::Float,
            default: "0.9999",
            help: "share of the numbers that 'percentile' keeps",
        },
        EXCLUDE,
    ],
};

impl Pass for Calibrate {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let plan = placed(graph, cx);
        let values = plan.calibrated(graph);
        if values.is_empty() {
            let why = "no op of this graph can run in integers on the target: there is nothing to calibrate";
            cx.warn(Diagnostic::warning("nothing-to-quantize", Loc::Unknown, why));
            return Ok(Outcome::Unchanged);
        }
        let share = cx.float("share").unwrap_or(1.0);
        let method = Method::from_word(cx.text("method"), share).unwrap_or(Method::MinMax);
        let statistics = Statistics::new(method, values.len());
        let samples = cx.samples()?;
        observe(graph, cx, &values, &samples, method, &statistics)?;
        let (low, high) = cx.target.quant.activations.stored_range();
        for (&value, range) in values.iter().zip(statistics.ranges((high - low + 1) as u32)) {
            match range {
                Ok(Some(range)) => {
                    // The type must not reach beyond what a clip lets through, else the clip could not be dropped.
                    let maker = graph.def_op(value);
                    let (least, most) = bounds(graph, value);
                    let range = Range { min: range.min.clamp(least, most), max: range.max.clamp(least, most) };
                    if maker.is_some_and(|op| !cx.rewrite(graph, op, format!("from {} to {}", range.min, range.max))) {
                        return Ok(Outcome::Changed);
                    }
                    graph.set_range(value, Some(range));
                }
                Ok(None) => {
                    let message = format!("{} was empty for every sample", graph.label(value));
                    return Err(cx.error(
                        Diagnostic::error("missing-range", Loc::Unknown, message).note("use samples that reach this tensor"),
                    ));
                }
                Err(sample) => {
                    let message = format!("{} is infinite or not a number for sample {sample}", graph.label(value));
                    let loc = graph.def_op(value).map(|op| graph.op(op).loc().clone()).unwrap_or_default();
                    let note = "check the preprocessing of the samples, and the weights of this op";
                    return Err(cx.error(Diagnostic::error("bad-activation", loc, message).note(note)));
                }
            }
        }
        cx.count("tensors", values.len() as u64);
        cx.count("samples", samples.len() as u64);
        Ok(Outcome::Changed)
    }
}

/// Samples after which to ask which ranges can still grow.
const FIRST_LOOK: usize = 4;
/// Samples that say how the numbers between two bounds are distributed: a quarter of a million of them.
const FIRST_HISTOGRAM: usize = 16;

/// Shows the statistics what the values take on the samples. The smallest and the largest number between two bounds are known
/// as soon as both bounds were met: the rest of the samples is run without looking at such values, which lets a runtime keep
/// the clips inside its convolutions. Where the distribution counts, more samples are looked at before.
fn observe(
    graph: &Graph,
    cx: &mut PassContext<'_>,
    values: &[ValueId],
    samples: &[usize],
    method: Method,
    statistics: &Statistics,
) -> Result<(), Aborted> {
    let bounded = |v: &ValueId| matches!(bounds(graph, *v), (low, high) if low.is_finite() && high.is_finite());
    let look = match method {
        _ if !values.iter().any(bounded) => samples.len(),
        Method::MinMax => FIRST_LOOK,
        Method::Entropy | Method::Mse => FIRST_HISTOGRAM,
        Method::MovingAverage | Method::Percentile(_) => samples.len(),
    };
    // From all over them: neighbours may show the same things.
    let first: Vec<usize> = evenly_spaced(samples.len(), look).into_iter().map(|at| samples[at]).collect();
    let rest: Vec<usize> = samples.iter().copied().filter(|sample| !first.contains(sample)).collect();
    cx.observe(graph, values, &first, &|sample, slot, numbers| statistics.see(sample, slot, numbers))?;
    let open: Vec<usize> = (0..values.len()).filter(|&slot| !statistics.spans(slot, bounds(graph, values[slot]))).collect();
    let values: Vec<ValueId> = open.iter().map(|&slot| values[slot]).collect();
    if rest.is_empty() || values.is_empty() {
        return Ok(());
    }
    cx.observe(graph, &values, &rest, &|sample, slot, numbers| statistics.see(sample, open[slot], numbers))
}

/// What the op that makes a value lets through; infinite where it lets everything through.
fn bounds(graph: &Graph, value: ValueId) -> (f32, f32) {
    let clip = graph.def_op(value).filter(|&op| ["Relu", "Clip"].iter().any(|n| graph.op(op).name().is_onnx(n)));
    clip.and_then(|op| clip_bounds(graph, op)).unwrap_or((f32::NEG_INFINITY, f32::INFINITY))
}
