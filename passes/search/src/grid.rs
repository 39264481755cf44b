//! Distributions of loss and latency on a grid, under one limit.
//!
//! A row is spread over 3 x 3 cells so that mean and variance of both its numbers stay exact, and what the grid adds is of third
//! order; the limit lies in the middle between two cells. What is left is measured by halving the steps.

use std::collections::HashMap;

use rayon::prelude::*;

use crate::pool::{Pool, latency, loss};

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

/// Cells of loss that all stages together have at most: where losses differ more, cells are larger.
const MOST_CELLS: f64 = 4000.0;

/// One cell of a stage's distribution: its place and mass.
pub(crate) type Cell = (u32, u32, f32);

/// The grid of one limit.
pub(crate) struct Grid {
    pub(crate) limit: u32,
    pub(crate) resolutions: usize,
    pub(crate) loss_step: f64,
    /// Least loss of every stage, in cells.
    pub(crate) loss_from: Vec<i64>,
    /// Cells of every stage's losses.
    pub(crate) losses: Vec<usize>,
    /// Cells of latency that both halves may use together, above the least ones; negative where nothing fits.
    pub(crate) room: i64,
    /// Cells by stage, choice and resolution.
    pub(crate) cells: Vec<Vec<Vec<Vec<Cell>>>>,
}

/// A distribution on the grid, at one resolution.
pub(crate) struct Plane {
    pub(crate) losses: usize,
    pub(crate) latencies: usize,
    /// `[latency][loss]`
    pub(crate) mass: Vec<f32>,
}

impl Grid {
    pub(crate) fn new(pool: &Pool, limit: u32, precision: Precision) -> Grid {
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
        Grid { limit, resolutions: pool.resolutions.len(), loss_step, loss_from, losses, room, cells }
    }

    /// Rows of cells that a distribution has.
    pub(crate) fn latencies(&self) -> usize {
        (self.room + 1).max(1) as usize
    }

    /// Cells of losses that stages have together.
    pub(crate) fn span(&self, stages: std::ops::Range<usize>) -> usize {
        self.losses[stages].iter().map(|n| n - 1).sum::<usize>() + 1
    }

    /// The distribution of consecutive stages.
    pub(crate) fn convolve(&self, from: usize, choices: &[usize], resolution: usize) -> Plane {
        let latencies = self.latencies();
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
}

/// Weights of three neighbouring cells that keep total, mean and variance of a point; the first cell is counted from `from`.
fn three_points(value: f64, from: i64) -> (i64, [f64; 3]) {
    let nearest = value.round();
    let f = value - nearest;
    (nearest as i64 - from - 1, [(f * f - f) / 2.0, 1.0 - f * f, (f * f + f) / 2.0])
}
