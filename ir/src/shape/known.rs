//! Shape arithmetic: what is known of the integers that small tensors hold.
//!
//! The operators that exporters compute shapes with, on numbers that may be names of extents: `Shape` of [N, 3, 8, 8] is
//! [N, 3, 8, 8], a `Gather` of its first two is [N, 3], and a `Concat` with [-1] is a target for `Reshape`.

use crate::graph::ONNX;
use crate::types::Elem;

use super::dims::{Num, elements, is_extent};
use super::movement::{cuts, shape_bounds, taken};
use super::site::{MAX_KNOWN, Site, nums_of};

/// The numbers of the first result, row major; `None` where nothing is known.
pub(super) fn of(site: &Site<'_>) -> Option<Vec<Num>> {
    let name = site.op().name();
    if &*name.domain != ONNX {
        return None;
    }
    let nums = match &*name.op {
        "Shape" => {
            let shape = site.shape(0)?;
            let (start, end) = shape_bounds(site, shape.len());
            shape.get(start..end).unwrap_or_default().iter().map(Num::of).collect()
        }
        "Size" => vec![elements(site.shape(0)?)],
        "Constant" => constant(site)?,
        "Identity" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" => site.nums(0)?,
        "Cast" => cast(site)?,
        "Gather" => gather(site)?,
        "Concat" => concat(site)?,
        "Slice" => slice(site)?,
        "Add" => zip(site, Num::add)?,
        "Sub" => zip(site, Num::sub)?,
        "Mul" => zip(site, Num::mul)?,
        "Div" => zip(site, Num::div)?,
        "Mod" => zip(site, |a, b| a.apply("%", b, |a, b| a.checked_rem_euclid(b).filter(|_| a >= 0 && b > 0)))?,
        "Min" => fold(site, |a, b| a.apply("min", b, |a, b| Some(a.min(b))))?,
        "Max" => fold(site, |a, b| a.apply("max", b, |a, b| Some(a.max(b))))?,
        "Neg" => site.nums(0)?.iter().map(|n| Num::Known(0).sub(n)).collect(),
        "Abs" => site.nums(0)?.iter().map(|n| n.apply("abs", &Num::Known(0), |a, _| a.checked_abs())).collect(),
        "Floor" | "Ceil" | "Round" if site.elem(0).is_some_and(Elem::is_int) => site.nums(0)?,
        "ReduceProd" if reduces_all(site) => vec![super::dims::product(&site.nums(0)?)],
        "ReduceSum" if reduces_all(site) => vec![site.nums(0)?.iter().fold(Num::Known(0), |sum, n| sum.add(n))],
        "ReduceMax" if reduces_all(site) => vec![extreme(site, |a, b| a.apply("max", b, |a, b| Some(a.max(b))))?],
        "ReduceMin" if reduces_all(site) => vec![extreme(site, |a, b| a.apply("min", b, |a, b| Some(a.min(b))))?],
        "ConstantOfShape" => constant_of_shape(site)?,
        "Expand" => expand(site)?,
        "Tile" => tile(site)?,
        "Range" => range(site)?,
        "Where" => select(site)?,
        "Equal" => zip(site, equal)?,
        "Greater" => zip(site, |a, b| truth(a, b, |a, b| a > b))?,
        "Less" => zip(site, |a, b| truth(a, b, |a, b| a < b))?,
        "GreaterOrEqual" => zip(site, |a, b| truth(a, b, |a, b| a >= b))?,
        "LessOrEqual" => zip(site, |a, b| truth(a, b, |a, b| a <= b))?,
        "Not" => site.nums(0)?.iter().map(|n| truth(n, &Num::Known(0), |a, _| a == 0)).collect(),
        _ => return None,
    };
    (nums.len() <= MAX_KNOWN).then_some(nums)
}

fn constant(site: &Site<'_>) -> Option<Vec<Num>> {
    if let Some(list) = site.attr("value_ints").and_then(|a| a.as_ints()) {
        return (list.len() <= MAX_KNOWN).then(|| list.iter().map(|&n| Num::Known(n)).collect());
    }
    match site.attr("value_int") {
        Some(one) => Some(vec![Num::Known(one.as_int()?)]),
        None => nums_of(site.attr("value")?.as_tensor()?),
    }
}

/// A cast between integers that are wide enough for what is known.
fn cast(site: &Site<'_>) -> Option<Vec<Num>> {
    let to = site.elem_attr("to", None)?;
    let nums = site.nums(0)?;
    let fits = |n: i64| match to {
        Elem::I64 => true,
        Elem::Bool => (0..=1).contains(&n),
        _ => to.int_range().is_some_and(|(low, high)| (low..=high).contains(&n)),
    };
    match to {
        Elem::I64 | Elem::I32 | Elem::U32 | Elem::Bool => {
            Some(nums.into_iter().map(|n| if n.known().is_none_or(fits) { n } else { Num::Unknown }).collect())
        }
        _ => None,
    }
}

/// Only vectors are followed: what a shape is computed from is one.
fn is_vector(site: &Site<'_>, index: usize) -> bool {
    site.rank(index) == Some(1)
}

fn gather(site: &Site<'_>) -> Option<Vec<Num>> {
    let data = site.nums(0).filter(|_| is_vector(site, 0))?;
    let wide = data.len() as i64;
    let pick = |index: i64| {
        let from_start = if index < 0 { index.checked_add(wide)? } else { index };
        data.get(usize::try_from(from_start).ok()?).cloned()
    };
    Some(site.ints(1)?.into_iter().map(|index| pick(index).unwrap_or(Num::Unknown)).collect())
}

