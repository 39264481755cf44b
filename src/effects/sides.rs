//! Both sides of a rewrite, run and compared.

use serde::Serialize;
use spaceevo_cost::{LoadOptions, ModelSource, Runtime};
use spaceevo_ir::interp::{self, Datum};
use spaceevo_ir::{Diagnostic, Elem, Graph, Loc, Quant, Tensor, TensorType, Type, ValueId};
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
        match &pair.allowed {
            // The real numbers before they are rounded, in steps.
            Allowed::Ties => {
                let sides = [&pair.before, &pair.after];
                let found = sides.into_iter().find_map(|side| Some((side, rounded(side)?)));
                let (side, (value, quant)) = found.ok_or_else(|| fault("nothing says how the result is stored".into()))?;
                let mut graph = side.clone();
                if let Type::Tensor(TensorType { elem, shape, quant: Some(_) }) = graph.value(value).ty().clone() {
                    graph.set_type(value, Type::Tensor(TensorType { elem, shape, quant: None }));
                }
                graph.set_results(graph.body(), vec![value]);
                let inputs: Vec<Datum> = pair.given_to(side)?.into_iter().map(Datum::Tensor).collect();
                let real = numbers(&tensor(interp::run(&graph, &inputs)?)?)?;
                Ok(real.iter().map(|&y| steps(&quant, y)).collect())
            }
            // The largest number on the way: what cancels at the end loses digits of that.
            Allowed::Parts(_) => {
                let mut graph = pair.before.clone();
                let body = graph.body();
                let inputs: Vec<Datum> = pair.inputs.iter().cloned().map(Datum::Tensor).collect();
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
        let fit = |((from, to), tensor): ((ValueId, ValueId), &Tensor)| {
            let fit = match (self.before.value(from).ty().quant(), graph.value(to).ty().quant()) {
                (Some(quant), None) => interp::dequantize(tensor, quant),
                (None, Some(quant)) => interp::quantize(tensor, quant),
                _ => return Ok(tensor.clone()),
            };
            fit.map_err(|why| fault(why.to_string()))
        };
        each.map(fit).collect()
    }

    /// The numbers of a result, in steps where either side says how they are stored.
    fn answered_by(&self, graph: &Graph, numbers: Vec<f64>) -> Vec<f64> {
        let ty = graph.value(result(graph)).ty();
        let real = ty.quant().is_none() && ty.elem() == Some(Elem::F32);
        match rounded(&self.before).or_else(|| rounded(&self.after)) {
            // No step is a negative zero.
            Some((_, stored)) if real => numbers.iter().map(|&y| steps(&stored, y).round() + 0.0).collect(),
            _ => numbers,
        }
    }
}

/// The first result.
fn result(graph: &Graph) -> ValueId {
    graph.region(graph.body()).results()[0]
}

/// The value that holds the numbers of the first result before they are rounded, and how they are stored then: by the type of the
/// result, or by the QuantizeLinear that made it, a DequantizeLinear behind it or not.
fn rounded(graph: &Graph) -> Option<(ValueId, Quant)> {
    let made_by = |value: ValueId, name: &str| graph.def_op(value).filter(|&op| graph.op(op).name().is_onnx(name));
    let result = result(graph);
    if let Some(quant) = graph.value(result).ty().quant() {
        return Some((result, Quant::clone(quant)));
    }
    let bytes = made_by(result, "DequantizeLinear").and_then(|op| graph.op(op).operand(0)).unwrap_or(result);
    let conversion = graph.op(made_by(bytes, "QuantizeLinear")?);
    let number = |index: usize| conversion.operand(index).and_then(|value| graph.const_of(value));
    let zero = number(2).and_then(|zero| zero.to_i64()?.first().copied()).unwrap_or(0);
    let scale = number(1)?.to_f32()?.first().copied()?;
    Some((conversion.operand(0)?, Quant::per_tensor(graph.value(bytes).ty().elem()?, scale, zero as i32)))
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
