//! `convert`: the whole job.

use std::path::PathBuf;

use clap::Args;
use spaceevo::convert::{Job, Options, Writing, convert};
use spaceevo::ir::{Diagnostic, ir_loc};
use spaceevo::passes::{Effect, Registry, Target};

use super::progress::Bar;
use super::{Failure, print};

/// Convert a float ONNX model to a verified INT8 one.
#[derive(Args)]
#[command(after_help = "Example:\n  spaceevo-opt convert model.onnx -o model.int8.onnx --calibrate pictures/ --preprocess model.toml")]
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
