//! Expressions whose parameters are still open: putting expressions in for names, computing what can be computed already, and
//! the largest and smallest number that one can come to. From the latter follows how large the weights of a space are stored.

use std::collections::BTreeMap;

use crate::bind::{Unresolved, round8, whole};
use crate::space::{Expr, Item, SpaceTable};
use crate::types::Symbol;

type Resolved<T> = Result<T, Unresolved>;

fn failed<T>(why: impl Into<String>) -> Resolved<T> {
    Err(Unresolved::Failed(why.into()))
}

/// Parts that one expression may have after substitution: names that stand for sums of names double with every `let`.
const MAX_PARTS: usize = 500;

impl Expr {
    /// How many numbers, names and functions it is made of.
    pub fn parts(&self) -> usize {
        match self {
            Expr::Call(_, args) => 1 + args.iter().map(Expr::parts).sum::<usize>(),
            Expr::Element(_, index) => 1 + index.parts(),
            _ => 1,
        }
    }

    /// The expression with others in the place of names; names that `names` does not know stay.
    ///
    /// # Errors
    /// It would have more than five hundred parts.
    pub fn with(&self, names: &BTreeMap<Symbol, Expr>) -> Resolved<Expr> {
        let mut left = MAX_PARTS;
        self.with_within(names, &mut left)
    }

    fn with_within(&self, names: &BTreeMap<Symbol, Expr>, left: &mut usize) -> Resolved<Expr> {
        let new = match self {
            Expr::Name(name) if names.contains_key(name) => names[name].clone(),
            Expr::Element(name, index) => Expr::Element(name.clone(), Box::new(index.with_within(names, left)?)),
            Expr::Call(name, args) => {
                let args = args.iter().map(|arg| arg.with_within(names, left)).collect::<Resolved<_>>()?;
                Expr::Call(name.clone(), args)
            }
            other => other.clone(),
        };
        let size = if matches!(self, Expr::Name(_)) { new.parts() } else { 1 };
        *left = match left.checked_sub(size) {
            Some(left) => left,
            None => return failed(format!("an expression of more than {MAX_PARTS} parts")),
        };
        Ok(new)
    }

    /// The expression of one round of `space.Repeat`, counted from 0: `$i` is the round, `first(a, b)` one of both.
    pub fn in_round(&self, round: u32) -> Expr {
        match self {
            Expr::Param(name) if &**name == "i" => Expr::Int(round.into()),
            Expr::Element(name, index) => Expr::Element(name.clone(), Box::new(index.in_round(round))),
            Expr::Call(name, args) if &**name == "first" && args.len() == 2 => args[usize::from(round > 0)].in_round(round),
            Expr::Call(name, args) => Expr::Call(name.clone(), args.iter().map(|arg| arg.in_round(round)).collect()),
            other => other.clone(),
        }
    }
}

impl From<Item> for Expr {
    fn from(item: Item) -> Expr {
        match item {
            Item::Int(n) => Expr::Int(n),
            Item::Float(x) => Expr::Float(x),
            Item::Word(word) => Expr::Name(word),
            Item::List(_) => Expr::Name("list".into()),
        }
    }
}

impl SpaceTable {
    /// The expression with its computable parts computed: what is bound becomes a number or a word.
    ///
    /// # Errors
    /// A part can never be computed: a division by nothing, a word in a sum.
    pub fn fold(&self, expr: &Expr) -> Resolved<Expr> {
        match self.value(expr) {
            Ok(value) => return Ok(value.into()),
            Err(Unresolved::Failed(why)) if !matches!(expr, Expr::Call(..)) => return failed(why),
            Err(_) => {}
        }
        let Expr::Call(name, args) = expr else {
            return Ok(match expr {
                Expr::Element(name, index) => Expr::Element(name.clone(), Box::new(self.fold(index)?)),
                other => other.clone(),
            });
        };
        let args = args.iter().map(|arg| self.fold(arg)).collect::<Resolved<Vec<Expr>>>()?;
        Ok(match (&**name, &args[..]) {
            ("equal", [a, b]) => match self.equal(a, b)? {
                Some(known) => Expr::Int(known.into()),
                None => Expr::Call(name.clone(), args),
            },
            ("select", [Expr::Int(n), rest @ ..]) => match usize::try_from(*n).ok().and_then(|n| rest.get(n)) {
                Some(chosen) => chosen.clone(),
                None => return failed(format!("{expr}: {n} chooses none of {}", rest.len())),
            },
            ("div", [a, b]) if a == b => Expr::Int(1),
            ("mul", [Expr::Int(1), other] | [other, Expr::Int(1)]) | ("div", [other, Expr::Int(1)]) => other.clone(),
            ("add", [Expr::Int(0), other] | [other, Expr::Int(0)]) | ("sub", [other, Expr::Int(0)]) => other.clone(),
            _ => {
                let new = Expr::Call(name.clone(), args);
                match self.value(&new) {
                    Ok(value) => value.into(),
                    Err(Unresolved::Failed(why)) => return failed(why),
                    Err(_) => new,
                }
            }
        })
    }

