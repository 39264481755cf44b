//! In which layout each kernel runs, and the changes of layout between them.
//!
//! ONNX Runtime puts a transposition before and behind each op that wants channels last, and then pushes them through their
//! neighbours. A transposition is pushed through an op when that makes fewer of them: every operand of a computed map that is
//! transposed already counts one less, every other one more, and one more unless the result leads to where channels are last again
//! (`optimizer/transpose_optimization`). In one pass in order, that is [`Placer::follows_last`]. Float convolutions run in blocks of
//! channels (`optimizer/nchwc_transformer`), and ops behind them as long as all that they read is in blocks.

use spaceevo_ir::{Graph, OpId, ValueId};
use spaceevo_passes::kernel_rules::{Blocked, KernelRules};

use super::detect::{Node, Placed, bytes, extents, kernel};
use super::{Kernel, Layout};

/// Gives nodes their layouts.
pub(super) fn place(graph: &Graph, rules: &KernelRules, nodes: Vec<Node>) -> Vec<Placed> {
    let lead = leads(graph, rules, &nodes);
    let values = graph.value_bound();
    let mut placer = Placer {
        graph,
        rules,
        lead,
        native: vec![Layout::Plain; values],
        made: vec![0; values],
        bare: vec![None; values],
        done: Vec::new(),
        placed: Vec::new(),
    };
    for node in nodes {
        placer.node(node);
    }
    for &result in graph.region(graph.body()).results() {
        placer.need(result, Layout::Plain);
    }
    placer.placed
}

/// The layout in which an op like this one mostly runs, and the block that channels are padded to.
pub(super) fn usual(graph: &Graph, rules: &KernelRules, node: &Node, stored: bool) -> (Layout, Option<u32>) {
    let maps = node.inputs.first().is_some_and(|&v| is_map(graph, v));
    if maps && stored && (holds(&rules.channels_last, &node.op) || holds(&rules.follow_last, &node.op)) {
        return (Layout::Last, None);
    }
    match rules.blocked.as_ref().filter(|_| maps && !stored) {
        Some(rule) if fits_blocks(graph, rule, node) || holds(&rule.follow, &node.op) && node.others == 0 => {
            (Layout::Blocked, Some(rule.block))
        }
        _ => (Layout::Plain, None),
    }
}

/// True for an op that runs in blocks, if its channels fit.
fn fits_blocks(graph: &Graph, rule: &Blocked, node: &Node) -> bool {
    if !holds(&rule.wanted, &node.op) {
        return false;
    }
    let channels = |values: &[ValueId]| values.first().map_or(1, |&v| extents(graph.value(v).ty())[1]);
    let (read, made) = (channels(&node.inputs), channels(&node.outputs));
    let groups = node.window.groups;
    match () {
        _ if node.op.as_ref() != "Conv" => read.is_multiple_of(rule.block),
        _ if groups == 1 => read < rule.block || read.is_multiple_of(rule.align),
        _ if groups == read && made == groups => made.is_multiple_of(rule.align),
        _ => (read / groups).is_multiple_of(rule.block) && (made / groups).is_multiple_of(rule.block),
    }
}

fn holds(list: &[String], op: &str) -> bool {
    list.iter().any(|o| o == op)
}

fn is_map(graph: &Graph, value: ValueId) -> bool {
    graph.value(value).ty().rank() == Some(4)
}

/// Values that lead to where channels are last, through ops that could run so.
fn leads(graph: &Graph, rules: &KernelRules, nodes: &[Node]) -> Vec<bool> {
    let mut lead = vec![false; graph.value_bound()];
    for node in nodes.iter().rev() {
        // A transposition of the model's own to channels last is as good as an op that wants them so.
        let own =
            || rules.transpose.as_deref() == Some(&*node.op) && graph.op(node.ops[0]).ints("perm") == Some(&[0, 2, 3, 1]);
        let wants = holds(&rules.channels_last, &node.op) || own();
        let follows = || holds(&rules.follow_last, &node.op) && node.outputs.iter().any(|v| lead[v.index()]);
        if wants || follows() {
            let reads = if wants { &node.inputs[..1] } else { &node.inputs };
            reads.iter().for_each(|v| lead[v.index()] = true);
        }
    }
    lead
}

