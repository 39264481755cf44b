//! Shape and type inference: what every value of a graph is, as far as it can be known without running it.
//!
//! A rule knows one operator: from the types of the operands, the attributes, and what is known of small integer operands
//! (targets of `Reshape`, `pads`, `axes`) it tells the types of the results. Rules stand in tables, one file per family of
//! operators, as the kernels of the interpreter do. The [`engine`] walks the graph; [`known`] carries the integers along,
//! so that shape arithmetic resolves even where the batch is a symbol.
//!
//! Declared types win: inference fills in what they leave open, and reports where they cannot be true.

mod control;
mod conv;
mod dims;
mod elementwise;
mod engine;
mod generate;
mod index;
mod known;
mod matrix;
mod merge;
mod movement;
mod neural;
mod quant;
mod reduce;
mod resize;
mod rnn;
mod sequence;
mod site;
mod window;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::diagnostic::Diagnostic;
use crate::graph::{Graph, OpId};
use crate::interp::Fault;
use crate::types::Type;

use engine::Engine;
use site::Site;

pub use merge::merge;
pub(crate) use movement::taken;

/// Tells the types of the results of one op; fewer than it has, or [`Type::Unknown`], where nothing can be told.
type Rule = fn(&Site<'_>) -> Result<Vec<Type>, Fault>;

/// One line of a table of rules: domain (`onnx` for ONNX's own), operator, rule.
type Entry = (&'static str, &'static str, Rule);

/// Tables of rules, one per family of operators. Operators with regions stand in [`control::REGIONS`].
const FAMILIES: &[&[Entry]] = &[
    conv::RULES,
    elementwise::RULES,
    generate::RULES,
    index::RULES,
    matrix::RULES,
    movement::RULES,
    neural::RULES,
    quant::RULES,
    reduce::RULES,
    resize::RULES,
    rnn::RULES,
    sequence::RULES,
    window::RULES,
];

fn rule(domain: &str, op: &str) -> Option<Rule> {
    static TABLE: OnceLock<HashMap<(&'static str, &'static str), Rule>> = OnceLock::new();
    TABLE
        .get_or_init(|| FAMILIES.iter().flat_map(|f| f.iter().map(|&(d, o, r)| ((d, o), r))).collect())
        .get(&(domain, op))
        .copied()
}

/// Every operator that inference knows, as (domain, operator), sorted.
pub fn claimed() -> Vec<(&'static str, &'static str)> {
    let plain = FAMILIES.iter().flat_map(|f| f.iter().map(|&(d, o, _)| (d, o)));
    let mut names: Vec<_> = plain.chain(control::REGIONS.iter().map(|&(d, o, _)| (d, o))).collect();
    names.sort_unstable();
    names
}

/// Fills in the types of all values: of the body, and of everything nested in it. Bodies of functions stay untyped, as
/// they are in files, because one body serves calls of several types; calls themselves are typed through them.
///
/// Declared types are kept where they say as much or more. What cannot be true becomes a diagnostic: `shape-mismatch`
/// where a declared type contradicts what the op makes, `shape-invalid` where operands and attributes of an op cannot go
/// together. Inference goes on behind both.
pub fn infer(graph: &mut Graph) -> Vec<Diagnostic> {
    let mut engine = Engine::new(graph);
    engine.run();
    let (types, diagnostics) = engine.finish();
    for (value, ty) in types {
        graph.set_type(value, ty);
    }
    diagnostics
}

/// The types of the results of one op from the types that its operands have now: for passes, to type what they make.
///
/// An operator that inference does not know gives [`Type::Unknown`]. Results never carry quantization.
pub fn infer_op(graph: &Graph, op: OpId) -> Result<Vec<Type>, Fault> {
    Engine::new(graph).one(op)
}
