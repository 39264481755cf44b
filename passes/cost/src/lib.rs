//! Runtimes that execute a graph: tract embedded, ONNX Runtime when it is there.

pub mod machine;
pub mod memory;
pub mod runtime;

pub use runtime::{LoadOptions, ModelSource, Port, Runtime, Session, TensorView};
