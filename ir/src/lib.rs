//! What a graph is: the IR, its text, its laws, and a reference interpreter.
//!
//! This crate does no I/O, knows no file format but its own text, and does not panic on any input text.

pub mod attr;
pub mod bind;
pub mod block;
pub mod diagnostic;
pub mod domain;
pub mod edit;
pub mod elastic;
pub mod graph;
pub mod interp;
pub mod names;
pub mod nearest;
pub mod schema;
pub mod shape;
mod small_float;
pub mod space;
pub mod tensor;
pub mod text;
pub mod types;
pub mod verify;
pub mod view;

pub use attr::{Attr, Attrs};
pub use diagnostic::{Diagnostic, Severity};
pub use edit::{NewOp, Place};
pub use graph::{
    Def, Function, Graph, Loc, MICROSOFT, ONNX, Op, OpId, OpName, Range, Region, RegionId, SPACE, User, Value, ValueId,
};
pub use tensor::Tensor;
pub use types::{Dim, Elem, Quant, Shape, Symbol, TensorType, Type};
