//! Tensors made from little: constants, ranges, masks, indices.

use super::call::axis_in;
use super::element::{Cells, Numbers, floats, from_floats, from_ints, ints, pick};
use super::layout::strides;
use super::{Call, Datum, Entry, Fault};
use crate::attr::{Attr, SparseTensor};
use crate::graph::ONNX;
use crate::tensor::Tensor;
use crate::types::Elem;

/// Kernels of this family.
pub(super) const KERNELS: &[Entry] = &[
    (ONNX, "Constant", constant),
    (ONNX, "ConstantOfShape", constant_of_shape),
    (ONNX, "EyeLike", eye_like),
    (ONNX, "NonZero", non_zero),
    (ONNX, "OneHot", one_hot),
    (ONNX, "Range", range),
    (ONNX, "Trilu", trilu),
];

fn constant(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    const NAMES: &[&str] = &[
        "value",
        "sparse_value",
        "value_float",
        "value_floats",
        "value_int",
        "value_ints",
        "value_string",
        "value_strings",
    ];
    let value = NAMES.iter().find_map(|name| call.attr(name)).ok_or("it has no value")?;
    Ok(vec![
        match value {
            Attr::Tensor(tensor) => tensor.clone(),
            Attr::Sparse(sparse) => dense(call, sparse)?,
            Attr::Float(v) => Tensor::scalar(*v),
            Attr::Floats(v) => Tensor::new([v.len()], v.clone()),
            Attr::Int(v) => Tensor::scalar(*v),
            Attr::Ints(v) => Tensor::new([v.len()], v.clone()),
            Attr::Str(v) => Tensor::strings([], vec![v.clone()]),
            Attr::Strs(v) => Tensor::strings([v.len()], v.clone()),
            _ => return Err("its value is of no kind that ONNX knows".into()),
        }
        .into(),
    ])
}

/// The dense tensor that a sparse one stands for.
fn dense(call: &Call<'_>, sparse: &SparseTensor) -> Result<Tensor, Fault> {
    let elem = sparse.values.elem();
    let count = call.reserve(elem, &sparse.dims)?;
    call.reserve(Elem::C64, &sparse.dims)?;
    let misfit = || "the indices of a sparse tensor do not fit its shape".to_owned();
    let indices = sparse.indices.to_i64().ok_or_else(misfit)?;
    let strides = strides(&sparse.dims);
    let mut places = vec![None; count];
    for i in 0..sparse.values.len() {
        let place = match sparse.indices.dims() {
            [_] => indices.get(i).and_then(|&at| usize::try_from(at).ok()),
            [_, rank] if *rank == strides.len() => indices.get(i * rank..(i + 1) * rank).and_then(|at| {
                let mut fits = at.iter().zip(&sparse.dims).map(|(&at, &n)| usize::try_from(at).ok().filter(|&at| at < n));
                strides.iter().try_fold(0, |sum, stride| Some(sum + fits.next()?? * stride))
            }),
            _ => None,
        };
        *place.and_then(|p| places.get_mut(p)).ok_or_else(misfit)? = Some(i);
    }
    Cells::of(&sparse.values).take(places.into_iter()).into_tensor(elem, &sparse.dims)
}

/// A shape given as numbers.
pub(super) fn shape_of(numbers: &[i64]) -> Result<Vec<usize>, Fault> {
    numbers.iter().map(|&n| usize::try_from(n).map_err(|_| format!("{n} is no extent"))).collect()
}

fn constant_of_shape(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let dims = shape_of(&call.ints_at(0)?.ok_or("its shape is absent")?)?;
    let zero = Tensor::scalar(0f32);
    let value = call.attr("value").and_then(Attr::as_tensor).unwrap_or(&zero);
    if value.len() != 1 {
        return Err(format!("its value has {} elements, not 1", value.len()));
    }
    let count = call.reserve(value.elem(), &dims)?;
    let filled = Cells::of(value).take(std::iter::repeat_n(Some(0), count));
    Ok(vec![filled.into_tensor(value.elem(), &dims)?.into()])
}

fn eye_like(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let &[rows, columns] = x.dims() else { return Err(format!("shape {:?} is no matrix", x.dims())) };
    let elem = match call.attr("dtype").and_then(Attr::as_int) {
        Some(code) => i32::try_from(code).ok().and_then(Elem::from_onnx_code).ok_or("dtype is no element type")?,
        None => x.elem(),
    };
    let k = i128::from(call.int("k", 0));
    call.reserve(Elem::F64, x.dims())?;
    let one = |i: usize| f64::from(u8::from((i / columns) as i128 + k == (i % columns) as i128));
    let values: Vec<f64> = (0..rows * columns).map(one).collect();
    Ok(vec![from_floats(elem, x.dims(), &values)?.into()])
}

