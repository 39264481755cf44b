//! Calibration: from the numbers that a tensor takes to the range that shall be representable.

mod histogram;
mod search;

use std::sync::Mutex;

use spaceevo_ir::Range;

use histogram::Histogram;

/// How a range is chosen.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Method {
    /// Smallest and largest number ever seen.
    MinMax,
    /// Mean over the samples of each sample's smallest and largest number.
    MovingAverage,
    /// The interval that holds this share (0.5 to 1) of the numbers; the same share is cut off at both ends.
    Percentile(f64),
    /// Least relative entropy between the numbers before and after quantization (Migacz, 8-bit inference with TensorRT).
    Entropy,
    /// Least squared error of quantization.
    Mse,
}

impl Method {
    /// Words of the command line.
    pub const WORDS: &'static [&'static str] = &["min-max", "moving-average", "percentile", "entropy", "mse"];

    /// From a word and the share that `percentile` holds.
    pub fn from_word(word: &str, share: f64) -> Option<Method> {
        Some(match word {
            "min-max" => Method::MinMax,
            "moving-average" => Method::MovingAverage,
            "percentile" => Method::Percentile(share.clamp(0.5, 1.0)),
            "entropy" => Method::Entropy,
            "mse" => Method::Mse,
            _ => return None,
        })
    }

    fn needs_histogram(self) -> bool {
        matches!(self, Method::Percentile(_) | Method::Entropy | Method::Mse)
    }
}

/// Statistics of many tensors while samples stream by; memory does not grow with the samples (8 bytes a sample for the
/// moving average). Samples may arrive in any order and from any thread: the ranges are the same.
pub struct Statistics {
    method: Method,
    slots: Vec<Mutex<Slot>>,
}

#[derive(Default)]
struct Slot {
    min: f32,
    max: f32,
    seen: bool,
    /// First sample with a number that is not finite.
    broken: Option<usize>,
    extremes: Vec<(usize, f32, f32)>,
    histogram: Option<Histogram>,
}

impl Statistics {
    /// For `slots` tensors.
    pub fn new(method: Method, slots: usize) -> Self {
        Statistics { method, slots: (0..slots).map(|_| Mutex::new(Slot::default())).collect() }
    }

    /// Takes the numbers of one tensor for one sample.
    pub fn see(&self, sample: usize, slot: usize, numbers: &[f32]) {
        let Some((min, max)) = extremes(numbers) else { return };
        // A poisoned lock means that another thread panicked: its panic is the one to report.
        let Ok(mut slot) = self.slots[slot].lock() else { return };
        if !(min.is_finite() && max.is_finite()) {
            slot.broken = Some(slot.broken.map_or(sample, |s| s.min(sample)));
            return;
        }
        (slot.min, slot.max) = if slot.seen { (slot.min.min(min), slot.max.max(max)) } else { (min, max) };
        slot.seen = true;
        if self.method == Method::MovingAverage {
            slot.extremes.push((sample, min, max));
        }
        if self.method.needs_histogram() {
            slot.histogram.get_or_insert_with(Histogram::default).add(numbers, min, max);
        }
    }

    /// True when the numbers of a tensor were seen to reach both bounds.
    pub fn spans(&self, slot: usize, (low, high): (f32, f32)) -> bool {
        self.slots[slot].lock().is_ok_and(|slot| slot.seen && slot.min <= low && slot.max >= high)
    }

    /// The range of each tensor: `Ok(None)` when it was never seen, `Err(sample)` when it was not finite for that sample.
    /// `levels` is the number of stored values (256 for 8 bits).
    pub fn ranges(self, levels: u32) -> Vec<Result<Option<Range>, usize>> {
        self.slots
            .into_iter()
            .map(|slot| slot.into_inner().unwrap_or_else(|e| e.into_inner()).range(self.method, levels))
            .collect()
    }
}

impl Slot {
    fn range(mut self, method: Method, levels: u32) -> Result<Option<Range>, usize> {
        if let Some(sample) = self.broken {
            return Err(sample);
        }
        if !self.seen {
            return Ok(None);
        }
        let whole = Range { min: self.min, max: self.max };
        Ok(Some(match (method, &self.histogram) {
            (Method::MovingAverage, _) => {
                // Summed in the order of the samples: the same bits for any number of threads.
                self.extremes.sort_unstable_by_key(|e| e.0);
                let n = self.extremes.len() as f64;
                let mean = |pick: fn(&(usize, f32, f32)) -> f32| {
                    (self.extremes.iter().map(|e| f64::from(pick(e))).sum::<f64>() / n) as f32
                };
                Range { min: mean(|e| e.1), max: mean(|e| e.2) }
            }
            (Method::Percentile(share), Some(h)) => search::percentile(h, whole, share),
            (Method::Entropy, Some(h)) => search::least_entropy(h, whole, levels),
            (Method::Mse, Some(h)) => search::least_error(h, whole, levels),
            _ => whole,
        }))
    }
}

