//! Operators that make tensors out of attributes and shapes.

use crate::attr::Attr;
use crate::graph::ONNX;
use crate::interp::Fault;
use crate::types::{Dim, Elem, Shape, Type};

use super::Entry;
use super::dims::Num;
use super::site::{List, Site, tensor, unknown};

pub(super) const RULES: &[Entry] = &[
    (ONNX, "BlackmanWindow", window),
    (ONNX, "Constant", constant),
    (ONNX, "ConstantOfShape", constant_of_shape),
    (ONNX, "EyeLike", eye_like),
    (ONNX, "HammingWindow", window),
    (ONNX, "HannWindow", window),
    (ONNX, "MelWeightMatrix", mel_weight_matrix),
    (ONNX, "Multinomial", multinomial),
    (ONNX, "RandomNormal", random),
    (ONNX, "RandomUniform", random),
    (ONNX, "Range", range),
];

/// Constant: one attribute of several says all.
fn constant(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let list = |elem, count: usize| tensor(Some(elem), Some(vec![Dim::Known(count as u64)]));
    let scalar = |elem| tensor(Some(elem), Some(Shape::new()));
    let names =
        ["value", "sparse_value", "value_float", "value_floats", "value_int", "value_ints", "value_string", "value_strings"];
    let ty = match names.iter().find_map(|name| site.attr(name)) {
        Some(Attr::Tensor(value)) => Type::Tensor(value.ty()),
        Some(Attr::Sparse(value)) => {
            tensor(Some(value.values.elem()), Some(value.dims.iter().map(|&d| Dim::Known(d as u64)).collect()))
        }
        Some(Attr::Float(_)) => scalar(Elem::F32),
        Some(Attr::Int(_)) => scalar(Elem::I64),
        Some(Attr::Str(_)) => scalar(Elem::Str),
        Some(Attr::Floats(v)) => list(Elem::F32, v.len()),
        Some(Attr::Ints(v)) => list(Elem::I64, v.len()),
        Some(Attr::Strs(v)) => list(Elem::Str, v.len()),
        _ => Type::Unknown,
    };
    Ok(vec![ty])
}

fn constant_of_shape(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let elem = site.attr("value").map_or(Some(Elem::F32), |v| v.as_tensor().map(crate::tensor::Tensor::elem));
    let shape = match site.nums(0) {
        Some(nums) => Some(nums.iter().map(Num::dim).collect::<Result<_, _>>()?),
        None => site.length(0).map(unknown),
    };
    Ok(vec![tensor(elem, shape)])
}

fn eye_like(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(site.elem_attr("dtype", site.elem(0)), site.shape(0).map(<[_]>::to_vec))])
}

fn random(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let shape = match site.list("shape") {
        List::Ints(list) => Some(list.iter().map(|&d| Num::Known(d).dim()).collect::<Result<_, _>>()?),
        _ => None,
    };
    Ok(vec![tensor(site.elem_attr("dtype", Some(Elem::F32)), shape)])
}

fn multinomial(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let samples = site.int("sample_size", 1).map_or(Num::Unknown, Num::Known).dim()?;
    Ok(vec![tensor(site.elem_attr("dtype", Some(Elem::I32)), Some(vec![site.dim(0, 0), samples]))])
}

/// Range: `ceil((limit - start) / delta)` numbers, none below 0.
fn range(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let count = match (site.nums(0), site.nums(1), site.nums(2)) {
        (Some(start), Some(limit), Some(delta)) => match (&start[..], &limit[..], &delta[..]) {
            (_, _, [Num::Known(0)]) => return Err("a step of 0".to_string()),
            ([Num::Known(start)], [Num::Known(limit)], [Num::Known(delta)]) => {
                let (span, delta) = (i128::from(*limit) - i128::from(*start), i128::from(*delta));
                let whole = span / delta + i128::from(span % delta != 0 && (span < 0) == (delta < 0));
                u64::try_from(whole.max(0)).map_or(Dim::Unknown, Dim::Known)
            }
            ([start], [limit], [Num::Known(1)]) => limit.sub(start).dim()?,
            _ => Dim::Unknown,
        },
        _ => match (site.floats(0).as_deref(), site.floats(1).as_deref(), site.floats(2).as_deref()) {
            (Some([start]), Some([limit]), Some([delta])) => {
                let count = ((limit - start) / delta).ceil();
                if (0.0..1e15).contains(&count) { Dim::Known(count as u64) } else { Dim::Unknown }
            }
            _ => Dim::Unknown,
        },
    };
    Ok(vec![tensor(site.elem(0), Some(vec![count]))])
}

/// Hann, Hamming and Blackman windows: as many numbers as the operand says.
fn window(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let count = match site.nums(0).as_deref() {
        Some([count]) => count.dim()?,
        _ => Dim::Unknown,
    };
    Ok(vec![tensor(site.elem_attr("output_datatype", Some(Elem::F32)), Some(vec![count]))])
}

/// MelWeightMatrix: spectrogram bins by mel bins.
fn mel_weight_matrix(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let bins = match site.scalar(1) {
        Some(length) => Num::Known(length / 2).add(&Num::Known(1)).dim()?,
        None => Dim::Unknown,
    };
    let mel = match site.scalar(0) {
        Some(mel) => Num::Known(mel).dim()?,
        None => Dim::Unknown,
    };
    Ok(vec![tensor(site.elem_attr("output_datatype", Some(Elem::F32)), Some(vec![bins, mel]))])
}
