//! Drops ops that give back what they are given.
//!
//! ```text
//! %a = onnx.Dropout %x
//! %b = onnx.Reshape %a, %shape : f32[1,8]      ──▶    %y = onnx.Relu %x
//! %y = onnx.Relu %b
//! ```

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Elem, Graph, OpId, Tensor, Type, ValueId};

use crate::analysis::{
    Ints, constant_side, ints, is_idle_dropout, is_plain, is_unpadded, model_ops, opset, real_const, same_type,
};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct DropIdentity;

static INFO: PassInfo = PassInfo {
    name: "drop-identity",
    summary: "drop ops that give back what they are given",
    doc: "Dropped are: Identity; Dropout outside of training; Cast to the type that the value has; Reshape, Flatten, Squeeze, \
          Unsqueeze, Expand, Slice and Tile that keep the shape; Transpose that keeps the order; Pad with nothing; Resize \
          and Upsample by 1; MaxPool with windows of one element; Concat, Sum, Mean, Max and Min of one value; Mul and Div \
          by 1; Add of -0 and Sub of 0 (any zero for integers); Pow with 1; Clip without bounds.\n\n\
          Add of +0 stays, because it turns -0 into +0: canonicalize-arith, which may round, drops it. So does an AveragePool of \
          one real number, which a rule drops. An op stays, too, \
          where its result is a result of the model (or of a branch) and its operand is an input, a constant or a result \
          already: somebody has to carry the name.",
    effect: Effect::Exact,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for DropIdentity {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for op in model_ops(graph) {
            if !graph.is_live(op) || graph.op(op).results().is_empty() {
                continue;
            }
            let operand = match idle_operand(graph, op) {
                Ok(Some(operand)) => operand,
                Ok(None) => continue,
                Err(why) => {
                    cx.declined(graph, op, why);
                    continue;
                }
            };
            if let Some(why) = needed(graph, op, operand) {
                cx.declined(graph, op, why);
                continue;
            }
            if !cx.rewrite(graph, op, format!("{} dropped", graph.op(op).name())) {
                break;
            }
            if *graph.value(operand).ty() == Type::Unknown {
                let ty = graph.value(graph.op(op).result()).ty().clone();
                graph.set_type(operand, ty);
            }
            rewrite::bypass(graph, op, operand);
            cx.count("ops", 1);
            changed = true;
        }
        Ok(Outcome::from(changed))
    }
}

/// Why an op must stay although it does nothing.
fn needed(graph: &Graph, op: OpId, operand: ValueId) -> Option<String> {
    let (record, result) = (graph.op(op), graph.op(op).result());
    if graph.value(operand).ty().quant() != graph.value(result).ty().quant() && *graph.value(result).ty() != Type::Unknown {
        return Some("it changes the quantization".into());
    }
    if record.results()[1..].iter().any(|&v| graph.use_count(v) > 0) {
        return Some("its second result is read".into());
    }
    if !graph.is_returned(result) {
        return None;
    }
    let label = graph.label(operand);
    if graph.def_op(operand).is_none() || graph.region_of(operand) != Some(record.region()) {
        return Some(format!("its result is returned, and {label} is not made here"));
    }
    graph.is_returned(operand).then(|| format!("its result is returned, and {label} is returned, too"))
}

/// The operand that an op gives back; `None` when it does something, a sentence when it almost does nothing.
fn idle_operand(graph: &Graph, op: OpId) -> Result<Option<ValueId>, String> {
    let record = graph.op(op);
    let (true, Some(first)) = (&*record.name().domain == spaceevo_ir::ONNX, record.operand(0)) else { return Ok(None) };
    let given = |idle: bool| Ok(idle.then_some(first));
    let (before, after) = (graph.value(first).ty(), graph.value(record.result()).ty());
    match record.name().onnx_op() {
        "Identity" => given(true),
        "Dropout" if is_idle_dropout(graph, op) => given(true),
        "Dropout" => Err("it may be in training mode".into()),
        "Cast" => given(before.elem().is_some_and(|e| record.int("to", 0) == i64::from(e.onnx_code()))),
        "CastLike" => {
            given(before.elem().is_some() && record.operand(1).is_some_and(|l| graph.value(l).ty().elem() == before.elem()))
        }
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Expand" => given(same_type(before, after)),
        "Slice" => {
            let forwards = match ints(graph, op, "steps", 4) {
                Ints::Absent => true,
                Ints::Known(steps) => steps.iter().all(|&s| s > 0),
                Ints::Computed => false,
            };
            given(forwards && same_type(before, after))
        }
        "Tile" if opset(graph, op) >= 6 => given(ints(graph, op, "", 1).known().is_some_and(|r| r.iter().all(|&n| n == 1))),
        "Transpose" => given(record.ints("perm").is_some_and(|perm| perm.iter().enumerate().all(|(i, &p)| p == i as i64))),
        "Pad" => given(ints(graph, op, "pads", 1).known().is_some_and(|pads| pads.iter().all(|&p| p == 0))),
        "Resize" | "Upsample" => resize(graph, op).map(|idle| idle.then_some(first)),
        "MaxPool" | "AveragePool" => {
            let ones = |name: &str| record.ints(name).is_none_or(|list| list.iter().all(|&n| n == 1));
            let idle =
                record.ints("kernel_shape").is_some() && ones("kernel_shape") && ones("strides") && is_unpadded(graph, op);
            match record.name().is_onnx("AveragePool") && idle && before.quant().is_none() {
                true => Err("the mean of -0 is +0, which is not exact: the rule 'average-of-one' drops it".into()),
                false => given(idle),
            }
        }
        "Concat" | "Sum" | "Mean" | "Max" | "Min" => given(record.operands().len() == 1),
        "Mul" | "Div" | "Add" | "Sub" | "Pow" => arithmetic(graph, op),
        "Clip" => clip(graph, op).map(|idle| idle.then_some(first)),
        _ => Ok(None),
    }
}

