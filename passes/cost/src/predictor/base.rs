//! The first estimate: a sum of counts with weights that are not negative.
//!
//! ```text
//! time = call + a macs + b numbers read + c numbers made + …
//!        + (where channels are no multiple of 16: d + e macs + f numbers read + …) + …
//! ```
//!
//! It holds for kernels that are larger than all that were measured. A runtime has a fast kernel for some channel counts, and for
//! the others a slow one, which costs more of something: [`thresholds`] finds which they are, and one fit of all kernels of the family
//! what both cost.

use crate::kernels::COUNTS;

use super::ROW;
use super::discover::thresholds;

/// Number of counts.
pub const TERMS: usize = COUNTS.len();
/// Rows below which what is moved has one weight.
pub(super) const FEW: usize = 24;
/// How much more few rows weigh than all that are there to help.
const OWN: usize = 3;
/// Calls in networks that move much, and calls a while after the last one.
const COLD: [usize; 4] = [11, 19, 23, 24];
/// Rows that a count is in at least: a weight of few rows is what else is wrong with them.
const LEAST: usize = 8;
/// Steps of the fit at most.
const SWEEPS: usize = 3000;

/// Nanoseconds of each count.
pub type Weights = [f64; TERMS];

/// A feature, and where the fast side of it begins.
pub type Threshold = (usize, f32);

/// A sum of counts.
#[derive(Clone, PartialEq, Debug)]
pub struct Base {
    /// What all kernels cost.
    pub weights: Weights,
    /// What those cost beside that which are below a threshold.
    pub below: Vec<(Threshold, Weights)>,
}

/// A measured kernel.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its counts.
    pub counts: [f64; TERMS],
    /// Its features.
    pub features: [f32; ROW],
    /// Nanoseconds.
    pub time: f64,
}

impl Base {
    /// The same sum for all kernels.
    pub fn simple(weights: Weights) -> Base {
        Base { weights, below: Vec::new() }
    }

    /// Nanoseconds.
    pub fn time(&self, counts: &[f64; TERMS], features: &[f32; ROW]) -> f64 {
        let [time] = self.times(&counts.map(|count| [count]), |feature, _| features[feature]);
        time
    }

    /// Nanoseconds of some kernels, of which each count has a row; `feature` says a feature of one of them.
    #[inline(always)]
    pub(super) fn times<const N: usize>(
        &self,
        counts: &[[f64; N]; TERMS],
        feature: impl Fn(usize, usize) -> f32,
    ) -> [f64; N] {
        let mut times = summed(&self.weights, counts);
        for ((below, least), weights) in &self.below {
            let more = summed(weights, counts);
            for lane in 0..N {
                times[lane] += if feature(*below, lane) < *least { more[lane] } else { 0.0 };
            }
        }
        times.map(|time| time.max(1.0))
    }

    /// Fits rows, of which there is at least one.
    pub fn fit(rows: &[&Row]) -> Base {
        // Few rows do not tell numbers read from numbers made: what a weight of its own would be is anybody's guess.
        if rows.len() < FEW { Base::of_few(rows) } else { Base::with(rows, &thresholds(rows), SWEEPS) }
    }

    /// Fits rows with these thresholds.
    pub(super) fn with(rows: &[&Row], thresholds: &[Threshold], sweeps: usize) -> Base {
        let columns = |row: &&Row| {
            let below = |&(feature, least): &Threshold| if row.features[feature] < least { 1.0 } else { 0.0 };
            let factors = std::iter::once(1.0).chain(thresholds.iter().map(below));
            factors.flat_map(|factor| row.counts.map(|count| factor * count / row.time)).collect()
        };
        let all = weights(&rows.iter().map(columns).collect::<Vec<_>>(), sweeps);
        let mut parts = all.chunks_exact(TERMS).map(|part| std::array::from_fn(|term| part[term]));
        let weights = parts.next().unwrap_or([0.0; TERMS]);
        Base { weights, below: thresholds.iter().copied().zip(parts).collect() }
    }

    /// Fits few rows with the help of `others`, as slow as they, which say what the few do not: what a number costs where all are small,
    /// and how much longer a call takes in a large network. Where the few do say it, they weigh more.
    pub(super) fn beside(rows: &[&Row], others: &[&Row]) -> Base {
        let sum = Base::of_few(others);
        let more = |row: &&Row| libm::log(row.time / sum.time(&row.counts, &row.features));
        let more = libm::exp(rows.iter().map(more).sum::<f64>() / rows.len().max(1) as f64);
        let others: Vec<Row> = others.iter().map(|row| Row { time: more * row.time, ..(*row).clone() }).collect();
        let times = (OWN * others.len()).div_ceil(rows.len().max(1));
        let own = std::iter::repeat_n(rows, times).flatten().copied();
        Base::of_few(&own.chain(&others).collect::<Vec<&Row>>())
    }

