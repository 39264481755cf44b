//! Blocks of search spaces: named pieces of a network with parameters, called like functions.
//!
//! A block has no weights and no ops of its own. `space.Call` and `space.Repeat` say with which parameters it stands where, and
//! the pass `unfold-space` writes it out there.

use crate::attr::Attrs;
use crate::graph::{Loc, OpName};
use crate::space::Expr;
use crate::types::{Symbol, Type};

/// A named block: `block @v2res(%x: f32[n,c,h,w], width, kernel = 3) { … }`.
#[derive(Clone, PartialEq, Debug)]
pub struct Block {
    /// Name without the `@`.
    pub name: Symbol,
    /// Values that it takes. Names in their types stand for the extents that come.
    pub inputs: Vec<(Symbol, Type)>,
    /// Parameters, with what they are when a call does not say.
    pub params: Vec<(Symbol, Option<Expr>)>,
    /// What it does, in order.
    pub steps: Vec<Step>,
    /// The value that it yields.
    pub result: Symbol,
    /// Where it is written.
    pub loc: Loc,
    /// The text that it was imported from.
    pub import: Option<Symbol>,
}

/// One line of a block.
#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    /// `let hidden = round8(expand * c)`
    Let {
        /// Its name.
        name: Symbol,
        /// What it stands for.
        value: Expr,
    },
    /// `%six = const 6.0`: a scalar of type f32.
    Const {
        /// The value that it makes.
        result: Symbol,
        /// The number.
        value: f32,
    },
    /// `%y = onnx.Add %a, %b if width = c`
    Op(BlockOp),
}

/// An op of a block.
#[derive(Clone, PartialEq, Debug)]
pub struct BlockOp {
    /// The value that it makes.
    pub result: Symbol,
    /// Operator; a call of another block is `space.Call` with the string `block`.
    pub name: OpName,
    /// Values that it reads.
    pub operands: Vec<Symbol>,
    /// Attributes. A word that is a parameter, a `let` or a named extent of the block stands for its value.
    pub attrs: Attrs,
    /// When it happens; when it does not, its result is its first operand.
    pub guard: Option<Guard>,
    /// Where it is written.
    pub loc: Loc,
}

/// When an op of a block happens: `if width = c and stride = 1`.
#[derive(Clone, PartialEq, Debug)]
pub struct Guard {
    /// `unless` instead of `if`.
    pub unless: bool,
    /// What must be equal, all of it.
    pub equal: Vec<(Expr, Expr)>,
}

impl Block {
    /// Names that stand for extents of inputs, and which input and axis they name.
    pub fn extents(&self) -> impl Iterator<Item = (&Symbol, usize, usize)> {
        self.inputs.iter().enumerate().flat_map(|(input, (_, ty))| {
            let shape = ty.tensor().and_then(|t| t.shape.as_ref());
            shape.into_iter().flatten().enumerate().filter_map(move |(axis, dim)| match dim {
                crate::types::Dim::Named(name) => Some((name, input, axis)),
                _ => None,
            })
        })
    }
}
