//! Measurements of other devices: networks to trace there, what came back, and tables that somebody else made.
//!
//! A device needs no Rust for it: ONNX Runtime in any language, told to profile itself, writes the traces.

use std::path::Path;

use spaceevo_ir::{Diagnostic, Loc};
use spaceevo_onnx::WriteOptions;

use super::collect::Collector;
use super::measurements::{Measured, Traced};
use super::network::Numbers;
use super::ran::ran;
use crate::kernels::{Kernel, detect};

/// Runs each model that the list names, and leaves its trace beside it.
const PROGRAM: &str = r#"# Traces the networks of list.csv with ONNX Runtime: python trace.py [runs]. Needs onnxruntime and numpy.
import csv, os, sys
import numpy as np
import onnxruntime as ort

runs = int(sys.argv[1]) if len(sys.argv) > 1 else 31
for row in csv.DictReader(open("list.csv")):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    session = ort.InferenceSession(row["file"], options, providers=["CPUExecutionProvider"])
    feed = {i.name: np.random.rand(*i.shape).astype(np.float32) for i in session.get_inputs()}
    for _ in range(runs):
        session.run(None, feed)
    os.replace(session.end_profiling(), row["file"].replace(".onnx", ".json"))
"#;

fn io(path: &Path) -> impl Fn(std::io::Error) -> Diagnostic + '_ {
    move |e| Diagnostic::error("file-io", Loc::Unknown, format!("{}: {e}", path.display()))
}

fn word(numbers: Numbers) -> &'static str {
    if numbers == Numbers::Stored { "stored" } else { "float" }
}

/// Writes the networks of a plan into a folder, which is made, with `list.csv` and `trace.py`. The number of networks.
///
/// Errors: `file-io`, `output-exists` where there is a list already, and those of writing.
pub fn export(collector: &Collector<'_>, folder: &Path) -> Result<usize, Diagnostic> {
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    let list = folder.join("list.csv");
    if list.exists() {
        let what = format!("{} exists", list.display());
        return Err(Diagnostic::error("output-exists", Loc::Unknown, what).note("name another folder"));
    }
    let mut rows = "file,numbers,number\n".to_owned();
    let order = collector.order();
    for &(numbers, number) in &order {
        let name = format!("{}-{number:03}.onnx", word(numbers));
        spaceevo_onnx::write(
            &collector.drawn(numbers, number, collector.priors)?.graph,
            &folder.join(&name),
            &WriteOptions::default(),
        )?;
        rows += &format!("{name},{},{number}\n", word(numbers));
    }
    std::fs::write(folder.join("trace.py"), PROGRAM).map_err(io(folder))?;
    // The list comes last: with it the folder is whole.
    std::fs::write(&list, rows).map_err(io(&list))?;
    Ok(order.len())
}

/// Reads the traces in a folder that [`export`] wrote with the same plan, as far as they are there.
///
/// Errors: `file-io`, `profile-format`, and `measurements-file` where the list names what the plan does not have.
pub fn import(collector: &Collector<'_>, folder: &Path) -> Result<Measured, Diagnostic> {
    let list = folder.join("list.csv");
    let text = std::fs::read_to_string(&list).map_err(io(&list))?;
    let mut measured = Measured::default();
    for (at, line) in text.lines().enumerate().skip(1) {
        let row = || {
            let (file, rest) = line.split_once(',')?;
            let (numbers, number) = rest.split_once(',')?;
            let (stem, number) = (file.strip_suffix(".onnx")?, number.trim().parse().ok()?);
            let known = [Numbers::Stored, Numbers::Float].into_iter().find(|n| word(*n) == numbers)?;
            (!stem.contains(['/', '\\'])).then_some((stem.to_owned(), known, number))
        };
        let (stem, numbers, number): (String, Numbers, usize) = row().ok_or_else(|| {
            let what = format!("{}: line {}: this is no network of a job", list.display(), at + 1);
            Diagnostic::error("measurements-file", Loc::Unknown, what)
        })?;
        let trace = folder.join(stem + ".json");
        if !trace.exists() {
            continue;
        }
        let ran = ran(&std::fs::read(&trace).map_err(io(&trace))?, &|_| Some(1.0))?;
        let graph = collector.drawn(numbers, number, collector.priors)?.graph;
        let kernels: Vec<Kernel> = detect(&graph, collector.target)?.into_iter().map(|p| p.kernel).collect();
        let (times, sum) = (ran.assign(&kernels), ran.sum());
        let [kernels, tensors] = ran.counted();
        let traced = Traced { numbers, number, round: 0, cpu: 0.0, kernels, tensors, sum, reference: 1.0, times };
        measured.traced.push(traced);
    }
    Ok(measured)
}

/// Reads a table of kernels and their times: `kernel,nanoseconds`. A kernel may have several rows.
///
/// Errors: `file-io`, `measurements-file` with the line.
pub fn table(path: &Path) -> Result<Measured, Diagnostic> {
    let text = std::fs::read_to_string(path).map_err(io(path))?;
    let mut times = Vec::new();
    for (at, line) in text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()) {
        let fault = |what: String| {
            Diagnostic::error("measurements-file", Loc::Unknown, format!("{}: line {}: {what}", path.display(), at + 1))
        };
        let (kernel, nanos) =
            line.rsplit_once(',').ok_or_else(|| fault("a kernel and its nanoseconds are expected".into()))?;
        let nanos = nanos.trim().parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0);
        let nanos = nanos.ok_or_else(|| fault("the time is no positive number".into()))?;
        times.push((kernel.trim_matches('"').parse::<Kernel>().map_err(fault)?, nanos));
    }
    let (kernels, sum) = (times.len(), times.iter().map(|(_, nanos)| nanos).sum());
    let numbers = Numbers::Stored;
    let traced = Traced { numbers, number: 0, round: 0, cpu: 0.0, kernels, tensors: 0, sum, reference: 1.0, times };
    Ok(Measured { traced: vec![traced], plan: None })
}
