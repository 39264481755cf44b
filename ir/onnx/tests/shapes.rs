//! Shape inference against the ONNX backend tests and against real models.
//!
//! With `SPACEEVO_ONNX_TESTS` (`onnx/backend/test/data` of the `onnx` Python package 1.22): from the types of a model's
//! inputs alone, what is inferred of its results must agree with the results that are stored beside it. With `SPACEEVO_DATA`:
//! every value of every model there gets a fully known shape, but for a symbolic batch; where inputs leave more than that open,
//! every value gets its rank. Run with `--nocapture` for figures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use spaceevo_ir::interp::Datum;
use spaceevo_ir::{Dim, Graph, Tensor, TensorType, Type, ValueId, shape};
use spaceevo_onnx::{ReadOptions, read, read_datum};

/// Folders of tests, each test a folder with a model and data sets.
const SETS: &[&str] = &["node", "simple", "pytorch-converted", "pytorch-operator"];

/// At least so many tests get the full shape of all results, from types alone and with small inputs known: raise it when
/// rules learn.
const FLOORS: [usize; 2] = [1510, 1783];

#[test]
fn inferred_types_agree_with_stored_results() {
    hold_against_stored_results(false);
}

/// The same, with the stored integer inputs as constants: targets, pads, axes and the like.
#[test]
fn inferred_types_agree_where_integers_are_known() {
    hold_against_stored_results(true);
}

fn hold_against_stored_results(fix: bool) {
    let Some(root) = std::env::var_os("SPACEEVO_ONNX_TESTS").map(PathBuf::from) else {
        eprintln!("skipped: set SPACEEVO_ONNX_TESTS to onnx/backend/test/data of the onnx package 1.22");
        return;
    };
    let cases: Vec<PathBuf> = SETS.iter().flat_map(|set| folders(&root.join(set))).collect();
    assert!(!cases.is_empty(), "{} holds no tests", root.display());
    let claimed = shape::claimed();
    let (mut full, mut part, mut unclaimed, mut wrong) = (0, Vec::new(), BTreeMap::<String, usize>::new(), Vec::new());
    for case in &cases {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut graph = match read(&case.join("model.onnx"), &ReadOptions::default()) {
            Ok(imported) => imported.graph,
            Err(diagnostic) => {
                wrong.push(format!("{name}: is not read: {diagnostic}"));
                continue;
            }
        };
        let unknown = graph
            .all_ops()
            .into_iter()
            .map(|op| graph.op(op).name().clone())
            .find(|op| !claimed.contains(&(&*op.domain, &*op.op)) && !graph.functions.iter().any(|f| f.name == *op));
        if fix {
            fix_inputs(&mut graph, case);
        }
        match judge(&mut graph, case) {
            Ok(true) => full += 1,
            Ok(false) if unknown.is_some() => {
                *unclaimed.entry(unknown.map(|op| op.to_string()).unwrap_or_default()).or_default() += 1;
            }
            Ok(false) => part.push(name),
            Err(why) => wrong.push(format!("{name}: {why}")),
        }
    }
    println!(
        "{} tests: {full} get the full shape of all results, {} a part, {} are wrong",
        cases.len(),
        part.len(),
        wrong.len()
    );
    println!("not claimed: {unclaimed:?}");
    println!("a part: {}", part.join(" "));
    assert!(wrong.is_empty(), "{} contradict what is stored:\n{}", wrong.len(), wrong.join("\n"));
    let floor = FLOORS[usize::from(fix)];
    assert!(full >= floor, "only {full} tests get the full shape; it were {floor}");
}

/// Makes integer and boolean inputs, and floats of few elements (scales), constants of what is stored for them.
fn fix_inputs(graph: &mut Graph, case: &Path) {
    for (index, value) in graph.region(graph.body()).inputs().to_vec().into_iter().enumerate() {
        let file = case.join("test_data_set_0").join(format!("input_{index}.pb"));
        let (Ok(bytes), ty @ Type::Tensor(t)) = (std::fs::read(file), graph.value(value).ty()) else { continue };
        let Ok(Datum::Tensor(tensor)) = read_datum(Bytes::from(bytes), ty, "input") else { continue };
        if tensor.elem() == t.elem && (!t.elem.is_float() || tensor.len() <= 8) {
            graph.set_default(value, Some(tensor));
            graph.input_to_const(value);
        }
    }
}

fn folders(set: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(set).map(|entries| entries.flatten().map(|e| e.path()).collect());
    let mut found: Vec<PathBuf> = entries.unwrap_or_default();
    found.retain(|path| path.join("model.onnx").is_file());
    found.sort();
    found
}

