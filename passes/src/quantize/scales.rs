//! Scales and zero points.

use std::borrow::Cow;

use spaceevo_ir::{Elem, Graph, OpId, Quant, Range, Tensor};

use crate::target::{StoreRule, Target};

/// Smallest scale that is ever chosen: products of two of them are still normal numbers.
const LEAST_SCALE: f32 = 1e-12;

/// Scale and zero point of an activation. Zero is always representable exactly: padding and ReLU depend on it.
///
/// Asymmetric: `scale = (max - min) / (high - low)`, `zero = low - round(min / scale)`; symmetric: zero in the middle.
pub fn activation(range: Range, rule: &StoreRule) -> Quant {
    let (low, high) = rule.stored_range();
    let (min, max) = (f64::from(range.min.min(0.0)), f64::from(range.max.max(0.0)));
    let (scale, zero) = if rule.symmetric {
        let zero = if rule.elem() == Elem::U8 { (low + high + 1) / 2 } else { 0 };
        (min.abs().max(max) / f64::from(high - zero), zero)
    } else {
        let scale = ((max - min) / f64::from(high - low)) as f32;
        let scale = f64::from(if scale > LEAST_SCALE { scale } else { LEAST_SCALE });
        (scale, (f64::from(low) - min / scale).round_ties_even().clamp(f64::from(low), f64::from(high)) as i32)
    };
    let scale = if scale as f32 > LEAST_SCALE { scale as f32 } else { 1.0 / 255.0 };
    Quant::per_tensor(rule.elem(), scale, zero)
}

/// The type of an activation to which `offset` is added before it is cut off at 0: the offset is whole steps of it, and the lowest
/// stored number is `-offset` or below. `None` where steps would become a quarter coarser, and for symmetric types.
pub fn with_whole_offset(range: Range, offset: f32, rule: &StoreRule) -> Option<Quant> {
    let (low, high) = rule.stored_range();
    let (min, max, offset) = (f64::from(range.min.min(-offset)), f64::from(range.max.max(0.0)), f64::from(offset));
    let steps = (offset * f64::from(high - low) / (max - min)).floor();
    let scale = (offset / steps) as f32;
    let fits = !rule.symmetric && steps > 0.0 && scale <= 1.25 * activation(range, rule).scale[0];
    let zero = (f64::from(low) - min / f64::from(scale)).round_ties_even().clamp(f64::from(low) + steps, f64::from(high));
    fits.then(|| Quant::per_tensor(rule.elem(), scale, zero as i32))
}

/// Quantized weights and their type.
#[derive(Clone, Debug)]
pub struct Weights {
    /// Stored numbers, in the shape of the real ones.
    pub stored: Tensor,
    /// Their type: symmetric, per index of the axis or per tensor.
    pub quant: Quant,
}

/// The axis of the weights of a Conv, Gemm or MatMul that has a scale for each index; `None`: one scale for all.
pub fn weight_axis(graph: &Graph, op: OpId, target: &Target) -> Option<usize> {
    let record = graph.op(op);
    let per_channel =
        target.quant.weights.per_channel && !target.ops.per_tensor_weights.contains(&record.name().to_string());
    per_channel.then_some(match record.name().onnx_op() {
        "Gemm" if record.int("transB", 0) == 0 => 1,
        "MatMul" => record.operand(1).and_then(|w| graph.value(w).ty().rank()).map_or(0, |rank| rank.saturating_sub(1)),
        _ => 0,
    })
}

