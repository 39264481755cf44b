//! What a search looks at: pairs of loss and latency, by stage, choice and resolution.
//!
//! A pair is one number, `loss << 32 | latency`, in millionths and nanoseconds: pairs add like numbers, exactly and in any order,
//! as long as neither half overflows, which is checked once when the pool is made.

use spaceevo_ir::{Diagnostic, Loc};

use crate::hyperspace::{Choice, Hyperspace};
use crate::random::Random;
use crate::tables::Tables;

/// A loss in millionths and a latency in nanoseconds.
pub type Pair = u64;

/// The loss of a pair, in millionths.
pub const fn loss(pair: Pair) -> u32 {
    (pair >> 32) as u32
}

/// The latency of a pair, in nanoseconds.
pub const fn latency(pair: Pair) -> u32 {
    pair as u32
}

/// How losses of stages make the loss of a network, and what the parts cost that are not searched.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Terms {
    /// Factor of each stage's loss, as fitted to trained networks; empty for 1 everywhere, as published.
    pub weights: Vec<f64>,
    /// What is added to every loss at a resolution. The sum of losses is blind to resolution: small pictures cost less and lose
    /// nothing. On the published tables the best subnet is one of 160 pixels under every limit below 27.46 ms, one of 192 above, and
    /// never one of 224.
    pub resolutions: Vec<(u32, f64)>,
    /// Nanoseconds of the parts that are not searched, by resolution.
    pub fixed: Vec<(u32, u32)>,
    /// The same where it depends on the last stage's window: (resolution, window, nanoseconds).
    pub fixed_by_window: Vec<(u32, u8, u32)>,
}

/// One row, with the widths that it joins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Item {
    /// Loss and latency, weighted; those of the last stage have the fixed latency and the resolution's loss in them.
    pub pair: Pair,
    /// Input channels.
    pub channels: u32,
    /// Output channels.
    pub width: u32,
    /// Number of the row in its table.
    pub row: u32,
}

/// The rows of one table at one resolution, sorted.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Entry {
    /// Rows by loss, then latency.
    pub items: Vec<Item>,
    /// The pairs of the same rows, close together for sampling.
    pub pairs: Vec<Pair>,
}

/// All rows of a hyperspace as pairs.
#[derive(Clone, Debug)]
pub struct Pool {
    /// What was chosen from.
    pub hyperspace: Hyperspace,
    /// Resolutions that have rows, ascending.
    pub resolutions: Vec<u32>,
    /// How rows became pairs.
    pub terms: Terms,
    /// `entries[stage][block * windows + window][resolution]`; empty where a table is missing.
    entries: Vec<Vec<Vec<Entry>>>,
}

impl Terms {
    /// Checks the terms against tables.
    ///
    /// Errors: `usage` for a number of weights or a resolution that the tables do not have.
    fn check(&self, tables: &Tables) -> Result<(), Diagnostic> {
        let wrong = |what: String| Err(Diagnostic::error("usage", Loc::Unknown, what));
        let stages = tables.hyperspace.stages.len();
        if !self.weights.is_empty() && self.weights.len() != stages {
            return wrong(format!("{} stage weights for {stages} stages", self.weights.len()));
        }
        if self.weights.iter().chain(self.resolutions.iter().map(|(_, t)| t)).any(|w| !(0.0..=1000.0).contains(w)) {
            return wrong("weights and terms must lie between 0 and 1000".into());
        }
        let known = |r: u32| tables.resolutions.contains(&r);
        if let Some(r) = tables.resolutions.iter().find(|r| !self.fixed.iter().any(|(f, _)| f == *r)) {
            return wrong(format!("the latency of the parts that are not searched is missing at resolution {r}"));
        }
        let named = self.resolutions.iter().map(|t| t.0).chain(self.fixed_by_window.iter().map(|t| t.0));
        match named.into_iter().find(|&r| !known(r)) {
            Some(r) => wrong(format!("the tables have no rows at resolution {r}, only at {:?}", tables.resolutions)),
            None => Ok(()),
        }
    }

