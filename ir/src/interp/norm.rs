//! Normalizations, and `Dropout`: computed in double precision whatever the element type.

use super::call::axis_in;
use super::layout::Groups;
use super::real::{batch_channels, ensure, read, single, spread_to, write};
use super::{Call, Datum, Entry, Fault};
use crate::tensor::Tensor;
use crate::types::Elem;

pub(super) const KERNELS: &[Entry] = &[
    ("onnx", "BatchNormalization", batch_normalization),
    ("onnx", "InstanceNormalization", instance_normalization),
    ("onnx", "GroupNormalization", group_normalization),
    ("onnx", "LayerNormalization", layer_normalization),
    ("onnx", "RMSNormalization", rms_normalization),
    ("onnx", "LRN", local_response_normalization),
    ("onnx", "LpNormalization", lp_normalization),
    ("onnx", "MeanVarianceNormalization", mean_variance_normalization),
    ("onnx", "Dropout", dropout),
];

/// Mean and (population) variance.
fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let (count, sum) = values.clone().fold((0usize, 0.0), |(n, sum), v| (n + 1, sum + v));
    let mean = sum / count as f64;
    (mean, values.map(|v| (v - mean) * (v - mean)).sum::<f64>() / count as f64)
}

/// The numbers of operand `index`, of which there must be `len`.
fn list(call: &Call<'_>, index: usize, len: usize) -> Result<Vec<f64>, Fault> {
    let values = read(call.tensor(index)?)?;
    ensure(values.len() == len, || format!("operand {index}: expected {len} numbers, found {}", values.len()))?;
    Ok(values)
}

/// Results beside Y: mean and variance after training, of the types of the operands.
fn batch_normalization(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let (_, channels, spatial) = batch_channels(x)?;
    let plane = spatial.iter().product::<usize>().max(1);
    let epsilon = f64::from(call.float("epsilon", 1e-5));
    let (scale, bias) = (list(call, 1, channels)?, list(call, 2, channels)?);
    let (mut mean, mut variance) = (list(call, 3, channels)?, list(call, 4, channels)?);
    let values = read(x)?;
    let training = match call.opset {
        14.. => call.int("training_mode", 0) != 0,
        7.. => call.results() > 1 && call.op().results().iter().skip(1).any(|&v| call.graph.use_count(v) > 0),
        _ => call.int("is_test", 0) == 0,
    };
    let mut running = Vec::new();
    if training {
        let momentum = f64::from(call.float("momentum", 0.9));
        for c in 0..channels {
            let (m, v) = moments(values.chunks(plane).skip(c).step_by(channels).flatten().copied());
            running.push((mean[c] * momentum + m * (1.0 - momentum), variance[c] * momentum + v * (1.0 - momentum)));
            (mean[c], variance[c]) = (m, v);
        }
    }
    let normal = |(i, v): (usize, &f64)| {
        let c = i / plane % channels;
        scale[c] * (v - mean[c]) / (variance[c] + epsilon).sqrt() + bias[c]
    };
    let y: Vec<f64> = values.iter().enumerate().map(normal).collect();
    let mut results = vec![write(x.elem(), x.dims(), &y)?];
    if training {
        let (mean, variance): (Vec<f64>, Vec<f64>) = running.into_iter().unzip();
        results.push(write(call.tensor(3)?.elem(), &[channels], &mean)?);
        results.push(write(call.tensor(4)?.elem(), &[channels], &variance)?);
    }
    Ok(results)
}

/// Gives each group of `group` channels of each image mean 0 and variance 1; then `affine(channel)` scales and shifts.
fn by_group(call: &Call<'_>, group: usize, affine: impl Fn(usize) -> (f64, f64)) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let (_, channels, spatial) = batch_channels(x)?;
    let plane = spatial.iter().product::<usize>();
    let epsilon = f64::from(call.float("epsilon", 1e-5));
    let mut y = read(x)?;
    for (i, part) in y.chunks_mut((group * plane).max(1)).enumerate() {
        let (mean, variance) = moments(part.iter().copied());
        let divisor = (variance + epsilon).sqrt();
        for (j, v) in part.iter_mut().enumerate() {
            let (scale, bias) = affine((i * group + j / plane) % channels);
            *v = scale * ((*v - mean) / divisor) + bias;
        }
    }
    Ok(vec![write(x.elem(), x.dims(), &y)?])
}

fn instance_normalization(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let channels = batch_channels(call.tensor(0)?)?.1;
    let (scale, bias) = (list(call, 1, channels)?, list(call, 2, channels)?);
    by_group(call, 1, |c| (scale[c], bias[c]))
}

