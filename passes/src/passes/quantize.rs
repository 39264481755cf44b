//! Gives tensors quantized types, as the target says and the calibrated ranges allow.
//!
//! ```text
//! %w = const [..] : f32[8,3,3,3]                      %w = const [..] : qi8(axis 0, [..], 0)[8,3,3,3]
//! %c = onnx.Conv %x, %w, %b : f32[..]          ──▶    %c = onnx.Conv %x, %w, %b : qu8(0.02, 0)[..]
//! %y = onnx.Relu %c : f32[..] range(0.0, 5.1)         %y = onnx.Relu %c : qu8(0.02, 0)[..]
//! ```
//!
//! `real = scale * (stored - zero)` (ONNX `QuantizeLinear`). Weights get one scale per output channel and zero point 0, a
//! bias the product of the scales of input and weights. What an activation clips away needs no place in the type.

use std::collections::BTreeMap;
use std::sync::Arc;

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Diagnostic, Elem, Graph, OpId, Quant, Range, Tensor, Type, ValueId};

use crate::pass::{Aborted, Effect, OptionInfo, OptionKind, Outcome, Pass, PassContext, PassInfo};
use crate::quantize::placement::{Kind, Placement, data_operands};
use crate::quantize::scales;
use crate::quantize::sized::sized;

/// See the module documentation.
pub(crate) struct Quantize;

/// The option that keeps ops in float; `calibrate` has the same one.
pub(crate) const EXCLUDE: OptionInfo = OptionInfo {
    name: "exclude",
    kind: OptionKind::Text,
    default: "",
    help: "ops that stay in float: names of nodes, of their results, or of operators (Conv), separated by +",
};

static INFO: PassInfo = PassInfo {
    name: "quantize",
    summary: "give tensors quantized types by the target's rules and the calibrated ranges",
    doc: "Plans which ops run in integers, then writes the plan into types: activations per tensor from their range, weights \
          per output channel with zero point 0, biases as 32-bit integers at the product of the scales. Where the target has \
          prices, ops that are predicted to be faster in float stay there, conversions included. Declines, with the \
          reason, for every op that the target could run in integers but that stays in float. Needs ranges: run 'calibrate' \
          before it.",
    effect: Effect::Approximate,
    accepts: Form::Concrete,
    leaves: Form::Quantized,
    options: &[EXCLUDE],
};

impl Pass for Quantize {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        if graph.all_ops().iter().any(|&op| graph.op(op).results().iter().any(|&v| graph.value(v).ty().quant().is_some())) {
            return Ok(Outcome::Unchanged);
        }
        let plan = placed(graph, cx);
        if let Some(predicted) = plan.prediction() {
            cx.count("predicted ns in float", predicted.float as u64);
            cx.count("predicted ns with all in integers that can", predicted.integer as u64);
            cx.count("predicted ns", predicted.chosen as u64);
        }
        let types = activation_types(graph, cx, &plan)?;
        let ops: Vec<OpId> = graph.ops_in(graph.body()).collect();
        let mut changed = false;
        for &op in &ops {
            match plan.kind(op).clone() {
                Kind::Integer => {
                    if !cx.rewrite(graph, op, format!("{} runs in integers", graph.op(op).name())) {
                        return Ok(Outcome::from(changed));
                    }
                    cx.count("integer ops", 1);
                }
                Kind::Float(why) => {
                    cx.count("float ops", 1);
                    let name = graph.op(op).name();
                    if cx.target.ops.is_integer(name)
                        || cx.target.ops.is_movement(name)
                        || cx.target.ops.is_fused(name)
                        || cx.target.ops.remarks.contains_key(&name.to_string())
                    {
                        cx.declined(graph, op, why);
                    }
                }
                Kind::Movement | Kind::Saturating => cx.count("ops on bytes", 1),
                Kind::Fused(_) => cx.count("ops fused into integer ops", 1),
            }
        }
        for (&value, quant) in &types {
            let Type::Tensor(mut ty) = graph.value(value).ty().clone() else { continue };
            ty.quant = Some(quant.clone());
            graph.set_type(value, ty);
            changed = true;
        }
        for &op in ops.iter().filter(|&&op| *plan.kind(op) == Kind::Integer) {
            constants(graph, cx, op)?;
        }
        Ok(Outcome::from(changed))
    }
}

