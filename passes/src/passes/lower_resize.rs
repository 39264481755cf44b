//! Writes a nearest Resize of a stored map by whole factors as an Expand with channels last, which copies rows of bytes.
//!
//! ```text
//!                                                   %a = onnx.Transpose %x {perm = [0, 2, 3, 1]} : [1,20,30,64]
//! %y = onnx.Resize %x, _, [1, 1, 2, 2]               %b = onnx.Reshape %a : [1,20,1,30,1,64]
//!        : [1,64,40,60]                       ──▶   %c = onnx.Expand %b : [1,20,2,30,2,64]
//!                                                   %d = onnx.Reshape %c : [1,40,60,64]
//!                                                   %y = onnx.Transpose %d {perm = [0, 3, 1, 2]} : [1,64,40,60]
//! ```
//!
//! Where convolutions keep channels last, the runtime cancels both Transposes against its own.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Graph, NewOp, OpId, Tensor, ValueId};

use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::quantize::lowering;
use crate::rewrite;

/// See the module documentation.
pub(crate) struct LowerResize;

static INFO: PassInfo = PassInfo {
    name: "lower-resize",
    summary: "write a nearest Resize of stored maps by whole factors as an Expand",
    doc: "A Resize of the two spatial axes of a stored map by whole numbers that takes of each block of results the one number \
          before it becomes an Expand between two Reshapes and two Transposes: runtimes copy bytes in rows there, and look up \
          coordinates number by number in a Resize.\n\n\
          No bit of any result changes. It declines where operand or result are float or extents are not known, for factors \
          that are not whole, for coordinates that do not give each number a block of its own, and where the target does not \
          ask for it.",
    effect: Effect::Exact,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for LowerResize {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        Ok(lowering::each(graph, cx, "Resize", |graph, cx, stored| {
            let [channels, high, wide, by_high, by_wide] = factors(graph, stored.op, stored.input)?;
            if stored.from != stored.to {
                return Err("its operand and its result are stored in different types".into());
            }
            if !cx.rewrite(graph, stored.op, "a Resize written as an Expand") {
                return Ok(false);
            }
            let permuted = |read: ValueId, order: [i64; 4]| {
                NewOp::onnx("Transpose").operand(read).attr("perm", Attr::Ints(order.to_vec()))
            };
            let last = step(graph, stored.op, "last", &[high, wide, channels], permuted(stored.input, [0, 2, 3, 1]));
            let rows = shaped(graph, stored.op, "Reshape", last, &[0, high, 1, wide, 1, channels]);
            let rows = step(graph, stored.op, "rows", &[high, 1, wide, 1, channels], rows);
            let copies = shaped(graph, stored.op, "Expand", rows, &[1, 1, by_high, 1, by_wide, 1]);
            let copies = step(graph, stored.op, "copies", &[high, by_high, wide, by_wide, channels], copies);
            let (high, wide) = (high * by_high, wide * by_wide);
            let map = shaped(graph, stored.op, "Reshape", copies, &[0, high, wide, channels]);
            let map = step(graph, stored.op, "map", &[high, wide, channels], map);
            rewrite::replace(graph, stored.op, INFO.name, &[], permuted(map, [0, 3, 1, 2]));
            Ok(true)
        }))
    }
}

fn step(graph: &mut Graph, op: OpId, word: &str, extents: &[usize], new: NewOp) -> ValueId {
    rewrite::insert_map(graph, op, INFO.name, word, extents, new)
}

fn shaped(graph: &mut Graph, op: OpId, name: &str, read: ValueId, shape: &[usize]) -> NewOp {
    let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
    rewrite::shaped(graph, op, name, read, &shape)
}

/// Channels, height and width of what a Resize reads, and by how much it multiplies the last two; or why it is no Expand.
fn factors(graph: &Graph, op: OpId, input: ValueId) -> Result<[usize; 5], String> {
    let record = graph.op(op);
    let map = |value: ValueId| {
        let ty = graph.value(value).ty().tensor().filter(|ty| ty.rank() == Some(4))?;
        Some([ty.dim(1)?, ty.dim(2)?, ty.dim(3)?])
    };
    let (Some([channels, high, wide]), Some([made, to_high, to_wide])) = (map(input), map(record.result())) else {
        return Err("it is not known to have two spatial axes of known extents".into());
    };
    let whole = |from: usize, to: usize| (from > 0 && to > 0 && to.is_multiple_of(from)).then(|| to / from);
    let (Some(by_high), Some(by_wide)) = (whole(high, to_high), whole(wide, to_wide)) else {
        return Err("its factors are not whole".into());
    };
    let scales = record.operand(2).map(|v| graph.const_of(v).and_then(Tensor::to_f32).ok_or("its scales are computed"));
    let scales = scales.transpose()?.unwrap_or_default();
    let same = scales.is_empty() || scales == [1.0, 1.0, by_high as f32, by_wide as f32];
    if !same
        || made != channels
        || record.attrs().contains_key("axes")
        || record.attrs().contains_key("keep_aspect_ratio_policy")
    {
        return Err("it is not the two spatial axes that it resizes, by the factors that its result has".into());
    }
    // With k = factor, result i = k b + r reads at (i + 1/2) / k - 1/2, which is nearest to b; or at i / k, which is from b on.
    let most = by_high.max(by_wide);
    let nearest = record.str("nearest_mode", "round_prefer_floor");
    let blocks = match record.str("coordinate_transformation_mode", "half_pixel") {
        "half_pixel" | "pytorch_half_pixel" => nearest.starts_with("round_"),
        "asymmetric" => nearest == "floor" || nearest == "round_prefer_floor" && most <= 2,
        _ => false,
    };
    if record.str("mode", "nearest") != "nearest" || !blocks {
        return Err("not every number of its operand has a block of results of its own".into());
    }
    Ok([channels, high, wide, by_high, by_wide])
}
