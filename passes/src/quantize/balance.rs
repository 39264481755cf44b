//! Which factors make the channels of a group store better: what rounding costs, predicted, and a search.
//!
//! All channels of a stored value share one step, so quiet channels lose most of their digits; a factor `s[c]` lets them
//! fill the range. The weights that take it back become uneven in turn, and those of one output share a step, too. With
//! `D` the steps of the stored values, `W' = W / s` the weights of a reader and `e` their rounding errors, the squared
//! error of the outputs of that reader is
//!
//! ```text
//! sum over stored values D^2 / 12 sum W'^2  +  sum e[o,c]^2 E[(s[c] x[c])^2]
//! ```
//!
//! in parts of the outputs' own mean square, summed over the readers.

use std::sync::Mutex;

use spaceevo_ir::Range;

use super::scales;
use crate::linear::Linear;
use crate::target::Target;

/// What was seen of a value, by channel.
#[derive(Clone, PartialEq, Debug)]
pub struct Seen {
    /// Least and largest number.
    pub range: Vec<(f64, f64)>,
    /// Mean of the squares.
    pub square: Vec<f64>,
}

impl Seen {
    /// What would have been seen, had the channels been multiplied by these factors.
    pub fn scale(&mut self, by: &[f64]) {
        self.range.iter_mut().zip(by).for_each(|(r, s)| *r = (r.0 * s, r.1 * s));
        self.square.iter_mut().zip(by).for_each(|(q, s)| *q *= s * s);
    }

    /// Widens the ranges to those of another.
    pub fn widen(&mut self, other: &Seen) {
        self.range.iter_mut().zip(&other.range).for_each(|(a, b)| *a = (a.0.min(b.0), a.1.max(b.1)));
    }
}

/// Gathers what is seen while samples stream by; the same for any number of threads.
pub struct Watcher {
    /// Channels, and numbers that follow each other in one channel.
    layouts: Vec<(usize, usize)>,
    sums: Vec<Mutex<Vec<(usize, f64, Seen)>>>,
}

impl Watcher {
    /// One slot for each `(channels, numbers that follow each other in one channel)`.
    pub fn new(layouts: Vec<(usize, usize)>) -> Watcher {
        let sums = layouts.iter().map(|_| Mutex::default()).collect();
        Watcher { layouts, sums }
    }

    /// Takes the numbers of one value for one sample.
    pub fn see(&self, sample: usize, slot: usize, numbers: &[f32]) {
        let (channels, inner) = self.layouts[slot];
        // Types may claim channels that are not there, and more than memory holds.
        if numbers.len() < channels {
            return;
        }
        let mut seen = Seen { range: vec![(0.0, 0.0); channels], square: vec![0.0; channels] };
        for (i, run) in numbers.chunks_exact(inner.max(1)).enumerate().filter(|_| channels > 0) {
            let c = i % channels;
            for &x in run {
                // Comparing keeps a NaN out of the range: the squares hold it.
                let x = f64::from(x);
                seen.range[c] = (seen.range[c].0.min(x), seen.range[c].1.max(x));
                seen.square[c] += x * x;
            }
        }
        let count = numbers.len() as f64 / channels.max(1) as f64;
        if let Ok(mut all) = self.sums[slot].lock() {
            all.push((sample, count, seen));
        }
    }

    /// What was seen of each value; `None` where that is nothing, or not finite. Zero is part of every range.
    pub fn seen(self) -> Vec<Option<Seen>> {
        let all = self.sums.into_iter().map(|s| s.into_inner().unwrap_or_else(|e| e.into_inner()));
        all.map(|mut samples| {
            samples.sort_unstable_by_key(|s| s.0);
            let mut samples = samples.into_iter();
            let (_, mut total, mut seen) = samples.next()?;
            for (_, count, more) in samples {
                total += count;
                seen.widen(&more);
                seen.square.iter_mut().zip(&more.square).for_each(|(a, b)| *a += b);
            }
            seen.square.iter_mut().for_each(|q| *q /= total);
            let finite = seen.square.iter().all(|q| q.is_finite());
            (finite && seen.range.iter().all(|r| r.0.is_finite() && r.1.is_finite())).then_some(seen)
        })
        .collect()
    }
}

/// A stored value of a group, or several that share a type.
pub struct Source {
    /// Range of each channel.
    pub seen: Seen,
    /// For each reader, by how much the variance of a rounding error has grown when it arrives there.
    pub reach: Vec<f64>,
}

