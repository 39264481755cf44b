//! Quantized operators of ONNX Runtime's own domain, with the results of its CPU code on x86 to the bit.
//!
//! Every operator here computes in single precision and rounds half to even; they differ in where the zero point is added
//! and where saturation happens, which decides ties. Where its vector code fuses a multiplication with an addition, so does
//! this.

use super::call::axis_in;
use super::layout::broadcast;
use super::pool::{each_tap, windows};
use super::quantize::{Product, range, requantize, round_saturating, scale, store, zero};
use super::real::{ensure, read_f32, read_i64, spread_to, volume};
use super::{Call, Datum, Entry, Fault};
use crate::tensor::Tensor;
use crate::types::Elem;

pub(super) const KERNELS: &[Entry] = &[
    ("com.microsoft", "QLinearAdd", qlinear_add),
    ("com.microsoft", "QLinearMul", qlinear_mul),
    ("com.microsoft", "QLinearSigmoid", qlinear_sigmoid),
    ("com.microsoft", "QLinearLeakyRelu", qlinear_leaky_relu),
    ("com.microsoft", "QLinearGlobalAveragePool", qlinear_global_average_pool),
    ("com.microsoft", "QLinearAveragePool", qlinear_average_pool),
    ("com.microsoft", "QLinearConcat", qlinear_concat),
    ("com.microsoft", "QLinearWhere", qlinear_where),
    ("com.microsoft", "QLinearSoftmax", qlinear_softmax),
    ("com.microsoft", "QGemm", qgemm),
];

/// Scale and zero point at two neighbouring operands.
fn quant(call: &Call<'_>, index: usize) -> Result<(f32, i64), Fault> {
    Ok((scale(call, index)?, zero(call, index + 1)?))
}

/// Converts as the processor does: what does not fit 32 bits becomes the smallest number.
fn to_i32(value: f32) -> i64 {
    let rounded = value.round_ties_even();
    if (-2147483648.0..2147483648.0).contains(&rounded) { rounded as i64 } else { i64::from(i32::MIN) }
}

/// Operands a, a_scale, a_zero, b, b_scale, b_zero, c_scale, c_zero; `combine` gets the stored numbers.
fn elementwise(call: &Call<'_>, combine: impl Fn(i64, i64) -> f32) -> Result<Vec<Datum>, Fault> {
    let (a, b) = (call.tensor(0)?, call.tensor(3)?);
    let dims = broadcast(&[a.dims(), b.dims()])?;
    let (lo, hi) = range(a.elem())?;
    let (a_values, b_values) = (read_i64(a)?, read_i64(b)?);
    let (left, right) = (spread_to(&a_values, a.dims(), &dims)?, spread_to(&b_values, b.dims(), &dims)?);
    let stored = left.iter().zip(right.iter()).map(|(&a, &b)| to_i32(combine(a, b)).clamp(lo, hi));
    Ok(vec![store(a.elem(), &dims, stored.collect())?])
}

/// True when rows of `a` meet single numbers of `b`'s shape from the last axis on: then the two change places.
fn first_is_single(a: &[usize], b: &[usize]) -> bool {
    let extent = |dims: &[usize], back: usize| dims.len().checked_sub(back + 1).map_or(1, |d| dims[d]);
    let rank = a.len().max(b.len());
    (0..rank).map(|back| (extent(a, back), extent(b, back))).find(|&(x, y)| x != 1 || y != 1).is_none_or(|(x, _)| x == 1)
}

fn qlinear_add(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let ((a_scale, a_zero), (b_scale, b_zero), (c_scale, c_zero)) = (quant(call, 1)?, quant(call, 4)?, quant(call, 6)?);
    let (a_ratio, b_ratio) = (a_scale / c_scale, b_scale / c_scale);
    let swapped = first_is_single(call.tensor(0)?.dims(), call.tensor(3)?.dims());
    let fixed = c_zero as f32 - (a_ratio * a_zero as f32 + b_ratio * b_zero as f32);
    elementwise(call, |a, b| {
        let (a, b) = (a as f32, b as f32);
        if swapped { b.mul_add(b_ratio, a.mul_add(a_ratio, fixed)) } else { a.mul_add(a_ratio, b.mul_add(b_ratio, fixed)) }
    })
}

