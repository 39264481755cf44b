//! The command line: help, exit codes, streams, refusals, JSON.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const COMMANDS: [&str; 18] = [
    "convert",
    "run",
    "inspect",
    "diff",
    "list",
    "explain",
    "test",
    "check",
    "reduce",
    "advise",
    "space",
    "measure",
    "measure-ops",
    "build-predictor",
    "predict",
    "learn-fusions",
    "doctor",
    "completions",
];
const NET: &str = "graph @main(%x: f32[1,2,4,4]) with {opset = 17} {\n  %a = onnx.Identity %x : f32[1,2,4,4]\n  %y = onnx.Relu %a : f32[1,2,4,4]\n  return %y\n}\n";

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spaceevo-opt"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the binary starts")
}

fn pipe(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    match child.stdin.take().expect("piped").write_all(input) {
        // A usage error is found before anything is read: the program may have ended already.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written.expect("it reads"),
    }
    child.wait_with_output().expect("it ends")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it was not killed")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/models/shapes-mobile.onnx")
}

/// A file that a command wrote, in a folder of the test's own.
fn net(folder: &tempfile::TempDir) -> String {
    let path = folder.path().join("net.seir");
    std::fs::write(&path, NET).expect("the folder is writable");
    path.display().to_string()
}

#[test]
fn every_command_has_help_with_an_example() {
    let overview = out(&run(&["--help"]));
    for name in COMMANDS {
        assert!(overview.contains(name), "{name} is not in --help");
        let help = run(&[name, "--help"]);
        assert_eq!(code(&help), 0);
        assert!(out(&help).contains("Example"), "{name} --help shows no example");
        assert!(out(&help).contains(&format!("spaceevo-opt {name}")), "{name} --help shows no call");
    }
}

#[test]
fn exit_codes_tell_who_is_to_blame() {
    assert_eq!(code(&run(&["inspect", &model().display().to_string()])), 0);
    assert_eq!(code(&run(&["inspect", "/nowhere.onnx"])), 1);
    assert_eq!(code(&pipe(&["inspect", "-"], b"graph @main(")), 1);
    assert_eq!(code(&run(&["inspect"])), 2);
    assert_eq!(code(&run(&["no-such-command"])), 2);
    assert_eq!(code(&pipe(&["run", "-", "-p", "no-such-pass"], NET.as_bytes())), 2);
}

#[test]
fn unknown_names_are_answered_with_the_nearest() {
    for (arguments, near) in [
        (&["explain", "drop-ded"][..], "drop-dead"),
        (&["explain", "x86-vni"], "x86-vnni"),
        (&["explain", "relu-of-rel"], "relu-of-relu"),
        (&["explain", "onnx-cycl"], "onnx-cycle"),
        (&["run", "-", "-p", "drop-dea"], "drop-dead"),
        (&["run", "-", "-p", "drop-dead", "--target", "x86-vnn"], "x86-vnni"),
    ] {
        let output = pipe(arguments, NET.as_bytes());
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert!(err(&output).contains(&format!("did you mean '{near}'?")), "{arguments:?}: {}", err(&output));
    }
}

#[test]
fn models_go_through_pipes_in_both_formats() {
    let text = pipe(&["run", "-", "-p", "drop-identity,drop-dead", "-o", "-"], NET.as_bytes());
    assert_eq!(code(&text), 0, "{}", err(&text));
    assert!(out(&text).contains("onnx.Relu %x") && !out(&text).contains("Identity"), "{}", out(&text));
    let onnx = pipe(&["run", "-", "-p", "drop-dead", "--emit", "onnx"], &text.stdout);
    assert_eq!(code(&onnx), 0, "{}", err(&onnx));
    let seen = pipe(&["inspect", "-"], &onnx.stdout);
    assert!(out(&seen).contains("onnx.Relu"), "{}", out(&seen));
}

