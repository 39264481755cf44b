//! The two clocks of every measurement: time on the wall, and the time for which a processor worked for us.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Whose processor time counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// The calling thread's, which runs all of a session that has one thread.
    Thread,
    /// That of all threads of this process.
    Process,
}

impl Work {
    /// What to count for sessions with so many threads.
    pub fn of(threads: usize) -> Work {
        if threads == 1 { Work::Thread } else { Work::Process }
    }

    /// Processor time so far.
    pub fn now(self) -> Duration {
        let now = clock_gettime(match self {
            Work::Thread => ClockId::ThreadCPUTime,
            Work::Process => ClockId::ProcessCPUTime,
        });
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
    }
}

/// Nanoseconds that something took.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Time {
    /// On the wall.
    pub wall: f64,
    /// Of processors; with several threads more than on the wall.
    pub cpu: f64,
}

/// Both clocks, started.
#[derive(Clone, Copy, Debug)]
pub struct Started {
    work: Work,
    wall: Instant,
    cpu: Duration,
}

impl Started {
    /// Starts both.
    pub fn now(work: Work) -> Started {
        Started { work, cpu: work.now(), wall: Instant::now() }
    }

    /// Time since then.
    pub fn elapsed(&self) -> Time {
        let wall = self.wall.elapsed();
        Time { wall: wall.as_nanos() as f64, cpu: (self.work.now() - self.cpu).as_nanos() as f64 }
    }
}
