//! Moves an average pooling behind the pointwise convolution that reads it.
//!
//! ```text
//! %p = onnx.AveragePool %x : f32[1,160,28,28]            %c = onnx.Conv %x, %w, %b  : f32[1,32,28,28]
//! %y = onnx.Conv %p, %w, %b : f32[1,32,28,28]    ──▶     %y = onnx.AveragePool %c   : f32[1,32,28,28]
//! ```
//!
//! One sums over positions, the other over channels, so their order does not matter: `W mean(x) + b = mean(W x + b)`, since
//! the mean of a constant is that constant. What is pooled then has fewer channels.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, NewOp, OpId, ValueId};

use crate::analysis::{is_plain, is_unpadded};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct SinkAvgPool;

static INFO: PassInfo = PassInfo {
    name: "sink-avg-pool",
    summary: "move AveragePool behind the 1x1 Conv that reads it, where that has fewer channels",
    doc: "A pooling that keeps the size of its map, and a Conv of one tap whose result has fewer channels than its operand: \
          the Conv goes first, and less is left to pool. That is the pooling branch of an Inception block, whose pooling is \
          slow on integers.\n\n\
          It declines where the pooling has other readers, where it changes the size of the map (the Conv would have more to \
          do), where the Conv makes no fewer channels, and where padding counts as zeros but the Conv adds a bias, which \
          padding would then lack.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for SinkAvgPool {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for conv in graph.ops_in(graph.body()).collect::<Vec<_>>() {
            if !graph.is_live(conv) || !is_pointwise(graph, conv) {
                continue;
            }
            let read = graph.op(conv).operand(0);
            let Some(pool) = read.and_then(|value| graph.def_named(value, "AveragePool")) else { continue };
            match plan(graph, pool, conv) {
                Err(why) => cx.declined(graph, conv, why),
                Ok(input) => {
                    if !cx.rewrite(graph, conv, "average pooling moved behind the convolution") {
                        break;
                    }
                    exchange(graph, pool, conv, input);
                    changed = true;
                }
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// What the pooling reads; a sentence when it stays.
fn plan(graph: &Graph, pool: OpId, conv: OpId) -> Result<ValueId, String> {
    let (record, pooled, result) = (graph.op(pool), graph.op(pool).result(), graph.op(conv).result());
    let input = record.operand(0).ok_or("the pooling has no operand")?;
    if graph.use_count(pooled) != 1 || record.region() != graph.op(conv).region() {
        return Err("the pooling has other readers".into());
    }
    if ![input, pooled, result].iter().all(|&value| is_plain(graph, value)) {
        return Err("it is quantized".into());
    }
    let dims = |value: ValueId| graph.value(value).ty().tensor().and_then(|t| t.shape.clone()).filter(|d| d.len() > 2);
    let (Some(before), Some(behind)) = (dims(input), dims(pooled)) else {
        return Err("the shapes around the pooling are not known: run infer-shapes first".into());
    };
    if before[2..] != behind[2..] || before[2..].iter().any(|d| d.known().is_none()) {
        return Err("the pooling changes the size of its map".into());
    }
    let made = graph.value(result).ty().tensor().and_then(|t| t.dim(1));
    if made.zip(before[1].known()).is_none_or(|(made, read)| made as u64 >= read) {
        return Err("the convolution makes no fewer channels than it reads".into());
    }
    let counts = record.int("count_include_pad", 0) != 0 && !is_unpadded(graph, pool);
    if counts && graph.op(conv).operand(2).is_some() {
        return Err("the pooling counts padding as zeros, which would lack the convolution's bias".into());
    }
    Ok(input)
}

/// True for a Conv that computes each position from that position alone.
fn is_pointwise(graph: &Graph, op: OpId) -> bool {
    let record = graph.op(op);
    let taps = record.operand(1).and_then(|w| graph.value(w).ty().dims());
    let all = |name: &str, value: i64| record.ints(name).is_none_or(|list| list.iter().all(|&n| n == value));
    record.name().is_onnx("Conv")
        && taps.is_some_and(|dims| dims.len() > 2 && dims[2..].iter().all(|&k| k == 1))
        && record.int("group", 1) == 1
        && all("strides", 1)
        && is_unpadded(graph, op)
}

fn exchange(graph: &mut Graph, pool: OpId, conv: OpId, input: ValueId) {
    let record = graph.op(conv);
    let operands = [Some(input)].into_iter().chain(record.operands()[1..].iter().copied());
    let first = NewOp::onnx("Conv").operands(operands).attrs(record.attrs().clone());
    let result = record.result();
    let (name, ty) = (format!("{}.sum", graph.value(result).name()), graph.value(result).ty().clone());
    let sum = rewrite::insert_before(graph, conv, INFO.name, name, ty, first);
    let second = NewOp::onnx("AveragePool").operand(sum).attrs(graph.op(pool).attrs().clone());
    rewrite::replace(graph, conv, INFO.name, &[pool], second);
}
