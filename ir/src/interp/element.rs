//! Elements of tensors in the two ways kernels need them: as numbers to compute with, and as cells to move.
//!
//! Floats of every width are computed in double precision and rounded once, integers of every width in 128 bits and wrapped
//! once: the result is the correctly rounded one, and one piece of code serves all types.

use std::cmp::Ordering;

use bytes::Bytes;

use super::Fault;
use crate::tensor::Tensor;
use crate::types::Elem;

/// Elements to compute with.
pub(super) enum Numbers {
    /// Of any floating-point type.
    Float(Vec<f64>),
    /// Of any integer type, or booleans as 0 and 1.
    Int(Vec<i128>),
    /// Strings.
    Text(Vec<Bytes>),
}

impl Numbers {
    /// The elements of a tensor that is not complex.
    pub(super) fn of(tensor: &Tensor) -> Result<Numbers, Fault> {
        match tensor.elem() {
            Elem::Str => Ok(Numbers::Text(tensor.as_strings().unwrap_or_default().to_vec())),
            e if e.is_float() => Ok(Numbers::Float(floats(tensor)?)),
            _ => Ok(Numbers::Int(ints(tensor)?)),
        }
    }

    /// Orders two elements; a NaN is above all numbers.
    pub(super) fn compare(&self, a: usize, b: usize) -> Ordering {
        match self {
            Numbers::Float(v) => v[a].partial_cmp(&v[b]).unwrap_or_else(|| v[a].is_nan().cmp(&v[b].is_nan())),
            Numbers::Int(v) => v[a].cmp(&v[b]),
            Numbers::Text(v) => v[a].cmp(&v[b]),
        }
    }
}

/// Numbers or booleans as doubles.
pub(super) fn floats(tensor: &Tensor) -> Result<Vec<f64>, Fault> {
    tensor.to_f64().ok_or_else(|| format!("{} is not computed with", tensor.elem()))
}

/// Integers or booleans.
pub(super) fn ints(tensor: &Tensor) -> Result<Vec<i128>, Fault> {
    if tensor.elem() == Elem::U64 {
        return Ok(tensor.values::<u64>().unwrap_or_default().iter().map(|&v| i128::from(v)).collect());
    }
    let values = tensor.to_i64().ok_or_else(|| format!("{} is no integer type", tensor.elem()))?;
    Ok(values.into_iter().map(i128::from).collect())
}

/// A tensor of any numeric type from doubles: floats rounded, integers rounded and saturated.
pub(super) fn from_floats(elem: Elem, dims: &[usize], values: &[f64]) -> Result<Tensor, Fault> {
    Tensor::from_f64(elem, dims, values).ok_or_else(|| format!("{elem} cannot hold the result"))
}

/// A tensor of any integer type or of booleans from integers, wrapped to the width of the type.
pub(super) fn from_ints(elem: Elem, dims: &[usize], values: Vec<i128>) -> Result<Tensor, Fault> {
    macro_rules! wrap {
        ($t:ty) => {
            Tensor::new(dims, values.into_iter().map(|v| v as $t).collect::<Vec<$t>>())
        };
    }
    Ok(match elem {
        Elem::I8 => wrap!(i8),
        Elem::U8 => wrap!(u8),
        Elem::I16 => wrap!(i16),
        Elem::U16 => wrap!(u16),
        Elem::I32 => wrap!(i32),
        Elem::U32 => wrap!(u32),
        Elem::I64 => wrap!(i64),
        Elem::U64 => wrap!(u64),
        Elem::Bool => Tensor::bools(dims, values.into_iter().map(|v| v != 0).collect()),
        Elem::U4 | Elem::I4 | Elem::U2 | Elem::I2 => {
            let mask = (1i128 << elem.bits()) - 1;
            Cells::Bytes(1, values.into_iter().map(|v| (v & mask) as u8).collect()).into_tensor(elem, dims)?
        }
        _ => return Err(format!("{elem} is no integer type")),
    })
}

/// Elements to move: of any type, strings and packed ones included.
pub(super) enum Cells {
    /// Bytes of each element, and all of them; elements below one byte take one each.
    Bytes(usize, Vec<u8>),
    /// Strings.
    Text(Vec<Bytes>),
}

impl Cells {
    /// The elements of a tensor.
    pub(super) fn of(tensor: &Tensor) -> Cells {
        let (bits, bytes) = (tensor.elem().bits(), tensor.bytes());
        if let Some(strings) = tensor.as_strings() {
            return Cells::Text(strings.to_vec());
        }
        if bits >= 8 {
            return Cells::Bytes(bits / 8, bytes.to_vec());
        }
        let code = |i: usize| {
            let bit = i * bits;
            let low = u16::from(bytes[bit / 8]) | u16::from(*bytes.get(bit / 8 + 1).unwrap_or(&0)) << 8;
            (low >> (bit % 8)) as u8 & (0xFF >> (8 - bits))
        };
        Cells::Bytes(1, (0..tensor.len()).map(code).collect())
    }

    /// No elements of a type.
    pub(super) fn none(elem: Elem) -> Cells {
        if elem == Elem::Str { Cells::Text(Vec::new()) } else { Cells::Bytes(elem.bits().div_ceil(8), Vec::new()) }
    }