/// Smallest and largest number; NaN when any is NaN; `None` when there are none.
fn extremes(numbers: &[f32]) -> Option<(f32, f32)> {
    const LANES: usize = 16;
    let first = *numbers.first()?;
    // Masks as wide as the numbers: bytes would have to be packed and unpacked around every step.
    let (mut low, mut high, mut nan) = ([first; LANES], [first; LANES], [0u32; LANES]);
    let chunks = numbers.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for i in 0..LANES {
            let v = chunk[i];
            low[i] = if v < low[i] { v } else { low[i] };
            high[i] = if v > high[i] { v } else { high[i] };
            nan[i] |= if v.is_nan() { u32::MAX } else { 0 };
        }
    }
    if nan.iter().any(|&n| n != 0) || rest.iter().any(|v| v.is_nan()) {
        return Some((f32::NAN, f32::NAN));
    }
    let all =
        |start: [f32; LANES], pick: fn(f32, f32) -> f32| start.into_iter().chain(rest.iter().copied()).fold(first, pick);
    Some((all(low, f32::min), all(high, f32::max)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(method: Method, samples: &[Vec<f32>], order: &[usize]) -> Range {
        let statistics = Statistics::new(method, 1);
        order.iter().for_each(|&i| statistics.see(i, 0, &samples[i]));
        statistics.ranges(256).remove(0).unwrap().unwrap()
    }

    fn bell(seed: u64, n: usize) -> Vec<f32> {
        let rand = |s| spaceevo_ir::tensor::Rand { seed: s, within: None };
        let parts: Vec<Vec<f32>> = (0..6)
            .map(|k| {
                spaceevo_ir::Tensor::random(spaceevo_ir::Elem::F32, vec![n], rand(seed * 10 + k)).unwrap().to_f32().unwrap()
            })
            .collect();
        (0..n).map(|i| parts.iter().map(|p| p[i]).sum::<f32>() / 2.0).collect()
    }

    #[test]
    fn order_of_samples_does_not_matter() {
        let samples: Vec<Vec<f32>> = (0..8).map(|s| bell(s, 5000)).collect();
        for method in [Method::MinMax, Method::MovingAverage, Method::Percentile(0.999), Method::Entropy, Method::Mse] {
            assert_eq!(
                ranges(method, &samples, &[0, 1, 2, 3, 4, 5, 6, 7]),
                ranges(method, &samples, &[7, 3, 1, 0, 2, 6, 5, 4]),
                "{method:?}"
            );
        }
    }

    #[test]
    fn an_outlier_is_cut_off_by_every_method_but_min_max() {
        let mut numbers = bell(1, 20_000);
        numbers[777] = 60.0;
        let samples = vec![numbers, bell(2, 20_000), bell(3, 20_000)];
        assert_eq!(ranges(Method::MinMax, &samples, &[0, 1, 2]).max, 60.0);
        for method in [Method::MovingAverage, Method::Percentile(0.9999), Method::Entropy, Method::Mse] {
            let range = ranges(method, &samples, &[0, 1, 2]);
            // One number in fifty thousand costs little entropy, but its squared error is large.
            let most = if method == Method::Mse { 60.0 } else { 40.0 };
            assert!(range.max < most && range.max > 1.0 && range.min < -1.0, "{method:?} {range:?}");
        }
    }

    #[test]
    fn entropy_cuts_off_no_spike_at_a_bound() {
        // Behind ReLU6: a third of the numbers at zero, some at six.
        let clipped: Vec<f32> = bell(1, 40_000).iter().map(|x| (x * 3.0 + 1.0).clamp(0.0, 6.0)).collect();
        let range = ranges(Method::Entropy, &[clipped], &[0]);
        assert!(range.max > 5.5, "{range:?}");
        // Behind a sigmoid that is sure: nearly nothing between the two ends.
        let sure: Vec<f32> =
            (0..2000).map(|i| if i % 2 == 0 { 1e-4 } else { 1.0 - i as f32 * 1e-6 }).chain([0.15]).collect();
        let range = ranges(Method::Entropy, &[sure], &[0]);
        assert!(range.max > 0.95, "{range:?}");
    }

    #[test]
    fn a_nan_is_reported_with_its_sample() {
        let statistics = Statistics::new(Method::MinMax, 1);
        statistics.see(4, 0, &[1.0, f32::NAN]);
        statistics.see(2, 0, &[f32::INFINITY]);
        assert_eq!(statistics.ranges(256).remove(0), Err(2));
    }

    #[test]
    fn extremes_look_at_every_number() {
        let mut numbers = vec![0.5f32; 37];
        (numbers[3], numbers[36]) = (-7.0, 9.0);
        assert_eq!(extremes(&numbers), Some((-7.0, 9.0)));
        assert_eq!(extremes(&[]), None);
    }
}
