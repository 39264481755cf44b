//! Conversion between element types: Cast, CastLike.

use super::element::{Cells, floats, from_floats, from_ints, ints};
use super::{Call, Datum, Entry, Fault};
use crate::graph::ONNX;
use crate::small_float::encode_with;
use crate::tensor::Tensor;
use crate::types::Elem;

/// Kernels of this family.
pub(super) const KERNELS: &[Entry] = &[(ONNX, "Cast", cast), (ONNX, "CastLike", cast_like)];

fn cast(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let code = call.int("to", 0);
    let to = i32::try_from(code).ok().and_then(Elem::from_onnx_code);
    convert(call, to.ok_or_else(|| format!("to = {code} is no element type"))?)
}

fn cast_like(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    convert(call, call.tensor(1)?.elem())
}

fn convert(call: &Call<'_>, to: Elem) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    call.reserve(Elem::C128, x.dims())?;
    let how = How { saturate: call.int("saturate", 1) != 0, round: call.str("round_mode", "up") };
    Ok(vec![cast_tensor(x, to, &how)?.into()])
}

/// The attributes of Cast that speak of float8.
struct How<'a> {
    saturate: bool,
    round: &'a str,
}

fn cast_tensor(x: &Tensor, to: Elem, how: &How<'_>) -> Result<Tensor, Fault> {
    if x.elem() == to {
        return Ok(x.clone());
    }
    match (x.elem(), to) {
        (Elem::Str, _) => from_text(x, to, how),
        (_, Elem::Str) => to_text(x),
        (from, _) if from.is_float() => from_reals(&floats(x)?, x.dims(), to, how),
        (_, Elem::F32) => Ok(Tensor::new(x.dims(), ints(x)?.into_iter().map(|v| v as f32).collect())),
        (_, to) if to.is_float() => {
            let reals: Vec<f64> = ints(x)?.into_iter().map(|v| v as f64).collect();
            from_reals(&reals, x.dims(), to, how)
        }
        (_, to) => from_ints(to, x.dims(), ints(x)?),
    }
}

fn from_reals(values: &[f64], dims: &[usize], to: Elem, how: &How<'_>) -> Result<Tensor, Fault> {
    match to {
        Elem::F8E8M0 => {
            let codes = values.iter().map(|&v| power_of_two(v, how)).collect();
            Cells::Bytes(1, codes).into_tensor(to, dims)
        }
        Elem::F8E4M3FN | Elem::F8E4M3FNUZ | Elem::F8E5M2 | Elem::F8E5M2FNUZ => {
            let codes = values.iter().map(|&v| encode_with(to, v, how.saturate)).collect();
            Cells::Bytes(1, codes).into_tensor(to, dims)
        }
        // Toward zero as in C; out of range wraps in types below a byte and saturates in others (ONNX leaves it open).
        to if to.is_int() && to.bits() < 8 => from_ints(to, dims, values.iter().map(|&v| v as i128).collect()),
        to if to.is_int() => {
            let whole: Vec<f64> = values.iter().map(|v| v.trunc()).collect();
            from_floats(to, dims, &whole)
        }
        to => from_floats(to, dims, values),
    }
}

/// The exponent byte of E8M0; `round_mode` says what becomes of numbers between powers of two.
fn power_of_two(value: f64, how: &How<'_>) -> u8 {
    if value.is_nan() {
        return 0xFF;
    }
    let value = value.abs();
    if value == 0.0 {
        return 0;
    }
    if value.is_infinite() {
        return if how.saturate { 254 } else { 0xFF };
    }
    let below = value.log2().floor();
    let fraction = value / below.exp2();
    let up = match how.round {
        "up" => fraction > 1.0,
        "nearest" => fraction >= 1.5,
        _ => false,
    };
    let code = below + 127.0 + f64::from(u8::from(up));
    if code > 254.0 && !how.saturate { 0xFF } else { code.clamp(0.0, 254.0) as u8 }
}

fn from_text(x: &Tensor, to: Elem, how: &How<'_>) -> Result<Tensor, Fault> {
    let texts = x.as_strings().unwrap_or_default().iter().map(|s| String::from_utf8_lossy(s).trim().to_owned());
    let unreadable = |text: &str| format!("{text:?} is not a number of type {to}");
    if to.is_int() {
        let parse = |text: String| match text.parse::<i128>() {
            Ok(v) => Ok(v),
            Err(_) => text.parse::<f64>().map(|v| v as i128).map_err(|_| unreadable(&text)),
        };
        return from_ints(to, x.dims(), texts.map(parse).collect::<Result<_, _>>()?);
    }
    let values: Vec<f64> = texts.map(|text| text.parse::<f64>().map_err(|_| unreadable(&text))).collect::<Result<_, _>>()?;
    from_reals(&values, x.dims(), to, how)
}

/// The shortest text that reads back as the same number.
fn to_text(x: &Tensor) -> Result<Tensor, Fault> {
    let special = |v: f64| match v {
        v if v.is_nan() => Some("NaN"),
        v if v.is_infinite() => Some(if v > 0.0 { "INF" } else { "-INF" }),
        _ => None,
    };
    let texts: Vec<String> = match x.elem() {
        Elem::F64 => floats(x)?.into_iter().map(|v| special(v).map_or_else(|| v.to_string(), str::to_owned)).collect(),
        e if e.is_float() => {
            floats(x)?.into_iter().map(|v| special(v).map_or_else(|| (v as f32).to_string(), str::to_owned)).collect()
        }
        Elem::Bool => ints(x)?.into_iter().map(|v| if v != 0 { "True" } else { "False" }.to_owned()).collect(),
        _ => ints(x)?.into_iter().map(|v| v.to_string()).collect(),
    };
    Ok(Tensor::strings(x.dims(), texts.into_iter().map(Into::into).collect()))
}
