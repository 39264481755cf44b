//! What a measurement says, as data: printed, drawn and kept by others.

use serde::Serialize;
use spaceevo_ir::{Graph, OpId};

use super::profile::{Profile, Role};
use super::regions::stretches;
use super::sequential::{Rounds, Settings};
use super::statistics::{Estimate, median};
use super::verdict::Verdict;

/// A whole measurement.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Processor, threads, instruction sets.
    pub machine: String,
    /// Whether it has an instruction for dot products of bytes.
    pub int8_dot: bool,
    /// Runtime.
    pub runtime: String,
    /// Its version.
    pub version: String,
    /// Threads of a session.
    pub threads: usize,
    /// Processor that the thread was kept on.
    pub processor: Option<usize>,
    /// What was asked for.
    pub half_width: f64,
    /// Confidence of intervals.
    pub confidence: f64,
    /// Signs that the machine was not ours; none if all is well.
    pub disturbed: Vec<String>,
    /// What two sessions of the reference network differed by before the measurement.
    pub noise: Option<Estimate>,
    /// Models.
    pub models: Vec<Measured>,
    /// The first model against the second, if that was asked for.
    pub comparison: Option<Comparison>,
}

/// What one model took.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Measured {
    /// Name of its file.
    pub name: String,
    /// Hash of its bytes.
    pub hash: String,
    /// Nanoseconds of a run: processor time with one thread, time on the wall with more.
    pub time: Estimate,
    /// Median time on the wall, nanoseconds.
    pub wall: f64,
    /// Median processor time, nanoseconds.
    pub cpu: f64,
    /// Ratio to the reference network in the same rounds.
    pub ratio: Estimate,
    /// Rounds.
    pub rounds: usize,
    /// Seconds that the rounds took.
    pub seconds: f64,
    /// Whether the ratio is as sure as was asked for.
    pub sure: bool,
    /// Nanoseconds of a run, by round.
    pub samples: Vec<f64>,
    /// Where the time goes.
    pub profile: Option<Shares>,
}

impl Measured {
    /// Contestant `at` of rounds whose first contestant is the reference network. `None` without rounds.
    pub fn of(name: String, hash: String, rounds: &Rounds, at: usize, settings: &Settings) -> Option<Measured> {
        let times = rounds.times.get(at)?;
        let ratio = settings.ratio(times, rounds.times.first()?)?;
        Some(Measured {
            name,
            hash,
            time: settings.time(times)?,
            wall: median(&times.iter().map(|t| t.wall).collect::<Vec<_>>()),
            cpu: median(&times.iter().map(|t| t.cpu).collect::<Vec<_>>()),
            ratio,
            rounds: times.len(),
            seconds: rounds.seconds,
            sure: ratio.half_width() <= settings.half_width,
            samples: times.iter().map(|time| settings.of(time)).collect(),
            profile: None,
        })
    }
}

/// Is the first faster than the second?
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Comparison {
    /// `faster`, `slower`, `no difference shown`.
    pub verdict: &'static str,
    /// Time of the first over time of the second.
    pub ratio: Estimate,
    /// Differences up to this share show nothing: two sessions of one model may differ by it.
    pub floor: f64,
}

impl Comparison {
    /// What a ratio shows.
    pub fn of(ratio: Estimate, floor: f64) -> Comparison {
        Comparison { verdict: Verdict::of(&ratio, floor).word(), ratio, floor }
    }
}

/// A profile in words.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Shares {
    /// Microseconds of all kernels together.
    pub micros: f64,
    /// Microseconds of a whole run while it was traced.
    pub traced: f64,
    /// Kernels in the order in which they ran.
    pub kernels: Vec<Line>,
    /// Microseconds by operator of the runtime, most first, with the number of kernels.
    pub operators: Vec<(String, usize, f64)>,
    /// Microseconds of what the runtime inserted: layout, conversions, anything else.
    pub inserted: [f64; 3],
    /// Stretches that compute with the same numbers: with what, first kernel, number of kernels, microseconds.
    pub stretches: Vec<(&'static str, String, usize, f64)>,
    /// Ops that the runtime computed when it loaded the model.
    pub folded: usize,
}

/// A kernel in words.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Line {
    /// Operator of the runtime.
    pub operator: String,
    /// What it is there for: `op`, `layout`, `conversion`, `other`.
    pub role: &'static str,
    /// Ops of the model that it computes: what they make.
    pub ops: Vec<String>,
    /// Microseconds.
    pub micros: f64,
}

impl Shares {
    /// A profile of a graph.
    pub fn of(graph: &Graph, profile: &Profile) -> Shares {
        let kernels = profile.kernels.iter().map(|kernel| Line {
            operator: kernel.op.to_string(),
            role: match kernel.role {
                Role::Op => "op",
                Role::Layout => "layout",
                Role::Conversion => "conversion",
                Role::Other => "other",
            },
            ops: kernel.ops.iter().map(|&op| name(graph, op)).collect(),
            micros: kernel.micros,
        });
        let kernels: Vec<Line> = kernels.collect();
        let mut operators: Vec<(String, usize, f64)> = Vec::new();
        for kernel in &kernels {
            match operators.iter_mut().find(|(operator, ..)| *operator == kernel.operator) {
                Some((_, count, micros)) => (*count, *micros) = (*count + 1, *micros + kernel.micros),
                None => operators.push((kernel.operator.clone(), 1, kernel.micros)),
            }
        }
        operators.sort_by(|a, b| b.2.total_cmp(&a.2));
        let by_role = profile.by_role();
        let of = |role: Role| by_role.get(&role).copied().unwrap_or(0.0);
        let stretch = |s: super::regions::Stretch| {
            let first = kernels[s.kernels[0]].ops.first().cloned().unwrap_or_else(|| kernels[s.kernels[0]].operator.clone());
            (s.numbers.word(), first, s.kernels.len(), s.micros)
        };
        Shares {
            micros: profile.sum(),
            traced: profile.whole,
            operators,
            inserted: [of(Role::Layout), of(Role::Conversion), of(Role::Other)],
            stretches: stretches(profile).into_iter().map(stretch).collect(),
            folded: profile.folded.len(),
            kernels,
        }
    }
}

/// `Conv %stem.conv`.
fn name(graph: &Graph, op: OpId) -> String {
    let made = graph.op(op).results().first().map(|&value| graph.label(value)).unwrap_or_default();
    format!("{} {made}", graph.op(op).name().op)
}
