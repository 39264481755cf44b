//! The Q-T score as published: from random subnets whose stages are drawn, independently, from the tables.
//!
//! Every batch of draws has one resolution and a random stream of its own, so any number of threads gives the same bits. Six picks
//! take two random numbers of 64 bits, one addition each, and no division: 21 bits a pick, off from uniform by under 1 in 5000.

use std::collections::BinaryHeap;

use rayon::prelude::*;

use crate::hyperspace::Choice;
use crate::pool::{Item, Pair, Pool, latency, loss};
use crate::random::Random;
use crate::score::{Formula, LimitScore, Score};

/// Batches that one task takes.
const TASK: usize = 25;

/// How to draw.
#[derive(Clone, PartialEq, Debug)]
pub struct Sampling {
    /// Draws with one resolution.
    pub batch: usize,
    /// Seed.
    pub seed: u64,
    /// Use the same random numbers for every space (common random numbers): differences of scores are less noisy.
    pub common: bool,
    /// Draw only rows whose input width is the output width of the row before.
    pub consistent: bool,
}

impl Default for Sampling {
    /// As published; seed 0.
    fn default() -> Sampling {
        Sampling { batch: 500, seed: 0, common: false, consistent: false }
    }
}

/// What some batches came to.
struct Part {
    feasible: u64,
    best: BinaryHeap<u32>,
}

impl Part {
    fn keep(&mut self, loss: u32, top: usize) {
        if self.best.len() < top {
            self.best.push(loss);
        } else if self.best.peek().is_some_and(|&worst| loss < worst) {
            self.best.pop();
            self.best.push(loss);
        }
    }

    /// Losses at or above this are not among the best.
    fn bound(&self, top: usize) -> u32 {
        if self.best.len() < top { u32::MAX } else { self.best.peek().copied().unwrap_or(0) }
    }
}

/// Scores a space by sampling.
///
/// The space must have rows everywhere ([`Pool::covers`]).
pub fn score(pool: &Pool, choice: &Choice, formula: &Formula, sampling: &Sampling) -> Score {
    let space = if sampling.common { 0 } else { pool.hyperspace.index_of(choice) as u64 + 1 };
    let under = |(number, &limit): (usize, &u32)| -> LimitScore {
        let part = draw(pool, choice, formula, sampling, [sampling.seed, space, number as u64], limit);
        let count = part.best.len() as f64;
        let sum: f64 = part.best.iter().map(|&l| f64::from(l)).sum::<f64>() / 1e6;
        let loss = (count > 0.0).then_some(sum / (count + 1e-5));
        formula.under(limit, part.feasible as f64 / formula.draws as f64, loss)
    };
    formula.sum(formula.limits.par_iter().enumerate().map(under).collect())
}

/// Random subnets of a space, as pairs of loss and latency; every resolution alike.
pub fn draws(pool: &Pool, choice: &Choice, count: usize, seed: u64) -> Vec<Pair> {
    let mut random = Random::new(&[seed, pool.hyperspace.index_of(choice) as u64]);
    let stages = pool.hyperspace.stages.len();
    let one = |_| {
        let r = random.below(pool.resolutions.len());
        let stage = |s: usize| *random.pick(&pool.entry(s, pool.choice_index(choice, s), r).pairs);
        (0..stages).map(stage).sum::<Pair>()
    };
    (0..count).map(one).collect()
}

fn draw(pool: &Pool, choice: &Choice, formula: &Formula, sampling: &Sampling, names: [u64; 3], limit: u32) -> Part {
    let stages = pool.hyperspace.stages.len();
    let indices: Vec<usize> = (0..stages).map(|s| pool.choice_index(choice, s)).collect();
    let rows = |r: usize| -> Vec<Vec<Pair>> {
        let own = |s: usize| pool.entry(s, indices[s], r).pairs.clone();
        (0..stages).map(|s| if sampling.common { coupled(own(s)) } else { own(s) }).collect()
    };
    let rows: Vec<_> = (0..pool.resolutions.len()).map(rows).collect();
    let lists: Vec<Vec<&[Pair]>> = rows.iter().map(|r| r.iter().map(Vec::as_slice).collect()).collect();
    let joined = |r: usize| Joined::new((0..stages).map(|s| pool.entry(s, indices[s], r).items.as_slice()));
    let joined: Vec<Joined> = if sampling.consistent { (0..lists.len()).map(joined).collect() } else { Vec::new() };
    let batches = formula.draws.div_ceil(sampling.batch);
    let task = |first: usize| {
        let mut part = Part { feasible: 0, best: BinaryHeap::with_capacity(formula.top) };
        for batch in first..(first + TASK).min(batches) {
            let mut random = Random::new(&[names[0], names[1], names[2], batch as u64]);
            let count = sampling.batch.min(formula.draws - batch * sampling.batch);
            let r = random.below(lists.len());
            match joined.get(r) {
                Some(joined) => joined.draw(&mut random, count, limit, formula.top, &mut part),
                None => draw_batch(&lists[r], &mut random, count, limit, formula.top, &mut part),
            }
        }
        part
    };
    let starts: Vec<usize> = (0..batches).step_by(TASK).collect();
    let merge = |mut a: Part, b: Part| {
        a.feasible += b.feasible;
        b.best.into_iter().for_each(|l| a.keep(l, formula.top));
        a
    };
    let empty = || Part { feasible: 0, best: BinaryHeap::new() };
    starts.into_par_iter().map(task).reduce(empty, merge)
}

