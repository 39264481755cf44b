//! Whether rules and passes do what their effect says: random graphs that they rewrite, both sides through the interpreter and
//! through a runtime, number by number.
//!
//! Rules are drawn from their own patterns (`spaceevo_testkit::instance`), passes from families of graphs
//! (`spaceevo_testkit::drawn`). A case is one number of a result: a graph of one stored operand has all of its 256 values.

mod sides;

use serde::Serialize;
use spaceevo_cost::Runtime;
use spaceevo_ir::interp::Datum;
use spaceevo_ir::text::{NoBlobs, parse};
use spaceevo_ir::verify::{Form, verify};
use spaceevo_ir::{Diagnostic, Graph, Loc, Tensor};
use spaceevo_passes::rule::{Applied, Rule, apply, shipped};
use spaceevo_passes::{Effect, Manager, Pipeline, Registry, Target};
use spaceevo_testkit::drawn::{Allowed, Family, families};
use spaceevo_testkit::golden::print;
use spaceevo_testkit::instance::{Dice, data, instance};
use spaceevo_testkit::observer::Seeded;

pub use sides::Count;
use sides::Sides;

/// A rule, or a pass with graphs for it.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// A rewrite rule.
    Rule(&'a Rule),
    /// Graphs for a pass.
    Pass(Family),
}

/// Everything that promises something about numbers.
pub fn subjects() -> Vec<Subject<'static>> {
    let rules = shipped().iter().filter(|rule| rule.effect < Effect::Approximate).map(Subject::Rule);
    rules.chain(families().into_iter().map(Subject::Pass)).collect()
}

impl Subject<'_> {
    /// What it is called on the command line.
    pub fn name(&self) -> &str {
        match self {
            Subject::Rule(rule) => rule.name(),
            Subject::Pass(family) => family.pass,
        }
    }
}

/// What was compared for a subject.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Rule or pass.
    pub name: String,
    /// What is special about its graphs.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub about: &'static str,
    /// `rule` or `pass`.
    pub kind: &'static str,
    /// What it promises.
    pub effect: &'static str,
    /// Graphs that it rewrote.
    pub graphs: usize,
    /// In the interpreter.
    pub interpreter: Count,
    /// In the runtime, if there was one.
    pub runtime: Option<Count>,
    /// Graphs that the runtime did not take, on either side.
    pub refused: usize,
    /// The first graph whose numbers are too far apart, with what became of it.
    pub first: Option<String>,
}

impl Line {
    /// Numbers that are further apart than the effect allows.
    pub fn beyond(&self) -> usize {
        self.interpreter.beyond + self.runtime.map_or(0, |count| count.beyond)
    }
}

/// Two graphs that should be equal, and their data.
struct Pair {
    before: Graph,
    after: Graph,
    inputs: Vec<Tensor>,
    allowed: Allowed,
    /// The second side is made of a runtime's operators, where the first one has types.
    written: bool,
}

/// Draws until so many numbers were compared, by the interpreter and by the runtime each.
///
/// Errors: `effect-unmatched` where hardly any graph is rewritten; those of running the interpreter.
pub fn check(subject: Subject<'_>, cases: usize, seed: u64, runtime: Option<&dyn Runtime>) -> Result<Line, Diagnostic> {
    let registry = crate::registry();
    let target = target(PRICED.contains(&subject.name()))?;
    let (kind, about, effect) = match subject {
        Subject::Rule(rule) => ("rule", "", rule.effect),
        Subject::Pass(family) => ("pass", family.about, strongest(family.pass, &registry)?),
    };
    let mut line = Line {
        name: subject.name().to_owned(),
        about,
        kind,
        effect: effect.word(),
        graphs: 0,
        interpreter: Count::default(),
        runtime: runtime.map(|_| Count::default()),
        refused: 0,
        first: None,
    };
    let named =
        subject.name().bytes().chain(about.bytes()).fold(seed, |n, byte| n.wrapping_mul(31).wrapping_add(byte.into()));
    let mut dice = Dice(named);
    let sides = Sides { registry: &registry, target: &target, runtime, whole: kind == "pass" };
    let mut idle = 0;
    while line.interpreter.cases < cases || line.runtime.is_some_and(|count| count.cases < cases) {
        let pair = match subject {
            Subject::Rule(rule) => by_rule(rule, &mut dice),
            Subject::Pass(family) => by_pass(family, &mut dice, &registry, &target)?,
        };
        // Graphs that are left alone, and those that the runtime does not take, say nothing.
        if idle > 4000 {
            let message = format!(
                "of {idle} graphs that were drawn for '{}' one after the other, none could be compared",
                subject.name()
            );
            return Err(Diagnostic::error("effect-unmatched", Loc::Unknown, message));
        }
        idle += 1;
        let Some(pair) = pair else { continue };
        let interpreted = sides.interpret(&pair)?;
        line.graphs += 1;
        line.interpreter.add(interpreted);
        let mut bad = interpreted.beyond;
        match sides.run(&pair) {
            None => {}
            Some(Ok(count)) => {
                idle = 0;
                bad += count.beyond;
                line.runtime.as_mut().into_iter().for_each(|total| total.add(count));
            }
            Some(Err(_)) => line.refused += 1,
        }
        if runtime.is_none() {
            idle = 0;
        }
        if bad > 0 && line.first.is_none() {
            line.first = Some(format!("{}became\n{}", print(&pair.before), print(&pair.after)));
        }
    }
    Ok(line)
}

