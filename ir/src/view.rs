//! The graph as others' algorithms see it: a petgraph, and DOT for drawing.

use std::collections::HashMap;

use petgraph::algo::dominators::{Dominators, simple_fast};
use petgraph::graph::{DiGraph, NodeIndex};

use crate::graph::{Def, Graph, Loc, OpId, RegionId, User, ValueId};
use crate::names::unique_names;

/// Data flow of one region: its ops in order, and an edge for every operand that one op makes and another reads, be it in
/// a region of its own. Node `i` is the `i`-th op of the region.
pub fn dataflow(graph: &Graph, region: RegionId) -> DiGraph<OpId, ValueId> {
    let mut flow = DiGraph::new();
    let nodes: HashMap<OpId, NodeIndex> = graph.ops_in(region).map(|op| (op, flow.add_node(op))).collect();
    for op in graph.ops_in(region) {
        for &value in graph.op(op).results() {
            for &user in graph.value(value).users() {
                if let Some(reader) = op_in(graph, region, user) {
                    flow.add_edge(nodes[&op], nodes[&reader], value);
                }
            }
        }
    }
    flow
}

/// The op of `region` that a reader is, or that holds the region it is in.
fn op_in(graph: &Graph, region: RegionId, user: User) -> Option<OpId> {
    let mut op = match user {
        User::Op(op, _) => op,
        User::Return(inner, _) if inner != region => graph.region(inner).owner()?,
        User::Return(..) => return None,
    };
    while graph.op(op).region() != region {
        op = graph.region(graph.op(op).region()).owner()?;
    }
    Some(op)
}

/// An order of a region's ops in which every value is made before it is read; `None` where there is none (a cycle).
pub fn topological_order(graph: &Graph, region: RegionId) -> Option<Vec<OpId>> {
    let flow = dataflow(graph, region);
    petgraph::algo::toposort(&flow, None).ok().map(|order| order.into_iter().map(|node| flow[node]).collect())
}

/// True when the ops of every region stand in an order in which each value is made before it is read.
pub fn is_ordered(graph: &Graph) -> bool {
    let ordered = |region| {
        let flow = dataflow(graph, region);
        flow.edge_indices().all(|edge| flow.edge_endpoints(edge).is_none_or(|(from, to)| from < to))
    };
    graph.all_regions().into_iter().all(ordered)
}

/// Which ops of a region every path from its results back to its inputs goes through: `dominators(op)` are the ops without
/// which `op` reaches no result. The root is an extra node behind all results, with the index after the last op.
pub fn post_dominators(graph: &Graph, region: RegionId) -> (DiGraph<Option<OpId>, ()>, Dominators<NodeIndex>) {
    let flow = dataflow(graph, region);
    let mut back: DiGraph<Option<OpId>, ()> = flow.map(|_, &op| Some(op), |_, _| ());
    back.reverse();
    let root = back.add_node(None);
    for node in flow.node_indices() {
        let returned =
            graph.op(flow[node]).results().iter().any(|&value| {
                graph.value(value).users().iter().any(|user| matches!(user, User::Return(r, _) if *r == region))
            });
        if returned {
            back.add_edge(root, node, ());
        }
    }
    let dominators = simple_fast(&back, root);
    (back, dominators)
}

/// The graph in Graphviz's language: boxes are ops, ellipses inputs and results, nested regions are frames. Constants are
/// listed inside of their readers.
pub fn dot(graph: &Graph) -> String {
    let names = unique_names(graph);
    let mut out = String::from("digraph {\n  node [shape=box, fontname=\"sans-serif\"];\n");
    for (index, root) in graph.root_regions().into_iter().enumerate() {
        let title = match index.checked_sub(1).and_then(|f| graph.functions.get(f)) {
            Some(function) => function.name.to_string(),
            None => graph.region(root).name().to_string(),
        };
        frame(graph, root, &title, &names, &mut out);
    }
    // Edges last: an edge inside of a frame would draw its ends into it.
    for region in graph.all_regions() {
        for op in graph.ops_in(region) {
            for &operand in graph.op(op).operands().iter().flatten() {
                if let Some(from) = node(graph, operand) {
                    let label = escape(&names[operand.index()]);
                    out.push_str(&format!("  {from} -> op{} [label=\"{label}\"];\n", op.index()));
                }
            }
        }
        for (index, &value) in graph.region(region).results().iter().enumerate() {
            if let Some(from) = node(graph, value) {
                out.push_str(&format!("  {from} -> out{}_{index};\n", region.index()));
            }
        }
    }
    out.push_str("}\n");
    out
}

/// One region as a frame, with the frames of its ops' regions inside. Stops at a depth that nobody can read.
fn frame(graph: &Graph, region: RegionId, title: &str, names: &[crate::types::Symbol], out: &mut String) {
    // (region, title) to open, or a frame to close.
    let mut stack = vec![Some((region, title.to_owned()))];
    while let Some(item) = stack.pop() {
        let Some((region, title)) = item else {
            out.push_str("  }\n");
            continue;
        };
        let r = graph.region(region);
        out.push_str(&format!("  subgraph cluster{} {{\n  label=\"{}\";\n", region.index(), escape(&title)));
        for &input in r.inputs() {
            let value = graph.value(input);
            let text = escape(&format!("{}: {}", names[input.index()], value.ty()));
            out.push_str(&format!("  in{} [shape=ellipse, label=\"{text}\"];\n", input.index()));
        }
        stack.push(None);
        for op in graph.ops_in(region) {
            out.push_str(&format!("  op{} [label=\"{}\"];\n", op.index(), escape(&describe(graph, op, names))));
            for (label, inner) in graph.op(op).regions() {
                stack.push(Some((*inner, format!("{} {label}", graph.op(op).name()))));
            }
        }
        for (index, name) in r.result_names().iter().enumerate() {
            out.push_str(&format!("  out{}_{index} [shape=ellipse, label=\"{}\"];\n", region.index(), escape(name)));
        }
    }
}

/// Operator, constants it reads, the type of its first result, its node in the file.
fn describe(graph: &Graph, id: OpId, names: &[crate::types::Symbol]) -> String {
    let op = graph.op(id);
    let mut lines = vec![op.name().to_string()];
    for &operand in op.operands().iter().flatten() {
        let value = graph.value(operand);
        if value.is_const() {
            lines.push(format!("{}: {}", names[operand.index()], value.ty()));
        }
    }
    if let Some(&result) = op.results().first() {
        lines.push(graph.value(result).ty().to_string());
    }
    if let Loc::Onnx { node, .. } = op.loc() {
        lines.push(node.to_string());
    }
    lines.join("\n")
}

/// The DOT node that a value comes from; constants have none.
fn node(graph: &Graph, value: ValueId) -> Option<String> {
    match graph.value(value).def() {
        Def::Op(op, _) => Some(format!("op{}", op.index())),
        Def::Input(..) => Some(format!("in{}", value.index())),
        Def::Const(_) | Def::Erased => None,
    }
}

fn escape(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || !c.is_control()).fold(String::new(), |mut out, c| {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
        out
    })
}
