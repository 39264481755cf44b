//! Computes what depends on constants only, shapes of values included.
//!
//! ```text
//! %a = onnx.Add %one, %two          %a = const 3 : f32[]
//! %y = onnx.Mul %x, %a        ──▶    %y = onnx.Mul %x, %a
//! ```

use spaceevo_ir::interp::{self, Datum};
use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, NewOp, OpId, Place, Tensor, ValueId};

use crate::analysis::{Ints, ints, is_plain, is_random, model_ops};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct FoldConstants;

static INFO: PassInfo = PassInfo {
    name: "fold-constants",
    summary: "compute what depends on constants only, shape arithmetic included",
    doc: "An op all of whose operands are constants is run by the reference interpreter, and its results become constants. \
          `Shape` and `Size` of a value of known shape are constants, too, and so are the known entries of a partly known \
          shape that `Gather` or `Slice` pick (run infer-shapes first).\n\n\
          It declines when a result would take more than 64 KiB and more than the operands together (option `limit`): \
          a model that draws a large table with three small numbers should keep doing so. Random ops, ops with regions, \
          QuantizeLinear and DequantizeLinear stay.",
    effect: Effect::Exact,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[crate::pass::OptionInfo {
        name: "limit",
        kind: crate::pass::OptionKind::Int,
        default: "65536",
        help: "bytes that results may always take",
    }],
};

/// They say how numbers are stored: folding them would lose that.
const KEPT: &[&str] = &["QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"];
/// Operators whose results can be larger than all pairs of their operands' elements.
const GROWING: &[&str] =
    &["ConstantOfShape", "Expand", "Tile", "Range", "OneHot", "Resize", "Upsample", "Pad", "EyeLike", "Col2Im", "MaxUnpool"];

impl Pass for FoldConstants {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let limit = cx.int("limit").and_then(|n| usize::try_from(n).ok()).unwrap_or(1 << 16);
        let mut changed = false;
        for op in model_ops(graph) {
            if !graph.is_live(op) {
                continue;
            }
            let folded = match shape_part(graph, op) {
                Some(tensor) => Ok(Some(vec![tensor])),
                None => compute(graph, op, limit),
            };
            match folded {
                Ok(None) => {}
                Err(why) => cx.declined(graph, op, why),
                Ok(Some(tensors)) => {
                    if !cx.rewrite(graph, op, format!("{} computed", graph.op(op).name())) {
                        break;
                    }
                    changed = true;
                    cx.count("ops", 1);
                    become_constants(graph, op, tensors);
                }
            }
        }
        Ok(Outcome::from(changed))
    }
}

fn become_constants(graph: &mut Graph, op: OpId, tensors: Vec<Tensor>) {
    let results = graph.op(op).results().to_vec();
    for (old, tensor) in results.into_iter().zip(tensors) {
        if graph.use_count(old) > 0 {
            let name = graph.value(old).name().clone();
            let new = rewrite::constant(graph, op, name, tensor);
            graph.replace_all_uses(old, new);
        }
    }
    rewrite::erase_unread(graph, op);
}

/// What is known of the shape that an op asks for: `Shape`, `Size`, and `Gather` and `Slice` of a `Shape`.
fn shape_part(graph: &Graph, op: OpId) -> Option<Tensor> {
    let record = graph.op(op);
    if record.name().is_onnx("Size") {
        let dims = graph.value(record.operand(0)?).ty().dims()?;
        return Some(Tensor::scalar(i64::try_from(spaceevo_ir::tensor::count(&dims)?).ok()?));
    }
    if record.name().is_onnx("Shape") {
        let dims = shape_entries(graph, op)?.into_iter().collect::<Option<Vec<i64>>>()?;
        return Some(Tensor::new([dims.len()], dims));
    }
    let entries = shape_entries(graph, graph.def_named(record.operand(0)?, "Shape")?)?;
    let count = i64::try_from(entries.len()).ok()?;
    if record.name().is_onnx("Gather") && record.int("axis", 0) == 0 {
        let picks = graph.const_operand(op, 1)?;
        let entry =
            |at: i64| entries.get(usize::try_from(if at < 0 { at.checked_add(count)? } else { at }).ok()?).copied()?;
        let values = picks.to_i64()?.into_iter().map(entry).collect::<Option<Vec<i64>>>()?;
        return Some(Tensor::new(picks.dims(), values));
    }
    if record.name().is_onnx("Slice") {
        let one = |name, index| ints(graph, op, name, index).known().filter(|l| l.len() == 1).map(|l| l[0]);
        if ints(graph, op, "steps", 4) != Ints::Absent && one("steps", 4) != Some(1) {
            return None;
        }
        let bound = |at: i64| (if at < 0 { at.saturating_add(count) } else { at }).clamp(0, count) as usize;
        let (start, end) = (bound(one("starts", 1)?), bound(one("ends", 2)?));
        let values = entries.get(start..end.max(start))?.iter().copied().collect::<Option<Vec<i64>>>()?;
        return Some(Tensor::new([values.len()], values));
    }
    None
}

