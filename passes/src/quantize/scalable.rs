//! Groups of values whose channels can be scaled together without changing what the network computes.
//!
//! `f(s x) = s f(x)` holds for positive `s` and ReLU, pooling and sums; so a factor for each channel (axis 1) can enter
//! where a Conv or Gemm makes a value, travel through all that, and be taken back by the Conv or Gemm that reads it
//! (Nagel et al., Data-free quantization through weight equalization and bias correction, ICCV 2019, section 4.1). Values
//! that are added must have the same factors: a residual stream is one group.

use std::collections::BTreeMap;

use spaceevo_ir::{Elem, Graph, OpId, Type, User, ValueId};

use super::placement::unfit;
use crate::analysis::{constant_side, ints, is_plain, per_channel, splat};

/// Values with one factor for each channel, and the ops around them.
#[derive(Clone, Default, Debug)]
pub struct Group {
    /// Extent of axis 1 of every value.
    pub channels: usize,
    /// The values, in the order of the graph.
    pub values: Vec<ValueId>,
    /// Conv and Gemm that make one of them.
    pub makers: Vec<OpId>,
    /// Conv and Gemm that read one of them. An op may be both, of one group or of two.
    pub readers: Vec<OpId>,
    /// What makes one of them from others, in the order of the graph.
    pub between: Vec<OpId>,
    /// Why nothing can be scaled after all.
    pub blocked: Option<String>,
}

/// What an op means for the values around it.
enum Role {
    /// Scales channels of its own.
    Weights,
    /// Makes a value with the factors of these.
    Passes(Vec<ValueId>),
}

/// All groups that a Conv or Gemm of the body begins, in the order of the graph; not those of the network's last values,
/// which nothing reads but the caller.
pub fn groups(graph: &Graph) -> Vec<Group> {
    let ops: Vec<OpId> = graph.ops_in(graph.body()).collect();
    let roles: Vec<Result<Role, String>> = ops.iter().map(|&op| role(graph, op)).collect();
    let mut classes = Classes((0..graph.value_bound()).collect());
    for (&op, role) in ops.iter().zip(&roles) {
        if let Ok(Role::Passes(from)) = role {
            from.iter().for_each(|&v| classes.join(v, graph.op(op).result()));
        }
    }
    let mut groups: Vec<Group> = Vec::new();
    let mut by_class: BTreeMap<usize, usize> = BTreeMap::new();
    for (&op, role) in ops.iter().zip(&roles) {
        if let Ok(Role::Weights) = role {
            let result = graph.op(op).result();
            let at = *by_class.entry(classes.root(result.index())).or_insert_with(|| {
                groups.push(Group { channels: channels(graph, result).unwrap_or(0), ..Group::default() });
                groups.len() - 1
            });
            groups[at].makers.push(op);
        }
    }
    let group_of = |value: ValueId| by_class.get(&classes.root(value.index())).copied();
    for &input in graph.region(graph.body()).inputs() {
        block(&mut groups, group_of(input), || format!("{} is an input of the graph", graph.label(input)));
    }
    for (&op, role) in ops.iter().zip(&roles) {
        let record = graph.op(op);
        match role {
            Ok(Role::Weights) => {
                let reads = record.operand(0).and_then(&group_of);
                reads.into_iter().for_each(|at| groups[at].readers.push(op));
            }
            Ok(Role::Passes(_)) => group_of(record.result()).into_iter().for_each(|at| groups[at].between.push(op)),
            Err(why) => {
                for &value in record.operands().iter().flatten().chain(record.results()) {
                    block(&mut groups, group_of(value), || format!("{} at {}: {why}", record.name(), graph.label(value)));
                }
            }
        }
        for &result in record.results() {
            group_of(result).into_iter().for_each(|at| groups[at].values.push(result));
        }
    }
    for group in &mut groups {
        let foreign = |u: &User| match u {
            User::Op(user, _) => graph.op(*user).region() != graph.body(),
            User::Return(..) => true,
        };
        let read = group.values.iter().find(|&&v| graph.value(v).users().iter().any(foreign));
        if let Some(&value) = read.filter(|_| !group.readers.is_empty()) {
            group.blocked.get_or_insert_with(|| format!("{} is a result, or a subgraph reads it", graph.label(value)));
        }
    }
    groups.retain(|group| !group.readers.is_empty() || group.blocked.is_some());
    groups
}

