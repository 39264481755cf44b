//! Replaces a network by the cheapest of all that the rules say are equal.
//!
//! ```text
//! %a = onnx.Relu %x                              %p = onnx.MaxPool %x {…}
//! %y = onnx.MaxPool %a {strides = [2, 2], …}  ──▶    %y = onnx.Relu %p
//! ```
//!
//! Equality saturation (Tate et al. 2009; egg: Willsey et al. 2021): rules do not replace, they add what is equal, so that
//! their order does not matter; the target's prices choose at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use egg::Id;
use spaceevo_ir::verify::Form;
use spaceevo_ir::{Diagnostic, Graph, Loc, ONNX, OpId, RegionId, ValueId};
use spaceevo_passes::rule::{Rule, shipped};
use spaceevo_passes::{Aborted, Effect, OptionInfo, OptionKind, Outcome, Pass, PassContext, PassInfo, Target};

use crate::decode::{Classes, decode};
use crate::encode::Encoded;
use crate::extract::{Alternative, Choice, Problem, greedy};
use crate::grow::{End, Grown, Limits, grow};
use crate::price::Pricer;
use crate::space::{Head, Node};

/// See the module documentation.
pub struct Saturate;

static INFO: PassInfo = PassInfo {
    name: "saturate",
    summary: "replace the network by the cheapest of all that the rules say are equal",
    doc: "The graph becomes an e-graph, in which all shipped rules of the effects `exact` and `rounding` add what is equal \
          ('spaceevo-opt list rules'), until they say nothing new or a limit is reached. Of all graphs that are in it then, \
          the one with the least predicted time comes out, with what is shared counted once. Every part of the change is \
          kept only where the predicted time of the whole graph, at its cheapest placement and with all conversions, falls: \
          the result never costs more than the input. `--explain` lists the rules that are behind each part, and what it \
          saves. Weights that rules compute are left as ops on constants: run fold-constants next.\n\n\
          Results depend on `nodes` and `rounds`, not on the machine; `seconds` is a safety net that is reported when it \
          bites. A part is kept where it saves more than the margin of the prices, of what it replaces. It declines where the \
          target has no prices, below opset 13, where extents of inputs are open (that of the batch aside), and where nothing \
          equal is cheaper.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[
        OptionInfo {
            name: "nodes",
            kind: OptionKind::Int,
            default: "20000",
            help: "nodes at which the e-graph stops growing",
        },
        OptionInfo { name: "rounds", kind: OptionKind::Int, default: "6", help: "rounds of all rules, at most" },
        OptionInfo { name: "seconds", kind: OptionKind::Int, default: "30", help: "time at which rules stop" },
        OptionInfo {
            name: "effect",
            kind: OptionKind::Word(&["exact", "rounding"]),
            default: "rounding",
            help: "the strongest effect of rules",
        },
    ],
};

impl Pass for Saturate {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let Some(first) = graph.all_ops().first().copied() else { return Ok(Outcome::Unchanged) };
        let target = cx.target;
        let Some(pricer) = Pricer::new(target) else {
            cx.declined(graph, first, format!("the target '{}' has no prices to choose by", target.name));
            return Ok(Outcome::Unchanged);
        };
        if graph.meta.opset(ONNX).is_some_and(|opset| opset < 13) {
            cx.declined(graph, first, "rules are written for opset 13 and newer: run upgrade-opset first");
            return Ok(Outcome::Unchanged);
        }
        if let Some(open) = open_extent(graph) {
            let why = format!("the extents of {} are open: nothing can be priced", graph.label(open));
            cx.declined(graph, first, why);
            return Ok(Outcome::Unchanged);
        }
        let strongest = Effect::from_word(cx.text("effect")).unwrap_or(Effect::Rounding);
        let rules: Vec<&Rule> = shipped().iter().filter(|rule| rule.is_equality() && rule.effect <= strongest).collect();
        let number = |name: &str, default: usize| cx.int(name).and_then(|n| usize::try_from(n).ok()).unwrap_or(default);
        let limits = Limits {
            nodes: number("nodes", 20_000),
            rounds: number("rounds", 6),
            time: Duration::from_secs(number("seconds", 30) as u64),
        };
        let mut changed = false;
        for region in regions(graph) {
            changed |= Saturation { rules: &rules, pricer: &pricer, limits }.region(graph, region, cx);
        }
        Ok(Outcome::from(changed))
    }
}

