//! Where the time of a model goes: the kernels that the runtime ran, merged back onto the ops of the graph.
//!
//! A runtime fuses ops, moves others into constants, and inserts changes of layout and conversions. To find out which, the
//! model that it is given is the same but for names, which say what op a node is, or makes a value (`n17`): runtimes keep them
//! as the beginning of the names of what they make. The model that the runtime made, and the names of values in it, say the rest:
//! ops between the values that a kernel reads and those that it makes belong to it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use spaceevo_ir::{Diagnostic, Elem, Graph, Loc, OpId, OpName, Tensor, User, ValueId};
use spaceevo_onnx::ReadOptions;

use super::trace::{Data, Runs, middle, parse};
use crate::runtime::{LoadOptions, ModelSource, Runtime, Trace};

/// Runs that are not counted: caches are cold, memory is mapped.
const WARM: usize = 3;

/// What a kernel is there for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// It computes ops of the model.
    Op,
    /// The runtime inserted it: the same numbers in another order.
    Layout,
    /// The runtime inserted it: the same numbers in another type.
    Conversion,
    /// The runtime inserted it for another reason.
    Other,
}

/// A kernel that the runtime ran.
#[derive(Clone, PartialEq, Debug)]
pub struct Kernel {
    /// Name of the runtime's node.
    pub node: String,
    /// Operator of the runtime's node: `com.microsoft.QLinearConv`, `com.microsoft.nchwc.Conv`.
    pub op: OpName,
    /// Why it is there.
    pub role: Role,
    /// Ops of the graph that it computes, in their order; none for what the runtime inserted.
    pub ops: Vec<OpId>,
    /// Kernels whose results it reads.
    pub reads: Vec<usize>,
    /// Tensors read, constants among them.
    pub inputs: Vec<Data>,
    /// Tensors made.
    pub outputs: Vec<Data>,
    /// Mean of the middle half of the runs, in microseconds.
    pub micros: f64,
}

impl Kernel {
    /// True when the first result is stored as bytes.
    pub fn is_integer(&self) -> bool {
        matches!(self.outputs.first().and_then(|data| data.elem), Some(Elem::U8 | Elem::I8))
    }
}

/// The kernels of a model.
#[derive(Clone, PartialEq, Debug)]
pub struct Profile {
    /// Kernels in the order in which they ran.
    pub kernels: Vec<Kernel>,
    /// Ops without a kernel: the runtime computed them when it loaded the model.
    pub folded: Vec<OpId>,
    /// Microseconds of a whole run while it was traced; tracing itself is part of it.
    pub whole: f64,
    /// Runs that were counted.
    pub runs: usize,
}

impl Profile {
    /// Microseconds of all kernels together.
    pub fn sum(&self) -> f64 {
        self.kernels.iter().map(|kernel| kernel.micros).sum()
    }

    /// Microseconds by role, of roles that occur.
    pub fn by_role(&self) -> BTreeMap<Role, f64> {
        let mut sums = BTreeMap::new();
        self.kernels.iter().for_each(|kernel| *sums.entry(kernel.role).or_insert(0.0) += kernel.micros);
        sums
    }
}

/// Profiles a graph on a runtime: `runs` counted runs on one sample.
///
/// Errors: those of [`Runtime::trace`], and `profile-format` for a trace that cannot be read.
pub fn profile(
    runtime: &dyn Runtime,
    graph: &Graph,
    options: &LoadOptions,
    inputs: &[Tensor],
    runs: usize,
) -> Result<Profile, Diagnostic> {
    let trace = runtime.trace(ModelSource::Graph(&labelled(graph)), options, inputs, WARM + runs)?;
    merge(graph, &trace, WARM)
}

/// The graph with names of nodes, and of what they make, that say which op each is. What the model takes and returns keeps
/// its names.
pub fn labelled(graph: &Graph) -> Graph {
    let mut labelled = graph.clone();
    for op in graph.all_ops() {
        labelled.set_loc(op, Loc::Onnx { file: "".into(), node: format!("n{}", op.index()).into() });
        for (at, &value) in graph.op(op).results().iter().enumerate() {
            if !graph.is_returned(value) && !graph.value(value).name().is_empty() {
                labelled.set_name(value, label(op, at));
            }
        }
    }
    labelled
}

/// `n17` for the first thing that op 17 makes, `n17.1` for the second.
fn label(op: OpId, result: usize) -> String {
    let number = if result == 0 { String::new() } else { format!(".{result}") };
    format!("n{}{number}", op.index())
}

