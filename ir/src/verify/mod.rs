//! The verifier.

use crate::diagnostic::Diagnostic;
use crate::graph::Graph;

/// How far a graph has come. Passes declare what they accept and what they leave; the manager checks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Form {
    /// Well-formed, nothing more.
    Any,
    /// May hold parameters and choices.
    Space,
    /// No `space.*` op and no parameter anywhere.
    Concrete,
    /// Concrete, and types say how numbers are stored.
    Quantized,
}

/// Checks a graph against the laws of a form; empty when it keeps them all.
pub fn verify(graph: &Graph, form: Form) -> Vec<Diagnostic> {
    let _ = (graph, form);
    Vec::new()
}
