//! Lists and values that may be absent: the Sequence and Optional operators.

use super::call::axis_in;
use super::element::{at, join, part, stack};
use super::{Call, Datum, Entry, Fault};
use crate::graph::ONNX;
use crate::tensor::Tensor;

/// Kernels of this family.
pub(super) const KERNELS: &[Entry] = &[
    (ONNX, "ConcatFromSequence", concat),
    (ONNX, "Optional", |c| Ok(vec![Datum::Optional(c.datum(0).ok().cloned().map(Box::new))])),
    (ONNX, "OptionalGetElement", get_element),
    (ONNX, "OptionalHasElement", has_element),
    (ONNX, "SequenceAt", |c| {
        let (list, index) = (list(c, 0)?, index(c, 1)?.ok_or("its position is absent")?);
        Ok(vec![list[axis_in(index, list.len())?].clone()])
    }),
    (ONNX, "SequenceConstruct", |c| Ok(vec![Datum::Sequence(c.operands.iter().flatten().cloned().collect())])),
    (ONNX, "SequenceEmpty", |_| Ok(vec![Datum::Sequence(Vec::new())])),
    (ONNX, "SequenceErase", |c| {
        let mut list = list(c, 0)?.to_vec();
        let place = axis_in(index(c, 1)?.unwrap_or(-1), list.len())?;
        list.remove(place);
        Ok(vec![Datum::Sequence(list)])
    }),
    (ONNX, "SequenceInsert", |c| {
        let mut list = list(c, 0)?.to_vec();
        let place = match index(c, 2)? {
            Some(place) if place == list.len() as i64 => list.len(),
            Some(place) => axis_in(place, list.len())?,
            None => list.len(),
        };
        list.insert(place, c.datum(1)?.clone());
        Ok(vec![Datum::Sequence(list)])
    }),
    (ONNX, "SequenceLength", |c| Ok(vec![Tensor::scalar(list(c, 0)?.len() as i64).into()])),
    (ONNX, "SequenceMap", map),
    (ONNX, "SplitToSequence", split),
];

fn list<'a>(call: &'a Call<'_>, operand: usize) -> Result<&'a [Datum], Fault> {
    match call.datum(operand)? {
        Datum::Sequence(list) => Ok(list),
        _ => Err(format!("operand {operand} is no sequence")),
    }
}

fn index(call: &Call<'_>, operand: usize) -> Result<Option<i64>, Fault> {
    let numbers = call.ints_at(operand)?;
    numbers.map(|n| n.first().copied().ok_or_else(|| "a position has no element".to_owned())).transpose()
}

/// Since opset 18 it takes what is not optional too, and returns it.
fn get_element(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    match call.datum(0)? {
        Datum::Optional(Some(value)) => Ok(vec![(**value).clone()]),
        Datum::Optional(None) => Err("the optional value is absent".into()),
        value => Ok(vec![value.clone()]),
    }
}

fn has_element(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let present = call.datum(0).is_ok_and(|value| *value != Datum::Optional(None));
    Ok(vec![Tensor::bools([], vec![present]).into()])
}

fn concat(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let tensors: Option<Vec<&Tensor>> = list(call, 0)?.iter().map(Datum::tensor).collect();
    let tensors = tensors.ok_or("only tensors are joined")?;
    let new_axis = call.int("new_axis", 0) != 0;
    let first = tensors.first().ok_or("there is nothing to join")?;
    let rank = first.dims().len() + usize::from(new_axis);
    let axis = axis_in(call.attr("axis").and_then(|a| a.as_int()).ok_or("its axis is absent")?, rank)?;
    let total: usize = tensors.iter().map(|t| t.len()).fold(0, usize::saturating_add);
    call.reserve(first.elem(), &[total])?;
    Ok(vec![if new_axis { stack(&tensors, axis)? } else { join(&tensors, axis)? }.into()])
}

/// Without `split` into parts of one, whose axis `keepdims` may take away.
fn split(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let axis = axis_in(call.int("axis", 0), x.dims().len())?;
    let extent = x.dims()[axis];
    call.reserve(x.elem(), x.dims())?;
    let Some(lengths) = call.get(1) else {
        let keep = call.int("keepdims", 1) != 0;
        let one = |i| if keep { part(x, axis, i..i + 1) } else { at(x, axis, i) };
        let parts = (0..extent).map(|i| Ok(Datum::from(one(i)?))).collect::<Result<_, Fault>>()?;
        return Ok(vec![Datum::Sequence(parts)]);
    };
    let numbers = super::generate::shape_of(&lengths.to_i64().ok_or("its lengths are no integers")?)?;
    let lengths = if lengths.dims().is_empty() {
        let length = numbers.first().copied().filter(|&n| n > 0).ok_or("a length of 0 never ends")?;
        (0..extent).step_by(length).map(|start| length.min(extent - start)).collect()
    } else {
        numbers
    };
    if lengths.iter().fold(0, |sum: usize, &n| sum.saturating_add(n)) != extent {
        return Err(format!("lengths {lengths:?} do not add up to {extent}"));
    }
    let mut start = 0;
    let mut parts = Vec::new();
    for length in lengths {
        parts.push(part(x, axis, start..start + length)?.into());
        start += length;
    }
    Ok(vec![Datum::Sequence(parts)])
}

/// Runs its body on each item of the first list and of further lists; what is no list is the same each time.
fn map(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let body = call.region("body")?;
    let mut lists = vec![Vec::new(); call.graph.region(body).results().len()];
    for index in 0..list(call, 0)?.len() {
        let item = |datum: &Datum| match datum {
            Datum::Sequence(items) => items.get(index).cloned().ok_or_else(|| "its lists have different lengths".into()),
            other => Ok(other.clone()),
        };
        let inputs = call.operands.iter().flatten().map(item).collect::<Result<_, Fault>>()?;
        lists.iter_mut().zip(call.run_region(body, inputs)?).for_each(|(list, value)| list.push(value));
    }
    Ok(lists.into_iter().map(Datum::Sequence).collect())
}
