//! Writes a GELU between stored tensors as one float operator between two conversions.
//!
//! ```text
//! %a = onnx.Mul %x, 1/sqrt2      : f32
//! %b = onnx.Erf %a               : f32
//! %c = onnx.Add %b, 1            : f32
//! %y = onnx.Mul %x, %c           : qu8(0.04, 9)    ──▶    %g = com.microsoft.Gelu %x : qu8(0.02, 9)
//!                                                         %y = onnx.Mul %g, 2        : qu8(0.04, 9)    the same bytes
//! ```
//!
//! In pieces each reader of a stored `x` gets a conversion of its own, which keeps the runtime from making one operator of
//! them: four passes over the floats, and two conversions. The half of GELU may have gone into the weights behind it; then the
//! result is a multiple of GELU, which is another scale for the same bytes. Both forms compute in single precision and round
//! once.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, MICROSOFT, NewOp, OpId, OpName, Quant, ValueId};

use super::lift_gelu::gate;
use crate::analysis::near;
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::product::Product;
use crate::quantize::gate::stored_like;
use crate::quantize::rescale::one_step;
use crate::quantize::writer::quant;
use crate::rewrite;

/// See the module documentation.
pub(crate) struct LowerGelu;

static INFO: PassInfo = PassInfo {
    name: "lower-gelu",
    summary: "write GELU of stored tensors as one float operator of ONNX Runtime",
    doc: "`x (1 + erf(x / sqrt 2))`, times any positive number, of a stored tensor becomes Gelu of the com.microsoft domain, \
          where the target has that operator (`ops.own`). A factor other than a half is put into the scale of the stored \
          result. The result is no portable file: run it before lower-qoperator, not before lower-qdq.\n\n\
          It declines where operand or result are float, and where the factor is negative.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for LowerGelu {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let gelu = OpName::new(MICROSOFT, "Gelu");
        let mut changed = false;
        if !cx.target.ops.is_own(&gelu) {
            return Ok(Outcome::Unchanged);
        }
        // From the end: what is only a part of a product is gone by then.
        for op in graph.ops_in(graph.body()).collect::<Vec<_>>().into_iter().rev() {
            if !graph.is_live(op) {
                continue;
            }
            let Some(product) = Product::then_stored(graph, op) else { continue };
            let Some((x, also, false)) = gate(graph, &product) else { continue };
            match stored(graph, op, x, product.coefficient) {
                Err(why) => cx.declined(graph, op, why),
                Ok(to) => {
                    if !cx.rewrite(graph, op, "GELU written as one operator") {
                        break;
                    }
                    let also: Vec<OpId> = also.into_iter().chain(product.ops[1..].iter().copied()).collect();
                    write(graph, op, x, 2.0 * product.coefficient, &to, &also);
                    changed = true;
                }
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// How the result is stored; a sentence when it stays in pieces.
fn stored(graph: &Graph, op: OpId, x: ValueId, coefficient: f64) -> Result<Quant, String> {
    if quant(graph, x).is_none_or(|q| q.axis.is_some()) {
        return Err("it is a GELU, but its operand is float".into());
    }
    let to = quant(graph, graph.op(op).result()).filter(|q| q.axis.is_none());
    let to = to.ok_or("it is a GELU, but its result is float")?;
    if coefficient <= 0.0 || !(to.at(0).0 / (2.0 * coefficient) as f32).is_normal() {
        return Err(format!("it is a GELU times {}, which no scale of the result says", 2.0 * coefficient as f32));
    }
    Ok(to)
}

/// Writes `factor` times the GELU of `x` in place of `op`.
fn write(graph: &mut Graph, op: OpId, x: ValueId, factor: f64, to: &Quant, also: &[OpId]) {
    graph.meta.opsets.entry(MICROSOFT.into()).or_insert(1);
    graph.touch();
    let gelu = NewOp::new(OpName::new(MICROSOFT, "Gelu")).operand(x);
    if near(factor, 1.0) {
        rewrite::replace(graph, op, INFO.name, also, gelu);
        return;
    }
    let (scale, zero) = to.at(0);
    let name = graph.value(graph.op(op).result()).name().clone();
    let half = Quant::per_tensor(to.store, scale / factor as f32, zero);
    let ty = stored_like(graph, graph.op(op).result(), &half);
    let value = rewrite::insert_before(graph, op, INFO.name, format!("{name}.gelu"), ty, gelu);
    let factor = one_step(graph, op, format!("{name}.factor"), factor as f32, to.store);
    rewrite::replace(graph, op, INFO.name, also, NewOp::onnx("Mul").operand(value).operand(factor));
}
