//! A choice of nodes as a graph again: what was there stays where it is, with its name and location; what is new takes over
//! the name, range and type of what it replaces, and says which rule made it of what.

use std::collections::{BTreeMap, BTreeSet};

use egg::Id;
use spaceevo_ir::{Def, Graph, Loc, NewOp, OpId, Place, ValueId};
use spaceevo_passes::rewrite;

use crate::encode::Encoded;
use crate::extract::Choice;
use crate::space::{Head, Node, Space};

/// What the classes of a problem are in the e-graph.
pub(crate) struct Classes {
    /// The class of each number.
    pub(crate) ids: Vec<Id>,
    /// The nodes of each class, in the order of its alternatives.
    pub(crate) nodes: Vec<Vec<Node>>,
    pub(crate) number: BTreeMap<Id, usize>,
}

/// Writes a choice into the graph. `order` are the classes that it needs, each behind those that it reads; `maker` names the
/// rule that made a node.
pub(crate) fn decode(
    graph: &mut Graph,
    encoded: &Encoded,
    classes: &Classes,
    choice: &Choice,
    order: &[usize],
    maker: &dyn Fn(&Node) -> String,
) {
    let space = &encoded.space;
    let mut ops: BTreeMap<Node, OpId> = BTreeMap::new();
    for (&op, node) in &encoded.nodes {
        ops.entry(space.canonical(node)).or_insert(op);
    }
    // The values of each class, in the order of the graph.
    let mut olds: BTreeMap<usize, Vec<ValueId>> = BTreeMap::new();
    let results = graph.ops_in(encoded.region).flat_map(|op| graph.op(op).results().to_vec());
    for value in results.collect::<Vec<_>>() {
        if let Some(&number) = encoded.class.get(&value).and_then(|&id| classes.number.get(&space.egraph.find(id))) {
            olds.entry(number).or_default().push(value);
        }
    }
    let mut values: BTreeMap<usize, ValueId> = BTreeMap::new();
    let mut next = graph.ops_in(encoded.region).next();
    for number in sequence(graph, encoded, classes, choice, order, &ops) {
        let Some(node) = choice[number].map(|index| &classes.nodes[number][index]) else { continue };
        let child = |id: Id| values.get(&classes.number[&space.egraph.find(id)]).copied();
        let kept = ops.get(&space.canonical(node)).copied();
        if let Some(op) = kept {
            if next == Some(op) {
                next = following(graph, op);
            } else if let Some(next) = next {
                graph.move_before(op, next);
            }
        }
        match (space.head(node.head), kept) {
            (Head::Leaf(value) | Head::Const(value), _) => _ = values.insert(number, *value),
            (Head::Fresh(tensor), _) => {
                let value = graph.add_const(encoded.region, "", tensor.clone());
                values.insert(number, value);
            }
            (Head::Opaque(_), _) => {}
            (Head::Part(index, _), _) => {
                let whole = node.children.first().map(|&id| classes.number[&space.egraph.find(id)]);
                let op = whole.and_then(|whole| choice[whole].map(|index| &classes.nodes[whole][index]));
                if let Some(Head::Opaque(op)) = op.map(|node| space.head(node.head)) {
                    values.insert(number, graph.op(*op).results()[*index as usize]);
                }
            }
            (Head::Op { .. }, Some(op)) => _ = values.insert(number, graph.op(op).result()),
            (Head::Op { name, attrs, present, ty }, None) => {
                let old = olds.get(&number).and_then(|list| list.first()).copied();
                let from: Vec<&Loc> =
                    old.and_then(|old| graph.def_op(old)).map(|op| graph.op(op).loc()).into_iter().collect();
                let ty = old.map_or(ty, |old| graph.value(old).ty()).clone();
                let operands: Vec<_> = Space::operands(present, node).into_iter().map(|id| id.and_then(child)).collect();
                let new = NewOp::new(name.clone())
                    .attrs(attrs.clone())
                    .operands(operands)
                    .made(&maker(node), &from)
                    .result("", ty);
                let op = graph.insert(next.map_or(Place::End(encoded.region), Place::Before), new);
                let value = graph.op(op).result();
                if let Some(old) = old {
                    let (range, meta) = (graph.value(old).range(), graph.value(old).meta().cloned());
                    graph.set_range(value, range);
                    meta.into_iter().for_each(|meta| graph.set_value_meta(value, meta));
                }
                values.insert(number, value);
            }
        }
    }
    redirect(graph, encoded, &olds, &values);
}

