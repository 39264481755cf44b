//! What parameters stand for once they are bound: values of expressions, extents of types, attributes, windows of crops.
//!
//! The pass `specialize` writes these values into a graph; the interpreter runs a space with them in place.

use std::fmt;
use std::sync::Arc;

use crate::attr::Attr;
use crate::graph::{Graph, Op, OpId, SPACE};
use crate::schema::{self, AttrKind};
use crate::space::{Expr, Item, SpaceTable};
use crate::tensor::Tensor;
use crate::text::list_of;
use crate::types::{Dim, Symbol, Type};

/// Why an expression has no value.
#[derive(Clone, PartialEq, Debug)]
pub enum Unresolved {
    /// It uses a parameter that is not bound.
    Unbound(Symbol),
    /// It uses a named dim, whose extent only the input of a run tells.
    Named(Symbol),
    /// It cannot be computed, or gives what its place cannot take.
    Failed(String),
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unresolved::Unbound(name) => write!(f, "${name} has no value"),
            Unresolved::Named(name) => write!(f, "the extent of the dim {name} is not known"),
            Unresolved::Failed(why) => f.write_str(why),
        }
    }
}

type Resolved<T> = Result<T, Unresolved>;

fn failed<T>(why: impl Into<String>) -> Resolved<T> {
    Err(Unresolved::Failed(why.into()))
}

/// Functions of expressions beside `+ - * /`, which are called `add`, `sub`, `mul` and `div`.
const FUNCTIONS: &str = "round8, min, max, floor, ceil, equal, select";

impl SpaceTable {
    /// The value of an expression. Sums, differences, products, `min` and `max` of integers are integers, and so is a
    /// quotient without rest; all else is a number with a point.
    pub fn value(&self, expr: &Expr) -> Resolved<Item> {
        match expr {
            Expr::Int(n) => Ok(Item::Int(*n)),
            Expr::Float(x) => Ok(Item::Float(*x)),
            Expr::Name(name) => Err(Unresolved::Named(name.clone())),
            Expr::Param(name) => match self.binds.get(name).map(|bind| &bind.value) {
                Some(Item::List(_)) => failed(format!("${name} is a list: say which of its values, ${name}[0]")),
                Some(value) => Ok(value.clone()),
                None => Err(Unresolved::Unbound(name.clone())),
            },
            Expr::Element(name, index) => self.element(name, index),
            Expr::Call(name, args) if &**name == "select" => {
                let (first, rest) = args.split_first().ok_or_else(|| Unresolved::Failed("select takes a number".into()))?;
                let which = whole(&self.value(first)?).and_then(|n| usize::try_from(n).ok());
                match which.and_then(|which| rest.get(which)) {
                    Some(chosen) => self.value(chosen),
                    None => failed(format!("{expr}: {first} chooses none of {}", rest.len())),
                }
            }
            Expr::Call(name, args) => {
                let args = args.iter().map(|arg| self.value(arg)).collect::<Resolved<Vec<Item>>>()?;
                call(name, &args).map_err(|why| Unresolved::Failed(format!("{expr}: {why}")))
            }
        }
    }

    /// `$name[index]`
    fn element(&self, name: &Symbol, index: &Expr) -> Resolved<Item> {
        let at = self.value(index)?;
        let Some(at) = whole(&at).and_then(|n| usize::try_from(n).ok()) else {
            return failed(format!("${name}[{at}] is no value of a list"));
        };
        match self.binds.get(name).map(|bind| &bind.value) {
            Some(Item::List(items)) => match items.get(at) {
                Some(item) => Ok(item.clone()),
                None => Err(Unresolved::Unbound(format!("{name}[{at}]").into())),
            },
            Some(_) => failed(format!("${name} is no list")),
            None => Err(Unresolved::Unbound(name.clone())),
        }
    }

    /// The value of an expression as an extent.
    pub fn extent(&self, expr: &Expr) -> Resolved<u64> {
        let value = self.value(expr)?;
        match whole(&value).and_then(|n| u64::try_from(n).ok()) {
            Some(extent) => Ok(extent),
            None => failed(format!("{expr} is {value}, which is no extent")),
        }
    }

    /// A type with values for its expressions; `None` when it holds none. What depends on named dims becomes an unknown
    /// extent, which shape inference fills in.
    pub fn bound_type(&self, ty: &Type) -> Resolved<Option<Type>> {
        let mut bound = ty.clone();
        let mut at = &mut bound;
        let shape = loop {
            match at {
                Type::Tensor(t) | Type::Sparse(t) => break &mut t.shape,
                Type::Sequence(inner) | Type::Optional(inner) | Type::Map(_, inner) => at = inner,
                Type::Unknown => return Ok(None),
            }
        };
        let mut elastic = false;
        for dim in shape.iter_mut().flatten() {
            if let Dim::Expr(expr) = dim {
                elastic = true;
                *dim = match self.extent(&Arc::clone(expr)) {
                    Ok(extent) => Dim::Known(extent),
                    Err(Unresolved::Named(_)) => Dim::Unknown,
                    Err(why) => return Err(why),
                };
            }
        }
        Ok(elastic.then_some(bound))
    }

