//! Elements by coordinates: GatherElements, GatherND, ScatterElements, ScatterND, ReverseSequence, Col2Im.

use super::call::axis_in;
use super::element::{Cells, Numbers, floats, from_floats, from_ints, pick};
use super::layout::{offsets, strides};
use super::{Call, Datum, Entry, Fault};
use crate::graph::{MICROSOFT, ONNX};
use crate::tensor::{Tensor, count};
use crate::types::Elem;

pub(super) const KERNELS: &[Entry] = &[
    (ONNX, "Col2Im", col2im),
    (ONNX, "GatherElements", gather_elements),
    (ONNX, "GatherND", gather_nd),
    (ONNX, "ReverseSequence", reverse_sequence),
    (ONNX, "Scatter", scatter_elements),
    (ONNX, "ScatterElements", scatter_elements),
    (ONNX, "ScatterND", scatter_nd),
    (ONNX, "TensorScatter", tensor_scatter),
    (MICROSOFT, "GatherND", gather_nd),
];

/// Coordinates of place `at` of a row-major index space.
fn coordinates(mut at: usize, dims: &[usize], into: &mut [usize]) {
    for (slot, &n) in into.iter_mut().zip(dims).rev() {
        (*slot, at) = (at % n, at / n);
    }
}

/// For each index the place in `x` that it means: its own coordinates with that of `axis` replaced by the index.
fn places_along(call: &Call<'_>, x: &Tensor, indices: &Tensor) -> Result<Vec<usize>, Fault> {
    let rank = x.dims().len();
    if indices.dims().len() != rank {
        return Err(format!("indices of shape {:?} for data of shape {:?}", indices.dims(), x.dims()));
    }
    let axis = axis_in(call.int("axis", 0), rank)?;
    let fits = |a: usize| a == axis || indices.dims()[a] <= x.dims()[a];
    if !(0..rank).all(fits) {
        return Err(format!("indices of shape {:?} reach beyond shape {:?}", indices.dims(), x.dims()));
    }
    let steps = strides(x.dims());
    let mut others = steps.clone();
    others[axis] = 0;
    let bases = offsets(indices.dims(), &others);
    let list = indices.to_i64().ok_or("its indices are no integers")?;
    let place = |(base, index): (usize, i64)| Ok(base + axis_in(index, x.dims()[axis])? * steps[axis]);
    bases.into_iter().zip(list).map(place).collect()
}

fn gather_elements(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (x, indices) = (call.tensor(0)?, call.tensor(1)?);
    call.reserve(Elem::C128, indices.dims())?;
    Ok(vec![pick(x, indices.dims(), &places_along(call, x, indices)?)?.into()])
}

/// How many pieces the indices (their last axis holds coordinates) of GatherND and ScatterND point at, where each begins
/// in `x`, and how long it is; the first `batch` axes are common to both.
fn pieces(x: &Tensor, indices: &Tensor, batch: usize) -> Result<(Vec<usize>, usize), Fault> {
    let misfit = || format!("indices of shape {:?} do not fit data of shape {:?}", indices.dims(), x.dims());
    let (&depth, front) = indices.dims().split_last().ok_or_else(misfit)?;
    let used = batch.checked_add(depth).filter(|&used| used <= x.dims().len()).ok_or_else(misfit)?;
    if front.len() < batch || front[..batch] != x.dims()[..batch] {
        return Err(misfit());
    }
    let steps = strides(x.dims());
    let each: usize = front[batch..].iter().product();
    let list = indices.to_i64().ok_or("its indices are no integers")?;
    let run: usize = x.dims()[used..].iter().product();
    let batch_run: usize = x.dims()[batch..].iter().product();
    let mut starts = Vec::new();
    for piece in 0..front.iter().product::<usize>() {
        let mut start = piece.checked_div(each).unwrap_or(0) * batch_run;
        for k in 0..depth {
            start += axis_in(list[piece * depth + k], x.dims()[batch + k])? * steps[batch + k];
        }
        starts.push(start);
    }
    Ok((starts, run))
}

fn gather_nd(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (x, indices) = (call.tensor(0)?, call.tensor(1)?);
    let batch = usize::try_from(call.int("batch_dims", 0)).map_err(|_| "batch_dims is negative")?;
    call.reserve(Elem::C128, indices.dims())?;
    let (starts, run) = pieces(x, indices, batch)?;
    let depth = indices.dims().last().copied().unwrap_or(0);
    let dims = [&indices.dims()[..indices.dims().len() - 1], &x.dims()[batch + depth..]].concat();
    call.reserve(Elem::C128, &dims)?;
    let places: Vec<usize> = starts.into_iter().flat_map(|start| start..start + run).collect();
    Ok(vec![pick(x, &dims, &places)?.into()])
}

