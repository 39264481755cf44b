//! Functions of several elements with numpy broadcasting: arithmetic, comparisons, logic, bits, selection.

use std::cmp::Ordering::{self, Equal, Greater, Less};

use super::element::{Cells, Numbers, floats, from_floats, from_ints, ints};
use super::layout::{broadcast, broadcast_strides, offsets, spread};
use super::{Call, Datum, Entry, Fault};
use crate::graph::ONNX;
use crate::tensor::Tensor;
use crate::types::Elem;

/// Kernels of this family.
pub(super) const KERNELS: &[Entry] = &[
    (ONNX, "Add", |c| arithmetic(c, |a, b| a + b, |a, b| Some(a + b))),
    (ONNX, "And", |c| arithmetic(c, |a, _| a, |a, b| Some(a & b))),
    (ONNX, "BitShift", bit_shift),
    (ONNX, "BitwiseAnd", |c| arithmetic(c, |a, _| a, |a, b| Some(a & b))),
    (ONNX, "BitwiseOr", |c| arithmetic(c, |a, _| a, |a, b| Some(a | b))),
    (ONNX, "BitwiseXor", |c| arithmetic(c, |a, _| a, |a, b| Some(a ^ b))),
    (ONNX, "Clip", clip),
    (ONNX, "Div", |c| arithmetic(c, |a, b| a / b, i128::checked_div)),
    (ONNX, "Equal", |c| compare(c, |o| o == Some(Equal))),
    (ONNX, "Greater", |c| compare(c, |o| o == Some(Greater))),
    (ONNX, "GreaterOrEqual", |c| compare(c, |o| matches!(o, Some(Greater | Equal)))),
    (ONNX, "Less", |c| compare(c, |o| o == Some(Less))),
    (ONNX, "LessOrEqual", |c| compare(c, |o| matches!(o, Some(Less | Equal)))),
    (ONNX, "Max", |c| Ok(vec![variadic(c, max, |a, b| Some(a.max(b)))?.into()])),
    (ONNX, "Mean", mean),
    (ONNX, "Min", |c| Ok(vec![variadic(c, min, |a, b| Some(a.min(b)))?.into()])),
    (ONNX, "Mod", modulo),
    (ONNX, "Mul", |c| arithmetic(c, |a, b| a * b, |a, b| Some(a.wrapping_mul(b)))),
    (ONNX, "Or", |c| arithmetic(c, |a, _| a, |a, b| Some(a | b))),
    (ONNX, "PRelu", prelu),
    (ONNX, "Pow", pow),
    (ONNX, "Sub", |c| arithmetic(c, |a, b| a - b, |a, b| Some(a - b))),
    (ONNX, "Sum", |c| Ok(vec![variadic(c, |a, b| a + b, |a, b| Some(a + b))?.into()])),
    (ONNX, "Where", select),
    (ONNX, "Xor", |c| arithmetic(c, |a, _| a, |a, b| Some(a ^ b))),
];

type OnFloats = fn(f64, f64) -> f64;
/// `None` where the result is not defined (division by zero).
type OnInts = fn(i128, i128) -> Option<i128>;

