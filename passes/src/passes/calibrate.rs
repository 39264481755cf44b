//! Runs the samples and notes the range of every tensor that will be stored as integers.
//!
//! ```text
//! %c = onnx.Conv %x, %w : f32[1,8,4,4]      ──▶     %c = onnx.Conv %x, %w : f32[1,8,4,4] range(-1.25, 3.5)
//! ```
//!
//! Samples stream by: memory does not grow with their number, and the ranges do not depend on their order.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Diagnostic, Graph, Loc, Range, ValueId};

use super::correct_bias::correctable;
use super::quantize::{EXCLUDE, placed};
use crate::calibrate::{Method, Statistics};
use crate::pass::{Aborted, Effect, OptionInfo, OptionKind, Outcome, Pass, PassContext, PassInfo, evenly_spaced};
use crate::quantize::moments::Layers;
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
        OptionInfo {
            name: "moments",
            kind: OptionKind::Int,
            default: "0",
            help: "samples on which to measure what 'correct-bias' right behind asks for, so that it runs none again",
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
        let moments = cx.int("moments").and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let layers = if moments > 0 { correctable(graph, &plan, cx.target, |_, _| {}) } else { Vec::new() };
        let measured = (!layers.is_empty()).then(|| {
            let layers = Layers::new(graph, layers);
            (layers, evenly_spaced(samples.len(), moments))
        });
        observe(graph, cx, &values, &samples, method, &statistics, measured.as_ref())?;
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
        if let Some((layers, seen)) = measured {
            // Noting ranges changed no number.
            cx.leave_measured(layers.measured(graph, seen));
        }
        cx.count("tensors", values.len() as u64);
        cx.count("samples", samples.len() as u64);
        Ok(Outcome::Changed)
    }
}

/// Samples after which to ask which ranges can still grow.
const FIRST_LOOK: usize = 2;
/// Samples that say how the numbers between two bounds are distributed: more than a hundred thousand of them.
const FIRST_HISTOGRAM: usize = 8;

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
    measured: Option<&(Layers, Vec<usize>)>,
) -> Result<(), Aborted> {
    let bounds: Vec<(f32, f32)> = values.iter().map(|&v| bounds(graph, v)).collect();
    let closed = |slot: usize| statistics.spans(slot, bounds[slot]);
    let look = match method {
        _ if !bounds.iter().any(|(low, high)| low.is_finite() && high.is_finite()) => samples.len(),
        Method::MinMax => FIRST_LOOK,
        Method::Entropy | Method::Mse => FIRST_HISTOGRAM,
        Method::MovingAverage | Method::Percentile(_) => samples.len(),
    };
    // From all over them: neighbours may show the same things.
    let mut first: Vec<usize> = evenly_spaced(samples.len(), look);
    let (layers, moments) = measured.map_or((None, &[][..]), |(layers, moments)| (Some(layers), &moments[..]));
    first.extend(moments);
    first.sort_unstable();
    first.dedup();
    let mut shown = values.to_vec();
    let others = layers.map_or(&[][..], |layers| &layers.values);
    shown.extend(others.iter().filter(|v| !values.contains(v)));
    let layer: Vec<Option<usize>> = shown.iter().map(|v| others.iter().position(|other| other == v)).collect();
    cx.observe(graph, &shown, &first, &|sample, slot, numbers| {
        if slot < values.len() && !(method == Method::MinMax && closed(slot)) {
            statistics.see(sample, slot, numbers);
        }
        if let (Some(layers), Some(operand)) = (layers, layer[slot])
            && moments.contains(&sample)
        {
            layers.see(sample, operand, numbers);
        }
    })?;
    let rest: Vec<usize> = samples.iter().copied().filter(|sample| !first.contains(sample)).collect();
    let open: Vec<usize> = (0..values.len()).filter(|&slot| !closed(slot)).collect();
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
