//! `predict`: how long models take on a target, by a predictor.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use spaceevo::cost::kernels::Placed;
use spaceevo::cost::predictor::{Latency, Predictor, Price};
use spaceevo::file::load;
use spaceevo::ir::{Diagnostic, Graph, Loc};

use super::arguments::{default_target, find_target, shown};
use super::{Failure, print, show};

/// Predict how long models take, as a whole and by kernel, with an interval that holds nine of ten.
#[derive(Args)]
#[command(after_help = "Example:\n  spaceevo-opt build-predictor --name here --budget 10min\n  \
                  spaceevo-opt predict model.int8.onnx --predictor here.predictor --kernels")]
pub(crate) struct Arguments {
    /// Models (.onnx or .seir), as the runtime will get them
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// What 'build-predictor' wrote
    #[arg(long, value_name = "FILE")]
    predictor: PathBuf,
    /// Target, which says what kernels the runtime makes: a name or a .toml file
    #[arg(long, default_value = default_target())]
    target: String,
    /// Also list the kernels, in order
    #[arg(long)]
    kernels: bool,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// A kernel as it is printed.
#[derive(Serialize)]
struct Line {
    kernel: String,
    ops: Vec<String>,
    microseconds: f64,
    known: bool,
}

/// A model as it is printed.
#[derive(Serialize)]
struct Model {
    model: String,
    milliseconds: f64,
    low: f64,
    high: f64,
    kernels: usize,
    unknown: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    by_kernel: Vec<Line>,
}

/// Reads a predictor's file.
pub(crate) fn read_predictor(path: &Path) -> Result<Predictor, Failure> {
    let name = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|e| Diagnostic::error("file-io", Loc::Unknown, format!("{name}: {e}")))?;
    Ok(Predictor::parse(&text, &name)?)
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let target = find_target(&arguments.target)?;
    let predictor = read_predictor(&arguments.predictor)?;
    let mut models = Vec::new();
    for path in &arguments.models {
        let loaded = load(path)?;
        loaded.warnings.iter().for_each(show);
        let (latency, priced) = predictor.graph(&loaded.graph, &target)?;
        let by_kernel = if arguments.kernels { lines(&loaded.graph, &priced) } else { Vec::new() };
        models.push(model(shown(path), latency, by_kernel));
    }
    if arguments.json {
        print(&serde_json::to_string_pretty(&models).unwrap_or_default());
        return Ok(());
    }
    let machine = predictor.origin.get("machine").map_or("", String::as_str);
    print(&format!("{:>9}  {:>17}  {:>7}  model    ({machine})", "ms", "90 % within", "kernels"));
    for model in &models {
        let within = format!("{:.3} - {:.3}", model.low, model.high);
        print(&format!("{:>9.3}  {within:>17}  {:>7}  {}", model.milliseconds, model.kernels, model.model));
        if model.unknown > 0.02 {
            print(&format!("           {:.0} % of it in kernels of which nothing was measured", 100.0 * model.unknown));
        }
        for line in &model.by_kernel {
            let mark = if line.known { ' ' } else { '?' };
            print(&format!("{:>9.2} us{mark} {}  {}", line.microseconds, line.kernel, line.ops.join(" ")));
        }
    }
    Ok(())
}

fn model(model: String, latency: Latency, by_kernel: Vec<Line>) -> Model {
    let Latency { nanos, low, high, kernels, unknown } = latency;
    Model { model, milliseconds: nanos / 1e6, low: low / 1e6, high: high / 1e6, kernels, unknown, by_kernel }
}

fn lines(graph: &Graph, priced: &[(Placed, Price)]) -> Vec<Line> {
    let name = |op: &spaceevo::ir::graph::OpId| {
        graph.op(*op).results().first().map_or_else(String::new, |&v| format!("%{}", graph.value(v).name()))
    };
    let line = |(placed, price): &(Placed, Price)| Line {
        kernel: placed.kernel.key(),
        ops: placed.ops.iter().map(name).collect(),
        microseconds: price.nanos / 1e3,
        known: price.known,
    };
    priced.iter().map(line).collect()
}
