//! The reference interpreter against the ONNX backend tests (`onnx/backend/test/data` of the `onnx` Python package 1.22).
//!
//! Set `SPACEEVO_ONNX_TESTS` to that folder. The rule: a test whose operators all are claimed passes. Run with `--nocapture`
//! to see the table of operators.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use spaceevo_ir::interp::{self, Datum};
use spaceevo_ir::{Elem, Graph, Tensor};
use spaceevo_onnx::{ReadOptions, read, read_datum};

/// Folders of tests, each test a folder with a model and data sets.
const SETS: &[&str] = &["node", "simple", "pytorch-converted", "pytorch-operator"];

/// At least so many must pass: raise it when operators are claimed.
const FLOOR: usize = 1792;

/// Tests that are not judged, each with the reason. Only randomness is a reason.
const NOT_JUDGED: &[(&str, &str)] = &[
    ("test_training_dropout", "random mask"),
    ("test_training_dropout_default", "random mask"),
    ("test_training_dropout_default_mask", "random mask"),
    ("test_training_dropout_mask", "random mask"),
];

enum Verdict {
    Passed,
    /// An operator has no kernel.
    Unclaimed,
    Failed(String),
}

#[test]
fn tests_of_claimed_operators_pass() {
    let Some(root) = std::env::var_os("SPACEEVO_ONNX_TESTS").map(PathBuf::from) else {
        eprintln!("skipped: set SPACEEVO_ONNX_TESTS to onnx/backend/test/data of the onnx package 1.22");
        return;
    };
    let only = std::env::var("SPACEEVO_ONNX_ONLY").unwrap_or_default();
    let mut cases: Vec<PathBuf> = SETS.iter().flat_map(|set| folders(&root.join(set))).collect();
    cases.retain(|case| name(case).contains(&only));
    assert!(!cases.is_empty(), "{} holds no tests", root.display());
    let verdicts = judge(&cases);

    let mut operators: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    let (mut passed, mut unclaimed, mut failed) = (0, 0, Vec::new());
    for (case, (used, verdict)) in cases.iter().zip(&verdicts) {
        for operator in used {
            let place = usize::from(matches!(verdict, Verdict::Passed));
            operators.entry(operator.clone()).or_default()[place] += 1;
        }
        match verdict {
            Verdict::Passed => passed += 1,
            Verdict::Unclaimed => unclaimed += 1,
            Verdict::Failed(why) => failed.push(format!("{}: {why}", name(case))),
        }
    }
    println!("operator, claimed or not: tests that pass / tests that use it");
    for (operator, [others, passing]) in &operators {
        let (domain, op) = operator.rsplit_once('.').unwrap_or(("", operator));
        let word = if interp::kernel(domain, op).is_some() { "claimed" } else { "-" };
        println!("  {operator:40} {word:8} {passing:4} / {}", others + passing);
    }
    println!("{passed} pass, {} fail, {unclaimed} have operators that are not claimed", failed.len());
    assert!(failed.is_empty(), "{} tests of claimed operators fail:\n{}", failed.len(), failed.join("\n"));
    assert!(!only.is_empty() || passed >= FLOOR, "only {passed} tests pass; there were {FLOOR}");
}

fn folders(set: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(set).map(|entries| entries.flatten().map(|e| e.path()).collect());
    let mut found: Vec<PathBuf> = entries.unwrap_or_default();
    found.retain(|path| path.join("model.onnx").is_file());
    found.sort();
    found
}

fn name(case: &Path) -> String {
    case.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Verdicts in the order of the cases, with the operators each model uses; all cores work.
fn judge(cases: &[PathBuf]) -> Vec<(Vec<String>, Verdict)> {
    let next = Mutex::new(0..cases.len());
    let verdicts = Mutex::new(Vec::new());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get()) {
            scope.spawn(|| {
                loop {
                    let Some(index) = next.lock().unwrap().next() else { break };
                    let case = &cases[index];
                    let outcome = catch_unwind(AssertUnwindSafe(|| judge_one(case)));
                    let verdict = outcome.unwrap_or_else(|panic| {
                        let text = panic.downcast_ref::<String>().cloned();
                        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()));
                        (Vec::new(), Verdict::Failed(format!("panics: {}", text.unwrap_or_default())))
                    });
                    verdicts.lock().unwrap().push((index, verdict));
                }
            });
        }
    });
    std::panic::set_hook(hook);
    let mut verdicts = verdicts.into_inner().unwrap();
    verdicts.sort_by_key(|(index, _)| *index);
    verdicts.into_iter().map(|(_, verdict)| verdict).collect()
}

