//! Lets the errors of rounded weights cancel: in the weights themselves, and in the bias what is left.
//!
//! ```text
//! %w = const [0.504, -0.298] : f32[1,2,1,1]               %w = const [0.504, -0.296] : f32[1,2,1,1]
//! %b = const [0.1] : f32[1]                        ──▶    %b = const [0.0993] : f32[1]
//! %c = onnx.Conv %x, %w, %b : f32[..]                     %c = onnx.Conv %x, %w, %b : f32[..]
//! ```
//!
//! Integer weights `W'` differ from `W`, and behind a ReLU all inputs are positive: the differences do not average out, the
//! output moves by `(W' - W) E[x]` on average. The weights that `quantize` is going to store are rounded here so that it
//! stays small (see [`crate::quantize::rounding`]); `b' = b - (W' - W) E[x]` takes back the rest (Nagel et al., Data-free
//! quantization through weight equalization and bias correction, ICCV 2019, section 4.2, with measured means).

use std::sync::Arc;

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, OpId, Tensor};

use super::quantize::{EXCLUDE, placed};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo, samples};
use crate::quantize::moments::{Layers, Moments, Window};
use crate::quantize::placement::{Kind, Placement, has_weights};
use crate::quantize::{rounding, scales};
use crate::rewrite;
use crate::target::Target;

/// See the module documentation.
pub(crate) struct CorrectBias;

static INFO: PassInfo = PassInfo {
    name: "correct-bias",
    summary: "round weights so that their errors cancel, and take back the rest in the bias",
    doc: "Needs samples (--calibrate). Measures the mean and variance of what every integer op with weights reads, moves its \
          weights onto the grid that 'quantize' is going to find, so that errors cancel in the mean, and lets the bias take \
          back the rest. Weights that lie on a grid already stay as they are. Declines for ops whose input has unknown \
          extents or more than two axes to slide over.",
    effect: Effect::Approximate,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[samples("16"), EXCLUDE],
};

impl Pass for CorrectBias {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let plan = placed(graph, cx);
        let layers = correctable(graph, &plan, cx.target, |op, why| cx.declined(graph, op, why));
        if layers.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        let samples = cx.samples()?;
        // 'calibrate' may have measured them in runs of its own.
        let measured = match cx.take_measured().filter(|measured| measured.holds(graph, &samples)) {
            Some(measured) => measured,
            None => {
                let seen = Layers::new(graph, layers.iter().cloned());
                cx.observe(graph, &seen.values, &samples, &|sample, slot, numbers| seen.see(sample, slot, numbers))?;
                seen.measured(graph, samples)
            }
        };
        let mut changed = false;
        for (op, window) in &layers {
            let weights = Weights::of(graph, *op, cx.target);
            let corrected = weights.zip(measured.of(*op)).and_then(|(w, m)| w.correct(graph, cx, *op, window, m));
            let Some(Corrected { weights, bias, moved }) = corrected else { continue };
            if !cx.rewrite(graph, *op, format!("{moved} weights rounded the other way")) {
                break;
            }
            exchange(graph, *op, 1, weights);
            if let Some(bias) = bias {
                exchange(graph, *op, 2, bias);
            }
            cx.count("weights rounded the other way", moved as u64);
            changed = true;
        }
        Ok(Outcome::from(changed))
    }
}

/// The ops with something to correct, and how their weights meet what they read; `why` is told of those that cannot be looked at.
pub(super) fn correctable(
    graph: &Graph,
    plan: &Placement,
    target: &Target,
    mut why: impl FnMut(OpId, String),
) -> Vec<(OpId, Window)> {
    let ops = graph.ops_in(graph.body()).filter(|&op| *plan.kind(op) == Kind::Integer && has_weights(graph, op));
    let mut layers = Vec::new();
    for op in ops.filter(|&op| is_rounded(graph, op, target)) {
        match Window::of(graph, op) {
            Ok(window) => layers.push((op, window)),
            Err(reason) => why(op, reason),
        }
    }
    layers
}

