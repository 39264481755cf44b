//! Graphs built in code: written, read, written again.

use bytes::Bytes;
use spaceevo_ir::attr::{Attr, SparseTensor};
use spaceevo_ir::graph::{OpMeta, ValueMeta};
use spaceevo_ir::{
    Dim, Elem, Function, Graph, Loc, MICROSOFT, NewOp, ONNX, OpName, Place, Quant, Tensor, TensorType, Type, ValueId,
};
use spaceevo_onnx::{ReadOptions, read_bytes, to_bytes};

use crate::oracle;

/// Writes, lets the oracle judge, reads, and writes again: the same bytes must come out. Returns the graph read.
pub(crate) fn round(graph: &Graph) -> Graph {
    let first = to_bytes(graph).expect("it can be written");
    let imported = read_bytes(Bytes::from(first.clone()), "round.onnx", &ReadOptions::default()).expect("it can be read");
    assert_eq!(imported.warnings, []);
    oracle::check(&imported.graph, &first);
    let second = to_bytes(&imported.graph).expect("it can be written again");
    assert!(first == second, "the second writing differs");
    imported.graph
}

fn graph_of_opset(version: u64) -> Graph {
    let mut graph = Graph::new("main");
    graph.meta.opsets.insert(ONNX.into(), version);
    graph
}

fn floats(dims: &[usize]) -> Type {
    TensorType::of(Elem::F32, dims).into()
}

fn relu(graph: &mut Graph, x: ValueId, name: &str) -> ValueId {
    let body = graph.body();
    let op = graph.insert(Place::End(body), NewOp::onnx("Relu").operand(x).result(name, floats(&[2])));
    graph.op(op).result()
}