/// Quantizes weights symmetrically with zero point 0.
///
/// `axis` is that of the output channels (`None`: one scale for all). `floor[c]` is the smallest scale that channel `c` may
/// have (a bias stored at the product of scales must fit 32 bits). Of the scales that put the largest weight on stored
/// numbers `high, high - 1, ...`, the one with the least squared error is taken: weights that already lie on a grid find it.
pub fn weights(real: &[f32], dims: &[usize], axis: Option<usize>, floor: &[f32], rule: &StoreRule) -> Weights {
    let (_, high) = rule.stored_range();
    // Empty weights may claim any number of channels.
    let axis = axis.filter(|_| !real.is_empty());
    let channels = axis.map_or(1, |a| dims[a]);
    let inner: usize = axis.map_or(real.len(), |a| dims[a + 1..].iter().product()).max(1);
    let scale: Vec<f32> = channel_weights(real, inner, channels)
        .enumerate()
        .map(|(c, own)| best_scale(&own, high).max(floor.get(c).copied().unwrap_or(0.0)).max(LEAST_SCALE))
        .collect();
    let high = high as f32;
    let mut stored: Vec<i8> = Vec::with_capacity(real.len());
    for (run, step) in real.chunks(inner).zip(scale.iter().cycle()) {
        stored.extend(run.iter().map(|w| nearest((w / step).clamp(-high, high)) as i8));
    }
    let quant = Quant { store: Elem::I8, axis: axis.filter(|_| channels > 1 || axis.is_some()), scale, zero: vec![0] };
    Weights { stored: Tensor::new(dims, stored), quant }
}

/// True when [`weights`] would store all of them as they are.
pub fn on_grid(real: &[f32], dims: &[usize], axis: Option<usize>, rule: &StoreRule) -> bool {
    let axis = axis.filter(|_| !real.is_empty());
    let channels = axis.map_or(1, |a| dims[a]);
    let inner: usize = axis.map_or(real.len(), |a| dims[a + 1..].iter().product()).max(1);
    let high = rule.stored_range().1;
    channel_weights(real, inner, channels).all(|own| grid(&own, candidates(&own, high)).is_some())
}

/// The weights of each channel, where `inner` of one lie together.
fn channel_weights(real: &[f32], inner: usize, channels: usize) -> impl Iterator<Item = Cow<'_, [f32]>> {
    (0..channels).map(move |c| {
        if channels * inner == real.len() {
            return Cow::Borrowed(&real[c * inner..][..inner]);
        }
        let mut own = Vec::with_capacity(real.len() / channels.max(1));
        real.chunks_exact(inner).skip(c).step_by(channels.max(1)).for_each(|run| own.extend_from_slice(run));
        Cow::Owned(own)
    })
}

/// Scales that are tried, from the smallest on: `largest / k` for `k` from `high` down to three quarters of it.
fn candidates(weights: &[f32], high: i32) -> impl Iterator<Item = f32> + Clone {
    let largest = weights.iter().fold(0.0f32, |m, w| m.max(w.abs()));
    (high - high / 4..=high).rev().map(move |k| if largest == 0.0 { 1.0 / 255.0 } else { largest / k as f32 })
}

/// The first scale that all weights are multiples of, up to a thousandth of it.
fn grid(weights: &[f32], mut scales: impl Iterator<Item = f32>) -> Option<f32> {
    scales.find(|&scale| {
        let inverse = 1.0 / scale;
        let off = |w: &f32| (w * inverse - nearest(w * inverse)).abs() > 1e-3;
        // Most scales are wrong, and a few weights show it; the right one has to look at all of them.
        weights.chunks(64).all(|chunk| chunk.iter().filter(|w| off(w)).count() == 0)
    })
}

/// The scale of least squared error among the candidates; that of a grid, where the weights lie on one.
fn best_scale(weights: &[f32], high: i32) -> f32 {
    let scales = candidates(weights, high);
    grid(weights, scales.clone()).unwrap_or_else(|| {
        let least = scales.map(|scale| (squared_error(weights, scale), scale)).min_by(|a, b| a.0.total_cmp(&b.0));
        least.map_or(1.0 / 255.0, |(_, scale)| scale)
    })
}

/// Sum of squared rounding errors, in eight lanes: this runs for every weight and candidate.
fn squared_error(weights: &[f32], scale: f32) -> f64 {
    const LANES: usize = 8;
    let inverse = 1.0 / scale;
    let off = |w: f32| w - nearest(w * inverse) * scale;
    let chunks = weights.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().map(|&w| off(w) * off(w)).sum();
    let mut lanes = [0.0f32; LANES];
    for chunk in chunks {
        for (lane, &w) in lanes.iter_mut().zip(chunk) {
            *lane += off(w) * off(w);
        }
    }
    lanes.iter().map(|&l| f64::from(l)).sum::<f64>() + f64::from(rest)
}

/// The nearest integer, ties to even, of a number below 2^22: adding 1.5 * 2^23 leaves no bits behind the point. Unlike a
/// call of the library this runs on whole vectors.
fn nearest(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT) - SHIFT
}

