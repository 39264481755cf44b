//! Measures the kernels of drawn networks until time is up, and goes on where it stopped.
//!
//! Each network is traced in several rounds, far from each other in time, so that what disturbs the machine for a while is in one
//! round of a few networks. What was measured is appended to a file, a round of a network at once:
//!
//! ```text
//! network stored 17 round 0 cpu 2894100.0 sum 2920400.0 kernels 61 reference 310250.0
//! QLinearConv last 1:1 1x32x28x28 1x64x28x28 k3x3 s1x1 d1x1 g1 +0 in22 = 28250.0
//! …
//! end
//! ```
//!
//! Beside each of them runs the reference network: what it takes says how fast the machine was at that time, and times are
//! brought to the speed that it has mostly.
//!
//! Networks of the last part are drawn near kernels that the first part predicts badly: those that are held out have no say.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spaceevo_ir::{Diagnostic, Loc};
use spaceevo_passes::{Registry, Target};

use super::draw::{self, Drawn, Draws, Numbers, Prior, network};
use super::fit::{Sample, fit, held_out, median};
use super::{Origin, Overhead};
use crate::kernels::{Kernel, detect};
use crate::measure::clock::Work;
use crate::measure::interleave::Contestant;
use crate::measure::trace::{Data, middle, parse};
use crate::runtime::{LoadOptions, ModelSource, Runtime};

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Of random numbers.
    pub seed: u64,
    /// Networks in stored numbers.
    pub stored: usize,
    /// Networks in float.
    pub float: usize,
    /// Times that each is traced.
    pub rounds: usize,
    /// Runs of a trace.
    pub runs: usize,
}

impl Plan {
    /// About 4,000 kernels, in four minutes on a processor of 2023.
    pub fn usual(seed: u64) -> Plan {
        Plan { seed, stored: 150, float: 60, rounds: 2, runs: 28 }
    }

    /// Traces in all.
    pub fn steps(&self) -> usize {
        self.rounds * (self.stored + self.float)
    }
}

/// A network, once traced.
#[derive(Clone, PartialEq, Debug)]
pub struct Traced {
    /// What it computes with.
    pub numbers: Numbers,
    /// Its number.
    pub number: usize,
    /// Which round.
    pub round: usize,
    /// Nanoseconds of processor of a run that is not traced; 0 in rounds that do not look.
    pub cpu: f64,
    /// Kernels that ran.
    pub kernels: usize,
    /// Nanoseconds of all kernels that ran.
    pub sum: f64,
    /// Nanoseconds of processor of the reference network at that time.
    pub reference: f64,
    /// Kernels that were foreseen, with their nanoseconds.
    pub times: Vec<(Kernel, f64)>,
}

/// What was measured so far.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Measured {
    /// In order.
    pub traced: Vec<Traced>,
}

/// ONNX Runtime cuts off parts of microseconds, half of one on average.
const CUT: f64 = 0.5;
/// Length of a turn of the reference network.
const TURN: Duration = Duration::from_millis(3);
/// Runs of a trace that are not counted.
const WARM: usize = 3;
/// Part of the networks that are drawn before errors are looked at.
const FIRST: f64 = 0.6;

impl Measured {
    /// Reads what was appended; what was cut off at the end is left out.
    ///
    /// Errors: `measurements-file` with the line that is none.
    pub fn parse(text: &str, file: &str) -> Result<Measured, Diagnostic> {
        let mut measured = Measured::default();
        let mut open: Option<Traced> = None;
        let lines = text.lines().count();
        for (at, line) in text.lines().enumerate() {
            let fault = |what: &str| {
                let message = format!("{file}: line {}: {what}", at + 1);
                Diagnostic::error("measurements-file", Loc::Unknown, message)
            };
            if line == "end" {
                measured.traced.push(open.take().ok_or_else(|| fault("nothing is to be ended here"))?);
            } else if line.starts_with("network ") {
                open = Some(head(line).ok_or_else(|| fault("this is no head of a network"))?);
            } else {
                let pair = line
                    .split_once(" = ")
                    .and_then(|(key, time)| Some((key.parse().ok()?, time.parse().ok().filter(|t: &f64| t.is_finite())?)));
                match (&mut open, pair) {
                    (Some(open), Some(pair)) => open.times.push(pair),
                    // The process ended while it wrote.
                    _ if at + 1 == lines => {}
                    _ => return Err(fault("this is no kernel and its time")),
                }
            }
        }
        Ok(measured)
    }

