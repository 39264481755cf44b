//! Profiles of real runs, merged onto the ops of the model. They need ONNX Runtime.

use std::path::{Path, PathBuf};

use spaceevo_cost::measure::profile::{Profile, Role, labelled, merge, profile};
use spaceevo_cost::measure::regions::{Numbers, stretches};
use spaceevo_cost::runtime::{LoadOptions, ModelSource, Runtime, Trace, ort::OnnxRuntime, tract::Tract};
use spaceevo_ir::text::{NoBlobs, parse};
use spaceevo_ir::{Graph, Tensor};

fn runtime() -> Option<OnnxRuntime> {
    match OnnxRuntime::open(None) {
        Ok(runtime) => Some(runtime),
        Err(missing) => {
            assert!(std::env::var_os("SPACEEVO_REQUIRE_RUNTIME").is_none(), "{missing}");
            eprintln!("skipped: {missing}");
            None
        }
    }
}

fn model(name: &str) -> Graph {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/models").join(name);
    spaceevo_onnx::read(&path, &Default::default()).unwrap().graph
}

fn picture() -> [Tensor; 1] {
    [Tensor::new([1, 3, 32, 32], (0..3072).map(|i| (i as f32 * 0.618).fract()).collect::<Vec<_>>())]
}

fn lines(graph: &Graph, profile: &Profile) -> Vec<String> {
    let line = |kernel: &spaceevo_cost::measure::profile::Kernel| {
        let ops: Vec<String> = kernel.ops.iter().map(|&op| graph.op(op).name().op.to_string()).collect();
        format!("{} = {}", kernel.op, ops.join("+"))
    };
    profile.kernels.iter().map(line).collect()
}

#[test]
fn fused_ops_belong_to_one_kernel_and_inserted_ones_to_none() {
    let Some(runtime) = runtime() else { return };
    let graph = model("shapes-resnet.onnx");
    let found = profile(&runtime, &graph, &LoadOptions::default(), &picture(), 5).unwrap();
    let lines = lines(&graph, &found);
    let count = |line: &str| lines.iter().filter(|l| l.ends_with(line)).count();
    // Three blocks, two of which have a convolution in their shortcut.
    assert_eq!(count("Conv = Conv+BatchNormalization+Add+Relu"), 5, "{lines:#?}");
    assert_eq!(count("Conv = Conv+BatchNormalization"), 3, "{lines:#?}");
    assert_eq!(count("Gemm = Gemm"), 1);
    let all: usize = found.kernels.iter().map(|kernel| kernel.ops.len()).sum();
    assert_eq!(all + found.folded.len(), graph.all_ops().len(), "every op is in one place");
    assert!(found.kernels.iter().all(|kernel| kernel.ops.is_empty() == (kernel.role != Role::Op)));
    assert_eq!(found.runs, 5);
    assert!(found.sum() > 0.0 && found.sum() <= found.whole, "{} of {}", found.sum(), found.whole);
}

#[test]
fn gates_and_activations_are_found_across_changes_of_layout() {
    let Some(runtime) = runtime() else { return };
    let graph = model("shapes-mobile.onnx");
    let found = profile(&runtime, &graph, &LoadOptions::default(), &picture(), 5).unwrap();
    let lines = lines(&graph, &found);
    let count = |line: &str| lines.iter().filter(|l| l.ends_with(line)).count();
    assert_eq!(count("Conv = Conv+HardSigmoid"), 4, "{lines:#?}");
    assert_eq!(count("Mul = Mul"), 4);
    let layout = found.kernels.iter().find(|k| k.role == Role::Layout).expect("blocks of channels are put in order");
    assert!(layout.ops.is_empty() && layout.reads.len() == 1);
    let conv = &found.kernels[layout.reads[0]];
    assert!(conv.ops.iter().any(|&op| graph.op(op).name().is_onnx("Conv")) && !conv.is_integer());
}

#[test]
fn without_rewriting_every_op_is_a_kernel() {
    let Some(runtime) = runtime() else { return };
    let graph = model("shapes-mobile.onnx");
    let options = LoadOptions { optimize: false, ..LoadOptions::default() };
    let found = profile(&runtime, &graph, &options, &picture(), 2).unwrap();
    assert!(found.kernels.iter().all(|kernel| kernel.ops.len() == 1));
    let written_out = found.kernels.iter().filter(|kernel| graph.op(kernel.ops[0]).name().is_onnx("HardSwish")).count();
    let hard_swishes = graph.all_ops().into_iter().filter(|&op| graph.op(op).name().is_onnx("HardSwish")).count();
    assert_eq!(written_out, 2 * hard_swishes, "a gate and a product each");
    assert_eq!(found.kernels.len(), graph.all_ops().len() + hard_swishes);
}

