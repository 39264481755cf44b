//! Computes stored weights before tract sees them. It folds a DequantizeLinear of constants with one scale per channel through
//! broadcasts that take tens of nanoseconds a number, for a network of millions of weights most of the time of loading; here
//! it is one pass over the bytes that computes the same bits.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;

/// Replaces every DequantizeLinear of initializers by an initializer: those of 8 bits, and of 32 bits where zero is stored as
/// zero. What is not written plainly (external data, blocks, other element types) stays as it is.
pub(super) fn fold(graph: &mut pb::GraphProto) {
    let stored: HashMap<&str, &pb::TensorProto> = graph.initializer.iter().map(|t| (t.name.as_str(), t)).collect();
    let shown: HashSet<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    let folded: Vec<Option<pb::TensorProto>> = graph
        .node
        .iter()
        .map(|node| {
            let name = node.output.first().filter(|name| !shown.contains(name.as_str()))?;
            Some(pb::TensorProto { name: name.clone(), ..real(node, &stored)? })
        })
        .collect();
    let mut kept = folded.iter().map(Option::is_none);
    graph.node.retain(|_| kept.next().unwrap_or(true));
    graph.initializer.extend(folded.into_iter().flatten());
}

/// The numbers that a DequantizeLinear of constants makes: `(stored - zero) * scale`, in 32-bit floats.
fn real(node: &pb::NodeProto, stored: &HashMap<&str, &pb::TensorProto>) -> Option<pb::TensorProto> {
    if node.op_type != "DequantizeLinear" || !node.domain.is_empty() || node.attribute.iter().any(|a| a.name != "axis") {
        return None;
    }
    let operand = |i: usize| node.input.get(i).filter(|name| !name.is_empty());
    let tensor = |i: usize| stored.get(operand(i)?.as_str()).copied();
    let (values, scales) = (tensor(0)?, floats(tensor(1)?)?);
    let zeros = match operand(2) {
        Some(_) => integers(tensor(2)?)?,
        None => vec![0.0],
    };
    if values.data_type == DataType::Int32 as i32 && zeros.iter().any(|&z| z != 0.0) {
        return None;
    }
    let mut numbers = integers(values)?;
    let dims: Vec<usize> = values.dims.iter().map(|&d| usize::try_from(d).ok()).collect::<Option<_>>()?;
    if dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) != Some(numbers.len()) {
        return None;
    }
    let channels = scales.len().max(zeros.len());
    let run = if channels == 1 {
        numbers.len()
    } else {
        let axis = node.attribute.first().map_or(1, |a| a.i);
        let axis = usize::try_from(if axis < 0 { axis.checked_add(i64::try_from(dims.len()).ok()?)? } else { axis }).ok()?;
        if dims.get(axis) != Some(&channels) {
            return None;
        }
        dims[axis + 1..].iter().product()
    };
    if [scales.len(), zeros.len()].iter().any(|&n| n != 1 && n != channels) {
        return None;
    }
    for (index, numbers) in numbers.chunks_mut(run.max(1)).enumerate() {
        let channel = index % channels;
        let (scale, zero) = (scales[channel % scales.len()], zeros[channel % zeros.len()]);
        numbers.iter_mut().for_each(|n| *n = (*n - zero) * scale);
    }
    let raw_data = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    Some(pb::TensorProto { dims: values.dims.clone(), data_type: DataType::Float as i32, raw_data, ..Default::default() })
}

/// The floats of a tensor that is written as raw bytes and not empty.
fn floats(tensor: &pb::TensorProto) -> Option<Vec<f32>> {
    let (words, rest) = plain(tensor)?.as_chunks::<4>();
    let fits = tensor.data_type == DataType::Float as i32 && rest.is_empty();
    fits.then(|| words.iter().map(|w| f32::from_le_bytes(*w)).collect())
}

/// The integers of a tensor that is written as raw bytes and not empty, rounded to floats.
fn integers(tensor: &pb::TensorProto) -> Option<Vec<f32>> {
    let bytes = plain(tensor)?;
    let (words, rest) = bytes.as_chunks::<4>();
    match tensor.data_type {
        t if t == DataType::Int8 as i32 => Some(bytes.iter().map(|&b| f32::from(b.cast_signed())).collect()),
        t if t == DataType::Uint8 as i32 => Some(bytes.iter().map(|&b| f32::from(b)).collect()),
        t if t == DataType::Int32 as i32 && rest.is_empty() => {
            Some(words.iter().map(|w| i32::from_le_bytes(*w) as f32).collect())
        }
        _ => None,
    }
}

/// The bytes of a tensor that holds its own and is not empty.
fn plain(tensor: &pb::TensorProto) -> Option<&[u8]> {
    let own = tensor.external_data.is_empty() && !tensor.raw_data.is_empty();
    own.then_some(tensor.raw_data.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, dims: &[i64], data_type: DataType, raw_data: Vec<u8>) -> pb::TensorProto {
        pb::TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: data_type as i32,
            raw_data,
            ..Default::default()
        }
    }

    fn graph(axis: i64, weights: pb::TensorProto) -> pb::GraphProto {
        let scales = [0.5f32, 2.0, 4.0].iter().flat_map(|s| s.to_le_bytes()).collect();
        let axis = pb::AttributeProto { name: "axis".into(), i: axis, ..Default::default() };
        let node = pb::NodeProto {
            op_type: "DequantizeLinear".into(),
            input: vec!["w".into(), "s".into(), "z".into()],
            output: vec!["y".into()],
            attribute: vec![axis],
            ..Default::default()
        };
        let zeros = tensor("z", &[3], DataType::try_from(weights.data_type).unwrap(), vec![1, 0, 255]);
        pb::GraphProto {
            node: vec![node],
            initializer: vec![weights, tensor("s", &[3], DataType::Float, scales), zeros],
            ..Default::default()
        }
    }

    #[test]
    fn channels_are_scaled_along_the_axis() {
        for (axis, expected) in [(0, [0.0f32, 0.5, 6.0, 8.0, 24.0, 28.0]), (-1, [0.0, 4.0, 16.0, 1.5, 10.0, 28.0])] {
            let dims: &[i64] = if axis == 0 { &[3, 2] } else { &[2, 3] };
            let mut graph = graph(axis, tensor("w", dims, DataType::Int8, vec![1, 2, 3, 4, 5, 6]));
            fold(&mut graph);
            assert!(graph.node.is_empty());
            let made = graph.initializer.last().unwrap();
            assert_eq!((made.name.as_str(), floats(made).unwrap()), ("y", expected.to_vec()), "axis {axis}");
        }
    }

    #[test]
    fn what_does_not_fit_or_is_shown_stays() {
        let weights = || tensor("w", &[3, 2], DataType::Int8, vec![1; 6]);
        let mut shown = graph(0, weights());
        shown.output.push(pb::ValueInfoProto { name: "y".into(), ..Default::default() });
        let short = graph(0, tensor("w", &[3, 2], DataType::Int8, vec![1; 5]));
        let overflowing = graph(0, tensor("w", &[i64::MAX, i64::MAX], DataType::Int8, vec![1; 6]));
        for mut graph in [shown, graph(1, weights()), graph(7, weights()), graph(i64::MIN, weights()), short, overflowing] {
            fold(&mut graph);
            assert_eq!((graph.node.len(), graph.initializer.len()), (1, 3));
        }
    }
}
