//! Runs one op on given operands: what the unit tests of all kernels stand on.

use super::{Datum, run_all};
use crate::attr::Attr;
use crate::diagnostic::Diagnostic;
use crate::edit::{NewOp, Place};
use crate::graph::{Graph, ONNX, OpName};
use crate::tensor::Tensor;
use crate::types::Type;

/// Runs an operator of ONNX's domain; returns the results that its kernel gives, up to four.
pub(super) fn trial(op: &str, opset: u64, attrs: &[(&str, Attr)], operands: &[Tensor]) -> Result<Vec<Tensor>, Diagnostic> {
    let operands: Vec<_> = operands.iter().cloned().map(Some).collect();
    trial_in(ONNX, op, opset, attrs, &operands)
}

/// As [`trial`], of any domain and with absent operands.
pub(super) fn trial_in(
    domain: &str,
    op: &str,
    opset: u64,
    attrs: &[(&str, Attr)],
    operands: &[Option<Tensor>],
) -> Result<Vec<Tensor>, Diagnostic> {
    let mut graph = Graph::new("trial");
    graph.meta.opsets.insert(domain.into(), opset);
    let body = graph.body();
    let values: Vec<_> =
        operands.iter().map(|t| t.as_ref().map(|t| graph.add_input(body, "", Type::from(t.ty())))).collect();
    let mut new = NewOp::new(OpName::new(domain, op)).operands(values);
    for (name, attr) in attrs {
        new = new.attr(name, attr.clone());
    }
    for name in ["y0", "y1", "y2", "y3"] {
        new = new.result(name, Type::Unknown);
    }
    let op = graph.insert(Place::End(body), new);
    let results = graph.op(op).results().to_vec();
    let inputs: Vec<_> = operands.iter().flatten().cloned().map(Datum::Tensor).collect();
    let (_, made) = run_all(&graph, &inputs, &results)?;
    Ok(made.iter().flatten().filter_map(|d| d.tensor().cloned()).collect())
}
