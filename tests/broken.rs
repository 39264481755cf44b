//! Broken inputs: each with its exit code and a piece of its message. No panic, no half-written file, no silence.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// ONNX messages, written by hand: what no exporter would write.
mod wire {
    pub(super) fn varint(mut n: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while n >= 128 {
            out.push(n as u8 | 128);
            n >>= 7;
        }
        out.push(n as u8);
        out
    }
    pub(super) fn number(field: u64, n: i64) -> Vec<u8> {
        [varint(field << 3), varint(n as u64)].concat()
    }
    pub(super) fn bytes(field: u64, data: &[u8]) -> Vec<u8> {
        [varint(field << 3 | 2), varint(data.len() as u64), data.to_vec()].concat()
    }
    pub(super) fn text(field: u64, text: &str) -> Vec<u8> {
        bytes(field, text.as_bytes())
    }
    pub(super) fn node(domain: &str, op: &str, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
        let mut out: Vec<u8> = inputs.iter().flat_map(|n| text(1, n)).collect();
        out.extend(outputs.iter().flat_map(|n| text(2, n)));
        bytes(1, &[out, text(4, op), text(7, domain)].concat())
    }
    /// `field` 11 is an input of the graph, 12 an output.
    pub(super) fn port(field: u64, name: &str, elem: i64, dims: &[i64]) -> Vec<u8> {
        let shape: Vec<u8> = dims.iter().flat_map(|&d| bytes(1, &number(1, d))).collect();
        let tensor = [number(1, elem), bytes(2, &shape)].concat();
        bytes(field, &[text(1, name), bytes(2, &bytes(1, &tensor))].concat())
    }
    pub(super) fn tensor(name: &str, elem: i64, dims: &[i64], raw: &[u8]) -> Vec<u8> {
        let dims: Vec<u8> = dims.iter().flat_map(|&d| number(1, d)).collect();
        bytes(5, &[dims, number(2, elem), text(8, name), bytes(9, raw)].concat())
    }
    pub(super) fn external(name: &str, location: &str, offset: &str) -> Vec<u8> {
        let entry = |key: &str, value: &str| bytes(13, &[text(1, key), text(2, value)].concat());
        let tail = [entry("location", location), entry("offset", offset), entry("length", "16"), number(14, 1)].concat();
        bytes(5, &[number(1, 4), number(2, 1), text(8, name), tail].concat())
    }
    pub(super) fn model(ir: i64, opset: i64, graph: &[Vec<u8>]) -> Vec<u8> {
        let opsets = [bytes(8, &number(2, opset)), bytes(8, &[text(1, "acme"), number(2, 1)].concat())].concat();
        [number(1, ir), bytes(7, &[graph.concat(), text(2, "g")].concat()), opsets].concat()
    }
    /// x -> some nodes -> y, both f32[1,4].
    pub(super) fn net(nodes: &[Vec<u8>]) -> Vec<u8> {
        model(8, 17, &[nodes.concat(), port(11, "x", 1, &[1, 4]), port(12, "y", 1, &[1, 4])])
    }
    /// The same with a constant that is added.
    pub(super) fn with_constant(constant: Vec<u8>) -> Vec<u8> {
        net(&[node("", "Add", &["x", "w"], &["y"]), constant])
    }
}

const NET: &str = "graph @main(%x: f32[1,4]) with {opset = 17} {\n  %y = onnx.Relu %x : f32[1,4]\n  return %y\n}\n";

