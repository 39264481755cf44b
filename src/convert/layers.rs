//! Which tensors lose most: every stored tensor against its float original.
//!
//! Both models are put into one graph that also sums up the powers of signal and noise of each pair, so that a runtime hands
//! back a few scalars instead of every activation of the network.

use std::collections::HashMap;

use spaceevo_cost::runtime::ModelSource;
use spaceevo_ir::{Diagnostic, Elem, Graph, Loc, NewOp, Place, Symbol, TensorType, ValueId};
use spaceevo_passes::{Manager, Pipeline};

use super::report::Layer;
use super::verify::exact;
use super::{Job, Options};

/// Samples on which layers are compared: enough to rank them.
const SAMPLES: usize = 2;

/// Layers from worst to best, on the first of the samples of `indices`. `float` and `quantized` are one graph before and
/// after types were quantized; values are paired by name.
pub(super) fn compare(
    float: &Graph,
    quantized: &Graph,
    job: &Job<'_>,
    options: &Options,
    indices: &[usize],
) -> Result<Vec<Layer>, Diagnostic> {
    let (stored, alone) = (by_name(quantized), by_name(float));
    let pair = |v: ValueId| {
        let name = float.value(v).name();
        let other = (*stored.get(name)?).filter(|&other| quantized.value(other).ty().quant().is_some())?;
        alone.get(name)?.map(|_| (v, other))
    };
    let pairs: Vec<(ValueId, ValueId)> = made(float).filter_map(pair).collect();
    let mut joint = quantized.clone();
    let body = joint.body();
    let names: Vec<_> = pairs.iter().map(|(v, _)| float.value(*v).name().clone()).collect();
    joint.set_named_results(body, pairs.iter().map(|p| p.1).collect(), names);
    // ONNX Runtime makes operators on bytes of QDQ pairs, too, but takes longer to prepare. Signed operators it does not run with
    // exact sums.
    let signed = options.target.quant.activations.elem() == Elem::I8;
    let lower = if job.runtime.name() == "onnxruntime" && !signed { "lower-qoperator" } else { "lower-qdq" };
    let pipeline = Pipeline::parse(&format!("{lower},drop-dead"), job.registry)?;
    let run = Manager::new(job.registry, &options.target).run(&pipeline, &mut joint, None);
    if !run.ok() {
        let unknown = || Diagnostic::error("verify-output", Loc::Unknown, format!("{lower} failed"));
        return Err(run.log.diagnostics.into_iter().next_back().unwrap_or_else(unknown));
    }
    let compared = join(float, &mut joint, &pairs.iter().map(|p| p.0).collect::<Vec<_>>());
    if compared.is_empty() {
        return Ok(Vec::new());
    }
    let mut session = job.runtime.load(ModelSource::Graph(&joint), &exact())?;
    drop(joint);
    let mut powers = vec![[0.0f64; 2]; compared.len()];
    for &index in indices.iter().take(SAMPLES) {
        session.run_with(&job.samples.get(index)?, &mut |i, view| {
            let power = view.values::<f32>().and_then(|v| v.first().copied()).unwrap_or(0.0);
            powers[i / 2][i % 2] += f64::from(power);
        })?;
    }
    let layers = compared.iter().zip(&powers).filter(|(_, [_, noise])| *noise > 0.0);
    let mut layers: Vec<Layer> = layers
        .map(|(&v, [signal, noise])| Layer {
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

/// Adds the ops of `float` to `joint`, whose results are the other side of `values`, and makes the powers of signal and
/// noise its results. Returns the values that are compared: all but those that depend on an op with nested regions.
fn join(float: &Graph, joint: &mut Graph, values: &[ValueId]) -> Vec<ValueId> {
    let body = joint.body();
    let inputs = joint.region(body).inputs().to_vec();
    let mut twin: HashMap<ValueId, ValueId> = float.region(float.body()).inputs().iter().copied().zip(inputs).collect();
    for &value in float.region(float.body()).consts() {
        if let Some(tensor) = float.value(value).tensor() {
            twin.insert(value, joint.add_const(body, float.value(value).name().clone(), tensor.clone()));
        }
    }
    for op in float.ops_in(float.body()) {
        let record = float.op(op);
        let operands: Option<Vec<Option<ValueId>>> =
            record.operands().iter().map(|v| v.map_or(Some(None), |v| twin.get(&v).map(|t| Some(*t)))).collect();
        let Some(operands) = operands.filter(|_| record.regions().is_empty()) else { continue };
        let mut new = NewOp::new(record.name().clone()).operands(operands).attrs(record.attrs().clone());
        for &result in record.results() {
            let name = format!("{}/float", float.value(result).name());
            new = new.result(name, float.value(result).ty().clone());
        }
        let new = joint.insert(Place::End(body), new);
        twin.extend(record.results().iter().copied().zip(joint.op(new).results().to_vec()));
    }
    let (mut compared, mut powers) = (Vec::new(), Vec::new());
    for (&value, other) in values.iter().zip(joint.region(body).results().to_vec()) {
        let Some(&real) = twin.get(&value) else { continue };
        let of = |joint: &mut Graph, name: &str, operands: &[ValueId], ty: TensorType| {
            let new = NewOp::onnx(name).operands(operands.iter().map(|&v| Some(v)));
            let new = if name == "Sub" { new } else { new.attr("keepdims", spaceevo_ir::Attr::Int(0)) };
            let op = joint.insert(Place::End(body), new.result(name, ty));
            joint.op(op).result()
        };
        let shape = float.value(value).ty().tensor().and_then(|t| t.shape.clone());
        let noise = of(joint, "Sub", &[real, other], TensorType { elem: Elem::F32, quant: None, shape });
        for numbers in [real, noise] {
            powers.push(of(joint, "ReduceSumSquare", &[numbers], TensorType::of(Elem::F32, &[])));
        }
        compared.push(value);
    }
    joint.set_named_results(body, powers.clone(), (0..powers.len()).map(|i| format!("power{i}").into()).collect());
    compared
}