#[test]
fn runtimes_that_cannot_tell_say_so() {
    let error = profile(&Tract, &model("shapes-mobile.onnx"), &LoadOptions::default(), &picture(), 1).unwrap_err();
    assert!(error.code == "profile-unsupported" && error.message.starts_with("tract"), "{error}");
}

/// `RECORD_TRACE=1` records it anew, with the runtime that is there.
#[test]
fn a_recorded_trace_is_merged_without_the_runtime() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/traces");
    let source = std::fs::read_to_string(folder.join("small.seir")).unwrap();
    let graph = parse(&source, "small.seir", &NoBlobs).graph.unwrap();
    if std::env::var_os("RECORD_TRACE").is_some() {
        let x = Tensor::new([1, 8, 6, 6], vec![0.5f32; 288]);
        let trace = runtime().expect("to record with").trace(
            ModelSource::Graph(&labelled(&graph)),
            &LoadOptions::default(),
            &[x],
            5,
            &mut || Ok(()),
        );
        let trace = trace.unwrap();
        std::fs::write(folder.join("small.json"), trace.events).unwrap();
        std::fs::write(folder.join("small.onnx"), trace.model).unwrap();
    }
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let trace = Trace { events: read("small.json"), model: read("small.onnx") };
    let found = merge(&graph, &trace, 2).unwrap();
    let expected = [
        "com.microsoft.nchwc.Conv = Conv+Relu",
        "com.microsoft.nchwc.GlobalAveragePool = GlobalAveragePool",
        "com.microsoft.nchwc.Conv = Conv+Sigmoid",
        "com.microsoft.nchwc.ReorderOutput = ",
        "com.microsoft.nchwc.ReorderOutput = ",
        "onnx.Mul = Mul",
        "onnx.Softmax = Softmax",
    ];
    assert_eq!(lines(&graph, &found), expected);
    assert_eq!(found.runs, 3);
    assert!(found.folded.is_empty());
    let numbers: Vec<_> = stretches(&found).iter().map(|s| (s.numbers, s.kernels.len())).collect();
    assert_eq!(numbers, [(Numbers::Float, found.kernels.len())]);
    let foreign = Trace { model: b"something else".to_vec(), ..trace };
    assert_eq!(merge(&graph, &foreign, 2).unwrap_err().code, "profile-format");
}

/// The second pair of conversions only says how large the map is, which is known beforehand.
#[test]
fn arithmetic_on_shapes_is_folded_with_what_only_it_reads() {
    let Some(runtime) = runtime() else { return };
    let source = "graph @main(%x: u8[1,4,3,3]) with {opset = 17} {
        %s = const 0.1 : f32[]
        %z = const 3 : u8[]
        %at = const 0 : i64[]
        %axes = const [0] : i64[1]
        %rest = const [-1] : i64[1]
        %d = onnx.DequantizeLinear %x, %s, %z : f32[1,4,3,3]
        %r = onnx.Softmax %d {axis = 1} : f32[1,4,3,3]
        %e = onnx.DequantizeLinear %x, %s, %z : f32[1,4,3,3]
        %shape = onnx.Shape %e : i64[4]
        %batch = onnx.Gather %shape, %at : i64[]
        %first = onnx.Unsqueeze %batch, %axes : i64[1]
        %to = onnx.Concat %first, %rest {axis = 0} : i64[2]
        %y = onnx.Reshape %r, %to : f32[1,36]
        return %y
      }";
    let graph = parse(source, "shape", &NoBlobs).graph.unwrap();
    let x = Tensor::new([1, 4, 3, 3], (0..36u8).collect::<Vec<_>>());
    let found = profile(&runtime, &graph, &LoadOptions::default(), &[x], 3).unwrap();
    let made = |op: spaceevo_ir::OpId| graph.value(graph.op(op).result()).name().to_string();
    let folded: Vec<String> = found.folded.iter().map(|&op| made(op)).collect();
    assert_eq!(folded, ["e", "shape", "batch", "first", "to"], "{:#?}", lines(&graph, &found));
}
