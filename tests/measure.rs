//! `measure` as a user calls it, with the embedded runtime. Nothing here depends on how fast or quiet the machine is.

use std::path::Path;
use std::process::{Command, Output};

const MODEL: &str = "testdata/models/shapes-mobile.onnx";
const OTHER: &str = "testdata/models/shapes-resnet.onnx";
/// Sure at once, whatever the machine does.
const QUICK: [&str; 7] = ["--runtime", "tract", "--anyway", "--half-width", "90%", "--budget", "3"];

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spaceevo-opt"));
    command.arg("measure").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("the binary starts")
}

fn quick(arguments: &[&str]) -> Output {
    run(&[arguments, &QUICK].concat())
}

fn out(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_str(&out(output)).expect("JSON")
}

fn refused(arguments: &[&str], code: i32, why: &str) {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(why), "{arguments:?}: {said}");
}

fn at(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

#[test]
fn what_is_measured_is_printed_drawn_recorded_and_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, page, csv) = (at(folder.path(), "s.sqlite"), at(folder.path(), "r.html"), at(folder.path(), "t.csv"));
    let report = json(&quick(&[MODEL, OTHER, "--json", "--record", &store, "--commit", "1a2b", "--report", &page]));
    assert_eq!(report["runtime"], "tract");
    assert!(report["machine"].as_str().is_some_and(|m| m.contains("thread")));
    let models = report["models"].as_array().expect("a list");
    assert_eq!(
        models.iter().map(|m| m["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["shapes-mobile.onnx", "shapes-resnet.onnx"]
    );
    for model in models {
        let number = |of: &str, what: &str| model[of][what].as_f64().expect("a number");
        for of in ["time", "ratio"] {
            assert!(number(of, "low") <= number(of, "median") && number(of, "median") <= number(of, "high"), "{model}");
        }
        assert_eq!(model["samples"].as_array().unwrap().len() as u64, model["rounds"].as_u64().unwrap());
        assert!(model["rounds"].as_u64().unwrap() >= 21 && model["cpu"].as_f64().unwrap() > 0.0);
    }
    assert!(std::fs::read_to_string(&page).unwrap().contains("shapes-resnet.onnx"));
    out(&quick(&[MODEL, "--record", &store]));
    let kept = json(&run(&["--history", &store, "--json", "--csv", &csv]));
    let kept = kept.as_array().expect("a list");
    assert_eq!(kept.len(), 3);
    assert_eq!((kept[0]["commit"].as_str(), kept[2]["commit"].as_str()), (Some("1a2b"), Some("")));
    assert_eq!(kept[0]["samples"], models[0]["samples"]);
    assert_eq!((&kept[0]["hash"], kept[0]["hash"] == kept[1]["hash"]), (&kept[2]["hash"], false), "the same file twice");
    assert_eq!(std::fs::read_to_string(&csv).unwrap().lines().count(), 4);
    assert!(out(&run(&["--history", &store])).ends_with("3 measurements\n"));
    refused(&["--history", &store, "--csv", &csv], 1, "--force");
}

#[test]
fn a_comparison_says_how_sure_it_is() {
    let faster = json(&quick(&["--compare", MODEL, OTHER, "--json", "--floor", "50%"]));
    assert_eq!(faster["comparison"]["floor"], 0.5);
    let ratio = &faster["comparison"]["ratio"];
    assert!(ratio["low"].as_f64() <= ratio["median"].as_f64(), "{ratio}");
    let words = ["faster", "slower", "no difference shown"];
    assert!(words.contains(&faster["comparison"]["verdict"].as_str().unwrap()));
    let text = out(&quick(&["--compare", MODEL, MODEL, "--floor", "95%"]));
    assert!(text.contains("no difference shown between shapes-mobile.onnx and shapes-mobile.onnx"), "{text}");
    assert!(text.contains("with 95 % confidence between"), "{text}");
}

#[test]
fn trials_of_a_model_against_itself_are_counted() {
    let tests = json(&quick(&["--self-test", "--trials", "2", MODEL, "--floor", "95%", "--json"]));
    let summary = &tests[0]["summary"];
    assert_eq!((&summary["trials"], &summary["faster"], &summary["slower"]), (&2.into(), &0.into(), &0.into()), "{summary}");
    assert!(out(&quick(&["--self-test", "--trials", "1"])).contains("reference-1 against itself, on "));
}

#[test]
fn a_job_goes_out_and_its_results_come_into_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let (job, store) = (at(folder.path(), "job"), at(folder.path(), "s.sqlite"));
    let manifest = json(&run(&["--export-job", &job, MODEL, "--json"]));
    refused(&["--export-job", &job, MODEL], 1, "--force");
    refused(&["--import-results", &job], 1, "measure-job");
    let taken = |at: usize, nanos: f64| {
        let model = &manifest["models"][at];
        serde_json::json!({"name": model["name"], "hash": model["hash"], "nanos": vec![nanos; 9]})
    };
    let results = serde_json::json!({
        "format": "spaceevo-results", "version": 1, "job": manifest["id"], "date": "2026-03-04", "machine": "a phone, in 2026",
        "runtime": "another", "runtime_version": "7", "threads": 4, "models": [taken(0, 1e6), taken(1, 2.5e6)],
    });
    std::fs::write(folder.path().join("job/results.json"), results.to_string()).unwrap();
    assert!(out(&run(&["--import-results", &job, "--record", &store, "--commit", "c"])).contains("2.500 ms"));
    let csv = at(folder.path(), "t.csv");
    let kept = json(&run(&["--history", &store, "--json", "--csv", &csv]));
    assert_eq!((&kept[0]["ratio"]["median"], &kept[0]["commit"]), (&2.5.into(), &"c".into()));
    assert!(std::fs::read_to_string(csv).unwrap().contains("\"a phone, in 2026\""));
}

#[test]
fn what_makes_no_sense_is_refused() {
    refused(&[], 2, "no model is given");
    refused(&["--compare", MODEL], 2, "--compare takes two models");
    refused(&[MODEL, "--half-width", "200%"], 2, "a share between 0 and 1");
    refused(&[MODEL, "--runtime", "trackt"], 2, "did you mean 'tract'?");
    refused(&["/nowhere.onnx"], 1, "file-io");
    refused(&["--history", "/nowhere.sqlite"], 1, "measure-store");
    refused(&["--history", MODEL], 1, "measure-store");
    refused(&[MODEL, "--runtime", "tract", "--anyway", "--shape", "nobody=1,2"], 1, "no model has an input 'nobody'");
    let profile = [&[MODEL, "--profile"][..], &QUICK].concat();
    refused(&profile, 1, "profile-unsupported");
}
