//! Differences of two models: which ops came, went or changed, and how far their outputs are apart.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Serialize;
use spaceevo_cost::{LoadOptions, ModelSource, Port, Runtime};
use spaceevo_ir::{Diagnostic, Graph, Loc, OpId, Tensor};

use crate::inspect::operators;
use crate::quality::Quality;

/// How two models differ in what they are made of.
#[derive(Clone, Debug, Serialize, Default)]
pub struct Structure {
    /// Inputs and outputs that differ, one line each.
    pub interface: Vec<String>,
    /// Ops of the first model that the second has no counterpart of.
    pub removed: Vec<OpLine>,
    /// Ops of the second model that the first has no counterpart of.
    pub added: Vec<OpLine>,
    /// Ops that both have, and that differ.
    pub changed: Vec<Change>,
    /// Ops that are the same.
    pub equal: usize,
    /// Operators whose number differs: first model, second model.
    pub operators: BTreeMap<String, (usize, usize)>,
}

/// An op by name.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct OpLine {
    /// Name of the node, or of the value it makes.
    pub name: String,
    /// Operator.
    pub operator: String,
}

/// An op that both models have, and how it differs.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// Name of the node, or of the value it makes.
    pub name: String,
    /// Operator in the first model.
    pub operator: String,
    /// What differs, one line each.
    pub what: Vec<String>,
}

impl Structure {
    /// True when nothing differs.
    pub fn is_empty(&self) -> bool {
        self.interface.is_empty() && self.removed.is_empty() && self.added.is_empty() && self.changed.is_empty()
    }
}

/// Compares what two models are made of. Ops are matched by the name of what they make, then by node name.
pub fn structure(a: &Graph, b: &Graph) -> Structure {
    let mut found = Structure { interface: interface(a, b), ..Structure::default() };
    let (before, after) = (operators(a), operators(b));
    for name in before.keys().chain(after.keys()) {
        let pair = (before.get(name).copied().unwrap_or(0), after.get(name).copied().unwrap_or(0));
        if pair.0 != pair.1 {
            found.operators.insert(name.clone(), pair);
        }
    }
    let partners = partners(a, b);
    for op in a.all_ops() {
        match partners.get(&op) {
            None => found.removed.push(line(a, op)),
            Some(&other) => {
                let what = changes(a, op, b, other);
                if what.is_empty() {
                    found.equal += 1;
                } else {
                    let OpLine { name, operator } = line(a, op);
                    found.changed.push(Change { name, operator, what });
                }
            }
        }
    }
    let matched: std::collections::HashSet<OpId> = partners.values().copied().collect();
    found.added = b.all_ops().into_iter().filter(|op| !matched.contains(op)).map(|op| line(b, op)).collect();
    found
}

fn line(graph: &Graph, op: OpId) -> OpLine {
    let node = graph.op(op).loc().node().filter(|n| !n.is_empty()).map(|n| n.to_string());
    let name = node.unwrap_or_else(|| graph.op(op).results().first().map_or(String::new(), |&v| graph.label(v)));
    OpLine { name, operator: graph.op(op).name().to_string() }
}

/// For every op of `a` its counterpart in `b`: the one that makes a value of the same name, or else has the same node name.
/// Names that are not unique match nothing.
fn partners(a: &Graph, b: &Graph) -> HashMap<OpId, OpId> {
    let made = |graph: &Graph, op: OpId| {
        let name = graph.value(*graph.op(op).results().first()?).name().to_string();
        (!name.is_empty()).then_some(name)
    };
    let node = |graph: &Graph, op: OpId| graph.op(op).loc().node().filter(|n| !n.is_empty()).map(|n| n.to_string());
    let mut pairs: HashMap<OpId, OpId> = HashMap::new();
    let mut taken = std::collections::HashSet::new();
    for key in [&made as &dyn Fn(&Graph, OpId) -> Option<String>, &node] {
        let index = |graph: &Graph, skip: &dyn Fn(OpId) -> bool| {
            let mut found: BTreeMap<String, Option<OpId>> = BTreeMap::new();
            for op in graph.all_ops().into_iter().filter(|&op| !skip(op)) {
                if let Some(name) = key(graph, op) {
                    found.entry(name).and_modify(|e| *e = None).or_insert(Some(op));
                }
            }
            found
        };
        let left = index(a, &|op| pairs.contains_key(&op));
        let right = index(b, &|op| taken.contains(&op));
        for (name, op) in left {
            if let (Some(op), Some(Some(other))) = (op, right.get(&name)) {
                pairs.insert(op, *other);
                taken.insert(*other);
            }
        }
    }
    pairs
}

