//! Writes an average pooling of a stored tensor as a depthwise convolution.
//!
//! ```text
//! %y = onnx.AveragePool %x {kernel_shape = [3, 3]}    ──▶    %w = const [1, 1, ..] : qi8(1/9, 0)[C,1,3,3]
//!                                                            %y = onnx.Conv %x, %w {group = C, kernel_shape = [3, 3]}
//! ```
//!
//! A mean is a sum with weights `1 / (kh kw)`, which the type of the weights says exactly; stored they are 1, so that no sum
//! of products comes near the end of 16 bits. Both round the mean once: they differ where single precision decides a tie, by
//! one step at most.

use std::sync::Arc;

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Elem, Graph, NewOp, OpId, Quant, Tensor, TensorType};

use crate::analysis::is_unpadded;
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::quantize::lowering;
use crate::rewrite;

/// See the module documentation.
pub(crate) struct LowerAvgPool;

static INFO: PassInfo = PassInfo {
    name: "lower-avg-pool",
    summary: "write AveragePool of stored tensors as a depthwise Conv",
    doc: "A pooling over two axes between stored tensors becomes a Conv with one group per channel, weights that are stored as \
          1 in steps of 1 / (kh kw), and no bias; types, padding and strides stay. For targets whose pooling is slower than \
          their depthwise convolution.\n\n\
          It declines where operand or result are float, where padding is not counted (the divisor then differs at the \
          border), with ceil_mode, dilations or automatic padding, where rank or channels are not known, where the window is the \
          whole image (GlobalAveragePool does that), and where the target does not ask for it.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

/// Largest number of weights: more than any pooling needs, and little memory.
const MOST: usize = 1 << 22;

impl Pass for LowerAvgPool {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        Ok(lowering::each(graph, cx, "AveragePool", |graph, cx, stored| {
            let (channels, kernel) = window(graph, stored.op)?;
            if stored.to.store != stored.from.store {
                return Err(format!("its operand is stored as {}, its result as {}", stored.from.store, stored.to.store));
            }
            let taps = kernel[0] * kernel[1];
            if !cx.rewrite(graph, stored.op, "average pooling written as a depthwise convolution") {
                return Ok(false);
            }
            let dims = [channels, 1, kernel[0], kernel[1]];
            let quant = Quant::per_tensor(Elem::I8, (1.0 / taps as f64) as f32, 0);
            let ty = TensorType { quant: Some(Arc::new(quant)), ..TensorType::of(Elem::F32, &dims) };
            let name = format!("{}.weights", graph.value(graph.op(stored.op).result()).name());
            let region = graph.op(stored.op).region();
            let ones = Tensor::new(dims, vec![1i8; channels * taps]);
            let weights = graph.add_typed_const(region, name, ones, ty);
            let mut attrs = graph.op(stored.op).attrs().clone();
            ["count_include_pad", "ceil_mode"].iter().for_each(|name| drop(attrs.remove(*name)));
            attrs.insert("group".into(), Attr::Int(channels as i64));
            let conv = NewOp::onnx("Conv").operand(stored.input).operand(weights).attrs(attrs);
            rewrite::replace(graph, stored.op, INFO.name, &[], conv);
            Ok(true)
        }))
    }
}

/// Channels and window of a pooling that is a convolution; a sentence when it is none.
pub(crate) fn window(graph: &Graph, op: OpId) -> Result<(usize, [usize; 2]), String> {
    let record = graph.op(op);
    let ty = record.operand(0).and_then(|x| graph.value(x).ty().tensor()).ok_or("the type of its operand is not known")?;
    if ty.rank() != Some(4) {
        return Err("its operand is not known to have two spatial axes".into());
    }
    let channels = ty.dim(1).filter(|&c| c > 0).ok_or("the number of channels is not known: run infer-shapes first")?;
    let extents = record.ints("kernel_shape").unwrap_or_default().iter().map(|&k| usize::try_from(k).unwrap_or(0));
    let kernel: [usize; 2] = extents.collect::<Vec<_>>().try_into().map_err(|_| "its window has not two extents")?;
    let weights = kernel.iter().try_fold(channels, |n, &k| n.checked_mul(k)).filter(|&n| n > 0 && n <= MOST);
    weights.ok_or("its window has no elements, or too many")?;
    if record.int("ceil_mode", 0) != 0 {
        return Err("it rounds the number of windows up".into());
    }
    if !["NOTSET", "VALID"].contains(&record.str("auto_pad", "NOTSET")) {
        return Err("it pads by itself".into());
    }
    let unpadded = is_unpadded(graph, op);
    if !unpadded && record.int("count_include_pad", 0) == 0 {
        return Err("it does not count padding: the divisor differs at the border".into());
    }
    if unpadded && (0..2).all(|axis| ty.dim(2 + axis) == Some(kernel[axis])) {
        return Err("it averages the whole image: GlobalAveragePool does that".into());
    }
    Ok((channels, kernel))
}