    /// An attribute with values for its expressions; `None` when it holds none. `kind` is what the operator takes there.
    pub fn bound_attr(&self, attr: &Attr, kind: Option<AttrKind>) -> Resolved<Option<Attr>> {
        Ok(match attr {
            Attr::Expr(expr) => {
                let value = self.value(expr)?;
                let attr = plain(&value, kind);
                Some(attr.ok_or_else(|| Unresolved::Failed(format!("{expr} is {value}, which is no whole number")))?)
            }
            Attr::Type(ty) => self.bound_type(ty)?.map(Attr::Type),
            Attr::Types(types) => {
                let bound = types.iter().map(|ty| self.bound_type(ty)).collect::<Resolved<Vec<_>>>()?;
                let elastic = bound.iter().any(Option::is_some);
                let both = bound.into_iter().zip(types).map(|(new, old)| new.unwrap_or_else(|| old.clone()));
                elastic.then(|| Attr::Types(both.collect()))
            }
            Attr::List(items) => {
                let inner = match kind {
                    Some(AttrKind::Ints) => Some(AttrKind::Int),
                    Some(AttrKind::Floats) => Some(AttrKind::Float),
                    _ => None,
                };
                let bound = items.iter().map(|item| self.bound_attr(item, inner)).collect::<Resolved<Vec<_>>>()?;
                if bound.iter().all(Option::is_none) {
                    return Ok(None);
                }
                let mut items: Vec<Attr> =
                    bound.into_iter().zip(items).map(|(new, old)| new.unwrap_or_else(|| old.clone())).collect();
                if inner == Some(AttrKind::Float) || items.iter().any(|item| matches!(item, Attr::Float(_))) {
                    for item in &mut items {
                        if let Attr::Int(n) = item {
                            *item = Attr::Float(*n as f32);
                        }
                    }
                }
                Some(list_of(items))
            }
            _ => None,
        })
    }
}

/// The attributes of an op that hold expressions, with their values. Ops of the domain `space` are asked by [`picked`] and
/// [`crop`].
///
/// # Errors
/// The attribute's name, and why it has no value.
pub fn bound_attrs(graph: &Graph, op: OpId) -> Result<Vec<(Symbol, Attr)>, (Symbol, Unresolved)> {
    let op = graph.op(op);
    let name = op.name();
    let mut found = Vec::new();
    if &*name.domain == SPACE {
        return Ok(found);
    }
    let mut schema = None;
    for (key, attr) in op.attrs() {
        if !matches!(attr, Attr::Expr(_) | Attr::List(_) | Attr::Type(_) | Attr::Types(_)) {
            continue;
        }
        let schema = *schema.get_or_insert_with(|| {
            let opset = graph.opset_in(op.region(), &name.domain);
            schema::lookup(&name.domain, &name.op, opset.unwrap_or_else(|| schema::latest_opset(&name.domain)))
        });
        let kind = schema.and_then(|schema| Some(schema.attr(key)?.kind));
        match graph.space.bound_attr(attr, kind) {
            Ok(Some(bound)) => found.push((key.clone(), bound)),
            Ok(None) => {}
            Err(why) => return Err((key.clone(), why)),
        }
    }
    Ok(found)
}

/// The label of the option that a `space.Choice` picks.
pub fn picked(table: &SpaceTable, op: &Op) -> Resolved<Symbol> {
    match op.attrs().get("pick") {
        Some(Attr::Word(word)) => Ok(word.clone()),
        Some(Attr::Int(n)) => Ok(n.to_string().into()),
        Some(Attr::Str(bytes)) => Ok(String::from_utf8_lossy(bytes).into()),
        Some(Attr::Expr(expr)) => Ok(match table.value(expr)? {
            Item::Word(word) => word,
            number => number.to_string().into(),
        }),
        Some(other) => failed(format!("pick = {other} names no option")),
        None => failed("it has no attribute pick"),
    }
}

