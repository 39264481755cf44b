//! Erases ops whose results nobody reads, and constants that nobody uses.
//!
//! ```text
//! %a = onnx.Relu %x                 %b = onnx.Neg %x
//! %b = onnx.Neg %x          ──▶     return %b
//! return %b
//! ```
//!
//! Ops of unknown domains are pure too: ONNX has no side effects. Inputs stay, read or not: callers know them.

use spaceevo_ir::Graph;
use spaceevo_ir::verify::Form;

use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};

/// See the module documentation.
pub(crate) struct DropDead;

static INFO: PassInfo = PassInfo {
    name: "drop-dead",
    summary: "erase ops and constants that nobody reads",
    doc: "An op without readers is erased, with its regions, then the ops that only it read, and at last the constants \
          that nobody uses. Inputs of the model stay. It declines for an op one of whose results is read.",
    effect: Effect::Exact,
    accepts: Form::Any,
    leaves: Form::Any,
    options: &[],
};

impl Pass for DropDead {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        // Backwards: a reader is erased before what it reads.
        for op in graph.all_ops().into_iter().rev() {
            if !graph.is_live(op) {
                continue;
            }
            if let Some(&read) = graph.op(op).results().iter().find(|&&v| graph.use_count(v) > 0) {
                let unread =
                    graph.op(op).results().iter().find(|&&v| graph.use_count(v) == 0 && !graph.value(v).name().is_empty());
                if let Some(&unread) = unread {
                    cx.declined(
                        graph,
                        op,
                        format!("nobody reads {}, but {} is read", graph.label(unread), graph.label(read)),
                    );
                }
                continue;
            }
            if !cx.rewrite(graph, op, format!("erased {}", graph.op(op).name())) {
                break;
            }
            changed |= graph.erase_op(op);
            cx.count("ops", 1);
        }
        for region in graph.all_regions() {
            let erased = graph.erase_unused_consts(region);
            changed |= erased > 0;
            cx.count("constants", erased as u64);
        }
        Ok(Outcome::from(changed))
    }
}
