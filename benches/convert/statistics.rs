//! Medians, and how far they can be trusted: order statistics, which assume nothing about how timings are spread.

/// What one job measured, or one ratio, over all rounds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Between these two measurements the true median lies with the probability `confidence`.
    pub(crate) interval: (f64, f64),
    /// 0.95 or just above; less when there are too few measurements for that (five: 0.94).
    pub(crate) confidence: f64,
}

impl Summary {
    /// Summary of at least one number.
    pub(crate) fn of(numbers: &[f64]) -> Summary {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (n, middle) = (sorted.len(), sorted.len() / 2);
        let median = if n % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        let (cut, confidence) = cut(n);
        let interval = (sorted[cut], sorted[n - 1 - cut]);
        Summary { median, min: sorted[0], max: sorted[n - 1], interval, confidence }
    }
}

/// How many of `n` sorted numbers may be cut off at either end so that the median lies between the rest with a probability
/// of 0.95, and that probability. The number of measurements below the true median is binomial with p = 1/2:
/// P(the median is outside of x[k] to x[n-1-k]) = 2 P(Bin(n, 1/2) <= k) (David and Nagaraja, Order Statistics, 7.1).
fn cut(n: usize) -> (usize, f64) {
    let mut term = 0.5f64.powi(n as i32);
    let mut below = term;
    let mut best = (0, 1.0 - 2.0 * below);
    for k in 1..n / 2 {
        term *= (n + 1 - k) as f64 / k as f64;
        below += term;
        if 1.0 - 2.0 * below < 0.95 {
            break;
        }
        best = (k, 1.0 - 2.0 * below);
    }
    best
}