    /// Nanoseconds that the reference network takes mostly; 0 where nothing was measured.
    pub fn reference(&self) -> f64 {
        median(&self.traced.iter().map(|t| t.reference).collect::<Vec<_>>())
    }

    /// The same at the speed that the machine has mostly.
    pub fn steady(&self) -> Measured {
        let usual = self.reference();
        let steady = |at: usize| {
            // One measurement of the reference has noise of its own; what disturbs the machine lasts longer.
            let around = &self.traced[at.saturating_sub(1)..(at + 2).min(self.traced.len())];
            let slow = median(&around.iter().map(|t| t.reference).collect::<Vec<_>>()) / usual;
            let traced = &self.traced[at];
            let times = traced.times.iter().map(|(kernel, time)| (kernel.clone(), time / slow)).collect();
            Traced { cpu: traced.cpu / slow, sum: traced.sum / slow, times, ..traced.clone() }
        };
        Measured { traced: (0..self.traced.len()).map(steady).collect() }
    }

    /// Kernels with all their times.
    pub fn samples(&self) -> Vec<Sample> {
        let mut order: Vec<&Kernel> = Vec::new();
        let mut times: HashMap<&Kernel, Vec<(usize, f64)>> = HashMap::new();
        for traced in &self.traced {
            for (kernel, time) in &traced.times {
                let all = times.entry(kernel).or_default();
                if all.is_empty() {
                    order.push(kernel);
                }
                all.push((traced.round, *time));
            }
        }
        let sample = |kernel: &Kernel| {
            let mut all = times[kernel].clone();
            all.sort_by_key(|(round, _)| *round);
            Sample { kernel: kernel.clone(), times: all.into_iter().map(|(_, time)| time).collect() }
        };
        order.into_iter().map(sample).collect()
    }

    /// What networks cost beside their kernels: `cpu = call + factor × sum + step × kernels` with the least relative error. Nothing
    /// where fewer than eight networks ran without being traced.
    pub fn overhead(&self) -> Overhead {
        let mut nets: BTreeMap<(Numbers, usize), (Vec<f64>, Vec<f64>, usize)> = BTreeMap::new();
        for traced in &self.traced {
            let net = nets.entry((traced.numbers, traced.number)).or_default();
            net.0.extend((traced.cpu > 0.0).then_some(traced.cpu));
            net.1.push(traced.sum);
            net.2 = traced.kernels;
        }
        let points: Vec<([f64; 3], f64)> = nets
            .values()
            .filter(|(cpu, ..)| !cpu.is_empty())
            .map(|(cpu, sum, kernels)| ([1.0, *kernels as f64, median(sum)], median(cpu)))
            .collect();
        let none = Overhead { call: 0.0, step: 0.0, factor: 1.0, spread: 0.0 };
        if points.len() < 8 {
            return none;
        }
        let solved = least(&points).filter(|[call, ..]| *call >= 0.0).or_else(|| {
            // No run starts before it starts.
            let rest: Vec<_> = points.iter().map(|([_, kernels, sum], cpu)| ([0.0, *kernels, *sum], *cpu)).collect();
            least(&rest)
        });
        let Some([call, step, factor]) = solved else { return none };
        let error =
            |([one, kernels, sum], cpu): &([f64; 3], f64)| ((one * call + kernels * step + sum * factor) / cpu - 1.0).abs();
        let mut errors: Vec<f64> = points.iter().map(error).collect();
        errors.sort_unstable_by(f64::total_cmp);
        // Two of three are within a standard deviation.
        Overhead { call, step, factor, spread: errors[errors.len() * 2 / 3] }
    }
}

