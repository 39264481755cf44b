//! Merges chains of ops that only regroup axes, and chains of Transposes; writes known shapes as constants.
//!
//! ```text
//! %a = onnx.Squeeze %x : f32[2,3]
//! %y = onnx.Unsqueeze %a, %axes : f32[1,2,3]      ──▶    %y = onnx.Reshape %x, [1, 2, 3]
//! ```

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Dim, Graph, NewOp, OpId, Tensor, ValueId};

use crate::analysis::{model_ops, opset};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct MergeReshapes;

static INFO: PassInfo = PassInfo {
    name: "merge-reshapes",
    summary: "merge chains of Reshape, Flatten, Squeeze and Unsqueeze, and of Transpose",
    doc: "Reshape, Flatten, Squeeze and Unsqueeze keep the order of elements: a chain of them is one Reshape to the last \
          shape. Two Transposes in a row are one, with `perm[i] = first[second[i]]`. A Reshape whose target is computed, \
          although the shape of its result is known, gets it as a constant; one extent may be unknown, and is written as -1.\n\n\
          It declines where two extents are not known, where an extent is 0, and where a value between has other readers.",
    effect: Effect::Exact,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for MergeReshapes {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for op in model_ops(graph) {
            if !graph.is_live(op) {
                continue;
            }
            let result = if graph.op(op).name().is_onnx("Transpose") {
                transposes(graph, op, cx)
            } else if regroups(graph, op) {
                reshapes(graph, op, cx)
            } else {
                continue;
            };
            changed |= result.unwrap_or_else(|why| {
                cx.declined(graph, op, why);
                false
            });
        }
        Ok(Outcome::from(changed))
    }
}

/// True for ops that keep the order of elements, and change how they are grouped.
pub(super) fn regroups(graph: &Graph, op: OpId) -> bool {
    ["Reshape", "Flatten", "Squeeze", "Unsqueeze"].iter().any(|name| graph.op(op).name().is_onnx(name))
}

/// The shape of a value as the target of a Reshape: at most one extent may be unknown.
pub(super) fn target(graph: &Graph, value: ValueId) -> Result<Vec<i64>, String> {
    let shape =
        graph.value(value).ty().tensor().and_then(|t| t.shape.as_ref()).ok_or("the rank of its result is not known")?;
    let extent = |dim: &Dim| match dim {
        Dim::Known(n) => i64::try_from(*n).map_err(|_| "an extent is too large".to_owned()),
        _ => Ok(-1),
    };
    let dims = shape.iter().map(extent).collect::<Result<Vec<i64>, String>>()?;
    if dims.contains(&0) {
        return Err("an extent is 0".into());
    }
    if dims.iter().filter(|&&d| d < 0).count() > 1 {
        return Err("two extents of its result are not known".into());
    }
    Ok(dims)
}

fn reshapes(graph: &mut Graph, op: OpId, cx: &mut PassContext<'_>) -> Result<bool, String> {
    let Some(middle) = graph.op(op).operand(0) else { return Ok(false) };
    let result = graph.op(op).result();
    let inner = graph.def_op(middle).filter(|&inner| regroups(graph, inner));
    let computed =
        graph.op(op).name().is_onnx("Reshape") && graph.op(op).operand(1).is_some_and(|s| !graph.value(s).is_const());
    if (inner.is_none() && !computed) || opset(graph, op) < 5 {
        return Ok(false);
    }
    let dims = target(graph, result)?;
    let inner = match inner {
        Some(inner) if graph.use_count(middle) != 1 || graph.op(inner).region() != graph.op(op).region() => {
            cx.declined(graph, op, format!("{} between two of them has other readers", graph.label(middle)));
            None
        }
        inner => inner,
    };
    let quant = |v: ValueId| graph.value(v).ty().quant().cloned();
    if quant(middle) != quant(result)
        || inner.and_then(|i| graph.op(i).operand(0)).is_some_and(|x| quant(x) != quant(middle))
    {
        return Err("it changes the quantization".into());
    }
    if inner.is_none() && !computed {
        return Ok(false);
    }
    let input = inner.and_then(|inner| graph.op(inner).operand(0)).unwrap_or(middle);
    let what = if inner.is_some() { "two regroupings became one Reshape" } else { "target written as a constant" };
    if !cx.rewrite(graph, op, what) {
        return Ok(false);
    }
    let shape = rewrite::constant(graph, op, "shape", Tensor::new([dims.len()], dims));
    rewrite::replace(graph, op, INFO.name, inner.as_slice(), NewOp::onnx("Reshape").operand(input).operand(shape));
    Ok(true)
}

fn transposes(graph: &mut Graph, op: OpId, cx: &mut PassContext<'_>) -> Result<bool, String> {
    let Some(middle) = graph.op(op).operand(0) else { return Ok(false) };
    let Some(inner) = graph.def_named(middle, "Transpose") else { return Ok(false) };
    let Some(input) = graph.op(inner).operand(0) else { return Ok(false) };
    let (Some(first), Some(second)) = (graph.op(inner).ints("perm"), graph.op(op).ints("perm")) else {
        return Err("an order of axes is not given".into());
    };
    let perm = second.iter().map(|&axis| usize::try_from(axis).ok().and_then(|axis| first.get(axis)).copied());
    let perm: Vec<i64> = perm.collect::<Option<_>>().ok_or("an axis is out of range")?;
    if graph.use_count(middle) != 1 || graph.op(inner).region() != graph.op(op).region() {
        return Err(format!("{} between two Transposes has other readers", graph.label(middle)));
    }
    if !cx.rewrite(graph, op, "two Transposes became one") {
        return Ok(false);
    }
    let new = NewOp::onnx("Transpose").operand(input).attr("perm", Attr::Ints(perm));
    rewrite::replace(graph, op, INFO.name, &[inner], new);
    Ok(true)
}
