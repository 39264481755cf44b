//! Control flow: If, Loop, Scan.

use super::call::axis_in;
use super::element::{at, stack};
use super::{Call, Datum, Entry, Fault};
use crate::attr::Attr;
use crate::graph::{ONNX, RegionId};
use crate::tensor::Tensor;
use crate::types::Elem;

/// Kernels of this family.
pub(super) const KERNELS: &[Entry] = &[(ONNX, "If", branch), (ONNX, "Loop", repeat), (ONNX, "Scan", scan)];

fn truth(datum: &Datum) -> Result<bool, Fault> {
    let values = datum.tensor().and_then(Tensor::to_bools);
    values.and_then(|v| v.first().copied()).ok_or_else(|| "a condition is no boolean".into())
}

fn branch(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let label = if truth(call.datum(0)?)? { "then_branch" } else { "else_branch" };
    call.run_region(call.region(label)?, Vec::new())
}

/// The operands: trip count, condition, then the carried values. The results: these at the end, then what each iteration
/// yielded, stacked.
fn repeat(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let trips = call.ints_at(0)?.map(|m| m.first().copied().ok_or("the trip count has no element")).transpose()?;
    let trips = trips.unwrap_or(i64::MAX);
    let mut going = call.get(1).is_none_or(|c| c.to_bools().is_none_or(|c| c.first() != Some(&false)));
    let carried = call.operands.len().saturating_sub(2);
    let mut values = (2..carried + 2).map(|i| call.datum(i).cloned()).collect::<Result<Vec<_>, _>>()?;
    let body = call.region("body")?;
    let yields = call.graph.region(body).results().len().checked_sub(1 + carried);
    let mut yielded: Vec<Vec<Datum>> = vec![Vec::new(); yields.ok_or("its body returns too few values")?];
    let mut trip = 0;
    while going && trip < trips {
        let mut inputs = vec![Tensor::scalar(trip).into(), Tensor::bools([], vec![going]).into()];
        inputs.append(&mut values);
        let mut results = call.run_region(body, inputs)?.into_iter();
        going = truth(&results.next().ok_or("its body returns nothing")?)?;
        values.extend(results.by_ref().take(carried));
        yielded.iter_mut().zip(results).for_each(|(list, value)| list.push(value));
        trip += 1;
    }
    for (index, list) in yielded.iter().enumerate() {
        values.push(pile(call, body, 1 + carried + index, list, 0)?.into());
    }
    Ok(values)
}

/// Stacks what a body yielded as its result `index`; where it never ran, the type of that result says of what there is none.
fn pile(call: &Call<'_>, body: RegionId, index: usize, list: &[Datum], axis: usize) -> Result<Tensor, Fault> {
    let tensors: Option<Vec<&Tensor>> = list.iter().map(Datum::tensor).collect();
    let tensors = tensors.ok_or("only tensors are stacked")?;
    if let Some(first) = tensors.first() {
        let mut dims = first.dims().to_vec();
        dims.push(tensors.len());
        call.reserve(first.elem(), &dims)?;
        return stack(&tensors, axis);
    }
    let ty = call.graph.region(body).results().get(index).map(|&v| call.graph.value(v).ty());
    let shape = ty.and_then(|t| t.tensor()?.shape.clone()).unwrap_or_default();
    let mut dims: Vec<usize> = shape.iter().map(|d| d.known().and_then(|n| usize::try_from(n).ok()).unwrap_or(0)).collect();
    dims.insert(axis.min(dims.len()), 0);
    let elem = ty.and_then(|t| t.elem()).unwrap_or(Elem::F32);
    super::element::Cells::none(elem).into_tensor(elem, &dims)
}

/// Since opset 9 without batches; in opset 8 over a batch axis, with lengths that must be absent.
fn scan(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let scanned = usize::try_from(call.int("num_scan_inputs", 0)).map_err(|_| "num_scan_inputs is negative")?;
    if call.opset >= 9 {
        return scan_once(call, scanned, call.operands.iter().flatten().cloned().collect());
    }
    if call.operands.first().is_some_and(Option::is_some) {
        return Err("sequence lengths are not supported".into());
    }
    let operands: Vec<&Tensor> = (1..call.operands.len()).map(|i| call.tensor(i)).collect::<Result<_, _>>()?;
    let batches = *operands.first().and_then(|t| t.dims().first()).ok_or("its operands have no batch axis")?;
    let mut columns: Vec<Vec<Tensor>> = Vec::new();
    for batch in 0..batches {
        let parts = operands.iter().map(|t| match t.dims().first() {
            Some(&n) if n == batches => Ok(Datum::from(at(t, 0, batch)?)),
            _ => Err("its operands have different batch sizes".to_owned()),
        });
        let results = scan_once(call, scanned, parts.collect::<Result<_, _>>()?)?;
        columns.resize(results.len(), Vec::new());
        for (column, result) in columns.iter_mut().zip(results) {
            column.extend(result.tensor().cloned());
        }
    }
    columns.iter().map(|c| Ok(stack(&c.iter().collect::<Vec<_>>(), 0)?.into())).collect()
}

fn scan_once(call: &Call<'_>, scanned: usize, mut operands: Vec<Datum>) -> Result<Vec<Datum>, Fault> {
    let body = call.region("body")?;
    let states = operands.len().checked_sub(scanned).ok_or("it has fewer operands than num_scan_inputs")?;
    let list =
        |name: &str, index: usize| call.attr(name).and_then(Attr::as_ints).and_then(|l| l.get(index)).copied().unwrap_or(0);
    let sequences: Vec<Datum> = operands.split_off(states);
    let mut sources = Vec::new();
    for (index, datum) in sequences.iter().enumerate() {
        let tensor = datum.tensor().ok_or("only tensors are scanned")?;
        let axis = axis_in(list("scan_input_axes", index), tensor.dims().len())?;
        let backward = list("scan_input_directions", index) == 1 || list("directions", index) == 1;
        sources.push((tensor, axis, backward));
    }
    let length = sources.first().map(|(t, axis, _)| t.dims()[*axis]).ok_or("it scans nothing")?;
    if sources.iter().any(|(t, axis, _)| t.dims()[*axis] != length) {
        return Err("the scanned operands have different lengths".into());
    }
    let yields = call.graph.region(body).results().len().checked_sub(states).ok_or("its body returns too few values")?;
    let mut yielded: Vec<Vec<Datum>> = vec![Vec::new(); yields];
    let mut values = operands;
    for step in 0..length {
        for (tensor, axis, backward) in &sources {
            let index = if *backward { length - 1 - step } else { step };
            values.push(at(tensor, *axis, index)?.into());
        }
        let mut results = call.run_region(body, std::mem::take(&mut values))?.into_iter();
        values.extend(results.by_ref().take(states));
        yielded.iter_mut().zip(results).for_each(|(list, value)| list.push(value));
    }
    for (index, mut items) in yielded.into_iter().enumerate() {
        if list("scan_output_directions", index) == 1 {
            items.reverse();
        }
        let rank = items.first().and_then(Datum::tensor).map_or(0, |t| t.dims().len());
        let axis = axis_in(list("scan_output_axes", index), rank + 1)?;
        values.push(pile(call, body, states + index, &items, axis)?.into());
    }
    Ok(values)
}
