//! Poolings: windows that are reduced to their largest, mean or p-norm, windows over everything, and unpooling.

use super::layout::strides;
use super::real::{batch_channels, ensure, read, read_i64, volume, write};
use super::window::{Rounding, Span, Windows};
use super::{Call, Datum, Entry, Fault};
use crate::tensor::{Number, Tensor};
use crate::types::Elem;

pub(super) const KERNELS: &[Entry] = &[
    ("onnx", "MaxPool", max_pool),
    ("onnx", "AveragePool", average_pool),
    ("onnx", "LpPool", lp_pool),
    ("onnx", "GlobalAveragePool", global_average_pool),
    ("onnx", "GlobalMaxPool", global_max_pool),
    ("onnx", "GlobalLpPool", global_lp_pool),
    ("onnx", "MaxUnpool", max_unpool),
];

/// The windows of a pooling op over a tensor of shape `[N, C, ...]`, and the shape of its result.
pub(super) fn windows(call: &Call<'_>, x: &Tensor) -> Result<(Windows, Vec<usize>), Fault> {
    let (batch, channels, spatial) = batch_channels(x)?;
    let kernel = call.ints("kernel_shape").ok_or("kernel_shape is missing")?;
    let kernel: Option<Vec<usize>> = kernel.iter().map(|&k| usize::try_from(k).ok()).collect();
    let rounding = if call.int("ceil_mode", 0) != 0 { Rounding::Ceil } else { Rounding::Floor };
    let windows = Windows::new(call, spatial, &kernel.ok_or("kernel_shape is negative")?, rounding)?;
    let dims = [&[batch, channels], &windows.output[..]].concat();
    volume(&dims)?;
    Ok((windows, dims))
}

/// Visits each tap of each window: plane, window in the result, position in the input.
pub(super) fn each_tap(windows: &Windows, planes: usize, mut visit: impl FnMut(usize, usize)) {
    let (large, small): (usize, usize) = (windows.input.iter().product(), windows.output.iter().product());
    let mut spans: Vec<Span> = Vec::new();
    for tap in 0..windows.taps() {
        windows.spans(tap, &mut spans);
        for plane in 0..planes {
            for span in &spans {
                let (to, from) = (plane * small + span.output, plane * large + span.input);
                (0..span.len).for_each(|i| visit(to + i, from + i * windows.step()));
            }
        }
    }
}

fn max_pool(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    match x.elem() {
        Elem::F32 => largest::<f32>(call, x, f32::NEG_INFINITY),
        Elem::F64 => largest::<f64>(call, x, f64::NEG_INFINITY),
        Elem::I8 => largest::<i8>(call, x, i8::MIN),
        Elem::U8 => largest::<u8>(call, x, u8::MIN),
        Elem::F16 => largest::<half::f16>(call, x, half::f16::NEG_INFINITY),
        Elem::Bf16 => largest::<half::bf16>(call, x, half::bf16::NEG_INFINITY),
        other => Err(format!("MaxPool of {other} is not supported")),
    }
}

/// The largest number of each window and its position in the whole tensor; of equal ones the first.
fn largest<T: Number + PartialOrd>(call: &Call<'_>, x: &Tensor, lowest: T) -> Result<Vec<Datum>, Fault> {
    let (windows, dims) = windows(call, x)?;
    let planes = dims[0] * dims[1];
    let values = x.values::<T>().ok_or("unexpected element type")?;
    let mut y = vec![lowest; volume(&dims)?];
    let mut from = vec![usize::MAX; y.len()];
    each_tap(&windows, planes, |to, at| {
        if values[at] > y[to] || from[to] == usize::MAX {
            (y[to], from[to]) = (values[at], at);
        }
    });
    let mut results = vec![Tensor::new(dims.clone(), y).into()];
    if call.results() > 1 {
        let column_major = call.int("storage_order", 0) == 1;
        let index = |&at: &usize| match (at, column_major) {
            (usize::MAX, _) => -1,
            (at, false) => at as i64,
            (at, true) => transposed_index(at, &windows.input) as i64,
        };
        results.push(Tensor::new(dims, from.iter().map(index).collect::<Vec<i64>>()).into());
    }
    Ok(results)
}

