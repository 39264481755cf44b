//! The verifier: is the graph what its form says, and does every op keep what its operator demands?
//!
//! Operators and domains that the schema table does not know are taken as they are.

mod dominance;
mod form;
mod links;
mod op;
mod quant;
mod region;
mod types;

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::graph::{Def, Graph, Loc, OpId, User, ValueId};
use crate::text::{PrintOptions, print_with_notes};

pub use quant::bias_scale_fault;

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

/// A diagnostic and the op that it is about, where it is about one.
#[derive(Clone, PartialEq, Debug)]
pub struct Finding {
    /// The op.
    pub op: Option<OpId>,
    /// What is wrong with it.
    pub diagnostic: Diagnostic,
}

/// Checks a graph against the laws of a form; empty when it keeps them all.
pub fn verify(graph: &Graph, form: Form) -> Vec<Diagnostic> {
    findings(graph, form).into_iter().map(|finding| finding.diagnostic).collect()
}

/// As [`verify`], with the op that each diagnostic is about.
pub fn findings(graph: &Graph, form: Form) -> Vec<Finding> {
    let mut checker = Checker { graph, found: Vec::new() };
    if !checker.links() {
        // Nothing else can be said about a graph whose links lie.
        return checker.found;
    }
    checker.dominance();
    checker.values();
    for op in graph.all_ops() {
        checker.op(op);
        checker.regions(op);
        checker.bias_scale(op);
    }
    checker.form(form);
    checker.found
}

/// The graph as text with each diagnostic as a comment under the op it is about; those about no op come first.
pub fn annotate(graph: &Graph, diagnostics: &[Diagnostic]) -> String {
    // Several ops can have one location; a verifier's findings come in the order of ops, so the first one with it serves.
    let ops = graph.all_ops();
    let home = |d: &Diagnostic| ops.iter().copied().find(|&op| d.loc != Loc::Unknown && *graph.op(op).loc() == d.loc);
    annotate_findings(graph, diagnostics.iter().map(|d| Finding { op: home(d), diagnostic: d.clone() }).collect())
}

/// As [`annotate`], for what [`findings`] gave.
pub fn annotate_findings(graph: &Graph, findings: Vec<Finding>) -> String {
    let mut notes: BTreeMap<OpId, Vec<String>> = BTreeMap::new();
    let mut head = String::new();
    for Finding { op, diagnostic } in findings {
        match op.filter(|&op| graph.is_live(op)) {
            Some(op) => notes.entry(op).or_default().push(format!("^ {diagnostic}")),
            None => diagnostic.to_string().lines().for_each(|line| head.push_str(&format!("// {line}\n"))),
        }
    }
    head + &print_with_notes(graph, &PrintOptions::default(), &notes)
}

struct Checker<'g> {
    graph: &'g Graph,
    found: Vec<Finding>,
}

impl Checker<'_> {
    /// An error about an op: the operator's name comes before the message.
    fn at(&mut self, op: OpId, code: &'static str, message: String) {
        self.push(op, code, message, None);
    }

    /// As [`Checker::at`], with what to do.
    fn push(&mut self, op: OpId, code: &'static str, message: String, note: Option<String>) {
        let (name, loc) = (self.graph.op(op).name(), self.graph.op(op).loc().clone());
        let mut diagnostic = Diagnostic::error(code, loc, format!("{name}: {message}"));
        diagnostic.notes.extend(note);
        self.found.push(Finding { op: Some(op), diagnostic });
    }

    /// An error about a value: the op that makes it, or the first that reads it, is blamed.
    fn at_value(&mut self, value: ValueId, code: &'static str, message: String) {
        let graph = self.graph;
        let made_or_read = match graph.value(value).def() {
            Def::Op(op, _) => Some(op),
            _ => graph.value(value).users().iter().find_map(|u| if let User::Op(op, _) = u { Some(*op) } else { None }),
        };
        let loc = made_or_read.map_or(Loc::Unknown, |op| graph.op(op).loc().clone());
        let message = format!("{}: {message}", graph.label(value));
        self.found.push(Finding { op: made_or_read, diagnostic: Diagnostic::error(code, loc, message) });
    }

    /// An error about the graph as a whole.
    fn anywhere(&mut self, code: &'static str, message: String, note: Option<String>) {
        let mut diagnostic = Diagnostic::error(code, Loc::Unknown, message);
        diagnostic.notes.extend(note);
        self.found.push(Finding { op: None, diagnostic });
    }
}
