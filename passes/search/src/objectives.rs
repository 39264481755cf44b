//! The best subnets under several limits at once: latency on one or several targets, MACs, parameters.

use spaceevo_ir::Diagnostic;

use crate::best::{Found, Pick};
use crate::enumerate::{Candidate, Enumerated, enumerate, undominated};
use crate::pool::{Pool, latency, loss};
use crate::source::{LatencySource, SubStageAt};
use crate::tables::Tables;

/// What a subnet may cost.
#[derive(Default)]
pub struct Limits<'a> {
    /// Latency in nanoseconds, with the parts that are not searched.
    pub latency: u64,
    /// Multiply-accumulates of the searched stages.
    pub macs: Option<u64>,
    /// Parameters of the searched stages.
    pub params: Option<u64>,
    /// Latency in nanoseconds of the searched stages on other targets. Rows whose latency a target does not know are left out.
    pub targets: Vec<(&'a dyn LatencySource, u64)>,
}

/// What a search under several limits found.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// Subnets, best first.
    pub found: Vec<Found>,
    /// No subnet that is missing has a lower loss, in millionths; `None` where none is missing.
    pub bound: Option<u64>,
    /// Whether the bound is that of a finished search.
    pub complete: bool,
}

/// The `count` best subnets whose costs are all within the limits. `steps` bounds the work; where it does not suffice, the answer says
/// how much better an unfound subnet could be.
///
/// Errors: `space-encoding`; never for tables that were read.
pub fn search(pool: &Pool, tables: &Tables, limits: &Limits<'_>, count: usize, steps: usize) -> Result<Answer, Diagnostic> {
    let mut bounds = vec![limits.latency];
    bounds.extend(limits.macs);
    bounds.extend(limits.params);
    bounds.extend(limits.targets.iter().map(|t| t.1));
    let mut answer = Answer { found: Vec::new(), bound: None, complete: true };
    for (r, &resolution) in pool.resolutions.iter().enumerate() {
        let stages: Vec<Vec<Candidate>> = (0..pool.hyperspace.stages.len())
            .map(|s| candidates(pool, tables, limits, s, r, count == 1))
            .collect::<Result<_, _>>()?;
        let Enumerated { found, bound, complete } = enumerate(&stages, &bounds, count, steps);
        answer.complete &= complete;
        answer.bound = answer.bound.into_iter().chain(bound).min();
        answer.found.extend(found.into_iter().map(|c| Found {
            loss: c.loss,
            latency: c.costs[0],
            resolution,
            picks: c.tags.iter().map(|tag| Pick { choice: (tag >> 32) as usize, row: *tag as u32 }).collect(),
        }));
    }
    answer.found.sort_by_key(|f| (f.loss, f.latency, f.resolution));
    let left_out = answer.found.get(count).map(|f| f.loss);
    answer.bound = answer.bound.into_iter().chain(left_out).min();
    answer.found.truncate(count);
    Ok(answer)
}

fn candidates(
    pool: &Pool,
    tables: &Tables,
    limits: &Limits<'_>,
    stage: usize,
    r: usize,
    only_best: bool,
) -> Result<Vec<Candidate>, Diagnostic> {
    let windows = pool.hyperspace.stages[stage].windows();
    let mut list = Vec::new();
    for choice in 0..pool.choices(stage) {
        let Some(table) = tables.table(stage, choice / windows, choice % windows) else { continue };
        'rows: for item in &pool.entry(stage, choice, r).items {
            let row = &table.rows[item.row as usize];
            let mut costs = vec![u64::from(latency(item.pair))];
            costs.extend(limits.macs.map(|_| row.macs));
            costs.extend(limits.params.map(|_| row.params));
            if !limits.targets.is_empty() {
                let blocks = table.substage(row)?.0;
                let at = SubStageAt {
                    stage,
                    block: choice / windows,
                    input: row.channels,
                    resolution: row.resolution,
                    blocks: &blocks,
                };
                for (source, _) in &limits.targets {
                    match source.latency(&at) {
                        Ok(ns) => costs.push(ns.into()),
                        Err(_) => continue 'rows,
                    }
                }
            }
            list.push(Candidate { loss: loss(item.pair).into(), costs, tag: (choice as u64) << 32 | u64::from(item.row) });
        }
    }
    Ok(if only_best { undominated(list) } else { list })
}
