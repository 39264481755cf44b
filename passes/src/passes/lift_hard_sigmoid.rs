//! Recognises a hard sigmoid that is written out.
//!
//! ```text
//! %a = onnx.Add %x, %three
//! %b = onnx.Clip %a, %zero, %six
//! %y = onnx.Div %b, %six             ──▶    %y = onnx.HardSigmoid %x {alpha = 0.16666667, beta = 0.5}
//! ```

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Graph, NewOp, OpId};

use crate::analysis::near;
use crate::clamp::Clamp;
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::product::{Line, Product};
use crate::rewrite::{Found, replace_from_the_end};

/// See the module documentation.
pub(crate) struct LiftHardSigmoid;

static INFO: PassInfo = PassInfo {
    name: "lift-hard-sigmoid",
    summary: "recognise HardSigmoid written out as Add, Clip and Mul",
    doc: "`c * clip(a x + b, 0, h)` with `c h = 1` and `a, c > 0` is `HardSigmoid(x; alpha = a c, beta = b c)`, whose \
          definition is `max(0, min(1, alpha x + beta))`. The factor `c` may be a Mul or a Div, or be missing where \
          `h = 1`; the line `a x + b` may be written in Mul, Div, Add and Sub in any order. A plain `clip(x, 0, 1)` stays.\n\n\
          It declines where the product of factor and bound is not 1, and where a value between is read elsewhere.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for LiftHardSigmoid {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        // From the end: the factor behind a Clip is part of the pattern.
        Ok(replace_from_the_end(graph, cx, "HardSigmoid recognised", recognise))
    }
}

fn recognise(graph: &Graph, op: OpId) -> Result<Option<Found>, String> {
    // The factor, and the bounded value behind it.
    let (factor, clip, mut also) = match Product::of(graph, op) {
        Some(product) => match product.factors[..] {
            [only] => (product.coefficient, graph.def_op(only), product.ops[1..].to_vec()),
            _ => return Ok(None),
        },
        None => (1.0, Some(op), Vec::new()),
    };
    let Some(clip) = clip else { return Ok(None) };
    let Some(clamp) = Clamp::of(graph, clip).filter(|c| c.low == 0.0 && c.high.is_finite() && c.high > 0.0) else {
        return Ok(None);
    };
    let line = Line::of(graph, clamp.input);
    if line.ops.is_empty() || line.scale <= 0.0 || factor <= 0.0 {
        return Ok(None);
    }
    if !near(factor * clamp.high, 1.0) {
        // A Clip to 6 alone is a part of other functions, not an almost hard sigmoid.
        let almost = clip != op;
        let why = || format!("{factor} times the bound {} is not 1", clamp.high);
        return if almost { Err(why()) } else { Ok(None) };
    }
    if clip != op {
        if graph.use_count(graph.op(clip).result()) != 1 {
            return Err(format!("{} is read elsewhere, too", graph.label(graph.op(clip).result())));
        }
        also.push(clip);
    }
    if graph.op(clip).region() != graph.op(op).region() {
        return Ok(None);
    }
    also.extend(&line.ops);
    let (alpha, beta) = (Attr::Float((line.scale * factor) as f32), Attr::Float((line.shift * factor) as f32));
    let new = NewOp::onnx("HardSigmoid").operand(line.input).attr("alpha", alpha).attr("beta", beta);
    Ok(Some(Found { new, also }))
}
