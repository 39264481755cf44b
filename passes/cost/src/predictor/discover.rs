//! Rules that measurements show: kernels whose channels are a multiple of 16 are so many times as cheap.
//!
//! A runtime chooses its kernel by alignments and least widths. Each of these is tried as a threshold below which kernels have a second
//! sum of counts beside the first ([`Base`]); the one that takes most of the error away is kept, and then the next is looked for, as
//! long as that is worth it. Nothing is told beforehand. Targets and people read the rules, and the first estimate is made by them.

use crate::kernels::FEATURES;

use super::Row;
use super::base::{Base, Threshold};

/// Rules of a family at most.
const MOST: usize = 3;
/// Rows on either side of a threshold at least.
const LEAST: usize = 8;
/// Rows of a family that has rules at least: with fewer a second sum is fitted to chance (from 40 rows on, convolutions in groups came to
/// 62 in place of 66 of 100 within 10 %).
const ROWS: usize = 64;
/// Part of the squared error that a rule must take away.
const WORTH: f64 = 0.08;
/// Squared error of a logarithm that is as bad as any other: no single kernel makes a rule.
const WRONG: f64 = 0.25;
/// Steps of the fits that only compare thresholds.
const SWEEPS: usize = 150;

/// Features that say which kernel a runtime has, not how much it has to do: alignments, and least widths.
const ASKED: [(usize, &[f32]); 6] = [
    (2, &[2.0, 4.0, 8.0, 16.0, 32.0, 64.0]),
    (3, &[2.0, 4.0, 8.0, 16.0, 32.0, 64.0]),
    (31, &[2.0, 4.0, 8.0, 16.0, 32.0, 64.0]),
    (5, &[2.0, 4.0, 8.0, 16.0]),
    (1, &[8.0, 16.0, 32.0, 64.0]),
    (6, &[8.0, 16.0, 32.0, 64.0]),
];

/// A rule that was found.
#[derive(Clone, PartialEq, Debug)]
pub struct Rule {
    /// The rule in words.
    pub words: String,
    /// How many times as cheap the kernels that are below it would be if it held for them, all of them together.
    pub cheaper: f64,
}

/// The thresholds of a family, the one that says most first.
pub(super) fn thresholds(rows: &[&Row]) -> Vec<Threshold> {
    let mut found: Vec<Threshold> = Vec::new();
    if rows.len() < ROWS {
        return found;
    }
    let error = |thresholds: &[Threshold]| {
        let base = Base::with(rows, thresholds, SWEEPS);
        let wrong = |row: &&Row| libm::log(base.time(&row.counts, &row.features) / row.time);
        rows.iter().map(|row| (wrong(row) * wrong(row)).min(WRONG)).sum::<f64>() / rows.len() as f64
    };
    let mut reached = error(&found);
    while found.len() < MOST && reached > 1e-4 {
        let mut best: Option<(f64, Threshold)> = None;
        for threshold in ASKED.into_iter().flat_map(|(feature, least)| least.iter().map(move |&least| (feature, least))) {
            let below = rows.iter().filter(|row| row.features[threshold.0] < threshold.1).count();
            if found.contains(&threshold) || below < LEAST || rows.len() - below < LEAST {
                continue;
            }
            let left = error(&[&found[..], &[threshold]].concat());
            if best.is_none_or(|(least, _)| left < least) {
                best = Some((left, threshold));
            }
        }
        let Some((left, threshold)) = best.filter(|(left, _)| *left < (1.0 - WORTH) * reached) else { break };
        reached = left;
        found.push(threshold);
    }
    found
}

/// What the thresholds of a sum come to, in the order that they were found.
pub fn rules(base: &Base, rows: &[&Row]) -> Vec<Rule> {
    let rule = |(at, &((feature, least), _)): (usize, &(Threshold, _))| {
        let mut without = base.clone();
        without.below.remove(at);
        let all = |base: &Base| {
            let below = rows.iter().filter(|row| row.features[feature] < least);
            below.map(|row| base.time(&row.counts, &row.features)).sum::<f64>()
        };
        Rule { words: words(feature, least), cheaper: all(base) / all(&without).max(1.0) }
    };
    base.below.iter().enumerate().map(rule).collect()
}

/// `input channels are a multiple of 16`, `output channels are at least 16`.
pub fn words(feature: usize, least: f32) -> String {
    let name = FEATURES.get(feature).copied().unwrap_or("?");
    match name.strip_prefix("alignment of ") {
        Some(what) => format!("{what} are a multiple of {least}"),
        None => format!("{name} are at least {least}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Kernel, Layout, counts, features};

    /// A processor on which depthwise convolutions are three times as fast when channels are a multiple of 16.
    fn stairs() -> Vec<Row> {
        let row = |at: u32| {
            let channels = 8 * (1 + at * 7 % 24);
            let size = 7 * (1 + at % 5);
            let groups = channels;
            let kernel = Kernel {
                groups,
                window: [3, 3],
                ..Kernel::same("QLinearConv", Layout::Last, [1, 1], [1, channels, size, size])
            };
            let each = if channels.is_multiple_of(16) { 0.03 } else { 0.09 };
            Row { counts: counts(&kernel), features: features(&kernel), time: 500.0 + each * kernel.macs() }
        };
        (0..120).map(row).collect()
    }

    #[test]
    fn a_rule_of_multiples_is_found_without_being_told() {
        let rows = stairs();
        let rows: Vec<&Row> = rows.iter().collect();
        let base = Base::fit(&rows);
        let found = rules(&base, &rows);
        assert_eq!(found[0].words, "input channels are a multiple of 16");
        assert!((2.0..3.5).contains(&found[0].cheaper), "{found:?}");
        let wrong = |row: &&&Row| (base.time(&row.counts, &row.features) / row.time - 1.0).abs() > 0.02;
        assert_eq!(rows.iter().filter(wrong).count(), 0);
    }

    #[test]
    fn no_rule_is_found_where_there_is_none() {
        let mut rows = stairs();
        rows.iter_mut().for_each(|row| row.time = 500.0 + 0.03 * row.counts[1]);
        assert_eq!(thresholds(&rows.iter().collect::<Vec<_>>()), []);
    }
}
