//! Puts a cheaper activation in the place of SiLU.
//!
//! ```text
//! %s = onnx.Sigmoid %x
//! %y = onnx.Mul %x, %s        ──▶    %y = onnx.HardSwish %x
//! ```
//!
//! Hard swish follows SiLU within 0.15 (Howard et al. 2019, section 5.2) and has an integer form; ReLU costs nothing at all
//! behind a convolution. Either is another function: the network must be trained again, or at least looked at.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, NewOp, OpId, ValueId};

use crate::analysis::{is_plain, opset};
use crate::pass::{Aborted, Effect, OptionInfo, OptionKind, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite::{Found, replace_from_the_end};

/// See the module documentation.
pub(crate) struct SubstituteSilu;

static INFO: PassInfo = PassInfo {
    name: "substitute-silu",
    summary: "put hard swish or ReLU in the place of SiLU",
    doc: "`x * Sigmoid(x)`, as lift-silu leaves it, becomes HardSwish, or Relu with `by=relu`, which replaces HardSwish, too. \
          The network computes something else then, and wants to be trained again: `spaceevo-opt advise` says what it would \
          gain.\n\n\
          It declines where the sigmoid has other readers, and below opset 14, which has no HardSwish.",
    effect: Effect::Retrain,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[OptionInfo {
        name: "by",
        kind: OptionKind::Word(&["hard-swish", "relu"]),
        default: "hard-swish",
        help: "the activation that comes instead",
    }],
};

impl Pass for SubstituteSilu {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let relu = cx.text("by") == "relu";
        let what = if relu { "ReLU instead" } else { "HardSwish instead of SiLU" };
        Ok(replace_from_the_end(graph, cx, what, |graph, op| {
            let Some((x, gate)) = swish(graph, op, relu) else { return Ok(None) };
            if !is_plain(graph, graph.op(op).result()) {
                return Err("it is quantized".into());
            }
            if gate.is_some_and(|gate| graph.use_count(graph.op(gate).result()) != 1) {
                return Err("the sigmoid is read elsewhere, too".into());
            }
            if !relu && opset(graph, op) < 14 {
                return Err(format!("opset {} has no HardSwish: run upgrade-opset first", opset(graph, op)));
            }
            let new = NewOp::onnx(if relu { "Relu" } else { "HardSwish" }).operand(x);
            Ok(Some(Found { new, also: gate.into_iter().collect() }))
        }))
    }
}

/// The operand of a SiLU that ends in `op` and the op of its gate; of a HardSwish, which is one op, if that counts.
fn swish(graph: &Graph, op: OpId, hard: bool) -> Option<(ValueId, Option<OpId>)> {
    let record = graph.op(op);
    let x = record.operand(0)?;
    if hard && record.name().is_onnx("HardSwish") {
        return Some((x, None));
    }
    let gate = graph.def_named(record.operand(1).filter(|_| record.name().is_onnx("Mul"))?, "Sigmoid")?;
    (graph.op(gate).operand(0) == Some(x)).then_some((x, Some(gate)))
}
