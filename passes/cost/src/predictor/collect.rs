//! Measures the kernels of drawn networks until time is up, and goes on where it stopped.
//!
//! Each network is traced in several rounds, far from each other in time, so that what disturbs the machine for a while is in one
//! round of a few networks. Between its runs those of the reference network tell how fast the machine is at that moment ([`Pace`]), and
//! times are brought to the speed that it has mostly ([`Measured::steady`]).
//!
//! Networks that are given are traced as they are, before drawn ones. Networks of the last part are drawn near kernels that the
//! first part predicts badly: those that are held out have no say.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use spaceevo_ir::{Diagnostic, Dim, Elem, Graph, Loc, ValueId};
use spaceevo_passes::{Registry, Target};
use xxhash_rust::xxh3::xxh3_64;

use super::Origin;
use super::draw::{Draws, Prior};
use super::fit::{Limits, Sample, fit, held_out, median, typical};
use super::known::{Known, rank};
use super::measurements::{Measured, Traced};
use super::network::{self, Drawn, Numbers, network};
use super::pace::{Pace, WARM};
use super::ran::{Times, ran};
use crate::kernels::{Kernel, detect};
use crate::measure::interleave::Contestant;
use crate::measure::pin;
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
    /// Kernels at most: no network is begun when there are as many, and what is more is not kept.
    pub kernels: usize,
}

impl Plan {
    /// About 5,000 kernels, in six to nine minutes on a processor of 2023 that others use, too.
    pub fn usual(seed: u64) -> Plan {
        Plan { seed, stored: 78, float: 46, rounds: 10, runs: 8, kernels: 5000 }
    }
}

/// Runs of a trace between two readings of the pace, of which the last counts.
const EACH: usize = 2;
/// Every how many rounds a network runs without being traced, too: in a session of its own, which takes longest to make.
const WHOLE: usize = 2;
/// Part of the networks that are drawn before errors are looked at.
const FIRST: f64 = 0.6;
/// Rounds of these before that.
const EARLY: usize = 3;

/// A network ready to be timed.
///
/// Errors: those of loading it.
pub fn timed(runtime: &dyn Runtime, drawn: &Drawn) -> Result<Contestant, Diagnostic> {
    let session = runtime.load(ModelSource::Graph(&drawn.graph), &LoadOptions::default())?;
    Ok(Contestant::new(vec![session], drawn.inputs.clone()))
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
    /// Networks to measure as they are, before drawn ones.
    pub given: &'a [(Numbers, Drawn)],
    /// What to measure.
    pub plan: Plan,
    /// Number of the hold-out.
    pub hold_out: u64,
    /// Kernels of a family that are kept at most; [`strata`](super::strata) says how.
    pub limits: Limits<'a>,
}

