//! Names that are unique where the text format needs them to be.

use std::collections::{HashMap, HashSet};

use crate::graph::{Graph, RegionId, ValueId};
use crate::types::Symbol;

/// A name for every live value, by value index: its own where it has one and is the first with it, else with a number
/// appended (`conv.1`), or a bare number where it has none.
///
/// A name differs from all others of its region and of the regions around it; regions side by side, and functions, may use
/// the same names, as in ONNX files. Inputs and results of the body are named first, so that they keep what callers know
/// them by. Results that nobody reads and that have no name stay without one.
pub fn unique_names(graph: &Graph) -> Vec<Symbol> {
    let mut names: Vec<Symbol> = vec!["".into(); graph.value_bound()];
    let regions = graph.all_regions();
    let own: Vec<(RegionId, Vec<ValueId>)> = regions.iter().map(|&region| (region, values_of(graph, region))).collect();
    // Made-up names avoid every name in the graph, so that no value loses its own to one.
    let reserved: HashSet<&Symbol> = own.iter().flat_map(|(_, values)| values).map(|&v| graph.value(v).name()).collect();
    let mut taken: HashMap<RegionId, HashSet<Symbol>> = HashMap::new();
    let mut counts: HashMap<&Symbol, u64> = HashMap::new();
    let mut number = 0u64;
    for (region, values) in &own {
        for &value in values {
            if !names[value.index()].is_empty() {
                continue;
            }
            let wanted = graph.value(value).name();
            let mut name = wanted.clone();
            while name.is_empty() || is_taken(graph, &taken, *region, &name) || name != *wanted && reserved.contains(&name) {
                if wanted.is_empty() {
                    name = number.to_string().into();
                    number += 1;
                } else {
                    let count = counts.entry(wanted).or_insert(0);
                    *count += 1;
                    name = format!("{wanted}.{count}").into();
                }
            }
            taken.entry(*region).or_default().insert(name.clone());
            names[value.index()] = name;
        }
    }
    names
}

/// Values of a region that need a name, in the order in which they get one.
fn values_of(graph: &Graph, id: RegionId) -> Vec<ValueId> {
    let region = graph.region(id);
    let mut values = region.inputs().to_vec();
    if region.owner().is_none() {
        values.extend(region.results().iter().filter(|&&v| graph.region_of(v) == Some(id)));
    }
    values.extend(region.consts());
    values.extend(graph.ops_in(id).flat_map(|op| graph.op(op).results()));
    let named = |&v: &ValueId| {
        let absent = graph.value(v).name().is_empty() && graph.use_count(v) == 0 && graph.def_op(v).is_some();
        !absent
    };
    values.into_iter().filter(named).collect()
}

/// True when the region or one around it uses the name.
fn is_taken(graph: &Graph, taken: &HashMap<RegionId, HashSet<Symbol>>, region: RegionId, name: &Symbol) -> bool {
    let outwards = |&region: &RegionId| graph.region(region).owner().map(|op| graph.op(op).region());
    std::iter::successors(Some(region), outwards).any(|r| taken.get(&r).is_some_and(|names| names.contains(name)))
}
