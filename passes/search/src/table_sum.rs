//! Published tables as a source of accuracy for subnets of one space: a subnet is known where each of its stages is a row that was
//! evaluated with the width and at the resolution that it gets, and its loss is the sum of those rows.
//!
//! Rows are a sample: some dozen of each input width and resolution, of millions of sub-stages. So a search asks for the nearest
//! subnet that is made of rows. As loss and latency are sums, the best one is known exactly, and a search can be held against it.

use std::collections::BTreeMap;

use spaceevo_ir::Diagnostic;

use crate::best::Found;
use crate::consistent;
use crate::encoding::{BlockChoice, Subnet};
use crate::hyperspace::Choice;
use crate::pool::{Item, Pool, latency, loss};
use crate::subnet::{Accuracy, Evaluated, Origin};
use crate::tables::Tables;

/// The rows of one space, by stage, resolution and input channels.
#[derive(Clone, Debug)]
pub struct TableSum {
    pool: Pool,
    choice: Choice,
    stages: Vec<BTreeMap<(u32, u32), Vec<Known>>>,
}

/// A row: its blocks, and its place in the pool.
#[derive(Clone, Debug)]
struct Known {
    blocks: Vec<BlockChoice>,
    item: Item,
}

/// What a block too many or too few counts for, in changes of a kernel, width or expansion.
const MISSING: usize = 3;

impl TableSum {
    /// Gathers the rows of a space.
    ///
    /// Errors: `table-gap`, `space-choice`, `space-encoding`.
    pub fn new(pool: &Pool, tables: &Tables, choice: &Choice) -> Result<TableSum, Diagnostic> {
        tables.covers(choice)?;
        let mut single = pool.single(choice);
        let mut stages = Vec::new();
        for (s, (&block, &window)) in choice.blocks.iter().zip(&choice.windows).enumerate() {
            let mut rows: BTreeMap<(u32, u32), Vec<Known>> = BTreeMap::new();
            let table = tables.table(s, block.into(), window.into());
            for (r, &resolution) in single.resolutions.iter().enumerate() {
                let mut items = single.entry(s, 0, r).items.clone();
                items.sort_by_key(|item| item.row);
                for item in items {
                    let Some((table, row)) = table.and_then(|t| Some((t, t.rows.get(item.row as usize)?))) else { continue };
                    let blocks = table.substage(row)?.0;
                    let known = rows.entry((resolution, item.channels)).or_default();
                    // A sub-stage that was evaluated twice counts once: a subnet has one loss and one latency.
                    if known.iter().all(|k| k.blocks != blocks) {
                        known.push(Known { blocks, item });
                    }
                }
            }
            stages.push(rows);
        }
        let resolutions = single.resolutions.clone();
        single.retain(|s, _, r, item| {
            let same = stages[s].get(&(resolutions[r], item.channels));
            same.is_some_and(|known| known.iter().any(|k| k.item.row == item.row))
        });
        Ok(TableSum { pool: single, choice: choice.clone(), stages })
    }

    /// The rows that a subnet is made of.
    fn items(&self, subnet: &Subnet) -> Option<Vec<Item>> {
        let mut input = self.input(subnet)?;
        let stages = subnet.stages().skip(self.pool.hyperspace.stem.len());
        let mut items = Vec::new();
        for (rows, blocks) in self.stages.iter().zip(stages) {
            let item = self.fed(rows, subnet.resolution, input).find(|k| k.blocks == blocks)?.item;
            input = Some(item.width);
            items.push(item);
        }
        (items.len() == self.stages.len()).then_some(items)
    }

    /// The width that enters the first searched stage; none where there is no stem, and so one width only.
    fn input(&self, subnet: &Subnet) -> Option<Option<u32>> {
        match self.pool.hyperspace.stem.len() {
            0 => Some(None),
            stem => Some(Some(subnet.stages().nth(stem - 1)?.last()?.width)),
        }
    }

