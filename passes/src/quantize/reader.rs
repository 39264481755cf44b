//! What scales and zero points written as constants say: the inverse of [`super::writer`].

use spaceevo_ir::{Elem, Graph, MICROSOFT, ONNX, OpId, OpName, Quant, ValueId};

use crate::analysis::is_plain;

/// True for `QuantizeLinear` of ONNX and of ONNX Runtime's own domain, which mean the same.
pub(crate) fn is_quantize(name: &OpName) -> bool {
    is_conversion(name, "QuantizeLinear")
}

/// True for `DequantizeLinear` of ONNX and of ONNX Runtime's own domain.
pub(crate) fn is_dequantize(name: &OpName) -> bool {
    is_conversion(name, "DequantizeLinear")
}

fn is_conversion(name: &OpName, op: &str) -> bool {
    &*name.op == op && [ONNX, MICROSOFT].contains(&&*name.domain)
}

/// The quantization that a `QuantizeLinear` or `DequantizeLinear` states; a sentence when no type can say it.
pub(crate) fn conversion(graph: &Graph, op: OpId) -> Result<Quant, String> {
    let record = graph.op(op);
    let stored = if is_quantize(record.name()) { record.results().first().copied() } else { record.operand(0) };
    let stored = stored.ok_or("it has no operand or no result")?;
    let real = if is_quantize(record.name()) { record.operand(0) } else { record.results().first().copied() };
    let real = real.ok_or("it has no operand or no result")?;
    match graph.value(real).ty().elem() {
        Some(Elem::F32) => {}
        Some(other) => return Err(format!("its real numbers are {other}, not f32")),
        None => return Err(format!("the type of {} is not known: run 'infer-shapes' first", graph.label(real))),
    }
    if record.int("block_size", 0) != 0 {
        return Err("it has a scale for each block".into());
    }
    let axis = record.attrs().get("axis").and_then(spaceevo_ir::Attr::as_int);
    let scale = record.operand(1).ok_or("it has no scale")?;
    quantization(graph, stored, scale, record.operand(2), axis)
}

/// The quantization of `stored`, whose scale and zero point are these operands. `axis` counts only where there are several
/// scales; when it is not given it is 1, as ONNX has it.
pub(crate) fn quantization(
    graph: &Graph,
    stored: ValueId,
    scale: ValueId,
    zero: Option<ValueId>,
    axis: Option<i64>,
) -> Result<Quant, String> {
    let ty = graph.value(stored).ty();
    let scales = graph.const_of(scale).filter(|t| t.elem() == Elem::F32 && is_plain(graph, scale));
    let scales = scales.ok_or("its scale is no constant of float32 numbers")?;
    let zeros = match zero {
        None => None,
        Some(zero) => Some(graph.const_of(zero).filter(|_| is_plain(graph, zero)).ok_or("its zero point is no constant")?),
    };
    let store = zeros.map(|t| t.elem()).or(ty.elem()).unwrap_or(Elem::U8);
    if !(store.int_range().is_some() && store != Elem::U32) {
        return Err(format!("{store} stores no integers of at most 32 bits"));
    }
    if ty.elem().is_some_and(|elem| elem != store) {
        return Err("its zero point is of another type than the stored numbers".into());
    }
    let count = scales.len();
    let several = match scales.dims() {
        [] => false,
        // One scale in a list holds for the whole tensor, unless there is just one index that it can belong to.
        [1] => axis.is_some_and(|a| along(a, ty.rank()).is_some_and(|a| ty.tensor().and_then(|t| t.dim(a)) == Some(1))),
        [_] => true,
        _ => return Err("it has a scale for each block".into()),
    };
    let axis = match several {
        true => Some(along(axis.unwrap_or(1), ty.rank()).ok_or("its axis does not lie in the rank, or that is unknown")?),
        false => None,
    };
    let scale = scales.to_f32().unwrap_or_default();
    if let Some(wrong) = scale.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
        return Err(format!("its scale {wrong:?} is not positive and finite"));
    }
    let mut zero: Vec<i32> = match zeros.map(|t| t.to_i64().ok_or("its zero point is no integer")).transpose()? {
        None => vec![0],
        Some(list) if list.len() == 1 || list.len() == count => list.into_iter().map(|z| z as i32).collect(),
        Some(list) => return Err(format!("it has {} zero points for {count} scales", list.len())),
    };
    if zero.iter().all(|z| *z == zero[0]) {
        zero.truncate(1);
    }
    let extent = axis.and_then(|a| ty.tensor()?.dim(a));
    if extent.is_some_and(|extent| extent != count) {
        return Err(format!("it has {count} scales for {} indices", extent.unwrap_or(0)));
    }
    Ok(Quant { store, axis, scale, zero })
}

/// The axis counted from the front; one that counts from the back needs a known rank.
fn along(axis: i64, rank: Option<usize>) -> Option<usize> {
    let axis = if axis < 0 { axis.checked_add(i64::try_from(rank?).ok()?)? } else { axis };
    usize::try_from(axis).ok().filter(|&a| rank.is_none_or(|rank| a < rank))
}
