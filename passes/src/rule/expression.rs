//! Attributes of rules: what a pattern binds, and what is computed of it.

use std::collections::BTreeMap;

use spaceevo_ir::space::Expr;
use spaceevo_ir::{Attr, Symbol};

/// Lets the attribute of a pattern agree with that of an op: names that are not bound yet are bound. False when they differ.
pub(super) fn unify(pattern: &Attr, found: &Attr, bound: &mut BTreeMap<Symbol, Attr>) -> bool {
    match (pattern, found) {
        (Attr::Expr(Expr::Param(name)), _) => match bound.get(name) {
            Some(known) => known == found,
            None => {
                bound.insert(name.clone(), found.clone());
                true
            }
        },
        (Attr::Expr(expr), _) => eval(expr, bound).is_some_and(|value| value == *found),
        (Attr::List(items), Attr::Ints(list)) => {
            items.len() == list.len() && items.iter().zip(list).all(|(item, &n)| unify(item, &Attr::Int(n), bound))
        }
        // Words and numbers look the same for several kinds.
        (Attr::Int(n), Attr::Float(x)) => *n as f32 == *x,
        _ => pattern == found,
    }
}

/// An attribute of what replaces a pattern; `None` when it cannot be computed.
pub(super) fn resolve(attr: &Attr, bound: &BTreeMap<Symbol, Attr>) -> Option<Attr> {
    match attr {
        Attr::Expr(expr) => eval(expr, bound),
        Attr::List(items) => {
            let ints = items.iter().map(|item| resolve(item, bound)?.as_int());
            Some(Attr::Ints(ints.collect::<Option<Vec<i64>>>()?))
        }
        plain => Some(plain.clone()),
    }
}

/// The value of an expression. Beside sums, differences and products of integers there are
///
/// * `compose(p, q)`: the permutation `r[i] = p[q[i]]`, which is first `p`, then `q`, of Transpose;
/// * `inverse(p)`: the permutation with `inverse(p)[p[i]] = i`.
pub(super) fn eval(expr: &Expr, bound: &BTreeMap<Symbol, Attr>) -> Option<Attr> {
    let (name, args) = match expr {
        Expr::Int(n) => return Some(Attr::Int(*n)),
        Expr::Float(x) => return Some(Attr::Float(*x as f32)),
        Expr::Name(word) => return Some(Attr::Word(word.clone())),
        Expr::Param(name) => return bound.get(name).cloned(),
        Expr::Element(name, index) => {
            let index = usize::try_from(eval(index, bound)?.as_int()?).ok()?;
            return bound.get(name)?.as_ints()?.get(index).copied().map(Attr::Int);
        }
        Expr::Call(name, args) => (&**name, args),
    };
    let args: Vec<Attr> = args.iter().map(|arg| eval(arg, bound)).collect::<Option<_>>()?;
    Some(match (name, &args[..]) {
        ("compose", [p, q]) => {
            let (p, q) = (p.as_ints()?, q.as_ints()?);
            let pick = |&i: &i64| p.get(usize::try_from(i).ok()?).copied();
            Attr::Ints(q.iter().map(pick).collect::<Option<_>>()?)
        }
        ("inverse", [p]) => {
            let p = p.as_ints()?;
            let place = |i: usize| p.iter().position(|&n| n == i as i64).map(|n| n as i64);
            Attr::Ints((0..p.len()).map(place).collect::<Option<_>>()?)
        }
        ("add", [a, b]) => Attr::Int(a.as_int()?.checked_add(b.as_int()?)?),
        ("sub", [a, b]) => Attr::Int(a.as_int()?.checked_sub(b.as_int()?)?),
        ("mul", [a, b]) => Attr::Int(a.as_int()?.checked_mul(b.as_int()?)?),
        _ => return None,
    })
}
