//! Applies rewrite rules wherever they match, one after the other.
//!
//! ```text
//! %a = onnx.Sigmoid %x
//! %y = onnx.Mul %x, %a        ──▶    %y = onnx.HardSwish %x        with silu-to-hard-swish
//! ```

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Diagnostic, Graph, Loc, nearest};

use crate::analysis::model_ops;
use crate::pass::{Aborted, Effect, OptionInfo, OptionKind, Outcome, Pass, PassContext, PassInfo};
use crate::rule::{self, Applied, Rule, apply};

/// See the module documentation.
pub(crate) struct ApplyRules;

static INFO: PassInfo = PassInfo {
    name: "apply-rules",
    summary: "apply rewrite rules by name, wherever they match",
    doc: "Each rule of the option `rules` is applied to every op that its pattern ends in, in the order of the graph, once. \
          'spaceevo-opt list rules' names them, and 'spaceevo-opt explain RULE' shows one with its equation. Rules that are \
          equalities are better left to the pass saturate, which asks the target's prices; this pass is for those of the \
          effect `retrain`, which are applied on request alone, and to see what a rule does.\n\n\
          It declines where a condition of a rule does not hold, and where an op inside the pattern has other readers.",
    effect: Effect::Retrain,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[OptionInfo { name: "rules", kind: OptionKind::Text, default: "", help: "names of rules, separated by +" }],
};

impl Pass for ApplyRules {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        let names = cx.text("rules").to_owned();
        for name in names.split('+').filter(|name| !name.is_empty()) {
            let Some(rule) = rule::named(name) else {
                let mut unknown = Diagnostic::error("pipeline-syntax", Loc::Unknown, format!("there is no rule '{name}'"));
                if let Some(near) = nearest::nearest(name, rule::shipped().iter().map(Rule::name)) {
                    unknown = unknown.note(format!("did you mean '{near}'?"));
                }
                return Err(cx.error(unknown));
            };
            for op in model_ops(graph) {
                if !graph.is_live(op) {
                    continue;
                }
                match apply(rule, graph, op, &mut |graph| cx.rewrite(graph, op, rule.summary())) {
                    Applied::Yes => changed = true,
                    Applied::Declined(why) => cx.declined(graph, op, why),
                    Applied::No => {}
                }
            }
        }
        Ok(Outcome::from(changed))
    }
}
