//! Joins stored numbers as they are stored, where the result of a Concat is float.
//!
//! ```text
//! %a = onnx.Reshape .. : qu8(0.02, 3)[1,2,99]              %a = onnx.Reshape .. : qu8(0.02, 3)[1,2,99]
//! %b = onnx.Reshape .. : qu8(0.05, 7)[1,1,99]     ──▶      %b = onnx.Reshape .. : qu8(0.05, 7)[1,1,99]
//! %y = onnx.Concat %a, %b {axis = 1} : f32[1,3,99]         %y = onnx.Concat %a, %b {axis = 1}
//!                                                               : qu8(axis 1, [0.02, 0.02, 0.05], [3, 3, 7])[1,3,99]
//! ```
//!
//! Only the type changes: every number of the result is one that an operand stores. The writers then write a Concat of bytes
//! and one DequantizeLinear behind it, in place of one before each operand and a Concat of floats, which are four times as long.

use std::collections::HashSet;
use std::sync::Arc;

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, ONNX, OpId, Quant, Type, User, ValueId};

use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::quantize::join::joined;
use crate::quantize::placement::unfit;
use crate::target::Target;

/// See the module documentation.
pub(crate) struct SinkDequantize;

static INFO: PassInfo = PassInfo {
    name: "sink-dequantize",
    summary: "join stored numbers as they are stored where the result is float",
    doc: "A Concat of operands that are stored in 8 bits and whose result is float, as at the end of a detector, gets a type \
          with a scale and a zero point for each index of its axis: those of the operand that the index comes from. Its readers \
          convert once, behind it. Where all operands have one type, the result gets that. Runs right before a writer, on targets \
          whose file says from which count of numbers with one scale on that is fast (`ops.per_axis_run`).\n\n\
          It declines where an operand is float or stored otherwise, where extents are not known, below operator set 13, where \
          too few numbers in a row share a scale, as they are or in the order of a Transpose behind them, and where an operand \
          has a float reader, which needs a conversion of its own. What \
          computes with stored numbers never reads such a result: a runtime may take it for one with a single scale.",
    effect: Effect::Exact,
    accepts: Form::Any,
    leaves: Form::Any,
    options: &[],
};

/// Oldest operator set whose DequantizeLinear has an axis.
const OPSET: u64 = 13;

impl Pass for SinkDequantize {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let Some(run) = cx.target.ops.per_axis_run else { return Ok(Outcome::Unchanged) };
        let mut changed = false;
        for op in graph.ops_in(graph.body()).collect::<Vec<_>>() {
            if !graph.op(op).name().is_onnx("Concat") {
                continue;
            }
            let stored = |value: &ValueId| graph.value(*value).ty().quant().is_some();
            let result = graph.op(op).result();
            if stored(&result) || !graph.op(op).operands().iter().flatten().any(stored) {
                continue;
            }
            let quant = match sunk(graph, cx.target, op, run) {
                Ok(quant) => quant,
                Err(why) => {
                    cx.declined(graph, op, why);
                    continue;
                }
            };
            if !cx.rewrite(graph, op, "joined as it is stored") {
                break;
            }
            let mut ty = graph.value(result).ty().clone();
            if let Type::Tensor(tensor) = &mut ty {
                tensor.quant = Some(Arc::new(quant));
            }
            graph.set_type(result, ty);
            changed = true;
        }
        Ok(Outcome::from(changed))
    }
}

