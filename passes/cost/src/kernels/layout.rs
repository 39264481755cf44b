//! In which layout each kernel runs, and the changes of layout between them.
//!
//! ONNX Runtime puts a transposition before and behind each op that wants channels last, and then pushes them through their
//! neighbours. A transposition is pushed through an op when that makes fewer of them: every operand of a computed map that is
//! transposed already counts one less, every other one more, and one more unless the result leads to where channels are last again
//! (`optimizer/transpose_optimization`). In one pass in order, that is [`Placer::follows_last`]. Float convolutions run in blocks of
//! channels (`optimizer/nchwc_transformer`), and ops behind them as long as all that they read is in blocks.

use spaceevo_ir::{Graph, OpId, ValueId};

use super::nodes::{DONE, Node, Room, Span, Window};
use super::rules::{
    BLOCKS, Blocks, CONCAT, CONV, CONVOLVES, FOLLOW_BLOCKS, FOLLOW_LAST, JOIN_BLOCKS, KEEP_LAST, LAST, LOOKS_UP, MUL,
    MULTIPLIES, Names, Number, RESIZES, Rules, TRANSPOSES,
};
use super::values::{Shape, Values};
use super::{Extents, Fused, Kernel, Layout};

/// Gives the nodes of a room their layouts.
pub(super) fn place(graph: &Graph, rules: &Rules, room: &mut Room, kernels: &mut Vec<Kernel>, ops: &mut Vec<Span>) {
    let Room { values, marks, nodes, lists, ops: all, strangers } = room;
    let names = Names { rules, others: strangers };
    let mut placer = Placer { graph, names, values, marks, lists, all, kernels, ops, gone: false };
    nodes.iter().rev().for_each(|node| placer.lead(node));
    nodes.iter().for_each(|node| placer.node(*node));
    for &result in graph.region(graph.body()).results() {
        placer.need(result, Layout::Plain);
    }
    if placer.gone {
        let mut at = 0;
        kernels.retain(|_| {
            at += 1;
            ops[at - 1] != Span::GONE
        });
        ops.retain(|span| *span != Span::GONE);
    }
}

/// The kernel of a node by itself, in the layout in which an op like this one mostly runs.
pub(super) fn alone(graph: &Graph, rules: &Rules, room: &mut Room, node: &Node, stored: bool) -> Kernel {
    let Room { values, marks, lists, ops: all, strangers, .. } = room;
    let (kernels, ops) = (&mut Vec::new(), &mut Vec::new());
    let names = Names { rules, others: strangers };
    let mut placer = Placer { graph, names, values, marks, lists, all, kernels, ops, gone: false };
    let (layout, block) = placer.usual(node, stored);
    placer.kernel(node, layout, block)
}

struct Placer<'a> {
    graph: &'a Graph,
    names: Names<'a>,
    values: &'a mut Values,
    marks: &'a mut Vec<u8>,
    lists: &'a [ValueId],
    all: &'a mut Vec<OpId>,
    kernels: &'a mut Vec<Kernel>,
    ops: &'a mut Vec<Span>,
    /// Some kernel was taken away again.
    gone: bool,
}

impl<'a> Placer<'a> {
    /// Notes what leads to where channels are last.
    fn lead(&mut self, node: &Node) {
        // A transposition of the model's own to channels last is as good as an op that wants them so.
        let wants = self.names.is(node.op, LAST)
            || self.names.is(node.op, TRANSPOSES) && self.permutation(node) == Some(&[0, 2, 3, 1][..]);
        let follows =
            || self.names.is(node.op, FOLLOW_LAST) && node.outputs.of(self.lists).iter().any(|&v| self.values.leads(v));
        if wants || follows() {
            let reads = node.inputs.of(self.lists);
            let reads = if wants { &reads[..1] } else { reads };
            reads.iter().for_each(|&v| self.values.lead(v));
        }
    }

