//! Writes the SiLU of a stored tensor as one operator of ONNX Runtime.
//!
//! ```text
//! %s = onnx.Sigmoid %x : qu8(..)             ──▶    %y = com.microsoft.QuickGelu %x {alpha = 1.0} : qu8(..)
//! %y = onnx.Mul %x, %s : qu8(..)
//! ```
//!
//! `QuickGelu` is `x * sigmoid(alpha x)` (Hendrycks and Gimpel 2016) and has no integer kernel: the writers put one conversion
//! before and one behind it, which costs less than two integer operators. The sigmoid is not stored any more, so the result
//! moves by at most `|x| / 2` steps of the sigmoid, and by one step of its own for the rounding of both; where the stored
//! sigmoid ended below 1 (its largest value in calibration), it ends there no longer.
//!
//! A SiLU in float that reads a stored tensor is written so, too: as two operators, each would read a conversion of its own,
//! which keeps the runtime from making one of them.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Elem, Graph, MICROSOFT, NewOp, OpId, OpName, User, ValueId};

use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::quantize::lowering;
use crate::quantize::writer::quant;
use crate::rewrite;

/// See the module documentation.
pub(crate) struct LowerSilu;

static INFO: PassInfo = PassInfo {
    name: "lower-silu",
    summary: "write SiLU of stored tensors as ONNX Runtime's QuickGelu",
    doc: "`x * Sigmoid(x)` between stored tensors, as lift-silu leaves it, becomes `QuickGelu(x; alpha = 1)` of the \
          com.microsoft domain, which runs in float between two conversions: for targets whose runtime has that operator and \
          runs it faster than two integer look-ups. The result is then no portable file: run it before lower-qoperator, not \
          before lower-qdq.\n\n\
          It declines where the sigmoid has other readers, where its operand is float, where only one of sigmoid and product \
          is stored, where the target's prices say that the pair is faster, and where the target does not ask for it.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for LowerSilu {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for op in graph.ops_in(graph.body()).collect::<Vec<_>>() {
            if let Some((x, product)) = in_float(graph, cx, op) {
                changed |= write(graph, cx, op, x, product);
            }
        }
        let stored = lowering::each(graph, cx, "Sigmoid", |graph, cx, stored| {
            let Some(product) = product(graph, stored.op, stored.input)? else { return Ok(false) };
            if quant(graph, graph.op(product).result()).is_none_or(|q| q.axis.is_some()) {
                return Err("the product is not stored".into());
            }
            if cx.target.pricing().is_some_and(|prices| prices.silu_is_faster_as_pair(graph, product)) {
                return Err("by the target's prices sigmoid and product are faster".into());
            }
            Ok(write(graph, cx, stored.op, stored.input, product))
        });
        Ok(if changed { Outcome::Changed } else { stored })
    }
}

/// Writes the product of `x` and its sigmoid as one operator, unless it may not.
fn write(graph: &mut Graph, cx: &mut PassContext<'_>, sigmoid: OpId, x: ValueId, product: OpId) -> bool {
    if !cx.rewrite(graph, product, "SiLU written as QuickGelu") {
        return false;
    }
    if !graph.meta.opsets.contains_key(MICROSOFT) {
        graph.meta.opsets.insert(MICROSOFT.into(), 1);
        graph.touch();
    }
    let new = NewOp::new(OpName::new(MICROSOFT, "QuickGelu")).operand(x).attr("alpha", Attr::Float(1.0));
    rewrite::replace(graph, product, INFO.name, &[sigmoid], new);
    true
}

/// What a float sigmoid reads from store, and the float product with it, where the target has one operator for both.
fn in_float(graph: &Graph, cx: &PassContext<'_>, op: OpId) -> Option<(ValueId, OpId)> {
    let record = graph.is_live(op).then(|| graph.op(op))?;
    if !record.name().is_onnx("Sigmoid") || !cx.target.ops.is_lowered(record.name(), INFO.name) {
        return None;
    }
    let x = record.operand(0)?;
    let product = product(graph, op, x).ok().flatten()?;
    let is_float = |op: OpId| {
        let ty = graph.value(graph.op(op).result()).ty().tensor();
        ty.is_some_and(|t| t.elem == Elem::F32 && t.quant.is_none())
    };
    (quant(graph, x).is_some_and(|q| q.axis.is_none()) && is_float(op) && is_float(product)).then_some((x, product))
}

/// The product of a sigmoid and its operand, if there is one; a sentence when it cannot be replaced.
fn product(graph: &Graph, sigmoid: OpId, x: ValueId) -> Result<Option<OpId>, String> {
    let gate = graph.op(sigmoid).result();
    let is_product = |op: OpId| {
        let operands = graph.op(op).operands();
        graph.op(op).name().is_onnx("Mul") && [[Some(x), Some(gate)], [Some(gate), Some(x)]].iter().any(|o| operands == o)
    };
    let found = graph.value(gate).users().iter().find_map(|user| match *user {
        User::Op(op, _) if is_product(op) => Some(op),
        _ => None,
    });
    let Some(product) = found else { return Ok(None) };
    if graph.use_count(gate) != 1 {
        return Err("the sigmoid is read elsewhere, too".into());
    }
    Ok(Some(product))
}