/// `x` with the updates at the given places, in order; `reduction` says what happens to what is there.
fn updated(x: &Tensor, places: &[usize], updates: &Tensor, reduction: &str) -> Result<Tensor, Fault> {
    if updates.len() != places.len() || updates.elem() != x.elem() {
        let (elem, dims) = (updates.elem(), updates.dims());
        return Err(format!("{} places for updates of type {elem} and shape {dims:?}", places.len()));
    }
    if reduction == "none" {
        let mut cells = Cells::of(x);
        cells.append(Cells::of(updates))?;
        let mut sources: Vec<usize> = (0..x.len()).collect();
        places.iter().enumerate().for_each(|(k, &place)| sources[place] = x.len() + k);
        return cells.take(sources.into_iter().map(Some)).into_tensor(x.elem(), x.dims());
    }
    macro_rules! reduce {
        ($data:ident, $updates:ident, $add:expr, $mul:expr, $min:expr, $max:expr) => {{
            let combine = match reduction {
                "add" => $add,
                "mul" => $mul,
                "min" => $min,
                "max" => $max,
                other => return Err(format!("reduction '{other}' is not known")),
            };
            places.iter().zip($updates).for_each(|(&place, update)| $data[place] = combine($data[place], update));
        }};
    }
    match (Numbers::of(x)?, Numbers::of(updates)?) {
        (Numbers::Float(mut data), Numbers::Float(updates)) => {
            reduce!(
                data,
                updates,
                |a: f64, b: f64| a + b,
                |a, b| a * b,
                |a: f64, b: f64| if a < b || a.is_nan() { a } else { b },
                |a: f64, b: f64| { if a > b || a.is_nan() { a } else { b } }
            );
            from_floats(x.elem(), x.dims(), &data)
        }
        (Numbers::Int(mut data), Numbers::Int(updates)) => {
            reduce!(
                data,
                updates,
                i128::wrapping_add,
                i128::wrapping_mul,
                |a: i128, b: i128| a.min(b),
                |a: i128, b: i128| a.max(b)
            );
            from_ints(x.elem(), x.dims(), data)
        }
        _ => Err(format!("{} is not reduced", x.elem())),
    }
}

fn scatter_elements(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (x, indices, updates) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    call.reserve(Elem::C128, x.dims())?;
    let places = places_along(call, x, indices)?;
    Ok(vec![updated(x, &places, updates, call.str("reduction", "none"))?.into()])
}

fn scatter_nd(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (x, indices, updates) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    call.reserve(Elem::C128, x.dims())?;
    let (starts, run) = pieces(x, indices, 0)?;
    if starts.len().checked_mul(run) != Some(updates.len()) {
        return Err(format!("{} pieces of {run} for updates of shape {:?}", starts.len(), updates.dims()));
    }
    let places: Vec<usize> = starts.into_iter().flat_map(|start| start..start + run).collect();
    Ok(vec![updated(x, &places, updates, call.str("reduction", "none"))?.into()])
}

/// TensorScatter: writes a run of positions along an axis, from an index per batch on; `circular` begins anew at the end.
fn tensor_scatter(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (x, updates) = (call.tensor(0)?, call.tensor(1)?);
    let rank = x.dims().len();
    let axis = axis_in(call.int("axis", -2), rank)?;
    let others = |a: usize| a == axis || updates.dims()[a] == x.dims()[a];
    if axis == 0 || updates.dims().len() != rank || !(0..rank).all(others) || updates.dims()[axis] > x.dims()[axis] {
        return Err(format!("an update of shape {:?} for a cache of shape {:?}", updates.dims(), x.dims()));
    }
    let starts = call.ints_at(2)?.unwrap_or_else(|| vec![0; x.dims()[0]]);
    let (steps, circular) = (strides(x.dims()), call.str("mode", "linear") == "circular");
    call.reserve(Elem::C128, x.dims())?;
    let mut at = vec![0; rank];
    let mut places = Vec::new();
    for k in 0..updates.len() {
        coordinates(k, updates.dims(), &mut at);
        let start = starts.get(at[0]).and_then(|&s| usize::try_from(s).ok()).filter(|&s| s < x.dims()[axis].max(1));
        let start = start.ok_or_else(|| format!("write indices {starts:?} are outside of axis {axis}"))?;
        at[axis] = match at[axis] + start {
            beyond if beyond < x.dims()[axis] => beyond,
            beyond if circular => beyond % x.dims()[axis],
            beyond => return Err(format!("position {beyond} is outside of axis {axis}")),
        };
        places.push(at.iter().zip(&steps).map(|(i, step)| i * step).sum());
    }
    Ok(vec![updated(x, &places, updates, "none")?.into()])
}

