//! Measuring models: the whole job, from files to a report.

use std::path::PathBuf;

use spaceevo_cost::machine::Machine;
use spaceevo_cost::measure::clock::Work;
use spaceevo_cost::measure::disturbance::{Limits, Watch};
use spaceevo_cost::measure::inputs::{Shapes, drawn, known};
use spaceevo_cost::measure::load::{Model, load};
use spaceevo_cost::measure::profile::profile;
use spaceevo_cost::measure::report::{Comparison, Measured, Report, Shares};
use spaceevo_cost::measure::self_test::{Summary, Trial, trial};
use spaceevo_cost::measure::sequential::{self, Settings};
use spaceevo_cost::measure::store::{Record, hash};
use spaceevo_cost::measure::verdict::Verdict;
use spaceevo_cost::measure::{pin, reference};
use spaceevo_cost::{LoadOptions, ModelSource, Runtime};
use spaceevo_ir::{Diagnostic, Graph, Loc};

use crate::convert::Progress;

/// Sessions of each model that take turns: what memory happens to do to one of them is seen.
const SESSIONS: usize = 2;
/// Trials before a measurement, of which one must succeed.
const TRIALS: usize = 3;
/// Runs of a profile.
const RUNS: usize = 30;

/// How to measure.
pub struct Plan<'a> {
    /// Where.
    pub runtime: &'a dyn Runtime,
    /// Shapes of inputs that models leave open.
    pub shapes: &'a Shapes,
    /// When to stop; the budget is that of one model.
    pub settings: Settings,
    /// Whether the first of two models is compared with the second.
    pub compare: bool,
    /// Differences up to this share show nothing.
    pub floor: f64,
    /// Whether to say where the time goes.
    pub profile: bool,
    /// Whether to measure on a machine that is too noisy.
    pub anyway: bool,
    /// Whether to keep the thread on one processor; only for one thread.
    pub pin: bool,
}

/// A model to measure.
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its file, where it is one that runtimes read.
    pub file: Option<PathBuf>,
    /// Its graph.
    pub graph: Graph,
    /// Hash of its bytes.
    pub hash: String,
}

impl Subject {
    /// A model. Errors: `file-io`, and those of writing a graph that has no file.
    pub fn new(name: String, file: Option<PathBuf>, graph: Graph) -> Result<Subject, Diagnostic> {
        let bytes = match &file {
            Some(path) => std::fs::read(path)
                .map_err(|e| Diagnostic::error("file-io", Loc::Unknown, format!("{}: {e}", path.display())))?,
            None => spaceevo_onnx::to_bytes(&graph)?,
        };
        Ok(Subject { name, file, graph, hash: hash(&bytes) })
    }

    fn model<'a>(&'a self, shapes: &'a Shapes) -> Model<'a> {
        let source = self.file.as_deref().map_or(ModelSource::Graph(&self.graph), ModelSource::File);
        Model { source, shapes }
    }
}

