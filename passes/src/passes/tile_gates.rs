//! Repeats the gate of a stored map along its rows, so that the product takes a row at a time and not a position.
//!
//! ```text
//!                                                    %t = onnx.Tile %g, [1, 1, 1, 56] : [1,96,1,56]
//! %y = onnx.Mul %x, %g : [1,96,56,56] * [1,96,1,1]  ──▶  %y = onnx.Mul %x, %t : [1,96,56,56] * [1,96,1,56]
//! ```
//!
//! With channels last, what is multiplied at once is what lies side by side in both operands: the channels of one position before,
//! of a whole row then.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Dim, Graph, NewOp, OpId, Tensor, Type, ValueId};

use crate::analysis::{map_extents, opset};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct TileGates;

static INFO: PassInfo = PassInfo {
    name: "tile-gates",
    summary: "repeat the gates of large stored maps along a row",
    doc: "In a Mul of a stored map [N,C,H,W] and one stored number a channel [N,C,1,1], the latter is repeated along the width, for \
          maps of as many positions as the target's file says (`ops.tiled_gate`). No bit changes.\n\n\
          It declines where extents are not known and below operator set 6. It does nothing for a target without that count, and \
          for maps that no integer convolution makes: in planes, what lies side by side is a channel.",
    effect: Effect::Exact,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for TileGates {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let Some(least) = cx.target.ops.tiled_gate else { return Ok(Outcome::Unchanged) };
        let mut changed = false;
        for op in graph.ops_in(graph.body()).collect::<Vec<_>>() {
            let Some(gate) = gate(graph, op).filter(|gate| is_channels_last(graph, op, 1 - gate)) else { continue };
            let Some([_, high, wide]) = map_extents(graph, graph.op(op).result()) else {
                cx.declined(graph, op, "height and width of the map are not known");
                continue;
            };
            if high < 2 || wide < 2 || high.saturating_mul(wide) < least {
                continue;
            }
            if opset(graph, op) < 6 {
                cx.declined(graph, op, "Tile has a count for each axis from operator set 6 on");
                continue;
            }
            if !cx.rewrite(graph, op, format!("its gate is repeated {wide} times")) {
                break;
            }
            tile(graph, op, gate, wide);
            changed = true;
        }
        Ok(Outcome::from(changed))
    }
}

/// The index of the operand of a product that is one stored number for each channel of the other one.
fn gate(graph: &Graph, op: OpId) -> Option<usize> {
    let record = graph.op(op);
    let [Some(a), Some(b)] = *record.operands() else { return None };
    let stored = [a, b].iter().all(|&v| graph.value(v).ty().quant().is_some_and(|quant| quant.axis.is_none()));
    if !record.name().is_onnx("Mul") || !stored {
        return None;
    }
    let is_pixel = |value: ValueId| matches!(map_extents(graph, value), Some([_, 1, 1]));
    let channels = |value: ValueId| graph.value(value).ty().tensor().and_then(|ty| ty.dim(1));
    let fits = channels(a).is_some() && channels(a) == channels(b);
    match [is_pixel(a), is_pixel(b)] {
        [true, false] if fits => Some(0),
        [false, true] if fits => Some(1),
        _ => None,
    }
}

/// True when an integer convolution makes an operand, or ops of stored numbers that keep its layout.
fn is_channels_last(graph: &Graph, op: OpId, operand: usize) -> bool {
    let stored = |value: ValueId| graph.value(value).ty().quant().is_some();
    let mut read = graph.op(op).operand(operand);
    while let Some(maker) = read.filter(|&value| stored(value)).and_then(|value| graph.def_op(value)) {
        let name = graph.op(maker).name();
        if name.is_onnx("Conv") {
            // A float one makes planes, and what is stored of them are planes.
            return graph.op(maker).operand(0).is_some_and(stored);
        }
        if !["Add", "Mul", "Sigmoid", "LeakyRelu"].iter().any(|keeps| name.is_onnx(keeps)) {
            return false;
        }
        let larger = |&&value: &&ValueId| map_extents(graph, value) == map_extents(graph, graph.op(maker).result());
        read = graph.op(maker).operands().iter().flatten().find(larger).copied();
    }
    false
}

fn tile(graph: &mut Graph, op: OpId, index: usize, wide: usize) {
    let Some(gate) = graph.op(op).operand(index) else { return };
    let mut ty = graph.value(gate).ty().clone();
    if let Type::Tensor(tensor) = &mut ty
        && let Some(last) = tensor.shape.as_mut().and_then(|shape| shape.last_mut())
    {
        *last = Dim::Known(wide as u64);
    }
    let name = format!("{}.row", graph.value(graph.op(op).result()).name());
    let repeats = rewrite::constant(graph, op, "repeats", Tensor::new([4], vec![1, 1, 1, wide as i64]));
    let row = NewOp::onnx("Tile").operand(gate).operand(repeats);
    let row = rewrite::insert_before(graph, op, INFO.name, name, ty, row);
    graph.set_operand(op, index, Some(row));
}
