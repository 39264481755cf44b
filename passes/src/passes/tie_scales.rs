//! Stores what only a Concat reads in the type of the Concat's result.
//!
//! ```text
//! %a = onnx.Conv %x, %v : qu8(0.02, 0)[..]               %a = onnx.Conv %x, %v : qu8(0.05, 3)[..]
//! %b = onnx.Conv %x, %w : qu8(0.04, 7)[..]       ──▶     %b = onnx.Conv %x, %w : qu8(0.05, 3)[..]
//! %y = onnx.Concat %a, %b : qu8(0.05, 3)[..]             %y = onnx.Concat %a, %b : qu8(0.05, 3)[..]
//! ```
//!
//! Each number is rounded once instead of twice, and the Concat copies bytes. Numbers beyond the operand's own range are cut off no
//! longer, or at the range of the result. What is made larger on its way to the Concat and has other readers as well is stored twice:
//!
//! ```text
//! %a = onnx.Mul %x, %g : qu8(0.02, 0)[1,8,9,9]           %a = onnx.Mul %x, %g : qu8(0.02, 0)[1,8,9,9]
//!                                                        %c = onnx.Mul %x, %g : qu8(0.05, 3)[1,8,9,9]
//! %b = onnx.Resize %a, _, %s : qu8(0.02, 0)[1,8,18,18]   %b = onnx.Resize %c, _, %s : qu8(0.05, 3)[1,8,18,18]
//! %y = onnx.Concat %b, %z : qu8(0.05, 3)[..]      ──▶    %y = onnx.Concat %b, %z : qu8(0.05, 3)[..]
//! return %y, %a                                          return %y, %a
//! ```

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, NewOp, OpId, Type, User, ValueId};

use crate::analysis::extents;
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::quantize::placement::has_weights;
use crate::rewrite;
use crate::target::Target;

/// See the module documentation.
pub(crate) struct TieScales;

static INFO: PassInfo = PassInfo {
    name: "tie-scales",
    summary: "store what only a Concat reads in the type of its result",
    doc: "An operand of a Concat of stored tensors takes over the type of the result, if the Concat alone reads it: the op that \
          makes it rounds to the scale that its numbers get in the end, and cuts off what is beyond the range of the result. A clip that was folded into the type of the result \
          clips there, too. What ops that move numbers make of such a result is an operand likewise. From the last Concat to the \
          first, so that a Concat of Concats has one type. What such ops at least double in size may have other readers: an op \
          without weights makes it once more, for the Concat.\n\n\
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
                let Made { maker, mut way, first } = match fits {
                    Ok(found) => found,
                    Err(why) => {
                        cx.declined(graph, concat, format!("{}: {why}", graph.label(operand)));
                        continue;
                    }
                };
                let what = if first.is_some() { "made once more, in" } else { "stored in" };
                if !cx.rewrite(graph, maker, format!("{what} the type of the Concat that reads it")) {
                    return Ok(Outcome::from(changed));
                }
                if let Some((reader, index)) = first {
                    way.pop();
                    way.push(make_again(graph, maker, reader, index));
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

/// An operand of a Concat whose type may be another.
struct Made {
    /// The op that makes its numbers.
    maker: OpId,
    /// The operand, and back from there what it is moved from, to the result of the maker.
    way: Vec<ValueId>,
    /// The op that moves that result, and where it reads it, if others read it as well: the maker has to make it once more.
    first: Option<(OpId, usize)>,
}

/// What makes an operand of a Concat; or why its type stays.
fn fits(graph: &Graph, target: &Target, concat: OpId, operand: ValueId) -> Result<Made, &'static str> {
    let (mut reader, mut way) = (concat, vec![operand]);
    loop {
        let value = way[way.len() - 1];
        let others = graph.value(value).users().iter().any(|user| !matches!(user, User::Op(op, _) if *op == reader));
        if others && value == operand {
            return Err("it has other readers");
        }
        let maker = graph.def_op(value).ok_or("no op makes it")?;
        let record = graph.op(maker);
        if !record.regions().is_empty() || record.results().len() > 1 {
            return Err("its op makes more than it");
        }
        let moves = target.ops.is_movement(record.name());
        if others && (moves || has_weights(graph, maker) || !doubles(graph, value, operand)) {
            return Err("what is moved there has other readers");
        }
        if moves {
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
        // Gates are lowered to types of their own; a mean pool stores in the type that it is given.
        let lowered = target.ops.lowered.contains_key(&record.name().to_string());
        if lowered && !record.name().is_onnx("AveragePool") {
            return Err("another pass chooses the type of what its op makes");
        }
        let index = graph.op(reader).operands().iter().position(|&read| read == Some(value)).unwrap_or(0);
        return Ok(Made { maker, way, first: others.then_some((reader, index)) });
    }
}

/// Whether ops on the way made at least twice as many numbers of a value.
fn doubles(graph: &Graph, value: ValueId, operand: ValueId) -> bool {
    let count = |value: ValueId| extents(graph, value)?.into_iter().try_fold(1, usize::checked_mul);
    count(value).zip(count(operand)).is_some_and(|(before, after)| after / 2 >= before)
}

/// Lets a copy of an op make what `reader` reads at `index`.
fn make_again(graph: &mut Graph, maker: OpId, reader: OpId, index: usize) -> ValueId {
    let record = graph.op(maker);
    let result = record.result();
    let new = NewOp::new(record.name().clone()).operands(record.operands().to_vec()).attrs(record.attrs().clone());
    let name = format!("{}.joined", graph.value(result).name());
    let again = rewrite::insert_before(graph, reader, INFO.name, name, graph.value(result).ty().clone(), new);
    graph.set_operand(reader, index, Some(again));
    again
}
