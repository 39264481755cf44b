//! Recognises a GELU that is written out.
//!
//! ```text
//! %a = onnx.Div %x, %sqrt2
//! %b = onnx.Erf %a
//! %c = onnx.Add %b, %one
//! %d = onnx.Mul %x, %c
//! %y = onnx.Mul %d, %half            ──▶    %y = onnx.Gelu %x
//! ```

use std::collections::BTreeSet;

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Graph, NewOp, OpId, ValueId};

use crate::analysis::{constant_side, opset, scalar};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::product::Product;
use crate::rewrite::{Found, replace_from_the_end};

/// See the module documentation.
pub(crate) struct LiftGelu;

static INFO: PassInfo = PassInfo {
    name: "lift-gelu",
    summary: "recognise GELU written out with Erf or Tanh",
    doc: "`0.5 x (1 + erf(x / sqrt 2))` (Hendrycks and Gimpel 2016) is Gelu, and its approximation \
          `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))` is Gelu with `approximate = \"tanh\"`, whatever the order of the \
          factors, and with the cube as Pow or as Mul. Constants are compared to four digits, as people write them.\n\n\
          It declines below opset 20, which has no Gelu: written out, the function stays.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for LiftGelu {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        Ok(replace_from_the_end(graph, cx, "Gelu recognised", |graph, op| {
            let Some(product) = Product::of(graph, op) else { return Ok(None) };
            let Some((x, mut also, tanh)) = gate(graph, &product).filter(|_| about(product.coefficient, 0.5)) else {
                return Ok(None);
            };
            if opset(graph, op) < 20 {
                return Err(format!("it is a GELU, but opset {} has no Gelu: it stays written out", opset(graph, op)));
            }
            also.extend(&product.ops[1..]);
            let new = NewOp::onnx("Gelu").operand(x);
            Ok(Some(Found { new: if tanh { new.attr("approximate", Attr::text("tanh")) } else { new }, also }))
        }))
    }
}

/// Equal to four digits.
fn about(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-4 * b.abs()
}

/// The ops of the body that make up GELUs, or multiples of them.
pub(crate) fn parts(graph: &Graph) -> BTreeSet<OpId> {
    let found = |op: OpId| {
        let product = Product::of(graph, op)?;
        let (_, also, _) = gate(graph, &product)?;
        Some(product.ops.into_iter().chain(also))
    };
    graph.ops_in(graph.body()).filter_map(found).flatten().collect()
}

/// Of a product `x (1 + curve)`, twice a GELU: the operand, the ops of the gate, and whether it is the approximation with tanh.
pub(crate) fn gate(graph: &Graph, product: &Product) -> Option<(ValueId, Vec<OpId>, bool)> {
    product.factors.iter().find_map(|&factor| {
        let x = product.beside(factor)?;
        let add = graph.def_named(factor, "Add").filter(|_| graph.use_count(factor) == 1)?;
        let (curve, _, _) = constant_side(graph, add).filter(|(_, one, _)| scalar(graph, *one) == Some(1.0))?;
        let op = graph.def_op(curve).filter(|_| graph.use_count(curve) == 1)?;
        let inner = graph.op(op).operand(0)?;
        let argument = Product::of(graph, graph.def_op(inner)?).filter(|_| graph.use_count(inner) == 1)?;
        let mut also = vec![add, op];
        also.extend(&argument.ops);
        if graph.op(op).name().is_onnx("Erf") {
            let fits = argument.factors == [x] && about(argument.coefficient, std::f64::consts::FRAC_1_SQRT_2);
            return fits.then_some((x, also, false));
        }
        let fits = graph.op(op).name().is_onnx("Tanh") && is_tanh_argument(graph, &argument, x);
        fits.then_some((x, also, true))
    })
}

/// `sqrt(2/pi) * (x + 0.044715 x^3)`, or `sqrt(2/pi) * x * (1 + 0.044715 x^2)`.
fn is_tanh_argument(graph: &Graph, argument: &Product, x: ValueId) -> bool {
    if !about(argument.coefficient, (2.0 / std::f64::consts::PI).sqrt()) {
        return false;
    }
    let (sum, expanded) = match argument.factors[..] {
        [sum] => (sum, true),
        _ => match argument.beside(x) {
            Some(sum) => (sum, false),
            None => return false,
        },
    };
    let Some(add) = graph.def_named(sum, "Add").filter(|_| graph.use_count(sum) == 1) else { return false };
    let (Some(a), Some(b)) = (graph.op(add).operand(0), graph.op(add).operand(1)) else { return false };
    [(a, b), (b, a)].into_iter().any(|(first, power)| {
        let first_fits = if expanded { first == x } else { scalar(graph, first) == Some(1.0) };
        let product = graph.def_op(power).and_then(|op| Product::of(graph, op));
        first_fits
            && product
                .is_some_and(|p| about(p.coefficient, 0.044715) && degree(graph, &p, x) == Some(2 + u32::from(expanded)))
    })
}

/// Exponent of `x` in a product of powers of it.
fn degree(graph: &Graph, product: &Product, x: ValueId) -> Option<u32> {
    product.factors.iter().try_fold(0u32, |sum, &factor| {
        if factor == x {
            return Some(sum + 1);
        }
        let op = graph.def_op(factor)?;
        let record = graph.op(op);
        if record.name().is_onnx("Mul") && record.operand(0) == Some(x) && record.operand(1) == Some(x) {
            return Some(sum + 2);
        }
        let exponent = record.operand(1).and_then(|e| scalar(graph, e)).filter(|e| *e == 2.0 || *e == 3.0)?;
        (record.name().is_onnx("Pow") && record.operand(0) == Some(x)).then_some(sum + exponent as u32)
    })
}
