//! Writes down what each op takes on the target.
//!
//! ```text
//! %y = onnx.Conv %x, %w    ──▶    %y = onnx.Conv %x, %w {note.latency_ns = 1840}
//! ```
//!
//! The note is for people, tests and other passes to read; files get none of it.

use spaceevo_ir::attr::{Attr, NOTE};
use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, OpId};

use crate::latency::of_op;
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};

/// See the module documentation.
pub(crate) struct AnnotateLatency;

static INFO: PassInfo = PassInfo {
    name: "annotate-latency",
    summary: "write down what each op takes on the target",
    doc: "Each op of the body gets an attribute `note.latency_ns`: the whole nanoseconds that it takes on the target, by its \
          predictor or its table of prices; 0 where the kernel before it does it, or where it depends on constants only. Files \
          do not get these notes. It declines where the price of an op is not known, and takes off what was noted before.",
    effect: Effect::Exact,
    accepts: Form::Any,
    leaves: Form::Any,
    options: &[],
};

impl Pass for AnnotateLatency {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let name = format!("{NOTE}latency_ns");
        let mut changed = false;
        for op in graph.ops_in(graph.body()).collect::<Vec<OpId>>() {
            let price = of_op(graph, cx.target, op).map(|nanos| Attr::Int(nanos.round() as i64));
            if price.is_none() {
                cx.declined(graph, op, format!("'{}' has no price for it", cx.target.name));
            }
            if graph.op(op).attrs().get(name.as_str()) == price.as_ref() {
                continue;
            }
            if !cx.rewrite(graph, op, "latency noted") {
                break;
            }
            match price {
                Some(price) => graph.set_attr(op, name.as_str(), price),
                None => drop(graph.remove_attr(op, &name)),
            }
            changed = true;
        }
        Ok(Outcome::from(changed))
    }
}
