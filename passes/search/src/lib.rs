//! Search: hyperspaces, the tables that say what their stages cost, the Q-T score, evolution, and exact search with proofs.
//!
//! A [`Hyperspace`] is the product over stages of block types and windows of widths. Choosing both for every stage makes a
//! *search space*; choosing depth, kernels, widths and expansions inside of it makes a *subnet*.

pub mod agreement;
pub mod best;
pub mod best_space;
pub mod block_cache;
pub mod block_log;
pub mod certificate;
pub mod check;
pub mod consistent;
pub mod coverage;
pub mod encoding;
pub mod enumerate;
pub mod evolution;
pub mod exact;
pub mod front;
mod grid;
mod halves;
pub mod hyperspace;
pub mod log;
pub mod moves;
pub mod nas_bench_macro;
pub mod next;
pub mod objectives;
pub mod one_block;
pub mod page;
pub mod pool;
pub mod random;
pub mod rank;
pub mod recover;
pub mod sample;
pub mod sampled;
pub mod score;
pub mod share;
pub mod source;
pub mod space_certificate;
pub mod stage_counts;
pub mod subnet;
pub mod subnet_log;
pub mod subnet_moves;
pub mod table_sum;
pub mod tables;
mod tail;
pub mod tilt;

pub use encoding::{BlockChoice, SubStage, Subnet};
pub use hyperspace::{Block, Choice, Expand, Hyperspace, Stage};
pub use pool::{Pool, Terms};
pub use score::{Formula, LimitScore, Score};
pub use tables::Tables;
