//! Channel counts: which values share one, how many channels the kernels of a target like, and what padding costs.
//!
//! A padded channel holds whatever its ops make of zeros, and is only ever multiplied with zero weights: 0 times a finite
//! number is 0, and a sum with one more 0 is the same sum. So the network computes the same bits with any number of them.

pub mod extend;
pub mod groups;
pub mod plan;
pub mod price;

#[cfg(test)]
mod tests;
