//! Pixels that become channels, as exporters write it: four Slices, and a Concat.
//!
//! ```text
//! x[:, :, 0::2, 0::2] ─┐
//! x[:, :, 1::2, 0::2] ─┼─▶ Concat        ▶ SpaceToDepth ─▶ Gather, which brings channels into the order of the Slices
//! x[:, :, 0::2, 1::2] ─┤                   (of Slices in rows and columns: SpaceToDepth)
//! x[:, :, 1::2, 1::2] ─┘
//! ```
//!
//! A Slice of both axes may be one of rows and one of columns. This is what YOLO networks begin with (Focus); ONNX Runtime sees it
//! (`SliceConcatToSpaceToDepthFusion`).

use spaceevo_ir::{Graph, OpId, User, ValueId};
use spaceevo_passes::analysis::{Ints, ints};

/// A Concat of the pixels of a map, and the Slices before it.
pub(super) struct Folded {
    pub(super) slices: Vec<OpId>,
    pub(super) concat: OpId,
    /// Pixels are in rows, and rows below each other.
    pub(super) in_order: bool,
}

/// What a Slice of `read` is a part of, if it takes every second pixel.
pub(super) fn folded(graph: &Graph, slice: OpId, read: ValueId) -> Option<Folded> {
    let mut below = slice;
    for _ in 0..2 {
        let &[User::Op(next, _), ..] = graph.value(graph.op(below).result()).users() else { return None };
        below = next;
        if !is_slice(graph, below) {
            break;
        }
    }
    let record = graph.op(below);
    let parts = record.operands();
    if !record.name().is_onnx("Concat") || parts.len() != 4 || ![1, -3].contains(&record.int("axis", 0)) {
        return None;
    }
    let mut slices = Vec::new();
    let mut firsts = Vec::new();
    for &part in parts {
        let part = part?;
        graph.only_user(part)?;
        firsts.push(first_pixel(graph, part, read, &mut slices)?);
    }
    let in_order = firsts.windows(2).all(|pair| pair[0] < pair[1]);
    firsts.sort_unstable();
    let all = firsts == [[0, 0], [0, 1], [1, 0], [1, 1]];
    slices.sort_unstable();
    slices.dedup();
    // Rows that somebody else reads, too, are still cut out.
    let own = |user: &User| matches!(user, User::Op(op, _) if *op == below || slices.contains(op));
    let is_own = |slice: &OpId| graph.value(graph.op(*slice).result()).users().iter().all(own);
    let slices: Vec<OpId> = slices.iter().copied().filter(is_own).collect();
    (all && slices.contains(&slice)).then_some(Folded { slices, concat: below, in_order })
}

fn is_slice(graph: &Graph, op: OpId) -> bool {
    graph.op(op).name().is_onnx("Slice")
}

/// Row and column of the first pixel of a map that is every second pixel of `read`.
fn first_pixel(graph: &Graph, map: ValueId, read: ValueId, slices: &mut Vec<OpId>) -> Option<[i64; 2]> {
    let mut first = [None; 2];
    let mut map = map;
    while map != read {
        let slice = graph.def_named(map, "Slice")?;
        let (starts, ends) = (ints(graph, slice, "starts", 1).known()?, ints(graph, slice, "ends", 2).known()?);
        let (Ints::Known(axes), Ints::Known(steps)) = (ints(graph, slice, "axes", 3), ints(graph, slice, "steps", 4)) else {
            return None;
        };
        map = graph.op(slice).operand(0)?;
        let dims = graph.value(map).ty().tensor()?.shape.as_ref()?;
        for (at, axis) in axes.iter().enumerate() {
            let axis = usize::try_from(if *axis < 0 { axis + 4 } else { *axis }).ok()?;
            let whole = dims.get(axis)?.known().is_some_and(|n| *ends.get(at).unwrap_or(&0) >= n as i64);
            let place = first.get_mut(axis.checked_sub(2)?)?;
            if *steps.get(at)? != 2 || !whole || place.is_some() {
                return None;
            }
            *place = Some(*starts.get(at)?);
        }
        slices.push(slice);
    }
    Some([first[0]?, first[1]?])
}