/// A broken input: files to write, arguments (`@/` stands for their folder), what must come of it.
struct Case {
    name: &'static str,
    files: Vec<(&'static str, Vec<u8>)>,
    arguments: Vec<&'static str>,
    code: i32,
    says: &'static str,
}

fn case(
    name: &'static str,
    files: Vec<(&'static str, Vec<u8>)>,
    arguments: &[&'static str],
    code: i32,
    says: &'static str,
) -> Case {
    Case { name, files, arguments: arguments.to_vec(), code, says }
}

/// A text that is looked at.
fn text(name: &'static str, text: &str, code: i32, says: &'static str) -> Case {
    case(name, vec![("in.seir", text.into())], &["inspect", "@/in.seir"], code, says)
}

/// An ONNX file that is looked at.
fn onnx(name: &'static str, bytes: Vec<u8>, code: i32, says: &'static str) -> Case {
    case(name, vec![("in.onnx", bytes)], &["inspect", "@/in.onnx"], code, says)
}

/// A sound model and a command line that is not.
fn line(name: &'static str, arguments: &[&'static str], code: i32, says: &'static str) -> Case {
    case(name, vec![("in.seir", NET.into())], arguments, code, says)
}

fn mobile() -> Vec<u8> {
    models_folder("shapes-mobile.onnx")
}

fn models_folder(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/models").join(name)).expect("a file of ours")
}

fn npy(shape: &str, values: &[f32]) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.bytes());
    out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    out
}

fn texts() -> Vec<Case> {
    let with = |line: &str| NET.replace("  %y = onnx.Relu %x", &format!("{line}\n  %y = onnx.Relu %x"));
    vec![
        text("an empty text", "", 1, "error[text-"),
        text("a text cut off", &NET[..NET.len() - 20], 1, "error[text-"),
        text("a value that nothing makes", &with("  %a = onnx.Relu %nothing : f32[1,4]"), 1, "text-unknown-value"),
        text("a name given twice", &with("  %x = onnx.Relu %x : f32[1,4]"), 1, "text-duplicate"),
        text("a circle of values", &with("  %a = onnx.Relu %b : f32[1,4]\n  %b = onnx.Relu %a : f32[1,4]"), 1, "%b"),
        text("numbers that are too few", &with("  %a = const [1.0, 2.0] : f32[3]"), 1, "text-literal"),
        text("absurd sizes of drawn constants", &with("  %a = const rand(7) : f32[100000,100000,100000]"), 1, "text-limit"),
        text("an extent beyond 64 bits", &with("  %a = const rand(7) : f32[99999999999999999999]"), 1, "error[text-"),
        text(
            "types in types without end",
            &with(&format!("  %a = onnx.Foo %x : {}", "seq<".repeat(5000))),
            1,
            "error[text-",
        ),
        text(
            "a constant whose bytes are nowhere",
            &with("  %a = const blob(00000000000000000000000000000000) : f32[64]"),
            1,
            "text-blob",
        ),
        text("an element type that is none", &with("  %a = onnx.Relu %x : f33[1,4]"), 1, "error[text-"),
        case(
            "bytes that are no text",
            vec![("in.seir", vec![0xff, 0xfe, 0xfd])],
            &["inspect", "@/in.seir"],
            1,
            "file-format",
        ),
        case(
            "a weights file that is something else",
            vec![("in.seir", NET.into()), ("in.seir.weights", b"hello".to_vec())],
            &["inspect", "@/in.seir"],
            1,
            "weights-file",
        ),
        case(
            "a weights file cut off",
            vec![("in.seir", NET.into()), ("in.seir.weights", [&b"SEIRWTS1"[..], &[1, 0, 0, 0, 0, 0, 0, 0, 7, 7]].concat())],
            &["inspect", "@/in.seir"],
            1,
            "weights-file",
        ),
    ]
}

