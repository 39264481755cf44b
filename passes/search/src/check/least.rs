//! What a score is at least: for the rows themselves, so that no grid has a part in it.
//!
//! Latencies are rounded up to cells, so what is within the limit then is so in truth. Losses are put into cells only to say which
//! subnets come first; their means are those of the rows. The mean loss that a score is of is the least of all
//!
//! ```text
//! Lbar = min of E[w L] / q    over weights 0 <= w <= 1 that are 0 beyond the limit, with E[w] = q
//! ```
//!
//! so that any such weights bound it from above: here those of the lowest cells.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::score::Formula;

/// Cells of latency below a limit: rounding up six stages takes 0.15 % of the limit away in the mean.
const LATENCIES: u64 = 2000;
/// Loss of a cell in millionths, and cells that losses of all stages have together at most.
const LOSS: u64 = 10_000;
const LOSSES: u64 = 1000;

/// The rows (loss in millionths, nanoseconds) of one choice, by resolution.
pub type Rows = Vec<Vec<(u64, u64)>>;

/// What the score of a space is at least whose stages have those rows.
pub fn least_score(formula: &Formula, stages: &[&Rows]) -> f64 {
    let scores: Vec<f64> = formula.limits.iter().map(|&limit| least_under(formula, limit, stages)).collect();
    // Sums of millions of numbers in double precision are off by far less than that.
    scores.iter().sum::<f64>() * (1.0 - 1e-9)
}

fn least_under(formula: &Formula, limit: u32, stages: &[&Rows]) -> f64 {
    let (tail, within) = (formula.tail(), Within::new(limit, stages, u64::div_ceil));
    let share: f64 = within.0.iter().map(|c| c.mass).sum();
    if share * (formula.draws as f64) < 1.0 {
        return 0.0;
    }
    if share <= tail {
        // Perhaps all that are within the limit count: they are at least this share, and at most those that are within it when
        // latencies are rounded down.
        let all = Within::new(limit, stages, |a, b| a / b);
        return formula.under(limit, share, Some(all.0.iter().map(|c| c.sum).sum::<f64>() / share)).score;
    }
    let (mut left, mut sum) = (tail, 0.0);
    for cell in within.0.iter().filter(|c| c.mass > 0.0) {
        let part = (left / cell.mass).min(1.0);
        sum += part * cell.sum;
        left -= part * cell.mass;
        if left <= 0.0 {
            break;
        }
    }
    formula.under(limit, share, Some(sum / tail)).score
}

/// The mass of a cell, and the sum of mass times loss.
#[derive(Clone, Copy, Default)]
struct Cell {
    mass: f64,
    sum: f64,
}

/// What is within a limit, by cell of loss, lowest first.
struct Within(Vec<Cell>);

impl Within {
    fn new(limit: u32, stages: &[&Rows], rounded: fn(u64, u64) -> u64) -> Within {
        let resolutions = stages.first().map_or(0, |rows| rows.len());
        let span = |rows: &Rows| {
            let all = || rows.iter().flatten().map(|row| row.0);
            all().max().unwrap_or(0) - all().min().unwrap_or(0)
        };
        let step = LOSS.max(stages.iter().map(|rows| span(rows)).sum::<u64>().div_ceil(LOSSES));
        let cells = |rows: &Rows, r: usize| -> BTreeMap<(usize, usize), Cell> {
            let least = rows.iter().flatten().map(|row| row.0).min().unwrap_or(0);
            let mut cells = BTreeMap::<_, Cell>::new();
            for &(loss, ns) in &rows[r] {
                let at = (rounded(ns * LATENCIES, u64::from(limit.max(1))) as usize, ((loss - least) / step) as usize);
                let (cell, mass) = (cells.entry(at).or_default(), 1.0 / rows[r].len() as f64);
                cell.mass += mass;
                cell.sum += mass * loss as f64 / 1e6;
            }
            cells
        };
        let at = |r: usize| {
            let stages: Vec<_> = stages.iter().map(|rows| cells(rows, r)).collect();
            let (first, second) = stages.split_at(stages.len().div_ceil(2));
            Plane::of(first).joined(&Plane::of(second))
        };
        let by_resolution: Vec<Vec<Cell>> = (0..resolutions).into_par_iter().map(at).collect();
        let mut all = vec![Cell::default(); by_resolution.iter().map(Vec::len).max().unwrap_or(0)];
        for cell in by_resolution.iter().flat_map(|cells| cells.iter().enumerate()) {
            all[cell.0].mass += cell.1.mass / resolutions as f64;
            all[cell.0].sum += cell.1.sum / resolutions as f64;
        }
        Within(all)
    }
}

/// Some stages together, `[latency][loss]`, without what takes longer than the limit.
struct Plane {
    from: usize,
    losses: usize,
    cells: Vec<Cell>,
}

impl Plane {
    fn of(stages: &[BTreeMap<(usize, usize), Cell>]) -> Plane {
        let mut plane = Plane { from: 0, losses: 1, cells: vec![Cell { mass: 1.0, sum: 0.0 }] };
        for stage in stages {
            let latencies = || stage.keys().map(|at| at.0);
            let (Some(least), Some(most)) = (latencies().min(), latencies().max()) else { continue };
            let from = plane.from + least;
            let rows = plane.cells.len() / plane.losses;
            let room = (LATENCIES as usize + 1).saturating_sub(from).min(rows + most - least);
            let losses = plane.losses + stage.keys().map(|at| at.1).max().unwrap_or(0);
            let mut cells = vec![Cell::default(); room * losses];
            for (&(down, right), own) in stage {
                let targets = cells.chunks_mut(losses).skip(down - least);
                for (target, source) in targets.zip(plane.cells.chunks(plane.losses)) {
                    for (to, c) in target[right..].iter_mut().zip(source) {
                        to.mass += own.mass * c.mass;
                        to.sum += own.mass * c.sum + own.sum * c.mass;
                    }
                }
            }
            plane = Plane { from, losses, cells };
        }
        plane
    }

    /// Both within the limit together, by loss.
    fn joined(&self, other: &Plane) -> Vec<Cell> {
        let mut up_to = other.cells.clone();
        for at in other.losses..up_to.len() {
            let before = up_to[at - other.losses];
            up_to[at].mass += before.mass;
            up_to[at].sum += before.sum;
        }
        let rows: Vec<&[Cell]> = up_to.chunks(other.losses).collect();
        let mut all = vec![Cell::default(); self.losses + other.losses - 1];
        for (y, row) in self.cells.chunks(self.losses).enumerate() {
            let left = (LATENCIES as usize).checked_sub(self.from + y + other.from);
            let Some(reached) = left.and_then(|left| rows.get(left.min(rows.len().saturating_sub(1)))) else { continue };
            for (x, a) in row.iter().enumerate().filter(|(_, a)| a.mass > 0.0) {
                for (to, b) in all[x..].iter_mut().zip(*reached) {
                    to.mass += a.mass * b.mass;
                    to.sum += a.mass * b.sum + a.sum * b.mass;
                }
            }
        }
        all
    }
}