struct Placer<'a> {
    graph: &'a Graph,
    rules: &'a KernelRules,
    lead: Vec<bool>,
    /// The layout in which each value is made.
    native: Vec<Layout>,
    /// Other layouts in which it is there by now, as bits.
    made: Vec<u8>,
    /// The convolution in blocks that makes a value and does nothing else yet.
    bare: Vec<Option<usize>>,
    /// Ops that kernels before them do.
    done: Vec<OpId>,
    placed: Vec<Placed>,
}

impl Placer<'_> {
    fn node(&mut self, node: Node) {
        if self.done.contains(&node.ops[0]) || self.cancels(&node) {
            return;
        }
        let maps = node.inputs.first().is_some_and(|&v| is_map(self.graph, v));
        let blocked = self.rules.blocked.as_ref().filter(|_| maps);
        if maps && holds(&self.rules.channels_last, &node.op) {
            self.need(node.inputs[0], Layout::Last);
            self.put(node, Layout::Last, None);
        } else if let Some(rule) = blocked.filter(|rule| self.wants_blocks(rule, &node)) {
            let narrow = node.window.groups == 1 && extents(self.graph.value(node.inputs[0]).ty())[1] < rule.block;
            let read = if narrow { Layout::Plain } else { Layout::Blocked };
            self.need(node.inputs[0], read);
            self.put(node, Layout::Blocked, Some(rule.block));
        } else if let Some(rule) = blocked.filter(|rule| self.follows_blocks(rule, &node)) {
            if holds(&rule.joined, &node.op) && self.join(&node) {
                return;
            }
            self.put(node, Layout::Blocked, Some(rule.block));
        } else if maps && self.follows_last(&node) {
            for &value in node.inputs.clone().iter().filter(|&&v| is_map(self.graph, v)) {
                self.need(value, Layout::Last);
            }
            self.put(node, Layout::Last, None);
        } else {
            for &value in &node.inputs.clone() {
                self.need(value, Layout::Plain);
            }
            self.put(node, Layout::Plain, None);
        }
    }

    /// A transposition of the model's own that a change of layout undoes: the numbers stay where they are.
    fn cancels(&mut self, node: &Node) -> bool {
        let (&[read], &[made]) = (&node.inputs[..], &node.outputs[..]) else { return false };
        if self.rules.transpose.as_deref().is_none_or(|name| name != &*node.op) || !is_map(self.graph, read) {
            return false;
        }
        let native = self.native[read.index()];
        match self.graph.op(node.ops[0]).ints("perm") {
            Some([0, 2, 3, 1]) if native == Layout::Last => true,
            Some([0, 3, 1, 2]) if native == Layout::Plain && self.lead[made.index()] => {
                self.native[made.index()] = Layout::Last;
                true
            }
            _ => false,
        }
    }

    fn put(&mut self, mut node: Node, layout: Layout, block: Option<u32>) {
        for output in &node.outputs {
            self.native[output.index()] = layout;
        }
        let parts = self.rules.written_as.get(&*node.op).filter(|_| !node.merged);
        let parts: Vec<&str> = parts.map_or(vec![], |parts| parts.iter().map(String::as_str).collect());
        for (at, part) in parts.iter().enumerate() {
            node.op = (*part).into();
            // All but the first also read what the whole reads.
            node.others = if at == 0 { 0 } else { extents(self.graph.value(node.inputs[0]).ty()).iter().product() };
            let kernel = kernel(self.graph, self.rules, &node, layout, block);
            self.placed.push(Placed { kernel, ops: node.ops.clone() });
        }
        if parts.is_empty() {
            if layout == Layout::Blocked && &*node.op == "Conv" && !node.merged {
                node.outputs.iter().for_each(|v| self.bare[v.index()] = Some(self.placed.len()));
            }
            let kernel = kernel(self.graph, self.rules, &node, layout, block);
            self.placed.push(Placed { kernel, ops: node.ops });
        }
    }

    /// A float convolution or pool whose channels fit into blocks.
    fn wants_blocks(&self, rule: &Blocked, node: &Node) -> bool {
        let float = |v: ValueId| bytes(self.graph.value(v).ty()) == 4;
        node.inputs.iter().chain(&node.outputs).all(|&v| float(v)) && fits_blocks(self.graph, rule, node)
    }

    /// Lets the last convolution that makes an operand do the op, too, and activations behind it.
    fn join(&mut self, node: &Node) -> bool {
        let alone = |v: &&ValueId| self.graph.use_count(**v) == 1;
        let maker = node.inputs.iter().filter(alone).filter_map(|v| self.bare[v.index()]).max();
        let (Some(maker), &[made]) = (maker, &node.outputs[..]) else { return false };
        // It has to wait for the other operand.
        let mut placed = self.placed.remove(maker);
        self.bare.iter_mut().flatten().filter(|at| **at > maker).for_each(|at| *at -= 1);
        placed.kernel.others = super::numbers(placed.kernel.output) as u32;
        placed.ops.extend(&node.ops);
        self.placed.push(placed);
        self.native[made.index()] = Layout::Blocked;
        let next = self.graph.only_user(made).filter(|_| !self.graph.is_returned(made));
        if let Some(next) = next.filter(|&next| self.rules.fuses("Conv", &self.graph.op(next).name().op)) {
            self.done.push(next);
            self.graph.op(next).results().iter().for_each(|v| self.native[v.index()] = Layout::Blocked);
        }
        true
    }

    fn follows_blocks(&self, rule: &Blocked, node: &Node) -> bool {
        let dims = |v: ValueId| extents(self.graph.value(v).ty());
        let first = dims(node.inputs[0]);
        let alike = |v: ValueId| dims(v) == first || &*node.op == "Concat" && dims(v)[1].is_multiple_of(rule.block);
        let whole = &*node.op != "Concat" || first[1].is_multiple_of(rule.block);
        holds(&rule.follow, &node.op)
            && (node.others == 0 || node.inputs.len() > 1)
            && whole
            && node.inputs.iter().all(|&v| self.native[v.index()] == Layout::Blocked && alike(v))
    }

    fn follows_last(&self, node: &Node) -> bool {
        if !holds(&self.rules.follow_last, &node.op) {
            return false;
        }
        let mut cost = 0;
        for &value in node.inputs.iter().filter(|&&v| is_map(self.graph, v)) {
            cost += if self.native[value.index()] == Layout::Last { -1 } else { 1 };
        }
        let leads = holds(&self.rules.keep_last, &node.op) || node.outputs.iter().any(|v| self.lead[v.index()]);
        cost < 0 && (leads || cost + 1 < 0)
    }

    /// Brings a value into a layout, unless it is there already.
    fn need(&mut self, value: ValueId, layout: Layout) {
        let native = self.native[value.index()];
        if native == layout || self.graph.value(value).is_const() || !is_map(self.graph, value) {
            return;
        }
        let through = match (native, layout) {
            (Layout::Last, Layout::Blocked) | (Layout::Blocked, Layout::Last) => Some(Layout::Plain),
            _ => None,
        };
        let mut from = native;
        for to in through.into_iter().chain([layout]) {
            let bit = 1 << to as u8;
            if self.made[value.index()] & bit == 0 {
                self.made[value.index()] |= bit;
                self.convert(value, from, to);
            }
            from = to;
        }
    }

    fn convert(&mut self, value: ValueId, from: Layout, to: Layout) {
        let ty = self.graph.value(value).ty();
        let plain = extents(ty);
        let blocked = self.rules.blocked.as_ref();
        let (name, input, output) = match (from, to, blocked) {
            (Layout::Blocked, _, Some(rule)) => (Some(&rule.reorder[1]), padded(plain, rule.block), plain),
            (_, Layout::Blocked, Some(rule)) => (Some(&rule.reorder[0]), plain, padded(plain, rule.block)),
            _ => (self.rules.transpose.as_ref(), plain, plain),
        };
        let Some(name) = name else { return };
        let same = Kernel::same(name, to, [bytes(ty); 2], input);
        self.placed.push(Placed { kernel: Kernel { output, ..same }, ops: Vec::new() });
    }
}

fn padded([n, c, h, w]: super::Extents, block: u32) -> super::Extents {
    [n, c.next_multiple_of(block), h, w]
}
