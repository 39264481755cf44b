//! Sampling at computed places: `GridSample`, `AffineGrid`, `DeformConv`.

use super::conv::Plan;
use super::real::{batch_channels, ensure, read, read_i64, volume, write};
use super::resize::cubic;
use super::{Call, Datum, Entry, Fault};

pub(super) const KERNELS: &[Entry] =
    &[("onnx", "GridSample", grid_sample), ("onnx", "AffineGrid", affine_grid), ("onnx", "DeformConv", deform_conv)];

/// What lies outside of the image.
#[derive(Clone, Copy, PartialEq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

/// The numbers of `[N, C, D1, ...]` at places `[N, O1, ..., rank]`, which are in [-1, 1] and name the last axis first.
fn grid_sample(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (x, grid) = (call.tensor(0)?, call.tensor(1)?);
    let (batch, channels, spatial) = batch_channels(x)?;
    let rank = spatial.len();
    let fits = grid.dims().len() == rank + 2 && grid.dims()[0] == batch && grid.dims().last() == Some(&rank);
    ensure(fits && rank > 0, || format!("a grid of shape {:?} does not fit {:?}", grid.dims(), x.dims()))?;
    let dims = [&[batch, channels], &grid.dims()[1..=rank]].concat();
    let size = volume(&dims)?;
    ensure(size == 0 || !spatial.contains(&0), || "an empty image has no samples".to_string())?;
    let corners = call.int("align_corners", 0) != 0;
    let padding = match call.str("padding_mode", "zeros") {
        "zeros" => Padding::Zeros,
        "border" => Padding::Border,
        "reflection" => Padding::Reflection,
        other => return Err(format!("padding_mode '{other}' is not known")),
    };
    let mode = call.str("mode", "linear");
    let (values, places) = (read(x)?, read(grid)?);
    let plane: usize = spatial.iter().product();
    let points = size / (batch * channels).max(1);
    let mut y = vec![0.0; size];
    for (i, place) in places.chunks(rank).enumerate() {
        let (n, point) = (i / points, i % points);
        let mut taps: Vec<(Option<usize>, f64)> = vec![(Some(0), 1.0)];
        for (&extent, &at) in spatial.iter().zip(place.iter().rev()) {
            let along = axis_taps(mode, padding, corners, extent, at)?;
            let join = |&(base, w): &(Option<usize>, f64)| {
                let step = move |&(i, v): &(Option<usize>, f64)| (base.zip(i).map(|(b, i)| b * extent + i), w * v);
                along.iter().map(step).collect::<Vec<_>>()
            };
            taps = taps.iter().flat_map(join).collect();
        }
        for c in 0..channels {
            let image = &values[(n * channels + c) * plane..][..plane];
            y[(n * channels + c) * points + point] = taps.iter().filter_map(|&(i, w)| i.map(|i| image[i] * w)).sum();
        }
    }
    Ok(vec![write(x.elem(), &dims, &y)?])
}

/// Indices along one axis with weights; `None` is a 0 outside of the image.
fn axis_taps(
    mode: &str,
    padding: Padding,
    corners: bool,
    extent: usize,
    at: f64,
) -> Result<Vec<(Option<usize>, f64)>, Fault> {
    let last = extent as f64 - 1.0;
    let (low, high) = if corners { (0.0, last) } else { (-0.5, last + 0.5) };
    let at = if corners { (at + 1.0) / 2.0 * last } else { ((at + 1.0) * extent as f64 - 1.0) / 2.0 };
    let at = if mode == "nearest" { at.round_ties_even() } else { at };
    let bring_in = |v: f64| match padding {
        Padding::Zeros => v,
        Padding::Border => v.clamp(0.0, last),
        Padding::Reflection => reflect(v, low, high),
    };
    let at = if (low..=high).contains(&at) { at } else { bring_in(at) };
    let index = |i: f64| {
        let i = if (0.0..=last).contains(&i) { i } else { bring_in(i).trunc() };
        (0.0..=last).contains(&i).then_some(i as usize)
    };
    let floor = at.floor();
    Ok(match mode {
        "nearest" => vec![(index(at.trunc()), 1.0)],
        "linear" | "bilinear" => {
            let ratio = at - floor;
            vec![(index(floor), 1.0 - ratio), (index(floor + 1.0), ratio)]
        }
        "cubic" | "bicubic" => (-1..3).map(|i| floor + f64::from(i)).map(|i| (index(i), cubic(-0.75, at - i))).collect(),
        other => return Err(format!("mode '{other}' is not known")),
    })
}