/// What there is to choose in the body of a graph when all rules have been applied to it, with the default limits; `None` where
/// the target has no prices.
pub fn problem(graph: &Graph, target: &Target) -> Option<Problem> {
    let pricer = Pricer::new(target)?;
    let rules: Vec<&Rule> = shipped().iter().filter(|rule| rule.is_equality()).collect();
    let limits = Limits { nodes: 20_000, rounds: 6, time: Duration::from_secs(30) };
    let mut encoded = Encoded::of(graph, graph.body());
    grow(&mut encoded.space, &rules, limits);
    Some(Saturation { rules: &rules, pricer: &pricer, limits }.problem(&encoded).0)
}

/// An input of the model whose extents are not known, that of the batch aside.
fn open_extent(graph: &Graph) -> Option<ValueId> {
    let open = |v: &ValueId| {
        graph
            .value(*v)
            .ty()
            .tensor()
            .and_then(|t| t.shape.as_ref())
            .is_none_or(|s| s.iter().skip(1).any(|d| d.known().is_none()))
    };
    graph.region(graph.body()).inputs().iter().copied().filter(|&v| graph.value(v).tensor().is_none()).find(open)
}

/// The body and what is nested in it, the inner ones first. Bodies of functions are untyped.
fn regions(graph: &Graph) -> Vec<RegionId> {
    let of_model = |region: &RegionId| graph.encloses(graph.body(), *region);
    graph.all_regions().into_iter().rev().filter(of_model).collect()
}

struct Saturation<'a> {
    rules: &'a [&'a Rule],
    pricer: &'a Pricer<'a>,
    limits: Limits,
}

impl Saturation<'_> {
    fn region(&self, graph: &mut Graph, region: RegionId, cx: &mut PassContext<'_>) -> bool {
        let Some(last) = graph.ops_in(region).last() else { return false };
        let mut encoded = Encoded::of(graph, region);
        let grown = grow(&mut encoded.space, self.rules, self.limits);
        cx.count("nodes", encoded.space.egraph.total_number_of_nodes() as u64);
        cx.count("classes", encoded.space.egraph.number_of_classes() as u64);
        cx.count("rounds", grown.rounds as u64);
        if grown.end == End::Time {
            let message = format!("'saturate' stopped after {} seconds", self.limits.time.as_secs());
            let note = "results may differ from run to run: lower nodes or rounds, or raise seconds";
            cx.warn(Diagnostic::warning("egraph-time", Loc::Unknown, message).note(note));
        }
        let (problem, classes) = self.problem(&encoded);
        let Some(base) = base(graph, &encoded, &classes, &problem) else { return false };
        let Some(best) = greedy(&problem, Some(&base)) else { return false };
        let found = Found { encoded: &encoded, grown: &grown, rules: self.rules, classes, problem, base, best };
        self.keep_what_pays(graph, &found, last, cx)
    }

    /// What can be chosen, class by class.
    fn problem(&self, encoded: &Encoded) -> (Problem, Classes) {
        let space = &encoded.space;
        let mut ids: Vec<Id> = space.egraph.classes().map(|class| class.id).collect();
        ids.sort_unstable();
        let number: BTreeMap<Id, usize> = ids.iter().enumerate().map(|(number, &id)| (id, number)).collect();
        let mut problem = Problem::default();
        let mut nodes = Vec::new();
        for &id in &ids {
            let (mut alternatives, mut kept) = (Vec::new(), Vec::new());
            for node in &space.egraph[id].nodes {
                let children: Vec<usize> = node.children.iter().map(|&child| number[&space.egraph.find(child)]).collect();
                if !children.contains(&number[&id]) {
                    alternatives.push(Alternative { cost: self.pricer.node(space, node), children });
                    kept.push(node.clone());
                }
            }
            problem.classes.push(alternatives);
            nodes.push(kept);
        }
        problem.roots = encoded.roots.iter().map(|&id| number[&space.egraph.find(id)]).collect();
        (problem, Classes { ids, nodes, number })
    }

    /// Takes the parts of the best choice one after the other, as far as the price of the whole graph falls.
    fn keep_what_pays(&self, graph: &mut Graph, found: &Found<'_>, last: OpId, cx: &mut PassContext<'_>) -> bool {
        let before = self.pricer.graph(graph);
        cx.count("ns before", before as u64);
        let (mut price, mut result) = (before, None);
        let mut accepted = found.base.clone();
        let mut refused = 0;
        let parts = found.parts();
        for part in std::iter::once(BTreeSet::new()).chain(parts) {
            let mut choice = accepted.clone();
            part.iter().for_each(|&class| choice[class] = found.best[class]);
            let Some(order) = found.problem.needed(&choice) else { continue };
            let mut candidate = graph.clone();
            decode(&mut candidate, found.encoded, &found.classes, &choice, &order, &|node| found.maker(node));
            let changed = self.pricer.graph(&candidate);
            let gain = price - changed;
            // A table of prices is a model of the first order: who goes by it asks for more than its margin.
            let replaced: f64 =
                part.iter().filter_map(|&class| Some(found.problem.classes[class][found.base[class]?].cost)).sum();
            if gain <= (before * 1e-9).max(self.pricer.margin() * replaced) {
                refused += usize::from(!part.is_empty());
                continue;
            }
            let rules = found.behind(&part);
            let what = format!("{}: saves {:.1} of {:.1} us", rules.join(", "), gain / 1e3, before / 1e3);
            if !cx.rewrite(graph, found.place(graph, &part).unwrap_or(last), what) {
                break;
            }
            cx.count("ns saved", gain as u64);
            (price, accepted, result) = (changed, choice, Some(candidate));
        }
        if result.is_none() {
            cx.declined(
                graph,
                last,
                match refused {
                    0 => format!("none of {} equal forms has a lower price", found.forms()),
                    n => format!("{n} changes would cost less by themselves, but not with what is around them"),
                },
            );
        }
        let changed = result.is_some();
        result.into_iter().for_each(|result| *graph = result);
        changed
    }
}