/// Rows in an order in which the same random number picks similar rows of two tables: by loss, in as many groups as each has rows, and
/// by latency within a group.
fn coupled(mut rows: Vec<Pair>) -> Vec<Pair> {
    rows.sort_unstable();
    let size = rows.len().isqrt().max(1);
    rows.chunks_mut(size).for_each(|g| g.sort_by_key(|&p| (latency(p), loss(p))));
    rows
}

/// Dispatches on the number of stages, so that the loop over them is unrolled.
fn draw_batch(lists: &[&[Pair]], random: &mut Random, count: usize, limit: u32, top: usize, part: &mut Part) {
    match lists.len() {
        3 => draw_fixed::<3>(lists, random, count, limit, top, part),
        4 => draw_fixed::<4>(lists, random, count, limit, top, part),
        5 => draw_fixed::<5>(lists, random, count, limit, top, part),
        6 => draw_fixed::<6>(lists, random, count, limit, top, part),
        7 => draw_fixed::<7>(lists, random, count, limit, top, part),
        _ => {
            for _ in 0..count {
                let sum = lists.chunks(3).map(|lists| three(lists, random.next())).sum();
                consider(sum, limit, top, part);
            }
        }
    }
}

fn draw_fixed<const N: usize>(
    lists: &[&[Pair]],
    random: &mut Random,
    count: usize,
    limit: u32,
    top: usize,
    part: &mut Part,
) {
    let Ok(lists) = <[&[Pair]; N]>::try_from(lists) else { return };
    let mut own = random.clone();
    let mut bound = part.bound(top);
    let mut feasible = 0_u64;
    for _ in 0..count {
        let mut sum = 0;
        for lists in lists.chunks(3) {
            sum += three(lists, own.next());
        }
        let within = latency(sum) <= limit;
        feasible += u64::from(within);
        if within & (loss(sum) < bound) {
            part.keep(loss(sum), top);
            bound = part.bound(top);
        }
    }
    part.feasible += feasible;
}

/// One row of each of up to three lists.
#[inline(always)]
fn three(lists: &[&[Pair]], bits: u64) -> Pair {
    let pick = |i: usize| {
        lists.get(i).map_or(0, |list| list[(((bits >> (21 * i) & 0x1f_ffff) * list.len() as u64) >> 21) as usize])
    };
    pick(0) + pick(1) + pick(2)
}

fn consider(sum: Pair, limit: u32, top: usize, part: &mut Part) {
    if latency(sum) <= limit {
        part.feasible += 1;
        part.keep(loss(sum), top);
    }
}

/// The rows of each input width.
type Widths = Vec<(u32, std::ops::Range<usize>)>;

/// Rows by input width, for draws whose widths agree.
struct Joined {
    /// By stage: rows sorted by input width, and the range of each width.
    stages: Vec<(Vec<Item>, Widths)>,
}

impl Joined {
    fn new<'a>(stages: impl Iterator<Item = &'a [Item]>) -> Joined {
        let stage = |items: &[Item]| {
            let mut items = items.to_vec();
            items.sort_unstable_by_key(|i| (i.channels, i.pair, i.width, i.row));
            let mut ranges = Widths::new();
            for group in items.chunk_by(|a, b| a.channels == b.channels) {
                let start = ranges.last().map_or(0, |(_, r)| r.end);
                ranges.push((group[0].channels, start..start + group.len()));
            }
            (items, ranges)
        };
        Joined { stages: stages.map(stage).collect() }
    }

    /// A draw that meets a width without rows counts as one that is not within the limit.
    fn draw(&self, random: &mut Random, count: usize, limit: u32, top: usize, part: &mut Part) {
        'draws: for _ in 0..count {
            let mut sum = 0;
            let mut width = None;
            for (items, ranges) in &self.stages {
                let range = match width {
                    None => 0..items.len(),
                    Some(w) => match ranges.iter().find(|(c, _)| *c == w) {
                        Some((_, range)) => range.clone(),
                        None => continue 'draws,
                    },
                };
                let item = &items[range.start + random.below(range.len())];
                sum += item.pair;
                width = Some(item.width);
            }
            consider(sum, limit, top, part);
        }
    }
}
