//! How fast the machine is at the moment.
//!
//! ```text
//! reading ─▶ run ─▶ reading ─▶ run ─▶ reading        each run is told by the readings on both sides of it
//! ```
//!
//! Whoever shares a core or a cache with us makes everything slower, by up to half and for a tenth of a second or for minutes. So a
//! network that is always the same runs between all others, and what counts is how many times as long as it they take.

use std::time::Duration;

use spaceevo_ir::Diagnostic;
use spaceevo_passes::{Registry, Target};

use super::collect::timed;
use super::network::{Numbers, reference};
use crate::measure::clock::Work;
use crate::measure::interleave::Contestant;
use crate::runtime::Runtime;

/// Length of a reading.
const READING: Duration = Duration::from_millis(1);
/// Length of a turn of what is timed beside readings, and how many there are.
const TURN: Duration = Duration::from_millis(3);
const TURNS: usize = 6;
/// Runs of a session that do not count: memory is planned in the first and mapped in the next.
pub(super) const WARM: usize = 3;

/// The reference network, and what it took.
pub struct Pace {
    network: Contestant,
    readings: Vec<f64>,
}

impl Pace {
    /// Errors: those of loading the reference network.
    pub fn new(numbers: Numbers, runtime: &dyn Runtime, target: &Target, registry: &Registry) -> Result<Pace, Diagnostic> {
        Ok(Pace { network: timed(runtime, &reference(numbers, target, registry)?)?, readings: Vec::new() })
    }

    /// Takes a reading. Errors: those of running the reference network.
    pub fn read(&mut self) -> Result<(), Diagnostic> {
        self.readings.push(self.network.turn(0, READING, Work::Thread)?.cpu);
        Ok(())
    }

    /// Nanoseconds of processor of a run of something, in some turns; and those of the reference network around each of them. It is to be
    /// alone in the process: beside seven other sessions a network takes 4 % longer (Intel Xeon, Emerald Rapids).
    ///
    /// Errors: those of running either.
    pub fn beside(&mut self, other: &mut Contestant) -> Result<Vec<[f64; 2]>, Diagnostic> {
        for _ in 0..WARM {
            other.turn(0, Duration::ZERO, Work::Thread)?;
        }
        self.readings.clear();
        self.read()?;
        let mut times = Vec::new();
        for _ in 0..TURNS {
            times.push(other.turn(0, TURN, Work::Thread)?.cpu);
            self.read()?;
        }
        Ok(times.into_iter().zip(self.around()).map(|(time, pace)| [time, pace]).collect())
    }

    /// Nanoseconds that the reference network took around what ran between two readings, for each two since the last call.
    pub fn around(&mut self) -> Vec<f64> {
        let around = self.readings.windows(2).map(|two| (two[0] + two[1]) / 2.0).collect();
        self.readings.clear();
        around
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_is_told_by_the_readings_on_both_sides() {
        let mut pace = Pace { network: Contestant::new(Vec::new(), Vec::new()), readings: vec![2.0, 4.0, 8.0] };
        assert_eq!(pace.around(), [3.0, 6.0]);
        assert!(pace.around().is_empty(), "each run is told once");
    }
}
