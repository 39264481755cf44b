//! Recognises a hard swish that is written out.
//!
//! ```text
//! %a = onnx.Add %x, %three
//! %b = onnx.Clip %a, %zero, %six
//! %c = onnx.Mul %x, %b
//! %y = onnx.Div %c, %six             ──▶    %y = onnx.HardSwish %x
//! ```

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, NewOp, OpId, ValueId};

use crate::analysis::{near, opset};
use crate::clamp::Clamp;
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::product::{Line, Product};
use crate::rewrite::{Found, replace_from_the_end};

/// See the module documentation.
pub(crate) struct LiftHardSwish;

static INFO: PassInfo = PassInfo {
    name: "lift-hard-swish",
    summary: "recognise HardSwish written out in pieces",
    doc: "`x * clip(x + 3, 0, 6) / 6` (Howard et al. 2019) is HardSwish, whatever the order of its factors, with the sixth \
          as Div or Mul anywhere in the product, and with the bounds as one Clip (merge-clips makes one of Relu and Min). So is \
          `x * HardSigmoid(x; alpha = 1/6, beta = 1/2)`.\n\n\
          It declines below opset 14, which has no HardSwish (run upgrade-opset), and where the constants are others, as \
          in `x * HardSigmoid(x; alpha = 0.2)`.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for LiftHardSwish {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        // From the end: the largest product first.
        Ok(replace_from_the_end(graph, cx, "HardSwish recognised", |graph, op| {
            let Some(product) = Product::of(graph, op) else { return Ok(None) };
            let Some(found) = recognise(graph, &product) else { return Ok(None) };
            let (x, mut also) = found?;
            if opset(graph, op) < 14 {
                return Err(format!("opset {} has no HardSwish: run upgrade-opset first", opset(graph, op)));
            }
            also.extend(&product.ops[1..]);
            Ok(Some(Found { new: NewOp::onnx("HardSwish").operand(x), also }))
        }))
    }
}

/// The operand of the hard swish, and the ops of the gate.
fn recognise(graph: &Graph, product: &Product) -> Option<Result<(ValueId, Vec<OpId>), String>> {
    for &gate in &product.factors {
        let Some(x) = product.beside(gate) else { continue };
        let Some(op) = graph.def_op(gate) else { continue };
        if graph.op(op).name().is_onnx("HardSigmoid") {
            if graph.op(op).operand(0) != Some(x) {
                continue;
            }
            let (alpha, beta, c) = (graph.op(op).float("alpha", 0.2), graph.op(op).float("beta", 0.5), product.coefficient);
            let fits = near(f64::from(alpha) * 6.0, 1.0) && near(f64::from(beta), 0.5) && near(c, 1.0);
            let why = || format!("the slope {alpha}, offset {beta} and factor {c} are not 1/6, 1/2 and 1");
            return Some(if fits { Ok((x, vec![op])) } else { Err(why()) });
        }
        let Some(clamp) = Clamp::of(graph, op).filter(|c| c.low == 0.0 && c.high.is_finite()) else { continue };
        // The input is read twice, so the line ends there at the latest.
        let line = Line::of(graph, clamp.input);
        if line.input != x || line.ops.is_empty() {
            continue;
        }
        // coefficient * clip(a x + b, 0, h) must be clip(x / 6 + 1 / 2, 0, 1).
        let c = product.coefficient;
        let fits = near(c * clamp.high, 1.0) && near(c * line.scale * 6.0, 1.0) && near(c * line.shift, 0.5);
        let why = || format!("{c} * x * clip({} x + {}, 0, {}) is no hard swish", line.scale, line.shift, clamp.high);
        let also = std::iter::once(op).chain(line.ops.iter().copied()).collect();
        return Some(if fits { Ok((x, also)) } else { Err(why()) });
    }
    None
}