/// The strongest effect of the passes of a pipeline.
fn strongest(pipeline: &str, registry: &Registry) -> Result<Effect, Diagnostic> {
    let names = Pipeline::parse(pipeline, registry)?.passes(registry);
    Ok(names.iter().filter_map(|name| Some(registry.pass(name)?.info().effect)).max().unwrap_or(Effect::Exact))
}

/// Passes that do nothing without prices.
const PRICED: [&str; 3] = ["saturate", "split-anchors", "hoist-sigmoid"];

/// ONNX Runtime's target: with prices for a pass that does nothing without, else without those by which a pass may leave a graph
/// alone.
fn target(priced: bool) -> Result<Target, Diagnostic> {
    let target = Target::named("x86-vnni");
    let target = target.ok_or_else(|| Diagnostic::error("internal", Loc::Unknown, "x86-vnni does not ship"))?;
    Ok(if priced { target } else { Target { prices: None, predicted: None, ..target } })
}

fn by_rule(rule: &Rule, dice: &mut Dice) -> Option<Pair> {
    let stored = dice.below(2) == 0;
    let before = instance(rule, dice, stored)?;
    let mut after = before.clone();
    // The result is read as real numbers by an op behind the pattern.
    let root = before.region(before.body()).results()[0];
    let op = before.def_op(before.op(before.def_op(root)?).operand(0)?)?;
    if apply(rule, &mut after, op, &mut |_| true) != Applied::Yes {
        return None;
    }
    let tensor = |datum: Datum| if let Datum::Tensor(tensor) = datum { Some(tensor) } else { None };
    let inputs = data(&before, dice).into_iter().filter_map(tensor).collect();
    let allowed = if rule.effect == Effect::Exact { Allowed::Bits } else { Allowed::Parts(1e-4) };
    Some(Pair { before, after, inputs, allowed, written: false })
}

/// `None` where the pass leaves the graph alone.
fn by_pass(family: Family, dice: &mut Dice, registry: &Registry, target: &Target) -> Result<Option<Pair>, Diagnostic> {
    let drawn = (family.draw)(dice);
    let first = |list: Vec<Diagnostic>| {
        let message = format!("a graph drawn for '{}' is wrong: {}\n{}", family.pass, list[0], drawn.text);
        Diagnostic::error("internal", Loc::Unknown, message)
    };
    let before = parse(&drawn.text, "-", &NoBlobs).into_result().map_err(first)?;
    let mut after = before.clone();
    let pipeline = Pipeline::parse(family.pass, registry)?;
    let mut seen = Seeded { samples: vec![drawn.inputs.iter().cloned().map(Datum::Tensor).collect()] };
    let report = Manager::new(registry, target).run(&pipeline, &mut after, Some(&mut seen));
    if let Some(error) = report.errors().next() {
        return Err(error.clone());
    }
    let changed = report.runs.iter().any(|run| run.changed);
    // No runtime knows types, nor spaces.
    let written = family.pass.starts_with("lower-q") || !verify(&before, Form::Concrete).is_empty();
    Ok(changed.then(|| Pair { before, after, inputs: drawn.inputs, allowed: drawn.allowed, written }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_of_everything_holds_in_the_interpreter() {
        for subject in subjects() {
            let line = check(subject, 600, 3, None).unwrap_or_else(|d| panic!("{d}"));
            assert!(line.beyond() == 0 && line.interpreter.cases >= 600, "{line:#?}");
        }
    }

    /// A new pass gets a family of graphs, or a reason here.
    #[test]
    fn every_pass_that_promises_numbers_is_drawn() {
        let undrawn = [
            ("annotate-latency", "it notes prices"),
            ("calibrate", "it notes ranges"),
            ("infer-shapes", "it notes types"),
            ("freeze-inputs", "an input less: both sides cannot be given the same"),
            ("unfold-space", "blocks have no numbers before weights are drawn"),
        ];
        let registry = crate::registry();
        let drawn: Vec<String> = (families().iter())
            .flat_map(|family| Pipeline::parse(family.pass, &registry).unwrap().passes(&registry))
            .collect();
        for pass in registry.passes().map(|pass| pass.info()).filter(|info| info.effect < Effect::Approximate) {
            let excused = undrawn.iter().any(|(name, _)| *name == pass.name);
            assert!(
                drawn.iter().any(|name| name == pass.name) != excused,
                "{} has no graphs, or a reason too many",
                pass.name
            );
        }
    }

    /// The test of the test.
    #[test]
    fn what_is_wrong_is_found() {
        let text = "/// wrong\nrule wrong : exact {\n  match {\n    %f = onnx.Relu %x\n    %y = onnx.AveragePool %f {..$p}\n  }\n  \
                    replace %y {\n    %a = onnx.AveragePool %x {..$p}\n    %r = onnx.Relu %a\n    yield %r\n  }\n}\n";
        let rule = Rule::parse(text, "wrong").unwrap().remove(0);
        let line = check(Subject::Rule(&rule), 3000, 1, None).unwrap();
        assert!(line.beyond() > 0 && line.first.is_some_and(|graph| graph.contains("AveragePool")));
        // A pass held to more than it promises.
        let exact = |dice: &mut Dice| {
            let family = families().into_iter().find(|family| family.pass == "lower-hard-swish").unwrap();
            spaceevo_testkit::drawn::Drawn { allowed: Allowed::Bits, ..(family.draw)(dice) }
        };
        let line = check(Subject::Pass(Family { pass: "lower-hard-swish", about: "", draw: exact }), 3000, 1, None).unwrap();
        assert!(line.beyond() > 0);
    }
}
