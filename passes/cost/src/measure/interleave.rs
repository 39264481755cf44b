//! Sessions take turns: what disturbs the machine for a while disturbs all of them alike, and the ratios of one round survive it.

use std::time::Duration;

use spaceevo_ir::{Diagnostic, Tensor};

use super::clock::{Started, Time, Work};
use crate::runtime::Session;

/// A model that is timed.
pub struct Contestant {
    /// Sessions of the model, at least one. Where a session's memory happens to lie changes its speed by a percent or so; with
    /// two or more, that is part of what is seen to vary.
    pub sessions: Vec<Box<dyn Session>>,
    /// One tensor per input.
    pub inputs: Vec<Tensor>,
    /// Processor time of the last run in nanoseconds, 0 before the first.
    last: f64,
}

/// A run of so many turns is long enough to warm the caches by itself, and no other is made before it.
const LONG: f64 = 5.0;

impl Contestant {
    /// A model with its sessions and what they are given.
    pub fn new(sessions: Vec<Box<dyn Session>>, inputs: Vec<Tensor>) -> Contestant {
        Contestant { sessions, inputs, last: 0.0 }
    }

    /// Runs a session once for the caches, which others used since, and then until `least` has gone by; the mean time of one
    /// run.
    ///
    /// Errors: those of [`Session::run_with`].
    pub fn turn(&mut self, session: usize, least: Duration, work: Work) -> Result<Time, Diagnostic> {
        let least = least.as_nanos() as f64;
        let count = self.sessions.len();
        let session = &mut self.sessions[session % count];
        if self.last <= LONG * least {
            session.run_with(&self.inputs, &mut |_, _| {})?;
        }
        let (started, mut runs) = (Started::now(work), 0.0);
        loop {
            session.run_with(&self.inputs, &mut |_, _| {})?;
            runs += 1.0;
            let taken = started.elapsed();
            // A processor that is taken away from us makes turns longer, not shorter.
            if taken.cpu >= least {
                self.last = taken.cpu / runs;
                return Ok(Time { wall: taken.wall / runs, cpu: taken.cpu / runs });
            }
        }
    }
}

/// One turn for each, beginning with a different one in every round, so that nobody always follows the same neighbour. Two
/// sessions of one model take turns, too, in an order that brings every pair of two models' sessions together.
///
/// Errors: those of [`Session::run_with`].
pub fn round(contestants: &mut [Contestant], number: usize, turn: Duration, work: Work) -> Result<Vec<Time>, Diagnostic> {
    let count = contestants.len();
    let mut times = vec![Time::default(); count];
    for step in 0..count {
        // Forwards from there, in odd rounds backwards.
        let step = if number.is_multiple_of(2) { step } else { count - 1 - step };
        let at = (number / 2 + step) % count;
        times[at] = contestants[at].turn(number >> (1 + at % 2), turn, work)?;
    }
    Ok(times)
}

/// So many rounds: for each contestant, the time of one run by round.
///
/// Errors: those of [`Session::run_with`].
pub fn interleave(
    contestants: &mut [Contestant],
    rounds: usize,
    turn: Duration,
    work: Work,
) -> Result<Vec<Vec<Time>>, Diagnostic> {
    let mut times = vec![Vec::with_capacity(rounds); contestants.len()];
    for number in 0..rounds {
        let each = round(contestants, number, turn, work)?;
        times.iter_mut().zip(each).for_each(|(times, time)| times.push(time));
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Port, TensorView};
    use std::sync::{Arc, Mutex};

    /// Notes that it ran, and works a little.
    struct Noting(usize, Arc<Mutex<Vec<usize>>>);

    impl Session for Noting {
        fn inputs(&self) -> &[Port] {
            &[]
        }

        fn outputs(&self) -> &[Port] {
            &[]
        }

        fn run_with(&mut self, _: &[Tensor], _: &mut dyn FnMut(usize, TensorView<'_>)) -> Result<(), Diagnostic> {
            self.1.lock().unwrap().push(self.0);
            let work = Started::now(Work::Thread);
            while work.elapsed().cpu < 1000.0 {}
            Ok(())
        }
    }

    #[test]
    fn everybody_runs_in_every_round_and_goes_first_as_often() {
        let runs = Arc::new(Mutex::new(Vec::new()));
        let noting = |at| Contestant::new(vec![Box::new(Noting(at, runs.clone()))], vec![]);
        let mut contestants: Vec<_> = (0..3).map(noting).collect();
        let times = interleave(&mut contestants, 6, Duration::ZERO, Work::Thread).unwrap();
        assert!(times.iter().all(|times| times.len() == 6 && times.iter().all(|t| t.cpu >= 1000.0)));
        // The very first run of each is told by no other that it is long.
        let order = runs.lock().unwrap().clone();
        let turns: Vec<usize> = order[6..].to_vec();
        assert_eq!(order[..6], [0, 0, 1, 1, 2, 2]);
        assert_eq!(turns, [2, 1, 0, 1, 2, 0, 0, 2, 1, 2, 0, 1, 1, 0, 2]);
    }

    #[test]
    fn every_session_of_one_model_meets_every_one_of_another() {
        let runs = Arc::new(Mutex::new(Vec::new()));
        let noting = |at| Box::new(Noting(at, runs.clone())) as Box<dyn Session>;
        let mut contestants =
            [Contestant::new(vec![noting(0), noting(1)], vec![]), Contestant::new(vec![noting(10), noting(11)], vec![])];
        for number in 0..8 {
            contestants.iter_mut().for_each(|c| c.last = 1e9);
            round(&mut contestants, number, Duration::ZERO, Work::Thread).unwrap();
        }
        let runs = runs.lock().unwrap();
        let pairs: std::collections::BTreeSet<(usize, usize)> =
            runs.chunks(2).map(|pair| (pair[0].min(pair[1]), pair[0].max(pair[1]))).collect();
        assert_eq!(pairs.into_iter().collect::<Vec<_>>(), [(0, 10), (0, 11), (1, 10), (1, 11)]);
    }
}
