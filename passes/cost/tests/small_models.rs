//! What every runtime must do, on models small enough to check in the head. ONNX Runtime takes part where its library is found.

use bytes::Bytes;
use spaceevo_cost::runtime::ort::OnnxRuntime;
use spaceevo_cost::runtime::tract::Tract;
use spaceevo_cost::{LoadOptions, ModelSource, Runtime, Session};
use spaceevo_ir::attr::Attr;
use spaceevo_ir::{Diagnostic, Dim, Elem, Graph, NewOp, ONNX, OpName, Place, Tensor, TensorType, Type, ValueId};

fn runtimes() -> Vec<Box<dyn Runtime>> {
    let mut found: Vec<Box<dyn Runtime>> = vec![Box::new(Tract)];
    match OnnxRuntime::open(None) {
        Ok(runtime) => found.push(Box::new(runtime)),
        Err(missing) => {
            // CI installs the library and says so: there a skipped test is a failure.
            assert!(std::env::var_os("SPACEEVO_REQUIRE_RUNTIME").is_none(), "{missing}");
            eprintln!("skipped for ONNX Runtime: {missing}");
        }
    }
    found
}

fn graph() -> Graph {
    let mut graph = Graph::new("test");
    graph.meta.opsets.insert(ONNX.into(), 17);
    graph.meta.ir_version = 8;
    graph
}

fn batch(elem: Elem, rest: &[u64]) -> TensorType {
    let rest = rest.iter().map(|&n| Dim::Known(n));
    TensorType::new(elem, std::iter::once(Dim::Named("N".into())).chain(rest).collect::<Vec<_>>())
}

fn op(graph: &mut Graph, name: &str, operands: &[ValueId], result: &str, ty: TensorType, attrs: &[(&str, Attr)]) -> ValueId {
    let mut new = NewOp::new(OpName::onnx(name)).operands(operands.iter().map(|&v| Some(v))).result(result, ty);
    for (name, attr) in attrs {
        new = new.attr(name, attr.clone());
    }
    let body = graph.body();
    let id = graph.insert(Place::End(body), new);
    graph.op(id).result()
}

fn returns(graph: &mut Graph, values: &[(ValueId, &str)]) {
    let (body, (values, names)) = (graph.body(), values.iter().map(|&(v, n)| (v, n.into())).unzip());
    graph.set_named_results(body, values, names);
}

/// `y = max(x, 0)`, `z = y + [10, 20]`; the batch is open and `y` an output beside.
fn two_outputs() -> Graph {
    let mut g = graph();
    let body = g.body();
    let x = g.add_input(body, "x", batch(Elem::F32, &[2]));
    let c = g.add_const(body, "c", Tensor::new([2], vec![10f32, 20.0]));
    let y = op(&mut g, "Relu", &[x], "y", batch(Elem::F32, &[2]), &[]);
    let z = op(&mut g, "Add", &[y, c], "z", batch(Elem::F32, &[2]), &[]);
    returns(&mut g, &[(z, "z"), (y, "y")]);
    g
}

fn load(runtime: &dyn Runtime, graph: &Graph) -> Result<Box<dyn Session>, Diagnostic> {
    runtime.load(ModelSource::Graph(graph), &LoadOptions::default())
}

#[test]
fn an_open_batch_takes_any_extent_and_outputs_keep_their_order() {
    for runtime in runtimes() {
        let mut session = load(runtime.as_ref(), &two_outputs()).unwrap();
        let names: Vec<_> = session.outputs().iter().map(|p| p.name.clone()).collect();
        assert_eq!(names, ["z", "y"], "{}", runtime.name());
        assert_eq!(session.inputs()[0].ty, Type::from(batch(Elem::F32, &[2])));
        for n in [1usize, 3, 1] {
            let x = Tensor::new([n, 2], [-1f32, 2.0].repeat(n));
            let expected = [Tensor::new([n, 2], [10f32, 22.0].repeat(n)), Tensor::new([n, 2], [0f32, 2.0].repeat(n))];
            assert_eq!(session.run(&[x]).unwrap(), expected, "{}", runtime.name());
        }
        if let Some(mut fork) = session.fork() {
            assert!(fork.run(&[Tensor::new([1, 2], vec![0f32; 2])]).is_ok());
        }
        let error = session.run(&[Tensor::new([1, 3], vec![0f32; 3])]).unwrap_err();
        assert_eq!((error.code, error.message.contains("[N, 2]")), ("runtime-input", true), "{error}");
    }
}

