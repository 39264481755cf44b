//! Walks regions: environments, captured values, functions, bounds on memory and work.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::{Call, Datum, Fault, Limits, kernel, quantized};
use crate::attr::{Attr, Attrs};
use crate::bind;
use crate::diagnostic::Diagnostic;
use crate::graph::{Function, Graph, Loc, ONNX, OpId, RegionId, ValueId};
use crate::schema;

/// Regions within regions and functions within functions; a call of a function by itself ends here.
const MAX_DEPTH: usize = 64;

/// Sees every value that is made, where it is made; in loops once for each iteration.
pub(super) type Observer<'a> = dyn Fn(ValueId, &Datum) + 'a;

/// What one run shares among all regions.
pub(crate) struct Machine<'a> {
    graph: &'a Graph,
    limits: Limits,
    /// Bytes of the values that environments hold.
    live: Cell<usize>,
    /// Ops and regions entered so far.
    steps: Cell<u64>,
    plans: RefCell<HashMap<RegionId, Rc<Vec<Step>>>>,
    /// What attributes of a search space come to; a sentence for an op where they come to nothing.
    bound: HashMap<OpId, Result<Attrs, Fault>>,
    /// A kernel asked for more memory than is left.
    over: Cell<bool>,
    /// The diagnostic of an op in a nested region, on its way out through the kernel of the owning op.
    inner: RefCell<Option<Diagnostic>>,
    observer: &'a Observer<'a>,
}

/// One op of a region with what is known before running it.
struct Step {
    op: OpId,
    opset: u64,
    /// Values of this region that nobody reads after this op.
    dies: Vec<ValueId>,
}

/// Values by id, with those of the enclosing regions behind them.
pub(crate) struct Env<'a> {
    machine: &'a Machine<'a>,
    values: HashMap<ValueId, Datum>,
    outer: Option<&'a Env<'a>>,
    /// Inside a function: the attributes of its call.
    attrs: Option<&'a Attrs>,
    depth: usize,
}

impl<'a> Env<'a> {
    fn get(&self, value: ValueId) -> Option<Datum> {
        let mut env = Some(self);
        while let Some(at) = env {
            if let Some(datum) = at.values.get(&value) {
                return Some(datum.clone());
            }
            env = at.outer;
        }
        self.machine.graph.const_of(value).cloned().map(Datum::Tensor)
    }

    fn set(&mut self, value: ValueId, datum: Datum) {
        let machine = self.machine;
        (machine.observer)(value, &datum);
        machine.live.set(machine.live.get().saturating_add(datum.byte_len()));
        self.values.insert(value, datum);
    }

    fn drop_value(&mut self, value: ValueId) {
        if let Some(datum) = self.values.remove(&value) {
            self.machine.live.set(self.machine.live.get().saturating_sub(datum.byte_len()));
        }
    }

    /// Checks that `bytes` more may be held.
    pub(super) fn afford(&self, bytes: usize) -> Result<(), Fault> {
        let limit = self.machine.limits.bytes;
        match self.machine.live.get().checked_add(bytes) {
            Some(total) if total <= limit => Ok(()),
            _ => {
                self.machine.over.set(true);
                Err(format!("its result takes {bytes} bytes, more than is left of the limit of {limit} bytes"))
            }
        }
    }

    /// The attribute of an op, with values for search parameters and references of function bodies.
    pub(super) fn attr(&self, op: OpId, name: &str) -> Option<&'a Attr> {
        let bound = self.machine.bound.get(&op).and_then(|attrs| attrs.as_ref().ok()).and_then(|attrs| attrs.get(name));
        self.resolve(bound.or_else(|| self.machine.graph.op(op).attrs().get(name))?)
    }

    /// What an attribute means here: references are looked up in the call of the function.
    fn resolve(&self, attr: &'a Attr) -> Option<&'a Attr> {
        match attr {
            Attr::Ref(name, _) => self.attrs?.get(name),
            other => Some(other),
        }
    }

    /// Runs a region nested in an op that runs in this environment.
    pub(super) fn enter(&self, region: RegionId, inputs: Vec<Datum>) -> Result<Vec<Datum>, Fault> {
        let env = Env {
            machine: self.machine,
            values: HashMap::new(),
            outer: Some(self),
            attrs: self.attrs,
            depth: self.depth + 1,
        };
        run_in(env, region, inputs).map_err(|diagnostic| {
            let text = diagnostic.to_string();
            *self.machine.inner.borrow_mut() = Some(diagnostic);
            text
        })
    }
}