#[test]
fn nothing_is_overwritten_unless_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = net(&folder);
    let target = folder.path().join("out.seir");
    std::fs::write(&target, "precious").expect("writable");
    let target = target.display().to_string();
    let refused = run(&["run", &input, "-p", "drop-dead", "-o", &target]);
    assert_eq!(code(&refused), 1);
    assert!(err(&refused).contains("--force"));
    assert_eq!(std::fs::read_to_string(&target).expect("still there"), "precious");
    assert_eq!(code(&run(&["run", &input, "-p", "drop-dead", "-o", &target, "--force"])), 0);
    assert!(std::fs::read_to_string(&target).expect("written").contains("onnx.Relu"));
}

#[test]
fn large_constants_of_a_text_stand_beside_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (text, back) = (at("mobile.seir"), at("back.onnx"));
    let model = model().display().to_string();
    assert_eq!(code(&run(&["run", &model, "-p", "", "-o", &text])), 0);
    assert!(std::fs::metadata(at("mobile.seir.weights")).expect("a weights file").len() > 100_000);
    assert_eq!(code(&run(&["run", &text, "-p", "", "-o", &back])), 0);
    let diff = run(&["diff", &model, &back]);
    assert!(out(&diff).contains("all the same"), "{}", out(&diff));
    std::fs::remove_file(at("mobile.seir.weights")).expect("it is there");
    let lost = run(&["inspect", &text]);
    assert_eq!(code(&lost), 1);
    assert!(err(&lost).contains("text-blob"), "{}", err(&lost));
}

#[test]
fn json_is_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, model) = (net(&folder), model().display().to_string());
    for arguments in [
        &["inspect", &*model, "--json"][..],
        &["diff", &model, &model, "--json"],
        &["run", &input, "-p", "drop-identity", "--json"],
        &["list", "passes", "--json"],
        &["list", "rules", "--json"],
        &["list", "targets", "--json"],
        &["list", "pipelines", "--json"],
        &["list", "diagnostics", "--json"],
        &["list", "runtimes", "--json"],
        &["explain", "drop-dead", "--json"],
        &["doctor", "--json"],
    ] {
        let output = run(arguments);
        assert_eq!(code(&output), 0, "{arguments:?}: {}", err(&output));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap_or_else(|e| panic!("{arguments:?}: {e}"));
    }
}

#[test]
fn every_pass_and_every_diagnostic_has_a_page() {
    for what in ["passes", "rules", "diagnostics", "targets", "pipelines"] {
        let list: serde_json::Value = serde_json::from_slice(&run(&["list", what, "--json"]).stdout).expect("JSON");
        for row in list.as_array().expect("a list") {
            let name = row["name"].as_str().expect("a name");
            let page = run(&["explain", name]);
            assert_eq!(code(&page), 0, "{name}");
            assert!(out(&page).len() > name.len() + 30, "{name}: {}", out(&page));
        }
    }
}

#[test]
fn completions_know_commands_and_passes() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = out(&run(&["completions", shell]));
        assert!(script.contains("convert") && script.contains("drop-dead"), "{shell}");
    }
}

#[test]
fn runs_explain_themselves() {
    let all = [
        "run",
        "-",
        "-p",
        "drop-identity,drop-dead",
        "--timing",
        "--stats",
        "--explain",
        "--print-ir-after-change",
        "--emit",
        "diff",
    ];
    let output = pipe(&all, NET.as_bytes());
    assert_eq!(code(&output), 0, "{}", err(&output));
    for text in ["timing:", "statistics:", "rewritten:", "// after drop-identity"] {
        assert!(err(&output).contains(text), "{text}: {}", err(&output));
    }
    assert!(out(&output).contains("-   %a = onnx.Identity %x"), "{}", out(&output));
    let limited = pipe(&["run", "-", "-p", "drop-identity", "--bisect-limit", "0"], NET.as_bytes());
    assert!(out(&limited).contains("onnx.Identity"));
    let why = pipe(&["run", "-", "-p", "drop-identity", "--why", "%a"], NET.as_bytes());
    assert!(err(&why).contains("[drop-identity]"), "{}", err(&why));
}