#[test]
fn every_option_gives_the_same_numbers() {
    let x = [Tensor::new([1, 2], vec![-1f32, 2.0])];
    for runtime in runtimes() {
        for bits in 0..16 {
            let on = |bit: u32| bits >> bit & 1 == 1;
            let options =
                LoadOptions { threads: if on(0) { 2 } else { 1 }, optimize: on(1), low_memory: on(2), exact_int8: on(3) };
            let mut session = runtime.load(ModelSource::Graph(&two_outputs()), &options).unwrap();
            assert_eq!(session.run(&x).unwrap()[0], Tensor::new([1, 2], vec![10f32, 22.0]), "{options:?}");
        }
    }
}

#[test]
fn tensors_of_every_element_type_come_out_as_they_went_in() {
    use Elem::*;
    let tensors = [F32, F64, F16, U8, I8, U16, I16, U32, I32, U64, I64, Bool]
        .map(|elem| Tensor::from_f64(elem, [1, 3], &[0.0, 1.0, 7.0]).unwrap());
    let strings = Tensor::strings([1, 2], vec![Bytes::from_static(b"a"), Bytes::from_static(b"")]);
    for runtime in runtimes() {
        let only_ort = (runtime.name() == "onnxruntime").then(|| strings.clone());
        for tensor in tensors.iter().cloned().chain(only_ort) {
            let mut g = graph();
            let body = g.body();
            let ty = batch(tensor.elem(), &[tensor.dims()[1] as u64]);
            let x = g.add_input(body, "x", ty.clone());
            let y = op(&mut g, "Identity", &[x], "y", ty, &[]);
            returns(&mut g, &[(y, "y")]);
            let mut session = load(runtime.as_ref(), &g).unwrap();
            assert_eq!(session.run(std::slice::from_ref(&tensor)).unwrap(), [tensor], "{}", runtime.name());
        }
    }
}

/// `DequantizeLinear`, the op, `QuantizeLinear` to bytes of type `out`, `DequantizeLinear`.
fn between_bytes(
    name: &str,
    more: Option<Tensor>,
    attrs: &[(&str, Attr)],
    (from, out): (Elem, Elem),
    dims: &[u64],
) -> Graph {
    let mut g = graph();
    let body = g.body();
    let scale = g.add_const(body, "s", Tensor::scalar(1.0f32 / 64.0));
    let zero_in = g.add_const(body, "zi", Tensor::from_f64(from, [], &[0.0]).unwrap());
    let zero_out = g.add_const(body, "zo", Tensor::from_f64(out, [], &[0.0]).unwrap());
    let x = g.add_input(body, "x", TensorType::of(from, &[1, 4]));
    let result: Vec<usize> = dims.iter().map(|&d| d as usize).collect();
    let real = op(&mut g, "DequantizeLinear", &[x, scale, zero_in], "a", TensorType::of(Elem::F32, &[1, 4]), &[]);
    let mut operands = vec![real];
    if let Some(tensor) = more {
        operands.push(g.add_const(body, "more", tensor));
    }
    let y = op(&mut g, name, &operands, "b", TensorType::of(Elem::F32, &result), attrs);
    let q = op(&mut g, "QuantizeLinear", &[y, scale, zero_out], "q", TensorType::of(out, &result), &[]);
    let z = op(&mut g, "DequantizeLinear", &[q, scale, zero_out], "z", TensorType::of(Elem::F32, &result), &[]);
    returns(&mut g, &[(z, "z")]);
    g
}