/// Quantizes numbers per tensor or per axis with a given type.
pub fn store(real: &[f32], dims: &[usize], quant: &Quant) -> Option<Tensor> {
    let (low, high) = quant.store.int_range()?;
    let inner: usize = quant.axis.map_or(real.len().max(1), |a| dims[a + 1..].iter().product());
    let channels = quant.axis.map_or(1, |a| dims[a]);
    let numbers: Vec<f64> = real
        .iter()
        .enumerate()
        .map(|(i, &x)| {
            let (scale, zero) = quant.at(i / inner.max(1) % channels.max(1));
            (f64::from(x / scale).round_ties_even() + f64::from(zero)).clamp(low as f64, high as f64)
        })
        .collect();
    Tensor::from_f64(quant.store, dims, &numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(store: &str, symmetric: bool, bits: u32) -> StoreRule {
        StoreRule { store: store.into(), symmetric, per_channel: true, bits }
    }

    #[test]
    fn zero_is_exact_and_a_range_that_misses_it_is_stretched() {
        let quant = activation(Range { min: 0.0, max: 6.0 }, &rule("u8", false, 8));
        assert_eq!((quant.scale[0], quant.zero[0]), (6.0 / 255.0, 0));
        let quant = activation(Range { min: 2.0, max: 5.1 }, &rule("u8", false, 8));
        assert_eq!((quant.scale[0], quant.zero[0]), (0.02, 0));
        let quant = activation(Range { min: -1.0, max: 1.0 }, &rule("u8", false, 8));
        assert!((127..=128).contains(&quant.zero[0]));
        assert!(activation(Range { min: 0.0, max: 0.0 }, &rule("u8", false, 8)).scale[0] > 0.0);
    }

    #[test]
    fn an_offset_is_whole_steps() {
        let rule = rule("u8", false, 8);
        for (min, max) in [(-12.0, 12.0), (-2.4, 9.0), (0.0, 40.0), (-3.0, 3.0), (-50.0, 1.0)] {
            let quant = with_whole_offset(Range { min, max }, 3.0, &rule).unwrap();
            let (scale, zero) = (f64::from(quant.scale[0]), f64::from(quant.zero[0]));
            let steps = 3.0 / scale;
            assert!((steps - steps.round()).abs() < 1e-4 && zero >= steps.round(), "{quant:?}");
            assert!(
                -zero * scale <= f64::from(min) + scale && (255.0 - zero) * scale >= f64::from(max) - scale,
                "{quant:?}"
            );
        }
        // Numbers from -0.6 on would be stored from -3 on; steps of 4 have no 3.
        assert!(with_whole_offset(Range { min: -0.6, max: 0.7 }, 3.0, &rule).is_none());
        assert!(with_whole_offset(Range { min: -70.0, max: 70.0 }, 3.0, &rule).is_some());
        assert!(with_whole_offset(Range { min: -500.0, max: 500.0 }, 3.0, &rule).is_none());
        assert!(with_whole_offset(Range { min: -4.0, max: 4.0 }, 3.0, &self::rule("i8", true, 8)).is_none());
    }

    #[test]
    fn weights_on_a_grid_find_it() {
        // Steps of 0.01 up to 1.2: 127 steps would not hit the grid, 120 do.
        let real: Vec<f32> = (-120..=110).map(|k| k as f32 * 0.01).collect();
        let found = weights(&real, &[1, real.len()], Some(0), &[], &rule("i8", true, 8));
        assert!((found.quant.scale[0] - 0.01).abs() < 1e-8, "{}", found.quant.scale[0]);
        assert_eq!(found.stored.values::<i8>().unwrap()[0], -120);
    }

    #[test]
    fn channels_have_their_own_scales() {
        let real = [1.0, -127.0, 0.5, 63.5, 0.0, 0.0];
        let found = weights(&real, &[3, 2], Some(0), &[], &rule("i8", true, 8));
        assert_eq!(found.quant.scale.len(), 3);
        assert_eq!(found.stored.values::<i8>().unwrap()[..4], [1, -127, 1, 127]);
        assert!(found.quant.scale[2] > 0.0);
    }
}
