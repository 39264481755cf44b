//! Writes a BatchNormalization that stands alone as Mul and Add.
//!
//! ```text
//! %y = onnx.BatchNormalization %x, %gamma, %beta, %mean, %var    ──▶    %0 = onnx.Mul %x, %scale
//!                                                                       %y = onnx.Add %0, %shift
//! ```

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, NewOp, OpId, Tensor};

use crate::affine::Affine;
use crate::analysis::{is_plain, model_ops, opset};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct LowerBatchNorm;

static INFO: PassInfo = PassInfo {
    name: "lower-batch-norm",
    summary: "write BatchNormalization with constant statistics as Mul and Add",
    doc: "`y = scale x + shift` for each channel, with `scale = gamma / sqrt(var + epsilon)` and `shift = beta - mean scale`, \
          as constants of shape `[C, 1, 1]` (as many ones as the value has axes behind the channels). Mul and Add have \
          integer kernels and meet further folds; BatchNormalization does not. Run it after fold-conv-bn.\n\n\
          It declines when the rank of the input is not known, when the statistics are no constants, in training mode, and \
          below opset 7, where Mul does not broadcast by itself.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for LowerBatchNorm {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for op in model_ops(graph) {
            if graph.op(op).name().is_onnx("BatchNormalization") {
                changed |= lower(graph, op, cx).unwrap_or_else(|why| {
                    cx.declined(graph, op, why);
                    false
                });
            }
        }
        Ok(Outcome::from(changed))
    }
}

fn lower(graph: &mut Graph, op: OpId, cx: &mut PassContext<'_>) -> Result<bool, String> {
    let affine = Affine::of_batch_norm(graph, op)?;
    let Some(input) = graph.op(op).operand(0) else { return Ok(false) };
    let ty = graph.value(input).ty().clone();
    let (Some(rank), Some(elem)) = (ty.rank().filter(|&r| r >= 2), ty.elem()) else {
        return Err(format!("the rank of {} is not known: run infer-shapes first", graph.label(input)));
    };
    if !is_plain(graph, input) || !is_plain(graph, graph.op(op).result()) {
        return Err("it is quantized".into());
    }
    if opset(graph, op) < 7 {
        return Err("Mul does not broadcast by itself below opset 7: run upgrade-opset first".into());
    }
    let mut dims = vec![affine.scale.len()];
    dims.resize(rank - 1, 1);
    let pack = |numbers: &[f64]| Tensor::from_f64(elem, dims.clone(), numbers).ok_or("its numbers cannot be packed");
    let (scale, shift) = (pack(&affine.scale)?, pack(&affine.shift)?);
    if !cx.rewrite(graph, op, "written as Mul and Add") {
        return Ok(false);
    }
    let name_of = |graph: &Graph, index: usize| graph.op(op).operand(index).map(|v| graph.value(v).name().clone());
    let (scale_name, shift_name) = (name_of(graph, 1), name_of(graph, 2));
    let scale = rewrite::constant(graph, op, scale_name.unwrap_or_default(), scale);
    let shift = rewrite::constant(graph, op, shift_name.unwrap_or_default(), shift);
    let result = graph.op(op).result();
    let (name, ty) = (format!("{}.scaled", graph.value(result).name()), graph.value(result).ty().clone());
    let mul = NewOp::onnx("Mul").operand(input).operand(scale);
    let scaled = rewrite::insert_before(graph, op, INFO.name, name, ty, mul);
    rewrite::replace(graph, op, INFO.name, &[], NewOp::onnx("Add").operand(scaled).operand(shift));
    Ok(true)
}
