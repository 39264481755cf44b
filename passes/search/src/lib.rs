//! Search: hyperspaces, the tables that say what their stages cost, the Q-T score, evolution, and exact search with proofs.
//!
//! A [`Hyperspace`] is the product over stages of block types and windows of widths. Choosing both for every stage makes a
//! *search space*; choosing depth, kernels, widths and expansions inside of it makes a *subnet*.

pub mod encoding;
pub mod hyperspace;
pub mod page;
pub mod shipped;
pub mod stage_counts;

pub use encoding::{BlockChoice, SubStage, Subnet};
pub use hyperspace::{Block, Choice, Expand, Hyperspace, Stage};
