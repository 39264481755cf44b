//! Reductions over axes.

use crate::graph::{MICROSOFT, ONNX};
use crate::interp::Fault;
use crate::types::{Dim, Elem, Shape, Type};

use super::Entry;
use super::dims::axes;
use super::site::{Site, tensor, unknown};

pub(super) const RULES: &[Entry] = &[
    (ONNX, "ArgMax", arg),
    (ONNX, "ArgMin", arg),
    (ONNX, "ReduceL1", reduce),
    (ONNX, "ReduceL2", reduce),
    (ONNX, "ReduceLogSum", reduce),
    (ONNX, "ReduceLogSumExp", reduce),
    (ONNX, "ReduceMax", reduce),
    (ONNX, "ReduceMean", reduce),
    (ONNX, "ReduceMin", reduce),
    (ONNX, "ReduceProd", reduce),
    (ONNX, "ReduceSum", reduce),
    (ONNX, "ReduceSumSquare", reduce),
    (MICROSOFT, "QLinearReduceMean", reduce_attr),
    (MICROSOFT, "ReduceSumInteger", reduce_integer),
];

/// The shape without the axes, or with 1 in their place.
fn without(shape: &[Dim], gone: &[usize], keep: bool) -> Shape {
    let left = |(axis, dim): (usize, &Dim)| match (gone.contains(&axis), keep) {
        (false, _) => Some(dim.clone()),
        (true, true) => Some(Dim::Known(1)),
        (true, false) => None,
    };
    shape.iter().enumerate().filter_map(left).collect()
}

/// Axes as operand 1 or attribute says; none means all, unless `noop_with_empty_axes`.
fn shape(site: &Site<'_>, input: usize) -> Result<Option<Shape>, Fault> {
    let Some(shape) = site.shape(0) else { return Ok(None) };
    let Some(keep) = site.int("keepdims", 1).map(|k| k != 0) else { return Ok(None) };
    let list = match site.axes(input) {
        Ok(list) => list.unwrap_or_default(),
        Err(()) if keep => return Ok(Some(unknown(shape.len()))),
        Err(()) => {
            // How many axes go is known more often than which ones.
            let gone = site.length(input).filter(|&n| n > 0);
            return Ok(gone.and_then(|n| shape.len().checked_sub(n)).map(unknown));
        }
    };
    if list.is_empty() && site.int("noop_with_empty_axes", 0) != Some(0) {
        return Ok(Some(shape.to_vec()));
    }
    let gone = if list.is_empty() { (0..shape.len()).collect() } else { axes(&list, shape.len())? };
    Ok(Some(without(shape, &gone, keep)))
}

fn reduce(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(site.elem(0), shape(site, 1)?)])
}

/// Operands behind the first are scales and zero points; the axes are an attribute.
fn reduce_attr(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(site.elem(0), shape(site, usize::MAX)?)])
}

fn reduce_integer(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(Some(Elem::I32), shape(site, usize::MAX)?)])
}

/// ArgMax and ArgMin: one axis, indices.
fn arg(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let shape = match (site.shape(0), site.axis("axis", 0, 0)?, site.int("keepdims", 1)) {
        (Some(shape), Some(axis), Some(keep)) => Some(without(shape, &[axis], keep != 0)),
        _ => None,
    };
    Ok(vec![tensor(Some(Elem::I64), shape)])
}
