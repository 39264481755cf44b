//! Ops that a runtime runs as one, before layouts are known.

use spaceevo_ir::graph::{Op, User};
use spaceevo_ir::{Attr, Graph, OpId, ValueId};
use spaceevo_passes::analysis::ints;

use super::Fused;
use super::folded::folded;
use super::rules::{CONVOLVES, FREE, LOOKS_UP, MUL, MULTIPLIES, Names, Number, Operator, Rules, SCALED, SLICES};
use super::values::Values;

/// A part of one of the vectors of a [`Room`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    from: u32,
    length: u32,
}

impl Span {
    /// No part at all: of what was taken away.
    pub(super) const GONE: Span = Span { from: u32::MAX, length: 0 };
    pub(super) const NONE: Span = Span { from: 0, length: 0 };

    /// What of a vector is behind `from`.
    pub(super) fn since<T>(from: usize, all: &[T]) -> Span {
        Span { from: from as u32, length: (all.len() - from) as u32 }
    }

    pub(super) fn range(self) -> std::ops::Range<usize> {
        self.from as usize..self.from as usize + self.length as usize
    }

    pub(super) fn of<T>(self, all: &[T]) -> &[T] {
        all.get(self.range()).unwrap_or(&[])
    }
}

/// Ops that run as one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) op: Number,
    pub(super) ops: Span,
    /// Operands that are computed, in order.
    pub(super) inputs: Span,
    /// What it makes.
    pub(super) outputs: Span,
    /// Does more than its own operator.
    pub(super) merged: bool,
    /// That, if it is an activation.
    pub(super) fused: Fused,
    /// Of convolutions, pools: window, strides, dilations, groups.
    pub(super) window: Window,
    /// Numbers of further operands.
    pub(super) others: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) window: [u32; 2],
    pub(super) strides: [u32; 2],
    pub(super) dilations: [u32; 2],
    pub(super) groups: u32,
}

/// Room to find kernels in.
#[derive(Debug, Default)]
pub(super) struct Room {
    pub(super) values: Values,
    /// By op: [`TAKEN`], [`DONE`].
    pub(super) marks: Vec<u8>,
    pub(super) nodes: Vec<Node>,
    /// What spans of values are parts of.
    pub(super) lists: Vec<ValueId>,
    pub(super) ops: Vec<OpId>,
    /// Operators that the rules do not name.
    pub(super) strangers: Vec<Operator>,
}

/// The op is in a node.
const TAKEN: u8 = 1;
/// A kernel before does the op.
pub(super) const DONE: u8 = 2;

