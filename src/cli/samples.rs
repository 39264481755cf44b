//! Samples given on the command line.

use std::path::{Path, PathBuf};

use clap::Args;
use spaceevo::cost::Port;
use spaceevo::ir::Graph;
use spaceevo::samples::{self, Preprocess, SampleSource};

use super::Failure;

/// How samples become inputs.
#[derive(Args)]
pub(crate) struct SampleArguments {
    /// How images become inputs (default: the .toml beside the model, if there is one)
    #[arg(long, value_name = "SPEC.toml")]
    preprocess: Option<PathBuf>,
}

/// Opens samples for a model.
pub(crate) fn open(
    path: &Path,
    graph: &Graph,
    model: &Path,
    arguments: &SampleArguments,
) -> Result<Box<dyn SampleSource>, Failure> {
    let spec = match arguments.preprocess.clone().or_else(|| Preprocess::beside(model)) {
        Some(spec) => Some(Preprocess::read(&spec)?),
        None => None,
    };
    Ok(samples::open(path, &ports(graph), spec.as_ref())?)
}

/// Inputs to give: those of the graph that have no default.
fn ports(graph: &Graph) -> Vec<Port> {
    let inputs = graph.region(graph.body()).inputs().iter().map(|&v| graph.value(v));
    let given = inputs.filter(|v| v.tensor().is_none());
    given.map(|v| Port { name: v.name().to_string(), ty: v.ty().clone() }).collect()
}
