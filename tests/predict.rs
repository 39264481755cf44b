//! A predictor from nothing, and what is predicted with it. Times are only there to be times: none is compared with a bound.

use std::path::Path;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spaceevo-opt"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("it starts")
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", err(output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Builds a small predictor; `None` where there is no ONNX Runtime.
fn build(name: &Path, more: &[&str]) -> Option<Output> {
    let name = name.display().to_string();
    let arguments = [&["build-predictor", "--name", &name, "--networks", "5", "--json"], more].concat();
    let built = run(&arguments);
    if !built.status.success() && err(&built).contains("onnxruntime") {
        assert!(std::env::var_os("SPACEEVO_REQUIRE_RUNTIME").is_none(), "{}", err(&built));
        return None;
    }
    Some(built)
}

#[test]
fn a_predictor_is_built_resumed_read_and_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = folder.path().join("here");
    let models = ["--models", "testdata/models/shapes-resnet.onnx"];
    // No time at all: nothing is measured, and it can be gone on with.
    let Some(nothing) = build(&name, &[&models[..], &["--budget", "0s"]].concat()) else { return };
    assert_eq!(json(&nothing)["done"], false);
    let long = [&models[..], &["--budget", "5min", "--force"]].concat();
    let built = json(&build(&name, &long).expect("a runtime"));
    assert_eq!(built["done"], true);
    assert!(built["kernels"].as_u64() > Some(200), "{}", built["kernels"]);
    // The model comes behind the three networks in float that are drawn.
    let measured = std::fs::read_to_string(name.with_extension("measurements")).expect("measurements");
    let traced = |number: usize| measured.matches(&format!("network float {number} round ")).count();
    assert!(traced(3) == traced(0) && traced(3) > 0 && traced(4) == 0, "{} {}", traced(3), traced(4));
    let file = name.with_extension("predictor");
    let text = std::fs::read_to_string(&file).expect("the predictor");
    // With other models the numbers of networks mean others.
    let other =
        build(&name, &["--models", "testdata/models/shapes-mobile.onnx", "--budget", "5min", "--force"]).expect("a runtime");
    assert_eq!(other.status.code(), Some(1));
    assert!(err(&other).contains("begun with other networks"), "{}", err(&other));
    assert_eq!(measured, std::fs::read_to_string(name.with_extension("measurements")).expect("measurements"));
    let again = build(&name, &long[..4]).expect("a runtime");
    assert_eq!(again.status.code(), Some(1), "nothing is overwritten");
    json(&build(&name, &long).expect("a runtime"));
    assert!(text == std::fs::read_to_string(&file).expect("the predictor"), "the same data has the same bytes");
    let page = std::fs::read_to_string(name.with_extension("html")).expect("the page");
    assert!(page.contains("<svg") && page.contains("QLinearConv-last") && !page.contains("<script"));

    let model = "testdata/models/shapes-mobile.onnx";
    let predicted = json(&run(&["predict", model, "--predictor", &file.display().to_string(), "--kernels", "--json"]));
    let model_of = &predicted["models"][0];
    let number = |key: &str| model_of[key].as_f64().expect("a number");
    assert!(0.0 < number("low") && number("low") < number("milliseconds") && number("milliseconds") < number("high"));
    assert_eq!(model_of["by_kernel"].as_array().map(Vec::len), model_of["kernels"].as_u64().map(|n| n as usize));

    let listed = folder.path().join("listed.seir");
    let source = "graph @main(%x: f32[1,8,8,8], %w: f32[] = 2.0) with {opset = 17} {\n  %y = onnx.Mul %x, %w : f32[1,8,8,8]\n  return %y\n}\n";
    std::fs::write(&listed, source).expect("written");
    let warned = run(&["predict", &listed.display().to_string(), "--predictor", &file.display().to_string()]);
    assert!(warned.status.success() && err(&warned).contains("weights-are-inputs"), "{}", err(&warned));

    let damaged = text.replacen("sum ", "sum 1", 1);
    std::fs::write(&file, &damaged).expect("written");
    let refused = run(&["predict", model, "--predictor", &file.display().to_string()]);
    let line = 1 + damaged.lines().position(|l| l.starts_with("sum 1")).expect("a line");
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains(&format!("line {line}:")), "{}", err(&refused));
}

#[test]
fn a_model_with_open_extents_is_not_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("open.seir");
    let text = "graph @main(%x: f32[1,3,H,8]) with {opset = 17} {\n  %y = onnx.Relu %x : f32[1,3,H,8]\n  return %y\n}\n";
    std::fs::write(&model, text).expect("written");
    let Some(built) = build(&folder.path().join("open"), &["--models", &model.display().to_string()]) else { return };
    assert_eq!(built.status.code(), Some(1));
    assert!(err(&built).contains("measure-shape") && err(&built).contains("%x"), "{}", err(&built));
}

#[test]
fn a_job_for_another_device_is_written_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let job = folder.path().join("job");
    let path = job.display().to_string();
    let Some(first) = build(&folder.path().join("there"), &["--export", &path]) else { return };
    assert!(first.status.success(), "{}", err(&first));
    let list = std::fs::read_to_string(job.join("list.csv")).expect("a list");
    assert_eq!(list.lines().count(), 1 + 5 + 3);
    for line in list.lines().skip(1) {
        let file = line.split(',').next().expect("a file");
        assert!(job.join(file).exists(), "{file}");
    }
    let again = build(&folder.path().join("there"), &["--export", &path]).expect("a runtime");
    assert_eq!(again.status.code(), Some(1));
}

#[test]
fn a_table_of_another_device_makes_a_predictor() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = folder.path().join("times.csv");
    let row = |at: usize| {
        let (channels, size) = (4 * (1 + at % 23), 7 + at % 5);
        let macs = channels * channels * size * size;
        let kernel =
            format!("Conv plain 4:4 1x{channels}x{size}x{size} 1x{channels}x{size}x{size} k1x1 s1x1 d1x1 g1 +0 in24");
        format!("{kernel},{}\n", 2000.0 + 0.02 * macs as f64)
    };
    std::fs::write(&table, "kernel,nanoseconds\n".to_owned() + &(0..115).map(row).collect::<String>()).expect("written");
    let name = folder.path().join("phone");
    let Some(built) = build(&name, &["--from", &table.display().to_string(), "--machine", "a phone"]) else { return };
    let built = json(&built);
    assert_eq!((built["origin"]["machine"].as_str(), built["kernels"].as_u64()), (Some("a phone"), Some(115)));
    assert!(built["families"][0]["within_5"].as_f64() > Some(0.95), "{}", built["families"][0]["within_5"]);
    std::fs::write(&table, "kernel,nanoseconds\nConv,1\n").expect("written");
    let wrong = build(&name, &["--from", &table.display().to_string(), "--force"]).expect("a runtime");
    assert!(err(&wrong).contains("line 2"), "{}", err(&wrong));
}
