//! Writes the hard swish of a stored tensor as integer Add and Mul.
//!
//! ```text
//! %y = onnx.HardSwish %x : qu8(..)    ──▶    %s = onnx.Add %x, 3   : qu8(6/255, 0)[..]     saturates to [0, 6]
//!                                            %g = onnx.Mul %s, 1/6 : qu8(1/255, 0)[..]     the same bytes
//!                                            %y = onnx.Mul %x, %g  : qu8(..)
//! ```
//!
//! How far apart the two are: the gate is rounded to a multiple of 1/255, so it is off by at most 1/510, the product by at
//! most `|x| / 510`, that is `|x| / (510 scale)` steps of the result; both round the result once, which makes one step more
//! at most. Saturating to the result's type brings them no further apart.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, NewOp};

use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::quantize::gate::{Gate, stored_like};
use crate::quantize::lowering;
use crate::rewrite;

/// See the module documentation.
pub(crate) struct LowerHardSwish;

static INFO: PassInfo = PassInfo {
    name: "lower-hard-swish",
    summary: "write HardSwish of stored tensors as integer Add and Mul",
    doc: "`x * clip(x + 3, 0, 6) / 6` (Howard et al. 2019) between stored tensors: the sum `x + 3` is stored in a type that \
          saturates to [0, 6], its bytes are read as a gate in [0, 1], and the gate multiplies `x`. The gate is rounded to a \
          multiple of 1/255: the result moves by at most `|x| / (510 scale) + 1` steps. Run it behind fold-clip and before \
          lower-qoperator or lower-qdq.\n\n\
          It declines where operand or result are float, where the target does not ask for it, where its activations have no \
          type whose lowest stored number means 0 (symmetric ones, fewer bits), and where they are stored as another integer \
          type than the operand.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for LowerHardSwish {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        Ok(lowering::each(graph, cx, "HardSwish", |graph, cx, stored| {
            let gate = Gate::of(&cx.target.quant.activations, &stored.from, 1.0 / 6.0, 0.5)?;
            if stored.to.store != stored.from.store {
                return Err(format!("its operand is stored as {}, its result as {}", stored.from.store, stored.to.store));
            }
            if !cx.rewrite(graph, stored.op, "hard swish written as a saturating sum and a product") {
                return Ok(false);
            }
            let (sum, product) = gate.write(graph, stored.op, INFO.name, stored.input);
            let name = format!("{}.gate", graph.value(graph.op(stored.op).result()).name());
            let ty = stored_like(graph, sum, &gate.quant);
            let factor = rewrite::insert_before(graph, stored.op, INFO.name, name, ty, product);
            let product = NewOp::onnx("Mul").operand(stored.input).operand(factor);
            rewrite::replace(graph, stored.op, INFO.name, &[], product);
            Ok(true)
        }))
    }
}