/// Weights of the least relative error, by the normal equations; a column of zeros gets the weight 0.
fn least(points: &[([f64; 3], f64)]) -> Option<[f64; 3]> {
    let mut rows = [[0.0; 4]; 3];
    for (terms, whole) in points {
        let terms = terms.map(|term| term / whole);
        for a in 0..3 {
            (0..3).for_each(|b| rows[a][b] += terms[a] * terms[b]);
            rows[a][3] += terms[a];
        }
    }
    for a in 0..3 {
        if rows[a][a] == 0.0 {
            rows[a] = [0.0; 4];
            rows[a][a] = 1.0;
        }
    }
    for a in 0..3 {
        let pivot = rows[a][a];
        if pivot.abs() < 1e-300 {
            return None;
        }
        rows[a].iter_mut().for_each(|x| *x /= pivot);
        for b in (0..3).filter(|&b| b != a) {
            let (times, from) = (rows[b][a], rows[a]);
            rows[b].iter_mut().zip(from).for_each(|(x, y)| *x -= times * y);
        }
    }
    let found = [rows[0][3], rows[1][3], rows[2][3]];
    found.iter().all(|x| x.is_finite()).then_some(found)
}

fn head(line: &str) -> Option<Traced> {
    let fields: Vec<&str> = line.split(' ').collect();
    let ["network", numbers, number, "round", round, "cpu", cpu, "sum", sum, "kernels", kernels, "reference", reference] =
        fields[..]
    else {
        return None;
    };
    let numbers = match numbers {
        "stored" => Numbers::Stored,
        "float" => Numbers::Float,
        _ => return None,
    };
    Some(Traced {
        numbers,
        number: number.parse().ok()?,
        round: round.parse().ok()?,
        cpu: cpu.parse().ok()?,
        kernels: kernels.parse().ok()?,
        sum: sum.parse().ok()?,
        reference: reference.parse().ok().filter(|r: &f64| *r > 0.0)?,
        times: Vec::new(),
    })
}

impl Traced {
    fn to_text(&self) -> String {
        let word = if self.numbers == Numbers::Stored { "stored" } else { "float" };
        let Traced { number, round, cpu, sum, kernels, reference, .. } = self;
        let mut text = format!(
            "network {word} {number} round {round} cpu {cpu:?} sum {sum:?} kernels {kernels} reference {reference:?}\n"
        );
        for (kernel, time) in &self.times {
            let _ = writeln!(text, "{kernel} = {time:?}");
        }
        text + "end\n"
    }
}

/// A network ready to be timed.
///
/// Errors: those of loading it.
pub fn timed(runtime: &dyn Runtime, drawn: &Drawn) -> Result<Contestant, Diagnostic> {
    let session = runtime.load(ModelSource::Graph(&drawn.graph), &LoadOptions::default())?;
    Ok(Contestant { session, inputs: drawn.inputs.clone() })
}

/// Where to measure.
pub struct Collector<'a> {
    /// Runs networks.
    pub runtime: &'a dyn Runtime,
    /// Says how numbers are stored, and which kernels there are.
    pub target: &'a Target,
    /// Passes that write stored numbers as operators.
    pub registry: &'a Registry,
    /// What to draw convolutions like.
    pub priors: &'a [Prior],
    /// What to measure.
    pub plan: Plan,
}

