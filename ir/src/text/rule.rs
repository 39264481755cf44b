//! A rewrite rule as it is written: a pattern is a graph, and what takes its place is a region inside it.
//!
//! ```text
//! /// relu(relu(x)) = relu(x)
//! rule relu-of-relu : exact {
//!   match {
//!     %a = onnx.Relu %x
//!     %b = onnx.Relu %a
//!   }
//!   where alike(%a, %b)
//!   replace %b {
//!     yield %a
//!   }
//! }
//! ```
//!
//! Values that `match` does not make are holes: inputs of the graph. What `replace` says is the last op of the graph,
//! [`REPLACE`], whose operands are the values that are replaced and whose region makes what replaces them. Attributes may be
//! expressions over `$names`, which the pattern binds. Three things can be said in rules alone: `..%xs` for the remaining
//! operands of an op, `..$rest` for its remaining attributes, and `like %x` for a result that is stored as `%x` is.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{Graph, Loc, OpId, RegionId, ValueId};
use crate::space::Expr;
use crate::types::Symbol;

/// Domain and name of the last op of a rule's graph.
pub const REPLACE: (&str, &str) = ("rule", "replace");

/// A rule as it is written.
#[derive(Clone, Debug)]
pub struct RuleText {
    /// Name.
    pub name: Symbol,
    /// The comment above it, which states its equation.
    pub doc: String,
    /// What it may do to the numbers, as a word.
    pub effect: Symbol,
    /// Pattern, and as its last op what takes its place.
    pub graph: Graph,
    /// What graphs do not say.
    pub marks: Marks,
    /// Conditions, all of which must hold.
    pub guards: Vec<GuardText>,
    /// Where it stands.
    pub loc: Loc,
}

impl RuleText {
    /// Ops of the pattern, in order.
    pub fn pattern(&self) -> Vec<OpId> {
        let mut ops: Vec<OpId> = self.graph.ops_in(self.graph.body()).collect();
        ops.pop();
        ops
    }

    /// Values of the pattern that are replaced.
    pub fn replaced(&self) -> Vec<ValueId> {
        self.last().map(|op| self.graph.op(op).operands().iter().flatten().copied().collect()).unwrap_or_default()
    }

    /// The region that makes what replaces them.
    pub fn replacement(&self) -> Option<RegionId> {
        self.graph.op(self.last()?).regions().first().map(|(_, region)| *region)
    }

    fn last(&self) -> Option<OpId> {
        self.graph.ops_in(self.graph.body()).last()
    }
}

/// What can be said of ops in rules alone.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Marks {
    /// Operands that stand for all remaining ones (`..%xs`).
    pub spread: BTreeSet<(OpId, u32)>,
    /// Names for the remaining attributes (`..$rest`).
    pub rest: BTreeMap<OpId, Symbol>,
    /// Values whose numbers are stored as others' are (`like %x`).
    pub like: BTreeMap<OpId, ValueId>,
}

/// A condition: its name and what it is asked about.
#[derive(Clone, Debug)]
pub struct GuardText {
    /// Name.
    pub name: Symbol,
    /// Arguments.
    pub arguments: Vec<Argument>,
    /// Where it stands.
    pub loc: Loc,
}

/// What a condition is asked about.
#[derive(Clone, PartialEq, Debug)]
pub enum Argument {
    /// A value of the pattern.
    Value(ValueId),
    /// Numbers, names of attributes that were bound, words.
    Expr(Expr),
}
