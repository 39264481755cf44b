//! Makes a graph smaller while something about it stays true: the way from a model that fails to a test case that fits on
//! one screen.
//!
//! Greedy, until no step helps: keep one output, cut off what comes before an op, take single ops out, draw constants anew
//! from a seed, halve extents.

use std::collections::BTreeSet;

use spaceevo_ir::tensor::Rand;
use spaceevo_ir::{Def, Dim, Graph, OpId, Tensor, Type, ValueId, shape};

/// A graph that got smaller.
#[derive(Clone, Debug)]
pub struct Reduced {
    /// The smallest graph found for which the condition holds.
    pub graph: Graph,
    /// Graphs that were tried.
    pub attempts: usize,
}

/// Rounds over all steps, at most.
const MAX_ROUNDS: usize = 20;

/// Makes `graph` smaller as long as `holds`, which must hold for `graph` itself. Tries at most `attempts` graphs.
pub fn reduce(graph: &Graph, attempts: usize, holds: &mut dyn FnMut(&Graph) -> bool) -> Reduced {
    let mut search = Search { best: graph.clone(), left: attempts, tried: 0, holds };
    search.attempt(forget_metadata);
    for _ in 0..MAX_ROUNDS {
        let before = search.tried_and_size();
        search.outputs();
        search.truncate();
        search.cut();
        search.bypass();
        search.constants();
        search.extents();
        if search.left == 0 || search.tried_and_size().1 == before.1 {
            break;
        }
    }
    Reduced { graph: search.best, attempts: search.tried }
}

struct Search<'a> {
    best: Graph,
    left: usize,
    tried: usize,
    holds: &'a mut dyn FnMut(&Graph) -> bool,
}

/// What greedy steps make smaller: ops, inputs and results, elements, bytes that do not print short.
type Size = (usize, usize, u128, u128);

impl Search<'_> {
    fn tried_and_size(&self) -> (usize, Size) {
        (self.tried, size(&self.best))
    }

    /// Keeps the graph that `change` makes, if it is smaller and the condition holds for it.
    fn attempt(&mut self, change: impl FnOnce(&mut Graph)) -> bool {
        if self.left == 0 {
            return false;
        }
        let mut graph = self.best.clone();
        change(&mut graph);
        sweep(&mut graph);
        if size(&graph) >= size(&self.best) {
            return false;
        }
        self.left -= 1;
        self.tried += 1;
        let good = (self.holds)(&graph);
        if good {
            self.best = graph;
        }
        good
    }

    /// Body ops as they are now; those that are gone by the time a step comes to them are skipped.
    fn ops(&self) -> Vec<OpId> {
        self.best.ops_in(self.best.body()).collect()
    }

    fn outputs(&mut self) {
        let mut index = 0;
        while index < self.best.region(self.best.body()).results().len() {
            let kept = self.best.region(self.best.body()).results().len() == 1;
            let dropped = !kept
                && self.attempt(|graph| {
                    let body = graph.body();
                    let mut results = graph.region(body).results().to_vec();
                    results.remove(index);
                    graph.set_results(body, results);
                });
            if !dropped {
                index += 1;
            }
        }
    }

    /// Lets the graph end at an op: the earliest for which the condition still holds.
    fn truncate(&mut self) {
        for op in self.ops() {
            if !self.best.is_live(op) {
                continue;
            }
            let results = self.best.op(op).results().to_vec();
            let cut = |graph: &mut Graph| graph.set_results(graph.body(), results);
            if self.attempt(cut) {
                return;
            }
        }
    }

    /// Makes what an op makes an input of the model, so that everything that led to it can go. Latest ops first.
    fn cut(&mut self) {
        for op in self.ops().into_iter().rev() {
            if !self.best.is_live(op) {
                continue;
            }
            self.attempt(|graph| {
                for value in graph.op(op).results().to_vec() {
                    if graph.use_count(value) > 0 {
                        let (name, ty) = (graph.value(value).name().clone(), graph.value(value).ty().clone());
                        let input = graph.add_input(graph.body(), name, ty);
                        graph.replace_all_uses(value, input);
                    }
                }
            });
        }
    }

    /// Lets readers of an op read one of its operands instead.
    fn bypass(&mut self) {
        for op in self.ops() {
            for index in 0.. {
                if !self.best.is_live(op) || index >= self.best.op(op).operands().len() {
                    break;
                }
                let (Some(operand), [result, ..]) = (self.best.op(op).operand(index), self.best.op(op).results()) else {
                    continue;
                };
                let result = *result;
                self.attempt(|graph| graph.replace_all_uses(result, operand));
            }
        }
    }

    /// Draws the numbers of constants from a seed: `rand(1)` prints short, whatever the size.
    fn constants(&mut self) {
        for region in self.best.all_regions() {
            for value in self.best.region(region).consts().to_vec() {
                let Some(tensor) = self.best.const_of(value) else { continue };
                if tensor.rand().is_some() || !tensor.elem().is_float() || tensor.len() < 2 {
                    continue;
                }
                let ty = self.best.value(value).ty().clone();
                let Some(drawn) = drawn(tensor, tensor.dims()) else { continue };
                self.attempt(|graph| {
                    graph.set_const(value, drawn);
                    graph.set_type(value, ty);
                });
            }
        }
    }

    /// Replaces an extent by a smaller one wherever it stands: in inputs, constants, and types.
    fn extents(&mut self) {
        let mut extents: BTreeSet<u64> = BTreeSet::new();
        for value in stored_values(&self.best) {
            let shape = self.best.value(value).ty().tensor().and_then(|t| t.shape.clone()).unwrap_or_default();
            extents.extend(shape.iter().filter_map(Dim::known).filter(|&n| n > 1));
        }
        for extent in extents.into_iter().rev() {
            for smaller in [1, 2, 4, extent / 2] {
                if (1..extent).contains(&smaller) && self.attempt(|graph| replace_extent(graph, extent, smaller)) {
                    break;
                }
            }
        }
    }
}