/// True when everything is known of every result; an error where inference contradicts the stored results.
fn judge(graph: &mut Graph, case: &Path) -> Result<bool, String> {
    let results: Vec<(ValueId, Type)> =
        graph.region(graph.body()).results().iter().map(|&v| (v, graph.value(v).ty().clone())).collect();
    for op in graph.all_ops() {
        for value in graph.op(op).results().to_vec() {
            graph.set_type(value, Type::Unknown);
        }
    }
    let found = shape::infer(graph);
    if let Some(first) = found.first() {
        return Err(format!("{first}"));
    }
    let mut full = true;
    for (index, (value, declared)) in results.iter().enumerate() {
        let inferred = graph.value(*value).ty();
        shape::merge(declared, inferred).map_err(|why| format!("result {index}, as declared: {why}"))?;
        let file = case.join("test_data_set_0").join(format!("output_{index}.pb"));
        let Ok(bytes) = std::fs::read(&file) else { continue };
        let datum = read_datum(Bytes::from(bytes), declared, "output").map_err(|d| format!("{}: {d}", file.display()))?;
        let actual = type_of(&datum, declared);
        shape::merge(&actual, inferred)
            .map_err(|why| format!("result {index} is {actual:?}, inferred {inferred:?}: {why}"))?;
        full &= is_full(inferred);
    }
    Ok(full)
}

fn type_of(datum: &Datum, declared: &Type) -> Type {
    match (datum, declared) {
        (Datum::Tensor(tensor), _) => Type::Tensor(Tensor::ty(tensor)),
        // Tensors of one sequence may differ in shape.
        _ => declared.clone(),
    }
}

fn is_full(ty: &Type) -> bool {
    match ty {
        Type::Tensor(TensorType { shape: Some(dims), .. }) => dims.iter().all(|d| d.known().is_some()),
        Type::Sequence(inner) | Type::Optional(inner) => is_full(inner),
        _ => false,
    }
}

#[test]
fn real_models_get_all_shapes() {
    let Some(root) = std::env::var_os("SPACEEVO_DATA").map(PathBuf::from) else {
        eprintln!("skipped: set SPACEEVO_DATA to a folder with `models/*.onnx`");
        return;
    };
    let entries = std::fs::read_dir(root.join("models")).map(|e| e.flatten().map(|e| e.path()).collect::<Vec<_>>());
    let mut files: Vec<PathBuf> = entries.unwrap_or_default();
    files.retain(|f| f.extension().is_some_and(|e| e == "onnx"));
    files.sort();
    assert!(!files.is_empty(), "{} holds no models", root.display());
    let mut wrong = Vec::new();
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut graph = read(file, &ReadOptions::default()).unwrap_or_else(|d| panic!("{name}: {d}")).graph;
        let body = graph.body();
        let inputs: Vec<ValueId> = graph.region(body).inputs().to_vec();
        let dynamic = inputs.iter().any(|&v| match graph.value(v).ty() {
            Type::Tensor(TensorType { shape: Some(dims), .. }) => dims.iter().skip(1).any(|d| d.known().is_none()),
            _ => true,
        });
        let started = std::time::Instant::now();
        for op in graph.all_ops() {
            for value in graph.op(op).results().to_vec() {
                graph.set_type(value, Type::Unknown);
            }
        }
        let found = shape::infer(&mut graph);
        let elapsed = started.elapsed();
        let values: Vec<ValueId> = graph.all_ops().iter().flat_map(|&op| graph.op(op).results().to_vec()).collect();
        let settled = |v: &&ValueId| match graph.value(**v).ty() {
            Type::Tensor(TensorType { shape: Some(dims), .. }) => {
                let open = |d: &&Dim| d.known().is_none();
                let named = dims.iter().filter(open).all(|d| matches!(d, Dim::Named(_)));
                dims.iter().filter(open).count() == 0 || named
            }
            _ => false,
        };
        let open: Vec<ValueId> = values.iter().filter(|v| !settled(v)).copied().collect();
        let ranked = values.iter().filter(|&&v| graph.value(v).ty().rank().is_some()).count();
        println!(
            "{name}: {} of {} values, {elapsed:.1?}{}",
            values.len() - open.len(),
            values.len(),
            if dynamic { format!(", dynamic inputs; the rank of {ranked}") } else { String::new() }
        );
        wrong.extend(found.iter().map(|d| format!("{name}: {d}")));
        let missing = |v: &&ValueId| !dynamic || graph.value(**v).ty().rank().is_none();
        let shown = open.iter().filter(missing).take(5);
        wrong.extend(shown.map(|&v| format!("{name}: {} {:?}", graph.label(v), graph.value(v).ty())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
