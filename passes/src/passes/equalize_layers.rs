//! Scales channels between layers so that all of them use the range that they share.
//!
//! ```text
//! %c = onnx.Conv %x, [4.0, 0.1], [2.0, 0.0]             %c = onnx.Conv %x, [4.0, 0.8], [2.0, 0.0]
//! %r = onnx.Relu %c                               ──▶   %r = onnx.Relu %c
//! %y = onnx.Conv %r, [[1.0, 3.0]]                       %y = onnx.Conv %r, [[1.0, 0.375]]
//! ```
//!
//! Cross-layer equalization (Nagel et al., Data-free quantization through weight equalization and bias correction, ICCV
//! 2019, section 4.1), with measured activations instead of weight ranges, across residual additions, and only where the
//! error that is predicted from both falls. [`crate::quantize::scalable`] says what may be scaled together,
//! [`crate::quantize::balance`] by how much.

use std::collections::BTreeMap;

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, OpId, Tensor, ValueId};

use super::quantize::{EXCLUDE, placed};
use crate::linear::Linear;
use crate::pass::{Aborted, Effect, OptionInfo, OptionKind, Outcome, Pass, PassContext, PassInfo, samples};
use crate::quantize::balance::{Reader, Seen, Source, Watcher, choose};
use crate::quantize::placement::{Kind, Placement};
use crate::quantize::scalable::{Group, averaged, groups, summand};
use crate::quantize::scales;
use crate::rewrite;
use crate::target::Target;

/// See the module documentation.
pub(crate) struct EqualizeLayers;

static INFO: PassInfo = PassInfo {
    name: "equalize-layers",
    summary: "scale channels between layers so that all of them use the range that they share",
    doc: "Needs samples (--calibrate). Looks for values whose channels can be scaled together without changing the network: \
          from the Conv and Gemm that make them, through ReLU, pooling and sums, to the Conv and Gemm that read them. Scales \
          them where the error predicted for what is stored falls by the share 'least'. Declines where anything else makes \
          or reads one of these values: a Clip, a Sigmoid, the caller.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[
        samples("8"),
        OptionInfo {
            name: "limit",
            kind: OptionKind::Float,
            default: "8",
            help: "largest factor, and inverse of the least",
        },
        OptionInfo {
            name: "least",
            kind: OptionKind::Float,
            default: "0.03",
            help: "share of the predicted error that must go, else nothing is scaled",
        },
        EXCLUDE,
    ],
};

impl Pass for EqualizeLayers {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let plan = placed(graph, cx);
        let stored = plan.calibrated(graph);
        let mut found: Vec<Group> = Vec::new();
        // What to look at: channels, and numbers that follow each other in one.
        let mut values: BTreeMap<ValueId, Layout> = BTreeMap::new();
        for group in groups(graph) {
            match fitting(graph, cx.target, &plan, &stored, &group) {
                Ok(wanted) => {
                    values.extend(wanted);
                    found.push(group);
                }
                Err(why) => cx.declined(graph, group.makers[0], why),
            }
        }
        if found.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        let (values, layouts): (Vec<ValueId>, Vec<Layout>) = values.into_iter().unzip();
        let watcher = Watcher::new(layouts);
        let samples = cx.samples()?;
        cx.observe(graph, &values, &samples, &|sample, slot, numbers| watcher.see(sample, slot, numbers))?;
        let seen = values.iter().zip(watcher.seen()).filter_map(|(&v, s)| Some((v, s?)));
        let mut seen: BTreeMap<ValueId, Seen> = seen.collect();
        let limit = cx.float("limit").filter(|l| *l >= 1.0).unwrap_or(1.0);
        let least = cx.float("least").unwrap_or(0.0).max(0.0);
        let mut changed = false;
        for group in found {
            let at = group.makers[0];
            let (sources, readers) = match view(graph, cx.target, &plan, &stored, &group, &seen) {
                Ok(both) => both,
                Err(why) => {
                    cx.declined(graph, at, why);
                    continue;
                }
            };
            let choice = choose(&sources, &readers, limit, least, cx.target);
            if choice.after >= choice.before {
                cx.declined(graph, at, format!("nothing to gain: the predicted relative error is {:.2e}", choice.before));
                continue;
            }
            let what = format!(
                "{} channels of {} values scaled: the predicted relative error falls from {:.2e} to {:.2e}",
                group.channels,
                group.values.len(),
                choice.before,
                choice.after
            );
            if !cx.rewrite(graph, at, what) {
                break;
            }
            scale(graph, &group, &choice.factors);
            group.values.iter().filter_map(|v| seen.get_mut(v).map(|s| s.scale(&choice.factors))).for_each(drop);
            cx.count("groups", 1);
            cx.count("channels", group.channels as u64);
            changed = true;
        }
        Ok(Outcome::from(changed))
    }
}

/// Channels, and numbers that follow each other in one channel.
type Layout = (usize, usize);

