//! The best subnet of a whole hyperspace, for any limit, by merging Pareto fronts.
//!
//! The best subnet uses, at every stage, a row that no other row of that stage beats in both loss and latency, whatever block and
//! window it belongs to; so the front of a few stages is the front of sums of their fronts. The front of the first half and that
//! of the second are kept, and a limit is answered by one walk along both.

use rayon::prelude::*;
use serde::Serialize;
use spaceevo_ir::Diagnostic;

use crate::front::{Point, best_pair, extend, front};
use crate::hyperspace::Choice;
use crate::pool::{Pool, latency, loss};
use crate::tables::Tables;

/// Which row of which table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pick {
    /// Choice of the stage: `block * windows + window`.
    pub choice: usize,
    /// Number of the row in its table.
    pub row: u32,
}

/// A subnet made of rows: one for each stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Loss in millionths, with all terms.
    pub loss: u64,
    /// Latency in nanoseconds, with the parts that are not searched.
    pub latency: u64,
    /// Height and width of the picture.
    pub resolution: u32,
    /// One row for each stage.
    pub picks: Vec<Pick>,
}

/// Fronts at one resolution.
struct Fronts {
    /// Rows that no other of the same stage beats, by stage; `from` is the choice, `item` the row.
    stages: Vec<Vec<Point>>,
    /// Fronts of the first 1, 2, ... stages.
    prefixes: Vec<Vec<Point>>,
    /// Fronts of the last 1, 2, ... stages.
    suffixes: Vec<Vec<Point>>,
}

/// All that is needed to answer any limit.
pub struct Best<'a> {
    pool: &'a Pool,
    fronts: Vec<Fronts>,
    split: usize,
}

impl<'a> Best<'a> {
    /// Merges the fronts of a pool.
    pub fn new(pool: &'a Pool) -> Best<'a> {
        let stages = pool.hyperspace.stages.len();
        let split = stages.div_ceil(2);
        let at = |r: usize| {
            let stage_front = |s: usize| {
                let point = |i: usize| {
                    let item = move |item: &crate::pool::Item| Point {
                        latency: u64::from(latency(item.pair)),
                        loss: u64::from(loss(item.pair)),
                        from: i as u32,
                        item: item.row,
                    };
                    // Rows are sorted by loss: those that are not faster than all before are beaten.
                    let mut fastest = u32::MAX;
                    let ahead = move |item: &&crate::pool::Item| {
                        let faster = latency(item.pair) < fastest;
                        fastest = fastest.min(latency(item.pair));
                        faster
                    };
                    pool.entry(s, i, r).items.iter().filter(ahead).map(item).collect::<Vec<_>>()
                };
                front((0..pool.choices(s)).flat_map(point).collect())
            };
            let fronts: Vec<Vec<Point>> = (0..stages).map(stage_front).collect();
            let chain = |order: &mut dyn Iterator<Item = usize>| {
                let mut chained: Vec<Vec<Point>> = Vec::new();
                for stage in order {
                    let start = [Point { latency: 0, loss: 0, from: 0, item: 0 }];
                    let next = extend(chained.last().map_or(&start, Vec::as_slice), &fronts[stage]);
                    chained.push(next);
                }
                chained
            };
            let (prefixes, suffixes) = rayon::join(|| chain(&mut (0..split)), || chain(&mut (split..stages).rev()));
            Fronts { prefixes, suffixes, stages: fronts }
        };
        Best { pool, fronts: (0..pool.resolutions.len()).into_par_iter().map(at).collect(), split }
    }

    /// The best subnet within a limit in nanoseconds; of equal ones the one at the smallest resolution.
    pub fn within(&self, limit: u64) -> Option<Found> {
        let each = self.fronts.iter().enumerate().filter_map(|(r, f)| self.at(r, f, limit));
        each.min_by_key(|f| (f.loss, f.resolution))
    }

    /// The best subnet at each resolution.
    pub fn by_resolution(&self, limit: u64) -> Vec<Found> {
        self.fronts.iter().enumerate().filter_map(|(r, f)| self.at(r, f, limit)).collect()
    }

    /// The best subnets for limits from the least latency of all to the one beyond which nothing improves, evenly spaced.
    pub fn curve(&self, budgets: usize) -> Vec<Found> {
        let first = self.fronts.iter().filter_map(|f| {
            let rest = f.suffixes.last().map_or(Some(0), |b| b.first().map(|p| p.latency));
            Some(f.prefixes.last()?.first()?.latency + rest?)
        });
        let (Some(first), Some(last)) = (first.min(), self.within(u64::MAX)) else { return Vec::new() };
        let steps = budgets.saturating_sub(1).max(1) as u64;
        (0..budgets as u64).filter_map(|i| self.within(first + (last.latency - first) * i / steps)).collect()
    }

    fn at(&self, r: usize, fronts: &Fronts, limit: u64) -> Option<Found> {
        let nothing = [Point { latency: 0, loss: 0, from: 0, item: 0 }];
        let (a, b) = (fronts.prefixes.last()?, fronts.suffixes.last().map_or(&nothing[..], Vec::as_slice));
        let (loss, i, j) = best_pair(a, b, limit)?;
        let mut picks = Vec::with_capacity(fronts.stages.len());
        let mut follow = |chain: &[Vec<Point>], mut at: usize, stage: &dyn Fn(usize) -> usize| {
            for depth in (0..chain.len()).rev() {
                let point = chain[depth][at];
                let item = fronts.stages[stage(depth)][point.item as usize];
                picks.push((stage(depth), Pick { choice: item.from as usize, row: item.item }));
                at = point.from as usize;
            }
        };
        follow(&fronts.prefixes, i, &|depth| depth);
        let last = fronts.stages.len() - 1;
        follow(&fronts.suffixes, j, &|depth| last - depth);
        picks.sort_unstable_by_key(|(stage, _)| *stage);
        Some(Found {
            loss,
            latency: a[i].latency + b[j].latency,
            resolution: self.pool.resolutions[r],
            picks: picks.into_iter().map(|(_, pick)| pick).collect(),
        })
    }

    /// Fronts of the first 1, 2, ... stages at the `r`-th resolution, up to the last but one: what a proof consists of.
    pub(crate) fn bounds(&self, r: usize) -> Vec<Vec<Point>> {
        let fronts = &self.fronts[r];
        let mut chained = fronts.prefixes.clone();
        for stage in self.split..fronts.stages.len() - 1 {
            let next = extend(&chained[stage - 1], &fronts.stages[stage]);
            chained.push(next);
        }
        chained.truncate(fronts.stages.len() - 1);
        chained
    }
}

/// A subnet made of rows, for people and scripts.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Described {
    /// Loss, with all terms.
    pub loss: f64,
    /// Milliseconds, with the parts that are not searched.
    pub latency_ms: f64,
    /// Height and width of the picture.
    pub resolution: u32,
    /// The space that the rows are of.
    pub space: String,
    /// Millions of multiply-accumulates of the searched stages.
    pub mmacs: f64,
    /// Millions of parameters of the searched stages.
    pub mparams: f64,
    /// The blocks of every stage.
    pub stages: Vec<String>,
}

