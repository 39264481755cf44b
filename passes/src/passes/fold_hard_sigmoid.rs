//! Folds the line of a hard sigmoid into the linear op before it: what is left is a Clip.
//!
//! ```text
//! %c = onnx.Conv %x, %w, %b                              %c = onnx.Conv %x, alpha w, alpha b + beta
//! %y = onnx.HardSigmoid %c {alpha, beta}         ──▶     %y = onnx.Clip %c, 0, 1
//! ```
//!
//! Stored numbers are clipped as they are rounded, so that a hard sigmoid costs nothing there.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, NewOp, OpId, Tensor};

use crate::affine::Affine;
use crate::analysis::{model_ops, opset};
use crate::linear::{Absorption, Linear};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct FoldHardSigmoid;

static INFO: PassInfo = PassInfo {
    name: "fold-hard-sigmoid",
    summary: "fold the line of a HardSigmoid into the Conv, ConvTranspose or Gemm before it",
    doc: "`HardSigmoid(x) = clip(alpha x + beta, 0, 1)` behind a Conv, ConvTranspose or Gemm with constant weights that it alone \
          reads: `W' = alpha W`, `b' = alpha b + beta`, and a Clip. Run it behind the passes that recognise hard sigmoids and \
          hard swishes.\n\n\
          It declines when another op reads the value between the two, when the weights are no constants, and below operator \
          set 11, whose Clip has no operands for its bounds. It does nothing for a target whose integer ops do not clip as they \
          store.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for FoldHardSigmoid {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for op in model_ops(graph) {
            match absorbed(graph, cx, op) {
                Ok(None) => {}
                Err(why) => cx.declined(graph, op, why),
                Ok(Some(absorbed)) => {
                    let what = format!("the line of a HardSigmoid folded into the {} before it", absorbed.word);
                    if !cx.rewrite(graph, op, what) {
                        break;
                    }
                    changed |= write(graph, op, absorbed);
                }
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// The linear op before a hard sigmoid, with its line.
fn absorbed(graph: &Graph, cx: &PassContext<'_>, op: OpId) -> Result<Option<Absorption>, String> {
    let record = graph.op(op);
    let clips = cx.target.ops.is_saturating(&spaceevo_ir::OpName::onnx("Clip"));
    let Some(input) = record.operand(0).filter(|_| clips && record.name().is_onnx("HardSigmoid")) else { return Ok(None) };
    let line = |linear: &Linear| {
        let same = |number: f32| vec![f64::from(number); linear.channels];
        Ok(Affine { scale: same(record.float("alpha", 0.2)), shift: same(record.float("beta", 0.5)) })
    };
    let found = Absorption::by_maker(graph, op, input, line)?;
    if found.is_some() && opset(graph, op) < 11 {
        return Err("Clip has bounds as operands from operator set 11 on".into());
    }
    Ok(found)
}

fn write(graph: &mut Graph, op: OpId, absorbed: Absorption) -> bool {
    let name = format!("{}.line", graph.value(graph.op(op).result()).name());
    let Some(line) = absorbed.insert(graph, INFO.name, name, "beta".into()) else { return false };
    let elem = graph.value(line).ty().tensor().map(|ty| ty.elem);
    let bound = |graph: &mut Graph, name: &str, number: f64| {
        let tensor = elem.and_then(|elem| Tensor::from_f64(elem, [0usize; 0], &[number]));
        tensor.map(|tensor| rewrite::constant(graph, op, name, tensor))
    };
    let bounds = [bound(graph, "low", 0.0), bound(graph, "high", 1.0)];
    rewrite::replace(graph, op, INFO.name, &[], NewOp::onnx("Clip").operand(line).operands(bounds));
    true
}