/// Scale and bias are per group up to opset 20, per channel from 21 on.
fn group_normalization(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let channels = batch_channels(call.tensor(0)?)?.1;
    let groups = usize::try_from(call.int("num_groups", 0)).unwrap_or(0);
    ensure(groups > 0 && channels % groups == 0, || format!("{groups} groups do not divide {channels} channels"))?;
    let group = channels / groups;
    let (len, shared) = if call.opset < 21 { (groups, group) } else { (channels, 1) };
    let (scale, bias) = (list(call, 1, len)?, list(call, 2, len)?);
    by_group(call, group, |c| (scale[c / shared], bias[c / shared]))
}

/// Normalizes over the axes from `axis` on; returns Y, mean and 1 / deviation.
fn over_last_axes(call: &Call<'_>, centre: bool) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let dims = x.dims();
    let axis = axis_in(call.int("axis", -1), dims.len())?;
    let epsilon = f64::from(call.float("epsilon", 1e-5));
    let row = dims[axis..].iter().product::<usize>().max(1);
    let mut y = read(x)?;
    let (mut means, mut inverses) = (Vec::new(), Vec::new());
    for part in y.chunks_mut(row) {
        let (mean, variance) = moments(part.iter().copied());
        let (mean, spread) = if centre { (mean, variance) } else { (0.0, variance + mean * mean) };
        let inverse = 1.0 / (spread + epsilon).sqrt();
        part.iter_mut().for_each(|v| *v = (*v - mean) * inverse);
        means.push(mean);
        inverses.push(inverse);
    }
    let scale = read(call.tensor(1)?)?;
    let scale = spread_to(&scale, call.tensor(1)?.dims(), dims)?;
    y.iter_mut().zip(scale.iter()).for_each(|(v, scale)| *v *= scale);
    if let Some(tensor) = call.get(2).filter(|_| centre) {
        let bias = read(tensor)?;
        y.iter_mut().zip(spread_to(&bias, tensor.dims(), dims)?.iter()).for_each(|(v, bias)| *v += bias);
    }
    let reduced = [&dims[..axis], &vec![1; dims.len() - axis]].concat();
    Ok(vec![write(x.elem(), dims, &y)?, write(Elem::F32, &reduced, &means)?, write(Elem::F32, &reduced, &inverses)?])
}

fn layer_normalization(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    over_last_axes(call, true)
}

fn rms_normalization(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let mut results = over_last_axes(call, false)?;
    results.truncate(1);
    Ok(results)
}

/// Each number is divided by `(bias + alpha / size * sum of squares over size neighbouring channels) ^ beta`.
fn local_response_normalization(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let (_, channels, spatial) = batch_channels(x)?;
    let plane = spatial.iter().product::<usize>().max(1);
    let size = usize::try_from(call.int("size", 0)).unwrap_or(0);
    ensure(size > 0, || "size must be positive".to_string())?;
    let (alpha, beta) = (f64::from(call.float("alpha", 1e-4)), f64::from(call.float("beta", 0.75)));
    let bias = f64::from(call.float("bias", 1.0));
    let values = read(x)?;
    let y: Vec<f64> = (0..values.len())
        .map(|i| {
            let c = i / plane % channels;
            let (first, last) = (c.saturating_sub((size - 1) / 2), (c + size / 2).min(channels - 1));
            let squares: f64 = (first..=last).map(|k| values[i + k * plane - c * plane].powi(2)).sum();
            values[i] / (bias + alpha / size as f64 * squares).powf(beta)
        })
        .collect();
    Ok(vec![write(x.elem(), x.dims(), &y)?])
}

fn lp_normalization(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let axis = axis_in(call.int("axis", -1), x.dims().len())?;
    let p = call.int("p", 2);
    ensure(p == 1 || p == 2, || format!("p = {p} is neither 1 nor 2"))?;
    let (extent, inner) = (x.dims()[axis], x.dims()[axis + 1..].iter().product::<usize>());
    let mut y = read(x)?;
    for block in y.chunks_mut((extent * inner).max(1)) {
        for i in 0..inner {
            let line = block.iter().skip(i).step_by(inner);
            let norm = if p == 1 { line.map(|v| v.abs()).sum() } else { line.map(|v| v * v).sum::<f64>().sqrt() };
            let line = block.iter_mut().skip(i).step_by(inner);
            line.for_each(|v| *v = if norm == 0.0 { 0.0 } else { *v / norm });
        }
    }
    Ok(vec![write(x.elem(), x.dims(), &y)?])
}

