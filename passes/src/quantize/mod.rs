//! Quantization: which tensors are stored as integers, with which scales, and how that is written down.

pub mod moments;
pub mod placement;
pub mod rounding;
pub mod scales;
pub(crate) mod writer;
