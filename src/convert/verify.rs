//! The file that leaves is checked against the file that came.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use spaceevo_cost::runtime::{LoadOptions, ModelSource, Runtime, Session};
use spaceevo_ir::{Diagnostic, Elem, Graph, Loc, OpId};
use spaceevo_passes::{Manager, Outcome, PassInfo, Pipeline, Watch};

use super::observe::{Glimpse, RuntimeObserver, in_parallel, threads_or_all};
use super::report::{Accuracy, OutputQuality, Verification};
use super::{Job, Options, Progress, Writing, layers};
use crate::quality::{Quality, top};
use crate::samples::SampleSource;

/// The target's arithmetic is verified, not this machine's: without VNNI, sums of products saturate (see `x86-avx2`).
pub(super) fn exact() -> LoadOptions {
    LoadOptions { exact_int8: true, low_memory: true, ..LoadOptions::default() }
}

/// The same for what was written. Integer operators on signed activations have no pairs of products that saturate, and ONNX
/// Runtime, asked for exact sums, makes their weights unsigned and then has no kernel. In the other form it makes both unsigned.
fn exact_written(written: &Graph) -> LoadOptions {
    let signed = |op: &OpId| {
        let op = written.op(*op);
        let integer = op.name().is_onnx("QLinearConv") || op.name().is_onnx("QLinearMatMul") || &*op.name().op == "QGemm";
        let zero = op.operand(2).filter(|_| integer).and_then(|zero| written.const_of(zero));
        zero.is_some_and(|zero| zero.elem() == Elem::I8)
    };
    LoadOptions { exact_int8: !written.all_ops().iter().any(signed), ..exact() }
}

/// Keeps the graphs as they are before weights change, right after types were quantized, and before operators are written
/// that not every runtime has.
#[derive(Default)]
pub(super) struct KeepQuantized {
    float: Option<Graph>,
    quantized: Option<Graph>,
    portable: Option<Graph>,
    seen: Option<Glimpse>,
}

impl KeepQuantized {
    /// Keeps what was seen of the first of these graphs.
    pub(super) fn keep_seen(&mut self, observer: RuntimeObserver<'_>) {
        self.seen = self.float.as_ref().and_then(|float| observer.into_glimpse(float));
    }
}

impl Watch for KeepQuantized {
    fn before(&mut self, pass: &PassInfo, graph: &Graph) {
        if pass.name == "calibrate" {
            self.float = Some(graph.clone());
        }
        if self.portable.is_none() && ["lower-silu", "lower-qoperator"].contains(&pass.name) {
            self.portable = Some(graph.clone());
        }
    }

    fn after(&mut self, pass: &PassInfo, graph: &Graph, _outcome: Outcome, _took: Duration) {
        if ["fold-clip", "tie-scales"].contains(&pass.name) {
            self.quantized = Some(graph.clone());
        }
    }
}

/// Compares the files; errors when one does not run, or its outputs do not fit those of the source.
pub(super) fn verify(
    job: &Job<'_>,
    options: &Options,
    written: &Path,
    reread: &Graph,
    keep: &KeepQuantized,
    held_out: &[usize],
    progress: &(dyn Progress + Sync),
) -> Result<Verification, Vec<Diagnostic>> {
    let one = |d: Diagnostic| vec![d];
    let load = exact_written(reread);
    let float = job.runtime.load(ModelSource::File(job.source), &load).map_err(one)?;
    // A runtime without the operators of the QOperator form verifies the same types written the other way.
    let twin = (options.form() == Writing::Qoperator && job.runtime.name() == "tract")
        .then(|| portable(keep, job, options))
        .transpose()?;
    let source = twin.as_ref().map_or(ModelSource::File(written), ModelSource::Graph);
    let int8 = job.runtime.load(source, &load).map_err(one)?;

    let through = if twin.is_some() { ", through the equivalent QDQ form" } else { "" };
    let indices: Vec<usize> = if held_out.is_empty() { (0..job.samples.len().min(16)).collect() } else { held_out.to_vec() };
    let outputs = outputs(float, int8, job.samples, &indices).map_err(one)?;
    let layers = match (&keep.float, &keep.quantized, &keep.seen) {
        (Some(float), Some(quantized), Some(seen)) => layers::compare(float, quantized, seen, job, options).map_err(one)?,
        _ => Vec::new(),
    };
    let measure = |labelled| accuracy(job.runtime, job.source, source, &load, labelled, options, progress);
    Ok(Verification {
        runtime: format!("{} {}{through}", job.runtime.name(), job.runtime.version()),
        samples: indices.len(),
        held_out: !held_out.is_empty(),
        outputs,
        layers,
        accuracy: job.evaluate.map(measure).transpose().map_err(one)?,
    })
}

