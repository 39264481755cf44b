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
          clips there, too. What ops that move numbers make of such a result is an operand likewise. From the last Concat to the \
          first, so that a Concat of Concats has one type.\n\n\
          It declines for operands with other readers, for those stored in another integer type, behind clips, and where an op \
          makes the operand whose result has the type that the pass that the target leaves it to asks for.",
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
                let (maker, way) = match fits {
                    Ok(found) => found,
                    Err(why) => {
                        cx.declined(graph, concat, format!("{}: {why}", graph.label(operand)));
                        continue;
                    }
                };
                if !cx.rewrite(graph, maker, "stored in the type of the Concat that reads it") {
                    return Ok(Outcome::from(changed));
                }
                for value in way {
                    let mut ty = graph.value(value).ty().clone();
                    if let Type::Tensor(tensor) = &mut ty {
                        tensor.quant = Some(to.clone());
                    }
                    graph.set_type(value, ty);
                }
                changed = true;
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// The op that makes an operand, whose type may be another, with its result and what ops that move numbers make of that; or why
/// not.
fn fits(graph: &Graph, target: &Target, concat: OpId, operand: ValueId) -> Result<(OpId, Vec<ValueId>), &'static str> {
    let (mut reader, mut way) = (concat, vec![operand]);
    loop {
        let value = way[way.len() - 1];
        if graph.value(value).users().iter().any(|user| !matches!(user, User::Op(op, _) if *op == reader)) {
            return Err(if value == operand { "it has other readers" } else { "what is moved there has other readers" });
        }
        let maker = graph.def_op(value).ok_or("no op makes it")?;
        let record = graph.op(maker);
        if !record.regions().is_empty() || record.results().len() > 1 {
            return Err("its op makes more than it");
        }
        if target.ops.is_movement(record.name()) {
            let stored = |v: &ValueId| graph.value(*v).ty().quant().is_some();
            let mut read = record.operands().iter().flatten().copied().filter(stored);
            let (Some(moved), None) = (read.next(), read.next()) else { return Err("it is moved together with others") };
            if graph.value(moved).ty().quant() != graph.value(operand).ty().quant() {
                return Err("what is moved there is stored in another type");
            }
            way.push(moved);
            reader = maker;
            continue;
        }
        if target.ops.is_saturating(record.name()) {
            return Err("its op leaves numbers as they are stored");
        }
        if target.ops.lowered.contains_key(&record.name().to_string()) {
            return Err("another pass chooses the type of what its op makes");
        }
        return Ok((maker, way));
    }
}