fn changes(a: &Graph, op: OpId, b: &Graph, other: OpId) -> Vec<String> {
    let (x, y) = (a.op(op), b.op(other));
    if x.name() != y.name() {
        // Operands and attributes of another operator mean other things.
        return vec![format!("{} -> {}", x.name(), y.name())];
    }
    let mut what = Vec::new();
    for name in x.attrs().keys().chain(y.attrs().keys().filter(|k| !x.attrs().contains_key(*k))) {
        let (old, new) = (x.attrs().get(name), y.attrs().get(name));
        if old != new {
            let shown = |attr: Option<&spaceevo_ir::Attr>| {
                attr.map_or("absent".to_owned(), |a| a.to_string().chars().take(60).collect())
            };
            what.push(format!("{name} = {} -> {}", shown(old), shown(new)));
        }
    }
    let count = x.operands().len().max(y.operands().len());
    for index in 0..count {
        match (x.operand(index), y.operand(index)) {
            (None, None) => {}
            (Some(v), Some(w)) => {
                let (old, new) = (a.const_of(v), b.const_of(w));
                match (old, new) {
                    (Some(old), Some(new)) if old == new => {}
                    (Some(old), Some(new)) if old.dims() != new.dims() || old.elem() != new.elem() => {
                        what.push(format!("operand {index}: constant {} -> {}", old.ty(), new.ty()));
                    }
                    (Some(_), Some(_)) => what.push(format!("operand {index}: other numbers in {}", a.label(v))),
                    _ if a.value(v).name() == b.value(w).name() => {}
                    _ => what.push(format!("operand {index}: {} -> {}", a.label(v), b.label(w))),
                }
            }
            (Some(v), None) => what.push(format!("operand {index}: {} -> absent", a.label(v))),
            (None, Some(w)) => what.push(format!("operand {index}: absent -> {}", b.label(w))),
        }
    }
    let types = |graph: &Graph, op: OpId| -> Vec<String> {
        graph.op(op).results().iter().map(|&v| graph.value(v).ty().to_string()).collect()
    };
    let (old, new) = (types(a, op), types(b, other));
    // A type that only one file spells out is no difference.
    let told = old.iter().zip(&new).any(|(o, n)| o != n && o != "?" && n != "?");
    if told {
        what.push(format!("{} -> {}", old.join(", "), new.join(", ")));
    }
    what
}

fn interface(a: &Graph, b: &Graph) -> Vec<String> {
    let ports = |graph: &Graph| -> [Vec<(String, String)>; 2] {
        let body = graph.region(graph.body());
        let ty = |v| graph.value(v).ty().to_string();
        let inputs = body.inputs().iter().map(|&v| (graph.value(v).name().to_string(), ty(v))).collect();
        [inputs, body.results().iter().zip(body.result_names()).map(|(&v, n)| (n.to_string(), ty(v))).collect()]
    };
    let mut lines = Vec::new();
    let ([inputs_a, outputs_a], [inputs_b, outputs_b]) = (ports(a), ports(b));
    for (word, old, new) in [("input", inputs_a, inputs_b), ("output", outputs_a, outputs_b)] {
        for (name, ty) in &old {
            match new.iter().find(|(n, _)| n == name) {
                None => lines.push(format!("{word} {name} : {ty} is gone")),
                Some((_, other)) if other != ty => lines.push(format!("{word} {name} : {ty} -> {other}")),
                Some(_) => {}
            }
        }
        for (name, ty) in new.iter().filter(|(n, _)| !old.iter().any(|(o, _)| o == n)) {
            lines.push(format!("{word} {name} : {ty} is new"));
        }
    }
    lines
}

/// Lines of each kind that a person is shown.
const SHOWN: usize = 12;

impl fmt::Display for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "structure: {} ops, all the same", self.equal);
        }
        let (removed, added, changed) = (self.removed.len(), self.added.len(), self.changed.len());
        writeln!(f, "structure: {} ops the same, {removed} removed, {added} added, {changed} changed", self.equal)?;
        let operators = self.operators.iter().map(|(name, (old, new))| format!("{name} {old} -> {new}"));
        list(f, "operators", operators.collect())?;
        list(f, "interface", self.interface.clone())?;
        let line = |op: &OpLine| format!("{} ({})", op.name, op.operator);
        list(f, "removed", self.removed.iter().map(line).collect())?;
        list(f, "added", self.added.iter().map(line).collect())?;
        let changed = self.changed.iter().map(|c| format!("{}: {}", c.name, c.what.join("; ")));
        list(f, "changed", changed.collect())
    }
}

