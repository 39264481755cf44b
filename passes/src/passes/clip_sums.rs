//! Clips bytes where a sum with a constant saturates: the same bytes are the sum, read with another zero point.
//!
//! ```text
//!                                                           %k = onnx.Clip %x, -3, 3  : qu8(0.05, 128)
//! %s = onnx.Add %x, 3   : qu8(6/255, 0)                     %s = onnx.Add %k, 3       : qu8(0.05, 68)      the same bytes
//! %g = onnx.Mul %s, 1/6 : qu8(1/255, 0)             ──▶     %g = onnx.Mul %s, 1/6     : qu8(0.05/6, 68)    the same bytes
//! %y = onnx.Mul %x, %g                                      %y = onnx.Mul %x, %g
//! ```
//!
//! with `%x : qu8(0.05, 128)`: 3 is 60 whole steps. Nothing is rounded any more, and runtimes clip bytes several times as fast as they
//! add them. `quantize` chooses steps of which the offset of a hard swish is a multiple.

use std::sync::Arc;

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, NewOp, OpId, Quant, Tensor, Type, ValueId};

use crate::analysis::constant_side;
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::quantize::lowering::takes_any_scale;
use crate::quantize::rescale::{number, rescaled, whole_steps};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct ClipSums;

static INFO: PassInfo = PassInfo {
    name: "clip-sums",
    summary: "write saturating sums of stored tensors with a constant as a Clip of bytes",
    doc: "An Add of a stored tensor and a constant that are whole steps of the tensor's type, whose result is stored from 0 to a bound \
          that is whole steps, too: the tensor is clipped as it is stored, and the sum and the products behind it only change what \
          its bytes mean. Where the type ends at the bounds, no Clip is left. Readers get the sum as exactly as the tensor is stored, \
          where it was rounded to 255ths of its range before. Run it behind lower-hard-swish and before lower-qoperator, on targets \
          whose file says that they clip bytes (`ops.clips_bytes`).\n\n\
          It declines where the constant or the bound are no whole steps, where the sum of the lowest stored number would not be \
          below 0, and where a reader of the sum needs its type.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for ClipSums {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for op in graph.ops_in(graph.body()).collect::<Vec<_>>() {
            if !cx.target.ops.clips_bytes || !graph.op(op).name().is_onnx("Add") {
                continue;
            }
            let sum = match Sum::of(graph, cx, op) {
                Ok(Some(sum)) => sum,
                Ok(None) => continue,
                Err(why) => {
                    cx.declined(graph, op, why);
                    continue;
                }
            };
            if !cx.rewrite(graph, op, "a saturating sum written as a Clip of bytes") {
                break;
            }
            sum.write(graph, op);
            changed = true;
        }
        Ok(Outcome::from(changed))
    }
}

/// `x + offset`, stored so that it saturates at 0 and `high + offset`.
struct Sum {
    input: ValueId,
    /// The index of the operand that is `input`.
    index: usize,
    from: Quant,
    /// The constant, in numbers and in steps.
    offset: f32,
    steps: i64,
    high: f32,
    high_steps: i64,
    /// The sum, and what products make of it that only change its scale.
    chain: Vec<ValueId>,
}

impl Sum {
    fn of(graph: &Graph, cx: &PassContext<'_>, op: OpId) -> Result<Option<Sum>, String> {
        let Some((input, constant, side)) = constant_side(graph, op) else { return Ok(None) };
        let quant = |value: ValueId| graph.value(value).ty().quant().filter(|quant| quant.axis.is_none());
        let (Some(from), Some(to)) = (quant(input), quant(graph.op(op).result())) else { return Ok(None) };
        let Some((low, high)) = to.store.int_range().filter(|_| from.store == to.store) else { return Ok(None) };
        let (Some(offset), true) = (number(graph, constant), i64::from(to.at(0).1) == low) else { return Ok(None) };
        let bound = ((high - low) as f64 * f64::from(to.at(0).0)) as f32 - offset;
        let whole =
            |number: f32| whole_steps(number, from.at(0).0).ok_or(format!("{number} is no multiple of its operand's steps"));
        let (steps, high_steps) = (whole(offset)?, whole(bound)?);
        if i64::from(from.at(0).1) - steps < low {
            return Err("the sum of the lowest stored number is above 0".into());
        }
        let mut chain = vec![graph.op(op).result()];
        let is_factor = |op: &OpId| graph.op(*op).name().is_onnx("Mul") && rescaled(graph, *op).is_some();
        while let Some(next) = graph.only_user(chain[chain.len() - 1]).filter(is_factor) {
            chain.push(graph.op(next).result());
        }
        for &value in &chain {
            takes_any_scale(graph, cx, value).map_err(|why| format!("the sum must keep its type: {why}"))?;
        }
        Ok(Some(Sum { input, index: 1 - side, from: Quant::clone(from), offset, steps, high: bound, high_steps, chain }))
    }

    fn write(self, graph: &mut Graph, op: OpId) {
        let (scale, zero) = self.from.at(0);
        let (low, high) = self.from.store.int_range().unwrap_or((0, 255));
        let (least, most) = (i64::from(zero) - self.steps, i64::from(zero) + self.high_steps);
        if least > low || most < high {
            let bounds = [("low", -self.offset), ("high", self.high)];
            let [least, most] = bounds.map(|(name, bound)| rewrite::constant(graph, op, name, Tensor::scalar(bound)));
            let clip = NewOp::onnx("Clip").operand(self.input).operand(least).operand(most);
            let name = format!("{}.bytes", graph.value(graph.op(op).result()).name());
            let ty = graph.value(self.input).ty().clone();
            let clipped = rewrite::insert_before(graph, op, INFO.name, name, ty, clip);
            graph.set_operand(op, self.index, Some(clipped));
        }
        let factor = |graph: &Graph, value: ValueId| graph.value(value).ty().quant().map_or(1.0, |quant| quant.at(0).0);
        let first = factor(graph, self.chain[0]);
        for value in self.chain {
            let scale = (f64::from(scale) * f64::from(factor(graph, value)) / f64::from(first)) as f32;
            let mut ty = graph.value(value).ty().clone();
            if let Type::Tensor(tensor) = &mut ty {
                tensor.quant =
                    Some(Arc::new(Quant::per_tensor(self.from.store, scale, (i64::from(zero) - self.steps) as i32)));
            }
            graph.set_type(value, ty);
        }
    }
}
