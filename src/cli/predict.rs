//! `predict`: how long models take on a target, by a predictor.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use spaceevo::cost::kernels::Placed;
use spaceevo::cost::measure::inputs::{Shapes, known, settle};
use spaceevo::cost::predictor::judge::{Judged, Verdict, verdict};
use spaceevo::cost::predictor::{Latency, Predictor, Price};
use spaceevo::file::{load, refuse_existing, write_whole};
use spaceevo::ir::{Diagnostic, Graph, Loc};
use spaceevo::network_times;
use spaceevo::rewrite::as_loaded;

use super::arguments::{default_target, find_target, shown};
use super::measure::shape;
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
    /// Shape of an input that a model leaves open: image=1,3,224,224; may be given several times
    #[arg(long, value_name = "NAME=DIMS", value_parser = shape)]
    shape: Vec<(String, Vec<usize>)>,
    /// Also list the kernels, in order
    #[arg(long)]
    kernels: bool,
    /// Also measure the models here, twice, write the times into this .csv, and say how well they are predicted
    #[arg(long, value_name = "CSV", conflicts_with = "against")]
    measure: Option<PathBuf>,
    /// Say how well the times in this .csv are predicted: columns model, first_ns, second_ns, as --measure writes them
    #[arg(long, value_name = "CSV")]
    against: Option<PathBuf>,
    /// Print as JSON
    #[arg(long)]
    json: bool,
    /// Overwrite the .csv
    #[arg(long)]
    force: bool,
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

/// What is printed as JSON.
#[derive(Serialize)]
struct Report<'a> {
    models: &'a [Model],
    #[serde(skip_serializing_if = "<[Judged]>::is_empty")]
    judged: &'a [Judged],
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict>,
}

/// Reads a predictor's file.
pub(crate) fn read_predictor(path: &Path) -> Result<Predictor, Failure> {
    let name = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|e| Diagnostic::error("file-io", Loc::Unknown, format!("{name}: {e}")))?;
    Ok(Predictor::parse(&text, &name)?)
}

/// A warning where weights are inputs.
fn variables(graph: &Graph) -> Option<Diagnostic> {
    let inputs = graph.region(graph.body()).inputs();
    let weights = inputs.iter().filter(|&&value| graph.value(value).tensor().is_some()).count();
    let what =
        format!("{weights} weights are listed as inputs, so that ONNX Runtime takes them for variables and folds nothing");
    (weights > 0).then(|| {
        Diagnostic::warning("weights-are-inputs", Loc::Unknown, what)
            .note("predictions are of constant weights: make them so first, spaceevo-opt run model.onnx -p freeze-inputs -o frozen.onnx")
    })
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let target = find_target(&arguments.target)?;
    let predictor = read_predictor(&arguments.predictor)?;
    let shapes: Shapes = arguments.shape.iter().cloned().collect();
    let mut graphs = Vec::new();
    for path in &arguments.models {
        let loaded = load(path)?;
        loaded.warnings.iter().for_each(show);
        graphs.push(loaded.graph);
    }
    let registry = spaceevo::registry();
    known(&shapes, &graphs.iter().collect::<Vec<_>>())?;
    for (graph, path) in graphs.iter_mut().zip(&arguments.models) {
        settle(graph, &shapes).map_err(|found| found.note(format!("the model is {}", shown(path))))?;
        if let Some(found) = variables(graph) {
            show(&found.note(format!("the model is {}", shown(path))));
        }
        as_loaded(graph, &target, &registry)?;
    }
    if let Some(csv) = &arguments.measure {
        refuse_existing(csv, arguments.force)?;
        let times = network_times::measure(&arguments.models, &shapes, &predictor, &target)?;
        write_whole(csv, network_times::to_csv(&times).as_bytes(), arguments.force)?;
    }
    let times = match arguments.measure.as_ref().or(arguments.against.as_ref()) {
        Some(csv) => network_times::read(csv)?,
        None => Default::default(),
    };
    let mut models = Vec::new();
    let mut judged = Vec::new();
    for (path, graph) in arguments.models.iter().zip(&graphs) {
        let (latency, priced) = predictor.graph(graph, &target)?;
        let by_kernel = if arguments.kernels { lines(graph, &priced) } else { Vec::new() };
        if let Some(&measured) = times.get(&shown(path)) {
            let macs = priced.iter().map(|(placed, _)| placed.kernel.macs()).sum();
            let interval = [latency.low, latency.high];
            judged.push(Judged { name: shown(path), predicted: latency.nanos, interval, macs, measured });
        }
        models.push(model(shown(path), latency, by_kernel));
    }
    let verdict = verdict(&judged);
    if arguments.json {
        let report = Report { models: &models, judged: &judged, verdict };
        print(&serde_json::to_string_pretty(&report).unwrap_or_default());
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
    if let Some(verdict) = verdict {
        tell(&judged, &verdict);
    }
    Ok(())
}

fn tell(judged: &[Judged], v: &Verdict) {
    let mut by_error: Vec<&Judged> = judged.iter().collect();
    by_error.sort_by(|a, b| b.error().abs().total_cmp(&a.error().abs()));
    print("furthest off:");
    for j in by_error.iter().take(12) {
        let (predicted, measured) = (j.predicted / 1e6, j.time() / 1e6);
        print(&format!("  {:>+6.1} %  {predicted:.3} ms predicted, {measured:.3} measured  {}", 100.0 * j.error(), j.name));
    }
    let percent = |part: f64| format!("{:.1} %", 100.0 * part);
    let (ten, five) = (percent(v.within_10), percent(v.within_5));
    print(&format!("{} networks: {ten} within 10 %, {five} within 5 %; in the interval {}", v.networks, percent(v.held)));
    let (ten, five) = (percent(v.ceiling_10), percent(v.ceiling_5));
    print(&format!(
        "  a second measurement: {ten} within 10 %, {five} within 5 %; multiply-accumulates alone: {} within 10 %",
        percent(v.work_10)
    ));
    print(&format!(
        "  median error {:+.1} %; Kendall's tau {:.3} over {} pairs near one budget, of a second measurement {:.3}",
        100.0 * v.bias,
        v.tau,
        v.pairs,
        v.tau_again
    ));
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