/// The position of an element if the spatial axes were stored with the first one fastest.
fn transposed_index(at: usize, spatial: &[usize]) -> usize {
    let plane: usize = spatial.iter().product();
    let (mut index, mut weight) = (at / plane * plane, 1);
    for (&extent, stride) in spatial.iter().zip(strides(spatial)) {
        index += at % plane / stride % extent * weight;
        weight *= extent;
    }
    index
}

fn average_pool(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let (windows, dims) = windows(call, x)?;
    let values = read(x)?;
    let mut y = vec![0f64; volume(&dims)?];
    each_tap(&windows, dims[0] * dims[1], |to, at| y[to] += values[at]);
    // Padding counts where asked for, but what a last window sticks out beyond the padding never does.
    let counts = windows.tap_counts(call.int("count_include_pad", 0) != 0);
    for (i, y) in y.iter_mut().enumerate() {
        *y /= counts[i % counts.len()] as f64;
    }
    Ok(vec![write(x.elem(), &dims, &y)?])
}

fn lp_pool(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let (windows, dims) = windows(call, x)?;
    let p = f64::from(call.float("p", 2.0));
    let values = read(x)?;
    let mut y = vec![0f64; volume(&dims)?];
    each_tap(&windows, dims[0] * dims[1], |to, at| y[to] += values[at].abs().powf(p));
    y.iter_mut().for_each(|y| *y = y.powf(1.0 / p));
    Ok(vec![write(x.elem(), &dims, &y)?])
}

/// Reduces each plane of `[N, C, ...]` to one number.
fn global(call: &Call<'_>, reduce: impl Fn(&[f64]) -> f64) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let (batch, channels, spatial) = batch_channels(x)?;
    let plane: usize = spatial.iter().product();
    ensure(plane > 0, || format!("nothing to reduce in shape {:?}", x.dims()))?;
    let y: Vec<f64> = read(x)?.chunks(plane).map(reduce).collect();
    let dims = [&[batch, channels][..], &vec![1; spatial.len()]].concat();
    Ok(vec![write(x.elem(), &dims, &y)?])
}

fn global_average_pool(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    global(call, |plane| plane.iter().sum::<f64>() / plane.len() as f64)
}

