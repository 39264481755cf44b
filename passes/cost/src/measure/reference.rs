//! The network that every other one is measured beside.

use spaceevo_ir::Graph;
use spaceevo_ir::text::{self, NoBlobs};

/// Name in reports and stores; the number changes if the network ever does.
pub const NAME: &str = "reference-1";

/// The network (`reference.seir`).
pub fn graph() -> Graph {
    let parsed = text::parse(include_str!("reference.seir"), "reference.seir", &NoBlobs);
    match (parsed.graph, parsed.diagnostics.is_empty()) {
        (Some(graph), true) => graph,
        _ => unreachable!("the reference network is a text that a test reads"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::load::{Model, load};
    use crate::runtime::{ModelSource, tract::Tract};

    /// If this fails because the network was changed: give it another name, since ratios to it are kept.
    #[test]
    fn the_reference_is_the_one_that_ratios_were_recorded_with() {
        let text = include_str!("reference.seir");
        let network = &text[text.find("graph").unwrap()..];
        let hash = crate::measure::store::hash(network.as_bytes());
        assert_eq!((NAME, hash.as_str()), ("reference-1", "90f1a2a3a81a7e922f14593795c6ad15"));
    }

    #[test]
    fn the_reference_runs_where_nothing_is_installed() {
        let graph = graph();
        let model = Model { source: ModelSource::Graph(&graph), shapes: &Default::default() };
        let mut reference = load(&Tract, &[model], 1, 2).unwrap().remove(0);
        assert_eq!(reference.sessions.len(), 2);
        let outputs = reference.sessions[1].run(&reference.inputs).unwrap();
        let numbers = outputs[0].to_f64().unwrap();
        assert_eq!(outputs[0].dims(), [1, 32, 28, 28]);
        assert!(numbers.iter().all(|n| n.is_finite()) && numbers.iter().any(|&n| n > 0.0));
    }
}
