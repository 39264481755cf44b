//! How passes edit: what is new takes the place, name, type, range and history of what it replaces, and what nobody reads
//! any more goes with it.

use spaceevo_ir::{Def, Dim, Graph, Loc, NewOp, OpId, Place, Symbol, Tensor, TensorType, Type, ValueId};

use crate::analysis::model_ops;
use crate::pass::{Outcome, PassContext};

/// Puts `new` where `op` stands, in whose first result's name, type and range it steps; `also` are the other ops that it
/// was made from. What only they needed is erased. Returns the new op.
pub fn replace(graph: &mut Graph, op: OpId, by: &str, also: &[OpId], new: NewOp) -> OpId {
    let old = graph.op(op).result();
    let value = graph.value(old);
    let (name, ty, range, meta) = (value.name().clone(), value.ty().clone(), value.range(), value.meta().cloned());
    let new = made(graph, new, by, op, also).result(name, ty);
    let id = graph.insert(Place::Before(op), new);
    let result = graph.op(id).result();
    graph.set_range(result, range);
    if let Some(meta) = meta {
        graph.set_value_meta(result, meta);
    }
    graph.replace_all_uses(old, result);
    erase_unread(graph, op);
    id
}

/// A pattern that was found to end in an op: what takes that op's place, and the other ops of the pattern.
pub struct Found {
    /// The new op, without result.
    pub new: NewOp,
    /// What it is made from beside the last op.
    pub also: Vec<OpId>,
}

/// Replaces every pattern that `find` finds to end in an op of the model, the largest first: from the last op to the first.
/// What `find` gives as an error is why a pattern that is almost there stays; `what` says what became of the others.
pub fn replace_from_the_end(
    graph: &mut Graph,
    cx: &mut PassContext<'_>,
    what: &str,
    find: impl Fn(&Graph, OpId) -> Result<Option<Found>, String>,
) -> Outcome {
    let mut changed = false;
    for op in model_ops(graph).into_iter().rev() {
        if !graph.is_live(op) {
            continue;
        }
        match find(graph, op) {
            Ok(None) => {}
            Err(why) => cx.declined(graph, op, why),
            Ok(Some(Found { new, also })) => {
                if !cx.rewrite(graph, op, what) {
                    break;
                }
                replace(graph, op, cx.pass.name, &also, new);
                changed = true;
            }
        }
    }
    Outcome::from(changed)
}

/// Puts a helper op before `op`, from which it was made; returns its result.
pub fn insert_before(graph: &mut Graph, op: OpId, by: &str, name: impl Into<Symbol>, ty: Type, new: NewOp) -> ValueId {
    let new = made(graph, new, by, op, &[]).result(name, ty);
    let id = graph.insert(Place::Before(op), new);
    graph.op(id).result()
}

/// An op before `op`, whose result has the batch and the stored type of the result of `op`, and these other extents.
pub fn insert_map(graph: &mut Graph, op: OpId, by: &str, word: &str, extents: &[usize], new: NewOp) -> ValueId {
    let ty = graph.value(graph.op(op).result()).ty().tensor();
    let batch = ty.and_then(|ty| ty.shape.as_ref()?.first().cloned()).unwrap_or(Dim::Unknown);
    insert_rows(graph, op, by, word, batch, extents, new)
}

/// The same with another first extent.
pub fn insert_rows(graph: &mut Graph, op: OpId, by: &str, word: &str, first: Dim, extents: &[usize], new: NewOp) -> ValueId {
    let result = graph.op(op).result();
    let name = format!("{}.{word}", graph.value(result).name());
    let Some(ty) = graph.value(result).ty().tensor().cloned() else { return result };
    let shape = [first].into_iter().chain(extents.iter().map(|&extent| Dim::Known(extent as u64))).collect();
    insert_before(graph, op, by, name, Type::Tensor(TensorType { shape: Some(shape), ..ty }), new)
}

/// An op of two operands, `read` and a shape, which is a constant.
pub fn shaped(graph: &mut Graph, op: OpId, name: &str, read: ValueId, shape: &[i64]) -> NewOp {
    let shape = constant(graph, op, "shape", Tensor::new([shape.len()], shape.to_vec()));
    NewOp::onnx(name).operand(read).operand(shape)
}

/// A Slice from one index of an axis up to another one.
pub fn slice(graph: &mut Graph, op: OpId, read: ValueId, axis: i64, [start, end]: [usize; 2]) -> NewOp {
    let mut slice = NewOp::onnx("Slice").operand(read);
    for (word, number) in [("start", start as i64), ("end", end as i64), ("axis", axis)] {
        slice = slice.operand(constant(graph, op, word, Tensor::new([1], vec![number])));
    }
    slice
}

/// Lets the readers of the first result of `op` read `value`, and erases `op` with what only it needed.
pub fn bypass(graph: &mut Graph, op: OpId, value: ValueId) {
    let old = graph.op(op).result();
    if graph.value(value).range().is_none() {
        let range = graph.value(old).range();
        graph.set_range(value, range);
    }
    graph.replace_all_uses(old, value);
    erase_unread(graph, op);
}

/// Adds a constant to the region of `op`, named after what it is derived from.
pub fn constant(graph: &mut Graph, op: OpId, name: impl Into<Symbol>, tensor: Tensor) -> ValueId {
    let region = graph.op(op).region();
    graph.add_const(region, name, tensor)
}

/// Sets an operand and erases what only the old one needed.
pub fn exchange_operand(graph: &mut Graph, op: OpId, index: usize, value: Option<ValueId>) {
    let old = graph.op(op).operand(index);
    graph.set_operand(op, index, value);
    old.into_iter().for_each(|old| erase_unread_value(graph, old));
}

/// Erases an op that nobody reads, then whatever only it read: ops, and constants.
pub fn erase_unread(graph: &mut Graph, op: OpId) {
    let mut stack = vec![op];
    while let Some(op) = stack.pop() {
        if !graph.is_live(op) {
            continue;
        }
        let operands: Vec<ValueId> = graph.op(op).operands().iter().flatten().copied().collect();
        if !graph.erase_op(op) {
            continue;
        }
        for value in operands {
            if graph.use_count(value) == 0 {
                match graph.value(value).def() {
                    Def::Op(maker, _) => stack.push(maker),
                    Def::Const(_) => _ = graph.erase_value(value),
                    Def::Input(..) | Def::Erased => {}
                }
            }
        }
    }
}

/// Erases what makes a value, and what only that needed, when nobody reads the value.
pub fn erase_unread_value(graph: &mut Graph, value: ValueId) {
    match graph.value(value).def() {
        Def::Op(op, _) => erase_unread(graph, op),
        Def::Const(_) => _ = graph.erase_value(value),
        Def::Input(..) | Def::Erased => {}
    }
}

fn made(graph: &Graph, new: NewOp, by: &str, op: OpId, also: &[OpId]) -> NewOp {
    let mut locs: Vec<&Loc> = also.iter().map(|&o| graph.op(o).loc()).collect();
    locs.push(graph.op(op).loc());
    locs.retain(|l| **l != Loc::Unknown);
    new.made(by, &locs)
}