impl Collector<'_> {
    /// Measures until the plan is done or `budget` is over, appending to `file`. `told` is given the number of steps done.
    /// True when the plan is done.
    ///
    /// Errors: `file-io`, `measurements-file`, those of running networks.
    pub fn collect(&self, file: &Path, budget: Duration, told: &dyn Fn(usize)) -> Result<(Measured, bool), Diagnostic> {
        let start = Instant::now();
        let io = |e: std::io::Error| Diagnostic::error("file-io", Loc::Unknown, format!("{}: {e}", file.display()));
        let text = if file.exists() { std::fs::read_to_string(file).map_err(io)? } else { String::new() };
        let mut measured = Measured::parse(&text, &file.display().to_string())?;
        let mut append = std::fs::OpenOptions::new().create(true).append(true).open(file).map_err(io)?;
        if !text.is_empty() && !text.ends_with("end\n") {
            // What was cut off is made good: everything that is known, written anew.
            let whole: String = measured.traced.iter().map(Traced::to_text).collect();
            std::fs::write(file, whole).map_err(io)?;
        }
        let known = |t: &Traced| (t.numbers, t.number, t.round);
        let done: BTreeSet<_> = measured.traced.iter().map(known).collect();
        let reference = RefCell::new(timed(self.runtime, &draw::reference(self.target, self.registry)?)?);
        let mut near: Option<Vec<Prior>> = None;
        let mut steps = 0;
        for round in 0..self.plan.rounds {
            for (numbers, number) in self.order() {
                steps += 1;
                if done.contains(&(numbers, number, round)) {
                    continue;
                }
                if start.elapsed() >= budget {
                    return Ok((measured, false));
                }
                let priors = match self.is_first(numbers, number) {
                    true => self.priors,
                    false => near.get_or_insert_with(|| self.near(&measured)),
                };
                let traced = self.trace((numbers, number, round), priors, &reference)?;
                append.write_all(traced.to_text().as_bytes()).map_err(io)?;
                measured.traced.push(traced);
                told(steps);
            }
        }
        Ok((measured, true))
    }

    /// Networks of both kinds in turns, those of the first part before the others.
    pub(super) fn order(&self) -> Vec<(Numbers, usize)> {
        let kinds = [(Numbers::Stored, self.plan.stored), (Numbers::Float, self.plan.float)];
        let mut all: Vec<(f64, Numbers, usize)> = Vec::new();
        for (numbers, count) in kinds {
            all.extend((0..count).map(|number| (number as f64 / count as f64, numbers, number)));
        }
        all.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        all.into_iter().map(|(_, numbers, number)| (numbers, number)).collect()
    }

    fn is_first(&self, numbers: Numbers, number: usize) -> bool {
        let count = if numbers == Numbers::Stored { self.plan.stored } else { self.plan.float };
        (number as f64) < FIRST * count as f64
    }

    /// Convolutions that are predicted badly by a model of other kernels than them, among those of the first networks' first
    /// round; of what is held out nothing is looked at.
    fn near(&self, measured: &Measured) -> Vec<Prior> {
        let first = |t: &&Traced| t.round == 0 && self.is_first(t.numbers, t.number);
        let first = Measured { traced: measured.traced.iter().filter(first).cloned().collect() }.steady();
        let known: Vec<Sample> = first.samples().into_iter().filter(|s| !held_out(&s.kernel, 0)).collect();
        // Folds beside that of the final hold-out.
        let mut errors: Vec<(f64, Prior)> = Vec::new();
        for fold in [1, 2] {
            let (predictor, _) = fit(&known, Origin::new(), first.overhead(), fold, &|_| usize::MAX);
            for sample in known.iter().filter(|s| held_out(&s.kernel, fold)) {
                let error = (predictor.kernel(&sample.kernel).nanos / sample.time()).ln().abs();
                errors.extend(prior_of(&sample.kernel).map(|prior| (error, prior)));
            }
        }
        errors.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let worst = errors.into_iter().filter(|(error, _)| *error > 0.08).map(|(_, prior)| prior).take(60);
        self.priors.iter().copied().chain(worst.flat_map(|prior| [prior; 4])).collect()
    }

    fn trace(
        &self,
        (numbers, number, round): (Numbers, usize, usize),
        priors: &[Prior],
        reference: &RefCell<Contestant>,
    ) -> Result<Traced, Diagnostic> {
        let stream = 2 * number as u64 + u64::from(numbers == Numbers::Stored);
        let drawn = network(&mut Draws::new(self.plan.seed, stream), priors, numbers, self.target, self.registry)?;
        let reference = &mut reference.borrow_mut();
        let before = reference.turn(TURN, Work::Thread)?.cpu;
        let (ran, sum) = self.kernels(&drawn)?;
        let kernels = ran.values().map(Vec::len).sum();
        let cpu = if round < 2 { self.untraced(&drawn)? } else { 0.0 };
        let reference = (before + reference.turn(TURN, Work::Thread)?.cpu) / 2.0;
        let times = assign(&detect(&drawn.graph, self.target)?.into_iter().map(|p| p.kernel).collect::<Vec<_>>(), &ran);
        Ok(Traced { numbers, number, round, cpu, kernels, sum, reference, times })
    }

    /// Nanoseconds of processor of a run. The first runs do not count: memory is planned in one and mapped in the next.
    fn untraced(&self, drawn: &Drawn) -> Result<f64, Diagnostic> {
        let mut contestant = timed(self.runtime, drawn)?;
        for _ in 0..WARM {
            contestant.turn(Duration::ZERO, Work::Thread)?;
        }
        Ok(contestant.turn(10 * TURN, Work::Thread)?.cpu)
    }

    /// Nanoseconds of what ran, by signature, in order; and of everything together.
    fn kernels(&self, drawn: &Drawn) -> Result<(Ran, f64), Diagnostic> {
        let options = LoadOptions::default();
        let runs = WARM + self.plan.runs;
        ran(&self.runtime.trace(ModelSource::Graph(&drawn.graph), &options, &drawn.inputs, runs)?.events)
    }
}

