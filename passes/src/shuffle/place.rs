//! Carries out a plan: constants in other orders, parts of bases joined, and the movers gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use spaceevo_ir::{Attr, Dim, Graph, NewOp, OpId, Quant, Tensor, TensorType, Type, User, ValueId};

use super::plan::{Part, Plan, Sink};
use crate::rewrite;
use crate::width::extend;
use crate::width::groups::Edit;

/// Does what `plan` says, in the name of the pass `by`. Values whose channels are in another order get another name.
pub fn place(graph: &mut Graph, plan: &Plan, by: &'static str) {
    let mut gone = Vec::new();
    for net in plan.nets.iter().filter(|net| net.verdict.is_ok()) {
        gone.extend(net.movers.iter().flat_map(|&at| plan.movers[at].ops.iter().copied()));
    }
    for (&group, order) in &plan.orders {
        let group = &plan.channels.groups[group];
        for &(op, edit) in &group.edits {
            // Channel counts stay.
            if let Edit::Extend { operand, axis } = edit {
                permute_operand(graph, op, operand, axis, order);
            }
        }
        for &value in &group.values {
            let name = format!("{}_reordered", graph.value(value).name());
            graph.set_name(value, name);
        }
    }
    let mut made = Made::default();
    for sink in &plan.sinks {
        let Some(op) = graph.def_op(sink.value) else { continue };
        let new = make(graph, op, sink, &mut made, by);
        for user in graph.value(sink.value).users().to_vec() {
            if !matches!(user, User::Op(reader, _) if gone.contains(&reader)) {
                graph.replace_use(user, new);
            }
        }
    }
    gone.sort_unstable();
    for op in gone.into_iter().rev() {
        rewrite::erase_unread(graph, op);
    }
}

/// What sinks share.
#[derive(Default)]
struct Made {
    /// Slices by base, start and end.
    parts: BTreeMap<(ValueId, usize, usize), ValueId>,
    /// Constants that Slices count with.
    numbers: BTreeMap<usize, ValueId>,
}

/// Makes a sink before `op`, which made it until now.
fn make(graph: &mut Graph, op: OpId, sink: &Sink, made: &mut Made, by: &str) -> ValueId {
    let values: Vec<ValueId> = sink.parts.iter().map(|part| take(graph, op, *part, made, by)).collect();
    let old = graph.value(sink.value);
    let (name, ty, range) = (old.name().clone(), old.ty().clone(), old.range());
    let count = sink.parts.iter().map(|part| part.end - part.start).sum();
    let mut whole = match values[..] {
        [one] => one,
        _ => {
            let (name, ty) = match sink.gather {
                Some(_) => (format!("{name}_joined").into(), with_channels(&ty, count)),
                None => (name.clone(), ty.clone()),
            };
            let new = NewOp::onnx("Concat").operands(values.into_iter().map(Some)).attr("axis", Attr::Int(1));
            rewrite::insert_before(graph, op, by, name, ty, new)
        }
    };
    if let Some(picks) = &sink.gather {
        graph.set_range(whole, range);
        let picks: Vec<i64> = picks.iter().map(|&pick| pick as i64).collect();
        let picks = rewrite::constant(graph, op, "order", Tensor::new([picks.len()], picks));
        let new = NewOp::onnx("Gather").operand(whole).operand(picks).attr("axis", Attr::Int(1));
        whole = rewrite::insert_before(graph, op, by, name, ty, new);
    }
    if graph.value(whole).range().is_none() {
        graph.set_range(whole, range);
    }
    whole
}

/// A part of a base: the base itself, or a Slice that all who need this part share.
fn take(graph: &mut Graph, op: OpId, part: Part, made: &mut Made, by: &str) -> ValueId {
    let Part { value: base, start, end } = part;
    let value = graph.value(base);
    if (start, Some(end)) == (0, value.ty().tensor().and_then(|t| t.dim(1))) {
        return base;
    }
    if let Some(&slice) = made.parts.get(&(base, start, end)) {
        return slice;
    }
    let (name, range, ty) = (value.name().clone(), value.range(), with_channels(value.ty(), end - start));
    let mut new = NewOp::onnx("Slice").operand(base);
    for number in [start, end, 1] {
        let tensor = || Tensor::new([1], vec![number as i64]);
        new = new.operand(*made.numbers.entry(number).or_insert_with(|| rewrite::constant(graph, op, "channel", tensor())));
    }
    let slice = rewrite::insert_before(graph, op, by, format!("{name}_part"), ty, new);
    graph.set_range(slice, range);
    made.parts.insert((base, start, end), slice);
    slice
}

/// The type with another number of channels.
fn with_channels(ty: &Type, count: usize) -> Type {
    let mut ty = ty.clone();
    if let Type::Tensor(tensor) = &mut ty
        && let Some(dim) = tensor.shape.as_mut().and_then(|shape| shape.get_mut(1))
    {
        *dim = Dim::Known(count as u64);
    }
    ty
}

/// Lets entry `i` along `axis` of a constant operand be what entry `order[i]` was. Others who read the constant keep it.
fn permute_operand(graph: &mut Graph, op: OpId, index: usize, axis: usize, order: &[usize]) -> bool {
    let Some(old) = graph.op(op).operand(index).filter(|&v| extend::unfit(graph, v, axis).is_none()) else { return false };
    let Some(tensor) = graph.const_of(old).and_then(|t| permuted(t, axis, order)) else { return false };
    let quant = graph.value(old).ty().quant().map(|q| Arc::new(along(q, axis, order)));
    let elem = graph.value(old).ty().elem().unwrap_or(tensor.elem());
    let ty = TensorType { quant, ..TensorType::of(elem, tensor.dims()) };
    let (name, region) = (graph.value(old).name().clone(), graph.region_of(old).unwrap_or(graph.body()));
    let new = graph.add_typed_const(region, name, tensor, ty);
    graph.set_operand(op, index, Some(new));
    graph.erase_value(old);
    true
}

/// The quantization of a tensor whose entries along `axis` change places.
fn along(quant: &Quant, axis: usize, order: &[usize]) -> Quant {
    let mut quant = quant.clone();
    if quant.axis == Some(axis) {
        let (scale, zero) = (quant.scale.clone(), quant.zero.clone());
        if scale.len() == order.len() {
            quant.scale = order.iter().map(|&from| scale[from]).collect();
        }
        if zero.len() == order.len() {
            quant.zero = order.iter().map(|&from| zero[from]).collect();
        }
    }
    quant
}

fn permuted(tensor: &Tensor, axis: usize, order: &[usize]) -> Option<Tensor> {
    let dims = tensor.dims();
    let inner = dims.get(axis + 1..)?.iter().product::<usize>().checked_mul(tensor.elem().bits() / 8)?;
    if dims[axis] != order.len() || inner == 0 || order.iter().any(|&from| from >= dims[axis]) {
        return None;
    }
    let bytes = tensor.bytes();
    let mut moved = Vec::with_capacity(bytes.len());
    for block in bytes.chunks_exact(dims[axis].checked_mul(inner)?) {
        order.iter().for_each(|&from| moved.extend_from_slice(&block[from * inner..][..inner]));
    }
    Tensor::from_bytes(tensor.elem(), dims, moved)
}
