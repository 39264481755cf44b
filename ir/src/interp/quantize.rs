//! Quantization: real numbers to stored integers and back, and the integer operators of ONNX's own domain.
//!
//! The arithmetic is that of ONNX Runtime on x86: single precision, one division or multiplication, round half to even,
//! saturation before the zero point is added.

use super::conv::{Plan, centred};
use super::layout::broadcast;
use super::real::{ensure, read, read_f32, read_i64, spread_to, volume, write_f32};
use super::{Call, Datum, Entry, Fault};
use crate::attr::Attr;
use crate::small_float::encode_with;
use crate::tensor::Tensor;
use crate::types::Elem;

pub(super) const KERNELS: &[Entry] = &[
    ("onnx", "QuantizeLinear", quantize_linear),
    ("onnx", "DequantizeLinear", dequantize_linear),
    ("com.microsoft", "QuantizeLinear", quantize_linear),
    ("com.microsoft", "DequantizeLinear", dequantize_linear),
    ("onnx", "DynamicQuantizeLinear", dynamic_quantize_linear),
    ("onnx", "QLinearConv", qlinear_conv),
    ("onnx", "QLinearMatMul", qlinear_matmul),
    ("onnx", "MatMulInteger", matmul_integer),
];

/// Divides by nothing: multiplies an accumulated sum by a scale, rounds half to even, adds the zero point, saturates.
pub(super) fn requantize(sum: i32, scale: f32, zero: i64, (lo, hi): (i64, i64)) -> i64 {
    round_saturating(sum as f32 * scale, zero, (lo, hi))
}

/// The stored number of a real one that is already in steps of the scale: the one place where real numbers become stored.
///
/// ONNX leaves open what NaN becomes. ONNX Runtime on x86 makes it the smallest stored number (0 for u8, -128 for i8), not
/// the zero point, in vectors and their remainders alike (seen in 1.32.0 for u8, i8 and u16); so does this.
pub(super) fn round_saturating(steps: f32, zero: i64, (lo, hi): (i64, i64)) -> i64 {
    let (lo, hi) = ((lo - zero) as f32, (hi - zero) as f32);
    let clamped = if steps > lo { steps.min(hi) } else { lo };
    clamped.round_ties_even() as i64 + zero
}

/// Packs stored integers.
pub(super) fn store(elem: Elem, dims: &[usize], values: Vec<i64>) -> Result<Datum, Fault> {
    Ok(match elem {
        Elem::U8 => Tensor::new(dims, values.into_iter().map(|v| v as u8).collect::<Vec<_>>()).into(),
        Elem::I8 => Tensor::new(dims, values.into_iter().map(|v| v as i8).collect::<Vec<_>>()).into(),
        other => super::real::write(other, dims, &values.into_iter().map(|v| v as f64).collect::<Vec<_>>())?,
    })
}

/// The range of an integer element type.
pub(super) fn range(elem: Elem) -> Result<(i64, i64), Fault> {
    elem.int_range().ok_or_else(|| format!("{elem} does not hold quantized numbers"))
}

/// One scale that must be there and be alone.
pub(super) fn scale(call: &Call<'_>, index: usize) -> Result<f32, Fault> {
    match read_f32(call.tensor(index)?)?[..] {
        [scale] => Ok(scale),
        _ => Err(format!("operand {index}: expected one scale, found shape {:?}", call.tensor(index)?.dims())),
    }
}

/// One zero point; 0 when the operand is absent.
pub(super) fn zero(call: &Call<'_>, index: usize) -> Result<i64, Fault> {
    let Some(tensor) = call.get(index) else { return Ok(0) };
    match read_i64(tensor)?[..] {
        [zero] => Ok(zero),
        _ => Err(format!("operand {index}: expected one zero point, found shape {:?}", tensor.dims())),
    }
}

/// Which scale belongs to which element: one for all, one per index of an axis, or one per block along an axis.
struct Spread {
    inner: usize,
    extent: usize,
    block: usize,
    blocks: usize,
    /// Blocks have their own scale at every index of the inner axes.
    blocked: bool,
}

