//! Ranges out of histograms.

use spaceevo_ir::Range;

use super::histogram::Histogram;

/// Shares of the whole range that are tried.
const STEPS: usize = 96;
/// Smallest share that is tried: cutting more than this off has never been right.
const LEAST: f64 = 0.2;

/// The interval that holds `share` of the numbers, the same number of them cut off at both ends.
pub(super) fn percentile(histogram: &Histogram, whole: Range, share: f64) -> Range {
    let bins = histogram.bins();
    let total: f64 = bins.iter().map(|b| b.2).sum();
    let cut = total * (1.0 - share) / 2.0;
    let (Some(low), Some(high)) = (edge(bins.iter(), cut), edge(bins.iter().rev(), cut)) else { return whole };
    let (low, high) = ((low.0 - low.1 / 2.0) as f32, (high.0 + high.1 / 2.0) as f32);
    Range { min: low.max(whole.min), max: high.min(whole.max) }
}

/// The first bin, as (centre, width), that lies beyond `cut` numbers.
fn edge<'a>(mut bins: impl Iterator<Item = &'a (f64, f64, f64)>, mut cut: f64) -> Option<(f64, f64)> {
    let found = bins.find(|bin| {
        cut -= bin.2;
        cut < 0.0
    });
    found.map(|bin| (bin.0, bin.1))
}

/// The range of least squared error.
pub(super) fn least_error(histogram: &Histogram, whole: Range, levels: u32) -> Range {
    let bins = histogram.bins();
    descend(whole, |range| squared_error(&bins, range, levels))
}

/// Sum over the numbers of the squared distance to what quantization makes of them. Within a step the error is that of a
/// uniform distribution, `step^2 / 12`; outside the range it is the distance to its edge.
fn squared_error(bins: &[(f64, f64, f64)], range: Range, levels: u32) -> f64 {
    let (low, high) = (f64::from(range.min.min(0.0)), f64::from(range.max.max(0.0)));
    let step = (high - low) / f64::from(levels - 1);
    let inside = step * step / 12.0;
    bins.iter()
        .map(|&(centre, _, count)| {
            let beyond = (low - centre).max(centre - high).max(0.0);
            // A number that sits exactly on zero (behind ReLU most do) is represented exactly.
            let error = if beyond > 0.0 { beyond * beyond } else { inside };
            count * error
        })
        .sum()
}

/// The range of least relative entropy.
pub(super) fn least_entropy(histogram: &Histogram, whole: Range, levels: u32) -> Range {
    let bins = histogram.bins();
    descend(whole, |range| relative_entropy(&bins, range, levels))
}

/// Relative entropy sum(p log(p / q)) between the clipped distribution p and q, which has one density per stored level.
fn relative_entropy(bins: &[(f64, f64, f64)], range: Range, levels: u32) -> f64 {
    let (low, high) = (f64::from(range.min.min(0.0)), f64::from(range.max.max(0.0)));
    let step = (high - low) / f64::from(levels - 1);
    if step <= 0.0 {
        return f64::INFINITY;
    }
    let level = |x: f64| (((x.clamp(low, high) - low) / step).round() as usize).min(levels as usize - 1);
    let mut inside = vec![0.0f64; levels as usize];
    let mut occupied = vec![0.0f64; levels as usize];
    let mut clipped = [0.0f64; 2];
    for &(centre, _, count) in bins {
        if centre < low {
            clipped[0] += count;
        } else if centre > high {
            clipped[1] += count;
        } else {
            inside[level(centre)] += count;
            occupied[level(centre)] += 1.0;
        }
    }
    let total: f64 = bins.iter().map(|b| b.2).sum();
    let kept: f64 = inside.iter().sum();
    if kept <= 0.0 {
        return f64::INFINITY;
    }
    // What is clipped counts for p at the outermost bin inside, but not for q: that is what makes clipping cost something.
    let first = bins.iter().position(|b| b.0 >= low);
    let last = bins.iter().rposition(|b| b.0 <= high);
    bins.iter()
        .enumerate()
        .filter(|(_, b)| b.0 >= low && b.0 <= high)
        .map(|(i, &(centre, _, count))| {
            let extra = if Some(i) == first { clipped[0] } else { 0.0 } + if Some(i) == last { clipped[1] } else { 0.0 };
            let p = (count + extra) / total;
            let q = inside[level(centre)] / occupied[level(centre)] / kept;
            if p > 0.0 { p * (p / q).ln() } else { 0.0 }
        })
        .sum()
}

/// Minimises a cost over ranges within `whole`: first both ends shrink together, then each end alone around the best.
fn descend(whole: Range, cost: impl Fn(Range) -> f64) -> Range {
    let shrink =
        |low: f64, high: f64| Range { min: (f64::from(whole.min) * low) as f32, max: (f64::from(whole.max) * high) as f32 };
    let share = |step: usize| LEAST + (1.0 - LEAST) * step as f64 / STEPS as f64;
    let best_of = |candidates: &mut dyn Iterator<Item = (f64, f64)>| {
        candidates
            .map(|(l, h)| (cost(shrink(l, h)), l, h))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map_or((1.0, 1.0), |b| (b.1, b.2))
    };
    // From wide to narrow: of equal costs the wider range wins.
    let (mut low, mut high) = best_of(&mut (0..=STEPS).rev().map(|s| (share(s), share(s))));
    if whole.min < 0.0 && whole.max > 0.0 {
        low = best_of(&mut (0..=STEPS).rev().map(|s| (share(s), high))).0;
        high = best_of(&mut (0..=STEPS).rev().map(|s| (low, share(s)))).1;
    }
    shrink(low, high)
}
