//! Where the time of a model goes: the kernels that the runtime ran, merged back onto the ops of the graph.
//!
//! A runtime fuses ops, moves others into constants, and inserts changes of layout and conversions. To find out which, the
//! model that it is given is the same but for names, which say what op a node is, or makes a value (`n17`): runtimes keep them
//! as the beginning of the names of what they make. The model that the runtime made, and the names of values in it, say the rest:
//! ops between the values that a kernel reads and those that it makes belong to it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use spaceevo_ir::{Diagnostic, Elem, Graph, Loc, OpId, OpName, Tensor};
use spaceevo_onnx::ReadOptions;

use super::owners::Owners;
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
    let trace = runtime.trace(ModelSource::Graph(&labelled(graph)), options, inputs, WARM + runs, &mut || Ok(()))?;
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
pub(super) fn label(op: OpId, result: usize) -> String {
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
