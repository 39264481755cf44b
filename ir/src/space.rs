//! Search parameters: what makes a graph a *space*. A `param` has a domain, a `bind` chooses from it, an [`Expr`] uses it;
//! what it comes to under a binding is in [`crate::bind`].

use std::collections::BTreeMap;

use crate::graph::Loc;
use crate::types::Symbol;

/// Parameters of a space, in order of declaration, and the values bound so far.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SpaceTable {
    /// Declared parameters.
    pub params: Vec<Param>,
    /// Chosen values by parameter name.
    pub binds: BTreeMap<Symbol, Bind>,
}

impl SpaceTable {
    /// The parameter of that name.
    pub fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|p| &*p.name == name)
    }
}

/// A search parameter (`param $w in 16..32 step 8`).
#[derive(Clone, PartialEq, Debug)]
pub struct Param {
    /// Name without the `$`.
    pub name: Symbol,
    /// Values it may take.
    pub domain: Domain,
    /// Where it is declared.
    pub loc: Loc,
}

/// A chosen value (`bind $w = 24`).
#[derive(Clone, PartialEq, Debug)]
pub struct Bind {
    /// The value.
    pub value: Item,
    /// Where it is chosen.
    pub loc: Loc,
}

/// Values that a parameter may take.
#[derive(Clone, PartialEq, Debug)]
pub enum Domain {
    /// `low..high step s`, both ends included.
    Range {
        /// First value.
        low: i64,
        /// Bound of the last value.
        high: i64,
        /// Positive step.
        step: i64,
    },
    /// `{3, 5}` or `{plain, skip}`.
    Set(Vec<Item>),
}

impl Domain {
    /// True when the value may be chosen; `1` and `1.0` are the same value.
    pub fn contains(&self, item: &Item) -> bool {
        match (self, item) {
            (Domain::Range { low, high, step }, Item::Int(n)) => {
                *step > 0 && low <= n && n <= high && (i128::from(*n) - i128::from(*low)) % i128::from(*step) == 0
            }
            (Domain::Range { .. }, Item::Float(x)) if x.fract() == 0.0 && x.abs() < 1e15 => {
                self.contains(&Item::Int(*x as i64))
            }
            (Domain::Range { .. }, _) => false,
            (Domain::Set(items), item) => items.iter().any(|known| match (known, item) {
                (Item::Int(n), Item::Float(x)) | (Item::Float(x), Item::Int(n)) => *x == *n as f64,
                (known, item) => known == item,
            }),
        }
    }
}

/// A value of a parameter.
#[derive(Clone, PartialEq, Debug)]
pub enum Item {
    /// An integer.
    Int(i64),
    /// A number with a point.
    Float(f64),
    /// A word, such as the name of an option.
    Word(Symbol),
}

/// A small integer expression over parameters and named dims: `round8($e * c)`.
#[derive(Clone, PartialEq, Debug)]
pub enum Expr {
    /// A literal.
    Int(i64),
    /// A literal with a point.
    Float(f64),
    /// `$name`.
    Param(Symbol),
    /// A named dim.
    Name(Symbol),
    /// `+ - * /` (named `add sub mul div`) or one of `round8`, `min`, `max`, `floor`, `ceil`.
    Call(Symbol, Vec<Expr>),
}
