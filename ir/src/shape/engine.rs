//! The walk over a graph: regions in order, nested ones by the op that owns them, functions by their calls.

use std::collections::{BTreeMap, HashMap};

use crate::attr::{Attr, Attrs};
use crate::diagnostic::Diagnostic;
use crate::graph::{Graph, Op, OpId, RegionId, ValueId};
use crate::interp::Fault;
use crate::schema;
use crate::types::{Dim, Symbol, TensorType, Type};

use super::dims::{Num, private_dim, publish};
use super::merge::{join, merge};
use super::site::{MAX_RANK, Site, constant, nums_of};
use super::{control, known, rule};

/// Regions and functions nested deeper than this keep their declared types: each level is a level of the stack.
const MAX_DEPTH: usize = 48;
/// Visits to ops beyond one for each: functions that call functions twice, and loops in loops, multiply them.
const SPARE_VISITS: usize = 200_000;

/// What is known so far.
pub(super) struct Engine<'g> {
    pub(super) graph: &'g Graph,
    types: HashMap<ValueId, Type>,
    known: HashMap<ValueId, Vec<Num>>,
    problems: BTreeMap<OpId, Vec<Diagnostic>>,
    call: Option<Attrs>,
    opsets: &'g BTreeMap<Symbol, u64>,
    fresh: u64,
    depth: usize,
    visits: usize,
}

impl<'g> Engine<'g> {
    pub(super) fn new(graph: &'g Graph) -> Self {
        Engine {
            graph,
            types: HashMap::new(),
            known: HashMap::new(),
            problems: BTreeMap::new(),
            call: None,
            opsets: &graph.meta.opsets,
            fresh: 0,
            depth: 0,
            visits: graph.op_bound().saturating_add(SPARE_VISITS),
        }
    }

    /// Walks the body.
    pub(super) fn run(&mut self) {
        self.region(self.graph.body(), &[]);
    }

    /// The results of one op from what is declared of its operands.
    pub(super) fn one(mut self, op: OpId) -> Result<Vec<Type>, Fault> {
        if let Some(function) =
            self.graph.functions.iter().find(|f| self.graph.encloses(f.region, self.graph.op(op).region()))
        {
            self.opsets = &function.opsets;
        }
        let mut types = self.results(op)?;
        types.truncate(self.graph.op(op).results().len());
        types.iter_mut().for_each(publish);
        Ok(types)
    }

    /// Types that differ from the declared ones, and what was found wrong, in the order of the ops.
    pub(super) fn finish(mut self) -> (Vec<(ValueId, Type)>, Vec<Diagnostic>) {
        let graph = self.graph;
        let mut changed = Vec::new();
        let regions = reachable(graph);
        let inputs = regions.iter().flat_map(|&r| graph.region(r).inputs());
        let results = regions.iter().flat_map(|&r| graph.ops_in(r)).flat_map(|op| graph.op(op).results());
        for &value in inputs.chain(results) {
            let Some(mut ty) = self.types.remove(&value) else { continue };
            publish(&mut ty);
            if ty != *graph.value(value).ty() {
                changed.push((value, ty));
            }
        }
        let problems = std::mem::take(&mut self.problems);
        (changed, problems.into_values().flatten().collect())
    }

    /// What is known of a value now.
    pub(super) fn type_of(&self, value: ValueId) -> &Type {
        self.types.get(&value).unwrap_or_else(|| self.graph.value(value).ty())
    }

    /// The integers of a value, where it was worth following them.
    pub(super) fn known_of(&self, value: ValueId) -> Option<Vec<Num>> {
        match constant(self.graph, value) {
            Some(tensor) => nums_of(tensor),
            None => self.known.get(&value).cloned(),
        }
    }

    /// Walks a region whose inputs have at least the given types; tells the types of its results.
    pub(super) fn region(&mut self, region: RegionId, inputs: &[Type]) -> Vec<Type> {
        let graph = self.graph;
        let inner = graph.region(region);
        for (index, &input) in inner.inputs().iter().enumerate() {
            let declared = graph.value(input).ty();
            let ty = inputs.get(index).map_or_else(|| declared.clone(), |given| known_better(declared, given));
            let ty = self.name_unknown(ty);
            self.types.insert(input, ty);
            self.known.remove(&input);
        }
        if self.depth < MAX_DEPTH {
            self.depth += 1;
            let ops: Vec<OpId> = graph.ops_in(region).collect();
            for op in ops {
                match self.visits.checked_sub(1) {
                    Some(left) => self.visits = left,
                    None => break,
                }
                self.visit(op);
            }
            self.depth -= 1;
        }
        inner.results().iter().map(|&v| self.type_of(v).clone()).collect()
    }

