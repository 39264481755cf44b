//! Pads the channels of a stored model input, or of what is stored behind float ops, to what the first convolution's kernel likes.
//!
//! ```text
//!                                                       %p = onnx.Pad %x, [0, 0, 0, 0, 0, 1, 0, 0] : [1,4,..]
//! %y = onnx.Conv %x, %w : [1,3,..] * [32,3,..]    ──▶   %y = onnx.Conv %p, %w' : [1,4,..] * [32,4,..]
//! ```
//!
//! The Pad runs on bytes: behind the conversion of the input, never before it.

use std::collections::BTreeMap;

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Def, Dim, Graph, NewOp, OpId, Place, Tensor, Type, ValueId};

use crate::analysis::{is_plain, opset};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::target::WidthRule;
use crate::width::extend;

/// See the module documentation.
pub(crate) struct PadStem;

static INFO: PassInfo = PassInfo {
    name: "pad-stem",
    summary: "pad the channels of a stored input for the first convolution",
    doc: "A Conv that reads a stored input of the model, or what a float op makes and stores, with as many channels as the \
          target lists under `stem`, reads a Pad of it with `input` channels instead, and gets columns of zeros. Several such \
          Convs share the Pad.\n\n\
          No bit of any result changes: the padding is only multiplied with zeros.\n\n\
          It declines for grouped Convs, for weights that are computed, for inputs in float, for channel counts that are \
          not listed, and below operator set 13, whose Pad knows no bytes. It does nothing for a target without the \
          section [width].",
    effect: Effect::Exact,
    accepts: Form::Concrete,
    leaves: Form::Any,
    options: &[],
};

impl Pass for PadStem {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let Some(rule) = cx.target.width.clone() else { return Ok(Outcome::Unchanged) };
        let mut padded: BTreeMap<ValueId, ValueId> = BTreeMap::new();
        for op in graph.ops_in(graph.body()).collect::<Vec<_>>() {
            let Some(input) = graph.op(op).operand(0).filter(|_| graph.op(op).name().is_onnx("Conv")) else { continue };
            let given = matches!(graph.value(input).def(), Def::Input(region, _) if region == graph.body());
            // What integer ops make is for 'legalize-width', which pads weights and needs no Pad.
            let computed = graph.def_op(input).and_then(|maker| graph.op(maker).operand(0));
            if !given && !computed.is_some_and(|read| is_plain(graph, read)) {
                continue;
            }
            let Some(channels) = graph.value(input).ty().tensor().and_then(|t| t.dim(1)) else { continue };
            if channels >= rule.input {
                continue;
            }
            if let Err(why) = fits(graph, op, input, channels, &rule) {
                cx.declined(graph, op, why);
                continue;
            }
            if !cx.rewrite(graph, op, format!("{channels} channels of the input become {}", rule.input)) {
                break;
            }
            cx.count("channels added", (rule.input - channels) as u64);
            let wide = *padded.entry(input).or_insert_with(|| pad(graph, op, input, channels, rule.input));
            graph.set_operand(op, 0, Some(wide));
            extend::extend_operand(graph, op, 1, 1, rule.input);
        }
        Ok(Outcome::from(!padded.is_empty()))
    }
}

/// Checks that a Conv can read a padded input; a sentence why not.
fn fits(graph: &Graph, op: OpId, input: ValueId, channels: usize, rule: &WidthRule) -> Result<(), String> {
    let record = graph.op(op);
    if record.int("group", 1) != 1 {
        return Err("its channels belong to several groups".into());
    }
    let Some(weights) = record.operand(1) else { return Err("it has no weights".into()) };
    if let Some(why) = extend::unfit(graph, weights, 1) {
        return Err(format!("{} {why}", graph.label(weights)));
    }
    let dims = graph.value(weights).ty().dims().unwrap_or_default();
    if dims.len() < 3 || Some(dims.len()) != graph.value(input).ty().rank() || dims[1] != channels {
        return Err("its weights do not fit".into());
    }
    if graph.value(weights).ty().quant().is_none() || graph.value(input).ty().quant().is_none_or(|q| q.axis.is_some()) {
        return Err("it runs in float".into());
    }
    if graph.value(input).tensor().is_some() {
        return Err("the input has a default value".into());
    }
    if opset(graph, op) < 13 {
        return Err("Pad of bytes needs operator set 13".into());
    }
    if !rule.stem.contains(&channels) {
        return Err(format!("the target does not list {channels} channels as worth padding to {}", rule.input));
    }
    Ok(())
}

/// A Pad of `input` to `to` channels, before `op`.
fn pad(graph: &mut Graph, op: OpId, input: ValueId, channels: usize, to: usize) -> ValueId {
    let name = format!("{}_padded", graph.value(input).name());
    let mut ty = graph.value(input).ty().clone();
    let mut pads = Vec::new();
    if let Type::Tensor(tensor) = &mut ty {
        let rank = tensor.rank().unwrap_or(0);
        pads = vec![0i64; 2 * rank];
        if let (Some(behind), Some(dim)) = (pads.get_mut(rank + 1), tensor.shape.as_mut().and_then(|s| s.get_mut(1))) {
            *behind = (to - channels) as i64;
            *dim = Dim::Known(to as u64);
        }
    }
    let body = graph.body();
    let pads = graph.add_const(body, format!("{name}_pads"), Tensor::new([pads.len()], pads));
    let new = NewOp::onnx("Pad").operand(input).operand(pads).result(name, ty).made(INFO.name, &[graph.op(op).loc()]);
    let id = graph.insert(Place::Before(op), new);
    graph.op(id).result()
}