/// Something of everything: what the mutations start from.
pub(crate) fn rich() -> Graph {
    let mut graph = graph_of_opset(17);
    graph.meta.opsets.insert("my.domain".into(), 3);
    graph.meta.producer = "tests".into();
    graph.meta.doc = "a model".into();
    graph.meta.graph_doc = "its graph".into();
    graph.meta.model_version = 7;
    graph.meta.props.insert("key".into(), "value".into());
    graph.meta.graph_props.insert("inner".into(), "text".into());
    let body = graph.body();
    let shape = vec![Dim::Named("batch".into()), Dim::Unknown, Dim::Known(4)];
    let x = graph.add_input(body, "x", TensorType::new(Elem::F32, shape));
    graph.set_value_meta(
        x,
        ValueMeta {
            doc: "pictures".into(),
            denotation: "IMAGE".into(),
            dim_denotations: vec!["DATA_BATCH".into(), String::new(), String::new()],
            ..ValueMeta::default()
        },
    );
    let flag = graph.add_input(body, "flag", TensorType::of(Elem::Bool, &[]));
    let scale = graph.add_input(body, "scale", floats(&[2, 2]));
    graph.set_default(scale, Some(Tensor::new(vec![2, 2], vec![1.0f32, 0.0, 0.0, 2.0])));
    let sparse = graph.add_const(body, "sparse", Tensor::new(vec![3], vec![0i64, 5, 0]));
    graph.set_value_meta(sparse, ValueMeta { sparse: true, ..ValueMeta::default() });
    graph.add_const(body, "words", Tensor::strings(vec![2], vec![Bytes::from("a"), Bytes::from(&b"\xff\x00"[..])]));
    for &elem in Elem::ALL.iter().filter(|&&e| e != Elem::Str) {
        let bytes: Vec<u8> = (0..elem.byte_len(5).expect("small")).map(|i| i as u8).collect();
        graph.add_const(body, format!("k.{elem}"), Tensor::from_bytes(elem, vec![5], bytes).expect("it fits"));
    }
    let meta = OpMeta { doc: "a node".into(), props: [("a".to_string(), "b".to_string())].into(), ..OpMeta::default() };
    let odd = NewOp::new(OpName::new("my.domain", "Odd"))
        .operands([Some(x), None, Some(scale)])
        .result("odd", Type::Sequence(Box::new(floats(&[1]))))
        .result("", Type::Unknown)
        .result(
            "odd.2",
            Type::Optional(Box::new(Type::Map(Elem::I64, Box::new(Type::Sparse(TensorType::of(Elem::F32, &[2])))))),
        )
        .attr("float", Attr::Float(0.5))
        .attr("floats", Attr::Floats(vec![f32::NAN, -0.0]))
        .attr("int", Attr::Int(-1))
        .attr("ints", Attr::Ints(Vec::new()))
        .attr("text", Attr::Str(Bytes::from(&b"\xfe"[..])))
        .attr("texts", Attr::Strs(vec![Bytes::from("x")]))
        .attr("tensor", Attr::Tensor(Tensor::scalar(3i32)))
        .attr("tensors", Attr::Tensors(vec![Tensor::scalar(1.0f64), Tensor::bools(vec![1], vec![true])]))
        .attr("type", Attr::Type(floats(&[3])))
        .attr("types", Attr::Types(vec![floats(&[3]), Type::Sequence(Box::new(floats(&[])))]))
        .attr("sparse", {
            let (values, indices) = (Tensor::new(vec![1], vec![2.0f32]), Tensor::new(vec![1, 2], vec![0i64, 1]));
            Attr::Sparse(Box::new(SparseTensor { values, indices, dims: vec![2, 2] }))
        })
        .loc(Loc::Onnx { file: "round.onnx".into(), node: "odd_node".into() })
        .meta(meta);
    let odd = graph.insert(Place::End(body), odd);
    let branch = graph.insert(Place::End(body), NewOp::onnx("If").operand(flag));
    for label in ["then_branch", "else_branch"] {
        let region = graph.add_region(branch, label, label);
        let local = graph.add_const(region, "local", Tensor::scalar(1.5f32));
        let sum = NewOp::onnx("Add").operand(x).operand(local).result("sum", Type::Unknown);
        let sum = graph.insert(Place::End(region), sum);
        let sum = graph.op(sum).result();
        graph.set_results(region, vec![sum]);
    }
    let chosen = graph.add_result(branch, "chosen", Type::Unknown);
    let function = graph.add_root_region("Twice");
    let input = graph.add_input(function, "x", Type::Unknown);
    let two = graph.add_const(function, "two", Tensor::scalar(2.0f32));
    let bent = NewOp::onnx("LeakyRelu").operand(input).attr("alpha", Attr::Ref("slope".into(), 1));
    let bent = graph.insert(Place::End(function), bent.result("bent", Type::Unknown));
    let bent = graph.op(bent).result();
    let doubled = NewOp::onnx("Mul").operand(bent).operand(two).result("y", Type::Unknown);
    let doubled = graph.insert(Place::End(function), doubled);
    let doubled = graph.op(doubled).result();
    graph.set_results(function, vec![doubled]);
    graph.functions.push(Function {
        name: OpName::new("my.functions", "Twice"),
        overload: String::new(),
        attrs: Vec::new(),
        defaults: [("slope".into(), Attr::Float(0.1))].into(),
        opsets: [(ONNX.into(), 17)].into(),
        doc: "twice the leaky".into(),
        props: Default::default(),
        region: function,
    });
    let call = NewOp::new(OpName::new("my.functions", "Twice")).operand(chosen).result("y", Type::Unknown);
    let call = graph.insert(Place::End(body), call);
    let (y, odd) = (graph.op(call).result(), graph.op(odd).result());
    graph.set_results(body, vec![y, odd, sparse]);
    graph
}

