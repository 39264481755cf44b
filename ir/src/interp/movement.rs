//! Elements under another shape or in another order: Reshape, Transpose, Concat, Split and their kin.

use super::call::axis_in;
use super::element::{join, part, pick};
use super::layout::{offsets, strides};
use super::{Call, Datum, Entry, Fault};
use crate::graph::ONNX;
use crate::tensor::{Tensor, count};

pub(super) const KERNELS: &[Entry] = &[
    (ONNX, "Concat", concat),
    (ONNX, "DepthToSpace", depth_to_space),
    (ONNX, "Flatten", flatten),
    (ONNX, "Identity", |c| Ok(vec![c.datum(0)?.clone()])),
    (ONNX, "Reshape", reshape),
    (ONNX, "Shape", shape),
    (ONNX, "Size", |c| Ok(vec![Tensor::scalar(c.tensor(0)?.len() as i64).into()])),
    (ONNX, "SpaceToDepth", space_to_depth),
    (ONNX, "Split", split),
    (ONNX, "Squeeze", squeeze),
    (ONNX, "Transpose", |c| {
        let x = c.tensor(0)?;
        let reversed: Vec<i64> = (0..x.dims().len() as i64).rev().collect();
        transposed(c, x, c.ints("perm").unwrap_or(&reversed))
    }),
    (ONNX, "Unsqueeze", unsqueeze),
];

/// Distinct axes that may count from the end, in the order given.
pub(super) fn axes_in(list: &[i64], rank: usize) -> Result<Vec<usize>, Fault> {
    let mut seen = vec![false; rank];
    let once = |&axis: &i64| {
        let axis = axis_in(axis, rank)?;
        if std::mem::replace(&mut seen[axis], true) { Err(format!("axis {axis} is given twice")) } else { Ok(axis) }
    };
    list.iter().map(once).collect()
}

/// Attribute `axes` or, where it is given, operand `index`.
pub(super) fn axes_of(call: &Call<'_>, index: usize) -> Result<Option<Vec<i64>>, Fault> {
    Ok(call.ints_at(index)?.or_else(|| call.ints("axes").map(<[i64]>::to_vec)))
}

/// The same elements under another shape.
fn under(tensor: &Tensor, dims: Vec<usize>) -> Result<Vec<Datum>, Fault> {
    let fault = format!("{} elements do not fill the shape {dims:?}", tensor.len());
    Ok(vec![tensor.reshaped(dims).ok_or(fault)?.into()])
}

/// Reshape: 0 copies an extent (unless `allowzero`), one -1 takes what is left.
fn reshape(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let target = call.ints_at(1)?.or_else(|| call.ints("shape").map(<[i64]>::to_vec)).ok_or("its target is absent")?;
    let copies = call.int("allowzero", 0) == 0;
    let mut open = None;
    let mut dims = Vec::new();
    for (axis, &n) in target.iter().enumerate() {
        dims.push(match n {
            0 if copies => *x.dims().get(axis).ok_or_else(|| format!("target axis {axis} copies what is not there"))?,
            -1 if open.replace(axis).is_none() => 1,
            n => usize::try_from(n).map_err(|_| format!("{target:?} is no target"))?,
        });
    }
    if let Some(axis) = open {
        let rest = count(&dims).filter(|&n| n > 0 && x.len() % n == 0);
        let rest = rest.ok_or_else(|| format!("{} elements cannot fill {target:?}", x.len()))?;
        dims[axis] = x.len() / rest;
    }
    under(x, dims)
}

fn flatten(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let rank = x.dims().len();
    let axis = match call.int("axis", 1) {
        axis if axis == rank as i64 => rank,
        axis => axis_in(axis, rank)?,
    };
    let (front, back) = x.dims().split_at(axis);
    under(x, vec![front.iter().product(), back.iter().product()])
}

fn squeeze(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let gone = match axes_of(call, 1)? {
        Some(list) => axes_in(&list, x.dims().len())?,
        None => (0..x.dims().len()).filter(|&axis| x.dims()[axis] == 1).collect(),
    };
    if let Some(axis) = gone.iter().find(|&&axis| x.dims()[axis] != 1) {
        return Err(format!("axis {axis} of shape {:?} is not 1", x.dims()));
    }
    under(x, x.dims().iter().enumerate().filter(|(axis, _)| !gone.contains(axis)).map(|(_, &n)| n).collect())
}

/// Unsqueeze: the axes count in the result.
fn unsqueeze(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let list = axes_of(call, 1)?.ok_or("its axes are absent")?;
    let rank = x.dims().len() + list.len();
    let new = axes_in(&list, rank)?;
    let mut old = x.dims().iter().copied();
    under(x, (0..rank).map(|axis| if new.contains(&axis) { 1 } else { old.next().unwrap_or(1) }).collect())
}

