//! A model as a runtime runs it: what every runtime folds when it loads a file is no kernel of its own.

use spaceevo_ir::{Diagnostic, Graph};
use spaceevo_passes::{Manager, Pipeline, Registry, Target};

/// ONNX Runtime does the same at load: ConvBatchNormFusion, ConvMulFusion and ConvAddFusion, EliminateIdentity, EliminateDropout.
const FOLDED: &str = "infer-shapes,fold-conv-bn,fold-conv-affine,drop-identity,drop-dead";

/// Folds it, so that the ops left are those that have a time.
///
/// # Errors
/// Those of the passes.
pub fn as_loaded(graph: &mut Graph, target: &Target, registry: &Registry) -> Result<(), Vec<Diagnostic>> {
    let pipeline = Pipeline::parse(FOLDED, registry).map_err(|d| vec![d])?;
    let report = Manager::new(registry, target).run(&pipeline, graph, None);
    if report.ok() { Ok(()) } else { Err(report.log.diagnostics) }
}