fn concat(site: &Site<'_>) -> Option<Vec<Num>> {
    let mut all = Vec::new();
    for index in 0..site.count() {
        if !is_vector(site, index) {
            return None;
        }
        all.extend(site.nums(index).unwrap_or(vec![Num::Unknown; site.length(index).filter(|&n| n <= MAX_KNOWN)?]));
        if all.len() > MAX_KNOWN {
            return None;
        }
    }
    Some(all)
}

fn slice(site: &Site<'_>) -> Option<Vec<Num>> {
    let data = site.nums(0).filter(|_| is_vector(site, 0))?;
    let cuts = cuts(site, 1).ok()??;
    let Some(cut) = cuts.first() else { return Some(data) };
    let (start, end, step) = (cut.start.known()?, cut.end.known()?, cut.step.known()?);
    let (first, count) = taken(data.len() as i64, start, end, step).ok()?;
    (0..count).map(|k| data.get(usize::try_from(first.checked_add(k.checked_mul(step)?)?).ok()?).cloned()).collect()
}

/// Element by element; one of the operands may have one element for all.
fn zip(site: &Site<'_>, f: impl Fn(&Num, &Num) -> Num) -> Option<Vec<Num>> {
    pairwise(&site.nums(0)?, &site.nums(1)?, f)
}

fn pairwise(a: &[Num], b: &[Num], f: impl Fn(&Num, &Num) -> Num) -> Option<Vec<Num>> {
    match (a.len(), b.len()) {
        (n, m) if n == m => Some(a.iter().zip(b).map(|(a, b)| f(a, b)).collect()),
        (_, 1) => Some(a.iter().map(|a| f(a, &b[0])).collect()),
        (1, _) => Some(b.iter().map(|b| f(&a[0], b)).collect()),
        _ => None,
    }
}

fn fold(site: &Site<'_>, f: impl Fn(&Num, &Num) -> Num) -> Option<Vec<Num>> {
    (1..site.count()).try_fold(site.nums(0)?, |all, index| pairwise(&all, &site.nums(index)?, &f))
}

fn reduces_all(site: &Site<'_>) -> bool {
    is_vector(site, 0)
        && site.axes(1).is_ok_and(|a| a.is_none_or(|a| a.len() == 1))
        && site.attr("noop_with_empty_axes").is_none()
}

fn extreme(site: &Site<'_>, f: impl Fn(&Num, &Num) -> Num) -> Option<Num> {
    site.nums(0)?.into_iter().reduce(|a, b| f(&a, &b))
}

fn constant_of_shape(site: &Site<'_>) -> Option<Vec<Num>> {
    let count = site.ints(0)?.iter().try_fold(1i64, |n, &d| n.checked_mul(d))?;
    let count = usize::try_from(count).ok().filter(|&n| n <= MAX_KNOWN)?;
    let value = nums_of(site.attr("value")?.as_tensor()?)?;
    Some(vec![value.first()?.clone(); count])
}

fn expand(site: &Site<'_>) -> Option<Vec<Num>> {
    let (data, target) = (site.nums(0)?, site.ints(1)?);
    let ([only], [count]) = (&data[..], &target[..]) else { return None };
    let count = usize::try_from(*count).ok().filter(|&n| n <= MAX_KNOWN)?;
    Some(vec![only.clone(); count])
}

fn tile(site: &Site<'_>) -> Option<Vec<Num>> {
    let data = site.nums(0).filter(|_| is_vector(site, 0))?;
    let times = usize::try_from(site.scalar(1)?).ok()?;
    let fits = times <= MAX_KNOWN && data.len().checked_mul(times)? <= MAX_KNOWN;
    fits.then(|| std::iter::repeat_n(data, times).flatten().collect())
}

fn range(site: &Site<'_>) -> Option<Vec<Num>> {
    let (start, limit, step) = (site.scalar(0)?, site.scalar(1)?, site.scalar(2)?);
    let mut nums = Vec::new();
    let mut at = start;
    while (step > 0 && at < limit) || (step < 0 && at > limit) {
        nums.push(Num::Known(at));
        at = at.checked_add(step)?;
        if nums.len() > MAX_KNOWN {
            return None;
        }
    }
    Some(nums)
}

fn select(site: &Site<'_>) -> Option<Vec<Num>> {
    let (condition, yes, no) = (site.nums(0)?, site.nums(1)?, site.nums(2)?);
    let both = pairwise(&condition, &yes, |c, y| if c.known() == Some(0) { Num::Unknown } else { y.clone() })?;
    let count = both.len().max(no.len());
    let at = |list: &[Num], k: usize| list.get(if list.len() == 1 { 0 } else { k }).cloned();
    (0..count)
        .map(|k| {
            let (c, y, n) = (at(&condition, k)?, at(&yes, k)?, at(&no, k)?);
            Some(match c.known() {
                Some(0) => n,
                Some(_) => y,
                None if y == n => y,
                None => Num::Unknown,
            })
        })
        .collect()
}

fn truth(a: &Num, b: &Num, f: fn(i64, i64) -> bool) -> Num {
    match (a.known(), b.known()) {
        (Some(a), Some(b)) => Num::Known(i64::from(f(a, b))),
        _ => Num::Unknown,
    }
}

/// An extent is never negative: a name is not -1, which is what exporters ask before they expand.
fn equal(a: &Num, b: &Num) -> Num {
    match (a, b) {
        (Num::Sym(name), Num::Known(n)) | (Num::Known(n), Num::Sym(name)) if *n < 0 && is_extent(name) => Num::Known(0),
        (Num::Sym(a), Num::Sym(b)) if a == b => Num::Known(1),
        _ => truth(a, b, |a, b| a == b),
    }
}