    fn permutation(&self, node: &Node) -> Option<&'a [i64]> {
        self.graph.op(*node.ops.of(self.all).first()?).ints("perm")
    }

    fn inputs(&self, node: &Node) -> &'a [ValueId] {
        node.inputs.of(self.lists)
    }

    fn outputs(&self, node: &Node) -> &'a [ValueId] {
        node.outputs.of(self.lists)
    }

    fn shape(&mut self, value: ValueId) -> Shape {
        self.values.shape(self.graph, value)
    }

    fn first_shape(&mut self, values: &[ValueId]) -> Shape {
        values.first().map_or(Shape { extents: [1; 4], bytes: 1, map: false }, |&v| self.shape(v))
    }

    /// The layout in which an op like this one mostly runs, and the block that channels are padded to.
    fn usual(&mut self, node: &Node, stored: bool) -> (Layout, Option<u32>) {
        let maps = self.first_shape(self.inputs(node)).map;
        if maps && stored && self.names.is(node.op, LAST | FOLLOW_LAST) {
            return (Layout::Last, None);
        }
        match self.names.rules.blocked.filter(|_| maps && !stored) {
            Some(rule) if self.fits_blocks(rule, node) || self.names.is(node.op, FOLLOW_BLOCKS) && node.others == 0 => {
                (Layout::Blocked, Some(rule.block))
            }
            _ => (Layout::Plain, None),
        }
    }

    /// True for an op that runs in blocks, if its channels fit.
    fn fits_blocks(&mut self, rule: Blocks, node: &Node) -> bool {
        if !self.names.is(node.op, BLOCKS) {
            return false;
        }
        let (read, made) = (self.first_shape(self.inputs(node)).extents[1], self.first_shape(self.outputs(node)).extents[1]);
        let groups = node.window.groups;
        match () {
            _ if !self.names.is(node.op, CONV) => read.is_multiple_of(rule.block),
            _ if groups == 1 => read < rule.block || read.is_multiple_of(rule.align),
            _ if groups == read && made == groups => made.is_multiple_of(rule.align),
            _ => (read / groups).is_multiple_of(rule.block) && (made / groups).is_multiple_of(rule.block),
        }
    }

    fn node(&mut self, node: Node) {
        let first = node.ops.of(self.all).first();
        if first.is_some_and(|op| self.marks[op.index()] & DONE != 0) || self.cancels(&node) {
            return;
        }
        let inputs = self.inputs(&node);
        let head = self.first_shape(inputs);
        let blocked = self.names.rules.blocked.filter(|_| head.map);
        if head.map && self.names.is(node.op, LAST) {
            self.need(inputs[0], Layout::Last);
            self.put(node, Layout::Last, None);
        } else if let Some(rule) = blocked.filter(|rule| self.wants_blocks(*rule, &node)) {
            let narrow = node.window.groups == 1 && head.extents[1] < rule.block;
            let read = if narrow { Layout::Plain } else { Layout::Blocked };
            self.need(inputs[0], read);
            self.put(node, Layout::Blocked, Some(rule.block));
        } else if let Some(rule) = blocked.filter(|rule| self.follows_blocks(*rule, &node)) {
            if self.names.is(node.op, JOIN_BLOCKS) && self.join(&node) {
                return;
            }
            self.put(node, Layout::Blocked, Some(rule.block));
        } else if head.map && self.follows_last(&node) {
            for &value in inputs {
                self.need(value, Layout::Last);
            }
            self.put(node, Layout::Last, None);
        } else {
            for &value in inputs {
                self.need(value, Layout::Plain);
            }
            self.put(node, Layout::Plain, None);
        }
    }

    /// A transposition of the model's own that a change of layout undoes: the numbers stay where they are.
    fn cancels(&mut self, node: &Node) -> bool {
        if !self.names.is(node.op, TRANSPOSES) {
            return false;
        }
        let (&[read], &[made]) = (self.inputs(node), self.outputs(node)) else { return false };
        if !self.shape(read).map {
            return false;
        }
        let native = self.values.native(read);
        match self.permutation(node) {
            Some([0, 2, 3, 1]) if native == Layout::Last => true,
            Some([0, 3, 1, 2]) if native == Layout::Plain && self.values.leads(made) => {
                self.values.make(made, Layout::Last);
                true
            }
            _ => false,
        }
    }

    fn put(&mut self, mut node: Node, layout: Layout, block: Option<u32>) {
        let outputs = self.outputs(&node);
        outputs.iter().for_each(|&v| self.values.make(v, layout));
        if !node.merged && !self.names.get(node.op).written_as.is_empty() {
            let whole = node.op;
            for at in 0..self.names.get(whole).written_as.len() {
                node.op = self.names.get(whole).written_as[at];
                // All but the first also read what the whole reads.
                node.others = if at == 0 { 0 } else { self.first_shape(self.inputs(&node)).numbers() };
                let kernel = self.kernel(&node, layout, block);
                self.push(kernel, node.ops);
            }
            return;
        }
        if layout == Layout::Blocked && !node.merged && self.names.is(node.op, CONV) {
            outputs.iter().for_each(|&v| self.values.note_bare(v, self.kernels.len()));
        }
        let kernel = self.kernel(&node, layout, block);
        self.push(kernel, node.ops);
    }

    fn push(&mut self, kernel: Kernel, ops: Span) {
        self.kernels.push(kernel);
        self.ops.push(ops);
    }

    /// A float convolution or pool whose channels fit into blocks.
    fn wants_blocks(&mut self, rule: Blocks, node: &Node) -> bool {
        self.names.is(node.op, BLOCKS)
            && self.inputs(node).iter().chain(self.outputs(node)).all(|&v| self.shape(v).bytes == 4)
            && self.fits_blocks(rule, node)
    }

    /// Lets the last convolution that makes an operand do the op, too, and activations behind it.
    fn join(&mut self, node: &Node) -> bool {
        let graph = self.graph;
        let alone = self.inputs(node).iter().filter(|v| graph.use_count(**v) == 1);
        let maker = alone.filter_map(|&v| self.values.bare(v)).max();
        let (Some(maker), &[made]) = (maker, self.outputs(node)) else { return false };
        // It has to wait for the other operand, and what it did so far it does no more.
        let mut kernel = self.kernels[maker].clone();
        kernel.others = super::numbers(kernel.output) as u32;
        let next = graph.only_user(made);
        let follows = next.filter(|&next| {
            let (conv, second) = (self.names.number("Conv"), self.names.number(&graph.op(next).name().op));
            self.names.fuses(conv, second)
        });
        if let Some(next) = follows {
            kernel.fused = Fused::of(&graph.op(next).name().op);
            self.marks[next.index()] |= DONE;
            graph.op(next).results().iter().for_each(|&v| self.values.make(v, Layout::Blocked));
        }
        let from = self.all.len();
        for span in [self.ops[maker], node.ops] {
            self.all.extend_from_within(span.range());
        }
        let ops = Span::since(from, self.all);
        (self.ops[maker], self.gone) = (Span::GONE, true);
        self.push(kernel, ops);
        self.values.make(made, Layout::Blocked);
        true
    }

    fn follows_blocks(&mut self, rule: Blocks, node: &Node) -> bool {
        let inputs = self.inputs(node);
        if !self.names.is(node.op, FOLLOW_BLOCKS) {
            return false;
        }
        if self.names.is(node.op, RESIZES) {
            return inputs.len() == 1 && self.values.native(inputs[0]) == Layout::Blocked && self.enlarges(node);
        }
        if node.others != 0 && inputs.len() < 2 {
            return false;
        }
        // A constant is in no blocks, be it a single number.
        if inputs.len() < 2 && self.names.is(node.op, JOIN_BLOCKS | MUL) {
            return false;
        }
        let concat = self.names.is(node.op, CONCAT);
        let first = self.shape(inputs[0]).extents;
        (!concat || first[1].is_multiple_of(rule.block))
            && inputs.iter().all(|&v| {
                let extents = self.shape(v).extents;
                let alike = extents == first || concat && extents[1].is_multiple_of(rule.block);
                alike && self.values.native(v) == Layout::Blocked
            })
    }

    /// A Resize that ONNX Runtime has a kernel in blocks for: whole times as many pixels, each a copy or between its neighbours.
    fn enlarges(&mut self, node: &Node) -> bool {
        let ([_, _, height, width], [.., tall, wide]) =
            (self.first_shape(self.inputs(node)).extents, self.first_shape(self.outputs(node)).extents);
        let Some(&op) = node.ops.of(self.all).first() else { return false };
        let op = self.graph.op(op);
        let placed = op.str("coordinate_transformation_mode", "half_pixel");
        let known = match op.str("mode", "nearest") {
            "nearest" => placed == "asymmetric" && op.str("nearest_mode", "round_prefer_floor") == "floor",
            "linear" => ["asymmetric", "align_corners", "half_pixel"].contains(&placed),
            _ => false,
        };
        known && tall.is_multiple_of(height) && wide.is_multiple_of(width)
    }

    fn follows_last(&mut self, node: &Node) -> bool {
        if !self.names.is(node.op, FOLLOW_LAST) {
            return false;
        }
        let mut cost = 0;
        for &value in self.inputs(node) {
            if self.shape(value).map {
                cost += if self.values.native(value) == Layout::Last { -1 } else { 1 };
            }
        }
        let leads = self.names.is(node.op, KEEP_LAST) || self.outputs(node).iter().any(|&v| self.values.leads(v));
        cost < 0 && (leads || cost + 1 < 0)
    }

    /// Brings a value into a layout, unless it is there already.
    fn need(&mut self, value: ValueId, layout: Layout) {
        let native = self.values.native(value);
        if native == layout || self.values.is_folded(value) || !self.shape(value).map {
            return;
        }
        let through = match (native, layout) {
            (Layout::Last, Layout::Blocked) | (Layout::Blocked, Layout::Last) => Some(Layout::Plain),
            _ => None,
        };
        let mut from = native;
        for to in through.into_iter().chain([layout]) {
            if self.values.convert(value, to) {
                self.change(value, from, to);
            }
            from = to;
        }
    }

    fn change(&mut self, value: ValueId, from: Layout, to: Layout) {
        let Shape { extents: plain, bytes, .. } = self.shape(value);
        let (name, input, output) = match (from, to, self.names.rules.blocked) {
            (Layout::Blocked, _, Some(rule)) => (Some(rule.reorder[1]), padded(plain, rule.block), plain),
            (_, Layout::Blocked, Some(rule)) => (Some(rule.reorder[0]), plain, padded(plain, rule.block)),
            _ => (self.names.rules.transpose, plain, plain),
        };
        let Some(name) = name else { return };
        let op = self.names.get(name).name.clone();
        self.push(Kernel { output, ..Kernel::like(op, to, [bytes; 2], input) }, Span::NONE);
    }

    /// The kernel of a node in a layout, its channels padded to `block`.
    fn kernel(&mut self, node: &Node, layout: Layout, block: Option<u32>) -> Kernel {
        let Window { window, strides, dilations, groups } = node.window;
        let conv = self.names.is(node.op, CONV);
        let padded = |[n, c, h, w]: Extents, read: bool| match block {
            Some(block) if !read || c >= block || groups > 1 || !conv => [n, c.next_multiple_of(block), h, w],
            _ => [n, c, h, w],
        };
        let operator = self.names.get(node.op);
        let renamed: Option<Number> = match layout {
            Layout::Last => operator.renamed,
            Layout::Blocked => operator.blocked,
            Layout::Plain if node.merged => operator.merged,
            _ => None,
        };
        let op = self.names.get(renamed.unwrap_or(node.op)).name.clone();
        let inputs = self.inputs(node);
        let first = self.first_shape(inputs);
        let made = self.first_shape(self.outputs(node));
        let multiplies = self.names.is(node.op, MULTIPLIES);
        // Of several operands of an op without weights the largest counts: a gate may be on either side.
        let (mut read, mut others) = (first.extents, node.others);
        if !multiplies {
            for &input in inputs.iter().skip(1) {
                let extents = self.shape(input).extents;
                read = if super::numbers(extents) > super::numbers(read) { extents } else { read };
            }
            // Of a join those count that it looks up.
            let joins = self.names.is(node.op, LOOKS_UP);
            others = if joins {
                others
            } else {
                (f64::from(node.others) + super::numbers(first.extents) - super::numbers(read)).max(0.0) as u32
            };
        }
        let (mut input, mut output) = (padded(read, true), padded(made.extents, false));
        if multiplies && !self.names.is(node.op, CONVOLVES) {
            (input, output) = (rows(input), rows(output));
        }
        let depthwise = groups > 1 && first.extents[1] == groups;
        Kernel {
            op,
            fused: node.fused,
            layout,
            bytes: [first.bytes, made.bytes],
            input,
            output,
            window,
            strides,
            dilations,
            groups: if depthwise { input[1] } else { groups },
            others,
            around: super::USUAL,
            weights: super::USUAL_WEIGHTS,
            since: super::JUST_NOW,
        }
    }
}

/// What a product of matrices reads or makes: its channels are the last axis, and every row is a pixel.
fn rows([n, c, h, w]: Extents) -> Extents {
    match (h, w) {
        (1, 1) => [n, c, h, w],
        (_, 1) => [n, h, c, 1],
        _ => [n, w, c, h],
    }
}

fn padded([n, c, h, w]: Extents, block: u32) -> Extents {
    [n, c.next_multiple_of(block), h, w]
}
