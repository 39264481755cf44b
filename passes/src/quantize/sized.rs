//! A graph with the extents that samples have: what an op costs depends on sizes that a model may leave open.

use spaceevo_ir::{Def, Dim, Graph, Type, ValueId, shape};

/// The graph with these extents for its inputs without a default, and what follows from them; `None` when nothing is open, or
/// the extents are not those of the inputs.
pub(crate) fn sized(graph: &Graph, extents: &[Vec<usize>]) -> Option<Graph> {
    let inputs: Vec<ValueId> =
        graph.region(graph.body()).inputs().iter().copied().filter(|&v| graph.value(v).tensor().is_none()).collect();
    let open = |v: ValueId| graph.value(v).ty().tensor().is_some_and(|t| t.dims().is_none());
    if inputs.len() != extents.len() || !inputs.iter().any(|&v| open(v)) {
        return None;
    }
    let mut sized = graph.clone();
    for op in graph.all_ops() {
        // Inference fills in what types leave open, and names are no openings.
        graph.op(op).results().iter().for_each(|&v| set_open_dims(&mut sized, v, |_| Dim::Unknown));
    }
    for (&input, extents) in inputs.iter().zip(extents) {
        let rank = graph.value(input).ty().rank();
        if !matches!(graph.value(input).def(), Def::Input(..)) || rank.is_some_and(|rank| rank != extents.len()) {
            return None;
        }
        set_open_dims(&mut sized, input, |axis| Dim::Known(extents[axis] as u64));
    }
    shape::infer(&mut sized);
    Some(sized)
}

fn set_open_dims(graph: &mut Graph, value: ValueId, dim: impl Fn(usize) -> Dim) {
    let mut ty = graph.value(value).ty().clone();
    let Type::Tensor(tensor) = &mut ty else { return };
    let Some(shape) = &mut tensor.shape else { return };
    shape.iter_mut().enumerate().filter(|(_, d)| d.known().is_none()).for_each(|(axis, d)| *d = dim(axis));
    graph.set_type(value, ty);
}

#[cfg(test)]
mod tests {
    use spaceevo_ir::text::{NoBlobs, parse};

    use super::*;

    #[test]
    fn open_extents_become_those_of_samples() {
        let text = "graph @main(%k: f32[1] = [2.0], %x: f32[n,3,h,w]) with {opset = 17} {\n  %w = const rand(1) : f32[8,3,3,3]\n  \
                    %c = onnx.Conv %x, %w {strides = [2, 2]} : f32[n,8,a,b]\n  %y = onnx.Relu %c : f32[n,8,a,b]\n  return %y\n}\n";
        let graph = parse(text, "-", &NoBlobs).into_result().unwrap_or_else(|e| panic!("{e:?}"));
        let last = |graph: &Graph| graph.value(graph.region(graph.body()).results()[0]).ty().dims();
        let filled = sized(&graph, &[vec![1, 3, 33, 65]]).unwrap();
        assert_eq!((last(&graph), last(&filled)), (None, Some(vec![1, 8, 16, 32])));
        assert!(sized(&graph, &[vec![3, 33, 65]]).is_none() && sized(&graph, &[]).is_none());
        assert!(sized(&filled, &[vec![1, 3, 33, 65]]).is_none(), "nothing is open");
    }
}
