//! Recognises a channel shuffle, and writes it in one way.
//!
//! ```text
//! %a = onnx.Reshape %x, [n, g, c/g, h*w]           %a = onnx.Reshape %x, [n, g, c/g, h, w]
//! %b = onnx.Transpose %a {perm = [0, 2, 1, 3]} ──▶ %b = onnx.Transpose %a {perm = [0, 2, 1, 3, 4]}
//! %y = onnx.Reshape %b, [n, c, h, w]               %y = onnx.Reshape %b, [n, c, h, w]
//! ```

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Graph, NewOp, OpId, Tensor, TensorType, Type, ValueId};

use crate::analysis::{model_ops, opset};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct LiftChannelShuffle;

static INFO: PassInfo = PassInfo {
    name: "lift-channel-shuffle",
    summary: "recognise channel shuffles; write them as Reshape, Transpose, Reshape of constant shapes",
    doc: "A channel shuffle (Zhang et al. 2018) takes the channels as `g` groups of `c/g` and reads them the other way round. \
          Whether height and width are taken together in between, and whether the shapes are computed, it is written as \
          Reshape to `[n, g, c/g, h, w]`, Transpose with `perm = [0, 2, 1, 3, 4]`, and Reshape to `[n, c, h, w]`, with \
          constant shapes; the batch may be unknown.\n\n\
          It declines where channels, height or width are not known, where a value between has other readers, where \
          the Transpose does something else with the groups, and where the result is not put together again: ShuffleNet V2 \
          shuffles and splits in one go.",
    effect: Effect::Exact,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for LiftChannelShuffle {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for op in model_ops(graph) {
            if !graph.is_live(op) || !graph.op(op).name().is_onnx("Reshape") {
                continue;
            }
            changed |= lift(graph, op, cx).unwrap_or_else(|why| {
                cx.declined(graph, op, why);
                false
            });
        }
        Ok(Outcome::from(changed))
    }
}

fn lift(graph: &mut Graph, last: OpId, cx: &mut PassContext<'_>) -> Result<bool, String> {
    let made_by = |graph: &Graph, op: OpId, name: &str| graph.op(op).operand(0).and_then(|v| graph.def_named(v, name));
    let Some(transpose) = made_by(graph, last, "Transpose") else { return Ok(false) };
    let Some(first) = made_by(graph, transpose, "Reshape") else { return Ok(false) };
    let Some(x) = graph.op(first).operand(0) else { return Ok(false) };
    let (grouped, turned, result) = (graph.op(first).result(), graph.op(transpose).result(), graph.op(last).result());
    let same_rank = graph.value(x).ty().rank() == Some(4) && graph.value(result).ty().rank() == Some(4);
    let perm = graph.op(transpose).ints("perm").unwrap_or_default();
    if !same_rank {
        return if takes_apart(graph, x, grouped, perm, result) {
            Err("the shuffled channels are taken apart in the same step: this is a shuffle and a split".into())
        } else {
            Ok(false)
        };
    }
    if !matches!(perm, [0, 2, 1, 3] | [0, 2, 1, 3, 4]) {
        return Err(format!("a Transpose with perm {perm:?} does not swap the two halves of the channels"));
    }
    let positions = "channels, height or width are not known: run infer-shapes first";
    let extents = |value: ValueId| {
        graph.value(value).ty().tensor().map(|t| (1..t.rank().unwrap_or(0)).map(|i| t.dim(i)).collect::<Vec<_>>())
    };
    let (Some(from), Some(to), Some(middle)) = (extents(x), extents(result), extents(grouped)) else { return Ok(false) };
    let [Some(c), Some(h), Some(w)] = from[..] else { return Err(positions.into()) };
    let (Some(Some(groups)), Some(Some(each))) = (middle.first(), middle.get(1)) else { return Err(positions.into()) };
    let rest: Option<Vec<usize>> = middle[2..].iter().copied().collect();
    let whole = groups.checked_mul(*each) == Some(c) && to == from;
    if !whole || !matches!(rest.as_deref(), Some(rest) if rest == [h, w] || rest == [h * w]) {
        return Err("the groups are not made of whole channels".into());
    }
    if c * h * w == 0 {
        return Err("an extent is 0".into());
    }
    let canonical = middle.len() == 4 && [first, last].iter().all(|&op| graph.const_operand(op, 1).is_some());
    if canonical {
        return Ok(false);
    }
    if [grouped, turned].iter().any(|&v| graph.use_count(v) != 1) {
        return Err("a value between has other readers".into());
    }
    let quant = |v: ValueId| graph.value(v).ty().quant();
    if [grouped, turned, result].iter().any(|&v| quant(v) != quant(x)) || opset(graph, last) < 5 {
        return Err("it changes the quantization, or its shapes are attributes".into());
    }
    if !cx.rewrite(graph, last, format!("channel shuffle of {groups} groups recognised")) {
        return Ok(false);
    }
    place(graph, x, [first, transpose, last], [*groups, *each, h, w]);
    Ok(true)
}

