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
//! A row is spread over 3 x 3 cells so that mean and variance of both its numbers stay exact, and what the grid adds is of third
//! order; the limit lies in the middle between two cells. What is left is measured by halving the steps.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::hyperspace::Choice;
use crate::pool::{Pool, latency, loss};
use crate::score::{Formula, LimitScore, Score};

/// How fine the grid is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Precision {
    /// Loss of a cell, in millionths.
    pub loss_step: u32,
    /// Cells of latency below the limit.
    pub latency_cells: u32,
}

impl Precision {
    /// For millions of spaces.
    pub const FAST: Precision = Precision { loss_step: 20_000, latency_cells: 40 };
    /// For one space.
    pub const FINE: Precision = Precision { loss_step: 5_000, latency_cells: 160 };
}

/// One cell of a stage's distribution: its place and mass.
type Cell = (u32, u32, f32);

/// The grid of one limit.
struct Grid {
    limit: u32,
    loss_step: f64,
    /// Least loss of every stage, in cells.
    loss_from: Vec<i64>,
    /// Cells of every stage's losses.
    losses: Vec<usize>,
    /// Cells of latency that both halves may use together, above the least ones; negative where nothing fits.
    room: i64,
    /// Cells by stage, choice and resolution.
    cells: Vec<Vec<Vec<Vec<Cell>>>>,
}

/// A distribution on the grid, at one resolution.
struct Plane {
    losses: usize,
    latencies: usize,
    /// `[latency][loss]`
    mass: Vec<f32>,
}

/// The first stages of a space, under one limit, by resolution.
pub struct Prefix {
    parts: Vec<PrefixPart>,
}

struct PrefixPart {
    /// `[latency][loss]`, the losses backwards, so that both factors of a sum are read forwards.
    mass: Vec<f32>,
    /// Where masses that are not 0 begin and end, by latency.
    spans: Vec<(u32, u32)>,
    /// Mass by latency.
    by_latency: Vec<f32>,
}

/// The last stages of a space, under one limit, by resolution.
pub struct Suffix {
    parts: Vec<SuffixPart>,
}

struct SuffixPart {
    /// `H`, `[latency][loss]`.
    excess: Vec<f32>,
    /// Mass up to a latency.
    up_to: Vec<f32>,
}

/// A scorer that keeps the halves that it has met.
pub struct Exact<'a> {
    pool: &'a Pool,
    formula: Formula,
    grids: Vec<Grid>,
    /// Stages of the first half.
    split: usize,
    prefixes: Mutex<HashMap<(usize, Vec<usize>), Arc<Prefix>>>,
    suffixes: Mutex<HashMap<(usize, Vec<usize>), Arc<Suffix>>>,
}

