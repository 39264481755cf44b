//! Writes the matrix product of a map whose channels come last as a convolution of one tap.
//!
//! ```text
//! %t = onnx.Transpose %m {perm = [0, 2, 3, 1]}       %t = onnx.Transpose %m {perm = [0, 2, 3, 1]}
//! %n = onnx.LayerNormalization %t, ..                %n = onnx.LayerNormalization %t, ..
//!                                                    %a = onnx.Transpose %n {perm = [0, 3, 1, 2]}
//! %p = onnx.MatMul %n, %w                            %c = onnx.Conv %a, %w', %b
//! %y = onnx.Add %p, %b                      ──▶      %y = onnx.Transpose %c {perm = [0, 2, 3, 1]}
//! ```
//!
//! Both compute `sum over i of x[n,h,w,i] W[i,o]`. For runtimes whose integer matrix product is slower than their convolution,
//! takes one scale for all columns, and keeps the convolutions around it from their layout with channels last, in which the
//! transposes cost nothing.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Graph, NewOp, OpId, Tensor, TensorType, Type, ValueId};

use crate::analysis::{constant_side, is_plain, per_channel, real_const};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct LowerMatmul;

static INFO: PassInfo = PassInfo {
    name: "lower-matmul",
    summary: "write MatMul of maps whose channels come last as a 1x1 Conv between Transposes",
    doc: "A MatMul of rank 4 with a constant matrix, whose operand comes from a map that was transposed to channels last, is a \
          pointwise convolution; an Add of one number for each column behind it becomes the bias. The transposes on both sides \
          merge with those that are there (`merge-reshapes`), or the runtime absorbs them. Run it before calibrate.\n\n\
          It declines where the target does not ask for it, where the extents are not known, where the operand comes from no \
          such Transpose, and where the numbers are quantized.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

const LAST: [i64; 4] = [0, 2, 3, 1];
const FIRST: [i64; 4] = [0, 3, 1, 2];

impl Pass for LowerMatmul {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for matmul in graph.ops_in(graph.body()).collect::<Vec<_>>() {
            if !graph.is_live(matmul) || !graph.op(matmul).name().is_onnx("MatMul") {
                continue;
            }
            if !cx.target.ops.is_lowered(graph.op(matmul).name(), INFO.name) {
                cx.declined(graph, matmul, format!("target {} does not leave it to this pass", cx.target.name));
                continue;
            }
            match Plan::of(graph, matmul) {
                Err(why) => cx.declined(graph, matmul, why),
                Ok(plan) => {
                    if !cx.rewrite(graph, plan.last, "matrix product written as a pointwise convolution") {
                        break;
                    }
                    plan.apply(graph, matmul);
                    changed = true;
                }
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// A product that is a convolution.
struct Plan {
    input: ValueId,
    /// Weights of the convolution, `[columns, rows, 1, 1]`.
    weights: Tensor,
    bias: Option<ValueId>,
    /// The product, or the sum with its bias.
    last: OpId,
}

impl Plan {
    /// A sentence when it is none.
    fn of(graph: &Graph, matmul: OpId) -> Result<Plan, String> {
        let record = graph.op(matmul);
        let (Some(input), Some(matrix)) = (record.operand(0), record.operand(1)) else {
            return Err("it lacks an operand".into());
        };
        let weights = real_const(graph, matrix).ok_or("its right side is no constant of real numbers")?;
        let (&[rows, columns], Some(numbers)) = (weights.dims(), weights.to_f32()) else {
            return Err("its right side is no matrix".into());
        };
        if ![input, record.result()].iter().all(|&v| is_plain(graph, v)) {
            return Err("it is quantized".into());
        }
        let ty = graph.value(input).ty().tensor();
        if ty.and_then(|t| t.shape.as_ref()).is_none_or(|shape| shape.len() != 4) {
            return Err("its operand is not known to be a map".into());
        }
        if !is_channels_last(graph, input) {
            return Err("its operand comes from no map that was transposed to channels last".into());
        }
        // W'[o, i] = W[i, o].
        let turned = (0..columns).flat_map(|o| (0..rows).map(move |i| i * columns + o)).map(|at| numbers[at]).collect();
        let weights = Tensor::new([columns, rows, 1, 1], turned);
        let sum = graph.only_user(record.result()).filter(|&user| graph.op(user).name().is_onnx("Add"));
        let bias = sum.and_then(|sum| {
            let (_, bias, _) = constant_side(graph, sum)?;
            let fits = graph.const_of(bias)?.dims() == [columns] && per_channel(graph, bias, columns, 3, 4).is_some();
            (fits && graph.op(sum).region() == record.region() && is_plain(graph, bias)).then_some((sum, bias))
        });
        Ok(match bias {
            Some((sum, bias)) => Plan { input, weights, bias: Some(bias), last: sum },
            None => Plan { input, weights, bias: None, last: matmul },
        })
    }

    fn apply(self, graph: &mut Graph, matmul: OpId) {
        let result = graph.op(self.last).result();
        let name = graph.value(result).name().clone();
        let turned = |graph: &Graph, value: ValueId| {
            let ty = graph.value(value).ty();
            let Some(TensorType { elem, shape, quant }) = ty.tensor().cloned() else { return ty.clone() };
            let shape = shape.map(|dims| FIRST.iter().filter_map(|&axis| dims.get(axis as usize).cloned()).collect());
            Type::Tensor(TensorType { elem, shape, quant })
        };
        let transpose =
            |value: ValueId, perm: [i64; 4]| NewOp::onnx("Transpose").operand(value).attr("perm", Attr::Ints(perm.to_vec()));
        let ty = turned(graph, self.input);
        let map =
            rewrite::insert_before(graph, self.last, INFO.name, format!("{name}.map"), ty, transpose(self.input, FIRST));
        let weights = rewrite::constant(graph, self.last, format!("{name}.weights"), self.weights);
        let conv = NewOp::onnx("Conv").operand(map).operands([Some(weights)].into_iter().chain(self.bias.map(Some)));
        let conv = conv.attr("kernel_shape", Attr::Ints(vec![1, 1]));
        let ty = turned(graph, result);
        let conv = rewrite::insert_before(graph, self.last, INFO.name, format!("{name}.conv"), ty, conv);
        let also = if self.last == matmul { vec![] } else { vec![matmul] };
        rewrite::replace(graph, self.last, INFO.name, &also, transpose(conv, LAST));
    }
}

/// True when a value is what ops that keep the order of axes make of a map that was transposed to channels last.
fn is_channels_last(graph: &Graph, mut value: ValueId) -> bool {
    const KEEPING: [&str; 10] =
        ["LayerNormalization", "MatMul", "Add", "Sub", "Mul", "Div", "Erf", "Sigmoid", "Relu", "Tanh"];
    // As far as a block of a network reaches.
    for _ in 0..32 {
        let Some(op) = graph.def_op(value) else { return false };
        let record = graph.op(op);
        if record.name().is_onnx("Transpose") {
            return record.ints("perm").is_some_and(|perm| perm == LAST);
        }
        let next = record.operands().iter().flatten().copied().find(|&v| !graph.value(v).is_const());
        match next {
            Some(next) if KEEPING.iter().any(|name| record.name().is_onnx(name)) => value = next,
            _ => return false,
        }
    }
    false
}
