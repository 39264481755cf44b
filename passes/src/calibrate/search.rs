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
    if bins.is_empty() {
        return whole;
    }
    let sums = Sums::of(&bins);
    descend(whole, |range| relative_entropy(&sums, range, levels))
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

/// Sums over the first bins, so that a level costs the same however many bins it has.
struct Sums {
    /// Centre of the first bin and width of each.
    start: (f64, f64),
    /// By place from the first bin on: how many bins that are not empty come before.
    rank: Vec<usize>,
    /// By rank: sum of the counts, and of `c log c`, of the bins before.
    counts: Vec<[f64; 2]>,
}

impl Sums {
    fn of(bins: &[(f64, f64, f64)]) -> Sums {
        let (mut rank, mut counts, mut sum) = (vec![0], vec![[0.0; 2]], [0.0; 2]);
        for (before, &(centre, width, count)) in bins.iter().enumerate() {
            rank.resize(((centre - bins[0].0) / width).round() as usize + 1, before);
            rank.push(before + 1);
            sum = [sum[0] + count, sum[1] + entropy_term(count)];
            counts.push(sum);
        }
        Sums { start: (bins[0].0, bins[0].1), rank, counts }
    }

    /// How many bins have their centre at `x` or below.
    fn up_to(&self, x: f64) -> usize {
        let place = ((x - self.start.0) / self.start.1 + 1.0).max(0.0) as usize;
        self.rank[place.min(self.rank.len() - 1)]
    }

    /// The sums over the bins from rank `from` up to, without, rank `to`.
    fn between(&self, from: usize, to: usize) -> [f64; 2] {
        [self.counts[to][0] - self.counts[from][0], self.counts[to][1] - self.counts[from][1]]
    }
}

/// Relative entropy sum(p log(p / q) - p + q) between the clipped distribution p and q, which has one density per stored level
/// and lacks what is clipped. (Were q scaled to a sum of one, a range that cuts off nearly everything would cost nothing.)
fn relative_entropy(sums: &Sums, range: Range, levels: u32) -> f64 {
    let (low, high) = (f64::from(range.min.min(0.0)), f64::from(range.max.max(0.0)));
    let step = (high - low) / f64::from(levels - 1);
    let (all, half) = (sums.counts.len() - 1, sums.start.1 / 2.0);
    // A bin that the end of the range lies in is inside: numbers at a bound (behind ReLU6) are not clipped.
    let (first, end) = (sums.up_to(low - half), sums.up_to(high + half));
    if step <= 0.0 || first >= end {
        return f64::INFINITY;
    }
    let count = |from: usize, to: usize| sums.between(from, to)[0];
    let (total, within) = (count(0, all), count(first, end));
    // What is clipped counts for p at the outermost bin inside, but not for q: that is what makes clipping cost something.
    let mut extra = [(first, count(0, first)), (end - 1, count(end, all))];
    if extra[0].0 == extra[1].0 {
        extra = [(first, total - within), (end, 0.0)];
    }
    // With c counts and n = their total: sum p log p = (sum c log c) / n - log n, where only the edges hold more than counted.
    let edges = extra.iter().filter(|(_, more)| *more > 0.0).map(|&(at, more)| {
        let [own, term] = sums.between(at, at + 1);
        entropy_term(own + more) - term
    });
    let of_p = (sums.between(first, end)[1] + edges.sum::<f64>()) / total - total.ln();
    let (mut of_q, mut met, mut from) = (0.0, 0.0, first);
    for level in 0..levels {
        let last = level + 1 == levels;
        let to = if last { end } else { sums.up_to(low + (f64::from(level) + 0.5) * step).clamp(from, end) };
        if to > from {
            let own = count(from, to);
            let more: f64 = extra.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, more)| more).sum();
            of_q += (own + more) / total * (own / (to - from) as f64 / total).ln();
            met += 1.0;
        }
        from = to;
    }
    // Chance alone makes counts of m bins differ by (m - 1) / 2n in entropy (Miller and Madow): without this term, values of few
    // numbers would ask for the range in which each level has a single bin.
    let chance = ((end - first) as f64 - met) / (2.0 * total);
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