/// Mul and Div by 1, Pow with 1, Add of -0, Sub of +0; the shape must stay.
fn arithmetic(graph: &Graph, op: OpId) -> Result<Option<ValueId>, String> {
    let record = graph.op(op);
    let Some((value, constant, index)) = constant_side(graph, op) else { return Ok(None) };
    let Some(tensor) = graph.const_of(constant).filter(|t| !t.is_empty() && t.len() <= 1 << 20 && is_plain(graph, constant))
    else {
        return Ok(None);
    };
    let Some(numbers) = tensor.to_f64() else { return Ok(None) };
    let all = |wanted: f64| numbers.iter().all(|n| n.to_bits() == wanted.to_bits());
    let whole = tensor.elem().is_int();
    let name = record.name().onnx_op();
    let idle = match name {
        "Mul" => all(1.0),
        "Div" | "Pow" => index == 1 && all(1.0),
        "Add" => all(-0.0) || (whole && all(0.0)),
        _ => index == 1 && all(0.0),
    };
    if name == "Add" && !whole && all(0.0) {
        return Err("adding +0 turns -0 into +0, which is not exact: canonicalize-arith drops it".into());
    }
    // A constant of one number and no higher rank than the value cannot widen it.
    let narrow = tensor.len() == 1 && graph.value(value).ty().rank().is_some_and(|r| tensor.dims().len() <= r);
    let kept = narrow || tensor.dims().is_empty() || same_type(graph.value(value).ty(), graph.value(record.result()).ty());
    match (idle, kept) {
        (true, false) => Err("it may change the shape".into()),
        (idle, _) => Ok(idle.then_some(value)),
    }
}

/// A Clip without bounds, or with infinite ones.
fn clip(graph: &Graph, op: OpId) -> Result<bool, String> {
    if opset(graph, op) < 11 {
        // The defaults are the largest finite numbers, which change infinities.
        let bound = |name: &str| graph.op(op).attrs().get(name).and_then(Attr::as_float);
        return Ok(bound("min") == Some(f32::NEG_INFINITY) && bound("max") == Some(f32::INFINITY));
    }
    let open = |index: usize, infinity: f64| match graph.op(op).operand(index) {
        None => true,
        Some(v) => real_const(graph, v).and_then(Tensor::to_f64).is_some_and(|n| n == [infinity]),
    };
    Ok(open(1, f64::NEG_INFINITY) && open(2, f64::INFINITY))
}

/// A Resize whose sizes are those of its operand, or whose scales are 1: then every coordinate is mapped to itself.
fn resize(graph: &Graph, op: OpId) -> Result<bool, String> {
    let record = graph.op(op);
    let same = same_type(graph.value(record.result()).ty(), graph.value(record.operand(0).unwrap_or(record.result())).ty());
    let upsample = record.name().is_onnx("Upsample");
    let scales = match (upsample, opset(graph, op)) {
        (true, ..9) => record.attrs().get("scales").and_then(|a| a.as_floats().map(<[f32]>::to_vec)),
        (true, _) | (_, ..11) => graph.const_operand(op, 1).and_then(Tensor::to_f32),
        _ => graph.const_operand(op, 2).and_then(Tensor::to_f32),
    };
    let by_scale = scales.is_some_and(|s| !s.is_empty() && s.iter().all(|&s| s == 1.0));
    let by_size = same && record.operand(3).is_some() && graph.value(record.result()).ty().elem() != Some(Elem::Str);
    if (by_scale || by_size) && record.str("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize" {
        return Err("it crops a region of interest".into());
    }
    if same && !by_scale && !by_size {
        return Err("it keeps the shape, but its scales are not 1: coordinates move".into());
    }
    Ok(by_scale || by_size)
}
