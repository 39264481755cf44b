//! Groups of values that must have the same number of channels (axis 1), with all that depends on that number.
//!
//! An ungrouped Conv or a Gemm is a border: its rows belong to the group of its result, its columns to that of its operand.
//! Everything that works on each channel by itself, or on pairs of equal ones, ties operands and result: activations, pools,
//! depthwise Conv, Add, Mul, the gate of a squeeze-and-excitation block. All else refuses the groups that it touches.

use std::collections::BTreeMap;

use spaceevo_ir::{Attr, Def, Dim, Graph, MICROSOFT, ONNX, OpId, Tensor, User, ValueId};

use super::extend;
use crate::analysis::{Ints, ints, pad_amounts, real_const};
use crate::quantize::placement::clip_bounds;

/// A group of values with one channel count.
#[derive(Clone, Default, Debug)]
pub struct Group {
    /// Extent of axis 1 of every value.
    pub channels: usize,
    /// The values, in the order of the graph.
    pub values: Vec<ValueId>,
    /// The ops around them, and what they are to the group; a Conv from the group to itself is listed twice.
    pub touches: Vec<(OpId, Touch)>,
    /// What else has to change with the number of channels.
    pub edits: Vec<(OpId, Edit)>,
    /// The first op that forbids another number of channels, and why.
    pub refused: Option<(OpId, String)>,
    /// Values that something reads which needs as many channels as there are. Where nothing else refuses, it could be given them
    /// by a Slice.
    pub cuts: Vec<ValueId>,
    /// Something refuses that no Slice helps.
    pub fixed: bool,
}

/// What an op is to a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Touch {
    /// A Conv or Gemm that makes a value of it.
    Makes,
    /// A Conv or Gemm that reads one.
    Reads,
    /// A depthwise Conv inside.
    Depthwise,
    /// Another op inside.
    Keeps,
}

/// A place where a channel count is written, other than in types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edit {
    /// The extent of one axis of a constant operand; new entries mean 0.
    Extend {
        /// Which operand.
        operand: usize,
        /// Which axis.
        axis: usize,
    },
    /// An entry of a constant list of integers.
    Entry {
        /// Which operand.
        operand: usize,
        /// Which entry.
        at: usize,
    },
    /// The attribute `group`.
    Groups,
}

impl Group {
    /// The ops around it, each once.
    pub fn ops(&self) -> Vec<OpId> {
        let mut ops: Vec<OpId> = self.touches.iter().map(|(op, _)| *op).collect();
        ops.sort_unstable();
        ops.dedup();
        ops
    }

    /// True when only readers refuse.
    pub fn can_be_cut(&self) -> bool {
        self.refused.is_some() && !self.fixed
    }
}

/// Groups of the body of a graph.
pub struct Channels {
    /// In the order of their first values.
    pub groups: Vec<Group>,
    of: BTreeMap<ValueId, usize>,
}

/// What an op means for the channels around it.
enum Role {
    /// Has rows and columns.
    Border { reads: Vec<Edit>, makes: Vec<Edit> },
    /// Makes a value with the channels of all of these.
    Keeps { values: Vec<ValueId>, edits: Vec<Edit>, depthwise: bool },
}

impl Channels {
    /// The group of a value.
    pub fn of(&self, value: ValueId) -> Option<usize> {
        self.of.get(&value).copied()
    }

    /// The groups of a graph that an op with weights touches.
    pub fn find(graph: &Graph) -> Channels {
        let mut found = Channels::find_around(graph, &|_| false);
        found.keep_touched();
        found
    }

