//! Rewrite rules as equalities: a graph in an e-graph, and the cheapest equal graph out of it.
//!
//! ```text
//! graph ──encode──▶ e-graph ──rules──▶ e-graph with all equal forms ──prices──▶ choice ──decode──▶ graph
//! ```
//!
//! The only crate that knows `egg`. [`space`] says what a node is, [`encode`] and [`decode`] lead in and out, [`grow`] applies
//! the rules, [`price`] says what a node costs, and [`extract`] chooses. The pass [`Saturate`] does all of it.

mod decode;
mod encode;
pub mod extract;
mod grow;
mod price;
mod saturate;
mod space;

pub use saturate::{Saturate, problem};
