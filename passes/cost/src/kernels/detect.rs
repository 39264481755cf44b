//! Cuts a graph into the kernels that a runtime makes of it, by the rules of the target (`[kernels]`).
//!
//! Three steps: ops become nodes, with what a kernel does as it stores its result ([`Node`]); nodes get layouts, with changes of
//! layout between them ([`super::layout`]); what is left is written down as kernels. Constants are folded, as runtimes do.

use std::sync::Arc;

use spaceevo_ir::graph::User;
use spaceevo_ir::{Diagnostic, Elem, Graph, Loc, OpId, Type, ValueId};
use spaceevo_passes::Target;
use spaceevo_passes::kernel_rules::KernelRules;

use super::{Extents, Kernel, Layout};

/// A kernel, and the ops that it does; none for a change of layout.
#[derive(Clone, PartialEq, Debug)]
pub struct Placed {
    /// What is run.
    pub kernel: Kernel,
    /// The ops of the graph, in order.
    pub ops: Vec<OpId>,
}

/// The kernels of a graph's body, in order.
///
/// Extents that are not known count as one: a batch of one. Errors: `kernels-unknown` where the target says nothing about
/// kernels.
pub fn detect(graph: &Graph, target: &Target) -> Result<Vec<Placed>, Diagnostic> {
    let rules = target.kernels.as_ref().ok_or_else(|| {
        let what = format!("the target '{}' does not say which kernels its runtime has", target.name);
        Diagnostic::error("kernels-unknown", Loc::Unknown, what)
            .note("give its file a section [kernels]; spaceevo-opt learn-fusions finds most of it")
    })?;
    let nodes = Nodes { graph, rules }.collect();
    let mut placed = super::layout::place(graph, rules, nodes);
    let moved: f64 = placed.iter().map(|p| p.kernel.moved()).sum();
    let around = (moved.max(1.0) as u64).ilog2() as u8;
    placed.iter_mut().for_each(|p| p.kernel.around = around);
    Ok(placed)
}

/// The kernel of one op, in integers or in float, where most of its kind run: integer kernels with channels last, float kernels in
/// blocks where their channels fit. `None` where the target says nothing about kernels, or extents are not known.
pub fn alone(graph: &Graph, target: &Target, op: OpId, stored: bool) -> Option<Kernel> {
    let rules = target.kernels.as_ref()?;
    let record = graph.op(op);
    let computed = |v: &&ValueId| !graph.value(**v).is_const();
    let inputs: Vec<ValueId> = record.operands().iter().flatten().filter(computed).copied().collect();
    let first = *inputs.first()?;
    let known = |v: ValueId| graph.value(v).ty().tensor().is_some_and(|t| t.shape.is_some());
    if !known(first) || !known(*record.results().first()?) {
        return None;
    }
    let mut node = Nodes { graph, rules }.node(op, inputs);
    if stored && let Some(name) = rules.stored.get(&record.name().to_string()) {
        node.op = name.as_str().into();
    }
    let (layout, block) = super::layout::usual(graph, rules, &node, stored);
    let kernel = kernel(graph, rules, &node, layout, block);
    Some(Kernel { bytes: if stored { [1, 1] } else { [4, 4] }, ..kernel })
}

/// Ops that run as one.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) op: Arc<str>,
    pub(super) ops: Vec<OpId>,
    /// Operands that are computed, in order.
    pub(super) inputs: Vec<ValueId>,
    /// What it makes.
    pub(super) outputs: Vec<ValueId>,
    /// Does more than its own operator.
    pub(super) merged: bool,
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

struct Nodes<'a> {
    graph: &'a Graph,
    rules: &'a KernelRules,
}

