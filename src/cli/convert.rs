//! `convert`: the whole job.

use std::path::PathBuf;

use clap::Args;
use spaceevo::convert::{Job, Options, Writing, convert, html};
use spaceevo::file::{refuse_existing, write_whole};
use spaceevo::onnx;
use spaceevo::passes::Effect;

use super::arguments::{default_target, find_priced, usage};
use super::progress::Bar;
use super::samples::{self, CalibrationArguments};
use super::{Failure, print};

/// Convert a float ONNX model to a verified INT8 one.
#[derive(Args)]
#[command(
    after_help = "Example:\n  spaceevo-opt convert model.onnx -o model.int8.onnx --calibrate pictures/ --preprocess model.toml"
)]
pub(crate) struct Arguments {
    /// Float model (.onnx, or .seir)
    input: PathBuf,
    /// File to write
    #[arg(short, long)]
    output: PathBuf,
    #[command(flatten)]
    calibration: CalibrationArguments,
    /// Labelled samples to measure accuracy on, before and after: a folder of images with labels.csv
    #[arg(long, value_name = "SAMPLES")]
    evaluate: Option<PathBuf>,
    /// How quantized types are written (default: as the target prefers)
    #[arg(long, value_parser = ["qoperator", "qdq"])]
    form: Option<String>,
    /// Target: a name from 'list targets', or a .toml file
    #[arg(long, default_value = default_target())]
    target: String,
    /// Price ops by what 'build-predictor' wrote, instead of the target's table
    #[arg(long, value_name = "FILE")]
    predictor: Option<PathBuf>,
    /// Strongest effect that passes beside quantization may have
    #[arg(long, default_value = "rounding", value_parser = ["exact", "rounding", "approximate", "retrain"])]
    allow: String,
    /// How ranges are chosen
    #[arg(long, default_value = "min-max", value_parser = ["min-max", "moving-average", "percentile", "entropy", "mse"])]
    method: String,
    /// Share of the numbers that the method 'percentile' keeps
    #[arg(long, default_value_t = 0.9999)]
    share: f64,
    /// Ops that stay in float: names of nodes, of results, or of operators; may be given several times
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    exclude: Vec<String>,
    /// Scale channels between layers where the predicted error falls; for networks with ReLU, compare the SQNR with and without
    #[arg(long)]
    equalize: bool,
    /// Keep at most this many ops in float: those whose quantization costs the most quality by measurement (takes minutes)
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_float: usize,
    /// Which ops run in integers: 'fast' leaves those in float that the target's prices say are faster there, 'integer' none
    #[arg(long, default_value = "fast", value_parser = ["fast", "integer"])]
    place: String,
    /// Substitution to make before, of those that 'advise' lists; may be given several times
    #[arg(long, value_name = "PASS")]
    apply: Vec<String>,
    /// Pass of the pipeline to leave out, to see what it gains; may be given several times
    #[arg(long, value_name = "PASS", value_delimiter = ',')]
    skip: Vec<String>,
    /// Do not compare both files after writing (saves time where that is done elsewhere)
    #[arg(long, conflicts_with_all = ["min_agreement", "min_sqnr", "evaluate"])]
    no_verify: bool,
    /// Refuse to write below this share of equal top classes (0.98)
    #[arg(long, value_name = "SHARE")]
    min_agreement: Option<f64>,
    /// Refuse to write below this signal-to-noise ratio of any output, in dB
    #[arg(long, value_name = "DB")]
    min_sqnr: Option<f64>,
    /// Also print each rewrite that happened, what it gains, and each that almost happened, with the reason
    #[arg(long)]
    explain: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Write the report as a self-contained HTML page
    #[arg(long, value_name = "R.html")]
    report: Option<PathBuf>,
    /// Overwrite files that exist
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Some(calibrate) = &arguments.calibration.calibrate else {
        return Err(without_samples());
    };
    let mut target = find_priced(&arguments.target, arguments.predictor.as_deref())?;
    if arguments.place == "integer" {
        (target.prices, target.predicted) = (None, None);
    }
    let options = Options {
        writing: arguments.form.as_deref().and_then(Writing::from_word),
        method: arguments.method.clone(),
        share: arguments.share,
        exclude: arguments.exclude.clone(),
        equalize: arguments.equalize,
        keep_float: arguments.keep_float,
        allow: Effect::from_word(&arguments.allow).unwrap_or(Effect::Rounding),
        apply: arguments.apply.clone(),
        skip: arguments.skip.clone(),
        samples: arguments.calibration.samples,
        threads: arguments.calibration.threads,
        verify: !arguments.no_verify,
        min_agreement: arguments.min_agreement,
        min_sqnr: arguments.min_sqnr,
        force: arguments.force,
        ..Options::new(target)
    };
    if let Some(path) = &arguments.report {
        refuse_existing(path, arguments.force)?;
    }
    let graph = onnx::read(&arguments.input, &Default::default())?.graph;
    let calibration = arguments.calibration.open(&graph, &arguments.input)?.ok_or_else(without_samples)?;
    let open = |path: &PathBuf| samples::open(path, &graph, &arguments.input, &arguments.calibration.spec);
    let labelled = arguments.evaluate.as_ref().map(open).transpose()?;
    drop(graph);
    let job = Job {
        source: &arguments.input,
        output: &arguments.output,
        samples: &*calibration.source,
        origin: calibrate.display().to_string(),
        evaluate: labelled.as_deref(),
        registry: &spaceevo::registry(),
        runtime: &*calibration.runtime,
    };
    let report = convert(&job, &options, &Bar::new(arguments.json))?;
    if let Some(path) = &arguments.report {
        write_whole(path, html(&report).as_bytes(), arguments.force)?;
    }
    if arguments.explain && !arguments.json {
        print(&report.explanation());
    }
    print(&if arguments.json { serde_json::to_string_pretty(&report).unwrap_or_default() } else { report.to_string() });
    Ok(())
}

fn without_samples() -> Failure {
    Failure::Usage(
        usage("convert needs samples to calibrate on, and none were given")
            .note("pass --calibrate with a folder of images, an .npy (N x input shape without batch) or an .npz file")
            .note("64 samples like those the model will see are enough; random numbers are not"),
    )
}
