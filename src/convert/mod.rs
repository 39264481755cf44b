//! The main job: a float model and samples go in, a verified INT8 model comes out.
//!
//! ```text
//! read ─▶ @simplify ─▶ saturate ─▶ calibrate ─▶ quantize ─▶ merge-siblings ─▶ @suit-kernels ─▶ lower
//!      ─▶ write beside the output ─▶ verify on held-out samples ─▶ move
//! ```

mod html;
mod layers;
mod observe;
mod report;
mod sensitivity;
mod verify;

use std::path::Path;
use std::time::Instant;

use spaceevo_cost::runtime::Runtime;
use spaceevo_ir::{Diagnostic, Graph, Loc};
use spaceevo_passes::{Effect, Manager, Pipeline, Registry, Target};

pub use html::html;
pub(crate) use html::{STYLE, escape};
pub use observe::RuntimeObserver;
pub use report::{Accuracy, FloatOp, Layer, OutputQuality, PassRun, Report, Sensitivity, Verification};

use crate::file::refuse_existing;
use crate::samples::SampleSource;
use crate::staged::Staged;

/// How quantized types are written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Writing {
    /// QLinear operators: fast at every optimization level of ONNX Runtime.
    Qoperator,
    /// QuantizeLinear and DequantizeLinear pairs: portable.
    Qdq,
}

impl Writing {
    /// The word of the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Writing::Qoperator => "qoperator",
            Writing::Qdq => "qdq",
        }
    }

    /// Inverse of [`Writing::word`].
    pub fn from_word(word: &str) -> Option<Writing> {
        [Writing::Qoperator, Writing::Qdq].into_iter().find(|w| w.word() == word)
    }
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Target.
    pub target: Target,
    /// How quantized types are written; `None`: as the target prefers.
    pub writing: Option<Writing>,
    /// Calibration method: a word of [`spaceevo_passes::calibrate::Method::WORDS`].
    pub method: String,
    /// Share of the numbers that the method `percentile` keeps.
    pub share: f64,
    /// Ops that stay in float: names of nodes, results or operators.
    pub exclude: Vec<String>,
    /// Scale channels between layers before calibration, where the predicted error falls (`equalize-layers`).
    pub equalize: bool,
    /// At most so many ops, whose quantization costs the most quality by measurement, stay in float, too.
    pub keep_float: usize,
    /// Passes of a stronger effect are refused (quantization itself is always allowed).
    pub allow: Effect,
    /// Passes that run before calibration, whatever their effect.
    pub apply: Vec<String>,
    /// Passes to leave out.
    pub skip: Vec<String>,
    /// Samples to calibrate on; `None`: all that are not held out.
    pub samples: Option<usize>,
    /// Threads; 0: one per processor.
    pub threads: usize,
    /// Compare both files on held-out samples after writing; the gates and the accuracy need it.
    pub verify: bool,
    /// Refuse to write below this share (0 to 1) of equal top classes on held-out samples.
    pub min_agreement: Option<f64>,
    /// Refuse to write below this signal-to-noise ratio of any output, in dB.
    pub min_sqnr: Option<f64>,
    /// Overwrite the output.
    pub force: bool,
}

/// Passes that make a quantized model.
const NEEDED: [&str; 5] = ["infer-shapes", "calibrate", "quantize", "lower-qoperator", "lower-qdq"];

impl Options {
    /// Defaults for a target.
    pub fn new(target: Target) -> Self {
        Options {
            target,
            writing: None,
            method: "min-max".into(),
            share: 0.9999,
            exclude: Vec::new(),
            equalize: false,
            keep_float: 0,
            allow: Effect::Rounding,
            apply: Vec::new(),
            skip: Vec::new(),
            samples: None,
            threads: 0,
            verify: true,
            min_agreement: None,
            min_sqnr: None,
            force: false,
        }
    }

    /// How quantized types are written.
    pub fn form(&self) -> Writing {
        self.writing.or(Writing::from_word(&self.target.quant.form)).unwrap_or(Writing::Qoperator)
    }