impl Collector<'_> {
    /// Measures until the plan is done or `budget` is over, appending to `file`, on one processor, where the calling thread stays. `told`
    /// is given the number of steps done. True when the plan is done.
    ///
    /// Errors: `file-io`, `measurements-file`, those of running networks.
    pub fn collect(&self, file: &Path, budget: Duration, told: &dyn Fn(usize)) -> Result<(Measured, bool), Diagnostic> {
        let start = Instant::now();
        pin::to_one_processor();
        let io = |e: std::io::Error| Diagnostic::error("file-io", Loc::Unknown, format!("{}: {e}", file.display()));
        let text = if file.exists() { std::fs::read_to_string(file).map_err(io)? } else { String::new() };
        let mut measured = Measured::parse(&text, &file.display().to_string())?;
        let mut append = std::fs::OpenOptions::new().create(true).append(true).open(file).map_err(io)?;
        let plan = self.begun_with()?;
        match measured.plan.take().filter(|_| !measured.traced.is_empty()) {
            Some(begun) if begun != plan => return Err(other_plan(file, &begun, &plan)),
            None if !measured.traced.is_empty() => return Err(other_plan(file, "an older version", &plan)),
            _ => {}
        }
        measured.plan = Some(plan);
        if !text.ends_with("end\n") {
            // What was cut off is made good: everything that is known, written anew.
            std::fs::write(file, measured.to_text()).map_err(io)?;
        }
        let turn = |t: &Traced| (t.numbers, t.number, t.round);
        let done: BTreeSet<_> = measured.traced.iter().map(turn).collect();
        let pace = |numbers| Pace::new(numbers, self.runtime, self.target, self.registry);
        let (mut stored, mut float) = (pace(Numbers::Stored)?, pace(Numbers::Float)?);
        let mut near: Option<Vec<Prior>> = None;
        let is_given = |numbers, number| number >= self.drawn_of(numbers);
        let networks = self.plan.stored + self.plan.float + self.given.len();
        let mut known = Known::new(self.plan.kernels, networks, self.hold_out, self.limits, &is_given, &measured);
        let mut steps = 0;
        for (numbers, number, round) in self.schedule() {
            steps += 1;
            if done.contains(&(numbers, number, round)) || !known.begins((numbers, number)) {
                continue;
            }
            if start.elapsed() >= budget {
                return Ok((measured, false));
            }
            let priors = match self.is_first(numbers, number) {
                true => self.priors,
                false => near.get_or_insert_with(|| self.near(&measured)),
            };
            let drawn = self.drawn(numbers, number, priors)?;
            let kernels: Vec<Kernel> = detect(&drawn.graph, self.target)?.into_iter().map(|p| p.kernel).collect();
            let pace = if numbers == Numbers::Stored { &mut stored } else { &mut float };
            let (cpu, ran, reference) = self.trace(&drawn, pace, round.is_multiple_of(WHOLE))?;
            let ([all, tensors], sum, mut times) = (ran.counted(), ran.sum(), ran.assign(&kernels));
            times.sort_by_cached_key(|(kernel, _)| rank(kernel));
            times.retain(|(kernel, _)| known.takes((numbers, number), kernel));
            let traced = Traced { numbers, number, round, cpu, kernels: all, tensors, sum, reference, times };
            append.write_all(traced.to_text().as_bytes()).map_err(io)?;
            measured.traced.push(traced);
            told(steps);
        }
        Ok((measured, true))
    }

    /// What a network's number depends on: a file that was begun with other networks cannot be gone on with. Networks that are given
    /// are known by their kernels, convolutions to draw others like by what they are. The version is that of measurements:
    /// what times are told by, and what a kernel says, are another thing in another version.
    fn begun_with(&self) -> Result<String, Diagnostic> {
        let mut given = String::new();
        for (numbers, drawn) in self.given {
            given += &format!("{numbers:?}\n");
            detect(&drawn.graph, self.target)?.iter().for_each(|placed| given += &format!("{}\n", placed.kernel));
        }
        let hash = |text: &str| xxh3_64(text.as_bytes()) as u32;
        let (Plan { seed, stored, float, .. }, models) = (self.plan, self.given.len());
        let like = format!("{:?}", self.priors);
        Ok(format!(
            "version 12, seed {seed}, networks {stored} and {float}, models {models} #{:08x}, like {} #{:08x}",
            hash(&given),
            self.priors.len(),
            hash(&like)
        ))
    }

    /// Traces in all.
    pub fn steps(&self) -> usize {
        self.plan.rounds * (self.plan.stored + self.plan.float + self.given.len())
    }

    /// Networks that are given, by their numbers behind those of drawn ones, then drawn ones; both kinds in turns, those of the first
    /// part before the others.
    pub(super) fn order(&self) -> Vec<(Numbers, usize)> {
        let kinds = [Numbers::Stored, Numbers::Float];
        let of = |numbers| self.given.iter().filter(|(kind, _)| *kind == numbers).count();
        let given = in_turns(kinds.map(|numbers| (numbers, self.drawn_of(numbers), of(numbers))));
        let drawn = in_turns(kinds.map(|numbers| (numbers, 0, self.drawn_of(numbers))));
        [given, drawn].concat()
    }

    /// Networks of a kind that are drawn.
    fn drawn_of(&self, numbers: Numbers) -> usize {
        if numbers == Numbers::Stored { self.plan.stored } else { self.plan.float }
    }

    /// The first networks in some rounds, so that the errors by which others are drawn are no noise; then the others as often, and
    /// then all of them in turns until the rounds are through.
    fn schedule(&self) -> Vec<(Numbers, usize, usize)> {
        let order = self.order();
        let early = EARLY.min(self.plan.rounds);
        let rounds = |from: usize, to: usize, wanted: &dyn Fn(bool) -> bool| {
            let networks = order.iter().filter(|(numbers, number)| wanted(self.is_first(*numbers, *number)));
            let networks: Vec<_> = networks.copied().collect();
            let round = |round: usize| networks.iter().map(move |&(numbers, number)| (numbers, number, round));
            (from..to).flat_map(round).collect::<Vec<(Numbers, usize, usize)>>()
        };
        let (first, others) = (rounds(0, early, &|first| first), rounds(0, early, &|first| !first));
        [first, others, rounds(early, self.plan.rounds, &|_| true)].concat()
    }

    fn is_first(&self, numbers: Numbers, number: usize) -> bool {
        let count = self.drawn_of(numbers);
        number >= count || (number as f64) < FIRST * count as f64
    }

    /// Convolutions that are predicted badly by a model of other kernels than them, among those of the first networks' early
    /// rounds; of what is held out nothing is looked at.
    fn near(&self, measured: &Measured) -> Vec<Prior> {
        let first = |t: &&Traced| t.round < EARLY && self.is_first(t.numbers, t.number);
        let first = Measured { traced: measured.traced.iter().filter(first).cloned().collect(), plan: None }.steady();
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

    /// The network of a number. Errors: those of [`network`].
    pub(super) fn drawn(&self, numbers: Numbers, number: usize, priors: &[Prior]) -> Result<Drawn, Diagnostic> {
        if let Some(at) = number.checked_sub(self.drawn_of(numbers)) {
            let given = self.given.iter().filter(|(kind, _)| *kind == numbers).nth(at);
            let unknown = || Diagnostic::error("measurements-file", Loc::Unknown, format!("there is no network {number}"));
            return given.map(|(_, drawn)| drawn.clone()).ok_or_else(unknown);
        }
        let stream = 2 * number as u64 + u64::from(numbers == Numbers::Stored);
        network(&mut Draws::new(self.plan.seed, stream), priors, numbers, self.target, self.registry)
    }

    /// Nanoseconds of a run, 0 unless it is wanted `whole`, of what ran in it, and of the reference network.
    fn trace(&self, drawn: &Drawn, pace: &mut Pace, whole: bool) -> Result<(f64, Times, f64), Diagnostic> {
        let (options, runs) = (LoadOptions::default(), WARM + EACH * self.plan.runs);
        let mut run = 0;
        let mut between = || {
            let due = run % EACH == 0 || run == runs;
            run += 1;
            if due { pace.read() } else { Ok(()) }
        };
        let trace = self.runtime.trace(ModelSource::Graph(&drawn.graph), &options, &drawn.inputs, runs, &mut between)?;
        let traced = pace.around();
        // In several rounds: what a process has allocated before changes what everything takes by some percent.
        let turns = if whole { pace.beside(&mut timed(self.runtime, drawn)?)? } else { Vec::new() };
        let paces: Vec<f64> = traced.iter().copied().chain(turns.iter().map(|[_, pace]| *pace)).collect();
        let reference = median(&paces);
        let cpu: Vec<f64> = turns.iter().map(|[time, pace]| time * reference / pace).collect();
        // The first run behind the reference network finds its own numbers in no cache.
        let slow = |run: usize| {
            let run = WARM + run;
            (run % EACH == EACH - 1).then(|| traced[run / EACH] / reference)
        };
        Ok((typical(&cpu), ran(&trace.events, &slow)?, reference))
    }
}

