//! Pipelines that look at no samples, run on a graph.

use spaceevo_ir::{Diagnostic, Graph};
use spaceevo_passes::{Manager, Pipeline, Registry, Report, Target};

/// ONNX Runtime does the same at load: ConvBatchNormFusion, ConvMulFusion and ConvAddFusion, PadFusion, GeluFusion,
/// EliminateIdentity, EliminateDropout. Its Gelu is older than ONNX's, which needs operator set 20.
const FOLDED: &str =
    "infer-shapes,fold-conv-bn,fold-conv-affine,fold-pad,drop-identity,upgrade-opset{to=20},lift-gelu,drop-dead";

/// Runs a pipeline.
///
/// # Errors
/// Those of its text, and of the passes.
pub(crate) fn rewrite(
    pipeline: &str,
    graph: &mut Graph,
    target: &Target,
    registry: &Registry,
) -> Result<Report, Vec<Diagnostic>> {
    let pipeline = Pipeline::parse(pipeline, registry).map_err(|d| vec![d])?;
    let report = Manager::new(registry, target).run(&pipeline, graph, None);
    if report.ok() { Ok(report) } else { Err(report.log.diagnostics) }
}

/// Makes a model what a runtime runs: what every runtime folds as it loads a file is no kernel of its own.
///
/// # Errors
/// Those of the passes.
pub fn as_loaded(graph: &mut Graph, target: &Target, registry: &Registry) -> Result<(), Vec<Diagnostic>> {
    rewrite(FOLDED, graph, target, registry).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::as_loaded;
    use crate::spaces;
    use crate::{Target, registry};

    #[test]
    fn a_batch_normalization_is_no_kernel() {
        let space = spaces::load("cifar").expect("a shipped space");
        let hyperspace = &space.page.hyperspace;
        let choice = hyperspace.choice_at(0);
        let subnet = spaceevo_search::sample::subnet(hyperspace, &choice, &[0]);
        let mut graph = space.network(&choice, &subnet, 0).expect("a network");
        let norms = |graph: &spaceevo_ir::Graph| {
            graph.all_ops().into_iter().filter(|&op| graph.op(op).name().is_onnx("BatchNormalization")).count()
        };
        assert!(norms(&graph) > 3);
        as_loaded(&mut graph, &Target::named("x86-vnni").expect("shipped"), &registry()).expect("folded");
        assert_eq!(norms(&graph), 0);
    }
}
