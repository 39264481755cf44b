//! Joins of stored numbers: the type of a Concat's result whose bytes are those of its operands, one after the other.
//!
//! ```text
//! qu8(0.02, 3)[1,2,9], qu8(0.05, 7)[1,1,9]  along axis 1:  qu8(axis 1, [0.02, 0.02, 0.05], [3, 3, 7])[1,3,9]
//! ```
//!
//! The pass `sink-dequantize` gives this type, the writers of quantized graphs write such a Concat as one of bytes, and `lift-qdq`
//! reads that back.

use std::sync::Arc;

use spaceevo_ir::{Elem, Graph, NewOp, OpId, OpName, Quant, TensorType, Type, ValueId};

use crate::quantize::placement::unfit;
use crate::quantize::reader::{conversion, is_dequantize, is_quantize};
use crate::quantize::writer::{quant, stem};
use crate::rewrite;

/// Most scales of a type: extents of a file may be any numbers.
const MOST: usize = 1 << 20;

/// The axis of a Concat counted from the front; `None` where it is missing or its rank is unknown.
pub(crate) fn axis(graph: &Graph, concat: OpId) -> Option<usize> {
    let rank = graph.value(graph.op(concat).result()).ty().rank()?;
    let axis = graph.op(concat).attrs().get("axis").and_then(spaceevo_ir::Attr::as_int)?;
    let axis = if axis < 0 { axis.checked_add(i64::try_from(rank).ok()?)? } else { axis };
    usize::try_from(axis).ok().filter(|&axis| axis < rank)
}

/// The type of a Concat's bytes, where its operands are stored so; a sentence where no type says it.
pub(crate) fn joined(graph: &Graph, concat: OpId, operands: &[Quant]) -> Result<Quant, &'static str> {
    let (first, rest) = operands.split_first().ok_or("it has no operands")?;
    if operands.iter().any(|q| q.axis.is_some()) {
        return Err("an operand has several scales");
    }
    if rest.iter().any(|q| q.store != first.store) {
        return Err("its operands are stored in different integer types");
    }
    if rest.iter().all(|q| q == first) {
        return Ok(first.clone());
    }
    let axis = axis(graph, concat).ok_or("its axis or its rank is not known")?;
    let extent = |value: &ValueId| graph.value(*value).ty().tensor().and_then(|ty| ty.dim(axis));
    let extents: Option<Vec<usize>> = graph.op(concat).operands().iter().flatten().map(extent).collect();
    let extents = extents.ok_or("the extent of an operand along the axis is not known")?;
    if extents.iter().try_fold(0usize, |sum, &extent| sum.checked_add(extent)).is_none_or(|sum| sum > MOST) {
        return Err("it has too many indices along the axis for a scale each");
    }
    Ok(along(axis, operands.iter().zip(extents)))
}

/// The type of parts that lie behind each other along `axis`, with so many indices each; they are stored in one integer type.
pub(crate) fn along<'a>(axis: usize, parts: impl Iterator<Item = (&'a Quant, usize)>) -> Quant {
    let mut all = Quant { store: Elem::U8, axis: Some(axis), scale: Vec::new(), zero: Vec::new() };
    for (part, count) in parts {
        all.store = part.store;
        all.scale.extend((0..count).map(|index| part.at(index).0));
        all.zero.extend((0..count).map(|index| part.at(index).1));
    }
    if all.zero.iter().all(|&zero| zero == all.zero[0]) {
        all.zero.truncate(1);
    }
    all
}

/// True for a Concat to the type `made`, which has several scales, of operands that are stored so: their bytes are its bytes.
pub(crate) fn joins_bytes(graph: &Graph, op: OpId, operands: &[Quant], made: &Quant) -> bool {
    graph.op(op).name().is_onnx("Concat")
        && made.axis.is_some()
        && made.store.bits() == 8
        && joined(graph, op, operands).as_ref() == Ok(made)
}

/// A Concat of bytes that one DequantizeLinear reads as they were quantized.
pub(crate) struct Joined {
    concat: OpId,
    quantizers: Vec<OpId>,
    dequantizer: OpId,
    quant: Quant,
}

