//! Readers of certificates. They share nothing with the search but the tables and the formula: small enough to be believed.

mod grid;
mod least;
mod space;
mod subnet;

use std::collections::BTreeMap;

use spaceevo_ir::{Diagnostic, Loc};
use xxhash_rust::xxh3::xxh3_128;

pub use least::{Rows, least_score};
pub use space::{CheckedSpace, check_space};
pub use subnet::{Checked, check};

use crate::tables::Tables;

/// What all certificates begin with.
#[derive(Default)]
struct Head {
    hyperspace: String,
    tables: String,
    weights: Vec<f64>,
    /// What is not searched, and what is added to the loss.
    resolutions: BTreeMap<u32, (u64, u64)>,
    windows: BTreeMap<(u32, usize), u64>,
}

impl Head {
    /// Whether it is about these tables.
    fn fits(&self, tables: &Tables) -> Result<(), Diagnostic> {
        let stages = tables.hyperspace.stages.len();
        ensure(self.hyperspace == tables.hyperspace.name, || {
            format!("it is about {}, not {}", self.hyperspace, tables.hyperspace.name)
        })?;
        ensure(self.tables == format!("{:032x}", tables.checksum()), || "it is about other tables than these".into())?;
        ensure(self.weights.len() == stages, || format!("it has {} weights for {stages} stages", self.weights.len()))?;
        ensure(self.resolutions.keys().copied().eq(tables.resolutions.iter().copied()), || {
            format!("it must be about the resolutions {:?}", tables.resolutions)
        })
    }

    /// Loss and latency of a row, with weights and what is not searched.
    fn priced(&self, stage: usize, window: usize, resolution: u32, loss: u32, latency: u32) -> (u64, u64) {
        let loss = (self.weights[stage] * f64::from(loss)).round() as u64;
        if stage + 1 != self.weights.len() {
            return (loss, u64::from(latency));
        }
        let (fixed, added) = self.resolutions.get(&resolution).copied().unwrap_or_default();
        let fixed = self.windows.get(&(resolution, window)).copied().unwrap_or(fixed);
        (loss + added, u64::from(latency) + fixed)
    }
}

/// Reads a certificate; `line` is given the words of each line that is not part of the head, and refuses those that it does not know.
fn read(text: &str, kind: &str, line: &mut dyn FnMut(&[&str]) -> Option<()>) -> Result<Head, Diagnostic> {
    let body = text.rfind("\nend ").map(|at| &text[..=at]);
    let body = body.ok_or_else(|| wrong("it has no last line 'end': it is not complete".into()))?;
    let end = text[body.len()..].trim_end();
    ensure(end == format!("end {:032x}", xxh3_128(body.as_bytes())), || {
        "its checksum is another one: it was changed or damaged".into()
    })?;
    let mut lines = body.lines().zip(1..);
    let first = format!("spaceevo {kind} 1");
    ensure(lines.next().is_some_and(|(l, _)| l == first), || format!("its first line is not '{first}'"))?;
    let mut head = Head::default();
    for (text, number) in lines {
        let words: Vec<&str> = text.split(' ').collect();
        parse(&words, &mut head, line).ok_or_else(|| {
            let loc = Loc::Text { file: "certificate".into(), line: number, column: 1 };
            Diagnostic::error("certificate", loc, "the line is malformed")
        })?;
    }
    Ok(head)
}

fn parse(words: &[&str], head: &mut Head, line: &mut dyn FnMut(&[&str]) -> Option<()>) -> Option<()> {
    match words {
        ["hyperspace", name] => head.hyperspace = (*name).to_owned(),
        ["tables", sum] => head.tables = (*sum).to_owned(),
        ["weights", weights @ ..] => head.weights = weights.iter().map(|w| w.parse().ok()).collect::<Option<_>>()?,
        ["resolution", r, "fixed", ns, "added", loss] => {
            head.resolutions.insert(r.parse().ok()?, (ns.parse::<u32>().ok()?.into(), loss.parse::<u32>().ok()?.into()));
        }
        ["window", r, window, "fixed", ns] => {
            head.windows.insert((r.parse().ok()?, window.parse().ok()?), ns.parse::<u32>().ok()?.into());
        }
        _ => return line(words),
    }
    Some(())
}

fn wrong(what: String) -> Diagnostic {
    Diagnostic::error("certificate", Loc::Unknown, format!("the certificate proves nothing: {what}"))
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Diagnostic> {
    if holds { Ok(()) } else { Err(wrong(what())) }
}