    /// A number that changes with any of the terms.
    pub fn checksum(&self) -> u128 {
        xxhash_rust::xxh3::xxh3_128(format!("{self:?}").as_bytes())
    }

    /// Nanoseconds of the parts that are not searched, for a window of the last stage.
    pub fn fixed(&self, resolution: u32, window: u8) -> u32 {
        let special = self.fixed_by_window.iter().find(|(r, w, _)| *r == resolution && *w == window).map(|t| t.2);
        special.or_else(|| self.fixed.iter().find(|(r, _)| *r == resolution).map(|t| t.1)).unwrap_or(0)
    }

    /// A stage's loss in millionths, weighted.
    pub fn weighted(&self, stage: usize, loss: u32) -> u64 {
        self.weights.get(stage).map_or(u64::from(loss), |w| (w * f64::from(loss)).round() as u64)
    }

    /// What a resolution adds to a loss, in millionths.
    pub fn added(&self, resolution: u32) -> u64 {
        let term = self.resolutions.iter().find(|(r, _)| *r == resolution);
        term.map_or(0, |(_, t)| (t * 1e6).round() as u64)
    }
}

impl Pool {
    /// Makes pairs of all rows.
    ///
    /// Errors: `usage` for terms that do not fit, `table-row` where sums could overflow.
    pub fn new(tables: &Tables, terms: Terms) -> Result<Pool, Diagnostic> {
        terms.check(tables)?;
        let hyperspace = &tables.hyperspace;
        let last = hyperspace.stages.len() - 1;
        let mut entries = Vec::new();
        let (mut most_loss, mut most_latency) = (0_u64, 0_u64);
        for (stage, shape) in hyperspace.stages.iter().enumerate() {
            let (mut loss_here, mut latency_here) = (0, 0);
            let mut list = Vec::new();
            for n in 0..shape.blocks.len() * shape.windows() {
                let (block, window) = (n / shape.windows(), n % shape.windows());
                let mut by_resolution = vec![Entry::default(); tables.resolutions.len()];
                for (i, row) in tables.table(stage, block, window).iter().flat_map(|t| t.rows.iter().enumerate()) {
                    let Some(at) = tables.resolutions.iter().position(|&r| r == row.resolution) else { continue };
                    let (mut loss, mut latency) = (terms.weighted(stage, row.loss), u64::from(row.latency));
                    if stage == last {
                        loss += terms.added(row.resolution);
                        latency += u64::from(terms.fixed(row.resolution, window as u8));
                    }
                    (loss_here, latency_here) = (loss.max(loss_here), latency.max(latency_here));
                    // What overflows is refused below.
                    let pair = loss << 32 | latency & u64::from(u32::MAX);
                    by_resolution[at].items.push(Item { pair, channels: row.channels, width: row.width, row: i as u32 });
                }
                for entry in &mut by_resolution {
                    entry.items.sort_unstable();
                    entry.pairs = entry.items.iter().map(|item| item.pair).collect();
                }
                list.push(by_resolution);
            }
            entries.push(list);
            most_loss += loss_here;
            most_latency += latency_here;
        }
        if most_loss.max(most_latency) >= u64::from(u32::MAX) {
            let what = "the losses of all stages together are beyond 4294, or their latencies beyond 4294 ms";
            return Err(Diagnostic::error("table-row", Loc::Unknown, what));
        }
        Ok(Pool { hyperspace: hyperspace.clone(), resolutions: tables.resolutions.clone(), terms, entries })
    }

    /// How many choices a stage has.
    pub fn choices(&self, stage: usize) -> usize {
        self.entries[stage].len()
    }

    /// The number of a stage's choice: `block * windows + window`.
    pub fn choice_index(&self, choice: &Choice, stage: usize) -> usize {
        usize::from(choice.blocks[stage]) * self.hyperspace.stages[stage].windows() + usize::from(choice.windows[stage])
    }

