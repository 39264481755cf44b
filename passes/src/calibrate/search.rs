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
    let bins = without_zeros(histogram.bins());
    let own: Vec<f64> = bins.iter().map(|b| entropy_term(b.2)).collect();
    descend(whole, |range| relative_entropy(&bins, &own, range, levels))
}

/// Zero is stored exactly in every range. Left in, the many zeros behind a ReLU would ask for the finest steps, whatever is
/// cut off: the bin that starts at zero counts no more than its neighbour.
fn without_zeros(mut bins: Vec<(f64, f64, f64)>) -> Vec<(f64, f64, f64)> {
    let zero = bins.partition_point(|b| b.0 < 0.0);
    if bins.get(zero).is_some_and(|b| b.0 < b.1)
        && let Some(neighbour) = bins.get(zero + 1).or(zero.checked_sub(1).and_then(|before| bins.get(before))).map(|b| b.2)
    {
        bins[zero].2 = bins[zero].2.min(neighbour);
    }
    bins
}

/// Relative entropy sum(p log(p / q) - p + q) between the clipped distribution p and q, which has one density per stored level
/// and lacks what is clipped. (Were q scaled to a sum of one, a range that cuts off nearly everything would cost nothing.)
fn relative_entropy(bins: &[(f64, f64, f64)], own: &[f64], range: Range, levels: u32) -> f64 {
    let (low, high) = (f64::from(range.min.min(0.0)), f64::from(range.max.max(0.0)));
    let step = (high - low) / f64::from(levels - 1);
    // A bin that the end of the range lies in is inside: numbers at a bound (behind ReLU6) are not clipped.
    let kept = bins.partition_point(|b| b.0 + b.1 / 2.0 <= low)..bins.partition_point(|b| b.0 - b.1 / 2.0 <= high);
    if step <= 0.0 || kept.is_empty() {
        return f64::INFINITY;
    }
    let (first, last) = (kept.start, kept.end - 1);
    let counts = |range: std::ops::Range<usize>| bins[range].iter().map(|b| b.2).sum::<f64>();
    // What is clipped counts for p at the outermost bin inside, but not for q: that is what makes clipping cost something.
    let clipped = [counts(0..first), counts(last + 1..bins.len())];
    let per_step = 1.0 / step;
    let mut inside = vec![[0.0f64; 3]; levels as usize];
    for (i, &(centre, _, count)) in bins[kept.clone()].iter().enumerate() {
        let level = &mut inside[(((centre - low) * per_step + 0.5) as usize).min(levels as usize - 1)];
        let i = i + first;
        let extra = if i == first { clipped[0] } else { 0.0 } + if i == last { clipped[1] } else { 0.0 };
        *level = [level[0] + count, level[1] + 1.0, level[2] + count + extra];
    }
    let (total, within) = (counts(0..bins.len()), counts(kept.clone()));
    // With c counts and n = their total: sum p log p = (sum c log c) / n - log n, where only the edges hold more than counted.
    let plain: f64 = own[kept].iter().sum();
    let edges = if first == last {
        entropy_term(bins[first].2 + clipped[0] + clipped[1]) - own[first]
    } else {
        entropy_term(bins[first].2 + clipped[0]) - own[first] + entropy_term(bins[last].2 + clipped[1]) - own[last]
    };
    let of_p = (plain + edges) / total - total.ln();
    let levels: Vec<&[f64; 3]> = inside.iter().filter(|level| level[0] > 0.0).collect();
    let of_q: f64 = levels.iter().map(|[count, bins, all]| all / total * (count / bins / total).ln()).sum();
    // Chance alone makes counts of m bins differ by (m - 1) / 2n in entropy (Miller and Madow): without this term, values of few
    // numbers would ask for the range in which each level has a single bin.
    let chance = ((last - first + 1) as f64 - levels.len() as f64) / (2.0 * total);
    of_p - of_q - (1.0 - within / total) - chance
}

/// `c log c`.
fn entropy_term(count: f64) -> f64 {
    if count > 0.0 { count * count.ln() } else { 0.0 }
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
