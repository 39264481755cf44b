//! Operators that move elements without changing them: Reshape, Transpose, Concat, Split, Slice, Pad and their kin.

use crate::graph::{MICROSOFT, ONNX};
use crate::interp::Fault;
use crate::types::{Dim, Elem, Shape, Type};

use super::Entry;
use super::dims::{Num, axes, axis, broadcast, elements, exact_quotient, private_dim, product};
use super::elementwise::same;
use super::quant::concatenated;
use super::site::{List, Site, tensor, unknown};

pub(super) const RULES: &[Entry] = &[
    (ONNX, "CenterCropPad", center_crop_pad),
    (ONNX, "Concat", concat),
    (ONNX, "DepthToSpace", depth_to_space),
    (ONNX, "Expand", expand),
    (ONNX, "Flatten", flatten),
    (ONNX, "Identity", same),
    (ONNX, "Pad", pad),
    (ONNX, "Reshape", reshape),
    (ONNX, "ReverseSequence", same),
    (ONNX, "Shape", shape),
    (ONNX, "Size", size),
    (ONNX, "Slice", slice),
    (ONNX, "SpaceToDepth", space_to_depth),
    (ONNX, "Split", split),
    (ONNX, "Squeeze", squeeze),
    (ONNX, "Tile", tile),
    (ONNX, "Transpose", transpose),
    (ONNX, "Unsqueeze", unsqueeze),
    (MICROSOFT, "Pad", pad),
];

fn data(site: &Site<'_>, shape: Option<Shape>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(site.elem(0), shape)])
}

fn shape(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let length = match site.rank(0) {
        Some(rank) => {
            let (start, end) = shape_bounds(site, rank);
            Dim::Known(end.saturating_sub(start) as u64)
        }
        None => Dim::Unknown,
    };
    Ok(vec![tensor(Some(Elem::I64), Some(vec![length]))])
}

/// Attributes `start` and `end` of Shape, clamped to the rank.
pub(super) fn shape_bounds(site: &Site<'_>, rank: usize) -> (usize, usize) {
    let wide = i64::try_from(rank).unwrap_or(i64::MAX);
    let clamp = |v: i64| if v < 0 { v.saturating_add(wide).max(0) } else { v.min(wide) } as usize;
    (clamp(site.maybe_int("start").unwrap_or(0)), clamp(site.maybe_int("end").unwrap_or(wide)))
}

fn size(_: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(Some(Elem::I64), Some(Shape::new()))])
}

/// Reshape: 0 copies an extent (unless `allowzero`), one -1 takes what is left.
fn reshape(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let target = match site.list("shape") {
        List::Ints(list) if !site.has(1) => Some(list.iter().map(|&d| Num::Known(d)).collect()),
        _ => site.nums(1),
    };
    let Some(target) = target else { return data(site, site.length(1).map(unknown)) };
    let input = site.shape(0);
    let keep_zero = site.int("allowzero", 0) != Some(0);
    let mut nums = Vec::new();
    let mut open = Vec::new();
    for (index, num) in target.into_iter().enumerate() {
        nums.push(match num {
            Num::Known(0) if !keep_zero => match input {
                Some(dims) => {
                    let dim =
                        dims.get(index).ok_or_else(|| format!("target axis {index} copies an axis that is not there"))?;
                    Num::of(dim)
                }
                None => Num::Unknown,
            },
            Num::Known(-1) => {
                open.push(index);
                Num::Known(-1)
            }
            Num::Known(n) if n < -1 => return Err(format!("the target has the entry {n}")),
            other => other,
        });
    }
    if open.len() > 1 {
        return Err("the target has more than one -1".to_string());
    }
    let explicit = !open.is_empty();
    if !explicit {
        // A single number that is not known is what the others leave, just like -1.
        open.extend(nums.iter().enumerate().filter(|(_, n)| **n == Num::Unknown).map(|(i, _)| i));
    }
    match (&open[..], input) {
        (&[at], Some(dims)) => {
            let over: Vec<Num> = dims.iter().map(Num::of).collect();
            let under: Vec<Num> = nums.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, n)| n.clone()).collect();
            nums[at] = match (product(&over), product(&under)) {
                (Num::Known(_), Num::Known(0)) if explicit && keep_zero => {
                    return Err("-1 beside 0 says nothing".to_string());
                }
                (_, Num::Known(0)) => Num::Unknown,
                (Num::Known(a), Num::Known(b)) if a % b != 0 => {
                    return Err(format!("{a} elements cannot be cut into pieces of {b}"));
                }
                _ => exact_quotient(&over, &under).unwrap_or(Num::Unknown),
            };
        }
        (&[at], None) => nums[at] = Num::Unknown,
        (_, Some(dims)) => {
            if let (Num::Known(a), Num::Known(b)) = (elements(dims), product(&nums))
                && a != b
            {
                return Err(format!("{a} elements do not fill a shape of {b}"));
            }
        }
        _ => {}
    }
    data(site, Some(nums.iter().map(Num::dim).collect::<Result<_, _>>()?))
}

