//! If, Loop, Scan and SequenceMap: operators whose results are those of their regions.

use crate::graph::{ONNX, OpId, RegionId, SPACE};
use crate::interp::Fault;
use crate::types::{Dim, Elem, TensorType, Type};

use super::dims::{axis, same};
use super::engine::Engine;
use super::merge::join;

/// Walks the regions of an op and tells the types of its results.
type Walk = fn(&mut Engine<'_>, OpId) -> Result<Vec<Type>, Fault>;

/// Operators with regions.
pub(super) const REGIONS: &[(&str, &str, Walk)] = &[
    (ONNX, "If", branch),
    (ONNX, "Loop", repeat),
    (ONNX, "Scan", scan),
    (ONNX, "SequenceMap", sequence_map),
    (SPACE, "Choice", choice),
];

/// How often the body of a loop is walked before what it carries is given up as unknown.
const ROUNDS: usize = 4;

fn region(engine: &Engine<'_>, op: OpId, label: &str) -> Result<RegionId, Fault> {
    engine.graph.op(op).region_named(label).ok_or_else(|| format!("it has no `{label}`"))
}

fn operand_type(engine: &Engine<'_>, op: OpId, index: usize) -> Type {
    engine.graph.op(op).operand(index).map_or(Type::Unknown, |value| engine.type_of(value).clone())
}

/// Both branches, each in turn; where the condition is a constant, the one that runs decides.
fn branch(engine: &mut Engine<'_>, op: OpId) -> Result<Vec<Type>, Fault> {
    let (yes, no) = (region(engine, op, "then_branch")?, region(engine, op, "else_branch")?);
    let condition = engine.graph.op(op).operand(0).and_then(|c| engine.graph.const_of(c)).and_then(|t| t.to_bools());
    let (yes, no) = (engine.region(yes, &[]), engine.region(no, &[]));
    Ok(match condition.as_deref() {
        Some([true]) => yes,
        Some([false]) => no,
        _ => yes.iter().zip(&no).map(|(a, b)| join(a, b)).collect(),
    })
}

/// Walks `body` until what it carries around has one type; `carried` counts from input `first` and result `from` on.
fn settle(
    engine: &mut Engine<'_>,
    body: RegionId,
    mut inputs: Vec<Type>,
    first: usize,
    from: usize,
    carried: usize,
) -> (Vec<Type>, Vec<Type>) {
    for round in 0.. {
        // The names that unknown extents get differ from round to round, so `inputs` itself stays without them.
        let named: Vec<Type> = inputs.iter().map(|ty| engine.name_unknown(ty.clone())).collect();
        let results = engine.region(body, &named);
        let mut stable = true;
        for k in 0..carried {
            let (Some(before), Some(after)) = (inputs.get_mut(first + k), results.get(from + k)) else { break };
            let both = join(before, after);
            if both != *before {
                stable = false;
                *before = if round + 1 < ROUNDS { both } else { Type::Unknown };
            }
        }
        if stable || round > ROUNDS {
            return (inputs, results);
        }
    }
    (inputs, Vec::new())
}

/// A tensor with one more axis in front, or at `axis`.
fn stacked(ty: &Type, at: i64, count: Dim) -> Result<Type, Fault> {
    let Type::Tensor(t) = ty else { return Ok(Type::Unknown) };
    let shape = match &t.shape {
        Some(dims) => {
            let mut dims = dims.clone();
            dims.insert(axis(at, dims.len() + 1)?, count);
            Some(dims)
        }
        None => None,
    };
    Ok(Type::Tensor(TensorType { elem: t.elem, shape, quant: None }))
}

/// Loop: body inputs are iteration, condition, carried; its results condition, carried, scanned.
fn repeat(engine: &mut Engine<'_>, op: OpId) -> Result<Vec<Type>, Fault> {
    let body = region(engine, op, "body")?;
    let carried = engine.graph.op(op).operands().len().saturating_sub(2);
    let mut inputs = vec![TensorType::of(Elem::I64, &[]).into(), TensorType::of(Elem::Bool, &[]).into()];
    inputs.extend((0..carried).map(|k| operand_type(engine, op, 2 + k)));
    let (inputs, results) = settle(engine, body, inputs, 2, 1, carried);
    let mut types: Vec<Type> = inputs.into_iter().skip(2).collect();
    // A body whose condition is its input and a known trip count: every iteration is run.
    let inner = engine.graph.region(body);
    let unconditional = engine.graph.op(op).operand(1).is_none() && inner.inputs().get(1) == inner.results().first();
    let trips = engine.graph.op(op).operand(0).and_then(|v| engine.known_of(v));
    let count = match trips.as_deref() {
        Some([trips]) if unconditional => trips.dim().unwrap_or(Dim::Unknown),
        _ => Dim::Unknown,
    };
    for result in results.iter().skip(1 + carried) {
        types.push(stacked(result, 0, count.clone())?);
    }
    Ok(types)
}

/// Scan: opset 8 has a batch axis and sequence lengths, which are left unknown.
fn scan(engine: &mut Engine<'_>, op: OpId) -> Result<Vec<Type>, Fault> {
    let body = region(engine, op, "body")?;
    let site = engine.site(op).ok_or("it has no version")?;
    if site.opset < 9 {
        engine.region(body, &[]);
        return Ok(Vec::new());
    }
    let record = engine.graph.op(op);
    let scanned = site.maybe_int("num_scan_inputs").and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let Some(carried) = site.count().checked_sub(scanned) else {
        return Err(format!("{} operands cannot hold {scanned} scanned ones", site.count()));
    };
    let list = |name: &str| record.ints(name).unwrap_or_default().to_vec();
    let (in_axes, out_axes) = (list("scan_input_axes"), list("scan_output_axes"));
    let mut inputs: Vec<Type> = (0..carried).map(|k| operand_type(engine, op, k)).collect();
    let mut length = Dim::Unknown;
    for k in 0..scanned {
        let mut ty = operand_type(engine, op, carried + k);
        if let Type::Tensor(TensorType { shape: Some(dims), .. }) = &mut ty {
            let at = axis(in_axes.get(k).copied().unwrap_or(0), dims.len())?;
            length = same(&length, &dims.remove(at))?;
        }
        inputs.push(ty);
    }
    let (inputs, results) = settle(engine, body, inputs, 0, 0, carried);
    let mut types: Vec<Type> = inputs.into_iter().take(carried).collect();
    for (k, result) in results.iter().skip(carried).enumerate() {
        types.push(stacked(result, out_axes.get(k).copied().unwrap_or(0), length.clone())?);
    }
    Ok(types)
}

/// SequenceMap: the body sees one element of each sequence; tensors it sees whole.
fn sequence_map(engine: &mut Engine<'_>, op: OpId) -> Result<Vec<Type>, Fault> {
    let body = region(engine, op, "body")?;
    let inputs: Vec<Type> = (0..engine.graph.op(op).operands().len())
        .map(|k| match operand_type(engine, op, k) {
            Type::Sequence(element) => *element,
            whole => whole,
        })
        .collect();
    let results = engine.region(body, &inputs);
    Ok(results.into_iter().map(|ty| Type::Sequence(Box::new(ty))).collect())
}

/// A choice of a search space gives what all its options agree on.
fn choice(engine: &mut Engine<'_>, op: OpId) -> Result<Vec<Type>, Fault> {
    let regions: Vec<RegionId> = engine.graph.op(op).regions().iter().map(|(_, r)| *r).collect();
    let mut options = regions.into_iter().map(|r| engine.region(r, &[])).collect::<Vec<_>>().into_iter();
    let first = options.next().unwrap_or_default();
    Ok(options.fold(first, |all, option| all.iter().zip(&option).map(|(a, b)| join(a, b)).collect()))
}