impl Found {
    /// The space that the rows are of.
    pub fn choice(&self, pool: &Pool) -> Choice {
        let windows = |s: usize| pool.hyperspace.stages[s].windows();
        let each = |f: fn(usize, usize) -> usize| {
            self.picks.iter().enumerate().map(|(s, p)| f(p.choice, windows(s)) as u8).collect::<Vec<u8>>()
        };
        Choice { blocks: each(|c, w| c / w), windows: each(|c, w| c % w) }
    }

    /// Looks the rows up.
    ///
    /// Errors: `table-gap` where a row is not there; never for what was found in the same tables.
    pub fn describe(&self, pool: &Pool, tables: &Tables) -> Result<Described, Diagnostic> {
        let choice = self.choice(pool);
        let mut described = Described {
            loss: self.loss as f64 / 1e6,
            latency_ms: self.latency as f64 / 1e6,
            resolution: self.resolution,
            space: pool.hyperspace.print_choice(&choice),
            mmacs: 0.0,
            mparams: 0.0,
            stages: Vec::new(),
        };
        for (s, pick) in self.picks.iter().enumerate() {
            let table = tables.table(s, usize::from(choice.blocks[s]), usize::from(choice.windows[s]));
            let row = table.and_then(|t| t.rows.get(pick.row as usize).map(|row| (t, row)));
            let Some((table, row)) = row else {
                let gap = crate::tables::Gap {
                    place: (s, usize::from(choice.blocks[s]), usize::from(choice.windows[s])),
                    name: pool.hyperspace.stages[s].name.clone(),
                    resolution: None,
                };
                return Err(gap.diagnostic());
            };
            described.mmacs += row.macs as f64 / 1e6;
            described.mparams += row.params as f64 / 1e6;
            let block = &pool.hyperspace.stages[s].blocks[usize::from(choice.blocks[s])].name;
            described.stages.push(format!("{block} {}", table.substage_text(row)));
        }
        Ok(described)
    }
}
