//! Operators of detectors: `NonMaxSuppression`, `RoiAlign`, `MaxRoiPool`.

use super::real::{batch_channels, ensure, read, read_f32, read_i64, single, volume, write};
use super::{Call, Datum, Entry, Fault};
use crate::tensor::Tensor;

pub(super) const KERNELS: &[Entry] = &[
    ("onnx", "NonMaxSuppression", non_max_suppression),
    ("onnx", "RoiAlign", roi_align),
    ("onnx", "MaxRoiPool", max_roi_pool),
];

/// A box as its smallest and largest corner.
type Corners = [f32; 4];

/// `[y1, x1, y2, x2]` in any order of corners, or centre, width and height.
fn corners(raw: &[f32], centred: bool) -> Corners {
    match centred {
        true => [raw[1] - raw[3] / 2.0, raw[0] - raw[2] / 2.0, raw[1] + raw[3] / 2.0, raw[0] + raw[2] / 2.0],
        false => [raw[0].min(raw[2]), raw[1].min(raw[3]), raw[0].max(raw[2]), raw[1].max(raw[3])],
    }
}

/// Intersection over union; 0 for boxes without area.
fn overlap(a: &Corners, b: &Corners) -> f32 {
    let side = |lo: f32, hi: f32| (hi - lo).max(0.0);
    let common = side(a[0].max(b[0]), a[2].min(b[2])) * side(a[1].max(b[1]), a[3].min(b[3]));
    let area = |c: &Corners| side(c[0], c[2]) * side(c[1], c[3]);
    if common <= 0.0 || area(a) <= 0.0 || area(b) <= 0.0 { 0.0 } else { common / (area(a) + area(b) - common) }
}

/// Rows of (batch, class, box), for each class by falling score; of equal scores the earlier box first.
fn non_max_suppression(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (boxes, scores) = (call.tensor(0)?, call.tensor(1)?);
    let (&[batch, count, 4], &[score_batch, classes, score_count]) = (boxes.dims(), scores.dims()) else {
        return Err(format!(
            "boxes {:?} and scores {:?} must be [n, boxes, 4] and [n, classes, boxes]",
            boxes.dims(),
            scores.dims()
        ));
    };
    ensure((batch, count) == (score_batch, score_count), || "boxes and scores differ in number".to_string())?;
    let optional = |index| call.get(index).filter(|t| !t.is_empty()).map(single).transpose();
    let most = optional(2)?.unwrap_or(0.0).max(0.0) as usize;
    let (iou, least) = (optional(3)?.unwrap_or(0.0) as f32, optional(4)?.map(|v| v as f32));
    let centred = call.int("center_point_box", 0) != 0;
    let boxes: Vec<Corners> = read_f32(boxes)?.chunks(4).map(|raw| corners(raw, centred)).collect();
    let scores = read_f32(scores)?;
    let mut rows: Vec<i64> = Vec::new();
    for (line, scores) in scores.chunks(count.max(1)).enumerate() {
        let boxes = &boxes[line / classes * count..][..count];
        let mut order: Vec<usize> = (0..count).filter(|&i| least.is_none_or(|least| scores[i] > least)).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let mut kept: Vec<usize> = Vec::new();
        for candidate in order {
            if kept.len() == most {
                break;
            }
            if kept.iter().all(|&k| overlap(&boxes[candidate], &boxes[k]) <= iou) {
                kept.push(candidate);
                rows.extend([(line / classes) as i64, (line % classes) as i64, candidate as i64]);
            }
        }
    }
    Ok(vec![Tensor::new(vec![rows.len() / 3, 3], rows).into()])
}

/// Extents of pooled regions, and the image that an index names.
fn extents(height: i64, width: i64) -> Result<(usize, usize), Fault> {
    let fits = |n: i64| usize::try_from(n).ok().filter(|&n| n > 0 && n < 1 << 20);
    fits(height).zip(fits(width)).ok_or_else(|| format!("regions of {height} x {width} cannot be made"))
}