    /// The pipeline that `convert` runs, as text that `spaceevo-opt run` takes.
    pub fn pipeline(&self) -> String {
        // Gelu and QuickGelu are operators of ONNX Runtime alone: not for the portable form.
        // Types with scales for each channel of a map are integer operators' alone, too: around conversions a runtime fuses none.
        let (merge, lower) = match self.form() {
            Writing::Qdq => ("", "hoist-sigmoid,sink-dequantize,lower-qdq"),
            Writing::Qoperator => {
                ("merge-siblings,", "clip-sums,lower-silu,lower-gelu,hoist-sigmoid,sink-dequantize,lower-qoperator")
            }
        };
        let (calibration, exclusion) = (self.calibration(), self.exclusion());
        let prepare = self.prepare();
        format!(
            "{prepare},{calibration},quantize{exclusion},fold-clip,tie-scales,drop-dead,{merge}@suit-kernels,{lower},drop-dead"
        )
    }

    /// The pipeline without the passes to leave out.
    ///
    /// Errors: `convert-skip`, of passes that are none of the pipeline's or without which no quantized model would be written.
    fn chosen(&self, registry: &Registry) -> Result<Pipeline, Diagnostic> {
        let pipeline = Pipeline::parse(&self.pipeline(), registry)?;
        let names = pipeline.passes(registry);
        for name in &self.skip {
            let wrong = |why: String| Diagnostic::error("convert-skip", Loc::Unknown, why);
            if NEEDED.contains(&name.as_str()) {
                return Err(wrong(format!("'{name}' cannot be left out: there would be no quantized model")));
            }
            if !names.contains(name) {
                return Err(wrong(format!("the pipeline has no pass '{name}'")).note(format!("it has {}", names.join(", "))));
            }
        }
        Ok(pipeline.without(&self.skip, registry))
    }

    /// The passes before calibration.
    fn prepare(&self) -> String {
        let applied: String = self.apply.iter().map(|pass| format!(",{pass}")).collect();
        if applied.is_empty() { PREPARE.to_owned() } else { format!("{PREPARE}{applied},@simplify") }
    }

    /// The passes that look at samples.
    fn calibration(&self) -> String {
        // As many as 'correct-bias' looks at.
        let mut parts = vec![format!("method={}", self.method), "moments=16".to_owned()];
        if self.method == "percentile" {
            parts.push(format!("share={}", self.share));
        }
        if !self.exclude.is_empty() {
            parts.push(format!("exclude={}", self.exclude.join("+")));
        }
        let exclusion = self.exclusion();
        let equalize = if self.equalize { format!("equalize-layers{exclusion},") } else { String::new() };
        format!("{equalize}calibrate{{{}}},correct-bias{exclusion}", parts.join(","))
    }

    /// The option `exclude` of a pass, in braces, if anything is excluded.
    fn exclusion(&self) -> String {
        if self.exclude.is_empty() { String::new() } else { format!("{{exclude={}}}", self.exclude.join("+")) }
    }
}

/// What happens before calibration.
pub const PREPARE: &str = "freeze-inputs,infer-shapes,upgrade-opset{to=17},@simplify,lower-matmul,cancel-transposes,\
     merge-reshapes,drop-identity,fold-conv-affine,sink-channel-shuffle{gather=true},infer-shapes,\
     saturate,fold-hard-sigmoid,fold-constants,drop-dead";

/// Told what is going on, so that a person can see it.
pub trait Progress {
    /// A stage begins; `steps` of it will be reported (0: unknown).
    fn stage(&self, name: &str, steps: usize);
    /// Steps of the stage are done.
    fn advance(&self, steps: usize);
}

/// Tells nobody.
pub struct Silent;

impl Progress for Silent {
    fn stage(&self, _name: &str, _steps: usize) {}
    fn advance(&self, _steps: usize) {}
}