fn qlinear_mul(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let ((a_scale, a_zero), (b_scale, b_zero), (c_scale, c_zero)) = (quant(call, 1)?, quant(call, 4)?, quant(call, 6)?);
    let ratio = a_scale * b_scale / c_scale;
    elementwise(call, |a, b| ((a - a_zero) * (b - b_zero)) as f32 * ratio + c_zero as f32)
}

/// Maps each stored number through real numbers: dequantize, apply, quantize.
fn remap(x: &Tensor, from: (f32, i64), to: (f32, i64), apply: impl Fn(f32) -> f32) -> Result<Vec<i64>, Fault> {
    let range = range(x.elem())?;
    let map = |v: i64| round_saturating(apply(from.0 * (v - from.1) as f32) / to.0, to.1, range);
    Ok(read_i64(x)?.into_iter().map(map).collect())
}

fn table(call: &Call<'_>, apply: impl Fn(f32) -> f32) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let stored = remap(x, quant(call, 1)?, quant(call, 3)?, apply)?;
    Ok(vec![store(x.elem(), x.dims(), stored)?])
}

fn qlinear_sigmoid(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    table(call, logistic)
}

fn qlinear_leaky_relu(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let alpha = call.float("alpha", 0.01);
    table(call, |v| if v >= 0.0 { v } else { alpha * v })
}

/// The logistic function as the rational approximation that ONNX Runtime took from Eigen.
fn logistic(value: f32) -> f32 {
    const P: [f32; 5] = [4.370_31e-11, 1.156_273_2e-7, 6.085_749e-5, 8.513_771e-3, 2.482_879_5e-1];
    const Q: [f32; 6] = [6.102_473_7e-13, 5.761_021_4e-9, 6.291_068e-6, 1.701_988_2e-3, 1.168_176_5e-1, 9.931_519e-1];
    let value = value.clamp(-18.0, 18.0);
    let square = value * value;
    let horner = |coefficients: &[f32]| coefficients[1..].iter().fold(coefficients[0], |sum, &c| sum.mul_add(square, c));
    (horner(&P) * value / horner(&Q) + 0.5).clamp(0.0, 1.0)
}

/// Moves the channels to or from the last axis.
fn move_channels<T: Copy>(values: &[T], channels: usize, plane: usize, to_last: bool) -> Vec<T> {
    let image = (channels * plane).max(1);
    let source = |i: usize| {
        let (n, rest) = (i / image, i % image);
        n * image + if to_last { rest % channels * plane + rest / channels } else { rest % plane * channels + rest / plane }
    };
    (0..values.len()).map(|i| values[source(i)]).collect()
}

/// Extents in the order N, C, D1, ... of a tensor that may have its channels last.
fn channels_first(call: &Call<'_>, dims: &[usize]) -> Result<(Vec<usize>, bool), Fault> {
    let last = call.int("channels_last", 0) != 0;
    ensure(dims.len() >= 3, || format!("shape {dims:?} has no spatial axes"))?;
    Ok(match last {
        false => (dims.to_vec(), false),
        true => ([&dims[..1], &dims[dims.len() - 1..], &dims[1..dims.len() - 1]].concat(), true),
    })
}

/// Packs a result of shape N, C, D1, ... in the order of axes that the call wants.
fn store_ordered(elem: Elem, dims: &[usize], values: Vec<i64>, last: bool) -> Result<Datum, Fault> {
    if !last {
        return store(elem, dims, values);
    }
    let moved = move_channels(&values, dims[1], dims[2..].iter().product(), true);
    store(elem, &[&dims[..1], &dims[2..], &dims[1..2]].concat(), moved)
}

/// The stored numbers of the first operand in the order N, C, D1, ..., and their shape.
fn planes(call: &Call<'_>) -> Result<(Vec<i64>, Vec<usize>, bool), Fault> {
    let x = call.tensor(0)?;
    let (dims, last) = channels_first(call, x.dims())?;
    let values = read_i64(x)?;
    let values = if last { move_channels(&values, dims[1], dims[2..].iter().product(), false) } else { values };
    Ok((values, dims, last))
}

fn qlinear_global_average_pool(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (values, mut dims, last) = planes(call)?;
    let sums = mean_of_planes(call, &values, &dims)?;
    dims[2..].fill(1);
    Ok(vec![store_ordered(call.tensor(0)?.elem(), &dims, sums, last)?])
}

