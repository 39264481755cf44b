//! Mixed precision by measurement: which ops cost the most quality in integers.
//!
//! The model is quantized once as a whole, and once for every op with that op left in float. What the outputs gain is the
//! op's sensitivity; the ops that gain most are kept in float when that is asked for.

use spaceevo_cost::runtime::{LoadOptions, ModelSource, Session};
use spaceevo_ir::{Diagnostic, Graph};
use spaceevo_passes::{Manager, Pipeline, evenly_spaced};

use super::report::Sensitivity;
use super::{Job, Options, PREPARE, Progress, RuntimeObserver};
use crate::quality::Quality;

/// Samples on which sensitivity is measured, evenly spaced among those of calibration.
const SAMPLES: usize = 4;
/// Signal-to-noise ratio in dB of outputs that are equal.
const EQUAL: f64 = 150.0;

/// Ops that run in integers by what the outputs gain when the op stays in float, the largest gain first.
pub(super) fn rank(
    source: &Graph,
    job: &Job<'_>,
    options: &Options,
    calibrating: &[usize],
    progress: &(dyn Progress + Sync),
) -> Result<Vec<Sensitivity>, Vec<Diagnostic>> {
    let mut graph = source.clone();
    let prepare = format!("{PREPARE},{}", options.calibration());
    let mut observer = RuntimeObserver::new(job.runtime, job.samples, calibrating.to_vec(), options.threads, progress);
    run(&prepare, &mut graph, job, options, Some(&mut observer))?;

    let one = |d: Diagnostic| vec![d];
    let indices: Vec<usize> = evenly_spaced(calibrating.len(), SAMPLES).into_iter().map(|i| calibrating[i]).collect();
    let load = LoadOptions { exact_int8: true, ..LoadOptions::default() };
    let mut float = job.runtime.load(ModelSource::File(job.source), &load).map_err(one)?;
    let real = outputs(&mut *float, job, &indices).map_err(one)?;
    drop(float);
    let measure = |exclude: &[String]| -> Result<(f64, Vec<String>), Vec<Diagnostic>> {
        let mut quantized = graph.clone();
        let exclude = Options { exclude: exclude.to_vec(), ..options.clone() }.exclusion();
        let text = format!("quantize{exclude},fold-clip,drop-dead,lower-qdq,drop-dead");
        let integer = run(&text, &mut quantized, job, options, None)?;
        let mut session = job.runtime.load(ModelSource::Graph(&quantized), &load).map_err(one)?;
        Ok((sqnr(&real, &outputs(&mut *session, job, &indices).map_err(one)?), integer))
    };
    let (base, candidates) = measure(&options.exclude)?;
    progress.stage("sensitivity", candidates.len());
    let mut ranked = Vec::new();
    for name in candidates {
        let exclude: Vec<String> = options.exclude.iter().cloned().chain([name.clone()]).collect();
        // An op that cannot stay in float alone, because a tensor was not calibrated for that, is no candidate.
        if let Ok((without, _)) = measure(&exclude) {
            ranked.push(Sensitivity { name, gain_db: without - base });
        }
        progress.advance(1);
    }
    ranked.sort_by(|a, b| b.gain_db.total_cmp(&a.gain_db).then_with(|| a.name.cmp(&b.name)));
    Ok(ranked)
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

/// Mean over the outputs of the signal-to-noise ratio over all samples, in dB.
fn sqnr(real: &[Vec<Vec<f32>>], other: &[Vec<Vec<f32>>]) -> f64 {
    let count = real.first().map_or(0, Vec::len);
    let of = |output: usize| {
        let mut quality = Quality::default();
        real.iter().zip(other).for_each(|(a, b)| quality.add(&a[output], &b[output]));
        quality.db().unwrap_or(EQUAL)
    };
    (0..count).map(of).sum::<f64>() / count.max(1) as f64
}