    /// All groups of a graph without some of its ops, which neither tie the values that they touch nor refuse their groups;
    /// those that no op with weights touches, too.
    pub fn find_around(graph: &Graph, without: &dyn Fn(OpId) -> bool) -> Channels {
        let all: Vec<OpId> = graph.ops_in(graph.body()).collect();
        let ops: Vec<OpId> = all.iter().copied().filter(|&op| !without(op)).collect();
        let roles: Vec<Result<Role, String>> = ops.iter().map(|&op| role(graph, op)).collect();
        let mut classes = Classes((0..graph.value_bound()).collect());
        for (&op, role) in ops.iter().zip(&roles) {
            if let Ok(Role::Keeps { values, .. }) = role {
                values.iter().for_each(|&v| classes.join(v, graph.op(op).result()));
            }
        }
        let mut found = Channels { groups: Vec::new(), of: BTreeMap::new() };
        let mut by_class: BTreeMap<usize, usize> = BTreeMap::new();
        let inputs = graph.region(graph.body()).inputs().iter().copied();
        for value in inputs.chain(all.iter().flat_map(|&op| graph.op(op).results().to_vec())) {
            let at = *by_class.entry(classes.root(value.index())).or_insert_with(|| {
                let channels = channels(graph, value).unwrap_or(0);
                found.groups.push(Group { channels, ..Group::default() });
                found.groups.len() - 1
            });
            found.groups[at].values.push(value);
            found.of.insert(value, at);
        }
        for (&op, role) in ops.iter().zip(&roles) {
            found.note(graph, op, role);
        }
        found.refuse_edges(graph);
        found
    }

    /// Notes what an op means for the groups of its operands and results.
    fn note(&mut self, graph: &Graph, op: OpId, role: &Result<Role, String>) {
        let record = graph.op(op);
        let mut touch = |value: Option<ValueId>, touch: Touch, edits: &[Edit]| {
            if let Some(at) = value.and_then(|v| self.of.get(&v)) {
                self.groups[*at].touches.push((op, touch));
                self.groups[*at].edits.extend(edits.iter().map(|edit| (op, *edit)));
            }
        };
        let result = record.results().first().copied();
        let knows: Vec<ValueId> = match role {
            Ok(Role::Border { reads, makes }) => {
                touch(record.operand(0), Touch::Reads, reads);
                touch(result, Touch::Makes, makes);
                [record.operand(0), result].into_iter().flatten().collect()
            }
            Ok(Role::Keeps { values, edits, depthwise }) => {
                touch(result, if *depthwise { Touch::Depthwise } else { Touch::Keeps }, edits);
                [values.as_slice(), record.results()].concat()
            }
            Err(_) => Vec::new(),
        };
        for &value in record.operands().iter().flatten().chain(record.results()).filter(|v| !knows.contains(v)) {
            let why = role.as_ref().err().map_or("it is read by another rule than one for each channel", |why| why);
            let reader = role.is_err() && !record.results().contains(&value);
            self.refuse(value, op, reader, || format!("{} at {}: {why}", record.name(), label(graph, op)));
        }
    }

    /// What callers and subgraphs see keeps its shape.
    fn refuse_edges(&mut self, graph: &Graph) {
        let values: Vec<ValueId> = self.of.keys().copied().collect();
        for value in values {
            let users = graph.value(value).users();
            let reader = users.iter().filter_map(|u| if let User::Op(op, _) = u { Some(*op) } else { None }).min();
            let Some(at) = graph.def_op(value).or(reader) else { continue };
            if matches!(graph.value(value).def(), Def::Input(..)) {
                self.refuse(value, at, false, || format!("{} is an input of the graph", graph.label(value)));
            }
            let foreign = |u: &User| match u {
                User::Op(user, _) => graph.op(*user).region() != graph.body(),
                User::Return(..) => true,
            };
            if users.iter().any(foreign) {
                let returned = users.iter().filter(|u| foreign(u)).all(|u| matches!(u, User::Return(..)));
                self.refuse(value, at, returned, || format!("{} is a result, or a subgraph reads it", graph.label(value)));
            }
        }
    }

    /// Notes the first reason only; `reader` says that a Slice would do for it.
    fn refuse(&mut self, value: ValueId, op: OpId, reader: bool, why: impl Fn() -> String) {
        if let Some(&at) = self.of.get(&value) {
            let group = &mut self.groups[at];
            group.refused.get_or_insert_with(|| (op, why()));
            group.fixed |= !reader;
            if reader && !group.cuts.contains(&value) {
                group.cuts.push(value);
            }
        }
    }