/// Mirrors a coordinate at both borders until it lies between them.
fn reflect(at: f64, low: f64, high: f64) -> f64 {
    let range = high - low;
    if range <= 0.0 || !at.is_finite() {
        return low.max(0.0);
    }
    let along = (at - low).rem_euclid(2.0 * range);
    low + if along <= range { along } else { 2.0 * range - along }
}

/// Places of a regular grid of `size` under affine maps `theta`, for [`grid_sample`].
fn affine_grid(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (theta, size) = (call.tensor(0)?, read_i64(call.tensor(1)?)?);
    let size: Vec<usize> = size.iter().map(|&n| n.max(0) as usize).collect();
    let rank = size.len().saturating_sub(2);
    let fits = rank > 0 && theta.dims() == [size[0], rank, rank + 1];
    ensure(fits, || format!("maps of shape {:?} do not fit size {size:?}", theta.dims()))?;
    let (spatial, corners) = (&size[2..], call.int("align_corners", 0) != 0);
    let dims = [&size[..1], spatial, &[rank]].concat();
    let mut y = Vec::with_capacity(volume(&dims)?);
    let points: usize = spatial.iter().product();
    for map in read(theta)?.chunks(rank * (rank + 1)) {
        for point in 0..points {
            let (mut rest, mut place) = (point, vec![1.0; rank + 1]);
            // The last axis comes first in a place.
            for (axis, &extent) in spatial.iter().rev().enumerate() {
                let i = (rest % extent) as f64;
                rest /= extent;
                place[axis] = match corners {
                    true => i * 2.0 / (extent as f64 - 1.0) - 1.0,
                    false => (2.0 * i + 1.0) / extent as f64 - 1.0,
                };
            }
            y.extend(map.chunks(rank + 1).map(|row| row.iter().zip(&place).map(|(a, b)| a * b).sum::<f64>()));
        }
    }
    Ok(vec![write(theta.elem(), &dims, &y)?])
}

/// A convolution over two axes whose taps are displaced by `offset` and scaled by `mask`.
fn deform_conv(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (x, w, offset) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let plan = Plan::of_conv(call, x, w)?;
    let (windows, dims, taps) = (&plan.windows, plan.dims(), plan.windows.taps());
    let (&[height, width], &[rows, columns]) = (&windows.input[..], &windows.output[..]) else {
        return Err("only two spatial axes are supported".into());
    };
    let channels = x.dims()[1];
    let shares = usize::try_from(call.int("offset_group", 1)).unwrap_or(0);
    ensure(shares > 0 && channels % shares == 0, || format!("{shares} offset groups for {channels} channels"))?;
    ensure(offset.dims() == [plan.batch, shares * taps * 2, rows, columns], || format!("offsets {:?}", offset.dims()))?;
    let points = rows * columns;
    let (values, weights, offsets) = (read(x)?, read(w)?, read(offset)?);
    let mask = call.get(4).map_or_else(|| Ok(vec![1.0; offsets.len() / 2]), read)?;
    ensure(mask.len() == offsets.len() / 2, || "mask and offsets differ in size".to_string())?;
    let maps = dims[1];
    let mut y = vec![0.0; volume(&dims)?];
    if let Some(bias) = call.get(3) {
        let bias = read(bias)?;
        ensure(bias.len() == maps, || format!("{} biases for {maps} maps", bias.len()))?;
        y.iter_mut().enumerate().for_each(|(i, v)| *v = bias[i / points % maps]);
    }
    for n in 0..plan.batch {
        for c in 0..channels {
            let image = &values[(n * channels + c) * height * width..][..height * width];
            let share = n * shares + c / (channels / shares);
            let (group, within) = (c / plan.inputs, c % plan.inputs);
            for i in 0..taps * points {
                let (tap, point) = (i / points, i % points);
                let start = |d: usize, window: usize, tap: usize| {
                    (window * windows.stride[d] + tap * windows.dilation[d]) as f64 - windows.pads[d].0 as f64
                };
                let place = (share * taps + tap) * 2 * points + point;
                let (kernel_rows, kernel_columns) = (tap / windows.kernel[1], tap % windows.kernel[1]);
                let down = start(0, point / columns, kernel_rows) + offsets[place];
                let across = start(1, point % columns, kernel_columns) + offsets[place + points];
                let sample = bilinear(image, height, width, down, across) * mask[(share * taps + tap) * points + point];
                for map in group * plan.outputs..(group + 1) * plan.outputs {
                    y[(n * maps + map) * points + point] += sample * weights[(map * plan.inputs + within) * taps + tap];
                }
            }
        }
    }
    Ok(vec![write(x.elem(), &dims, &y)?])
}

