//! Functions of one element: arithmetic, trigonometry, activations.

use super::element::{floats, from_floats, from_ints, ints};
use super::{Call, Datum, Entry, Fault};
use crate::graph::ONNX;
use crate::tensor::Tensor;
use crate::types::Elem;

/// Kernels of this family.
pub(super) const KERNELS: &[Entry] = &[
    (ONNX, "Abs", |c| number(c, f64::abs, |v| v.abs())),
    (ONNX, "Acos", |c| float(c, f64::acos)),
    (ONNX, "Acosh", |c| float(c, f64::acosh)),
    (ONNX, "Asin", |c| float(c, f64::asin)),
    (ONNX, "Asinh", |c| float(c, f64::asinh)),
    (ONNX, "Atan", |c| float(c, f64::atan)),
    (ONNX, "Atanh", |c| float(c, f64::atanh)),
    (ONNX, "BitwiseNot", |c| integer(c, |v| !v)),
    (ONNX, "Ceil", |c| float(c, f64::ceil)),
    (ONNX, "Celu", |c| {
        let alpha = param(c, "alpha", 1.0);
        float(c, move |x| x.max(0.0) + (alpha * (x / alpha).exp_m1()).min(0.0))
    }),
    (ONNX, "Cos", |c| float(c, f64::cos)),
    (ONNX, "Cosh", |c| float(c, f64::cosh)),
    (ONNX, "Elu", |c| {
        let alpha = param(c, "alpha", 1.0);
        float(c, move |x| if x < 0.0 { alpha * x.exp_m1() } else { x })
    }),
    (ONNX, "Erf", |c| number(c, erf, i128::signum)),
    (ONNX, "Exp", |c| float(c, f64::exp)),
    (ONNX, "Floor", |c| float(c, f64::floor)),
    (ONNX, "Gelu", gelu),
    (ONNX, "HardSigmoid", |c| {
        let (alpha, beta) = (param(c, "alpha", 0.2), param(c, "beta", 0.5));
        float(c, move |x| (alpha * x + beta).clamp(0.0, 1.0))
    }),
    (ONNX, "HardSwish", |c| float(c, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0))),
    (ONNX, "IsInf", is_inf),
    (ONNX, "IsNaN", |c| test(c, f64::is_nan)),
    (ONNX, "LeakyRelu", |c| {
        let alpha = param(c, "alpha", 0.01);
        float(c, move |x| if x < 0.0 { alpha * x } else { x })
    }),
    (ONNX, "Log", |c| float(c, f64::ln)),
    (ONNX, "Mish", |c| float(c, |x| x * softplus(x).tanh())),
    (ONNX, "Neg", |c| number(c, |x| -x, |v| -v)),
    (ONNX, "Not", |c| integer(c, |v| i128::from(v == 0))),
    (ONNX, "Reciprocal", |c| float(c, f64::recip)),
    (ONNX, "Relu", |c| number(c, |x| if x < 0.0 { 0.0 } else { x }, |v| v.max(0))),
    (ONNX, "Round", |c| float(c, f64::round_ties_even)),
    (ONNX, "Selu", |c| {
        let (alpha, gamma) = (param(c, "alpha", 1.673_263_2), param(c, "gamma", 1.050_701));
        float(c, move |x| gamma * if x > 0.0 { x } else { alpha * x.exp_m1() })
    }),
    (ONNX, "Shrink", |c| {
        let (lambd, bias) = (param(c, "lambd", 0.5), param(c, "bias", 0.0));
        let shrink = move |x: f64| match x {
            x if x < -lambd => x + bias,
            x if x > lambd => x - bias,
            _ => 0.0,
        };
        let whole = |v: i128| shrink(v as f64) as i128;
        number(c, shrink, whole)
    }),
    (ONNX, "Sigmoid", |c| float(c, sigmoid)),
    (ONNX, "Sign", |c| {
        let sign = |x: f64| if x == 0.0 || x.is_nan() { x } else { x.signum() };
        number(c, sign, i128::signum)
    }),
    (ONNX, "Sin", |c| float(c, f64::sin)),
    (ONNX, "Sinh", |c| float(c, f64::sinh)),
    (ONNX, "Softplus", |c| float(c, softplus)),
    (ONNX, "Softsign", |c| float(c, |x| x / (1.0 + x.abs()))),
    (ONNX, "Sqrt", |c| float(c, f64::sqrt)),
    (ONNX, "Swish", |c| {
        let alpha = param(c, "alpha", 1.0);
        float(c, move |x| x * sigmoid(alpha * x))
    }),
    (ONNX, "Tan", |c| float(c, f64::tan)),
    (ONNX, "Tanh", |c| float(c, f64::tanh)),
    (ONNX, "ThresholdedRelu", |c| {
        let alpha = param(c, "alpha", 1.0);
        float(c, move |x| if x > alpha { x } else { 0.0 })
    }),
];

fn param(call: &Call<'_>, name: &str, default: f32) -> f64 {
    f64::from(call.float(name, default))
}

/// A function of floats.
fn float(call: &Call<'_>, function: impl Fn(f64) -> f64) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    if !x.elem().is_float() {
        return Err(format!("it takes floats, not {}", x.elem()));
    }
    call.reserve(Elem::F64, x.dims())?;
    let mut values = floats(x)?;
    values.iter_mut().for_each(|v| *v = function(*v));
    Ok(vec![from_floats(x.elem(), x.dims(), &values)?.into()])
}

/// A function of integers or booleans.
fn integer(call: &Call<'_>, function: impl Fn(i128) -> i128) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    call.reserve(Elem::C128, x.dims())?;
    let values = ints(x)?.into_iter().map(function).collect();
    Ok(vec![from_ints(x.elem(), x.dims(), values)?.into()])
}

/// A function of floats and of integers.
fn number(call: &Call<'_>, on_float: impl Fn(f64) -> f64, on_int: impl Fn(i128) -> i128) -> Result<Vec<Datum>, Fault> {
    if call.tensor(0)?.elem().is_float() { float(call, on_float) } else { integer(call, on_int) }
}

/// A question about floats.
fn test(call: &Call<'_>, question: impl Fn(f64) -> bool) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    call.reserve(Elem::F64, x.dims())?;
    Ok(vec![Tensor::bools(x.dims(), floats(x)?.into_iter().map(question).collect()).into()])
}

fn is_inf(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (negative, positive) = (call.int("detect_negative", 1) != 0, call.int("detect_positive", 1) != 0);
    test(call, |x| x.is_infinite() && if x < 0.0 { negative } else { positive })
}

fn gelu(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    match call.str("approximate", "none") {
        "none" => float(call, |x| 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2))),
        "tanh" => {
            let slope = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
            float(call, move |x| 0.5 * x * (1.0 + (slope * (x + 0.044715 * x * x * x)).tanh()))
        }
        other => Err(format!("approximate = {other:?} is neither none nor tanh")),
    }
}

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The error function by its series with positive terms only (Abramowitz and Stegun 7.1.6): exact to some 1e-15.
pub(super) fn erf(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 6.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while term.abs() > sum.abs() * 1e-17 {
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
        n += 1.0;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}
