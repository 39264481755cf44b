//! Sessions take turns: what disturbs the machine for a while disturbs all of them alike, and the ratios of one round survive it.

use std::time::Duration;

use spaceevo_ir::{Diagnostic, Tensor};

use super::clock::{Started, Time, Work};
use crate::runtime::Session;

/// A session that is timed, with what it is given.
pub struct Contestant {
    /// The session.
    pub session: Box<dyn Session>,
    /// One tensor per input.
    pub inputs: Vec<Tensor>,
}

impl Contestant {
    /// Runs once for the caches, which others used since, and then until `least` has gone by; the mean time of one run.
    ///
    /// Errors: those of [`Session::run_with`].
    pub fn turn(&mut self, least: Duration, work: Work) -> Result<Time, Diagnostic> {
        self.session.run_with(&self.inputs, &mut |_, _| {})?;
        let (started, mut runs) = (Started::now(work), 0);
        loop {
            self.session.run_with(&self.inputs, &mut |_, _| {})?;
            runs += 1;
            let taken = started.elapsed();
            // A processor that is taken away from us makes turns longer, not shorter.
            if taken.cpu >= least.as_nanos() as f64 {
                return Ok(Time { wall: taken.wall / f64::from(runs), cpu: taken.cpu / f64::from(runs) });
            }
        }
    }
}

/// One turn for each, beginning with a different one in every round, so that nobody always follows the same neighbour.
///
/// Errors: those of [`Session::run_with`].
pub fn round(contestants: &mut [Contestant], number: usize, turn: Duration, work: Work) -> Result<Vec<Time>, Diagnostic> {
    let count = contestants.len();
    let mut times = vec![Time::default(); count];
    for step in 0..count {
        // Forwards from there, in odd rounds backwards.
        let step = if number.is_multiple_of(2) { step } else { count - 1 - step };
        let at = (number / 2 + step) % count;
        times[at] = contestants[at].turn(turn, work)?;
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
        let noting = |at| Contestant { session: Box::new(Noting(at, runs.clone())), inputs: vec![] };
        let mut contestants: Vec<_> = (0..3).map(noting).collect();
        let times = interleave(&mut contestants, 6, Duration::ZERO, Work::Thread).unwrap();
        assert!(times.iter().all(|times| times.len() == 6 && times.iter().all(|t| t.cpu >= 1000.0)));
        let order: Vec<usize> = runs.lock().unwrap().iter().step_by(2).copied().collect();
        assert_eq!(order, [0, 1, 2, 2, 1, 0, 1, 2, 0, 0, 2, 1, 2, 0, 1, 1, 0, 2]);
    }
}