#[test]
fn everything_survives() {
    let graph = rich();
    let back = round(&graph);
    assert_eq!(back.meta.props, graph.meta.props);
    assert_eq!(back.meta.graph_props, graph.meta.graph_props);
    assert_eq!((&back.meta.doc, &back.meta.graph_doc), (&graph.meta.doc, &graph.meta.graph_doc));
    assert_eq!(back.meta.ir_version, 14, "float6 needs it");
    let (ops, before) = (back.all_ops(), graph.all_ops());
    assert_eq!(ops.len(), before.len());
    for (&op, &old) in ops.iter().zip(&before) {
        let (op, old) = (back.op(op), graph.op(old));
        assert_eq!(op.name(), old.name());
        // NaN differs from itself, so attributes are compared as text.
        assert_eq!(format!("{:?}", op.attrs()), format!("{:?}", old.attrs()));
        assert_eq!(op.meta(), old.meta());
        for (&value, &was) in op.results().iter().zip(old.results()) {
            assert_eq!(back.value(value).name(), graph.value(was).name());
            assert_eq!(back.value(value).ty(), graph.value(was).ty());
        }
    }
    let find = |graph: &Graph, name: &str| {
        let region = graph.region(graph.body());
        let all = region.inputs().iter().chain(region.consts());
        all.copied().find(|&v| &**graph.value(v).name() == name).expect("a value of that name")
    };
    for &value in graph.region(graph.body()).consts() {
        let name = graph.value(value).name();
        assert_eq!(back.value(find(&back, name)).tensor(), graph.value(value).tensor(), "{name}");
    }
    for name in ["x", "scale", "sparse"] {
        let (new, old) = (back.value(find(&back, name)), graph.value(find(&graph, name)));
        assert_eq!((new.meta(), new.tensor(), new.ty()), (old.meta(), old.tensor(), old.ty()), "{name}");
    }
    assert_eq!(back.functions[0].defaults, graph.functions[0].defaults);
    let inner = back.region(back.functions[0].region);
    assert_eq!(back.value(inner.consts()[0]).tensor(), Some(&Tensor::scalar(2.0f32)));
}

#[test]
fn results_keep_the_names_that_callers_know() {
    let mut graph = graph_of_opset(13);
    let body = graph.body();
    let x = graph.add_input(body, "x", floats(&[2]));
    let k = graph.add_const(body, "k", Tensor::new(vec![2], vec![1.0f32, 2.0]));
    let y = relu(&mut graph, x, "inside");
    let names = ["x", "renamed_x", "k", "y", "y_again", "y"].map(Into::into).to_vec();
    graph.set_named_results(body, vec![x, x, k, y, y, y], names);
    let back = round(&graph);
    let region = back.region(back.body());
    let names: Vec<&str> = region.result_names().iter().map(|n| &**n).collect();
    assert_eq!(names, ["x", "renamed_x", "k", "y", "y_again", "y"]);
    let results = region.results();
    assert_eq!((results[0], results[2]), (region.inputs()[0], region.consts()[0]));
    assert_eq!(results[3], results[5]);
    let copies = back.all_ops().iter().filter(|&&op| back.op(op).name().is_onnx("Identity")).count();
    assert_eq!(copies, 2, "one for 'renamed_x' and one for 'y_again'");
}

#[test]
fn names_are_made_unique_without_taking_those_of_callers() {
    let mut graph = graph_of_opset(13);
    let body = graph.body();
    let x = graph.add_input(body, "x", floats(&[2]));
    let first = relu(&mut graph, x, "y");
    let second = relu(&mut graph, first, "");
    let third = relu(&mut graph, second, "x");
    let last = relu(&mut graph, third, "z");
    graph.set_named_results(body, vec![last], vec!["y".into()]);
    let back = round(&graph);
    let names: Vec<String> = back.all_ops().iter().map(|&op| back.value(back.op(op).result()).name().to_string()).collect();
    assert_eq!(names, ["y.1", "0", "x.1", "y"]);
}

#[test]
fn a_branch_may_return_what_is_made_outside() {
    let mut graph = graph_of_opset(13);
    let body = graph.body();
    let x = graph.add_input(body, "x", floats(&[2]));
    let flag = graph.add_input(body, "flag", TensorType::of(Elem::Bool, &[]));
    let branch = graph.insert(Place::End(body), NewOp::onnx("If").operand(flag).result("y", floats(&[2])));
    for label in ["then_branch", "else_branch"] {
        let region = graph.add_region(branch, label, label);
        let local = graph.add_const(region, "local", Tensor::new(vec![2], vec![1.0f32, 2.0]));
        graph.set_named_results(region, vec![x, local, local], vec!["x".into(), "flag".into(), "r".into()]);
    }
    let y = graph.op(branch).result();
    graph.add_result(branch, "z", floats(&[2]));
    graph.add_result(branch, "z.2", floats(&[2]));
    graph.set_results(body, vec![y]);
    let back = round(&graph);
    let copies: Vec<_> = back.all_ops().into_iter().filter(|&op| back.op(op).name().is_onnx("Identity")).collect();
    assert_eq!(copies.len(), 4, "ONNX wants results of a subgraph to be different values made in it");
}

