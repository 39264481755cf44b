//! Which tensors lose most: every stored tensor against its float original.
//!
//! What the float model makes of the first samples was seen while calibrating ([`Glimpse`]); the INT8 model runs on the same
//! samples, with every tensor that is compared as an output.

use std::collections::HashMap;

use spaceevo_cost::runtime::{ModelSource, Session, TensorView};
use spaceevo_ir::{Diagnostic, Elem, Graph, Loc, Quant, Symbol, ValueId};
use spaceevo_passes::{Manager, Pipeline};

use super::observe::{Glimpse, stride};
use super::report::Layer;
use super::verify::exact;
use super::{Job, Options};

/// Layers from worst to best. `float` and `quantized` are one graph before and after types were quantized; values are paired
/// by name.
pub(super) fn compare(
    float: &Graph,
    quantized: &Graph,
    seen: &Glimpse,
    job: &Job<'_>,
    options: &Options,
) -> Result<Vec<Layer>, Diagnostic> {
    let stored = by_name(quantized);
    let pair = |v: ValueId| {
        let numbers = seen.numbers.get(&v)?;
        let other = (*stored.get(float.value(v).name())?)?;
        let quant = quantized.value(other).ty().quant().filter(|quant| quant.axis.is_none())?;
        Some((v, numbers, other, &**quant))
    };
    let pairs: Vec<(ValueId, &Vec<Vec<f32>>, ValueId, &Quant)> = made(float).filter_map(pair).collect();
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let mut int8 = storing(quantized, pairs.iter().map(|p| p.2).collect(), job, options)?;
    let mut powers = vec![[0.0f64; 2]; pairs.len()];
    for (sample, &index) in seen.samples.iter().enumerate() {
        int8.run_with(&job.samples.get(index)?, &mut |i, stored| {
            let [signal, noise] = signal_and_noise(&pairs[i].1[sample], &stored, pairs[i].3).unwrap_or_default();
            powers[i] = [powers[i][0] + signal, powers[i][1] + noise];
        })?;
    }
    let layers = pairs.iter().zip(&powers).filter(|(_, [_, noise])| *noise > 0.0);
    let mut layers: Vec<Layer> = layers
        .map(|(&(v, ..), [signal, noise])| Layer {
            name: float.value(v).name().to_string(),
            op: float.def_op(v).map_or("input".to_owned(), |op| float.op(op).name().to_string()),
            sqnr_db: 10.0 * (signal / noise).log10(),
        })
        .collect();
    layers.sort_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db).then_with(|| a.name.cmp(&b.name)));
    Ok(layers)
}

/// The values that ops of the body make, by name; `None` for a name that several have.
fn by_name(graph: &Graph) -> HashMap<Symbol, Option<ValueId>> {
    let mut found = HashMap::new();
    for value in made(graph) {
        let name = graph.value(value).name().clone();
        found.entry(name).and_modify(|one| *one = None).or_insert(Some(value));
    }
    found
}

/// Results of the body's ops.
fn made(graph: &Graph) -> impl Iterator<Item = ValueId> + '_ {
    graph.ops_in(graph.body()).flat_map(|op| graph.op(op).results().to_vec())
}

/// The INT8 model with other outputs, as they are stored.
fn storing(graph: &Graph, values: Vec<ValueId>, job: &Job<'_>, options: &Options) -> Result<Box<dyn Session>, Diagnostic> {
    let mut graph = returning(graph, values);
    // ONNX Runtime makes operators on bytes of QDQ pairs, too, but takes longer to prepare. Signed operators it does not run with
    // exact sums.
    let signed = options.target.quant.activations.elem() == Elem::I8;
    let lower = if job.runtime.name() == "onnxruntime" && !signed { "lower-qoperator" } else { "lower-qdq" };
    let pipeline = Pipeline::parse(&format!("{lower},drop-dead"), job.registry)?;
    let run = Manager::new(job.registry, &options.target).run(&pipeline, &mut graph, None);
    if !run.ok() {
        let unknown = || Diagnostic::error("verify-output", Loc::Unknown, format!("{lower} failed"));
        return Err(run.log.diagnostics.into_iter().next_back().unwrap_or_else(unknown));
    }
    // A result is a real number: a DequantizeLinear makes it, of what is stored.
    let stored = |&v: &ValueId| {
        let last = graph.def_op(v).map(|op| graph.op(op)).filter(|op| op.name().is_onnx("DequantizeLinear"));
        last.and_then(|op| op.operand(0)).unwrap_or(v)
    };
    let stored = graph.region(graph.body()).results().iter().map(stored).collect();
    job.runtime.load(ModelSource::Graph(&returning(&graph, stored)), &exact())
}

/// The graph with other results.
fn returning(graph: &Graph, values: Vec<ValueId>) -> Graph {
    let mut graph = graph.clone();
    let names = (0..values.len()).map(|i| format!("layer{i}").into()).collect();
    graph.set_named_results(graph.body(), values, names);
    graph
}

/// Sums of the squares of `real`, and of what it differs by from the numbers that are stored for it; `None` for types that no
/// target stores activations as. Every [`stride`]th number counts.
fn signal_and_noise(real: &[f32], stored: &TensorView<'_>, quant: &Quant) -> Option<[f64; 2]> {
    let (scale, zero) = quant.at(0);
    Some(match stored.elem {
        Elem::U8 => squares(real, &stored.values::<u8>()?, scale, zero as f32),
        Elem::I8 => squares(real, &stored.values::<i8>()?, scale, zero as f32),
        Elem::U16 => squares(real, &stored.values::<u16>()?, scale, zero as f32),
        Elem::I16 => squares(real, &stored.values::<i16>()?, scale, zero as f32),
        // Not stored after all.
        Elem::F32 => squares(real, &stored.values::<f32>()?, 1.0, 0.0),
        _ => return None,
    })
}

/// See [`signal_and_noise`]; `scale * (stored - zero)` are the numbers that are stored.
fn squares<T: Copy + Into<f32>>(real: &[f32], stored: &[T], scale: f32, zero: f32) -> [f64; 2] {
    let mut sums = [0.0f64; 2];
    for (&x, &q) in real.iter().zip(stored.iter().step_by(stride(stored.len()))) {
        let apart = x - scale * (q.into() - zero);
        sums = [sums[0] + f64::from(x * x), sums[1] + f64::from(apart * apart)];
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_what_storing_takes_away() {
        let quant = Quant::per_tensor(Elem::U8, 0.5, 2);
        let stored: Vec<u8> = (0..50_000).map(|i| (i % 7 + 2) as u8).collect();
        let real = stored.iter().step_by(stride(stored.len())).map(|&q| (f32::from(q) - 2.0) * 0.5 + 0.25);
        let real: Vec<f32> = real.collect();
        let view = TensorView { elem: Elem::U8, dims: &[50_000], bytes: &stored, strings: &[] };
        let [signal, noise] = signal_and_noise(&real, &view, &quant).unwrap();
        let expected: f64 = real.iter().map(|&x| f64::from(x * x)).sum();
        assert!((signal / expected - 1.0).abs() < 1e-6, "{signal} {expected}");
        assert!((noise / (real.len() as f64 * 0.0625) - 1.0).abs() < 1e-6, "{noise}");
    }
}