fn models() -> Vec<Case> {
    use wire::*;
    let relu = || node("", "Relu", &["x"], &["y"]);
    let cut = |share: usize| mobile()[..mobile().len() * share / 100].to_vec();
    vec![
        onnx("an empty file", vec![], 1, "error[onnx-"),
        onnx("a model cut off in the middle", cut(50), 1, "error[onnx-"),
        onnx("a model cut off near the end", cut(99), 1, "error[onnx-"),
        onnx("bytes that are no model", vec![0xff; 1000], 1, "onnx-malformed"),
        onnx("a model without a graph", number(1, 8), 1, "error[onnx-"),
        onnx(
            "nodes in a circle",
            net(&[node("", "Add", &["x", "b"], &["y"]), node("", "Relu", &["y"], &["b"])]),
            1,
            "onnx-cycle",
        ),
        onnx("an input that nothing makes", net(&[node("", "Add", &["x", "ghost"], &["y"])]), 1, "onnx-undefined-name"),
        onnx("an output that nothing makes", net(&[node("", "Relu", &["x"], &["z"])]), 1, "onnx-undefined-name"),
        onnx("a value made twice", net(&[relu(), relu()]), 1, "onnx-duplicate-name"),
        onnx("an operator nobody has heard of", net(&[node("acme", "Magic", &["x"], &["y"])]), 0, "acme.Magic"),
        onnx("a constant shorter than its shape", with_constant(tensor("w", 1, &[4], &[0; 15])), 1, "onnx-tensor"),
        onnx("a constant longer than its shape", with_constant(tensor("w", 1, &[4], &[0; 17])), 1, "onnx-tensor"),
        onnx("a constant of negative extent", with_constant(tensor("w", 1, &[-4], &[0; 16])), 1, "error[onnx-"),
        onnx("a constant larger than memory", with_constant(tensor("w", 1, &[1 << 40, 1 << 20], &[])), 1, "error[onnx-"),
        onnx("a constant whose size overflows", with_constant(tensor("w", 1, &[i64::MAX, i64::MAX], &[])), 1, "error[onnx-"),
        onnx("a constant of an element type that is none", with_constant(tensor("w", 99, &[4], &[0; 16])), 1, "error[onnx-"),
        onnx("a constant without elements", with_constant(tensor("w", 1, &[0], &[])), 0, "onnx.Add"),
        onnx(
            "an input without elements",
            model(8, 17, &[relu(), port(11, "x", 1, &[0, 4]), port(12, "y", 1, &[0, 4])]),
            0,
            "[0,4]",
        ),
        onnx("external data that is missing", with_constant(external("w", "weights.bin", "0")), 1, "onnx-external-data"),
        onnx(
            "external data outside of the folder",
            with_constant(external("w", "../../../../etc/passwd", "0")),
            1,
            "onnx-external-data",
        ),
        onnx("external data at an absolute path", with_constant(external("w", "/etc/passwd", "0")), 1, "onnx-external-data"),
        case(
            "external data beyond the end of its file",
            vec![("in.onnx", with_constant(external("w", "w.bin", "8"))), ("w.bin", vec![0; 20])],
            &["inspect", "@/in.onnx"],
            1,
            "onnx-external-data",
        ),
        onnx(
            "an operator set of the far future",
            model(8, 9999, &[relu(), port(11, "x", 1, &[1]), port(12, "y", 1, &[1])]),
            0,
            "onnx-opset",
        ),
        onnx(
            "a file of the far future",
            model(999, 17, &[relu(), port(11, "x", 1, &[1]), port(12, "y", 1, &[1])]),
            0,
            "onnx-ir-version",
        ),
        case(
            "weights that are not numbers",
            vec![("in.onnx", with_constant(tensor("w", 1, &[4], &[0xff; 16])))],
            &["run", "@/in.onnx", "-p", "fold-constants,drop-dead", "--emit", "summary"],
            0,
            "onnx.Add",
        ),
    ]
}