/// The file's numbers written as QDQ.
fn portable(keep: &KeepQuantized, job: &Job<'_>, options: &Options) -> Result<Graph, Vec<Diagnostic>> {
    let mut graph = keep.portable.clone().unwrap_or_default();
    let pipeline = Pipeline::parse("lower-qdq", job.registry).map_err(|d| vec![d])?;
    let run = Manager::new(job.registry, &options.target).run(&pipeline, &mut graph, None);
    if run.ok() { Ok(graph) } else { Err(run.log.diagnostics) }
}

/// Compares all outputs on samples.
fn outputs(
    mut float: Box<dyn Session>,
    mut int8: Box<dyn Session>,
    samples: &dyn SampleSource,
    indices: &[usize],
) -> Result<Vec<OutputQuality>, Diagnostic> {
    let names: Vec<String> = float.outputs().iter().map(|p| p.name.clone()).collect();
    let mut powers = vec![Quality::default(); names.len()];
    for &index in indices {
        let inputs = samples.get(index)?;
        let (expected, found) = (float.run(&inputs)?, int8.run(&inputs)?);
        for (i, (a, b)) in expected.iter().zip(&found).enumerate() {
            if a.dims() != b.dims() || a.elem() != b.elem() {
                let message = format!("output '{}' was {:?} and is {:?}", names[i], a.ty(), b.ty());
                return Err(Diagnostic::error("verify-output", Loc::Unknown, message)
                    .note("the conversion changed the model's interface: please report it"));
            }
            let (Some(x), Some(y)) = (a.to_f32(), b.to_f32()) else { continue };
            if y.iter().any(|v| !v.is_finite()) && x.iter().all(|v| v.is_finite()) {
                let message = format!("output '{}' is infinite or not a number after conversion", names[i]);
                return Err(Diagnostic::error("verify-output", Loc::Unknown, message).note("nothing was written"));
            }
            powers[i].add_output(a.dims(), &x, &y);
        }
    }
    let quality = |i: usize, name: &String| OutputQuality {
        name: name.clone(),
        sqnr_db: powers[i].db(),
        agreement: powers[i].agreement(),
    };
    Ok(names.iter().enumerate().map(|(i, n)| quality(i, n)).collect())
}

/// Top-1 accuracy of both models on labelled samples.
fn accuracy(
    runtime: &dyn Runtime,
    float: &Path,
    int8: ModelSource<'_>,
    load: &LoadOptions,
    labelled: &dyn SampleSource,
    options: &Options,
    progress: &(dyn Progress + Sync),
) -> Result<Accuracy, Diagnostic> {
    let share = |source: ModelSource<'_>| -> Result<f64, Diagnostic> {
        let right = Mutex::new(0usize);
        let work = |session: &mut dyn Session, index: usize| {
            let label = labelled.label(index);
            let outputs = session.run(&labelled.get(index)?)?;
            let hit = outputs.first().and_then(|o| top(&o.to_f32()?)) == label;
            if let Ok(mut right) = right.lock() {
                *right += usize::from(hit && label.is_some());
            }
            progress.advance(1);
            Ok(())
        };
        in_parallel(runtime.load(source, load)?, threads_or_all(options.threads), labelled.len(), &work)?;
        Ok(right.into_inner().unwrap_or(0) as f64 / labelled.len().max(1) as f64)
    };
    Ok(Accuracy { samples: labelled.len(), float: share(ModelSource::File(float))?, int8: share(int8)? })
}
