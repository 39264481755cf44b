//! Stores what only a Concat reads in the type of the Concat's result.
//!
//! ```text
//! %a = onnx.Conv %x, %v : qu8(0.02, 0)[..]               %a = onnx.Conv %x, %v : qu8(0.05, 3)[..]
//! %b = onnx.Conv %x, %w : qu8(0.04, 7)[..]       ──▶     %b = onnx.Conv %x, %w : qu8(0.05, 3)[..]
//! %y = onnx.Concat %a, %b : qu8(0.05, 3)[..]             %y = onnx.Concat %a, %b : qu8(0.05, 3)[..]
//! ```
//!
//! Each number is rounded once instead of twice, and the Concat copies bytes. Numbers beyond the operand's own range are cut off no
//! longer, or at the range of the result.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, OpId, Type, User, ValueId};

use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::target::Target;

/// See the module documentation.
pub(crate) struct TieScales;

static INFO: PassInfo = PassInfo {
    name: "tie-scales",
    summary: "store what only a Concat reads in the type of its result",
    doc: "An operand of a Concat of stored tensors takes over the type of the result, if the Concat alone reads it: the op that \
          makes it rounds to the scale that its numbers get in the end, and cuts off what is beyond the range of the result. A clip that was folded into the type of the result \
          clips there, too. From the last Concat to the first, so that a Concat of Concats has one type.\n\n\
          It declines for operands with other readers, for those stored in another integer type, and where an op makes the \
          operand whose result has the type of what it reads, or one that the pass that the target leaves it to asks for.",
    effect: Effect::Approximate,
    accepts: Form::Any,
    leaves: Form::Any,
    options: &[],
};

impl Pass for TieScales {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        let concats = graph.ops_in(graph.body()).filter(|&op| graph.op(op).name().is_onnx("Concat")).collect::<Vec<_>>();
        for concat in concats.into_iter().rev() {
            let operands: Vec<ValueId> = graph.op(concat).operands().iter().flatten().copied().collect();
            let Some(to) = graph.value(graph.op(concat).result()).ty().quant().cloned() else { continue };
            for operand in operands {
                let Some(from) = graph.value(operand).ty().quant() else { continue };
                if *from == to || to.axis.is_some() || from.axis.is_some() {
                    continue;
                }
                let fits = if from.store == to.store {
                    fits(graph, cx.target, concat, operand)
                } else {
                    Err("it is stored in another integer type")
                };
                let maker = match fits {
                    Ok(maker) => maker,
                    Err(why) => {
                        cx.declined(graph, concat, format!("{}: {why}", graph.label(operand)));
                        continue;
                    }
                };
                if !cx.rewrite(graph, maker, "stored in the type of the Concat that reads it") {
                    return Ok(Outcome::from(changed));
                }
                let mut ty = graph.value(operand).ty().clone();
                if let Type::Tensor(tensor) = &mut ty {
                    tensor.quant = Some(to.clone());
                }
                graph.set_type(operand, ty);
                changed = true;
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// The op that makes an operand, whose type may be another; or why not.
fn fits(graph: &Graph, target: &Target, concat: OpId, operand: ValueId) -> Result<OpId, &'static str> {
    if graph.value(operand).users().iter().any(|user| !matches!(user, User::Op(op, _) if *op == concat)) {
        return Err("it has other readers");
    }
    let maker = graph.def_op(operand).ok_or("no op makes it")?;
    let name = graph.op(maker).name();
    if !graph.op(maker).regions().is_empty() || graph.op(maker).results().len() > 1 {
        return Err("its op makes more than it");
    }
    if target.ops.is_movement(name) || target.ops.is_saturating(name) {
        return Err("its op leaves numbers as they are stored");
    }
    if target.ops.lowered.contains_key(&name.to_string()) {
        return Err("another pass chooses the type of what its op makes");
    }
    Ok(maker)
}
