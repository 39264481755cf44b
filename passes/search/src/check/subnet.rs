//! The reader of certificates about subnets.

use std::collections::BTreeMap;

use spaceevo_ir::Diagnostic;

use super::{Head, ensure, read, wrong};
use crate::tables::Tables;

/// What a certificate was found to prove.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checked {
    /// Limit in nanoseconds.
    pub limit: u64,
    /// Loss in millionths, latency in nanoseconds and resolution of the best subnet; `None` where there is none.
    pub best: Option<(u64, u64, u32)>,
    /// Comparisons of a sum with a bound.
    pub steps: u64,
}

/// A falling staircase: latencies rise, losses fall.
type Stairs = Vec<(u64, u64)>;

#[derive(Default)]
struct Parts {
    limit: u64,
    claim: Option<(u64, u64, u32)>,
    picks: Vec<(usize, usize)>,
    bounds: BTreeMap<(u32, usize), Stairs>,
}

/// Replays a certificate against the tables that it names.
///
/// Errors: `certificate`, with the line where it is malformed, or with the step that does not follow.
pub fn check(text: &str, tables: &Tables) -> Result<Checked, Diagnostic> {
    let mut parts = Parts::default();
    let head = read(text, "certificate", &mut |words| parse(words, &mut parts))?;
    head.fits(tables)?;
    let stages = tables.hyperspace.stages.len();
    if let Some(claim) = parts.claim {
        check_picks(&head, &parts, claim, tables)?;
    }
    let mut steps = 0;
    for &resolution in head.resolutions.keys() {
        let mut before: Stairs = vec![(0, 0)];
        for stage in 0..stages {
            let after = if stage + 1 == stages {
                // Nothing within the limit is better than the claim.
                parts.claim.map_or(vec![], |(loss, ..)| vec![(0, loss)])
            } else {
                let bound = parts.bounds.get(&(resolution, stage + 1));
                bound
                    .cloned()
                    .ok_or_else(|| wrong(format!("there is no bound for resolution {resolution}, {} stages", stage + 1)))?
            };
            ensure(after.windows(2).all(|p| p[0].0 < p[1].0 && p[0].1 > p[1].1), || {
                format!("the bound for resolution {resolution}, {} stages, is no falling staircase", stage + 1)
            })?;
            for (latency, loss) in rows(&head, tables, stage, resolution) {
                for &(t, l) in &before {
                    let (t, l) = (t + latency, l + loss);
                    if t > parts.limit {
                        break;
                    }
                    steps += 1;
                    let step = after.partition_point(|s| s.0 <= t).checked_sub(1);
                    ensure(step.is_some_and(|i| after[i].1 <= l), || {
                        format!(
                            "at resolution {resolution}, {} stages with loss {l} and latency {t} are better than the bound",
                            stage + 1
                        )
                    })?;
                }
            }
            before = after;
        }
    }
    Ok(Checked { limit: parts.limit, best: parts.claim, steps })
}

/// The claimed subnet exists, is what it is said to be, and is within the limit.
fn check_picks(head: &Head, parts: &Parts, claim: (u64, u64, u32), tables: &Tables) -> Result<(), Diagnostic> {
    let stages = &tables.hyperspace.stages;
    ensure(parts.picks.len() == stages.len(), || "it must pick one row for each stage".into())?;
    let (mut loss, mut latency) = (0, 0);
    for (s, &(choice, row)) in parts.picks.iter().enumerate() {
        let (block, window) = (choice / stages[s].windows(), choice % stages[s].windows());
        let row = tables.table(s, block, window).and_then(|t| t.rows.get(row)).filter(|r| r.resolution == claim.2);
        let row = row.ok_or_else(|| wrong(format!("the row that it picks for {} is not there", stages[s].name)))?;
        let (l, t) = head.priced(s, window, claim.2, row.loss, row.latency);
        (loss, latency) = (loss + l, latency + t);
    }
    ensure((loss, latency) == (claim.0, claim.1), || {
        format!("its rows have loss {loss} and latency {latency}, not {} and {}", claim.0, claim.1)
    })?;
    ensure(latency <= parts.limit, || "the claimed subnet is beyond the limit".into())
}

/// The (latency, loss) of all rows of a stage at a resolution, without those that another one beats.
fn rows(head: &Head, tables: &Tables, stage: usize, resolution: u32) -> Stairs {
    let mut all: Stairs = Vec::new();
    for (_, _, window, table) in tables.iter().filter(|(s, ..)| *s == stage) {
        for row in table.rows.iter().filter(|r| r.resolution == resolution) {
            let (loss, latency) = head.priced(stage, window, resolution, row.loss, row.latency);
            all.push((latency, loss));
        }
    }
    all.sort_unstable();
    let mut kept: Stairs = Vec::new();
    for (latency, loss) in all {
        if kept.last().is_none_or(|&(_, least)| loss < least) {
            kept.push((latency, loss));
        }
    }
    kept
}

fn parse(words: &[&str], parts: &mut Parts) -> Option<()> {
    match words {
        ["limit", ns] => parts.limit = ns.parse::<u32>().ok()?.into(),
        ["claim", "none"] => {}
        ["claim", loss, latency, r] => {
            parts.claim = Some((loss.parse::<u32>().ok()?.into(), latency.parse::<u32>().ok()?.into(), r.parse().ok()?));
        }
        ["pick", choice, row] => parts.picks.push((choice.parse().ok()?, row.parse().ok()?)),
        ["bound", r, stages, steps @ ..] => {
            let step = |s: &&str| {
                let (latency, loss) = s.split_once(':')?;
                Some((u64::from(latency.parse::<u32>().ok()?), u64::from(loss.parse::<u32>().ok()?)))
            };
            let stairs = steps.iter().map(step).collect::<Option<Stairs>>()?;
            parts.bounds.insert((r.parse().ok()?, stages.parse().ok()?), stairs);
        }
        _ => return None,
    }
    Some(())
}
