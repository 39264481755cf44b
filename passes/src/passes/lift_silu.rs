//! Recognises sigmoid and SiLU that are written out, and writes SiLU in one way.
//!
//! ```text
//! %n = onnx.Neg %x
//! %e = onnx.Exp %n
//! %d = onnx.Add %e, %one             %s = onnx.Sigmoid %x
//! %y = onnx.Div %x, %d        ──▶    %y = onnx.Mul %x, %s
//! ```

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, NewOp, OpId, ValueId};

use crate::analysis::{constant_side, is_plain, model_ops, scalar};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct LiftSilu;

static INFO: PassInfo = PassInfo {
    name: "lift-silu",
    summary: "recognise Sigmoid and SiLU written out; write SiLU as x * Sigmoid(x)",
    doc: "`1 / (1 + exp(-x))` becomes `Sigmoid(x)`, `x / (1 + exp(-x))` becomes `x * Sigmoid(x)`, and `Sigmoid(x) * x` gets \
          its operands in the order `x`, `Sigmoid(x)`. SiLU (Elfwing et al. 2017) stays two ops: ONNX has no operator for \
          it below opset 24, and runtimes fuse the pair.\n\n\
          It declines where the numerator is neither 1 nor the exponent's operand, and where `exp` or the sum has other \
          readers.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for LiftSilu {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for op in model_ops(graph) {
            if !graph.is_live(op) {
                continue;
            }
            if graph.op(op).name().is_onnx("Mul") {
                changed |= order(graph, op, cx);
            } else if let Some((x, also)) = logistic_denominator(graph, op) {
                changed |= lift(graph, op, x, &also, cx);
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// `Sigmoid(x) * x` becomes `x * Sigmoid(x)`.
fn order(graph: &mut Graph, op: OpId, cx: &mut PassContext<'_>) -> bool {
    let (Some(a), Some(b)) = (graph.op(op).operand(0), graph.op(op).operand(1)) else { return false };
    let gated = graph.def_named(a, "Sigmoid").is_some_and(|s| graph.op(s).operand(0) == Some(b));
    if !gated || !cx.rewrite(graph, op, "operands of SiLU ordered") {
        return false;
    }
    graph.set_operands(op, vec![Some(b), Some(a)]);
    true
}

/// For a Div or Reciprocal: `x` when the divisor is `1 + exp(-x)`, and the ops that it is made of.
fn logistic_denominator(graph: &Graph, op: OpId) -> Option<(ValueId, Vec<OpId>)> {
    let divisor = match graph.op(op).name().onnx_op() {
        "Div" => graph.op(op).operand(1)?,
        "Reciprocal" => graph.op(op).operand(0)?,
        _ => return None,
    };
    let add = graph.def_named(divisor, "Add")?;
    let (exponential, one, _) = constant_side(graph, add).filter(|(_, one, _)| scalar(graph, *one) == Some(1.0))?;
    let exp = graph.def_named(exponential, "Exp").filter(|_| graph.const_of(one).is_some_and(|c| c.dims().is_empty()))?;
    let neg = graph.def_named(graph.op(exp).operand(0)?, "Neg")?;
    Some((graph.op(neg).operand(0)?, vec![neg, exp, add]))
}

fn lift(graph: &mut Graph, op: OpId, x: ValueId, also: &[OpId], cx: &mut PassContext<'_>) -> bool {
    let numerator = if graph.op(op).name().is_onnx("Div") { graph.op(op).operand(0) } else { None };
    let silu = numerator == Some(x);
    let one =
        numerator.is_none_or(|n| scalar(graph, n) == Some(1.0) && graph.const_of(n).is_some_and(|c| c.dims().is_empty()));
    if !silu && !one {
        let numerator = numerator.map_or_else(String::new, |n| graph.label(n));
        cx.declined(graph, op, format!("the numerator {numerator} is neither 1 nor {}", graph.label(x)));
        return false;
    }
    let inner = also.iter().map(|&o| graph.op(o).result());
    if let Some(shared) = inner.clone().find(|&v| graph.use_count(v) != 1) {
        cx.declined(graph, op, format!("{} is read elsewhere, too", graph.label(shared)));
        return false;
    }
    if !inner.clone().chain([x, graph.op(op).result()]).all(|v| is_plain(graph, v)) {
        cx.declined(graph, op, "it is quantized");
        return false;
    }
    if !cx.rewrite(graph, op, if silu { "SiLU recognised" } else { "Sigmoid recognised" }) {
        return false;
    }
    let sigmoid = NewOp::onnx("Sigmoid").operand(x);
    if one {
        rewrite::replace(graph, op, INFO.name, also, sigmoid);
        return true;
    }
    let result = graph.op(op).result();
    let (name, ty) = (format!("{}.gate", graph.value(result).name()), graph.value(x).ty().clone());
    let gate = rewrite::insert_before(graph, op, INFO.name, name, ty, sigmoid);
    rewrite::replace(graph, op, INFO.name, also, NewOp::onnx("Mul").operand(x).operand(gate));
    true
}
