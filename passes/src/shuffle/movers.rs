//! Ops that move channels (axis 1) and nothing else: Concat, Split, Slice, Gather, and channel shuffles, whose ops count as
//! one.

use spaceevo_ir::{Graph, OpId, Tensor, TensorType, User, ValueId};

use crate::analysis::{ints, opset};

/// Which channel of which value.
pub type Pick = (ValueId, usize);

/// Ops that move channels.
#[derive(Clone, Debug)]
pub struct Mover {
    /// In their order; one, unless they are a shuffle.
    pub ops: Vec<OpId>,
    /// True when it reorders channels, and does not only cut and join: a memory access for every number.
    pub shuffles: bool,
    /// The values that leave it, and where each of their channels comes from.
    pub results: Vec<(ValueId, Vec<Pick>)>,
}

/// More channels than any network has in all its tensors that move: a bound on memory, not a parameter.
const MOST_CHANNELS: usize = 1 << 22;

/// The movers of the body of a graph, in the order of their last ops.
pub fn movers(graph: &Graph) -> Vec<Mover> {
    let mut left = MOST_CHANNELS;
    let mut found = Vec::new();
    for op in graph.ops_in(graph.body()) {
        let record = graph.op(op);
        // Counted before anything is written down.
        let count: usize = record.results().iter().map(|&v| channels(graph, v).unwrap_or(0)).fold(0, usize::saturating_add);
        let large = |v: ValueId| channels(graph, v).is_none_or(|n| n > left);
        if count > left || record.operands().iter().flatten().take(1).any(|&v| large(v)) {
            continue;
        }
        let mover = match &*record.name().op {
            _ if !record.name().is_onnx(&record.name().op) => None,
            "Concat" => concat(graph, op),
            "Split" => split(graph, op),
            "Slice" => slice(graph, op),
            "Gather" => gather(graph, op),
            "Reshape" => shuffle(graph, op).or_else(|| parities(graph, op)),
            _ => None,
        };
        if let Some(mover) = mover.filter(|mover| keeps_types(graph, mover)) {
            left = left.saturating_sub(mover.results.iter().map(|(_, picks)| picks.len()).sum());
            found.push(mover);
        }
    }
    found
}

fn tensor(graph: &Graph, value: ValueId) -> Option<&TensorType> {
    graph.value(value).ty().tensor()
}

/// Extent of axis 1.
fn channels(graph: &Graph, value: ValueId) -> Option<usize> {
    tensor(graph, value)?.dim(1)
}

/// The numbers stay what they are: real ones, of one type and with one quantization for all.
fn keeps_types(graph: &Graph, mover: &Mover) -> bool {
    let same = |(result, picks): &(ValueId, Vec<Pick>)| {
        let Some(made) = tensor(graph, *result) else { return false };
        let mut last = None;
        picks.len() == channels(graph, *result).unwrap_or(0)
            && !picks.is_empty()
            && made.elem.is_float()
            && made.quant.as_ref().is_none_or(|q| q.axis.is_none())
            && picks.iter().all(|&(value, channel)| {
                let seen = last.replace(value) == Some(value);
                let fits = |t: &TensorType| t.elem == made.elem && t.quant == made.quant && t.rank() == made.rank();
                channels(graph, value).is_some_and(|n| channel < n) && (seen || tensor(graph, value).is_some_and(fits))
            })
    };
    mover.results.iter().all(same)
}

fn axis(graph: &Graph, op: OpId, default: i64) -> Option<usize> {
    let rank = tensor(graph, graph.op(op).operand(0)?)?.rank()? as i64;
    let axis = graph.op(op).int("axis", default);
    usize::try_from(if axis < 0 { axis + rank } else { axis }).ok()
}

fn concat(graph: &Graph, op: OpId) -> Option<Mover> {
    let mut picks = Vec::new();
    for value in graph.op(op).operands() {
        let count = channels(graph, (*value)?).filter(|&n| n <= MOST_CHANNELS)?;
        picks.extend((0..count).map(|channel| (value.unwrap_or(graph.op(op).result()), channel)));
    }
    let known = axis(graph, op, i64::MAX)? == 1;
    known.then(|| Mover { ops: vec![op], shuffles: false, results: vec![(graph.op(op).result(), picks)] })
}

fn split(graph: &Graph, op: OpId) -> Option<Mover> {
    let input = graph.op(op).operand(0)?;
    let (mut results, mut from) = (Vec::new(), 0);
    for &result in graph.op(op).results() {
        let count = channels(graph, result)?;
        results.push((result, (from..from + count).map(|channel| (input, channel)).collect()));
        from += count;
    }
    let whole = axis(graph, op, 0)? == 1 && Some(from) == channels(graph, input);
    // Extents of results are inferred from the constant parts; computed ones may be other than declared.
    let known = graph.op(op).operand(1).is_none_or(|parts| graph.const_of(parts).is_some());
    (whole && known).then_some(Mover { ops: vec![op], shuffles: false, results })
}

fn slice(graph: &Graph, op: OpId) -> Option<Mover> {
    let input = graph.op(op).operand(0)?;
    let count = channels(graph, input)? as i64;
    let one = |name: &str, index: usize| match ints(graph, op, name, index).known()?[..] {
        [n] => Some(n),
        _ => None,
    };
    let step = if graph.op(op).operand(4).is_some() { one("", 4)? } else { 1 };
    if ![1, 1 - tensor(graph, input)?.rank()? as i64].contains(&one("axes", 3)?) || step < 1 {
        return None;
    }
    let clamp = |n: i64| if n < 0 { n.saturating_add(count).max(0) } else { n.min(count) };
    let (start, end) = (clamp(one("starts", 1)?), clamp(one("ends", 2)?));
    let step = usize::try_from(step).ok()?;
    let picks = (start..end).step_by(step).map(|channel| (input, channel as usize)).collect();
    Some(Mover { ops: vec![op], shuffles: false, results: vec![(graph.op(op).result(), picks)] })
}