/// What a `space.Crop` leaves of a tensor: the first entries along the first two axes (channels), and, unless `keep` is
/// `leading`, the middle along the others (kernels; of an odd remainder the larger part goes at the end).
pub fn crop(table: &SpaceTable, op: &Op, tensor: &Tensor) -> Resolved<Tensor> {
    let to = op.attrs().get("to").ok_or_else(|| Unresolved::Failed("it has no attribute to".into()))?;
    let bound = table.bound_attr(to, Some(AttrKind::Ints))?;
    let Some(to) = bound.as_ref().unwrap_or(to).as_ints() else { return failed(format!("to = {to} is no list of extents")) };
    let keep = match op.attrs().get("keep") {
        None => Item::Word("centre".into()),
        Some(Attr::Word(word)) => Item::Word(word.clone()),
        Some(Attr::Expr(expr)) => table.value(expr)?,
        Some(other) => return failed(format!("keep = {other} must be centre or leading")),
    };
    let centred = match &keep {
        Item::Word(word) if &**word == "centre" => true,
        Item::Word(word) if &**word == "leading" => false,
        other => return failed(format!("keep = {other} must be centre or leading")),
    };
    let dims: Option<Vec<usize>> = to.iter().map(|&n| usize::try_from(n).ok()).collect();
    let from = tensor.dims();
    let Some(dims) = dims.filter(|to| to.len() == from.len() && to.iter().zip(from).all(|(to, from)| to <= from)) else {
        return failed(format!("{to:?} cannot be cropped out of {from:?}"));
    };
    let start = |(axis, (to, from)): (usize, (&usize, &usize))| if centred && axis > 1 { (from - to) / 2 } else { 0 };
    let starts: Vec<usize> = dims.iter().zip(from).enumerate().map(start).collect();
    match tensor.window(&starts, &dims) {
        Some(window) => Ok(window),
        None => failed(format!("{dims:?} cannot be cropped out of {from:?}")),
    }
}

/// A number without fraction as an integer.
pub(crate) fn whole(item: &Item) -> Option<i64> {
    match item {
        Item::Int(n) => Some(*n),
        // 2^53: up to there every whole number is a double.
        Item::Float(x) if x.fract() == 0.0 && x.abs() <= 9_007_199_254_740_992.0 => Some(*x as i64),
        Item::Float(_) | Item::Word(_) | Item::List(_) => None,
    }
}

/// A value as an attribute of the kind that the operator takes; a word becomes a string, as ONNX has no words. `None` for a
/// number with a fraction where the operator takes integers.
fn plain(item: &Item, kind: Option<AttrKind>) -> Option<Attr> {
    match (item, kind) {
        (Item::Int(n), Some(AttrKind::Float | AttrKind::Floats)) => Some(Attr::Float(*n as f32)),
        (Item::Float(_), Some(AttrKind::Int | AttrKind::Ints)) => whole(item).map(Attr::Int),
        (Item::Int(n), _) => Some(Attr::Int(*n)),
        (Item::Float(x), _) => Some(Attr::Float(*x as f32)),
        (Item::Word(word), _) => Some(Attr::text(word)),
        (Item::List(_), _) => None,
    }
}

/// The value of a function of values.
fn call(name: &str, args: &[Item]) -> Result<Item, String> {
    if let ("equal", [left, right]) = (name, args) {
        return Ok(Item::Int(left.same(right).into()));
    }
    if name == "first" {
        return Err("first has a meaning only in space.Repeat".to_owned());
    }
    let known = matches!(name, "add" | "sub" | "mul" | "div" | "min" | "max" | "round8" | "floor" | "ceil" | "equal");
    if !known {
        return Err(format!("there is no function {name}; there are {FUNCTIONS}"));
    }
    let unary = matches!(name, "round8" | "floor" | "ceil");
    let wanted = if unary { 1 } else { 2 };
    if args.len() != wanted {
        return Err(format!("{name} takes {wanted} number{}", if unary { "" } else { "s" }));
    }
    let number = |item: &Item| match item {
        Item::Int(n) => Ok(*n as f64),
        Item::Float(x) => Ok(*x),
        Item::Word(word) => Err(format!("{word} is no number")),
        Item::List(_) => Err("a list is no number".to_owned()),
    };
    let values = args.iter().map(number).collect::<Result<Vec<f64>, String>>()?;
    let (a, b) = (values[0], values.get(1).copied().unwrap_or_default());
    if let [Item::Int(a), Item::Int(b)] = *args {
        let exact = match name {
            "add" => a.checked_add(b),
            "sub" => a.checked_sub(b),
            "mul" => a.checked_mul(b),
            "min" => Some(a.min(b)),
            "max" => Some(a.max(b)),
            _ if b != 0 && a.checked_rem(b) == Some(0) => a.checked_div(b),
            _ => return finite(a as f64 / b as f64),
        };
        return exact.map(Item::Int).ok_or_else(|| "it does not fit 64 bits".to_owned());
    }
    let rounded = match name {
        "add" => return finite(a + b),
        "sub" => return finite(a - b),
        "mul" => return finite(a * b),
        "div" => return finite(a / b),
        "min" => return finite(a.min(b)),
        "max" => return finite(a.max(b)),
        "floor" => a.floor(),
        "ceil" => a.ceil(),
        _ => round8(a),
    };
    whole(&Item::Float(rounded)).map(Item::Int).ok_or_else(|| "it is too large".to_owned())
}

