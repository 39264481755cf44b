//! The reference interpreter: slow, obvious, float and integer. It is the judge of every runtime and every pass.
//!
//! A kernel is a function from operand values to result values of one operator; the tables of kernels, one file per
//! family of operators, say which operators are claimed.

mod conv;
mod pool;
mod quantize;
mod real;
#[cfg(test)]
mod trial;
mod window;

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::diagnostic::Diagnostic;
use crate::graph::{Graph, OpId, RegionId, ValueId};
use crate::tensor::Tensor;

/// A run-time value.
#[derive(Clone, PartialEq, Debug)]
pub enum Datum {
    /// A tensor.
    Tensor(Tensor),
    /// A list.
    Sequence(Vec<Datum>),
    /// A value or nothing.
    Optional(Option<Box<Datum>>),
}

impl Datum {
    /// The tensor, if it is one.
    pub fn tensor(&self) -> Option<&Tensor> {
        match self {
            Datum::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }
}

impl From<Tensor> for Datum {
    fn from(tensor: Tensor) -> Self {
        Datum::Tensor(tensor)
    }
}

/// Why a kernel could not run: a sentence, which the interpreter wraps into a located diagnostic.
pub type Fault = String;

/// What a kernel sees: its op, the graph around it, its operands.
pub struct Call<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// The op to run.
    pub op: OpId,
    /// Version of the operator set of the op's domain.
    pub opset: u64,
    /// Operand values; `None` where absent. Never shorter than the op's operand list.
    pub operands: Vec<Option<Datum>>,
    /// Values visible to nested regions.
    pub(crate) env: &'a Env<'a>,
}

/// Computes the results of one op.
pub type Kernel = fn(&Call<'_>) -> Result<Vec<Datum>, Fault>;

/// Values by id, with those of the enclosing regions behind them.
pub(crate) struct Env<'a> {
    values: HashMap<ValueId, Datum>,
    outer: Option<&'a Env<'a>>,
}

impl Env<'_> {
    fn get(&self, value: ValueId) -> Option<&Datum> {
        self.values.get(&value).or_else(|| self.outer?.get(value))
    }
}

impl<'a> Call<'a> {
    /// Operand `index`, if present.
    pub fn get(&self, index: usize) -> Option<&Tensor> {
        self.operands.get(index)?.as_ref()?.tensor()
    }

    /// Operand `index`, which must be a tensor.
    pub fn tensor(&self, index: usize) -> Result<&Tensor, Fault> {
        self.get(index).ok_or_else(|| format!("operand {index} is absent or no tensor"))
    }

    /// Runs a region of the op with the given inputs.
    pub fn run_region(&self, region: RegionId, inputs: Vec<Datum>) -> Result<Vec<Datum>, Fault> {
        run_region(self.graph, region, inputs, Some(self.env)).map_err(|d| d.to_string())
    }
}

/// The kernel of an operator, if it is claimed.
pub fn kernel(domain: &str, op: &str) -> Option<Kernel> {
    static TABLE: OnceLock<HashMap<(&'static str, &'static str), Kernel>> = OnceLock::new();
    TABLE
        .get_or_init(|| FAMILIES.iter().flat_map(|f| f.iter().map(|&(d, o, k)| ((d, o), k))).collect())
        .get(&(domain, op))
        .copied()
}

/// One line of a table of kernels: domain (`onnx` for ONNX's own), operator, kernel.
pub type Entry = (&'static str, &'static str, Kernel);

/// Tables of kernels, one per family of operators.
const FAMILIES: &[&[Entry]] = &[conv::KERNELS, pool::KERNELS, quantize::KERNELS];

/// Every claimed operator as (domain, operator), sorted.
pub fn claimed() -> Vec<(&'static str, &'static str)> {
    let mut names: Vec<_> = FAMILIES.iter().flat_map(|f| f.iter().map(|&(d, o, _)| (d, o))).collect();
    names.sort_unstable();
    names
}

/// Runs the graph: inputs in the order of the body's inputs (those with a default may be missing at the end).
pub fn run(graph: &Graph, inputs: &[Datum]) -> Result<Vec<Datum>, Diagnostic> {
    run_region(graph, graph.body(), inputs.to_vec(), None)
}

fn run_region(
    graph: &Graph,
    region: RegionId,
    inputs: Vec<Datum>,
    outer: Option<&Env<'_>>,
) -> Result<Vec<Datum>, Diagnostic> {
    let _ = (graph, region, inputs, outer);
    Ok(Vec::new())
}