/// Merges the trace of a [`labelled`] graph onto that graph, without its first `warm` runs. Errors: `profile-format`.
pub fn merge(graph: &Graph, trace: &Trace, warm: usize) -> Result<Profile, Diagnostic> {
    let runs = parse(&trace.events, warm)?;
    let rewritten =
        spaceevo_onnx::read_bytes(Bytes::copy_from_slice(&trace.model), "the model that ran", &ReadOptions::default())
            .map_err(|e| Diagnostic::error("profile-format", Loc::Unknown, format!("the model that ran: {e}")))?
            .graph;
    let mut kernels = kernels(&runs, &rewritten);
    let mut owners = Owners::new(graph, &rewritten, &kernels);
    owners.by_name();
    owners.by_core();
    owners.between();
    owners.by_habit();
    owners.finish(&mut kernels);
    let folded = graph.ops_in(graph.body()).filter(|op| owners.of[op.index()].is_none()).collect();
    let kernels = kernels.into_iter().map(|(_, kernel)| kernel).collect();
    Ok(Profile { kernels, folded, whole: middle(&runs.micros), runs: runs.micros.len() })
}

/// Kernels of the main graph with the op of the rewritten one that each is. What runs inside of a loop or branch is part of
/// what the loop or branch takes.
fn kernels(runs: &Runs, rewritten: &Graph) -> Vec<(OpId, Kernel)> {
    let body = rewritten.body();
    let name = |op: OpId| rewritten.op(op).loc().node().map_or("", |node| node);
    let mut named: HashMap<&str, OpId> = HashMap::new();
    // Nodes without a name, as they come out of functions, run as `Mul_83`.
    let mut nameless: HashMap<&str, VecDeque<OpId>> = HashMap::new();
    for op in rewritten.ops_in(body) {
        match name(op) {
            "" => nameless.entry(&rewritten.op(op).name().op).or_default().push_back(op),
            name => drop(named.insert(name, op)),
        }
    }
    let found = runs.kernels.iter().filter_map(|ran| {
        let numbered = || ran.node.strip_prefix(&ran.op)?.strip_prefix('_')?.parse::<usize>().ok();
        let next = || numbered().and_then(|_| nameless.get_mut(ran.op.as_str())?.pop_front());
        let op = named.get(ran.node.as_str()).copied().or_else(next)?;
        let kernel = Kernel {
            node: ran.node.clone(),
            op: rewritten.op(op).name().clone(),
            role: Role::Other,
            ops: Vec::new(),
            reads: Vec::new(),
            inputs: ran.inputs.clone(),
            outputs: ran.outputs.clone(),
            micros: middle(&ran.micros),
        };
        Some((op, kernel))
    });
    let mut found: Vec<_> = found.collect();
    let at: HashMap<OpId, usize> = found.iter().enumerate().map(|(at, (op, _))| (*op, at)).collect();
    for (op, kernel) in &mut found {
        let made = rewritten.op(*op).operands().iter().flatten().filter_map(|&value| rewritten.def_op(value));
        kernel.reads = made.filter_map(|op| at.get(&op).copied()).collect::<BTreeSet<_>>().into_iter().collect();
    }
    found
}

/// Which kernel computes which op.
struct Owners<'a> {
    graph: &'a Graph,
    rewritten: &'a Graph,
    /// For each kernel: its op in the rewritten graph, and what it would be if the runtime inserted it.
    made: Vec<(OpId, Option<Role>)>,
    /// Kernel by op index of the graph.
    of: Vec<Option<usize>>,
    /// Values of the labelled graph by name.
    values: HashMap<String, ValueId>,
    /// For each kernel, its ops that are known from names.
    anchors: Vec<Vec<OpId>>,
}

impl<'a> Owners<'a> {
    fn new(graph: &'a Graph, rewritten: &'a Graph, kernels: &[(OpId, Kernel)]) -> Self {
        let body = graph.body();
        let named = |value: ValueId| (graph.value(value).name().to_string(), value);
        let made = |op: OpId| {
            let of = move |(at, &value): (usize, &ValueId)| {
                if graph.is_returned(value) { named(value) } else { (label(op, at), value) }
            };
            graph.op(op).results().iter().enumerate().map(of)
        };
        let inputs = graph.region(body).inputs().iter().map(|&value| named(value));
        Owners {
            graph,
            rewritten,
            made: kernels.iter().map(|(op, kernel)| (*op, inserted(&kernel.op))).collect(),
            of: vec![None; graph.op_bound()],
            values: graph.ops_in(body).flat_map(made).chain(inputs).filter(|(name, _)| !name.is_empty()).collect(),
            anchors: vec![Vec::new(); kernels.len()],
        }
    }

