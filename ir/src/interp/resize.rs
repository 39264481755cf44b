//! `Resize` and `Upsample`: one axis after the other, each output number a weighted sum of a few neighbours.

use super::call::axis_in;
use super::real::{ensure, read, read_f32, read_i64, volume, write};
use super::{Call, Datum, Entry, Fault};

pub(super) const KERNELS: &[Entry] = &[("onnx", "Resize", resize), ("onnx", "Upsample", upsample)];

/// How one axis is resized.
struct Axis {
    input: usize,
    output: usize,
    /// Output extent over input extent, as given or as the sizes say.
    scale: f64,
    /// Start and end of the region of interest, in units of the extent.
    roi: (f64, f64),
}

/// For each output index the input indices with their weights; none where the coordinate is outside of the region.
type Taps = Vec<Option<Vec<(usize, f64)>>>;

fn resize(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let rank = x.dims().len();
    // Opset 10 has no region of interest: its second operand are the scales.
    let (roi, scales, sizes) =
        if call.opset < 11 { (None, call.get(1), None) } else { (call.get(1), call.get(2), call.get(3)) };
    let axes = match call.ints("axes") {
        Some(axes) => axes.iter().map(|&a| axis_in(a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    let mut plan: Vec<Axis> = x.dims().iter().map(|&n| Axis { input: n, output: n, scale: 1.0, roi: (0.0, 1.0) }).collect();
    if let Some(sizes) = sizes.filter(|s| !s.is_empty()) {
        by_sizes(&mut plan, &axes, &read_i64(sizes)?, call.str("keep_aspect_ratio_policy", "stretch"))?;
    } else {
        let scales = read_f32(scales.ok_or("neither scales nor sizes are given")?)?;
        ensure(scales.len() == axes.len(), || format!("{} scales for {} axes", scales.len(), axes.len()))?;
        by_scales(&mut plan, &axes, &scales)?;
    }
    if let Some(roi) = roi.filter(|r| r.len() == 2 * axes.len()) {
        let roi = read(roi)?;
        axes.iter().enumerate().for_each(|(i, &a)| plan[a].roi = (roi[i], roi[i + axes.len()]));
    }
    let default = if call.opset < 11 { "asymmetric" } else { "half_pixel" };
    let coordinates = call.str("coordinate_transformation_mode", default);
    let nearest = call.str("nearest_mode", if call.opset < 11 { "floor" } else { "round_prefer_floor" });
    interpolate(call, &plan, coordinates, nearest)
}

fn upsample(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let scales = match (call.get(1), call.attr("scales").and_then(crate::attr::Attr::as_floats)) {
        (Some(scales), _) => read_f32(scales)?,
        (None, Some(scales)) => scales.to_vec(),
        (None, None) => vec![1.0, 1.0, call.float("height_scale", 1.0), call.float("width_scale", 1.0)],
    };
    let rank = x.dims().len();
    ensure(scales.len() == rank, || format!("{} scales for rank {rank}", scales.len()))?;
    let mut plan: Vec<Axis> = x.dims().iter().map(|&n| Axis { input: n, output: n, scale: 1.0, roi: (0.0, 1.0) }).collect();
    by_scales(&mut plan, &(0..rank).collect::<Vec<_>>(), &scales)?;
    interpolate(call, &plan, "asymmetric", "floor")
}

fn by_scales(plan: &mut [Axis], axes: &[usize], scales: &[f32]) -> Result<(), Fault> {
    for (&axis, &scale) in axes.iter().zip(scales) {
        ensure(scale > 0.0 && scale.is_finite(), || format!("a scale of {scale}"))?;
        let extent = (plan[axis].input as f64 * f64::from(scale)).floor();
        ensure(extent < 1e9, || format!("an extent of {extent}"))?;
        (plan[axis].scale, plan[axis].output) = (f64::from(scale), extent as usize);
    }
    Ok(())
}

fn by_sizes(plan: &mut [Axis], axes: &[usize], sizes: &[i64], policy: &str) -> Result<(), Fault> {
    ensure(sizes.len() == axes.len(), || format!("{} sizes for {} axes", sizes.len(), axes.len()))?;
    for (&axis, &size) in axes.iter().zip(sizes) {
        ensure((0..1_000_000_000).contains(&size), || format!("an extent of {size}"))?;
        (plan[axis].output, plan[axis].scale) = (size as usize, size as f64 / plan[axis].input as f64);
    }
    let scales = axes.iter().map(|&a| plan[a].scale);
    let shared = match policy {
        "stretch" => return Ok(()),
        "not_larger" => scales.fold(f64::INFINITY, f64::min),
        "not_smaller" => scales.fold(0.0, f64::max),
        other => return Err(format!("keep_aspect_ratio_policy '{other}' is not known")),
    };
    for &axis in axes {
        let extent = (shared * plan[axis].input as f64 + 0.5).floor();
        (plan[axis].scale, plan[axis].output) = (shared, extent as usize);
    }
    Ok(())
}

fn interpolate(call: &Call<'_>, plan: &[Axis], coordinates: &str, nearest: &str) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let mut values = read(x)?;
    let mut dims = x.dims().to_vec();
    let extrapolated = f64::from(call.float("extrapolation_value", 0.0));
    for (d, axis) in plan.iter().enumerate() {
        if axis.output == axis.input && axis.scale == 1.0 && (axis.roi == (0.0, 1.0) || coordinates != "tf_crop_and_resize")
        {
            continue;
        }
        ensure(axis.input > 0 || axis.output == 0, || "an empty axis cannot be enlarged".to_string())?;
        let taps = taps(call, axis, coordinates, nearest)?;
        let inner: usize = dims[d + 1..].iter().product();
        dims[d] = axis.output;
        let mut resized = vec![0.0; volume(&dims)?];
        for (i, line) in resized.chunks_mut(inner.max(1)).enumerate() {
            let block = i / axis.output * axis.input;
            match &taps[i % axis.output] {
                None => line.fill(extrapolated),
                Some(taps) => {
                    for &(from, weight) in taps {
                        let from = &values[(block + from) * inner..][..inner];
                        line.iter_mut().zip(from).for_each(|(y, &x)| *y += weight * x);
                    }
                }
            }
        }
        values = resized;
    }
    Ok(vec![write(x.elem(), &dims, &round(x.elem(), values))?])
}

/// Integers are truncated towards zero, as runtimes do.
fn round(elem: crate::types::Elem, values: Vec<f64>) -> Vec<f64> {
    if elem.is_int() { values.into_iter().map(f64::trunc).collect() } else { values }
}

fn taps(call: &Call<'_>, axis: &Axis, coordinates: &str, nearest: &str) -> Result<Taps, Fault> {
    let mode = call.str("mode", "nearest");
    let antialias = call.int("antialias", 0) != 0;
    let cubic_a = f64::from(call.float("cubic_coeff_a", -0.75));
    let exclude = call.int("exclude_outside", 0) != 0;
    // Where antialiasing shrinks, the kernel is stretched by the inverse of the scale.
    let stretch = if antialias { axis.scale.min(1.0) } else { 1.0 };
    let last = axis.input as i64 - 1;
    let mut taps = Taps::with_capacity(axis.output);
    for index in 0..axis.output {
        let at = coordinate(axis, coordinates, index as f64)?;
        if coordinates == "tf_crop_and_resize" && !(0.0..=last as f64).contains(&at) {
            taps.push(None);
            continue;
        }
        let weights: Vec<(i64, f64)> = match mode {
            "nearest" => vec![(pick(nearest, at)?, 1.0)],
            "linear" | "bilinear" | "trilinear" => kernel(at, 1.0 / stretch, |t| (1.0 - (t * stretch).abs()).max(0.0)),
            "cubic" => kernel(at, 2.0 / stretch, |t| cubic(cubic_a, t * stretch)),
            other => return Err(format!("mode '{other}' is not known")),
        };
        let inside = |i: i64| (0..=last).contains(&i);
        let counted = |&&(i, _): &&(i64, f64)| !exclude || mode == "nearest" || inside(i);
        let total: f64 = weights.iter().filter(counted).map(|w| w.1).sum();
        let share = |&(i, w): &(i64, f64)| (i.clamp(0, last) as usize, w / total);
        taps.push(Some(weights.iter().filter(counted).map(share).collect()));
    }
    Ok(taps)
}

/// The integers around `at` within `reach`, with the kernel's weight of their distance.
fn kernel(at: f64, reach: f64, weight: impl Fn(f64) -> f64) -> Vec<(i64, f64)> {
    let (first, last) = ((at - reach).floor() as i64 + 1, (at + reach).ceil() as i64 - 1);
    (first..=last).map(|i| (i, weight(i as f64 - at))).collect()
}

/// Keys' cubic convolution kernel (1981) with parameter `a`.
pub(super) fn cubic(a: f64, distance: f64) -> f64 {
    let t = distance.abs();
    match t {
        _ if t <= 1.0 => ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0,
        _ if t < 2.0 => ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a,
        _ => 0.0,
    }
}

/// The input coordinate of an output index.
fn coordinate(axis: &Axis, mode: &str, y: f64) -> Result<f64, Fault> {
    let last = axis.input as f64 - 1.0;
    // The extent that the scale means, which the rounded one may fall short of.
    let output = axis.scale * axis.input as f64;
    Ok(match mode {
        "half_pixel" => (y + 0.5) / axis.scale - 0.5,
        "pytorch_half_pixel" if output == 1.0 => -0.5,
        "pytorch_half_pixel" => (y + 0.5) / axis.scale - 0.5,
        "half_pixel_symmetric" => {
            let offset = axis.input as f64 / 2.0 * (1.0 - axis.output as f64 / output);
            offset + (y + 0.5) / axis.scale - 0.5
        }
        "align_corners" if output == 1.0 => 0.0,
        "align_corners" => y * last / (output - 1.0),
        "asymmetric" => y / axis.scale,
        "tf_half_pixel_for_nn" => (y + 0.5) / axis.scale,
        "tf_crop_and_resize" => {
            let (start, end) = axis.roi;
            let along = if output == 1.0 { 0.5 } else { y / (output - 1.0) };
            start * last + along * (end - start) * last
        }
        other => return Err(format!("coordinate_transformation_mode '{other}' is not known")),
    })
}

fn pick(mode: &str, at: f64) -> Result<i64, Fault> {
    Ok(match mode {
        "round_prefer_floor" => (at - 0.5).ceil() as i64,
        "round_prefer_ceil" => (at + 0.5).floor() as i64,
        "floor" => at.floor() as i64,
        "ceil" => at.ceil() as i64,
        other => return Err(format!("nearest_mode '{other}' is not known")),
    })
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::interp::trial::trial_in;
    use crate::tensor::Tensor;

    /// Resizes the one axis of a line by a scale.
    fn line(values: &[f32], scale: f32, attrs: &[(&str, Attr)]) -> Vec<f32> {
        let operands =
            [Some(Tensor::new(vec![values.len()], values.to_vec())), None, Some(Tensor::new(vec![1], vec![scale]))];
        trial_in("onnx", "Resize", 19, attrs, &operands).unwrap()[0].to_f32().unwrap()
    }

    #[test]
    fn nearest_and_linear() {
        assert_eq!(line(&[1., 2.], 2.0, &[]), [1., 1., 2., 2.]);
        let linear = ("mode", Attr::text("linear"));
        assert_eq!(line(&[1., 5.], 2.0, std::slice::from_ref(&linear)), [1., 2., 4., 5.]);
        let corners = ("coordinate_transformation_mode", Attr::text("align_corners"));
        assert_eq!(line(&[0., 3.], 2.0, &[linear.clone(), corners]), [0., 1., 2., 3.]);
        let smooth = ("antialias", Attr::Int(1));
        // Weights 1/8, 3/8, 3/8, 1/8 around the middle of each pair; the missing neighbour is the edge again.
        assert_eq!(line(&[0., 8., 16., 24.], 0.5, &[linear, smooth]), [5., 19.]);
    }

    #[test]
    fn cubic_reproduces_its_points() {
        let attrs = [("mode", Attr::text("cubic")), ("coordinate_transformation_mode", Attr::text("asymmetric"))];
        let y = line(&[1., 2., 4., 8.], 2.0, &attrs);
        assert_eq!([y[0], y[2], y[4], y[6]], [1., 2., 4., 8.]);
        assert!((y[3] - (2. + 4.) * 0.59375 + (1. + 8.) * 0.09375).abs() < 1e-5);
    }

    #[test]
    fn sizes_keep_the_aspect() {
        let x = Tensor::new(vec![2, 4], vec![1u8, 2, 3, 4, 5, 6, 7, 8]);
        let operands = [Some(x), None, None, Some(Tensor::new(vec![2], vec![6i64, 8]))];
        let policy = [("keep_aspect_ratio_policy", Attr::text("not_larger"))];
        assert_eq!(trial_in("onnx", "Resize", 19, &policy, &operands).unwrap()[0].dims(), [4, 8]);
        let operands = [Some(Tensor::new(vec![1], vec![1f32])), None, None, Some(Tensor::new(vec![1], vec![i64::MAX]))];
        assert!(trial_in("onnx", "Resize", 19, &[], &operands).is_err());
    }
}
