//! The Q-T score without chance: what the sampled one tends to with more and more draws.
//!
//! Stages are drawn independently, so the distribution of (loss, latency) of a space is the convolution of those of its stages.
//! It is computed on a grid, for the first and the second half of the stages, which many spaces share:
//!
//! ```text
//! G(l) = E[(l - L)+ ; t <= T] = sum over cells (x, y) of the first half of mass(x, y) * H(l - x, T - y)
//! H(l, t) = E[(l - L2)+ ; t2 <= t]    of the second half
//! ```
//!
//! The mean of the lowest share q of all losses within the limit is then the maximum over l of `l - G(l) / q` (Rockafellar and
//! Uryasev's formula for a conditional value at risk), which is concave: two or three evaluations find it from a good guess.
//!

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::grid::Grid;
pub use crate::grid::Precision;
pub use crate::halves::{Bounds, Prefix, Suffix};
use crate::hyperspace::Choice;
use crate::pool::{Pool, latency};
use crate::score::{Formula, LimitScore, Score};

/// Halves that are kept: some 100 KB each. Then all are forgotten; those that are needed are soon there again.
const MOST_KEPT: usize = 1000;

/// What the parabola through three values and the rounding of sums may move a score by, relatively.
const SLACK: f64 = 1e-4;

/// Halves by limit and choices.
type Kept<T> = Mutex<HashMap<(usize, Vec<usize>), Arc<T>>>;

/// A scorer that keeps the halves that it has met.
pub struct Exact<'a> {
    pool: &'a Pool,
    formula: Formula,
    precision: Precision,
    grids: Vec<Grid>,
    /// Stages of the first half.
    split: usize,
    prefixes: Kept<Prefix>,
    suffixes: Kept<Suffix>,
    /// For every limit a second half that places of first halves are measured with.
    typical: Vec<Option<Suffix>>,
}

