//! Recognises a squeeze-and-excitation gate whose layers are matrix products, and writes it as convolutions.
//!
//! ```text
//! %p = onnx.GlobalAveragePool %x : f32[n,c,1,1]         %p = onnx.GlobalAveragePool %x
//! %f = onnx.Flatten %p           : f32[n,c]             %a = onnx.Conv %p, %w1', %b1
//! %a = onnx.Gemm %f, %w1, %b1                           %r = onnx.Relu %a
//! %r = onnx.Relu %a                              ──▶    %b = onnx.Conv %r, %w2', %b2
//! %b = onnx.Gemm %r, %w2, %b2                           %s = onnx.Sigmoid %b
//! %s = onnx.Sigmoid %b           : f32[n,c]             %y = onnx.Mul %x, %s
//! %g = onnx.Reshape %s           : f32[n,c,1,1]
//! %y = onnx.Mul %x, %g
//! ```

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Graph, NewOp, OpId, Tensor, TensorType, Type, ValueId};

use super::merge_reshapes::regroups;
use crate::analysis::{is_plain, model_ops, per_channel, real_const};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct LiftSe;

static INFO: PassInfo = PassInfo {
    name: "lift-se",
    summary: "write squeeze-and-excitation gates of matrix products as convolutions",
    doc: "Squeeze and excitation (Hu et al. 2018) pools a map to one number for each channel, runs two small layers over \
          them, and multiplies the map by the result. Where the layers are Gemm between two regroupings, \
          `[n, c, 1, 1] -> [n, c] -> ... -> [n, c, 1, 1]`, each Gemm becomes a Conv with a kernel of 1 and the regroupings \
          go: the gate stays in one layout, and looks as other exporters write it.\n\n\
          It declines where an op between is neither a Gemm with constant weights nor works on each element alone, and \
          where a value between has other readers.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

/// Operators of one operand that work on each element alone.
const ELEMENTWISE: &[&str] =
    &["Relu", "Sigmoid", "HardSigmoid", "HardSwish", "Clip", "Tanh", "LeakyRelu", "Elu", "Selu", "Softplus", "Gelu", "Mish"];
/// Ops between the two regroupings.
const LONGEST: usize = 8;

impl Pass for LiftSe {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for op in model_ops(graph) {
            if !graph.is_live(op) || !regroups(graph, op) || channels(graph, graph.op(op).result()).is_none() {
                continue;
            }
            match chain(graph, op) {
                Ok(None) => {}
                Err(why) => cx.declined(graph, op, why),
                Ok(Some((pooled, layers))) => {
                    if !cx.rewrite(graph, op, "gate written as convolutions") {
                        break;
                    }
                    place(graph, op, pooled, &layers);
                    changed = true;
                }
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// Channels of a value of shape `[n, c, 1, 1]`.
fn channels(graph: &Graph, value: ValueId) -> Option<usize> {
    let ty = graph.value(value).ty().tensor()?;
    (ty.rank() == Some(4) && ty.dim(2) == Some(1) && ty.dim(3) == Some(1)).then(|| ty.dim(1)).flatten()
}

/// The pooled value and the ops between the regroupings, first one first. `None` when there is no Gemm between.
fn chain(graph: &Graph, last: OpId) -> Result<Option<(ValueId, Vec<OpId>)>, String> {
    let mut layers = Vec::new();
    let mut products = 0;
    let mut reader = last;
    loop {
        let Some(value) = graph.op(reader).operand(0) else { return Ok(None) };
        let Some(op) = graph.def_op(value) else { return Ok(None) };
        let name = graph.op(op).name();
        let problem = if graph.use_count(value) != 1 {
            Some(format!("{} has other readers", graph.label(value)))
        } else if !is_plain(graph, value) {
            Some(format!("{} is quantized", graph.label(value)))
        } else {
            None
        };
        let gemm = name.is_onnx("Gemm");
        let known = gemm || ELEMENTWISE.iter().any(|e| name.is_onnx(e)) || regroups(graph, op);
        if !known || layers.len() > LONGEST || graph.op(op).region() != graph.op(last).region() {
            // Without a Gemm so far, it is some other regrouping.
            return if products == 0 { Ok(None) } else { Err(format!("{name} stands between pooling and gate")) };
        }
        if products > 0 || gemm {
            problem.map_or(Ok(()), Err)?;
        } else if problem.is_some() {
            return Ok(None);
        }
        if regroups(graph, op) {
            let pooled =
                graph.op(op).operand(0).filter(|&p| products > 0 && channels(graph, p).is_some() && is_plain(graph, p));
            layers.reverse();
            return Ok(pooled.map(|pooled| (pooled, layers)));
        }
        if gemm {
            as_convolution(graph, op)?;
            products += 1;
        }
        layers.push(op);
        reader = op;
    }
}

/// Weights of shape `[out, in, 1, 1]` and the bias of a Gemm.
fn as_convolution(graph: &Graph, op: OpId) -> Result<(Tensor, Option<Vec<f64>>), String> {
    let record = graph.op(op);
    if record.float("alpha", 1.0) != 1.0 || record.float("beta", 1.0) != 1.0 || record.int("transA", 0) != 0 {
        return Err("a Gemm scales or transposes its operands".into());
    }
    let weights = record.operand(1).and_then(|w| real_const(graph, w)).ok_or("the weights of a Gemm are no constant")?;
    let (&[rows, columns], Some(numbers)) = (weights.dims(), weights.to_f64()) else {
        return Err("the weights of a Gemm are no matrix".into());
    };
    // A matrix of no columns may have any number of rows, and work per row would have no bound.
    if numbers.is_empty() {
        return Err("the weights of a Gemm are empty".into());
    }
    let transposed = record.int("transB", 0) != 0;
    let (out, inputs) = if transposed { (rows, columns) } else { (columns, rows) };
    let at = |o: usize, i: usize| if transposed { numbers[o * inputs + i] } else { numbers[i * out + o] };
    let turned: Vec<f64> = (0..out).flat_map(|o| (0..inputs).map(move |i| (o, i))).map(|(o, i)| at(o, i)).collect();
    let weights = Tensor::from_f64(weights.elem(), [out, inputs, 1, 1], &turned).ok_or("weights are no numbers")?;
    let bias = match record.operand(2) {
        None => None,
        Some(bias) => Some(per_channel(graph, bias, out, 1, 2).ok_or("the bias of a Gemm differs by row")?),
    };
    Ok((weights, bias))
}

fn place(graph: &mut Graph, last: OpId, pooled: ValueId, layers: &[OpId]) {
    let batch = graph.value(pooled).ty().tensor().and_then(|t| t.shape.clone()).and_then(|s| s.first().cloned());
    let mut value = pooled;
    for (index, &op) in layers.iter().enumerate() {
        let record = graph.op(op);
        let mut new = NewOp::new(record.name().clone()).attrs(record.attrs().clone()).operand(value);
        new = new.operands(record.operands()[1..].iter().copied());
        if record.name().is_onnx("Gemm") {
            let Ok((weights, bias)) = as_convolution(graph, op) else { return };
            let name = |index: usize| record.operand(index).map(|v| graph.value(v).name().clone()).unwrap_or_default();
            let (weight_name, bias_name, elem) = (name(1), name(2), weights.elem());
            let weights = rewrite::constant(graph, last, weight_name, weights);
            let bias = bias.and_then(|b| Tensor::from_f64(elem, [b.len()], &b));
            let bias = bias.map(|bias| rewrite::constant(graph, last, bias_name, bias));
            new = NewOp::onnx("Conv").operand(value).operand(weights);
            if bias.is_some() {
                new = new.operands([bias]);
            }
        }
        if index + 1 == layers.len() {
            rewrite::replace(graph, last, INFO.name, layers, new);
            return;
        }
        let result = graph.value(graph.op(op).result());
        let ty = match (result.ty().tensor(), &batch) {
            (Some(ty), Some(batch)) => {
                let channels = ty.shape.as_ref().and_then(|s| s.get(1).cloned()).unwrap_or(spaceevo_ir::Dim::Unknown);
                TensorType { shape: Some(vec![batch.clone(), channels, 1.into(), 1.into()]), ..ty.clone() }.into()
            }
            _ => Type::Unknown,
        };
        let name = result.name().clone();
        value = rewrite::insert_before(graph, last, INFO.name, name, ty, new);
    }
}