impl Spread {
    fn of(call: &Call<'_>, dims: &[usize], scale: &Tensor) -> Result<Self, Fault> {
        let one = Spread { inner: 1, extent: 1, block: 1, blocks: 1, blocked: false };
        let block = call.int("block_size", 0);
        if scale.len() == 1 && block == 0 {
            return Ok(one);
        }
        let axis = super::call::axis_in(call.int("axis", 1), dims.len())?;
        let (inner, extent) = (dims[axis + 1..].iter().product::<usize>(), dims[axis]);
        let wrong = || format!("scales of shape {:?} do not fit {dims:?} along axis {axis}", scale.dims());
        if block == 0 {
            ensure(scale.dims() == [extent], wrong)?;
            return Ok(Spread { inner, extent, block: 1, blocks: extent, ..one });
        }
        let block = usize::try_from(block).map_err(|_| format!("block_size {block} is negative"))?;
        let blocks = extent.div_ceil(block);
        let mut expected = dims.to_vec();
        expected[axis] = blocks;
        ensure(scale.dims() == expected, wrong)?;
        Ok(Spread { inner, extent, block, blocks, blocked: true })
    }

    fn index(&self, element: usize) -> usize {
        let (row, along) = (element / self.inner, element / self.inner % self.extent);
        match self.blocked {
            false => along,
            true => (row / self.extent * self.blocks + along / self.block) * self.inner + element % self.inner,
        }
    }
}

/// Zero points beside scales: as many, or one, or none (0).
fn zeros(tensor: Option<&Tensor>, scales: usize) -> Result<Vec<f64>, Fault> {
    let Some(tensor) = tensor else { return Ok(vec![0.0; scales]) };
    let zeros = read(tensor)?;
    match zeros.len() {
        1 => Ok(vec![zeros[0]; scales]),
        n if n == scales => Ok(zeros),
        n => Err(format!("{n} zero points for {scales} scales")),
    }
}

/// The element type that an attribute names by ONNX's number; `None` when it is absent or 0.
fn elem_attr(call: &Call<'_>, name: &str) -> Result<Option<Elem>, Fault> {
    match call.attr(name).and_then(Attr::as_int) {
        None | Some(0) => Ok(None),
        Some(code) => {
            let elem = i32::try_from(code).ok().and_then(Elem::from_onnx_code);
            elem.map(Some).ok_or_else(|| format!("{name} = {code} is no element type"))
        }
    }
}

/// Rounds to the numbers of a floating-point type.
fn through(elem: Elem, value: f64) -> f32 {
    match elem {
        Elem::F16 => half::f16::from_f64(value).to_f32(),
        Elem::Bf16 => half::bf16::from_f64(value).to_f32(),
        _ => value as f32,
    }
}

fn quantize_linear(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (x, scale) = (call.tensor(0)?, call.tensor(1)?);
    let (dims, spread) = (x.dims().to_vec(), Spread::of(call, x.dims(), scale)?);
    let scales = read_f32(scale)?;
    let zeros = zeros(call.get(2), scales.len())?;
    let elem = match call.get(2) {
        Some(zero) => zero.elem(),
        None => elem_attr(call, "output_dtype")?.unwrap_or(Elem::U8),
    };
    // The quotient is rounded to the type that the division happens in.
    let precision = elem_attr(call, "precision")?.unwrap_or(if scale.elem() == Elem::F16 { Elem::F16 } else { Elem::F32 });
    let steps = read_f32(x)?.into_iter().enumerate().map(|(i, v)| {
        let at = spread.index(i);
        let quotient = match precision {
            Elem::F32 => v / scales[at],
            narrow => through(narrow, f64::from(v) / f64::from(scales[at])),
        };
        (quotient, zeros[at])
    });
    if let Ok(range) = range(elem) {
        let stored = steps.map(|(steps, zero)| round_saturating(steps, zero as i64, range)).collect();
        return Ok(vec![store(elem, &dims, stored)?]);
    }
    ensure(elem.is_float() && elem.bits() <= 8, || format!("QuantizeLinear to {elem} is not supported"))?;
    if elem.bits() < 8 {
        let values: Vec<f64> = steps.map(|(steps, zero)| f64::from(steps) + zero).collect();
        return Ok(vec![super::real::write(elem, &dims, &values)?]);
    }
    let saturate = call.int("saturate", 1) != 0;
    let codes: Vec<u8> = steps.map(|(steps, _)| encode_with(elem, f64::from(steps), saturate)).collect();
    Tensor::from_bytes(elem, dims, codes).map(|t| vec![t.into()]).ok_or_else(|| "codes do not fill the shape".into())
}

