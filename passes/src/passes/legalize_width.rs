//! Pads channel counts with zero weights to what the target's kernels like.
//!
//! ```text
//! %h = onnx.Conv %x, %w : [1,72,..]                     %h = onnx.Conv %x, %w' : [1,80,..]
//! %d = onnx.Conv %h, %v {group = 72} : [1,72,..]  ──▶   %d = onnx.Conv %h, %v' {group = 80} : [1,80,..]
//! %y = onnx.Conv %d, %u : [1,24,..]                     %y = onnx.Conv %d, %u' : [1,24,..]
//! ```
//!
//! `width/groups.rs` says which values change together, `width/plan.rs` which of them pay, `width/price.rs` what with.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Dim, Graph, OpId, Place, Symbol, Tensor, Type, User, ValueId};

use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;
use crate::width::extend::extend_operand;
use crate::width::groups::{Channels, Edit, Group, Touch};
use crate::width::plan::{Verdict, plan};

/// See the module documentation.
pub(crate) struct LegalizeWidth;

static INFO: PassInfo = PassInfo {
    name: "legalize-width",
    summary: "pad channel counts with zero weights to what the target's kernels like",
    doc: "Values that must have the same channels (through activations, pools, depthwise Conv, additions, gates) form a group. \
          Where the target's section [width] wishes for another number of channels, and predicts that all ops around the \
          group together get faster by at least the part `gain`, the group is padded: rows of zeros and zero biases in \
          each Conv and Gemm that makes one of its values, columns of zeros in those that read one. Works on float graphs \
          and on quantized types; there a stored zero point stands for 0, and a padded channel repeats the last scale.\n\n\
          No bit of any result changes: what a padded channel holds is finite and is only ever multiplied with zeros. (A \
          runtime may add up a float pool in another order where a map has other channels: ONNX Runtime does, in the last \
          bits of a gate that stays in float.)\n\n\
          What needs the number of channels as it is, a result of the model or a Reshape, gets them by a Slice, if the target \
          says what that takes (`cut`). It declines where padding saves too little, and where an op that makes a value needs \
          the number as it is: it names the first such op. It does nothing for a target without the section.",
    effect: Effect::Exact,
    accepts: Form::Concrete,
    leaves: Form::Any,
    options: &[],
};

impl Pass for LegalizeWidth {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        if cx.target.width.is_none() {
            return Ok(Outcome::Unchanged);
        }
        let channels = Channels::find(graph);
        let mut changed = false;
        for (group, verdict) in channels.groups.iter().zip(plan(graph, &channels, cx.target)) {
            let from = group.channels;
            let first = group.touches.iter().find(|(_, touch)| *touch != Touch::Keeps);
            let Some(&(at, _)) = first.or(group.touches.first()) else { continue };
            match verdict {
                Verdict::Fits => {}
                Verdict::Refused { to, op, why } => {
                    cx.declined(graph, op, format!("{from} channels and not {to}: {why}"));
                }
                Verdict::Dear { to, before, after, cut } => {
                    let cut = cut.map_or(String::new(), |why| format!(" with a Slice ({why})"));
                    let times = micros(before, after);
                    cx.declined(graph, at, format!("{from} channels and not {to}, which saves too little{cut}: {times}"));
                }
                Verdict::Pad { to, before, after } => {
                    if !cx.rewrite(graph, at, format!("{from} channels become {to}: {}", micros(before, after))) {
                        break;
                    }
                    cx.count("groups", 1);
                    cx.count("channels added", (to - from) as u64);
                    pad(graph, group, to);
                    changed = true;
                }
            }
        }
        Ok(Outcome::from(changed))
    }
}

fn micros(before: f64, after: f64) -> String {
    format!("predicted {:.3} us as it is, {:.3} us padded", before / 1e3, after / 1e3)
}

/// Gives all values of a group `to` channels, and readers that need as many as there were a Slice of them.
fn pad(graph: &mut Graph, group: &Group, to: usize) {
    group.cuts.iter().for_each(|&value| cut(graph, group, value));
    for &value in &group.values {
        let Type::Tensor(mut ty) = graph.value(value).ty().clone() else { continue };
        if let Some(dim) = ty.shape.as_mut().and_then(|shape| shape.get_mut(1)) {
            *dim = Dim::Known(to as u64);
        }
        graph.set_type(value, ty);
    }
    for &(op, edit) in &group.edits {
        match edit {
            Edit::Extend { operand, axis } => _ = extend_operand(graph, op, operand, axis, to),
            Edit::Entry { operand, at } => set_entry(graph, op, operand, at, to),
            Edit::Groups => graph.set_attr(op, "group", Attr::Int(to as i64)),
        }
    }
}

/// Lets all readers of a value that are none of its group's ops read the channels that it has now, wherever it gets more.
fn cut(graph: &mut Graph, group: &Group, value: ValueId) {
    let Some(maker) = graph.def_op(value) else { return };
    let inside = group.ops();
    let outside = |user: &User| !matches!(user, User::Op(op, _) if inside.binary_search(op).is_ok());
    let readers: Vec<User> = graph.value(value).users().iter().copied().filter(outside).collect();
    let (name, ty, range) = (graph.value(value).name().clone(), graph.value(value).ty().clone(), graph.value(value).range());
    let slice = rewrite::slice(graph, maker, value, 1, [0, group.channels]);
    let loc = graph.op(maker).loc().clone();
    // Callers know a result by its name.
    let (whole, part): (Symbol, Symbol) = if graph.is_returned(value) {
        (format!("{name}_padded").into(), name)
    } else {
        (name.clone(), format!("{name}_cut").into())
    };
    graph.set_name(value, whole);
    let slice = graph.insert(Place::After(maker), slice.made(INFO.name, &[&loc]).result(part, ty));
    let slice = graph.op(slice).result();
    graph.set_range(slice, range);
    readers.into_iter().for_each(|user| graph.replace_use(user, slice));
}

/// Writes a channel count into a constant list of integers.
fn set_entry(graph: &mut Graph, op: OpId, operand: usize, at: usize, to: usize) {
    let Some(old) = graph.op(op).operand(operand) else { return };
    let Some(mut list) = graph.const_of(old).and_then(Tensor::to_i64) else { return };
    let Some(entry) = list.get_mut(at) else { return };
    *entry = to as i64;
    let name = graph.value(old).name().clone();
    let new = rewrite::constant(graph, op, name, Tensor::new([list.len()], list));
    rewrite::exchange_operand(graph, op, operand, Some(new));
}
