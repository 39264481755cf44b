//! Samples given on the command line.

use std::path::{Path, PathBuf};

use clap::Args;
use spaceevo::convert::{Progress, RuntimeObserver};
use spaceevo::cost::{Port, Runtime};
use spaceevo::ir::Graph;
use spaceevo::samples::{self, Preprocess, SampleSource};

use super::Failure;
use super::arguments::{find_runtime, usage};

/// How samples become inputs.
#[derive(Args)]
pub(crate) struct SampleArguments {
    /// How images become inputs (default: the .toml beside the model, if there is one)
    #[arg(long, value_name = "SPEC.toml")]
    preprocess: Option<PathBuf>,
}

/// What passes that look at activations need: samples, and a runtime to run them on.
#[derive(Args)]
pub(crate) struct CalibrationArguments {
    /// Samples: a folder of images, an .npy (N x input shape without batch), an .npz (one such array per input), or a folder of ONNX test data
    #[arg(long, value_name = "SAMPLES")]
    pub(crate) calibrate: Option<PathBuf>,
    /// Samples to calibrate on, the first N (default: all, but for those that 'convert' holds out for verification)
    #[arg(long, value_name = "N")]
    pub(crate) samples: Option<usize>,
    #[command(flatten)]
    pub(crate) spec: SampleArguments,
    /// Runtime that runs models on samples
    #[arg(long, default_value = "auto", value_parser = ["auto", "onnxruntime", "tract", "interpreter"])]
    runtime: String,
    /// Threads that run samples (default: one per processor)
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
}

impl CalibrationArguments {
    /// Opens the samples for a model and finds the runtime; `None` without samples.
    pub(crate) fn open(&self, graph: &Graph, model: &Path) -> Result<Option<Calibration>, Failure> {
        let Some(path) = &self.calibrate else {
            return match (self.samples, &self.spec.preprocess) {
                (None, None) => Ok(None),
                _ => Err(Failure::Usage(usage("--samples and --preprocess say nothing without --calibrate"))),
            };
        };
        if self.samples == Some(0) {
            return Err(Failure::Usage(usage("--samples is 0").note("calibrate on at least one sample")));
        }
        let runtime = find_runtime(&self.runtime)?;
        let source = open(path, graph, model, &self.spec)?;
        Ok(Some(Calibration { source, runtime, samples: self.samples, threads: self.threads }))
    }
}

/// Samples, and the runtime that they are run on.
pub(crate) struct Calibration {
    pub(crate) source: Box<dyn SampleSource>,
    pub(crate) runtime: Box<dyn Runtime>,
    samples: Option<usize>,
    threads: usize,
}

impl Calibration {
    /// Samples that [`Calibration::observer`] runs.
    pub(crate) fn count(&self) -> usize {
        self.source.len().min(self.samples.unwrap_or(usize::MAX))
    }

    /// Shows passes the activations of the first samples, all of them unless a number was given.
    pub(crate) fn observer<'a>(&'a self, progress: &'a (dyn Progress + Sync)) -> RuntimeObserver<'a> {
        RuntimeObserver::new(&*self.runtime, &*self.source, (0..self.count()).collect(), self.threads, progress)
    }
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
pub(crate) fn ports(graph: &Graph) -> Vec<Port> {
    let inputs = graph.region(graph.body()).inputs().iter().map(|&v| graph.value(v));
    let given = inputs.filter(|v| v.tensor().is_none());
    given.map(|v| Port { name: v.name().to_string(), ty: v.ty().clone() }).collect()
}
