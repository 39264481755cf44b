//! Writes PRelu as arithmetic without a decision for each number.
//!
//! ```text
//! %m = onnx.Mul %x, %s
//! %y = onnx.PRelu %x, %s    ──▶    %y = onnx.Max %x, %m      where all slopes are in [0, 1]
//! ```
//!
//! `prelu(x) = x` where `x >= 0`, else `s x`. With `0 <= s <= 1` the larger one of `x` and `s x` is meant on both sides of zero;
//! with `s >= 1` the smaller one. For other slopes it is `max(x, 0) + s min(x, 0)`, of which one summand is zero. No digit is
//! lost: every number is `x` or the same product.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Elem, Graph, NewOp, OpId, Tensor, TensorType, Type, ValueId};

use crate::analysis::real_const;
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct LowerPrelu;

static INFO: PassInfo = PassInfo {
    name: "lower-prelu",
    summary: "write PRelu as Mul and Max, or Relu, Min, Mul and Add",
    doc: "For runtimes whose PRelu decides for every number (`ops.slow` of the target), which is slow where the signs of the numbers \
          cannot be foreseen. Slopes must be finite constants; those in [0, 1] give \
          `max(x, s x)`, those of at least 1 `min(x, s x)`, others `max(x, 0) + s min(x, 0)`. The sign of a zero may change.\n\n\
          It declines where slopes are computed, not finite, or stored, and where the target does not ask for it.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for LowerPrelu {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for op in graph.ops_in(graph.body()).collect::<Vec<_>>() {
            if !graph.op(op).name().is_onnx("PRelu") {
                continue;
            }
            if !cx.target.ops.is_slow(graph.op(op).name()) {
                cx.declined(graph, op, format!("target {} does not ask for it", cx.target.name));
                continue;
            }
            match slopes(graph, op) {
                Err(why) => cx.declined(graph, op, why),
                Ok((x, slope, form)) => {
                    if !cx.rewrite(graph, op, "PRelu written without decisions") {
                        break;
                    }
                    write(graph, op, x, slope, form);
                    changed = true;
                }
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// How a PRelu is written.
#[derive(Clone, Copy)]
enum Written {
    /// As the larger or the smaller one of `x` and `s x`.
    Of(&'static str),
    /// As a sum of both sides.
    Sum,
}

/// Operand, slopes and form; a sentence when it stays.
fn slopes(graph: &Graph, op: OpId) -> Result<(ValueId, ValueId, Written), String> {
    let record = graph.op(op);
    let (Some(x), Some(slope)) = (record.operand(0), record.operand(1)) else {
        return Err("it lacks an operand".into());
    };
    let numbers = real_const(graph, slope).and_then(Tensor::to_f32).ok_or("its slopes are no constants of real numbers")?;
    if graph.value(x).ty().elem() != Some(Elem::F32) || !numbers.iter().all(|s| s.is_finite()) {
        return Err("it works on other numbers than float32, or a slope is not finite".into());
    }
    let form = match () {
        _ if numbers.iter().all(|s| (0.0..=1.0).contains(s)) => Written::Of("Max"),
        _ if numbers.iter().all(|&s| s >= 1.0) => Written::Of("Min"),
        _ => Written::Sum,
    };
    Ok((x, slope, form))
}

fn write(graph: &mut Graph, op: OpId, x: ValueId, slope: ValueId, form: Written) {
    let result = graph.op(op).result();
    let name = graph.value(result).name().clone();
    // What is made on the way stays real, whether the result is stored or not.
    let ty = match graph.value(result).ty().tensor() {
        Some(ty) => Type::Tensor(TensorType { quant: None, ..ty.clone() }),
        None => graph.value(result).ty().clone(),
    };
    let step = |graph: &mut Graph, word: &str, new: NewOp| {
        rewrite::insert_before(graph, op, INFO.name, format!("{name}.{word}"), ty.clone(), new)
    };
    let last = match form {
        Written::Of(operator) => {
            let product = step(graph, "scaled", NewOp::onnx("Mul").operand(x).operand(slope));
            NewOp::onnx(operator).operand(x).operand(product)
        }
        Written::Sum => {
            let zero = rewrite::constant(graph, op, format!("{name}.zero"), Tensor::scalar(0f32));
            let above = step(graph, "above", NewOp::onnx("Relu").operand(x));
            let below = step(graph, "below", NewOp::onnx("Min").operand(x).operand(zero));
            let product = step(graph, "scaled", NewOp::onnx("Mul").operand(below).operand(slope));
            NewOp::onnx("Add").operand(above).operand(product)
        }
    };
    rewrite::replace(graph, op, INFO.name, &[], last);
}