pub(super) struct Collector<'a> {
    graph: &'a Graph,
    names: Names<'a>,
    values: &'a mut Values,
    marks: &'a mut Vec<u8>,
    nodes: &'a mut Vec<Node>,
    lists: &'a mut Vec<ValueId>,
    ops: &'a mut Vec<OpId>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(graph: &'a Graph, rules: &'a Rules, room: &'a mut Room) -> Self {
        let Room { values, marks, nodes, lists, ops, strangers } = room;
        marks.clear();
        nodes.clear();
        lists.clear();
        ops.clear();
        strangers.clear();
        values.clear();
        Collector { graph, names: Names { rules, others: strangers }, values, marks, nodes, lists, ops }
    }

    /// Makes nodes of all ops of the body that run.
    pub(super) fn collect(mut self) {
        let graph = self.graph;
        self.values.begin(graph);
        self.marks.resize(graph.op_bound(), 0);
        for op in graph.ops_in(graph.body()) {
            let record = graph.op(op);
            let inputs = self.inputs(record);
            if inputs == Span::NONE {
                record.results().iter().for_each(|&v| self.values.fold(v));
                continue;
            }
            let number = self.names.number(&record.name().op);
            if self.marks[op.index()] & TAKEN != 0 || self.names.is(number, FREE) {
                continue;
            }
            if self.folded(op, number) {
                continue;
            }
            if let Some(node) = self.gate(op, number).or_else(|| self.joined(op, number)) {
                node.ops.of(self.ops).iter().for_each(|op| self.marks[op.index()] |= TAKEN);
                self.nodes.push(node);
                continue;
            }
            let mut node = self.node(op, number, inputs);
            if let &[result] = record.results()
                && let Some(next) = graph.only_user(result)
                && let follower = graph.op(next)
                && follower.operand(0) == Some(result)
                && let second = self.names.number(&follower.name().op)
                && self.names.fuses(node.op, second)
                && follower.operands().iter().skip(1).flatten().all(|&v| self.values.is_folded(v))
            {
                self.marks[next.index()] |= TAKEN;
                self.ops.push(next);
                node.ops.length += 1;
                node.outputs = self.list(follower.results());
                node.merged = true;
                node.fused = self.names.get(second).fused_as;
            }
            self.nodes.push(node);
        }
    }

    /// One op as a node, whatever is around it; on stored numbers if it is `stored`, whatever it makes.
    pub(super) fn single(&mut self, op: OpId, stored: bool) -> Node {
        let record = self.graph.op(op);
        let from = self.lists.len();
        let computed = |v: &&ValueId| !self.graph.value(**v).is_const();
        self.lists.extend(record.operands().iter().flatten().filter(computed));
        let inputs = Span::since(from, self.lists);
        let number = self.names.number(&record.name().op);
        let node = self.node(op, number, inputs);
        let runs = self.names.stored(number, record.name()).filter(|_| stored);
        Node { op: runs.unwrap_or(node.op), ..node }
    }

    /// Operands that are computed.
    fn inputs(&mut self, record: &Op) -> Span {
        let from = self.lists.len();
        self.lists.extend(record.operands().iter().flatten().filter(|&&v| !self.values.is_folded(v)));
        if self.lists.len() == from { Span::NONE } else { Span::since(from, self.lists) }
    }

    fn list(&mut self, values: &[ValueId]) -> Span {
        self.lists.extend(values);
        Span::since(self.lists.len() - values.len(), self.lists)
    }

    fn node(&mut self, op: OpId, own: Number, inputs: Span) -> Node {
        let record = self.graph.op(op);
        let outputs = self.list(record.results());
        let stored = record.results().first().is_some_and(|&v| self.graph.value(v).ty().quant().is_some());
        let number = stored.then(|| self.names.stored(own, record.name())).flatten().unwrap_or(own);
        let window = self.window(record, number);
        let mut others = 0u32;
        if self.names.is(number, LOOKS_UP) {
            others = self.looked_up(record);
        } else if !self.names.is(number, MULTIPLIES) {
            for &operand in record.operands().iter().skip(1).flatten() {
                let numbers = self.values.shape(self.graph, operand).numbers();
                others = others.saturating_add(if numbers > 1 { numbers } else { 0 });
            }
        }
        self.ops.push(op);
        let ops = Span::since(self.ops.len() - 1, self.ops);
        Node { op: number, ops, inputs, outputs, merged: false, fused: Fused::Nothing, window, others }
    }

    /// Numbers of a join of stored maps that have another type than its result.
    fn looked_up(&mut self, record: &Op) -> u32 {
        let graph = self.graph;
        let same =
            |a: ValueId, b: ValueId| a == b || graph.const_of(a).is_some_and(|tensor| graph.const_of(b) == Some(tensor));
        let operands: Vec<ValueId> = record.operands().iter().flatten().copied().collect();
        let mut numbers = 0u32;
        let mut count = |values: &mut Values, map: ValueId, alike: bool| {
            numbers = numbers.saturating_add(if alike { 0 } else { values.shape(graph, map).numbers() });
        };
        match operands.as_slice() {
            // Scale and zero point of the result, then a map with its own, and so on.
            [scale, zero, maps @ ..] if graph.value(operands[0]).is_const() => {
                for map in maps.chunks_exact(3) {
                    count(self.values, map[0], same(map[1], *scale) && same(map[2], *zero));
                }
            }
            maps => {
                let quant = |value: ValueId| graph.value(value).ty().quant();
                let made = record.results().first().and_then(|&result| quant(result));
                maps.iter().for_each(|&map| count(self.values, map, quant(map) == made));
            }
        }
        numbers
    }

    /// All ops of a kind that read one value, where nothing else reads it and none skips numbers.
    fn joined(&mut self, op: OpId, own: Number) -> Option<Node> {
        let graph = self.graph;
        let number = self.names.get(own).joined?;
        let read = graph.op(op).operand(0)?;
        let users = graph.value(read).users();
        let alike = |user: &User| match user {
            User::Op(other, 0) => {
                let done = self.marks[other.index()] & TAKEN != 0;
                !done && graph.op(*other).name() == graph.op(op).name() && !skips(graph, *other)
            }
            _ => false,
        };
        if users.len() < 2 || !users.iter().all(alike) {
            return None;
        }
        let (ops, outputs) = (self.ops.len(), self.lists.len());
        for user in users {
            if let User::Op(other, _) = user {
                self.ops.push(*other);
                self.lists.extend(graph.op(*other).results());
            }
        }
        let outputs = Span::since(outputs, self.lists);
        let ops = Span::since(ops, self.ops);
        let window = self.window(graph.op(op), number);
        Some(Node {
            op: number,
            ops,
            inputs: self.list(&[read]),
            outputs,
            merged: false,
            fused: Fused::Nothing,
            window,
            others: 0,
        })
    }

    /// True of the first of four Slices that together make pixels channels: what runs in place of them is a node then, or two.
    fn folded(&mut self, op: OpId, own: Number) -> bool {
        let graph = self.graph;
        let Some([fold, order]) = self.names.rules.folded.filter(|_| self.names.is(own, SLICES)) else { return false };
        let Some((read, found)) = graph.op(op).operand(0).and_then(|read| Some((read, folded(graph, op, read)?))) else {
            return false;
        };
        let window = Window { window: [1, 1], strides: [1, 1], dilations: [1, 1], groups: 1 };
        let outputs = self.list(graph.op(found.concat).results());
        let put = |collector: &mut Self, op: Number, ops: &[OpId], inputs: Span| {
            ops.iter().for_each(|op| collector.marks[op.index()] |= TAKEN);
            collector.ops.extend(ops);
            let ops = Span::since(collector.ops.len() - ops.len(), collector.ops);
            collector.nodes.push(Node { op, ops, inputs, outputs, merged: false, fused: Fused::Nothing, window, others: 0 });
        };
        let read = self.list(&[read]);
        if found.in_order {
            put(self, fold, &[&found.slices[..], &[found.concat]].concat(), read);
        } else {
            put(self, fold, &found.slices, read);
            put(self, order, &[found.concat], outputs);
        }
        true
    }

    /// A sigmoid that only the product with what it reads reads, as one node.
    fn gate(&mut self, op: OpId, own: Number) -> Option<Node> {
        let graph = self.graph;
        let number = self.names.get(own).gated?;
        let record = graph.op(op);
        let (read, made) = (record.operand(0)?, *record.results().first()?);
        let product = graph.only_user(made)?;
        let record_of_product = graph.op(product);
        let factors = record_of_product.operands();
        let both = factors.contains(&Some(read)) && factors.contains(&Some(made));
        let second = self.names.number(&record_of_product.name().op);
        if !self.names.is(second, MUL) || !both || graph.value(made).ty().quant().is_some() {
            return None;
        }
        let window = self.window(record, number);
        self.ops.extend([op, product]);
        let ops = Span::since(self.ops.len() - 2, self.ops);
        let (inputs, outputs) = (self.list(&[read]), self.list(record_of_product.results()));
        Some(Node { op: number, ops, inputs, outputs, merged: false, fused: Fused::Nothing, window, others: 0 })
    }

    fn window(&mut self, record: &Op, number: Number) -> Window {
        let mut found = Window { window: [1, 1], strides: [1, 1], dilations: [1, 1], groups: 1 };
        let mut said = false;
        // One walk over all of them: looking each up compares more names.
        for (name, attribute) in record.attrs() {
            match &**name {
                "kernel_shape" => {
                    found.window = pair(attribute);
                    said = attribute.as_ints().is_some();
                }
                "strides" => found.strides = pair(attribute),
                "dilations" => found.dilations = pair(attribute),
                "group" => found.groups = attribute.as_int().unwrap_or(1).max(1) as u32,
                // What lies between pixels is a mean of those around.
                "mode" => match attribute.as_str() {
                    Some("linear") => found.window = [2, 2],
                    Some("cubic") => found.window = [4, 4],
                    _ => {}
                },
                _ => {}
            }
        }
        if !said && self.names.is(number, CONVOLVES) {
            let weights = if self.names.is(number, SCALED) && record.operands().len() > 4 { 3 } else { 1 };
            let shape = record.operand(weights).map(|w| self.values.shape(self.graph, w).extents);
            found.window = shape.map_or([1, 1], |[_, _, y, x]| [y, x]);
        }
        found
    }
}

/// True of a Slice that takes every so many numbers.
fn skips(graph: &Graph, op: OpId) -> bool {
    ints(graph, op, "steps", 4).known().is_some_and(|steps| steps.iter().any(|step| *step != 1))
}

/// Height and width; 1 where there is none.
fn pair(attribute: &Attr) -> [u32; 2] {
    match attribute.as_ints() {
        Some(&[.., y, x]) => [y.max(1) as u32, x.max(1) as u32],
        Some(&[x]) => [1, x.max(1) as u32],
        _ => [1, 1],
    }
}
