//! The many ways in which files say the same, built with the independent library.

use bytes::Bytes;
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{
    AttributeProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto, TensorAnnotation,
    TensorProto, TensorShapeProto, TrainingInfoProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use protobuf::MessageField;
use spaceevo_ir::{Attr, Diagnostic, Dim, Elem, Graph, ONNX, Severity, Tensor};
use spaceevo_onnx::{Imported, ReadOptions, read_bytes, read_tensor, tensor_to_bytes, to_bytes};

use crate::models::round;

pub(crate) fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: op.to_string(),
        name: format!("node of {}", outputs.first().unwrap_or(&"nothing")),
        input: inputs.iter().map(|s| s.to_string()).collect(),
        output: outputs.iter().map(|s| s.to_string()).collect(),
        ..NodeProto::default()
    }
}

fn info(name: &str) -> ValueInfoProto {
    let tensor = type_proto::Tensor { elem_type: 1, ..type_proto::Tensor::default() };
    let ty = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.to_string(), type_: MessageField::some(ty), ..ValueInfoProto::default() }
}

pub(crate) fn model(nodes: Vec<NodeProto>, inputs: &[&str], outputs: &[&str]) -> ModelProto {
    let graph = GraphProto {
        name: "g".to_string(),
        node: nodes,
        input: inputs.iter().map(|n| info(n)).collect(),
        output: outputs.iter().map(|n| info(n)).collect(),
        ..GraphProto::default()
    };
    let opset = OperatorSetIdProto { version: 13, ..OperatorSetIdProto::default() };
    ModelProto { ir_version: 8, graph: MessageField::some(graph), opset_import: vec![opset], ..ModelProto::default() }
}

pub(crate) fn import(model: &ModelProto) -> Result<Imported, Diagnostic> {
    let bytes = model.write_to_bytes().expect("the oracle writes");
    read_bytes(Bytes::from(bytes), "made.onnx", &ReadOptions::default())
}

fn read_back(model: &ModelProto) -> Graph {
    let imported = import(model).expect("it is a model");
    round(&imported.graph);
    imported.graph
}

fn tensor(elem: Elem, dims: &[i64]) -> TensorProto {
    TensorProto { data_type: elem.onnx_code(), dims: dims.to_vec(), name: "k".to_string(), ..TensorProto::default() }
}

fn parsed(proto: &TensorProto) -> Tensor {
    let bytes = proto.write_to_bytes().expect("the oracle writes");
    let tensor = read_tensor(Bytes::from(bytes), "k.pb").expect("it is a tensor");
    let again = read_tensor(Bytes::from(tensor_to_bytes(&tensor, "k")), "k.pb").expect("what we write is a tensor");
    assert_eq!(tensor, again);
    tensor
}

#[test]
fn typed_data_becomes_bytes() {
    let ints = |elem, dims: &[i64], data: &[i32]| parsed(&TensorProto { int32_data: data.to_vec(), ..tensor(elem, dims) });
    assert_eq!(ints(Elem::F16, &[2], &[0x3c00, 0xc000]).to_f64(), Some(vec![1.0, -2.0]));
    assert_eq!(ints(Elem::Bf16, &[1], &[0x3f80]).to_f64(), Some(vec![1.0]));
    assert_eq!(ints(Elem::U8, &[2], &[255, 1]).to_i64(), Some(vec![255, 1]));
    assert_eq!(ints(Elem::I8, &[2], &[-1, 1]).to_i64(), Some(vec![-1, 1]));
    assert_eq!(ints(Elem::I16, &[1], &[-300]).to_i64(), Some(vec![-300]));
    assert_eq!(ints(Elem::U16, &[1], &[65535]).to_i64(), Some(vec![65535]));
    assert_eq!(ints(Elem::I32, &[1, 1], &[-7]).to_i64(), Some(vec![-7]));
    assert_eq!(ints(Elem::Bool, &[2], &[1, 0]).to_bools(), Some(vec![true, false]));
    assert_eq!(ints(Elem::U4, &[3], &[0x21, 0x03]).to_i64(), Some(vec![1, 2, 3]));
    assert_eq!(ints(Elem::I4, &[2], &[0x1f]).to_i64(), Some(vec![-1, 1]));
    assert_eq!(ints(Elem::U2, &[5], &[0b11_10_01_00, 0b01]).to_i64(), Some(vec![0, 1, 2, 3, 1]));
    assert_eq!(ints(Elem::F8E5M2, &[1], &[0x3c]).to_f64(), Some(vec![1.0]));
    assert_eq!(ints(Elem::F6E2M3, &[5], &[1, 2, 3, 4, 5]).bytes()[..], [0x81, 0x30, 0x10, 0x05]);
    let float = parsed(&TensorProto { float_data: vec![0.5, f32::NAN], ..tensor(Elem::F32, &[2]) });
    assert_eq!(float.values::<f32>().expect("floats")[0], 0.5);
    let complex = parsed(&TensorProto { float_data: vec![1.0, 2.0], ..tensor(Elem::C64, &[1]) });
    assert_eq!(complex.bytes().len(), 8);
    let double = parsed(&TensorProto { double_data: vec![1e300], ..tensor(Elem::F64, &[]) });
    assert_eq!(double.to_f64(), Some(vec![1e300]));
    let long = parsed(&TensorProto { int64_data: vec![i64::MIN], ..tensor(Elem::I64, &[1]) });
    assert_eq!(long.to_i64(), Some(vec![i64::MIN]));
    let unsigned = parsed(&TensorProto { uint64_data: vec![u64::MAX], ..tensor(Elem::U64, &[1]) });
    assert_eq!(unsigned.values::<u64>().expect("u64")[0], u64::MAX);
    let unsigned = parsed(&TensorProto { uint64_data: vec![u32::MAX.into()], ..tensor(Elem::U32, &[1]) });
    assert_eq!(unsigned.values::<u32>().expect("u32")[0], u32::MAX);
    let text = parsed(&TensorProto { string_data: vec![b"a".to_vec(), vec![0xff]], ..tensor(Elem::Str, &[2]) });
    assert_eq!(text.as_strings().map(<[_]>::len), Some(2));
    assert_eq!(parsed(&tensor(Elem::F32, &[0, 3])).len(), 0);
}