fn mean_of_planes(call: &Call<'_>, values: &[i64], dims: &[usize]) -> Result<Vec<i64>, Fault> {
    let ((x_scale, x_zero), (y_scale, y_zero)) = (quant(call, 1)?, quant(call, 3)?);
    let range = range(call.tensor(0)?.elem())?;
    let plane: usize = dims[2..].iter().product();
    ensure(plane > 0, || "nothing to average".to_string())?;
    let factor = x_scale / (y_scale * plane as f32);
    let mean = |plane: &[i64]| {
        let sum: i64 = plane.iter().sum::<i64>() - x_zero * plane.len() as i64;
        requantize(sum as i32, factor, y_zero, range)
    };
    Ok(values.chunks(plane).map(mean).collect())
}

/// Averages real numbers; a window over the whole image is a global average.
fn qlinear_average_pool(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (values, dims, last) = planes(call)?;
    let elem = call.tensor(0)?.elem();
    // The geometry needs nothing but the shape.
    let shape = Tensor::from_bytes(Elem::U8, dims.clone(), vec![0u8; volume(&dims)?]).ok_or("shape")?;
    let (windows, y_dims) = windows(call, &shape)?;
    if windows.kernel == windows.input && windows.pads.iter().all(|&p| p == (0, 0)) {
        return Ok(vec![store_ordered(elem, &y_dims, mean_of_planes(call, &values, &dims)?, last)?]);
    }
    let ((x_scale, x_zero), (y_scale, y_zero)) = (quant(call, 1)?, quant(call, 3)?);
    let (lo, hi) = range(elem)?;
    let real: Vec<f32> = values.iter().map(|&v| x_scale * (v - x_zero) as f32).collect();
    let mut sums = vec![0f32; volume(&y_dims)?];
    each_tap(&windows, y_dims[0] * y_dims[1], |to, at| sums[to] += real[at]);
    let counts = match call.int("count_include_pad", 0) {
        0 => windows.tap_counts(false),
        _ => vec![windows.taps()],
    };
    let stored = sums.iter().enumerate().map(|(i, sum)| {
        let mean = sum / counts[i % counts.len()] as f32;
        to_i32(mean / y_scale + y_zero as f32).clamp(lo, hi)
    });
    Ok(vec![store_ordered(elem, &y_dims, stored.collect(), last)?])
}

/// Brings stored numbers to another scale; equal scales and zero points copy.
fn rescale(x: &Tensor, from: (f32, i64), to: (f32, i64)) -> Result<Vec<i64>, Fault> {
    if from == to { read_i64(x) } else { remap(x, from, to, |v| v) }
}

/// Operands y_scale, y_zero, then (x, scale, zero) of each part.
fn qlinear_concat(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let to = quant(call, 0)?;
    let parts: Vec<usize> = (2..call.operands.len()).step_by(3).collect();
    let first = call.tensor(2)?;
    let axis = axis_in(call.int("axis", 0), first.dims().len())?;
    let mut dims = first.dims().to_vec();
    dims[axis] = 0;
    let mut blocks = Vec::new();
    for &part in &parts {
        let x = call.tensor(part)?;
        let fits = x.dims().len() == dims.len() && (0..dims.len()).all(|d| d == axis || x.dims()[d] == dims[d]);
        ensure(fits, || format!("shapes {:?} and {:?} do not join along axis {axis}", first.dims(), x.dims()))?;
        dims[axis] += x.dims()[axis];
        blocks.push((rescale(x, quant(call, part + 1)?, to)?, x.dims()[axis..].iter().product::<usize>()));
    }
    let rows: usize = dims[..axis].iter().product();
    let mut y = Vec::with_capacity(volume(&dims)?);
    for row in 0..rows {
        blocks.iter().for_each(|(values, len)| y.extend_from_slice(&values[row * len..][..*len]));
    }
    Ok(vec![store(first.elem(), &dims, y)?])
}

/// Operands condition, x, x_scale, x_zero, y, y_scale, y_zero, z_scale, z_zero.
fn qlinear_where(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (condition, x, y) = (call.tensor(0)?, call.tensor(1)?, call.tensor(4)?);
    let to = quant(call, 7)?;
    let dims = broadcast(&[condition.dims(), x.dims(), y.dims()])?;
    let chosen = condition.to_bools().ok_or("the condition must be boolean")?;
    let (x_values, y_values) = (rescale(x, quant(call, 2)?, to)?, rescale(y, quant(call, 5)?, to)?);
    let chosen = spread_to(&chosen, condition.dims(), &dims)?;
    let (left, right) = (spread_to(&x_values, x.dims(), &dims)?, spread_to(&y_values, y.dims(), &dims)?);
    let z = chosen.iter().zip(left.iter().zip(right.iter())).map(|(&first, (&x, &y))| if first { x } else { y });
    Ok(vec![store(x.elem(), &dims, z.collect())?])
}

