//! Lets weights take their channels in another order, so that channels need not be shuffled.
//!
//! ```text
//! %c = onnx.Concat %l, %b {axis = 1} : [1,116,..]             %l1 = onnx.Slice %l, [0], [29], [1] : [1,29,..]
//! %r = onnx.Reshape %c, [1, 2, 58, 28, 28]                    ..
//! %t = onnx.Transpose %r {perm = [0, 2, 1, 3, 4]}             %s' = onnx.Concat %l2, %b2 {axis = 1} : [1,58,..]
//! %u = onnx.Reshape %t, [1, 116, 28, 28]              ──▶     %y = onnx.Conv %s', %w' : [1,58,..]
//! %l', %s = onnx.Split %u {axis = 1} : [1,58,..]
//! %y = onnx.Conv %s, %w : [1,58,..]
//! ```
//!
//! It is for float graphs, behind `@simplify` and before `calibrate`: there nothing has a scale yet, and what is made here is
//! calibrated like all else. Graphs of quantized types are taken, too, where all that is joined has one type.
//! `shuffle/movers.rs` says what only moves channels, `shuffle/plan.rs` which orders are best, `shuffle/place.rs` writes it.

use spaceevo_ir::Graph;
use spaceevo_ir::verify::Form;

use crate::analysis::opset;
use crate::pass::{Aborted, Effect, OptionInfo, OptionKind, Outcome, Pass, PassContext, PassInfo};
use crate::shuffle::place::place;
use crate::shuffle::plan::Plan;

/// See the module documentation.
pub(crate) struct SinkChannelShuffle;

static INFO: PassInfo = PassInfo {
    name: "sink-channel-shuffle",
    summary: "reorder weights instead of shuffling channels",
    doc: "Concat, Split, Slice and Gather along the channels and channel shuffles (as `lift-channel-shuffle` writes them, and as \
          ShuffleNet V2 shuffles and splits in one go) only move channels. Where such ops meet and at least one shuffles, they \
          go, and whatever reads their results reads a Concat of Slices of what they read: of neighbouring channels each. \
          Where that leaves channels in another order, the weights of the Convs and Gemms that read them take their columns \
          in that order; depthwise Convs, activations, pools and additions between hand it on. A Conv that makes what is cut \
          gives its rows in the order in which they are needed together. Such values get new names.\n\n\
          The sums of a Conv have the same terms in another order: on quantized types no bit changes, in float the last ones \
          may.\n\n\
          Where channels must be in order (a result of the model, a grouped Conv, an op that is not known), a Gather puts them \
          right. It declines where that takes as many Gathers as there were shuffles (with the option `gather`, where it takes \
          more), where a value is joined of too many parts, and below operator set 10, whose Slice is another.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Any,
    options: &[OptionInfo {
        name: "gather",
        kind: OptionKind::Flag,
        default: "false",
        help: "where channels must be in order, let one Gather take the place of Reshape, Transpose and Reshape",
    }],
};

impl Pass for SinkChannelShuffle {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let gather = cx.flag("gather");
        let mut plan = Plan::of(graph, gather, &|_| true);
        if let Some(net) = plan.nets.first().filter(|net| opset(graph, net.at) < 10) {
            cx.declined(graph, net.at, "operator set 10 brings the Slice that this needs: run upgrade-opset first");
            return Ok(Outcome::Unchanged);
        }
        let mut done = Vec::new();
        for (at, net) in plan.nets.iter().enumerate() {
            let shuffles = plural(net.shuffles, "shuffle");
            match &net.verdict {
                Err((op, why)) => cx.declined(graph, *op, format!("{shuffles} of channels stay: {why}")),
                Ok(gathers) => {
                    let what = match gathers {
                        0 => format!("{shuffles} of channels sunk into weights"),
                        _ => format!("{} in place of {shuffles} of channels", plural(*gathers, "Gather")),
                    };
                    if !cx.rewrite(graph, net.at, what) {
                        break;
                    }
                    cx.count("shuffles", net.shuffles as u64);
                    cx.count("gathers", *gathers as u64);
                    done.push(at);
                }
            }
        }
        if done.len() < plan.nets.iter().filter(|net| net.verdict.is_ok()).count() {
            plan = Plan::of(graph, gather, &|at| done.contains(&at));
        }
        let changed = plan.nets.iter().any(|net| net.verdict.is_ok());
        if changed {
            place(graph, &plan, INFO.name);
        }
        Ok(Outcome::from(changed))
    }
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
