//! Rules that measurements show: kernels whose channels are a multiple of 16 are so many times as cheap.
//!
//! What a sum of calls, multiply-accumulates and numbers moved ([`Base::of_few`]) is wrong by is split by the one alignment or threshold
//! that leaves the least squared error of its logarithm, and each part again, as long as that is worth it: a regression tree
//! (Breiman et al. 1984). The sum knows no alignment, so none is told beforehand. Targets and people read the rules; what predicts is
//! [`Base`] and [`Forest`](super::Forest).

use crate::kernels::FEATURES;

use super::{Base, Row};

/// Rules below each other at most.
const DEPTH: usize = 3;
/// Rows of a part at least.
const LEAST: usize = 16;
/// Part of the squared error that a rule must take away.
const WORTH: f64 = 0.12;
/// Features that rules may ask for: those that say something about how a kernel works, not how much it has to do.
const ASKED: [usize; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
/// Of these features every power of two is asked for, of others what lies between rows.
const ALIGNMENTS: [usize; 3] = [2, 3, 5];

/// A rule that was found.
#[derive(Clone, PartialEq, Debug)]
pub struct Rule {
    /// Index of the feature.
    pub feature: usize,
    /// It holds from here on.
    pub least: f32,
    /// The rule in words, behind those that it was found within.
    pub words: String,
    /// How many times as cheap kernels are where it holds, their counts being equal: a geometric mean.
    pub cheaper: f64,
}

/// The rules of a family, each before those that were found within it.
pub fn rules(rows: &[&Row]) -> Vec<Rule> {
    let mut found = Vec::new();
    if rows.len() >= 2 * LEAST {
        let base = Base::of_few(rows);
        let known: Vec<(&Row, f64)> = rows.iter().map(|row| (*row, libm::log(row.time / base.time(&row.counts)))).collect();
        grow(&known, DEPTH, "", &mut found);
    }
    found
}

/// Rows with the logarithms of what the sum is wrong by.
type Part<'a> = [(&'a Row, f64)];

fn grow(part: &Part<'_>, depth: usize, within: &str, found: &mut Vec<Rule>) {
    let whole = squares(part);
    if depth == 0 || part.len() < 2 * LEAST || whole <= 1e-4 * part.len() as f64 {
        return;
    }
    let parted = |feature: usize, least: f32| -> [Vec<(&Row, f64)>; 2] {
        let (yes, no): (Vec<_>, Vec<_>) = part.iter().copied().partition(|(row, _)| row.features[feature] >= least);
        [yes, no]
    };
    let mut best: Option<(f64, usize, f32)> = None;
    for (feature, least) in candidates(part) {
        let parts = parted(feature, least);
        let left = parts.iter().map(|part| squares(part)).sum::<f64>();
        if parts.iter().all(|part| part.len() >= LEAST) && best.is_none_or(|(least, ..)| left < least) {
            best = Some((left, feature, least));
        }
    }
    let Some((_, feature, least)) = best.filter(|(left, ..)| *left < (1.0 - WORTH) * whole) else { return };
    let [yes, no] = parted(feature, least);
    let rule = words(feature, least);
    let cheaper = libm::exp(mean(&no) - mean(&yes));
    found.push(Rule { feature, least, words: format!("{within}{rule}"), cheaper });
    grow(&yes, depth - 1, &format!("{within}{rule}, "), found);
    grow(&no, depth - 1, &format!("{within}not {rule}, "), found);
}

fn mean(part: &Part<'_>) -> f64 {
    part.iter().map(|(_, wrong)| wrong).sum::<f64>() / part.len().max(1) as f64
}

/// Squared distances from the mean.
fn squares(part: &Part<'_>) -> f64 {
    let mean = mean(part);
    part.iter().map(|(_, wrong)| (wrong - mean) * (wrong - mean)).sum()
}

fn candidates(part: &Part<'_>) -> Vec<(usize, f32)> {
    let mut found = Vec::new();
    for feature in ASKED {
        if ALIGNMENTS.contains(&feature) {
            found.extend([2.0, 4.0, 8.0, 16.0, 32.0, 64.0].map(|least| (feature, least)));
            continue;
        }
        let mut values: Vec<f32> = part.iter().map(|(row, _)| row.features[feature]).collect();
        values.sort_unstable_by(f32::total_cmp);
        values.dedup();
        let step = values.len().div_ceil(12).max(1);
        found.extend(values.iter().skip(1).step_by(step).map(|&least| (feature, least)));
    }
    found
}

/// `input channels are a multiple of 16`, `window is at least 9`.
pub fn words(feature: usize, least: f32) -> String {
    let name = FEATURES.get(feature).copied().unwrap_or("?");
    let (what, is) = match name.strip_prefix("alignment of ") {
        Some(what) => (what, "a multiple of"),
        None => (name, "at least"),
    };
    let many = ["channels", "groups", "pixels", "numbers", "weights"].iter().any(|word| what.contains(word));
    format!("{what} {} {is} {least}", if many { "are" } else { "is" })
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
        let found = rules(&rows.iter().collect::<Vec<_>>());
        assert_eq!(found[0].words, "input channels are a multiple of 16");
        assert!((2.0..3.5).contains(&found[0].cheaper), "{found:?}");
    }

    #[test]
    fn no_rule_is_found_where_there_is_none() {
        let mut rows = stairs();
        rows.iter_mut().for_each(|row| row.time = 500.0 + 0.03 * row.counts[1]);
        assert_eq!(rules(&rows.iter().collect::<Vec<_>>()), []);
    }
}