/// True when `quantize` would not store the weights of an op as they are.
fn is_rounded(graph: &Graph, op: OpId, target: &Target) -> bool {
    let tensor = graph.op(op).operand(1).and_then(|w| graph.const_of(w));
    let Some((tensor, real)) = tensor.and_then(|tensor| Some((tensor, tensor.to_f32()?))) else { return false };
    let axis = scales::weight_axis(graph, op, target);
    real.iter().all(|x| x.is_finite()) && !scales::on_grid(&real, tensor.dims(), axis, &target.quant.weights)
}

struct Corrected {
    weights: Tensor,
    bias: Option<Tensor>,
    moved: usize,
}

/// The weights of an op, and what `quantize` would store.
struct Weights {
    real: Vec<f32>,
    dims: Vec<usize>,
    nearest: scales::Weights,
}

impl Weights {
    /// `None` when they are no constant numbers.
    fn of(graph: &Graph, op: OpId, target: &Target) -> Option<Weights> {
        let tensor = graph.const_of(graph.op(op).operand(1)?)?;
        let (real, dims) = (tensor.to_f32()?, tensor.dims().to_vec());
        let axis = scales::weight_axis(graph, op, target);
        let nearest = scales::weights(&real, &dims, axis, &[], &target.quant.weights);
        Some(Weights { real, dims, nearest })
    }

    /// New weights and bias; `None` when the op's form is none that `quantize` would store.
    fn correct(
        &self,
        graph: &Graph,
        cx: &PassContext<'_>,
        op: OpId,
        window: &Window,
        moments: &Moments,
    ) -> Option<Corrected> {
        let (record, dims) = (graph.op(op), &self.dims);
        let nearest = self.nearest.stored.values::<i8>()?;
        // Outputs lie along the first axis, or along the last one; `length` weights make one output.
        let first_axis = record.name().is_onnx("Conv") || record.int("transB", 0) != 0;
        let outputs = if first_axis { dims[0] } else { *dims.last()? };
        let length = self.real.len() / outputs;
        let at = |output: usize, i: usize| if first_axis { output * length + i } else { i * outputs + output };
        let per_output = if record.name().is_onnx("Conv") { dims[1] } else { length };
        let groups = window.channels / per_output.max(1);
        let high = cx.target.quant.weights.stored_range().1;
        let mut rounded = vec![0.0f32; self.real.len()];
        let (mut shift, mut moved) = (vec![0.0f64; outputs], 0);
        for (output, shift) in shift.iter_mut().enumerate() {
            let scale = self.nearest.quant.at(output).0;
            let steps: Vec<f64> = (0..length).map(|i| f64::from(self.real[at(output, i)]) / f64::from(scale)).collect();
            let first = output / (outputs / groups.max(1)).max(1) * per_output;
            if moments.variance.len() < first + per_output {
                return None;
            }
            let (stored, left) = rounding::round(&steps, window.taps(), high, moments, first);
            for (i, q) in stored.into_iter().enumerate() {
                let index = at(output, i);
                moved += usize::from(q != i32::from(nearest[index]));
                rounded[index] = q as f32 * scale;
            }
            *shift = left * f64::from(scale);
        }
        let bias = match record.operand(2) {
            _ if record.name().is_onnx("MatMul") => None,
            Some(bias) => {
                let tensor = graph.const_of(bias)?;
                Some((tensor.to_f32()?, tensor.dims().to_vec()))
            }
            None => Some((vec![0.0; outputs], vec![outputs])),
        };
        let bias = bias.map(|(numbers, dims)| {
            let corrected = numbers.iter().zip(&shift).map(|(b, s)| (f64::from(*b) - s) as f32);
            Tensor::new(dims, corrected.collect::<Vec<f32>>())
        });
        Some(Corrected { weights: Tensor::new(dims.clone(), rounded), bias, moved })
    }
}

/// Lets operand `index` be a new constant, named as the old one; others may still read that.
fn exchange(graph: &mut Graph, op: OpId, index: usize, tensor: Tensor) {
    let old = graph.op(op).operand(index);
    let name = old.map(|v| graph.value(v).name().clone());
    let name = name.unwrap_or_else(|| Arc::from(format!("{}_bias", graph.value(graph.op(op).result()).name())));
    let new = rewrite::constant(graph, op, name, tensor);
    rewrite::exchange_operand(graph, op, index, Some(new));
}