/// Entries of the result of a `Shape` op, `None` where an extent is not known.
fn shape_entries(graph: &Graph, op: OpId) -> Option<Vec<Option<i64>>> {
    let shape = graph.value(graph.op(op).operand(0)?).ty().tensor()?.shape.as_ref()?;
    let count = i64::try_from(shape.len()).ok()?;
    let bound = |at: i64| (if at < 0 { at.saturating_add(count) } else { at }).clamp(0, count) as usize;
    let (start, end) = (bound(graph.op(op).int("start", 0)), bound(graph.op(op).int("end", count)));
    let known = shape.get(start..end.max(start))?.iter().map(|d| d.known().and_then(|n| i64::try_from(n).ok()));
    Some(known.collect())
}

/// Results of an op whose operands are constants; `None` when they are not, a sentence when they stay nevertheless.
fn compute(graph: &Graph, op: OpId, limit: usize) -> Result<Option<Vec<Tensor>>, String> {
    let record = graph.op(op);
    let constant = |v: ValueId| graph.const_of(v).is_some();
    let operands: Vec<ValueId> = record.operands().iter().flatten().copied().collect();
    let source = operands.is_empty() && !record.name().is_onnx("Constant");
    if source || !operands.iter().all(|&v| constant(v)) || interp::kernel(&record.name().domain, &record.name().op).is_none()
    {
        return Ok(None);
    }
    let name = &*record.name().op;
    if KEPT.contains(&name) || operands.iter().chain(record.results()).any(|&v| !is_plain(graph, v)) {
        return Err(format!("{name} of a constant says how its numbers are stored"));
    }
    if is_random(graph, op) {
        return Err(format!("{name} may give other numbers each time"));
    }
    if !record.regions().is_empty() || graph.functions.iter().any(|f| f.name == *record.name()) {
        return Err(format!("{name} has a body of its own"));
    }
    let sizes: Vec<usize> = operands.iter().filter_map(|&v| graph.const_of(v)).map(Tensor::len).collect();
    let bytes: usize = operands.iter().filter_map(|&v| graph.const_of(v)).map(|t| t.bytes().len()).sum();
    let allowed = limit.max(bytes);
    let too_large = || format!("its result is larger than {allowed} bytes");
    for &result in record.results() {
        let ty = graph.value(result).ty();
        match (ty.elem(), ty.dims()) {
            (Some(elem), Some(dims)) => {
                let size = spaceevo_ir::tensor::count(&dims).and_then(|n| elem.byte_len(n));
                if size.is_none_or(|size| size > allowed) {
                    return Err(too_large());
                }
            }
            // Not typed: no operator of the others makes more elements than all combinations of its operands' are.
            _ => {
                let most = sizes.iter().try_fold(8usize, |n, &size| n.checked_mul(size.max(1)));
                if GROWING.contains(&name) || most.is_none_or(|most| most > allowed) {
                    return Err("the size of its result is not known: run infer-shapes first".into());
                }
            }
        }
    }
    let results = run_alone(graph, op).map_err(|fault| format!("it cannot be computed: {fault}"))?;
    if results.iter().map(|t| t.bytes().len()).sum::<usize>() > allowed {
        return Err(too_large());
    }
    Ok(Some(results))
}

/// Runs one op on its constant operands, in a graph of its own.
fn run_alone(graph: &Graph, op: OpId) -> Result<Vec<Tensor>, String> {
    let mut alone = Graph::new("constant");
    alone.meta.opsets = graph.meta.opsets.clone();
    let body = alone.body();
    let record = graph.op(op);
    let mut operands = Vec::new();
    for &operand in record.operands() {
        let tensor = operand.and_then(|v| graph.const_of(v)).cloned();
        operands.push(tensor.map(|tensor| alone.add_const(body, "", tensor)));
    }
    let mut new = NewOp::new(record.name().clone()).operands(operands).attrs(record.attrs().clone());
    for &result in record.results() {
        new = new.result(graph.value(result).name().clone(), graph.value(result).ty().clone());
    }
    let copy = alone.insert(Place::End(body), new);
    let results = alone.op(copy).results().to_vec();
    alone.set_results(body, results);
    let data = interp::run(&alone, &[]).map_err(|diagnostic| diagnostic.message)?;
    data.iter().map(|d| Datum::tensor(d).cloned().ok_or_else(|| "its result is no tensor".to_owned())).collect()
}
