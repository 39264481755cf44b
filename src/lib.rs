//! `spaceevo`: compiler-style INT8 model transformation.
//!
//! The façade: what integrators and the command line use. A graph is read, a pipeline of passes runs on it, and it is
//! written again; [`convert`](mod@convert) does the whole job with calibration and verification.
//!
//! ```no_run
//! use spaceevo::{Manager, Pipeline, SaveOptions, Target};
//!
//! # fn main() -> Result<(), Vec<spaceevo::Diagnostic>> {
//! let registry = spaceevo::registry();
//! let target = Target::named("x86-vnni").expect("a shipped target");
//! let pipeline = Pipeline::parse("@simplify", &registry).map_err(|d| vec![d])?;
//! let mut graph = spaceevo::load("model.onnx")?.graph;
//! let report = Manager::new(&registry, &target).run(&pipeline, &mut graph, None);
//! assert!(report.ok());
//! spaceevo::save(&graph, "simple.onnx", &SaveOptions::default()).map_err(|d| vec![d])?;
//! # Ok(()) }
//! ```

pub mod advise;
pub mod compare;
pub mod convert;
pub mod effects;
pub mod file;
pub mod inspect;
mod line_chart;
pub mod line_diff;
pub mod measure;
pub mod measure_report;
pub mod network_times;
pub mod predictor_report;
mod quality;
pub mod reduce;
pub mod rewrite;
pub mod samples;
pub mod space_report;
pub mod spaces;
pub mod staged;
pub mod weights;

pub use file::{Loaded, SaveOptions, load, save};
pub use spaceevo_ir::{Diagnostic, Graph};
pub use spaceevo_passes::{Manager, Pass, Pipeline, Registry, Report, Target};

pub use spaceevo_cost as cost;
pub use spaceevo_egraph as egraph;
pub use spaceevo_ir as ir;
pub use spaceevo_onnx as onnx;
pub use spaceevo_passes as passes;
pub use spaceevo_search as search;

/// Everything that ships: the passes and named pipelines of [`Registry::standard`], and `saturate`, which has a crate of its own.
pub fn registry() -> Registry {
    let mut registry = Registry::standard();
    registry.add(egraph::Saturate);
    registry
}