/// A saturated e-graph with the choice that was found in it.
struct Found<'a> {
    encoded: &'a Encoded,
    grown: &'a Grown,
    rules: &'a [&'a Rule],
    classes: Classes,
    problem: Problem,
    base: Choice,
    best: Choice,
}

/// The choice that is the graph as it is: of each class, the first op in it.
fn base(graph: &Graph, encoded: &Encoded, classes: &Classes, problem: &Problem) -> Option<Choice> {
    let space = &encoded.space;
    let mut choice: Choice = vec![None; classes.ids.len()];
    let mut choose = |id: Id, node: &Node| {
        let number = classes.number[&space.egraph.find(id)];
        let node = space.canonical(node);
        let index = classes.nodes[number].iter().position(|known| *known == node);
        choice[number] = choice[number].or(index);
    };
    for class in space.egraph.classes() {
        class.nodes.iter().filter(|node| node.children.is_empty()).for_each(|leaf| choose(class.id, leaf));
    }
    for op in graph.ops_in(encoded.region) {
        let node = &encoded.nodes[&op];
        let id = space.egraph.lookup(node.clone())?;
        choose(id, node);
        for &result in graph.op(op).results() {
            let id = encoded.class[&result];
            let is_part = |node: &&Node| matches!(space.head(node.head), Head::Part(..));
            space.egraph[space.egraph.find(id)].nodes.iter().filter(is_part).for_each(|part| choose(id, part));
        }
    }
    problem.needed(&choice).map(|_| choice)
}