impl Nodes<'_> {
    fn collect(&self) -> Vec<Node> {
        let graph = self.graph;
        let mut folded = vec![false; graph.value_bound()];
        let mut taken = vec![false; graph.op_bound()];
        let mut nodes = Vec::new();
        for op in graph.ops_in(graph.body()) {
            let record = graph.op(op);
            let computed = |v: &&ValueId| !folded[v.index()] && !graph.value(**v).is_const();
            let inputs: Vec<ValueId> = record.operands().iter().flatten().filter(computed).copied().collect();
            if inputs.is_empty() {
                record.results().iter().for_each(|v| folded[v.index()] = true);
                continue;
            }
            if taken[op.index()] || self.rules.free.iter().any(|free| **free == *record.name().op) {
                continue;
            }
            if let Some((node, ops)) = self.gate(op) {
                ops.iter().for_each(|op| taken[op.index()] = true);
                nodes.push(node);
                continue;
            }
            if let Some((node, ops)) = self.joined(op) {
                ops.iter().for_each(|op| taken[op.index()] = true);
                nodes.push(node);
                continue;
            }
            let mut node = self.node(op, inputs);
            if let [result] = node.outputs[..]
                && let Some(next) = graph.only_user(result).filter(|_| !graph.is_returned(result))
                && self.rules.fuses(&node.op, &graph.op(next).name().op)
                && graph.op(next).operand(0) == Some(result)
            {
                taken[next.index()] = true;
                node.ops.push(next);
                node.outputs = graph.op(next).results().to_vec();
                node.merged = true;
            }
            nodes.push(node);
        }
        nodes
    }

    fn node(&self, op: OpId, inputs: Vec<ValueId>) -> Node {
        let graph = self.graph;
        let record = graph.op(op);
        let outputs = record.results().to_vec();
        let stored = outputs.first().is_some_and(|&v| graph.value(v).ty().quant().is_some());
        let name = stored.then(|| self.rules.stored.get(&record.name().to_string())).flatten();
        let name: Arc<str> = name.map_or_else(|| record.name().op.clone(), |name| Arc::from(name.as_str()));
        let window = self.window(op, &name);
        let multiplies = name.ends_with("Conv") || name.ends_with("Gemm") || name.ends_with("MatMul");
        let numbers = |v: ValueId| extents(graph.value(v).ty()).iter().product::<u32>();
        let others = record.operands().iter().skip(1).flatten().map(|&v| numbers(v)).filter(|&n| n > 1);
        let others = if multiplies { 0 } else { others.fold(0, u32::saturating_add) };
        Node { op: name, ops: vec![op], inputs, outputs, merged: false, window, others }
    }

    /// All ops of a kind that read one value, where nothing else reads it.
    fn joined(&self, op: OpId) -> Option<(Node, Vec<OpId>)> {
        let graph = self.graph;
        let name = self.rules.joined.get(&*graph.op(op).name().op)?;
        let read = graph.op(op).operand(0)?;
        let alike = |user: &User| match user {
            User::Op(other, 0) => (graph.op(*other).name() == graph.op(op).name()).then_some(*other),
            _ => None,
        };
        let ops = graph.value(read).users().iter().map(alike).collect::<Option<Vec<OpId>>>()?;
        if ops.len() < 2 {
            return None;
        }
        let outputs = ops.iter().flat_map(|&op| graph.op(op).results().iter().copied()).collect();
        let window = self.window(op, name);
        let (name, inputs) = (Arc::from(name.as_str()), vec![read]);
        Some((Node { op: name, ops: ops.clone(), inputs, outputs, merged: false, window, others: 0 }, ops))
    }

    /// A sigmoid that only the product with what it reads reads, as one node.
    fn gate(&self, op: OpId) -> Option<(Node, [OpId; 2])> {
        let graph = self.graph;
        let record = graph.op(op);
        let name = self.rules.gated.get(&*record.name().op)?;
        let (read, made) = (record.operand(0)?, *record.results().first()?);
        let product = graph.only_user(made).filter(|_| !graph.is_returned(made))?;
        let factors = graph.op(product).operands();
        let both = factors.contains(&Some(read)) && factors.contains(&Some(made));
        if &*graph.op(product).name().op != "Mul" || !both || graph.value(made).ty().quant().is_some() {
            return None;
        }
        let window = self.window(op, name);
        let outputs = graph.op(product).results().to_vec();
        let (name, ops, inputs) = (Arc::from(name.as_str()), vec![op, product], vec![read]);
        Some((Node { op: name, ops, inputs, outputs, merged: false, window, others: 0 }, [op, product]))
    }

    fn window(&self, op: OpId, name: &str) -> Window {
        let record = self.graph.op(op);
        let pair = |ints: Option<&[i64]>| match ints {
            Some(&[.., y, x]) => [y.max(1) as u32, x.max(1) as u32],
            Some(&[x]) => [1, x.max(1) as u32],
            _ => [1, 1],
        };
        let weights = if name.starts_with("QLinear") && record.operands().len() > 4 { 3 } else { 1 };
        let kernel = match record.ints("kernel_shape") {
            Some(ints) => pair(Some(ints)),
            None if name.ends_with("Conv") => {
                let shape = record.operand(weights).map(|w| extents(self.graph.value(w).ty()));
                shape.map_or([1, 1], |[_, _, y, x]| [y, x])
            }
            None => [1, 1],
        };
        Window {
            window: kernel,
            strides: pair(record.ints("strides")),
            dilations: pair(record.ints("dilations")),
            groups: record.int("group", 1).max(1) as u32,
        }
    }
}