    /// A sum that needs few rows: of a call, multiply-accumulates, and numbers moved, whichever way.
    pub(super) fn of_few(rows: &[&Row]) -> Base {
        Base::simple(weights_of_few(rows))
    }
}

/// Nanoseconds of counts.
#[inline(always)]
fn summed<const N: usize>(weights: &Weights, counts: &[[f64; N]; TERMS]) -> [f64; N] {
    let mut sums = [0.0; N];
    // Most weights are none.
    for (weight, counts) in weights.iter().zip(counts).filter(|(weight, _)| **weight != 0.0) {
        for lane in 0..N {
            sums[lane] += weight * counts[lane];
        }
    }
    sums
}

/// The weights of a call, of a multiply-accumulate, of a number moved, whichever way, of one gathered for a window, of a pixel, and of
/// calls that find no cache.
fn weights_of_few(rows: &[&Row]) -> Weights {
    let joined = |row: &&Row| {
        let [calls, macs, read, made, weights, gathered, _, pixels, ..] = row.counts;
        let pixels = if macs > 0.0 { 0.0 } else { pixels };
        let [a, b, c, d] = COLD.map(|term| if macs > 0.0 { 0.0 } else { row.counts[term] });
        [calls, macs, read + made + weights, gathered, pixels, a, b, c, d].map(|count| count / row.time).to_vec()
    };
    let found = weights(&rows.iter().map(joined).collect::<Vec<_>>(), SWEEPS);
    let &[call, mac, moved, gathered, pixel, ref cold @ ..] = &found[..] else { return [0.0; TERMS] };
    let mut all = [0.0; TERMS];
    all[..8].copy_from_slice(&[call, mac, moved, moved, moved, gathered, 0.0, pixel]);
    COLD.iter().zip(cold).for_each(|(&term, &weight)| all[term] = weight);
    all
}

/// The weights by which the columns of each row come to 1 with the least squared error, none of them negative: coordinate descent on
/// the normal equations.
fn weights(rows: &[Vec<f64>], sweeps: usize) -> Vec<f64> {
    let terms = rows.first().map_or(0, Vec::len);
    // Columns in units of their mean, so that they are alike in size; those that are hardly anywhere have no part.
    let is_in = |term: usize| rows.iter().filter(|row| row[term] > 0.0).count() >= LEAST.min(rows.len());
    let mean = |term: usize| rows.iter().map(|row| row[term]).sum::<f64>() / rows.len() as f64;
    let used: Vec<(usize, f64)> = (0..terms).filter(|&term| is_in(term)).map(|term| (term, mean(term))).collect();
    let mut gram = vec![0.0; used.len() * used.len()];
    let mut left = vec![0.0; used.len()];
    let mut scaled = vec![0.0; used.len()];
    for row in rows {
        scaled.iter_mut().zip(&used).for_each(|(column, &(term, mean))| *column = row[term] / mean);
        for (a, sums) in gram.chunks_exact_mut(used.len()).enumerate() {
            left[a] += scaled[a];
            sums.iter_mut().zip(&scaled).for_each(|(sum, column)| *sum += scaled[a] * column);
        }
    }
    // `left` is what each column still leaves; it is kept up as weights change.
    let mut found = vec![0.0; used.len()];
    for _ in 0..sweeps {
        let mut moved = 0.0f64;
        for (a, sums) in gram.chunks_exact(used.len()).enumerate() {
            let next = (found[a] + left[a] / sums[a]).max(0.0);
            let step = next - found[a];
            if step != 0.0 {
                found[a] = next;
                left.iter_mut().zip(sums).for_each(|(left, sum)| *left -= step * sum);
                moved = moved.max(step.abs());
            }
        }
        if moved < 1e-7 {
            break;
        }
    }
    let mut weights = vec![0.0; terms];
    for (&(term, mean), found) in used.iter().zip(found) {
        weights[term] = found / mean;
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_find_no_cache_are_where_they_are_looked_for() {
        let names = ["calls from afar", "calls from farther", "calls after long", "calls after longer"];
        assert_eq!(COLD.map(|term| COUNTS[term]), names);
    }

    #[test]
    fn weights_are_found_again_and_none_is_negative() {
        let row = |at: usize| {
            let counts = [1.0, (at * 7 % 11) as f64, (at * 5 % 13) as f64, 0.0];
            let time = 2.0 + 3.0 * counts[1] - 0.01 * counts[2];
            counts.map(|count| count / time).to_vec()
        };
        let found = weights(&(0..40).map(row).collect::<Vec<_>>(), SWEEPS);
        assert!((found[0] - 2.0).abs() < 0.1 && (found[1] - 3.0).abs() < 0.02, "{found:?}");
        assert_eq!(found[2..], [0.0, 0.0]);
    }
}