    fn visit(&mut self, op: OpId) {
        let graph = self.graph;
        self.problems.remove(&op);
        let record = graph.op(op);
        let inferred = self.results(op).unwrap_or_else(|fault| {
            self.report(op, Diagnostic::error("shape-invalid", record.loc().clone(), format!("{}: {fault}", record.name())));
            Vec::new()
        });
        let mut inferred = inferred.into_iter();
        for &result in record.results() {
            let declared = graph.value(result).ty();
            let ty = merge(declared, &inferred.next().unwrap_or_default()).unwrap_or_else(|why| {
                let message = format!("{}: the declared type of {} cannot be: {why}", record.name(), graph.label(result));
                let note = "the declared type is kept; correct or remove it";
                self.report(op, Diagnostic::warning("shape-mismatch", record.loc().clone(), message).note(note));
                declared.clone()
            });
            let ty = self.name_unknown(ty);
            self.types.insert(result, ty);
            self.known.remove(&result);
        }
        if let Some((&first, nums)) = record.results().first().zip(self.site(op).and_then(|site| known::of(&site)))
            && fits(self.type_of(first), &nums)
        {
            self.known.insert(first, nums);
        }
    }

    fn report(&mut self, op: OpId, diagnostic: Diagnostic) {
        self.problems.entry(op).or_default().push(diagnostic);
    }

    /// The types of the results of an op, as far as its rule, its function or its regions tell them.
    fn results(&mut self, op: OpId) -> Result<Vec<Type>, Fault> {
        let graph = self.graph;
        let record = graph.op(op);
        let (domain, name) = (&*record.name().domain, &*record.name().op);
        if let Some(&(.., walk)) = control::REGIONS.iter().find(|&&(d, o, _)| (d, o) == (domain, name)) {
            return walk(self, op);
        }
        if let Some(rule) = rule(domain, name) {
            let Some(site) = self.site(op) else { return Ok(Vec::new()) };
            let results = rule(&site)?;
            return match results.iter().find(|t| t.rank().is_some_and(|r| r > MAX_RANK)) {
                Some(_) => Err(format!("a result would have a rank above {MAX_RANK}")),
                None => Ok(results),
            };
        }
        for (_, region) in record.regions() {
            self.region(*region, &[]);
        }
        Ok(self.call(record).unwrap_or_default())
    }

    /// The types that a call of a function of the model gives; the bodies are walked anew for each call.
    fn call(&mut self, op: &Op) -> Option<Vec<Type>> {
        let graph = self.graph;
        let overload = op.meta().map_or("", |meta| &meta.overload);
        let function = graph.functions.iter().find(|f| f.name == *op.name() && f.overload == overload)?;
        if self.depth >= MAX_DEPTH {
            return None;
        }
        let mut attrs = function.defaults.clone();
        for (name, attr) in op.attrs() {
            // A call inside of a function may hand on attributes of that function's own call.
            let given = match (attr, &self.call) {
                (Attr::Ref(outer, _), Some(call)) => call.get(outer),
                (attr, _) => Some(attr),
            };
            if let Some(given) = given {
                attrs.insert(name.clone(), given.clone());
            }
        }
        let operands: Vec<Type> =
            op.operands().iter().map(|o| o.map_or(Type::Unknown, |value| self.type_of(value).clone())).collect();
        let caller = self.call.replace(attrs);
        let opsets = std::mem::replace(&mut self.opsets, &function.opsets);
        let results = self.region(function.region, &operands);
        (self.call, self.opsets) = (caller, opsets);
        Some(results)
    }

    /// What a rule sees of an op; `None` for an operator of a domain without version.
    pub(super) fn site(&self, op: OpId) -> Option<Site<'_>> {
        let graph = self.graph;
        let record = graph.op(op);
        let domain = &record.name().domain;
        let opset = self.opsets.get(domain).copied().unwrap_or_else(|| schema::latest_opset(domain));
        let operands = record.operands();
        Some(Site {
            graph,
            op,
            opset,
            types: operands.iter().map(|o| o.map(|value| self.type_of(value))).collect(),
            known: operands.iter().map(|o| self.known.get(&(*o)?).map(Vec::as_slice)).collect(),
            call: self.call.as_ref(),
        })
    }

    /// Gives extents of which nothing is known a name each, so that they are found again where they are the same.
    pub(super) fn name_unknown(&mut self, mut ty: Type) -> Type {
        if let Type::Tensor(TensorType { shape: Some(dims), .. }) = &mut ty {
            for dim in dims.iter_mut().filter(|d| **d == Dim::Unknown) {
                self.fresh += 1;
                *dim = private_dim(&format!("#{}", self.fresh));
            }
        }
        ty
    }
}

/// The declared type and what is given from outside; the given one where they contradict, since it is what will arrive.
fn known_better(declared: &Type, given: &Type) -> Type {
    merge(declared, given).unwrap_or_else(|_| join(declared, given))
}

/// True when the numbers are as many as the type says.
fn fits(ty: &Type, nums: &[Num]) -> bool {
    let count = ty.dims().and_then(|dims| crate::tensor::count(&dims));
    count.is_none_or(|count| count == nums.len())
}

/// The body and the regions nested in it; not those of functions.
fn reachable(graph: &Graph) -> Vec<RegionId> {
    let mut found = vec![graph.body()];
    let mut next = 0;
    while let Some(&region) = found.get(next) {
        next += 1;
        found.extend(graph.ops_in(region).flat_map(|op| graph.op(op).regions().iter().map(|(_, r)| *r)));
    }
    found
}
