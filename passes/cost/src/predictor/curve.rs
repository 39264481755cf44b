//! How well kernels are predicted by how many were measured: whether more of them would help.

use super::fit::{Held, Limits, Sample, fit};
use super::{Origin, Overhead};

/// Parts of the kernels of a family that are fitted.
const PARTS: [usize; 3] = [8, 4, 2];
/// Kernels of a family below which an eighth says nothing.
const LEAST: usize = 96;

/// A family's learning curve.
#[derive(Clone, PartialEq, Debug)]
pub struct Curve {
    /// Family.
    pub family: String,
    /// Kernels that were fitted, rising, and the part of those held out that is predicted within 10 % then.
    pub points: Vec<(usize, f64)>,
}

/// The curves of convolutions, whose last points are `held`: what comes of the first eighth, quarter and half of the kernels that
/// were fitted, always judged on the same ones.
pub fn curves(samples: &[Sample], overhead: Overhead, fold: u64, held: &[Held]) -> Vec<Curve> {
    let curved = |h: &&Held| h.family.contains("Conv") && h.fitted >= LEAST && h.held >= 8;
    let mut curves: Vec<Curve> =
        held.iter().filter(curved).map(|h| Curve { family: h.family.clone(), points: Vec::new() }).collect();
    for part in PARTS {
        // No kernels at all of the others, which are then not fitted.
        let of = |family: &str| held.iter().find(|h| h.family == family && curved(h)).map_or(0, |h| h.fitted / part);
        let limits: Limits<'_> = &of;
        let (_, judged) = fit(samples, Origin::new(), overhead, fold, limits);
        for curve in &mut curves {
            let found = judged.iter().find(|h| h.family == curve.family);
            curve.points.extend(found.map(|h| (h.fitted, h.within_10)));
        }
    }
    for curve in &mut curves {
        let found = held.iter().find(|h| h.family == curve.family);
        curve.points.extend(found.map(|h| (h.fitted, h.within_10)));
    }
    curves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Kernel, Layout};

    #[test]
    fn a_curve_ends_where_the_predictor_is() {
        let sample = |at: u32| {
            let (channels, size) = (4 * (1 + at * 7 % 40), 3 + at % 26);
            let kernel = Kernel::same("QLinearConv", Layout::Last, [1, 1], [1, channels, size, size]);
            // What no threshold says: trees learn it size by size.
            let time = 800.0 + kernel.macs() * if size % 5 < 2 { 0.01 } else { 0.02 };
            Sample { kernel, times: vec![time, time] }
        };
        let samples: Vec<Sample> = (0..400).map(sample).collect();
        let overhead = Overhead::NONE;
        let (_, held) = fit(&samples, Origin::new(), overhead, 0, &|_| usize::MAX);
        let found = curves(&samples, overhead, 0, &held);
        assert_eq!(found.len(), 1);
        let points = &found[0].points;
        assert_eq!((points.len(), points[3]), (4, (held[0].fitted, held[0].within_10)));
        assert!(points.is_sorted_by(|a, b| a.0 < b.0) && points[0].1 < points[3].1, "{points:?}");
        assert_eq!(curves(&samples[..60], overhead, 0, &held[..0]), []);
    }
}