fn image(index: i64, batch: usize) -> Result<usize, Fault> {
    usize::try_from(index).ok().filter(|&i| i < batch).ok_or_else(|| format!("image {index} of {batch}"))
}

fn roi_align(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (x, rois) = (call.tensor(0)?, call.tensor(1)?);
    let (&[batch, channels, height, width], &[regions, 4]) = (x.dims(), rois.dims()) else {
        return Err(format!("expected an image and regions [n, 4], found {:?} and {:?}", x.dims(), rois.dims()));
    };
    let indices = read_i64(call.tensor(2)?)?;
    ensure(indices.len() == regions && height * width > 0, || "each region needs the index of an image".to_string())?;
    let (rows, columns) = extents(call.int("output_height", 1), call.int("output_width", 1))?;
    let default = if call.opset < 16 { "output_half_pixel" } else { "half_pixel" };
    let half_pixel = call.str("coordinate_transformation_mode", default) == "half_pixel";
    let (scale, offset) = (f64::from(call.float("spatial_scale", 1.0)), if half_pixel { 0.5 } else { 0.0 });
    let samples = usize::try_from(call.int("sampling_ratio", 0)).unwrap_or(0);
    let maximum = call.str("mode", "avg").eq_ignore_ascii_case("max");
    let (values, rois) = (read(x)?, read(rois)?);
    let dims = [regions, channels, rows, columns];
    let mut y = Vec::with_capacity(volume(&dims)?);
    for (region, &index) in rois.chunks(4).zip(&indices) {
        let n = image(index, batch)?;
        let [x1, y1, x2, y2] = [0, 1, 2, 3].map(|i| region[i] * scale - offset);
        // Malformed regions become 1 x 1 where the newer coordinates are not in use.
        let (mut w, mut h) = (x2 - x1, y2 - y1);
        if !half_pixel {
            (w, h) = (w.max(1.0), h.max(1.0));
        }
        let (bin_h, bin_w) = (h / rows as f64, w / columns as f64);
        let grid = |bin: f64| if samples > 0 { samples } else { bin.ceil().clamp(0.0, 4096.0) as usize };
        let (grid_h, grid_w) = (grid(bin_h), grid(bin_w));
        let along = |start: f64, bin: f64, cell: usize, i: usize, grid: usize, extent: usize| {
            neighbours(start + cell as f64 * bin + (i as f64 + 0.5) * bin / grid as f64, extent)
        };
        for c in 0..channels {
            let plane = &values[(n * channels + c) * height * width..][..height * width];
            for cell in 0..rows * columns {
                let (row, column) = (cell / columns, cell % columns);
                let (mut sum, mut most) = (0.0, f64::NEG_INFINITY);
                for i in 0..grid_h * grid_w {
                    let vertical = along(y1, bin_h, row, i / grid_w, grid_h, height);
                    let horizontal = along(x1, bin_w, column, i % grid_w, grid_w, width);
                    let corner = |(r, wr): (usize, f64), (c, wc): (usize, f64)| plane[r * width + c] * (wr * wc);
                    let weighted = match (vertical, horizontal) {
                        (Some(v), Some(h)) => {
                            [corner(v[0], h[0]), corner(v[0], h[1]), corner(v[1], h[0]), corner(v[1], h[1])]
                        }
                        _ => [0.0; 4],
                    };
                    sum += weighted.iter().sum::<f64>();
                    most = weighted.iter().copied().fold(most, f64::max);
                }
                let average = sum / (grid_h * grid_w).max(1) as f64;
                y.push(match maximum {
                    true if most.is_finite() => most,
                    true => 0.0,
                    false => average,
                });
            }
        }
    }
    Ok(vec![write(x.elem(), &dims, &y)?])
}

/// The two neighbours of a coordinate with their weights; `None` more than one step outside.
fn neighbours(at: f64, extent: usize) -> Option<[(usize, f64); 2]> {
    if !(-1.0..=extent as f64).contains(&at) {
        return None;
    }
    let (at, last) = (at.max(0.0), extent - 1);
    let low = at as usize;
    Some(match low >= last {
        true => [(last, 1.0), (last, 0.0)],
        false => [(low, 1.0 - (at - low as f64)), (low + 1, at - low as f64)],
    })
}