fn global_max_pool(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    global(call, |plane| plane.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

fn global_lp_pool(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let p = f64::from(call.float("p", 2.0));
    global(call, |plane| plane.iter().map(|v| v.abs().powf(p)).sum::<f64>().powf(1.0 / p))
}

/// Puts each number where `MaxPool` found it. The positions count in the shape that the window geometry gives; a larger
/// `output_shape` appends zeros at the end of the axes.
fn max_unpool(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (x, positions) = (call.tensor(0)?, read_i64(call.tensor(1)?)?);
    let (batch, channels, spatial) = batch_channels(x)?;
    let kernel: Option<Vec<usize>> =
        call.ints("kernel_shape").unwrap_or(&[]).iter().map(|&k| usize::try_from(k).ok()).collect();
    let windows = Windows::transposed(call, spatial, &kernel.ok_or("kernel_shape is negative")?)?;
    let dims = [&[batch, channels], &windows.input[..]].concat();
    let values = read(x)?;
    ensure(positions.len() == values.len(), || "as many positions as numbers are needed".to_string())?;
    let wanted: Vec<usize> = match call.get(2) {
        Some(shape) => read_i64(shape)?.iter().map(|&n| n.max(0) as usize).collect(),
        None => dims.clone(),
    };
    let fits = wanted.len() == dims.len() && wanted.iter().zip(&dims).all(|(a, b)| a >= b);
    ensure(fits, || format!("output_shape {wanted:?} is smaller than {dims:?}"))?;
    let mut y = vec![0f64; volume(&wanted)?];
    let (from, to, size) = (strides(&dims), strides(&wanted), volume(&dims)?);
    for (value, position) in values.into_iter().zip(positions) {
        let at = usize::try_from(position).ok().filter(|&p| p < size);
        let at = at.ok_or_else(|| format!("position {position} is outside of shape {dims:?}"))?;
        let at: usize = (0..dims.len()).map(|d| at / from[d] % dims[d] * to[d]).sum();
        y[at] = value;
    }
    Ok(vec![write(x.elem(), &wanted, &y)?])
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::interp::trial::trial;
    use crate::tensor::Tensor;

    fn ints(name: &str, list: &[i64]) -> (&'static str, Attr) {
        let name = ["kernel_shape", "strides", "pads", "dilations"].into_iter().find(|n| *n == name).unwrap_or("pads");
        (name, Attr::Ints(list.to_vec()))
    }

    fn line(values: &[f32]) -> Tensor {
        Tensor::new(vec![1, 1, values.len()], values.to_vec())
    }

    #[test]
    fn the_last_window_of_ceil_mode_starts_inside() {
        // Five numbers, windows of 3 at steps of 2: the third window would start at 4, inside; with 4 numbers it would
        // start at 4, outside.
        let attrs = [ints("kernel_shape", &[1]), ints("strides", &[2]), ("ceil_mode", Attr::Int(1))];
        assert_eq!(trial("MaxPool", 12, &attrs, &[line(&[1., 2., 3., 4.])]).unwrap()[0].dims(), [1, 1, 2]);
        let attrs = [ints("kernel_shape", &[2]), ints("strides", &[2]), ("ceil_mode", Attr::Int(1))];
        let y = trial("MaxPool", 12, &attrs, &[line(&[1., 2., 3., 4., -5.])]).unwrap();
        assert_eq!(y[0].to_f32().unwrap(), [2., 4., -5.]);
        assert_eq!(y[1].to_i64().unwrap(), [1, 3, 4]);
    }

    #[test]
    fn bytes_keep_their_type_and_order() {
        let x = Tensor::new(vec![1, 1, 2, 2], vec![-3i8, -128, 5, 5]);
        let attrs = [ints("kernel_shape", &[2, 2]), ("storage_order", Attr::Int(1))];
        let y = trial("MaxPool", 12, &attrs, &[x]).unwrap();
        assert_eq!(y[0], Tensor::new(vec![1, 1, 1, 1], vec![5i8]));
        assert_eq!(y[1].to_i64().unwrap(), [1], "the element in row 1, column 0 comes second in column-major order");
    }

    #[test]
    fn averages_with_and_without_padding() {
        let attrs = |pad| [ints("kernel_shape", &[3]), ints("pads", &[1, 1]), ("count_include_pad", Attr::Int(pad))];
        let y = trial("AveragePool", 11, &attrs(0), &[line(&[3., 6., 9.])]).unwrap();
        assert_eq!(y[0].to_f32().unwrap(), [4.5, 6., 7.5]);
        let y = trial("AveragePool", 11, &attrs(1), &[line(&[3., 6., 9.])]).unwrap();
        assert_eq!(y[0].to_f32().unwrap(), [3., 6., 5.]);
    }

    #[test]
    fn norms_and_global_reductions() {
        let y = trial("LpPool", 11, &[ints("kernel_shape", &[2])], &[line(&[3., -4., 0.])]).unwrap();
        assert_eq!(y[0].to_f32().unwrap(), [5., 4.]);
        let x = line(&[1., 2., 6.]);
        assert_eq!(trial("GlobalAveragePool", 1, &[], std::slice::from_ref(&x)).unwrap()[0].to_f32().unwrap(), [3.]);
        assert_eq!(trial("GlobalMaxPool", 1, &[], &[x]).unwrap()[0].to_f32().unwrap(), [6.]);
    }

    #[test]
    fn unpooling_puts_numbers_back() {
        let (x, at) = (line(&[5., 7.]), Tensor::new(vec![1, 1, 2], vec![1i64, 2]));
        let attrs = [ints("kernel_shape", &[2]), ints("strides", &[2])];
        let y = trial("MaxUnpool", 11, &attrs, &[x.clone(), at]).unwrap();
        assert_eq!(y[0].to_f32().unwrap(), [0., 5., 7., 0.]);
        assert!(trial("MaxUnpool", 11, &attrs, &[x, Tensor::new(vec![1, 1, 2], vec![1i64, 4])]).is_err());
    }
}