fn trilu(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let &[.., rows, columns] = x.dims() else { return Err(format!("shape {:?} is not one of matrices", x.dims())) };
    let k = i128::from(call.ints_at(1)?.and_then(|k| k.first().copied()).unwrap_or(0));
    let upper = call.int("upper", 1) != 0;
    call.reserve(x.elem(), x.dims())?;
    let keep = |i: usize| {
        let (row, column) = ((i / columns % rows) as i128, (i % columns) as i128);
        if upper { column - row >= k } else { column - row <= k }
    };
    let places = (0..x.len()).map(|i| keep(i).then_some(i));
    Ok(vec![Cells::of(x).take(places).into_tensor(x.elem(), x.dims())?.into()])
}

fn non_zero(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    call.reserve(Elem::C128, x.dims())?;
    let set: Vec<usize> = match Numbers::of(x)? {
        Numbers::Float(v) => (0..v.len()).filter(|&i| v[i] != 0.0).collect(),
        Numbers::Int(v) => (0..v.len()).filter(|&i| v[i] != 0).collect(),
        Numbers::Text(v) => (0..v.len()).filter(|&i| !v[i].is_empty()).collect(),
    };
    call.reserve(Elem::I64, &[x.dims().len(), set.len()])?;
    let axes = strides(x.dims()).into_iter().zip(x.dims());
    let indices = axes.flat_map(|(stride, &n)| set.iter().map(move |&i| (i / stride % n) as i64)).collect();
    Ok(vec![Tensor::new([x.dims().len(), set.len()], indices).into()])
}

fn range(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (start, limit, delta) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let elem = start.elem();
    if limit.elem() != elem || delta.elem() != elem {
        return Err("start, limit and delta are of different types".into());
    }
    if elem.is_float() {
        let first = |t: &Tensor| floats(t)?.first().copied().ok_or_else(|| "a bound has no element".to_owned());
        let (start, limit, delta) = (first(start)?, first(limit)?, first(delta)?);
        let count = ((limit - start) / delta).ceil().max(0.0);
        if !count.is_finite() {
            return Err("it never ends".into());
        }
        let count = count as usize;
        call.reserve(Elem::F64, &[count])?;
        let values: Vec<f64> = (0..count).map(|i| start + i as f64 * delta).collect();
        return Ok(vec![from_floats(elem, &[count], &values)?.into()]);
    }
    let first = |t: &Tensor| ints(t)?.first().copied().ok_or_else(|| "a bound has no element".to_owned());
    let (start, limit, delta) = (first(start)?, first(limit)?, first(delta)?);
    if delta == 0 {
        return Err("it never ends".into());
    }
    let span = limit - start;
    let count = if (span < 0) == (delta < 0) { (span.abs() + delta.abs() - 1) / delta.abs() } else { 0 };
    let count = usize::try_from(count).map_err(|_| "it has too many elements")?;
    call.reserve(Elem::C128, &[count])?;
    Ok(vec![from_ints(elem, &[count], (0..count as i128).map(|i| start + i * delta).collect())?.into()])
}

/// `values[1]` where the new axis meets the index, `values[0]` elsewhere.
fn one_hot(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (indices, depth, values) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    if values.len() != 2 {
        return Err(format!("it takes two values, off and on, not {}", values.len()));
    }
    let depth = floats(depth)?.first().copied().filter(|d| *d >= 0.0 && *d < 9e15).ok_or("its depth is no extent")?;
    let axis = axis_in(call.int("axis", -1), indices.dims().len() + 1)?;
    let mut dims = indices.dims().to_vec();
    dims.insert(axis, depth as usize);
    let count = call.reserve(Elem::F64, &dims)?;
    let inner: usize = dims[axis + 1..].iter().product();
    let wanted: Vec<f64> = floats(indices)?.into_iter().map(|i| if i < 0.0 { i + depth } else { i }.trunc()).collect();
    let extent = dims[axis];
    let on = |i: usize| wanted[i / (inner * extent) * inner + i % inner] == (i / inner % extent) as f64;
    let places: Vec<usize> = (0..count).map(|i| usize::from(on(i))).collect();
    Ok(vec![pick(values, &dims, &places)?.into()])
}
