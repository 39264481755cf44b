//! What must hold for every pipeline on every model: the run ends; it is refused with an error, or it leaves a graph that
//! verifies, prints, reads back, and makes results of the same shapes; after exact passes, the same results. A pass is never
//! blamed for a sound model.
//!
//! The first line is the pipeline, the rest the model: text, or ONNX when it holds control characters. A line that is no
//! pipeline names one pass by each of its bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use spaceevo_ir::interp::{self, Datum};
use spaceevo_ir::text::{self, BlobHash, Limits, NoBlobs, PrintOptions};
use spaceevo_ir::verify::{Form, verify};
use spaceevo_ir::{Diagnostic, Dim, Graph, TensorType, ValueId};
use spaceevo_onnx::{ReadOptions, read_bytes, to_bytes};
use spaceevo_passes::{Effect, Manager, Observer, Pipeline, Registry, Target};
use spaceevo_testkit::golden::taken;
use spaceevo_testkit::inputs::{Draw, inputs};
use spaceevo_testkit::stored;

/// Panics where a law is broken.
pub(crate) fn check(data: &[u8]) {
    let end = data.iter().position(|&b| b == b'\n').unwrap_or(data.len());
    let (line, model) = data.split_at(end);
    let registry = Registry::standard();
    let pipeline = pipeline(line, &registry);
    let Some(mut graph) = read(model.get(1..).unwrap_or_default()) else { return };
    let sound = verify(&graph, Form::Any).is_empty();
    let target = Target::names().nth(line.len() % 2).and_then(Target::named).expect("there are two targets");
    let before = graph.clone();
    let mut manager = Manager::new(&registry, &target);
    let report = manager.run(&pipeline, &mut graph, Some(&mut Drawn { broken: model.len() % 16 == 0 }));
    if !report.ok() {
        let first = report.errors().next().unwrap_or_else(|| panic!("{pipeline} stopped without a word"));
        assert!(!sound || first.code != "pass-contract", "{pipeline}: {:?}", report.log.diagnostics);
        return;
    }
    if !sound {
        return;
    }
    if let Some(broken) = verify(&graph, Form::Any).first() {
        panic!("{pipeline} left a broken graph: {broken}");
    }
    let mut blobs: BTreeMap<BlobHash, Bytes> = BTreeMap::new();
    let printed = text::print_to(&graph, &PrintOptions::lossless(), &mut blobs);
    if let Err(found) = text::parse(&printed, "fuzz.seir", &blobs).into_result() {
        panic!("the text after {pipeline} does not parse: {found:?}\n{printed}");
    }
    if let Ok(written) = to_bytes(&graph)
        && let Err(refused) = read_bytes(written.into(), "fuzz.onnx", &ReadOptions::default())
    {
        panic!("the file after {pipeline} cannot be read: {refused}\n{printed}");
    }
    let effects = pipeline.passes(&registry);
    let exact = effects.iter().filter_map(|name| registry.pass(name)).all(|pass| pass.info().effect == Effect::Exact);
    compare(&before, &graph, exact).unwrap_or_else(|why| panic!("after {pipeline} {why}\n{printed}"));
}

/// Elements of all values of a graph that is run: the interpreter is slow.
const MOST_ELEMENTS: usize = 1 << 12;

/// Runs both graphs, if the first one runs and does what its types say.
fn compare(before: &Graph, after: &Graph, exact: bool) -> Result<(), String> {
    let mut values: Vec<ValueId> = before.all_ops().iter().flat_map(|&op| before.op(op).results()).copied().collect();
    for region in before.all_regions() {
        values.extend(before.region(region).inputs().iter().chain(before.region(region).consts()));
    }
    let elements = |shape: &[Dim]| spaceevo_ir::tensor::count(&extents(shape)).unwrap_or(usize::MAX);
    let small = |ty: &TensorType| ty.shape.as_ref().is_some_and(|shape| elements(shape) <= MOST_ELEMENTS);
    if !values.iter().filter_map(|&value| before.value(value).ty().tensor()).all(small) {
        return Ok(());
    }
    let Ok(drawn) = inputs(before, &Draw::default()) else { return Ok(()) };
    let mut honest = true;
    let limits = interp::Limits { bytes: 1 << 20, steps: 1000 };
    let mut look = |value: ValueId, datum: &Datum| honest &= conforms(before, value, datum);
    if interp::observe(before, &drawn, limits, &mut look).is_err() || !honest {
        return Ok(());
    }
    let Ok(data) = stored::real_inputs(before, &drawn) else { return Ok(()) };
    let Ok(expected) = stored::run(before, &data) else { return Ok(()) };
    let found = stored::run(after, &taken(before, after, &data)).map_err(|d| format!("it does not run: {d}"))?;
    if expected.len() != found.len() {
        return Err(format!("{} results became {}", expected.len(), found.len()));
    }
    for (index, (e, f)) in expected.iter().zip(&found).enumerate() {
        let (Some(e), Some(f)) = (e.tensor(), f.tensor()) else { continue };
        if e.dims() != f.dims() || e.elem() != f.elem() {
            return Err(format!("result {index} {}{:?} became {}{:?}", e.elem(), e.dims(), f.elem(), f.dims()));
        }
        let (Some(x), Some(y)) = (e.to_f64(), f.to_f64()) else { continue };
        let same = |(x, y): (&f64, &f64)| x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan();
        if exact && !x.iter().zip(&y).all(same) {
            return Err(format!("result {index} {x:?} became {y:?}"));
        }
    }
    Ok(())
}

