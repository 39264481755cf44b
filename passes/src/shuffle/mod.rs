//! The order of channels: which ops only move them, and in which order tensors hold them best.
//!
//! A value that such ops make is a list of channels of others, and nothing has to be computed for it. Only who works with
//! numbers needs a tensor, and most of those take the channels in any order: a Conv permutes the columns of its weights,
//! whatever treats each channel by itself hands the order on.

pub mod movers;
pub mod place;
pub mod plan;

#[cfg(test)]
mod tests;
