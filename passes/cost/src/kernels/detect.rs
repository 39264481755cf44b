//! Cuts a graph into the kernels that a runtime makes of it, by the rules of the target (`[kernels]`).
//!
//! Three steps: ops become nodes, with what a kernel does as it stores its result ([`Node`]); nodes get layouts, with changes of
//! layout between them ([`super::layout`]); what is left is written down as kernels. Constants are folded, as runtimes do.
//!
//! A search asks for the kernels of many networks. So a [`Detector`] numbers the operators of its target once, and a [`List`] is
//! room that is used again: nothing is allocated for an op.

use std::sync::Arc;

use spaceevo_ir::{Diagnostic, Graph, Loc, OpId, ValueId};
use spaceevo_passes::Target;

use super::nodes::{Collector, Room};
use super::rules::Rules;
use super::{JUST_NOW, Kernel, layout};

/// Bytes up to which a kernel counts as one that follows another of its operator at once.
const JUST: f64 = (1u64 << (JUST_NOW / 4)) as f64;

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
        surround(kernels, &bytes);
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

/// Bytes that each of some kernels moves, and those of its weights: whole numbers, so that sums of sums are the same.
pub fn moved(kernels: &[Kernel]) -> Vec<[f64; 2]> {
    kernels.iter().map(|kernel| [kernel.moved(), kernel.weighs()]).collect()
}

/// Tells the kernels of a network, in order, what all of them come to, and what is moved since the last one of their operator. `bytes` are
/// those of each ([`moved`]).
pub fn surround(kernels: &mut [Kernel], bytes: &[[f64; 2]]) {
    let quarters = |bytes: f64| (4.0 * libm::log2(bytes.max(1.0))) as u8;
    let [all, weighs] = bytes.iter().fold([0.0; 2], |[all, weighs], each| [all + each[0], weighs + each[1]]);
    let (around, weights) = (quarters(all), quarters(weighs));
    // Where each operator was last: of the first in a run that is the end of the run before.
    let mut last: Vec<(Arc<str>, f64)> = Vec::new();
    let mut behind = all;
    for (kernel, [moved, _]) in kernels.iter().zip(bytes).rev() {
        if !last.iter().any(|(op, _)| is_same(op, &kernel.op)) {
            last.push((kernel.op.clone(), behind - all));
        }
        behind -= moved;
    }
    let mut before = 0.0;
    for (kernel, [moved, _]) in kernels.iter_mut().zip(bytes) {
        (kernel.around, kernel.weights) = (around, weights);
        let Some((_, last)) = last.iter_mut().find(|(op, _)| is_same(op, &kernel.op)) else { continue };
        kernel.since = since(before - *last);
        before += moved;
        *last = before;
    }
}

/// True of operators of one name, which mostly lies in one place.
fn is_same(a: &Arc<str>, b: &Arc<str>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// [`Kernel::since`] of so many bytes.
fn since(bytes: f64) -> u8 {
    if bytes <= JUST { JUST_NOW } else { 2 * (2.0 * libm::log2(bytes)).round() as u8 }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Layout;

    #[test]
    fn kernels_know_how_long_ago_their_operator_ran() {
        let kernel = |op: &str, channels: u32| Kernel::same(op, Layout::Last, [1, 1], [1, channels, 1 << 10, 1 << 10]);
        // Each moves 2 MB a channel: 4 MB, 2 MB, 4 MB, and 6 MB.
        let mut kernels = [kernel("Clip", 2), kernel("Pool", 1), kernel("Clip", 2), kernel("Add", 3)];
        let bytes = moved(&kernels);
        assert_eq!(bytes[1], [f64::from(1 << 21), 0.0]);
        surround(&mut kernels, &bytes);
        let since = kernels.each_ref().map(|kernel| f32::from(kernel.since) / 4.0);
        // 6 MB before the first in the run before; 14 since the pool; 2; 10 since the sum.
        assert_eq!(since, [22.5, 24.0, 21.0, 23.5]);
        let mut alone = [kernel("Clip", 1), kernel("Clip", 1)];
        let bytes = moved(&alone);
        surround(&mut alone, &bytes);
        assert_eq!(alone.map(|kernel| kernel.since), [JUST_NOW; 2]);
    }
}
