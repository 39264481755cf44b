//! Operators that say for each axis alone which index each place of the result comes from: Slice, Pad, Tile, Gather.

use super::call::axis_in;
use super::element::Cells;
use super::layout::strides;
use super::movement::{axes_in, axes_of};
use super::{Call, Datum, Entry, Fault};
use crate::graph::{MICROSOFT, ONNX};
use crate::shape::taken;
use crate::tensor::Tensor;

pub(super) const KERNELS: &[Entry] = &[
    (ONNX, "CenterCropPad", center_crop_pad),
    (ONNX, "Compress", compress),
    (ONNX, "Expand", expand),
    (ONNX, "Gather", gather),
    (ONNX, "Pad", pad),
    (ONNX, "Slice", slice),
    (ONNX, "Tile", tile),
    (MICROSOFT, "Pad", pad),
];

/// For each place along one axis of the result the index along that axis of the source; `None`: outside of it.
enum Line {
    /// The axis stays as it is.
    Whole,
    /// The axis is made up of these.
    Of(Vec<Option<usize>>),
}

/// The longest axis that is made: what an attribute says is not believed without bound.
const LONGEST: usize = 1 << 31;

/// Checks a length before a list of it is made.
fn bounded(call: &Call<'_>, length: usize) -> Result<usize, Fault> {
    if length > LONGEST {
        return Err(format!("an axis of {length} is too long"));
    }
    call.reserve(crate::types::Elem::C128, &[length])
}

/// The elements that the lines of all axes pick; `fill` (one element, zero if absent) where a line is outside.
fn assemble(call: &Call<'_>, x: &Tensor, lines: Vec<Line>, fill: Option<&Tensor>) -> Result<Tensor, Fault> {
    let extents = lines.iter().zip(x.dims());
    let dims: Vec<usize> = extents.map(|(line, &n)| if let Line::Of(list) = line { list.len() } else { n }).collect();
    call.reserve(x.elem(), &dims)?;
    let mut places = vec![Some(0usize)];
    for ((line, &n), step) in lines.iter().zip(x.dims()).zip(strides(x.dims())) {
        places = match line {
            Line::Whole => places.iter().flat_map(|&at| (0..n).map(move |i| Some(at? + i * step))).collect(),
            Line::Of(list) => places.iter().flat_map(|&at| list.iter().map(move |&i| Some(at? + i? * step))).collect(),
        };
    }
    let mut cells = Cells::of(x);
    let outside = match fill {
        Some(fill) if fill.elem() == x.elem() && fill.len() == 1 => {
            cells.append(Cells::of(fill))?;
            Some(x.len())
        }
        Some(fill) => return Err(format!("a fill of type {} and shape {:?}", fill.elem(), fill.dims())),
        None => None,
    };
    cells.take(places.into_iter().map(|at| at.or(outside))).into_tensor(x.elem(), &dims)
}

fn whole(rank: usize) -> Vec<Line> {
    (0..rank).map(|_| Line::Whole).collect()
}

