//! Recognises a mean over all positions.
//!
//! ```text
//! %y = onnx.ReduceMean %x {axes = [2, 3]}    ──▶    %y = onnx.GlobalAveragePool %x
//! ```

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Graph, NewOp, OpId, Type};

use crate::analysis::{Ints, axes_from_front, ints, is_plain, is_unpadded, model_ops};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct LiftGlobalPool;

static INFO: PassInfo = PassInfo {
    name: "lift-global-pool",
    summary: "write means over all positions as GlobalAveragePool",
    doc: "A ReduceMean over every axis behind batch and channels is a GlobalAveragePool; without `keepdims` a Flatten follows. \
          So is an AveragePool whose window is the whole map. GlobalAveragePool has integer kernels; ReduceMean has none.\n\n\
          It declines for other axes, and where shape or axes are not known.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for LiftGlobalPool {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for op in model_ops(graph) {
            let keepdims = match graph.op(op).name().onnx_op() {
                "ReduceMean" => spatial_mean(graph, op),
                "AveragePool" => whole_window(graph, op),
                _ => continue,
            };
            let plain =
                graph.op(op).operand(0).is_some_and(|x| is_plain(graph, x)) && is_plain(graph, graph.op(op).result());
            match keepdims {
                Ok(Some(keepdims)) if plain => {
                    if !cx.rewrite(graph, op, format!("{} became GlobalAveragePool", graph.op(op).name().op)) {
                        break;
                    }
                    lift(graph, op, keepdims);
                    changed = true;
                }
                Ok(_) => {}
                Err(why) => cx.declined(graph, op, why),
            }
        }
        Ok(Outcome::from(changed))
    }
}

fn lift(graph: &mut Graph, op: OpId, keepdims: bool) {
    let Some(input) = graph.op(op).operand(0) else { return };
    let pool = NewOp::onnx("GlobalAveragePool").operand(input);
    if keepdims {
        rewrite::replace(graph, op, INFO.name, &[], pool);
        return;
    }
    let mut ty = graph.value(input).ty().clone();
    if let Type::Tensor(tensor) = &mut ty {
        tensor.shape.iter_mut().flatten().skip(2).for_each(|dim| *dim = 1.into());
    }
    let name = format!("{}.pooled", graph.value(graph.op(op).result()).name());
    let pooled = rewrite::insert_before(graph, op, INFO.name, name, ty, pool);
    rewrite::replace(graph, op, INFO.name, &[], NewOp::onnx("Flatten").operand(pooled).attr("axis", Attr::Int(1)));
}

/// Whether extents are kept, for a mean over all positions.
fn spatial_mean(graph: &Graph, op: OpId) -> Result<Option<bool>, String> {
    let record = graph.op(op);
    let Some(rank) = record.operand(0).and_then(|x| graph.value(x).ty().rank()) else {
        return Err("the rank of its input is not known: run infer-shapes first".into());
    };
    if rank < 3 {
        return Ok(None);
    }
    let axes = match ints(graph, op, "axes", 1) {
        Ints::Known(axes) => axes,
        Ints::Absent => return Err("it averages over everything".into()),
        Ints::Computed => return Err("its axes are no constant".into()),
    };
    let axes = axes_from_front(&axes, rank).ok_or("an axis is out of range")?;
    if axes != (2..rank).collect::<Vec<_>>() {
        return Err(format!("it averages over axes {axes:?}, not over all positions"));
    }
    Ok(Some(record.int("keepdims", 1) != 0))
}

/// For an AveragePool whose window is the whole map.
fn whole_window(graph: &Graph, op: OpId) -> Result<Option<bool>, String> {
    let record = graph.op(op);
    let shape = record.operand(0).and_then(|x| graph.value(x).ty().tensor()).and_then(|t| t.shape.clone());
    let (Some(shape), Some(kernel)) = (shape, record.ints("kernel_shape")) else { return Ok(None) };
    let positions: Option<Vec<i64>> = shape.iter().skip(2).map(|d| d.known().and_then(|n| i64::try_from(n).ok())).collect();
    let dilated = record.ints("dilations").is_some_and(|d| d.iter().any(|&d| d != 1));
    match positions {
        Some(positions) if positions == kernel && !dilated => {
            if is_unpadded(graph, op) {
                Ok(Some(true))
            } else {
                Err("its window is the whole map, but it pads".into())
            }
        }
        Some(_) => Ok(None),
        None => Err("the extents of its input are not known".into()),
    }
}
