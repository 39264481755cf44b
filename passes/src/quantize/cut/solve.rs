//! The cheapest placement as the cheapest cut of a network.

use std::collections::BTreeSet;

use petgraph::algo::dinics;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use super::problem::{Need, Problem, When};

/// The network: ops in integers end up at the source's side of the cheapest cut.
struct Network {
    flow: DiGraph<(), u128>,
    source: NodeIndex,
    sink: NodeIndex,
}

impl Network {
    /// More than all prices of a graph together.
    const INFINITE: u128 = 1 << 100;

    /// Paid when `a` is in integers and `b` in float; prices count in picoseconds.
    fn pay(&mut self, a: NodeIndex, b: NodeIndex, nanoseconds: f64) {
        self.flow.add_edge(a, b, (nanoseconds * 1e3).round().clamp(0.0, 1e18) as u128);
    }

    /// When `a` is in integers, so is `b`.
    fn imply(&mut self, a: NodeIndex, b: NodeIndex) {
        self.flow.add_edge(a, b, Self::INFINITE);
    }

    /// By node: whether it is in integers. In float is only what must be, so that flow into the sink is still to be had.
    fn cut(&self) -> Vec<bool> {
        let (_, flows) = dinics(&self.flow, self.source, self.sink);
        let mut integers = vec![true; self.flow.node_count()];
        let mut stack = vec![self.sink];
        integers[self.sink.index()] = false;
        while let Some(node) = stack.pop() {
            let into = self.flow.edges_directed(node, petgraph::Incoming);
            let into = into.filter(|e| flows[e.id().index()] < *e.weight()).map(|e| e.source());
            // What flows out could be taken back.
            let back = self.flow.edges(node).filter(|e| flows[e.id().index()] > 0).map(|e| e.target());
            for next in into.chain(back) {
                if std::mem::replace(&mut integers[next.index()], false) {
                    stack.push(next);
                }
            }
        }
        integers
    }
}

impl Problem {
    /// By item: whether it runs in integers. Where the margin would make the whole slower than float, there is none; where the
    /// whole gains less than the margin, all are.
    pub(super) fn placed(&self, margin: f64) -> Vec<bool> {
        let [float, integer] = [false, true].map(|integer| vec![integer; self.items.len()]);
        let bound = self.time(&float);
        let found = [margin, 0.0].into_iter().map(|margin| self.cheapest(margin));
        let found = found.into_iter().find(|placed| self.time(placed) <= bound).unwrap_or(float);
        let all = self.time(&integer);
        if all <= bound && all < self.time(&found) * (1.0 + margin) { integer } else { found }
    }

    /// The cheapest placement, as far as no float convolution is alone in it.
    pub(super) fn cheapest(&self, margin: f64) -> Vec<bool> {
        let mut pinned = BTreeSet::new();
        loop {
            let integers = self.cheapest_with(margin, &pinned);
            let before = pinned.len();
            pinned.extend(self.lone.iter().filter(|lone| self.is_alone(lone, &integers)).map(|lone| lone.item));
            if pinned.len() == before {
                return integers;
            }
        }
    }

    /// The cheapest placement that has these items in integers, where the float time of what could run in integers counts
    /// `1 + margin` times.
    pub(super) fn cheapest_with(&self, margin: f64, pinned: &BTreeSet<usize>) -> Vec<bool> {
        let mut flow = DiGraph::new();
        let nodes: Vec<NodeIndex> = self.items.iter().map(|_| flow.add_node(())).collect();
        let (source, sink) = (flow.add_node(()), flow.add_node(()));
        let mut network = Network { flow, source, sink };
        let node = |item: Option<usize>| item.map_or(sink, |item| nodes[item]);
        for (item, &node) in self.items.iter().zip(&nodes) {
            network.pay(source, node, item.float * (1.0 + margin));
            network.pay(node, sink, item.integer);
        }
        pinned.iter().for_each(|&item| network.imply(source, nodes[item]));
        let stores: Vec<NodeIndex> = self.bridges.iter().map(|_| network.flow.add_node(())).collect();
        for (bridge, &stored) in self.bridges.iter().zip(&stores) {
            let maker = node(bridge.maker.item);
            if bridge.maker.item.is_some() && !bridge.free {
                network.imply(maker, stored);
            }
            network.pay(stored, maker, bridge.quantize + if bridge.maker.blocked { bridge.layout } else { 0.0 });
            let blocked = bridge.readers.iter().filter(|r| r.blocked);
            for (readers, price) in
                [(bridge.readers.iter().collect(), bridge.dequantize), (blocked.collect::<Vec<_>>(), bridge.layout)]
            {
                // The twin is float as soon as one of them is.
                let twin = network.flow.add_node(());
                network.pay(stored, twin, price);
                readers.iter().for_each(|reader| network.imply(twin, node(reader.item)));
            }
            bridge.readers.iter().filter(|r| r.item.is_some()).for_each(|r| network.imply(node(r.item), stored));
        }
        for fused in &self.fused {
            let weight = if fused.op.is_some() { 1.0 + margin } else { 1.0 };
            network.pay(nodes[fused.convolution], node(fused.op), fused.more * weight);
        }
        // A node for each: at the source's side when it is done in the layout of convolutions.
        let mut suits: Vec<NodeIndex> = Vec::with_capacity(self.by_layout.len());
        for op in &self.by_layout {
            let suited = network.flow.add_node(());
            let active = match op.when {
                When::Item(item) => nodes[item],
                When::Stored(bridge) => stores[bridge],
            };
            network.imply(suited, active);
            for need in &op.needs {
                network.imply(
                    suited,
                    match *need {
                        Need::Item(item) => nodes[item],
                        Need::Earlier(earlier) => suits[earlier],
                        Need::Never => sink,
                    },
                );
            }
            network.pay(active, suited, op.plain);
            suits.push(suited);
        }
        let mut integers = network.cut();
        integers.truncate(self.items.len());
        integers
    }
}