    /// The elements at the given positions, which must exist; zero (or the empty string) where there is none.
    pub(super) fn take(&self, places: impl Iterator<Item = Option<usize>>) -> Cells {
        match self {
            Cells::Text(all) => Cells::Text(places.map(|i| i.map_or_else(Bytes::new, |i| all[i].clone())).collect()),
            Cells::Bytes(width, all) => {
                let mut taken = Vec::new();
                for place in places {
                    match place {
                        Some(i) => taken.extend_from_slice(&all[i * width..(i + 1) * width]),
                        None => taken.resize(taken.len() + width, 0),
                    }
                }
                Cells::Bytes(*width, taken)
            }
        }
    }

    /// Appends elements of the same type.
    pub(super) fn append(&mut self, more: Cells) -> Result<(), Fault> {
        match (self, more) {
            (Cells::Text(all), Cells::Text(more)) => all.extend(more),
            (Cells::Bytes(a, all), Cells::Bytes(b, more)) if *a == b => all.extend(more),
            _ => return Err("tensors of different types are joined".into()),
        }
        Ok(())
    }

    /// The tensor that consists of these elements.
    pub(super) fn into_tensor(self, elem: Elem, dims: &[usize]) -> Result<Tensor, Fault> {
        let misfit = || format!("the elements do not fit type {elem} and shape {dims:?}");
        match self {
            Cells::Text(all) if crate::tensor::count(dims) == Some(all.len()) => Ok(Tensor::strings(dims, all)),
            Cells::Text(_) => Err(misfit()),
            Cells::Bytes(_, all) if elem.bits() >= 8 => Tensor::from_bytes(elem, dims, all).ok_or_else(misfit),
            Cells::Bytes(_, all) => {
                let bits = elem.bits();
                let mut packed = vec![0u8; (all.len() * bits).div_ceil(8)];
                for (i, code) in all.into_iter().enumerate() {
                    let (byte, wide) = (i * bits / 8, u16::from(code) << (i * bits % 8));
                    packed[byte] |= wide as u8;
                    if wide > 0xFF {
                        packed[byte + 1] |= (wide >> 8) as u8;
                    }
                }
                Tensor::from_bytes(elem, dims, packed).ok_or_else(misfit)
            }
        }
    }
}

/// The elements of a tensor at the given positions, under a new shape.
pub(super) fn pick(tensor: &Tensor, dims: &[usize], places: &[usize]) -> Result<Tensor, Fault> {
    Cells::of(tensor).take(places.iter().copied().map(Some)).into_tensor(tensor.elem(), dims)
}

/// Joins tensors of equal types along an axis that all have; other extents must agree.
pub(super) fn join(tensors: &[&Tensor], axis: usize) -> Result<Tensor, Fault> {
    let first = tensors.first().ok_or("there is nothing to join")?;
    let mut dims = first.dims().to_vec();
    dims[axis] = 0;
    let mut parts = Vec::new();
    for tensor in tensors {
        let mut rest = tensor.dims().to_vec();
        if rest.len() != dims.len() || tensor.elem() != first.elem() {
            return Err("tensors of different types or ranks are joined".into());
        }
        dims[axis] += std::mem::replace(&mut rest[axis], dims[axis]);
        if rest[..axis] != dims[..axis] || rest[axis + 1..] != dims[axis + 1..] {
            return Err(format!("tensors are joined along axis {axis} whose other extents differ"));
        }
        parts.push((Cells::of(tensor), tensor.dims()[axis..].iter().product::<usize>()));
    }
    let mut out = Cells::none(first.elem());
    for outer in 0..dims[..axis].iter().product() {
        for (cells, run) in &parts {
            out.append(cells.take((outer * run..(outer + 1) * run).map(Some)))?;
        }
    }
    out.into_tensor(first.elem(), &dims)
}

/// Joins tensors of equal types and shapes along a new axis.
pub(super) fn stack(tensors: &[&Tensor], axis: usize) -> Result<Tensor, Fault> {
    let raised: Option<Vec<Tensor>> = tensors
        .iter()
        .map(|t| {
            let mut dims = t.dims().to_vec();
            if axis > dims.len() {
                return None;
            }
            dims.insert(axis, 1);
            t.reshaped(dims)
        })
        .collect();
    let raised = raised.ok_or("the new axis does not exist")?;
    join(&raised.iter().collect::<Vec<_>>(), axis)
}

/// The part of a tensor at indices `range` of an axis; the axis stays.
pub(super) fn part(tensor: &Tensor, axis: usize, range: std::ops::Range<usize>) -> Result<Tensor, Fault> {
    let mut dims = tensor.dims().to_vec();
    let (extent, inner) = (dims[axis], dims[axis + 1..].iter().product::<usize>());
    if range.start > range.end || range.end > extent {
        return Err(format!("indices {range:?} are outside of axis {axis} of shape {dims:?}"));
    }
    let outer: usize = dims[..axis].iter().product();
    let places = (0..outer).flat_map(|o| (o * extent + range.start) * inner..(o * extent + range.end) * inner);
    let places: Vec<usize> = places.collect();
    dims[axis] = range.len();
    pick(tensor, &dims, &places)
}

/// The part of a tensor at one index of an axis; the axis goes.
pub(super) fn at(tensor: &Tensor, axis: usize, index: usize) -> Result<Tensor, Fault> {
    let part = part(tensor, axis, index..index + 1)?;
    let mut dims = part.dims().to_vec();
    dims.remove(axis);
    part.reshaped(dims).ok_or_else(|| "an axis of extent 1 goes".into())
}
