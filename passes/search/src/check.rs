//! The reader of certificates. It shares nothing with the search but the tables: small enough to be believed.

use std::collections::BTreeMap;

use spaceevo_ir::{Diagnostic, Loc};
use xxhash_rust::xxh3::xxh3_128;

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
    hyperspace: String,
    tables: String,
    limit: u64,
    weights: Vec<f64>,
    resolutions: BTreeMap<u32, (u64, u64)>,
    windows: BTreeMap<(u32, usize), u64>,
    claim: Option<(u64, u64, u32)>,
    picks: Vec<(usize, usize)>,
    bounds: BTreeMap<(u32, usize), Stairs>,
}

/// Replays a certificate against the tables that it names.
///
/// Errors: `certificate`, with the line where it is malformed, or with the step that does not follow.
pub fn check(text: &str, tables: &Tables) -> Result<Checked, Diagnostic> {
    let parts = read(text)?;
    let stages = tables.hyperspace.stages.len();
    ensure(parts.hyperspace == tables.hyperspace.name, || {
        format!("it is about {}, not {}", parts.hyperspace, tables.hyperspace.name)
    })?;
    ensure(parts.tables == format!("{:032x}", tables.checksum()), || "it is about other tables than these".into())?;
    ensure(parts.weights.len() == stages, || format!("it has {} weights for {stages} stages", parts.weights.len()))?;
    ensure(parts.resolutions.keys().copied().eq(tables.resolutions.iter().copied()), || {
        format!("it must be about the resolutions {:?}", tables.resolutions)
    })?;
    if let Some(claim) = parts.claim {
        check_picks(&parts, claim, tables)?;
    }
    let mut steps = 0;
    for &resolution in parts.resolutions.keys() {
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
            for (latency, loss) in rows(&parts, tables, stage, resolution) {
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
fn check_picks(parts: &Parts, claim: (u64, u64, u32), tables: &Tables) -> Result<(), Diagnostic> {
    let stages = &tables.hyperspace.stages;
    ensure(parts.picks.len() == stages.len(), || "it must pick one row for each stage".into())?;
    let (mut loss, mut latency) = (0, 0);
    for (s, &(choice, row)) in parts.picks.iter().enumerate() {
        let (block, window) = (choice / stages[s].windows(), choice % stages[s].windows());
        let row = tables.table(s, block, window).and_then(|t| t.rows.get(row)).filter(|r| r.resolution == claim.2);
        let row = row.ok_or_else(|| wrong(format!("the row that it picks for {} is not there", stages[s].name)))?;
        let (l, t) = priced(parts, s, s + 1 == stages.len(), window, claim.2, row.loss, row.latency);
        (loss, latency) = (loss + l, latency + t);
    }
    ensure((loss, latency) == (claim.0, claim.1), || {
        format!("its rows have loss {loss} and latency {latency}, not {} and {}", claim.0, claim.1)
    })?;
    ensure(latency <= parts.limit, || "the claimed subnet is beyond the limit".into())
}

/// Loss and latency of a row, with weights and what is not searched.
fn priced(parts: &Parts, stage: usize, last: bool, window: usize, resolution: u32, loss: u32, latency: u32) -> (u64, u64) {
    let loss = (parts.weights[stage] * f64::from(loss)).round() as u64;
    if !last {
        return (loss, u64::from(latency));
    }
    let (fixed, added) = parts.resolutions.get(&resolution).copied().unwrap_or_default();
    let fixed = parts.windows.get(&(resolution, window)).copied().unwrap_or(fixed);
    (loss + added, u64::from(latency) + fixed)
}

/// The (latency, loss) of all rows of a stage at a resolution, without those that another one beats.
fn rows(parts: &Parts, tables: &Tables, stage: usize, resolution: u32) -> Stairs {
    let last = stage + 1 == tables.hyperspace.stages.len();
    let mut all: Stairs = Vec::new();
    for (_, _, window, table) in tables.iter().filter(|(s, ..)| *s == stage) {
        for row in table.rows.iter().filter(|r| r.resolution == resolution) {
            let (loss, latency) = priced(parts, stage, last, window, resolution, row.loss, row.latency);
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

fn read(text: &str) -> Result<Parts, Diagnostic> {
    let body = text.rfind("\nend ").map(|at| &text[..=at]);
    let body = body.ok_or_else(|| wrong("it has no last line 'end': it is not complete".into()))?;
    let end = text[body.len()..].trim_end();
    ensure(end == format!("end {:032x}", xxh3_128(body.as_bytes())), || {
        "its checksum is another one: it was changed or damaged".into()
    })?;
    let mut lines = body.lines().zip(1..);
    ensure(lines.next().is_some_and(|(l, _)| l == "spaceevo certificate 1"), || "it is no certificate of version 1".into())?;
    let mut parts = Parts::default();
    for (line, number) in lines {
        parse(line, &mut parts).ok_or_else(|| {
            let loc = Loc::Text { file: "certificate".into(), line: number, column: 1 };
            Diagnostic::error("certificate", loc, "the line is malformed")
        })?;
    }
    Ok(parts)
}

fn parse(line: &str, parts: &mut Parts) -> Option<()> {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["hyperspace", name] => parts.hyperspace = (*name).to_owned(),
        ["tables", sum] => parts.tables = (*sum).to_owned(),
        ["limit", ns] => parts.limit = ns.parse::<u32>().ok()?.into(),
        ["weights", weights @ ..] => parts.weights = weights.iter().map(|w| w.parse().ok()).collect::<Option<_>>()?,
        ["resolution", r, "fixed", ns, "added", loss] => {
            parts.resolutions.insert(r.parse().ok()?, (ns.parse::<u32>().ok()?.into(), loss.parse::<u32>().ok()?.into()));
        }
        ["window", r, window, "fixed", ns] => {
            parts.windows.insert((r.parse().ok()?, window.parse().ok()?), ns.parse::<u32>().ok()?.into());
        }
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

fn wrong(what: String) -> Diagnostic {
    Diagnostic::error("certificate", Loc::Unknown, format!("the certificate proves nothing: {what}"))
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Diagnostic> {
    if holds { Ok(()) } else { Err(wrong(what())) }
}
