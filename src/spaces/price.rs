//! What a subnet takes on a target in its best legal form: the cheapest of all networks that compute the same.
//!
//! A search prices subnets as they would be deployed. So a subnet is made a network, equal forms of it are found by the rules (the
//! e-graph of `saturate`) and by padding channels, and the target's prices say which one is the cheapest. Only rewrites of the effects
//! `exact` and `rounding` take part: the best form is the same function.

use serde::Serialize;
use spaceevo_ir::{Diagnostic, Graph, Loc};
use spaceevo_passes::quantize::placement::Placement;
use spaceevo_passes::unfold::Weights;
use spaceevo_passes::{Registry, Target};
use spaceevo_search::{Choice, Subnet};

use super::{Space, concrete};
use crate::convert::PREPARE;
use crate::rewrite::{as_loaded, rewrite};

/// Predicted microseconds of one subnet, each at its cheapest placement of integers and floats.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SubnetPrice {
    /// The machine that the prices were measured on.
    pub machine: String,
    /// As it is written: what only gives names to what is there is folded, nothing else.
    pub written_us: f64,
    /// The best form.
    pub best_us: f64,
    /// The best form all in float.
    pub float_us: f64,
    /// Passes that changed something on the way to the best form, with the number of their rewrites.
    pub passes: Vec<(String, usize)>,
}

/// What makes the form of padded channels, which competes with that of [`PREPARE`] alone.
pub(super) const PADDED: &str = "legalize-width,drop-dead";

impl Space {
    /// Prices a subnet in its best legal form.
    ///
    /// # Errors
    /// `no-prices` when the target has none, and those of [`Space::network`].
    pub fn price(
        &self,
        choice: &Choice,
        subnet: &Subnet,
        target: &Target,
        registry: &Registry,
    ) -> Result<SubnetPrice, Vec<Diagnostic>> {
        let Some(prices) = &target.prices else {
            return Err(no_prices(target));
        };
        let mut written = self.bound(choice, Some(subnet))?;
        // Any weights will do: nothing but extents is priced.
        concrete(&mut written, Weights::Drawn(0))?;
        let mut best: Option<SubnetPrice> = None;
        let mut base = written.clone();
        as_loaded(&mut base, target, registry)?;
        let written_us = predicted(&base, target).0;
        let mut passes = Vec::new();
        for form in [PREPARE, PADDED] {
            passes.extend(rewritten(&mut written, form, target, registry)?);
            let (best_us, float_us) = predicted(&written, target);
            if best.as_ref().is_none_or(|b| best_us < b.best_us) {
                let machine = prices.provenance.machine.clone();
                best = Some(SubnetPrice { machine, written_us, best_us, float_us, passes: passes.clone() });
            }
        }
        best.ok_or_else(Vec::new)
    }
}

/// The complaint about a target that knows no prices.
pub(super) fn no_prices(target: &Target) -> Vec<Diagnostic> {
    let message = format!("the target '{}' has no prices, so that nothing can be predicted", target.name);
    vec![Diagnostic::error("no-prices", Loc::Unknown, message)]
}

/// Runs a pipeline; returns what changed something.
pub(super) fn rewritten(
    graph: &mut Graph,
    pipeline: &str,
    target: &Target,
    registry: &Registry,
) -> Result<Vec<(String, usize)>, Vec<Diagnostic>> {
    let report = rewrite(pipeline, graph, target, registry)?;
    let mut passes: Vec<(String, usize)> = Vec::new();
    for run in report.runs.iter().filter(|run| run.rewrites > 0) {
        match passes.iter_mut().find(|(name, _)| *name == run.pass) {
            Some((_, rewrites)) => *rewrites += run.rewrites,
            None => passes.push((run.pass.to_string(), run.rewrites)),
        }
    }
    Ok(passes)
}

/// Microseconds at the cheapest placement, and all in float.
fn predicted(graph: &Graph, target: &Target) -> (f64, f64) {
    let found = Placement::plan(graph, target, &|_, _| None).prediction();
    found.map_or((0.0, 0.0), |p| (p.chosen / 1e3, p.float / 1e3))
}