/// Regions are rows of (image, x1, y1, x2, y2); empty bins are 0.
fn max_roi_pool(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (x, rois) = (call.tensor(0)?, call.tensor(1)?);
    let (batch, channels, spatial) = batch_channels(x)?;
    let (&[height, width], &[regions, 5]) = (spatial, rois.dims()) else {
        return Err(format!("expected an image and regions [n, 5], found {:?} and {:?}", x.dims(), rois.dims()));
    };
    let Some(&[rows, columns]) = call.ints("pooled_shape") else { return Err("pooled_shape must be two numbers".into()) };
    let (rows, columns) = extents(rows, columns)?;
    let scale = f64::from(call.float("spatial_scale", 1.0));
    let (values, rois) = (read(x)?, read(rois)?);
    let dims = [regions, channels, rows, columns];
    let mut y = Vec::with_capacity(volume(&dims)?);
    for region in rois.chunks(5) {
        let n = image(region[0] as i64, batch)?;
        let [x1, y1, x2, y2] = [1, 2, 3, 4].map(|i| (region[i] * scale).round());
        let bin = |from: f64, to: f64, cells: usize| (to - from + 1.0).max(1.0) / cells as f64;
        let (bin_h, bin_w) = (bin(y1, y2, rows), bin(x1, x2, columns));
        let bounds = |start: f64, bin: f64, cell: usize, extent: usize| {
            let clip = |v: f64| (v + start).clamp(0.0, extent as f64) as usize;
            clip((cell as f64 * bin).floor())..clip(((cell + 1) as f64 * bin).ceil())
        };
        for c in 0..channels {
            let plane = &values[(n * channels + c) * height * width..][..height * width];
            for cell in 0..rows * columns {
                let (down, across) = (bounds(y1, bin_h, cell / columns, height), bounds(x1, bin_w, cell % columns, width));
                let inside = down.flat_map(|r| across.clone().map(move |c| plane[r * width + c]));
                y.push(inside.reduce(f64::max).unwrap_or(0.0));
            }
        }
    }
    Ok(vec![write(x.elem(), &dims, &y)?])
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::interp::trial::trial;
    use crate::tensor::Tensor;

    #[test]
    fn suppresses_what_overlaps() {
        let boxes = [0., 0., 1., 1., 0., 0.1, 1., 1.1, 0., 10., 1., 11., 1., 1., 0., 0.];
        let boxes = Tensor::new(vec![1, 4, 4], boxes.iter().map(|&v| v as f32).collect());
        let scores = Tensor::new(vec![1, 1, 4], vec![0.9f32, 0.75, 0.6, 0.9]);
        let operands = [boxes, scores, Tensor::scalar(3i64), Tensor::scalar(0.5f32), Tensor::scalar(0f32)];
        let y = trial("NonMaxSuppression", 11, &[], &operands).unwrap();
        assert_eq!(y[0], Tensor::new(vec![2, 3], vec![0i64, 0, 0, 0, 0, 2]));
    }

    #[test]
    fn regions_are_averaged_and_maximized() {
        let x = Tensor::new(vec![1, 1, 2, 2], vec![1f32, 2., 3., 4.]);
        let roi = Tensor::new(vec![1, 4], vec![0f32, 0., 2., 2.]);
        let attrs = [("sampling_ratio", Attr::Int(1))];
        let y = trial("RoiAlign", 16, &attrs, &[x.clone(), roi, Tensor::new(vec![1], vec![0i64])]).unwrap();
        assert_eq!(y[0].to_f32().unwrap(), [2.5], "the one sample is the middle of the four");
        let roi = Tensor::new(vec![1, 5], vec![0f32, 0., 0., 1., 1.]);
        let y = trial("MaxRoiPool", 1, &[("pooled_shape", Attr::Ints(vec![1, 2]))], &[x, roi]).unwrap();
        assert_eq!(y[0].to_f32().unwrap(), [3., 4.]);
    }
}
