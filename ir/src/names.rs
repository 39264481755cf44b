//! Names that are unique in the whole graph, as the text format and ONNX files need them.

use std::collections::HashMap;

use crate::graph::{Graph, ValueId};
use crate::types::Symbol;

/// A name for every live value, by value index: its own where it has one and is the first with it, else with a number
/// appended (`conv.1`), or a bare number where it has none. Inputs and results of the body are named first, so that they
/// keep what callers know them by. Results that nobody reads and that have no name stay without one.
pub fn unique_names(graph: &Graph) -> Vec<Symbol> {
    let mut names: Vec<Symbol> = vec!["".into(); graph.value_bound()];
    let mut taken: HashMap<Symbol, u32> = HashMap::new();
    let body = graph.region(graph.body());
    let mut order: Vec<ValueId> = body.inputs().to_vec();
    order.extend(body.results().iter().filter(|&&v| graph.region_of(v) == Some(graph.body())));
    for region in graph.all_regions() {
        let region = graph.region(region);
        order.extend(region.inputs().iter().chain(region.consts()));
    }
    order.extend(graph.all_ops().iter().flat_map(|&op| graph.op(op).results().to_vec()));
    let mut number = 0u32;
    for value in order {
        if !names[value.index()].is_empty() {
            continue;
        }
        let own = graph.value(value).name().clone();
        if own.is_empty() && graph.use_count(value) == 0 && graph.def_op(value).is_some() {
            continue;
        }
        let mut name = own.clone();
        while name.is_empty() || taken.contains_key(&name) {
            name = if own.is_empty() {
                number += 1;
                (number - 1).to_string().into()
            } else {
                let count = taken.entry(own.clone()).or_insert(0);
                *count += 1;
                format!("{own}.{count}").into()
            };
        }
        taken.insert(name.clone(), 0);
        names[value.index()] = name;
    }
    names
}
