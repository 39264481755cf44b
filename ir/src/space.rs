//! Search parameters: what makes a graph a *space*. A `param` has a domain, a `bind` chooses from it, an [`Expr`] uses it;
//! what it comes to under a binding is in [`crate::bind`], which values a domain holds in [`crate::domain`].

use std::collections::BTreeMap;

use crate::block::Block;
use crate::graph::Loc;
use crate::types::Symbol;

/// Parameters of a space, in order of declaration, and the values bound so far.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SpaceTable {
    /// Declared parameters.
    pub params: Vec<Param>,
    /// Chosen values by parameter name.
    pub binds: BTreeMap<Symbol, Bind>,
    /// Domains with a name.
    pub lets: Vec<Let>,
    /// Named blocks.
    pub blocks: Vec<Block>,
    /// Texts whose `let` and `block` lines count as if they stood here.
    pub imports: Vec<Symbol>,
}

impl SpaceTable {
    /// The parameter of that name.
    pub fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|p| &*p.name == name)
    }

    /// The block of that name.
    pub fn block(&self, name: &str) -> Option<&Block> {
        self.blocks.iter().find(|b| &*b.name == name)
    }

    /// The named domain.
    pub fn named(&self, name: &str) -> Option<&Domain> {
        self.lets.iter().find(|l| &*l.name == name).map(|l| &l.domain)
    }
}

/// A domain with a name (`let kernels = {3, 5, 7}`).
#[derive(Clone, PartialEq, Debug)]
pub struct Let {
    /// Its name.
    pub name: Symbol,
    /// What it stands for.
    pub domain: Domain,
    /// Where it is given.
    pub loc: Loc,
    /// The text that it was imported from.
    pub import: Option<Symbol>,
}

/// A search parameter (`param $w in 16..32 step 8`), or a list of them (`param $k[4] in {3, 5}`).
#[derive(Clone, PartialEq, Debug)]
pub struct Param {
    /// Name without the `$`.
    pub name: Symbol,
    /// How many values it has: `None` is one value, not a list of one.
    pub count: Option<u32>,
    /// Values it may take; of a list, each of its values.
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
    /// `kernels`: the domain that a `let` gives this name.
    Named(Symbol),
    /// `window(32..64 step 16, size 2, at $start)`: `size` neighbours of the values of a domain, the first of them at the
    /// position that a parameter says.
    Window {
        /// Values in order.
        of: Box<Domain>,
        /// How many of them are in the window.
        size: u32,
        /// The parameter that says where the window begins, from 0.
        at: Symbol,
    },
    /// `by $block {plain: {3}, wide: {3, 5}}`: the domain depends on a parameter.
    By {
        /// The parameter.
        param: Symbol,
        /// [`Domain::Cases`], or the name of some.
        of: Box<Domain>,
    },
    /// `{plain: {3}, wide: {3, 5}}`: a domain for each value of a parameter; stands behind `by` or in a `let`.
    Cases(Vec<(Symbol, Domain)>),
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
    /// The values of a parameter that is a list: `[48, 32]`.
    List(Vec<Item>),
}

impl Item {
    /// True for the same value; `1` and `1.0` are.
    pub fn same(&self, other: &Item) -> bool {
        match (self, other) {
            (Item::Int(n), Item::Float(x)) | (Item::Float(x), Item::Int(n)) => *x == *n as f64,
            (one, other) => one == other,
        }
    }

    /// What a command line means by these characters: a number, or else a word.
    pub fn from_text(text: &str) -> Item {
        let float = text.parse().ok().filter(|_| !text.starts_with(char::is_alphabetic));
        text.parse().map(Item::Int).ok().or(float.map(Item::Float)).unwrap_or_else(|| Item::Word(text.into()))
    }

    /// As a case or a label spells it: words without quotes.
    pub fn text(&self) -> Symbol {
        match self {
            Item::Word(word) => word.clone(),
            other => other.to_string().into(),
        }
    }

    /// The number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Item::Int(n) => Some(*n as f64),
            Item::Float(x) => Some(*x),
            Item::Word(_) | Item::List(_) => None,
        }
    }
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
    /// One value of a parameter that is a list, counted from 0: `$w[2]`.
    Element(Symbol, Box<Expr>),
    /// A named dim; in a block also one of its parameters, a `let`, or a plain word.
    Name(Symbol),
    /// `+ - * /` (named `add sub mul div`) or one of `round8`, `min`, `max`, `floor`, `ceil`, `equal` (1 or 0) and `select`
    /// (`select(1, a, b)` is `b`); in `space.Repeat` also `first(a, b)`, which is `a` for the first round.
    Call(Symbol, Vec<Expr>),
}
