//! The order of nodes: ONNX demands producers before consumers, but not every exporter obeys.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use crate::proto::{GraphProto, NodeProto};

/// An order in which every node stands behind those whose results it (or a subgraph of it) reads: `None` when the given one
/// is such an order, else the one that keeps the given order wherever possible.
///
/// Errors: the indices of nodes that read each other in a circle, each read by the one before.
pub(crate) fn sorted(nodes: &[NodeProto]) -> Result<Option<Vec<usize>>, Vec<usize>> {
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for name in node.output.iter().filter(|n| !n.is_empty()) {
            makers.entry(name).or_insert(index);
        }
    }
    let needs: Vec<Vec<usize>> = nodes
        .iter()
        .map(|node| {
            let mut needs: Vec<usize> = reads(node).into_iter().filter_map(|n| makers.get(n).copied()).collect();
            needs.sort_unstable();
            needs.dedup();
            needs
        })
        .collect();
    if needs.iter().enumerate().all(|(index, needs)| needs.iter().all(|&n| n < index)) {
        return Ok(None);
    }
    let mut open: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (index, needs) in needs.iter().enumerate() {
        needs.iter().for_each(|&n| readers[n].push(index));
    }
    let mut ready: BinaryHeap<Reverse<usize>> = (0..nodes.len()).filter(|&i| open[i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &reader in &readers[index] {
            open[reader] -= 1;
            if open[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    if order.len() == nodes.len() { Ok(Some(order)) } else { Err(circle(&needs, &open)) }
}

/// Follows open needs until a node comes twice.
fn circle(needs: &[Vec<usize>], open: &[usize]) -> Vec<usize> {
    let (mut path, mut place) = (Vec::new(), HashMap::new());
    let mut at = open.iter().position(|&n| n > 0);
    while let Some(index) = at {
        if let Some(&start) = place.get(&index) {
            return path.split_off(start);
        }
        place.insert(index, path.len());
        path.push(index);
        at = needs[index].iter().copied().find(|&n| open[n] > 0);
    }
    path
}

/// Names that a node reads, those that its subgraphs take from outside included.
fn reads(node: &NodeProto) -> Vec<&str> {
    let mut names: Vec<&str> = node.input.iter().map(String::as_str).filter(|n| !n.is_empty()).collect();
    for attr in &node.attribute {
        attr.g.iter().chain(&attr.graphs).for_each(|graph| names.extend(captured(graph)));
    }
    names
}

/// Names that a graph reads and does not define.
fn captured(graph: &GraphProto) -> Vec<&str> {
    let sparse = graph.sparse_initializer.iter().filter_map(|s| s.values.as_ref());
    let mut own: HashSet<&str> = graph.initializer.iter().chain(sparse).map(|t| t.name()).collect();
    own.extend(graph.input.iter().map(|i| i.name()));
    own.extend(graph.node.iter().flat_map(|n| n.output.iter().map(String::as_str)));
    let outputs = graph.output.iter().map(|o| o.name());
    graph.node.iter().flat_map(reads).chain(outputs).filter(|n| !n.is_empty() && !own.contains(n)).collect()
}