    /// The space whose choices have those numbers, by stage.
    pub fn choice(&self, indices: &[usize]) -> Choice {
        let each = |f: fn(usize, usize) -> usize| {
            indices.iter().zip(&self.hyperspace.stages).map(|(&i, s)| f(i, s.windows()) as u8).collect::<Vec<u8>>()
        };
        Choice { blocks: each(|i, w| i / w), windows: each(|i, w| i % w) }
    }

    /// The rows of a stage's choice at the `resolution`-th resolution.
    pub fn entry(&self, stage: usize, index: usize, resolution: usize) -> &Entry {
        &self.entries[stage][index][resolution]
    }

    /// Whether a stage's choice has rows at every resolution.
    pub fn complete(&self, stage: usize, index: usize) -> bool {
        self.entries[stage][index].iter().all(|e| !e.items.is_empty())
    }

    /// How many spaces have rows at some resolution, in every stage.
    pub fn spaces_with_rows(&self) -> u128 {
        let some = |index: &&Vec<Entry>| index.iter().any(|e| !e.items.is_empty());
        self.entries.iter().map(|stage| stage.iter().filter(some).count() as u128).product()
    }

    /// Whether a space has rows everywhere.
    pub fn covers(&self, choice: &Choice) -> bool {
        (0..self.hyperspace.stages.len()).all(|s| self.complete(s, self.choice_index(choice, s)))
    }

    /// The pool of one space alone: a hyperspace with nothing to choose but that.
    pub fn single(&self, choice: &Choice) -> Pool {
        let mut hyperspace = self.hyperspace.clone();
        let mut entries = Vec::new();
        for (s, stage) in hyperspace.stages.iter_mut().enumerate() {
            stage.widths = stage.window(usize::from(choice.windows[s])).to_vec();
            stage.blocks = vec![stage.blocks[usize::from(choice.blocks[s])].clone()];
            entries.push(vec![self.entries[s][self.choice_index(choice, s)].clone()]);
        }
        Pool { hyperspace, resolutions: self.resolutions.clone(), terms: self.terms.clone(), entries }
    }

    /// Leaves rows out: `keep` is asked with the stage, the number of its choice, and that of the resolution.
    pub(crate) fn retain(&mut self, keep: impl Fn(usize, usize, usize, &Item) -> bool) {
        for (stage, list) in self.entries.iter_mut().enumerate() {
            for (index, by_resolution) in list.iter_mut().enumerate() {
                for (r, entry) in by_resolution.iter_mut().enumerate() {
                    entry.items.retain(|item| keep(stage, index, r, item));
                    entry.pairs = entry.items.iter().map(|item| item.pair).collect();
                }
            }
        }
    }

    /// A pool whose rows are drawn again from the rows of this one, with replacement: what the tables might have been, had other
    /// sub-stages been evaluated.
    pub fn resampled(&self, seed: u64) -> Pool {
        let mut pool = self.clone();
        for (stage, list) in pool.entries.iter_mut().enumerate() {
            for (index, by_resolution) in list.iter_mut().enumerate() {
                for (r, entry) in by_resolution.iter_mut().enumerate().filter(|(_, e)| !e.items.is_empty()) {
                    let mut random = Random::new(&[seed, stage as u64, index as u64, r as u64]);
                    let mut items: Vec<Item> = entry.items.iter().map(|_| *random.pick(&entry.items)).collect();
                    items.sort_unstable();
                    *entry = Entry { pairs: items.iter().map(|i| i.pair).collect(), items };
                }
            }
        }
        pool
    }

    /// Least and most latency of a space's subnets in nanoseconds, at any resolution.
    pub fn latencies(&self, choice: &Choice) -> (u64, u64) {
        let sum = |r: usize, most: bool| -> u64 {
            let stage = |s: usize| {
                let all = self.entry(s, self.choice_index(choice, s), r).pairs.iter().map(|&p| u64::from(latency(p)));
                if most { all.max() } else { all.min() }.unwrap_or(0)
            };
            (0..self.hyperspace.stages.len()).map(stage).sum()
        };
        let all = 0..self.resolutions.len();
        (all.clone().map(|r| sum(r, false)).min().unwrap_or(0), all.map(|r| sum(r, true)).max().unwrap_or(0))
    }
}
