//! Arithmetic on extents and on partly known integers.
//!
//! What is computed from named extents gets a private name that spells the computation: equal computations have equal
//! names, so that two branches of equal geometry still fit together. A product spells its factors, so that they cancel in
//! `Reshape`. Private names never leave inference (see [`publish`]).

use crate::interp::Fault;
use crate::types::{Dim, Shape, Symbol, Type};

/// First character of a private name: no name of a file starts with it, because it cannot be typed.
const PRIVATE: char = '\u{1}';
/// Mark of a product and what stands between its factors.
const PRODUCT: char = '\u{2}';
/// Longer names than this say nothing any more; a chain of products would grow without bound.
const LONGEST: usize = 200;

/// An element of an integer tensor, as far as it is known.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Num {
    /// This number.
    Known(i64),
    /// The extent of this name, or what a private name spells.
    Sym(Symbol),
    /// Any number.
    Unknown,
}

impl Num {
    pub(super) fn known(&self) -> Option<i64> {
        match self {
            Num::Known(n) => Some(*n),
            _ => None,
        }
    }

    pub(super) fn of(dim: &Dim) -> Num {
        match dim {
            Dim::Known(n) => i64::try_from(*n).map_or(Num::Unknown, Num::Known),
            Dim::Named(name) => Num::Sym(name.clone()),
            Dim::Expr(_) | Dim::Unknown => Num::Unknown,
        }
    }

    /// As an extent; a negative number is none.
    pub(super) fn dim(&self) -> Result<Dim, Fault> {
        Ok(match self {
            Num::Known(n) => Dim::Known(u64::try_from(*n).map_err(|_| format!("an extent would be {n}"))?),
            Num::Sym(name) => Dim::Named(name.clone()),
            Num::Unknown => Dim::Unknown,
        })
    }

    pub(super) fn add(&self, other: &Num) -> Num {
        match (self, other) {
            (a, Num::Known(0)) | (Num::Known(0), a) => a.clone(),
            _ => self.apply("+", other, i64::checked_add),
        }
    }

    pub(super) fn sub(&self, other: &Num) -> Num {
        match (self, other) {
            (a, Num::Known(0)) => a.clone(),
            (Num::Sym(a), Num::Sym(b)) if a == b => Num::Known(0),
            _ => self.apply("-", other, i64::checked_sub),
        }
    }

    pub(super) fn mul(&self, other: &Num) -> Num {
        match (self, other) {
            (Num::Known(0), _) | (_, Num::Known(0)) => Num::Known(0),
            (Num::Unknown, _) | (_, Num::Unknown) => Num::Unknown,
            _ => product(&[self.clone(), other.clone()]),
        }
    }

    /// Quotient, rounded towards zero as ONNX `Div` does for integers.
    pub(super) fn div(&self, other: &Num) -> Num {
        match (self, other) {
            (a, Num::Known(1)) => a.clone(),
            (Num::Known(a), Num::Known(b)) => a.checked_div(*b).map_or(Num::Unknown, Num::Known),
            _ => exact_quotient(std::slice::from_ref(self), std::slice::from_ref(other))
                .unwrap_or_else(|| self.apply("/", other, |_, _| None)),
        }
    }

    /// Any other function of two numbers, named `word`.
    pub(super) fn apply(&self, word: &str, other: &Num, f: fn(i64, i64) -> Option<i64>) -> Num {
        match (self, other) {
            (Num::Known(a), Num::Known(b)) => f(*a, *b).map_or(Num::Unknown, Num::Known),
            (Num::Unknown, _) | (_, Num::Unknown) => Num::Unknown,
            _ => private(&format!("({}{word}{})", self.spell(), other.spell())),
        }
    }

    fn spell(&self) -> String {
        match self {
            Num::Known(n) => n.to_string(),
            Num::Sym(name) => name.to_string(),
            Num::Unknown => "?".to_string(),
        }
    }
}

/// A number that is only equal to others computed in the same way.
pub(super) fn private(spelling: &str) -> Num {
    if spelling.len() > LONGEST {
        return Num::Unknown;
    }
    Num::Sym(format!("{PRIVATE}{spelling}").into())
}

/// True for what is never negative: a name of the file, or what is computed without subtraction.
pub(super) fn is_extent(name: &str) -> bool {
    !name.starts_with(PRIVATE) || !name.contains('-')
}

/// As [`private`], for an extent.
pub(super) fn private_dim(spelling: &str) -> Dim {
    private(spelling).dim().unwrap_or(Dim::Unknown)
}

