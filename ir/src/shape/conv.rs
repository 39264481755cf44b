//! Convolutions of every kind.

use crate::graph::{MICROSOFT, ONNX};
use crate::interp::Fault;
use crate::types::{Dim, Elem, Shape, Type};

use super::Entry;
use super::dims::{Num, private_dim};
use super::site::{List, Site, tensor};
use super::window::{channels_last, joined, kernel_attr, per_axis, positive, slide, split};

pub(super) const RULES: &[Entry] = &[
    (ONNX, "Conv", conv),
    (ONNX, "ConvInteger", conv_integer),
    (ONNX, "ConvTranspose", transposed),
    (ONNX, "DeformConv", conv),
    (ONNX, "QLinearConv", quantized),
    (MICROSOFT, "FusedConv", conv),
    (MICROSOFT, "NhwcConv", conv),
    (MICROSOFT, "NhwcFusedConv", conv),
    (MICROSOFT, "QLinearConv", quantized),
];

fn conv(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(site.elem(0), shape(site, 0, 1)?)])
}

fn conv_integer(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(Some(Elem::I32), shape(site, 0, 1)?)])
}

/// QLinearConv: the elements are those of the result's zero point.
fn quantized(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(site.elem(7), shape(site, 0, 3)?)])
}

/// Shape of the convolution of operand `x` [N, C, spatial...] with operand `w` [M, C / group, kernel...].
fn shape(site: &Site<'_>, x: usize, w: usize) -> Result<Option<Shape>, Fault> {
    let Some(input) = site.shape(x) else {
        return Ok(site.rank(w).map(|rank| {
            let mut dims = super::site::unknown(rank);
            if let Some(out) = dims.get_mut(1).filter(|_| !channels_last(site)) {
                *out = site.dim(w, 0);
            }
            dims
        }));
    };
    let last = channels_last(site);
    let (n, c, spatial) = split(input, last)?;
    let weight = site.shape(w);
    let kernel = match (kernel_attr(site)?, weight) {
        (Some(kernel), _) => kernel,
        (None, Some([_, _, kernel @ ..])) => kernel.to_vec(),
        _ => super::site::unknown(spatial.len()),
    };
    if let (Some([_, inner, ..]), Some(group)) = (weight, site.int("group", 1)) {
        positive("group", group)?;
        if let (Some(c), Some(inner)) = (c.known(), inner.known())
            && inner.checked_mul(group as u64) != Some(c)
        {
            return Err(format!("the input has {c} channels, the weights take {inner} for each of {group} groups"));
        }
    }
    let out = weight.and_then(|w| w.first()).cloned().unwrap_or(Dim::Unknown);
    Ok(Some(joined(n, out, slide(site, &spatial, &kernel)?, last)))
}

/// ConvTranspose of [N, C, spatial...] with [C, M / group, kernel...]: `output_shape` where it is given, else
/// `stride * (in - 1) + output_padding + dilation * (kernel - 1) + 1 - pads`.
fn transposed(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let (Some(input), Some(weight)) = (site.shape(0), site.shape(1)) else {
        return Ok(vec![tensor(site.elem(0), None)]);
    };
    let (n, _, spatial) = split(input, false)?;
    let count = spatial.len();
    let group = site.int("group", 1).map(|g| positive("group", g)).transpose()?;
    let channels = match (weight.get(1).map(Num::of), group) {
        (Some(per_group), Some(group)) => per_group.mul(&Num::Known(group)).dim()?,
        _ => Dim::Unknown,
    };
    let kernel = match (kernel_attr(site)?, weight) {
        (Some(kernel), _) => kernel,
        (None, [_, _, kernel @ ..]) => kernel.to_vec(),
        _ => return Err("the weights have no kernel".to_string()),
    };
    if kernel.len() != count {
        return Err(format!("a kernel of rank {} does not slide over {count} axes", kernel.len()));
    }
    if let List::Ints(list) = site.list("output_shape") {
        // Some exporters list batch and channels too.
        let own = list.get(list.len().saturating_sub(count)..).unwrap_or_default();
        let own = own.iter().map(|&d| Num::Known(d).dim()).collect::<Result<Shape, _>>()?;
        return Ok(vec![tensor(site.elem(0), Some(joined(n, channels, own, false)))]);
    }
    let strides = per_axis(site, "strides", count, 1)?;
    let dilations = per_axis(site, "dilations", count, 1)?;
    let pads = per_axis(site, "pads", count.saturating_mul(2), 0)?;
    let extra = per_axis(site, "output_padding", count, 0)?;
    let mode = site.text("auto_pad", "NOTSET");
    let extent = |axis: usize| -> Option<Result<Dim, Fault>> {
        let stride = i128::from(strides.as_ref()?[axis]);
        let n = match &spatial[axis] {
            Dim::Known(n) => i128::from(*n),
            whole if mode.starts_with("SAME") && stride == 1 => return Some(Ok(whole.clone())),
            Dim::Named(name) => {
                let spelling = format!(
                    "transposed({name},{:?},{stride},{dilations:?},{pads:?},{extra:?},{mode})",
                    kernel[axis].known()
                );
                return kernel[axis].known().map(|_| Ok(private_dim(&spelling)));
            }
            _ => return None,
        };
        let out = if mode.starts_with("SAME") {
            n * stride
        } else {
            let (pads, k) = (pads.as_ref()?, i128::from(kernel[axis].known()?));
            let padding = if mode == "VALID" { 0 } else { i128::from(pads[axis]) + i128::from(pads[axis + count]) };
            let reach = i128::from(dilations.as_ref()?[axis]) * (k - 1) + 1;
            (n - 1).checked_mul(stride)?.checked_add(reach)?.checked_add(i128::from(extra.as_ref()?[axis]) - padding)?
        };
        Some(u64::try_from(out).map(Dim::Known).map_err(|_| format!("extent of axis {} would be {out}", axis + 2)))
    };
    let spatial = (0..count).map(|axis| extent(axis).unwrap_or(Ok(Dim::Unknown))).collect::<Result<_, _>>()?;
    Ok(vec![tensor(site.elem(0), Some(joined(n, channels, spatial, false)))])
}