#[test]
fn a_failing_run_leaves_a_reproducer_that_fails_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let repro = folder.path().join("repro.seir").display().to_string();
    // There is something to calibrate on a target that has no prices, by which so little would be left in float; and there are no
    // samples.
    const WITHOUT_PRICES: [&str; 2] = ["--target", "arm64"];
    let net = NET.replace("onnx.Identity %x", "onnx.Conv %x, %w").replace("{\n", "{\n  %w = const rand(1) : f32[2,2,1,1]\n");
    let failed =
        pipe(&[&["run", "-", "-p", "calibrate", "--save-repro", &repro][..], &WITHOUT_PRICES].concat(), net.as_bytes());
    assert_eq!(code(&failed), 1, "{}", err(&failed));
    let text = std::fs::read_to_string(&repro).expect("a reproducer");
    assert!(text.contains("// pipeline: calibrate\n"), "{text}");
    assert_eq!(code(&run(&[&["run", &repro, "-p", "calibrate"][..], &WITHOUT_PRICES].concat())), 1);
    let small = folder.path().join("small.seir").display().to_string();
    let reduce = ["reduce", &repro, "-p", "calibrate", "--until", "rejects", "-o", &small];
    let reduced = run(&[&reduce[..], &WITHOUT_PRICES].concat());
    assert_eq!(code(&reduced), 0, "{}", err(&reduced));
    let fine = run(&["reduce", &repro, "-p", "drop-dead", "--until", "panics", "-o", &small, "--force"]);
    assert_eq!(code(&fine), 2, "{}", err(&fine));
}

/// `-p PIPELINE` of what 'convert' does, by hand.
const QUANTIZE: &str =
    "@simplify,fold-hard-sigmoid,calibrate,correct-bias,quantize,fold-clip,@suit-kernels,lower-qdq,drop-dead";

/// Ops and constants of a model file, without its metadata.
fn content(path: &str) -> String {
    let graph = spaceevo::load(path).unwrap_or_else(|e| panic!("{path}: {e:?}")).graph;
    spaceevo::ir::text::print(&graph, &Default::default())
}

#[test]
fn a_pipeline_with_samples_computes_what_convert_computes() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (model, by_hand, converted) = (model().display().to_string(), at("by-hand.onnx"), at("converted.onnx"));
    let samples = "--calibrate testdata/models/pictures/calibrate --preprocess testdata/models/shapes.toml --samples 12";
    let samples: Vec<&str> = samples.split(' ').chain(["--runtime", "tract"]).collect();
    let ran = run(&[&["run", &model, "-p", QUANTIZE, "-o", &by_hand][..], &samples].concat());
    assert_eq!(code(&ran), 0, "{}", err(&ran));
    let job = run(&[&["convert", &model, "-o", &converted, "--form", "qdq", "--explain"][..], &samples].concat());
    assert_eq!(code(&job), 0, "{}", err(&job));
    assert!(["rewritten:\n", "[quantize]", "\ndeclined:\n"].iter().all(|part| out(&job).contains(part)), "{}", out(&job));
    let content = content(&by_hand);
    assert!(content.contains("onnx.QuantizeLinear"), "{content}");
    assert_eq!(content, self::content(&converted));
    let unverified = at("unverified.onnx");
    let job = run(&[&["convert", &model, "-o", &unverified, "--form", "qdq", "--no-verify"][..], &samples].concat());
    assert!(code(&job) == 0 && out(&job).contains("not verified"), "{}{}", out(&job), err(&job));
    let bytes = |path: &str| std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    assert!(bytes(&converted) == bytes(&unverified), "verification changes the file");

    let skipping = |skipped: &str| {
        let rest = ["--form", "qdq", "--no-verify", "--json", "--force", "--skip", skipped];
        run(&[&["convert", &model, "-o", &unverified][..], &rest, &samples].concat())
    };
    let job = skipping("saturate,merge-groups");
    assert_eq!(code(&job), 0, "{}", err(&job));
    let report: serde_json::Value = serde_json::from_slice(&job.stdout).expect("JSON");
    let pipeline = report["pipeline"].as_str().expect("text");
    assert!(
        pipeline.contains("pad-stem") && !pipeline.contains("saturate") && !pipeline.contains("merge-groups"),
        "{pipeline}"
    );
    for (skipped, why) in [("quantize", "cannot be left out"), ("merge-group", "has no pass 'merge-group'")] {
        let job = skipping(skipped);
        assert!(code(&job) == 1 && err(&job).contains(why), "{}", err(&job));
    }
}