impl Drop for Env<'_> {
    fn drop(&mut self) {
        let bytes: usize = self.values.values().map(Datum::byte_len).fold(0, usize::saturating_add);
        self.machine.live.set(self.machine.live.get().saturating_sub(bytes));
    }
}

/// Runs the body of the graph.
pub(super) fn run_body(
    graph: &Graph,
    inputs: &[Datum],
    limits: Limits,
    observer: &Observer<'_>,
) -> Result<Vec<Datum>, Diagnostic> {
    if let Some(free) = graph.space.params.iter().find(|param| !graph.space.binds.contains_key(&param.name)) {
        let message = format!("${} has no value: only a bound space can be run", free.name);
        return Err(Diagnostic::error("interp-unsupported", free.loc.clone(), message));
    }
    if let Some(block) = graph.space.blocks.first() {
        let message = format!("block @{} has no weights yet, so the space cannot be run", block.name);
        let diagnostic = Diagnostic::error("interp-unsupported", block.loc.clone(), message);
        return Err(diagnostic.note("the pass unfold-space writes blocks out"));
    }
    let machine = Machine {
        graph,
        limits,
        live: Cell::new(0),
        steps: Cell::new(0),
        plans: RefCell::default(),
        bound: bound(graph),
        over: Cell::new(false),
        inner: RefCell::default(),
        observer,
    };
    let env = Env { machine: &machine, values: HashMap::new(), outer: None, attrs: None, depth: 0 };
    run_in(env, graph.body(), inputs.to_vec())
}

/// The values of elastic attributes; there are none in a graph without parameters.
fn bound(graph: &Graph) -> HashMap<OpId, Result<Attrs, Fault>> {
    if graph.space.params.is_empty() {
        return HashMap::new();
    }
    let attrs = |&op: &OpId| match bind::bound_attrs(graph, op) {
        Ok(attrs) if attrs.is_empty() => None,
        Ok(attrs) => Some((op, Ok(attrs.into_iter().collect()))),
        Err((name, why)) => Some((op, Err(format!("attribute {name}: {why}")))),
    };
    graph.all_ops().iter().filter_map(attrs).collect()
}

fn run_in(mut env: Env<'_>, region: RegionId, inputs: Vec<Datum>) -> Result<Vec<Datum>, Diagnostic> {
    let machine = env.machine;
    let graph = machine.graph;
    let loc = || graph.region(region).owner().map_or(Loc::Unknown, |op| graph.op(op).loc().clone());
    let failed = |message: String| Diagnostic::error("interp-failed", loc(), message);
    if env.depth > MAX_DEPTH {
        return Err(failed(format!("regions or functions are nested more than {MAX_DEPTH} deep")));
    }
    machine.tick().map_err(|message| Diagnostic::error("interp-limit", loc(), message))?;
    let wanted = graph.region(region).inputs();
    if inputs.len() > wanted.len() {
        return Err(failed(format!("{} inputs are given, {} are taken", inputs.len(), wanted.len())));
    }
    let mut inputs = inputs.into_iter();
    for &value in wanted {
        let default = || graph.value(value).tensor().cloned().map(Datum::Tensor);
        match inputs.next().or_else(default) {
            Some(datum) => env.set(value, datum),
            None => return Err(failed(format!("input {} has neither a value nor a default", graph.label(value)))),
        }
    }
    for step in machine.plan(region).iter() {
        run_step(&mut env, step)?;
    }
    let results = graph.region(region).results().iter();
    results.map(|&v| env.get(v).ok_or_else(|| failed(format!("result {} was never made", graph.label(v))))).collect()
}

