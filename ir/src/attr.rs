//! Attributes of ops.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::space::Expr;
use crate::tensor::Tensor;
use crate::types::{Symbol, Type};

/// Begins the names of attributes that say something about an op and are none of the operator's: every op may have them, and no file
/// of another format gets them.
pub const NOTE: &str = "note.";

/// Attributes by name; ordered, so that printing never depends on hashing.
pub type Attrs = BTreeMap<Symbol, Attr>;

/// Value of an attribute. Subgraphs are not here: they are regions of the op (see [`crate::graph::Op::regions`]).
#[derive(Clone, PartialEq, Debug)]
pub enum Attr {
    /// An integer.
    Int(i64),
    /// A single.
    Float(f32),
    /// A byte string, UTF-8 by convention.
    Str(Bytes),
    /// A constant tensor.
    Tensor(Tensor),
    /// A sparse constant: values and indices as ONNX stores them, and the dense shape.
    Sparse(Box<SparseTensor>),
    /// A type.
    Type(Type),
    /// Integers.
    Ints(Vec<i64>),
    /// Singles.
    Floats(Vec<f32>),
    /// Strings.
    Strs(Vec<Bytes>),
    /// Tensors.
    Tensors(Vec<Tensor>),
    /// Types.
    Types(Vec<Type>),
    /// Inside a function body: the attribute of that name of the calling op (`ref_attr_name`), of the given ONNX kind.
    Ref(Symbol, i32),
    /// A search expression: that is how a kernel size becomes elastic.
    Expr(Expr),
    /// A list in which search expressions occur: `[$w, 16, $k, $k]`.
    List(Vec<Attr>),
    /// A bare word: `keep = centre`, `pick = plain`.
    Word(Symbol),
}

/// A sparse tensor as ONNX stores it (`SparseTensorProto`).
#[derive(Clone, PartialEq, Debug)]
pub struct SparseTensor {
    /// The non-zero values, rank 1.
    pub values: Tensor,
    /// Linear indices (rank 1) or coordinates (rank 2), i64.
    pub indices: Tensor,
    /// Shape of the dense tensor.
    pub dims: Vec<usize>,
}

impl Attr {
    /// A string attribute from text.
    pub fn text(text: &str) -> Attr {
        Attr::Str(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// The integer, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Attr::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// The number, if it is a float or an integer.
    pub fn as_float(&self) -> Option<f32> {
        match self {
            Attr::Float(x) => Some(*x),
            Attr::Int(n) => Some(*n as f32),
            _ => None,
        }
    }

    /// The text, if it is a UTF-8 string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Attr::Str(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The integers, if it is a list of them (an empty list of any kind counts).
    pub fn as_ints(&self) -> Option<&[i64]> {
        match self {
            Attr::Ints(list) => Some(list),
            Attr::Floats(list) if list.is_empty() => Some(&[]),
            _ => None,
        }
    }

    /// The floats, if it is a list of them.
    pub fn as_floats(&self) -> Option<&[f32]> {
        match self {
            Attr::Floats(list) => Some(list),
            _ => None,
        }
    }

    /// The tensor, if it is one.
    pub fn as_tensor(&self) -> Option<&Tensor> {
        match self {
            Attr::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }
}