/// ReverseSequence: the first `sequence_lens` positions of the time axis, for each index of the batch axis.
fn reverse_sequence(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let rank = x.dims().len();
    let (batch, time) = (axis_in(call.int("batch_axis", 1), rank)?, axis_in(call.int("time_axis", 0), rank)?);
    let lengths = call.ints_at(1)?.ok_or("its sequence lengths are absent")?;
    let fits = |&n: &i64| usize::try_from(n).ok().filter(|&n| n <= x.dims()[time]);
    let lengths: Option<Vec<usize>> = lengths.iter().map(fits).collect();
    let lengths = lengths.filter(|l| l.len() == x.dims()[batch]).ok_or("its sequence lengths do not fit")?;
    let steps = strides(x.dims());
    call.reserve(Elem::C128, x.dims())?;
    let mut at = vec![0; rank];
    let mut places = Vec::new();
    for k in 0..x.len() {
        coordinates(k, x.dims(), &mut at);
        let length = lengths[at[batch]];
        if at[time] < length {
            at[time] = length - 1 - at[time];
        }
        places.push(at.iter().zip(&steps).map(|(i, step)| i * step).sum());
    }
    Ok(vec![pick(x, x.dims(), &places)?.into()])
}

/// Col2Im: sums the columns of blocks into the image that they were cut from, the inverse of what a convolution reads.
fn col2im(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let sizes = |index: usize| -> Result<Vec<usize>, Fault> {
        let list = call.ints_at(index)?.ok_or("a shape is absent")?;
        list.iter().map(|&n| usize::try_from(n).map_err(|_| format!("an extent of {n}"))).collect()
    };
    let (image, block) = (sizes(1)?, sizes(2)?);
    let rank = image.len();
    let list = |name: &str, count: usize, default: usize| -> Result<Vec<usize>, Fault> {
        let given = call.ints(name).map(|l| l.iter().map(|&n| usize::try_from(n).ok().filter(|&n| n < 1 << 31)).collect());
        given
            .unwrap_or(Some(vec![default; count]))
            .filter(|l| l.len() == count)
            .ok_or_else(|| format!("{name} does not fit"))
    };
    let (step, spread, pads) = (list("strides", rank, 1)?, list("dilations", rank, 1)?, list("pads", 2 * rank, 0)?);
    let misfit = || format!("shape {:?} does not hold blocks {block:?} of an image {image:?}", x.dims());
    let area = count(&block).filter(|&n| n > 0).ok_or_else(misfit)?;
    let (&[batch, deep, columns], true) = (x.dims(), block.len() == rank && step.iter().all(|&s| s > 0)) else {
        return Err(misfit());
    };
    let mut grid = Vec::new();
    for a in 0..rank {
        let reach = spread[a].checked_mul(block[a].saturating_sub(1)).and_then(|r| r.checked_add(1)).ok_or_else(misfit)?;
        let room = image[a].checked_add(pads[a] + pads[rank + a]).and_then(|n| n.checked_sub(reach)).ok_or_else(misfit)?;
        grid.push(room / step[a] + 1);
    }
    if count(&grid) != Some(columns) || deep % area != 0 {
        return Err(misfit());
    }
    let channels = deep / area;
    let dims = [&[batch, channels], &image[..]].concat();
    let total = call.reserve(Elem::F64, &dims)?;
    let (values, pixels) = (floats(x)?, total / (batch * channels).max(1));
    let mut sums = vec![0f64; total];
    let (mut cell, mut column) = (vec![0; rank], vec![0; rank]);
    for (k, value) in values.into_iter().enumerate() {
        coordinates(k % columns, &grid, &mut column);
        coordinates(k / columns % area, &block, &mut cell);
        let mut place = 0;
        let inside = (0..rank).all(|a| {
            let at = (column[a] * step[a] + cell[a] * spread[a]).wrapping_sub(pads[a]);
            place = if at < image[a] { place * image[a] + at } else { 0 };
            at < image[a]
        });
        if inside {
            sums[k / columns / area * pixels + place] += value;
        }
    }
    Ok(vec![from_floats(x.elem(), &dims, &sums)?.into()])
}
