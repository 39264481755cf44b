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
//!
//! Where padding does not count, fewer taps do at the border, and a product with a map puts that right:
//!
//! ```text
//! %m = const [9/4, 9/6, .., 9/9, ..] : qu8(1/4, 0)[1,1,H,W]        kh kw over the number of taps inside
//! %y = onnx.Mul %s, %m                                             %s is the Conv
//! ```
//!
//! The map is exact, and one inside the border, where nothing changes. At the border the sum is rounded before it is
//! multiplied: the result moves by at most half of the largest factor in steps, and one step for the second rounding.

use std::sync::Arc;

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Elem, Graph, NewOp, OpId, Quant, Tensor, TensorType, ValueId};

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
          1 in steps of 1 / (kh kw), and no bias; types, padding and strides stay. Where padding does not count, a product \
          with a constant map follows, which makes up for the taps that are missing at the border. For targets whose pooling \
          is slower than their depthwise convolution.\n\n\
          It declines where operand or result are float, with ceil_mode, dilations or automatic padding, where rank or \
          channels are not known, or extents where padding does not count, where the factors of the border have no common \
          step within 8 bits (windows of 5x5 and more), where the window is the whole image (GlobalAveragePool does that), \
          and where the target does not ask for it.",
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
            let Window { channels, kernel, border } = Window::of(graph, stored.op)?;
            if stored.to.store != stored.from.store {
                return Err(format!("its operand is stored as {}, its result as {}", stored.from.store, stored.to.store));
            }
            if !cx.rewrite(graph, stored.op, "average pooling written as a depthwise convolution") {
                return Ok(false);
            }
            let taps = kernel[0] * kernel[1];
            let ones = Tensor::new([channels, 1, kernel[0], kernel[1]], vec![1i8; channels * taps]);
            let quant = Quant::per_tensor(Elem::I8, (1.0 / taps as f64) as f32, 0);
            let weights = constant(graph, stored.op, "weights", ones, quant);
            let mut attrs = graph.op(stored.op).attrs().clone();
            ["count_include_pad", "ceil_mode"].iter().for_each(|name| drop(attrs.remove(*name)));
            attrs.insert("group".into(), Attr::Int(channels as i64));
            let conv = NewOp::onnx("Conv").operand(stored.input).operand(weights).attrs(attrs);
            let Some(border) = border else {
                rewrite::replace(graph, stored.op, INFO.name, &[], conv);
                return Ok(true);
            };
            let result = graph.op(stored.op).result();
            let (name, ty) = (format!("{}.sum", graph.value(result).name()), graph.value(result).ty().clone());
            let sum = rewrite::insert_before(graph, stored.op, INFO.name, name, ty, conv);
            let map = border.map(graph, stored.op, stored.to.store);
            rewrite::replace(graph, stored.op, INFO.name, &[], NewOp::onnx("Mul").operand(sum).operand(map));
            Ok(true)
        }))
    }
}

/// A stored constant, named after the result of `op`.
fn constant(graph: &mut Graph, op: OpId, word: &str, tensor: Tensor, quant: Quant) -> ValueId {
    let name = format!("{}.{word}", graph.value(graph.op(op).result()).name());
    let ty = TensorType { quant: Some(Arc::new(quant)), ..TensorType::of(Elem::F32, tensor.dims()) };
    let region = graph.op(op).region();
    graph.add_typed_const(region, name, tensor, ty)
}

/// A pooling that is a convolution.
pub(crate) struct Window {
    /// Channels of operand and result.
    pub(crate) channels: usize,
    kernel: [usize; 2],
    /// The product behind the convolution, where padding does not count.
    pub(crate) border: Option<Border>,
}

impl Window {
    /// A sentence when the pooling is no convolution.
    pub(crate) fn of(graph: &Graph, op: OpId) -> Result<Window, String> {
        let record = graph.op(op);
        let ty =
            record.operand(0).and_then(|x| graph.value(x).ty().tensor()).ok_or("the type of its operand is not known")?;
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
        if unpadded && (0..2).all(|axis| ty.dim(2 + axis) == Some(kernel[axis])) {
            return Err("it averages the whole image: GlobalAveragePool does that".into());
        }
        let counts = unpadded || record.int("count_include_pad", 0) != 0;
        Ok(Window { channels, kernel, border: if counts { None } else { Some(Border::of(graph, op, ty, kernel)?) } })
    }
}

/// What makes up for taps that lie outside of the image: `kh kw / inside`, for each position.
pub(crate) struct Border {
    /// Height and width of the result.
    extents: [usize; 2],
    /// The factors in steps, 1 to 255, row by row.
    steps: Vec<i64>,
    step: f32,
}

impl Border {
    fn of(graph: &Graph, op: OpId, ty: &TensorType, kernel: [usize; 2]) -> Result<Border, String> {
        let record = graph.op(op);
        let list =
            |name: &str, at: usize, default: i64| record.ints(name).and_then(|l| l.get(at).copied()).unwrap_or(default);
        let inside = |axis: usize| {
            let size = ty.dim(2 + axis)? as i64;
            let (before, behind, stride) = (list("pads", axis, 0), list("pads", axis + 2, 0), list("strides", axis, 1));
            let window = kernel[axis] as i64;
            let last = (size.checked_add(before)?.checked_add(behind)?.checked_sub(window)?).checked_div(stride)?;
            let taps = |at: i64| (at * stride - before + window).min(size) - (at * stride - before).max(0);
            (0..=MOST as i64).contains(&last).then(|| (0..=last).map(taps).collect::<Vec<i64>>())
        };
        let (Some(rows), Some(columns)) = (inside(0), inside(1)) else {
            return Err("its padding does not count, and how far it reaches is not known: run infer-shapes first".into());
        };
        let inside: Vec<i64> = rows.iter().flat_map(|r| columns.iter().map(move |c| r * c)).take(MOST).collect();
        if inside.len() != rows.len() * columns.len() || inside.iter().any(|&n| n <= 0) {
            return Err("its padding does not count, and a window lies outside of the image".into());
        }
        // With `common` divisible by all counts, `taps / inside = (taps common / inside) / common`, whole numbers over one.
        let common = inside.iter().fold(1, |all, &n| all / gcd(all, n) * n);
        let taps = (kernel[0] * kernel[1]) as i64;
        let wide: Vec<i64> = inside.iter().map(|n| common / n * taps).collect();
        let shared = wide.iter().fold(common, |all, &n| gcd(all, n));
        let steps: Vec<i64> = wide.iter().map(|n| n / shared).collect();
        if steps.iter().any(|&n| n > 255) {
            return Err(
                "its padding does not count, and the divisors at the border have no common step within 8 bits".into()
            );
        }
        Ok(Border { extents: [rows.len(), columns.len()], steps, step: (shared as f64 / common as f64) as f32 })
    }

    /// The factors as a constant of one channel.
    fn map(&self, graph: &mut Graph, op: OpId, store: Elem) -> ValueId {
        let lowest = store.int_range().map_or(0, |(low, _)| low);
        let stored: Vec<f64> = self.steps.iter().map(|n| (n + lowest) as f64).collect();
        let dims = vec![1, 1, self.extents[0], self.extents[1]];
        // Types of the target's activations always pack.
        let tensor = Tensor::from_f64(store, dims, &stored).unwrap_or_else(|| Tensor::scalar(0u8));
        constant(graph, op, "border", tensor, Quant::per_tensor(store, self.step, lowest as i32))
    }
}

/// The greatest common divisor.
fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
