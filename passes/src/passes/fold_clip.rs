//! Drops activations that only clip what the quantized type of their operand already saturates.
//!
//! ```text
//! %c = onnx.Conv %x, %w, %b : qu8(0.02, 0)[..]        %y = onnx.Conv %x, %w, %b : qu8(0.02, 0)[..]
//! %y = onnx.Relu %c : qu8(0.02, 0)[..]         ──▶
//! ```
//!
//! A stored number `s` stands for `scale * (s - zero)`; its smallest one is the ReLU's bound when `zero` is the smallest
//! stored number, and then `max(x, 0)` and saturation are the same function of `x`.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, OpId, ValueId};

use crate::analysis::is_plain;
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::quantize::placement::clip_bounds;

/// See the module documentation.
pub(crate) struct FoldClip;

static INFO: PassInfo = PassInfo {
    name: "fold-clip",
    summary: "drop Relu and Clip whose bounds are those of the quantized type",
    doc: "A Relu or Clip is dropped when its operand and result have the same quantized type and the type's smallest and \
          largest real number lie within its bounds, to half a step. An operand that is float, as other tools leave it, and \
          that nobody else reads takes over the type of the result. Declines when the type reaches beyond a bound, changes, \
          or the float operand has other readers.",
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
            let (Some(input), Some(&result)) = (graph.op(op).operand(0), graph.op(op).results().first()) else { continue };
            if is_plain(graph, input) && is_plain(graph, result) {
                continue;
            }
            if let Err(why) = saturates_like(graph, op, input, result) {
                cx.declined(graph, op, why);
                continue;
            }
            if !cx.rewrite(graph, op, format!("{} is what the type saturates to", graph.op(op).name())) {
                break;
            }
            let ty = graph.value(result).ty().clone();
            graph.set_type(input, ty);
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

/// Checks that storing what is clipped gives the same stored numbers without the clip; a sentence why not.
///
/// Rounding to stored numbers is monotonous and leaves them where they are, so that clipping before it, behind it or both is
/// the same. A float operand can take over the type of the result where nobody else reads it.
fn saturates_like(graph: &Graph, clip: OpId, input: ValueId, result: ValueId) -> Result<(), &'static str> {
    let Some(quant) = graph.value(result).ty().quant() else { return Err("its result is float") };
    match graph.value(input).ty().quant() {
        Some(before) if before != quant => return Err("the quantized type changes across it"),
        Some(_) => {}
        None => {
            let maker = graph.def_op(input).ok_or("what it clips is float, and made by no op")?;
            if graph.only_user(input) != Some(clip) || graph.is_returned(input) {
                return Err("what it clips is float, and has other readers");
            }
            if !graph.op(maker).regions().is_empty() || graph.op(maker).region() != graph.op(clip).region() {
                return Err("what it clips is made by an op with subgraphs, or in another graph");
            }
        }
    }
    let (low, high) = clip_bounds(graph, clip).ok_or("its bounds are computed")?;
    let ((least, most), step) = (quant.real_range().ok_or("it is quantized per channel")?, quant.at(0).0);
    // Within half a step: clipping to the bound and rounding gives the same stored number as saturating.
    let within = least >= low - step * 0.5 && most <= high + step * 0.5;
    if within { Ok(()) } else { Err("the quantized type reaches beyond its bounds") }
}
