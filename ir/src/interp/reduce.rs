//! Many elements to one along axes: the Reduce family, ArgMax and ArgMin, running sums and products.

use super::call::axis_in;
use super::element::{Numbers, floats, from_floats, from_ints, ints};
use super::layout::Groups;
use super::{Call, Datum, Entry, Fault};
use crate::graph::ONNX;
use crate::tensor::Tensor;
use crate::types::Elem;

/// Kernels of this family.
pub(super) const KERNELS: &[Entry] = &[
    (ONNX, "ArgMax", |c| arg(c, true)),
    (ONNX, "ArgMin", |c| arg(c, false)),
    (ONNX, "CumProd", |c| running(c, 1.0, |a, b| a * b, |a, b| a.wrapping_mul(b))),
    (ONNX, "CumSum", |c| running(c, 0.0, |a, b| a + b, |a, b| a + b)),
    (ONNX, "ReduceL1", |c| reduce(c, 18, |g| g.iter().map(|v| v.abs()).sum(), |g| g.iter().map(|v| v.abs()).sum())),
    (ONNX, "ReduceL2", |c| reduce(c, 18, |g| squares(g).sqrt(), |g| (whole_squares(g) as f64).sqrt() as i128)),
    (ONNX, "ReduceLogSum", |c| {
        reduce(c, 18, |g| g.iter().sum::<f64>().ln(), |g| (g.iter().sum::<i128>() as f64).ln() as i128)
    }),
    (ONNX, "ReduceLogSumExp", |c| reduce(c, 18, log_sum_exp, |g| log_sum_exp(&reals(g)) as i128)),
    (ONNX, "ReduceMax", |c| {
        reduce(c, 18, |g| extreme(g, f64::NEG_INFINITY, |a, b| a > b), |g| g.iter().copied().max().unwrap_or(i128::MIN))
    }),
    (ONNX, "ReduceMean", |c| {
        reduce(c, 18, |g| g.iter().sum::<f64>() / g.len() as f64, |g| g.iter().sum::<i128>() / (g.len() as i128).max(1))
    }),
    (ONNX, "ReduceMin", |c| {
        reduce(c, 18, |g| extreme(g, f64::INFINITY, |a, b| a < b), |g| g.iter().copied().min().unwrap_or(i128::MAX))
    }),
    (ONNX, "ReduceProd", |c| reduce(c, 18, |g| g.iter().product(), |g| g.iter().fold(1, |a, &b| i128::wrapping_mul(a, b)))),
    (ONNX, "ReduceSum", |c| reduce(c, 13, |g| g.iter().sum(), |g| g.iter().sum())),
    (ONNX, "ReduceSumSquare", |c| reduce(c, 18, squares, whole_squares)),
];

fn reals(group: &[i128]) -> Vec<f64> {
    group.iter().map(|&v| v as f64).collect()
}

fn squares(group: &[f64]) -> f64 {
    group.iter().map(|v| v * v).sum()
}

fn whole_squares(group: &[i128]) -> i128 {
    group.iter().fold(0, |sum: i128, &v| sum.wrapping_add(v.wrapping_mul(v)))
}

fn log_sum_exp(group: &[f64]) -> f64 {
    let top = extreme(group, f64::NEG_INFINITY, |a, b| a > b);
    if top.is_infinite() { top } else { top + group.iter().map(|v| (v - top).exp()).sum::<f64>().ln() }
}

/// The largest or smallest number; NaN if one is.
fn extreme(group: &[f64], none: f64, better: fn(f64, f64) -> bool) -> f64 {
    group.iter().fold(none, |best, &v| {
        if best.is_nan() || v.is_nan() {
            f64::NAN
        } else if better(v, best) {
            v
        } else {
            best
        }
    })
}

