//! A histogram of fixed memory whose width grows with the numbers.

/// Bins on each side of zero.
const HALF: usize = 2048;
/// Numbers counted of one tensor and sample: more do not change the picture, but cost time.
const COUNTED: usize = 1 << 14;

/// Counts over `[-2^k, 2^k)`. Where a number falls outside, `k` grows and neighbouring bins merge; because bins start at
/// multiples of their width, the counts depend only on the numbers, not on their order.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    exponent: i32,
    /// Two counters for each bin: equal numbers follow each other, and a counter is not ready for the next at once.
    counts: [Vec<u64>; 2],
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { exponent: -100, counts: [vec![0; 2 * HALF], vec![0; 2 * HALF]] }
    }
}

impl Histogram {
    /// Counts numbers (evenly spaced ones when there are very many) that all lie within `min..=max`, both finite.
    pub(crate) fn add(&mut self, numbers: &[f32], min: f32, max: f32) {
        let largest = max.abs().max(min.abs());
        while f64::from(largest) >= 2f64.powi(self.exponent) {
            self.widen();
        }
        let per_unit = (HALF as f64 / 2f64.powi(self.exponent)) as f32;
        let stride = numbers.len().div_ceil(COUNTED).max(1);
        // An odd stride does not fall into step with rows and channels.
        let stride = if stride > 1 { stride | 1 } else { 1 };
        for (i, &number) in numbers.iter().step_by(stride).enumerate() {
            let place = number * per_unit;
            // Rounded down, without a call of the library for every number.
            let bin = place as i32 - i32::from(place < place as i32 as f32);
            self.counts[i % 2][(bin + HALF as i32).clamp(0, 2 * HALF as i32 - 1) as usize] += 1;
        }
    }

    fn widen(&mut self) {
        self.exponent += 1;
        for counts in &mut self.counts {
            let mut merged = vec![0; 2 * HALF];
            for (i, pair) in counts.chunks_exact(2).enumerate() {
                merged[HALF / 2 + i] = pair[0] + pair[1];
            }
            *counts = merged;
        }
    }

    /// Width of a bin.
    fn width(&self) -> f64 {
        2f64.powi(self.exponent) / HALF as f64
    }

    /// Non-empty bins as (centre, width, count), from low to high.
    pub(crate) fn bins(&self) -> Vec<(f64, f64, f64)> {
        let width = self.width();
        let centre = |i: usize| (i as f64 - HALF as f64 + 0.5) * width;
        let [first, second] = &self.counts;
        let counts = first.iter().zip(second).map(|(a, b)| a + b).enumerate();
        counts.filter(|(_, c)| *c > 0).map(|(i, c)| (centre(i), width, c as f64)).collect()
    }
}