/// tract would replace the middle of each by a table of bytes, although none of them maps byte to byte.
#[test]
fn what_stands_between_bytes_is_computed_and_not_tabulated() {
    use Elem::{F32, I8, U8};
    let x = |elem| Tensor::from_f64(elem, [1, 4], &[0.0, 0.0, 64.0, 64.0]).unwrap();
    // exp(1) / (2 + 2 exp(1)) = 0.3655, 1 / (2 + 2 exp(1)) = 0.1345, in steps of 1/64: 23 and 9.
    let softmax = [9.0, 9.0, 23.0, 23.0];
    let pads = Tensor::new([4], vec![0i64, 1, 0, 1]);
    let cases = [
        (between_bytes("Softmax", None, &[("axis", Attr::Int(1))], (U8, U8), &[1, 4]), x(U8), softmax.to_vec()),
        (between_bytes("Pad", Some(pads), &[], (U8, U8), &[1, 6]), x(U8), vec![0., 0., 0., 64., 64., 0.]),
        (
            between_bytes("Relu", None, &[], (I8, U8), &[1, 4]),
            Tensor::new([1, 4], vec![-5i8, 5, -128, 127]),
            vec![0., 5., 0., 127.],
        ),
    ];
    for (graph, input, steps) in cases {
        let expected = Tensor::from_f64(F32, [1, steps.len()], &steps.iter().map(|s| s / 64.0).collect::<Vec<_>>()).unwrap();
        for optimize in [false, true] {
            let options = LoadOptions { optimize, ..LoadOptions::default() };
            let mut session = Tract.load(ModelSource::Graph(&graph), &options).unwrap();
            assert_eq!(session.run(std::slice::from_ref(&input)).unwrap(), std::slice::from_ref(&expected), "{optimize}");
        }
    }
}

#[test]
fn models_that_cannot_be_loaded_are_diagnostics() {
    let mut unknown = graph();
    let body = unknown.body();
    let x = unknown.add_input(body, "x", TensorType::of(Elem::F32, &[2]));
    let y = op(&mut unknown, "Nonsense", &[x], "y", TensorType::of(Elem::F32, &[2]), &[]);
    returns(&mut unknown, &[(y, "y")]);
    for runtime in runtimes() {
        let error = load(runtime.as_ref(), &unknown).err().expect("an operator that nobody has");
        assert!(error.code == "runtime-load" && error.message.contains("Nonsense"), "{error}");
        let bytes = ModelSource::Bytes(b"\x08\x07\x3a\x05hello");
        assert_eq!(runtime.load(bytes, &LoadOptions::default()).err().expect("damaged bytes").code, "runtime-load");
        let missing = ModelSource::File(std::path::Path::new("/nowhere/m.onnx"));
        let error = runtime.load(missing, &LoadOptions::default()).err().expect("no file");
        assert!(error.code == "runtime-load" && error.to_string().contains("/nowhere/m.onnx"), "{error}");
    }
}

#[test]
fn an_operand_that_is_left_out_at_the_end_may_have_an_empty_name() {
    let text = "graph @g(%x: f32[1,1,2,2]) with {opset = 17} {\n  %w = const [[[[2.0]]]] : f32[1,1,1,1]\n  \
                %y = onnx.Conv %x, %w, _ : f32[1,1,2,2]\n  return %y\n}";
    let graph = spaceevo_ir::text::parse(text, "test", &spaceevo_ir::text::NoBlobs).graph.unwrap();
    for runtime in runtimes() {
        let mut session = runtime.load(ModelSource::Graph(&graph), &LoadOptions::default()).unwrap();
        let outputs = session.run(&[Tensor::new([1, 1, 2, 2], vec![1f32, 2.0, 3.0, 4.0])]).unwrap();
        assert_eq!(outputs[0].to_f32().unwrap(), [2.0, 4.0, 6.0, 8.0], "{}", runtime.name());
    }
}
