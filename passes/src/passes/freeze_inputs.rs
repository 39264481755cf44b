//! Makes inputs that have a default plain constants.
//!
//! ```text
//! graph @main(%x: f32[1,3], %w: f32[3,2] = ...)      graph @main(%x: f32[1,3]) {
//!                                             ──▶      %w = const ...
//! ```

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, OpId, User};

use crate::pass::{Aborted, Effect, OptionInfo, OptionKind, Outcome, Pass, PassContext, PassInfo};

/// See the module documentation.
pub(crate) struct FreezeInputs;

static INFO: PassInfo = PassInfo {
    name: "freeze-inputs",
    summary: "make inputs that have a default plain constants",
    doc: "Files of IR version 3 had to list every weight among the inputs, and many exporters went on doing so: the weight is \
          then the default of an input, which a caller may override, and no pass can fold it. This pass makes such inputs \
          constants. For callers who give none of them, nothing changes.\n\n\
          It declines for inputs named in the option `keep`. Inputs that nothing reads are left alone.",
    effect: Effect::Exact,
    accepts: Form::Any,
    leaves: Form::Any,
    options: &[OptionInfo {
        name: "keep",
        kind: OptionKind::Text,
        default: "",
        help: "inputs that callers may go on overriding, separated by +",
    }],
};

impl Pass for FreezeInputs {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let keep: Vec<String> = cx.text("keep").split('+').map(|name| name.trim().to_owned()).collect();
        let mut changed = false;
        for input in graph.region(graph.body()).inputs().to_vec() {
            let value = graph.value(input);
            let Some(reader) = value.tensor().and_then(|_| first_reader(graph, value.users())) else { continue };
            if keep.iter().any(|name| **name == **value.name()) {
                cx.declined(graph, reader, format!("{} stays an input, as asked for", graph.label(input)));
                continue;
            }
            if !cx.rewrite(graph, reader, format!("{} became a constant", graph.label(input))) {
                break;
            }
            graph.input_to_const(input);
            cx.count("inputs", 1);
            changed = true;
        }
        Ok(Outcome::from(changed))
    }
}

fn first_reader(graph: &Graph, users: &[User]) -> Option<OpId> {
    let readers = users.iter().filter_map(|user| if let User::Op(op, _) = user { Some(*op) } else { None });
    readers.filter(|&op| graph.is_live(op)).min()
}