/// Samples for an input of shape 1x2x1x1, as NumPy stores them.
fn samples(folder: &tempfile::TempDir, values: &[[f32; 2]]) -> String {
    let shape = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, 2, 1, 1), }}", values.len());
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{shape:<117}\n").bytes());
    bytes.extend(values.iter().flatten().flat_map(|v| v.to_le_bytes()));
    let path = folder.path().join("samples.npy");
    std::fs::write(&path, bytes).expect("writable");
    path.display().to_string()
}

#[test]
fn samples_are_for_inputs_without_a_default() {
    let net = "graph @main(%k: f32[1,2,1,1] = splat(8.0), %x: f32[1,2,1,1]) with {opset = 17} {
  %w = const rand(1) : f32[4,2,1,1]
  %a = onnx.Add %x, %k : f32[1,2,1,1]
  %y = onnx.Conv %a, %w : f32[1,4,1,1]
  return %y
}
";
    let folder = tempfile::tempdir().expect("a folder");
    let samples = samples(&folder, &[[-1.0, 0.0], [0.5, 2.0]]);
    for runtime in ["tract", "interpreter"] {
        // Without prices: by them, so small a network is left in float.
        let run = ["run", "-", "-p", "calibrate", "--calibrate", &samples, "--runtime", runtime, "--target", "arm64"];
        let ran = pipe(&run, net.as_bytes());
        assert_eq!(code(&ran), 0, "{}", err(&ran));
        assert!(out(&ran).contains("range(7.0, 10.0)"), "{}", out(&ran));
    }
}

#[test]
fn the_last_samples_are_for_values_that_are_still_open() {
    // Both clips reach their bounds at once, the input grows until the sixth sample.
    let net = "graph @main(%x: f32[1,2,1,1]) with {opset = 17} {
  %w = const [[[[1.0]], [[0.0]]], [[[0.0]], [[1.0]]]] : f32[2,2,1,1]
  %low = const 0.0 : f32[]
  %high = const 0.5 : f32[]
  %a = onnx.Conv %x, %w : f32[1,2,1,1]
  %b = onnx.Clip %a, %low, %high : f32[1,2,1,1]
  %c = onnx.Conv %b, %w : f32[1,2,1,1]
  %y = onnx.Clip %c, %low, %high : f32[1,2,1,1]
  return %y
}
";
    let folder = tempfile::tempdir().expect("a folder");
    let samples = samples(&folder, &[[-1.0, 1.0], [0.5, 2.0], [0.0, 3.0], [0.0, 4.0], [0.0, 5.0], [0.0, 6.0]]);
    for runtime in ["tract", "interpreter"] {
        // Without prices: by them, so small a network is left in float.
        let run = ["run", "-", "-p", "calibrate", "--calibrate", &samples, "--runtime", runtime, "--target", "arm64"];
        let ran = pipe(&run, net.as_bytes());
        assert_eq!(code(&ran), 0, "{}", err(&ran));
        for range in ["range(-1.0, 6.0)", "range(0.0, 0.5)"] {
            assert!(out(&ran).contains(range), "{range}: {}", out(&ran));
        }
    }
}