/// Known factor and named factors of a product; `None` when one is unknown or the known one overflows.
fn factors(nums: &[Num]) -> Option<(i64, Vec<Symbol>)> {
    let mut known = 1i64;
    let mut names = Vec::new();
    for num in nums {
        match num {
            Num::Known(n) => known = known.checked_mul(*n)?,
            Num::Sym(name) => match name.strip_prefix(PRIVATE).and_then(|n| n.strip_prefix(PRODUCT)) {
                Some(list) => {
                    let mut parts = list.split(PRODUCT);
                    known = known.checked_mul(parts.next()?.parse().ok()?)?;
                    names.extend(parts.map(Symbol::from));
                }
                None => names.push(name.clone()),
            },
            Num::Unknown => return None,
        }
    }
    names.sort();
    Some((known, names))
}

fn from_factors(known: i64, names: Vec<Symbol>) -> Num {
    match (known, &names[..]) {
        (known, []) => Num::Known(known),
        (0, _) => Num::Known(0),
        (1, [only]) => Num::Sym(only.clone()),
        _ => {
            let list = names.iter().map(|n| format!("{PRODUCT}{n}")).collect::<String>();
            private(&format!("{PRODUCT}{known}{list}"))
        }
    }
}

/// The product of numbers.
pub(super) fn product(nums: &[Num]) -> Num {
    if nums.contains(&Num::Known(0)) {
        return Num::Known(0);
    }
    factors(nums).map_or(Num::Unknown, |(known, names)| from_factors(known, names))
}

/// Product of `over` divided by that of `under`, where it is a whole number for every value of the names in it.
pub(super) fn exact_quotient(over: &[Num], under: &[Num]) -> Option<Num> {
    // What is unknown on both sides cannot cancel: two unknown numbers need not be equal.
    let ((a, mut names), (b, divisors)) = (factors(over)?, factors(under)?);
    for divisor in divisors {
        let at = names.iter().position(|n| *n == divisor)?;
        names.remove(at);
    }
    (b != 0 && a.checked_rem(b)? == 0).then(|| from_factors(a / b, names))
}

/// The number of elements of a shape.
pub(super) fn elements(shape: &[Dim]) -> Num {
    product(&shape.iter().map(Num::of).collect::<Vec<_>>())
}

/// Multidirectional broadcasting (ONNX `Broadcasting.md`) of one extent.
fn broadcast_dim(a: &Dim, b: &Dim) -> Result<Dim, Fault> {
    Ok(match (a, b) {
        (Dim::Known(1), other) | (other, Dim::Known(1)) => other.clone(),
        (Dim::Known(a), Dim::Known(b)) if a != b => return Err(format!("extents {a} and {b} do not broadcast")),
        (Dim::Known(n), _) | (_, Dim::Known(n)) => Dim::Known(*n),
        (a, b) if a == b => a.clone(),
        _ => Dim::Unknown,
    })
}

/// Multidirectional broadcasting of two shapes.
pub(super) fn broadcast(a: &[Dim], b: &[Dim]) -> Result<Shape, Fault> {
    let rank = a.len().max(b.len());
    let at = |shape: &[Dim], axis: usize| match (axis + shape.len()).checked_sub(rank) {
        Some(own) => shape[own].clone(),
        None => Dim::Known(1),
    };
    (0..rank).map(|axis| broadcast_dim(&at(a, axis), &at(b, axis))).collect()
}

/// Both extents must be equal: the one that says more.
pub(super) fn same(a: &Dim, b: &Dim) -> Result<Dim, Fault> {
    match (a, b) {
        (Dim::Known(a), Dim::Known(b)) if a != b => Err(format!("extents {a} and {b} differ")),
        (Dim::Known(_), _) | (_, Dim::Unknown) => Ok(a.clone()),
        (_, Dim::Known(_)) | (Dim::Unknown, _) => Ok(b.clone()),
        _ => Ok(a.clone()),
    }
}

/// An axis that may count from the end.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, Fault> {
    let wide = rank as i128;
    let from_start = if axis < 0 { axis as i128 + wide } else { axis as i128 };
    if (0..wide).contains(&from_start) {
        Ok(from_start as usize)
    } else {
        Err(format!("axis {axis} is out of range for rank {rank}"))
    }
}

/// Distinct axes that may count from the end, in the order given.
pub(super) fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>, Fault> {
    let mut seen = vec![false; rank];
    let mut found = Vec::new();
    for &a in list {
        let a = axis(a, rank)?;
        if std::mem::replace(&mut seen[a], true) {
            return Err(format!("axis {a} is given twice"));
        }
        found.push(a);
    }
    Ok(found)
}

/// The type without private names.
pub(super) fn publish(ty: &mut Type) {
    match ty {
        Type::Tensor(t) | Type::Sparse(t) => {
            for dim in t.shape.iter_mut().flatten() {
                if matches!(dim, Dim::Named(name) if name.starts_with(PRIVATE)) {
                    *dim = Dim::Unknown;
                }
            }
        }
        Type::Sequence(inner) | Type::Optional(inner) | Type::Map(_, inner) => publish(inner),
        Type::Unknown => {}
    }
}
