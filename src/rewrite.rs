//! Pipelines that look at no samples, run on a graph.

use spaceevo_ir::{Diagnostic, Graph};
use spaceevo_passes::{Manager, Pipeline, Registry, Report, Target};

/// ONNX Runtime does the same at load: ConstantFolding, EliminateCommonSubexpression, ConvBatchNormFusion, ConvMulFusion and
/// ConvAddFusion, PadFusion, GeluFusion, EliminateIdentity, EliminateDropout. Its Gelu is older than ONNX's, which needs operator set 20.
const FOLDED: &str = "infer-shapes,upgrade-opset{to=20},fold-constants,merge-duplicates,lift-gelu,fold-conv-bn,fold-conv-affine,\
     fold-pad,drop-identity,drop-dead";

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

    #[test]
    fn what_the_runtime_fuses_at_load_is_no_kernel() {
        let source = "graph @main(%x: f32[1,2,4,4]) with {opset = 17} {\n  %w = const rand(1) : f32[2,2,3,3]\n  \
            %p = const [0, 0, 1, 1, 0, 0, 1, 1] : i64[8]\n  %r = const 1.4142135 : f32[]\n  %o = const 1.0 : f32[]\n  \
            %h = const 0.5 : f32[]\n  %a = onnx.Pad %x, %p : f32[1,2,6,6]\n  %c = onnx.Conv %a, %w : f32[1,2,4,4]\n  \
            %d = onnx.Div %c, %r : f32[1,2,4,4]\n  %e = onnx.Erf %d : f32[1,2,4,4]\n  %f = onnx.Add %e, %o : f32[1,2,4,4]\n  \
            %g = onnx.Mul %c, %f : f32[1,2,4,4]\n  %y = onnx.Mul %g, %h : f32[1,2,4,4]\n  return %y\n}\n";
        let mut graph =
            spaceevo_ir::text::parse(source, "test", &spaceevo_ir::text::NoBlobs).into_result().expect("a graph");
        as_loaded(&mut graph, &Target::named("x86-vnni").expect("shipped"), &registry()).expect("folded");
        let names: Vec<String> = graph.all_ops().into_iter().map(|op| graph.op(op).name().op.to_string()).collect();
        assert_eq!(names, ["Conv", "Gelu"]);
    }
}
