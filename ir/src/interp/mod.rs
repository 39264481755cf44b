//! The reference interpreter: slow, obvious, float and integer. It is the judge of every runtime and every pass.
//!
//! A kernel is a function from operand values to result values of one operator; the tables of kernels, one file per
//! family of operators, say which operators are claimed. [`engine`] walks the regions and calls them; [`quantized`] wraps
//! them where types say that numbers are stored as integers.

mod attention;
mod axiswise;
mod binary;
mod call;
mod cast;
mod control;
mod conv;
mod detect;
mod element;
mod engine;
mod fused;
mod generate;
mod grid;
mod layout;
mod matmul;
mod microsoft;
mod movement;
mod norm;
mod pool;
mod quantize;
mod quantized;
mod real;
mod reduce;
mod resize;
mod rnn;
mod scatter;
mod sequence;
mod softmax;
mod sort;
mod space;
mod strings;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trial;
mod unary;
mod window;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::OnceLock;

use crate::diagnostic::Diagnostic;
use crate::graph::{Graph, ValueId};
use crate::tensor::Tensor;

pub use call::Call;
pub(crate) use engine::Env;
pub use quantized::{dequantize, quantize};

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

    /// Bytes that it holds, shared ones counted again.
    pub fn byte_len(&self) -> usize {
        match self {
            Datum::Tensor(tensor) => match tensor.as_strings() {
                Some(strings) => strings.iter().map(|s| s.len() + size_of_val(s)).sum(),
                None => tensor.bytes().len(),
            },
            Datum::Sequence(items) => items.iter().map(Datum::byte_len).fold(0, usize::saturating_add),
            Datum::Optional(item) => item.as_ref().map_or(0, |item| item.byte_len()),
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

/// Computes the results of one op.
pub type Kernel = fn(&Call<'_>) -> Result<Vec<Datum>, Fault>;

/// One line of a table of kernels: domain (`onnx` for ONNX's own), operator, kernel.
pub type Entry = (&'static str, &'static str, Kernel);

/// Tables of kernels, one per family of operators.
#[rustfmt::skip]
const FAMILIES: &[&[Entry]] = &[
    attention::KERNELS,
    axiswise::KERNELS,
    binary::KERNELS,
    cast::KERNELS,
    control::KERNELS,
    conv::KERNELS,
    detect::KERNELS,
    fused::KERNELS,
    generate::KERNELS,
    grid::KERNELS,
    matmul::KERNELS,
    microsoft::KERNELS,
    movement::KERNELS,
    norm::KERNELS,
    pool::KERNELS,
    quantize::KERNELS,
    reduce::KERNELS,
    resize::KERNELS,
    rnn::KERNELS,
    scatter::KERNELS,
    sequence::KERNELS,
    softmax::KERNELS,
    sort::KERNELS,
    space::KERNELS,
    strings::KERNELS,
    unary::KERNELS,
];

/// The kernel of an operator, if it is claimed.
pub fn kernel(domain: &str, op: &str) -> Option<Kernel> {
    static TABLE: OnceLock<HashMap<(&'static str, &'static str), Kernel>> = OnceLock::new();
    TABLE
        .get_or_init(|| FAMILIES.iter().flat_map(|f| f.iter().map(|&(d, o, k)| ((d, o), k))).collect())
        .get(&(domain, op))
        .copied()
}

/// Every claimed operator as (domain, operator), sorted.
pub fn claimed() -> Vec<(&'static str, &'static str)> {
    let mut names: Vec<_> = FAMILIES.iter().flat_map(|f| f.iter().map(|&(d, o, _)| (d, o))).collect();
    names.sort_unstable();
    names
}

/// Bounds of one run, so that no model can take the machine down.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all values that are alive at one time, constants and kernels' scratch not counted.
    pub bytes: usize,
    /// Ops run and regions entered, each iteration of a loop counted.
    pub steps: u64,
}

impl Default for Limits {
    /// 4 GiB and 100 million steps.
    fn default() -> Self {
        Limits { bytes: 4 << 30, steps: 100_000_000 }
    }
}

/// Runs the graph: inputs in the order of the body's inputs (those with a default may be missing at the end). A search space
/// runs when all its parameters are bound.
///
/// # Errors
/// `interp-unsupported` for an operator that is not claimed and for a parameter that is not bound, `interp-limit` beyond [`Limits::default`], `interp-failed`
/// where operands do not fit their operator; each located at the op.
pub fn run(graph: &Graph, inputs: &[Datum]) -> Result<Vec<Datum>, Diagnostic> {
    observe(graph, inputs, Limits::default(), &mut |_, _| {})
}

/// As [`run`], and returns the values of `keep` too (those of nested regions: of the last time they were made; `None` where
/// they were not). Values of quantized types are as they are stored.
pub fn run_all(graph: &Graph, inputs: &[Datum], keep: &[ValueId]) -> Result<(Vec<Datum>, Vec<Option<Datum>>), Diagnostic> {
    let places: HashMap<ValueId, usize> = keep.iter().enumerate().map(|(i, &v)| (v, i)).collect();
    let mut kept: Vec<Option<Datum>> = keep.iter().map(|&v| graph.const_of(v).cloned().map(Datum::Tensor)).collect();
    let results = observe(graph, inputs, Limits::default(), &mut |value, datum| {
        if let Some(&place) = places.get(&value) {
            kept[place] = Some(datum.clone());
        }
    })?;
    let kept = keep.iter().map(|v| kept[places[v]].clone()).collect();
    Ok((results, kept))
}

/// As [`run`] within given bounds, and shows every value to `observer` when it is made: calibration sees all of them
/// without holding them.
pub fn observe(
    graph: &Graph,
    inputs: &[Datum],
    limits: Limits,
    observer: &mut dyn FnMut(ValueId, &Datum),
) -> Result<Vec<Datum>, Diagnostic> {
    let observer = RefCell::new(observer);
    engine::run_body(graph, inputs, limits, &|value, datum| (observer.borrow_mut())(value, datum))
}
