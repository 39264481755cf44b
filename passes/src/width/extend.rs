//! Constants with more entries along an axis, which all mean 0.

use std::sync::Arc;

use spaceevo_ir::{Graph, OpId, Quant, Tensor, TensorType, ValueId};

/// Why a constant cannot be extended along `axis`; `None` when it can.
pub fn unfit(graph: &Graph, value: ValueId, axis: usize) -> Option<&'static str> {
    let Some(tensor) = graph.const_of(value).filter(|_| graph.value(value).is_const()) else {
        return Some("is no constant");
    };
    let quant = graph.value(value).ty().quant();
    if axis >= tensor.dims().len() || tensor.is_empty() || tensor.elem().bits() == 0 || tensor.elem().bits() % 8 != 0 {
        return Some("is empty, of another rank, or packed below one byte");
    }
    let mixed = quant.is_some_and(|q| q.zero.len() > 1 && q.axis != Some(axis) && q.zero.iter().any(|&z| z != q.zero[0]));
    mixed.then_some("has zero points that differ along another axis")
}

/// Lets operand `index` of `op` have `to` entries along `axis`, where those behind the last one mean 0. Others who read the
/// constant keep it. False when [`unfit`] says why not.
///
/// A quantized constant with a scale for each entry repeats the last scale: any would do for stored zeros, and the last is
/// known to be a scale that the op, its bias and its runtime can work with.
pub fn extend_operand(graph: &mut Graph, op: OpId, index: usize, axis: usize, to: usize) -> bool {
    let Some(old) = graph.op(op).operand(index).filter(|&v| unfit(graph, v, axis).is_none()) else { return false };
    let Some(tensor) = graph.const_of(old) else { return false };
    let quant = graph.value(old).ty().quant().map(|q| along(q, axis, to));
    let Some(stored) = extended(tensor, quant.as_ref(), axis, to) else { return false };
    let elem = graph.value(old).ty().elem().unwrap_or(tensor.elem());
    let ty = TensorType { quant: quant.map(Arc::new), ..TensorType::of(elem, stored.dims()) };
    let (name, region) = (graph.value(old).name().clone(), graph.region_of(old).unwrap_or(graph.body()));
    let new = graph.add_typed_const(region, name, stored, ty);
    graph.set_operand(op, index, Some(new));
    graph.erase_value(old);
    true
}

/// The quantization of a tensor with `to` entries along `axis`.
fn along(quant: &Quant, axis: usize, to: usize) -> Quant {
    let mut quant = quant.clone();
    if quant.axis == Some(axis) {
        let last = quant.scale.last().copied().unwrap_or(1.0);
        quant.scale.resize(to, last);
        if quant.zero.len() > 1 {
            quant.zero.resize(to, 0);
        }
    }
    quant
}

/// The tensor with more entries along `axis`: stored zero points (zeros, where it is not quantized).
fn extended(tensor: &Tensor, quant: Option<&Quant>, axis: usize, to: usize) -> Option<Tensor> {
    let mut dims = tensor.dims().to_vec();
    let from = std::mem::replace(&mut dims[axis], to);
    let size = tensor.elem().bits() / 8;
    let inner = dims[axis + 1..].iter().product::<usize>().checked_mul(size)?;
    let missing = to.checked_sub(from)?.checked_mul(inner)?;
    // One zero point for each entry: the new ones have 0. One for all, or all equal along another axis: that one.
    let zero = match quant {
        Some(q) if q.axis == Some(axis) && q.zero.len() > 1 => 0,
        Some(q) => q.zero.first().copied().unwrap_or(0),
        None => 0,
    };
    let zero = Tensor::from_f64(tensor.elem(), [1], &[f64::from(zero)])?.bytes();
    let filling: Vec<u8> = zero.iter().copied().cycle().take(missing).collect();
    let bytes = tensor.bytes();
    let mut padded = Vec::with_capacity(bytes.len() + filling.len());
    for block in bytes.chunks_exact(from.checked_mul(inner).filter(|&n| n > 0)?) {
        padded.extend_from_slice(block);
        padded.extend_from_slice(&filling);
    }
    Tensor::from_bytes(tensor.elem(), dims, padded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spaceevo_ir::Elem;

    #[test]
    fn rows_and_columns_are_padded_with_the_stored_zero() {
        let tensor = Tensor::new([2, 2], vec![1u8, 2, 3, 4]);
        let quant = Quant::per_tensor(Elem::U8, 0.5, 7);
        let columns = extended(&tensor, Some(&quant), 1, 3).unwrap();
        assert_eq!(columns, Tensor::new([2, 3], vec![1u8, 2, 7, 3, 4, 7]));
        let rows = extended(&tensor, None, 0, 3).unwrap();
        assert_eq!(rows, Tensor::new([3, 2], vec![1u8, 2, 3, 4, 0, 0]));
    }

    #[test]
    fn scales_follow_the_axis_they_belong_to() {
        let quant = Quant { store: Elem::I8, axis: Some(0), scale: vec![0.5, 0.25], zero: vec![3, 4] };
        let rows = along(&quant, 0, 4);
        assert_eq!((rows.scale, rows.zero), (vec![0.5, 0.25, 0.25, 0.25], vec![3, 4, 0, 0]));
        assert_eq!(along(&quant, 1, 4), quant);
    }
}