fn finite(x: f64) -> Result<Item, String> {
    if x.is_finite() { Ok(Item::Float(x)) } else { Err("it is not finite".to_owned()) }
}

/// The multiple of 8 nearest to `x`, halves upwards, at least 8, and the next one where that is less than 90 % of `x`: the
/// rule for widths of the MobileNets (`_make_divisible`).
pub(crate) fn round8(x: f64) -> f64 {
    let nearest = ((x / 8.0 + 0.5).floor() * 8.0).max(8.0);
    if nearest < 0.9 * x { nearest + 8.0 } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Loc;
    use crate::space::{Bind, Domain};

    fn value(text: &str) -> Resolved<Item> {
        let text = format!("graph @main(%x: f32[expr({text})]) {{\n  return %x\n}}\n");
        let graph = crate::text::parse(&text, "-", &crate::text::NoBlobs).into_result().expect("an expression");
        let mut table = SpaceTable::default();
        for (name, value) in [("w", Item::Int(24)), ("e", Item::Float(1.5)), ("block", Item::Word("plain".into()))] {
            table.binds.insert(name.into(), Bind { value, loc: Loc::Unknown });
        }
        let input = graph.region(graph.body()).inputs()[0];
        match &graph.value(input).ty().tensor().and_then(|t| t.shape.clone()).expect("a shape")[0] {
            Dim::Expr(expr) => table.value(expr),
            other => panic!("{other} is no expression"),
        }
    }

    #[test]
    fn expressions_have_the_values_that_they_read_as() {
        let whole = [
            ("$w", 24),
            ("$w + 2 * 4 - 1", 31),
            ("($w + 2) / 13", 2),
            ("min($w, 9) * max(2, 3)", 27),
            ("floor($w / 5)", 4),
            ("ceil($w / 5)", 5),
        ];
        for (text, expected) in whole {
            assert_eq!(value(text), Ok(Item::Int(expected)), "{text}");
        }
        assert_eq!(value("$w * $e"), Ok(Item::Float(36.0)));
        assert_eq!(value("$w / 5"), Ok(Item::Float(4.8)));
    }

    #[test]
    fn a_number_with_and_without_a_point_is_one_value() {
        let table = SpaceTable::default();
        let range = Domain::Range { low: 16, high: 32, step: 8 };
        let set = Domain::Set(vec![Item::Float(0.5), Item::Int(2), Item::Word("skip".into())]);
        for (domain, item, expected) in [
            (&range, Item::Int(24), true),
            (&range, Item::Float(24.0), true),
            (&range, Item::Float(24.5), false),
            (&range, Item::Int(20), false),
            (&range, Item::Float(f64::INFINITY), false),
            (&range, Item::Int(40), false),
            (&set, Item::Float(2.0), true),
            (&set, Item::Float(0.5), true),
            (&set, Item::Int(0), false),
            (&set, Item::Word("skip".into()), true),
            (&set, Item::Word("plain".into()), false),
        ] {
            assert_eq!(table.holds(domain, &item), Ok(expected), "{item} in {domain}");
        }
    }

    /// The examples of the published rule.
    #[test]
    fn widths_round_to_multiples_of_eight() {
        let cases = [(4, 8), (11, 16), (12, 16), (20, 24), (28, 32), (108, 112), (140, 144), (192, 192)];
        for (from, to) in cases {
            assert_eq!(value(&format!("round8({from})")), Ok(Item::Int(to)), "round8({from})");
        }
    }

    #[test]
    fn what_has_no_value_says_why() {
        let why = |text: &str| value(text).expect_err("no value").to_string();
        assert_eq!(why("$v + 1"), "$v has no value");
        assert_eq!(why("c * 2"), "the extent of the dim c is not known");
        assert_eq!(why("$w / 0"), "$w / 0: it is not finite");
        assert_eq!(why("9223372036854775807 + $w"), "9223372036854775807 + $w: it does not fit 64 bits");
        assert_eq!(why("$block * 2"), "$block * 2: plain is no number");
        assert_eq!(
            why("cos($w)"),
            "cos($w): there is no function cos; there are round8, min, max, floor, ceil, equal, select"
        );
        assert_eq!(why("min($w)"), "min($w): min takes 2 numbers");
    }
}