/// What a trace of several runs says, the first of them left out. Errors: `profile-format`.
pub(super) fn ran(events: &[u8]) -> Result<(Ran, f64), Diagnostic> {
    let runs = parse(events, WARM)?;
    let mut ran = Ran::new();
    let mut sum = 0.0;
    for kernel in &runs.kernels {
        let numbers = |data: &[Data]| {
            // Scales and zero points have no extents.
            data.iter().find(|d| !d.dims.is_empty()).map_or(1, |d| d.dims.iter().product())
        };
        let nanos = (middle(&kernel.micros) + CUT) * 1000.0;
        sum += nanos;
        let signature = (Arc::from(kernel.op.as_str()), numbers(&kernel.inputs), numbers(&kernel.outputs));
        ran.entry(signature).or_default().push(nanos);
    }
    Ok((ran, sum))
}

/// Nanoseconds by [`Kernel::signature`].
pub(super) type Ran = BTreeMap<(Arc<str>, u64, u64), Vec<f64>>;

/// Gives kernels the times of what ran with their signature: all of them, where all kernels of a signature are one, and none
/// where it is not clear which is which.
pub(super) fn assign(kernels: &[Kernel], ran: &Ran) -> Vec<(Kernel, f64)> {
    let mut by: BTreeMap<_, Vec<&Kernel>> = BTreeMap::new();
    for kernel in kernels {
        by.entry(kernel.signature()).or_default().push(kernel);
    }
    let mut found = Vec::new();
    for (signature, kernels) in by {
        let Some(times) = ran.get(&signature) else { continue };
        if kernels.len() == times.len() && kernels.iter().all(|&kernel| kernel == kernels[0]) {
            found.push((kernels[0].clone(), median(times)));
        }
    }
    found
}

/// The convolution that a kernel is, if it is square.
fn prior_of(kernel: &Kernel) -> Option<Prior> {
    let [_, input, height, width] = kernel.input;
    let fits = kernel.op.ends_with("Conv") && height == width && kernel.window[0] == kernel.window[1];
    let (window, stride) = (kernel.window[0], kernel.strides[0]);
    (fits && kernel.dilations == [1, 1] && window % 2 == 1).then_some(Prior {
        size: height,
        input,
        output: kernel.output[1],
        window,
        stride,
        groups: kernel.groups,
    })
}

