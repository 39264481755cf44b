//! Which missing table to evaluate next: the one that could improve the best subnet most.
//!
//! A table that is not there yet is given the benefit of the doubt: a row with the least loss and the least latency that is known of
//! its block type at that stage, or, where nothing is known of it, of any. Merging all fronts again takes milliseconds, so a search
//! can follow every row that arrives.

use serde::Serialize;

use crate::front::{Point, extend, front, within};
use crate::pool::{Pool, latency, loss};
use crate::tables::Tables;

/// A table that is missing.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Wish {
    /// File name.
    pub table: String,
    /// By how much it would lower the least loss within the limit, were it as good as it can be expected to be.
    pub gain: f64,
}

/// The missing tables, the most promising first; without a gain those that cannot change the best subnet within the limit.
pub fn next(tables: &Tables, pool: &Pool, limit: u64) -> Vec<Wish> {
    let stages = pool.hyperspace.stages.len();
    let points = |s: usize, r: usize, keep: &dyn Fn(usize) -> bool| -> Vec<Point> {
        let all = (0..pool.choices(s)).filter(|&i| keep(i)).flat_map(|i| &pool.entry(s, i, r).pairs);
        front(all.map(|&p| Point { latency: latency(p).into(), loss: loss(p).into(), from: 0, item: 0 }).collect())
    };
    let nothing = vec![Point { latency: 0, loss: 0, from: 0, item: 0 }];
    let resolutions = 0..pool.resolutions.len();
    // The front of all stages but one.
    let others = |s: usize, r: usize| {
        let rest = (0..stages).filter(|&other| other != s);
        rest.fold(nothing.clone(), |so_far, other| extend(&so_far, &points(other, r, &|_| true)))
    };
    let best = |s: usize, r: usize, rest: &[Point]| {
        let all = extend(rest, &points(s, r, &|_| true));
        within(&all, limit).map(|(_, p)| p.loss)
    };
    let mut wishes = Vec::new();
    for s in 0..stages {
        let gaps: Vec<_> = tables.gaps.iter().filter(|g| g.place.0 == s).collect();
        if gaps.is_empty() {
            continue;
        }
        let rests: Vec<Vec<Point>> = resolutions.clone().map(|r| others(s, r)).collect();
        let now = resolutions.clone().filter_map(|r| best(s, r, &rests[r])).min();
        for gap in gaps {
            let windows = pool.hyperspace.stages[s].windows();
            let hoped = |r: usize| {
                let own = points(s, r, &|i| i / windows == gap.place.1);
                let known = if own.is_empty() { points(s, r, &|_| true) } else { own };
                let (fastest, lowest) = (known.first()?.latency, known.last()?.loss);
                within(&rests[r], limit.checked_sub(fastest)?).map(|(_, p)| p.loss + lowest)
            };
            let hope = resolutions
                .clone()
                .filter(|&r| gap.resolution.is_none_or(|g| g == pool.resolutions[r]))
                .filter_map(hoped)
                .min();
            let gain = match (now, hope) {
                (Some(now), Some(hope)) => now.saturating_sub(hope) as f64 / 1e6,
                // Nothing is within the limit now, and something could be.
                (None, Some(_)) => f64::INFINITY,
                _ => 0.0,
            };
            wishes.push(Wish { table: gap.name.clone(), gain });
        }
    }
    wishes.sort_by(|a, b| b.gain.total_cmp(&a.gain).then(a.table.cmp(&b.table)));
    wishes
}