fn gather(graph: &Graph, op: OpId) -> Option<Mover> {
    let input = graph.op(op).operand(0)?;
    let count = channels(graph, input)? as i64;
    let indices = graph.const_operand(op, 1).filter(|t| t.dims().len() == 1 && t.len() <= MOST_CHANNELS)?.to_i64()?;
    let from_front = |&n: &i64| usize::try_from(if n < 0 { n.saturating_add(count) } else { n }).ok();
    let picks: Vec<Pick> = indices.iter().map(|n| Some((input, from_front(n)?))).collect::<Option<_>>()?;
    let shuffles = picks.windows(2).any(|pair| pair[0].1 + 1 != pair[1].1);
    (axis(graph, op, 0)? == 1).then(|| Mover { ops: vec![op], shuffles, results: vec![(graph.op(op).result(), picks)] })
}

/// The Reshape, Transpose and Reshape that end in `last`, where nobody else reads what is between.
fn chain(graph: &Graph, last: OpId) -> Option<[OpId; 3]> {
    let before = |op: OpId, name: &str| {
        let value = graph.op(op).operand(0)?;
        graph.def_named(value, name).filter(|_| graph.only_user(value) == Some(op))
    };
    let transpose = before(last, "Transpose")?;
    let first = before(transpose, "Reshape")?;
    let plain = |op: OpId| graph.const_operand(op, 1).is_some() && graph.op(op).region() == graph.body();
    (plain(first) && plain(last)).then_some([first, transpose, last])
}

/// A channel shuffle (Zhang et al. 2018) as `lift-channel-shuffle` writes it, or with the positions taken together.
fn shuffle(graph: &Graph, last: OpId) -> Option<Mover> {
    let ops = chain(graph, last)?;
    let [first, transpose, _] = ops;
    let input = graph.op(first).operand(0)?;
    let (from, to) = (tensor(graph, input)?, tensor(graph, graph.op(last).result())?);
    let grouped = tensor(graph, graph.op(first).result())?;
    let perm = graph.op(transpose).ints("perm")?;
    let rank = grouped.rank()?;
    let swaps = perm.len() == rank && perm.starts_with(&[0, 2, 1]) && (3..rank).all(|axis| perm[axis] == axis as i64);
    let behind = |ty: &TensorType, axis: usize| (axis..ty.rank()?).map(|a| ty.dim(a)).collect::<Option<Vec<_>>>();
    let volume = |dims: Vec<usize>| dims.into_iter().try_fold(1usize, usize::checked_mul).filter(|&n| n > 0);
    let positions = volume(behind(from, 2)?)?;
    let (groups, each) = (grouped.dim(1)?, grouped.dim(2)?);
    let whole = groups.checked_mul(each)? == from.dim(1)? && volume(behind(grouped, 3)?)? == positions;
    if !swaps || !whole || behind(from, 1) != behind(to, 1) || from.rank() != to.rank() || from.dim(1)? == 0 {
        return None;
    }
    let picks = (0..groups * each).map(|to| (input, to % groups * each + to / groups)).collect();
    let shuffles = groups > 1 && each > 1;
    Some(Mover { ops: ops.to_vec(), shuffles, results: vec![(graph.op(last).result(), picks)] })
}

/// The shuffle and split of ShuffleNet V2 as its authors write it: `[n, c, h, w]` as `[n*c/2, 2, h*w]`, transposed to
/// `[2, n*c/2, h*w]`, read as `[2, n, c/2, h, w]`, of which one Gather takes the even channels and another the odd ones.
fn parities(graph: &Graph, last: OpId) -> Option<Mover> {
    let ops = chain(graph, last)?;
    let input = graph.op(ops[0]).operand(0)?;
    let dims = |op: OpId| tensor(graph, graph.op(op).result())?.dims();
    let (from, pairs, turned, halves) = (tensor(graph, input)?.dims()?, dims(ops[0])?, dims(ops[1])?, dims(last)?);
    let ([n, c, ..], [p, 2, q]) = (&from[..], &pairs[..]) else { return None };
    let positions = from[2..].iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n > 0)?;
    let whole = n.checked_mul(*c)? == p.checked_mul(2)? && positions == *q && c.is_multiple_of(2) && *c > 0;
    let expected: Vec<usize> = [&[2, *n, c / 2], &from[2..]].concat();
    let swaps = graph.op(ops[1]).ints("perm") == Some(&[1, 0, 2]) && turned == [2, *p, *q];
    if !whole || !swaps || halves != expected {
        return None;
    }
    let (mut ops, mut results) = (ops.to_vec(), Vec::new());
    for user in graph.value(graph.op(last).result()).users() {
        let User::Op(op, 0) = *user else { return None };
        let record = graph.op(op);
        let scalar = graph.const_operand(op, 1).filter(|t| t.dims().is_empty()).and_then(Tensor::to_i64)?;
        let parity = scalar.first()?.rem_euclid(2) as usize;
        if !record.name().is_onnx("Gather") || record.int("axis", 0) != 0 || record.region() != graph.body() {
            return None;
        }
        results.push((record.result(), (0..c / 2).map(|i| (input, 2 * i + parity)).collect()));
        ops.push(op);
    }
    // Users are listed in no particular order.
    ops[3..].sort_unstable();
    results.sort_unstable_by_key(|(value, _)| *value);
    (opset(graph, last) >= 5).then_some(Mover { ops, shuffles: true, results })
}
