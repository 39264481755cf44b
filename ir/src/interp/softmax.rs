//! Softmax and its relatives, and the losses made of them.

use super::call::axis_in;
use super::element::{floats, from_floats};
use super::layout::{Groups, strides};
use super::{Call, Datum, Entry, Fault};
use crate::graph::ONNX;
use crate::tensor::Tensor;
use crate::types::Elem;

/// Kernels of this family.
pub(super) const KERNELS: &[Entry] = &[
    (ONNX, "Hardmax", |c| along_axis(c, hardmax)),
    (ONNX, "LogSoftmax", |c| along_axis(c, log_softmax)),
    (ONNX, "NegativeLogLikelihoodLoss", negative_log_likelihood),
    (ONNX, "Softmax", |c| along_axis(c, |g| log_softmax(g).into_iter().map(f64::exp).collect())),
    (ONNX, "SoftmaxCrossEntropyLoss", cross_entropy),
];

fn log_softmax(group: &[f64]) -> Vec<f64> {
    let top = group.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = group.iter().map(|v| (v - top).exp()).sum();
    group.iter().map(|v| v - top - sum.ln()).collect()
}

fn hardmax(group: &[f64]) -> Vec<f64> {
    let top = (0..group.len()).fold(0, |best, i| if group[i] > group[best] { i } else { best });
    (0..group.len()).map(|i| f64::from(u8::from(i == top))).collect()
}

/// Along one axis since opset 13; before, over that axis and all after it.
fn along_axis(call: &Call<'_>, function: fn(&[f64]) -> Vec<f64>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let rank = x.dims().len();
    call.reserve(Elem::C128, x.dims())?;
    let axes: Vec<usize> = match call.int("axis", if call.opset >= 13 { -1 } else { 1 }) {
        axis if call.opset >= 13 => vec![axis_in(axis, rank)?],
        axis if axis == rank as i64 => Vec::new(),
        axis => (axis_in(axis, rank)?..rank).collect(),
    };
    let values = Groups::along(x.dims(), &axes).map(&floats(x)?, function);
    Ok(vec![from_floats(x.elem(), x.dims(), &values)?.into()])
}

fn negative_log_likelihood(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    call.reserve(Elem::C128, x.dims())?;
    Ok(vec![loss(call, x, &floats(x)?)?.into()])
}

fn cross_entropy(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    call.reserve(Elem::C128, x.dims())?;
    let axis = axis_in(1, x.dims().len())?;
    let logs = Groups::along(x.dims(), &[axis]).map(&floats(x)?, log_softmax);
    Ok(vec![loss(call, x, &logs)?.into(), from_floats(x.elem(), x.dims(), &logs)?.into()])
}

/// `-weight[t] * logs[n, t, ...]` for the target `t` of each place, then reduced.
fn loss(call: &Call<'_>, x: &Tensor, logs: &[f64]) -> Result<Tensor, Fault> {
    let target = call.tensor(1)?;
    let classes = *x.dims().get(1).ok_or("its first operand has no class axis")?;
    let mut places = x.dims().to_vec();
    places.remove(1);
    if target.dims() != places {
        return Err(format!("targets of shape {:?} do not fit scores of shape {:?}", target.dims(), x.dims()));
    }
    let weights = call.get(2).map(floats).transpose()?;
    if weights.as_ref().is_some_and(|w| w.len() != classes) {
        return Err(format!("there must be {classes} class weights"));
    }
    let ignored = call.attr("ignore_index").and_then(|a| a.as_int());
    let step = strides(x.dims())[1];
    let starts = Groups::along(x.dims(), &[1]).starts;
    let (mut losses, mut total) = (Vec::new(), 0.0);
    for (start, class) in starts.into_iter().zip(target.to_i64().ok_or("targets must be integers")?) {
        if Some(class) == ignored {
            losses.push(0.0);
            continue;
        }
        let class = axis_in(class, classes).map_err(|_| format!("target {class} is none of {classes} classes"))?;
        let weight = weights.as_ref().map_or(1.0, |w| w[class]);
        losses.push(-weight * logs[start + class * step]);
        total += weight;
    }
    let sum: f64 = losses.iter().sum();
    match call.str("reduction", "mean") {
        "none" => from_floats(x.elem(), &places, &losses),
        "sum" => from_floats(x.elem(), &[], &[sum]),
        "mean" => from_floats(x.elem(), &[], &[sum / total]),
        other => Err(format!("reduction = {other:?} is none of none, sum, mean")),
    }
}