impl Joined {
    /// The join whose bytes `op` reads, if `op` is a DequantizeLinear, and the only reader.
    pub(crate) fn read_by(graph: &Graph, op: OpId) -> Option<Joined> {
        let bytes =
            graph.op(op).operand(0).filter(|&bytes| is_dequantize(graph.op(op).name()) && graph.use_count(bytes) == 1)?;
        let concat = graph.def_named(bytes, "Concat")?;
        let quantizer = |value: &Option<_>| graph.def_op((*value)?).filter(|&maker| is_quantize(graph.op(maker).name()));
        let quantizers: Vec<OpId> = graph.op(concat).operands().iter().map(quantizer).collect::<Option<_>>()?;
        let types: Vec<Quant> = quantizers.iter().map(|&op| conversion(graph, op).ok()).collect::<Option<_>>()?;
        let (made, read) = (joined(graph, concat, &types).ok()?, conversion(graph, op).ok()?);
        (made == read).then_some(Joined { concat, quantizers, dequantizer: op, quant: read })
    }

    /// Joins numbers in place of bytes: each operand gets a DequantizeLinear of its own.
    pub(crate) fn separate(&self, graph: &mut Graph, by: &str) {
        for (index, &quantizer) in self.quantizers.iter().enumerate() {
            let record = graph.op(quantizer);
            let (domain, mut operands, real) = (record.name().domain.clone(), record.operands().to_vec(), record.operand(0));
            let Some(real) = real else { continue };
            operands[0] = Some(record.result());
            let (own, ty) = (stem(graph, real), graph.value(real).ty().clone());
            // A writer may have given the bytes, and not the numbers before them, the name that readers know.
            let bytes = stem(graph, record.result());
            let known = bytes.strip_suffix("_quantized").filter(|known| **known != own);
            let name = known.map_or_else(|| format!("{own}_dequantized"), str::to_owned);
            let new = NewOp::new(OpName::new(&domain, "DequantizeLinear")).operands(operands);
            let copy = rewrite::insert_before(graph, self.concat, by, name, ty, new);
            graph.set_operand(self.concat, index, Some(copy));
        }
        let (bytes, real) = (graph.op(self.concat).result(), graph.op(self.dequantizer).result());
        let shape = graph.value(real).ty().tensor().and_then(|t| t.shape.clone());
        let name = stem(graph, real);
        graph.set_type(bytes, TensorType { elem: Elem::F32, shape, quant: None });
        graph.replace_all_uses(real, bytes);
        rewrite::erase_unread(graph, self.dequantizer);
        graph.set_name(bytes, name.strip_suffix("_dequantized").unwrap_or(&name));
    }

    /// Gives the result its type, once all operands have theirs.
    pub(crate) fn store(self, graph: &mut Graph) {
        let types = graph.op(self.concat).operands().iter().flatten().map(|&v| quant(graph, v)).collect::<Option<Vec<_>>>();
        let result = graph.op(self.concat).result();
        if types.is_some_and(|types| joined(graph, self.concat, &types).as_ref() == Ok(&self.quant))
            && unfit(graph, self.concat).is_none()
            && let Type::Tensor(ty) = graph.value(result).ty().clone()
        {
            graph.set_type(result, TensorType { quant: Some(Arc::new(self.quant)), ..ty });
        }
    }
}

#[cfg(test)]
mod tests {
    use spaceevo_ir::text::{NoBlobs, parse};
    use spaceevo_ir::{Elem, Quant};

    use super::joined;

    /// The type of a join of two operands with rows of 4.
    fn join(extents: [u64; 2], types: [Quant; 2]) -> Result<Quant, &'static str> {
        let [a, b] = extents;
        let text = format!(
            "graph @main(%a: f32[{a},4], %b: f32[{b},4]) with {{opset = 17}} {{\n  \
             %y = onnx.Concat %a, %b {{axis = -2}} : f32[?,4]\n  return %y\n}}\n"
        );
        let graph = parse(&text, "-", &NoBlobs).into_result().unwrap();
        joined(&graph, graph.all_ops()[0], &types)
    }

    #[test]
    fn a_type_has_what_operands_have() {
        let (a, b) = (Quant::per_tensor(Elem::U8, 0.5, 3), Quant::per_tensor(Elem::U8, 0.25, 7));
        let both = Quant { store: Elem::U8, axis: Some(0), scale: vec![0.5, 0.25, 0.25], zero: vec![3, 7, 7] };
        assert_eq!(join([1, 2], [a.clone(), b.clone()]), Ok(both.clone()));
        assert_eq!(join([1, 2], [a.clone(), a.clone()]), Ok(a.clone()));
        assert!(join([1, 3], [a.clone(), both]).is_err());
        assert!(join([1, 2], [a.clone(), Quant { store: Elem::I8, ..b.clone() }]).is_err());
        // Extents that a file may state, and no memory holds.
        assert!(join([1 << 40, 1], [a.clone(), b.clone()]).is_err());
        assert!(join([u64::MAX, u64::MAX], [a, b]).is_err());
    }
}
