//! What an op costs on a target: the table `[prices]` of its file, which `spaceevo-opt measure-ops` fills.
//!
//! ```text
//! time = call + work / speed(width)        nanoseconds; work per nanosecond
//! ```
//!
//! Work is products for ops with weights, taps for pools, and numbers for all others. Width is what the speed of a kernel
//! depends on most: its channels. A table is a model of the first order, and whoever decides by it should ask for more than
//! its error.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::target::Provenance;

/// A quantity that depends on a width: rising widths, each with a positive number.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(try_from = "Vec<(usize, f64)>", into = "Vec<(usize, f64)>")]
pub struct Curve(Vec<(usize, f64)>);

impl Curve {
    /// The number at a width: between two entries on the line through their logarithms, beyond the ends as there.
    pub fn at(&self, width: f64) -> f64 {
        let next = self.0.partition_point(|(w, _)| (*w as f64) < width);
        let entry = |index: usize| self.0.get(index).map(|&(w, y)| (w as f64, y));
        match (next.checked_sub(1).and_then(entry), entry(next)) {
            (Some((low, from)), Some((high, to))) => from * (to / from).powf((width / low).ln() / (high / low).ln()),
            (Some((_, y)), None) | (None, Some((_, y))) => y,
            (None, None) => 1.0,
        }
    }
}

impl TryFrom<Vec<(usize, f64)>> for Curve {
    type Error = String;

    fn try_from(entries: Vec<(usize, f64)>) -> Result<Self, String> {
        let rising = entries.is_sorted_by(|a, b| a.0 < b.0);
        if entries.is_empty() || !rising || !entries.iter().all(|&(w, y)| w > 0 && y > 0.0 && y.is_finite()) {
            return Err("write rising widths, each with a positive number: [[16, 0.5], [32, 0.9]]".into());
        }
        Ok(Curve(entries))
    }
}

impl From<Curve> for Vec<(usize, f64)> {
    fn from(curve: Curve) -> Self {
        curve.0
    }
}

/// The price of one kind of kernel.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Nanoseconds of a call, whatever its size.
    pub call: f64,
    /// Work per nanosecond, by width.
    pub speed: Curve,
}

/// Prices of a target.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// What they were measured on.
    pub provenance: Provenance,
    /// Float kernels by kind: `conv1x1`, `conv`, `depthwise`, and names of operators.
    pub float: BTreeMap<String, Price>,
    /// Integer kernels by kind.
    pub integer: BTreeMap<String, Price>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_lie_between_those_of_the_widths_around() {
        let curve = Curve::try_from(vec![(2, 0.01), (8, 0.16)]).unwrap();
        assert_eq!([1.0, 2.0, 8.0, 99.0].map(|w| curve.at(w)), [0.01, 0.01, 0.16, 0.16]);
        assert!((curve.at(4.0) - 0.04).abs() < 1e-12);
        for wrong in [vec![], vec![(8, 1.0), (2, 1.0)], vec![(2, 0.0)]] {
            assert!(Curve::try_from(wrong).is_err());
        }
    }
}
