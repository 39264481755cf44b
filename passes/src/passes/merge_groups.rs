//! Merges neighbouring groups of a convolution into wider ones, where integer kernels are faster on those.
//!
//! ```text
//! %w = const [..] : qi8(..)[64,8,3,3]                        %w = const [..] : qi8(..)[64,32,3,3]
//! %y = onnx.Conv %x, %w {group = 8} : qu8(..)[..]     ──▶    %y = onnx.Conv %x, %w {group = 2} : qu8(..)[..]
//! ```
//!
//! The weights that join channels of different groups are stored zeros: they add nothing to an integer sum, so the result is
//! the same bit for bit. Time goes with `width / speed(width)`: more products, but on a kernel that is as many times faster.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Elem, Graph, OpId, Quant, Tensor, TensorType};

use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::price::MOST_GROUPS;
use crate::rewrite;

/// See the module documentation.
pub(crate) struct MergeGroups;

static INFO: PassInfo = PassInfo {
    name: "merge-groups",
    summary: "merge groups of integer convolutions into wider ones that the target runs faster",
    doc: "For each grouped Conv with stored weights, every number of groups that divides the present one is priced by the \
          target's table of speeds by group width (section [groups] of the target file); the cheapest is taken when it saves \
          as much as the table is worth. Depthwise convolutions have kernels of their own and are left alone, without a word. \
          Declines when the target has no such table, when the weights are float or computed, and when no other width is \
          faster.",
    effect: Effect::Exact,
    accepts: Form::Any,
    leaves: Form::Any,
    options: &[],
};

impl Pass for MergeGroups {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for op in graph.all_ops() {
            let Some(groups) = Groups::of(graph, op) else { continue };
            let merged = match groups.cheapest(graph, op, cx) {
                Ok(merged) => merged,
                Err(why) => {
                    cx.declined(graph, op, why);
                    continue;
                }
            };
            let count = groups.count / merged;
            let what =
                format!("{} groups of {} channels become {count} of {}", groups.count, groups.width, groups.width * merged);
            if !cx.rewrite(graph, op, what) {
                break;
            }
            groups.merge(graph, op, merged);
            changed = true;
        }
        Ok(Outcome::from(changed))
    }
}

/// A grouped convolution that is not depthwise.
struct Groups {
    /// How many.
    count: usize,
    /// Input channels of each.
    width: usize,
    /// Extents of the weights: `[filters, width, kernel..]`.
    dims: Vec<usize>,
}

impl Groups {
    fn of(graph: &Graph, op: OpId) -> Option<Groups> {
        let record = graph.op(op);
        let count =
            Some(record.int("group", 1)).filter(|g| (2..=MOST_GROUPS).contains(g) && record.name().is_onnx("Conv"))?;
        let count = usize::try_from(count).ok()?;
        let dims = graph.value(record.operand(1)?).ty().dims()?;
        let (&filters, &width) = (dims.first()?, dims.get(1)?);
        (width > 1 && filters > 0 && filters.is_multiple_of(count)).then_some(Groups { count, width, dims })
    }

    /// How many neighbours to put together; a sentence why none.
    fn cheapest(&self, graph: &Graph, op: OpId, cx: &PassContext<'_>) -> Result<usize, String> {
        let is_byte = |q: &Quant| q.store.bits() == 8 && q.axis.is_none_or(|axis| axis == 0);
        let weights = graph.op(op).operand(1).map(|w| graph.value(w));
        let stored = weights.filter(|w| w.is_const() && w.ty().quant().is_some_and(|q| is_byte(q)));
        stored.ok_or("its weights are float or computed: only integer kernels gain from wider groups")?;
        let table = cx.target.groups.as_ref().ok_or("the target says nothing about the width of groups")?;
        let time = |merged: usize| merged as f64 / table.speed.at((self.width * merged) as f64);
        let divisors = (2..=self.count).filter(|&merged| self.count.is_multiple_of(merged));
        let best = divisors.min_by(|&a, &b| time(a).total_cmp(&time(b)));
        let best = best.filter(|&merged| time(merged) < (1.0 - table.gain) * time(1));
        best.ok_or_else(|| format!("groups of {} channels are as fast as wider ones on this target", self.width))
    }

    fn merge(&self, graph: &mut Graph, op: OpId, merged: usize) {
        let old = graph.op(op).operand(1);
        let Some((value, tensor)) = old.and_then(|v| Some((v, graph.const_of(v)?.clone()))) else { return };
        let Some(quant) = graph.value(value).ty().quant().cloned() else { return };
        let mut dims = self.dims.clone();
        dims[1] *= merged;
        let Some(stored) = self.spread(&tensor, &quant, merged, &dims) else { return };
        let ty = TensorType { quant: Some(quant), ..TensorType::of(Elem::F32, &dims) };
        let name = graph.value(value).name().clone();
        let wide = graph.add_typed_const(graph.op(op).region(), name, stored, ty);
        rewrite::exchange_operand(graph, op, 1, Some(wide));
        if merged == self.count {
            graph.remove_attr(op, "group");
        } else {
            graph.set_attr(op, "group", Attr::Int((self.count / merged) as i64));
        }
    }

    /// The weights with zeros where a filter meets channels that were of another group.
    fn spread(&self, weights: &Tensor, quant: &Quant, merged: usize, dims: &[usize]) -> Option<Tensor> {
        let narrow = weights.bytes();
        let taps: usize = self.dims[2..].iter().product();
        let (row, filters) = (self.width * taps, self.dims[0]);
        let mut wide = Vec::with_capacity(narrow.len().checked_mul(merged)?);
        for (filter, own) in narrow.chunks_exact(row.max(1)).enumerate() {
            let zero = quant.at(if quant.axis.is_some() { filter } else { 0 }).1 as u8;
            let place = filter / (filters / self.count) % merged;
            wide.extend(std::iter::repeat_n(zero, place * row));
            wide.extend_from_slice(own);
            wide.extend(std::iter::repeat_n(zero, (merged - 1 - place) * row));
        }
        Tensor::from_bytes(weights.elem(), dims, wide)
    }
}