fn dequantize_linear(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (x, scale) = (call.tensor(0)?, call.tensor(1)?);
    let spread = Spread::of(call, x.dims(), scale)?;
    let scales = read_f32(scale)?;
    let zeros = zeros(call.get(2), scales.len())?;
    let elem = elem_attr(call, "output_dtype")?.unwrap_or(scale.elem());
    let real = |(i, stored): (usize, f64)| {
        let at = spread.index(i);
        (stored - zeros[at]) as f32 * scales[at]
    };
    let y = read(x)?.into_iter().enumerate().map(real).collect();
    Ok(vec![write_f32(elem, x.dims(), y)?])
}

fn dynamic_quantize_linear(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let values = read_f32(x)?;
    let (min, max) = values.iter().fold((0f32, 0f32), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    let scale = if max == min { 1.0 } else { (max - min) / 255.0 };
    let zero = (0.0 - min / scale).clamp(0.0, 255.0).round_ties_even() as i64;
    let stored = values.iter().map(|v| round_saturating(v / scale, zero, (0, 255))).collect();
    Ok(vec![store(Elem::U8, x.dims(), stored)?, Tensor::scalar(scale).into(), Tensor::scalar(zero as u8).into()])
}

/// Operands x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias: accumulates exactly in 32 bits, then multiplies
/// by `x_scale * w_scale / y_scale`.
fn qlinear_conv(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (x, w) = (call.tensor(0)?, call.tensor(3)?);
    let plan = Plan::of_conv(call, x, w)?;
    let (dims, maps) = (plan.dims(), w.dims()[0]);
    let (x_scale, y_scale, y_zero) = (scale(call, 1)?, scale(call, 6)?, zero(call, 7)?);
    zero(call, 2)?;
    let w_scales = read_f32(call.tensor(4)?)?;
    ensure(w_scales.len() == 1 || w_scales.len() == maps, || format!("{} scales for {maps} maps", w_scales.len()))?;
    let bias = match call.get(8) {
        Some(bias) => Some(read_i64(bias)?.into_iter().map(|b| b as i32).collect::<Vec<_>>()),
        None => None,
    };
    let sums = plan.convolve(&centred(x, call.get(2))?, &centred(w, call.get(5))?, bias.as_deref(), 0)?;
    let elem = call.get(7).map_or(x.elem(), Tensor::elem);
    let (range, plane) = (range(elem)?, dims[2..].iter().product::<usize>().max(1));
    let stored = sums.into_iter().enumerate().map(|(i, sum)| {
        let w_scale = if w_scales.len() == 1 { w_scales[0] } else { w_scales[i / plane % maps] };
        requantize(sum, x_scale * w_scale / y_scale, y_zero, range)
    });
    Ok(vec![store(elem, &dims, stored.collect())?])
}

/// A product of integer matrices with broadcast batches, accumulated in 32 bits.
pub(super) struct Product {
    pub(super) sums: Vec<i32>,
    pub(super) dims: Vec<usize>,
    /// Rows and columns of each matrix of the result.
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Product {
    pub(super) fn of(a: &Tensor, a_zero: Option<&Tensor>, b: &Tensor, b_zero: Option<&Tensor>) -> Result<Product, Fault> {
        let (vector_a, vector_b) = (a.dims().len() == 1, b.dims().len() == 1);
        let a_dims = if vector_a { [&[1], a.dims()].concat() } else { a.dims().to_vec() };
        let b_dims = if vector_b { [b.dims(), &[1]].concat() } else { b.dims().to_vec() };
        let wrong = || format!("matrices of shapes {:?} and {:?} do not fit", a.dims(), b.dims());
        let (Some((&depth, a_rest)), Some((&columns, b_rest))) = (a_dims.split_last(), b_dims.split_last()) else {
            return Err(wrong());
        };
        let (Some((&rows, a_batch)), Some((&b_depth, b_batch))) = (a_rest.split_last(), b_rest.split_last()) else {
            return Err(wrong());
        };
        ensure(depth == b_depth, wrong)?;
        let batch = broadcast(&[a_batch, b_batch])?;
        let full = [&batch[..], &[rows, columns]].concat();
        let mut sums = vec![0i32; volume(&full)?];
        let a = less_zero(a, a_zero, |i| i / depth.max(1) % rows.max(1), rows)?;
        let b = less_zero(b, b_zero, |i| i % columns.max(1), columns)?;
        let numbers = |dims: &[usize]| (0..dims.iter().product()).collect::<Vec<usize>>();
        let (a_numbers, b_numbers) = (numbers(a_batch), numbers(b_batch));
        let (a_at, b_at) = (spread_to(&a_numbers, a_batch, &batch)?, spread_to(&b_numbers, b_batch, &batch)?);
        for (matrix, sums) in sums.chunks_mut((rows * columns).max(1)).enumerate() {
            let a = &a[a_at[matrix] * rows * depth..];
            let b = &b[b_at[matrix] * depth * columns..];
            for (row, sums) in sums.chunks_mut(columns).enumerate() {
                for k in 0..depth {
                    let factor = a[row * depth + k];
                    for (sum, &b) in sums.iter_mut().zip(&b[k * columns..]) {
                        *sum = sum.wrapping_add(factor.wrapping_mul(b));
                    }
                }
            }
        }
        let mut dims = batch.clone();
        dims.extend((!vector_a).then_some(rows));
        dims.extend((!vector_b).then_some(columns));
        Ok(Product { sums, dims, rows, columns })
    }
}

/// Subtracts one zero point, or that of each element's row or column.
fn less_zero(
    tensor: &Tensor,
    zero: Option<&Tensor>,
    line: impl Fn(usize) -> usize,
    lines: usize,
) -> Result<Vec<i32>, Fault> {
    let zeros = match zero {
        Some(zero) => read_i64(zero)?,
        None => vec![0],
    };
    let whole = zeros.len() == tensor.len() / tensor.dims().last().map_or(1, |&n| n.max(1));
    ensure(zeros.len() == 1 || zeros.len() == lines || whole, || format!("{} zero points for {lines} lines", zeros.len()))?;
    let zero = |i| if zeros.len() == 1 { zeros[0] } else { zeros[line(i) % zeros.len()] };
    Ok(read_i64(tensor)?.into_iter().enumerate().map(|(i, v)| (v - zero(i)) as i32).collect())
}

fn matmul_integer(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let product = Product::of(call.tensor(0)?, call.get(2), call.tensor(1)?, call.get(3))?;
    Ok(vec![Tensor::new(product.dims, product.sums).into()])
}

/// Operands a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero; `a_scale` may be per row, `b_scale` per column.
fn qlinear_matmul(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let product = Product::of(call.tensor(0)?, call.get(2), call.tensor(3)?, call.get(5))?;
    let (a_scales, b_scales) = (read_f32(call.tensor(1)?)?, read_f32(call.tensor(4)?)?);
    let fits = |scales: &[f32], lines| scales.len() == 1 || scales.len() == lines;
    ensure(fits(&a_scales, product.rows) && fits(&b_scales, product.columns), || {
        format!("{} and {} scales do not fit the product {:?}", a_scales.len(), b_scales.len(), product.dims)
    })?;
    let (y_scale, y_zero) = (scale(call, 6)?, zero(call, 7)?);
    let elem = call.get(7).map_or(call.tensor(0)?.elem(), Tensor::elem);
    let range = range(elem)?;
    let stored = product.sums.iter().enumerate().map(|(i, &sum)| {
        let a = a_scales[i / product.columns % product.rows % a_scales.len()];
        let b = b_scales[i % product.columns % b_scales.len()];
        requantize(sum, a * b / y_scale, y_zero, range)
    });
    Ok(vec![store(elem, &product.dims, stored.collect())?])
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::interp::trial::{trial, trial_in};
    use crate::tensor::Tensor;
    use crate::types::{Elem, Quant};

    fn line<T: crate::tensor::Number>(values: &[T]) -> Tensor {
        Tensor::new(vec![values.len()], values.to_vec())
    }

    #[test]
    fn rounds_half_to_even_and_saturates() {
        let x = line(&[0.5f32, 1.5, 2.5, -0.5, -1.5, 1e9, -1e9, f32::NAN]);
        let y = trial("QuantizeLinear", 13, &[], &[x, Tensor::scalar(1f32), Tensor::scalar(3u8)]).unwrap();
        assert_eq!(y[0], line(&[3u8, 5, 5, 3, 1, 255, 0, 0]));
    }

    #[test]
    fn nan_is_stored_alike_by_the_operator_and_by_the_type() {
        let x = line(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.5]);
        let y = trial("QuantizeLinear", 13, &[], &[x.clone(), Tensor::scalar(1f32), Tensor::scalar(3i8)]).unwrap();
        assert_eq!(y[0], line(&[-128i8, 127, -128, 5]));
        let typed = super::super::quantize(&x, &Quant::per_tensor(Elem::I8, 1.0, 3)).unwrap();
        assert_eq!(typed, y[0]);
    }

    #[test]
    fn scales_per_axis_and_per_block() {
        let x = Tensor::new(vec![2, 3], vec![2f32, 4., 6., 2., 4., 6.]);
        let axis = [("axis", Attr::Int(0))];
        let (scale, zero) = (line(&[1f32, 2.]), line(&[0i8, 1]));
        let y = trial("QuantizeLinear", 13, &axis, &[x.clone(), scale.clone(), zero.clone()]).unwrap();
        assert_eq!(y[0], Tensor::new(vec![2, 3], vec![2i8, 4, 6, 2, 3, 4]));
        let back = trial("DequantizeLinear", 13, &axis, &[y[0].clone(), scale, zero]).unwrap();
        assert_eq!(back[0], x);
        let block = [("axis", Attr::Int(1)), ("block_size", Attr::Int(2))];
        let scale = Tensor::new(vec![2, 2], vec![1f32, 2., 4., 0.5]);
        let y = trial("QuantizeLinear", 21, &block, &[x, scale]).unwrap();
        assert_eq!(y[0], Tensor::new(vec![2, 3], vec![2u8, 4, 3, 0, 1, 12]), "2 / 4 = 0.5 rounds to 0");
    }

    #[test]
    fn nibbles_and_small_floats() {
        let zero = Tensor::from_f64(Elem::I4, vec![], &[1.0]).unwrap();
        let y = trial("QuantizeLinear", 21, &[], &[line(&[-20f32, 3., 20.]), Tensor::scalar(1f32), zero]).unwrap();
        assert_eq!((y[0].elem(), y[0].to_f64().unwrap()), (Elem::I4, vec![-8.0, 4.0, 7.0]));
        let zero = Tensor::from_f64(Elem::F8E4M3FN, vec![], &[0.0]).unwrap();
        let x = [line(&[1000f32, 17., -3.]), Tensor::scalar(1f32), zero];
        let y = trial("QuantizeLinear", 19, &[], &x).unwrap();
        assert_eq!(y[0].to_f64().unwrap(), [448.0, 16.0, -3.0]);
        let y = trial("QuantizeLinear", 19, &[("saturate", Attr::Int(0))], &x).unwrap();
        assert!(y[0].to_f64().unwrap()[0].is_nan());
    }

    #[test]
    fn dynamic_scale_covers_zero() {
        let y = trial("DynamicQuantizeLinear", 11, &[], &[line(&[0f32, 51., -204.])]).unwrap();
        assert_eq!(y[0], line(&[204u8, 255, 0]));
        assert_eq!((y[1].to_f32().unwrap()[0], y[2].to_i64().unwrap()[0]), (1.0, 204));
    }

    #[test]
    fn convolution_requantizes_per_channel() {
        // x - 128 = [2, -2]; weights 3 and 5 per channel, bias 1: sums [7, -5] and [11, -9].
        let operands = [
            Tensor::new(vec![1, 1, 2], vec![130u8, 126]),
            Tensor::scalar(0.5f32),
            Tensor::scalar(128u8),
            Tensor::new(vec![2, 1, 1], vec![3i8, 5]),
            line(&[1f32, 2.]),
            line(&[0i8, 0]),
            Tensor::scalar(1f32),
            Tensor::scalar(4u8),
            line(&[1i32, 1]),
        ];
        let y = trial("QLinearConv", 10, &[], &operands).unwrap();
        assert_eq!(y[0], Tensor::new(vec![1, 2, 2], vec![8u8, 2, 15, 0]), "3.5 and -2.5 round to 4 and -2");
    }

    #[test]
    fn matrix_products_broadcast() {
        let a = Tensor::new(vec![2, 1, 2], vec![1u8, 2, 3, 4]);
        let b = Tensor::new(vec![2, 2], vec![1i8, -1, 2, 0]);
        let y = trial("MatMulInteger", 10, &[], &[a.clone(), b.clone(), Tensor::scalar(1u8)]).unwrap();
        assert_eq!(y[0], Tensor::new(vec![2, 1, 2], vec![2i32, 0, 8, -2]));
        let one = || Some(Tensor::scalar(1f32));
        let operands = [Some(a), one(), Some(Tensor::scalar(1u8)), Some(b), Some(line(&[0.5f32, 1.])), None, one(), None];
        let y = trial_in("onnx", "QLinearMatMul", 10, &[], &operands).unwrap();
        assert_eq!(y[0], Tensor::new(vec![2, 1, 2], vec![1u8, 0, 4, 0]));
    }
}
