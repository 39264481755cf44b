//! Quantization, and ONNX Runtime's operators on quantized numbers.

use crate::graph::{MICROSOFT, ONNX};
use crate::interp::Fault;
use crate::types::{Dim, Elem, Shape, Type};

use super::Entry;
use super::dims::{Num, axis, broadcast, same};
use super::site::{Site, tensor};

pub(super) const RULES: &[Entry] = &[
    (ONNX, "DequantizeLinear", dequantize),
    (ONNX, "DynamicQuantizeLinear", dynamic),
    (ONNX, "QuantizeLinear", quantize),
    (MICROSOFT, "DequantizeLinear", dequantize),
    (MICROSOFT, "MulInteger", mul_integer),
    (MICROSOFT, "QLinearAdd", binary),
    (MICROSOFT, "QLinearConcat", concat),
    (MICROSOFT, "QLinearLeakyRelu", super::elementwise::same),
    (MICROSOFT, "QLinearMul", binary),
    (MICROSOFT, "QLinearSigmoid", super::elementwise::same),
    (MICROSOFT, "QLinearSoftmax", super::elementwise::same),
    (MICROSOFT, "QLinearWhere", select),
    (MICROSOFT, "QuantizeLinear", quantize),
];

fn shape(site: &Site<'_>, index: usize) -> Option<Shape> {
    site.shape(index).map(<[_]>::to_vec)
}

/// Elements of the zero point, else attribute `output_dtype`, else u8.
fn quantize(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let elem = if site.has(2) { site.elem(2) } else { output_dtype(site, Some(Elem::U8)) };
    Ok(vec![tensor(elem, shape(site, 0))])
}

/// Elements of attribute `output_dtype`, else of the scale.
fn dequantize(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(output_dtype(site, site.elem(1)), shape(site, 0))])
}

fn output_dtype(site: &Site<'_>, default: Option<Elem>) -> Option<Elem> {
    match site.int("output_dtype", 0) {
        Some(0) => default,
        _ => site.elem_attr("output_dtype", default),
    }
}

/// Quantized data, and the scale and zero point that it chose.
fn dynamic(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let scalar = |elem| tensor(Some(elem), Some(Shape::new()));
    Ok(vec![tensor(Some(Elem::U8), shape(site, 0)), scalar(Elem::F32), scalar(Elem::U8)])
}

fn broadcast_of(site: &Site<'_>, operands: &[usize]) -> Result<Option<Shape>, Fault> {
    let mut all = Shape::new();
    for &index in operands {
        match site.shape(index) {
            Some(next) => all = broadcast(&all, next)?,
            None => return Ok(None),
        }
    }
    Ok(Some(all))
}

/// QLinearAdd, QLinearMul: data at 0 and 3.
fn binary(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(site.elem(0), broadcast_of(site, &[0, 3])?)])
}

/// QLinearWhere: condition at 0, data at 1 and 4.
fn select(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(site.elem(1), broadcast_of(site, &[0, 1, 4])?)])
}

fn mul_integer(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(Some(Elem::I32), broadcast_of(site, &[0, 2])?)])
}

/// QLinearConcat: scale and zero point of the result, then data, scale and zero point of each part.
fn concat(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let parts: Option<Vec<&[Dim]>> = (2..site.count()).step_by(3).map(|index| site.shape(index)).collect();
    let shape = match (parts, site.maybe_int("axis")) {
        (Some(parts), Some(at)) => concatenated(&parts, at)?,
        _ => None,
    };
    Ok(vec![tensor(site.elem(1), shape)])
}

/// Shapes one behind the other along an axis; all other extents are equal.
pub(super) fn concatenated(parts: &[&[Dim]], at: i64) -> Result<Option<Shape>, Fault> {
    let Some((first, rest)) = parts.split_first() else { return Ok(None) };
    let at = axis(at, first.len())?;
    let mut shape = first.to_vec();
    let mut total = Num::of(&shape[at]);
    for part in rest {
        if part.len() != shape.len() {
            return Err(format!("parts have ranks {} and {}", shape.len(), part.len()));
        }
        for (axis, dim) in part.iter().enumerate() {
            if axis == at {
                total = total.add(&Num::of(dim));
            } else {
                shape[axis] = same(&shape[axis], dim)?;
            }
        }
    }
    shape[at] = total.dim()?;
    Ok(Some(shape))
}
