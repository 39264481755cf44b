//! Moves a Pad into the op that reads it.
//!
//! ```text
//! %p = onnx.Pad %x, [0, 0, 1, 1, 0, 0, 1, 1]
//! %y = onnx.Conv %p, %w                           ──▶    %y = onnx.Conv %x, %w {pads = [1, 1, 1, 1]}
//! ```

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Graph, OpId, Tensor, User, ValueId};

use crate::analysis::{is_plain, is_unpadded, model_ops, opset, pad_amounts};
use crate::clamp::Clamp;
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct FoldPad;

static INFO: PassInfo = PassInfo {
    name: "fold-pad",
    summary: "move Pad into Conv and pooling",
    doc: "A Pad with zeros along the spatial axes is added to the `pads` of the Conv that reads it; to those of an \
          AveragePool, which then counts the padding (`count_include_pad = 1`); and to those of a MaxPool where what is \
          padded is never negative (a ReLU, a Clip from 0, a sigmoid), because a MaxPool pads with minus infinity. A Pad \
          with minus infinity goes into any MaxPool.\n\n\
          It declines for other modes and numbers, for padded batches or channels, for negative pads, for `auto_pad`, for \
          pooling in `ceil_mode`, and where a pooling window could lie in the padding altogether.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for FoldPad {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for pad in model_ops(graph) {
            if !graph.op(pad).name().is_onnx("Pad") {
                continue;
            }
            let mut users = graph.value(graph.op(pad).result()).users().to_vec();
            users.sort_unstable();
            let mut folded = false;
            for user in users {
                let User::Op(reader, 0) = user else { continue };
                if !["Conv", "AveragePool", "MaxPool"].iter().any(|name| graph.op(reader).name().is_onnx(name)) {
                    continue;
                }
                match plan(graph, pad, reader) {
                    Err(why) => cx.declined(graph, pad, format!("not into {}: {why}", graph.op(reader).name().op)),
                    Ok((input, pads)) => {
                        if !cx.rewrite(graph, reader, "Pad moved into it") {
                            return Ok(Outcome::from(changed || folded));
                        }
                        graph.set_attr(reader, "pads", Attr::Ints(pads));
                        graph.remove_attr(reader, "auto_pad");
                        if graph.op(reader).name().is_onnx("AveragePool") {
                            graph.set_attr(reader, "count_include_pad", Attr::Int(1));
                        }
                        graph.set_operand(reader, 0, Some(input));
                        folded = true;
                    }
                }
            }
            if folded {
                rewrite::erase_unread(graph, pad);
                changed = true;
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// What `reader` reads and pads with when it takes over `pad`.
fn plan(graph: &Graph, pad: OpId, reader: OpId) -> Result<(ValueId, Vec<i64>), String> {
    let (record, reads) = (graph.op(pad), graph.op(reader));
    let input = record.operand(0).ok_or("it has no input")?;
    if ![input, record.result(), reads.result()].iter().all(|&v| is_plain(graph, v)) {
        return Err("it is quantized".into());
    }
    if record.str("mode", "constant") != "constant" {
        return Err(format!("it pads by '{}', not with a constant", record.str("mode", "constant")));
    }
    let (before, after) = pad_amounts(graph, pad)?;
    let rank = before.len();
    if before.iter().chain(&after).any(|&p| p < 0) {
        return Err("negative pads crop".into());
    }
    if rank < 3 || [&before, &after].iter().any(|pads| pads[..2].iter().any(|&p| p != 0)) {
        return Err("it pads the batch or the channels".into());
    }
    let own = match reads.str("auto_pad", "NOTSET") {
        "NOTSET" => reads.ints("pads").map_or_else(|| vec![0; 2 * (rank - 2)], <[i64]>::to_vec),
        "VALID" => vec![0; 2 * (rank - 2)],
        other => return Err(format!("its own padding follows from the shape (auto_pad = {other})")),
    };
    if own.len() != 2 * (rank - 2) {
        return Err("the ranks do not match".into());
    }
    let added = before[2..].iter().chain(&after[2..]);
    let sum = own.iter().zip(added).map(|(a, b)| a.checked_add(*b)).collect::<Option<Vec<_>>>().ok_or("pads overflow")?;
    let number = number(graph, pad)?;
    if reads.name().is_onnx("Conv") {
        return if number == 0.0 { Ok((input, sum)) } else { Err(format!("it pads with {number}, not with 0")) };
    }
    if reads.int("ceil_mode", 0) != 0 {
        return Err("windows beyond the edge are counted differently (ceil_mode)".into());
    }
    let kernel = reads.ints("kernel_shape").unwrap_or_default();
    if kernel.len() != rank - 2 || sum.iter().enumerate().any(|(i, &p)| p >= kernel[i % kernel.len()]) {
        return Err("a window could lie in the padding altogether".into());
    }
    if reads.ints("dilations").is_some_and(|d| d.iter().any(|&d| d != 1)) {
        return Err("its windows are dilated".into());
    }
    if reads.name().is_onnx("AveragePool") {
        return match (number == 0.0, is_unpadded(graph, reader) || reads.int("count_include_pad", 0) != 0) {
            (true, true) => Ok((input, sum)),
            (false, _) => Err(format!("it pads with {number}, not with 0")),
            (_, false) => Err("the pooling has padding of its own that it does not count".into()),
        };
    }
    if reads.results().len() > 1 {
        return Err("positions are read, too".into());
    }
    if number == f64::NEG_INFINITY || (number <= 0.0 && is_unpadded(graph, reader) && is_never_below(graph, input, number)) {
        return Ok((input, sum));
    }
    Err(format!("{number} could be larger than what it pads"))
}

/// The number that it pads with.
fn number(graph: &Graph, pad: OpId) -> Result<f64, String> {
    let record = graph.op(pad);
    if opset(graph, pad) < 11 {
        return Ok(f64::from(record.float("value", 0.0)));
    }
    match record.operand(2) {
        None => Ok(0.0),
        Some(value) => {
            let numbers = graph.const_of(value).and_then(Tensor::to_f64).filter(|n| n.len() == 1);
            numbers.map(|n| n[0]).ok_or_else(|| "the number it pads with is no constant".into())
        }
    }
}

/// True when a value is certainly nowhere below `bound`.
fn is_never_below(graph: &Graph, value: ValueId, bound: f64) -> bool {
    let Some(op) = graph.def_op(value) else { return false };
    let name = graph.op(op).name();
    let positive = ["Sigmoid", "HardSigmoid", "Softmax", "Softplus", "Abs", "Exp"].iter().any(|n| name.is_onnx(n));
    Clamp::of(graph, op).map_or(positive && bound <= 0.0, |clamp| clamp.low >= bound)
}
