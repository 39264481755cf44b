//! Facts about a graph that are computed on demand: analyses take `&Graph` and cannot change what they look at.

use spaceevo_ir::{Dim, Graph, ONNX, OpId, Tensor, Type, ValueId, schema};

/// True when every extent but the one of `axis` is 1 (or the rank is lower than it should be): a per-channel vector.
pub fn is_per_channel(dims: &[usize], axis: usize, rank: usize) -> bool {
    let lead = rank.saturating_sub(dims.len());
    dims.iter().enumerate().all(|(i, &d)| d == 1 || i + lead == axis)
}

/// The single number of a constant whose elements are all equal.
pub fn splat(graph: &Graph, value: ValueId) -> Option<f32> {
    let tensor = graph.const_of(value)?;
    if tensor.is_empty() || tensor.len() > 1 << 20 {
        return None;
    }
    let numbers = tensor.to_f32()?;
    numbers.iter().all(|n| n.to_bits() == numbers[0].to_bits()).then_some(numbers[0])
}

/// For an op of two operands of which one is constant: (the other operand, the constant, index of the constant).
pub fn constant_side(graph: &Graph, op: OpId) -> Option<(ValueId, ValueId, usize)> {
    if graph.op(op).operands().len() != 2 {
        return None;
    }
    let (a, b) = (graph.op(op).operand(0)?, graph.op(op).operand(1)?);
    match (graph.value(a).is_const(), graph.value(b).is_const()) {
        (false, true) => Some((a, b, 1)),
        (true, false) => Some((b, a, 0)),
        _ => None,
    }
}

/// Extents behind the first one, which is the batch, if all are known.
pub fn extents(graph: &Graph, value: ValueId) -> Option<Vec<usize>> {
    let ty = graph.value(value).ty().tensor()?;
    (1..ty.rank()?).map(|axis| ty.dim(axis)).collect()
}

/// Channels, height and width of a map.
pub fn map_extents(graph: &Graph, value: ValueId) -> Option<[usize; 3]> {
    extents(graph, value)?.try_into().ok()
}

/// Ops of the body and of everything nested in it. Bodies of functions are left out: they are untyped, and attributes
/// there may stand for those of the caller.
pub fn model_ops(graph: &Graph) -> Vec<OpId> {
    let in_function = |op: OpId| graph.functions.iter().any(|f| graph.encloses(f.region, graph.op(op).region()));
    graph.all_ops().into_iter().filter(|&op| graph.functions.is_empty() || !in_function(op)).collect()
}

/// Version of ONNX's operator set that holds for an op; the newest known one where the graph names none.
pub fn opset(graph: &Graph, op: OpId) -> u64 {
    graph.opset_in(graph.op(op).region(), ONNX).unwrap_or_else(|| schema::latest_opset(ONNX))
}

/// True when the value holds real numbers as they are: not quantized.
pub fn is_plain(graph: &Graph, value: ValueId) -> bool {
    graph.value(value).ty().quant().is_none()
}

/// A constant of a floating-point type, not quantized, as it stands.
pub fn real_const(graph: &Graph, value: ValueId) -> Option<&Tensor> {
    graph.const_of(value).filter(|t| t.elem().is_float() && is_plain(graph, value))
}

/// The numbers of a floating-point constant.
pub fn reals(graph: &Graph, value: ValueId) -> Option<Vec<f64>> {
    real_const(graph, value)?.to_f64()
}

/// The number of a floating-point constant of one element, of any rank.
pub fn scalar(graph: &Graph, value: ValueId) -> Option<f64> {
    real_const(graph, value).filter(|t| t.len() == 1)?.to_f64()?.first().copied()
}

/// True when both numbers are the same up to what writing them in single precision loses.
pub fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * a.abs().max(b.abs())
}

/// More than any network has: a model may declare what it likes, and a single number would be spread as far.
const MOST_CHANNELS: usize = 1 << 24;

/// The numbers of a constant that is broadcast against a value of rank `rank` with `channels` entries along `axis`: one
/// for each channel. `None` when it differs along another axis, too, or would widen the value.
pub fn per_channel(graph: &Graph, value: ValueId, channels: usize, axis: usize, rank: usize) -> Option<Vec<f64>> {
    let tensor = real_const(graph, value)?;
    if channels > MOST_CHANNELS {
        return None;
    }
    let spread = match tensor.len() {
        1 => channels,
        n if n == channels => 1,
        _ => return None,
    };
    if tensor.dims().len() > rank || (tensor.len() > 1 && !is_per_channel(tensor.dims(), axis, rank)) {
        return None;
    }
    let numbers = tensor.to_f64()?;
    Some(if spread == 1 { numbers } else { vec![numbers[0]; channels] })
}

