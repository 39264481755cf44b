//! A/A trials: two sessions of the same model against each other. What differs there is what this machine makes up.

use spaceevo_ir::Diagnostic;

use super::load::{Model, load};
use super::sequential::{Settings, measure};
use super::statistics::Estimate;
use super::verdict::Verdict;
use crate::runtime::Runtime;

/// One trial.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Trial {
    /// Time of the first session over that of the second: 1, if all is well.
    pub ratio: Estimate,
    /// Whether the ratio became as sure as was asked for.
    pub sure: bool,
    /// Seconds that it took.
    pub seconds: f64,
}

/// One trial. Errors: those of loading and running.
pub fn trial(runtime: &dyn Runtime, model: Model<'_>, sessions: usize, settings: &Settings) -> Result<Trial, Diagnostic> {
    let mut twins = load(runtime, &[model, model], settings.threads, sessions)?;
    let rounds = measure(&mut twins, &[(0, 1)], settings)?;
    let ratio = settings.ratio(&rounds.times[0], &rounds.times[1]);
    let ratio = ratio.unwrap_or(Estimate { median: 1.0, low: 0.0, high: f64::INFINITY });
    Ok(Trial { ratio, sure: rounds.sure, seconds: rounds.seconds })
}

/// What trials say about a machine.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Summary {
    /// Trials.
    pub trials: usize,
    /// In which the first session was said to be faster, which it is not.
    pub faster: usize,
    /// In which it was said to be slower.
    pub slower: usize,
    /// Which did not become sure in time.
    pub unsure: usize,
    /// The largest distance from 1 of the medians of 95 % of the trials: what two sessions of one model may differ by.
    pub floor: f64,
    /// Median of the seconds of a trial.
    pub seconds: f64,
    /// Median of the half-widths.
    pub half_width: f64,
}

impl Summary {
    /// Counts verdicts as they are given with this floor.
    pub fn of(trials: &[Trial], floor: f64) -> Summary {
        let count = |verdict: Verdict| trials.iter().filter(|t| Verdict::of(&t.ratio, floor) == verdict).count();
        let mut far: Vec<f64> = trials.iter().map(|t| t.ratio.median.ln().abs().exp_m1()).collect();
        far.sort_unstable_by(f64::total_cmp);
        let median = |of: fn(&Trial) -> f64| super::statistics::median(&trials.iter().map(of).collect::<Vec<_>>());
        Summary {
            trials: trials.len(),
            faster: count(Verdict::Faster),
            slower: count(Verdict::Slower),
            unsure: trials.iter().filter(|t| !t.sure).count(),
            floor: far.get((0.95 * far.len() as f64).ceil() as usize - usize::from(!far.is_empty())).copied().unwrap_or(0.0),
            seconds: median(|t| t.seconds),
            half_width: median(|t| t.ratio.half_width()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_are_counted_by_what_they_show() {
        let trial = |low, high, sure| {
            let ratio = Estimate { median: f64::midpoint(low, high), low, high };
            Trial { ratio, sure, seconds: 0.5 }
        };
        let trials = [trial(0.99, 1.01, true), trial(0.96, 0.98, true), trial(1.02, 1.04, true), trial(0.9, 1.1, false)];
        let summary = Summary::of(&trials, 0.0);
        assert_eq!((summary.trials, summary.faster, summary.slower, summary.unsure), (4, 1, 1, 1));
        assert!((summary.floor - 0.03 / 0.97).abs() < 1e-12, "{}", summary.floor);
        assert_eq!(Summary::of(&trials, summary.floor).faster, 0);
        assert_eq!(Summary::of(&[], 0.0).trials, 0);
    }
}
