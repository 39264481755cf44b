//! Quantization: which tensors are stored as integers, with which scales, and how that is written down and read back.

pub mod balance;
pub mod moments;
pub mod placement;
pub(crate) mod reader;
pub mod rounding;
pub mod scalable;
pub mod scales;
pub(crate) mod writer;