/// Measures every model beside the reference network.
///
/// Errors: those of loading and running, and `measure-noisy`.
pub fn measure(plan: &Plan<'_>, subjects: &[Subject], progress: &dyn Progress) -> Result<Report, Diagnostic> {
    known(plan.shapes, &subjects.iter().map(|subject| &subject.graph).collect::<Vec<_>>())?;
    let settings = &plan.settings;
    let machine = Machine::detect();
    let processor = if plan.pin && settings.threads == 1 { pin::to_one_processor() } else { None };
    let watch = Watch::start(Work::of(settings.threads));
    let (graph, none) = (reference::graph(), Shapes::new());
    let reference = Model { source: ModelSource::Graph(&graph), shapes: &none };
    progress.stage("self-test", 0);
    let noise = quiet(&mut || trial(plan.runtime, reference, SESSIONS, settings), settings, plan.floor, plan.anyway)?;
    let mut report = Report {
        machine: machine.to_string(),
        int8_dot: machine.has_int8_dot(),
        runtime: plan.runtime.name().to_owned(),
        version: plan.runtime.version(),
        threads: settings.threads,
        processor,
        half_width: settings.half_width,
        confidence: settings.confidence,
        disturbed: Vec::new(),
        noise: Some(noise.ratio),
        models: Vec::new(),
        comparison: None,
    };
    progress.stage("measure", subjects.len());
    let mut seen = Vec::new();
    let groups: Vec<&[Subject]> = if plan.compare { vec![subjects] } else { subjects.chunks(1).collect() };
    for group in groups {
        let models: Vec<Model<'_>> =
            std::iter::once(reference).chain(group.iter().map(|subject| subject.model(plan.shapes))).collect();
        let mut contestants = load(plan.runtime, &models, settings.threads, SESSIONS)?;
        let mut pairs: Vec<(usize, usize)> = (1..models.len()).map(|at| (at, 0)).collect();
        pairs.extend(plan.compare.then_some((1, 2)));
        let settings = Settings { budget: settings.budget.saturating_mul(group.len() as u32), ..*settings };
        let rounds = sequential::measure(&mut contestants, &pairs, &settings)?;
        for (at, subject) in group.iter().enumerate() {
            report.models.extend(Measured::of(subject.name.clone(), subject.hash.clone(), &rounds, at + 1, &settings));
            progress.advance(1);
        }
        if plan.compare {
            let ratio = settings.ratio(&rounds.times[1], &rounds.times[2]);
            report.comparison = ratio.map(|ratio| Comparison::of(ratio, plan.floor));
        }
        seen.extend(rounds.times[0].iter().copied());
    }
    report.disturbed = watch.finish(&seen).complaints(&Limits::default());
    if plan.profile {
        progress.stage("profile", subjects.len());
        for (measured, subject) in report.models.iter_mut().zip(subjects) {
            let options = LoadOptions { threads: settings.threads, ..LoadOptions::default() };
            let session = plan.runtime.load(subject.model(plan.shapes).source, &options)?;
            let inputs = drawn(session.inputs(), plan.shapes)?;
            drop(session);
            let profile = profile(plan.runtime, &subject.graph, &options, &inputs, RUNS)?;
            measured.profile = Some(Shares::of(&subject.graph, &profile));
            progress.advance(1);
        }
    }
    Ok(report)
}

/// Two sessions of the reference network must be told to be equally fast, in one of some trials that `tried` makes. With `anyway` the
/// last one is believed whatever it says.
///
/// Errors: those of a trial, and `measure-noisy`.
fn quiet(
    tried: &mut dyn FnMut() -> Result<Trial, Diagnostic>,
    settings: &Settings,
    floor: f64,
    anyway: bool,
) -> Result<Trial, Diagnostic> {
    let mut last = tried()?;
    for again in 0..TRIALS {
        let equal = Verdict::of(&last.ratio, floor.max(settings.half_width)) == Verdict::NoDifference;
        if last.sure && equal {
            return Ok(last);
        }
        if again + 1 < TRIALS {
            last = tried()?;
        }
    }
    if anyway {
        return Ok(last);
    }
    let ratio = last.ratio;
    let said = match last.sure {
        true => format!("two sessions of one network seem to differ by {:.1} %", 100.0 * (ratio.median - 1.0).abs()),
        false => format!(
            "the ratio of two sessions of one network is known only up to {:.1} % after {:.1} s, {:.1} % is asked for",
            100.0 * ratio.half_width(),
            last.seconds,
            100.0 * settings.half_width
        ),
    };
    let error = Diagnostic::error("measure-noisy", Loc::Unknown, format!("this machine is too noisy to measure on: {said}"));
    Err(error.note("stop other programs, or ask for less with --half-width, or measure all the same with --anyway"))
}

/// A/A trials of each model, or of the reference network.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct SelfTest {
    /// The model.
    pub name: String,
    /// The machine and the runtime.
    pub machine: String,
    /// Differences up to this share show nothing.
    pub floor: f64,
    /// What the trials say.
    pub summary: Summary,
    /// What they would say without a floor.
    pub without_floor: Summary,
    /// Signs that the machine was not ours.
    pub disturbed: Vec<String>,
}

