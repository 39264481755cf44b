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

use std::collections::BTreeMap;
use std::sync::Arc;

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, OpId, Tensor, ValueId};

use super::quantize::{EXCLUDE, placed};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo, samples};
use crate::quantize::moments::{Gather, Moments, Window};
use crate::quantize::placement::{Kind, has_weights};
use crate::quantize::{rounding, scales};
use crate::rewrite;

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
        let mut layers: Vec<(OpId, Window, Weights)> = Vec::new();
        for op in graph.ops_in(graph.body()).collect::<Vec<_>>() {
            if *plan.kind(op) != Kind::Integer || !has_weights(graph, op) {
                continue;
            }
            let Some(weights) = Weights::of(graph, op, cx) else { continue };
            match Window::of(graph, op) {
                Ok(window) => layers.push((op, window, weights)),
                Err(why) => cx.declined(graph, op, why),
            }
        }
        if layers.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        // Several ops may read one value.
        let mut readers: BTreeMap<ValueId, Vec<usize>> = BTreeMap::new();
        for (layer, (op, ..)) in layers.iter().enumerate() {
            graph.op(*op).operand(0).into_iter().for_each(|x| readers.entry(x).or_default().push(layer));
        }
        let (values, readers): (Vec<ValueId>, Vec<Vec<usize>>) = readers.into_iter().unzip();
        let gather = Gather::new(layers.iter().map(|l| l.1.clone()).collect());
        let samples = cx.samples()?;
        cx.observe(graph, &values, &samples, &|sample, slot, numbers| {
            readers[slot].iter().for_each(|&layer| gather.see(sample, layer, numbers));
        })?;
        let mut changed = false;
        for ((op, window, weights), moments) in layers.iter().zip(gather.moments()) {
            let corrected = moments.and_then(|m| weights.correct(graph, cx, *op, window, &m));
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

struct Corrected {
    weights: Tensor,
    bias: Option<Tensor>,
    moved: usize,
}

/// The weights of an op that are not stored exactly, and what `quantize` would store.
struct Weights {
    real: Vec<f32>,
    dims: Vec<usize>,
    nearest: scales::Weights,
}

impl Weights {
    /// `None` when there is nothing to correct: no constant numbers, or all on the grid.
    fn of(graph: &Graph, op: OpId, cx: &PassContext<'_>) -> Option<Weights> {
        let tensor = graph.const_of(graph.op(op).operand(1)?)?;
        let (real, dims) = (tensor.to_f32()?, tensor.dims().to_vec());
        if real.iter().any(|x| !x.is_finite()) || real.is_empty() {
            return None;
        }
        let axis = scales::weight_axis(graph, op, cx.target);
        let nearest = scales::weights(&real, &dims, axis, &[], &cx.target.quant.weights);
        let inner: usize = axis.map_or(real.len(), |a| dims[a + 1..].iter().product::<usize>()).max(1);
        let stored = nearest.stored.values::<i8>()?;
        let off_grid = real.chunks(inner).zip(stored.chunks(inner)).zip(nearest.quant.scale.iter().cycle()).any(
            |((real, stored), step)| real.iter().zip(stored).any(|(w, q)| (w - f32::from(*q) * step).abs() > 1e-3 * step),
        );
        drop(stored);
        off_grid.then_some(Weights { real, dims, nearest })
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
