//! Both sides of a rewrite, run and compared.

use serde::Serialize;
use spaceevo_cost::{LoadOptions, ModelSource, Runtime};
use spaceevo_ir::interp::{self, Datum};
use spaceevo_ir::{Diagnostic, Graph, Loc, Quant, Tensor, TensorType, Type, ValueId};
use spaceevo_passes::{Manager, Pipeline, Registry, Target};
use spaceevo_testkit::drawn::Allowed;

use super::Pair;

/// Numbers that were compared.
#[derive(Clone, Copy, Default, PartialEq, Debug, Serialize)]
pub struct Count {
    /// All.
    pub cases: usize,
    /// Those that differ.
    pub differ: usize,
    /// Those that differ by more than is allowed.
    pub beyond: usize,
}

impl Count {
    pub(super) fn add(&mut self, more: Count) {
        *self =
            Count { cases: self.cases + more.cases, differ: self.differ + more.differ, beyond: self.beyond + more.beyond };
    }
}

/// Runs graphs.
pub(super) struct Sides<'a> {
    pub(super) registry: &'a Registry,
    pub(super) target: &'a Target,
    pub(super) runtime: Option<&'a dyn Runtime>,
    /// Written with integer operators and run with all optimizations, as `convert` does; else op by op.
    pub(super) whole: bool,
}

impl Sides<'_> {
    /// In the interpreter.
    pub(super) fn interpret(&self, pair: &Pair) -> Result<Count, Diagnostic> {
        let run = |graph: &Graph| {
            let inputs: Vec<Datum> = pair.given_to(graph)?.into_iter().map(Datum::Tensor).collect();
            Ok(pair.answered_by(graph, numbers(&tensor(interp::run(graph, &inputs)?)?)?))
        };
        Ok(compared(pair, &self.scale(pair)?, &run(&pair.before)?, &run(&pair.after)?))
    }

    /// In the runtime: `None` without one, an error where it does not take one of the graphs.
    pub(super) fn run(&self, pair: &Pair) -> Option<Result<Count, Diagnostic>> {
        let runtime = self.runtime?;
        let count = || {
            let after = self.answer(runtime, &pair.after, pair)?;
            // What a writer makes is held against what the types say: the runtime knows no types.
            let before = match pair.written {
                true => {
                    let inputs: Vec<Datum> = pair.inputs.iter().cloned().map(Datum::Tensor).collect();
                    numbers(&tensor(interp::run(&pair.before, &inputs)?)?)?
                }
                false => self.answer(runtime, &pair.before, pair)?,
            };
            Ok(compared(pair, &self.scale(pair)?, &before, &after))
        };
        Some(count())
    }

    /// The numbers of the result as a runtime computes them, in steps where they are stored.
    fn answer(&self, runtime: &dyn Runtime, graph: &Graph, pair: &Pair) -> Result<Vec<f64>, Diagnostic> {
        let mut written = graph.clone();
        let writer = if self.whole { "lower-qoperator,drop-dead" } else { "lower-qdq,drop-dead" };
        let pipeline = Pipeline::parse(writer, self.registry)?;
        let report = Manager::new(self.registry, self.target).run(&pipeline, &mut written, None);
        if let Some(error) = report.errors().next() {
            return Err(error.clone());
        }
        let options = LoadOptions { optimize: self.whole, ..LoadOptions::default() };
        let mut session = runtime.load(ModelSource::Graph(&written), &options)?;
        let result = session.run(&pair.given_to(&written)?)?.into_iter().next().ok_or_else(|| fault("no result".into()))?;
        Ok(pair.answered_by(&written, numbers(&result)?))
    }

    /// What differences are held against.
    fn scale(&self, pair: &Pair) -> Result<Vec<f64>, Diagnostic> {
        let mut graph = pair.before.clone();
        let body = graph.body();
        let result = graph.region(body).results()[0];
        let inputs: Vec<Datum> = pair.inputs.iter().cloned().map(Datum::Tensor).collect();
        match (&pair.allowed, graph.value(result).ty().clone()) {
            // The real numbers before they are rounded, in steps.
            (Allowed::Ties, Type::Tensor(TensorType { elem, shape, quant: Some(quant) })) => {
                graph.set_type(result, Type::Tensor(TensorType { elem, shape, quant: None }));
                let real = numbers(&tensor(interp::run(&graph, &inputs)?)?)?;
                Ok(real.iter().map(|&y| steps(&quant, y)).collect())
            }
            // The largest number on the way: what cancels at the end loses digits of that.
            (Allowed::Parts(_), _) => {
                let made = graph.ops_in(body).flat_map(|op| graph.op(op).results().to_vec()).collect();
                graph.set_results(body, made);
                let on_the_way = interp::run(&graph, &inputs)?.into_iter().chain(inputs);
                let all = on_the_way.filter_map(|datum| if let Datum::Tensor(t) = datum { t.to_f64() } else { None });
                let finite = all.flatten().filter(|number| number.is_finite());
                Ok(vec![finite.fold(0.0, |most: f64, number| most.max(number.abs()))])
            }
            _ => Ok(Vec::new()),
        }
    }
}

