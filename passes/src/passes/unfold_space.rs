//! Writes out the blocks of a search space: what is bound is decided, what is open becomes choices between ops that share
//! weights. Of a hyperspace whose blocks and widths are chosen it makes a supernet.
//!
//! ```text
//! param $k in {3, 5}
//! block @dw(%x: f32[n,c,h,w], kernel) {                        %y.weight.max = const rand(0, …) : f32[16,1,5,5]
//!   %y = space.Conv %x {out = c, kernel = kernel, groups = c}  %y.weight = space.Crop %y.weight.max {to = [16, 1, $k, $k]}
//!   yield %y                                              ──▶  %y = onnx.Conv %x, %y.weight
//! }                                                                {group = 16, kernel_shape = [$k, $k], …}
//! %y = @dw %x {kernel = $k}
//! ```

use spaceevo_ir::Graph;
use spaceevo_ir::verify::Form;

use crate::pass::{Aborted, Effect, OptionInfo, OptionKind, Outcome, Pass, PassContext, PassInfo};
use crate::unfold::{Weights, is_folded, unfold};

/// See the module documentation.
pub(crate) struct UnfoldSpace;

static INFO: PassInfo = PassInfo {
    name: "unfold-space",
    summary: "write out the blocks of a search space: choices between ops that share weights",
    doc: "Every call of a block becomes the ops of the block, every `space.Repeat` its rounds, every `space.Conv`, \
          `space.BatchNorm` and `space.Linear` an op of ONNX with weights of its own. Parameters that are bound are used as \
          they are bound; what the others decide becomes `space.Choice` (which block, how many rounds, whether what stands \
          behind `if` or `unless` happens). Weights are stored once, at the largest that their shape can be, and cut by \
          `space.Crop`: the first channels, the middle of the kernel. They are drawn from `seed`, uniform within \
          sqrt(6 / fan_in).\n\n\
          The result runs in the interpreter under any binding of what is open, and `specialize` makes a model of it, with \
          the same weights. It reports blocks that do not exist, that do not take what they are given or call each other \
          in a circle, extents that have no value, and spaces that are too large to write out.",
    effect: Effect::Exact,
    accepts: Form::Space,
    leaves: Form::Space,
    options: &[OptionInfo { name: "seed", kind: OptionKind::Int, default: "0", help: "where weights are drawn from" }],
};

impl Pass for UnfoldSpace {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let ops = graph.all_ops();
        let (true, Some(&at)) = (is_folded(graph), ops.first()) else { return Ok(Outcome::Unchanged) };
        // All or nothing: what fails halfway is neither a space nor a supernet.
        let mut work = graph.clone();
        let made = match unfold(&mut work, Weights::Drawn(cx.int("seed").unwrap_or(0) as u64)) {
            Ok(made) => made,
            Err(found) => {
                let mut aborted = None;
                for diagnostic in found {
                    aborted = Some(cx.error(diagnostic));
                }
                return aborted.map_or(Ok(Outcome::Unchanged), Err);
            }
        };
        if !cx.rewrite(graph, at, "wrote out the blocks") {
            return Ok(Outcome::Unchanged);
        }
        cx.count("ops", made as u64);
        *graph = work;
        Ok(Outcome::Changed)
    }
}