/// Convolutions of kernels, to draw others like.
pub fn priors_of<'a>(kernels: impl IntoIterator<Item = &'a Kernel>) -> Vec<Prior> {
    kernels.into_iter().filter_map(prior_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Layout;

    fn traced(number: usize, round: usize, time: f64) -> Traced {
        let kernel = Kernel::same("QLinearAdd", Layout::Last, [1, 1], [1, 8, 7, 7]);
        let numbers = Numbers::Stored;
        Traced {
            numbers,
            number,
            round,
            cpu: 900.5,
            kernels: 10 + number,
            sum: 100.0,
            reference: 50.0,
            times: vec![(kernel, time)],
        }
    }

    #[test]
    fn what_was_measured_is_read_again_and_a_torn_end_is_left_out() {
        let both = [traced(0, 0, 8.25), traced(0, 1, 9.0)];
        let text: String = both.iter().map(Traced::to_text).collect();
        assert_eq!(Measured::parse(&text, "m").unwrap().traced, both);
        let torn = &text[..text.len() - 12];
        assert_eq!(Measured::parse(torn, "m").unwrap().traced, both[..1]);
        let wrong = text.replacen("k1x1", "k1y1", 1);
        assert!(Measured::parse(&wrong, "m").unwrap_err().message.contains("line 2"));
        let [sample] = &Measured::parse(&text, "m").unwrap().samples()[..] else { panic!("one kernel") };
        assert_eq!(sample.times, [8.25, 9.0]);
    }

    #[test]
    fn a_slow_machine_is_made_good_by_the_reference() {
        let slow = Traced { reference: 100.0, ..traced(0, 0, 16.0) };
        let traced = [traced(0, 1, 8.0), traced(0, 2, 8.0), slow.clone(), slow.clone(), slow, traced(0, 5, 8.0)];
        let times = Measured { traced: traced.to_vec() };
        assert_eq!(times.reference(), 75.0);
        let steady = times.steady();
        let all: Vec<f64> = steady.traced.iter().map(|t| t.times[0].1).collect();
        assert_eq!([all[0], all[1], all[3]], [12.0, 12.0, 12.0]);
    }

    #[test]
    fn overhead_is_what_runs_without_a_trace_say() {
        let net = |number: usize| {
            let (kernels, sum) = (10 + number * 7 % 5, 40_000.0 * (1 + number) as f64);
            Traced { cpu: 2000.0 - 500.0 * kernels as f64 + 1.25 * sum, sum, kernels, ..traced(number, 0, 1.0) }
        };
        let overhead = Measured { traced: (0..9).map(net).collect() }.overhead();
        let Overhead { call, step, factor, spread } = overhead;
        assert!((call - 2000.0).abs() < 1e-3 && (step + 500.0).abs() < 1e-4 && (factor - 1.25).abs() < 1e-9, "{overhead:?}");
        assert!(spread < 1e-9);
        let few = Measured { traced: (0..7).map(net).collect() }.overhead();
        assert_eq!((few.call, few.step, few.factor), (0.0, 0.0, 1.0));
    }

    #[test]
    fn times_are_given_only_where_it_is_clear_whose_they_are() {
        let small = Kernel::same("QLinearConv", Layout::Last, [1, 1], [1, 8, 7, 7]);
        let other = Kernel { window: [3, 3], ..small.clone() };
        let ran: Ran = [(small.signature(), vec![4.0, 6.0])].into();
        assert_eq!(assign(&[small.clone(), small.clone()], &ran), [(small.clone(), 5.0)]);
        assert_eq!(assign(&[small.clone(), other], &ran), []);
        assert_eq!(assign(std::slice::from_ref(&small), &ran), []);
    }
}