impl<'a> Exact<'a> {
    /// A scorer for the spaces of a pool that have rows everywhere.
    pub fn new(pool: &'a Pool, formula: Formula, precision: Precision) -> Exact<'a> {
        let grids: Vec<Grid> = formula.limits.iter().map(|&limit| Grid::new(pool, limit, precision)).collect();
        let stages = pool.hyperspace.stages.len();
        let split = stages.div_ceil(2);
        // The fastest, so that as many first halves as possible have something to be measured by.
        let mean = |s: usize, i: usize| {
            let all = (0..pool.resolutions.len()).flat_map(|r| &pool.entry(s, i, r).pairs);
            let (sum, count) = all.fold((0, 0), |(sum, count), &p| (sum + u64::from(latency(p)), count + 1));
            sum / count.max(1)
        };
        let fastest = |s: usize| (0..pool.choices(s)).filter(|&i| pool.complete(s, i)).min_by_key(|&i| mean(s, i));
        let fastest: Option<Vec<usize>> = (split..stages).map(fastest).collect();
        let typical = grids.iter().map(|g| fastest.as_ref().map(|choices| g.suffix(split, choices))).collect();
        Exact { pool, formula, precision, grids, split, prefixes: Default::default(), suffixes: Default::default(), typical }
    }

    /// Scores a space.
    pub fn score(&self, choice: &Choice) -> Score {
        let stages = self.pool.hyperspace.stages.len();
        let indices: Vec<usize> = (0..stages).map(|s| self.pool.choice_index(choice, s)).collect();
        let (first, second) = indices.split_at(self.split);
        let under = |number: usize| {
            let prefix = kept(&self.prefixes, (number, first.to_vec()), || self.prefix(number, first));
            let suffix = kept(&self.suffixes, (number, second.to_vec()), || self.suffix(number, second));
            self.join(number, &prefix, &suffix, &mut None)
        };
        self.formula.sum((0..self.grids.len()).map(under).collect())
    }

    /// Number of stages in the first half.
    pub fn split(&self) -> usize {
        self.split
    }

    /// The first half with those choices, under the `number`-th limit.
    pub fn prefix(&self, number: usize, choices: &[usize]) -> Prefix {
        let mut prefix = self.grids[number].prefix(choices);
        if let Some(typical) = &self.typical[number] {
            let mut found = None;
            self.join(number, &prefix, typical, &mut found);
            prefix.place = found.map_or(0, isize::unsigned_abs);
        }
        prefix
    }

    /// The second half with those choices, under the `number`-th limit.
    pub fn suffix(&self, number: usize, choices: &[usize]) -> Suffix {
        self.grids[number].suffix(self.split, choices)
    }

    /// The score of two halves. `guess` says where the last search ended, counted from the place of its first half: the next space's is
    /// near.
    pub fn join(&self, number: usize, prefix: &Prefix, suffix: &Suffix, guess: &mut Option<isize>) -> LimitScore {
        self.placed(number, prefix, suffix, guess).0
    }

    /// The same, with the cell of loss, counted from 0, at which it was read off; `None` where it is the mean of all or of nothing.
    pub(crate) fn placed(
        &self,
        number: usize,
        prefix: &Prefix,
        suffix: &Suffix,
        guess: &mut Option<isize>,
    ) -> (LimitScore, Option<i64>) {
        let grid = &self.grids[number];
        let (share, sum) = grid.moments(prefix, suffix);
        let from: i64 = grid.loss_from.iter().sum();
        let scored = |cells: f64| self.formula.under(grid.limit, share, Some((cells + from as f64) * grid.loss_step / 1e6));
        // Fewer than one subnet within the limit is to be expected among the draws: the published score finds none.
        if grid.room < 0 || share * (self.formula.draws as f64) < 1.0 {
            return (self.formula.under(grid.limit, share.max(0.0), None), None);
        }
        let tail = self.formula.tail();
        if share <= tail {
            // All of them count.
            return (scored(sum / share), None);
        }
        let mean = grid.tail_mean(prefix, suffix, tail, guess);
        let place = guess.map(|g| from + prefix.place as i64 + g as i64);
        (scored(mean), place)
    }

    /// The size of a cell of loss in millionths under the `number`-th limit.
    pub(crate) fn loss_step(&self, number: usize) -> f64 {
        self.grids[number].loss_step
    }

    /// What it scores by.
    pub fn formula(&self) -> &Formula {
        &self.formula
    }

    /// How fine its grids are.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// What the score of a first half with any second half of a group is at most.
    pub fn at_most(&self, number: usize, prefix: &Prefix, bounds: &Bounds, guesses: &mut [Option<isize>; 2]) -> f64 {
        let grid = &self.grids[number];
        let (most, least) = (grid.moments(prefix, &bounds.most).0, grid.moments(prefix, &bounds.least).0);
        let (tail, one) = (self.formula.tail(), 1.0 / self.formula.draws as f64);
        let mut high = self.formula.under(grid.limit, most.max(0.0), None).score;
        if grid.room < 0 || most < one {
            return high;
        }
        let from: i64 = grid.loss_from.iter().sum();
        let mut under = |share: f64, tail: f64, guess: &mut Option<isize>| {
            let cells = grid.tail_mean(prefix, &bounds.most, tail, guess);
            high = high.max(self.formula.under(grid.limit, share, Some((cells + from as f64) * grid.loss_step / 1e6)).score);
        };
        if most > tail {
            under(most, tail, &mut guesses[0]);
        }
        if least <= tail {
            // Spaces with fewer subnets than that take the mean of all of them: it is not below that of the best few, and they
            // pay for their small share.
            under(most.min(tail), one, &mut guesses[1]);
        }
        high * (1.0 + SLACK)
    }

    /// The same at least.
    pub fn at_least(&self, number: usize, prefix: &Prefix, bounds: &Bounds, guess: &mut Option<isize>) -> f64 {
        let grid = &self.grids[number];
        let least = if grid.room < 0 { 0.0 } else { grid.moments(prefix, &bounds.least).0 };
        if least * (self.formula.draws as f64) < 1.0 {
            return 0.0;
        }
        if least <= self.formula.tail() {
            // All that is known of the loss is that it is not above the highest of all.
            let from: i64 = grid.loss_from.iter().sum();
            let highest = from as f64 + grid.span(0..grid.losses.len()) as f64;
            return self.formula.under(grid.limit, least, Some(highest * grid.loss_step / 1e6)).score;
        }
        self.join(number, prefix, &bounds.least, guess).score * (1.0 - SLACK)
    }

    /// Number of limits.
    pub fn limits(&self) -> usize {
        self.grids.len()
    }

    /// Scores many spaces on all threads.
    pub fn score_all(&self, choices: &[Choice]) -> Vec<Score> {
        choices.par_iter().map(|c| self.score(c)).collect()
    }
}

/// How uncertain a space's exact score is because its tables are samples: the standard deviation of its score over `replicates` sets of
/// tables whose rows are drawn again from the same rows (the bootstrap).
pub fn table_noise(pool: &Pool, choice: &Choice, formula: &Formula, replicates: usize) -> f64 {
    let single = pool.single(choice);
    let only = Choice { blocks: vec![0; choice.blocks.len()], windows: vec![0; choice.windows.len()] };
    let precision = Precision { loss_step: 10_000, latency_cells: 80 };
    let score = |seed: usize| Exact::new(&single.resampled(seed as u64), formula.clone(), precision).score(&only).score;
    let scores: Vec<f64> = (0..replicates).into_par_iter().map(score).collect();
    let mean = scores.iter().sum::<f64>() / replicates.max(1) as f64;
    (scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / replicates.saturating_sub(1).max(1) as f64).sqrt()
}

fn kept<T>(cache: &Kept<T>, key: (usize, Vec<usize>), make: impl FnOnce() -> T) -> Arc<T> {
    if let Some(found) = cache.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return found.clone();
    }
    let made = Arc::new(make());
    let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
    if cache.len() >= MOST_KEPT {
        cache.clear();
    }
    cache.entry(key).or_insert(made).clone()
}