#[test]
fn constant_nodes_are_constants() {
    let attr = |name: &str, kind: AttributeType| AttributeProto {
        name: name.to_string(),
        type_: kind.into(),
        f: 0.5,
        i: 3,
        s: b"s".to_vec(),
        floats: vec![1.0, 2.0],
        ints: vec![4, 5, 6],
        strings: vec![b"t".to_vec()],
        t: MessageField::some(TensorProto { int64_data: vec![9], ..tensor(Elem::I64, &[1]) }),
        sparse_tensor: MessageField::some(SparseTensorProto {
            values: MessageField::some(TensorProto { float_data: vec![7.0], ..tensor(Elem::F32, &[1]) }),
            indices: MessageField::some(TensorProto { int64_data: vec![1, 0], ..tensor(Elem::I64, &[1, 2]) }),
            dims: vec![2, 2],
            ..SparseTensorProto::default()
        }),
        ..AttributeProto::default()
    };
    let forms = [
        ("value", AttributeType::TENSOR, Tensor::new(vec![1], vec![9i64])),
        ("value_int", AttributeType::INT, Tensor::scalar(3i64)),
        ("value_float", AttributeType::FLOAT, Tensor::scalar(0.5f32)),
        ("value_string", AttributeType::STRING, Tensor::strings(vec![], vec![Bytes::from("s")])),
        ("value_ints", AttributeType::INTS, Tensor::new(vec![3], vec![4i64, 5, 6])),
        ("value_floats", AttributeType::FLOATS, Tensor::new(vec![2], vec![1.0f32, 2.0])),
        ("value_strings", AttributeType::STRINGS, Tensor::strings(vec![1], vec![Bytes::from("t")])),
        ("sparse_value", AttributeType::SPARSE_TENSOR, Tensor::new(vec![2, 2], vec![0.0f32, 0.0, 7.0, 0.0])),
    ];
    for (name, kind, expected) in forms {
        let constant = NodeProto { attribute: vec![attr(name, kind)], ..node("Constant", &[], &["k"]) };
        let graph = read_back(&model(vec![constant, node("Odd", &["k"], &["y"])], &[], &["y"]));
        let consts = graph.region(graph.body()).consts();
        assert_eq!(consts.len(), 1, "{name}");
        assert_eq!(graph.value(consts[0]).tensor(), Some(&expected), "{name}");
        assert_eq!(graph.value(consts[0]).meta().is_some_and(|m| m.sparse), name == "sparse_value");
        assert_eq!(graph.all_ops().len(), 1, "{name}");
    }
}

#[test]
fn attributes_without_a_declared_type_are_recognised() {
    let alpha = AttributeProto { name: "axes".to_string(), ints: vec![1, 2], ..AttributeProto::default() };
    let squeeze = NodeProto { attribute: vec![alpha], ..node("Squeeze", &["x"], &["y"]) };
    let graph = read_back(&model(vec![squeeze], &["x"], &["y"]));
    assert_eq!(graph.op(graph.all_ops()[0]).attrs()["axes"], Attr::Ints(vec![1, 2]));
}

#[test]
fn extents_below_zero_are_unknown() {
    let dim = |value| tensor_shape_proto::Dimension { value, ..tensor_shape_proto::Dimension::default() };
    use tensor_shape_proto::dimension::Value::{DimParam, DimValue};
    let dims = [Some(DimValue(-1)), Some(DimValue(0)), Some(DimParam("n".into())), Some(DimParam(String::new())), None];
    let shape = TensorShapeProto { dim: dims.into_iter().map(dim).collect(), ..TensorShapeProto::default() };
    let tensor = type_proto::Tensor { elem_type: 1, shape: MessageField::some(shape), ..type_proto::Tensor::default() };
    let ty = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    let mut proto = model(vec![node("Relu", &["x"], &["y"])], &["x"], &["y"]);
    proto.graph.as_mut().expect("a graph").input[0].type_ = MessageField::some(ty);
    let graph = read_back(&proto);
    let x = graph.region(graph.body()).inputs()[0];
    let shape = graph.value(x).ty().tensor().and_then(|t| t.shape.clone()).expect("a shape");
    assert_eq!(shape, [Dim::Unknown, Dim::Known(0), Dim::Named("n".into()), Dim::Unknown, Dim::Unknown]);
}