/// Extents of a type; those that are not known are 1.
pub(super) fn extents(ty: &Type) -> Extents {
    let Some(shape) = ty.tensor().and_then(|t| t.shape.as_ref()) else { return [1; 4] };
    let known = |at: usize| shape[at].known().map_or(1, |n| u32::try_from(n).unwrap_or(u32::MAX));
    match shape.len() {
        0 => [1; 4],
        1 => [1, known(0), 1, 1],
        2 => [known(0), known(1), 1, 1],
        3 => [known(0), known(1), known(2), 1],
        rank => {
            let rest = (3..rank).map(known).fold(1u32, u32::saturating_mul);
            [known(0), known(1), known(2), rest]
        }
    }
}

/// Bytes of a number as it is stored.
pub(super) fn bytes(ty: &Type) -> u8 {
    let elem = ty.tensor().map_or(Elem::F32, |t| t.storage());
    elem.byte_len(1).map_or(1, |n| n.clamp(1, 8) as u8)
}

/// The kernel of a node in a layout, its channels padded to `block`.
pub(super) fn kernel(graph: &Graph, rules: &KernelRules, node: &Node, layout: Layout, block: Option<u32>) -> Kernel {
    let ty = |values: &[ValueId]| values.first().map(|&v| graph.value(v).ty());
    let of = |values: &[ValueId]| ty(values).map_or([1; 4], extents);
    let size = |values: &[ValueId]| ty(values).map_or(1, bytes);
    let padded = |[n, c, h, w]: Extents, read: bool| match block {
        Some(block) if !read || c >= block || node.window.groups > 1 || &*node.op != "Conv" => {
            [n, c.next_multiple_of(block), h, w]
        }
        _ => [n, c, h, w],
    };
    let name = match layout {
        Layout::Last => rules.renamed.get(&*node.op),
        Layout::Plain if node.merged => rules.merged.get(&*node.op),
        _ => None,
    };
    // Of several operands of an op without weights the largest counts: a gate may be on either side.
    let size_of = |v: &ValueId| super::numbers(extents(graph.value(*v).ty()));
    let multiplies = ["Conv", "Gemm", "MatMul"].iter().any(|op| node.op.ends_with(op));
    let largest = node.inputs.iter().copied().reduce(|a, b| if size_of(&b) > size_of(&a) { b } else { a });
    let read = if multiplies { of(&node.inputs) } else { of(largest.as_slice()) };
    let (first, most) = (super::numbers(of(&node.inputs)), super::numbers(read));
    let others = (f64::from(node.others) + first - most).max(0.0) as u32;
    let input = padded(read, true);
    let Window { window, strides, dilations, groups } = node.window;
    let depthwise = groups > 1 && of(&node.inputs)[1] == groups;
    Kernel {
        op: name.map_or_else(|| node.op.clone(), |name| Arc::from(name.as_str())),
        layout,
        bytes: [size(&node.inputs), size(&node.outputs)],
        input,
        output: padded(of(&node.outputs), false),
        window,
        strides,
        dilations,
        groups: if depthwise { input[1] } else { groups },
        others: if multiplies { node.others } else { others },
        around: super::USUAL,
    }
}
