//! Mixed precision by measurement: which ops cost the most quality in integers.
//!
//! The model is quantized once as a whole, and once for every op with that op left in float. What the outputs gain is the
//! op's sensitivity. Gains do not add up, so the ops that are kept in float are chosen one after the other, on more samples:
//! the next in the ranking stays where it improves on those that stay already.

use spaceevo_cost::runtime::{ModelSource, Session};
use spaceevo_ir::{Diagnostic, Graph};
use spaceevo_passes::{Manager, Pipeline, evenly_spaced};

use super::report::Sensitivity;
use super::verify::exact;
use super::{Job, Options, Progress, RuntimeObserver};
use crate::quality::Quality;

/// Samples on which every op is measured, evenly spaced among those of calibration.
const SAMPLES: usize = 4;
/// Samples on which choices are measured.
const DECIDING: usize = 16;
/// Candidates that are tried for each op that may stay in float.
const TRIALS: usize = 3;
/// Signal-to-noise ratio in dB of outputs that are equal.
const EQUAL: f64 = 150.0;

/// Ops that run in integers by what the outputs gain when the op stays in float, the largest gain first; and the names of
/// those that shall stay, at most `options.keep_float`.
pub(super) fn choose(
    source: &Graph,
    job: &Job<'_>,
    options: &Options,
    calibrating: &[usize],
    progress: &(dyn Progress + Sync),
) -> Result<(Vec<Sensitivity>, Vec<String>), Vec<Diagnostic>> {
    let mut graph = source.clone();
    let prepare = format!("{},{}", options.prepare(), options.calibration());
    let mut observer = RuntimeObserver::new(job.runtime, job.samples, calibrating.to_vec(), options.threads, progress);
    run(&prepare, &mut graph, job, options, Some(&mut observer))?;

    let quick = Trial::new(&graph, job, options, calibrating, SAMPLES)?;
    let (base, candidates) = quick.measure(&[])?;
    progress.stage("sensitivity", candidates.len());
    let mut ranked = Vec::new();
    for name in candidates {
        // An op that cannot stay in float alone, because a tensor was not calibrated for that, is no candidate.
        if let Ok((without, _)) = quick.measure(std::slice::from_ref(&name)) {
            ranked.push(Sensitivity { name, gain_db: without - base });
        }
        progress.advance(1);
    }
    ranked.sort_by(|a, b| b.gain_db.total_cmp(&a.gain_db).then_with(|| a.name.cmp(&b.name)));
    drop(quick);

    let deciding = Trial::new(&graph, job, options, calibrating, DECIDING)?;
    let (mut best, _) = deciding.measure(&[])?;
    let (mut kept, trials) = (Vec::new(), options.keep_float.saturating_mul(TRIALS));
    progress.stage("mixed precision", trials.min(ranked.len()));
    for candidate in ranked.iter().filter(|s| s.gain_db > 0.0).take(trials) {
        if kept.len() == options.keep_float {
            break;
        }
        kept.push(candidate.name.clone());
        match deciding.measure(&kept) {
            Ok((found, _)) if found > best => best = found,
            _ => drop(kept.pop()),
        }
        progress.advance(1);
    }
    Ok((ranked, kept))
}

/// Measures what becomes of a calibrated graph.
struct Trial<'a> {
    graph: &'a Graph,
    job: &'a Job<'a>,
    options: &'a Options,
    indices: Vec<usize>,
    /// Of the float model, for every sample.
    outputs: Vec<Vec<Vec<f32>>>,
}

impl<'a> Trial<'a> {
    fn new(
        graph: &'a Graph,
        job: &'a Job<'a>,
        options: &'a Options,
        calibrating: &[usize],
        samples: usize,
    ) -> Result<Self, Vec<Diagnostic>> {
        let indices: Vec<usize> = evenly_spaced(calibrating.len(), samples).into_iter().map(|i| calibrating[i]).collect();
        let outputs = job
            .runtime
            .load(ModelSource::File(job.source), &exact())
            .and_then(|mut float| outputs(&mut *float, job, &indices))
            .map_err(|d| vec![d])?;
        Ok(Trial { graph, job, options, indices, outputs })
    }

    /// Signal-to-noise ratio in dB of the outputs with more ops in float than the options exclude, and the names of the ops
    /// in integers.
    fn measure(&self, float: &[String]) -> Result<(f64, Vec<String>), Vec<Diagnostic>> {
        let mut quantized = self.graph.clone();
        let exclude = [&self.options.exclude, float].concat();
        let exclude = Options { exclude, ..self.options.clone() }.exclusion();
        let text = format!("quantize{exclude},fold-clip,drop-dead,lower-qdq,drop-dead");
        let integer = run(&text, &mut quantized, self.job, self.options, None)?;
        let found = self
            .job
            .runtime
            .load(ModelSource::Graph(&quantized), &exact())
            .and_then(|mut session| outputs(&mut *session, self.job, &self.indices))
            .map_err(|d| vec![d])?;
        Ok((sqnr(&self.outputs, &found), integer))
    }
}

/// Runs a pipeline; returns the names of the ops that `quantize` put into integers, as far as `exclude` can name them.
fn run(
    text: &str,
    graph: &mut Graph,
    job: &Job<'_>,
    options: &Options,
    observer: Option<&mut dyn spaceevo_passes::Observer>,
) -> Result<Vec<String>, Vec<Diagnostic>> {
    let pipeline = Pipeline::parse(text, job.registry).map_err(|d| vec![d])?;
    let run = Manager::new(job.registry, &options.target).run(&pipeline, graph, observer);
    if !run.ok() {
        return Err(run.log.diagnostics);
    }
    let names = run.log.rewrites.iter().filter(|e| e.pass == "quantize").map(|e| e.at.trim_start_matches('%').to_owned());
    Ok(names.filter(|name| !name.contains(['+', ',', '{', '}'])).collect())
}

/// Numbers of every output for every sample.
fn outputs(session: &mut dyn Session, job: &Job<'_>, indices: &[usize]) -> Result<Vec<Vec<Vec<f32>>>, Diagnostic> {
    let of = |session: &mut dyn Session, index: usize| {
        let tensors = session.run(&job.samples.get(index)?)?;
        Ok(tensors.iter().map(|t| t.to_f32().unwrap_or_default()).collect())
    };
    indices.iter().map(|&index| of(session, index)).collect()
}

/// Mean over outputs and samples of the signal-to-noise ratio, in dB: no single sample decides.
fn sqnr(real: &[Vec<Vec<f32>>], other: &[Vec<Vec<f32>>]) -> f64 {
    let each = real.iter().zip(other).flat_map(|(real, other)| real.iter().zip(other)).map(|(real, other)| {
        let mut quality = Quality::default();
        quality.add(real, other);
        quality.db().unwrap_or(EQUAL)
    });
    let each: Vec<f64> = each.collect();
    each.iter().sum::<f64>() / each.len().max(1) as f64
}
