//! Resize, Upsample and sampling over grids.

use crate::graph::{MICROSOFT, ONNX};
use crate::interp::Fault;
use crate::types::{Dim, Shape, Type};

use super::Entry;
use super::dims::{Num, axes, private_dim};
use super::site::{List, Site, tensor, unknown};

pub(super) const RULES: &[Entry] = &[
    (ONNX, "AffineGrid", affine_grid),
    (ONNX, "GridSample", grid_sample),
    (ONNX, "Resize", resize),
    (ONNX, "Upsample", upsample),
    (MICROSOFT, "GridSample", grid_sample),
];

/// `floor(extent * scale)`. The product is taken in single precision, as runtimes do.
fn scaled(dim: &Dim, scale: f64) -> Result<Dim, Fault> {
    if !(scale > 0.0 && scale < 1e9) {
        return Err(format!("a scale of {scale}"));
    }
    Ok(match dim {
        Dim::Known(n) => Dim::Known((*n as f32 * scale as f32).floor() as u64),
        whole if scale == 1.0 => whole.clone(),
        whole if scale.fract() == 0.0 => Num::of(whole).mul(&Num::Known(scale as i64)).dim()?,
        Dim::Named(name) => private_dim(&format!("scaled({name},{scale})")),
        _ => Dim::Unknown,
    })
}

/// Resize: by operand `sizes` or `scales`, of all axes or of attribute `axes`. Before opset 11, `scales` is operand 1.
fn resize(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let Some(shape) = site.shape(0) else { return Ok(vec![tensor(site.elem(0), None)]) };
    let same_rank = || vec![tensor(site.elem(0), Some(unknown(shape.len())))];
    let scales_at = if site.opset < 11 { 1 } else { 2 };
    let which = match site.list("axes") {
        List::Absent => (0..shape.len()).collect(),
        List::Ints(list) => axes(list, shape.len())?,
        List::Elastic => return Ok(same_rank()),
    };
    let mut dims = shape.to_vec();
    if site.opset >= 11 && site.has(3) {
        let Some(sizes) = site.nums(3) else { return Ok(same_rank()) };
        if sizes.len() != which.len() {
            return Err(format!("{} sizes for {} axes", sizes.len(), which.len()));
        }
        let policy = site.text("keep_aspect_ratio_policy", "stretch");
        if policy == "stretch" {
            for (&axis, size) in which.iter().zip(&sizes) {
                dims[axis] = size.dim()?;
            }
            return Ok(vec![tensor(site.elem(0), Some(dims))]);
        }
        // One scale for all axes: the least, or the largest, that any of them asks for.
        let ratios: Option<Vec<f32>> =
            which.iter().zip(&sizes).map(|(&a, s)| Some(s.known()? as f32 / shape[a].known()? as f32)).collect();
        let Some(ratios) = ratios else { return Ok(same_rank()) };
        let pick = if policy == "not_larger" { f32::min } else { f32::max };
        let Some(scale) = ratios.into_iter().reduce(pick).filter(|s| s.is_finite()) else { return Ok(same_rank()) };
        for &axis in &which {
            let extent = shape[axis].known().unwrap_or(0) as f32 * scale;
            dims[axis] = Dim::Known(extent.round() as u64);
        }
        return Ok(vec![tensor(site.elem(0), Some(dims))]);
    }
    let Some(scales) = site.floats(scales_at) else { return Ok(same_rank()) };
    if scales.len() != which.len() {
        return Err(format!("{} scales for {} axes", scales.len(), which.len()));
    }
    let cropped = site.text("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize";
    let roi = match (cropped, site.floats(1)) {
        (false, _) => None,
        (true, Some(roi)) if roi.len() == which.len().saturating_mul(2) => Some(roi),
        (true, _) => return Ok(same_rank()),
    };
    for (k, &axis) in which.iter().enumerate() {
        let part = roi.as_ref().map_or(1.0, |roi| roi[k + which.len()] - roi[k]);
        dims[axis] = match &dims[axis] {
            Dim::Known(n) if part != 1.0 => Dim::Known((*n as f64 * part * scales[k]).floor().max(0.0) as u64),
            dim => scaled(dim, scales[k])?,
        };
    }
    Ok(vec![tensor(site.elem(0), Some(dims))])
}

/// Upsample: `scales` as operand (opset 9), as attribute (opset 7).
fn upsample(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let Some(shape) = site.shape(0) else { return Ok(vec![tensor(site.elem(0), None)]) };
    let listed = site.attr("scales").and_then(|a| a.as_floats()).map(|s| s.iter().map(|&v| f64::from(v)).collect());
    let Some(scales) = listed.or_else(|| site.floats(1)) else {
        return Ok(vec![tensor(site.elem(0), Some(unknown(shape.len())))]);
    };
    if scales.len() != shape.len() {
        return Err(format!("{} scales for {} axes", scales.len(), shape.len()));
    }
    let dims = shape.iter().zip(&scales).map(|(dim, &scale)| scaled(dim, scale)).collect::<Result<Shape, _>>()?;
    Ok(vec![tensor(site.elem(0), Some(dims))])
}

/// GridSample: batch and channels of the data, spatial extents of the grid.
fn grid_sample(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let shape = match (site.shape(0), site.shape(1)) {
        (Some([n, c, ..]), Some([_, spatial @ .., _])) => {
            let mut dims = vec![n.clone(), c.clone()];
            dims.extend(spatial.iter().cloned());
            Some(dims)
        }
        _ => None,
    };
    Ok(vec![tensor(site.elem(0), shape)])
}

/// AffineGrid: `size` is [N, C, spatial...]; the result has the coordinates last.
fn affine_grid(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let shape = match site.nums(1) {
        Some(size) if size.len() >= 3 => {
            let mut dims = vec![size[0].dim()?];
            for extent in &size[2..] {
                dims.push(extent.dim()?);
            }
            dims.push(Dim::Known(size.len() as u64 - 2));
            Some(dims)
        }
        Some(size) => return Err(format!("`size` has {} entries", size.len())),
        None => site.length(1).map(unknown),
    };
    Ok(vec![tensor(site.elem(0), shape)])
}
