//! Applies equalities until there is nothing new, or a limit is reached.
//!
//! Not egg's own runner: rules bind attributes and lists beside classes. The order is fixed (rules as they are listed, classes
//! by number), so that the same graph and limits give the same e-graph. All rules see the e-graph as it was at the beginning
//! of a round.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use egg::Id;
use spaceevo_ir::OpName;
use spaceevo_passes::rule::{Rule, instantiate, matches};

use crate::space::Space;

/// Where growing ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Nodes.
    pub(crate) nodes: usize,
    /// Rounds.
    pub(crate) rounds: usize,
    /// A safety net: no result should depend on it.
    pub(crate) time: Duration,
}

/// What ended the growing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// No rule says anything new.
    Saturated,
    Rounds,
    Nodes,
    Time,
}

/// What growing did.
pub(crate) struct Grown {
    pub(crate) end: End,
    pub(crate) rounds: usize,
    /// Matches that made two classes one, by rule, with the class that was replaced.
    pub(crate) merged: Vec<(usize, Id)>,
}

/// Grows an e-graph by rules.
pub(crate) fn grow(space: &mut Space, rules: &[&Rule], limits: Limits) -> Grown {
    let start = Instant::now();
    let mut grown = Grown { end: End::Saturated, rounds: 0, merged: Vec::new() };
    let mut tried: BTreeSet<(usize, String)> = BTreeSet::new();
    loop {
        if grown.rounds == limits.rounds {
            grown.end = End::Rounds;
            break;
        }
        grown.rounds += 1;
        let by_name = by_name(space);
        let all: BTreeSet<Id> = by_name.values().flatten().copied().collect();
        let mut found = Vec::new();
        for (number, rule) in rules.iter().enumerate() {
            let classes = match root_name(rule) {
                Some(name) => by_name.get(&name),
                None => Some(&all),
            };
            for &class in classes.into_iter().flatten() {
                for one in matches(rule, space, class, &mut |_| {}) {
                    found.push((number, class, one));
                }
            }
            if start.elapsed() > limits.time {
                grown.end = End::Time;
                break;
            }
        }
        let before = space.egraph.total_number_of_nodes();
        let mut merged = false;
        for (number, class, one) in found {
            // The same match of the round before has nothing to add.
            if !tried.insert((number, format!("{class} {:?} {:?} {:?}", one.values, one.attrs, one.rest))) {
                continue;
            }
            space.at_work = Some((number, class));
            if let Some(new) = instantiate(rules[number], &one, space)
                && space.egraph.union(class, new)
            {
                merged = true;
                grown.merged.push((number, class));
            }
            space.at_work = None;
            if space.egraph.total_number_of_nodes() > limits.nodes {
                grown.end = End::Nodes;
                break;
            }
        }
        space.egraph.rebuild();
        if grown.end != End::Saturated || (!merged && space.egraph.total_number_of_nodes() == before) {
            break;
        }
    }
    grown
}

/// Classes by the operators that make them.
fn by_name(space: &Space) -> BTreeMap<OpName, BTreeSet<Id>> {
    let mut found: BTreeMap<OpName, BTreeSet<Id>> = BTreeMap::new();
    for class in space.egraph.classes() {
        for node in &class.nodes {
            if let Some((name, ..)) = space.op(node) {
                found.entry(name.clone()).or_default().insert(class.id);
            }
        }
    }
    found
}

/// The operator that a rule's pattern ends in; `None` for any.
fn root_name(rule: &Rule) -> Option<OpName> {
    let graph = &rule.text.graph;
    let name = graph.op(graph.def_op(rule.root())?).name();
    (&*name.domain != "any").then(|| name.clone())
}