/// Axes are an attribute before opset `since`, an operand from then on.
fn reduce(
    call: &Call<'_>,
    since: u64,
    on_floats: fn(&[f64]) -> f64,
    on_ints: fn(&[i128]) -> i128,
) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let listed = if call.opset >= since { call.ints_at(1)? } else { call.ints("axes").map(<[i64]>::to_vec) };
    let listed = listed.unwrap_or_default();
    let rank = x.dims().len();
    let nothing = listed.is_empty() && call.int("noop_with_empty_axes", 0) != 0;
    let axes: Vec<usize> = if listed.is_empty() && !nothing {
        (0..rank).collect()
    } else {
        listed.into_iter().map(|axis| axis_in(axis, rank)).collect::<Result<_, _>>()?
    };
    call.reserve(Elem::C128, x.dims())?;
    let dims = reduced(x.dims(), &axes, call.int("keepdims", 1) != 0);
    call.reserve(Elem::C128, &dims)?;
    let groups = if x.is_empty() { Groups::empty(dims.iter().product()) } else { Groups::along(x.dims(), &axes) };
    let result = if x.elem().is_float() {
        from_floats(x.elem(), &dims, &groups.reduce(&floats(x)?, on_floats))?
    } else {
        let (low, high) = bounds(x.elem());
        let values = groups.reduce(&ints(x)?, on_ints);
        // Only the largest or smallest of nothing is out of the type's range by more than wrapping can mean.
        let clamped = values.into_iter().map(|v| match v {
            i128::MIN => low,
            i128::MAX => high,
            v => v,
        });
        from_ints(x.elem(), &dims, clamped.collect())?
    };
    Ok(vec![result.into()])
}

fn bounds(elem: Elem) -> (i128, i128) {
    match elem {
        Elem::I64 => (i64::MIN.into(), i64::MAX.into()),
        Elem::U64 => (0, u64::MAX.into()),
        Elem::Bool => (0, 1),
        other => other.int_range().map_or((0, 0), |(low, high)| (low.into(), high.into())),
    }
}

fn reduced(dims: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let shrink = |(axis, &n): (usize, &usize)| match axes.contains(&axis) {
        true => keep.then_some(1),
        false => Some(n),
    };
    dims.iter().enumerate().filter_map(shrink).collect()
}

fn arg(call: &Call<'_>, largest: bool) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let axis = axis_in(call.int("axis", 0), x.dims().len())?;
    let last = call.int("select_last_index", 0) != 0;
    if x.dims()[axis] == 0 {
        return Err(format!("axis {axis} has no elements"));
    }
    call.reserve(Elem::C128, x.dims())?;
    let numbers = Numbers::of(x)?;
    let groups = Groups::along(x.dims(), &[axis]);
    let find = |&start: &usize| {
        let mut best = 0;
        for (i, &member) in groups.members.iter().enumerate().skip(1) {
            let order = numbers.compare(start + member, start + groups.members[best]);
            if if largest { order.is_gt() } else { order.is_lt() } || last && order.is_eq() {
                best = i;
            }
        }
        best as i64
    };
    let found: Vec<i64> = groups.starts.iter().map(find).collect();
    Ok(vec![Tensor::new(reduced(x.dims(), &[axis], call.int("keepdims", 1) != 0), found).into()])
}

fn running(
    call: &Call<'_>,
    neutral: f64,
    on_floats: fn(f64, f64) -> f64,
    on_ints: fn(i128, i128) -> i128,
) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let axis = call.ints_at(1)?.and_then(|a| a.first().copied()).ok_or("its axis is absent")?;
    let axis = axis_in(axis, x.dims().len())?;
    let (exclusive, reverse) = (call.int("exclusive", 0) != 0, call.int("reverse", 0) != 0);
    call.reserve(Elem::C128, x.dims())?;
    let groups = Groups::along(x.dims(), &[axis]);
    fn scan<T: Copy>(group: &[T], neutral: T, add: fn(T, T) -> T, exclusive: bool, reverse: bool) -> Vec<T> {
        let mut out = group.to_vec();
        if reverse {
            out.reverse();
        }
        let mut sum = neutral;
        for v in &mut out {
            let next = add(sum, *v);
            *v = if exclusive { sum } else { next };
            sum = next;
        }
        if reverse {
            out.reverse();
        }
        out
    }
    let result = if x.elem().is_float() {
        let sums = groups.map(&floats(x)?, |g| scan(g, neutral, on_floats, exclusive, reverse));
        from_floats(x.elem(), x.dims(), &sums)?
    } else {
        let sums = groups.map(&ints(x)?, |g| scan(g, neutral as i128, on_ints, exclusive, reverse));
        from_ints(x.elem(), x.dims(), sums)?
    };
    Ok(vec![result.into()])
}