#[test]
fn a_pipeline_without_samples_says_what_to_pass() {
    let model = model().display().to_string();
    let none = run(&["run", &model, "-p", QUANTIZE]);
    assert_eq!(code(&none), 1, "{}", err(&none));
    for text in ["error[no-samples]", "pass --calibrate with a folder of images, an .npy or an .npz file"] {
        assert!(err(&none).contains(text), "{text}: {}", err(&none));
    }
    for (arguments, text) in [
        (&["--samples", "8"][..], "without --calibrate"),
        (&["--calibrate", "testdata/models/pictures/calibrate", "--samples", "0"], "at least one sample"),
    ] {
        let refused = run(&[&["run", &model, "-p", QUANTIZE][..], arguments].concat());
        assert_eq!(code(&refused), 2, "{}", err(&refused));
        assert!(err(&refused).contains(text), "{text}: {}", err(&refused));
    }
}

#[test]
fn an_integrator_needs_thirty_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(root.join("tests/integrator/src/main.rs")).expect("the example");
    let lines = source.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//")).count();
    assert!(lines < 30, "the example has {lines} lines");
    // Two folders above the binary: the target folder, so that dependencies are not built twice.
    let target = Path::new(env!("CARGO_BIN_EXE_spaceevo-opt")).ancestors().nth(2).expect("a target folder");
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--manifest-path", "tests/integrator/Cargo.toml", "--"])
        .arg(model())
        .env("CARGO_TARGET_DIR", target)
        .current_dir(root)
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", err(&output));
    assert!(out(&output).contains("anonymize: "), "{}", out(&output));
}

#[test]
fn the_most_sensitive_ops_stay_in_float_on_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("mixed.onnx").display().to_string();
    let model = model().display().to_string();
    let pictures = "testdata/models/pictures/calibrate";
    let spec = "testdata/models/shapes.toml";
    let done = run(&[
        "convert",
        &model,
        "-o",
        &output,
        "--calibrate",
        pictures,
        "--preprocess",
        spec,
        "--samples",
        "8",
        "--form",
        "qdq",
        "--runtime",
        "tract",
        "--keep-float",
        "2",
        "--json",
    ]);
    assert_eq!(code(&done), 0, "{}", err(&done));
    let report: serde_json::Value = serde_json::from_str(&out(&done)).expect("JSON");
    let sensitivity = report["sensitivity"].as_array().expect("a list");
    let gain = |i: usize| sensitivity[i]["gain_db"].as_f64().expect("a number");
    assert!(sensitivity.len() > 4 && gain(0) >= gain(1) && gain(1) > 0.0, "{sensitivity:?}");
    let pipeline = report["pipeline"].as_str().expect("text");
    let kept =
        pipeline.split("quantize{exclude=").nth(1).and_then(|rest| rest.split('}').next()).expect("some stay in float");
    let kept: Vec<&str> = kept.split('+').collect();
    let gaining = |name: &&str| sensitivity.iter().any(|s| s["name"] == **name && s["gain_db"].as_f64() > Some(0.0));
    assert!(kept.len() <= 2 && kept.iter().all(gaining), "{pipeline}");
    let excluded = report["float_ops"].as_array().expect("a list").iter().filter(|o| o["why"] == "excluded on request");
    assert_eq!(excluded.count(), kept.len());
}

#[test]
fn measured_prices_make_a_target_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("here.toml");
    let path = file.display().to_string();
    let arguments = ["measure-ops", "--target", "x86-avx2", "--rounds", "1", "-o", &path];
    let measured = run(&arguments);
    if code(&measured) != 0 && err(&measured).contains("onnxruntime") {
        assert!(std::env::var_os("SPACEEVO_REQUIRE_RUNTIME").is_none(), "{}", err(&measured));
        return;
    }
    assert_eq!(code(&measured), 0, "{}", err(&measured));
    let text = std::fs::read_to_string(&file).expect("a target file");
    let target = spaceevo::passes::Target::parse(&text, "here.toml").unwrap_or_else(|d| panic!("{d}"));
    let prices = target.prices.expect("prices");
    assert!(!prices.provenance.machine.is_empty() && prices.provenance.runtime.starts_with("onnxruntime"), "{text}");
    for kind in ["conv1x1", "conv", "depthwise", "onnx.Add"] {
        assert!(prices.float.contains_key(kind) && prices.integer.contains_key(kind), "{kind} in {text}");
    }
    assert_eq!(code(&run(&arguments)), 1, "nothing is overwritten");
    let used = pipe(&["run", "-", "-p", "drop-dead", "--target", &path], NET.as_bytes());
    assert_eq!(code(&used), 0, "{}", err(&used));
}

