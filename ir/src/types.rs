//! Types of values: element types, shapes, and quantization.
//!
//! Quantization lives in the type: `qu8(0.02, 128)[1,3,8,8]` is a tensor of real numbers stored as unsigned bytes with
//! `real = scale * (stored - zero)`. Everything that is said about INT8 in this project is said about such types.

use std::fmt;
use std::sync::Arc;

use crate::space::Expr;

/// An interned-by-sharing name. Cloning costs a reference count.
pub type Symbol = Arc<str>;

macro_rules! elems {
    ($($variant:ident $short:literal $code:literal $bits:literal $doc:literal;)*) => {
        /// Element type of a tensor: every element type of ONNX (`TensorProto.DataType`).
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum Elem { $(#[doc = $doc] $variant),* }

        impl Elem {
            /// Every element type, in the order of ONNX's codes.
            pub const ALL: &'static [Elem] = &[$(Elem::$variant),*];
            /// The word of the text format.
            pub const fn short(self) -> &'static str { match self { $(Elem::$variant => $short),* } }
            /// Inverse of [`Elem::short`].
            pub fn from_short(text: &str) -> Option<Elem> { match text { $($short => Some(Elem::$variant),)* _ => None } }
            /// ONNX's `TensorProto.DataType` number.
            pub const fn onnx_code(self) -> i32 { match self { $(Elem::$variant => $code),* } }
            /// Inverse of [`Elem::onnx_code`].
            pub const fn from_onnx_code(code: i32) -> Option<Elem> { match code { $($code => Some(Elem::$variant),)* _ => None } }
            /// Bits that one element takes in packed storage; 0 for strings.
            pub const fn bits(self) -> usize { match self { $(Elem::$variant => $bits),* } }
        }
    };
}

elems! {
    F32 "f32" 1 32 "IEEE single";
    U8 "u8" 2 8 "unsigned byte";
    I8 "i8" 3 8 "signed byte";
    U16 "u16" 4 16 "unsigned 16 bit";
    I16 "i16" 5 16 "signed 16 bit";
    I32 "i32" 6 32 "signed 32 bit";
    I64 "i64" 7 64 "signed 64 bit";
    Str "str" 8 0 "byte string, UTF-8 by convention";
    Bool "bool" 9 8 "boolean, one byte";
    F16 "f16" 10 16 "IEEE half";
    F64 "f64" 11 64 "IEEE double";
    U32 "u32" 12 32 "unsigned 32 bit";
    U64 "u64" 13 64 "unsigned 64 bit";
    C64 "c64" 14 64 "complex of two singles";
    C128 "c128" 15 128 "complex of two doubles";
    Bf16 "bf16" 16 16 "bfloat16";
    F8E4M3FN "f8e4m3fn" 17 8 "float8, finite";
    F8E4M3FNUZ "f8e4m3fnuz" 18 8 "float8, finite, no negative zero";
    F8E5M2 "f8e5m2" 19 8 "float8 with infinities";
    F8E5M2FNUZ "f8e5m2fnuz" 20 8 "float8, finite, no negative zero";
    U4 "u4" 21 4 "unsigned nibble, two per byte, low first";
    I4 "i4" 22 4 "signed nibble, two per byte, low first";
    F4E2M1 "f4e2m1" 23 4 "float4, two per byte, low first";
    F8E8M0 "f8e8m0" 24 8 "power-of-two scale";
    U2 "u2" 25 2 "unsigned crumb, four per byte, low first";
    I2 "i2" 26 2 "signed crumb, four per byte, low first";
    F6E2M3 "f6e2m3" 27 6 "float6, packed, little endian";
    F6E3M2 "f6e3m2" 28 6 "float6, packed, little endian";
}

impl Elem {
    /// True for the floating-point types of every width.
    pub const fn is_float(self) -> bool {
        use Elem::*;
        matches!(
            self,
            F32 | F16 | F64 | Bf16 | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F4E2M1 | F8E8M0 | F6E2M3 | F6E3M2
        )
    }

    /// True for signed and unsigned integers of every width; not for booleans.
    pub const fn is_int(self) -> bool {
        use Elem::*;
        matches!(self, U8 | I8 | U16 | I16 | I32 | I64 | U32 | U64 | U4 | I4 | U2 | I2)
    }

    /// Smallest and largest value of an integer type of up to 32 bits; what a quantized type saturates to.
    pub const fn int_range(self) -> Option<(i64, i64)> {
        use Elem::*;
        match self {
            U8 => Some((0, 255)),
            I8 => Some((-128, 127)),
            U16 => Some((0, 65535)),
            I16 => Some((-32768, 32767)),
            I32 => Some((i32::MIN as i64, i32::MAX as i64)),
            U32 => Some((0, u32::MAX as i64)),
            U4 => Some((0, 15)),
            I4 => Some((-8, 7)),
            U2 => Some((0, 3)),
            I2 => Some((-2, 1)),
            _ => None,
        }
    }

    /// Bytes that `count` elements take in packed storage; `None` on overflow.
    pub fn byte_len(self, count: usize) -> Option<usize> {
        Some(count.checked_mul(self.bits())?.checked_add(7)? / 8)
    }
}

impl fmt::Display for Elem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// One extent of a shape.
#[derive(Clone, PartialEq, Debug)]
pub enum Dim {
    /// A known extent.
    Known(u64),
    /// A symbolic extent: equal names are equal extents (`dim_param` of ONNX).
    Named(Symbol),
    /// An extent that depends on search parameters.
    Expr(Arc<Expr>),
    /// Nothing is known.
    Unknown,
}

impl Dim {
    /// The extent, if known.
    pub fn known(&self) -> Option<u64> {
        match self {
            Dim::Known(n) => Some(*n),
            _ => None,
        }
    }
}

impl From<u64> for Dim {
    fn from(n: u64) -> Self {
        Dim::Known(n)
    }
}

/// Shape of a tensor. `None` as a whole (in [`TensorType::shape`]) means that even the rank is unknown.
pub type Shape = Vec<Dim>;

/// How real numbers are stored as integers: `real = scale * (stored - zero)` (ONNX `DequantizeLinear`).
///
/// One `scale` and `zero` for the whole tensor, or, with `axis`, one of each per index of that axis.
/// `zero` may have one entry while `scale` has many: it then holds for all of them.
#[derive(Clone, PartialEq, Debug)]
pub struct Quant {
    /// Integer type that holds the stored numbers; the types that [`Elem::int_range`] knows.
    pub store: Elem,
    /// The axis along which scales differ.
    pub axis: Option<usize>,
    /// Positive, finite steps.
    pub scale: Vec<f32>,
    /// The stored number that means 0.
    pub zero: Vec<i32>,
}

impl Quant {
    /// One scale and zero point for the whole tensor.
    pub fn per_tensor(store: Elem, scale: f32, zero: i32) -> Self {
        Quant { store, axis: None, scale: vec![scale], zero: vec![zero] }
    }

    /// Scale and zero point at index `channel` of the axis (or of the whole tensor).
    pub fn at(&self, channel: usize) -> (f32, i32) {
        let pick = |len: usize| if len == 1 { 0 } else { channel };
        (self.scale[pick(self.scale.len())], self.zero[pick(self.zero.len())])
    }

    /// Smallest and largest real number that the type can hold, per tensor.
    pub fn real_range(&self) -> Option<(f32, f32)> {
        if self.axis.is_some() {
            return None;
        }
        let (lo, hi) = self.store.int_range()?;
        let (scale, zero) = self.at(0);
        Some(((lo - zero as i64) as f32 * scale, (hi - zero as i64) as f32 * scale))
    }
}

/// Type of a tensor. With `quant`, `elem` is the real type it stands for (f32) and `quant.store` what is in memory.
#[derive(Clone, PartialEq, Debug)]
pub struct TensorType {
    /// Element type of the numbers it stands for.
    pub elem: Elem,
    /// `None`: the rank is unknown.
    pub shape: Option<Shape>,
    /// How they are stored, when not as they are.
    pub quant: Option<Arc<Quant>>,
}

impl TensorType {
    /// A type of known rank without quantization.
    pub fn new(elem: Elem, shape: impl Into<Shape>) -> Self {
        TensorType { elem, shape: Some(shape.into()), quant: None }
    }

    /// A type of entirely known shape.
    pub fn of(elem: Elem, dims: &[usize]) -> Self {
        TensorType::new(elem, dims.iter().map(|&d| Dim::Known(d as u64)).collect::<Vec<_>>())
    }

    /// The element type in memory: `quant.store`, or `elem`.
    pub fn storage(&self) -> Elem {
        self.quant.as_ref().map_or(self.elem, |q| q.store)
    }

    /// Rank, if known.
    pub fn rank(&self) -> Option<usize> {
        self.shape.as_ref().map(Vec::len)
    }

    /// All extents, if all are known.
    pub fn dims(&self) -> Option<Vec<usize>> {
        self.shape.as_ref()?.iter().map(|d| d.known().and_then(|n| usize::try_from(n).ok())).collect()
    }

    /// Extent of one axis, if known.
    pub fn dim(&self, axis: usize) -> Option<usize> {
        self.shape.as_ref()?.get(axis)?.known().and_then(|n| usize::try_from(n).ok())
    }
}

/// Type of a value.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Type {
    /// Not inferred yet (also: values of function bodies, which ONNX leaves untyped).
    #[default]
    Unknown,
    /// A dense tensor.
    Tensor(TensorType),
    /// A sparse tensor (ONNX `SparseTensorProto`).
    Sparse(TensorType),
    /// A list of values of one type.
    Sequence(Box<Type>),
    /// A value or nothing.
    Optional(Box<Type>),
    /// A map from integers or strings.
    Map(Elem, Box<Type>),
}

impl Type {
    /// The tensor type, if it is one.
    pub fn tensor(&self) -> Option<&TensorType> {
        match self {
            Type::Tensor(t) => Some(t),
            _ => None,
        }
    }

    /// Element type of a tensor.
    pub fn elem(&self) -> Option<Elem> {
        self.tensor().map(|t| t.elem)
    }

    /// All extents of a tensor of entirely known shape.
    pub fn dims(&self) -> Option<Vec<usize>> {
        self.tensor()?.dims()
    }

    /// Rank of a tensor, if known.
    pub fn rank(&self) -> Option<usize> {
        self.tensor()?.rank()
    }

    /// Quantization of a tensor.
    pub fn quant(&self) -> Option<&Arc<Quant>> {
        self.tensor()?.quant.as_ref()
    }
}

impl From<TensorType> for Type {
    fn from(t: TensorType) -> Self {
        Type::Tensor(t)
    }
}
