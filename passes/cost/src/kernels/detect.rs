//! Cuts a graph into the kernels that a runtime makes of it, by the rules of the target (`[kernels]`).
//!
//! Three steps: ops become nodes, with what a kernel does as it stores its result ([`Node`]); nodes get layouts, with changes of
//! layout between them ([`super::layout`]); what is left is written down as kernels. Constants are folded, as runtimes do.
//!
//! A search asks for the kernels of many networks. So a [`Detector`] numbers the operators of its target once, and a [`List`] is
//! room that is used again: nothing is allocated for an op.

use spaceevo_ir::{Diagnostic, Graph, Loc, OpId, ValueId};
use spaceevo_passes::Target;

use super::nodes::{Collector, Room};
use super::rules::Rules;
use super::{Kernel, layout};

/// A kernel, and the ops that it does; none for a change of layout.
#[derive(Clone, PartialEq, Debug)]
pub struct Placed {
    /// What is run.
    pub kernel: Kernel,
    /// The ops of the graph, in order.
    pub ops: Vec<OpId>,
}

/// Knows the kernels of a target's runtime.
#[derive(Debug)]
pub struct Detector {
    rules: Rules,
}

/// The kernels of a graph, and room to find those of the next one in.
#[derive(Debug, Default)]
pub struct List {
    pub(super) kernels: Vec<Kernel>,
    /// Ops of each kernel.
    pub(super) ops: Vec<super::nodes::Span>,
    pub(super) room: Room,
}

impl List {
    /// The kernels, in order.
    pub fn kernels(&self) -> &[Kernel] {
        &self.kernels
    }

    /// The ops that each kernel does, in the order of [`List::kernels`].
    pub fn ops(&self) -> impl Iterator<Item = &[OpId]> {
        self.ops.iter().map(|&span| span.of(&self.room.ops))
    }
}

impl Detector {
    /// Errors: `kernels-unknown` where the target says nothing about kernels.
    pub fn new(target: &Target) -> Result<Detector, Diagnostic> {
        let rules = target.kernels.as_ref().ok_or_else(|| {
            let what = format!("the target '{}' does not say which kernels its runtime has", target.name);
            Diagnostic::error("kernels-unknown", Loc::Unknown, what)
                .note("give its file a section [kernels]; spaceevo-opt learn-fusions finds most of it")
        })?;
        Ok(Detector { rules: Rules::new(rules) })
    }

    /// Finds the kernels of a graph's body, in order; what the list held before is gone.
    ///
    /// Extents that are not known count as one: a batch of one.
    pub fn list(&self, graph: &Graph, list: &mut List) {
        let List { kernels, ops, room } = list;
        kernels.clear();
        ops.clear();
        Collector::new(graph, &self.rules, room).collect();
        layout::place(graph, &self.rules, room, kernels, ops);
        let bytes = moved(kernels);
        surround(kernels, bytes);
    }

    /// The kernel of one op, in integers or in float, where most of its kind run: integer kernels with channels last, float kernels
    /// in blocks where their channels fit. `None` where extents are not known.
    pub fn alone(&self, graph: &Graph, op: OpId, stored: bool) -> Option<Kernel> {
        let record = graph.op(op);
        let computed = |v: &&ValueId| !graph.value(**v).is_const();
        let first = *record.operands().iter().flatten().find(computed)?;
        let known = |v: ValueId| graph.value(v).ty().tensor().is_some_and(|t| t.shape.is_some());
        if !known(first) || !known(*record.results().first()?) {
            return None;
        }
        let mut room = Room::default();
        let node = Collector::new(graph, &self.rules, &mut room).single(op, stored);
        let kernel = layout::alone(graph, &self.rules, &mut room, &node, stored);
        Some(Kernel { bytes: if stored { [1, 1] } else { [4, 4] }, ..kernel })
    }
}

/// Bytes that kernels move in a run, and bytes of their weights. Both are whole numbers, so that sums of sums are the same.
pub fn moved(kernels: &[Kernel]) -> [f64; 2] {
    [kernels.iter().map(Kernel::moved).sum(), kernels.iter().map(Kernel::weighs).sum()]
}

/// Tells the kernels of a network what all of them come to ([`moved`]).
pub fn surround(kernels: &mut [Kernel], bytes: [f64; 2]) {
    let [around, weights] = bytes.map(|bytes| (4.0 * libm::log2(bytes.max(1.0))) as u8);
    kernels.iter_mut().for_each(|kernel| (kernel.around, kernel.weights) = (around, weights));
}

/// The kernels of a graph's body, in order, with their ops. Who asks for many graphs keeps a [`Detector`].
///
/// Errors: those of [`Detector::new`].
pub fn detect(graph: &Graph, target: &Target) -> Result<Vec<Placed>, Diagnostic> {
    let mut list = List::default();
    Detector::new(target)?.list(graph, &mut list);
    let ops: Vec<Vec<OpId>> = list.ops().map(<[OpId]>::to_vec).collect();
    Ok(list.kernels.into_iter().zip(ops).map(|(kernel, ops)| Placed { kernel, ops }).collect())
}