fn following(graph: &Graph, op: OpId) -> Option<OpId> {
    graph.ops_in(graph.op(op).region()).skip_while(|&at| at != op).nth(1)
}

/// The classes in the order of the graph, as far as what they read allows.
fn sequence(
    graph: &Graph,
    encoded: &Encoded,
    classes: &Classes,
    choice: &Choice,
    order: &[usize],
    ops: &BTreeMap<Node, OpId>,
) -> Vec<usize> {
    let space = &encoded.space;
    let mut place: BTreeMap<OpId, usize> = BTreeMap::new();
    graph.ops_in(encoded.region).enumerate().for_each(|(at, op)| _ = place.insert(op, at));
    let chosen = |number: usize| choice[number].map(|index| &classes.nodes[number][index]);
    let needed: BTreeSet<usize> = order.iter().copied().collect();
    let mut first: Vec<(usize, usize)> = Vec::new();
    for &number in order {
        let Some(node) = chosen(number) else { continue };
        if let Some(op) = ops.get(&space.canonical(node)) {
            first.push((place.get(op).copied().unwrap_or(usize::MAX), number));
        }
    }
    first.sort_unstable();
    let mut done = BTreeSet::new();
    let mut sequence = Vec::new();
    for start in first.into_iter().map(|(_, number)| number).chain(order.iter().copied()) {
        let mut stack = vec![(start, 0)];
        while let Some((number, at)) = stack.pop() {
            if done.contains(&number) || !needed.contains(&number) {
                continue;
            }
            let child =
                chosen(number).and_then(|node| node.children.get(at)).map(|&id| classes.number[&space.egraph.find(id)]);
            match child {
                Some(child) => stack.extend([(number, at + 1), (child, 0)]),
                None => {
                    done.insert(number);
                    sequence.push(number);
                }
            }
        }
    }
    sequence
}

/// Lets everybody read the chosen values, and erases what is not read any more.
fn redirect(graph: &mut Graph, encoded: &Encoded, olds: &BTreeMap<usize, Vec<ValueId>>, values: &BTreeMap<usize, ValueId>) {
    let returned: Vec<ValueId> = graph.region(encoded.region).results().to_vec();
    for (number, list) in olds {
        let Some(&new) = values.get(number) else { continue };
        for &old in list.iter().filter(|&&old| old != new) {
            let nameless = graph.is_returned(new)
                || !matches!(graph.value(new).def(), Def::Op(op, _) if graph.op(op).region() == encoded.region);
            if returned.contains(&old) && nameless {
                // A result takes an op of its own, which carries its name.
                let (name, ty) = (graph.value(old).name().clone(), graph.value(old).ty().clone());
                let copy = graph.insert(Place::End(encoded.region), NewOp::onnx("Identity").operand(new).result("", ty));
                let copy = graph.op(copy).result();
                graph.set_name(old, "");
                for user in graph.value(old).users().to_vec() {
                    let returns = matches!(user, spaceevo_ir::User::Return(..));
                    graph.replace_use(user, if returns { copy } else { new });
                }
                graph.set_name(copy, name);
            } else {
                graph.replace_all_uses(old, new);
            }
        }
    }
    // From the end, so that what only dead ops read dies with them.
    for op in graph.ops_in(encoded.region).collect::<Vec<_>>().into_iter().rev() {
        let record = if graph.is_live(op) { graph.op(op) } else { continue };
        if !record.results().is_empty() && record.results().iter().all(|&v| graph.use_count(v) == 0) {
            rewrite::erase_unread(graph, op);
        }
    }
    graph.erase_unused_consts(encoded.region);
}
