//! Makes one convolution of several that read the same map, where one kernel call does them all in the time of the widest.
//!
//! ```text
//! %a = onnx.Conv %x, %v : qu8(0.1, 3)[1,10,..]           %m = onnx.Conv %x, [%v; %w] : qu8(axis 1, [0.1, .., 0.4, ..], [..])[1,14,..]
//! %b = onnx.Conv %x, %w : qu8(0.4, 9)[1,4,..]            %n = onnx.Conv %m, [%r; %s] {group = 14} : f32[1,14,..]
//! %c = onnx.Conv %a, %r {group = 10} : f32[1,10,..] ──▶  %c, %d = onnx.Split %n, [10, 4] {axis = 1} : f32[1,10,..], f32[1,4,..]
//! %d = onnx.Conv %b, %s {group = 4} : f32[1,4,..]
//! ```
//!
//! Heads of detectors look like this. Each channel keeps the type that it had, so that no digit is lost; `quantize/one_scale.rs`
//! says how integer kernels, which know one scale for a result, store that all the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use spaceevo_ir::verify::Form;
use spaceevo_ir::{
    Attr, Attrs, Dim, Graph, Loc, NewOp, OpId, OpName, Place, Quant, Tensor, TensorType, Type, User, ValueId,
};

use crate::analysis::opset;
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::quantize::join::along;
use crate::quantize::one_scale::one_scale;
use crate::rewrite::erase_unread;
use crate::target::{Cut, Target, WidthRule};
use crate::width::price::time;

/// See the module documentation.
pub(crate) struct MergeSiblings;

static INFO: PassInfo = PassInfo {
    name: "merge-siblings",
    summary: "make one convolution of several of few filters that read the same map",
    doc: "Convs of one group that read the same value in the same way become one, as many of them as have together no more \
          filters than the kernel of the widest computes anyway (`output` and `least_output` of the target's section [width]). \
          Depthwise Convs with float results behind them become one, too, and a Split gives the parts their names. It is for \
          quantized types and the writer of integer operators, behind `quantize` and before `legalize-width`: the result \
          is stored with a scale and a zero point for each channel, those that its parts had. Where all readers \
          run in float, parts are split behind the conversion.\n\n\
          Every number is the same sum as before. (A runtime may add it up in another order where a float Conv has other filters; \
          where stored zero points differ, a few numbers in a thousand land on the neighbouring step.)\n\n\
          It declines where filters are too many, where time saved is not at least the part `gain` with the Split paid (`cut`), \
          where zero points are too far apart for a bias of 32 bits, and below operator set 13. It does nothing for a \
          target without `cut`.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Any,
    options: &[],
};

