//! Drops activations that only clip what the quantized type of their operand already saturates.
//!
//! ```text
//! %c = onnx.Conv %x, %w, %b : qu8(0.02, 0)[..]        %y = onnx.Conv %x, %w, %b : qu8(0.02, 0)[..]
//! %y = onnx.Relu %c : qu8(0.02, 0)[..]         ──▶
//! ```
//!
//! A stored number `s` stands for `scale * (s - zero)`; its smallest one is the ReLU's bound when `zero` is the smallest
//! stored number, and then `max(x, 0)` and saturation are the same function of `x`.

use spaceevo_ir::Graph;
use spaceevo_ir::verify::Form;

use super::quantize::saturates_like;
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};

/// See the module documentation.
pub(crate) struct FoldClip;

static INFO: PassInfo = PassInfo {
    name: "fold-clip",
    summary: "drop Relu and Clip whose bounds are those of the quantized type",
    doc: "A Relu or Clip is dropped when its operand and result have the same quantized type and the type's smallest and largest \
          real number lie within its bounds, to half a step. Declines when the type reaches beyond a bound.",
    effect: Effect::Exact,
    accepts: Form::Any,
    leaves: Form::Any,
    options: &[],
};

impl Pass for FoldClip {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for op in graph.all_ops() {
            let name = graph.op(op).name();
            if !(name.is_onnx("Relu") || name.is_onnx("Clip")) {
                continue;
            }
            let Some(input) = graph.op(op).operand(0).filter(|&x| graph.value(x).ty().quant().is_some()) else { continue };
            if !saturates_like(graph, op) {
                cx.declined(graph, op, "the quantized type reaches beyond its bounds, or changes across it");
                continue;
            }
            if !cx.rewrite(graph, op, format!("{} is what the type saturates to", graph.op(op).name())) {
                break;
            }
            let name = graph.value(graph.op(op).result()).name().clone();
            graph.replace_op(op, input);
            if graph.def_op(input).is_some() {
                graph.set_name(input, name);
            }
            changed = true;
        }
        Ok(Outcome::from(changed))
    }
}
