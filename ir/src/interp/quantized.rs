//! Ops on values whose types are quantized: the environment holds what is stored, kernels see real numbers.
//!
//! The rule: dequantize the operands, run the float kernel, quantize the results to their types. Ops that only move data
//! between equal types run on the stored integers.

use super::{Call, Datum, Fault, Kernel};
use crate::graph::ValueId;
use crate::tensor::Tensor;
use crate::types::{Quant, TensorType};

/// True when an operand or result of the op has a quantized type. Ops with regions pass values through as stored.
pub(super) fn concerns(call: &Call<'_>) -> bool {
    let op = call.op();
    let quantized = |v: ValueId| call.graph.value(v).ty().quant().is_some();
    op.regions().is_empty()
        && (op.operands().iter().flatten().any(|&v| quantized(v)) || op.results().iter().any(|&v| quantized(v)))
}

/// Runs the op on real numbers, from stored and to stored ones.
pub(super) fn run(call: &Call<'_>, kernel: Kernel) -> Result<Vec<Datum>, Fault> {
    let ty = |v: ValueId| call.graph.value(v).ty().tensor();
    let op = call.op();
    if moves_stored(call) {
        return kernel(call);
    }
    let mut operands = call.operands.clone();
    for (operand, value) in operands.iter_mut().zip(op.operands()) {
        let Some(ty) = value.and_then(ty) else { continue };
        if let (Some(quant), Some(Datum::Tensor(stored))) = (&ty.quant, &operand) {
            *operand = Some(dequantize(stored, quant)?.into());
        }
    }
    let real = Call { graph: call.graph, op: call.op, opset: call.opset, operands, env: call.env };
    let results = kernel(&real)?;
    let quantized = results.into_iter().enumerate().map(|(index, datum)| {
        let ty = op.results().get(index).and_then(|&v| ty(v));
        match (ty, datum) {
            (Some(TensorType { quant: Some(quant), .. }), Datum::Tensor(real)) => Ok(quantize(&real, quant)?.into()),
            (_, datum) => Ok(datum),
        }
    });
    quantized.collect()
}

/// Operators that copy elements without looking at them.
const MOVERS: &[&str] = &[
    "Concat",
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Identity",
    "MaxPool",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
];

/// True when the op only moves elements (or picks the largest) between values of one and the same per-tensor quantization.
fn moves_stored(call: &Call<'_>) -> bool {
    let op = call.op();
    let quant = |v: &ValueId| call.graph.value(*v).ty().quant();
    let mut quants = op.operands().iter().flatten().chain(op.results()).filter_map(quant);
    let Some(first) = quants.next() else { return false };
    let carries_first =
        op.operand(0).is_some_and(|v| quant(&v).is_some()) && op.results().iter().all(|v| quant(v).is_some());
    first.axis.is_none()
        && &*op.name().domain == crate::graph::ONNX
        && MOVERS.contains(&&*op.name().op)
        && carries_first
        && quants.all(|q| q == first)
}

/// `scale * (stored - zero)` in single precision (ONNX `DequantizeLinear`).
pub fn dequantize(stored: &Tensor, quant: &Quant) -> Result<Tensor, Fault> {
    if stored.elem() != quant.store {
        return Err(format!("a value of type {} is stored as {}", quant.store, stored.elem()));
    }
    let numbers = stored.to_i64().ok_or("a quantized value is stored as integers")?;
    let channel = channels(stored.dims(), quant)?;
    let real = numbers.iter().enumerate().map(|(i, &q)| {
        let (scale, zero) = quant.at(channel(i));
        (q - i64::from(zero)) as f32 * scale
    });
    Ok(Tensor::new(stored.dims(), real.collect::<Vec<f32>>()))
}

/// `round(real / scale) + zero`, ties to even, saturating (ONNX `QuantizeLinear`); NaN becomes the zero point.
pub fn quantize(real: &Tensor, quant: &Quant) -> Result<Tensor, Fault> {
    let numbers = real.to_f32().ok_or_else(|| format!("{} cannot be quantized", real.elem()))?;
    let (low, high) = quant.store.int_range().ok_or_else(|| format!("{} cannot store a quantized value", quant.store))?;
    let channel = channels(real.dims(), quant)?;
    let stored = numbers.iter().enumerate().map(|(i, &x)| {
        let (scale, zero) = quant.at(channel(i));
        let steps = f64::from((x / scale).round_ties_even());
        if steps.is_nan() { f64::from(zero) } else { (steps + f64::from(zero)).clamp(low as f64, high as f64) }
    });
    let stored: Vec<f64> = stored.collect();
    Tensor::from_f64(quant.store, real.dims(), &stored)
        .ok_or_else(|| format!("{} cannot store a quantized value", quant.store))
}

/// The index along the quantized axis of each element.
fn channels(dims: &[usize], quant: &Quant) -> Result<impl Fn(usize) -> usize, Fault> {
    let (extent, inner) = match quant.axis {
        None => (1, 1),
        Some(axis) if axis < dims.len() => (dims[axis], dims[axis + 1..].iter().product()),
        Some(axis) => return Err(format!("the quantized axis {axis} does not exist in a tensor of rank {}", dims.len())),
    };
    let fits = |len: usize| len == 1 || len == extent;
    if !fits(quant.scale.len()) || !fits(quant.zero.len()) {
        return Err(format!("{} scales and {} zero points for {extent} channels", quant.scale.len(), quant.zero.len()));
    }
    let (extent, inner): (usize, usize) = (extent.max(1), inner);
    let inner = inner.max(1);
    Ok(move |i: usize| i / inner % extent)
}