/// The placement on which the passes of quantization agree; what ops cost is what they cost at the extents of the samples.
pub(crate) fn placed(graph: &Graph, cx: &PassContext<'_>) -> Placement {
    let extents = cx.observer.as_ref().filter(|_| cx.target.pricing().is_some()).and_then(|o| o.extents());
    let sized = extents.and_then(|extents| sized(graph, &extents));
    Placement::plan_sized(graph, sized.as_ref().unwrap_or(graph), cx.target, &excluded(cx.text("exclude")))
}

/// The test of the option [`EXCLUDE`].
fn excluded(list: &str) -> impl Fn(&Graph, OpId) -> Option<String> + use<> {
    let names: Vec<String> = list.split('+').map(str::trim).filter(|n| !n.is_empty()).map(str::to_owned).collect();
    move |graph, op| {
        let record = graph.op(op);
        let hit = |name: &String| {
            *name == *record.name().op
                || *name == record.name().to_string()
                || record.loc().node().is_some_and(|n| **n == **name)
                || record.results().iter().any(|&v| **graph.value(v).name() == **name)
        };
        names.iter().any(hit).then(|| "excluded on request".to_owned())
    }
}

/// The type of every stored activation: one for each class of tied values.
fn activation_types(
    graph: &Graph,
    cx: &mut PassContext<'_>,
    plan: &Placement,
) -> Result<BTreeMap<ValueId, Arc<Quant>>, Aborted> {
    let mut ranges: BTreeMap<usize, Range> = BTreeMap::new();
    for value in plan.calibrated(graph) {
        let Some(range) = known_range(graph, value).or(graph.value(value).range()) else {
            let message = format!("{} has no calibrated range", graph.label(value));
            let loc = graph.def_op(value).map_or_else(Default::default, |op| graph.op(op).loc().clone());
            return Err(cx.error(
                Diagnostic::error("missing-range", loc, message)
                    .note("run 'calibrate' before 'quantize', with the same 'exclude'"),
            ));
        };
        let entry = ranges.entry(plan.class(value)).or_insert(range);
        *entry = Range { min: entry.min.min(range.min), max: entry.max.max(range.max) };
    }
    let rule = &cx.target.quant.activations;
    let offsets = offsets(graph, cx, plan);
    let typed = |class: usize, range: Range| {
        let whole = offsets.get(&class).and_then(|&offset| scales::with_whole_offset(range, offset, rule));
        whole.unwrap_or_else(|| scales::activation(range, rule))
    };
    let types: BTreeMap<usize, Arc<Quant>> =
        ranges.into_iter().map(|(class, range)| (class, Arc::new(typed(class, range)))).collect();
    let body = graph.region(graph.body());
    let results = graph.ops_in(graph.body()).flat_map(|op| graph.op(op).results().to_vec());
    let mut found = BTreeMap::new();
    for value in body.inputs().iter().copied().chain(results).filter(|&v| plan.is_stored(v)) {
        let typed = plan.saturated_by(graph, value).map_or(value, |op| graph.op(op).result());
        if let Some(quant) = types.get(&plan.class(typed)) {
            found.insert(value, quant.clone());
        }
    }
    Ok(found)
}

/// What is added to values, by class, before they are cut off as they are stored (`clip-sums`): the 3 of a hard swish.
fn offsets(graph: &Graph, cx: &PassContext<'_>, plan: &Placement) -> BTreeMap<usize, f32> {
    let wanted = |&op: &OpId| cx.target.ops.is_lowered(graph.op(op).name(), "lower-hard-swish") && cx.target.ops.clips_bytes;
    let integer = |&op: &OpId| *plan.kind(op) == Kind::Integer;
    let ops = graph.ops_in(graph.body()).filter(wanted).filter(integer);
    ops.filter_map(|op| Some((plan.class(graph.op(op).operand(0)?), 3.0))).collect()
}

/// The range of a value that is known without looking: a hard sigmoid is a gate in [0, 1], and one that is stored in steps of
/// 1/255 is what a saturating sum gives.
fn known_range(graph: &Graph, value: ValueId) -> Option<Range> {
    graph.def_named(value, "HardSigmoid").map(|_| Range { min: 0.0, max: 1.0 })
}

