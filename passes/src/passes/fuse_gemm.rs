//! Fuses a MatMul and an Add of constants into a Gemm.
//!
//! ```text
//! %m = onnx.MatMul %x, %w
//! %y = onnx.Add %m, %b      ──▶    %y = onnx.Gemm %x, %w, %b
//! ```

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, NewOp, OpId, ValueId};

use crate::analysis::{constant_side, is_plain, model_ops, opset, per_channel, real_const};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct FuseGemm;

static INFO: PassInfo = PassInfo {
    name: "fuse-gemm",
    summary: "fuse MatMul and Add of constants into Gemm",
    doc: "`x W + b` with constant `W` of shape `[K, N]`, constant `b` of one number each column, and `x` of rank 2 is one \
          Gemm: the operator that targets run in integers with its bias.\n\n\
          It declines where `x` is not of rank 2 (Gemm knows matrices only), where `b` differs by row, where another op reads \
          the product, and below opset 7, where Gemm does not broadcast by itself.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for FuseGemm {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for add in model_ops(graph) {
            if !graph.op(add).name().is_onnx("Add") {
                continue;
            }
            let Some((product, bias, _)) = constant_side(graph, add) else { continue };
            let Some(matmul) = graph.def_named(product, "MatMul") else { continue };
            match plan(graph, add, matmul, bias) {
                Err(why) => cx.declined(graph, add, why),
                Ok((x, w)) => {
                    if !cx.rewrite(graph, add, "MatMul and Add became Gemm") {
                        break;
                    }
                    let new = NewOp::onnx("Gemm").operand(x).operand(w).operand(bias);
                    rewrite::replace(graph, add, INFO.name, &[matmul], new);
                    changed = true;
                }
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// The operands of the Gemm beside its bias.
fn plan(graph: &Graph, add: OpId, matmul: OpId, bias: ValueId) -> Result<(ValueId, ValueId), String> {
    let record = graph.op(matmul);
    let (Some(x), Some(w)) = (record.operand(0), record.operand(1)) else {
        return Err("the MatMul lacks an operand".into());
    };
    let weights = real_const(graph, w).ok_or("the right side of the MatMul is no constant")?;
    let [_, columns] = weights.dims() else { return Err("the weights of the MatMul are no matrix".into()) };
    match graph.value(x).ty().rank() {
        Some(2) => {}
        Some(rank) => return Err(format!("Gemm knows matrices only, and {} is of rank {rank}", graph.label(x))),
        None => return Err(format!("the rank of {} is not known: run infer-shapes first", graph.label(x))),
    }
    if per_channel(graph, bias, *columns, 1, 2).is_none() {
        return Err(format!("{} is not one number for each of {columns} columns", graph.label(bias)));
    }
    if graph.use_count(record.result()) != 1 || record.region() != graph.op(add).region() {
        return Err("the product has other readers".into());
    }
    if ![x, record.result(), graph.op(add).result()].iter().all(|&v| is_plain(graph, v)) {
        return Err("it is quantized".into());
    }
    if opset(graph, add) < 7 {
        return Err("Gemm does not broadcast by itself below opset 7: run upgrade-opset first".into());
    }
    Ok((x, w))
}