/// The type that the result of a Concat gets; or why it stays float.
fn sunk(graph: &Graph, target: &Target, concat: OpId, run: usize) -> Result<Quant, String> {
    if let Some(why) = unfit(graph, concat) {
        return Err(why);
    }
    let operands: Vec<ValueId> = graph.op(concat).operands().iter().flatten().copied().collect();
    let types = operands.iter().map(|&v| graph.value(v).ty().quant().map(|q| Quant::clone(q)));
    let types: Vec<Quant> = types.collect::<Option<_>>().ok_or("an operand is float")?;
    let quant = joined(graph, concat, &types)?;
    if quant.store.bits() != 8 {
        return Err(format!("its operands are stored as {}", quant.store));
    }
    if let Some(axis) = quant.axis {
        if let Some(old) = graph.meta.opset(ONNX).filter(|&opset| opset < OPSET) {
            return Err(format!("DequantizeLinear of operator set {old} has no axis"));
        }
        enough_in_a_row(graph, graph.op(concat).result(), axis, run)?;
    }
    for &operand in &operands {
        if let Some(reader) = graph.value(operand).users().iter().find(|user| !reads_bytes(graph, target, concat, user)) {
            return Err(format!("{} is also read as float by {}", graph.label(operand), named(graph, reader)));
        }
    }
    let readers = graph.value(graph.op(concat).result()).users();
    match readers.iter().find(|reader| computes_stored(graph, reader)) {
        Some(reader) => Err(format!("{} computes with stored numbers", named(graph, reader))),
        None => Ok(quant),
    }
}

/// Whether at least `run` numbers of a value that follow each other have one scale, where each index of the axis has its own: in
/// the order in which the value is made, and in that of each Transpose behind it.
///
/// A Transpose behind it undoes one before it, as maps with channels last have it. The runtime leaves both out and converts in the
/// other order: heads of 85 channels, 13x13 to 52x52, then took 1.5 to 2.1 times the time (ONNX Runtime 1.32, AMD EPYC family 25, Zen 4).
fn enough_in_a_row(graph: &Graph, value: ValueId, axis: usize, run: usize) -> Result<(), String> {
    let dims = |value: ValueId| graph.value(value).ty().dims();
    let fits = |count: usize, place: String| match count < run {
        true => Err(format!("one scale holds for rows of {count}{place}, and the target wants {run}")),
        false => Ok(()),
    };
    let extents = dims(value).ok_or("its extents are not known")?;
    fits(product(&extents[axis + 1..]), String::new())?;
    let (mut seen, mut next) = (HashSet::from([value]), vec![value]);
    while let Some(value) = next.pop() {
        for user in graph.value(value).users() {
            let User::Op(op, _) = *user else { continue };
            if graph.op(op).name().is_onnx("Transpose") {
                let made = dims(graph.op(op).result()).ok_or("the extents of a Transpose behind it are not known")?;
                let backwards: Vec<i64> = (0..made.len() as i64).rev().collect();
                let order = graph.op(op).ints("perm").unwrap_or(&backwards);
                let at = order.iter().position(|&from| from == axis as i64).unwrap_or(made.len());
                fits(
                    product(made.get(at + 1..).unwrap_or_default()),
                    format!(" behind {}", graph.label(graph.op(op).result())),
                )?;
            } else if !graph.op(op).name().is_onnx("Reshape") {
                // Ops that keep axes let a Transpose through.
                let kept = |made: &&ValueId| graph.value(**made).ty().rank() == Some(extents.len());
                next.extend(graph.op(op).results().iter().filter(kept).filter(|&&made| seen.insert(made)));
            }
        }
    }
    Ok(())
}

fn product(extents: &[usize]) -> usize {
    extents.iter().fold(1, |product, &extent| product.saturating_mul(extent))
}

/// True for the Concat itself, and for what reads an operand without converting it.
fn reads_bytes(graph: &Graph, target: &Target, concat: OpId, user: &User) -> bool {
    let User::Op(op, _) = *user else { return false };
    let stored = |value: &ValueId| graph.value(*value).ty().quant().is_some();
    op == concat || graph.op(op).results().iter().all(stored) || target.ops.gives_floats(graph.op(op).name())
}

/// True for a reader of the result that reads or makes stored numbers besides.
fn computes_stored(graph: &Graph, user: &User) -> bool {
    let User::Op(op, _) = *user else { return false };
    let mut values = graph.op(op).operands().iter().flatten().chain(graph.op(op).results());
    values.any(|&value| graph.value(value).ty().quant().is_some())
}

fn named(graph: &Graph, user: &User) -> String {
    match *user {
        User::Op(op, _) => graph.op(op).results().first().map_or_else(|| "an op".into(), |&result| graph.label(result)),
        User::Return(..) => "the caller".into(),
    }
}
