//! What `lower-qdq` and `lower-qoperator` write, `lift-qdq` and `lift-qoperator` read: lifted and lowered again, a network
//! is the one that it was.

use std::path::{Path, PathBuf};

use spaceevo_ir::Graph;
use spaceevo_onnx::ReadOptions;
use spaceevo_passes::{Manager, Pipeline, Registry, Target};
use spaceevo_testkit::golden::{Case, print};
use spaceevo_testkit::inputs::{Draw, inputs};
use spaceevo_testkit::observer::Seeded;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata")
}

fn run(graph: &mut Graph, pipeline: &str, samples: u64) -> Result<bool, String> {
    let registry = Registry::standard();
    let target = Target::named("x86-vnni").unwrap();
    let draw = |graph: &Graph, seed| {
        let dims = [("batch".to_owned(), 1)].into_iter().collect();
        inputs(graph, &Draw { seed, within: (0.0, 1.0), dims, ..Draw::default() })
    };
    let samples = (0..samples).map(|i| draw(graph, 1 + 10 * i)).collect::<Result<_, _>>()?;
    let pipeline = Pipeline::parse(pipeline, &registry).map_err(|d| d.to_string())?;
    let report = Manager::new(&registry, &target).run(&pipeline, graph, Some(&mut Seeded { samples }));
    let declined = report.log.declines.iter().filter(|d| d.pass.starts_with("lift-q")).count();
    match report.errors().next() {
        Some(error) => Err(error.to_string()),
        None => Ok(declined == 0),
    }
}

/// The lowering passes, and what reads what they wrote.
const FORMS: [(&str, &str); 2] = [("lower-qdq", "lift-qoperator,lift-qdq"), ("lower-qoperator", "lift-qoperator,lift-qdq")];

/// Lifts and lowers a graph that was lowered; a sentence about what is not as it was.
fn returns(written: &Graph, (lower, lift): (&str, &str)) -> Result<(), String> {
    let mut again = written.clone();
    if !run(&mut again, lift, 0)? {
        return Err(format!("{lift} declined something"));
    }
    let left = |op| {
        let name = &again.op(op).name().op;
        ["QLinear", "QGemm", "Quantize", "Dequantize"].iter().any(|stored| name.starts_with(stored))
    };
    if again.all_ops().into_iter().any(left) {
        return Err(format!("conversions are left:\n{}", print(&again)));
    }
    run(&mut again, lower, 0)?;
    let (before, after) = (print(written), print(&again));
    if before == after { Ok(()) } else { Err(format!("{before}\nbecame\n{after}")) }
}

#[test]
fn golden_cases_of_the_lowering_passes_return() {
    let registry = Registry::standard();
    for (lower, lift) in FORMS {
        let mut returned = 0;
        for case in Case::all(&testdata().join("golden").join(lower)).unwrap() {
            let ran = case.run(&registry).unwrap();
            if ran.report.ok() {
                returns(&ran.output, (lower, lift)).unwrap_or_else(|why| panic!("{}: {why}", case.file.display()));
                returned += 1;
            }
        }
        assert!(returned >= 2, "{lower}: only {returned} cases were lowered");
    }
}

#[test]
fn quantized_models_return() {
    for name in ["shapes-resnet", "shapes-mobile"] {
        let path = testdata().join(format!("models/{name}.onnx"));
        let mut graph = spaceevo_onnx::read(&path, &ReadOptions::default()).unwrap().graph;
        run(&mut graph, "@simplify,calibrate,quantize,fold-clip", 2).unwrap();
        for (lower, lift) in FORMS {
            let mut written = graph.clone();
            run(&mut written, lower, 0).unwrap();
            returns(&written, (lower, lift)).unwrap_or_else(|why| panic!("{name}: {why}"));
        }
    }
}