    /// Kernels named after ops; then those whose results are named after values, unless they only reorder or convert.
    fn by_name(&mut self) {
        let ops: HashMap<usize, OpId> = self.graph.ops_in(self.graph.body()).map(|op| (op.index(), op)).collect();
        for at in 0..self.made.len() {
            let Some(node) = self.rewritten.op(self.made[at].0).loc().node() else { continue };
            let named = number(node).and_then(|index| ops.get(&index).copied());
            // Convolutions in blocks of channels are named after what they make.
            let made = || self.graph.def_op(*self.values.get(node.strip_suffix("_nchwc")?)?);
            self.anchors[at].extend(named.or_else(made));
        }
        for at in 0..self.made.len() {
            if self.anchors[at].is_empty() && self.made[at].1.is_none() {
                let makers = self.known(self.rewritten.op(self.made[at].0).results().iter().copied(), false);
                self.anchors[at].extend(makers.into_iter().filter_map(|value| self.graph.def_op(value)));
            }
        }
        for (at, anchors) in self.anchors.iter().enumerate() {
            for op in anchors {
                self.of[op.index()].get_or_insert(at);
            }
        }
    }

    /// A kernel called Conv has a Conv: where it is named after an op behind it, the nearest one before, and what is between.
    fn by_core(&mut self) {
        for at in 0..self.made.len() {
            let core = core_of(self.rewritten.op(self.made[at].0).name()).to_owned();
            let is = |op: OpId| core_of(self.graph.op(op).name()) == core;
            if !self.anchors[at].iter().any(|&op| is(op)) {
                let from: Vec<ValueId> = self.operands(&self.anchors[at]);
                let ways = self.ways(&from, &|op, _| op.is_some_and(is));
                self.claim(at, ways);
            }
        }
    }

    /// Ops on a way from what a kernel makes, or is named after, back to what it reads, or is named after.
    fn between(&mut self) {
        for at in 0..self.made.len() {
            if self.anchors[at].is_empty() {
                continue;
            }
            let op = self.rewritten.op(self.made[at].0);
            let read = self.known(op.operands().iter().flatten().copied(), true);
            let mut from = self.known(op.results().iter().copied(), true);
            from.extend(self.operands(&self.anchors[at]));
            let ends = |op: Option<OpId>, value: ValueId| {
                read.contains(&value) || op.is_some_and(|op| self.of[op.index()] == Some(at))
            };
            let ways = self.ways(&from, &ends);
            self.claim(at, ways);
        }
    }

    fn claim(&mut self, at: usize, ops: Vec<OpId>) {
        ops.into_iter().for_each(|op| {
            self.of[op.index()].get_or_insert(at);
        });
    }

    fn operands(&self, ops: &[OpId]) -> Vec<ValueId> {
        ops.iter().flat_map(|&op| self.graph.op(op).operands().iter().flatten().copied()).collect()
    }

    /// Walks backwards from values over ops that nobody owns, and returns those on a way to where it `ends`: at a value, or at a
    /// maker, which is told with its value and is among those returned if it is nobody's.
    fn ways(&self, from: &[ValueId], ends: &dyn Fn(Option<OpId>, ValueId) -> bool) -> Vec<OpId> {
        let graph = self.graph;
        let open = |value: ValueId| graph.def_op(value).filter(|op| self.of[op.index()].is_none());
        // Whether a way from the op ends well.
        let mut ways: HashMap<OpId, bool> = HashMap::new();
        for &start in from {
            // Depth first with a stack of its own: graphs are deep.
            let mut stack = vec![start];
            while let Some(&value) = stack.last() {
                let Some(op) = open(value).filter(|op| !ways.contains_key(op) && !ends(None, value)) else {
                    stack.pop();
                    continue;
                };
                if ends(Some(op), value) {
                    ways.insert(op, true);
                    continue;
                }
                let before: Vec<ValueId> = graph.op(op).operands().iter().flatten().copied().collect();
                let next = before.iter().find(|&&v| !ends(None, v) && open(v).is_some_and(|op| !ways.contains_key(&op)));
                if let Some(&next) = next {
                    stack.push(next);
                    continue;
                }
                let good = |value: ValueId| {
                    let maker = graph.def_op(value);
                    ends(maker, value) || maker.is_some_and(|op| ways.get(&op) == Some(&true))
                };
                let leads = before.into_iter().any(good);
                ways.insert(op, leads);
            }
        }
        ways.into_iter().filter(|(_, leads)| *leads).map(|(op, _)| op).collect()
    }