fn run_step(env: &mut Env<'_>, step: &Step) -> Result<(), Diagnostic> {
    let machine = env.machine;
    let graph = machine.graph;
    let op = graph.op(step.op);
    let error = |code, fault: String| {
        let shown = op.results().first().map(|&v| format!(" ({})", graph.label(v))).unwrap_or_default();
        Diagnostic::error(code, op.loc().clone(), format!("{}{shown}: {fault}", op.name()))
    };
    machine.tick().map_err(|fault| error("interp-limit", fault))?;
    if let Some(Err(fault)) = machine.bound.get(&step.op) {
        return Err(error("interp-failed", fault.clone()));
    }
    let mut operands = Vec::with_capacity(op.operands().len());
    for &operand in op.operands() {
        let datum = operand.map(|v| {
            env.get(v).ok_or_else(|| error("interp-failed", format!("operand {} has no value yet", graph.label(v))))
        });
        operands.push(datum.transpose()?);
    }
    let call = Call { graph, op: step.op, opset: step.opset, operands, env };
    let results = match (machine.function(step.op), kernel(&op.name().domain, &op.name().op)) {
        (Some(function), _) => run_function(&call, function)?,
        (None, Some(kernel)) => {
            let outcome = if quantized::concerns(&call) { quantized::run(&call, kernel) } else { kernel(&call) };
            outcome.map_err(|fault| {
                let code = if machine.over.get() { "interp-limit" } else { "interp-failed" };
                machine.inner.take().unwrap_or_else(|| error(code, fault))
            })?
        }
        (None, None) => {
            let fault = "the reference interpreter has no kernel for this operator".to_owned();
            return Err(error("interp-unsupported", fault));
        }
    };
    let bytes = results.iter().map(Datum::byte_len).fold(0, usize::saturating_add);
    env.afford(bytes).map_err(|fault| error("interp-limit", fault))?;
    let made = results.len();
    let mut results = results.into_iter();
    for &value in op.results() {
        match results.next() {
            Some(datum) if graph.use_count(value) > 0 || !graph.value(value).name().is_empty() => env.set(value, datum),
            Some(_) => {}
            None if graph.use_count(value) == 0 => {}
            None => return Err(error("interp-failed", format!("only {made} results were made"))),
        }
    }
    step.dies.iter().for_each(|&v| env.drop_value(v));
    Ok(())
}

/// Runs the body of a function with the attributes of the call.
fn run_function(call: &Call<'_>, function: &Function) -> Result<Vec<Datum>, Diagnostic> {
    let op = call.graph.op(call.op);
    let mut attrs = function.defaults.clone();
    for name in op.attrs().keys() {
        if let Some(attr) = call.attr(name) {
            attrs.insert(name.clone(), attr.clone());
        }
    }
    let mut inputs: Vec<Datum> =
        call.operands.iter().map(|operand| operand.clone().unwrap_or(Datum::Optional(None))).collect();
    let wanted = call.graph.region(function.region).inputs().len();
    inputs.resize(inputs.len().max(wanted), Datum::Optional(None));
    let machine = call.env.machine;
    let env = Env { machine, values: HashMap::new(), outer: None, attrs: Some(&attrs), depth: call.env.depth + 1 };
    run_in(env, function.region, inputs)
}

impl Machine<'_> {
    fn tick(&self) -> Result<(), Fault> {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > self.limits.steps {
            return Err(format!("the run takes more than {} steps", self.limits.steps));
        }
        Ok(())
    }

    /// The function of the model that an op calls.
    fn function(&self, op: OpId) -> Option<&Function> {
        let op = self.graph.op(op);
        let overload = op.meta().map_or("", |m| &m.overload);
        self.graph.functions.iter().find(|f| f.name == *op.name() && f.overload == overload)
    }

    /// The ops of a region with opset versions and last uses.
    fn plan(&self, region: RegionId) -> Rc<Vec<Step>> {
        if let Some(plan) = self.plans.borrow().get(&region) {
            return plan.clone();
        }
        let graph = self.graph;
        let ops: Vec<OpId> = graph.ops_in(region).collect();
        let mut seen: HashSet<ValueId> = graph.region(region).results().iter().copied().collect();
        let mut steps = Vec::with_capacity(ops.len());
        for &op in ops.iter().rev() {
            let mut dies: Vec<ValueId> = graph.op(op).results().to_vec();
            dies.extend(reads(graph, op));
            dies.retain(|&v| graph.region_of(v) == Some(region) && seen.insert(v));
            steps.push(Step { op, opset: self.opset(region, op), dies });
        }
        steps.reverse();
        let plan = Rc::new(steps);
        self.plans.borrow_mut().insert(region, plan.clone());
        plan
    }

    fn opset(&self, region: RegionId, op: OpId) -> u64 {
        let domain = &self.graph.op(op).name().domain;
        let known = self.graph.opset_in(region, domain).or_else(|| self.graph.meta.opset(domain));
        known.unwrap_or_else(|| if &**domain == ONNX { schema::latest_opset(ONNX) } else { 1 })
    }
}

/// Values that an op reads, its nested regions included.
fn reads(graph: &Graph, op: OpId) -> Vec<ValueId> {
    let mut found = Vec::new();
    let mut stack = vec![op];
    while let Some(op) = stack.pop() {
        found.extend(graph.op(op).operands().iter().flatten());
        for &(_, region) in graph.op(op).regions() {
            found.extend(graph.region(region).results());
            stack.extend(graph.ops_in(region));
        }
    }
    found
}
