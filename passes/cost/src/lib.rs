//! Runtimes that execute a graph (tract embedded, ONNX Runtime when it is there), and what ops cost on them.

pub mod kernels;
pub mod learn_fusions;
pub mod machine;
pub mod measure;
pub mod measure_ops;
pub mod memory;
pub mod predictor;
pub mod runtime;

pub use runtime::{LoadOptions, ModelSource, Port, Runtime, Session, TensorView};
