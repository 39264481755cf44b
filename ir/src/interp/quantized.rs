//! Ops on values whose types are quantized: the environment holds what is stored, kernels see real numbers.
//!
//! The rule: dequantize the operands, run the float kernel, quantize the results to their types. Ops that only move data
//! between equal types run on the stored integers. Convolutions and matrix products accumulate integers exactly and are
//! scaled once, as ONNX Runtime's QLinearConv and QLinearMatMul do.

use super::quantize::{range, round_saturating, store};
use super::{Call, Datum, Fault, Kernel};
use crate::graph::ValueId;
use crate::tensor::Tensor;
use crate::types::{Elem, Quant, TensorType};

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
    if let Some(product) = Product::of(call) {
        return product.run(call, kernel);
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

/// A product of two quantized operands whose sums are whole numbers: steps of `x_scale * w_scale`.
struct Product<'a> {
    x: &'a Quant,
    w: &'a Quant,
    bias: Option<&'a Quant>,
    /// Axis of the result that the weight's quantized axis becomes.
    axis: usize,
    result: ValueId,
}

impl<'a> Product<'a> {
    /// The op as such a product, if it is one: activations per tensor, weights per tensor or per result channel, a bias at the
    /// product scale.
    fn of(call: &Call<'a>) -> Option<Product<'a>> {
        let op = call.op();
        let quant = |index: usize| call.graph.value(op.operand(index)?).ty().quant().map(|q| &**q);
        let (x, w) = (quant(0)?, quant(1)?);
        let (result, rank) = (op.result(), call.get(0)?.dims().len());
        let (weight_axis, axis) = match &*op.name().op {
            _ if &*op.name().domain != crate::graph::ONNX => return None,
            "Conv" => (0, 1),
            "MatMul" => (call.get(1)?.dims().len().checked_sub(1)?, rank.checked_sub(1)?),
            "Gemm" if call.float("alpha", 1.0) == 1.0 && call.float("beta", 1.0) == 1.0 => {
                (if call.int("transB", 0) == 0 { 1 } else { 0 }, 1)
            }
            _ => return None,
        };
        let bias = quant(2);
        let channels = w.scale.len();
        let fits = |list: usize| list == 1 || list == channels;
        // Scales of the result must lie along the same axis.
        let made = call.graph.value(result).ty().quant();
        let along =
            made.is_none_or(|q| q.axis.is_none_or(|own| own == axis && (channels == 1 || channels == q.scale.len())));
        let exact = along
            && x.axis.is_none()
            && x.scale.len() == 1
            && w.axis.map_or(channels == 1, |axis| axis == weight_axis)
            && bias.is_none_or(|b| fits(b.scale.len()) && b.zero == [0])
            && op.operand(2).is_some() == bias.is_some();
        if !exact {
            return None;
        }
        let at_product_scale =
            |b: &Quant| (0..channels).all(|i| (b.at(i).0 - x.at(0).0 * w.at(i).0).abs() <= b.at(i).0 * 1e-6);
        let exact = bias.is_none_or(at_product_scale);
        exact.then_some(Product { x, w, bias, axis, result })
    }

    /// Runs the kernel on whole numbers in double precision, which hold every sum of products of bytes exactly.
    fn run(&self, call: &Call<'_>, kernel: Kernel) -> Result<Vec<Datum>, Fault> {
        let mut operands = call.operands.clone();
        for (operand, quant) in operands.iter_mut().zip([Some(self.x), Some(self.w), self.bias]) {
            if let (Some(Datum::Tensor(stored)), Some(quant)) = (&operand, quant) {
                *operand = Some(steps(stored, quant)?.into());
            }
        }
        let whole = Call { graph: call.graph, op: call.op, opset: call.opset, operands, env: call.env };
        let sums = kernel(&whole)?.into_iter().next().ok_or("it made no result")?;
        let sums = sums.tensor().ok_or("it made no tensor")?;
        let ty = call.graph.value(self.result).ty();
        let out = |channel: usize| ty.quant().map_or(1.0, |q| q.at(channel).0);
        let count = self.w.scale.len().max(ty.quant().map_or(1, |q| q.scale.len()));
        // `(x_scale * w_scale) / y_scale` in single precision, then one multiplication.
        let scale: Vec<f32> = (0..count).map(|i| self.x.at(0).0 * self.w.at(i).0 / out(i)).collect();
        let real = Quant { store: Elem::I32, axis: (scale.len() > 1).then_some(self.axis), scale, zero: vec![0] };
        let channel = channels(sums.dims(), &real)?;
        let numbers = sums.to_f64().ok_or("its sums are no numbers")?;
        let scaled: Vec<f32> = numbers.iter().enumerate().map(|(i, &sum)| sum as f32 * real.at(channel(i)).0).collect();
        let scaled = Tensor::new(sums.dims(), scaled);
        Ok(vec![match ty.quant() {
            Some(q) => quantize(&scaled, &Quant { scale: vec![1.0; q.scale.len()], ..Quant::clone(q) })?.into(),
            None => scaled.into(),
        }])
    }
}

/// `stored - zero` as doubles.
fn steps(stored: &Tensor, quant: &Quant) -> Result<Tensor, Fault> {
    let numbers = whole(stored, quant)?;
    let channel = channels(stored.dims(), quant)?;
    let steps = numbers.iter().enumerate().map(|(i, &q)| (q - i64::from(quant.at(channel(i)).1)) as f64);
    Ok(Tensor::new(stored.dims(), steps.collect::<Vec<f64>>()))
}

fn whole(stored: &Tensor, quant: &Quant) -> Result<Vec<i64>, Fault> {
    if stored.elem() != quant.store {
        return Err(format!("a value of type {} is stored as {}", quant.store, stored.elem()));
    }
    stored.to_i64().ok_or_else(|| "a quantized value is stored as integers".into())
}

/// `scale * (stored - zero)` in single precision (ONNX `DequantizeLinear`).
pub fn dequantize(stored: &Tensor, quant: &Quant) -> Result<Tensor, Fault> {
    let numbers = whole(stored, quant)?;
    let channel = channels(stored.dims(), quant)?;
    let real = numbers.iter().enumerate().map(|(i, &q)| {
        let (scale, zero) = quant.at(channel(i));
        (q - i64::from(zero)) as f32 * scale
    });
    Ok(Tensor::new(stored.dims(), real.collect::<Vec<f32>>()))
}

/// `round(real / scale) + zero`, ties to even, saturating (ONNX `QuantizeLinear`); NaN as in [`round_saturating`].
pub fn quantize(real: &Tensor, quant: &Quant) -> Result<Tensor, Fault> {
    let numbers = real.to_f32().ok_or_else(|| format!("{} cannot be quantized", real.elem()))?;
    let range = range(quant.store)?;
    let channel = channels(real.dims(), quant)?;
    let stored = numbers.iter().enumerate().map(|(i, &x)| {
        let (scale, zero) = quant.at(channel(i));
        round_saturating(x / scale, i64::from(zero), range)
    });
    store(quant.store, real.dims(), stored.collect())?.tensor().cloned().ok_or_else(|| "it made no tensor".into())
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
