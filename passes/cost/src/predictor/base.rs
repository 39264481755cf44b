//! The first estimate: a sum of counts with weights that are not negative, and the rules that say where it has which weights.
//!
//! ```text
//! time = call + a macs + b numbers read + c numbers made + …         within each part
//! part = whether channels are a multiple of 16, whether they are at least 16, …
//! ```
//!
//! Rules are found, not given: of all alignments and thresholds the one is taken whose two sums leave the least error, and so on
//! within each part, as long as that is worth it. That is a model tree (Quinlan 1992). What it says can be said in words
//! ([`Base::sentences`]), and it holds for kernels that are larger than all that were measured.

use crate::kernels::{COUNTS, FEATURES};

use super::ROW;

/// Number of counts.
pub const TERMS: usize = COUNTS.len();
/// Rules below each other at most.
const DEPTH: usize = 3;
/// Rows of a part at least.
const LEAST: usize = 16;
/// Rows below which what is moved has one weight.
const FEW: usize = 24;
/// Part of the error that a rule must take away.
const WORTH: f64 = 0.12;
/// Features that rules may ask for: those that say something about how a kernel works, not how much it has to do.
const ASKED: [usize; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
/// Of these features every power of two is asked for, of others what lies between rows.
const ALIGNMENTS: [usize; 3] = [2, 3, 5];

/// Weights of counts, or a rule and what holds on either side.
#[derive(Clone, PartialEq, Debug)]
pub enum Base {
    /// Nanoseconds of each count.
    Sum([f64; TERMS]),
    /// A rule.
    Rule {
        /// Index of the feature.
        feature: usize,
        /// It holds from here on.
        least: f32,
        /// Where it holds.
        yes: Box<Base>,
        /// Where it does not.
        no: Box<Base>,
    },
}

/// A measured kernel.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its counts.
    pub counts: [f64; TERMS],
    /// Its features.
    pub features: [f32; ROW],
    /// Nanoseconds.
    pub time: f64,
}

impl Base {
    /// Nanoseconds.
    pub fn time(&self, counts: &[f64; TERMS], features: &[f32; ROW]) -> f64 {
        match self {
            Base::Sum(weights) => sum(weights, counts),
            Base::Rule { feature, least, yes, no } => {
                (if features[*feature] >= *least { yes } else { no }).time(counts, features)
            }
        }
    }

    /// Fits rows, of which there is at least one.
    pub fn fit(rows: &[&Row]) -> Base {
        // Few rows do not tell numbers read from numbers made: what a weight of its own would be is anybody's guess.
        if rows.len() < FEW {
            return Base::of_few(rows);
        }
        Base::grow(rows, DEPTH)
    }

    /// A sum that needs few rows: of a call, multiply-accumulates, and numbers moved, whichever way.
    pub(super) fn of_few(rows: &[&Row]) -> Base {
        Base::Sum(weights_of_few(rows))
    }

    fn grow(rows: &[&Row], depth: usize) -> Base {
        let weights = weights(rows);
        let whole = error(&weights, rows);
        let mut best: Option<(f64, usize, f32)> = None;
        if depth > 0 && rows.len() >= 2 * LEAST {
            for (feature, least) in candidates(rows) {
                let (yes, no) = split(rows, feature, least);
                if yes.len() < LEAST || no.len() < LEAST {
                    continue;
                }
                let left = [yes, no].iter().map(|part| error(&self::weights(part), part)).sum::<f64>();
                if best.is_none_or(|(least, ..)| left < least) {
                    best = Some((left, feature, least));
                }
            }
        }
        match best.filter(|(left, ..)| *left < (1.0 - WORTH) * whole && whole > 1e-4 * rows.len() as f64) {
            None => Base::Sum(weights),
            Some((_, feature, least)) => {
                let (yes, no) = split(rows, feature, least);
                let grow = |part: &[&Row]| Box::new(Base::grow(part, depth - 1));
                Base::Rule { feature, least, yes: grow(&yes), no: grow(&no) }
            }
        }
    }

    /// What the rules say, with how much cheaper kernels are where they hold: the geometric mean over rows, of both sides'
    /// sums for the same kernel.
    pub fn sentences(&self, rows: &[&Row]) -> Vec<(String, f64)> {
        let mut found = Vec::new();
        self.tell(rows, "", &mut found);
        found
    }

    fn tell(&self, rows: &[&Row], within: &str, found: &mut Vec<(String, f64)>) {
        let Base::Rule { feature, least, yes, no } = self else { return };
        let logs: Vec<f64> = rows
            .iter()
            .map(|r| libm::log(no.time(&r.counts, &r.features) / yes.time(&r.counts, &r.features).max(1e-9)))
            .collect();
        let ratio = libm::exp(logs.iter().sum::<f64>() / logs.len().max(1) as f64);
        let rule = words(*feature, *least);
        found.push((format!("{within}{rule}"), ratio));
        let (holds, fails) = split(rows, *feature, *least);
        yes.tell(&holds, &format!("{within}{rule}, "), found);
        no.tell(&fails, &format!("{within}not {rule}, "), found);
    }

