//! Folds BatchNormalization into the weights of the linear op behind or before it.
//!
//! ```text
//! %c = onnx.Conv %x, %w, %b
//! %y = onnx.BatchNormalization %c, %gamma, %beta, %mean, %var    ──▶    %y = onnx.Conv %x, %w', %b'
//! ```

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, OpId};

use crate::affine::Affine;
use crate::analysis::model_ops;
use crate::linear::{Absorption, Linear};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};

/// See the module documentation.
pub(crate) struct FoldConvBn;

static INFO: PassInfo = PassInfo {
    name: "fold-conv-bn",
    summary: "fold BatchNormalization into Conv, ConvTranspose and Gemm",
    doc: "A BatchNormalization with constant statistics is `y = s x + t` for each channel, with \
          `s = gamma / sqrt(var + epsilon)` and `t = beta - mean s`. Behind Conv, ConvTranspose or Gemm it becomes \
          `W' = s W`, `b' = s b + t`. Before Conv or Gemm it becomes `W'[o,i] = W[o,i] s[i]`, `b'[o] = b[o] + sum W[o,i] t[i]`; \
          before a Conv that pads with zeros only where `t` is 0, because padding is added behind the normalization.\n\n\
          It declines when another op reads the value between the two, when weights or statistics are no constants, and in \
          training mode. A BatchNormalization that stays is a case for lower-batch-norm.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for FoldConvBn {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for norm in model_ops(graph) {
            if graph.is_live(norm) && graph.op(norm).name().is_onnx("BatchNormalization") {
                changed |= fold(graph, norm, cx).unwrap_or_else(|why| {
                    cx.declined(graph, norm, why);
                    false
                });
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// Folds one BatchNormalization, rather into what makes its input than into what reads its result.
fn fold(graph: &mut Graph, norm: OpId, cx: &mut PassContext<'_>) -> Result<bool, String> {
    let Some(input) = graph.op(norm).operand(0) else { return Ok(false) };
    let affine = |_: &Linear| Affine::of_batch_norm(graph, norm);
    let (found, place) = match Absorption::by_maker(graph, norm, input, affine) {
        Ok(Some(found)) => (found, "before it"),
        behind => match (behind, Absorption::by_reader(graph, norm, input, affine)) {
            (_, Ok(Some(found))) => (found, "that reads it"),
            (Err(behind), Err(before)) => return Err(format!("{behind}; {before}")),
            (Err(why), _) | (_, Err(why)) => return Err(why),
            _ => return Err("there is no Conv, ConvTranspose or Gemm right before or behind it".into()),
        },
    };
    let bias_name = graph.op(norm).operand(2).map_or_else(|| "bias".into(), |b| graph.value(b).name().clone());
    let what = format!("folded into the {} {place}", found.word);
    Ok(cx.rewrite(graph, norm, what) && found.apply(graph, INFO.name, bias_name))
}