fn size(graph: &Graph) -> Size {
    let body = graph.region(graph.body());
    let (mut elements, mut long) = (0u128, 0u128);
    for value in stored_values(graph) {
        let value = graph.value(value);
        let dims = value.ty().tensor().and_then(|t| t.shape.as_ref());
        elements += dims.map_or(0, |shape| shape.iter().map(|d| u128::from(d.known().unwrap_or(1))).product());
        let drawn = |t: &&Tensor| t.rand().is_none();
        long += value.tensor().filter(drawn).map_or(0, |t| t.bytes().len() as u128);
    }
    let text = graph.meta.props.len() + graph.meta.graph_props.len() + graph.functions.len();
    (graph.all_ops().len(), body.inputs().len() + body.results().len() + text, elements, long)
}

/// Inputs and constants.
fn stored_values(graph: &Graph) -> Vec<ValueId> {
    let regions = graph.all_regions().into_iter();
    regions
        .flat_map(|r| graph.region(r).inputs().iter().chain(graph.region(r).consts()).copied().collect::<Vec<_>>())
        .collect()
}

fn forget_metadata(graph: &mut Graph) {
    graph.meta.props.clear();
    graph.meta.graph_props.clear();
    graph.meta.opaque.clear();
    graph.meta.doc.clear();
    graph.meta.graph_doc.clear();
    graph.touch();
}

/// Erases what nobody reads: ops, constants, inputs.
fn sweep(graph: &mut Graph) {
    for op in graph.all_ops().into_iter().rev() {
        if graph.is_live(op) {
            graph.erase_op(op);
        }
    }
    for region in graph.all_regions() {
        graph.erase_unused_consts(region);
    }
    for input in graph.region(graph.body()).inputs().to_vec() {
        graph.erase_value(input);
    }
}

/// A tensor of another shape with numbers from a seed: between those of the old one, so that what is positive stays so.
fn drawn(old: &Tensor, dims: &[usize]) -> Option<Tensor> {
    let numbers = old.to_f64()?;
    let finite = || numbers.iter().copied().filter(|n| n.is_finite());
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let within = match (low, high) {
        (low, high) if low >= 0.0 && high > low => Some((0.5, 1.5)),
        (low, high) if low == high => Some((low, high)),
        _ => None,
    };
    Tensor::random(old.elem(), dims, Rand { seed: 1, within })
}

fn replace_extent(graph: &mut Graph, old: u64, new: u64) {
    for value in stored_values(graph) {
        let Type::Tensor(mut ty) = graph.value(value).ty().clone() else { continue };
        let Some(shape) = &mut ty.shape else { continue };
        if !shape.contains(&Dim::Known(old)) {
            continue;
        }
        shape.iter_mut().filter(|d| **d == Dim::Known(old)).for_each(|d| *d = Dim::Known(new));
        if let Some(quant) = &ty.quant
            && quant.scale.len() as u64 == old
        {
            let mut fewer = (**quant).clone();
            fewer.scale.truncate(new as usize);
            fewer.zero.truncate(new as usize);
            ty.quant = Some(fewer.into());
        }
        let smaller = match (graph.value(value).tensor(), ty.dims()) {
            (Some(tensor), Some(dims)) => match drawn(tensor, &dims) {
                Some(tensor) => Some(tensor),
                None => return,
            },
            _ => None,
        };
        match (graph.value(value).def(), smaller) {
            (Def::Const(_), Some(tensor)) => graph.set_const(value, tensor),
            (Def::Input(..), Some(tensor)) => graph.set_default(value, Some(tensor)),
            _ => {}
        }
        graph.set_type(value, ty);
    }
    // What ops make follows from what they are given.
    for op in graph.all_ops() {
        for value in graph.op(op).results().to_vec() {
            if graph.value(value).ty().quant().is_none() {
                graph.set_type(value, Type::Unknown);
            }
        }
    }
    shape::infer(graph);
}

#[cfg(test)]
mod tests {
    use spaceevo_ir::{Elem, NewOp, Place, TensorType};

    use super::*;

    /// x -> 10 Relu -> Neg -> 10 Relu.
    fn chain() -> Graph {
        let mut graph = Graph::new("main");
        let body = graph.body();
        let ty = TensorType::of(Elem::F32, &[1, 64]);
        let mut value = graph.add_input(body, "x", ty.clone());
        for index in 0..21 {
            let name = if index == 10 { "Neg" } else { "Relu" };
            let new = NewOp::onnx(name).operand(value).result(format!("v{index}"), ty.clone());
            let op = graph.insert(Place::End(body), new);
            value = graph.op(op).result();
        }
        graph.set_results(body, vec![value]);
        graph
    }

    #[test]
    fn what_does_not_matter_goes() {
        let has_neg = |graph: &Graph| graph.all_ops().iter().any(|&op| graph.op(op).name().is_onnx("Neg"));
        let reduced = reduce(&chain(), 1000, &mut |graph| has_neg(graph));
        assert_eq!(reduced.graph.all_ops().len(), 1);
        assert!(has_neg(&reduced.graph));
        assert!(reduced.attempts < 60, "{} attempts", reduced.attempts);
    }

    #[test]
    fn the_number_of_attempts_is_kept() {
        let mut calls = 0;
        let reduced = reduce(&chain(), 5, &mut |_| {
            calls += 1;
            false
        });
        assert_eq!((reduced.graph.all_ops().len(), calls), (21, 5));
    }
}