#[test]
fn effects_hold_in_the_runtime() {
    let checked = run(&["check", "--cases", "300", "--json"]);
    if code(&checked) != 0 && std::env::var_os("SPACEEVO_REQUIRE_RUNTIME").is_none() {
        assert!(err(&checked).contains("onnxruntime"), "{}", err(&checked));
        return;
    }
    assert_eq!(code(&checked), 0, "{}", err(&checked));
    let lines: Vec<serde_json::Value> = serde_json::from_str(&out(&checked)).expect("JSON");
    let names = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).count();
    assert!(names("rule") > 40 && names("pass") > 20, "{lines:?}");
    for line in &lines {
        assert!(line["runtime"]["cases"].as_u64() >= Some(300) && line["runtime"]["beyond"] == 0, "{line}");
    }
    assert_eq!(code(&run(&["check", "lower-hard-swisch"])), 2, "an unknown name");
}

#[test]
fn advice_is_measured_on_networks_that_it_converts() {
    let model = model().display().to_string();
    let told = run(&["advise", &model, "--target", "x86-avx2", "--measure", "--budget", "0.2", "--json"]);
    if code(&told) != 0 && std::env::var_os("SPACEEVO_REQUIRE_RUNTIME").is_none() {
        assert!(err(&told).contains("onnxruntime"), "{}", err(&told));
        return;
    }
    assert_eq!(code(&told), 0, "{}", err(&told));
    let advice: serde_json::Value = serde_json::from_str(&out(&told)).expect("JSON");
    assert!(advice["measured"]["as_is_us"].as_f64() > Some(0.0) && advice["predicted_by"] == "table", "{advice}");
    let suggestions = advice["suggestions"].as_array().expect("a list");
    // How fast is no matter for a test; that every network ran, is.
    let timed = |s: &serde_json::Value| s["measured"]["low"].as_f64() > Some(0.0);
    assert!(suggestions.len() > 1 && suggestions.iter().all(timed), "{advice}");
}

#[test]
fn advice_is_what_convert_applies() {
    let model = model().display().to_string();
    let told = run(&["advise", &model, "--target", "x86-avx2", "--json"]);
    assert_eq!(code(&told), 0, "{}", err(&told));
    let advice: serde_json::Value = serde_json::from_str(&out(&told)).expect("JSON");
    let suggestions = advice["suggestions"].as_array().expect("a list");
    let squeeze = suggestions.iter().find(|s| s["pass"] == "drop-se").expect("the model has gates");
    assert!(squeeze["ops"].as_u64() > Some(0) && squeeze["speedup"].as_f64() > Some(1.0), "{squeeze}");
    assert_eq!(code(&run(&["advise", &model, "--target", "arm64"])), 1, "a target without prices");

    let folder = tempfile::tempdir().expect("a folder");
    let applied = folder.path().join("applied.onnx").display().to_string();
    let samples = "--calibrate testdata/models/pictures/calibrate --preprocess testdata/models/shapes.toml --samples 12";
    let samples: Vec<&str> = samples.split(' ').chain(["--runtime", "tract", "--form", "qdq"]).collect();
    let made = run(&[&["convert", &model, "-o", &applied, "--apply", "drop-se"][..], &samples].concat());
    assert_eq!(code(&made), 0, "{}", err(&made));
    let (before, after) = (content(&model), content(&applied));
    assert!(before.contains("GlobalAveragePool"), "{before}");
    assert!(after.matches("GlobalAveragePool").count() < before.matches("GlobalAveragePool").count(), "{after}");
}
