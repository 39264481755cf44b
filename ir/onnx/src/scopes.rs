//! Names of values in a file: unique where ONNX demands it, and as they were wherever that is possible.
//!
//! A name must differ from all others of its graph and of the graphs around it; graphs side by side, and functions, may use
//! the same names. Inputs and results of the body are known to callers and keep theirs.

use std::collections::{HashMap, HashSet};

use spaceevo_ir::graph::Def;
use spaceevo_ir::{Diagnostic, Graph, Loc, RegionId, Symbol, ValueId};

/// Subgraphs may nest this deep, so that files can be read again (each level is three protobuf messages, of 100 allowed).
const DEEPEST: usize = 30;

/// One result of a region in a file.
#[derive(Clone)]
pub(crate) struct ResultName {
    /// What it is called.
    pub(crate) name: Symbol,
    /// The value has another name: an `Identity` node must make this one of it.
    pub(crate) copy: bool,
}

/// The names of a graph.
pub(crate) struct Names {
    values: Vec<Symbol>,
    results: Vec<Vec<ResultName>>,
}

impl Names {
    /// Name of a value; empty for absent optional results.
    pub(crate) fn of(&self, value: ValueId) -> &Symbol {
        &self.values[value.index()]
    }

    /// Results of a region.
    pub(crate) fn results(&self, region: RegionId) -> &[ResultName] {
        self.results.get(region.index()).map_or(&[], Vec::as_slice)
    }

    /// Chooses names.
    ///
    /// Errors: two inputs or results of the body or of a function that callers know by the same name, subgraphs nested too
    /// deep to be read again.
    pub(crate) fn choose(graph: &Graph) -> Result<Names, Diagnostic> {
        let mut reserved = HashSet::new();
        for region in graph.all_regions() {
            let region_ref = graph.region(region);
            let values = region_ref.inputs().iter().chain(region_ref.consts());
            reserved.extend(values.map(|&v| graph.value(v).name().clone()));
            reserved.extend(region_ref.result_names().iter().cloned());
            let results = graph.ops_in(region).flat_map(|op| graph.op(op).results());
            reserved.extend(results.map(|&v| graph.value(v).name().clone()));
        }
        let names = Names { values: vec!["".into(); graph.value_bound()], results: Vec::new() };
        let mut chooser = Chooser { graph, names, reserved, taken: HashSet::new(), number: 0, counts: HashMap::new() };
        for root in graph.root_regions() {
            chooser.region(root, 0)?;
        }
        Ok(chooser.names)
    }
}

struct Chooser<'g> {
    graph: &'g Graph,
    names: Names,
    /// Every name in the graph: made-up ones avoid them.
    reserved: HashSet<Symbol>,
    /// Names of the regions that are open.
    taken: HashSet<Symbol>,
    /// Of the next nameless value.
    number: u64,
    /// How often a number was appended to a name.
    counts: HashMap<Symbol, u64>,
}

impl Chooser<'_> {
    fn region(&mut self, region: RegionId, depth: usize) -> Result<(), Diagnostic> {
        let graph = self.graph;
        let outermost = depth == 0;
        if depth > DEEPEST {
            let message = format!("subgraphs nest deeper than {DEEPEST}");
            return Err(Diagnostic::error("onnx-inexpressible", Loc::Unknown, message));
        }
        let mut own: Vec<Symbol> = Vec::new();
        let this = graph.region(region);
        for &input in this.inputs() {
            let name = graph.value(input).name();
            if outermost && self.taken.contains(name) {
                return Err(twice(name, "inputs"));
            }
            self.name(input, &mut own);
        }
        let mut results = vec![None; this.results().len()];
        let wanted = |index: usize, value: ValueId| match this.result_names().get(index) {
            Some(name) if !name.is_empty() => name.clone(),
            _ => graph.value(value).name().clone(),
        };
        let is_made_here = |v: ValueId| matches!(graph.value(v).def(), Def::Op(op, _) if graph.op(op).region() == region);
        // Values made here take the name that callers know, those that already bear it first.
        for bears in [true, false] {
            for (index, &value) in this.results().iter().enumerate() {
                let name = wanted(index, value);
                let unnamed = self.names.of(value).is_empty() && is_made_here(value);
                if unnamed
                    && !name.is_empty()
                    && bears == (*graph.value(value).name() == name)
                    && !self.taken.contains(&name)
                {
                    self.give(value, name, &mut own);
                }
            }
        }
        for &value in this.consts() {
            self.name(value, &mut own);
        }
        let mut returned = HashSet::new();
        for (index, &value) in this.results().iter().enumerate() {
            let name = wanted(index, value);
            let here = graph.region_of(value) == Some(region);
            if here && self.names.of(value).is_empty() {
                self.name(value, &mut own);
            }
            // Results of subgraphs go by position: any name will do, but each must be a value of its own, made inside.
            let copy = match outermost {
                true => *self.names.of(value) != name && !name.is_empty(),
                false => !here || !returned.insert(value),
            };
            let name = match copy {
                false => self.names.of(value).clone(),
                true if outermost && self.taken.contains(&name) => return Err(twice(&name, "values")),
                true => self.fresh(&name, &mut own),
            };
            results[index] = Some(ResultName { name, copy });
        }
        let makes: Vec<ValueId> = graph.ops_in(region).flat_map(|op| graph.op(op).results().to_vec()).collect();
        for value in makes {
            let absent = graph.value(value).name().is_empty() && graph.use_count(value) == 0;
            if self.names.of(value).is_empty() && !absent {
                self.name(value, &mut own);
            }
        }
        if self.names.results.len() <= region.index() {
            self.names.results.resize(region.index() + 1, Vec::new());
        }
        self.names.results[region.index()] = results.into_iter().flatten().collect();
        for op in graph.ops_in(region) {
            for (_, inner) in graph.op(op).regions() {
                self.region(*inner, depth + 1)?;
            }
        }
        own.iter().for_each(|name| {
            self.taken.remove(name);
        });
        Ok(())
    }

    /// Gives a value its own name, or one like it.
    fn name(&mut self, value: ValueId, own: &mut Vec<Symbol>) {
        let name = self.fresh(&self.graph.value(value).name().clone(), own);
        self.names.values[value.index()] = name;
    }

    fn give(&mut self, value: ValueId, name: Symbol, own: &mut Vec<Symbol>) {
        self.taken.insert(name.clone());
        own.push(name.clone());
        self.names.values[value.index()] = name;
    }

    /// `wanted`, or with a number appended when it is taken, or a bare number when it is empty.
    fn fresh(&mut self, wanted: &Symbol, own: &mut Vec<Symbol>) -> Symbol {
        let mut name = wanted.clone();
        while name.is_empty() || self.taken.contains(&name) || (name != *wanted && self.reserved.contains(&name)) {
            name = if wanted.is_empty() {
                self.number += 1;
                (self.number - 1).to_string().into()
            } else {
                let count = self.counts.entry(wanted.clone()).or_insert(0);
                *count += 1;
                format!("{wanted}.{count}").into()
            };
        }
        self.taken.insert(name.clone());
        own.push(name.clone());
        name
    }
}

fn twice(name: &str, what: &str) -> Diagnostic {
    Diagnostic::error("onnx-duplicate-name", Loc::Unknown, format!("two {what} shall be called '{name}' in the file"))
        .note("callers know inputs and results by name: rename one of them")
}
