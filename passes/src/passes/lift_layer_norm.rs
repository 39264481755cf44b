//! Recognises a layer normalization that is written out.
//!
//! ```text
//! %m = onnx.ReduceMean %x {axes = [-1]}
//! %d = onnx.Sub %x, %m
//! %q = onnx.Mul %d, %d
//! %v = onnx.ReduceMean %q {axes = [-1]}
//! %e = onnx.Add %v, %epsilon
//! %s = onnx.Sqrt %e
//! %n = onnx.Div %d, %s
//! %g = onnx.Mul %n, %gamma
//! %y = onnx.Add %g, %beta              ──▶    %y = onnx.LayerNormalization %x, %gamma, %beta {axis = -1}
//! ```

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Graph, NewOp, OpId, Tensor, ValueId};

use crate::analysis::{axes_from_front, constant_side, ints, is_plain, model_ops, opset, real_const, scalar};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct LiftLayerNorm;

static INFO: PassInfo = PassInfo {
    name: "lift-layer-norm",
    summary: "recognise LayerNormalization written out in pieces",
    doc: "`(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * gamma + beta` (Ba et al. 2016) with means over the last \
          axes is LayerNormalization. The square may be Mul or Pow; gamma and beta are constants of the shape of those axes, \
          or are missing.\n\n\
          It declines below opset 17, which has no LayerNormalization, where the two means go over different axes or not \
          over the last ones, and where the extents of those axes are not known.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for LiftLayerNorm {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for div in model_ops(graph) {
            if !graph.is_live(div) || !graph.op(div).name().is_onnx("Div") {
                continue;
            }
            let Some(normal) = normalized(graph, div) else { continue };
            match complete(graph, div, normal) {
                Err(why) => cx.declined(graph, div, why),
                Ok(found) => {
                    if !cx.rewrite(graph, found.last, "LayerNormalization recognised") {
                        break;
                    }
                    place(graph, div, found);
                    changed = true;
                }
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// LayerNormalization must have a scale: one that is made here holds at most so many numbers, whatever the model declares.
const MOST_ONES: usize = 1 << 24;

/// The pieces up to the division.
struct Normal {
    x: ValueId,
    epsilon: f64,
    means: [OpId; 2],
    ops: Vec<OpId>,
}

/// All of it.
struct Found {
    normal: Normal,
    axis: i64,
    dims: Vec<usize>,
    gamma: Option<ValueId>,
    beta: Option<ValueId>,
    last: OpId,
}

/// `d / sqrt(mean(d^2) + epsilon)` with `d = x - mean(x)`.
fn normalized(graph: &Graph, div: OpId) -> Option<Normal> {
    let (centred, deviation) = (graph.op(div).operand(0)?, graph.op(div).operand(1)?);
    let sqrt = graph.def_named(deviation, "Sqrt")?;
    let add = graph.def_named(graph.op(sqrt).operand(0)?, "Add")?;
    let (variance, epsilon, _) = constant_side(graph, add)?;
    let epsilon = scalar(graph, epsilon)?;
    let outer = graph.def_named(variance, "ReduceMean")?;
    let square = graph.def_op(graph.op(outer).operand(0)?)?;
    let record = graph.op(square);
    let squares = match record.name().onnx_op() {
        "Mul" => record.operand(0) == Some(centred) && record.operand(1) == Some(centred),
        "Pow" => {
            let exponent = record.operand(1).and_then(|e| graph.const_of(e)).and_then(Tensor::to_f64);
            record.operand(0) == Some(centred) && exponent.is_some_and(|e| e == [2.0])
        }
        _ => false,
    };
    let sub = graph.def_named(centred, "Sub").filter(|_| squares)?;
    let (x, mean) = (graph.op(sub).operand(0)?, graph.op(sub).operand(1)?);
    let inner = graph.def_named(mean, "ReduceMean").filter(|&m| graph.op(m).operand(0) == Some(x))?;
    Some(Normal { x, epsilon, means: [inner, outer], ops: vec![inner, sub, square, outer, add, sqrt] })
}

fn complete(graph: &Graph, div: OpId, normal: Normal) -> Result<Found, String> {
    let shape = graph.value(normal.x).ty().tensor().and_then(|t| t.shape.clone());
    let shape =
        shape.ok_or_else(|| format!("the rank of {} is not known: run infer-shapes first", graph.label(normal.x)))?;
    let rank = shape.len();
    let axes_of = |mean: OpId| -> Result<Vec<usize>, String> {
        let axes = ints(graph, mean, "axes", 1).known().ok_or("the axes of a mean are not known")?;
        if graph.op(mean).int("keepdims", 1) == 0 {
            return Err("a mean does not keep its axes".into());
        }
        axes_from_front(&axes, rank).ok_or_else(|| "an axis is out of range".to_owned())
    };
    let (first, second) = (axes_of(normal.means[0])?, axes_of(normal.means[1])?);
    if first != second {
        return Err("mean and variance go over different axes".into());
    }
    let count = first.len();
    if count == 0 || first != (rank - count..rank).collect::<Vec<_>>() {
        return Err(format!("it normalizes over axes {first:?}, not over the last ones"));
    }
    let dims = shape[rank - count..].iter().map(|d| d.known().and_then(|n| usize::try_from(n).ok()));
    let dims = dims.collect::<Option<Vec<usize>>>().ok_or("the extents of the normalized axes are not known")?;
    if opset(graph, div) < 17 {
        return Err(format!("opset {} has no LayerNormalization: run upgrade-opset first", opset(graph, div)));
    }
    let inner = normal.ops.iter().map(|&op| graph.op(op).result());
    if let Some(quantized) = inner.chain([normal.x, graph.op(div).result()]).find(|&v| !is_plain(graph, v)) {
        return Err(format!("{} is quantized", graph.label(quantized)));
    }
    // Gamma and beta follow where they are constants of the right shape.
    let follow = |op: OpId, name: &str| {
        let reader = graph.only_user(graph.op(op).result()).filter(|&r| graph.op(r).name().is_onnx(name))?;
        let (_, constant, _) = constant_side(graph, reader)?;
        let fits = real_const(graph, constant).is_some_and(|t| t.dims() == dims);
        (fits && graph.op(reader).region() == graph.op(div).region() && is_plain(graph, graph.op(reader).result()))
            .then_some((reader, constant))
    };
    let gamma = follow(div, "Mul");
    let numbers = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= MOST_ONES);
    if gamma.is_none() && numbers.is_none() {
        return Err(format!("without a scale of its own it would need more than {MOST_ONES} ones"));
    }
    let scaled = gamma.map_or(div, |(op, _)| op);
    let beta = follow(scaled, "Add");
    let last = beta.map_or(scaled, |(op, _)| op);
    let axis = -(count as i64);
    Ok(Found { normal, axis, dims, gamma: gamma.map(|g| g.1), beta: beta.map(|b| b.1), last })
}

fn place(graph: &mut Graph, div: OpId, found: Found) {
    let Found { normal, axis, dims, gamma, beta, last } = found;
    let elem = graph.value(normal.x).ty().elem().unwrap_or(spaceevo_ir::Elem::F32);
    let count = dims.iter().product();
    let ones = || Tensor::from_f64(elem, dims.clone(), &vec![1.0; count]);
    let gamma = gamma.or_else(|| ones().map(|ones| rewrite::constant(graph, last, "ones", ones)));
    let mut new = NewOp::onnx("LayerNormalization").operand(normal.x).operands([gamma]);
    if beta.is_some() {
        new = new.operands([beta]);
    }
    let mut also = normal.ops;
    also.extend([div].into_iter().filter(|&op| op != last));
    let new = new.attr("axis", Attr::Int(axis)).attr("epsilon", Attr::Float(normal.epsilon as f32));
    rewrite::replace(graph, last, INFO.name, &also, new);
}
