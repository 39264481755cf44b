//! Takes the sigmoid of stored numbers before they are joined and converted, instead of that of real ones behind.
//!
//! ```text
//!                                                       %p = onnx.Sigmoid %a : qu8(1/255, 0)[1,2,99]
//! %c = onnx.Concat %a, %b : f32[1,3,99]                 %q = onnx.Sigmoid %b : qu8(1/255, 0)[1,1,99]
//! %y = onnx.Sigmoid %c : f32[1,3,99]            ──▶     %y = onnx.Concat %p, %q : qu8(1/255, 0)[1,3,99]
//! ```
//!
//! A stored number has 256 values, and a table their sigmoids. All parts have one type then: bytes are joined, and converted with one
//! scale.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, NewOp, OpId, OpName, Range, ValueId};

use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::quantize::gate::stored_like;
use crate::quantize::placement::unfit;
use crate::quantize::scales;
use crate::rewrite;

/// See the module documentation.
pub(crate) struct HoistSigmoid;

static INFO: PassInfo = PassInfo {
    name: "hoist-sigmoid",
    summary: "take the sigmoid of stored numbers before they are joined, not behind",
    doc: "A Sigmoid of a float Concat of stored tensors, which alone reads it, becomes one of each operand, stored in the type of \
          [0, 1], and the Concat joins those: each result is rounded once, by half a 255th at most. Run it before sink-dequantize.\n\n\
          It declines where an operand is float or has a scale for each index, and where the target's prices say that it takes \
          longer. It does nothing for a target whose Sigmoid is no integer op.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for HoistSigmoid {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        let sigmoid = OpName::onnx("Sigmoid");
        if !cx.target.ops.integer.contains(&sigmoid.to_string()) {
            return Ok(Outcome::Unchanged);
        }
        for op in graph.ops_in(graph.body()).collect::<Vec<_>>() {
            let Some(concat) = behind_a_join(graph, op) else { continue };
            let parts: Vec<ValueId> = graph.op(concat).operands().iter().flatten().copied().collect();
            if let Err(why) = fits(graph, cx, op, &parts) {
                cx.declined(graph, op, why);
                continue;
            }
            if !cx.rewrite(graph, op, format!("taken of {} stored tensors before they are joined", parts.len())) {
                break;
            }
            let quant = scales::activation(Range { min: 0.0, max: 1.0 }, &cx.target.quant.activations);
            let mut join = NewOp::onnx("Concat").attrs(graph.op(concat).attrs().clone());
            for (index, part) in parts.into_iter().enumerate() {
                let ty = stored_like(graph, part, &quant);
                let name = format!("{}.{index}", graph.value(graph.op(op).result()).name());
                let new = NewOp::onnx("Sigmoid").operand(part);
                join = join.operand(rewrite::insert_before(graph, op, INFO.name, name, ty, new));
            }
            let join = rewrite::replace(graph, op, INFO.name, &[concat], join);
            let result = graph.op(join).result();
            let ty = stored_like(graph, result, &quant);
            graph.set_type(result, ty);
            changed = true;
        }
        Ok(Outcome::from(changed))
    }
}

/// The float Concat that a float Sigmoid alone reads.
fn behind_a_join(graph: &Graph, op: OpId) -> Option<OpId> {
    let record = graph.op(op);
    let read = record.operand(0).filter(|_| record.name().is_onnx("Sigmoid"))?;
    let concat = graph.def_named(read, "Concat")?;
    let float = [read, record.result()].iter().all(|&value| graph.value(value).ty().quant().is_none());
    (float && graph.use_count(read) == 1 && graph.op(concat).region() == record.region()).then_some(concat)
}

/// Whether all parts are stored, and their sigmoids take no longer than the one of all; or why not.
fn fits(graph: &Graph, cx: &PassContext<'_>, op: OpId, parts: &[ValueId]) -> Result<(), String> {
    let one_scale = |&value: &ValueId| {
        let quant = graph.value(value).ty().quant();
        !graph.value(value).is_const() && quant.is_some_and(|quant| quant.axis.is_none())
    };
    if let Some(value) = parts.iter().find(|value| !one_scale(value)) {
        return Err(format!("{} is not stored with one scale", graph.label(*value)));
    }
    if let Some(why) = unfit(graph, op) {
        return Err(why);
    }
    let prices = cx.target.pricing().ok_or("the target has no prices")?;
    let times = prices.integer(graph, cx.target, op).zip(prices.float(graph, op));
    match times.ok_or("the target has no price of it")? {
        (integer, float) if integer > float => Err("its kernel of real numbers is predicted to be faster".into()),
        _ => Ok(()),
    }
}
