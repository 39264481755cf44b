//! Whether two runs gave the same numbers, as closely as an effect demands.

use spaceevo_ir::Tensor;
use spaceevo_ir::interp::Datum;
use spaceevo_passes::Effect;

/// How far results may lie apart.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Closeness {
    /// Bit for bit.
    Bits,
    /// Largest difference, in parts of the largest number of the expected result.
    Relative(f64),
}

impl Closeness {
    /// What an effect demands; `tolerance` is what the case states for approximate ones, and for rounding to stored numbers,
    /// where one step is more than single precision loses. `None` for [`Effect::Retrain`],
    /// which promises nothing about numbers, and for an approximate effect without a tolerance.
    pub fn of(effect: Effect, tolerance: Option<f64>) -> Option<Closeness> {
        match effect {
            Effect::Exact => Some(Closeness::Bits),
            Effect::Rounding => Some(Closeness::Relative(tolerance.unwrap_or(1e-4))),
            Effect::Approximate => tolerance.map(Closeness::Relative),
            Effect::Retrain => None,
        }
    }
}

/// Compares the results of two runs; a sentence about the first difference.
pub fn compare(names: &[String], expected: &[Datum], found: &[Datum], close: Closeness) -> Result<(), String> {
    if expected.len() != found.len() {
        return Err(format!("{} results became {}", expected.len(), found.len()));
    }
    for (index, (e, f)) in expected.iter().zip(found).enumerate() {
        let name = names.get(index).map_or("?", String::as_str);
        compare_data(e, f, close).map_err(|why| format!("result {name}: {why}"))?;
    }
    Ok(())
}

fn compare_data(expected: &Datum, found: &Datum, close: Closeness) -> Result<(), String> {
    match (expected, found) {
        (Datum::Tensor(e), Datum::Tensor(f)) => compare_tensors(e, f, close),
        (e, f) if e == f => Ok(()),
        _ => Err("sequences or optionals differ".into()),
    }
}

/// Compares two tensors; a sentence about the largest difference.
pub fn compare_tensors(expected: &Tensor, found: &Tensor, close: Closeness) -> Result<(), String> {
    if expected.dims() != found.dims() || expected.elem() != found.elem() {
        return Err(format!("{}{:?} became {}{:?}", expected.elem(), expected.dims(), found.elem(), found.dims()));
    }
    if expected == found {
        return Ok(());
    }
    let (Some(e), Some(f)) = (expected.to_f64(), found.to_f64()) else { return Err("strings differ".into()) };
    let bound = match close {
        Closeness::Relative(part) if expected.elem().is_float() => {
            part * e.iter().filter(|x| x.is_finite()).fold(0.0f64, |m, x| m.max(x.abs()))
        }
        _ => 0.0,
    };
    let same = |a: f64, b: f64| match close {
        Closeness::Bits => a.to_bits() == b.to_bits(),
        Closeness::Relative(_) => a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= bound,
    };
    let far = |&(_, (a, b)): &(usize, (&f64, &f64))| !same(*a, *b);
    let worst =
        e.iter().zip(&f).enumerate().filter(far).max_by(|(_, x), (_, y)| (x.0 - x.1).abs().total_cmp(&(y.0 - y.1).abs()));
    match worst {
        Some((at, (a, b))) => Err(format!("element {at} was {a:?} and became {b:?} (allowed difference {bound:e})")),
        None => Ok(()),
    }
}
