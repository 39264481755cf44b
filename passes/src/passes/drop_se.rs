//! Takes squeeze-and-excitation gates out.
//!
//! ```text
//! %p = onnx.GlobalAveragePool %x
//! %a = onnx.Conv %p, %w1
//! ..
//! %g = onnx.HardSigmoid %b
//! %y = onnx.Mul %x, %g               ──▶    %y = onnx.Mul %x, %mean
//! ```
//!
//! What a gate gives on average over the samples, for each channel, stays as a constant, which folds into the weights of a
//! neighbour (fold-conv-affine). What it knew of the picture is lost: the network must be trained again.

use std::sync::Mutex;

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, NewOp, OpId, Tensor, ValueId};

use crate::analysis::{is_plain, model_ops};
use crate::pass::{Aborted, Effect, OptionInfo, OptionKind, Outcome, Pass, PassContext, PassInfo, samples};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct DropSe;

static INFO: PassInfo = PassInfo {
    name: "drop-se",
    summary: "put constants in the place of squeeze-and-excitation gates",
    doc: "A Mul of a map and a gate that only the map's own global average decides (Hu et al. 2018) keeps the mean of the \
          gate over the samples (--calibrate) for each channel, or goes entirely with `gate=one`, which needs no samples. The \
          network computes something else then, and wants to be trained again: `spaceevo-opt advise` says what it would \
          gain.\n\n\
          It declines where other values than the pooled map enter the gate, and where the gate is read elsewhere.",
    effect: Effect::Retrain,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[
        OptionInfo {
            name: "gate",
            kind: OptionKind::Word(&["mean", "one"]),
            default: "mean",
            help: "what takes the place of the gate: its mean over the samples, or 1",
        },
        samples("16"),
    ],
};

/// More ops than the gate of any network has between pooling and product.
const LONGEST: usize = 16;

/// A gate: the product, the map, and the value that the map is multiplied by, with its channels.
struct Gate {
    product: OpId,
    map: ValueId,
    value: ValueId,
    channels: usize,
}

impl Pass for DropSe {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut gates = Vec::new();
        for op in model_ops(graph) {
            match gate(graph, op) {
                Ok(None) => {}
                Ok(Some(gate)) => gates.push(gate),
                Err(why) => cx.declined(graph, op, why),
            }
        }
        if gates.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        let means = if cx.text("gate") == "mean" { Some(means(graph, cx, &gates)?) } else { None };
        let mut changed = false;
        for (at, Gate { product, map, value, .. }) in gates.into_iter().enumerate() {
            if !cx.rewrite(graph, product, "gate of squeeze and excitation dropped") {
                break;
            }
            changed = true;
            match &means {
                None => rewrite::bypass(graph, product, map),
                Some(means) => {
                    let name = format!("{}.mean", graph.value(value).name());
                    let elem = graph.value(value).ty().elem().unwrap_or(spaceevo_ir::Elem::F32);
                    let Some(mean) = Tensor::from_f64(elem, [means[at].len(), 1, 1], &means[at]) else { continue };
                    let mean = rewrite::constant(graph, product, name, mean);
                    rewrite::replace(graph, product, INFO.name, &[], NewOp::onnx("Mul").operand(map).operand(mean));
                }
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// The gate that ends in a Mul, if it is one.
fn gate(graph: &Graph, product: OpId) -> Result<Option<Gate>, String> {
    let record = graph.op(product);
    let (Some(a), Some(b)) = (record.operand(0), record.operand(1)) else { return Ok(None) };
    if !record.name().is_onnx("Mul") {
        return Ok(None);
    }
    let Some((map, value, channels)) = [(a, b), (b, a)].into_iter().find_map(|(map, value)| {
        let channels = pooled_channels(graph, value)?;
        (pooled_channels(graph, map).is_none() && pooled_from(graph, value, map)?).then_some((map, value, channels))
    }) else {
        return Ok(None);
    };
    if !is_plain(graph, record.result()) {
        return Err("it is quantized".into());
    }
    if graph.use_count(value) != 1 {
        return Err("the gate is read elsewhere, too".into());
    }
    Ok(Some(Gate { product, map, value, channels }))
}

/// Channels of a value of shape `[n, c, 1, 1]`.
fn pooled_channels(graph: &Graph, value: ValueId) -> Option<usize> {
    let ty = graph.value(value).ty().tensor()?;
    (ty.rank() == Some(4) && ty.dim(2) == Some(1) && ty.dim(3) == Some(1)).then(|| ty.dim(1)).flatten()
}

/// True when a value comes from the global average of a map and constants alone; false when something else enters.
fn pooled_from(graph: &Graph, value: ValueId, map: ValueId) -> Option<bool> {
    let (mut open, mut seen) = (vec![value], Vec::new());
    while let Some(value) = open.pop() {
        if graph.value(value).is_const() {
            continue;
        }
        let op = graph.def_op(value)?;
        if graph.op(op).name().is_onnx("GlobalAveragePool") && graph.op(op).operand(0) == Some(map) {
            continue;
        }
        if seen.len() == LONGEST || !graph.op(op).regions().is_empty() {
            return Some(false);
        }
        if !seen.contains(&op) {
            seen.push(op);
            open.extend(graph.op(op).operands().iter().flatten());
        }
    }
    Some(!seen.is_empty())
}

/// Mean of each gate over the samples and the batch, by channel.
fn means(graph: &Graph, cx: &mut PassContext<'_>, gates: &[Gate]) -> Result<Vec<Vec<f64>>, Aborted> {
    // By sample, so that threads that finish in another order add the same numbers in the same order.
    type Seen = Vec<(usize, Vec<f64>)>;
    let seen: Vec<Mutex<Seen>> = gates.iter().map(|_| Mutex::default()).collect();
    let values: Vec<ValueId> = gates.iter().map(|gate| gate.value).collect();
    let samples = cx.samples()?;
    cx.observe(graph, &values, &samples, &|sample, slot, numbers| {
        let channels = gates[slot].channels.max(1);
        let batch = (numbers.len() / channels).max(1) as f64;
        let mean = |c: usize| numbers.iter().skip(c).step_by(channels).map(|&x| f64::from(x)).sum::<f64>() / batch;
        // A poisoned lock means that another thread panicked: its panic is the one to report.
        if let Ok(mut seen) = seen[slot].lock() {
            seen.push((sample, (0..channels).map(mean).collect()));
        }
    })?;
    let mean = |(gate, seen): (&Gate, Mutex<Seen>)| {
        let mut seen = seen.into_inner().unwrap_or_else(|e| e.into_inner());
        seen.sort_unstable_by_key(|s| s.0);
        let count = seen.len().max(1) as f64;
        (0..gate.channels).map(|c| seen.iter().map(|(_, means)| means[c]).sum::<f64>() / count).collect()
    };
    Ok(gates.iter().zip(seen).map(mean).collect())
}
