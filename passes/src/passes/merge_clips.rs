//! Merges chains of bounds, and writes every bound as Relu or Clip.
//!
//! ```text
//! %a = onnx.Relu %x
//! %y = onnx.Min %a, %six      ──▶    %y = onnx.Clip %x, %zero, %six
//! ```

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Elem, Graph, OpId};

use crate::analysis::{is_plain, model_ops, opset, scalar};
use crate::clamp::Clamp;
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct MergeClips;

static INFO: PassInfo = PassInfo {
    name: "merge-clips",
    summary: "merge chains of Relu, Clip, Min and Max; write bounds as Relu or Clip",
    doc: "`clip(clip(x, a, b), c, d) = clip(x, clip(a, c, d), clip(b, c, d))`: a chain of Relu, Clip, and Min and Max with a \
          constant of one number becomes one Relu, where the bounds are 0 and infinity, or one Clip. A bound that stands \
          alone is written the same way. The sign of a zero may change.\n\n\
          It declines when the lower bound is above the upper one, and when another op reads the value between two bounds.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for MergeClips {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for op in model_ops(graph) {
            if graph.is_live(op) {
                changed |= merge(graph, op, cx);
            }
        }
        Ok(Outcome::from(changed))
    }
}

fn merge(graph: &mut Graph, op: OpId, cx: &mut PassContext<'_>) -> bool {
    let Some(outer) = Clamp::of(graph, op) else {
        if is_crossed(graph, op) {
            cx.declined(graph, op, "its lower bound is above its upper bound");
        }
        return false;
    };
    let float = matches!(graph.value(outer.input).ty().elem(), Some(Elem::F32 | Elem::F16 | Elem::F64 | Elem::Bf16));
    if !float || !is_plain(graph, graph.op(op).result()) {
        return false;
    }
    let inner = graph.def_op(outer.input).and_then(|maker| Some((maker, Clamp::of(graph, maker)?)));
    let (clamp, also) = match inner {
        Some((maker, inner)) if graph.only_user(outer.input) == Some(op) && is_plain(graph, outer.input) => {
            (outer.after(inner), Some(maker))
        }
        Some(_) => {
            cx.declined(graph, op, format!("{} between the two bounds has other readers", graph.label(outer.input)));
            (outer, None)
        }
        None => (outer, None),
    };
    if also.is_none() && is_canonical(graph, op, outer) {
        return false;
    }
    let what = if also.is_some() { "bounds merged" } else { "written as Relu or Clip" };
    if !cx.rewrite(graph, op, what) {
        return false;
    }
    let new = clamp.build(graph, op);
    rewrite::replace(graph, op, INFO.name, also.as_slice(), new);
    true
}

/// True for what [`Clamp::build`] makes.
fn is_canonical(graph: &Graph, op: OpId, clamp: Clamp) -> bool {
    let name = graph.op(op).name();
    name.is_onnx("Relu") || (name.is_onnx("Clip") && !clamp.is(0.0, f64::INFINITY))
}

/// True for a Clip with constant bounds in the wrong order.
fn is_crossed(graph: &Graph, op: OpId) -> bool {
    let bound = |index: usize| graph.op(op).operand(index).and_then(|v| scalar(graph, v));
    let low_high = if opset(graph, op) < 11 {
        (Some(f64::from(graph.op(op).float("min", f32::MIN))), Some(f64::from(graph.op(op).float("max", f32::MAX))))
    } else {
        (bound(1), bound(2))
    };
    graph.op(op).name().is_onnx("Clip") && matches!(low_high, (Some(low), Some(high)) if low > high)
}
