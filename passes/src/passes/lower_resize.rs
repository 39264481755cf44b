//! Writes a nearest Resize of a stored map by whole factors as an Expand with channels last, which copies rows of bytes.
//!
//! ```text
//!                                                   %a = onnx.Transpose %x {perm = [0, 2, 3, 1]} : [1,20,30,64]
//! %y = onnx.Resize %x, _, [1, 1, 2, 2]               %b = onnx.Reshape %a : [20,1,30,1,64]
//!        : [1,64,40,60]                       ──▶   %c = onnx.Expand %b : [20,2,30,2,64]
//!                                                   %d = onnx.Reshape %c : [1,40,60,64]
//!                                                   %y = onnx.Transpose %d {perm = [0, 3, 1, 2]} : [1,64,40,60]
//! ```
//!
//! Where convolutions keep channels last, the runtime cancels both Transposes against its own; not if rows had an axis for the batch in
//! front, where it may take the Reshape for one that it can move a Transpose behind.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Dim, Graph, NewOp, OpId, Tensor, ValueId};

use crate::analysis::map_extents;
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::quantize::lowering;
use crate::rewrite::{self, insert_rows, shaped};

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
            let batch = graph.value(stored.input).ty().tensor().and_then(|ty| ty.dim(0));
            let all_rows = batch.map_or(Dim::Unknown, |batch| Dim::Known((batch * high) as u64));
            let last = permuted(stored.input, [0, 2, 3, 1]);
            let last = rewrite::insert_map(graph, stored.op, INFO.name, "last", &[high, wide, channels], last);
            let rows = shaped(graph, stored.op, "Reshape", last, &[-1, 1, wide as i64, 1, channels as i64]);
            let rows = insert_rows(graph, stored.op, INFO.name, "rows", all_rows.clone(), &[1, wide, 1, channels], rows);
            let copies = shaped(graph, stored.op, "Expand", rows, &[1, by_high as i64, 1, by_wide as i64, 1]);
            let copies =
                insert_rows(graph, stored.op, INFO.name, "copies", all_rows, &[by_high, wide, by_wide, channels], copies);
            let (high, wide) = (high * by_high, wide * by_wide);
            let map = shaped(graph, stored.op, "Reshape", copies, &[-1, high as i64, wide as i64, channels as i64]);
            let map = rewrite::insert_map(graph, stored.op, INFO.name, "map", &[high, wide, channels], map);
            rewrite::replace(graph, stored.op, INFO.name, &[], permuted(map, [0, 3, 1, 2]));
            Ok(true)
        }))
    }
}

/// Channels, height and width of what a Resize reads, and by how much it multiplies the last two; or why it is no Expand.
fn factors(graph: &Graph, op: OpId, input: ValueId) -> Result<[usize; 5], String> {
    let record = graph.op(op);
    let maps = [input, record.result()].map(|value| map_extents(graph, value));
    let [Some([channels, high, wide]), Some([made, to_high, to_wide])] = maps else {
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