/// True for the shuffle of ShuffleNet V2 as its authors write it: `[n, c, h, w]` as `[n*c/2, 2, h*w]`, transposed to
/// `[2, n*c/2, h*w]`, and read as `[2, n, c/2, h, w]`, of which two ops take one half each.
fn takes_apart(graph: &Graph, x: ValueId, grouped: ValueId, perm: &[i64], result: ValueId) -> bool {
    let ranks = [x, grouped, result].map(|v| graph.value(v).ty().rank());
    let extent = |value: ValueId, axis: usize| graph.value(value).ty().tensor().and_then(|t| t.dim(axis));
    let halves = [extent(grouped, 1), extent(result, 0)] == [Some(2); 2];
    let same = |axis: usize| extent(x, axis).is_some() && extent(x, axis) == extent(result, axis + 1);
    ranks == [Some(4), Some(3), Some(5)] && perm == [1, 0, 2] && halves && same(2) && same(3)
}

fn place(graph: &mut Graph, x: ValueId, ops: [OpId; 3], [groups, each, h, w]: [usize; 4]) {
    let [first, transpose, last] = ops;
    let batch = graph.value(x).ty().tensor().and_then(|t| t.shape.clone()).and_then(|s| s.first().cloned());
    let batch = batch.unwrap_or(spaceevo_ir::Dim::Unknown);
    let leading = batch.known().and_then(|n| i64::try_from(n).ok()).filter(|&n| n > 0).unwrap_or(-1);
    let typed = |dims: [usize; 4]| {
        let mut shape = vec![batch.clone()];
        shape.extend(dims.iter().map(|&d| spaceevo_ir::Dim::Known(d as u64)));
        graph.value(x).ty().tensor().map_or(Type::Unknown, |t| TensorType { shape: Some(shape), ..t.clone() }.into())
    };
    let (split, swapped) = (typed([groups, each, h, w]), typed([each, groups, h, w]));
    let name = |op: OpId| graph.value(graph.op(op).result()).name().clone();
    let (split_name, swapped_name) = (name(first), name(transpose));
    let shape = |dims: &[usize]| {
        let dims: Vec<i64> = std::iter::once(leading).chain(dims.iter().map(|&d| d as i64)).collect();
        Tensor::new([dims.len()], dims)
    };
    let by = INFO.name;
    let into = rewrite::constant(graph, last, "shape", shape(&[groups, each, h, w]));
    let new = NewOp::onnx("Reshape").operand(x).operand(into);
    let split = rewrite::insert_before(graph, last, by, split_name, split, new);
    let new = NewOp::onnx("Transpose").operand(split).attr("perm", Attr::Ints(vec![0, 2, 1, 3, 4]));
    let swapped = rewrite::insert_before(graph, last, by, swapped_name, swapped, new);
    let back = rewrite::constant(graph, last, "shape", shape(&[groups * each, h, w]));
    rewrite::replace(graph, last, by, &[first, transpose], NewOp::onnx("Reshape").operand(swapped).operand(back));
}