    /// What is left belongs to what reads it if it opens numbers or borders for it, else to what makes what it reads.
    fn by_habit(&mut self) {
        let graph = self.graph;
        let before = |op: OpId| {
            let name = graph.op(op).name();
            name.is_onnx("DequantizeLinear") || name.is_onnx("Pad") || name.is_onnx("Cast")
        };
        // Arithmetic on shapes is done when a model is loaded, as far as it has no kernel of its own.
        let number = |op: OpId| {
            let elem = graph.op(op).results().first().and_then(|&value| Some(graph.value(value).ty().tensor()?.elem));
            !matches!(elem, Some(Elem::I64 | Elem::I32 | Elem::Bool))
        };
        let ops: Vec<OpId> = graph.ops_in(graph.body()).filter(|&op| number(op)).collect();
        for round in 0..2 {
            for &op in &ops {
                if self.of[op.index()].is_none() && (round == 1 || !before(op)) {
                    let makers = graph.op(op).operands().iter().flatten().filter_map(|&value| graph.def_op(value));
                    self.of[op.index()] = makers.filter_map(|maker| self.of[maker.index()]).next();
                }
            }
            for &op in ops.iter().rev() {
                if self.of[op.index()].is_none() && before(op) {
                    let readers = graph.op(op).results().iter().flat_map(|&value| graph.value(value).users());
                    self.of[op.index()] = readers.filter_map(|user| self.of[user_op(user)?.index()]).next();
                }
            }
        }
    }

    /// Writes ops and roles into the kernels.
    fn finish(&self, kernels: &mut [(OpId, Kernel)]) {
        for op in self.graph.ops_in(self.graph.body()) {
            if let Some(at) = self.of[op.index()] {
                kernels[at].1.ops.push(op);
            }
        }
        for at in (0..kernels.len()).rev() {
            // An op that two kernels are named after is the first one's; the others work for it all the same. So do the parts
            // of an op that the runtime wrote out, of which the last one is known by what it makes.
            if kernels[at].1.ops.is_empty() {
                let nameless = self.rewritten.op(self.made[at].0).loc().node().is_none_or(|node| node.is_empty());
                let reader = kernels.iter().find(|(_, kernel)| nameless && kernel.reads.contains(&at));
                let ops = reader.map_or(self.anchors[at].clone(), |(_, reader)| reader.ops.clone());
                kernels[at].1.ops = ops;
            }
            let kernel = &mut kernels[at].1;
            kernel.role = match (kernel.ops.is_empty(), self.made[at].1) {
                (false, _) => Role::Op,
                (true, Some(role)) => role,
                (true, None) => Role::Other,
            };
        }
    }

    /// Values of the graph that values of the rewritten one are, by their names; if asked, also across inserted kernels that
    /// only reorder.
    fn known(&self, values: impl Iterator<Item = ValueId>, across: bool) -> Vec<ValueId> {
        let layout = |op: OpId| inserted(self.rewritten.op(op).name()) == Some(Role::Layout);
        let named = |value: ValueId| self.values.get(&**self.rewritten.value(value).name()).copied();
        let mut found = Vec::new();
        for value in values {
            let same = named(value).or_else(|| {
                let before = self.rewritten.def_op(value).filter(|&op| across && layout(op));
                let before = before.and_then(|op| named(self.rewritten.op(op).operand(0)?));
                let mut after = self.rewritten.value(value).users().iter().filter_map(user_op);
                let after = after.find(|&op| across && layout(op)).and_then(|op| named(self.rewritten.op(op).result()));
                before.or(after)
            });
            found.extend(same);
        }
        found
    }
}

/// The op that reads, if it is one.
fn user_op(user: &User) -> Option<OpId> {
    match user {
        User::Op(op, _) => Some(*op),
        User::Return(..) => None,
    }
}

/// `n17_nchwc`, `n17/duplicated`: 17.
fn number(node: &str) -> Option<usize> {
    let rest = node.strip_prefix('n')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// What an operator computes, whatever the numbers and whatever is fused to it: `Conv` of `QLinearConv` and `FusedConv`.
fn core_of(op: &OpName) -> &str {
    let word = &*op.op;
    let of = |prefix: &str| word.strip_prefix(prefix).filter(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()));
    of("QLinear").or_else(|| of("Fused")).or_else(|| of("Q")).unwrap_or(word)
}

/// What a kernel is when no op of ours asks for it.
fn inserted(op: &OpName) -> Option<Role> {
    match &*op.op {
        "Transpose" | "ReorderInput" | "ReorderOutput" => Some(Role::Layout),
        "QuantizeLinear" | "DequantizeLinear" | "Cast" => Some(Role::Conversion),
        _ => None,
    }
}
