//! Facts about a graph that are computed on demand: analyses take `&Graph` and cannot change what they look at.

use spaceevo_ir::{Graph, OpId, ValueId};

/// True when every extent but the one of `axis` is 1 (or the rank is lower than it should be): a per-channel vector.
pub fn is_per_channel(dims: &[usize], axis: usize, rank: usize) -> bool {
    let lead = rank.saturating_sub(dims.len());
    dims.iter().enumerate().all(|(i, &d)| d == 1 || i + lead == axis)
}

/// The single number of a constant whose elements are all equal.
pub fn splat(graph: &Graph, value: ValueId) -> Option<f32> {
    let tensor = graph.const_of(value)?;
    if tensor.is_empty() || tensor.len() > 1 << 20 {
        return None;
    }
    let numbers = tensor.to_f32()?;
    numbers.iter().all(|n| n.to_bits() == numbers[0].to_bits()).then_some(numbers[0])
}

/// For an op of two operands of which one is constant: (the other operand, the constant, index of the constant).
pub fn constant_side(graph: &Graph, op: OpId) -> Option<(ValueId, ValueId, usize)> {
    let (a, b) = (graph.op(op).operand(0)?, graph.op(op).operand(1)?);
    match (graph.value(a).is_const(), graph.value(b).is_const()) {
        (false, true) => Some((a, b, 1)),
        (true, false) => Some((b, a, 0)),
        _ => None,
    }
}
