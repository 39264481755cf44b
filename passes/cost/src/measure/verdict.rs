//! Is A faster than B? Only if the interval of the ratio says so.

use super::statistics::Estimate;

/// What a ratio of times shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The first takes less time.
    Faster,
    /// The first takes more time.
    Slower,
    /// The interval holds 1.
    NoDifference,
}

impl Verdict {
    /// What a ratio, time of the first over time of the second, shows beyond `floor`: how far two sessions of the same model
    /// may be from each other on this machine ([`super::self_test`]).
    pub fn of(ratio: &Estimate, floor: f64) -> Verdict {
        if ratio.high < 1.0 / (1.0 + floor) {
            Verdict::Faster
        } else if ratio.low > 1.0 + floor {
            Verdict::Slower
        } else {
            Verdict::NoDifference
        }
    }

    /// One word, or three.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Faster => "faster",
            Verdict::Slower => "slower",
            Verdict::NoDifference => "no difference shown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_that_holds_one_shows_nothing() {
        let of = |low, high, floor| Verdict::of(&Estimate { median: f64::midpoint(low, high), low, high }, floor);
        assert_eq!(of(0.9, 0.99, 0.0), Verdict::Faster);
        assert_eq!(of(1.01, 1.1, 0.0), Verdict::Slower);
        assert_eq!(of(0.98, 1.0, 0.0), Verdict::NoDifference);
        assert_eq!(of(0.98, 1.2, 0.0), Verdict::NoDifference);
        // Two sessions of one model may differ by 2 % here: an interval that ends within that shows nothing either.
        assert_eq!(of(0.97, 0.985, 0.02), Verdict::NoDifference);
        assert_eq!(of(0.9, 0.975, 0.02), Verdict::Faster);
        assert_eq!(of(1.021, 1.03, 0.02), Verdict::Slower);
    }
}
