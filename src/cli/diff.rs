//! `diff`: how two models differ in structure and, on samples, in numbers.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use spaceevo::compare::{Numbers, Structure, numbers, structure};
use spaceevo::file::load;

use super::arguments::find_runtime;
use super::samples::{self, SampleArguments};
use super::{Failure, print, show};

/// Compare two models: ops that came, went or changed, and, with samples, how far their outputs are apart.
#[derive(Args)]
#[command(after_help = "Examples:
  spaceevo-opt diff model.onnx model.int8.onnx
  spaceevo-opt diff model.onnx model.int8.onnx --samples pictures/ --json")]
pub(crate) struct Arguments {
    /// First model (.onnx or .seir; - for standard input)
    a: PathBuf,
    /// Second model
    b: PathBuf,
    /// Samples to run both models on: a folder of images, an .npy, an .npz, or a folder of ONNX test data; without them only structure is compared
    #[arg(long, value_name = "SAMPLES")]
    samples: Option<PathBuf>,
    /// Samples to run at most
    #[arg(long, value_name = "N", default_value_t = 64)]
    count: usize,
    #[command(flatten)]
    spec: SampleArguments,
    /// Runtime that runs both: auto, onnxruntime, tract, interpreter
    #[arg(long, default_value = "auto")]
    runtime: String,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Difference {
    structure: Structure,
    numbers: Option<Numbers>,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (a, b) = (load(&arguments.a)?, load(&arguments.b)?);
    a.warnings.iter().chain(&b.warnings).for_each(show);
    let numbers = match &arguments.samples {
        None => None,
        Some(path) => {
            let runtime = find_runtime(&arguments.runtime)?;
            let source = samples::open(path, &a.graph, &arguments.a, &arguments.spec)?;
            let count = source.len().min(arguments.count);
            let compared = numbers(&a.graph, &b.graph, &*runtime, count, &|index| source.get(index));
            Some(compared.map_err(|d| match d.code {
                "runtime-load" | "runtime-run" => d.note("--runtime interpreter knows more operators, and is slow"),
                _ => d,
            })?)
        }
    };
    let difference = Difference { structure: structure(&a.graph, &b.graph), numbers };
    if arguments.json {
        print(&serde_json::to_string_pretty(&difference).unwrap_or_default());
    } else {
        let numbers = difference.numbers.map_or(String::new(), |n| n.to_string());
        print(format!("{}{numbers}", difference.structure).trim_end());
    }
    Ok(())
}