/// The values to look at, with channels and numbers that follow each other in one; a sentence why the group stays.
fn fitting(
    graph: &Graph,
    target: &Target,
    plan: &Placement,
    stored: &[ValueId],
    group: &Group,
) -> Result<Vec<(ValueId, Layout)>, String> {
    if let Some(why) = &group.blocked {
        return Err(why.clone());
    }
    if !group.values.iter().any(|v| stored.contains(v)) {
        return Err("nothing here is stored as integers".into());
    }
    let shared = |op: &&OpId| *plan.kind(**op) == Kind::Integer && scales::weight_axis(graph, **op, target).is_none();
    if let Some(op) = group.makers.iter().find(shared) {
        return Err(format!("the weights of {} have one scale for all channels", graph.label(graph.op(*op).result())));
    }
    let ends = group.readers.iter().flat_map(|&op| [graph.op(op).operand(0), Some(graph.op(op).result())]);
    let wanted = group.values.iter().copied().filter(|v| stored.contains(v)).chain(ends.flatten());
    let layout = |value: ValueId| {
        let shape = graph.value(value).ty().tensor().and_then(|t| t.shape.clone()).unwrap_or_default();
        let extents: Option<Vec<usize>> = shape.iter().skip(1).map(|d| d.known().map(|n| n as usize)).collect();
        let extents = extents.filter(|e| !e.is_empty());
        let extents = extents.ok_or_else(|| format!("the extents of {} are not known", graph.label(value)))?;
        Ok((value, (extents[0], extents[1..].iter().product())))
    };
    wanted.map(layout).collect()
}

/// What the prediction needs to know; a sentence why it cannot be made.
fn view(
    graph: &Graph,
    target: &Target,
    plan: &Placement,
    stored: &[ValueId],
    group: &Group,
    seen: &BTreeMap<ValueId, Seen>,
) -> Result<(Vec<Source>, Vec<Reader>), String> {
    let look = |value: ValueId| {
        seen.get(&value).ok_or_else(|| format!("{} is empty, infinite or not a number for a sample", graph.label(value)))
    };
    let mut readers = Vec::new();
    for &op in &group.readers {
        let linear = weights(graph, op, group, Linear::inputs)?;
        let input = graph.op(op).operand(0).map_or_else(|| Err("it reads nothing".to_owned()), look)?;
        let power: f64 = look(graph.op(op).result())?.square.iter().sum();
        let axis = (*plan.kind(op) == Kind::Integer).then(|| scales::weight_axis(graph, op, target));
        readers.push(Reader { linear, stored: axis, square: input.square.clone(), power: power.max(f64::MIN_POSITIVE) });
    }
    let mut sources: BTreeMap<usize, (ValueId, Seen)> = BTreeMap::new();
    for &value in group.values.iter().filter(|v| stored.contains(v)) {
        let own = look(value)?;
        let (_, all) = sources.entry(plan.class(value)).or_insert_with(|| (value, own.clone()));
        all.widen(own);
    }
    for &op in &group.makers {
        weights(graph, op, group, |linear| linear.channels)?;
    }
    let reach = |first: ValueId| -> Vec<f64> {
        let mut growth: BTreeMap<ValueId, f64> = BTreeMap::from([(first, 1.0)]);
        for &op in group.between.iter().filter(|&&op| graph.op(op).result() != first) {
            let arrives: f64 = graph.op(op).operands().iter().flatten().filter_map(|v| growth.get(v)).sum();
            growth.insert(graph.op(op).result(), arrives / averaged(graph, op));
        }
        let read = group.readers.iter().map(|&op| graph.op(op).operand(0).and_then(|v| growth.get(&v).copied()));
        read.map(|g| g.unwrap_or(0.0)).collect()
    };
    let sources = sources.into_values().map(|(first, seen)| Source { seen, reach: reach(first) }).collect();
    Ok((sources, readers))
}

/// Weights that can be scaled; `count` is how many channels of the group they know.
fn weights(graph: &Graph, op: OpId, group: &Group, count: impl Fn(&Linear) -> usize) -> Result<Linear, String> {
    /// Larger weights might overflow when they are scaled.
    const LARGEST: f64 = 1e30;
    let blamed = |why: &str| format!("{}: {why}", graph.label(graph.op(op).result()));
    let linear = Linear::view(graph, op).map_err(|why| blamed(&why))?;
    if count(&linear) != group.channels {
        return Err(blamed("its weights are for another number of channels"));
    }
    // Not a number fails, too.
    if !linear.weights().iter().all(|w| w.abs() < LARGEST) {
        return Err(blamed("its weights are not finite"));
    }
    Ok(linear)
}

/// Multiplies what is made and divides what reads it; an op may do both.
fn scale(graph: &mut Graph, group: &Group, factors: &[f64]) {
    for &op in &group.makers {
        if let Ok(mut linear) = Linear::view(graph, op) {
            linear.scale_outputs(factors);
            linear.write(graph);
        }
    }
    for &op in &group.readers {
        if let Ok(mut linear) = Linear::view(graph, op) {
            linear.divide_inputs(factors);
            linear.write(graph);
        }
    }
    for &op in &group.between {
        let Some((index, numbers)) = summand(graph, op, group.channels) else { continue };
        let Some(old) = graph.op(op).operand(index) else { continue };
        let numbers: Vec<f32> = numbers.iter().zip(factors).map(|(n, s)| (n * s) as f32).collect();
        let mut dims = vec![1; graph.value(graph.op(op).result()).ty().rank().unwrap_or(2)];
        dims[1] = numbers.len();
        let name = graph.value(old).name().clone();
        let new = rewrite::constant(graph, op, name, Tensor::new(dims, numbers));
        rewrite::exchange_operand(graph, op, index, Some(new));
    }
    // What was calibrated before holds no more.
    group.values.iter().for_each(|&v| graph.set_range(v, None));
}