/// A Conv or Gemm that takes factors back.
pub struct Reader {
    /// Its weights.
    pub linear: Linear,
    /// Axis of the scales of its weights; `None` when they stay float.
    pub stored: Option<Option<usize>>,
    /// Mean square of each channel that it reads.
    pub square: Vec<f64>,
    /// Mean square of what it makes, summed over the channels.
    pub power: f64,
}

/// What a search found.
#[derive(Debug)]
pub struct Choice {
    /// A positive factor for each channel.
    pub factors: Vec<f64>,
    /// Predicted error without factors.
    pub before: f64,
    /// And with them.
    pub after: f64,
}

/// How much of the quietness of a channel, and of the smallness of the weights that read it, goes into its factor.
const EXPONENTS: [(f64, f64); 6] = [(1.0, 0.0), (0.75, 0.25), (0.5, 0.5), (0.5, 0.0), (0.25, 0.25), (0.25, 0.0)];
/// Each round starts where the one before has ended.
const ROUNDS: usize = 4;

/// Searches factors within `1 / limit ..= limit`; a round counts when it takes away the share `least` of the error.
pub fn choose(sources: &[Source], readers: &[Reader], limit: f64, least: f64, target: &Target) -> Choice {
    let channels = readers.first().map_or(0, |r| r.square.len());
    let mut factors = vec![1.0; channels];
    let before = error(sources, readers, &factors, target);
    let mut after = before;
    for _ in 0..ROUNDS {
        let (loud, strong) = (loudness(sources, &factors), strength(readers, &factors));
        let tried = EXPONENTS.iter().map(|&(p, q)| {
            let raw: Vec<f64> = (loud.iter().zip(&strong))
                .map(|(&a, &w)| if a > 0.0 { w.max(f64::MIN_POSITIVE).powf(q) / a.powf(p) } else { 1.0 })
                .collect();
            // The loudest channel stays as loud as it is.
            let top = raw.iter().zip(&loud).fold(0.0f64, |m, (s, a)| m.max(s * a));
            let top = if top > 0.0 { top } else { 1.0 };
            let next: Vec<f64> = raw.iter().zip(&factors).map(|(s, f)| (s / top * f).clamp(1.0 / limit, limit)).collect();
            (error(sources, readers, &next, target), next)
        });
        let Some((found, next)) = tried.min_by(|a, b| a.0.total_cmp(&b.0)) else { break };
        if found.is_nan() || found >= after * (1.0 - least) {
            break;
        }
        (after, factors) = (found, next);
    }
    Choice { factors, before, after }
}

/// Largest number of each channel, in parts of the largest of all; the largest part over all sources.
fn loudness(sources: &[Source], factors: &[f64]) -> Vec<f64> {
    let mut loud = vec![0.0f64; factors.len()];
    for source in sources {
        let reach: Vec<f64> = source.seen.range.iter().zip(factors).map(|(r, s)| r.1.max(-r.0) * s).collect();
        let top = reach.iter().fold(0.0f64, |m, &r| m.max(r));
        if top > 0.0 {
            loud.iter_mut().zip(&reach).for_each(|(l, r)| *l = l.max(r / top));
        }
    }
    loud
}

/// Largest weight that reads each channel, in parts of the largest of the same output. Depthwise weights are all largest.
fn strength(readers: &[Reader], factors: &[f64]) -> Vec<f64> {
    let mut strong = vec![0.0f64; factors.len()];
    for Reader { linear, .. } in readers {
        let weight = |i: usize| (linear.weights()[i] / factors[linear.channels_of(i).1]).abs();
        let mut top = vec![0.0f64; linear.channels];
        (0..linear.weights().len()).for_each(|i| top[linear.channels_of(i).0] = top[linear.channels_of(i).0].max(weight(i)));
        for i in 0..linear.weights().len() {
            let (output, input) = linear.channels_of(i);
            if top[output] > 0.0 {
                strong[input] = strong[input].max(weight(i) / top[output]);
            }
        }
    }
    strong
}