fn judge_one(case: &Path) -> (Vec<String>, Verdict) {
    let imported = match read(&case.join("model.onnx"), &ReadOptions::default()) {
        Ok(imported) => imported,
        Err(diagnostic) => return (Vec::new(), Verdict::Failed(format!("is not read: {diagnostic}"))),
    };
    let graph = imported.graph;
    let mut used: Vec<String> = graph.all_ops().iter().map(|&op| graph.op(op).name().to_string()).collect();
    used.sort();
    used.dedup();
    let unknown = |operator: &String| {
        let (domain, op) = operator.rsplit_once('.').unwrap_or(("", operator));
        interp::kernel(domain, op).is_none() && !graph.functions.iter().any(|f| f.name.is(domain, op))
    };
    let unclaimed = used.iter().any(unknown);
    if unclaimed {
        return (used, Verdict::Unclaimed);
    }
    if NOT_JUDGED.iter().any(|(test, _)| *test == name(case)) {
        return (used, Verdict::Unclaimed);
    }
    let sets = (0..).map(|n| case.join(format!("test_data_set_{n}"))).take_while(|set| set.is_dir());
    let outcome = sets.map(|set| run_set(&graph, &set)).collect::<Result<Vec<()>, String>>();
    let verdict = outcome.map_or_else(Verdict::Failed, |_| Verdict::Passed);
    (used, verdict)
}

fn run_set(graph: &Graph, set: &Path) -> Result<(), String> {
    let body = graph.region(graph.body());
    let load = |kind: &str, values: &[spaceevo_ir::ValueId]| -> Result<Vec<Datum>, String> {
        let files = (0..).map(|n| set.join(format!("{kind}_{n}.pb"))).take_while(|file| file.is_file());
        let load_one = |(file, &value): (PathBuf, &spaceevo_ir::ValueId)| {
            let bytes = std::fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            read_datum(bytes.into(), graph.value(value).ty(), &name(&file)).map_err(|d| format!("{}: {d}", file.display()))
        };
        files.zip(values).map(load_one).collect()
    };
    let inputs = load("input", body.inputs())?;
    let expected = load("output", body.results())?;
    let results = interp::run(graph, &inputs).map_err(|d| d.to_string())?;
    if results.len() < expected.len() {
        return Err(format!("{} results instead of {}", results.len(), expected.len()));
    }
    for (index, (result, wanted)) in results.iter().zip(&expected).enumerate() {
        compare(result, wanted).map_err(|why| format!("result {index}: {why}"))?;
    }
    Ok(())
}

fn compare(result: &Datum, wanted: &Datum) -> Result<(), String> {
    match (result, wanted) {
        (Datum::Tensor(result), Datum::Tensor(wanted)) => compare_tensors(result, wanted),
        (Datum::Sequence(result), Datum::Sequence(wanted)) if result.len() == wanted.len() => {
            result.iter().zip(wanted).try_for_each(|(r, w)| compare(r, w))
        }
        (Datum::Optional(None), Datum::Optional(None)) => Ok(()),
        (Datum::Optional(Some(result)), Datum::Optional(Some(wanted))) => compare(result, wanted),
        (Datum::Optional(Some(result)), wanted) => compare(result, wanted),
        (result, Datum::Optional(Some(wanted))) => compare(result, wanted),
        _ => Err("is a value of another kind or length".into()),
    }
}

/// Floats as ONNX's own runner compares them: `|result - wanted| <= 1e-7 + 1e-3 * |wanted|`. All else must be equal.
fn compare_tensors(result: &Tensor, wanted: &Tensor) -> Result<(), String> {
    if (result.elem(), result.dims()) != (wanted.elem(), wanted.dims()) {
        return Err(format!("is {}{:?} instead of {}{:?}", result.elem(), result.dims(), wanted.elem(), wanted.dims()));
    }
    let numbers = |t: &Tensor| match t.elem() {
        e if e.is_float() => t.to_f64(),
        Elem::C64 => Tensor::from_bytes(Elem::F32, [t.len() * 2], t.bytes())?.to_f64(),
        Elem::C128 => Tensor::from_bytes(Elem::F64, [t.len() * 2], t.bytes())?.to_f64(),
        _ => None,
    };
    let (Some(results), Some(wants)) = (numbers(result), numbers(wanted)) else {
        return if result == wanted { Ok(()) } else { Err(format!("{} instead of {}", show(result), show(wanted))) };
    };
    let close = |r: f64, w: f64| r == w || (r.is_nan() && w.is_nan()) || (r - w).abs() <= 1e-7 + 1e-3 * w.abs();
    let wrong: Vec<usize> = (0..results.len()).filter(|&i| !close(results[i], wants[i])).collect();
    match wrong.first() {
        None => Ok(()),
        Some(&i) => Err(format!(
            "{} of {} elements differ; element {i} is {} instead of {}",
            wrong.len(),
            results.len(),
            results[i],
            wants[i]
        )),
    }
}

fn show(tensor: &Tensor) -> String {
    match (tensor.as_strings(), tensor.to_i64()) {
        (Some(strings), _) => format!("{:?}", &strings[..strings.len().min(8)]),
        (_, Some(numbers)) => format!("{:?}", &numbers[..numbers.len().min(16)]),
        _ => "unequal bytes".into(),
    }
}