/// A number between four pixels; those outside are 0.
fn bilinear(image: &[f64], height: usize, width: usize, down: f64, across: f64) -> f64 {
    let (top, left) = (down.floor(), across.floor());
    let (v, h) = (down - top, across - left);
    let pixel = |r: f64, c: f64| {
        let inside = r >= 0.0 && c >= 0.0 && r < height as f64 && c < width as f64;
        if inside { image[r as usize * width + c as usize] } else { 0.0 }
    };
    (1.0 - v) * ((1.0 - h) * pixel(top, left) + h * pixel(top, left + 1.0))
        + v * ((1.0 - h) * pixel(top + 1.0, left) + h * pixel(top + 1.0, left + 1.0))
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::interp::trial::trial;
    use crate::tensor::Tensor;

    fn image() -> Tensor {
        Tensor::new(vec![1, 1, 2, 2], vec![1f32, 2., 3., 4.])
    }

    #[test]
    fn samples_between_and_beside_pixels() {
        let grid = Tensor::new(vec![1, 1, 3, 2], vec![0f32, 0., 1., 1., -5., -1.]);
        let corners = [("align_corners", Attr::Int(1))];
        let y = trial("GridSample", 20, &corners, &[image(), grid.clone()]).unwrap();
        assert_eq!(y[0].to_f32().unwrap(), [2.5, 4., 0.]);
        let border = [("align_corners", Attr::Int(1)), ("padding_mode", Attr::text("border"))];
        assert_eq!(trial("GridSample", 20, &border, &[image(), grid]).unwrap()[0].to_f32().unwrap(), [2.5, 4., 1.]);
    }

    #[test]
    fn the_identity_map_names_the_last_axis_first() {
        let theta = Tensor::new(vec![1, 2, 3], vec![1f32, 0., 0., 0., 1., 0.]);
        let size = Tensor::new(vec![4], vec![1i64, 1, 2, 2]);
        let y = trial("AffineGrid", 20, &[], &[theta, size]).unwrap();
        assert_eq!(y[0].to_f32().unwrap(), [-0.5, -0.5, 0.5, -0.5, -0.5, 0.5, 0.5, 0.5]);
    }

    #[test]
    fn offsets_move_the_taps() {
        let (w, offset) = (Tensor::new(vec![1, 1, 1, 1], vec![2f32]), vec![0f32, 0., 0., 0., 1., 0.5, 0., 0.]);
        let offset = Tensor::new(vec![1, 2, 2, 2], offset);
        let y = trial("DeformConv", 19, &[], &[image(), w, offset]).unwrap();
        assert_eq!(y[0].to_f32().unwrap(), [4., 2., 6., 8.]);
    }
}