/// Flatten: everything before the axis, everything from it on.
fn flatten(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let (Some(shape), Some(at)) = (site.shape(0), site.int("axis", 1)) else { return data(site, Some(unknown(2))) };
    let at = if at == shape.len() as i64 { shape.len() } else { axis(at, shape.len())? };
    let (front, back) = shape.split_at(at);
    data(site, Some(vec![elements(front).dim()?, elements(back).dim()?]))
}

fn squeeze(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let Some(shape) = site.shape(0) else { return data(site, None) };
    let list = match site.axes(1) {
        Ok(list) => list,
        Err(()) => return data(site, site.length(1).and_then(|n| shape.len().checked_sub(n)).map(unknown)),
    };
    let gone = match list {
        Some(list) => axes(&list, shape.len())?,
        None if shape.iter().all(|d| d.known().is_some()) => {
            (0..shape.len()).filter(|&a| shape[a] == Dim::Known(1)).collect()
        }
        None => return data(site, None),
    };
    if let Some(axis) = gone.iter().find(|&&a| shape[a].known().is_some_and(|n| n != 1)) {
        return Err(format!("axis {axis} is not 1 and cannot go"));
    }
    let left = shape.iter().enumerate().filter(|(a, _)| !gone.contains(a)).map(|(_, d)| d.clone());
    data(site, Some(left.collect()))
}

/// Unsqueeze: the axes count in the result.
fn unsqueeze(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let Some(shape) = site.shape(0) else { return data(site, None) };
    let Ok(list) = site.axes(1) else {
        return data(site, site.length(1).map(|n| unknown(shape.len().saturating_add(n))));
    };
    let list = list.ok_or("`axes` is missing")?;
    if list.len() > super::site::MAX_RANK {
        return Err(format!("{} axes are too many", list.len()));
    }
    let rank = shape.len() + list.len();
    let new = axes(&list, rank)?;
    let mut old = shape.iter();
    let dims = (0..rank).map(|a| if new.contains(&a) { Dim::Known(1) } else { old.next().cloned().unwrap_or(Dim::Unknown) });
    data(site, Some(dims.collect()))
}

fn transpose(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let Some(shape) = site.shape(0) else { return data(site, None) };
    let order = match site.list("perm") {
        List::Absent => (0..shape.len()).rev().collect(),
        List::Ints(list) if list.len() == shape.len() => axes(list, shape.len())?,
        List::Ints(list) => return Err(format!("`perm` has {} entries for rank {}", list.len(), shape.len())),
        List::Elastic => return data(site, Some(unknown(shape.len()))),
    };
    data(site, Some(order.into_iter().map(|a| shape[a].clone()).collect()))
}

fn expand(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let shape = match (site.shape(0), site.nums(1)) {
        (Some(shape), Some(target)) => Some(broadcast(shape, &target.iter().map(Num::dim).collect::<Result<Shape, _>>()?)?),
        (Some(shape), None) => site.length(1).map(|n| unknown(shape.len().max(n))),
        _ => None,
    };
    data(site, shape)
}

fn tile(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let Some(shape) = site.shape(0) else { return data(site, site.length(1).map(unknown)) };
    let Some(repeats) = site.nums(1).filter(|_| site.opset >= 6) else { return data(site, Some(unknown(shape.len()))) };
    if repeats.len() != shape.len() {
        return Err(format!("{} repeats for rank {}", repeats.len(), shape.len()));
    }
    let dims = shape.iter().zip(&repeats).map(|(dim, n)| Num::of(dim).mul(n).dim());
    data(site, Some(dims.collect::<Result<_, _>>()?))
}

fn concat(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let parts: Option<Vec<&[Dim]>> = (0..site.count()).map(|index| site.shape(index)).collect();
    let at = if site.opset < 4 { site.int("axis", 1) } else { site.maybe_int("axis") };
    let shape = match (parts, at) {
        (Some(parts), Some(at)) => concatenated(&parts, at)?,
        _ => (0..site.count()).find_map(|index| site.rank(index)).map(unknown),
    };
    data(site, shape)
}

