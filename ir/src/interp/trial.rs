//! Runs one kernel on given operands: what the unit tests of all kernels stand on.

use std::collections::HashMap;

use super::{Call, Datum, Env, Fault, kernel};
use crate::attr::Attr;
use crate::edit::{NewOp, Place};
use crate::graph::{Graph, ONNX, OpName};
use crate::tensor::Tensor;
use crate::types::Type;

/// Runs an operator of ONNX's domain with as many results as its kernel gives, up to four.
pub(super) fn trial(op: &str, opset: u64, attrs: &[(&str, Attr)], operands: &[Tensor]) -> Result<Vec<Tensor>, Fault> {
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
) -> Result<Vec<Tensor>, Fault> {
    let mut graph = Graph::new("trial");
    let body = graph.body();
    let values: Vec<_> =
        operands.iter().map(|t| t.as_ref().map(|t| graph.add_input(body, "", Type::from(t.ty())))).collect();
    let mut new = NewOp::new(OpName::new(domain, op)).operands(values);
    for (name, attr) in attrs {
        new = new.attr(name, attr.clone());
    }
    for _ in 0..4 {
        new = new.result("", Type::Unknown);
    }
    let op_id = graph.insert(Place::End(body), new);
    let env = Env { values: HashMap::new(), outer: None };
    let operands = operands.iter().map(|t| t.clone().map(Datum::Tensor)).collect();
    let call = Call { graph: &graph, op: op_id, opset, operands, env: &env };
    let run = kernel(domain, op).ok_or_else(|| format!("{domain}.{op} has no kernel"))?;
    let results = run(&call)?;
    Ok(results.iter().filter_map(|d| d.tensor().cloned()).collect())
}
