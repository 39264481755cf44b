//! Sliding windows: how far a kernel goes over an input, and the pools.

use crate::graph::{MICROSOFT, ONNX};
use crate::interp::Fault;
use crate::types::{Dim, Elem, Shape, Type};

use super::Entry;
use super::dims::private_dim;
use super::site::{List, Site, tensor, unknown};

pub(super) const RULES: &[Entry] = &[
    (ONNX, "AveragePool", pool),
    (ONNX, "Col2Im", col2im),
    (ONNX, "GlobalAveragePool", global_pool),
    (ONNX, "GlobalLpPool", global_pool),
    (ONNX, "GlobalMaxPool", global_pool),
    (ONNX, "LpPool", pool),
    (ONNX, "MaxPool", pool),
    (ONNX, "MaxRoiPool", max_roi_pool),
    (ONNX, "MaxUnpool", max_unpool),
    (ONNX, "RoiAlign", roi_align),
    (MICROSOFT, "NhwcMaxPool", pool),
    (MICROSOFT, "QLinearAveragePool", pool),
    (MICROSOFT, "QLinearGlobalAveragePool", global_pool),
];

/// A list attribute with one entry per spatial axis; `None` when it depends on search parameters.
pub(super) fn per_axis(site: &Site<'_>, name: &str, count: usize, default: i64) -> Result<Option<Vec<i64>>, Fault> {
    match site.list(name) {
        List::Absent => Ok(Some(vec![default; count])),
        List::Ints(list) if list.len() == count => Ok(Some(list.to_vec())),
        List::Ints(list) => Err(format!("`{name}` has {} entries, not {count}", list.len())),
        List::Elastic => Ok(None),
    }
}

/// Attribute `kernel_shape` as extents; `None` when it is absent.
pub(super) fn kernel_attr(site: &Site<'_>) -> Result<Option<Shape>, Fault> {
    match site.list("kernel_shape") {
        List::Absent => Ok(None),
        List::Ints(list) => list
            .iter()
            .map(|&k| positive("kernel_shape", k).map(|k| Dim::Known(k as u64)))
            .collect::<Result<_, _>>()
            .map(Some),
        List::Elastic => Ok(Some(match site.attr("kernel_shape") {
            Some(crate::attr::Attr::List(items)) => unknown(items.len()),
            _ => return Ok(None),
        })),
    }
}

pub(super) fn positive(name: &str, value: i64) -> Result<i64, Fault> {
    if value > 0 { Ok(value) } else { Err(format!("`{name}` has the entry {value}; it must be positive")) }
}

/// The extents that a window takes positions on, from those of the input and the kernel.
///
/// ```text
/// out = floor((in + pads - dilation * (kernel - 1) - 1) / stride) + 1
/// ```
/// (`ceil` with `ceil_mode`, without a last position that would start beyond input and padding in front of it).
pub(super) fn slide(site: &Site<'_>, input: &[Dim], kernel: &[Dim]) -> Result<Shape, Fault> {
    let count = input.len();
    if kernel.len() != count {
        return Err(format!("a kernel of rank {} does not slide over {count} axes", kernel.len()));
    }
    let strides = per_axis(site, "strides", count, 1)?;
    let dilations = per_axis(site, "dilations", count, 1)?;
    let pads = per_axis(site, "pads", count.saturating_mul(2), 0)?;
    let ceil = site.int("ceil_mode", 0) == Some(1);
    let mode = site.text("auto_pad", "NOTSET");
    let mut out = Shape::new();
    for axis in 0..count {
        let Some(stride) = strides.as_ref().map(|s| s[axis]) else {
            out.push(Dim::Unknown);
            continue;
        };
        positive("strides", stride)?;
        if mode.starts_with("SAME") {
            out.push(match &input[axis] {
                Dim::Known(n) => Dim::Known(n.div_ceil(stride as u64)),
                whole if stride == 1 => whole.clone(),
                Dim::Named(name) => private_dim(&format!("same({name},{stride})")),
                _ => Dim::Unknown,
            });
            continue;
        }
        let (Some(dilations), Some(pads), Some(k)) = (&dilations, &pads, kernel[axis].known()) else {
            out.push(Dim::Unknown);
            continue;
        };
        positive("dilations", dilations[axis])?;
        let padding = if mode == "VALID" { (0, 0) } else { (pads[axis], pads[axis + count]) };
        out.push(positions(&input[axis], k, stride, dilations[axis], padding, ceil)?);
    }
    Ok(out)
}

fn positions(input: &Dim, k: u64, stride: i64, dilation: i64, pads: (i64, i64), ceil: bool) -> Result<Dim, Fault> {
    let reach = i128::from(dilation) * (i128::from(k) - 1) + 1;
    let padding = i128::from(pads.0) + i128::from(pads.1);
    let stride = i128::from(stride);
    Ok(match input {
        Dim::Known(n) => {
            let room = i128::from(*n) + padding - reach;
            if room < 0 {
                // Runtimes make an empty result of an empty input, and refuse others.
                return if *n == 0 {
                    Ok(Dim::Known(0))
                } else {
                    Err(format!("a kernel that reaches over {reach} does not fit into {n} and padding of {padding}"))
                };
            }
            let mut count = if ceil { (room + stride - 1) / stride } else { room / stride } + 1;
            if ceil && (count - 1) * stride >= i128::from(*n) + i128::from(pads.0) {
                count -= 1;
            }
            Dim::Known(u64::try_from(count).map_err(|_| "an extent is out of range")?)
        }
        whole if stride == 1 && padding == reach - 1 => whole.clone(),
        Dim::Named(name) => private_dim(&format!("slide({name},{reach},{stride},{},{},{ceil})", pads.0, pads.1)),
        _ => Dim::Unknown,
    })
}

