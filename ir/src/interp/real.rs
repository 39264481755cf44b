//! Numbers in and out of tensors for kernels that compute in double precision, and the bound on what they may allocate.

use std::borrow::Cow;

use super::layout::{broadcast, spread};
use super::{Datum, Fault};
use crate::tensor::Tensor;
use crate::types::Elem;

/// Most elements of one result: no file makes a kernel allocate more than 8 bytes times this.
pub(super) const MOST_ELEMENTS: usize = 1 << 28;

/// Number of elements of a shape, refused when above [`MOST_ELEMENTS`]: called before anything is allocated.
pub(super) fn volume(dims: &[usize]) -> Result<usize, Fault> {
    crate::tensor::count(dims)
        .filter(|&n| n <= MOST_ELEMENTS)
        .ok_or_else(|| format!("a tensor of shape {dims:?} has more than {MOST_ELEMENTS} elements"))
}

/// The numbers as doubles.
pub(super) fn read(tensor: &Tensor) -> Result<Vec<f64>, Fault> {
    tensor.to_f64().ok_or_else(|| format!("a tensor of {} holds no real numbers", tensor.elem()))
}

/// The numbers as singles.
pub(super) fn read_f32(tensor: &Tensor) -> Result<Vec<f32>, Fault> {
    tensor.to_f32().ok_or_else(|| format!("a tensor of {} holds no real numbers", tensor.elem()))
}

/// The numbers as integers.
pub(super) fn read_i64(tensor: &Tensor) -> Result<Vec<i64>, Fault> {
    tensor.to_i64().ok_or_else(|| format!("expected integers, found {}", tensor.elem()))
}

/// The only number of a tensor of one element.
pub(super) fn single(tensor: &Tensor) -> Result<f64, Fault> {
    match read(tensor)?[..] {
        [value] => Ok(value),
        _ => Err(format!("expected one number, found shape {:?}", tensor.dims())),
    }
}

/// Packs doubles into an element type, rounding to nearest even.
pub(super) fn write(elem: Elem, dims: &[usize], values: &[f64]) -> Result<Datum, Fault> {
    if volume(dims)? != values.len() {
        return Err(format!("{} numbers do not fill shape {dims:?}", values.len()));
    }
    Tensor::from_f64(elem, dims, values).map(Datum::Tensor).ok_or_else(|| format!("{elem} holds no real numbers"))
}

/// Packs singles into an element type, rounding to nearest even.
pub(super) fn write_f32(elem: Elem, dims: &[usize], values: Vec<f32>) -> Result<Datum, Fault> {
    if elem == Elem::F32 && volume(dims)? == values.len() {
        return Ok(Tensor::new(dims, values).into());
    }
    write(elem, dims, &values.into_iter().map(f64::from).collect::<Vec<_>>())
}

/// Fails with `message` unless `holds`.
pub(super) fn ensure(holds: bool, message: impl FnOnce() -> String) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(message()) }
}

/// Batch, channels and the spatial extents of `N x C x D1 x ...`.
pub(super) fn batch_channels(tensor: &Tensor) -> Result<(usize, usize, &[usize]), Fault> {
    match tensor.dims() {
        [n, c, spatial @ ..] => Ok((*n, *c, spatial)),
        dims => Err(format!("expected batch and channel axes, found shape {dims:?}")),
    }
}

/// The values of a tensor of shape `from` as those of one of shape `to`, which it must broadcast to.
pub(super) fn spread_to<'a, T: Clone>(values: &'a [T], from: &[usize], to: &[usize]) -> Result<Cow<'a, [T]>, Fault> {
    volume(to)?;
    ensure(broadcast(&[from, to])? == to, || format!("shape {from:?} does not broadcast to {to:?}"))?;
    Ok(spread(values, from, to))
}
