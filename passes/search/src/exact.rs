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
    /// For millions of spaces: within 0.05 % of finer grids on published tables.
    pub const FAST: Precision = Precision { loss_step: 10_000, latency_cells: 40 };
    /// For one space.
    pub const FINE: Precision = Precision { loss_step: 5_000, latency_cells: 160 };
}

/// Mass at the low end of a row of the first half that is left out. With the next: a loss is moved by less than 0.00005.
const NEGLIGIBLE_MASS: f32 = 1e-9;
/// Excess of the second half, in cells, that is left out.
const NEGLIGIBLE_EXCESS: f32 = 1e-6;

/// Halves that are kept: some 100 KB each. Then all are forgotten; those that are needed are soon there again.
const MOST_KEPT: usize = 1000;

/// Cells of loss that all stages together have at most: where losses differ more, cells are larger.
const MOST_CELLS: f64 = 4000.0;

/// What the parabola through three values and the rounding of sums may move a score by, relatively.
const SLACK: f64 = 1e-4;

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
    /// Mass by latency, and the sum of mass times loss.
    by_latency: Vec<(f32, f32)>,
}

/// The last stages of a space, under one limit, by resolution.
#[derive(Clone)]
pub struct Suffix {
    parts: Vec<SuffixPart>,
}

#[derive(Clone)]
struct SuffixPart {
    /// `H`, `[latency][loss]`; the first cell of each latency stands for the loss below the least one.
    excess: Vec<f32>,
    /// Where `H` begins to be more than 0, by latency.
    starts: Vec<u32>,
    /// Mass up to a latency, and the sum of mass times loss.
    up_to: Vec<(f32, f32)>,
}

/// Bounds on a group of second halves, cell by cell: what a score can be at most and at least with any of them.
pub struct Bounds {
    most: Suffix,
    least: Suffix,
}

impl Bounds {
    /// The bounds of some second halves under the same limit.
    pub fn of<'a>(group: impl Iterator<Item = &'a Suffix> + Clone) -> Bounds {
        Bounds { most: extreme(group.clone(), f32::max, u32::min), least: extreme(group, f32::min, u32::max) }
    }

    /// The bounds of some groups together.
    pub fn over<'a>(groups: impl Iterator<Item = &'a Bounds> + Clone) -> Bounds {
        Bounds {
            most: extreme(groups.clone().map(|b| &b.most), f32::max, u32::min),
            least: extreme(groups.map(|b| &b.least), f32::min, u32::max),
        }
    }
}

/// The second half that is extreme in every cell. Sums of losses are those of the first: bounds do not use them.
fn extreme<'a>(
    mut group: impl Iterator<Item = &'a Suffix>,
    pick: fn(f32, f32) -> f32,
    start: fn(u32, u32) -> u32,
) -> Suffix {
    let Some(first) = group.next() else { return Suffix { parts: Vec::new() } };
    let mut all = first.clone();
    for other in group {
        for (part, other) in all.parts.iter_mut().zip(&other.parts) {
            part.excess.iter_mut().zip(&other.excess).for_each(|(a, b)| *a = pick(*a, *b));
            part.starts.iter_mut().zip(&other.starts).for_each(|(a, b)| *a = start(*a, *b));
            part.up_to.iter_mut().zip(&other.up_to).for_each(|(a, b)| a.0 = pick(a.0, b.0));
        }
    }
    all
}

/// Halves by limit and choices.
type Kept<T> = Mutex<HashMap<(usize, Vec<usize>), Arc<T>>>;