/// Slice: attributes before opset 10, operands since.
fn slice(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let given = |index: usize, name: &str| match call.opset {
        ..10 => Ok(call.ints(name).map(<[i64]>::to_vec)),
        _ => call.ints_at(index),
    };
    let starts = given(1, "starts")?.ok_or("its starts are absent")?;
    let ends = given(2, "ends")?.ok_or("its ends are absent")?;
    let axes = given(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = given(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()].iter().any(|&n| n != starts.len()) {
        return Err("starts, ends, axes and steps differ in length".into());
    }
    let mut lines = whole(x.dims().len());
    for (k, axis) in axes_in(&axes, x.dims().len())?.into_iter().enumerate() {
        let extent = x.dims()[axis] as i64;
        let (first, count) = taken(extent, starts[k], ends[k], steps[k])?;
        let line = (0..count).map(|i| usize::try_from(first + i * steps[k]).ok());
        lines[axis] = Line::Of(line.collect());
    }
    Ok(vec![assemble(call, x, lines, None)?.into()])
}

fn tile(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let mut repeats = call.ints_at(1)?.ok_or("its repeats are absent")?;
    if call.opset < 6 {
        // Operand 1 says how often, operand 2 along which axis.
        let axis = call.ints_at(2)?.and_then(|a| a.first().copied()).ok_or("its axis is absent")?;
        let times = repeats.first().copied().unwrap_or(1);
        repeats = vec![1; x.dims().len()];
        repeats[axis_in(axis, x.dims().len())?] = times;
    }
    if repeats.len() != x.dims().len() {
        return Err(format!("{} repeats for shape {:?}", repeats.len(), x.dims()));
    }
    let mut lines = Vec::new();
    for (&times, &n) in repeats.iter().zip(x.dims()) {
        let times = usize::try_from(times).map_err(|_| format!("{times} repeats"))?;
        let length = bounded(call, n.checked_mul(times).ok_or("too many repeats")?)?;
        lines.push(if times == 1 { Line::Whole } else { Line::Of((0..length).map(|i| Some(i % n)).collect()) });
    }
    Ok(vec![assemble(call, x, lines, None)?.into()])
}

fn expand(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let target = call.ints_at(1)?.ok_or("its shape is absent")?;
    let mut dims = vec![1; target.len().saturating_sub(x.dims().len())];
    dims.extend(x.dims());
    let raised = x.reshaped(dims.clone()).ok_or("it cannot be raised")?;
    let front = dims.len() - target.len();
    let mut lines = whole(dims.len());
    for (axis, &wanted) in target.iter().enumerate() {
        let wanted = usize::try_from(wanted).map_err(|_| format!("an extent of {wanted}"))?;
        match dims[front + axis] {
            n if n == wanted || wanted == 1 => {}
            1 => lines[front + axis] = Line::Of(vec![Some(0); bounded(call, wanted)?]),
            n => return Err(format!("extent {n} does not expand to {wanted}")),
        }
    }
    Ok(vec![assemble(call, &raised, lines, None)?.into()])
}

/// Gather: the indices' extents in place of the axis.
fn gather(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (x, indices) = (call.tensor(0)?, call.tensor(1)?);
    let axis = axis_in(call.int("axis", 0), x.dims().len())?;
    let list = call.ints_at(1)?.unwrap_or_default();
    let line = list.iter().map(|&i| axis_in(i, x.dims()[axis]).map(Some)).collect::<Result<_, _>>();
    let mut lines = whole(x.dims().len());
    lines[axis] = Line::Of(line.map_err(|_| format!("an index is outside of axis {axis} of shape {:?}", x.dims()))?);
    let dims = [&x.dims()[..axis], indices.dims(), &x.dims()[axis + 1..]].concat();
    let picked = assemble(call, x, lines, None)?;
    Ok(vec![picked.reshaped(dims).ok_or("the indices do not fit")?.into()])
}

/// Compress: what the condition lets through, of an axis or of all elements in a row.
fn compress(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let condition = call.tensor(1)?.to_bools().ok_or("its condition is not boolean")?;
    let (x, axis) = match call.attr("axis").and_then(crate::attr::Attr::as_int) {
        Some(axis) => (x.clone(), axis_in(axis, x.dims().len())?),
        None => (x.reshaped(vec![x.len()]).ok_or("it cannot be flattened")?, 0),
    };
    let mut lines = whole(x.dims().len());
    let passed = condition.iter().enumerate().take(x.dims()[axis]).filter(|(_, passes)| **passes);
    lines[axis] = Line::Of(passed.map(|(i, _)| Some(i)).collect());
    Ok(vec![assemble(call, &x, lines, None)?.into()])
}

/// Where place `at` (negative: in front) of an axis of extent `n` comes from, by the mode of Pad.
fn source(mode: &str, at: i64, n: i64) -> Result<Option<usize>, Fault> {
    if (0..n).contains(&at) {
        return Ok(Some(at as usize));
    }
    let at = match mode {
        "constant" => return Ok(None),
        _ if n == 0 => return Err("there is nothing to pad with".into()),
        "edge" => at.clamp(0, n - 1),
        "wrap" => at.rem_euclid(n),
        "reflect" if n == 1 => 0,
        "reflect" => {
            let period = 2 * (n - 1);
            let phase = at.rem_euclid(period);
            phase.min(period - phase)
        }
        other => return Err(format!("mode '{other}' is not known")),
    };
    Ok(Some(at as usize))
}

/// Pad: begins of all axes (or of `axes`), then ends; a negative pad crops.
fn pad(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let listed = || call.ints("pads").or_else(|| call.ints("paddings")).map(<[i64]>::to_vec);
    let pads = call.ints_at(1)?.or_else(listed).ok_or("its pads are absent")?;
    let axes = match call.ints_at(3)? {
        Some(list) => axes_in(&list, x.dims().len())?,
        None => (0..x.dims().len()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(format!("{} pads for {} axes", pads.len(), axes.len()));
    }
    let mode = call.str("mode", "constant");
    let mut lines = whole(x.dims().len());
    for (k, &axis) in axes.iter().enumerate() {
        let (begin, end, n) = (pads[k], pads[axes.len() + k], x.dims()[axis] as i64);
        let length = n.checked_add(begin).and_then(|n| n.checked_add(end)).and_then(|n| usize::try_from(n).ok());
        let length =
            bounded(call, length.ok_or_else(|| format!("axis {axis} of {n} cannot be padded by {begin} and {end}"))?)?;
        let line = (0..length as i64).map(|i| source(mode, i.saturating_sub(begin), n));
        lines[axis] = Line::Of(line.collect::<Result<_, _>>()?);
    }
    let attribute = call
        .attr("value")
        .and_then(crate::attr::Attr::as_float)
        .map(|v| Tensor::from_f64(x.elem(), vec![1], &[f64::from(v)]));
    let fill = call.get(2).cloned().or(attribute.flatten());
    Ok(vec![assemble(call, x, lines, fill.as_ref())?.into()])
}

/// CenterCropPad: of each axis the middle, or zeros around it.
fn center_crop_pad(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let target = call.ints_at(1)?.ok_or("its shape is absent")?;
    let all: Vec<i64> = (0..x.dims().len() as i64).collect();
    let axes = axes_in(&axes_of(call, usize::MAX)?.unwrap_or(all), x.dims().len())?;
    if target.len() != axes.len() {
        return Err(format!("{} extents for {} axes", target.len(), axes.len()));
    }
    let mut lines = whole(x.dims().len());
    for (&axis, &wanted) in axes.iter().zip(&target) {
        let n = x.dims()[axis] as i64;
        let length = usize::try_from(wanted).map_err(|_| format!("an extent of {wanted}"))?;
        // An odd surplus is cut, and an odd gap is filled, one more at the end.
        let first = if wanted < n { (n - wanted) / 2 } else { -((wanted - n) / 2) };
        let line = (0..bounded(call, length)? as i64).map(|i| usize::try_from(i + first).ok().filter(|&i| i < n as usize));
        lines[axis] = Line::Of(line.collect());
    }
    Ok(vec![assemble(call, x, lines, None)?.into()])
}