/// Shape, from attribute `start` to `end`.
fn shape(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let dims: Vec<i64> = call.tensor(0)?.dims().iter().map(|&n| n as i64).collect();
    let rank = dims.len() as i64;
    let clamp = |at: i64| if at < 0 { at.saturating_add(rank).max(0) } else { at.min(rank) } as usize;
    let (start, end) = (clamp(call.int("start", 0)), clamp(call.int("end", rank)));
    let chosen = dims.get(start..end).unwrap_or_default().to_vec();
    Ok(vec![Tensor::new(vec![chosen.len()], chosen).into()])
}

/// The tensor with its axes in another order.
fn transposed(call: &Call<'_>, x: &Tensor, order: &[i64]) -> Result<Vec<Datum>, Fault> {
    let order = axes_in(order, x.dims().len())?;
    if order.len() != x.dims().len() {
        return Err(format!("{order:?} is no order of the axes of {:?}", x.dims()));
    }
    let steps = strides(x.dims());
    let dims: Vec<usize> = order.iter().map(|&axis| x.dims()[axis]).collect();
    let steps: Vec<usize> = order.iter().map(|&axis| steps[axis]).collect();
    call.reserve(x.elem(), &dims)?;
    Ok(vec![pick(x, &dims, &offsets(&dims, &steps))?.into()])
}

fn concat(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let parts = call.tensors()?;
    let first = parts.first().ok_or("there is nothing to join")?;
    let axis = axis_in(call.int("axis", 1), first.dims().len())?;
    Ok(vec![join(&parts, axis)?.into()])
}

/// Split: by attribute or operand `split`, by `num_outputs` (the last piece may be smaller), or evenly.
fn split(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let axis = axis_in(call.int("axis", 0), x.dims().len())?;
    let (extent, parts) = (x.dims()[axis], call.results().max(1));
    let given = call.ints_at(1)?.or_else(|| call.ints("split").map(<[i64]>::to_vec));
    let sizes: Vec<usize> = match given {
        Some(sizes) => {
            let whole = |&n: &i64| usize::try_from(n).map_err(|_| format!("a piece of {n}"));
            sizes.iter().map(whole).collect::<Result<_, _>>()?
        }
        None => {
            let chunk = extent.div_ceil(parts);
            (0..parts).map(|k| extent.saturating_sub(k.saturating_mul(chunk)).min(chunk)).collect()
        }
    };
    let mut start = 0usize;
    let mut results = Vec::new();
    for size in sizes {
        let end = start.checked_add(size).ok_or("pieces are too large")?;
        results.push(part(x, axis, start..end)?.into());
        start = end;
    }
    if start == extent { Ok(results) } else { Err(format!("pieces of {start} in all do not make {extent}")) }
}

/// Batch, channels, height, width and block size of DepthToSpace and SpaceToDepth.
fn blocks<'a>(call: &'a Call<'_>) -> Result<(&'a Tensor, [usize; 4], usize), Fault> {
    let x = call.tensor(0)?;
    let block = usize::try_from(call.int("blocksize", 0)).ok().filter(|&b| b > 0 && b < 1 << 20);
    match (x.dims(), block) {
        (&[n, c, h, w], Some(block)) => Ok((x, [n, c, h, w], block)),
        (dims, _) => Err(format!("shape {dims:?} has no blocks of {}", call.int("blocksize", 0))),
    }
}

/// Reshapes, transposes, reshapes.
fn shuffled(call: &Call<'_>, x: &Tensor, six: [usize; 6], order: &[i64], dims: Vec<usize>) -> Result<Vec<Datum>, Fault> {
    let misfit = || format!("shape {:?} does not divide into blocks", x.dims());
    let wide = x.reshaped(six).ok_or_else(misfit)?;
    let moved = transposed(call, &wide, order)?;
    under(moved.first().and_then(Datum::tensor).ok_or_else(misfit)?, dims)
}

fn depth_to_space(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (x, [n, c, h, w], b) = blocks(call)?;
    let deep = c / (b * b);
    let dims = vec![n, deep, h.saturating_mul(b), w.saturating_mul(b)];
    match call.str("mode", "DCR") {
        "CRD" => shuffled(call, x, [n, deep, b, b, h, w], &[0, 1, 4, 2, 5, 3], dims),
        _ => shuffled(call, x, [n, b, b, deep, h, w], &[0, 3, 4, 1, 5, 2], dims),
    }
}

fn space_to_depth(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (x, [n, c, h, w], b) = blocks(call)?;
    let dims = vec![n, c.saturating_mul(b * b), h / b, w / b];
    shuffled(call, x, [n, c, h / b, b, w / b, b], &[0, 3, 5, 1, 2, 4], dims)
}
