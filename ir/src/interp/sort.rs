//! Order: TopK, Unique.

use std::cmp::Ordering;

use super::call::axis_in;
use super::element::{Numbers, pick};
use super::layout::Groups;
use super::{Call, Datum, Entry, Fault};
use crate::graph::ONNX;
use crate::tensor::Tensor;
use crate::types::Elem;

/// Kernels of this family.
pub(super) const KERNELS: &[Entry] = &[(ONNX, "TopK", top_k), (ONNX, "Unique", unique)];

/// The k largest or smallest along an axis; among equal ones the earlier comes first.
fn top_k(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let axis = axis_in(call.int("axis", -1), x.dims().len())?;
    let k = match call.opset {
        ..10 => call.int("k", -1),
        _ => call.ints_at(1)?.and_then(|k| k.first().copied()).ok_or("its k is absent")?,
    };
    let extent = x.dims()[axis];
    let k = usize::try_from(k).ok().filter(|&k| k <= extent);
    let k = k.ok_or_else(|| format!("it cannot take k elements of axis {axis} of shape {:?}", x.dims()))?;
    let largest = call.int("largest", 1) != 0;
    call.reserve(Elem::C128, x.dims())?;
    let numbers = Numbers::of(x)?;
    let groups = Groups::along(x.dims(), &[axis]);
    let mut dims = x.dims().to_vec();
    dims[axis] = k;
    let (mut places, mut indices) = (vec![0; dims.iter().product()], vec![0i64; dims.iter().product()]);
    let targets = Groups::along(&dims, &[axis]);
    for (&from, &to) in groups.starts.iter().zip(&targets.starts) {
        let mut order: Vec<usize> = (0..extent).collect();
        order.sort_by(|&a, &b| {
            let order = numbers.compare(from + groups.members[a], from + groups.members[b]);
            if largest { order.reverse() } else { order }
        });
        for (&chosen, member) in order.iter().zip(&targets.members) {
            places[to + member] = from + groups.members[chosen];
            indices[to + member] = chosen as i64;
        }
    }
    Ok(vec![pick(x, &dims, &places)?.into(), Tensor::new(dims, indices).into()])
}

/// Distinct elements, or distinct slices along an axis: they, where each is first, which each one is, how many there are.
fn unique(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let axis = call.attr("axis").and_then(|a| a.as_int()).map(|axis| axis_in(axis, x.dims().len())).transpose()?;
    call.reserve(Elem::C128, x.dims())?;
    let numbers = Numbers::of(x)?;
    // Each item is a group of elements.
    let all: Vec<usize> = (0..x.dims().len()).filter(|&a| Some(a) != axis).collect();
    let items = match axis {
        Some(axis) if x.is_empty() => {
            call.reserve(Elem::C128, &[x.dims()[axis]])?;
            Groups::empty(x.dims()[axis])
        }
        Some(_) => Groups::along(x.dims(), &all),
        None => Groups { starts: (0..x.len()).collect(), members: vec![0] },
    };
    let compare = |a: usize, b: usize| {
        let mut pairs = items.members.iter().map(|m| numbers.compare(items.starts[a] + m, items.starts[b] + m));
        pairs.find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    };
    let mut order: Vec<usize> = (0..items.starts.len()).collect();
    order.sort_by(|&a, &b| compare(a, b));
    // Runs of equal items; the sort is stable, so that the first of a run comes first in the tensor.
    let mut runs: Vec<Vec<usize>> = Vec::new();
    for item in order {
        match runs.last_mut() {
            Some(run) if compare(run[0], item).is_eq() => run.push(item),
            _ => runs.push(vec![item]),
        }
    }
    if call.int("sorted", 1) == 0 {
        runs.sort_by_key(|run| run[0]);
    }
    let mut inverse = vec![0i64; items.starts.len()];
    for (number, run) in runs.iter().enumerate() {
        run.iter().for_each(|&item| inverse[item] = number as i64);
    }
    let dims = match axis {
        Some(axis) => {
            let mut dims = x.dims().to_vec();
            dims[axis] = runs.len();
            dims
        }
        None => vec![runs.len()],
    };
    let targets = match axis {
        Some(_) => Groups::along(&dims, &all),
        None => Groups { starts: (0..runs.len()).collect(), members: vec![0] },
    };
    let mut places = vec![0; dims.iter().product()];
    for (run, &to) in runs.iter().zip(&targets.starts) {
        for (from, member) in items.members.iter().zip(&targets.members) {
            places[to + member] = items.starts[run[0]] + from;
        }
    }
    let list = |values: Vec<i64>| Datum::from(Tensor::new([values.len()], values));
    Ok(vec![
        pick(x, &dims, &places)?.into(),
        list(runs.iter().map(|run| run[0] as i64).collect()),
        list(inverse),
        list(runs.iter().map(|run| run.len() as i64).collect()),
    ])
}