    /// The rules and their parts, in the order of a walk: rules before their parts.
    pub fn rules(&self) -> Vec<(usize, f32)> {
        match self {
            Base::Sum(_) => Vec::new(),
            Base::Rule { feature, least, yes, no } => [vec![(*feature, *least)], yes.rules(), no.rules()].concat(),
        }
    }
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

fn sum(weights: &[f64; TERMS], counts: &[f64; TERMS]) -> f64 {
    weights.iter().zip(counts).map(|(w, c)| w * c).sum::<f64>().max(1.0)
}

fn split<'a>(rows: &[&'a Row], feature: usize, least: f32) -> (Vec<&'a Row>, Vec<&'a Row>) {
    rows.iter().partition(|row| row.features[feature] >= least)
}

fn error(weights: &[f64; TERMS], rows: &[&Row]) -> f64 {
    let log = |row: &&Row| libm::log(sum(weights, &row.counts) / row.time);
    rows.iter().map(|row| log(row) * log(row)).sum()
}

fn candidates(rows: &[&Row]) -> Vec<(usize, f32)> {
    let mut found = Vec::new();
    for feature in ASKED {
        if ALIGNMENTS.contains(&feature) {
            found.extend([2.0, 4.0, 8.0, 16.0, 32.0, 64.0].map(|least| (feature, least)));
            continue;
        }
        let mut values: Vec<f32> = rows.iter().map(|row| row.features[feature]).collect();
        values.sort_unstable_by(f32::total_cmp);
        values.dedup();
        let step = values.len().div_ceil(12).max(1);
        found.extend(values.iter().skip(1).step_by(step).map(|&least| (feature, least)));
    }
    found
}

/// The weights of a call, of a multiply-accumulate, of a number moved, whichever way, and of one gathered for a window.
fn weights_of_few(rows: &[&Row]) -> [f64; TERMS] {
    let joined = |row: &&Row| {
        let [calls, macs, read, made, weights, gathered, ..] = row.counts;
        let mut counts = [0.0; TERMS];
        counts[..4].copy_from_slice(&[calls, macs, read + made + weights, if macs > 0.0 { 0.0 } else { gathered }]);
        Row { counts, ..(*row).clone() }
    };
    let rows: Vec<Row> = rows.iter().map(joined).collect();
    let [call, mac, moved, gathered, ..] = weights(&rows.iter().collect::<Vec<_>>());
    let mut all = [0.0; TERMS];
    all[..6].copy_from_slice(&[call, mac, moved, moved, moved, gathered]);
    all
}

/// The weights of the least relative error, none of them negative: coordinate descent on the normal equations.
fn weights(rows: &[&Row]) -> [f64; TERMS] {
    // Columns in units of their mean, so that they are alike in size.
    let mut scale = [0.0; TERMS];
    for row in rows {
        for (scale, count) in scale.iter_mut().zip(row.counts) {
            *scale += count / row.time / rows.len() as f64;
        }
    }
    let mut gram = [[0.0; TERMS]; TERMS];
    let mut right = [0.0; TERMS];
    for row in rows {
        let column = |term: usize| if scale[term] > 0.0 { row.counts[term] / row.time / scale[term] } else { 0.0 };
        for a in 0..TERMS {
            right[a] += column(a);
            gram[a].iter_mut().enumerate().for_each(|(b, sum)| *sum += column(a) * column(b));
        }
    }
    let mut weights = [0.0; TERMS];
    for _ in 0..300 {
        for a in 0..TERMS {
            if gram[a][a] > 0.0 {
                let others: f64 = (0..TERMS).filter(|&b| b != a).map(|b| gram[a][b] * weights[b]).sum();
                weights[a] = ((right[a] - others) / gram[a][a]).max(0.0);
            }
        }
    }
    std::array::from_fn(|term| if scale[term] > 0.0 { weights[term] / scale[term] } else { 0.0 })
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
        let (rule, ratio) = base.sentences(&rows).remove(0);
        assert_eq!(rule, "input channels are a multiple of 16");
        assert!((2.0..3.5).contains(&ratio), "{ratio}");
        let error = |row: &&Row| (base.time(&row.counts, &row.features) / row.time - 1.0).abs();
        assert!(rows.iter().map(error).fold(0.0, f64::max) < 0.02);
    }

    #[test]
    fn no_rule_is_found_where_there_is_none() {
        let mut rows = stairs();
        rows.iter_mut().for_each(|row| row.time = 500.0 + 0.03 * row.counts[1]);
        let rows: Vec<&Row> = rows.iter().collect();
        assert_eq!(Base::fit(&rows).rules(), []);
    }
}
