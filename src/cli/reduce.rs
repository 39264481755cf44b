//! `reduce`: from a model that fails to a test case that fits on one screen.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use spaceevo::file::{SaveOptions, load, refuse_existing, save};
use spaceevo::ir::interp::{self, Datum};
use spaceevo::ir::tensor::Rand;
use spaceevo::ir::verify::{Form, verify};
use spaceevo::ir::{Graph, Tensor};
use spaceevo::passes::{Effect, Manager, Pipeline, Registry, Target};
use spaceevo::reduce::reduce;

use super::arguments::{default_target, find_target, shown, usage};
use super::run::{Panicked, guarded};
use super::{Failure, print};

/// Make a model smaller while a pipeline still fails on it.
#[derive(Args)]
#[command(after_help = "Example:\n  spaceevo-opt reduce model.onnx -p fold-conv-bn --until differs -o case.seir")]
pub(crate) struct Arguments {
    /// Model that shows the failure (.onnx or .seir; - for standard input)
    input: PathBuf,
    /// Pipeline that fails
    #[arg(short, long, value_name = "PIPELINE")]
    pipeline: String,
    /// What must stay true
    #[arg(long, value_enum)]
    until: Until,
    /// File to write (.seir or .onnx)
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Target: a name from 'list targets', or a .toml file
    #[arg(long, default_value = default_target())]
    target: String,
    /// Graphs to try at most
    #[arg(long, value_name = "N", default_value_t = 5000)]
    attempts: usize,
    /// Overwrite files that exist
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Until {
    /// The pipeline panics
    Panics,
    /// The pipeline reports an error
    Rejects,
    /// The reference interpreter computes other numbers than before, by more than the passes may change them
    Differs,
}

/// What a pipeline did to a graph.
#[derive(Clone, PartialEq, Debug)]
enum Behaviour {
    Fine,
    Panics,
    /// With the code of the first error.
    Rejects(&'static str),
    Differs,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let registry = spaceevo::registry();
    let target = find_target(&arguments.target)?;
    let pipeline = Pipeline::parse(&arguments.pipeline, &registry).map_err(Failure::Usage)?;
    refuse_existing(&arguments.output, arguments.force)?;
    let graph = load(&arguments.input)?.graph;
    let compare = arguments.until == Until::Differs;
    let wanted = behaviour(&graph, &pipeline, &registry, &target, compare);
    let shows = match arguments.until {
        Until::Panics => wanted == Behaviour::Panics,
        Until::Rejects => matches!(wanted, Behaviour::Rejects(_)),
        Until::Differs => wanted == Behaviour::Differs,
    };
    if !shows {
        let found = match wanted {
            Behaviour::Fine => "it is fine".to_owned(),
            Behaviour::Panics => "it panics".to_owned(),
            Behaviour::Rejects(code) => format!("it rejects the model with '{code}'"),
            Behaviour::Differs => "the numbers differ".to_owned(),
        };
        return Err(Failure::Usage(
            usage(format!("the pipeline does not do that on {}: {found}", shown(&arguments.input)))
                .note("reduce needs a model that shows the failure to begin with"),
        ));
    }
    // A graph that was sound stays sound: a broken one fails in ways that nobody asked about.
    let sound = verify(&graph, Form::Any).is_empty();
    let reduced = reduce(&graph, arguments.attempts, &mut |candidate| {
        (!sound || verify(candidate, Form::Any).is_empty())
            && behaviour(candidate, &pipeline, &registry, &target, compare) == wanted
    });
    let comment = vec![
        format!("Reduced from {}.", shown(&arguments.input)),
        format!("pipeline: {pipeline}"),
        format!("target: {}", arguments.target),
    ];
    save(&reduced.graph, &arguments.output, &SaveOptions { force: arguments.force, comment, ..SaveOptions::default() })?;
    print(&format!(
        "{} -> {}: {} ops -> {}, {} graphs tried",
        shown(&arguments.input),
        arguments.output.display(),
        graph.all_ops().len(),
        reduced.graph.all_ops().len(),
        reduced.attempts
    ));
    Ok(())
}

fn behaviour(graph: &Graph, pipeline: &Pipeline, registry: &Registry, target: &Target, compare: bool) -> Behaviour {
    let mut after = graph.clone();
    match guarded(|| Manager::new(registry, target).run(pipeline, &mut after, None)) {
        Err(Panicked(_)) => Behaviour::Panics,
        Ok(report) if !report.ok() => Behaviour::Rejects(report.errors().next().map_or("", |d| d.code)),
        Ok(_) if compare && differs(graph, &after, tolerance(pipeline, registry)) => Behaviour::Differs,
        Ok(_) => Behaviour::Fine,
    }
}

/// How far numbers may move, relative to the largest of a tensor: as the strongest effect of the passes says.
fn tolerance(pipeline: &Pipeline, registry: &Registry) -> f64 {
    let effects = pipeline.passes(registry).into_iter().filter_map(|name| Some(registry.pass(&name)?.info().effect));
    match effects.max() {
        None | Some(Effect::Exact) => 0.0,
        Some(Effect::Rounding) => 1e-4,
        Some(Effect::Approximate) => 0.1,
        Some(Effect::Retrain) => f64::INFINITY,
    }
}

/// True when both graphs run in the interpreter and give different numbers.
fn differs(before: &Graph, after: &Graph, tolerance: f64) -> bool {
    let Some(inputs) = drawn_inputs(before) else { return false };
    let outcome = guarded(|| (interp::run(before, &inputs), interp::run(after, &inputs)));
    let Ok((Ok(expected), found)) = outcome else { return false };
    let Ok(found) = found else { return true };
    expected.iter().zip(&found).any(|(a, b)| match (a.tensor(), b.tensor()) {
        (Some(a), Some(b)) => far_apart(a, b, tolerance),
        _ => a != b,
    })
}

fn far_apart(a: &Tensor, b: &Tensor, tolerance: f64) -> bool {
    if a == b {
        return false;
    }
    let (Some(x), Some(y)) = (a.to_f64(), b.to_f64()) else { return true };
    let largest = x.iter().map(|v| v.abs()).filter(|v| v.is_finite()).fold(0.0, f64::max);
    a.dims() != b.dims() || x.iter().zip(&y).any(|(x, y)| x.is_nan() != y.is_nan() || (x - y).abs() > tolerance * largest)
}

/// Inputs from a seed, open extents taken as 1.
fn drawn_inputs(graph: &Graph) -> Option<Vec<Datum>> {
    let inputs = graph.region(graph.body()).inputs().iter().map(|&v| graph.value(v));
    let draw = |(index, value): (usize, &spaceevo::ir::Value)| {
        if let Some(tensor) = value.tensor() {
            return Some(Datum::from(tensor.clone()));
        }
        let ty = value.ty().tensor()?;
        let dims: Vec<usize> = ty.shape.as_ref()?.iter().map(|d| d.known().unwrap_or(1) as usize).collect();
        let seed = index as u64 + 1;
        Tensor::random(ty.storage(), dims, Rand { seed, within: None }).map(Datum::from)
    };
    inputs.enumerate().map(draw).collect()
}
