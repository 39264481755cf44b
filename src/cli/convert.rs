//! `convert`: the whole job.

use std::path::{Path, PathBuf};

use clap::Args;
use spaceevo::convert::{Job, Options, Writing, convert};
use spaceevo::cost::Port;
use spaceevo::cost::runtime::{Purpose, Runtime, best, interp::Interpreter, tract::Tract};
use spaceevo::ir::{Diagnostic, Loc};
use spaceevo::passes::{Effect, Registry, Target};
use spaceevo::samples::{self, Preprocess};

use super::progress::Bar;
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
    /// Samples: a folder of images, an .npy (N x input shape without batch), an .npz (one such array per input), or a folder of ONNX test data
    #[arg(long, value_name = "SAMPLES")]
    calibrate: Option<PathBuf>,
    /// Samples to calibrate on (default: all but those held out for verification)
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// How images become inputs (default: the .toml beside the model, if there is one)
    #[arg(long, value_name = "SPEC.toml")]
    preprocess: Option<PathBuf>,
    /// Labelled samples to measure accuracy on, before and after: a folder of images with labels.csv
    #[arg(long, value_name = "SAMPLES")]
    evaluate: Option<PathBuf>,
    /// How quantized types are written (default: as the target prefers)
    #[arg(long, value_parser = ["qoperator", "qdq"])]
    form: Option<String>,
    /// Target: a name from `list targets`, or a .toml file
    #[arg(long, default_value = "x86-vnni")]
    target: String,
    /// Strongest effect that passes beside quantization may have
    #[arg(long, default_value = "rounding", value_parser = ["exact", "rounding", "approximate", "retrain"])]
    allow: String,
    /// How ranges are chosen
    #[arg(long, default_value = "min-max", value_parser = ["min-max", "moving-average", "percentile", "entropy", "mse"])]
    method: String,
    /// Share of the numbers that the method `percentile` keeps
    #[arg(long, default_value_t = 0.9999)]
    share: f64,
    /// Ops that stay in float: names of nodes, of results, or of operators; may be given several times
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    exclude: Vec<String>,
    /// Refuse to write below this share of equal top classes (0.98)
    #[arg(long, value_name = "SHARE")]
    min_agreement: Option<f64>,
    /// Refuse to write below this signal-to-noise ratio of any output, in dB
    #[arg(long, value_name = "DB")]
    min_sqnr: Option<f64>,
    /// Runtime that calibrates and verifies
    #[arg(long, default_value = "auto", value_parser = ["auto", "onnxruntime", "tract", "interpreter"])]
    runtime: String,
    /// Threads (default: one per processor)
    #[arg(long, default_value_t = 0)]
    threads: usize,
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
    let Some(calibrate) = &arguments.calibrate else {
        return Err(Failure::Usage(
            usage("no-samples", "convert needs samples to calibrate on, and none were given")
                .note("pass --calibrate with a folder of images, an .npy (N x input shape without batch) or an .npz file")
                .note("64 samples like those the model will see are enough; random numbers are not"),
        ));
    };
    let target = find_target(&arguments.target)?;
    let runtime = find_runtime(&arguments.runtime)?;
    let options = Options {
        writing: arguments.form.as_deref().and_then(Writing::from_word),
        method: arguments.method.clone(),
        share: arguments.share,
        exclude: arguments.exclude.clone(),
        allow: Effect::from_word(&arguments.allow).unwrap_or(Effect::Rounding),
        samples: arguments.samples,
        threads: arguments.threads,
        min_agreement: arguments.min_agreement,
        min_sqnr: arguments.min_sqnr,
        force: arguments.force,
        ..Options::new(target)
    };
    if arguments.samples == Some(0) {
        return Err(Failure::Usage(usage("no-samples", "--samples is 0").note("calibrate on at least one sample")));
    }
    let spec = preprocessing(&arguments.input, arguments.preprocess.as_deref())?;
    let ports = ports(&arguments.input)?;
    let source = samples::open(calibrate, &ports, spec.as_ref())?;
    let labelled = arguments.evaluate.as_ref().map(|path| samples::open(path, &ports, spec.as_ref())).transpose()?;
    let job = Job {
        source: &arguments.input,
        output: &arguments.output,
        samples: &*source,
        origin: calibrate.display().to_string(),
        evaluate: labelled.as_deref(),
        registry: &Registry::standard(),
        runtime: &*runtime,
    };
    let report = convert(&job, &options, &mut Bar::new(arguments.json))?;
    print(&if arguments.json { serde_json::to_string_pretty(&report).unwrap_or_default() } else { report.to_string() });
    Ok(())
}

fn usage(code: &'static str, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(code, Loc::Unknown, message)
}

/// A shipped target, or a target file.
fn find_target(name: &str) -> Result<Target, Failure> {
    if name.ends_with(".toml") {
        let text = std::fs::read_to_string(name).map_err(|e| usage("file-io", format!("{name} cannot be read: {e}")))?;
        return Ok(Target::parse(&text, name)?);
    }
    let known: Vec<&str> = Target::names().collect();
    Target::named(name).ok_or_else(|| {
        let help = spaceevo::passes::pipeline::suggest(name, &known);
        Failure::Usage(usage("unknown-target", format!("there is no target '{name}'")).note(help))
    })
}

fn find_runtime(name: &str) -> Result<Box<dyn Runtime>, Failure> {
    Ok(match name {
        "tract" => Box::new(Tract),
        "interpreter" => Box::new(Interpreter),
        "onnxruntime" => best(Purpose::Latency, None)?,
        _ => best(Purpose::Numbers, None)?,
    })
}

/// The preprocessing asked for, else the one beside the model.
fn preprocessing(model: &Path, asked: Option<&Path>) -> Result<Option<Preprocess>, Diagnostic> {
    let path = asked.map(Path::to_path_buf).or_else(|| Preprocess::beside(model));
    path.map(|path| Preprocess::read(&path)).transpose()
}

/// Inputs of the model that samples must give.
fn ports(model: &Path) -> Result<Vec<Port>, Diagnostic> {
    let graph = spaceevo::onnx::read(model, &Default::default())?.graph;
    let inputs = graph.region(graph.body()).inputs().iter().map(|&v| graph.value(v)).filter(|v| v.tensor().is_none());
    Ok(inputs.map(|v| Port { name: v.name().to_string(), ty: v.ty().clone() }).collect())
}
