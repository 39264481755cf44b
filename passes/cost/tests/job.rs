//! A measurement job goes out, is run by its own script, and comes back.

use std::path::Path;
use std::process::Command;

use spaceevo_cost::measure::inputs::Shapes;
use spaceevo_cost::measure::job::{Manifest, Results, export, import};
use spaceevo_cost::measure::sequential::Settings;
use spaceevo_ir::Graph;

fn models() -> Vec<(String, Graph)> {
    let model = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/models").join(name);
        (name.to_owned(), spaceevo_onnx::read(&path, &Default::default()).unwrap().graph)
    };
    vec![model("shapes-mobile.onnx"), model("shapes-resnet.onnx")]
}

fn exported(folder: &Path) -> Manifest {
    export(folder, &models(), &Shapes::new(), &Settings::default(), false).unwrap()
}

/// Results as a device would send them: 7 turns of 1, 2 and 3 microseconds.
fn invented(manifest: &Manifest) -> serde_json::Value {
    let models = manifest.models.iter().enumerate().map(|(at, model)| {
        serde_json::json!({"name": model.name, "hash": model.hash, "nanos": vec![1000.0 * (at + 1) as f64; 7]})
    });
    serde_json::json!({
        "format": "spaceevo-results", "version": 1, "job": manifest.id, "date": "2026-02-03", "machine": "a board",
        "runtime": "some runtime", "runtime_version": "3", "threads": 1, "models": models.collect::<Vec<_>>(),
    })
}

#[test]
fn the_script_runs_where_there_is_only_python() {
    let Some(environment) = std::env::var_os("VIRTUAL_ENV") else {
        eprintln!("skipped: no Python environment");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let job = folder.path().join("job");
    let manifest = exported(&job);
    let python = Path::new(&environment).join("bin/python");
    let run = Command::new(python).arg(job.join("measure.py")).args(["--rounds", "7"]).output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    if said.contains("No module named 'numpy'") {
        eprintln!("skipped: the environment has no numpy");
        return;
    }
    assert!(run.status.success(), "{said}");
    let records = import(&job, None, 0.95).unwrap();
    assert_eq!(records.iter().map(|r| r.model.as_str()).collect::<Vec<_>>(), ["shapes-mobile.onnx", "shapes-resnet.onnx"]);
    for (record, entry) in records.iter().zip(&manifest.models[1..]) {
        assert_eq!((record.samples.len(), &record.hash, record.runtime.as_str()), (7, &entry.hash, "onnxruntime"));
        assert!(record.time.low > 0.0 && record.time.holds(record.time.median) && record.ratio.holds(record.ratio.median));
    }
}

#[test]
fn results_of_any_runtime_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let job = folder.path().join("job");
    let manifest = exported(&job);
    std::fs::write(job.join("results.json"), invented(&manifest).to_string()).unwrap();
    let records = import(&job, None, 0.95).unwrap();
    assert_eq!(records.iter().map(|r| (r.time.median, r.ratio.median)).collect::<Vec<_>>(), [(2000.0, 2.0), (3000.0, 3.0)]);
    assert_eq!((records[0].machine.as_str(), records[0].date.as_str()), ("a board", "2026-02-03"));
}

#[test]
fn results_that_are_missing_or_wrong_are_diagnostics() {
    let folder = tempfile::tempdir().unwrap();
    let job = folder.path().join("job");
    let manifest = exported(&job);
    let refused = |why: &str| {
        let error = import(&job, None, 0.95).unwrap_err();
        assert!(error.code == "measure-job" && error.message.contains(why), "{why}: {error}");
    };
    refused("results.json");
    let good: Results = serde_json::from_value(invented(&manifest)).unwrap();
    let write = |results: &Results| {
        std::fs::write(job.join("results.json"), serde_json::to_string(results).unwrap()).unwrap();
    };
    let mut changed = good.clone();
    changed.models.pop();
    write(&changed);
    refused("say nothing about 'shapes-resnet.onnx'");
    let mut changed = good.clone();
    changed.models[1].hash = "0".into();
    write(&changed);
    refused("say nothing about 'shapes-mobile.onnx'");
    let mut changed = good.clone();
    changed.models[2].nanos[3] = -1.0;
    write(&changed);
    refused("a time of -1 ns");
    let mut changed = good.clone();
    changed.models[2].nanos.pop();
    write(&changed);
    refused("took 6 turns and the reference 7");
    let mut changed = good.clone();
    changed.models[1].nanos.truncate(3);
    write(&changed);
    refused("took 3 turns");
    write(&Results { job: "another".into(), ..good.clone() });
    refused("the job another");
    write(&Results { version: 2, ..good.clone() });
    refused("another format or version");
    std::fs::write(job.join("results.json"), "{").unwrap();
    refused("EOF");
}

#[test]
fn a_folder_is_not_written_over_and_the_same_models_make_the_same_job() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    let manifest = exported(&one);
    assert_eq!(exported(&other), manifest);
    for entry in std::fs::read_dir(&one).unwrap() {
        let name = entry.unwrap().file_name();
        assert_eq!(std::fs::read(one.join(&name)).unwrap(), std::fs::read(other.join(&name)).unwrap(), "{name:?}");
    }
    let again = |folder: &Path, force| export(folder, &models(), &Shapes::new(), &Settings::default(), force);
    assert_eq!(again(&one, false).unwrap_err().code, "output-exists");
    assert_eq!(again(&one, true).unwrap(), manifest);
    let mine = folder.path().join("mine");
    std::fs::create_dir(&mine).unwrap();
    assert_eq!(again(&mine, true).unwrap_err().code, "output-exists", "no job: it stays");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing half-made is left");
}
