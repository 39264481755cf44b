//! Writes arithmetic with constants in one way, so that other passes need to know one way only.
//!
//! ```text
//! %a = onnx.Sub %x, %one
//! %y = onnx.Div %a, %two      ──▶    %a = onnx.Add %x, %minus.one
//!                                    %y = onnx.Mul %a, %half
//! ```

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Elem, Graph, NewOp, OpId, Symbol, Tensor, ValueId};

use crate::analysis::{constant_side, is_plain, model_ops, opset, real_const, reals, scalar};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct CanonicalizeArith;

static INFO: PassInfo = PassInfo {
    name: "canonicalize-arith",
    summary: "write arithmetic with constants as Mul and Add, constants last",
    doc: "`c + x` and `c * x` become `x + c` and `x * c`; `x - c` becomes `x + (-c)`; `x / c` becomes `x * (1/c)`; \
          `(x * a) * b` becomes `x * (a b)` and `(x + a) + b` becomes `x + (a + b)` where one of the constants is a single \
          number; `-(-x)` becomes `x`; `x ^ 2` becomes `x * x` and `x ^ 0.5` becomes `sqrt(x)`; `x + 0` becomes `x`.\n\n\
          It declines where a divisor is 0 or its reciprocal is not a normal number, and where the inner result of a chain \
          has other readers. Integers are left alone, but for the order of operands.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for CanonicalizeArith {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for op in model_ops(graph) {
            if !graph.is_live(op) || &*graph.op(op).name().domain != spaceevo_ir::ONNX || opset(graph, op) < 7 {
                continue;
            }
            let name = graph.op(op).name().op.clone();
            changed |= match &*name {
                "Add" | "Mul" => {
                    let swapped = constants_last(graph, op, cx);
                    let joined = join(graph, op, cx);
                    let dropped = !joined && name.starts_with('A') && drop_zero(graph, op, cx);
                    swapped | joined | dropped
                }
                "Sub" | "Div" => by_inverse(graph, op, cx),
                "Neg" => double_negation(graph, op, cx),
                "Pow" => power(graph, op, cx),
                _ => false,
            };
        }
        Ok(Outcome::from(changed))
    }
}

fn constants_last(graph: &mut Graph, op: OpId, cx: &mut PassContext<'_>) -> bool {
    let Some((value, constant, 0)) = constant_side(graph, op) else { return false };
    if !cx.rewrite(graph, op, "constant moved behind") {
        return false;
    }
    graph.set_operands(op, vec![Some(value), Some(constant)]);
    true
}

/// `x - c` and `x / c`.
fn by_inverse(graph: &mut Graph, op: OpId, cx: &mut PassContext<'_>) -> bool {
    let Some((value, constant, 1)) = constant_side(graph, op) else { return false };
    let Some(numbers) = reals(graph, constant).filter(|_| is_plain(graph, value)) else { return false };
    let sub = graph.op(op).name().is_onnx("Sub");
    let smallest = match graph.value(constant).ty().elem() {
        Some(Elem::F16) => f64::from(half_min()),
        Some(Elem::F64) => f64::MIN_POSITIVE,
        _ => f64::from(f32::MIN_POSITIVE),
    };
    let inverse: Vec<f64> = numbers.iter().map(|n| if sub { -n } else { 1.0 / n }).collect();
    if !sub && inverse.iter().any(|n| !n.is_finite() || n.abs() < smallest) {
        cx.declined(graph, op, "the reciprocal of a divisor is not a normal number");
        return false;
    }
    let Some(tensor) = repacked(graph, constant, &inverse) else { return false };
    let what = if sub { "Sub became Add" } else { "Div became Mul" };
    if !cx.rewrite(graph, op, what) {
        return false;
    }
    let name = derived_name(graph, constant, if sub { "neg" } else { "inv" });
    let constant = rewrite::constant(graph, op, name, tensor);
    let new = NewOp::onnx(if sub { "Add" } else { "Mul" }).operand(value).operand(constant);
    rewrite::replace(graph, op, INFO.name, &[], new);
    true
}

/// Smallest normal half: 2^-14.
fn half_min() -> f32 {
    2f32.powi(-14)
}

/// Name of a constant computed from another one; a constant without a name gives none.
fn derived_name(graph: &Graph, constant: ValueId, how: &str) -> Symbol {
    let name = graph.value(constant).name();
    if name.is_empty() { name.clone() } else { format!("{name}.{how}").into() }
}

fn repacked(graph: &Graph, like: ValueId, numbers: &[f64]) -> Option<Tensor> {
    let like = real_const(graph, like)?;
    Tensor::from_f64(like.elem(), like.dims(), numbers)
}