    fn fed<'a>(
        &self,
        rows: &'a BTreeMap<(u32, u32), Vec<Known>>,
        resolution: u32,
        input: Option<u32>,
    ) -> impl Iterator<Item = &'a Known> {
        let range = input.map_or((resolution, 0)..=(resolution, u32::MAX), |c| (resolution, c)..=(resolution, c));
        rows.range(range).flat_map(|(_, known)| known)
    }

    /// Milliseconds of a subnet with the parts that are not searched; `None` where it is not made of rows.
    pub fn latency(&self, subnet: &Subnet) -> Option<f64> {
        Some(self.items(subnet)?.iter().map(|i| u64::from(latency(i.pair))).sum::<u64>() as f64 / 1e6)
    }

    /// Loss of a subnet with all terms; `None` where it is not made of rows.
    pub fn loss(&self, subnet: &Subnet) -> Option<f64> {
        Some(self.items(subnet)?.iter().map(|i| u64::from(loss(i.pair))).sum::<u64>() as f64 / 1e6)
    }

    /// The best subnet within a limit in nanoseconds: no search can find a better one.
    ///
    /// The stem, which no row depends on but for its last width, is the smallest that fits.
    pub fn best(&self, limit: u64) -> Option<Evaluated> {
        let found = consistent::within(&self.pool, limit)?;
        let subnet = self.subnet(&found)?;
        let (fitness, latency) = (-(found.loss as f64) / 1e6, found.latency as f64 / 1e6);
        Some(Evaluated { subnet, fitness, latency, origin: Origin::Drawn })
    }

    fn subnet(&self, found: &Found) -> Option<Subnet> {
        let rows = |s: usize| self.stages[s].iter().filter(|((r, _), _)| *r == found.resolution).flat_map(|(_, k)| k);
        let mut picked = Vec::new();
        for (s, pick) in found.picks.iter().enumerate() {
            picked.push(rows(s).find(|k| k.item.row == pick.row)?);
        }
        let mut subnet = Subnet { depths: Vec::new(), blocks: Vec::new(), resolution: found.resolution };
        let stem = &self.pool.hyperspace.stem;
        for (s, stage) in stem.iter().enumerate() {
            let kind = stage.blocks.first()?;
            let last = s + 1 == stem.len();
            let width = if last { picked.first()?.item.channels } else { *stage.widths.first()? };
            let block = BlockChoice { kernel: *kind.kernels.first()?, width, expand: kind.expands.first().copied() };
            subnet.depths.push(stage.depths.0);
            subnet.blocks.extend((0..stage.depths.0).map(|_| block));
        }
        for known in picked {
            subnet.depths.push(known.blocks.len() as u32);
            subnet.blocks.extend(&known.blocks);
        }
        Some(subnet)
    }

    /// The space whose rows these are.
    pub fn choice(&self) -> &Choice {
        &self.choice
    }
}

impl Accuracy for TableSum {
    /// The negative loss; what is not made of rows is worse than anything.
    fn evaluate(&self, subnets: &[Subnet]) -> Vec<f64> {
        subnets.iter().map(|s| self.loss(s).map_or(f64::NEG_INFINITY, |loss| -loss)).collect()
    }

    /// Stage by stage the row that differs least, of those that are fed what the stage before puts out; of equal ones the first.
    fn nearest(&self, wanted: Subnet) -> Option<Subnet> {
        let stem = self.pool.hyperspace.stem.len();
        let mut input = self.input(&wanted)?;
        let mut made = Subnet { depths: Vec::new(), blocks: Vec::new(), resolution: wanted.resolution };
        for (s, blocks) in wanted.stages().enumerate() {
            let blocks = match s.checked_sub(stem).and_then(|s| self.stages.get(s)) {
                None => blocks,
                Some(rows) => {
                    let known = self.fed(rows, wanted.resolution, input);
                    let near = known.min_by_key(|k| (distance(&k.blocks, blocks), k.item.row))?;
                    input = Some(near.item.width);
                    &near.blocks
                }
            };
            made.depths.push(blocks.len() as u32);
            made.blocks.extend(blocks);
        }
        Some(made)
    }
}

fn distance(a: &[BlockChoice], b: &[BlockChoice]) -> usize {
    let differ = |(a, b): (&BlockChoice, &BlockChoice)| {
        usize::from(a.kernel != b.kernel) + usize::from(a.width != b.width) + usize::from(a.expand != b.expand)
    };
    a.iter().zip(b).map(differ).sum::<usize>() + MISSING * a.len().abs_diff(b.len())
}
