//! Constants and run-time values: typed bytes that may be shared with a memory-mapped file.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::types::{Elem, TensorType};

/// A dense tensor, row major, little endian, elements below one byte packed low bits first.
///
/// Cloning is cheap: the bytes are shared. `PartialEq` compares bits (a NaN equals the same NaN).
#[derive(Clone, Debug)]
pub struct Tensor {
    elem: Elem,
    dims: Vec<usize>,
    data: Data,
    /// The seed this tensor was drawn from (`const rand(7)`): printed instead of the numbers.
    rand: Option<Rand>,
}

#[derive(Clone, Debug, PartialEq)]
enum Data {
    Bytes(Bytes),
    Strings(Arc<[Bytes]>),
}

/// Where a drawn constant comes from: `rand(seed)`, or `rand(seed, low, high)`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rand {
    /// Seed of the generator.
    pub seed: u64,
    /// Half-open interval; `None`: [-1, 1) for floats, the whole range for integers of up to 8 bits, [0, 100) for wider ones.
    pub within: Option<(f64, f64)>,
}

impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        self.elem == other.elem && self.dims == other.dims && self.data == other.data
    }
}

/// A plain number type whose slices can be read out of tensor bytes.
pub trait Number: bytemuck::Pod {
    /// The element type of this Rust type.
    const ELEM: Elem;
}

macro_rules! numbers {
    ($($rust:ty = $elem:ident),*) => { $(impl Number for $rust { const ELEM: Elem = Elem::$elem; })* };
}
numbers!(f32 = F32, f64 = F64, i8 = I8, u8 = U8, i16 = I16, u16 = U16, i32 = I32, u32 = U32, i64 = I64, u64 = U64);
numbers!(half::f16 = F16, half::bf16 = Bf16);