/// Split: by attribute (before opset 13) or operand `split`, by `num_outputs`, or evenly.
fn split(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let count = site.results();
    let elem = site.elem(0);
    let (Some(shape), Some(at)) = (site.shape(0), site.axis("axis", 0, 0)?) else {
        return Ok(vec![tensor(elem, site.rank(0).map(unknown)); count]);
    };
    let given: Option<Vec<Num>> = match site.list("split") {
        List::Ints(list) if !site.has(1) => Some(list.iter().map(|&n| Num::Known(n)).collect()),
        _ if site.has(1) => Some(site.nums(1).unwrap_or_else(|| vec![Num::Unknown; count])),
        _ => None,
    };
    let whole = Num::of(&shape[at]);
    let sizes = match given {
        Some(sizes) if sizes.len() == count => {
            let sum = sizes.iter().fold(Num::Known(0), |sum, n| sum.add(n));
            match (sum, &whole) {
                (Num::Known(sum), Num::Known(n)) if sum != *n => {
                    return Err(format!("pieces of {sum} in all do not make {n}"));
                }
                _ => sizes,
            }
        }
        Some(sizes) => return Err(format!("{} pieces for {count} results", sizes.len())),
        None => {
            let parts = i64::try_from(count).unwrap_or(i64::MAX).max(1);
            match whole {
                Num::Known(n) if n % parts != 0 && site.opset < 18 => return Err(format!("{n} is no multiple of {parts}")),
                Num::Known(n) => {
                    let chunk = n / parts + i64::from(n % parts != 0);
                    (0..parts).map(|k| Num::Known((n - chunk.saturating_mul(k)).clamp(0, chunk))).collect()
                }
                named if parts == 1 => vec![named],
                named => vec![exact_quotient(&[named], &[Num::Known(parts)]).unwrap_or(Num::Unknown); count],
            }
        }
    };
    sizes
        .iter()
        .map(|size| {
            let mut dims = shape.to_vec();
            dims[at] = size.dim()?;
            Ok(tensor(elem, Some(dims)))
        })
        .collect()
}

/// What a Slice does to one axis.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    pub(super) axis: usize,
    pub(super) start: Num,
    pub(super) end: Num,
    pub(super) step: Num,
}

/// The cuts of a Slice of rank `rank`: attributes before opset 10, operands since; `None` when they are unknown.
pub(super) fn cuts(site: &Site<'_>, rank: usize) -> Result<Option<Vec<Cut>>, Fault> {
    let given = |index: usize, name: &str| match site.list(name) {
        List::Ints(list) if site.opset < 10 => Some(list.iter().map(|&n| Num::Known(n)).collect()),
        _ => site.nums(index),
    };
    let Some(count) = given(1, "starts").map(|s| s.len()).or(site.length(1)).or(site.length(2)) else { return Ok(None) };
    if count > rank {
        return Err(format!("{count} axes are cut of rank {rank}"));
    }
    let starts = given(1, "starts").unwrap_or_else(|| vec![Num::Unknown; count]);
    let ends = given(2, "ends").unwrap_or_else(|| vec![Num::Unknown; count]);
    let steps =
        if site.has(4) { site.nums(4).unwrap_or_else(|| vec![Num::Unknown; count]) } else { vec![Num::Known(1); count] };
    let which = if site.has(3) || site.opset < 10 && site.attr("axes").is_some() {
        let list: Option<Vec<i64>> = given(3, "axes").and_then(|a| a.iter().map(Num::known).collect());
        let Some(list) = list else { return Ok(None) };
        axes(&list, rank)?
    } else {
        (0..count).collect()
    };
    if [starts.len(), ends.len(), steps.len(), which.len()].iter().any(|&n| n != count) {
        return Err("starts, ends, axes and steps differ in length".to_string());
    }
    let cut = |k: usize| Cut { axis: which[k], start: starts[k].clone(), end: ends[k].clone(), step: steps[k].clone() };
    Ok(Some((0..count).map(cut).collect()))
}

/// First index and number of indices that a cut takes of an extent.
pub(crate) fn taken(extent: i64, start: i64, end: i64, step: i64) -> Result<(i64, i64), Fault> {
    let wrap = |v: i64| if v < 0 { v.saturating_add(extent) } else { v };
    match step {
        0 => Err("a step of 0".to_string()),
        1.. => {
            let (start, end) = (wrap(start).clamp(0, extent), wrap(end).clamp(0, extent));
            Ok((start, if end > start { (end - start - 1) / step + 1 } else { 0 }))
        }
        _ => {
            let (start, end) = (wrap(start).clamp(-1, extent - 1), wrap(end).clamp(-1, extent - 1));
            Ok((start, if start > end { (start - end - 1) / step.checked_neg().unwrap_or(i64::MAX) + 1 } else { 0 }))
        }
    }
}