impl<'a> Exact<'a> {
    /// A scorer for the spaces of a pool that have rows everywhere.
    pub fn new(pool: &'a Pool, formula: Formula, precision: Precision) -> Exact<'a> {
        let grids = formula.limits.iter().map(|&limit| Grid::new(pool, limit, precision)).collect();
        let split = pool.hyperspace.stages.len().div_ceil(2);
        Exact { pool, formula, grids, split, prefixes: Default::default(), suffixes: Default::default() }
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
        let grid = &self.grids[number];
        let part = |r: usize| {
            let plane = grid.convolve(0, choices, r);
            let mut mass = plane.mass;
            let width = plane.losses;
            mass.chunks_mut(width).for_each(<[f32]>::reverse);
            let span = |row: &[f32]| {
                let first = row.iter().position(|&m| m != 0.0).unwrap_or(0);
                (first as u32, row.iter().rposition(|&m| m != 0.0).map_or(first, |l| l + 1) as u32)
            };
            let spans = mass.chunks(width).map(span).collect();
            let by_latency = mass.chunks(width).map(|row| row.iter().sum()).collect();
            PrefixPart { mass, spans, by_latency }
        };
        Prefix { parts: (0..self.pool.resolutions.len()).map(part).collect() }
    }

    /// The second half with those choices, under the `number`-th limit.
    pub fn suffix(&self, number: usize, choices: &[usize]) -> Suffix {
        let grid = &self.grids[number];
        let total: usize = grid.span(0..grid.losses.len());
        let part = |r: usize| {
            let plane = grid.convolve(self.split, choices, r);
            let mut excess = vec![0.0; plane.latencies * total];
            let mut up_to = Vec::with_capacity(plane.latencies);
            let mut sum = 0.0;
            for y in 0..plane.latencies {
                let row = &plane.mass[y * plane.losses..(y + 1) * plane.losses];
                sum += row.iter().sum::<f32>();
                up_to.push(sum);
                // E[(l - L)+] grows by the mass below l.
                let (mut mass, mut value) = (0.0, 0.0);
                for x in 0..total {
                    let before = if y == 0 { 0.0 } else { excess[(y - 1) * total + x] };
                    excess[y * total + x] = before + value;
                    mass += row.get(x).copied().unwrap_or(0.0);
                    value += mass;
                }
            }
            SuffixPart { excess, up_to }
        };
        Suffix { parts: (0..self.pool.resolutions.len()).map(part).collect() }
    }

    /// The score of two halves. `guess` is the cell where the last search ended: the next space's is near.
    pub fn join(&self, number: usize, prefix: &Prefix, suffix: &Suffix, guess: &mut Option<usize>) -> LimitScore {
        let grid = &self.grids[number];
        let share = grid.share(prefix, suffix);
        // Fewer than one subnet within the limit is to be expected among the draws: the published score finds none.
        if grid.room < 0 || share * (self.formula.draws as f64) < 1.0 {
            return self.formula.under(grid.limit, share.max(0.0), None);
        }
        let most = grid.span(0..grid.losses.len()) - 1;
        let first = grid.span(0..self.split);
        let tail = self.formula.tail().min(share);
        let value = |at: usize| at as f64 - grid.excess(prefix, suffix, first, at) / tail;
        let (at, best) = if share <= self.formula.tail() {
            // All of them count: the mean.
            (most, value(most))
        } else {
            climb(guess.unwrap_or(most / 3).clamp(1, most - 1), most, value)
        };
        *guess = Some(at);
        let from: i64 = grid.loss_from.iter().sum();
        self.formula.under(grid.limit, share, Some((best + from as f64) * grid.loss_step / 1e6))
    }

    /// Scores many spaces on all threads.
    pub fn score_all(&self, choices: &[Choice]) -> Vec<Score> {
        choices.par_iter().map(|c| self.score(c)).collect()
    }
}

fn kept<T>(cache: &Mutex<HashMap<(usize, Vec<usize>), Arc<T>>>, key: (usize, Vec<usize>), make: impl FnOnce() -> T) -> Arc<T> {
    if let Some(found) = cache.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return found.clone();
    }
    let made = Arc::new(make());
    cache.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(made).clone()
}

/// The maximum of a concave function of a whole number in 0..=most, refined by a parabola through its neighbours.
fn climb(start: usize, most: usize, value: impl Fn(usize) -> f64) -> (usize, f64) {
    let (mut at, mut here) = (start, value(start));
    let mut left = value(at - 1);
    let mut right = value(at + 1);
    while right > here && at + 1 < most {
        (at, left, here) = (at + 1, here, right);
        right = value(at + 1);
    }
    while left > here && at > 1 {
        (at, right, here) = (at - 1, here, left);
        left = value(at - 1);
    }
    let bend = left - 2.0 * here + right;
    let peak = if bend < 0.0 && left <= here && right <= here { here - (right - left).powi(2) / (8.0 * bend) } else { here };
    (at, peak)
}

impl Grid {
    fn new(pool: &Pool, limit: u32, precision: Precision) -> Grid {
        let stages = pool.hyperspace.stages.len();
        let loss_step = f64::from(precision.loss_step);
        let latency_step = f64::from(limit.max(1)) / (f64::from(precision.latency_cells) + 0.5);
        let pairs = |s: usize| {
            (0..pool.choices(s)).flat_map(move |i| (0..pool.resolutions.len()).flat_map(move |r| pool.entry(s, i, r).pairs.iter()))
        };
        let cell = |value: u32, step: f64| (f64::from(value) / step).round() as i64;
        let least = |s: usize, value: fn(u64) -> u32, step: f64| cell(pairs(s).map(|&p| value(p)).min().unwrap_or(0), step) - 1;
        let loss_from: Vec<i64> = (0..stages).map(|s| least(s, loss, loss_step)).collect();
        let latency_from: Vec<i64> = (0..stages).map(|s| least(s, latency, latency_step)).collect();
        let most = |s: usize| cell(pairs(s).map(|&p| loss(p)).max().unwrap_or(0), loss_step) + 1;
        let losses = (0..stages).map(|s| (most(s) - loss_from[s] + 1) as usize).collect();
        let room = i64::from(precision.latency_cells) - latency_from.iter().sum::<i64>();
        let spread = |s: usize, i: usize, r: usize| {
            let pairs = &pool.entry(s, i, r).pairs;
            let mut found = HashMap::<(u32, u32), f64>::new();
            for &pair in pairs {
                let (x, xs) = three_points(f64::from(loss(pair)) / loss_step, loss_from[s]);
                let (y, ys) = three_points(f64::from(latency(pair)) / latency_step, latency_from[s]);
                for (dx, wx) in xs.iter().enumerate() {
                    for (dy, wy) in ys.iter().enumerate() {
                        let (x, y) = (x + dx as i64, y + dy as i64);
                        if y <= room {
                            *found.entry((y as u32, x as u32)).or_default() += wx * wy / pairs.len() as f64;
                        }
                    }
                }
            }
            let mut cells: Vec<Cell> = found.into_iter().map(|((y, x), m)| (y, x, m as f32)).collect();
            cells.sort_unstable_by_key(|&(y, x, _)| (y, x));
            cells
        };
        let stage = |s: usize| -> Vec<Vec<Vec<Cell>>> {
            let choice = |i: usize| (0..pool.resolutions.len()).map(|r| spread(s, i, r)).collect();
            (0..pool.choices(s)).into_par_iter().map(choice).collect()
        };
        let cells = (0..stages).map(stage).collect();
        Grid { limit, loss_step, loss_from, losses, room, cells }
    }

