//! How a graph changes: passes, pipelines, and the manager that runs them.

pub mod affine;
pub mod analysis;
pub mod calibrate;
pub mod clamp;
pub mod count;
pub mod kernel_rules;
pub mod latency;
pub mod linear;
pub mod manager;
pub mod pass;
pub mod passes;
pub mod pipeline;
pub mod price;
pub mod product;
pub mod quantize;
pub mod registry;
pub mod rewrite;
pub mod rule;
pub mod shuffle;
pub mod target;
pub mod target_text;
pub mod unfold;
mod upgrade;
pub mod width;

pub use manager::{Manager, Report, Watch};
pub use pass::{Aborted, Effect, Observer, OptionInfo, OptionKind, Outcome, Pass, PassContext, PassInfo, evenly_spaced};
pub use pipeline::Pipeline;
pub use registry::Registry;
pub use target::Target;