impl Pair {
    /// The data for a graph whose inputs are stored as those of the first side are, or real.
    fn given_to(&self, graph: &Graph) -> Result<Vec<Tensor>, Diagnostic> {
        let inputs = |graph: &Graph| graph.region(graph.body()).inputs().to_vec();
        let each = inputs(&self.before).into_iter().zip(inputs(graph)).zip(&self.inputs);
        let fit = |((from, to), tensor): ((ValueId, ValueId), &Tensor)| match self.before.value(from).ty().quant() {
            Some(quant) if graph.value(to).ty().quant().is_none() => {
                interp::dequantize(tensor, quant).map_err(|why| fault(why.to_string()))
            }
            _ => Ok(tensor.clone()),
        };
        each.map(fit).collect()
    }

    /// The numbers of a result, in steps where the first side stores them.
    fn answered_by(&self, graph: &Graph, numbers: Vec<f64>) -> Vec<f64> {
        let quant = |graph: &Graph| graph.value(graph.region(graph.body()).results()[0]).ty().quant().cloned();
        match quant(&self.before) {
            // No step is a negative zero.
            Some(stored) if quant(graph).is_none() => numbers.iter().map(|&y| steps(&stored, y).round() + 0.0).collect(),
            _ => numbers,
        }
    }
}

/// A real number in steps of its type.
fn steps(quant: &Quant, real: f64) -> f64 {
    let (scale, zero) = quant.at(0);
    real / f64::from(scale) + f64::from(zero)
}

fn fault(what: String) -> Diagnostic {
    Diagnostic::error("interp-failed", Loc::Unknown, what)
}

fn tensor(results: Vec<Datum>) -> Result<Tensor, Diagnostic> {
    match results.into_iter().next() {
        Some(Datum::Tensor(tensor)) => Ok(tensor),
        _ => Err(fault("the first result is no tensor".into())),
    }
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>, Diagnostic> {
    tensor.to_f64().ok_or_else(|| fault("the result has no numbers".into()))
}

/// How near to the middle between two steps single precision may decide either way: a thousandth of a step, and more where
/// sums reach over many steps, of which one may cancel what another one brought.
fn is_tie(real: f64, furthest: f64) -> bool {
    (real.rem_euclid(1.0) - 0.5).abs() < 1e-3 + 1e-6 * furthest
}

/// Compares; `scale` is what [`Sides::scale`] says.
fn compared(pair: &Pair, scale: &[f64], before: &[f64], after: &[f64]) -> Count {
    let mut count = Count { cases: before.len().max(after.len()), ..Count::default() };
    if before.len() != after.len() {
        return Count { differ: count.cases, beyond: count.cases, ..count };
    }
    let furthest = scale.iter().fold(0.0f64, |most, step| most.max(step.abs()));
    for (at, (b, a)) in before.iter().zip(after).enumerate() {
        if b.to_bits() == a.to_bits() || (b.is_nan() && a.is_nan()) {
            continue;
        }
        count.differ += 1;
        let apart = (b - a).abs();
        let fine = match &pair.allowed {
            Allowed::Bits => false,
            Allowed::Equal => b == a,
            Allowed::Ties => apart <= 1.0 && scale.get(at).is_some_and(|&real| is_tie(real, furthest)),
            Allowed::Steps(steps) => steps.get(at).is_some_and(|&most| apart <= most),
            Allowed::Parts(part) => b == a || scale.first().is_some_and(|most| apart <= part * most),
        };
        count.beyond += usize::from(!fine);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_count_as_far_as_they_are_not_allowed() {
        let count = |allowed, before: &[f64], after: &[f64]| {
            let pair = Pair { before: Graph::new("b"), after: Graph::new("a"), inputs: Vec::new(), allowed, written: false };
            let Count { differ, beyond, .. } = compared(&pair, &[0.5, 2.2], before, after);
            (differ, beyond)
        };
        assert_eq!(count(Allowed::Bits, &[0.0, f64::NAN], &[-0.0, f64::NAN]), (1, 1));
        assert_eq!(count(Allowed::Equal, &[0.0, 1.0], &[-0.0, 2.0]), (2, 1));
        assert_eq!(count(Allowed::Ties, &[0.0, 2.0], &[1.0, 3.0]), (2, 1));
        assert_eq!(count(Allowed::Steps(vec![1.5, 0.0]), &[0.0, 2.0], &[1.0, 3.0]), (2, 1));
        assert_eq!(count(Allowed::Parts(0.1), &[100.0, 2.0], &[100.04, 2.2]), (2, 1));
        assert_eq!(count(Allowed::Parts(1.0), &[1.0], &[]), (1, 1));
    }
}
