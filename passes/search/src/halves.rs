//! Halves of spaces: what is shared between all spaces that begin alike, or end alike.

use crate::grid::Grid;
use crate::tail::{BEFORE, BEHIND, LANES};

/// Mass at the low end of a row of the first half that is left out. With the next: a loss is moved by less than 0.00005.
const NEGLIGIBLE_MASS: f32 = 1e-9;
/// Excess of the second half, in cells, that is left out.
const NEGLIGIBLE_EXCESS: f32 = 1e-6;

/// The first stages of a space, under one limit, by resolution.
pub struct Prefix {
    pub(crate) parts: Vec<PrefixPart>,
    /// Cells of loss.
    pub(crate) losses: usize,
    /// The cell where the search for a score ends with a second half that many others are like.
    pub(crate) place: usize,
}

pub(crate) struct PrefixPart {
    /// `[latency][loss]`, the losses backwards, so that both factors of a sum are read forwards; each row is followed by nothing.
    pub(crate) mass: Vec<f32>,
    /// Where masses that are not 0 begin and end, by latency.
    pub(crate) spans: Vec<(u32, u32)>,
    /// Mass by latency, and the sum of mass times loss.
    pub(crate) by_latency: Vec<(f32, f32)>,
}

/// The last stages of a space, under one limit, by resolution.
#[derive(Clone)]
pub struct Suffix {
    pub(crate) parts: Vec<SuffixPart>,
}

#[derive(Clone)]
pub(crate) struct SuffixPart {
    /// `H`, `[latency][loss]`; every row begins below the least loss and ends above the highest.
    pub(crate) excess: Vec<f32>,
    /// Where `H` begins to be more than 0, by latency.
    pub(crate) starts: Vec<u32>,
    /// Mass up to a latency, and the sum of mass times loss.
    pub(crate) up_to: Vec<(f32, f32)>,
}

/// Bounds on a group of second halves, cell by cell: what a score can be at most and at least with any of them.
pub struct Bounds {
    pub(crate) most: Suffix,
    pub(crate) least: Suffix,
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

impl Grid {
    /// The first stages with those choices.
    pub(crate) fn prefix(&self, choices: &[usize]) -> Prefix {
        let losses = self.span(0..choices.len());
        let part = |r: usize| {
            let mut mass = self.convolve(0, choices, r).mass;
            mass.chunks_mut(losses).for_each(<[f32]>::reverse);
            let rows = mass.chunks(losses);
            let moments = |row: &[f32]| {
                let loss = (0..losses).rev().zip(row).map(|(x, m)| x as f32 * m).sum();
                (row.iter().sum(), loss)
            };
            PrefixPart {
                spans: rows.clone().map(span).collect(),
                by_latency: rows.clone().map(moments).collect(),
                mass: rows.flat_map(|row| row.iter().copied().chain([0.0; LANES])).collect(),
            }
        };
        Prefix { parts: (0..self.resolutions).map(part).collect(), losses, place: 0 }
    }

    /// The stages from `first` on with those choices.
    pub(crate) fn suffix(&self, first: usize, choices: &[usize]) -> Suffix {
        let length = self.span(0..self.losses.len()) + BEFORE + BEHIND;
        let part = |r: usize| {
            let plane = self.convolve(first, choices, r);
            // What is read behind the last row meets masses of nothing.
            let mut excess = vec![0.0; plane.latencies * length];
            let mut up_to = Vec::with_capacity(plane.latencies);
            let mut sums = (0.0, 0.0);
            for y in 0..plane.latencies {
                let row = &plane.mass[y * plane.losses..(y + 1) * plane.losses];
                sums.0 += row.iter().sum::<f32>();
                sums.1 += (0..).zip(row).map(|(x, m)| x as f32 * m).sum::<f32>();
                up_to.push(sums);
                // E[(l - L)+] grows by the mass below l.
                let (mut mass, mut value) = (0.0, 0.0);
                for x in BEFORE..length {
                    let before = if y == 0 { 0.0 } else { excess[(y - 1) * length + x] };
                    excess[y * length + x] = before + value;
                    mass += row.get(x - BEFORE).copied().unwrap_or(0.0);
                    value += mass;
                }
            }
            let start = |row: &[f32]| row.iter().position(|&h| h.abs() > NEGLIGIBLE_EXCESS).unwrap_or(length) as u32;
            let starts = excess.chunks(length).map(start).collect();
            excess.extend([0.0; LANES]);
            SuffixPart { starts, excess, up_to }
        };
        Suffix { parts: (0..self.resolutions).map(part).collect() }
    }
}

/// Where the masses of a row begin and end that are not 0.
fn span(row: &[f32]) -> (u32, u32) {
    let first = row.iter().position(|&m| m != 0.0).unwrap_or(0);
    // The lowest losses stand last; so little mass there moves no digit of a score.
    let mut left = NEGLIGIBLE_MASS;
    let last = row.iter().rposition(|&m| {
        left -= m.abs();
        left < 0.0
    });
    (first as u32, last.map_or(first, |l| l + 1) as u32)
}