#[test]
fn domains_need_versions() {
    let mut graph = graph_of_opset(13);
    let body = graph.body();
    let x = graph.add_input(body, "x", floats(&[2]));
    let gelu =
        graph.insert(Place::End(body), NewOp::new(OpName::new(MICROSOFT, "Gelu")).operand(x).result("y", floats(&[2])));
    let y = graph.op(gelu).result();
    graph.set_results(body, vec![y]);
    assert_eq!(round(&graph).meta.opset(MICROSOFT), Some(1));
    graph.set_op_name(gelu, OpName::new("your.domain", "Gelu"));
    assert_eq!(to_bytes(&graph).expect_err("no version").code, "onnx-opset");
    graph.set_op_name(gelu, OpName::new("space", "Crop"));
    assert_eq!(to_bytes(&graph).expect_err("not specialized").code, "onnx-inexpressible");
}

#[test]
fn quantized_types_and_search_parts_are_refused() {
    let mut graph = graph_of_opset(13);
    let body = graph.body();
    let x = graph.add_input(body, "x", floats(&[2]));
    let y = relu(&mut graph, x, "y");
    graph.set_results(body, vec![y]);
    let quant = TensorType { quant: Some(Quant::per_tensor(Elem::U8, 0.5, 3).into()), ..TensorType::of(Elem::F32, &[2]) };
    graph.set_type(y, quant.clone());
    assert_eq!(to_bytes(&graph).expect_err("quantized").code, "onnx-inexpressible");
    graph.set_type(y, floats(&[2]));
    let op = graph.def_op(y).expect("made by an op");
    graph.set_attr(op, "keep", Attr::Word("centre".into()));
    assert_eq!(to_bytes(&graph).expect_err("a word").code, "onnx-inexpressible");
    graph.remove_attr(op, "keep");
    graph.add_typed_const(body, "w", Tensor::new(vec![2], vec![1u8, 2]), quant);
    assert_eq!(to_bytes(&graph).expect_err("a quantized constant").code, "onnx-inexpressible");
}

#[test]
fn node_names_of_made_ops_come_from_their_history() {
    let mut graph = graph_of_opset(13);
    let body = graph.body();
    let x = graph.add_input(body, "x", floats(&[2]));
    let from = Loc::Onnx { file: "a.onnx".into(), node: "conv".into() };
    let mut value = x;
    for loc in [Loc::Made { by: "fold".into(), from: [from.clone()].into() }, from, Loc::Unknown] {
        let op = graph.insert(Place::End(body), NewOp::onnx("Relu").operand(value).loc(loc).result("", floats(&[2])));
        value = graph.op(op).result();
    }
    graph.set_results(body, vec![value]);
    let back = round(&graph);
    let names: Vec<_> = back.all_ops().iter().map(|&op| back.op(op).loc().node().map(|n| n.to_string())).collect();
    assert_eq!(names, [Some("conv/1".into()), Some("conv".into()), Some(String::new())]);
}

#[test]
fn old_files_stay_old_until_they_cannot() {
    let mut graph = graph_of_opset(9);
    graph.meta.ir_version = 3;
    let body = graph.body();
    let x = graph.add_input(body, "x", floats(&[2]));
    let w = graph.add_input(body, "w", floats(&[2]));
    graph.set_default(w, Some(Tensor::new(vec![2], vec![1.0f32, 2.0])));
    let op = graph.insert(Place::End(body), NewOp::onnx("Mul").operand(x).operand(w).result("y", floats(&[2])));
    let y = graph.op(op).result();
    graph.set_results(body, vec![y]);
    assert_eq!(round(&graph).meta.ir_version, 3);
    graph.input_to_const(w);
    assert_eq!(round(&graph).meta.ir_version, 4, "initializers that are no inputs came with version 4");
    graph.meta.opsets.insert(ONNX.into(), 13);
    assert_eq!(round(&graph).meta.ir_version, 7);
    graph.meta.ir_version = 0;
    assert_eq!(round(&graph).meta.ir_version, 8);
}