/// The larger one; NaN if one is (unlike `f64::max`).
fn max(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// The smaller one; NaN if one is.
fn min(a: f64, b: f64) -> f64 {
    if a.is_nan() || a < b { a } else { b }
}

fn arithmetic(call: &Call<'_>, on_floats: OnFloats, on_ints: OnInts) -> Result<Vec<Datum>, Fault> {
    Ok(vec![combine(call, call.tensor(0)?, call.tensor(1)?, on_floats, on_ints)?.into()])
}

/// Two tensors of one type, element by element.
fn combine(call: &Call<'_>, a: &Tensor, b: &Tensor, on_floats: OnFloats, on_ints: OnInts) -> Result<Tensor, Fault> {
    if a.elem() != b.elem() {
        return Err(format!("its operands are of types {} and {}", a.elem(), b.elem()));
    }
    let dims = broadcast(&[a.dims(), b.dims()])?;
    call.reserve(Elem::C128, &dims)?;
    if a.elem().is_float() {
        let (x, y) = (floats(a)?, floats(b)?);
        let (x, y) = (spread(&x, a.dims(), &dims), spread(&y, b.dims(), &dims));
        let values: Vec<f64> = x.iter().zip(y.iter()).map(|(&x, &y)| on_floats(x, y)).collect();
        return from_floats(a.elem(), &dims, &values);
    }
    let (x, y) = (ints(a)?, ints(b)?);
    let (x, y) = (spread(&x, a.dims(), &dims), spread(&y, b.dims(), &dims));
    let values: Option<Vec<i128>> = x.iter().zip(y.iter()).map(|(&x, &y)| on_ints(x, y)).collect();
    from_ints(a.elem(), &dims, values.ok_or("an integer is divided by zero")?)
}

/// Before opset 7 a slope of rank 1 belongs to channels.
fn prelu(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (x, slope) = (call.tensor(0)?, call.tensor(1)?);
    let mut dims = slope.dims().to_vec();
    if call.opset < 7 && dims.len() == 1 {
        dims.resize(x.dims().len().saturating_sub(1).max(1), 1);
    }
    let slope = slope.reshaped(dims).ok_or("its slope cannot be reshaped")?;
    let scaled: OnInts = |x, slope| Some(if x < 0 { x.wrapping_mul(slope) } else { x });
    Ok(vec![combine(call, x, &slope, |x, slope| if x < 0.0 { x * slope } else { x }, scaled)?.into()])
}

fn variadic(call: &Call<'_>, on_floats: OnFloats, on_ints: OnInts) -> Result<Tensor, Fault> {
    let mut all = call.tensors()?.into_iter();
    let first = all.next().ok_or("it has no operands")?.clone();
    all.try_fold(first, |sum, next| combine(call, &sum, next, on_floats, on_ints))
}

fn mean(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let sum = variadic(call, |a, b| a + b, |_, _| None)?;
    let count = call.operands.len() as f64;
    let values: Vec<f64> = floats(&sum)?.iter().map(|v| v / count).collect();
    Ok(vec![from_floats(sum.elem(), sum.dims(), &values)?.into()])
}

fn modulo(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    if call.int("fmod", 0) != 0 {
        return arithmetic(call, |a, b| a % b, i128::checked_rem);
    }
    // The sign of the divisor, as in Python.
    let on_floats: OnFloats = |a, b| a - b * (a / b).floor();
    arithmetic(call, on_floats, |a, b| a.checked_rem(b).map(|r| if r != 0 && (r < 0) != (b < 0) { r + b } else { r }))
}

/// The exponent may be of another type than the base; the result is of the base's.
fn pow(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    let dims = broadcast(&[a.dims(), b.dims()])?;
    call.reserve(Elem::C128, &dims)?;
    if a.elem().is_int() && b.elem().is_int() {
        let (x, y) = (ints(a)?, ints(b)?);
        let (x, y) = (spread(&x, a.dims(), &dims), spread(&y, b.dims(), &dims));
        let power = |(&x, &y): (&i128, &i128)| match u32::try_from(y) {
            Ok(y) => x.wrapping_pow(y),
            Err(_) => (x as f64).powf(y as f64) as i128,
        };
        return Ok(vec![from_ints(a.elem(), &dims, x.iter().zip(y.iter()).map(power).collect())?.into()]);
    }
    let (x, y) = (floats(a)?, floats(b)?);
    let (x, y) = (spread(&x, a.dims(), &dims), spread(&y, b.dims(), &dims));
    let truncate = !a.elem().is_float();
    let power = |(&x, &y): (&f64, &f64)| if truncate { x.powf(y).trunc() } else { x.powf(y) };
    let values: Vec<f64> = x.iter().zip(y.iter()).map(power).collect();
    Ok(vec![from_floats(a.elem(), &dims, &values)?.into()])
}

fn bit_shift(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    /// Below 64: elements have no more bits, so that nothing is lost in 128 before the result is wrapped.
    fn bits(by: i128) -> Option<u32> {
        u32::try_from(by).ok().filter(|&by| by < 64)
    }
    match call.str("direction", "") {
        "LEFT" => arithmetic(call, |a, _| a, |a, by| Some(bits(by).map_or(0, |by| a << by))),
        "RIGHT" => arithmetic(call, |a, _| a, |a, by| Some(bits(by).map_or(0, |by| a >> by))),
        other => Err(format!("direction = {other:?} is neither LEFT nor RIGHT")),
    }
}

fn compare(call: &Call<'_>, holds: fn(Option<Ordering>) -> bool) -> Result<Vec<Datum>, Fault> {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    let dims = broadcast(&[a.dims(), b.dims()])?;
    call.reserve(Elem::C128, &dims)?;
    fn each<T: Clone + PartialOrd>(
        (x, y): (&[T], &[T]),
        (a, b): (&Tensor, &Tensor),
        dims: &[usize],
        holds: fn(Option<Ordering>) -> bool,
    ) -> Vec<bool> {
        let (x, y) = (spread(x, a.dims(), dims), spread(y, b.dims(), dims));
        x.iter().zip(y.iter()).map(|(x, y)| holds(x.partial_cmp(y))).collect()
    }
    let answers = match (Numbers::of(a)?, Numbers::of(b)?) {
        (Numbers::Float(x), Numbers::Float(y)) => each((&x, &y), (a, b), &dims, holds),
        (Numbers::Int(x), Numbers::Int(y)) => each((&x, &y), (a, b), &dims, holds),
        (Numbers::Text(x), Numbers::Text(y)) => each((&x, &y), (a, b), &dims, holds),
        _ => return Err(format!("{} is compared with {}", a.elem(), b.elem())),
    };
    Ok(vec![Tensor::bools(dims, answers).into()])
}

fn select(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (condition, x, y) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    if x.elem() != y.elem() {
        return Err(format!("it chooses between {} and {}", x.elem(), y.elem()));
    }
    let dims = broadcast(&[condition.dims(), x.dims(), y.dims()])?;
    call.reserve(Elem::C128, &dims)?;
    call.reserve(x.elem(), &dims)?;
    let chosen = condition.to_bools().ok_or("its condition is not boolean")?;
    let chosen = spread(&chosen, condition.dims(), &dims);
    let places = |t: &Tensor| offsets(&dims, &broadcast_strides(t.dims(), &dims));
    let mut both = Cells::of(x);
    both.append(Cells::of(y))?;
    let (from_x, from_y) = (places(x), places(y));
    let taken = chosen.iter().enumerate().map(|(i, &first)| Some(if first { from_x[i] } else { x.len() + from_y[i] }));
    Ok(vec![both.take(taken).into_tensor(x.elem(), &dims)?.into()])
}

/// Bounds are attributes before opset 11, operands since.
fn clip(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    call.reserve(Elem::C128, x.dims())?;
    if x.elem().is_float() {
        let bound = |index: usize, name: &str, default: f64| match call.get(index) {
            _ if call.opset < 11 => Ok(call.attr(name).and_then(|a| a.as_float()).map_or(default, f64::from)),
            Some(bound) => floats(bound)?.first().copied().ok_or_else(|| format!("{name} has no element")),
            None => Ok(default),
        };
        let (low, high) = (bound(1, "min", f64::NEG_INFINITY)?, bound(2, "max", f64::INFINITY)?);
        let mut values = floats(x)?;
        for v in &mut values {
            *v = if *v < low { low } else { *v };
            *v = if *v > high { high } else { *v };
        }
        return Ok(vec![from_floats(x.elem(), x.dims(), &values)?.into()]);
    }
    let bound = |index: usize, default: i128| match call.get(index) {
        Some(bound) => ints(bound)?.first().copied().ok_or_else(|| "a bound has no element".to_owned()),
        None => Ok(default),
    };
    let (low, high) = (bound(1, i128::MIN)?, bound(2, i128::MAX)?);
    let values = ints(x)?.into_iter().map(|v| v.max(low).min(high)).collect();
    Ok(vec![from_ints(x.elem(), x.dims(), values)?.into()])
}