/// The predicted error (see the module documentation).
fn error(sources: &[Source], readers: &[Reader], factors: &[f64], target: &Target) -> f64 {
    let steps = sources.iter().map(|source| {
        let mut range = Range { min: 0.0, max: 0.0 };
        for (r, s) in source.seen.range.iter().zip(factors) {
            range = Range { min: range.min.min((r.0 * s) as f32), max: range.max.max((r.1 * s) as f32) };
        }
        f64::from(scales::activation(range, &target.quant.activations).scale[0])
    });
    let steps: Vec<f64> = steps.collect();
    let mut total = 0.0;
    for (index, reader) in readers.iter().enumerate() {
        let linear = &reader.linear;
        let weights = linear.weights().iter().enumerate().map(|(i, w)| (w / factors[linear.channels_of(i).1]) as f32);
        let weights: Vec<f32> = weights.collect();
        let squares: f64 = weights.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
        let rounded: f64 = sources.iter().zip(&steps).map(|(s, step)| s.reach[index] * step * step / 12.0).sum();
        let mut error = rounded * squares;
        if let Some(axis) = reader.stored {
            let dims = linear.weight_dims();
            let found = scales::weights(&weights, dims, axis, &[], &target.quant.weights);
            let inner: usize = axis.map_or(1, |a| dims[a + 1..].iter().product());
            let stored = found.stored.values::<i8>().unwrap_or_default();
            for (i, (&q, &w)) in stored.iter().zip(&weights).enumerate() {
                let scale = found.quant.at(axis.map_or(0, |a| i / inner % dims[a])).0;
                let c = linear.channels_of(i).1;
                let off = f64::from(w) - f64::from(q) * f64::from(scale);
                error += off * off * reader.square[c] * factors[c] * factors[c];
            }
        }
        total += error / reader.power;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use spaceevo_ir::text;

    /// A Gemm of even weights that reads two channels, of which the second is `quiet` times the first.
    fn found(quiet: f64, limit: f64) -> Choice {
        let source = "graph @main(%x: f32[1,2]) with {opset = 17} {
  %w = const [[0.71, 0.33, -0.54], [0.64, -0.7, 0.37]] : f32[2,3]
  %y = onnx.Gemm %x, %w : f32[1,3]
  return %y
}";
        let graph = text::parse(source, "test", &text::NoBlobs).graph.unwrap();
        let linear = Linear::view(&graph, graph.ops_in(graph.body()).next().unwrap()).unwrap();
        let target = Target::named("x86-vnni").unwrap();
        let seen = Seen { range: vec![(0.0, 1.0), (-quiet, 0.0)], square: vec![0.3, 0.3 * quiet * quiet] };
        let reader = Reader { linear, stored: Some(Some(1)), square: seen.square.clone(), power: 0.3 };
        choose(&[Source { seen, reach: vec![1.0] }], &[reader], limit, 0.03, &target)
    }

    #[test]
    fn a_quiet_channel_grows_within_the_limit() {
        let free = found(0.1, 100.0);
        assert_eq!(free.factors[0], 1.0);
        // All of the way would be 10: there the uneven weights cost more than the steps of the values.
        assert!(free.factors[1] > 1.5 && free.factors[1] < 10.0, "{free:?}");
        assert!(free.after < 0.8 * free.before, "{free:?}");
        let tight = found(0.1, 1.2);
        assert!((1.0..=1.2).contains(&tight.factors[1]), "{tight:?}");
        assert!(tight.after <= tight.before && tight.after > free.after, "{tight:?}");
    }

    #[test]
    fn a_silent_channel_stays() {
        assert_eq!(found(0.0, 8.0).factors[0], 1.0);
        assert!(found(0.0, 8.0).factors.iter().all(|s| s.is_finite() && *s > 0.0));
    }

    #[test]
    fn samples_add_up_in_any_order_and_what_is_not_finite_is_unknown() {
        let watch = |samples: &[(usize, [f32; 4])]| {
            let watcher = Watcher::new(vec![(2, 2)]);
            samples.iter().for_each(|(sample, numbers)| watcher.see(*sample, 0, numbers));
            watcher.seen().remove(0)
        };
        let (a, b) = ((0, [1.0, 3.0, -2.0, 0.0]), (1, [0.5, 0.5, 4.0, 1.0]));
        let seen = watch(&[a, b]).unwrap();
        assert_eq!((seen.range.clone(), seen.square[0]), (vec![(0.0, 3.0), (-2.0, 4.0)], 10.5 / 4.0));
        assert_eq!(watch(&[b, a]), Some(seen));
        assert_eq!(watch(&[(0, [f32::NAN, 0.0, 0.0, 0.0])]), None);
        assert_eq!(watch(&[]), None);
    }
}
