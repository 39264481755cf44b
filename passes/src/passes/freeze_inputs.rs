//! Makes inputs that have a default constants.
//!
//! ```text
//! graph @main(%x: f32[1,3,8,8], %w: f32[4,3,1,1] = rand(7))        graph @main(%x: f32[1,3,8,8])
//!                                                           ──▶      %w = const rand(7) : f32[4,3,1,1]
//! ```
//!
//! Before IR version 4 every initializer had to be listed as an input, and a caller may override it. Nobody does, but no
//! runtime may fold such weights, and no pass may quantize them.

use spaceevo_ir::Graph;
use spaceevo_ir::verify::Form;

use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};

/// See the module documentation.
pub(crate) struct FreezeInputs;

static INFO: PassInfo = PassInfo {
    name: "freeze-inputs",
    summary: "make inputs that have a default constants",
    doc: "An input with a default (an initializer that is listed as an input) becomes a constant of the model: callers can no \
          longer override it. Declines when no input has a default.",
    effect: Effect::Exact,
    accepts: Form::Any,
    leaves: Form::Any,
    options: &[],
};

impl Pass for FreezeInputs {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let body = graph.body();
        let readers = |graph: &Graph, v| {
            graph.value(v).users().iter().find_map(|u| match u {
                spaceevo_ir::User::Op(op, _) => Some(*op),
                spaceevo_ir::User::Return(..) => None,
            })
        };
        let mut changed = false;
        for input in graph.region(body).inputs().to_vec() {
            let reader = readers(graph, input);
            if graph.value(input).tensor().is_none() {
                if let Some(op) = reader {
                    cx.declined(graph, op, format!("its operand {} has no default: callers give it", graph.label(input)));
                }
                continue;
            }
            let what = format!("its operand {} is a constant now", graph.label(input));
            if reader.is_some_and(|op| !cx.rewrite(graph, op, what)) {
                break;
            }
            graph.input_to_const(input);
            cx.count("inputs", 1);
            changed = true;
        }
        Ok(Outcome::from(changed))
    }
}