    /// Cells of losses that stages have together.
    fn span(&self, stages: std::ops::Range<usize>) -> usize {
        self.losses[stages].iter().map(|n| n - 1).sum::<usize>() + 1
    }

    /// The distribution of consecutive stages.
    fn convolve(&self, from: usize, choices: &[usize], resolution: usize) -> Plane {
        let latencies = (self.room + 1).max(1) as usize;
        let mut plane = Plane { losses: 1, latencies, mass: vec![0.0; latencies] };
        plane.mass[0] = 1.0;
        for (stage, &choice) in (from..).zip(choices) {
            let losses = plane.losses + self.losses[stage] - 1;
            let mut mass = vec![0.0_f32; latencies * losses];
            for &(y, x, weight) in &self.cells[stage][choice][resolution] {
                for row in 0..latencies - y as usize {
                    let source = &plane.mass[row * plane.losses..(row + 1) * plane.losses];
                    let start = (row + y as usize) * losses + x as usize;
                    for (sum, &m) in mass[start..start + plane.losses].iter_mut().zip(source) {
                        *sum += weight * m;
                    }
                }
            }
            plane = Plane { losses, latencies, mass };
        }
        plane
    }

    /// The share of subnets within the limit.
    fn share(&self, prefix: &Prefix, suffix: &Suffix) -> f64 {
        let part = |(a, b): (&PrefixPart, &SuffixPart)| -> f64 {
            a.by_latency.iter().zip(b.up_to.iter().rev()).map(|(&m, &c)| f64::from(m) * f64::from(c)).sum()
        };
        prefix.parts.iter().zip(&suffix.parts).map(part).sum::<f64>() / prefix.parts.len() as f64
    }

    /// `G` at a cell of loss, in cells.
    fn excess(&self, prefix: &Prefix, suffix: &Suffix, first: usize, at: usize) -> f64 {
        let latencies = (self.room + 1).max(1) as usize;
        let total = suffix.parts[0].excess.len() / latencies;
        let mut sum = 0.0;
        for (a, b) in prefix.parts.iter().zip(&suffix.parts) {
            for (y, &(begin, end)) in a.spans.iter().enumerate() {
                // The i-th mass, counted backwards, meets H at `at - (first - 1 - i)`.
                let begin = (begin as usize).max((first - 1).saturating_sub(at));
                if begin >= end as usize {
                    continue;
                }
                let masses = &a.mass[y * first + begin..y * first + end as usize];
                let start = (latencies - 1 - y) * total + at + 1 + begin - first;
                sum += f64::from(dot(masses, &b.excess[start..start + masses.len()]));
            }
        }
        sum / prefix.parts.len() as f64
    }
}

/// Weights of three neighbouring cells that keep total, mean and variance of a point; the first cell is counted from `from`.
fn three_points(value: f64, from: i64) -> (i64, [f64; 3]) {
    let nearest = value.round();
    let f = value - nearest;
    (nearest as i64 - from - 1, [(f * f - f) / 2.0, 1.0 - f * f, (f * f + f) / 2.0])
}

/// The sum of products, in eight independent sums: always in the same order, and fit for vector registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a8.zip(b8) {
        for i in 0..8 {
            sums[i] += x[i] * y[i];
        }
    }
    rest + sums.iter().sum::<f32>()
}