/// What a conversion works with.
pub struct Job<'a> {
    /// The float model's file: what the result is verified against.
    pub source: &'a Path,
    /// Where the result goes.
    pub output: &'a Path,
    /// Inputs.
    pub samples: &'a dyn SampleSource,
    /// Where the inputs come from, for the report and the metadata of the file.
    pub origin: String,
    /// Labelled inputs to measure accuracy on, if there are any.
    pub evaluate: Option<&'a dyn SampleSource>,
    /// Passes and pipelines, those of [`crate::registry`] among them.
    pub registry: &'a Registry,
    /// Runs float models while calibrating, and both models while verifying.
    pub runtime: &'a dyn Runtime,
}

/// Converts a model. Nothing is written unless everything went well, the gates included.
pub fn convert(job: &Job<'_>, options: &Options, progress: &(dyn Progress + Sync)) -> Result<Report, Vec<Diagnostic>> {
    let start = Instant::now();
    let one = |d: Diagnostic| vec![d];
    refuse_existing(job.output, options.force).map_err(one)?;
    // First of all: minutes later it would be late to say that nothing can be written there.
    let staged = Staged::beside(job.output).map_err(one)?;
    progress.stage("read", 0);
    let imported = spaceevo_onnx::read(job.source, &Default::default()).map_err(one)?;
    let mut graph = imported.graph;
    let (calibrating, held_out) = split(job.samples.len(), options.samples);
    let mut options = options.clone();
    let mut sensitivity = Vec::new();
    if options.keep_float > 0 {
        let (ranked, kept) = sensitivity::choose(&graph, job, &options, &calibrating, progress)?;
        sensitivity = ranked;
        options.exclude.extend(kept);
    }
    let options = &options;
    let mut report = Report { sensitivity, ..Report::new(job, options, &graph) };
    report.warnings.extend(imported.warnings.iter().map(Diagnostic::to_string));

    report.samples = calibrating.len();
    let mut observer = RuntimeObserver::new(job.runtime, job.samples, calibrating, options.threads, progress).remembering();
    let pipeline = options.chosen(job.registry).map_err(one)?;
    report.pipeline = pipeline.to_string();
    refuse_strong_effects(&pipeline, job.registry, options)?;
    let mut keep = verify::KeepQuantized::default();
    let mut manager = Manager::new(job.registry, &options.target);
    manager.watchers.push(&mut keep);
    let run = manager.run(&pipeline, &mut graph, Some(&mut observer));
    keep.keep_seen(observer);
    report.take(&run);
    if !run.ok() {
        return Err(run.log.diagnostics);
    }
    note_provenance(&mut graph, options, job, &report.pipeline);

    spaceevo_onnx::write(&graph, &staged.path(), &Default::default())
        .map_err(|d| vec![d.note(format!("nothing was left behind for {}", job.output.display()))])?;
    let reread = spaceevo_onnx::read(&staged.path(), &Default::default()).map_err(one)?.graph;
    report.ops_after = report::operators(&reread);
    if options.verify {
        progress.stage("verify", 0);
        let verification = verify::verify(job, options, &staged.path(), &reread, &keep, &held_out, progress)?;
        gate(&verification, options)?;
        report.verification = Some(verification);
    }
    report.bytes_after = staged.publish(options.force).map_err(one)?;
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

/// Indices to calibrate on, and indices held out for verification: every eighth sample, at most sixteen. With fewer than
/// eight samples there is nothing to spare: the same samples serve both, and the report says so.
fn split(len: usize, wanted: Option<usize>) -> (Vec<usize>, Vec<usize>) {
    let most = wanted.unwrap_or(usize::MAX);
    let beyond: Vec<usize> = (most.min(len)..len).take(16).collect();
    if !beyond.is_empty() {
        return ((0..most).collect(), beyond);
    }
    let held: Vec<usize> = (0..len).skip(7).step_by(8).take(16).collect();
    if held.is_empty() {
        return ((0..len).collect(), Vec::new());
    }
    ((0..len).filter(|i| !held.contains(i)).collect(), held)
}

fn refuse_strong_effects(pipeline: &Pipeline, registry: &Registry, options: &Options) -> Result<(), Vec<Diagnostic>> {
    let quantizing = [
        "equalize-layers",
        "calibrate",
        "correct-bias",
        "quantize",
        "fold-clip",
        "tie-scales",
        "lower-qdq",
        "lower-qoperator",
    ];
    let applied = |name: &str| options.apply.iter().any(|pass| pass.split('{').next() == Some(name));
    let allowed = |name: &str| quantizing.contains(&name) || applied(name);
    let strong = pipeline.passes(registry).into_iter().filter(|name| !allowed(name)).find_map(|name| {
        let effect = registry.pass(&name)?.info().effect;
        (effect > options.allow).then_some((name, effect))
    });
    match strong {
        None => Ok(()),
        Some((name, effect)) => {
            let message =
                format!("'{name}' has the effect '{}', and only '{}' is allowed", effect.word(), options.allow.word());
            Err(vec![
                Diagnostic::error("effect-not-allowed", Loc::Unknown, message)
                    .note("raise --allow, or take it out of the pipeline"),
            ])
        }
    }
}

/// Says in the file how it came about.
fn note_provenance(graph: &mut Graph, options: &Options, job: &Job<'_>, pipeline: &str) {
    let props = &mut graph.meta.props;
    props.insert("spaceevo.version".into(), env!("CARGO_PKG_VERSION").into());
    props.insert("spaceevo.target".into(), options.target.name.clone());
    props.insert("spaceevo.pipeline".into(), pipeline.into());
    props.insert("spaceevo.calibration".into(), job.origin.clone());
    graph.meta.producer = "spaceevo".into();
    graph.meta.producer_version = env!("CARGO_PKG_VERSION").into();
    graph.touch();
}

fn gate(verification: &Verification, options: &Options) -> Result<(), Vec<Diagnostic>> {
    let mut failed = Vec::new();
    let lowest = verification.outputs.iter().filter_map(|o| o.sqnr_db).min_by(f64::total_cmp);
    if let (Some(least), Some(found)) = (options.min_sqnr, lowest)
        && found < least
    {
        failed.push(Diagnostic::error("gate-sqnr", Loc::Unknown, format!("SQNR is {found:.1} dB, {least} dB are required")));
    }
    let agreement = verification.outputs.iter().filter_map(|o| o.agreement).min_by(f64::total_cmp);
    match (options.min_agreement, agreement) {
        (Some(least), Some(found)) if found < least => {
            let message = format!("{:.1} % of the top classes agree, {:.1} % are required", 100.0 * found, 100.0 * least);
            failed.push(Diagnostic::error("gate-agreement", Loc::Unknown, message));
        }
        (Some(_), None) => failed.push(
            Diagnostic::error("gate-agreement", Loc::Unknown, "no output of this model is a class vector")
                .note("use --min-sqnr"),
        ),
        _ => {}
    }
    if failed.is_empty() {
        return Ok(());
    }
    let worst: Vec<String> = verification.layers.iter().take(3).map(|l| l.name.clone()).collect();
    let advice = format!(
        "keep the most sensitive layers in float: --keep-float 3, or --exclude {}; or try --method mse or more samples",
        worst.join(",")
    );
    Err(failed.into_iter().map(|d| d.note("nothing was written").note(advice.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn held_out_samples_are_never_calibrated_on() {
        for (len, wanted) in [(64, None), (64, Some(32)), (9, None), (1000, Some(64)), (64, Some(64))] {
            let (used, held) = split(len, wanted);
            assert!(!held.is_empty() && held.iter().all(|h| !used.contains(h)), "{len} {wanted:?}");
            assert!(used.len() <= wanted.unwrap_or(len));
        }
        assert_eq!(split(4, None), (vec![0, 1, 2, 3], vec![]));
    }
}