fn list(f: &mut fmt::Formatter<'_>, title: &str, lines: Vec<String>) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(f, "  {title}")?;
    lines.iter().take(SHOWN).try_for_each(|line| writeln!(f, "    {line}"))?;
    if lines.len() > SHOWN {
        writeln!(f, "    … and {} more (--json shows all)", lines.len() - SHOWN)?;
    }
    Ok(())
}

/// How far the outputs of two models are apart.
#[derive(Clone, Debug, Serialize)]
pub struct Numbers {
    /// Runtime that ran both.
    pub runtime: String,
    /// Samples compared.
    pub samples: usize,
    /// Each output.
    pub outputs: Vec<OutputDistance>,
}

/// How far one output of two models is apart.
#[derive(Clone, Debug, Serialize)]
pub struct OutputDistance {
    /// Name.
    pub name: String,
    /// Signal-to-noise ratio in dB, the first model being the signal; `None` when they are equal.
    pub sqnr_db: Option<f64>,
    /// Largest absolute difference.
    pub max_abs: f64,
    /// Share of samples whose largest score is at the same place; `None` when the output is no class vector.
    pub agreement: Option<f64>,
}

/// Runs two models on the same samples and compares their outputs by position.
///
/// Errors: those of the runtime and the samples; `diff-outputs` when outputs cannot be compared.
pub fn numbers(
    a: &Graph,
    b: &Graph,
    runtime: &dyn Runtime,
    count: usize,
    sample: &dyn Fn(usize) -> Result<Vec<Tensor>, Diagnostic>,
) -> Result<Numbers, Diagnostic> {
    let options = LoadOptions { threads: 0, ..LoadOptions::default() };
    let mut first = runtime.load(ModelSource::Graph(a), &options)?;
    let mut second = runtime.load(ModelSource::Graph(b), &options)?;
    if first.outputs().len() != second.outputs().len() {
        let message = format!("the models have {} and {} outputs", first.outputs().len(), second.outputs().len());
        return Err(Diagnostic::error("diff-outputs", Loc::Unknown, message).note("only structure can be compared"));
    }
    let names: Vec<String> = first.outputs().iter().map(|p: &Port| p.name.clone()).collect();
    let mut sums = vec![Quality::default(); names.len()];
    for index in 0..count {
        let inputs = sample(index)?;
        let (x, y) = (first.run(&inputs)?, second.run(&inputs)?);
        for ((sum, name), (x, y)) in sums.iter_mut().zip(&names).zip(x.iter().zip(&y)) {
            add(sum, x, y)
                .map_err(|what| Diagnostic::error("diff-outputs", Loc::Unknown, format!("output '{name}' {what}")))?;
        }
    }
    let distance = |(name, sum): (String, Quality)| OutputDistance {
        name,
        sqnr_db: sum.db(),
        max_abs: sum.max_abs,
        agreement: sum.agreement(),
    };
    let runtime = format!("{} {}", runtime.name(), runtime.version());
    Ok(Numbers { runtime, samples: count, outputs: names.into_iter().zip(sums).map(distance).collect() })
}

/// Adds an output of both models; a sentence when their shapes differ.
fn add(sum: &mut Quality, x: &Tensor, y: &Tensor) -> Result<(), String> {
    if x.dims() != y.dims() {
        return Err(format!("is of shape {:?} in one and {:?} in the other", x.dims(), y.dims()));
    }
    if let (Some(a), Some(b)) = (x.to_f64(), y.to_f64()) {
        sum.add_output(x.dims(), &a, &b);
    }
    Ok(())
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "numbers: on {} samples with {}", self.samples, self.runtime)?;
        for output in &self.outputs {
            let apart = match output.sqnr_db {
                None => "equal".to_owned(),
                Some(db) => format!("SQNR {db:.1} dB, at most {:.3e} apart", output.max_abs),
            };
            let agreement = output.agreement.map_or(String::new(), |a| format!(", top class agrees on {:.1} %", 100.0 * a));
            writeln!(f, "  {:<24} {apart}{agreement}", output.name)?;
        }
        Ok(())
    }
}