fn slice(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let Some(shape) = site.shape(0) else { return data(site, None) };
    let Some(cuts) = cuts(site, shape.len())? else { return data(site, Some(unknown(shape.len()))) };
    let mut dims = shape.to_vec();
    for Cut { axis, start, end, step } in cuts {
        let whole = Num::of(&dims[axis]);
        // Exporters write the largest number of either width for "to the end".
        let to_end = end.known().is_some_and(|e| e >= i64::from(i32::MAX)) || end == whole;
        dims[axis] = match (&whole, start.known(), end.known(), step.known()) {
            (Num::Known(n), Some(start), Some(end), Some(step)) => Num::Known(taken(*n, start, end, step)?.1).dim()?,
            (_, Some(0), _, Some(1)) if to_end => dims[axis].clone(),
            (_, Some(-1), Some(end), Some(-1)) if end <= i64::from(i32::MIN) => dims[axis].clone(),
            (Num::Unknown, ..) => Dim::Unknown,
            _ if [&start, &end, &step].iter().any(|n| **n == Num::Unknown) => Dim::Unknown,
            _ => private_dim(&format!("slice({whole:?},{start:?},{end:?},{step:?})")),
        };
    }
    data(site, Some(dims))
}

/// Pad: begins of all axes, then ends; only of `axes` where they are given.
fn pad(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let Some(shape) = site.shape(0) else { return data(site, None) };
    let listed = ["pads", "paddings"].iter().find_map(|name| match site.list(name) {
        List::Ints(list) => Some(list.iter().map(|&n| Num::Known(n)).collect::<Vec<_>>()),
        _ => None,
    });
    let Some(pads) = listed.or_else(|| site.nums(1)) else { return data(site, Some(unknown(shape.len()))) };
    let which = if site.has(3) {
        match site.ints(3) {
            Some(list) => axes(&list, shape.len())?,
            None => return data(site, Some(unknown(shape.len()))),
        }
    } else {
        (0..shape.len()).collect()
    };
    let count = which.len();
    if pads.len() != count.saturating_mul(2) {
        return Err(format!("{} pads for {count} axes", pads.len()));
    }
    let mut dims = shape.to_vec();
    for (k, &axis) in which.iter().enumerate() {
        dims[axis] = Num::of(&dims[axis]).add(&pads[k].add(&pads[k + count])).dim()?;
    }
    data(site, Some(dims))
}

/// Block size, if it is known.
fn block(site: &Site<'_>) -> Result<Option<u64>, Fault> {
    match site.maybe_int("blocksize") {
        Some(n) if n > 0 && n < 1 << 31 => Ok(Some(n as u64)),
        Some(n) => Err(format!("`blocksize` is {n}")),
        None => Ok(None),
    }
}

fn depth_to_space(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let (Some([n, c, h, w]), Some(block)) = (site.shape(0), block(site)?) else { return data(site, Some(unknown(4))) };
    let (block, area) = (Num::Known(block as i64), Num::Known((block * block) as i64));
    if let (Some(c), Num::Known(area)) = (c.known(), &area)
        && c % *area as u64 != 0
    {
        return Err(format!("{c} channels are no multiple of {area}"));
    }
    let channels = Num::of(c).div(&area).dim()?;
    data(site, Some(vec![n.clone(), channels, Num::of(h).mul(&block).dim()?, Num::of(w).mul(&block).dim()?]))
}

fn space_to_depth(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let (Some([n, c, h, w]), Some(block)) = (site.shape(0), block(site)?) else { return data(site, Some(unknown(4))) };
    if let Some(odd) = [h, w].iter().find_map(|d| d.known().filter(|n| n % block != 0)) {
        return Err(format!("an extent of {odd} is no multiple of {block}"));
    }
    let (block, area) = (Num::Known(block as i64), Num::Known((block * block) as i64));
    data(
        site,
        Some(vec![n.clone(), Num::of(c).mul(&area).dim()?, Num::of(h).div(&block).dim()?, Num::of(w).div(&block).dim()?]),
    )
}

/// CenterCropPad: the extents of `axes` become those of operand 1.
fn center_crop_pad(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let Some(shape) = site.shape(0) else { return data(site, None) };
    let which = match site.list("axes") {
        List::Absent => (0..shape.len()).collect(),
        List::Ints(list) => axes(list, shape.len())?,
        List::Elastic => return data(site, Some(unknown(shape.len()))),
    };
    let target = site.nums(1).unwrap_or_else(|| vec![Num::Unknown; which.len()]);
    if target.len() != which.len() {
        return Err(format!("{} extents for {} axes", target.len(), which.len()));
    }
    let mut dims = shape.to_vec();
    for (&axis, num) in which.iter().zip(&target) {
        dims[axis] = num.dim()?;
    }
    data(site, Some(dims))
}
