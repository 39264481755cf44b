//! Proofs that a subnet is the best of a hyperspace within a limit. [`crate::check`] replays them.
//!
//! For every resolution and every number i of first stages, a certificate has a falling staircase B_i: any i rows, one of each of
//! the first i stages, with latency t together have a loss of at least B_i(t). The last staircase is the claim itself. A reader
//! only needs to see that B_i follows from B_(i-1) and the rows of stage i.
//!
//! ```text
//! spaceevo certificate 1
//! hyperspace onnxw
//! tables 4f6f...                         checksum of the tables
//! weights 1 1 1 1 1 1                    factors of the stages' losses
//! resolution 160 fixed 1750000 added 0   a resolution, what is not searched, and what is added to the loss
//! limit 10000000                         nanoseconds
//! claim 2374100 9998700 160              loss, latency, resolution; or `claim none`
//! pick 4 123                             choice (block * windows + window) and row, by stage
//! bound 160 2 912000:1069 ...            resolution, stages, latency:loss of the steps
//! end 1f2e...                            checksum of all lines before
//! ```

use std::fmt::Write;

use xxhash_rust::xxh3::xxh3_128;

use crate::best::Best;
use crate::pool::Pool;

/// Writes the proof that `best` found the best subnet within the limit, or that there is none.
///
/// `tables` is the checksum of the tables that the pool was made of.
pub fn certify(best: &Best<'_>, pool: &Pool, tables: u128, limit: u64) -> String {
    let found = best.within(limit);
    let mut out = head("certificate", pool, tables);
    // Writing to a string cannot fail.
    let _ = writeln!(out, "limit {limit}");
    match &found {
        None => out.push_str("claim none\n"),
        Some(found) => {
            let _ = writeln!(out, "claim {} {} {}", found.loss, found.latency, found.resolution);
            for pick in &found.picks {
                let _ = writeln!(out, "pick {} {}", pick.choice, pick.row);
            }
        }
    }
    for (i, r) in pool.resolutions.iter().enumerate() {
        for (stages, front) in best.bounds(i).iter().enumerate() {
            let _ = write!(out, "bound {r} {}", stages + 1);
            for point in front.iter().filter(|p| p.latency <= limit) {
                let _ = write!(out, " {}:{}", point.latency, point.loss);
            }
            out.push('\n');
        }
    }
    sealed(out)
}

/// The lines that all certificates begin with: what they are about, and how rows become losses and latencies.
pub(crate) fn head(kind: &str, pool: &Pool, tables: u128) -> String {
    // Writing to a string cannot fail.
    let mut out = format!("spaceevo {kind} 1\nhyperspace {}\ntables {tables:032x}\n", pool.hyperspace.name);
    let weight = |s: usize| pool.terms.weights.get(s).copied().unwrap_or(1.0).to_string();
    let weights: Vec<String> = (0..pool.hyperspace.stages.len()).map(weight).collect();
    let _ = writeln!(out, "weights {}", weights.join(" "));
    for &r in &pool.resolutions {
        let fixed = pool.terms.fixed.iter().find(|(f, _)| *f == r).map_or(0, |t| t.1);
        let _ = writeln!(out, "resolution {r} fixed {fixed} added {}", pool.terms.added(r));
        for (_, window, ns) in pool.terms.fixed_by_window.iter().filter(|t| t.0 == r) {
            let _ = writeln!(out, "window {r} {window} fixed {ns}");
        }
    }
    out
}

/// The text with its checksum as the last line.
pub(crate) fn sealed(mut out: String) -> String {
    let _ = writeln!(out, "end {:032x}", xxh3_128(out.as_bytes()));
    out
}