/// Integers that an op takes as an attribute in old operator sets and as an operand in new ones.
#[derive(Clone, PartialEq, Debug)]
pub enum Ints {
    /// Not given.
    Absent,
    /// Given, but computed while the model runs.
    Computed,
    /// Given.
    Known(Vec<i64>),
}

impl Ints {
    /// The integers, if known.
    pub fn known(self) -> Option<Vec<i64>> {
        match self {
            Ints::Known(list) => Some(list),
            _ => None,
        }
    }
}

/// The integers of the attribute `name`, or else of operand `index`.
pub fn ints(graph: &Graph, op: OpId, name: &str, index: usize) -> Ints {
    if let Some(list) = graph.op(op).ints(name) {
        return Ints::Known(list.to_vec());
    }
    match graph.op(op).operand(index) {
        None => Ints::Absent,
        Some(value) => graph.const_of(value).and_then(Tensor::to_i64).map_or(Ints::Computed, Ints::Known),
    }
}

/// Axes counted from the front, sorted; `None` when one lies outside of the rank.
pub fn axes_from_front(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    let rank = i64::try_from(rank).ok()?;
    let mut found = axes
        .iter()
        .map(|&a| usize::try_from(if a < 0 { a.checked_add(rank)? } else { a }).ok().filter(|&a| (a as i64) < rank));
    let mut axes = found.by_ref().collect::<Option<Vec<_>>>()?;
    axes.sort_unstable();
    Some(axes)
}

/// How much a Pad adds before and behind along every axis; a sentence when that is not known.
pub fn pad_amounts(graph: &Graph, pad: OpId) -> Result<(Vec<i64>, Vec<i64>), String> {
    let pads = match ints(graph, pad, "pads", 1) {
        Ints::Known(pads) => pads,
        _ => return Err("its pads are no constant".into()),
    };
    let half = pads.len() / 2;
    let (before, after) = pads.split_at(half);
    let axes = match if opset(graph, pad) >= 18 { ints(graph, pad, "axes", 3) } else { Ints::Absent } {
        Ints::Absent => return Ok((before.to_vec(), after.to_vec())),
        Ints::Computed => return Err("its axes are no constant".into()),
        Ints::Known(axes) => axes,
    };
    let rank =
        graph.op(pad).operand(0).and_then(|v| graph.value(v).ty().rank()).ok_or("the rank of its input is not known")?;
    let (mut all_before, mut all_after) = (vec![0; rank], vec![0; rank]);
    for (i, &axis) in axes.iter().enumerate() {
        let at = axes_from_front(&[axis], rank).ok_or("an axis is out of range")?[0];
        all_before[at] = *before.get(i).ok_or("its pads and axes do not match")?;
        all_after[at] = *after.get(i).ok_or("its pads and axes do not match")?;
    }
    Ok((all_before, all_after))
}

/// True when both are tensors of the same element type and certainly the same shape: all extents known, or named alike.
pub fn same_type(a: &Type, b: &Type) -> bool {
    let (Some(a), Some(b)) = (a.tensor(), b.tensor()) else { return false };
    let (Some(left), Some(right)) = (&a.shape, &b.shape) else { return false };
    let certain = |d: &Dim| matches!(d, Dim::Known(_) | Dim::Named(_));
    a.elem == b.elem && a.quant == b.quant && left == right && left.iter().all(certain)
}

/// True when an op may give other results when it runs again, or is not known well enough to deny it.
pub fn is_random(graph: &Graph, op: OpId) -> bool {
    let name = graph.op(op).name();
    let drawing = ["RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"];
    let training = name.is_onnx("Dropout") && !is_idle_dropout(graph, op);
    let known = !schema::since_versions(&name.domain, &name.op).is_empty();
    !known || training || drawing.iter().any(|random| name.is_onnx(random))
}

/// True for a Dropout that lets its input through: inference is its only mode, or training is switched off.
pub fn is_idle_dropout(graph: &Graph, op: OpId) -> bool {
    match opset(graph, op) {
        ..7 => graph.op(op).int("is_test", 0) == 1,
        7..12 => true,
        _ => match graph.op(op).operand(2) {
            None => true,
            Some(mode) => graph.const_of(mode).and_then(Tensor::to_bools).is_some_and(|on| on == [false]),
        },
    }
}

/// True when a convolution or pooling certainly adds no padding.
pub fn is_unpadded(graph: &Graph, op: OpId) -> bool {
    let op = graph.op(op);
    match op.str("auto_pad", "NOTSET") {
        "VALID" => true,
        "NOTSET" => op.ints("pads").is_none_or(|pads| pads.iter().all(|&p| p == 0)),
        _ => false,
    }
}