    /// Whether two folded expressions are equal: `None` where that depends on what is open.
    ///
    /// # Errors
    /// One of them is neither number nor word.
    pub fn equal(&self, a: &Expr, b: &Expr) -> Resolved<Option<bool>> {
        if a == b {
            return Ok(Some(true));
        }
        let closed = |e: &Expr| match e {
            Expr::Name(word) => Some(Item::Word(word.clone())),
            other => self.value(other).ok(),
        };
        if let (Some(a), Some(b)) = (closed(a), closed(b)) {
            return Ok(Some(a.same(&b)));
        }
        let (Ok(a), Ok(b)) = (self.bounds(a), self.bounds(b)) else { return Ok(None) };
        Ok(if a.1 < b.0 || b.1 < a.0 { Some(false) } else { None })
    }

    /// Numbers between which an expression stays, whatever the values are that its open parameters take.
    ///
    /// # Errors
    /// It depends on words or named dims, or a part can never be computed.
    pub fn bounds(&self, expr: &Expr) -> Resolved<(f64, f64)> {
        if let Some(x) = self.value(expr).ok().and_then(|value| value.number()) {
            return Ok((x, x));
        }
        let (name, args) = match expr {
            Expr::Param(name) | Expr::Element(name, _) => {
                let Some(param) = self.param(name) else { return failed(format!("${name} is not declared")) };
                if let (Some(bind), Expr::Element(_, index)) = (self.binds.get(name), expr) {
                    return self.bounds_of_list(&bind.value, index);
                }
                return self.bounds_of(&param.domain);
            }
            Expr::Call(name, args) => (&**name, args),
            Expr::Name(name) => return Err(Unresolved::Named(name.clone())),
            Expr::Int(_) | Expr::Float(_) => return failed(format!("{expr} is no number")),
        };
        if name == "equal" {
            return Ok((0.0, 1.0));
        }
        if name == "select" {
            let chosen = args.get(1..).unwrap_or_default().iter().map(|arg| self.bounds(arg));
            return hull(chosen.collect::<Resolved<Vec<_>>>()?);
        }
        let args = args.iter().map(|arg| self.bounds(arg)).collect::<Resolved<Vec<_>>>()?;
        let ends = |f: fn(f64, f64) -> f64| match args[..] {
            [a, b] => hull([f(a.0, b.0), f(a.0, b.1), f(a.1, b.0), f(a.1, b.1)].map(|x| (x, x)).to_vec()),
            _ => failed(format!("{expr}: {name} takes 2 numbers")),
        };
        let rising = |f: fn(f64) -> f64| match args[..] {
            [a] => hull(vec![(f(a.0), f(a.1))]),
            _ => failed(format!("{expr}: {name} takes 1 number")),
        };
        match name {
            "add" => ends(|a, b| a + b),
            "sub" => ends(|a, b| a - b),
            "mul" => ends(|a, b| a * b),
            "div" if args.get(1).is_some_and(|b| b.0 <= 0.0 && b.1 >= 0.0) => failed(format!("{expr} may divide by 0")),
            "div" => ends(|a, b| a / b),
            "min" => ends(f64::min),
            "max" => ends(f64::max),
            "floor" => rising(f64::floor),
            "ceil" => rising(f64::ceil),
            "round8" => rising(round8),
            _ => failed(format!("{expr}: there is no function {name}")),
        }
    }

    fn bounds_of_list(&self, value: &Item, index: &Expr) -> Resolved<(f64, f64)> {
        let Item::List(items) = value else { return failed(format!("{value} is no list")) };
        let (low, high) = self.bounds(index)?;
        let at = |x: f64| whole(&Item::Float(x)).and_then(|n| usize::try_from(n).ok());
        let within = match (at(low), at(high)) {
            (Some(low), Some(high)) => items.get(low..items.len().min(high.saturating_add(1))).unwrap_or_default(),
            _ => &[],
        };
        hull(within.iter().filter_map(|item| item.number().map(|x| (x, x))).collect())
    }

