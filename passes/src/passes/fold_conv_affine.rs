//! Folds Mul, Add, Sub and Div by constants into the weights of the linear op behind or before them.
//!
//! ```text
//! %c = onnx.Conv %x, %w
//! %m = onnx.Mul %c, %scale            // one number, or one for each channel
//! %y = onnx.Add %m, %shift      ──▶     %y = onnx.Conv %x, %w', %b'
//! ```

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, OpId};

use crate::affine::Affine;
use crate::analysis::{constant_side, model_ops};
use crate::linear::{Absorption, Linear};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};

/// See the module documentation.
pub(crate) struct FoldConvAffine;

static INFO: PassInfo = PassInfo {
    name: "fold-conv-affine",
    summary: "fold arithmetic with constants into Conv, ConvTranspose and Gemm",
    doc: "An Add, Sub, Mul or Div with a constant that is one number, or one for each channel, is `y = s x + t`. Behind a \
          Conv, ConvTranspose or Gemm with constant weights it becomes `W' = s W`, `b' = s b + t`. Before a Conv or Gemm it \
          becomes `W'[o,i] = W[o,i] s[i]`, `b'[o] = b[o] + sum W[o,i] t[i]`; a summand only where the Conv does not pad.\n\n\
          It declines when the constant differs along another axis than the channels, when another op reads the value \
          between the two, and when the weights are no constants.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for FoldConvAffine {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        // A chain before a Conv folds from its end, one behind it from its beginning: rounds serve both.
        loop {
            let (mut again, mut declined) = (false, Vec::new());
            for op in model_ops(graph) {
                if graph.is_live(op) && ["Add", "Sub", "Mul", "Div"].iter().any(|name| graph.op(op).name().is_onnx(name)) {
                    match fold(graph, op, cx) {
                        Ok(folded) => again |= folded,
                        Err(why) => declined.push((op, why)),
                    }
                }
            }
            changed |= again;
            if !again {
                declined.into_iter().for_each(|(op, why)| cx.declined(graph, op, why));
                return Ok(Outcome::from(changed));
            }
        }
    }
}

fn fold(graph: &mut Graph, op: OpId, cx: &mut PassContext<'_>) -> Result<bool, String> {
    let Some((input, constant, _)) = constant_side(graph, op) else { return Ok(false) };
    let word = graph.op(op).name().op.clone();
    let affine = |channels: usize, rank: usize| {
        let found = Affine::of_arithmetic(graph, op, channels, rank).map(|(_, affine)| affine);
        found.ok_or_else(|| format!("{} is not one number for each of {channels} channels", graph.label(constant)))
    };
    // Before a linear op the constant must not widen what it meets: that would be a change of shape, too.
    let before = |linear: &Linear| {
        let ty = graph.value(input).ty();
        let channels = ty.tensor().and_then(|t| t.dim(1));
        if ty.rank() != Some(linear.rank) || (graph.const_of(constant).is_none_or(|c| c.len() > 1) && channels.is_none()) {
            return Err(format!("the shape of {} is not known well enough", graph.label(input)));
        }
        if channels.is_some_and(|c| c != linear.inputs()) {
            return Err(format!("{} is widened from {} channels", graph.label(input), channels.unwrap_or(0)));
        }
        affine(linear.inputs(), linear.rank)
    };
    let (found, place) = match Absorption::by_maker(graph, op, input, |l: &Linear| affine(l.channels, l.rank)) {
        Ok(Some(found)) => (found, "before it"),
        behind => match (behind, Absorption::by_reader(graph, op, input, before)) {
            (_, Ok(Some(found))) => (found, "that reads it"),
            (Err(why), _) | (_, Err(why)) => return Err(why),
            _ => return Ok(false),
        },
    };
    let bias_name = graph.value(constant).name().clone();
    let what = format!("{word} folded into the {} {place}", found.word);
    Ok(cx.rewrite(graph, op, what) && found.apply(graph, INFO.name, bias_name))
}
