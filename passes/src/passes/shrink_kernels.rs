//! Keeps the middle of large kernels.
//!
//! ```text
//! %y = onnx.Conv %x, %w {pads = [2, 2, 2, 2]}        ──▶    %y = onnx.Conv %x, %w' {pads = [1, 1, 1, 1]}
//!                    [96, 1, 5, 5]                                         [96, 1, 3, 3]
//! ```
//!
//! A kernel of 3x3 costs 9/25 of one of 5x5, and on many targets less, because only 3x3 has a kernel of its own. The taps at
//! the rim are lost: the network must be trained again, from these weights (Once-for-All, Cai et al. 2020, starts its small
//! kernels from the middle of the large ones, too).

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Graph, OpId, Tensor};

use crate::analysis::{is_plain, model_ops, real_const};
use crate::pass::{Aborted, Effect, OptionInfo, OptionKind, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct ShrinkKernels;

static INFO: PassInfo = PassInfo {
    name: "shrink-kernels",
    summary: "keep the middle 3x3 of larger kernels",
    doc: "A Conv whose kernel is `from` wide along every axis keeps the middle `to` taps, and is padded by as much less as \
          the kernel reaches less: shapes stay as they are. The network computes something else then, and wants to be \
          trained again: `spaceevo-opt advise` says what it would gain.\n\n\
          It declines where the weights are computed, where the kernel is dilated, and where there is less padding than \
          the kernel loses.",
    effect: Effect::Retrain,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[
        OptionInfo { name: "from", kind: OptionKind::Int, default: "5", help: "kernels that are cut: taps along each axis" },
        OptionInfo { name: "to", kind: OptionKind::Int, default: "3", help: "taps that are left; odd or even as 'from' is" },
    ],
};

impl Pass for ShrinkKernels {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let size = |name: &str| cx.int(name).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let (from, to) = (size("from"), size("to"));
        let mut changed = false;
        if to == 0 || to >= from || (from - to) % 2 != 0 {
            return Ok(Outcome::Unchanged);
        }
        for op in model_ops(graph) {
            match cut(graph, op, from, to) {
                Ok(None) => {}
                Err(why) => cx.declined(graph, op, why),
                Ok(Some((weights, pads))) => {
                    if !cx.rewrite(graph, op, format!("kernel of {from} cut to {to}")) {
                        break;
                    }
                    place(graph, op, weights, pads, to);
                    changed = true;
                }
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// New weights and pads; no pads where the op pads by itself.
type Cut = (Tensor, Option<Vec<i64>>);

/// The middle of the weights of a Conv, and its new pads.
fn cut(graph: &Graph, op: OpId, from: usize, to: usize) -> Result<Option<Cut>, String> {
    let record = graph.op(op);
    let weights = record.operand(1).filter(|_| record.name().is_onnx("Conv"));
    let Some(dims) = weights.and_then(|w| graph.value(w).ty().dims()) else { return Ok(None) };
    if dims.len() < 3 || dims[2..].iter().any(|&taps| taps != from) {
        return Ok(None);
    }
    let tensor = weights.and_then(|w| real_const(graph, w)).ok_or("its weights are no constant numbers")?;
    if !is_plain(graph, record.result()) {
        return Err("it is quantized".into());
    }
    if record.ints("dilations").is_some_and(|d| d.iter().any(|&d| d != 1)) {
        return Err("its kernel is dilated".into());
    }
    let (spatial, less) = (dims.len() - 2, (from - to) / 2);
    let pads = match record.str("auto_pad", "NOTSET") {
        "NOTSET" => {
            let pads = record.ints("pads").map_or_else(|| vec![0; 2 * spatial], <[i64]>::to_vec);
            let pads: Vec<i64> = pads.iter().map(|p| p.saturating_sub(less as i64)).collect();
            if pads.iter().any(|&p| p < 0) {
                return Err("it has less padding than the kernel would lose".into());
            }
            Some(pads)
        }
        "VALID" => return Err("it has no padding, and the kernel would lose some".into()),
        _ => None,
    };
    let numbers = tensor.to_f64().ok_or("its weights are no numbers")?;
    let inside = |mut at: usize| {
        (0..spatial).all(|_| {
            let tap = at % from;
            at /= from;
            (less..less + to).contains(&tap)
        })
    };
    let kept: Vec<f64> = numbers.iter().enumerate().filter(|(i, _)| inside(*i)).map(|(_, n)| *n).collect();
    let new: Vec<usize> = dims[..2].iter().copied().chain(vec![to; spatial]).collect();
    let weights = Tensor::from_f64(tensor.elem(), new, &kept).ok_or("its weights cannot be packed")?;
    Ok(Some((weights, pads)))
}

fn place(graph: &mut Graph, op: OpId, weights: Tensor, pads: Option<Vec<i64>>, to: usize) {
    let spatial = weights.dims().len() - 2;
    let name = graph.op(op).operand(1).map(|w| graph.value(w).name().clone()).unwrap_or_default();
    let weights = rewrite::constant(graph, op, name, weights);
    rewrite::exchange_operand(graph, op, 1, Some(weights));
    if graph.op(op).ints("kernel_shape").is_some() {
        graph.set_attr(op, "kernel_shape", Attr::Ints(vec![to as i64; spatial]));
    }
    if let Some(pads) = pads {
        graph.set_attr(op, "pads", Attr::Ints(pads));
    }
}