/// A scorer that keeps the halves that it has met.
pub struct Exact<'a> {
    pool: &'a Pool,
    formula: Formula,
    grids: Vec<Grid>,
    /// Stages of the first half.
    split: usize,
    prefixes: Kept<Prefix>,
    suffixes: Kept<Suffix>,
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
                // The lowest losses stand last; so little mass there moves no digit of a score.
                let mut left = NEGLIGIBLE_MASS;
                let last = row.iter().rposition(|&m| {
                    left -= m.abs();
                    left < 0.0
                });
                (first as u32, last.map_or(first, |l| l + 1) as u32)
            };
            let spans = mass.chunks(width).map(span).collect();
            let moments = |row: &[f32]| {
                let loss = (0..width).rev().zip(row).map(|(x, m)| x as f32 * m).sum();
                (row.iter().sum(), loss)
            };
            let by_latency = mass.chunks(width).map(moments).collect();
            PrefixPart { mass, spans, by_latency }
        };
        Prefix { parts: (0..self.pool.resolutions.len()).map(part).collect() }
    }

    /// The second half with those choices, under the `number`-th limit.
    pub fn suffix(&self, number: usize, choices: &[usize]) -> Suffix {
        let grid = &self.grids[number];
        let total = grid.span(0..grid.losses.len()) + 1;
        let part = |r: usize| {
            let plane = grid.convolve(self.split, choices, r);
            let mut excess = vec![0.0; plane.latencies * total];
            let mut up_to = Vec::with_capacity(plane.latencies);
            let mut sums = (0.0, 0.0);
            for y in 0..plane.latencies {
                let row = &plane.mass[y * plane.losses..(y + 1) * plane.losses];
                sums.0 += row.iter().sum::<f32>();
                sums.1 += (0..).zip(row).map(|(x, m)| x as f32 * m).sum::<f32>();
                up_to.push(sums);
                // E[(l - L)+] grows by the mass below l.
                let (mut mass, mut value) = (0.0, 0.0);
                for x in 1..total {
                    let before = if y == 0 { 0.0 } else { excess[(y - 1) * total + x] };
                    excess[y * total + x] = before + value;
                    mass += row.get(x - 1).copied().unwrap_or(0.0);
                    value += mass;
                }
            }
            let start = |row: &[f32]| row.iter().position(|&h| h.abs() > NEGLIGIBLE_EXCESS).unwrap_or(total) as u32;
            SuffixPart { starts: excess.chunks(total).map(start).collect(), excess, up_to }
        };
        Suffix { parts: (0..self.pool.resolutions.len()).map(part).collect() }
    }

    /// The score of two halves. `guess` is the cell where the last search ended: the next space's is near.
    pub fn join(&self, number: usize, prefix: &Prefix, suffix: &Suffix, guess: &mut Option<usize>) -> LimitScore {
        let grid = &self.grids[number];
        let (share, sum) = grid.moments(prefix, suffix);
        let from: i64 = grid.loss_from.iter().sum();
        let scored = |cells: f64| self.formula.under(grid.limit, share, Some((cells + from as f64) * grid.loss_step / 1e6));
        // Fewer than one subnet within the limit is to be expected among the draws: the published score finds none.
        if grid.room < 0 || share * (self.formula.draws as f64) < 1.0 {
            return self.formula.under(grid.limit, share.max(0.0), None);
        }
        let tail = self.formula.tail();
        if share <= tail {
            // All of them count.
            return scored(sum / share);
        }
        scored(grid.tail_mean(prefix, suffix, self.split, tail, guess))
    }

    /// What the score of a first half with any second half of a group is at most.
    pub fn at_most(&self, number: usize, prefix: &Prefix, bounds: &Bounds, guesses: &mut [Option<usize>; 2]) -> f64 {
        let grid = &self.grids[number];
        let (most, least) = (grid.moments(prefix, &bounds.most).0, grid.moments(prefix, &bounds.least).0);
        let (tail, one) = (self.formula.tail(), 1.0 / self.formula.draws as f64);
        let mut high = self.formula.under(grid.limit, most.max(0.0), None).score;
        if grid.room < 0 || most < one {
            return high;
        }
        let from: i64 = grid.loss_from.iter().sum();
        let mut under = |share: f64, tail: f64, guess: &mut Option<usize>| {
            let cells = grid.tail_mean(prefix, &bounds.most, self.split, tail, guess);
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
    pub fn at_least(&self, number: usize, prefix: &Prefix, bounds: &Bounds, guess: &mut Option<usize>) -> f64 {
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

/// The maximum of a concave function of a whole number in 0..=most, refined by a parabola through its neighbours. `values` gives the
/// function at a place and both its neighbours.
fn climb(start: usize, most: usize, values: impl Fn(usize) -> [f64; 3]) -> (usize, f64) {
    let mut at = start;
    let mut went = 0;
    let mut longest = most as f64;
    // Rounding can make two neighbours each look higher than the other: either will do.
    let mut turns = 0;
    loop {
        let [left, here, right] = values(at);
        let way = if right > here && at + 1 < most { 1 } else { -isize::from(left > here && at > 1) };
        if way == 0 || turns > 20 {
            let bend = left - 2.0 * here + right;
            let peak = if bend < 0.0 && left <= here && right <= here {
                here - (right - left).powi(2) / (8.0 * bend)
            } else {
                here
            };
            return (at, peak);
        }
        // The mass below l, in units of q, is 1 at the peak and grows about exponentially towards it.
        let (below, above) = (1.0 - (here - left), 1.0 - (right - here));
        let steps = if below > 1e-6 && above > 1.02 * below { -above.ln() / (above / below).ln() } else { 4.0 * way as f64 };
        // Every turn halves what the next step may be, so the climb ends.
        if way != went && went != 0 {
            longest = (longest / 2.0).max(1.0);
            turns += 1;
        }
        went = way;
        let step = (steps * way as f64).round().clamp(1.0, longest) as isize;
        at = at.saturating_add_signed(way * step).clamp(1, most - 1);
    }
}

impl Grid {
    fn new(pool: &Pool, limit: u32, precision: Precision) -> Grid {
        let stages = pool.hyperspace.stages.len();
        let latency_step = f64::from(limit.max(1)) / (f64::from(precision.latency_cells) + 0.5);
        let pairs = |s: usize| {
            (0..pool.choices(s))
                .flat_map(move |i| (0..pool.resolutions.len()).flat_map(move |r| pool.entry(s, i, r).pairs.iter()))
        };
        let range = |s: usize| {
            let (least, most) = pairs(s).fold((u32::MAX, 0), |(a, b), &p| (a.min(loss(p)), b.max(loss(p))));
            f64::from(most.saturating_sub(least))
        };
        let loss_step = f64::from(precision.loss_step).max((0..stages).map(range).sum::<f64>() / MOST_CELLS);
        let cell = |value: u32, step: f64| (f64::from(value) / step).round() as i64;
        let least =
            |s: usize, value: fn(u64) -> u32, step: f64| cell(pairs(s).map(|&p| value(p)).min().unwrap_or(0), step) - 1;
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

    /// The share of subnets within the limit, and the sum of their losses in cells, each times its share.
    fn moments(&self, prefix: &Prefix, suffix: &Suffix) -> (f64, f64) {
        let (mut share, mut sum) = (0.0, 0.0);
        for (a, b) in prefix.parts.iter().zip(&suffix.parts) {
            for (&(mass, loss), &(up_to, losses)) in a.by_latency.iter().zip(b.up_to.iter().rev()) {
                share += f64::from(mass * up_to);
                sum += f64::from(loss * up_to + mass * losses);
            }
        }
        let parts = prefix.parts.len() as f64;
        (share / parts, sum / parts)
    }

    /// The mean loss of the lowest share `tail`, in cells above the least.
    fn tail_mean(&self, prefix: &Prefix, suffix: &Suffix, split: usize, tail: f64, guess: &mut Option<usize>) -> f64 {
        let most = self.span(0..self.losses.len()) - 1;
        let first = self.span(0..split);
        let values = |at: usize| {
            let excess = self.excess(prefix, suffix, first, at);
            [0, 1, 2].map(|i| (at + i) as f64 - 1.0 - excess[i] / tail)
        };
        let (at, best) = climb(guess.unwrap_or(most / 3).clamp(1, most - 1), most, values);
        *guess = Some(at);
        best
    }

    /// `G` at the cell of loss before `at`, at it, and behind it, in cells; `at` is at least 1 and not the last one.
    fn excess(&self, prefix: &Prefix, suffix: &Suffix, first: usize, at: usize) -> [f64; 3] {
        let latencies = (self.room + 1).max(1) as usize;
        let total = suffix.parts[0].excess.len() / latencies;
        let mut sums = [0.0; 3];
        for (a, b) in prefix.parts.iter().zip(&suffix.parts) {
            for (y, &(begin, end)) in a.spans.iter().enumerate() {
                let row = latencies - 1 - y;
                // The i-th mass, counted backwards, meets H at `at - (first - 1 - i)` and its neighbours: begin where there is a
                // cell for all of them, and where the last is not 0.
                let there = (first - 1).saturating_sub(at);
                let filled = (first + b.starts[row] as usize).saturating_sub(at + 3);
                let begin = (begin as usize).max(there).max(filled);
                if begin >= end as usize {
                    continue;
                }
                let masses = &a.mass[y * first + begin..y * first + end as usize];
                let start = row * total + at + begin + 1 - first;
                let three = dots(masses, &b.excess[start..start + masses.len() + 2]);
                sums.iter_mut().zip(three).for_each(|(sum, d)| *sum += f64::from(d));
            }
        }
        sums.map(|s| s / prefix.parts.len() as f64)
    }
}

/// Weights of three neighbouring cells that keep total, mean and variance of a point; the first cell is counted from `from`.
fn three_points(value: f64, from: i64) -> (i64, [f64; 3]) {
    let nearest = value.round();
    let f = value - nearest;
    (nearest as i64 - from - 1, [(f * f - f) / 2.0, 1.0 - f * f, (f * f + f) / 2.0])
}

/// Sums of products of `a` with `b`, with `b` from its second and from its third number on. In four independent sums each: always in
/// the same order, and fit for vector registers.
fn dots(a: &[f32], b: &[f32]) -> [f32; 3] {
    let mut sums = [[0.0_f32; 4]; 3];
    let chunks = a.chunks_exact(4);
    let rest = a.len() - chunks.remainder().len();
    for (x, y) in chunks.zip(b.windows(6).step_by(4)) {
        for (shift, sums) in sums.iter_mut().enumerate() {
            for i in 0..4 {
                sums[i] += x[i] * y[i + shift];
            }
        }
    }
    let mut totals = sums.map(|s| (s[0] + s[1]) + (s[2] + s[3]));
    for i in rest..a.len() {
        for (shift, total) in totals.iter_mut().enumerate() {
            *total += a[i] * b[i + shift];
        }
    }
    totals
}
