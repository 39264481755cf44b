//! What a median of noisy times is, and how sure it is.

/// A median with the interval that holds the true one with a stated confidence.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize)]
pub struct Estimate {
    /// The median.
    pub median: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Estimate {
    /// Half of the interval's width as a share of the median: 0.02 for "two percent up or down".
    pub fn half_width(&self) -> f64 {
        if self.median > 0.0 { (self.high - self.low) / 2.0 / self.median } else { f64::INFINITY }
    }

    /// True when the interval holds the number.
    pub fn holds(&self, number: f64) -> bool {
        self.low <= number && number <= self.high
    }
}

/// The median; the mean of the middle two for an even count, 0 of nothing.
pub fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    middle(&sorted)
}

fn middle(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => 0.0,
        n => (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0,
    }
}

/// The median and its bootstrap interval (percentile method, Efron 1979). `None` of nothing.
///
/// Nothing is drawn: how often the median of a sample drawn with replacement is at most the `k`-th smallest of `n` numbers is
/// known exactly. More than half of `n` drawings must be among the `k` smallest, each of which is with the probability `k/n`
/// (Maritz and Jarrett 1978, "A note on estimating the variance of the sample median"). So the interval depends on the numbers
/// alone, and is that of endless drawing.
pub fn estimate(numbers: &[f64], confidence: f64) -> Option<Estimate> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let n = sorted.len();
    let tail = (1.0 - confidence) / 2.0;
    // The smallest k whose number the median of a drawn sample does not exceed with at least that probability.
    let quantile = |probability: f64, needed: usize| {
        let (mut below, mut at) = (0, n);
        while at - below > 1 {
            let k = usize::midpoint(below, at);
            if at_least(n, k as f64 / n as f64, needed) >= probability { at = k } else { below = k }
        }
        sorted[at - 1]
    };
    // For an even count the median has two parts, and each end takes the outer one.
    (n > 0).then(|| Estimate {
        median: middle(&sorted),
        low: quantile(tail, n.div_ceil(2)),
        high: quantile(1.0 - tail, n / 2 + 1),
    })
}

/// The probability of at least `needed` successes in `n` trials.
fn at_least(n: usize, probability: f64, needed: usize) -> f64 {
    if probability >= 1.0 {
        return 1.0;
    }
    let odds = (probability / (1.0 - probability)).ln();
    let mut log = n as f64 * (1.0 - probability).ln();
    let mut sum = 0.0;
    for successes in 0..=n {
        if successes >= needed {
            sum += log.exp();
        }
        log += ((n - successes) as f64 / (successes + 1) as f64).ln() + odds;
    }
    sum
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Numbers between 0 and 1 from a seed (SplitMix64).
    pub(in crate::measure) struct Uniform(pub(in crate::measure) u64);

    impl Uniform {
        pub(in crate::measure) fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        }

        /// Times as they are measured: a sharp lower edge, and a long tail upwards. The median is `1 + ln 2 * spread`.
        pub(in crate::measure) fn time(&mut self, spread: f64) -> f64 {
            1.0 - spread * (1.0 - self.next()).ln()
        }
    }

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!((median(&[]), estimate(&[], 0.95)), (0.0, None));
        assert_eq!(estimate(&[7.0], 0.95), Some(Estimate { median: 7.0, low: 7.0, high: 7.0 }));
    }

    #[test]
    fn probabilities_are_those_of_the_binomial_distribution() {
        let expected = [(3, 0.5, 2, 0.5), (4, 0.25, 3, 0.050_781_25), (5, 1.0, 5, 1.0), (2, 0.9, 0, 1.0)];
        for (n, p, needed, probability) in expected {
            assert!((at_least(n, p, needed) - probability).abs() < 1e-12, "{n} {p} {needed}: {}", at_least(n, p, needed));
        }
    }

    #[test]
    fn drawing_samples_gives_the_same_interval() {
        let mut uniform = Uniform(1);
        let numbers: Vec<f64> = (0..41).map(|_| uniform.time(0.1)).collect();
        let mut medians: Vec<f64> = (0..20_000)
            .map(|_| median(&(0..41).map(|_| numbers[(uniform.next() * 41.0) as usize]).collect::<Vec<_>>()))
            .collect();
        medians.sort_unstable_by(f64::total_cmp);
        let exact = estimate(&numbers, 0.95).unwrap();
        // The drawn quantile may fall on a neighbour where the exact one is near the border of two.
        let rank = |x: f64| numbers.iter().filter(|&&n| n < x).count();
        assert!(rank(exact.low).abs_diff(rank(medians[500])) <= 1, "{exact:?} {}", medians[500]);
        assert!(rank(exact.high).abs_diff(rank(medians[19_499])) <= 1, "{exact:?} {}", medians[19_499]);
    }

    #[test]
    fn intervals_hold_the_true_median_as_often_as_they_say() {
        for (count, confidence) in [(15, 0.95), (40, 0.95), (101, 0.95), (60, 0.8)] {
            let mut uniform = Uniform(count as u64);
            let truth = 1.0 + 2.0_f64.ln() * 0.05;
            let held = (0..2000).filter(|_| {
                let numbers: Vec<f64> = (0..count).map(|_| uniform.time(0.05)).collect();
                estimate(&numbers, confidence).unwrap().holds(truth)
            });
            let share = held.count() as f64 / 2000.0;
            // Ends are numbers of the sample, so that few numbers make intervals a little longer than they need be.
            let fair = confidence - 0.02..confidence + 0.05;
            assert!(fair.contains(&share), "{count} numbers: {share} instead of {confidence}");
        }
    }
}
