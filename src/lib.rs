//! `spaceevo`: compiler-style INT8 model transformation.
//!
//! The façade: what integrators and the command line use. A graph is read, a pipeline of passes runs on it, and it is
//! written again; [`convert`] does the whole job with calibration and verification.

pub mod convert;
pub mod samples;

pub use spaceevo_cost as cost;
pub use spaceevo_ir as ir;
pub use spaceevo_onnx as onnx;
pub use spaceevo_passes as passes;