/// Makes A/A trials. Errors: those of loading and running.
pub fn self_test(
    plan: &Plan<'_>,
    subjects: &[Subject],
    trials: usize,
    progress: &dyn Progress,
) -> Result<Vec<SelfTest>, Diagnostic> {
    known(plan.shapes, &subjects.iter().map(|subject| &subject.graph).collect::<Vec<_>>())?;
    let machine = format!("{}, {} {}", Machine::detect(), plan.runtime.name(), plan.runtime.version());
    if plan.pin && plan.settings.threads == 1 {
        pin::to_one_processor();
    }
    let (graph, none) = (reference::graph(), Shapes::new());
    let own = (reference::NAME, Model { source: ModelSource::Graph(&graph), shapes: &none });
    let mut models: Vec<(&str, Model<'_>)> = subjects.iter().map(|s| (s.name.as_str(), s.model(plan.shapes))).collect();
    if models.is_empty() {
        models.push(own);
    }
    progress.stage("trials", trials * models.len());
    let mut tests = Vec::new();
    for (name, model) in models {
        let watch = Watch::start(Work::of(plan.settings.threads));
        let mut tried = Vec::new();
        for _ in 0..trials {
            tried.push(trial(plan.runtime, model, SESSIONS, &plan.settings)?);
            progress.advance(1);
        }
        tests.push(SelfTest {
            name: name.to_owned(),
            machine: machine.clone(),
            floor: plan.floor,
            summary: Summary::of(&tried, plan.floor),
            without_floor: Summary::of(&tried, 0.0),
            disturbed: watch.finish(&[]).complaints(&Limits::default()),
        });
    }
    Ok(tests)
}

/// What a store keeps of a report.
pub fn records(report: &Report, date: &str, commit: &str) -> Vec<Record> {
    let settings = format!(
        "{} thread{}, half-width {} %, {}",
        report.threads,
        if report.threads == 1 { "" } else { "s" },
        100.0 * report.half_width,
        report.processor.map_or("not pinned".to_owned(), |cpu| format!("on processor {cpu}"))
    );
    let record = |measured: &Measured| Record {
        date: date.to_owned(),
        model: measured.name.clone(),
        hash: measured.hash.clone(),
        machine: report.machine.clone(),
        runtime: report.runtime.clone(),
        version: report.version.clone(),
        settings: settings.clone(),
        source: commit.to_owned(),
        disturbed: report.disturbed.join("; "),
        time: measured.time,
        ratio: measured.ratio,
        samples: measured.samples.clone(),
    };
    report.models.iter().map(record).collect()
}

#[cfg(test)]
mod tests {
    use spaceevo_cost::measure::statistics::Estimate;

    use super::*;

    /// What comes of trials that show these ratios, each known up to a half-width, and how many were made.
    fn judged(shown: &[(f64, f64)], anyway: bool) -> (Result<Trial, Diagnostic>, usize) {
        let settings = Settings { half_width: 0.02, ..Settings::default() };
        let mut made = 0;
        let mut next = || {
            let (median, half) = shown[made];
            made += 1;
            let ratio = Estimate { median, low: median * (1.0 - half), high: median * (1.0 + half) };
            Ok(Trial { ratio, sure: half <= 0.02, seconds: 2.0 })
        };
        let found = quiet(&mut next, &settings, 0.01, anyway);
        (found, made)
    }

    #[test]
    fn a_machine_on_which_one_network_differs_from_itself_is_refused() {
        let (found, made) = judged(&[(1.2, 0.01); TRIALS], false);
        let refused = found.unwrap_err();
        assert_eq!((refused.code, made), ("measure-noisy", TRIALS));
        assert!(refused.message.contains("differ by 20.0 %"), "{}", refused.message);
    }

    #[test]
    fn a_loaded_machine_on_which_nothing_becomes_sure_is_refused() {
        let (found, _) = judged(&[(1.0, 0.15); TRIALS], false);
        let refused = found.unwrap_err();
        assert_eq!(refused.code, "measure-noisy");
        assert!(refused.message.contains("up to 15.0 % after 2.0 s, 2.0 % is asked for"), "{}", refused.message);
        let (found, made) = judged(&[(1.0, 0.15); TRIALS], true);
        assert!(!found.unwrap().sure && made == TRIALS, "--anyway believes the last trial");
    }

    #[test]
    fn one_quiet_trial_is_enough() {
        let (found, made) = judged(&[(1.3, 0.01), (1.0, 0.01), (1.3, 0.01)], false);
        assert_eq!((found.unwrap().ratio.median, made), (1.0, 2));
    }
}