/// As `inputs` draws them.
fn extents(shape: &[Dim]) -> Vec<usize> {
    shape.iter().map(|dim| if let Dim::Known(n) = dim { usize::try_from(*n).unwrap_or(usize::MAX) } else { 2 }).collect()
}

/// Passes may trust types: a model whose types lie about what is made at run time has no results to keep.
fn conforms(graph: &Graph, value: ValueId, datum: &Datum) -> bool {
    let (Some(ty), Some(tensor)) = (graph.value(value).ty().tensor(), datum.tensor()) else { return true };
    let shape = ty.shape.as_deref().unwrap_or_default();
    tensor.elem() == ty.storage() && tensor.dims().len() == shape.len() && extents(shape) == tensor.dims()
}

fn pipeline(line: &[u8], registry: &Registry) -> Pipeline {
    let parsed = std::str::from_utf8(line).ok().and_then(|text| Pipeline::parse(text, registry).ok());
    if let Some(pipeline) = parsed {
        let again = Pipeline::parse(&pipeline.to_string(), registry);
        assert!(again.as_ref() == Ok(&pipeline), "{pipeline} reads back as {again:?}");
        return pipeline;
    }
    let names: Vec<&str> = registry.passes().map(|pass| pass.info().name).collect();
    let chosen: Vec<&str> = line.iter().take(16).map(|&byte| names[usize::from(byte) % names.len()]).collect();
    Pipeline::parse(&chosen.join(","), registry).expect("names of passes")
}

fn read(data: &[u8]) -> Option<Graph> {
    if data.iter().take(256).any(|&b| b < b' ' && !matches!(b, b'\t' | b'\n' | b'\r')) {
        let options = ReadOptions { max_dense_bytes: 1 << 20, max_message_bytes: 256 << 20, folder: None };
        return read_bytes(Bytes::copy_from_slice(data), "fuzz.onnx", &options).ok().map(|imported| imported.graph);
    }
    let limits = Limits { drawn: 1 << 12, ..Limits::default() };
    let graph = text::parse_within(std::str::from_utf8(data).ok()?, "fuzz.seir", &NoBlobs, limits).graph?;
    // As everywhere: a text that does not verify is refused before any pass sees it.
    verify(&graph, Form::Any).is_empty().then_some(graph)
}

/// Activations made up: calibration looks at ranges, and running the model would only make each input slower.
struct Drawn {
    /// Show a number that is none.
    broken: bool,
}

impl Observer for Drawn {
    fn samples(&self) -> usize {
        2
    }

    fn observe(
        &mut self,
        graph: &Graph,
        values: &[ValueId],
        samples: &[usize],
        see: &(dyn Fn(usize, usize, &[f32]) + Sync),
    ) -> Result<(), Diagnostic> {
        for &sample in samples {
            for (slot, &value) in values.iter().enumerate() {
                let high = (1 + slot + sample) as f32;
                let last = if self.broken { f32::NAN } else { high };
                // As many as the type says, as long as that is not much.
                let dims = graph.value(value).ty().tensor().and_then(|ty| ty.shape.as_deref()).map(extents);
                let count = dims.and_then(|dims| dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d)));
                let count = count.filter(|n| (1..=1 << 12).contains(n)).unwrap_or(4);
                let numbers: Vec<f32> = [last, -0.5 * high, 0.0, 0.25].into_iter().cycle().take(count).collect();
                see(sample, slot, &numbers);
            }
        }
        Ok(())
    }
}