/// Batch, channels, and the spatial extents where they stand; `channels_last` has the channels at the end.
pub(super) fn split(shape: &[Dim], channels_last: bool) -> Result<(Dim, Dim, Vec<Dim>), Fault> {
    match shape {
        [n, inner @ .., c] if channels_last && shape.len() > 2 => Ok((n.clone(), c.clone(), inner.to_vec())),
        [n, c, inner @ ..] if !channels_last => Ok((n.clone(), c.clone(), inner.to_vec())),
        _ => Err(format!("an operand of rank {} has no batch, channels and spatial axes", shape.len())),
    }
}

/// Inverse of [`split`].
pub(super) fn joined(n: Dim, c: Dim, spatial: Vec<Dim>, channels_last: bool) -> Shape {
    let mut shape = vec![n];
    if channels_last {
        shape.extend(spatial);
        shape.push(c);
    } else {
        shape.push(c);
        shape.extend(spatial);
    }
    shape
}

pub(super) fn channels_last(site: &Site<'_>) -> bool {
    site.op().name().op.starts_with("Nhwc") || site.int("channels_last", 0) == Some(1)
}

/// Pools with a window; MaxPool also tells where its maxima were.
fn pool(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let shape = match (site.shape(0), kernel_attr(site)?) {
        (Some(shape), Some(kernel)) => {
            let last = channels_last(site);
            let (n, c, spatial) = split(shape, last)?;
            Some(joined(n, c, slide(site, &spatial, &kernel)?, last))
        }
        (Some(_), None) => return Err("`kernel_shape` is missing".to_string()),
        (None, _) => None,
    };
    Ok(vec![tensor(site.elem(0), shape.clone()), tensor(Some(Elem::I64), shape)])
}

/// Pools over everything: the spatial extents become 1.
fn global_pool(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let Some(shape) = site.shape(0) else { return Ok(vec![tensor(site.elem(0), None)]) };
    let last = channels_last(site);
    let (n, c, spatial) = split(shape, last)?;
    Ok(vec![tensor(site.elem(0), Some(joined(n, c, vec![Dim::Known(1); spatial.len()], last)))])
}

fn max_roi_pool(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let shape = match site.list("pooled_shape") {
        List::Ints(&[h, w]) => {
            let extent = |v| positive("pooled_shape", v).map(|v| Dim::Known(v as u64));
            Some(vec![site.dim(1, 0), site.dim(0, 1), extent(h)?, extent(w)?])
        }
        _ => None,
    };
    Ok(vec![tensor(site.elem(0), shape)])
}

/// RoiAlign: rois (operand 1) by channels by output size.
fn roi_align(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let extent = |name| match site.int(name, 1) {
        Some(v) => positive(name, v).map(|v| Dim::Known(v as u64)),
        None => Ok(Dim::Unknown),
    };
    let shape = vec![site.dim(1, 0), site.dim(0, 1), extent("output_height")?, extent("output_width")?];
    Ok(vec![tensor(site.elem(0), Some(shape))])
}

/// MaxUnpool: what its third operand says, or the least input that pools to the first.
fn max_unpool(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    if site.has(2) {
        let shape = match site.nums(2) {
            Some(nums) => Some(nums.iter().map(super::dims::Num::dim).collect::<Result<_, _>>()?),
            None => site.rank(0).map(unknown),
        };
        return Ok(vec![tensor(site.elem(0), shape)]);
    }
    let (Some(shape), Some(kernel)) = (site.shape(0), kernel_attr(site)?) else {
        return Ok(vec![tensor(site.elem(0), None)]);
    };
    let (n, c, spatial) = split(shape, false)?;
    let count = spatial.len();
    let (strides, pads) = (per_axis(site, "strides", count, 1)?, per_axis(site, "pads", count.saturating_mul(2), 0)?);
    let extent = |axis: usize| {
        let (n, k) = (spatial[axis].known()?, kernel.get(axis)?.known()?);
        let padding = i128::from(pads.as_ref()?[axis]) + i128::from(pads.as_ref()?[axis + count]);
        let out = (i128::from(n) - 1) * i128::from(strides.as_ref()?[axis]) + i128::from(k) - padding;
        u64::try_from(out).ok().map(Dim::Known)
    };
    let spatial = (0..count).map(|axis| extent(axis).unwrap_or(Dim::Unknown)).collect();
    Ok(vec![tensor(site.elem(0), Some(joined(n, c, spatial, false)))])
}

/// Col2Im: batch, channels per block, and the image that the second operand says.
fn col2im(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let Some(rank) = site.length(1) else { return Ok(vec![tensor(site.elem(0), None)]) };
    let image = match site.nums(1) {
        Some(nums) => nums.iter().map(super::dims::Num::dim).collect::<Result<Vec<_>, _>>()?,
        None => unknown(rank),
    };
    let block = site.ints(2).and_then(|b| b.iter().try_fold(1i64, |n, &b| n.checked_mul(b))).filter(|&b| b > 0);
    let channels = match (site.dim(0, 1).known(), block) {
        (Some(c), Some(b)) if c % b as u64 == 0 => Dim::Known(c / b as u64),
        (Some(c), Some(b)) => return Err(format!("{c} channels are no multiple of the block's {b} elements")),
        _ => Dim::Unknown,
    };
    let mut shape = vec![site.dim(0, 0), channels];
    shape.extend(image);
    Ok(vec![tensor(site.elem(0), Some(shape))])
}