/// Notes the first reason only.
fn block(groups: &mut [Group], at: Option<usize>, why: impl Fn() -> String) {
    if let Some(group) = at.map(|at| &mut groups[at]) {
        group.blocked.get_or_insert_with(why);
    }
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

/// Extent of axis 1 of a plain tensor of 32-bit floats.
fn channels(graph: &Graph, value: ValueId) -> Option<usize> {
    let ty = graph.value(value).ty();
    if ty.elem() != Some(Elem::F32) || !is_plain(graph, value) { None } else { ty.tensor()?.dim(1) }
}

fn role(graph: &Graph, op: OpId) -> Result<Role, String> {
    let record = graph.op(op);
    let (Some(input), Some(&result)) = (record.operand(0), record.results().first()) else {
        return Err("it has no operand or no result".into());
    };
    let name = record.name().onnx_op();
    if matches!(name, "Conv" | "Gemm") {
        return match unfit(graph, op) {
            None if channels(graph, result).is_none() || channels(graph, input).is_none() => {
                Err("the number of channels is not known".into())
            }
            None => Ok(Role::Weights),
            Some(why) => Err(why),
        };
    }
    let from = passed(graph, op, name, input)?;
    let count = channels(graph, result);
    if count.is_none() || from.iter().any(|&v| channels(graph, v) != count) {
        return Err("what it makes has other channels than what it reads".into());
    }
    Ok(Role::Passes(from))
}

/// The operands whose factors the result has; a sentence why there are none.
fn passed(graph: &Graph, op: OpId, name: &str, input: ValueId) -> Result<Vec<ValueId>, String> {
    let record = graph.op(op);
    let rank = |v: ValueId| graph.value(v).ty().rank();
    let bad = |why: &str| Err(why.to_owned());
    match name {
        "Relu" | "LeakyRelu" | "Identity" | "AveragePool" | "GlobalAveragePool" | "GlobalMaxPool" => Ok(vec![input]),
        "PRelu" if record.operand(1).is_some_and(|v| graph.value(v).is_const()) => Ok(vec![input]),
        "MaxPool" if record.results()[1..].iter().all(|&v| graph.use_count(v) == 0) => Ok(vec![input]),
        "Pad" => {
            let rank = rank(input).unwrap_or(0);
            let pads = ints(graph, op, "pads", 1).known().filter(|p| p.len() == 2 * rank && record.operand(3).is_none());
            let constant = record.str("mode", "constant") == "constant";
            let zero = record.operand(2).map_or(record.float("value", 0.0) == 0.0, |v| splat(graph, v) == Some(0.0));
            match pads {
                Some(pads) if rank > 1 && pads[1] == 0 && pads[rank + 1] == 0 && (zero || !constant) => Ok(vec![input]),
                _ => bad("it pads channels, or with another number than zero"),
            }
        }
        "Flatten" | "Reshape" | "Squeeze" => {
            // Images of one pixel and rows of features hold the same numbers in the same order.
            let pixel = |v: ValueId| {
                let shape = graph.value(v).ty().tensor().and_then(|t| t.shape.clone());
                shape.is_some_and(|s| s.iter().skip(2).all(|d| d.known() == Some(1)))
            };
            if pixel(input) && pixel(record.result()) { Ok(vec![input]) } else { bad("it moves numbers between channels") }
        }
        "Add" => match constant_side(graph, op) {
            Some((value, constant, _)) => {
                let (count, rank) = (channels(graph, value).unwrap_or(0), rank(value).unwrap_or(0));
                match per_channel(graph, constant, count, 1, rank) {
                    Some(_) => Ok(vec![value]),
                    None => bad("its constant is not one number for each channel"),
                }
            }
            None => {
                let both: Vec<ValueId> = record.operands().iter().flatten().copied().collect();
                let same = both.iter().all(|&v| !graph.value(v).is_const() && rank(v) == rank(record.result()));
                if same { Ok(both) } else { bad("it adds values of different ranks") }
            }
        },
        _ => bad("what it makes does not scale with what it reads"),
    }
}

/// Of an Add in a group: the index of its constant, and the numbers, one for each channel.
pub fn summand(graph: &Graph, op: OpId, channels: usize) -> Option<(usize, Vec<f64>)> {
    let (value, constant, index) = constant_side(graph, op).filter(|_| graph.op(op).name().is_onnx("Add"))?;
    let rank = graph.value(value).ty().tensor().and_then(|t| t.rank())?;
    Some((index, per_channel(graph, constant, channels, 1, rank)?))
}

/// How many independent numbers each number of the result is the mean of; 1 where nobody knows.
pub fn averaged(graph: &Graph, op: OpId) -> f64 {
    let record = graph.op(op);
    let extents = |ty: &Type| ty.tensor()?.shape.as_ref()?.iter().skip(2).map(|d| d.known()).product::<Option<u64>>();
    let count = match record.name().onnx_op() {
        "GlobalAveragePool" => record.operand(0).and_then(|v| extents(graph.value(v).ty())).map(|n| n as f64),
        "AveragePool" => record.ints("kernel_shape").map(|k| k.iter().map(|&n| n as f64).product()),
        _ => None,
    };
    count.filter(|n| *n >= 1.0).unwrap_or(1.0)
}
