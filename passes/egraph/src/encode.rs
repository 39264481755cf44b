//! A region of a graph as classes of an e-graph.

use std::collections::{BTreeMap, BTreeSet};

use egg::Id;
use spaceevo_ir::{Def, Graph, OpId, RegionId, ValueId};
use spaceevo_passes::analysis::is_random;

use crate::space::{Fact, Node, Space};

/// A region in an e-graph, and what came from where.
pub(crate) struct Encoded {
    pub(crate) space: Space,
    pub(crate) region: RegionId,
    /// The class of every value that the region makes or reads.
    pub(crate) class: BTreeMap<ValueId, Id>,
    /// The node of every op.
    pub(crate) nodes: BTreeMap<OpId, Node>,
    /// Classes that must be computed: results, and ops without results.
    pub(crate) roots: Vec<Id>,
}

impl Encoded {
    /// Takes in a region.
    pub(crate) fn of(graph: &Graph, region: RegionId) -> Encoded {
        let opsets = match graph.functions.iter().find(|f| graph.encloses(f.region, region)) {
            Some(function) => function.opsets.clone(),
            None => graph.meta.opsets.clone(),
        };
        let space = Space::new(opsets);
        let mut encoded = Encoded { space, region, class: BTreeMap::new(), nodes: BTreeMap::new(), roots: Vec::new() };
        for op in graph.ops_in(region) {
            encoded.op(graph, op);
        }
        for &result in graph.region(region).results() {
            let id = encoded.value(graph, result);
            encoded.roots.push(id);
        }
        encoded.space.egraph.rebuild();
        encoded
    }

    fn value(&mut self, graph: &Graph, value: ValueId) -> Id {
        if let Some(&id) = self.class.get(&value) {
            return id;
        }
        let tensor = graph.const_of(value).cloned();
        let fact = Fact { ty: graph.value(value).ty().clone(), constant: tensor.is_some(), tensor };
        let id = self.space.add_leaf(value, fact);
        self.class.insert(value, id);
        id
    }

    fn op(&mut self, graph: &Graph, op: OpId) {
        let record = graph.op(op);
        let operands: Vec<Option<Id>> = record.operands().iter().map(|v| v.map(|v| self.value(graph, v))).collect();
        let plain = record.regions().is_empty() && record.meta().is_none_or(|meta| meta.overload.is_empty());
        let called = graph.functions.iter().any(|f| f.name == *record.name());
        let tensors = record.attrs().values().any(|attr| attr.as_tensor().is_some_and(|t| t.len() > 256));
        if let (&[result], true) = (record.results(), plain && !called && !tensors && !is_random(graph, op)) {
            let id = self.space.add_op(record.name(), record.attrs(), &operands, graph.value(result).ty().clone());
            self.nodes.insert(op, self.space.egraph.id_to_node(id).clone());
            self.class.insert(result, id);
            return;
        }
        let mut children: Vec<Id> = operands.into_iter().flatten().collect();
        for value in captured(graph, op) {
            children.push(self.value(graph, value));
        }
        let whole = self.space.add_opaque(op, children);
        self.nodes.insert(op, self.space.egraph.id_to_node(whole).clone());
        for (index, &result) in record.results().iter().enumerate() {
            let id = self.space.add_part(whole, index as u32, graph.value(result).ty().clone());
            self.class.insert(result, id);
        }
        if record.results().is_empty() {
            self.roots.push(whole);
        }
    }
}

/// Values from outside that the regions of an op read, or return.
fn captured(graph: &Graph, op: OpId) -> BTreeSet<ValueId> {
    let mut found = BTreeSet::new();
    let mut regions: Vec<RegionId> = graph.op(op).regions().iter().map(|(_, region)| *region).collect();
    while let Some(region) = regions.pop() {
        let mut read: Vec<ValueId> = graph.region(region).results().to_vec();
        for inner in graph.ops_in(region) {
            read.extend(graph.op(inner).operands().iter().flatten());
            regions.extend(graph.op(inner).regions().iter().map(|(_, region)| *region));
        }
        let outer = graph.op(op).region();
        let outside = |v: &ValueId| match graph.value(*v).def() {
            Def::Erased => false,
            _ => graph.region_of(*v).is_some_and(|home| graph.encloses(home, outer)),
        };
        found.extend(read.into_iter().filter(outside));
    }
    found
}
