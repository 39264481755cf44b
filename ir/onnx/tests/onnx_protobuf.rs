//! Graphs from models that a caller holds as types of `onnx-protobuf`, and back: nothing is lost, and what is wrong is told as
//! it is told of a file. Run with `--features onnx-protobuf`.

use std::path::Path;

use bytes::Bytes;
use onnx_protobuf::tensor_proto::DataLocation;
use onnx_protobuf::{Message, ModelProto, NodeProto, StringStringEntryProto, TensorProto};
use protobuf::MessageField;
use spaceevo_ir::graph::OpMeta;
use spaceevo_ir::{Elem, Graph, NewOp, ONNX, Place, Tensor, TensorType};
use spaceevo_onnx::onnx_protobuf::{read_model, to_model};
use spaceevo_onnx::{ReadOptions, read_bytes, to_bytes};

fn relu() -> Graph {
    let mut graph = Graph::new("main");
    graph.meta.opsets.insert(ONNX.into(), 17);
    let body = graph.body();
    let ty = TensorType::of(Elem::F32, &[2]);
    let x = graph.add_input(body, "x", ty.clone());
    let op = graph.insert(Place::End(body), NewOp::onnx("Relu").operand(x).result("y", ty));
    graph.set_results(body, vec![graph.op(op).result()]);
    graph
}

#[test]
fn real_models_come_back_as_they_were() {
    for name in ["shapes-mobile.onnx", "shapes-resnet.onnx"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/models").join(name);
        let file = std::fs::read(path).expect("a model of the repository");
        let model = ModelProto::parse_from_bytes(&file).expect("the other library reads it");
        let from_bytes = read_bytes(Bytes::from(file), name, &ReadOptions::default()).expect("it is a model");
        let from_model = read_model(&model, name, &ReadOptions::default()).expect("it is a model");
        assert_eq!(from_model.warnings, from_bytes.warnings);
        let written = to_bytes(&from_model.graph).expect("it can be written");
        assert!(written == to_bytes(&from_bytes.graph).expect("it can be written"), "{name}: another graph");
        let back = to_model(&from_model.graph).expect("the other library reads it");
        assert_eq!(back.graph.node.len(), model.graph.node.len());
        let again = read_model(&back, name, &ReadOptions::default()).expect("it is a model").graph;
        assert!(written == to_bytes(&again).expect("it can be written"), "{name}: something is lost");
    }
}

/// Devices of nodes and 6-bit floats are younger than the schema of `onnx-protobuf`.
#[test]
fn what_the_other_schema_does_not_know_survives() {
    let mut graph = relu();
    let op = graph.all_ops()[0];
    // The message's field 1, a text.
    let device = Bytes::from_static(b"\x0a\x03two");
    graph.set_op_meta(op, OpMeta { device: vec![device.clone()], ..OpMeta::default() });
    let body = graph.body();
    let packed = Tensor::from_f64(Elem::F6E2M3, vec![4], &[1.0, -2.0, 0.5, 7.0]).expect("small numbers");
    let constant = graph.add_const(body, "packed", packed.clone());
    let results = graph.region(body).results().iter().copied().chain([constant]).collect();
    graph.set_results(body, results);

    let model = to_model(&graph).expect("a model");
    let node = model.graph.node.first().expect("a node");
    assert_eq!(node.special_fields.unknown_fields().iter().count(), 1, "the crate knows devices now: take something newer");
    let again = read_model(&model, "m", &ReadOptions::default()).expect("a model").graph;
    assert_eq!(again.op(again.all_ops()[0]).meta().map(|m| m.device.clone()), Some(vec![device]));
    let constants = again.region(again.body()).consts();
    assert_eq!(constants.iter().find_map(|&v| again.const_of(v)), Some(&packed));
    assert_eq!(to_bytes(&again), to_bytes(&graph));
}

#[test]
fn diagnostics_are_those_of_the_bytes() {
    let mut wrong = to_model(&relu()).expect("a model");
    wrong.graph.mut_or_insert_default().node.push(NodeProto {
        op_type: "Relu".into(),
        input: vec!["nowhere".into()],
        output: vec!["z".into()],
        ..NodeProto::default()
    });
    let no_graph = ModelProto { graph: MessageField::none(), ..wrong.clone() };
    for (model, code) in [(wrong, "onnx-undefined-name"), (no_graph, "onnx-malformed")] {
        let found = read_model(&model, "m", &ReadOptions::default()).expect_err("it is wrong");
        let bytes = Bytes::from(model.write_to_bytes().expect("it can be written"));
        assert_eq!(found, read_bytes(bytes, "m", &ReadOptions::default()).expect_err("it is wrong"));
        assert_eq!(found.code, code);
    }
    let mut unversioned = relu();
    unversioned.meta.opsets.clear();
    assert_eq!(to_model(&unversioned).expect_err("no operator set"), to_bytes(&unversioned).expect_err("no operator set"));
}

#[test]
fn external_data_is_looked_for_in_the_folder_of_the_options() {
    let folder = std::env::temp_dir().join(format!("spaceevo-onnx-protobuf-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let numbers = [1.5f32, -2.0];
    std::fs::write(folder.join("w.bin"), numbers.map(f32::to_le_bytes).concat()).expect("a file");
    let mut model = to_model(&relu()).expect("a model");
    let entry =
        StringStringEntryProto { key: "location".into(), value: "w.bin".into(), ..StringStringEntryProto::default() };
    model.graph.mut_or_insert_default().initializer.push(TensorProto {
        name: "w".into(),
        data_type: Elem::F32.onnx_code(),
        dims: vec![2],
        data_location: DataLocation::EXTERNAL.into(),
        external_data: vec![entry],
        ..TensorProto::default()
    });
    let refused = read_model(&model, "m", &ReadOptions::default()).expect_err("no folder is named");
    let options = ReadOptions { folder: Some(folder.clone()), ..ReadOptions::default() };
    let read = read_model(&model, "m", &options);
    std::fs::remove_dir_all(&folder).expect("it was there");
    assert_eq!(refused.code, "onnx-external-data");
    let graph = read.expect("the data is there").graph;
    let weights = graph.region(graph.body()).consts().iter().find_map(|&v| graph.const_of(v)).expect("a constant");
    assert_eq!(weights.to_f32().expect("floats"), numbers);
    assert_eq!(to_model(&graph).expect("a model").graph.initializer[0].raw_data.len(), 8);
}