    /// Forgets groups that no op with weights touches.
    fn keep_touched(&mut self) {
        let keep = |group: &Group| group.touches.iter().any(|(_, touch)| *touch != Touch::Keeps);
        let mut numbers = vec![None; self.groups.len()];
        let kept = self.groups.iter().enumerate().filter(|(_, group)| keep(group));
        kept.enumerate().for_each(|(number, (at, _))| numbers[at] = Some(number));
        self.groups.retain(keep);
        self.of = self.of.iter().filter_map(|(&v, &at)| Some((v, numbers[at]?))).collect();
    }
}

fn label(graph: &Graph, op: OpId) -> String {
    graph.op(op).results().first().map_or_else(String::new, |&v| graph.label(v))
}

/// Values by what they must share; a union-find.
struct Classes(Vec<usize>);

impl Classes {
    fn root(&self, mut at: usize) -> usize {
        while self.0[at] != at {
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, a: ValueId, b: ValueId) {
        let (a, b) = (self.root(a.index()), self.root(b.index()));
        self.0[a.max(b)] = a.min(b);
    }
}

/// Extent of axis 1 of a tensor of real numbers, stored with one scale if at all.
fn channels(graph: &Graph, value: ValueId) -> Option<usize> {
    let ty = graph.value(value).ty().tensor()?;
    let known = ty.elem.is_float() && ty.quant.as_ref().is_none_or(|q| q.axis.is_none());
    ty.dim(1).filter(|&n| known && n > 0)
}

/// Ops that map each number by itself, and 0 to a finite one.
const POINTWISE: &[&str] = &[
    "Abs",
    "Celu",
    "Elu",
    "Erf",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Mish",
    "Neg",
    "QuickGelu",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Swish",
    "Tanh",
];

const POOLS: &[&str] = &["AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"];

fn role(graph: &Graph, op: OpId) -> Result<Role, String> {
    let record = graph.op(op);
    let name = &*record.name().op;
    let ours = match &*record.name().domain {
        ONNX => true,
        MICROSOFT => POINTWISE.contains(&name),
        _ => false,
    };
    let ([result], Some(input)) = (record.results(), record.operand(0)) else { return Err("it is not known".into()) };
    if !ours || !record.regions().is_empty() {
        return Err("it is not known".into());
    }
    if ["Add", "Mul", "PRelu"].contains(&name) {
        return binary(graph, op, *result);
    }
    let (Some(read), Some(made)) = (channels(graph, input), channels(graph, *result)) else {
        return Err("the number of its channels is not known".into());
    };
    if record.attrs().values().any(|a| matches!(a, Attr::Float(x) if !x.is_finite())) {
        return Err("it has an attribute that is not finite".into());
    }
    let keeps = |edits: Vec<Edit>| Ok(Role::Keeps { values: vec![input], edits, depthwise: false });
    let alone = record.operands().len() == 1;
    match name {
        "Conv" => conv(graph, op, input, read, made),
        "Gemm" => gemm(graph, op, read, made),
        _ if read != made => Err("it changes the number of channels".into()),
        name if (POINTWISE.contains(&name) || POOLS.contains(&name)) && alone => keeps(vec![]),
        "Clip" => match clip_bounds(graph, op) {
            Some((low, high)) if low < f32::INFINITY && high > f32::NEG_INFINITY => keeps(vec![]),
            _ => Err("its bounds are computed, or let nothing through".into()),
        },
        "Pad" => {
            let (before, after) = pad_amounts(graph, op)?;
            let finite = record.operand(2).is_none_or(|v| finite(graph, v));
            match (before.get(1), after.get(1)) {
                (Some(0), Some(0)) if finite => keeps(vec![]),
                _ => Err("it pads channels, or with a number that is not known".into()),
            }
        }
        "Resize" => resize(graph, op, made).and_then(keeps),
        "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" => reshape(graph, op, input, *result, made).and_then(keeps),
        _ => Err("it does not work on each channel by itself".into()),
    }
}

/// A border, or a depthwise Conv.
fn conv(graph: &Graph, op: OpId, input: ValueId, read: usize, made: usize) -> Result<Role, String> {
    let record = graph.op(op);
    let group = usize::try_from(record.int("group", 1)).unwrap_or(0);
    let weights = record.operand(1).ok_or("it has no weights")?;
    let dims = graph.value(weights).ty().dims().ok_or("its weights are of unknown shape")?;
    let depthwise = group > 1 && group == read && group == made;
    if group != 1 && !depthwise {
        return Err(format!("its channels belong to {group} groups"));
    }
    if dims.len() < 3 || dims[0] != made || dims[1].checked_mul(group) != Some(read) {
        return Err("its weights do not fit".into());
    }
    let mut makes = vec![Edit::Extend { operand: 1, axis: 0 }];
    extendable(graph, op, 1, 0)?;
    if let Some(bias) = record.operand(2) {
        if graph.value(bias).ty().dims() != Some(vec![made]) {
            return Err("its bias is no vector of one number for each channel".into());
        }
        extendable(graph, op, 2, 0)?;
        makes.push(Edit::Extend { operand: 2, axis: 0 });
    }
    if depthwise {
        makes.push(Edit::Groups);
        return Ok(Role::Keeps { values: vec![input], edits: makes, depthwise });
    }
    extendable(graph, op, 1, 1)?;
    Ok(Role::Border { reads: vec![Edit::Extend { operand: 1, axis: 1 }], makes })
}

fn gemm(graph: &Graph, op: OpId, read: usize, made: usize) -> Result<Role, String> {
    let record = graph.op(op);
    let columns = usize::from(record.int("transB", 0) != 0);
    let weights = record.operand(1).and_then(|w| graph.value(w).ty().dims()).filter(|d| d.len() == 2);
    if record.int("transA", 0) != 0 || weights.is_none_or(|d| d[1 - columns] != made || d[columns] != read) {
        return Err("its weights do not fit".into());
    }
    (0..2).try_for_each(|axis| extendable(graph, op, 1, axis))?;
    let mut makes = vec![Edit::Extend { operand: 1, axis: 1 - columns }];
    if let Some(bias) = record.operand(2) {
        let axis = graph.value(bias).ty().dims().filter(|d| d.last() == Some(&made)).map(|d| d.len() - 1);
        let axis = axis.ok_or("its bias is not one number for each channel")?;
        extendable(graph, op, 2, axis)?;
        makes.push(Edit::Extend { operand: 2, axis });
    }
    Ok(Role::Border { reads: vec![Edit::Extend { operand: 1, axis: columns }], makes })
}

/// Add, Mul and PRelu of values with the same channels, or with a constant that has one number or one for each channel.
fn binary(graph: &Graph, op: OpId, result: ValueId) -> Result<Role, String> {
    let made = channels(graph, result).ok_or("the number of its channels is not known")?;
    let rank = graph.value(result).ty().rank().unwrap_or(0);
    let (mut values, mut edits) = (Vec::new(), Vec::new());
    for (operand, value) in graph.op(op).operands().iter().enumerate() {
        let value = value.ok_or("it lacks an operand")?;
        let dims = graph.value(value).ty().tensor().and_then(|t| t.shape.as_ref()).ok_or("a rank is not known")?;
        if !graph.value(value).is_const() {
            match channels(graph, value) {
                Some(n) if n == made && dims.len() == rank => values.push(value),
                _ => return Err("its operands differ in rank or in the number of channels".into()),
            }
            continue;
        }
        // Shapes are aligned at their ends.
        let axis = (dims.len() + 1).checked_sub(rank);
        match axis.and_then(|axis| Some((axis, dims.get(axis)?.known()?))) {
            Some((axis, n)) if n == made as u64 && n > 1 => {
                extendable(graph, op, operand, axis)?;
                edits.push(Edit::Extend { operand, axis });
            }
            Some((_, n)) if n != 1 => return Err("its constant has another number of channels".into()),
            _ if !finite(graph, value) => return Err("its constant is not finite".into()),
            _ => {}
        }
    }
    if values.is_empty() {
        Err("all its operands are constants".into())
    } else {
        Ok(Role::Keeps { values, edits, depthwise: false })
    }
}

/// A Resize that leaves the channels alone.
fn resize(graph: &Graph, op: OpId, made: usize) -> Result<Vec<Edit>, String> {
    let record = graph.op(op);
    let mapping = record.str("coordinate_transformation_mode", "half_pixel");
    // All of these leave an axis of scale 1 as it is.
    let plain = ["nearest", "linear"].contains(&record.str("mode", "nearest"))
        && ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"].contains(&mapping)
        && ["axes", "keep_aspect_ratio_policy"].iter().all(|name| !record.attrs().contains_key(*name));
    if !plain || record.operands().len() < 3 {
        return Err("it is not nearest or linear, or of an old form".into());
    }
    let scales = record.operand(2).and_then(|v| graph.const_of(v)).and_then(Tensor::to_f32).unwrap_or_default();
    let sizes = ints(graph, op, "", 3);
    match (scales.get(1), sizes) {
        (Some(1.0), Ints::Absent) => Ok(vec![]),
        (None, Ints::Known(list)) if list.get(1) == Some(&(made as i64)) => Ok(vec![Edit::Entry { operand: 3, at: 1 }]),
        _ => Err("its sizes are computed".into()),
    }
}

/// Images of one pixel and rows of features hold the same numbers in the same order.
fn reshape(graph: &Graph, op: OpId, input: ValueId, result: ValueId, made: usize) -> Result<Vec<Edit>, String> {
    let record = graph.op(op);
    let shape = |v: ValueId| graph.value(v).ty().tensor().and_then(|t| t.shape.clone()).unwrap_or_default();
    let (from, to) = (shape(input), shape(result));
    // One channel could be any of the axes of extent 1.
    let pixel = |shape: &[Dim]| shape.iter().skip(2).all(|d| d.known() == Some(1));
    let ambiguous = made == 1 || (record.name().is_onnx("Flatten") && record.int("axis", 1) != 1);
    // Axis 1 is the channels of both, and what is before it is the same.
    if ambiguous || !pixel(&from) || !pixel(&to) || from.first() != to.first() || from.first() == Some(&Dim::Unknown) {
        return Err("it moves numbers between channels".into());
    }
    if record.operand(1).is_some_and(|v| !graph.value(v).is_const()) {
        return Err("its shape is computed".into());
    }
    if !record.name().is_onnx("Reshape") {
        return Ok(vec![]);
    }
    match ints(graph, op, "", 1) {
        Ints::Known(list) if list.get(1) == Some(&(made as i64)) => Ok(vec![Edit::Entry { operand: 1, at: 1 }]),
        // The rest of it, or what the operand has.
        Ints::Known(list) if list.get(1) == Some(&-1) => Ok(vec![]),
        Ints::Known(list) if list.get(1) == Some(&0) && record.int("allowzero", 0) == 0 => Ok(vec![]),
        _ => Err("its shape is computed".into()),
    }
}

fn extendable(graph: &Graph, op: OpId, operand: usize, axis: usize) -> Result<(), String> {
    let value = graph.op(op).operand(operand).ok_or("it lacks a constant")?;
    extend::unfit(graph, value, axis).map_or(Ok(()), |why| Err(format!("{} {why}", graph.label(value))))
}

/// True for a constant that holds finite numbers only.
fn finite(graph: &Graph, value: ValueId) -> bool {
    let quantized = graph.value(value).is_const() && graph.value(value).ty().quant().is_some();
    quantized || real_const(graph, value).and_then(Tensor::to_f32).is_some_and(|list| list.iter().all(|x| x.is_finite()))
}
