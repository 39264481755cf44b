//! Operators that pick elements by index, or find indices.

use crate::graph::{MICROSOFT, ONNX};
use crate::interp::Fault;
use crate::types::{Dim, Elem, Shape, Type};

use super::Entry;
use super::dims::{Num, axis};
use super::elementwise::same;
use super::site::{Site, tensor, unknown};

pub(super) const RULES: &[Entry] = &[
    (ONNX, "Compress", compress),
    (ONNX, "Gather", gather),
    (ONNX, "GatherElements", gather_elements),
    (ONNX, "GatherND", gather_nd),
    (ONNX, "NonMaxSuppression", non_max_suppression),
    (ONNX, "NonZero", non_zero),
    (ONNX, "OneHot", one_hot),
    (ONNX, "Scatter", same),
    (ONNX, "ScatterElements", same),
    (ONNX, "ScatterND", same),
    (ONNX, "TensorScatter", same),
    (ONNX, "TopK", top_k),
    (ONNX, "Unique", unique),
    (MICROSOFT, "GatherND", gather_nd),
];

/// Gather: the indices' extents in place of the axis.
fn gather(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let shape = match (site.shape(0), site.shape(1), site.axis("axis", 0, 0)?) {
        (Some(shape), Some(indices), Some(at)) => Some([&shape[..at], indices, &shape[at + 1..]].concat()),
        _ => None,
    };
    Ok(vec![tensor(site.elem(0), shape)])
}

fn gather_elements(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(site.elem(0), site.shape(1).map(<[_]>::to_vec))])
}

/// GatherND: the indices without their last axis, then what that axis leaves of the data behind the batch.
fn gather_nd(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let batch = site.int("batch_dims", 0).and_then(|b| usize::try_from(b).ok());
    let shape = match (site.shape(0), site.shape(1), batch) {
        (Some(data), Some([front @ .., depth]), Some(batch)) => match depth.known() {
            Some(depth) => {
                let used = usize::try_from(depth).ok().and_then(|d| d.checked_add(batch));
                let left = used.and_then(|used| data.get(used..));
                let left = left.ok_or_else(|| format!("indices of depth {depth} reach beyond rank {}", data.len()))?;
                Some([front, left].concat())
            }
            None => None,
        },
        (_, Some([]), _) => return Err("indices of rank 0".to_string()),
        _ => None,
    };
    Ok(vec![tensor(site.elem(0), shape)])
}

/// Compress: as many as the condition lets through.
fn compress(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let passed = match site.constant(1).and_then(|t| t.to_bools()) {
        Some(condition) => Dim::Known(condition.iter().filter(|&&b| b).count() as u64),
        None => Dim::Unknown,
    };
    let shape = match (site.attr("axis"), site.shape(0)) {
        (None, _) => Some(vec![passed]),
        (Some(_), Some(shape)) => site.axis("axis", 0, 0)?.map(|at| {
            let mut dims = shape.to_vec();
            dims[at] = passed;
            dims
        }),
        _ => None,
    };
    Ok(vec![tensor(site.elem(0), shape)])
}

/// NonMaxSuppression: rows of batch, class and box; how many, the scores tell.
fn non_max_suppression(_: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(Some(Elem::I64), Some(vec![Dim::Unknown, Dim::Known(3)]))])
}

/// NonZero: one row per axis.
fn non_zero(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let rows = site.rank(0).map_or(Dim::Unknown, |rank| Dim::Known(rank as u64));
    Ok(vec![tensor(Some(Elem::I64), Some(vec![rows, Dim::Unknown]))])
}

/// OneHot: one more axis of the extent that operand 1 says.
fn one_hot(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let depth = match (site.nums(1), site.floats(1)) {
        (Some(nums), _) if nums.len() == 1 => nums[0].dim()?,
        (_, Some(floats)) if floats.len() == 1 && (0.0..1e9).contains(&floats[0]) => Dim::Known(floats[0] as u64),
        _ => Dim::Unknown,
    };
    let shape = match (site.shape(0), site.int("axis", -1)) {
        (Some(indices), Some(at)) => {
            let mut dims = indices.to_vec();
            dims.insert(axis(at, indices.len() + 1)?, depth);
            Some(dims)
        }
        _ => None,
    };
    Ok(vec![tensor(site.elem(2), shape)])
}

/// TopK: values and indices; `k` is operand 1, before opset 10 an attribute.
fn top_k(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let k = match site.maybe_int("k") {
        Some(k) => Num::Known(k),
        None => site.nums(1).and_then(|n| n.first().cloned()).unwrap_or(Num::Unknown),
    };
    let shape = match (site.shape(0), site.axis("axis", -1, 0)?) {
        (Some(shape), Some(at)) => {
            let mut dims = shape.to_vec();
            dims[at] = k.dim()?;
            Some(dims)
        }
        _ => site.rank(0).map(unknown),
    };
    Ok(vec![tensor(site.elem(0), shape.clone()), tensor(Some(Elem::I64), shape)])
}

/// Unique: the values, then first places, inverse places and counts.
fn unique(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let values: Option<Shape> = match (site.attr("axis"), site.shape(0)) {
        (None, _) => Some(vec![Dim::Unknown]),
        (Some(_), Some(shape)) => site.axis("axis", 0, 0)?.map(|at| {
            let mut dims = shape.to_vec();
            dims[at] = Dim::Unknown;
            dims
        }),
        _ => None,
    };
    let places = || tensor(Some(Elem::I64), Some(vec![Dim::Unknown]));
    Ok(vec![tensor(site.elem(0), values), places(), places(), places()])
}