    /// The largest whole number that an expression can come to: how large a weight is stored.
    ///
    /// # Errors
    /// As [`SpaceTable::bounds`]; or it is negative, or more than 2^24.
    pub fn largest(&self, expr: &Expr) -> Resolved<u64> {
        let (_, high) = self.bounds(expr)?;
        let high = high.floor();
        if (0.0..=16_777_216.0).contains(&high) { Ok(high as u64) } else { failed(format!("{expr} can be {high}")) }
    }
}

/// The smallest interval that holds all of these.
fn hull(of: Vec<(f64, f64)>) -> Resolved<(f64, f64)> {
    let both = of.into_iter().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    match both {
        Some((low, high)) if low.is_finite() && high.is_finite() => Ok((low, high)),
        _ => failed("a number without bounds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
let kernels = {plain: {3, 5}, wide: {3, 7}}
param $block in {plain, wide}
param $start in 0..1
param $d in 2..3
param $w[3] in window({16, 24, 40}, size 2, at $start)
param $k in by $block kernels
";

    /// The table of a page with more lines, and an expression of it.
    fn table(lines: &str, expr: &str) -> (SpaceTable, Expr) {
        let graph = format!("graph @main(%x: f32[expr({expr})]) {{\n  return %x\n}}\n");
        let text = format!("{PAGE}{lines}{graph}");
        let graph = crate::text::parse(&text, "-", &crate::text::NoBlobs).into_result().expect("a page");
        let input = graph.region(graph.body()).inputs()[0];
        match &graph.value(input).ty().tensor().and_then(|t| t.shape.clone()).expect("a shape")[0] {
            crate::types::Dim::Expr(expr) => (graph.space.clone(), (**expr).clone()),
            other => panic!("{other} is no expression"),
        }
    }

    #[test]
    fn bounds_hold_whatever_is_open() {
        for (lines, expr, expected) in [
            ("", "$w[0]", (16.0, 40.0)),
            ("bind $start = 1\n", "$w[0]", (24.0, 40.0)),
            ("bind $start = 0\n", "round8($w[1] * 3 / 4)", (16.0, 24.0)),
            ("bind $w = [16, 24]\n", "$w[$d - 2]", (16.0, 24.0)),
            ("", "$k - $d", (0.0, 5.0)),
            ("bind $block = plain\n", "$k - $d", (0.0, 3.0)),
            ("", "select($d - 2, 8, $w[0])", (8.0, 40.0)),
            ("", "equal($d, 2) * 5", (0.0, 5.0)),
        ] {
            let (table, expr) = table(lines, expr);
            assert_eq!(table.bounds(&expr), Ok(expected), "{lines}{expr}");
        }
        let (unbounded, expr) = table("", "8 / ($d - 2)");
        assert!(unbounded.bounds(&expr).is_err());
    }

    #[test]
    fn what_is_known_is_folded() {
        for (lines, expr, expected) in [
            ("bind $d = 3\n", "$d * $w[$d - 1]", "3 * $w[2]"),
            ("", "$w[0] / $w[0] * $d", "$d"),
            ("", "equal($d, 4) + equal($w[0], $w[0])", "1"),
            ("", "equal($d, 3) + 0", "equal($d, 3)"),
            ("bind $d = 2\n", "select($d - 1, 8, $w[0])", "$w[0]"),
        ] {
            let (table, expr) = table(lines, expr);
            assert_eq!(table.fold(&expr).expect("sound").to_string(), expected, "{lines}{expr}");
        }
        let (table, expr) = table("", "$w[$i] + first(2, 1)");
        assert_eq!(table.fold(&expr.in_round(0)).expect("sound").to_string(), "$w[0] + 2");
        assert_eq!(table.fold(&expr.in_round(2)).expect("sound").to_string(), "$w[2] + 1");
    }

    #[test]
    fn domains_follow_what_is_bound() {
        let holds = |lines: &str, name: &str, item: Item| {
            let (table, _) = table(lines, "1");
            table.holds(&table.param(name).expect("declared").domain, &item)
        };
        assert_eq!(holds("bind $start = 1\n", "w", Item::Int(16)), Ok(false));
        assert_eq!(holds("bind $start = 1\n", "w", Item::Int(40)), Ok(true));
        assert_eq!(holds("bind $block = wide\n", "k", Item::Float(7.0)), Ok(true));
        assert_eq!(holds("bind $block = plain\n", "k", Item::Int(7)), Ok(false));
        assert_eq!(holds("", "k", Item::Int(7)), Err(Unresolved::Unbound("block".into())));
        let (table, _) = table("", "1");
        let misfit = |value| table.misfit(table.param("d").expect("declared"), &value).expect("closed");
        assert_eq!(misfit(Item::Int(3)), None);
        assert_eq!(misfit(Item::List(vec![Item::Int(3)])).as_deref(), Some("$d is bound to a list, but it is one value"));
    }
}
