//! `@simplify` on real models: what comes out verifies, computes the same, and how much is left is a snapshot.
//!
//! The models are looked for in `$SPACEEVO_DATA/models` (default: `shared/data` beside the repository). Without them there is
//! nothing to do, and the test says so; where `SPACEEVO_DATA` is set and `SPACEEVO_REQUIRE_RUNTIME` asks for everything, it fails.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use spaceevo_ir::verify::{Form, verify};
use spaceevo_ir::{Graph, interp};
use spaceevo_onnx::ReadOptions;
use spaceevo_passes::{Manager, Pipeline, Registry, Report, Target};
use spaceevo_testkit::compare::{Closeness, compare};
use spaceevo_testkit::golden::taken;
use spaceevo_testkit::inputs::{Draw, inputs};

/// Input shapes of models that leave them open.
const SHAPES: &[(&str, &str, &[usize])] = &[("ppocr_textdir_cls_fp32", "x", &[1, 3, 48, 192])];

/// All float models, sorted by name; `MODEL=yolox` keeps those whose name holds that word.
fn models() -> Vec<PathBuf> {
    let data = std::env::var_os("SPACEEVO_DATA").map(PathBuf::from);
    let data = data.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"));
    let only = std::env::var("MODEL").unwrap_or_default();
    let entries = std::fs::read_dir(data.join("models")).into_iter().flatten().flatten().map(|e| e.path());
    let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut found: Vec<PathBuf> =
        entries.filter(|p| name(p).contains("_fp32") && name(p).ends_with(".onnx") && name(p).contains(&only)).collect();
    found.sort();
    found
}

fn simplify(graph: &mut Graph) -> Report {
    let registry = Registry::standard();
    let target = Target::named(Target::names().next().unwrap()).unwrap();
    let pipeline = Pipeline::parse("@simplify", &registry).unwrap();
    Manager::new(&registry, &target).run(&pipeline, graph, None)
}

fn count_ops(graph: &Graph) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for op in graph.all_ops() {
        *counts.entry(graph.op(op).name().to_string()).or_insert(0) += 1;
    }
    counts
}

/// Ops before and after, and which passes acted: never a dump.
fn summary(before: &Graph, after: &Graph, report: &Report) -> String {
    let (old, new) = (count_ops(before), count_ops(after));
    let mut text = format!("ops: {} -> {}\n", old.values().sum::<usize>(), new.values().sum::<usize>());
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let (was, is) = (old.get(name).unwrap_or(&0), new.get(name).unwrap_or(&0));
        text.push_str(&if was == is { format!("  {name}: {is}\n") } else { format!("  {name}: {was} -> {is}\n") });
    }
    let mut rewrites: BTreeMap<&str, usize> = BTreeMap::new();
    report.log.rewrites.iter().for_each(|event| *rewrites.entry(event.pass).or_insert(0) += 1);
    text.push_str("rewrites:\n");
    rewrites.iter().for_each(|(pass, count)| text.push_str(&format!("  {pass}: {count}\n")));
    for diagnostic in &report.log.diagnostics {
        text.push_str(&format!("{diagnostic}\n"));
    }
    text
}

fn check(path: &Path) -> Result<String, String> {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let before = spaceevo_onnx::read(path, &ReadOptions::default()).map_err(|d| d.to_string())?.graph;
    let mut after = before.clone();
    let report = simplify(&mut after);
    if let Some(error) = report.errors().next() {
        return Err(error.to_string());
    }
    if let Some(broken) = verify(&after, Form::Concrete).first() {
        return Err(format!("the result does not verify: {broken}"));
    }
    let mut again = after.clone();
    let second = simplify(&mut again);
    if let Some(run) = second.runs.iter().find(|run| run.changed) {
        return Err(format!("running it again changes something: {}", run.pass));
    }
    let shapes = SHAPES.iter().filter(|(model, ..)| *model == name);
    let shapes = shapes.map(|(_, input, dims)| ((*input).to_owned(), dims.to_vec())).collect();
    let dims = ["N", "n", "batch", "batch_size"].into_iter().map(|n| (n.to_owned(), 1)).collect();
    let draw = Draw { within: (0.0, 1.0), shapes, dims, ..Draw::default() };
    let data = inputs(&before, &draw)?;
    let expected = interp::run(&before, &data).map_err(|d| format!("the model does not run: {d}"))?;
    let data = taken(&before, &after, &data);
    let found = interp::run(&after, &data).map_err(|d| format!("the simplified model does not run: {d}"))?;
    let names: Vec<String> = before.region(before.body()).result_names().iter().map(ToString::to_string).collect();
    compare(&names, &expected, &found, Closeness::Relative(1e-4))?;
    Ok(summary(&before, &after, &report))
}

#[test]
fn simplified_models_compute_the_same() {
    let mut failures = Vec::new();
    let models = models();
    if models.is_empty() {
        let strict = ["SPACEEVO_DATA", "SPACEEVO_REQUIRE_RUNTIME"].iter().all(|name| std::env::var_os(name).is_some());
        assert!(!strict, "no model `models/*_fp32*.onnx` in the folder that SPACEEVO_DATA names");
        eprintln!("skipped: set SPACEEVO_DATA to a folder with `models/*_fp32*.onnx`");
    }
    for path in models {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        match check(&path) {
            Err(why) => failures.push(format!("{name}: {why}")),
            Ok(summary) => {
                let mut settings = insta::Settings::clone_current();
                settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/golden/simplify/models"));
                settings.set_prepend_module_to_snapshot(false);
                settings.set_omit_expression(true);
                let same = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    settings.bind(|| insta::assert_snapshot!(name.clone(), summary));
                }));
                if same.is_err() {
                    failures.push(format!("{name}: the summary differs (see above)"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} models fail:\n\n{}", failures.len(), failures.join("\n\n"));
}