fn lines() -> Vec<Case> {
    let run = ["run", "@/in.seir", "-p"];
    let with = |more: &[&'static str]| [&run[..], more].concat();
    vec![
        line("a file that is not there", &["inspect", "@/nothing.onnx"], 1, "file-io"),
        line("a folder instead of a file", &["inspect", "@/"], 1, "file-io"),
        line("an unknown pass", &with(&["no-such-pass"]), 2, "unknown pass 'no-such-pass'"),
        line("an unknown pipeline", &with(&["@no-such-pipeline"]), 2, "unknown pipeline"),
        line("an unknown option", &with(&["drop-dead{speed=11}"]), 2, "unknown option 'speed'"),
        line("an option of the wrong kind", &with(&["calibrate{method=magic}"]), 2, "it must be one of"),
        line("a pipeline that is not closed", &with(&["fixpoint(drop-dead"]), 2, "pipeline-syntax"),
        line("a pipeline of commas", &with(&["drop-dead,,"]), 2, "pipeline-syntax"),
        line("an unknown target", &with(&["drop-dead", "--target", "toaster"]), 2, "unknown target 'toaster'"),
        line("a target file that is not there", &with(&["drop-dead", "--target", "@/no.toml"]), 2, "cannot be read"),
        case(
            "a target file that is no target",
            vec![("in.seir", NET.into()), ("t.toml", b"schema = 1\nname = 3".to_vec())],
            &["run", "@/in.seir", "-p", "drop-dead", "--target", "@/t.toml"],
            1,
            "target-file",
        ),
        line("a value that is not in the model", &with(&["drop-dead", "--why", "%ghost"]), 2, "unknown value '%ghost'"),
        line("a dump after an unknown pass", &with(&["drop-dead", "--print-ir-after", "nope"]), 2, "unknown pass 'nope'"),
        line("a number that is none", &with(&["drop-dead", "--bisect-limit", "many"]), 2, "invalid value"),
        line("an output of no known format", &with(&["drop-dead", "-o", "@/out.txt"]), 1, "file-format"),
        line("an output in a folder that is not there", &with(&["drop-dead", "-o", "@/no/out.seir"]), 1, "file-io"),
        line("an output that exists", &with(&["drop-dead", "-o", "@/in.seir"]), 1, "output-exists"),
        case(
            "calibration without samples",
            vec![(
                "in.seir",
                NET.replace("onnx.Relu %x", "onnx.MatMul %x, %w")
                    .replace("{\n", "{\n  %w = const rand(1) : f32[4,4]\n")
                    .into(),
            )],
            // By prices, so little would be left in float, and nothing to calibrate.
            &with(&["calibrate", "--target", "arm64"]),
            1,
            "--calibrate",
        ),
        line(
            "a comparison with an unknown runtime",
            &["diff", "@/in.seir", "@/in.seir", "--samples", "@/x.npy", "--runtime", "abacus"],
            2,
            "abacus",
        ),
    ]
}

#[cfg(target_os = "linux")]
fn places() -> Vec<Case> {
    let run = |out| ["run", "@/in.seir", "-p", "drop-dead", "-o", out, "--emit", "seir"];
    vec![
        line("a full disk", &run("/dev/full"), 1, "No space left"),
        line("a folder that cannot be written to", &run("/proc/out.seir"), 1, "file-io"),
    ]
}

#[cfg(not(target_os = "linux"))]
fn places() -> Vec<Case> {
    Vec::new()
}

fn samples() -> Vec<Case> {
    let with = |name, file: (&'static str, Vec<u8>), path, says| {
        let files = vec![("in.seir", NET.into()), file];
        case(name, files, &["diff", "@/in.seir", "@/in.seir", "--runtime", "interpreter", "--samples", path], 1, says)
    };
    vec![
        with("samples that are not there", ("x.txt", vec![]), "@/nothing.npy", "samples-unreadable"),
        with("samples of a kind that is not read", ("x.txt", vec![1]), "@/x.txt", "samples-unsupported"),
        with("samples of another shape", ("x.npy", npy("(1, 5)", &[0.0; 5])), "@/x.npy", "samples-shape"),
        with("samples cut off", ("x.npy", npy("(2, 4)", &[0.0; 5])), "@/x.npy", "error[samples-"),
        with("no samples at all", ("x.npy", npy("(0, 4)", &[])), "@/x.npy", "samples-empty"),
        with("samples that are not numbers", ("x.npy", npy("(1, 4)", &[f32::NAN; 4])), "@/x.npy", "samples-not-finite"),
        with("an absurd number of samples", ("x.npy", npy("(99999999999999, 4)", &[])), "@/x.npy", "error[samples-"),
    ]
}

fn run(case: &Case, mut program: Command) -> (tempfile::TempDir, Output) {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in &case.files {
        std::fs::write(folder.path().join(name), bytes).expect("writable");
    }
    let place = format!("{}/", folder.path().display());
    let arguments = case.arguments.iter().map(|a| a.replace("@/", &place));
    let output = program.args(arguments).output().expect("the binary starts");
    (folder, output)
}

fn check(cases: &[Case]) {
    check_with(cases, || Command::new(env!("CARGO_BIN_EXE_spaceevo-opt")));
}

fn check_with(cases: &[Case], program: impl Fn() -> Command) {
    let mut wrong = Vec::new();
    for case in cases {
        let (folder, output) = run(case, program());
        let said = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
        if output.status.code() != Some(case.code) || !said.contains(case.says) {
            wrong.push(format!(
                "{}: exit code {:?} instead of {}, and said:\n{said}",
                case.name,
                output.status.code(),
                case.code
            ));
        }
        let left = std::fs::read_dir(folder.path()).expect("it is there").count();
        if left != case.files.len() {
            wrong.push(format!("{}: {left} files are in the folder that had {}", case.name, case.files.len()));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n\n{}", wrong.len(), cases.len(), wrong.join("\n\n"));
}

#[test]
fn broken_texts() {
    check(&texts());
}

#[test]
fn broken_models() {
    check(&models());
}

#[test]
fn broken_command_lines() {
    check(&lines());
}

#[test]
fn places_that_take_no_file() {
    check(&places());
}

#[test]
fn broken_samples() {
    check(&samples());
}

#[test]
fn broken_conversions() {
    let convert = |name, files: Vec<(&'static str, Vec<u8>)>, more: &[&'static str], code, says| {
        let mut all = vec![("in.onnx", mobile())];
        all.extend(files);
        case(name, all, &[&["convert", "@/in.onnx", "-o", "@/out.onnx", "--runtime", "tract"], more].concat(), code, says)
    };
    let spec = || ("in.toml", b"layout = \"nchw\"\n".to_vec());
    check(&[
        convert("a conversion without samples", vec![], &[], 2, "--calibrate"),
        convert("a conversion on no samples", vec![], &["--calibrate", "@/", "--samples", "0"], 2, "at least one"),
        convert("an unknown form", vec![], &["--calibrate", "@/", "--form", "hex"], 2, "invalid value"),
        convert("a folder without pictures", vec![spec()], &["--calibrate", "@/"], 1, "samples-empty"),
        convert("a picture that cannot be read", vec![spec(), ("a.png", vec![1, 2, 3])], &["--calibrate", "@/"], 1, "a.png"),
        convert(
            "a spec with an unknown word",
            vec![("in.toml", b"colors = 3".to_vec())],
            &["--calibrate", "@/"],
            1,
            "preprocess-spec",
        ),
        convert(
            "samples of another shape",
            vec![("x.npy", npy("(1, 3, 8, 8)", &[0.5; 192]))],
            &["--calibrate", "@/x.npy"],
            1,
            "samples-shape",
        ),
        convert("a conversion onto a file that exists", pictures(&[("out.onnx", vec![1])]), CALIBRATE, 1, "output-exists"),
        convert("an SQNR that is not reached", pictures(&[]), &with(&["--min-sqnr", "300"]), 1, "gate-sqnr"),
        convert("an agreement that is not reached", pictures(&[]), &with(&["--min-agreement", "1.01"]), 1, "gate-agreement"),
    ]);
}

/// What a conversion of `shapes-mobile` needs beside the model; see [`CALIBRATE`].
fn pictures(more: &[(&'static str, Vec<u8>)]) -> Vec<(&'static str, Vec<u8>)> {
    [&[("in.toml", models_folder("shapes.toml"))], more].concat()
}

/// Pictures of the repository as samples.
const CALIBRATE: &[&str] =
    &["--calibrate", concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/models/pictures/calibrate"), "--samples", "8"];

fn with(more: &[&'static str]) -> Vec<&'static str> {
    [CALIBRATE, more].concat()
}

/// Places that cannot take what a conversion makes: found out at the start or at the end, nothing is left behind.
#[cfg(target_os = "linux")]
#[test]
fn conversions_without_a_place() {
    let to = |name, out, says| {
        let arguments = [&["convert", "@/in.onnx", "-o", out, "--runtime", "tract"], CALIBRATE].concat();
        case(name, pictures(&[("in.onnx", mobile())]), &arguments, 1, says)
    };
    check(&[
        to("a conversion onto a full disk", "/dev/full", "No space left"),
        to("a conversion into a folder that is not there", "@/no/out.onnx", "file-io"),
        to("a conversion into a folder that cannot be written to", "/proc/out.onnx", "file-io"),
        to("a conversion onto a folder", "@/", "file-io"),
    ]);
}

/// A disk with room for 10 KiB, as far as the program can see: `ulimit -f` counts 512 bytes in POSIX shells.
#[cfg(unix)]
#[test]
fn a_limit_on_the_size_of_files() {
    let files = || pictures(&[("in.onnx", mobile())]);
    let convert = ["convert", "@/in.onnx", "-o", "@/out.onnx", "--runtime", "tract"];
    let cases = [
        case("a conversion beyond the limit", files(), &[&convert[..], CALIBRATE].concat(), 1, "File too large"),
        case(
            "a run beyond the limit",
            files(),
            &["run", "@/in.onnx", "-p", "@simplify", "-o", "@/out.onnx"],
            1,
            "File too large",
        ),
        case(
            "a text beyond the limit",
            files(),
            &["run", "@/in.onnx", "-p", "@simplify", "-o", "@/out.seir"],
            1,
            "File too large",
        ),
    ];
    check_with(&cases, || {
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -f 20; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_spaceevo-opt")]);
        shell
    });
}

/// A conversion that is ended by a signal right after its result was written, before it was verified.
#[cfg(unix)]
fn interrupted(signal: &str) -> (Option<i32>, Vec<String>) {
    use std::os::unix::process::ExitStatusExt;

    let names = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("it is there");
        entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    };
    let model = tempfile::tempdir().expect("a folder");
    std::fs::write(model.path().join("in.onnx"), mobile()).expect("writable");
    std::fs::write(model.path().join("in.toml"), models_folder("shapes.toml")).expect("writable");
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = Command::new(env!("CARGO_BIN_EXE_spaceevo-opt"))
        .arg("convert")
        .arg(model.path().join("in.onnx"))
        .arg("-o")
        .arg(folder.path().join("out.onnx"))
        .args(["--runtime", "tract"])
        .args(CALIBRATE)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let written = || names(folder.path()).iter().any(|name| folder.path().join(name).join("out.onnx").exists());
    while !written() && child.try_wait().expect("a child").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    Command::new("sh").args(["-c", &format!("kill -{signal} {}", child.id())]).status().expect("a shell");
    let status = child.wait().expect("it ends");
    (status.signal(), names(folder.path()))
}

#[cfg(unix)]
#[test]
fn a_conversion_interrupted_midway_leaves_nothing() {
    assert_eq!(interrupted("INT"), (Some(2), vec![]));
    assert_eq!(interrupted("TERM"), (Some(15), vec![]));
}

#[cfg(unix)]
#[test]
fn a_conversion_killed_midway_leaves_no_output() {
    let (signal, left) = interrupted("KILL");
    assert_eq!(signal, Some(9));
    // Its folder stays, hidden and under another name: nobody was left to remove it.
    assert!(left.iter().all(|name| name.starts_with(".out.onnx.") && name.ends_with(".tmp")), "{left:?}");
}

#[test]
fn more_than_forty_inputs_are_broken() {
    let count = texts().len() + models().len() + lines().len() + samples().len();
    assert!(count > 40, "{count}");
}

#[test]
fn an_interrupted_run_leaves_no_half_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.seir");
    // It waits for its input, and is killed while it does.
    let mut child = Command::new(env!("CARGO_BIN_EXE_spaceevo-opt"))
        .args(["run", "-", "-p", "drop-dead", "-o"])
        .arg(&out)
        .stdin(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    std::thread::sleep(Duration::from_millis(200));
    child.kill().expect("it still waits");
    child.wait().expect("it ends");
    assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 0);
}