fn other_plan(file: &Path, begun: &str, plan: &str) -> Diagnostic {
    let what = format!("{}: it was begun with other networks ({begun}) than it shall go on with ({plan})", file.display());
    Diagnostic::error("measurements-file", Loc::Unknown, what)
        .note("say the same seed, numbers of networks, models and priors as before, or remove the file to begin anew")
}

/// A network to measure as it is, with numbers of its own for the inputs.
///
/// Errors: `measure-shape` where an input has open extents behind its batch, or is of other numbers than float32.
pub fn given(graph: Graph) -> Result<(Numbers, Drawn), Diagnostic> {
    let open = |label: String| {
        Diagnostic::error("measure-shape", Loc::Unknown, format!("{label} is no float32 tensor of known extents"))
            .note("give it extents with 'freeze-inputs', or leave the model out")
    };
    let mut inputs = Vec::new();
    // Inputs with a default are weights.
    let asked = |input: &&ValueId| graph.value(**input).tensor().is_none();
    for &input in graph.region(graph.body()).inputs().iter().filter(asked) {
        let ty = graph.value(input).ty();
        let shape = ty.tensor().and_then(|ty| ty.shape.as_ref()).filter(|_| ty.elem() == Some(Elem::F32));
        // A batch is one.
        let extent = |(axis, dim): (usize, &Dim)| dim.known().map(|n| n as usize).or((axis == 0).then_some(1));
        let dims: Option<Vec<usize>> = shape.and_then(|shape| shape.iter().enumerate().map(extent).collect());
        inputs.push(network::filled(&dims.ok_or_else(|| open(graph.label(input)))?));
    }
    Ok((Numbers::of(&graph), Drawn { graph, inputs }))
}

/// Numbers of networks from a first one on, so many of each kind, spread evenly.
fn in_turns(kinds: [(Numbers, usize, usize); 2]) -> Vec<(Numbers, usize)> {
    let mut all: Vec<(f64, Numbers, usize)> = Vec::new();
    for (numbers, first, count) in kinds {
        all.extend((0..count).map(|at| (at as f64 / count as f64, numbers, first + at)));
    }
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all.into_iter().map(|(_, numbers, number)| (numbers, number)).collect()
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
    use spaceevo_ir::text::{self, NoBlobs};

    #[test]
    fn a_given_network_is_fed_what_it_asks_for() {
        let source = "graph @main(%x: f32[n,3,8,8], %seen: i64[] = 7) with {opset = 17} {\n  %y = onnx.Relu %x : f32[n,3,8,8]\n  return %y\n}\n";
        let read = |source: &str| text::parse(source, "test", &NoBlobs).into_result().unwrap();
        let (numbers, drawn) = given(read(source)).unwrap();
        assert_eq!((numbers, drawn.inputs.len(), drawn.inputs[0].dims()), (Numbers::Float, 1, &[1, 3, 8, 8][..]));
        assert_eq!(given(read(&source.replace(" = 7", ""))).unwrap_err().code, "measure-shape");
    }

    #[test]
    fn networks_of_both_kinds_are_spread_evenly() {
        let order = in_turns([(Numbers::Stored, 4, 4), (Numbers::Float, 3, 2)]);
        let [stored, float] = [Numbers::Stored, Numbers::Float].map(|kind| move |number| (kind, number));
        assert_eq!(order, [stored(4), float(3), stored(5), stored(6), float(4), stored(7)]);
    }
}