/// Exponentials come from a table in which the largest number of each row stands last, shifted so that sums do not overflow.
fn qlinear_softmax(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let (newer, rank) = (call.int("opset", 13) >= 13, x.dims().len());
    let axis = axis_in(call.int("axis", if newer { -1 } else { 1 }), rank)?;
    let ((x_scale, _), (y_scale, y_zero)) = (quant(call, 1)?, quant(call, 3)?);
    // Before opset 13 all axes from the given one on are reduced together.
    let (len, inner) = match newer {
        true => (x.dims()[axis], x.dims()[axis + 1..].iter().product::<usize>()),
        false => (x.dims()[axis..].iter().product(), 1),
    };
    let (lo, hi) = range(x.elem())?;
    let mut y = read_i64(x)?;
    if y.is_empty() {
        return Ok(vec![x.clone().into()]);
    }
    let headroom = (f64::from(f32::MAX / len as f32).ln() - 5.0).max(0.0) / f64::from(x_scale);
    let exps: Vec<f32> = (0..256).map(|i| ((f64::from(i) - 255.0 + headroom) * f64::from(x_scale)).exp() as f32).collect();
    let steps = (1.0 / y_scale).floor();
    for block in y.chunks_mut(len * inner) {
        for i in 0..inner {
            let line = || (0..len).map(move |k| i + k * inner);
            let most = line().map(|k| block[k]).max().unwrap_or(hi);
            let exp = |v: i64| exps[(255 - (most - v)) as usize];
            let sum = line().fold(0f32, |sum, k| sum + exp(block[k]));
            for k in line() {
                block[k] = (((exp(block[k]) * steps) / sum).round_ties_even() as i64 + y_zero).clamp(lo, hi);
            }
        }
    }
    Ok(vec![store(x.elem(), x.dims(), y)?])
}

/// Operands a, a_scale, a_zero, b, b_scale, b_zero, bias, y_scale, y_zero. Without `y_scale` the result is real.
fn qgemm(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let turned = |index: usize, name: &str| -> Result<Tensor, Fault> {
        let tensor = call.tensor(index)?;
        match (tensor.dims(), call.int(name, 0)) {
            (&[_, _], 0) => Ok(tensor.clone()),
            (&[rows, columns], _) => {
                let values = read_i64(tensor)?;
                let turned = (0..values.len()).map(|i| values[i % rows * columns + i / rows]).collect();
                store(tensor.elem(), &[columns, rows], turned)?.tensor().cloned().ok_or_else(|| "no tensor".into())
            }
            (dims, _) => Err(format!("operand {index} of shape {dims:?} is no matrix")),
        }
    };
    let (a, b) = (turned(0, "transA")?, turned(3, "transB")?);
    let mut product = Product::of(&a, call.get(2), &b, call.get(5))?;
    if let Some(bias) = call.get(6) {
        let values = read_i64(bias)?;
        let values = spread_to(&values, bias.dims(), &product.dims)?;
        product.sums.iter_mut().zip(values.iter()).for_each(|(sum, &b)| *sum = sum.wrapping_add(b as i32));
    }
    let (alpha, a_scale, b_scales) = (call.float("alpha", 1.0), scale(call, 1)?, read_f32(call.tensor(4)?)?);
    ensure([1, product.columns].contains(&b_scales.len()), || format!("{} scales of columns", b_scales.len()))?;
    let column = |i: usize| alpha * a_scale * b_scales[i % product.columns % b_scales.len()];
    if call.get(7).is_none() {
        let y: Vec<f32> = product.sums.iter().enumerate().map(|(i, &sum)| sum as f32 * column(i)).collect();
        return Ok(vec![Tensor::new(product.dims, y).into()]);
    }
    let (y_scale, y_zero) = quant(call, 7)?;
    let elem = call.get(8).map_or(a.elem(), Tensor::elem);
    let range = range(elem)?;
    let stored = product.sums.iter().enumerate().map(|(i, &sum)| requantize(sum, column(i) / y_scale, y_zero, range));
    Ok(vec![store(elem, &product.dims, stored.collect())?])
}
