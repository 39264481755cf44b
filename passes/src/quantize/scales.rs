//! Scales and zero points.

use spaceevo_ir::{Elem, Quant, Range, Tensor};

use crate::target::StoreRule;

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

/// Quantized weights and their type.
#[derive(Clone, Debug)]
pub struct Weights {
    /// Stored numbers, in the shape of the real ones.
    pub stored: Tensor,
    /// Their type: symmetric, per index of the axis or per tensor.
    pub quant: Quant,
}

/// Quantizes weights symmetrically with zero point 0.
///
/// `axis` is that of the output channels (`None`: one scale for all). `floor[c]` is the smallest scale that channel `c` may
/// have (a bias stored at the product of scales must fit 32 bits). Of the scales that put the largest weight on stored
/// numbers `high, high - 1, ...`, the one with the least squared error is taken: weights that already lie on a grid find it.
pub fn weights(real: &[f32], dims: &[usize], axis: Option<usize>, floor: &[f32], rule: &StoreRule) -> Weights {
    let (_, high) = rule.stored_range();
    let channels = axis.map_or(1, |a| dims[a]);
    let inner: usize = axis.map_or(real.len(), |a| dims[a + 1..].iter().product());
    let channel = |i: usize| if channels == 1 { 0 } else { i / inner % channels };
    let scale: Vec<f32> = (0..channels)
        .map(|c| {
            let own: Vec<f32> = match axis {
                None => real.to_vec(),
                Some(_) => real.chunks_exact(inner.max(1)).skip(c).step_by(channels.max(1)).flatten().copied().collect(),
            };
            best_scale(&own, high).max(floor.get(c).copied().unwrap_or(0.0)).max(LEAST_SCALE)
        })
        .collect();
    let high = high as f32;
    let stored: Vec<i8> =
        real.iter().enumerate().map(|(i, &w)| (w / scale[channel(i)]).round_ties_even().clamp(-high, high) as i8).collect();
    let quant = Quant { store: Elem::I8, axis: axis.filter(|_| channels > 1 || axis.is_some()), scale, zero: vec![0] };
    Weights { stored: Tensor::new(dims, stored), quant }
}

/// The scale of least squared error among `largest / k` for `k` from `high` down to three quarters of it.
fn best_scale(weights: &[f32], high: i32) -> f32 {
    let largest = weights.iter().fold(0.0f32, |m, w| m.max(w.abs()));
    if largest == 0.0 {
        return 1.0 / 255.0;
    }
    let error = |scale: f32| -> f64 {
        let inverse = 1.0 / scale;
        weights
            .iter()
            .map(|&w| {
                let off = w - (w * inverse).round_ties_even() * scale;
                f64::from(off * off)
            })
            .sum()
    };
    let scales = (high - high / 4..=high).rev().map(|k| largest / k as f32);
    scales.map(|s| (error(s), s)).min_by(|a, b| a.0.total_cmp(&b.0)).map_or(largest / high as f32, |b| b.1)
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