fn mean_variance_normalization(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let axes = call.ints("axes").unwrap_or(&[0, 2, 3]).iter().map(|&a| axis_in(a, x.dims().len()));
    let groups = Groups::along(x.dims(), &axes.collect::<Result<Vec<_>, _>>()?);
    let y = groups.map(&read(x)?, |values| {
        let (mean, variance) = moments(values.iter().copied());
        values.iter().map(|v| (v - mean) / (variance.sqrt() + 1e-9)).collect()
    });
    Ok(vec![write(x.elem(), x.dims(), &y)?])
}

/// Inference, or training with ratio 0: the identity. Random masks are refused.
fn dropout(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let training = match call.opset {
        12.. => call.get(2).map_or(Ok(0.0), single)? != 0.0,
        7.. => false,
        _ => call.int("is_test", 0) == 0,
    };
    let ratio = if call.opset >= 12 { call.get(1).map_or(Ok(0.5), single)? } else { f64::from(call.float("ratio", 0.5)) };
    ensure(!training || ratio == 0.0, || "dropout while training is random".to_string())?;
    let mask = match call.opset {
        10.. => Tensor::bools(x.dims(), vec![true; x.len()]).into(),
        _ => write(x.elem(), x.dims(), &vec![1.0; x.len()])?,
    };
    Ok(vec![x.clone().into(), mask])
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::interp::trial::trial;
    use crate::tensor::Tensor;

    fn line(values: &[f32]) -> Tensor {
        Tensor::new(vec![values.len()], values.to_vec())
    }

    fn near(tensor: &Tensor, expected: &[f32]) {
        let found = tensor.to_f32().unwrap();
        assert_eq!(found.len(), expected.len());
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 1e-5, "{found:?} against {expected:?}");
        }
    }

    #[test]
    fn batches_in_inference_and_training() {
        let x = Tensor::new(vec![2, 1, 1], vec![1f32, 3.]);
        let operands = [x, line(&[2.]), line(&[1.]), line(&[1.]), line(&[4.])];
        let exact = ("epsilon", Attr::Float(0.0));
        let y = trial("BatchNormalization", 15, std::slice::from_ref(&exact), &operands).unwrap();
        near(&y[0], &[1., 3.]);
        let y = trial("BatchNormalization", 15, &[exact, ("training_mode", Attr::Int(1))], &operands).unwrap();
        near(&y[0], &[-1., 3.]);
        near(&y[1], &[1.1]);
        near(&y[2], &[3.7]);
    }

    #[test]
    fn groups_share_scales_until_opset_20() {
        let x = Tensor::new(vec![1, 4, 1], vec![0f32, 2., 10., 14.]);
        let attrs = [("num_groups", Attr::Int(2)), ("epsilon", Attr::Float(0.0))];
        let operands = [x.clone(), line(&[1., 3.]), line(&[0., 5.])];
        near(&trial("GroupNormalization", 18, &attrs, &operands).unwrap()[0], &[-1., 1., 2., 8.]);
        let operands = [x, line(&[1., 2., 3., 4.]), line(&[0., 0., 0., 1.])];
        near(&trial("GroupNormalization", 21, &attrs, &operands).unwrap()[0], &[-1., 2., -3., 5.]);
    }

    #[test]
    fn rows_and_their_statistics() {
        let x = Tensor::new(vec![1, 2], vec![3f32, 5.]);
        let y = trial("LayerNormalization", 17, &[("epsilon", Attr::Float(0.0))], &[x.clone(), line(&[2., 2.])]).unwrap();
        near(&y[0], &[-2., 2.]);
        near(&y[1], &[4.]);
        near(&y[2], &[1.]);
        let y = trial("LpNormalization", 1, &[("p", Attr::Int(1))], std::slice::from_ref(&x)).unwrap();
        near(&y[0], &[0.375, 0.625]);
        let x = Tensor::new(vec![1, 2], vec![1f32, 7.]);
        near(&trial("RMSNormalization", 23, &[("epsilon", Attr::Float(0.0))], &[x, line(&[5., 5.])]).unwrap()[0], &[1., 7.]);
    }

    #[test]
    fn neighbouring_channels_respond() {
        let x = Tensor::new(vec![1, 3, 1, 1], vec![1f32, 2., 3.]);
        let attrs = [("size", Attr::Int(2)), ("alpha", Attr::Float(2.0)), ("beta", Attr::Float(1.0))];
        near(&trial("LRN", 13, &attrs, &[x]).unwrap()[0], &[1. / 6., 2. / 14., 3. / 10.]);
    }
}