/// Quantizes the constant operands of an integer op.
fn constants(graph: &mut Graph, cx: &mut PassContext<'_>, op: OpId) -> Result<(), Aborted> {
    let record = graph.op(op);
    let name = record.name().clone();
    let weighted = ["Conv", "Gemm", "MatMul"].iter().any(|n| name.is_onnx(n));
    let operands = data_operands(graph, op);
    for (index, &value) in operands.iter().enumerate().filter(|(_, v)| graph.value(**v).is_const()).collect::<Vec<_>>() {
        let Some((real, dims)) = graph.const_of(value).and_then(|t| Some((t.to_f32()?, t.dims().to_vec()))) else {
            continue;
        };
        if real.iter().any(|x| !x.is_finite()) {
            let message = format!("{} holds a number that is not finite", graph.label(value));
            return Err(cx.error(
                Diagnostic::error("bad-weights", graph.op(op).loc().clone(), message)
                    .note("the model is damaged, or was trained to NaN"),
            ));
        }
        if weighted && index == 1 {
            weights(graph, cx, op, &real, &dims)?;
        } else {
            let range =
                real.iter().fold(Range { min: 0.0, max: 0.0 }, |r, &x| Range { min: r.min.min(x), max: r.max.max(x) });
            let quant = scales::activation(range, &cx.target.quant.activations);
            if let Some(stored) = scales::store(&real, &dims, &quant) {
                replace(graph, op, index, stored, quant);
            }
        }
    }
    Ok(())
}

/// Quantizes weights and bias of Conv, Gemm or MatMul.
fn weights(graph: &mut Graph, cx: &mut PassContext<'_>, op: OpId, real: &[f32], dims: &[usize]) -> Result<(), Aborted> {
    let record = graph.op(op);
    let rule = &cx.target.quant.weights;
    let axis = scales::weight_axis(graph, op, cx.target);
    let input = record.operand(0).and_then(|x| graph.value(x).ty().quant().map(|q| q.at(0).0));
    let Some(input) = input else { return Ok(()) };
    let bias = record.operand(2).filter(|_| !record.name().is_onnx("MatMul"));
    let bias_numbers = bias.and_then(|b| graph.const_of(b)?.to_f32());
    // A bias is stored in steps of input scale times weight scale: the steps must be large enough for 32 bits.
    let floor: Vec<f32> = match (&bias_numbers, axis) {
        _ if cx.target.quant.float_bias => Vec::new(),
        (Some(b), Some(_)) => b.iter().map(|x| x.abs() / input / (1u32 << 30) as f32).collect(),
        (Some(b), None) => vec![b.iter().fold(0.0f32, |m, x| m.max(x.abs())) / input / (1u32 << 30) as f32],
        _ => Vec::new(),
    };
    let found = scales::weights(real, dims, axis, &floor, rule);
    let scale: Vec<f32> = found.quant.scale.iter().map(|s| s * input).collect();
    if found.quant.scale.iter().chain(&scale).any(|s| !s.is_finite()) {
        let message = format!("weights or bias of {} are so large that their scale is no number", record.name());
        return Err(cx.error(
            Diagnostic::error("bad-weights", record.loc().clone(), message)
                .note("the model is damaged; or keep the op in float with the option 'exclude'"),
        ));
    }
    replace(graph, op, 1, found.stored, found.quant);
    if let Some(numbers) = bias_numbers.filter(|_| !cx.target.quant.float_bias) {
        let axis = (scale.len() > 1).then_some(0);
        let quant = Quant { store: Elem::I32, axis, scale, zero: vec![0] };
        let dims = vec![numbers.len()];
        if let Some(stored) = scales::store(&numbers, &dims, &quant) {
            replace(graph, op, 2, stored, quant);
        }
    }
    Ok(())
}

/// Lets operand `index` be a quantized constant; the real one may have other readers.
fn replace(graph: &mut Graph, op: OpId, index: usize, stored: Tensor, quant: Quant) {
    let Some(old) = graph.op(op).operand(index) else { return };
    let ty =
        spaceevo_ir::TensorType { quant: Some(Arc::new(quant)), ..spaceevo_ir::TensorType::of(Elem::F32, stored.dims()) };
    let name = graph.value(old).name().clone();
    let new = graph.add_typed_const(graph.body(), name, stored, ty);
    graph.set_operand(op, index, Some(new));
    graph.erase_value(old);
}