/// `(x * a) * b` and `(x + a) + b`.
fn join(graph: &mut Graph, op: OpId, cx: &mut PassContext<'_>) -> bool {
    let Some((middle, outer, 1)) = constant_side(graph, op) else { return false };
    let name = graph.op(op).name().op.clone();
    let Some(inner_op) = graph.def_named(middle, &name) else { return false };
    let Some((value, inner, _)) = constant_side(graph, inner_op) else { return false };
    let (Some(a), Some(b)) = (real_const(graph, inner), real_const(graph, outer)) else { return false };
    // The result keeps its shape when one constant is a single number of no higher rank than the other.
    let (long, short) = if a.len() == 1 && a.dims().len() <= b.dims().len() { (outer, inner) } else { (inner, outer) };
    let (Some(many), Some(one)) = (reals(graph, long), scalar(graph, short)) else { return false };
    if graph.const_of(short).map(|t| t.dims().len()) > graph.const_of(long).map(|t| t.dims().len()) {
        return false;
    }
    if graph.use_count(middle) != 1 {
        cx.declined(graph, op, format!("{}, between two {name} with constants, has other readers", graph.label(middle)));
        return false;
    }
    if !is_plain(graph, middle) || graph.op(inner_op).region() != graph.op(op).region() {
        return false;
    }
    let joined: Vec<f64> = many.iter().map(|n| if &*name == "Mul" { n * one } else { n + one }).collect();
    let Some(tensor) =
        repacked(graph, long, &joined).filter(|t| t.to_f64().is_some_and(|n| n.iter().all(|x| x.is_finite())))
    else {
        return false;
    };
    if !cx.rewrite(graph, op, format!("two {name} with constants became one")) {
        return false;
    }
    let constant = rewrite::constant(graph, op, graph.value(long).name().clone(), tensor);
    rewrite::replace(graph, op, INFO.name, &[inner_op], NewOp::onnx(&name).operand(value).operand(constant));
    true
}

/// `x + 0`, which loses nothing but the sign of a zero.
fn drop_zero(graph: &mut Graph, op: OpId, cx: &mut PassContext<'_>) -> bool {
    let Some((value, constant, _)) = constant_side(graph, op) else { return false };
    let Some(numbers) = reals(graph, constant) else { return false };
    let result = graph.op(op).result();
    let ty = graph.value(value).ty();
    let narrow =
        numbers.len() == 1 && ty.rank().is_some_and(|r| graph.const_of(constant).is_some_and(|c| c.dims().len() <= r));
    let kept = narrow || crate::analysis::same_type(ty, graph.value(result).ty());
    let nothing = !numbers.is_empty() && numbers.iter().all(|&n| n == 0.0);
    // A result keeps its name; inputs and constants keep theirs.
    let free = !graph.is_returned(result) || (graph.def_op(value).is_some() && !graph.is_returned(value));
    let plain = ty.quant() == graph.value(result).ty().quant();
    let here = graph.region_of(value) == Some(graph.op(op).region()) || !graph.is_returned(result);
    let done = nothing && kept && free && plain && here && cx.rewrite(graph, op, "Add of 0 dropped");
    if done {
        rewrite::bypass(graph, op, value);
    }
    done
}

fn double_negation(graph: &mut Graph, op: OpId, cx: &mut PassContext<'_>) -> bool {
    let inner = graph.op(op).operand(0).and_then(|v| graph.def_named(v, "Neg"));
    let Some(value) = inner.and_then(|inner| graph.op(inner).operand(0)) else { return false };
    let result = graph.op(op).result();
    if graph.is_returned(result) && (graph.def_op(value).is_none() || graph.is_returned(value)) {
        cx.declined(graph, op, format!("its result is returned, and {} cannot take its name", graph.label(value)));
        return false;
    }
    let plain = graph.value(value).ty().quant() == graph.value(result).ty().quant();
    let here = graph.region_of(value) == Some(graph.op(op).region());
    if !plain || !here || !cx.rewrite(graph, op, "two Neg dropped") {
        return false;
    }
    rewrite::bypass(graph, op, value);
    true
}

/// `x ^ 2` and `x ^ 0.5`.
fn power(graph: &mut Graph, op: OpId, cx: &mut PassContext<'_>) -> bool {
    let Some((value, constant, 1)) = constant_side(graph, op) else { return false };
    let exponent = graph.const_of(constant).filter(|t| t.len() == 1).and_then(Tensor::to_f64).map(|n| n[0]);
    let ty = graph.value(value).ty();
    let narrow =
        graph.const_of(constant).is_some_and(|c| c.dims().is_empty() || ty.rank().is_some_and(|r| c.dims().len() <= r));
    if !ty.elem().is_some_and(Elem::is_float) || !narrow || !is_plain(graph, value) {
        return false;
    }
    let new = match exponent {
        Some(2.0) => NewOp::onnx("Mul").operand(value).operand(value),
        Some(0.5) => NewOp::onnx("Sqrt").operand(value),
        Some(other) => {
            cx.declined(graph, op, format!("an exponent of {other} has no simpler operator"));
            return false;
        }
        None => return false,
    };
    if !cx.rewrite(graph, op, "Pow became simpler") {
        return false;
    }
    rewrite::replace(graph, op, INFO.name, &[], new);
    true
}
