//! Weights too small for a normal float32 become zeros: processors take a hundred cycles for each product with one.
//!
//! ```text
//! %w = const [[0.5, 1e-39], [-3e-42, 2]] : f32[2,2]           %w = const [[0.5, 0], [0, 2]] : f32[2,2]
//! %y = onnx.Gemm %x, %w                              ──▶      %y = onnx.Gemm %x, %w
//! ```
//!
//! Training with weight decay leaves such numbers in channels that do nothing.

use spaceevo_ir::graph::User;
use spaceevo_ir::verify::Form;
use spaceevo_ir::{Elem, Graph, OpId, Tensor, ValueId};

use crate::analysis::model_ops;
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};

/// See the module documentation.
pub(crate) struct FlushSubnormals;

static INFO: PassInfo = PassInfo {
    name: "flush-subnormals",
    summary: "make weights zero that are too small for a normal float32",
    doc: "A weight, factor, slope or summand of Conv, ConvTranspose, Gemm, MatMul, BatchNormalization, PRelu, Mul, Add or Sub whose \
          magnitude is below 2^-126 becomes zero. A sum of products changes by less than 1.2e-38 times the sum of the magnitudes of \
          what is read, which is far below the rounding of any number that is not as small itself; each product with such a \
          weight takes a processor about a hundred times as long (IEEE 754 calls these numbers subnormal). A constant of one \
          number stays: it may be what keeps a division from zero.\n\n\
          It declines where another kind of op reads the constant, too.",
    effect: Effect::Rounding,
    accepts: Form::Any,
    leaves: Form::Any,
    options: &[],
};

impl Pass for FlushSubnormals {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for op in model_ops(graph) {
            let operands = graph.op(op).operands().to_vec();
            for (at, weight) in operands.into_iter().enumerate().filter_map(|(at, v)| Some((at, v?))) {
                if !is_weight(graph, op, at) {
                    continue;
                }
                let Some((flushed, count)) = graph.const_of(weight).and_then(flushed) else { continue };
                if let Some(reader) = other_reader(graph, weight) {
                    let why = format!("{} has {count} subnormal numbers, but {reader} reads it", graph.label(weight));
                    cx.declined(graph, op, why);
                } else if cx.rewrite(graph, op, format!("{count} subnormal numbers of {} are zero now", graph.label(weight)))
                {
                    graph.set_const(weight, flushed);
                    cx.count("numbers", count as u64);
                    changed = true;
                }
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// True of what products are made with, and of what is added.
fn is_weight(graph: &Graph, op: OpId, at: usize) -> bool {
    let name = graph.op(op).name();
    let ops: &[&str] = match at {
        0 => &["MatMul", "Mul", "Add", "Sub"],
        1 => &["Conv", "ConvTranspose", "Gemm", "MatMul", "Mul", "Add", "Sub", "PRelu", "BatchNormalization"],
        2 => &["Conv", "ConvTranspose", "Gemm", "BatchNormalization"],
        _ => &[],
    };
    ops.iter().any(|op| name.is_onnx(op))
}

/// Something else that reads a value.
fn other_reader(graph: &Graph, value: ValueId) -> Option<String> {
    graph.value(value).users().iter().find_map(|user| match *user {
        User::Op(op, at) if is_weight(graph, op, at as usize) => None,
        User::Op(op, _) => Some(graph.op(op).name().to_string()),
        _ => Some("the result".to_owned()),
    })
}

/// The tensor without subnormal numbers, and how many there were; `None` where there are none.
fn flushed(tensor: &Tensor) -> Option<(Tensor, usize)> {
    if tensor.elem() != Elem::F32 || tensor.len() < 2 || tensor.rand().is_some() {
        return None;
    }
    let values = tensor.values::<f32>()?;
    let count = values.iter().filter(|value| value.is_subnormal()).count();
    let normal = |value: &f32| if value.is_subnormal() { 0.0 } else { *value };
    (count > 0).then(|| (Tensor::new(tensor.dims(), values.iter().map(normal).collect::<Vec<f32>>()), count))
}
