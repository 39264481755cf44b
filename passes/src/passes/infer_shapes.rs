//! Fills in the types of all values, shape arithmetic included.
//!
//! ```text
//! %y = onnx.Conv %x, %w {strides = [2, 2]}    ──▶    %y = onnx.Conv %x, %w {strides = [2, 2]} : f32[1,8,16,16]
//! ```

use spaceevo_ir::verify::{Form, verify};
use spaceevo_ir::{Diagnostic, Graph, Severity, Type, shape};

use crate::analysis::model_ops;
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};

/// See the module documentation.
pub(crate) struct InferShapes;

static INFO: PassInfo = PassInfo {
    name: "infer-shapes",
    summary: "fill in element types and shapes of all values",
    doc: "Every value gets the type that follows from the inputs and the operators. Declared types are kept where they say \
          as much or more. What cannot be true is reported: as a warning where a declared type contradicts what the op \
          makes, and where operands and attributes of an op cannot go together; as an error where an op is left \
          without a meaning. Ops of unknown domains are left untyped, which `--explain` lists. Bodies of functions stay \
          untyped.",
    effect: Effect::Exact,
    accepts: Form::Any,
    leaves: Form::Any,
    options: &[],
};

impl Pass for InferShapes {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let ops = model_ops(graph);
        // Inference goes over the whole graph at once: what it changed is known by comparing.
        let mut typed = graph.clone();
        for diagnostic in shape::infer(&mut typed) {
            let severity = diagnostic.severity.min(Severity::Warning);
            let diagnostic = Diagnostic { severity, ..diagnostic };
            // A fixpoint asks more than once.
            if !cx.log.diagnostics.contains(&diagnostic) {
                cx.warn(diagnostic);
            }
        }
        // What nobody could see before the types were known is wrong with the model, not with this pass.
        let wrong = verify(&typed, Form::Any).into_iter().next();
        if let Some(wrong) = wrong.filter(|_| verify(graph, Form::Any).is_empty()) {
            return Err(
                cx.error(wrong.note("that follows from the types of the model's inputs and weights: correct the model"))
            );
        }
        let mut changed = false;
        for op in ops {
            let news: Vec<_> = graph.op(op).results().iter().map(|&v| (v, typed.value(v).ty().clone())).collect();
            if news.iter().any(|(v, ty)| graph.value(*v).ty() != ty) {
                if !cx.rewrite(graph, op, "typed") {
                    break;
                }
                news.iter().for_each(|(v, ty)| graph.set_type(*v, ty.clone()));
                cx.count("ops", 1);
                changed = true;
            }
            if news.iter().any(|(v, ty)| *ty == Type::Unknown && graph.use_count(*v) > 0) {
                cx.declined(graph, op, format!("the results of {} cannot be inferred", graph.op(op).name()));
            }
        }
        Ok(Outcome::from(changed))
    }
}