/// Number of elements of a shape; `None` on overflow.
pub fn count(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

impl Tensor {
    /// Wraps bytes; `None` when their number does not fit element type and shape, or for strings. Bits behind the last
    /// element (of types below one byte) are cleared, so that equal numbers are equal bytes.
    pub fn from_bytes(elem: Elem, dims: impl Into<Vec<usize>>, bytes: impl Into<Bytes>) -> Option<Self> {
        let (dims, bytes) = (dims.into(), bytes.into());
        let elements = count(&dims)?;
        let fits = elem != Elem::Str && elem.byte_len(elements)? == bytes.len();
        fits.then(|| Tensor { elem, dims, data: Data::Bytes(clear_behind(bytes, elements * elem.bits())), rand: None })
    }

    /// A tensor of numbers.
    ///
    /// # Panics
    /// When `values` are not as many as `dims` says: a mistake of the calling code, never of input data.
    pub fn new<T: Number>(dims: impl Into<Vec<usize>>, values: Vec<T>) -> Self {
        let dims = dims.into();
        assert_eq!(count(&dims), Some(values.len()), "element count of shape {dims:?}");
        let bytes = Bytes::copy_from_slice(bytemuck::cast_slice(&values));
        Tensor { elem: T::ELEM, dims, data: Data::Bytes(bytes), rand: None }
    }

    /// A tensor of booleans; panics like [`Tensor::new`].
    pub fn bools(dims: impl Into<Vec<usize>>, values: Vec<bool>) -> Self {
        let bytes: Vec<u8> = values.into_iter().map(u8::from).collect();
        Tensor { elem: Elem::Bool, ..Tensor::new(dims, bytes) }
    }

    /// A tensor of strings; panics like [`Tensor::new`].
    pub fn strings(dims: impl Into<Vec<usize>>, values: Vec<Bytes>) -> Self {
        let dims = dims.into();
        assert_eq!(count(&dims), Some(values.len()), "element count of shape {dims:?}");
        Tensor { elem: Elem::Str, dims, data: Data::Strings(values.into()), rand: None }
    }

    /// A tensor of rank 0.
    pub fn scalar<T: Number>(value: T) -> Self {
        Tensor::new(Vec::new(), vec![value])
    }

    /// Element type in memory.
    pub fn elem(&self) -> Elem {
        self.elem
    }

    /// Extents.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// True when an extent is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its type (without quantization).
    pub fn ty(&self) -> TensorType {
        TensorType::of(self.elem, &self.dims)
    }

    /// The packed bytes; empty for strings.
    pub fn bytes(&self) -> Bytes {
        match &self.data {
            Data::Bytes(bytes) => bytes.clone(),
            Data::Strings(_) => Bytes::new(),
        }
    }

    /// The strings, if it is a tensor of strings.
    pub fn as_strings(&self) -> Option<&[Bytes]> {
        match &self.data {
            Data::Strings(strings) => Some(strings),
            Data::Bytes(_) => None,
        }
    }

    /// The numbers without conversion, if `T` is the element type (booleans are not `u8`; see [`Tensor::to_bools`]).
    pub fn values<T: Number>(&self) -> Option<Cow<'_, [T]>> {
        if T::ELEM != self.elem {
            return None;
        }
        let Data::Bytes(bytes) = &self.data else { return None };
        Some(match bytemuck::try_cast_slice(bytes) {
            Ok(slice) => Cow::Borrowed(slice),
            Err(_) => Cow::Owned(bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()),
        })
    }

    /// The booleans, if it is a tensor of booleans.
    pub fn to_bools(&self) -> Option<Vec<bool>> {
        (self.elem == Elem::Bool).then(|| self.bytes().iter().map(|&b| b != 0).collect())
    }

    /// Any numeric or boolean tensor as doubles (exact up to 2^53); `None` for strings and complex numbers.
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        let bytes = self.bytes();
        macro_rules! widen {
            ($t:ty) => {
                self.values::<$t>()?.iter().map(|&v| v as f64).collect()
            };
        }
        Some(match self.elem {
            Elem::F32 => widen!(f32),
            Elem::F64 => widen!(f64),
            Elem::I8 => widen!(i8),
            Elem::U8 => widen!(u8),
            Elem::I16 => widen!(i16),
            Elem::U16 => widen!(u16),
            Elem::I32 => widen!(i32),
            Elem::U32 => widen!(u32),
            Elem::I64 => widen!(i64),
            Elem::U64 => widen!(u64),
            Elem::F16 => self.values::<half::f16>()?.iter().map(|v| v.to_f64()).collect(),
            Elem::Bf16 => self.values::<half::bf16>()?.iter().map(|v| v.to_f64()).collect(),
            Elem::Bool => bytes.iter().map(|&b| f64::from(b != 0)).collect(),
            Elem::Str | Elem::C64 | Elem::C128 => return None,
            small => crate::small_float::unpack(small, &bytes, self.len()),
        })
    }

    /// Any numeric or boolean tensor as singles; `None` for strings and complex numbers.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        match self.values::<f32>() {
            Some(values) => Some(values.into_owned()),
            None => Some(self.to_f64()?.into_iter().map(|v| v as f32).collect()),
        }
    }

    /// Any integer or boolean tensor as 64-bit integers; `None` for other element types.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        match self.elem {
            Elem::I64 => Some(self.values::<i64>()?.into_owned()),
            Elem::U64 => Some(self.values::<u64>()?.iter().map(|&v| v as i64).collect()),
            e if e.is_int() || e == Elem::Bool => Some(self.to_f64()?.into_iter().map(|v| v as i64).collect()),
            _ => None,
        }
    }

    /// Packs doubles into any numeric element type, rounding to nearest even and saturating; `None` for strings and complex.
    ///
    /// # Panics
    /// Like [`Tensor::new`].
    pub fn from_f64(elem: Elem, dims: impl Into<Vec<usize>>, values: &[f64]) -> Option<Self> {
        let dims = dims.into();
        assert_eq!(count(&dims), Some(values.len()), "element count of shape {dims:?}");
        macro_rules! narrow {
            ($t:ty) => {
                Tensor::new(dims, values.iter().map(|&v| v as $t).collect::<Vec<$t>>())
            };
        }
        macro_rules! round {
            ($t:ty) => {
                Tensor::new(dims, values.iter().map(|&v| v.round_ties_even() as $t).collect::<Vec<$t>>())
            };
        }
        Some(match elem {
            Elem::F32 => narrow!(f32),
            Elem::F64 => narrow!(f64),
            Elem::I8 => round!(i8),
            Elem::U8 => round!(u8),
            Elem::I16 => round!(i16),
            Elem::U16 => round!(u16),
            Elem::I32 => round!(i32),
            Elem::U32 => round!(u32),
            Elem::I64 => round!(i64),
            Elem::U64 => round!(u64),
            Elem::F16 => Tensor::new(dims, values.iter().map(|&v| half::f16::from_f64(v)).collect::<Vec<_>>()),
            Elem::Bf16 => Tensor::new(dims, values.iter().map(|&v| half::bf16::from_f64(v)).collect::<Vec<_>>()),
            Elem::Bool => Tensor::bools(dims, values.iter().map(|&v| v != 0.0).collect()),
            Elem::Str | Elem::C64 | Elem::C128 => return None,
            small => Tensor::from_bytes(small, dims, crate::small_float::pack(small, values))?,
        })
    }

    /// The same bytes under another shape; `None` when the element counts differ.
    pub fn reshaped(&self, dims: impl Into<Vec<usize>>) -> Option<Self> {
        let dims = dims.into();
        (count(&dims)? == self.len()).then(|| Tensor { elem: self.elem, dims, data: self.data.clone(), rand: None })
    }

    /// The part of the extents `dims` that begins at `starts`; `None` when it does not lie inside.
    pub fn window(&self, starts: &[usize], dims: &[usize]) -> Option<Self> {
        let rank = self.dims.len();
        let ends = starts.iter().zip(dims).map(|(s, d)| s.checked_add(*d)).collect::<Option<Vec<usize>>>()?;
        if starts.len() != rank || dims.len() != rank || ends.iter().zip(&self.dims).any(|(end, whole)| end > whole) {
            return None;
        }
        if dims == self.dims {
            return Some(self.clone());
        }
        // Positions in row-major order, the last axis in one run.
        let run = dims.last().copied().unwrap_or(1);
        let rows = count(dims)?.checked_div(run).unwrap_or(0);
        let position = |mut row: usize| {
            let (mut at, mut stride) = (0, 1);
            for axis in (0..rank).rev() {
                let index = if axis + 1 == rank { 0 } else { row % dims[axis] };
                row = if axis + 1 == rank { row } else { row / dims[axis] };
                at += (starts[axis] + index) * stride;
                stride *= self.dims[axis];
            }
            at
        };
        let runs = (0..rows).map(|row| position(row)..position(row) + run);
        if let Data::Strings(strings) = &self.data {
            let picked: Arc<[Bytes]> = runs.flat_map(|run| strings[run].iter().cloned()).collect();
            return Some(Tensor { elem: self.elem, dims: dims.to_vec(), data: Data::Strings(picked), rand: None });
        }
        let (bytes, bits) = (self.bytes(), self.elem.bits());
        if bits % 8 == 0 {
            let picked: Vec<u8> = runs.flat_map(|run| &bytes[run.start * bits / 8..run.end * bits / 8]).copied().collect();
            return Tensor::from_bytes(self.elem, dims, picked);
        }
        let mut picked = vec![0u8; self.elem.byte_len(count(dims)?)?];
        let from = runs.flat_map(|run| run.start * bits..run.end * bits);
        for (to, from) in from.enumerate() {
            picked[to / 8] |= (bytes[from / 8] >> (from % 8) & 1) << (to % 8);
        }
        Tensor::from_bytes(self.elem, dims, picked)
    }

    /// Draws numbers from a seed: equal arguments give equal tensors on every machine.
    pub fn random(elem: Elem, dims: impl Into<Vec<usize>>, rand: Rand) -> Option<Self> {
        let dims = dims.into();
        let n = count(&dims).filter(|&n| n <= 1 << 28)?;
        let (low, high) = rand.within.unwrap_or(match elem.int_range() {
            Some((lo, hi)) if elem.bits() <= 8 => (lo as f64, hi as f64 + 1.0),
            _ if elem.is_float() => (-1.0, 1.0),
            _ if elem == Elem::Bool => (0.0, 2.0),
            _ => (0.0, 100.0),
        });
        let mut state = rand.seed;
        let values: Vec<f64> = (0..n)
            .map(|_| {
                let v = low + (high - low) * unit(&mut state);
                if elem.is_float() { v } else { v.floor() }
            })
            .collect();
        Some(Tensor { rand: Some(rand), ..Tensor::from_f64(elem, dims, &values)? })
    }

    /// The seed it was drawn from, if it was.
    pub fn rand(&self) -> Option<Rand> {
        self.rand
    }
}

/// Clears the bits of the last byte that are not among the first `bits`.
fn clear_behind(bytes: Bytes, bits: usize) -> Bytes {
    let used = bits % 8;
    if used == 0 || bytes.last().is_none_or(|last| last >> used == 0) {
        return bytes;
    }
    let mut cleared = bytes.to_vec();
    cleared.iter_mut().rev().take(1).for_each(|last| *last &= (1 << used) - 1);
    cleared.into()
}

/// A number in [0, 1) from SplitMix64 (Steele, Lea, Flood 2014).
fn unit(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}
