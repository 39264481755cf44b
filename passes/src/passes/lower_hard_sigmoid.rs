//! Writes the hard sigmoid of a stored tensor as an integer Add.
//!
//! ```text
//! %y = onnx.HardSigmoid %x {alpha, beta} : qu8(1/255, 0)    ──▶    %s = onnx.Add %x, beta/alpha : qu8(1/(255 alpha), 0)[..]
//!                                                                  %y = onnx.Mul %s, alpha      : qu8(1/255, 0)[..]
//! ```
//!
//! The sum saturates to [0, 1/alpha], and the product only changes the scale: the same bytes. Both forms round `alpha x +
//! beta` once to a multiple of 1/255, so they differ where single precision decides a tie: by one step at most.

use spaceevo_ir::Graph;
use spaceevo_ir::verify::Form;

use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::quantize::gate::{Gate, stored_like};
use crate::quantize::lowering::{self, takes_any_scale};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct LowerHardSigmoid;

static INFO: PassInfo = PassInfo {
    name: "lower-hard-sigmoid",
    summary: "write HardSigmoid of stored tensors as a saturating integer Add",
    doc: "`clip(alpha x + beta, 0, 1)` between stored tensors: the sum `x + beta / alpha` is stored in a type that saturates \
          to [0, 1 / alpha], and its bytes are read as numbers in [0, 1]. A result of another type gets the type of [0, 1] \
          where all its readers are integer ops that take any scale; then it is rounded to other steps, and not cut off at \
          the calibrated bound. Run it behind fold-clip and before lower-qoperator or lower-qdq.\n\n\
          It declines for slopes that are not positive, where operand or result are float, where the result must keep its \
          type, where the target does not ask for it, and where its activations have no type whose lowest stored number \
          means 0 (symmetric ones, fewer bits).",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for LowerHardSigmoid {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        Ok(lowering::each(graph, cx, "HardSigmoid", |graph, cx, stored| {
            let record = graph.op(stored.op);
            let (alpha, beta) = (f64::from(record.float("alpha", 0.2)), f64::from(record.float("beta", 0.5)));
            let gate = Gate::of(&cx.target.quant.activations, &stored.from, alpha, beta)?;
            let fits = gate.is_type(&stored.to);
            if !fits {
                takes_any_scale(graph, cx, record.result())
                    .map_err(|why| format!("its result has another type than that of [0, 1], and must keep it: {why}"))?;
            }
            if !cx.rewrite(graph, stored.op, "hard sigmoid written as a saturating sum") {
                return Ok(false);
            }
            let (sum, product) = gate.write(graph, stored.op, INFO.name, stored.input);
            let new = rewrite::replace(graph, stored.op, INFO.name, &[], product);
            if !fits {
                let ty = stored_like(graph, sum, &gate.quant);
                graph.set_type(graph.op(new).result(), ty);
            }
            Ok(true)
        }))
    }
}
