//! Quantization: which tensors are stored as integers, with which scales, and how that is written down and read back.

pub mod balance;
pub mod cut;
pub(crate) mod gate;
pub(crate) mod join;
pub(crate) mod lowering;
pub mod moments;
pub(crate) mod one_scale;
pub mod placement;
pub(crate) mod reader;
pub(crate) mod rescale;
pub mod rounding;
pub mod scalable;
pub mod scales;
pub(crate) mod sized;
pub(crate) mod writer;
