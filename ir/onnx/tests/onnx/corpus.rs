//! Every model of the ONNX backend test data, where `SPACEEVO_ONNX_TESTS` names its folder (with `node`, `simple`, ...).

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use spaceevo_onnx::{ReadOptions, read, read_bytes, read_datum, to_bytes};

use crate::{hostile, oracle};

/// Folders with a `model.onnx`, sorted; empty without the variable.
fn cases() -> Vec<PathBuf> {
    let Some(root) = std::env::var_os("SPACEEVO_ONNX_TESTS") else { return Vec::new() };
    let folders = |path: &Path| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|e| e.path()).filter(|p| p.is_dir()).collect::<Vec<_>>()
    };
    let mut cases: Vec<PathBuf> = folders(Path::new(&root)).iter().flat_map(|part| folders(part)).collect();
    cases.retain(|case| case.join("model.onnx").is_file());
    assert!(!cases.is_empty(), "SPACEEVO_ONNX_TESTS names a folder without models");
    cases.sort();
    cases
}

#[test]
fn every_model_comes_back() {
    for case in cases() {
        let name = case.display();
        let imported = read(&case.join("model.onnx"), &ReadOptions::default()).unwrap_or_else(|d| panic!("{name}: {d}"));
        let first = to_bytes(&imported.graph).unwrap_or_else(|d| panic!("{name}: {d}"));
        let again = read_bytes(Bytes::from(first.clone()), "model.onnx", &ReadOptions::default());
        let again = again.unwrap_or_else(|d| panic!("{name}: {d}")).graph;
        assert!(to_bytes(&again).is_ok_and(|second| second == first), "{name}: the second writing differs");
        oracle::check(&again, &first);
    }
}

#[test]
fn every_sample_is_read() {
    for case in cases() {
        let graph = read(&case.join("model.onnx"), &ReadOptions::default()).unwrap_or_else(|d| panic!("{d}")).graph;
        let body = graph.region(graph.body());
        for (kind, values) in [("input", body.inputs()), ("output", body.results())] {
            for (index, &value) in values.iter().enumerate() {
                let path = case.join(format!("test_data_set_0/{kind}_{index}.pb"));
                let Ok(bytes) = fs::read(&path) else { continue };
                let ty = graph.value(value).ty();
                let datum = read_datum(Bytes::from(bytes), ty, "sample.pb");
                assert!(datum.is_ok(), "{}: {}", path.display(), datum.expect_err("it failed"));
            }
        }
    }
}

#[test]
fn mutated_models_never_panic() {
    for case in cases().iter().step_by(40) {
        let bytes = fs::read(case.join("model.onnx")).expect("the model");
        if bytes.len() < 20_000 {
            hostile::mutate(&bytes, 100);
        }
    }
}