impl Found<'_> {
    /// Classes whose choice differs from the graph as it is, in groups that hang together.
    fn parts(&self) -> Vec<BTreeSet<usize>> {
        let Some(order) = self.problem.needed(&self.best) else { return Vec::new() };
        let differs: BTreeSet<usize> = order.into_iter().filter(|&class| self.best[class] != self.base[class]).collect();
        let below = |class: usize, choice: &Choice| -> Vec<usize> {
            let node = choice[class].and_then(|index| self.problem.classes[class].get(index));
            node.map(|node| node.children.clone()).unwrap_or_default()
        };
        let mut near: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &class in &differs {
            for child in below(class, &self.best).into_iter().chain(below(class, &self.base)).filter(|c| differs.contains(c))
            {
                near.entry(class).or_default().push(child);
                near.entry(child).or_default().push(class);
            }
        }
        let mut seen = BTreeSet::new();
        let mut parts = Vec::new();
        for &class in &differs {
            let (mut part, mut stack) = (BTreeSet::new(), vec![class]);
            while let Some(class) = stack.pop() {
                if seen.insert(class) {
                    part.insert(class);
                    stack.extend(near.get(&class).into_iter().flatten());
                }
            }
            if !part.is_empty() {
                parts.push(part);
            }
        }
        parts
    }

    /// The rule that made a node.
    fn maker(&self, node: &Node) -> String {
        let space = &self.encoded.space;
        let node = space.canonical(node);
        let made = space.made.iter().find(|(made, ..)| space.canonical(made) == node);
        made.map_or_else(|| INFO.name.to_owned(), |(_, rule, _)| self.rules[*rule].name().to_owned())
    }

    /// Names of the rules behind a part: those that made its nodes, and those that found its classes equal to others.
    fn behind(&self, part: &BTreeSet<usize>) -> Vec<String> {
        let space = &self.encoded.space;
        let class = |id: Id| self.classes.number.get(&space.egraph.find(id)).copied();
        let mut names: BTreeSet<String> = BTreeSet::new();
        for &number in part {
            let Some(node) = self.best[number].map(|index| &self.classes.nodes[number][index]) else { continue };
            let maker = self.maker(node);
            if maker != INFO.name {
                names.insert(maker);
            }
        }
        if names.is_empty() {
            let merged =
                self.grown.merged.iter().filter(|(_, id)| part.is_empty() || class(*id).is_some_and(|c| part.contains(&c)));
            names.extend(merged.map(|(rule, _)| self.rules[*rule].name().to_owned()));
        }
        if names.is_empty() { vec!["equal ops".to_owned()] } else { names.into_iter().collect() }
    }

    /// The last op of the graph that a part replaces.
    fn place(&self, graph: &Graph, part: &BTreeSet<usize>) -> Option<OpId> {
        let number = |op: &OpId| {
            let value = graph.op(*op).results().first()?;
            self.classes.number.get(&self.encoded.space.egraph.find(self.encoded.class[value])).copied()
        };
        graph.ops_in(self.encoded.region).filter(|op| number(op).is_some_and(|n| part.contains(&n))).last()
    }

    /// How many nodes stand beside others.
    fn forms(&self) -> usize {
        self.problem.classes.iter().map(|nodes| nodes.len().saturating_sub(1)).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use spaceevo_ir::text::{NoBlobs, parse};
    use spaceevo_passes::Target;
    use spaceevo_testkit::golden::Case;
    use spaceevo_testkit::instance::Dice;

    use super::*;
    use crate::extract::exact;

    /// What rules make of the graphs of the test data, below random classes.
    #[test]
    fn greedy_is_near_the_optimum_of_what_rules_make() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden");
        let target = Target::named("x86-avx2").expect("it ships");
        let pricer = Pricer::new(&target).expect("it has prices");
        let rules: Vec<&Rule> = shipped().iter().filter(|rule| rule.is_equality()).collect();
        let limits = Limits { nodes: 2000, rounds: 4, time: Duration::from_secs(60) };
        let (mut dice, mut compared, mut open) = (Dice(17), 0, 0);
        for case in Case::all(&folder).expect("cases") {
            let Some(graph) = parse(&case.text, "-", &NoBlobs).graph else { continue };
            let mut encoded = Encoded::of(&graph, graph.body());
            grow(&mut encoded.space, &rules, limits);
            let (mut problem, _) = Saturation { rules: &rules, pricer: &pricer, limits }.problem(&encoded);
            let roots = problem.roots.clone();
            let random: Vec<Vec<usize>> = (0..3).map(|_| vec![dice.below(problem.classes.len())]).collect();
            for roots in std::iter::once(roots).chain(random) {
                problem.roots = roots;
                let Some(best) = exact(&problem, 100_000).and_then(|best| problem.cost(&best)) else { continue };
                let found = greedy(&problem, None).and_then(|found| problem.cost(&found)).expect("there is a choice");
                assert!(found <= best * 1.01 + 1e-9, "{}: {found}, the optimum is {best}", case.file.display());
                compared += 1;
                open += usize::from(problem.classes.iter().any(|nodes| nodes.len() > 1));
            }
        }
        assert!(compared >= 200 && open >= 200, "{compared} compared, {open} with a choice");
        println!("{compared} subgraphs, {open} of them with a choice");
    }
}