#[test]
fn nodes_are_sorted_and_subgraphs_count_as_readers() {
    let inner = model(vec![node("Neg", &["late"], &["r"])], &[], &["r"]).graph.take().expect("a graph");
    let branch = |name: &str| AttributeProto {
        name: name.to_string(),
        type_: AttributeType::GRAPH.into(),
        g: MessageField::some(inner.clone()),
        ..AttributeProto::default()
    };
    let choice = NodeProto { attribute: vec![branch("then_branch"), branch("else_branch")], ..node("If", &["x"], &["y"]) };
    let nodes = vec![choice, node("Relu", &["early"], &["late"]), node("Abs", &["x"], &["early"])];
    let graph = read_back(&model(nodes, &["x"], &["y"]));
    let order: Vec<_> = graph.ops_in(graph.body()).map(|op| graph.op(op).name().op.to_string()).collect();
    assert_eq!(order, ["Abs", "Relu", "If"]);
}

#[test]
fn initializers_that_are_inputs_are_defaults() {
    let mut proto = model(vec![node("Add", &["x", "k"], &["y"])], &["x", "k"], &["y"]);
    proto.graph.as_mut().expect("a graph").initializer =
        vec![TensorProto { float_data: vec![1.0], ..tensor(Elem::F32, &[1]) }];
    let graph = read_back(&proto);
    let inputs = graph.region(graph.body()).inputs();
    assert_eq!(inputs.len(), 2);
    assert_eq!(graph.value(inputs[1]).tensor(), Some(&Tensor::new(vec![1], vec![1.0f32])));
}

#[test]
fn parts_that_no_pass_looks_at_survive() {
    let mut proto = model(vec![node("Relu", &["x"], &["y"])], &["x"], &["y"]);
    let step = model(vec![node("Neg", &["y"], &["z"])], &[], &["z"]).graph;
    proto.training_info = vec![TrainingInfoProto { algorithm: step, ..TrainingInfoProto::default() }];
    let annotation = TensorAnnotation { tensor_name: "y".to_string(), ..TensorAnnotation::default() };
    proto.graph.as_mut().expect("a graph").quantization_annotation = vec![annotation];
    let graph = read_back(&proto);
    assert_eq!(graph.meta.opaque.len(), 2);
    let written = ModelProto::parse_from_bytes(&to_bytes(&graph).expect("it can be written")).expect("it is a model");
    assert_eq!(written.training_info, proto.training_info);
    assert_eq!(written.graph.quantization_annotation, proto.graph.quantization_annotation);
}

#[test]
fn lists_of_graphs_are_regions() {
    let inner = |op: &str| model(vec![node(op, &["x"], &["r"])], &[], &["r"]).graph.take().expect("a graph");
    let bodies = AttributeProto {
        name: "bodies".to_string(),
        type_: AttributeType::GRAPHS.into(),
        graphs: vec![inner("Neg"), inner("Abs")],
        ..AttributeProto::default()
    };
    let odd = NodeProto { attribute: vec![bodies.clone()], ..node("Odd", &["x"], &["y"]) };
    let imported = import(&model(vec![odd], &["x"], &["y"])).expect("it is a model");
    let bytes = to_bytes(&imported.graph).expect("it can be written");
    let written = ModelProto::parse_from_bytes(&bytes).expect("it is a model");
    let graphs = &written.graph.node[0].attribute[0].graphs;
    assert_eq!(graphs.iter().map(|g| g.node[0].op_type.as_str()).collect::<Vec<_>>(), ["Neg", "Abs"]);
    let again = read_bytes(Bytes::from(bytes.clone()), "again.onnx", &ReadOptions::default()).expect("it is a model");
    assert_eq!(to_bytes(&again.graph), Ok(bytes));
}

#[test]
fn newer_versions_are_warned_about() {
    let mut proto = model(vec![node("Relu", &["x"], &["y"])], &["x"], &["y"]);
    proto.ir_version = 99;
    proto.opset_import[0].version = 999;
    let mut bytes = proto.write_to_bytes().expect("the oracle writes");
    bytes.extend([0xf8, 0x07, 1]);
    let imported = read_bytes(Bytes::from(bytes), "new.onnx", &ReadOptions::default()).expect("it is a model");
    let codes: Vec<_> = imported.warnings.iter().map(|w| w.code).collect();
    assert_eq!(codes, ["onnx-unknown-field", "onnx-ir-version", "onnx-opset"]);
    assert!(imported.warnings.iter().all(|w| w.severity == Severity::Warning));
    assert_eq!(imported.graph.meta.opset(ONNX), Some(999));
}
