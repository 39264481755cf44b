//! What nodes and graphs cost on a target, in nanoseconds.
//!
//! An op costs what the target's `[prices]` say: in integers if something there is stored; in float, or in integers where the
//! target could run it so and that is cheaper, if nothing is. Nothing is paid for what depends on constants only (it is
//! computed beforehand), nor for an activation that the op before it does as it stores its result. An op without a price
//! takes as long as an Add of as many numbers: it reads and writes them once. One that only sees the same numbers in another
//! shape takes the shortest call that there is.

use egg::Id;
use spaceevo_ir::{Dim, Graph, NewOp, OpId, Place, ValueId};
use spaceevo_passes::Target;
use spaceevo_passes::price::{Pricing, gate_of_silu};
use spaceevo_passes::quantize::placement::Placement;

use crate::space::{Node, Space};

/// Ops that move nothing.
const VIEWS: &[&str] = &["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"];

/// The prices of a target.
pub(crate) struct Pricer<'a> {
    target: &'a Target,
    prices: &'a dyn Pricing,
    call: f64,
}

impl<'a> Pricer<'a> {
    /// `None` when the target has no prices, or none of a float Add.
    pub(crate) fn new(target: &'a Target) -> Option<Pricer<'a>> {
        let prices = target.pricing()?;
        let (call, _) = prices.pass(0.0)?;
        Some(Pricer { target, prices, call })
    }

    /// The part of a price by which a change must win.
    pub(crate) fn margin(&self) -> f64 {
        self.prices.margin()
    }

    /// The price of a node, whatever reads it: that of its op alone, behind what may have made its operands.
    pub(crate) fn node(&self, space: &Space, node: &Node) -> f64 {
        let Some((name, attrs, present, ty)) = space.op(node) else { return 0.0 };
        if node.children.iter().all(|&child| space.fact(child).constant) {
            return 0.0;
        }
        let mut alone = Graph::new("alone");
        alone.meta.opsets = space.egraph.analysis.opsets.clone();
        let operands: Vec<Option<ValueId>> = Space::operands(present, node)
            .into_iter()
            .map(|operand| operand.map(|child| self.operand(space, child, &mut alone)))
            .collect();
        let end = Place::End(alone.body());
        let new = NewOp::new(name.clone()).attrs(attrs.clone()).operands(operands.clone()).result("", ty.clone());
        let op = alone.insert(end, new);
        let price = self.op(&alone, op);
        let Some((gate, Some(x))) = gate(space, node).map(|gate| (gate, operands[1 - gate])) else { return price };
        // A product with the sigmoid of its other operand is paid together with it, and the sigmoid pays its own part.
        let sigmoid = alone.insert(Place::Before(op), NewOp::onnx("Sigmoid").operand(x).result("", ty.clone()));
        let own = self.op(&alone, sigmoid);
        let result = alone.op(sigmoid).result();
        alone.set_operand(op, gate, Some(result));
        (self.op(&alone, op) - own).max(0.0)
    }

    /// A value of a class's type, made by an op that others may run together with, if one such can make it.
    fn operand(&self, space: &Space, child: Id, alone: &mut Graph) -> ValueId {
        let class = &space.egraph[space.egraph.find(child)];
        let names = class.nodes.iter().filter_map(|node| space.op(node).map(|(name, ..)| name));
        let makers = names.filter(|name| name.is_onnx("Conv") || self.target.ops.is_integer(name));
        let (ty, body) = (class.data.ty.clone(), alone.body());
        match makers.min_by_key(|name| (!name.is_onnx("Conv"), (*name).clone())) {
            Some(name) => {
                let op = alone.insert(Place::End(body), NewOp::new(name.clone()).result("", ty));
                alone.op(op).result()
            }
            None => alone.add_input(body, "", ty),
        }
    }

    /// The price of an op of a graph.
    fn op(&self, graph: &Graph, op: OpId) -> f64 {
        let record = graph.op(op);
        let (name, rules) = (record.name(), &self.target.ops);
        if record.results().is_empty() || record.operands().iter().flatten().all(|&v| graph.value(v).is_const()) {
            return 0.0;
        }
        let stored =
            record.operands().iter().flatten().chain(record.results()).any(|&v| graph.value(v).ty().quant().is_some());
        let before = record.operand(0).and_then(|v| graph.def_op(v)).map(|op| graph.op(op).name());
        let saturates = rules.is_saturating(name) && before.is_some_and(|before| rules.is_integer(before));
        let integer = match saturates {
            true => 0.0,
            false => self.prices.integer(graph, self.target, op).unwrap_or_else(|| self.unpriced(graph, op)),
        };
        if stored {
            return integer;
        }
        let float = match self.prices.fused_into(graph, op) {
            Some(fused) => fused.nanos,
            None => self.prices.float(graph, op).unwrap_or_else(|| self.unpriced(graph, op)),
        };
        if saturates || rules.is_integer(name) { float.min(integer) } else { float }
    }

    /// The price of an op that the table does not have.
    fn unpriced(&self, graph: &Graph, op: OpId) -> f64 {
        let record = graph.op(op);
        if VIEWS.iter().any(|view| record.name().is_onnx(view)) {
            return self.call;
        }
        let numbers = |&v: &ValueId| numbers(graph, v);
        let made: f64 = record.results().iter().map(numbers).sum();
        let read: f64 = record.operands().iter().flatten().filter(|&&v| !graph.value(v).is_const()).map(numbers).sum();
        self.prices.pass(made.max(read)).map_or(self.call, |(_, pass)| pass)
    }

    /// The price of a whole graph: at its cheapest placement, conversions included, if nothing is stored yet.
    pub(crate) fn graph(&self, graph: &Graph) -> f64 {
        let ops: Vec<OpId> = graph.all_ops();
        let stored = |op: &OpId| graph.op(*op).results().iter().any(|&v| graph.value(v).ty().quant().is_some());
        let plan = match ops.iter().any(stored) {
            true => None,
            false => Placement::plan(graph, self.target, &|_, _| None).prediction(),
        };
        match plan {
            Some(plan) => {
                let unpriced = ops.iter().filter(|&&op| self.prices.float(graph, op).is_none());
                plan.chosen + unpriced.map(|&op| self.unpriced_alone(graph, op)).sum::<f64>()
            }
            None => ops.iter().map(|&op| self.op(graph, op)).sum(),
        }
    }

    fn unpriced_alone(&self, graph: &Graph, op: OpId) -> f64 {
        let record = graph.op(op);
        let constant = record.operands().iter().flatten().all(|&v| graph.value(v).is_const());
        if constant || record.results().is_empty() || is_gate(graph, op) { 0.0 } else { self.unpriced(graph, op) }
    }
}

/// Which operand of a product is the sigmoid of the other.
fn gate(space: &Space, node: &Node) -> Option<usize> {
    let (name, ..) = space.op(node)?;
    let [a, b] = node.children[..] else { return None };
    let is_gate = |x: Id, gate: Id| {
        let sigmoid = |node: &&Node| space.op(node).is_some_and(|(name, ..)| name.is_onnx("Sigmoid"));
        let reads = |node: &Node| node.children.first().is_some_and(|&of| space.egraph.find(of) == space.egraph.find(x));
        space.egraph[space.egraph.find(gate)].nodes.iter().filter(sigmoid).any(reads)
    };
    match name.is_onnx("Mul") {
        true if is_gate(a, b) => Some(1),
        true if is_gate(b, a) => Some(0),
        _ => None,
    }
}

/// A sigmoid that is paid with its product.
fn is_gate(graph: &Graph, op: OpId) -> bool {
    graph.only_user(graph.op(op).result()).is_some_and(|user| gate_of_silu(graph, user) == Some(op))
}

/// How many numbers a value holds; open extents count once.
fn numbers(graph: &Graph, value: ValueId) -> f64 {
    let shape = graph.value(value).ty().tensor().and_then(|t| t.shape.as_ref());
    shape.map_or(1.0, |shape| shape.iter().map(|dim| Dim::known(dim).map_or(1.0, |n| n as f64)).product())
}
