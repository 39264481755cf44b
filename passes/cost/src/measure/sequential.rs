//! Measures until it is sure enough, and no longer.

use std::time::{Duration, Instant};

use spaceevo_ir::Diagnostic;

use super::clock::{Time, Work};
use super::interleave::{Contestant, round};
use super::statistics::{Estimate, estimate};

/// How to measure, and when to stop.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// Threads of the sessions: with one, processor time is what is compared, with more the time on the wall.
    pub threads: usize,
    /// Stop when the interval of every ratio that is asked for is at most this share of it up and down.
    pub half_width: f64,
    /// Confidence of intervals.
    pub confidence: f64,
    /// Time of one turn; a turn has at least one run.
    pub turn: Duration,
    /// Rounds that are made in any case. Looking at few and stopping when they happen to agree would make intervals too short.
    pub least: usize,
    /// Time after which to stop without being sure.
    pub budget: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            threads: 1,
            half_width: 0.02,
            confidence: 0.95,
            turn: Duration::from_millis(2),
            least: 21,
            budget: Duration::from_secs(5),
        }
    }
}

impl Settings {
    /// The time that is compared.
    pub fn of(&self, time: &Time) -> f64 {
        if self.threads == 1 { time.cpu } else { time.wall }
    }

    /// The ratios of two contestants, round by round.
    pub fn ratio(&self, times: &[Time], to: &[Time]) -> Option<Estimate> {
        let ratios: Vec<f64> = times.iter().zip(to).map(|(a, b)| self.of(a) / self.of(b)).collect();
        estimate(&ratios, self.confidence)
    }

    /// The time of one run in nanoseconds.
    pub fn time(&self, times: &[Time]) -> Option<Estimate> {
        estimate(&times.iter().map(|time| self.of(time)).collect::<Vec<_>>(), self.confidence)
    }
}

/// What was measured.
#[derive(Clone, PartialEq, Debug)]
pub struct Rounds {
    /// For each contestant, the time of one run by round.
    pub times: Vec<Vec<Time>>,
    /// Whether every ratio became as sure as was asked for.
    pub sure: bool,
    /// How long it took.
    pub seconds: f64,
}

/// Lets contestants take turns until the ratios of `pairs` (numbers of contestants) are sure, or time is up.
///
/// Errors: those of running.
pub fn measure(contestants: &mut [Contestant], pairs: &[(usize, usize)], settings: &Settings) -> Result<Rounds, Diagnostic> {
    let start = Instant::now();
    let work = Work::of(settings.threads);
    // Not counted: memory is mapped, kernels are chosen.
    round(contestants, 0, Duration::ZERO, work)?;
    let mut times = vec![Vec::new(); contestants.len()];
    for number in 0.. {
        let each = round(contestants, number, settings.turn, work)?;
        times.iter_mut().zip(each).for_each(|(times, time): (&mut Vec<Time>, _)| times.push(time));
        let sure = is_sure(&times, pairs, settings);
        if sure || start.elapsed() >= settings.budget {
            return Ok(Rounds { times, sure, seconds: start.elapsed().as_secs_f64() });
        }
    }
    unreachable!("rounds end by time")
}

/// The rule for stopping.
fn is_sure(times: &[Vec<Time>], pairs: &[(usize, usize)], settings: &Settings) -> bool {
    let rounds = times.first().map_or(0, Vec::len);
    let sure = |&(a, b): &(usize, usize)| {
        settings.ratio(&times[a], &times[b]).is_some_and(|ratio| ratio.half_width() <= settings.half_width)
    };
    rounds >= settings.least && pairs.iter().all(sure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::statistics::tests::Uniform;

    /// Two networks of which the second takes 1.5 times as long, on a machine whose speed wanders by a third.
    fn wandering(rounds: usize, spread: f64, seed: u64) -> Vec<Vec<Time>> {
        let mut uniform = Uniform(seed);
        let mut times = vec![Vec::new(); 2];
        for at in 0..rounds {
            let speed = 1.0 + 0.3 * (at as f64 / 20.0).sin();
            for (times, slower) in times.iter_mut().zip([1.0, 1.5]) {
                let time = slower * speed * uniform.time(spread);
                times.push(Time { wall: 2.0 * time, cpu: time });
            }
        }
        times
    }

    #[test]
    fn ratios_survive_a_machine_whose_speed_wanders() {
        let settings = Settings::default();
        let times = wandering(200, 0.01, 1);
        let ratio = settings.ratio(&times[1], &times[0]).unwrap();
        assert!(ratio.holds(1.5) && ratio.half_width() < 0.004, "{ratio:?}");
        assert!(settings.time(&times[1]).unwrap().half_width() > 10.0 * ratio.half_width());
    }

    #[test]
    fn it_stops_when_the_ratio_is_sure_and_not_before() {
        let settings = Settings::default();
        let rounds = |spread: f64| (1..2000).find(|&n| is_sure(&wandering(n, spread, 3), &[(1, 0)], &settings));
        assert_eq!(rounds(0.001), Some(settings.least), "a quiet machine needs only what is made in any case");
        let noisy = rounds(0.2).expect("it becomes sure at last");
        assert!(noisy > 2 * settings.least, "{noisy}");
        let ratio = settings.ratio(&wandering(noisy, 0.2, 3)[1], &wandering(noisy, 0.2, 3)[0]).unwrap();
        assert!(ratio.half_width() <= 0.02);
        assert!(is_sure(&wandering(31, 9.0, 3), &[], &settings), "nothing is asked for");
    }

    #[test]
    fn with_several_threads_the_wall_counts() {
        let time = Time { wall: 3.0, cpu: 5.0 };
        assert_eq!(Settings::default().of(&time), 5.0);
        assert_eq!(Settings { threads: 2, ..Settings::default() }.of(&time), 3.0);
    }
}
