//! Gives all channels of a PReLU one slope.
//!
//! ```text
//! %y = onnx.PRelu %x, %slopes        ──▶    %y = onnx.LeakyRelu %x {alpha = 0.2}
//! ```
//!
//! The slope is the mean of those learned (He et al. 2015). LeakyRelu of stored numbers is a look-up of 256 entries; PReLU has
//! no integer kernel.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Graph, NewOp};

use crate::analysis::{is_plain, reals};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite::{Found, replace_from_the_end};

/// See the module documentation.
pub(crate) struct SubstitutePrelu;

static INFO: PassInfo = PassInfo {
    name: "substitute-prelu",
    summary: "put LeakyRelu with the mean slope in the place of PRelu",
    doc: "`x` where it is positive, else `slope x`: PRelu has a slope for each channel, LeakyRelu one for all, here the mean \
          of those of PRelu. Where the slopes differ the network computes something else, and wants to be trained again: \
          `spaceevo-opt advise` says what it would gain.\n\n\
          It declines where the slopes are computed.",
    effect: Effect::Retrain,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for SubstitutePrelu {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        Ok(replace_from_the_end(graph, cx, "LeakyRelu with the mean slope instead", |graph, op| {
            let record = graph.op(op);
            let (Some(x), Some(slopes)) = (record.operand(0), record.operand(1)) else { return Ok(None) };
            if !record.name().is_onnx("PRelu") {
                return Ok(None);
            }
            if !is_plain(graph, record.result()) {
                return Err("it is quantized".into());
            }
            let slopes = reals(graph, slopes).filter(|s| !s.is_empty()).ok_or("its slopes are no constant numbers")?;
            let mean = slopes.iter().sum::<f64>() / slopes.len() as f64;
            let new = NewOp::onnx("LeakyRelu").operand(x).attr("alpha", Attr::Float(mean as f32));
            Ok(Some(Found { new, also: Vec::new() }))
        }))
    }
}
