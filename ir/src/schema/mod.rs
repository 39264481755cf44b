//! What is known about operators: inputs, outputs, attributes and types of every ONNX operator in
//! every version, and of ONNX Runtime's `com.microsoft` operators.
//!
//! The knowledge is the text `operators.txt`, which `generate.py` writes from the installed
//! packages. Start-up finds only where each operator stands in it; an operator is read when it is
//! first asked for. An operator that is not in the table is no error anywhere.

mod elements;
mod op;
mod parse;
mod table;
#[cfg(test)]
mod tests;

pub use elements::{ELEMENTS, ElementSet, TypeSet};
pub use op::{Arity, AttrDefault, AttrKind, AttrSpec, OpSchema, Port, PortType, TypeConstraint};

use table::{canonical, table};

/// The schema that a model importing `domain` at version `opset` means by `op`: the newest one
/// whose `since` is not above `opset`. The domains `""`, `"ai.onnx"` and `"onnx"` are the same.
pub fn lookup(domain: &str, op: &str, opset: u64) -> Option<&'static OpSchema> {
    table().lookup(domain, op, opset)
}

/// The versions of its domain at which an operator came or changed, oldest first; empty if it is not known.
pub fn since_versions(domain: &str, op: &str) -> Vec<u64> {
    table().since_versions(domain, op)
}

/// The domains in the table, sorted; the ONNX default domain is `""`.
pub fn known_domains() -> impl Iterator<Item = &'static str> {
    table().domains.iter().map(|&(name, _)| name)
}

/// Every operator version in the table, sorted by domain, name and version.
pub fn operators() -> impl Iterator<Item = &'static OpSchema> {
    table().all().filter_map(|schema| schema.as_ref().ok())
}

/// Oldest version of ONNX's default operator set that the project reads: from 7 on, operators broadcast and normalize as
/// today's do.
pub const OLDEST_OPSET: u64 = 7;

/// The newest version of a domain that the table knows; 0 if it does not know the domain.
pub fn latest_opset(domain: &str) -> u64 {
    let wanted = canonical(domain);
    table().domains.iter().find(|(name, _)| *name == wanted).map_or(0, |&(_, version)| version)
}
