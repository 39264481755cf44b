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
use super::network::reference;
use crate::measure::clock::Work;
use crate::measure::interleave::Contestant;
use crate::runtime::Runtime;

/// Length of a reading.
const TURN: Duration = Duration::from_millis(1);

/// The reference network, and what it took.
pub struct Pace {
    network: Contestant,
    readings: Vec<f64>,
}

impl Pace {
    /// Errors: those of loading the reference network.
    pub fn new(runtime: &dyn Runtime, target: &Target, registry: &Registry) -> Result<Pace, Diagnostic> {
        Ok(Pace { network: timed(runtime, &reference(target, registry)?)?, readings: Vec::new() })
    }

    /// Takes a reading. Errors: those of running the reference network.
    pub fn read(&mut self) -> Result<(), Diagnostic> {
        self.readings.push(self.network.turn(0, TURN, Work::Thread)?.cpu);
        Ok(())
    }

    /// Nanoseconds that the reference network took around what ran between two readings, for each two since the last call.
    pub fn around(&mut self) -> Vec<f64> {
        let around = self.readings.windows(2).map(|two| (two[0] + two[1]) / 2.0).collect();
        self.readings.clear();
        around
    }
}
