//! Reads off a graph what is to be placed: ops with their prices, the values between them, and what the runtime does together.

use std::collections::BTreeMap;

use spaceevo_ir::{Graph, OpId, User, ValueId};

use super::problem::{Bridge, ByLayout, End, Fused, Item, Lone, Need, Problem, When};
use super::sets::Sets;
use crate::price::{self, DEQUANTIZE, LAYOUT, Pricing, QUANTIZE, TRANSPOSE};
use crate::quantize::placement::{Kind, data_operands};
use crate::target::Target;

/// Reads a problem off a graph.
pub(super) struct Builder<'a> {
    pub(super) graph: &'a Graph,
    pub(super) target: &'a Target,
    pub(super) prices: &'a dyn Pricing,
    pub(super) kinds: &'a [Option<Kind>],
}

impl Builder<'_> {
    /// The problem, and the item of each op that has one.
    pub(super) fn problem(&self) -> (Problem, BTreeMap<OpId, usize>) {
        let graph = self.graph;
        let ops: Vec<OpId> = graph.ops_in(graph.body()).collect();
        let made = ops.iter().flat_map(|&op| graph.op(op).results().iter().copied());
        let values: Vec<ValueId> = graph.region(graph.body()).inputs().iter().copied().chain(made).collect();
        let tied = self.ties(&ops, &values);
        let mut problem = Problem::default();
        let mut roots = BTreeMap::new();
        let mut item = BTreeMap::new();
        for &op in ops.iter().filter(|&&op| self.is_choice(op)) {
            let next = *roots.entry(tied[op.index()]).or_insert(problem.items.len());
            problem.items.resize(problem.items.len().max(next + 1), Item::default());
            item.insert(op, next);
        }
        for &op in &ops {
            let float = self.prices.float(graph, op);
            let own = item.get(&op).copied();
            let integer = self.prices.integer(graph, self.target, op);
            let saturates = self.kind(op) == Some(&Kind::Saturating);
            let (float, integer) = match (float, integer) {
                (Some(float), _) if own.is_none() || saturates => (float, 0.0),
                (Some(float), Some(integer)) => (float, integer),
                _ => continue,
            };
            match (self.prices.fused_into(graph, op), own) {
                (Some(fused), _) => {
                    match own {
                        Some(own) => problem.items[own].float += fused.nanos,
                        None => problem.always += fused.nanos,
                    }
                    if let Some(&convolution) = item.get(&fused.maker).filter(|&&c| own != Some(c)) {
                        let more = (float - fused.nanos).max(0.0);
                        problem.fused.push(Fused { convolution, op: own, more });
                    }
                }
                (None, Some(own)) => problem.items[own].float += float,
                (None, None) => problem.always += float,
            }
            if let Some(own) = own {
                problem.items[own].integer += integer;
            }
        }
        let mut places = BTreeMap::new();
        for (&value, bridge) in values.iter().filter_map(|value| Some((value, self.bridge(*value, &item)?))) {
            places.insert(value, problem.bridges.len());
            problem.bridges.push(bridge);
        }
        problem.by_layout = self.by_layout(&ops, &item, &places);
        problem.lone = ops.iter().filter_map(|&op| self.lone(op, *item.get(&op)?, &places)).collect();
        (problem, item)
    }

    /// The sums and products of two maps, and the max pools, in their order; `places` are the bridges by value.
    fn by_layout(&self, ops: &[OpId], item: &BTreeMap<OpId, usize>, places: &BTreeMap<ValueId, usize>) -> Vec<ByLayout> {
        let graph = self.graph;
        let mut found: Vec<ByLayout> = Vec::new();
        let mut place: BTreeMap<OpId, usize> = BTreeMap::new();
        let dims = |v: ValueId| graph.value(v).ty().dims();
        for &op in ops {
            let (record, Some(&own)) = (graph.op(op), item.get(&op)) else { continue };
            let maps: Vec<ValueId> = data_operands(graph, op);
            let Some(&result) = record.results().first() else { continue };
            let Some(whole) = dims(result).filter(|d| d.len() == 4) else { continue };
            let mut needs = Vec::new();
            let convolutions = maps.iter().filter(|&&v| self.layout(v, item, &place, &mut needs)).count();
            let mut when = When::Item(own);
            let plain = if record.name().is_onnx("MaxPool") {
                let Some(&stored) = places.get(&result) else { continue };
                when = When::Stored(stored);
                self.prices.plain_pool(graph, op)
            } else if record.name().is_onnx("Add") || record.name().is_onnx("Mul") {
                let is_conv = |user: &User| matches!(user, User::Op(op, 0) if self.is_choice(*op) && graph.op(*op).name().is_onnx("Conv"));
                let read = usize::from(graph.value(result).users().iter().any(is_conv));
                let price = self.prices.conversion(graph, result, TRANSPOSE);
                let alike = maps.len() == 2 && maps.iter().all(|&v| dims(v).as_ref() == Some(&whole));
                price.filter(|_| alike).map(|price| price * (convolutions + read) as f64)
            } else {
                None
            };
            if let Some(plain) = plain {
                place.insert(op, found.len());
                found.push(ByLayout { when, needs, plain });
            }
        }
        found
    }

    /// A convolution or product with weights that must not be alone in float; `places` are the bridges by value.
    fn lone(&self, op: OpId, item: usize, places: &BTreeMap<ValueId, usize>) -> Option<Lone> {
        let graph = self.graph;
        let record = graph.op(op);
        if !["Conv", "ConvTranspose", "Gemm"].iter().any(|name| record.name().is_onnx(name)) {
            return None;
        }
        let input = *places.get(&record.operand(0)?)?;
        let clip = |value: &ValueId| {
            let reader = graph.only_user(*value)?;
            let clips = self.target.ops.is_saturating(graph.op(reader).name());
            graph.op(reader).results().first().filter(|_| clips).copied()
        };
        let made = std::iter::successors(record.results().first().copied(), clip);
        Some(Lone { item, input, outputs: made.map_while(|value| places.get(&value).copied()).collect() })
    }

    /// What a map needs to come in the layout of convolutions; true when one makes it.
    fn layout(
        &self,
        value: ValueId,
        item: &BTreeMap<OpId, usize>,
        earlier: &BTreeMap<OpId, usize>,
        needs: &mut Vec<Need>,
    ) -> bool {
        let mut value = value;
        loop {
            let Some((op, &own)) = self.graph.def_op(value).and_then(|op| Some((op, item.get(&op)?))) else {
                needs.push(Need::Never);
                return false;
            };
            needs.push(Need::Item(own));
            needs.extend(earlier.get(&op).map(|&place| Need::Earlier(place)));
            let name = self.graph.op(op).name();
            match data_operands(self.graph, op)[..] {
                // What treats each number by itself keeps the layout.
                [only] if !earlier.contains_key(&op) && !name.is_onnx("Conv") => value = only,
                _ => return name.is_onnx("Conv"),
            }
        }
    }

    fn kind(&self, op: OpId) -> Option<&Kind> {
        self.kinds.get(op.index())?.as_ref()
    }

    /// True for ops that the rules put in integers.
    fn is_choice(&self, op: OpId) -> bool {
        self.kind(op).is_some_and(|kind| !matches!(kind, Kind::Float(_)))
    }

    /// True when an op that may run in integers reads a value as such, not as one of its parameters.
    fn reads(&self, op: OpId, value: ValueId) -> bool {
        self.is_choice(op) && data_operands(self.graph, op).contains(&value)
    }

    /// By index of op: what is placed together.
    fn ties(&self, ops: &[OpId], values: &[ValueId]) -> Vec<usize> {
        let graph = self.graph;
        let mut sets = Sets::new(graph.op_bound());
        for &op in ops.iter().filter(|&&op| self.is_choice(op)) {
            let clipped = graph.op(op).operand(0).and_then(|v| graph.def_op(v));
            let clipped = clipped.filter(|_| self.kind(op) == Some(&Kind::Saturating));
            let partner = clipped.or_else(|| price::gate_of_silu(graph, op));
            if let Some(partner) = partner.filter(|&p| self.is_choice(p)) {
                sets.join(op.index(), partner.index());
            }
        }
        for &value in values.iter().filter(|&&v| price::numbers(graph, v).is_none()) {
            let maker = graph.def_op(value).filter(|&op| self.is_choice(op));
            let readers = graph.value(value).users().iter().filter_map(|user| match *user {
                User::Op(op, _) => Some(op).filter(|&op| self.reads(op, value)),
                User::Return(..) => None,
            });
            let ends: Vec<OpId> = readers.chain(maker).collect();
            ends.windows(2).for_each(|pair| sets.join(pair[0].index(), pair[1].index()));
        }
        sets.roots()
    }

    /// The ends of a value, when it has any to place.
    fn bridge(&self, value: ValueId, item: &BTreeMap<OpId, usize>) -> Option<Bridge> {
        let graph = self.graph;
        let maker = graph.def_op(value);
        // Float convolutions have a layout of their own, and all other float ops the plain one.
        let blocked = graph.value(value).ty().rank() == Some(4);
        let placed = |op: OpId| End { item: item.get(&op).copied(), blocked };
        let float = End { item: None, blocked: false };
        let mut readers: Vec<End> = (graph.value(value).users().iter())
            .map(|user| match *user {
                User::Op(op, _) if self.reads(op, value) => placed(op),
                User::Op(..) => End { item: None, blocked },
                User::Return(..) => float,
            })
            .collect();
        readers.sort_unstable();
        readers.dedup();
        let maker_end = maker.map_or(float, placed);
        if readers.iter().chain([&maker_end]).all(|end| end.item.is_none()) {
            return None;
        }
        // Some ops give floats right away where all their readers take them.
        let able = maker.is_some_and(|op| self.target.ops.gives_floats(graph.op(op).name()));
        let free = able && (graph.use_count(value) == 1 || readers.iter().all(|r| r.item.is_none()));
        let price = |kind| self.prices.conversion(graph, value, kind).unwrap_or(0.0);
        let (dequantize, layout) = (price(DEQUANTIZE), price(LAYOUT).max(price(TRANSPOSE)));
        // The price of a gate in float has the change to planes, in which its product is.
        let in_planes = maker.is_some_and(|op| price::is_gate(graph, op));
        let quantize = price(QUANTIZE) - if in_planes { layout - price(TRANSPOSE) } else { 0.0 };
        Some(Bridge { maker: maker_end, free, readers, quantize, dequantize, layout })
    }
}