impl Pass for MergeSiblings {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let rule = cx.target.width.clone();
        let Some((rule, cut)) = rule.and_then(|rule| rule.cut.map(|cut| (rule, cut))) else { return Ok(Outcome::Unchanged) };
        let mut changed = false;
        for siblings in siblings(graph) {
            let packs = packs(graph, &siblings, &rule);
            if packs.is_empty() {
                let counts: Vec<String> = siblings.iter().map(|&op| filters(graph, op).to_string()).collect();
                let why = format!("{} filters: the kernel of the widest has no room for another", counts.join(", "));
                cx.declined(graph, siblings[0], why);
            }
            for pack in packs {
                let at = pack[0];
                let merger = match Merger::of(graph, cx.target, pack, (&rule, cut)) {
                    Ok(merger) => merger,
                    Err(why) => {
                        cx.declined(graph, at, why);
                        continue;
                    }
                };
                let (count, all) = (merger.levels[0].len(), merger.counts.iter().sum::<usize>());
                if !cx.rewrite(graph, at, format!("{count} Convs that read the same become one of {all} filters")) {
                    return Ok(Outcome::from(changed));
                }
                cx.count("Convs", merger.levels.iter().map(Vec::len).sum::<usize>() as u64);
                merger.apply(graph);
                changed = true;
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// Filters of a Conv that [`siblings`] has found.
fn filters(graph: &Graph, op: OpId) -> usize {
    let weights = graph.op(op).operand(1).and_then(|w| graph.value(w).ty().dims());
    weights.map_or(0, |dims| dims[0])
}

/// Convs of the body that read the same value in the same way, in the order of the graph; two or more each.
fn siblings(graph: &Graph) -> Vec<Vec<OpId>> {
    let mut found: Vec<Vec<OpId>> = Vec::new();
    let mut readers: BTreeMap<ValueId, Vec<usize>> = BTreeMap::new();
    for op in graph.ops_in(graph.body()) {
        let one_group = graph.op(op).int("group", 1) == 1;
        let quants = [0, 1].map(|index| graph.op(op).operand(index).is_some_and(|v| graph.value(v).ty().quant().is_some()));
        let stored = graph.op(op).results().first().is_some_and(|&v| graph.value(v).ty().quant().is_some());
        if !one_group || !is_plain_conv(graph, op) || stored && quants != [true; 2] {
            continue;
        }
        let Some(input) = graph.op(op).operand(0) else { continue };
        let groups = readers.entry(input).or_default();
        match groups.iter().find(|&&at| alike(graph, found[at][0], op)) {
            Some(&at) => found[at].push(op),
            None => {
                groups.push(found.len());
                found.push(vec![op]);
            }
        }
    }
    found.retain(|group| group.len() > 1);
    found
}

/// True for a Conv with constant weights and bias whose filters can be put below others: bytes in whole rows, one scale each or
/// one for all; and a result of known extents, stored with one scale if at all.
fn is_plain_conv(graph: &Graph, op: OpId) -> bool {
    let record = graph.op(op);
    let ([result], Some(_), Some(weights)) = (record.results(), record.operand(0), record.operand(1)) else { return false };
    let rows = |value: ValueId| {
        let known =
            graph.const_of(value).filter(|t| graph.value(value).is_const() && t.elem().bits() % 8 == 0 && !t.is_empty());
        let scaled = graph.value(value).ty().quant().is_none_or(|q| q.axis.is_none_or(|axis| axis == 0));
        known.filter(|_| scaled).map(|tensor| tensor.dims().to_vec())
    };
    let made = graph.value(*result).ty().tensor();
    let made = made.filter(|ty| ty.quant.as_ref().is_none_or(|q| q.axis.is_none() && q.store.bits() == 8));
    let Some(dims) = rows(weights).filter(|dims| dims.len() > 2) else { return false };
    record.name().is_onnx("Conv")
        && record.operand(2).is_none_or(|bias| rows(bias).is_some_and(|b| b == dims[..1]))
        && made.is_some_and(|ty| ty.rank() == Some(dims.len()) && ty.dim(1) == Some(dims[0]))
}

/// True for Convs that differ in nothing but filters and their number.
fn alike(graph: &Graph, a: OpId, b: OpId) -> bool {
    let attrs = |op: OpId| -> Attrs {
        let implied = ["group", "kernel_shape"];
        graph
            .op(op)
            .attrs()
            .iter()
            .filter(|(name, _)| !implied.contains(&&***name))
            .map(|(n, x)| (n.clone(), x.clone()))
            .collect()
    };
    let kernel = |op: OpId| graph.op(op).operand(1).and_then(|w| graph.value(w).ty().dims()).map(|dims| dims[1..].to_vec());
    // How weights, bias and result are stored.
    let stores = |op: OpId| {
        let values = [graph.op(op).operand(1), graph.op(op).operand(2), Some(graph.op(op).result())];
        values.map(|v| v.and_then(|v| graph.value(v).ty().tensor()).map(|ty| (ty.elem, ty.quant.as_ref().map(|q| q.store))))
    };
    attrs(a) == attrs(b) && kernel(a) == kernel(b) && stores(a) == stores(b)
}

/// Siblings that fit together into the kernel of their widest, the widest first; two or more each.
fn packs(graph: &Graph, siblings: &[OpId], rule: &WidthRule) -> Vec<Vec<OpId>> {
    let mut siblings = siblings.to_vec();
    siblings.sort_by_key(|&op| std::cmp::Reverse(filters(graph, op)));
    let mut packs: Vec<(usize, Vec<OpId>)> = Vec::new();
    for op in siblings {
        let count = filters(graph, op);
        match packs.iter_mut().find(|(room, _)| *room >= count) {
            Some((room, pack)) => {
                *room -= count;
                pack.push(op);
            }
            None => packs.push((count.max(rule.least_output).next_multiple_of(rule.output.max(1)) - count, vec![op])),
        }
    }
    packs.into_iter().map(|(_, pack)| pack).filter(|pack| pack.len() > 1).collect()
}

/// Depthwise Convs with float results, one behind each of these and all alike.
fn followers(graph: &Graph, ops: &[OpId]) -> Option<Vec<OpId>> {
    let follower = |&op: &OpId| {
        let (made, count) = (graph.op(op).result(), filters(graph, op));
        let next =
            graph.only_user(made).filter(|&next| is_plain_conv(graph, next) && graph.op(next).operand(0) == Some(made))?;
        let float = graph.value(graph.op(next).result()).ty().quant().is_none();
        let weights = graph.op(next).operand(1).and_then(|w| graph.value(w).ty().dims())?;
        let depthwise = graph.op(next).int("group", 1) == count as i64 && weights[..2] == [count, 1];
        (float && depthwise && graph.op(next).region() == graph.body()).then_some(next)
    };
    let next: Vec<OpId> = ops.iter().map(follower).collect::<Option<_>>()?;
    next.iter().all(|&op| alike(graph, next[0], op)).then_some(next)
}

/// Convs that become one, and those behind them.
struct Merger {
    /// The siblings, then what follows each of them, step by step.
    levels: Vec<Vec<OpId>>,
    /// Filters of each.
    counts: Vec<usize>,
    /// The parts are split as real numbers although they were stored.
    converted: bool,
}

impl Merger {
    /// A sentence why it does not pay, or cannot be.
    fn of(graph: &Graph, target: &Target, pack: Vec<OpId>, (rule, cut): (&WidthRule, Cut)) -> Result<Merger, String> {
        if opset(graph, pack[0]) < 13 {
            return Err("operator set 13 brings the Split that this needs: run upgrade-opset first".into());
        }
        let counts: Vec<usize> = pack.iter().map(|&op| filters(graph, op)).collect();
        let mut levels = vec![pack];
        while let Some(next) = followers(graph, &levels[levels.len() - 1]) {
            levels.push(next);
        }
        let last = &levels[levels.len() - 1];
        let parts = || last.iter().map(|&op| graph.op(op).result());
        let stored = parts().any(|v| graph.value(v).ty().quant().is_some());
        let converted = stored && parts().all(|v| is_read_as_float(graph, target, v));
        let bytes = stored && !converted;
        if bytes && !target.ops.is_movement(&OpName::onnx("Split")) {
            return Err("the target does not split stored numbers".into());
        }
        let first = graph.op(levels[0][0]);
        let quant = |index| first.operand(index).and_then(|v| graph.value(v).ty().quant());
        let (weights, made) =
            (joined(graph, &operands(graph, &levels[0], 1), 0), joined(graph, &results(graph, &levels[0]), 1));
        if let Some(made) = made.filter(|q| q.axis.is_some())
            && quant(0).zip(weights).is_none_or(|(x, w)| one_scale(x, &w, &made).is_none())
        {
            return Err("their zero points are too far apart for a bias of 32 bits".into());
        }
        let typed = |op: OpId| graph.value(graph.op(op).result()).ty().quant().is_some();
        let read = graph.op(levels[0][0]).operand(0).and_then(|v| graph.value(v).ty().tensor()?.dim(1)).unwrap_or(1);
        let conv = |count: usize| time(graph, levels[0][0], (read, count), target, !typed(levels[0][0]));
        // What a Slice takes before it moves anything is what any call takes. How much faster what follows gets is left out.
        let calls = |of: usize| cut.call * (levels.len() * of) as f64;
        let before = counts.iter().map(|&count| conv(count)).sum::<f64>() + calls(counts.len());
        let moved = if bytes { (cut.time(graph, graph.op(last[0]).result()) - cut.call) * counts.len() as f64 } else { 0.0 };
        let after = conv(counts.iter().sum()) + calls(1) + cut.call + moved;
        if after > before * (1.0 - rule.gain) {
            return Err(format!("one Conv and a Split would take {:.1} us, they take {:.1} us", after / 1e3, before / 1e3));
        }
        Ok(Merger { levels, counts, converted })
    }

    fn apply(self, graph: &mut Graph) {
        let body = graph.body();
        let first = graph.ops_in(body).find(|op| self.levels[0].contains(op));
        let place = Place::Before(first.unwrap_or(self.levels[0][0]));
        let all: usize = self.counts.iter().sum();
        let Some(mut value) = graph.op(self.levels[0][0]).operand(0) else { return };
        for (step, level) in self.levels.iter().enumerate() {
            let old = results(graph, level);
            let mut ty =
                graph.value(old[0]).ty().tensor().cloned().unwrap_or_else(|| TensorType::of(spaceevo_ir::Elem::F32, &[]));
            ty.quant = joined(graph, &old, 1).map(Arc::new);
            ty.shape.iter_mut().for_each(|shape| shape[1] = Dim::Known(all as u64));
            let mut attrs = graph.op(level[0]).attrs().clone();
            if step > 0 {
                attrs.insert("group".into(), Attr::Int(all as i64));
            }
            let constants = [1, 2].map(|index| stacked(graph, &operands(graph, level, index)));
            let name = format!("{}_siblings", graph.value(old[0]).name());
            let new = NewOp::onnx("Conv").attrs(attrs).operand(value).operands(constants.into_iter().flatten().map(Some));
            let new = made(graph, new, level).result(name, ty);
            let op = graph.insert(place, new);
            value = graph.op(op).result();
        }
        let last = &self.levels[self.levels.len() - 1];
        let sizes: Vec<i64> = self.counts.iter().map(|&n| n as i64).collect();
        let sizes = graph.add_const(body, format!("{}_sizes", graph.value(value).name()), Tensor::new([sizes.len()], sizes));
        let mut split = NewOp::onnx("Split").attr("axis", Attr::Int(1)).operand(value).operand(sizes);
        for &old in &results(graph, last) {
            let mut ty = graph.value(old).ty().clone();
            if let (Type::Tensor(tensor), true) = (&mut ty, self.converted) {
                tensor.quant = None;
            }
            split = split.result(graph.value(old).name().clone(), ty);
        }
        let split = made(graph, split, last);
        let split = graph.insert(place, split);
        let parts = graph.op(split).results().to_vec();
        for (&op, part) in last.iter().zip(parts) {
            let old = graph.op(op).result();
            graph.set_range(part, graph.value(old).range());
            if let Some(meta) = graph.value(old).meta().cloned() {
                graph.set_value_meta(part, meta);
            }
            graph.replace_all_uses(old, part);
            erase_unread(graph, op);
        }
    }
}

fn made(graph: &Graph, new: NewOp, from: &[OpId]) -> NewOp {
    let locs: Vec<&Loc> = from.iter().map(|&op| graph.op(op).loc()).collect();
    new.made(INFO.name, &locs)
}

fn results(graph: &Graph, ops: &[OpId]) -> Vec<ValueId> {
    ops.iter().map(|&op| graph.op(op).result()).collect()
}

/// Operand `index` of each, as far as they have it; all or none have, see [`alike`].
fn operands(graph: &Graph, ops: &[OpId], index: usize) -> Vec<ValueId> {
    ops.iter().filter_map(|&op| graph.op(op).operand(index)).collect()
}

/// True when stored numbers are only read to compute real ones.
fn is_read_as_float(graph: &Graph, target: &Target, value: ValueId) -> bool {
    let plain = |op: OpId| graph.op(op).results().iter().all(|&v| graph.value(v).ty().quant().is_none());
    graph.value(value).users().iter().all(|user| match user {
        User::Op(op, _) => plain(*op) && !target.ops.gives_floats(graph.op(*op).name()),
        User::Return(..) => false,
    })
}

/// The type of what is these, one behind the other along `axis`; `None` when they are not stored.
fn joined(graph: &Graph, values: &[ValueId], axis: usize) -> Option<Quant> {
    let quant = |value: &ValueId| graph.value(*value).ty().quant().map(|q| &**q);
    let first = quant(values.first()?)?;
    if first.axis.is_none() && values.iter().all(|v| quant(v) == Some(first)) {
        return Some(first.clone());
    }
    let part = |value: &ValueId| Some((quant(value)?, graph.value(*value).ty().tensor()?.dim(axis)?));
    Some(along(axis, values.iter().map(part).collect::<Option<Vec<_>>>()?.into_iter()))
}

/// One constant with the rows of all of these; `None` of none.
fn stacked(graph: &mut Graph, values: &[ValueId]) -> Option<ValueId> {
    let tensors: Vec<&Tensor> = values.iter().map(|&v| graph.const_of(v)).collect::<Option<_>>()?;
    let mut dims = tensors.first()?.dims().to_vec();
    dims[0] = tensors.iter().map(|t| t.dims()[0]).sum();
    let bytes: Vec<u8> = tensors.iter().flat_map(|t| t.bytes().to_vec()).collect();
    let tensor = Tensor::from_bytes(tensors[0].elem(), dims.clone(), bytes)?;
    let elem = graph.value(values[0]).ty().elem().unwrap_or(tensor.elem());
    let ty = TensorType { quant: joined(graph, values, 0).map(Arc::new), ..TensorType::of(elem, &dims) };
    let name = graph.value(values[0]).name().clone();
    Some(graph.add_typed_const(graph.body(), name, tensor, ty))
}
