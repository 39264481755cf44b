//! What would make a network faster on a target if it were trained again.
//!
//! Each substitution of the effect `retrain` is tried on a copy of the graph, and the target's prices say what the result
//! would take: its cheapest placement against that of the network as it is. Nothing runs, and nothing is changed.
//! [`applied`] goes further: every suggestion is converted, and priced kernel by kernel, or timed.

pub mod applied;

use serde::Serialize;
use spaceevo_cost::measure::statistics::Estimate;
use spaceevo_ir::{Diagnostic, Graph, Loc};
use spaceevo_passes::quantize::placement::Placement;
use spaceevo_passes::{Registry, Target};

use crate::rewrite::rewrite;

/// The substitutions, as pipelines take them; `drop-se` without samples, which takes as long as with them.
const SUBSTITUTIONS: &[&str] =
    &["substitute-silu", "substitute-silu{by=relu}", "drop-se{gate=one}", "shrink-kernels", "substitute-prelu"];

/// What a network takes, and what it could.
#[derive(Clone, Debug, Serialize)]
pub struct Advice {
    /// Target.
    pub target: String,
    /// The machine that the prices were measured on.
    pub machine: String,
    /// What predicts: `table` (the target's prices of ops), or `predictor` (kernels of the converted networks).
    pub predicted_by: &'static str,
    /// Predicted microseconds as the network is, at its cheapest placement.
    pub as_is_us: f64,
    /// Predicted microseconds all in float.
    pub float_us: f64,
    /// The same as measured, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Timed>,
    /// What changes something, the largest gain first.
    pub suggestions: Vec<Suggestion>,
}

/// How long the network takes on this machine.
#[derive(Clone, Debug, Serialize)]
pub struct Timed {
    /// The runtime and its version.
    pub runtime: String,
    /// This machine.
    pub machine: String,
    /// Microseconds as it is, converted.
    pub as_is_us: f64,
    /// Microseconds in float.
    pub float_us: f64,
    /// How many times as fast the converted network is.
    pub speedup: Estimate,
    /// Whether all ratios became as sure as was asked for.
    pub sure: bool,
    /// Signs that the machine was not ours.
    pub disturbed: Vec<String>,
}

impl Advice {
    /// The largest predicted gain first.
    fn sort(&mut self) {
        self.suggestions.sort_by(|a, b| b.speedup.total_cmp(&a.speedup));
    }
}

/// A substitution and what it would gain.
#[derive(Clone, Debug, Serialize)]
pub struct Suggestion {
    /// The pass, as `convert --apply` takes it.
    pub pass: String,
    /// Ops that it would rewrite.
    pub ops: usize,
    /// Predicted microseconds afterwards.
    pub us: f64,
    /// How many times as fast the network would be.
    pub speedup: f64,
    /// How many times as fast it is with the suggestion applied, if that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Estimate>,
}

impl Suggestion {
    /// What the predicted speedup is off by, as a part of the measured one.
    pub fn error(&self) -> Option<f64> {
        self.measured.map(|measured| self.speedup / measured.median - 1.0)
    }
}

/// Tries every substitution on a float model.
///
/// Errors: `no-prices` when the target has none; those of the passes that simplify the model.
pub fn advise(graph: &Graph, target: &Target, registry: &Registry) -> Result<Advice, Vec<Diagnostic>> {
    let Some(prices) = &target.prices else {
        let message = format!("the target '{}' has no prices, so that nothing can be predicted", target.name);
        let note = "'spaceevo-opt measure-ops -o here.toml' measures them on this machine: pass --target here.toml then";
        return Err(vec![Diagnostic::error("no-prices", Loc::Unknown, message).note(note)]);
    };
    let mut graph = graph.clone();
    run(crate::convert::PREPARE, &mut graph, target, registry)?;
    let (as_is, float) = predicted(&graph, target).unwrap_or_default();
    let mut suggestions = Vec::new();
    for pass in SUBSTITUTIONS {
        let mut changed = graph.clone();
        let ops = run(pass, &mut changed, target, registry)?;
        if ops == 0 {
            continue;
        }
        run("@simplify", &mut changed, target, registry)?;
        let us = predicted(&changed, target).unwrap_or_default().0;
        let pass = pass.replace("{gate=one}", "");
        suggestions.push(Suggestion { pass, ops, us, speedup: ratio(as_is, us), measured: None });
    }
    let mut advice = Advice {
        target: target.name.clone(),
        machine: prices.provenance.machine.clone(),
        predicted_by: "table",
        as_is_us: as_is,
        float_us: float,
        measured: None,
        suggestions,
    };
    advice.sort();
    Ok(advice)
}

/// How many times as fast; 1 where nothing is known.
fn ratio(before: f64, after: f64) -> f64 {
    if after > 0.0 { before / after } else { 1.0 }
}

/// Runs a pipeline; returns how many rewrites its first pass made.
fn run(pipeline: &str, graph: &mut Graph, target: &Target, registry: &Registry) -> Result<usize, Vec<Diagnostic>> {
    Ok(rewrite(pipeline, graph, target, registry)?.runs.first().map_or(0, |run| run.rewrites))
}

/// Predicted microseconds at the cheapest placement and all in float.
fn predicted(graph: &Graph, target: &Target) -> Option<(f64, f64)> {
    let predicted = Placement::plan(graph, target, &|_, _| None).prediction()?;
    Some((predicted.chosen / 1e3, predicted.float / 1e3))
}
