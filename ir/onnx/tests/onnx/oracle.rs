//! `onnx-protobuf` (another generator, another schema) reads what we write and must find what the graph holds.

use std::collections::HashMap;

use onnx_protobuf::{GraphProto, Message, ModelProto, NodeProto};
use spaceevo_ir::{Graph, ONNX, RegionId};

/// Reads a file that we wrote and compares it with the graph: ports, operators, domains, attributes, bytes of tensors.
pub(crate) fn check(graph: &Graph, bytes: &[u8]) {
    let model = ModelProto::parse_from_bytes(bytes).expect("the oracle reads it");
    for import in &model.opset_import {
        let domain = if import.domain.is_empty() { ONNX } else { &import.domain };
        if let Some(version) = graph.meta.opset(domain) {
            assert_eq!(import.version as u64, version, "{domain}");
        }
    }
    assert_eq!(model.metadata_props.len(), graph.meta.props.len());
    region(graph, graph.body(), &model.graph);
    let body = graph.region(graph.body());
    let outputs: Vec<&str> = model.graph.output.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(outputs, body.result_names().iter().map(|n| &**n).collect::<Vec<_>>());
    let inputs: Vec<&str> = model.graph.input.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(inputs, body.inputs().iter().map(|&v| &**graph.value(v).name()).collect::<Vec<_>>());
    assert_eq!(model.functions.len(), graph.functions.len());
}

fn region(graph: &Graph, id: RegionId, proto: &GraphProto) {
    let region = graph.region(id);
    let ops: Vec<_> = graph.ops_in(id).collect();
    assert!(proto.node.len() >= ops.len());
    assert!(proto.node[ops.len()..].iter().all(|n| n.op_type == "Identity"), "only copies follow the ops");
    for (&op, node) in ops.iter().zip(&proto.node) {
        let op = graph.op(op);
        assert_eq!(&*op.name().op, node.op_type);
        let domain = if node.domain.is_empty() { ONNX } else { &node.domain };
        assert_eq!(&*op.name().domain, domain);
        assert_eq!(op.operands().len(), node.input.len());
        assert_eq!(op.results().len(), node.output.len());
        assert_eq!(op.attrs().len() + op.regions().len(), node.attribute.len());
        for (label, inner) in op.regions() {
            let attr = node.attribute.iter().find(|a| a.name == **label).expect("a graph of that name");
            self::region(graph, *inner, &attr.g);
        }
    }
    let dense: HashMap<&str, &onnx_protobuf::TensorProto> = proto.initializer.iter().map(|t| (t.name.as_str(), t)).collect();
    let defaults = region.inputs().iter().filter(|&&v| graph.value(v).tensor().is_some());
    let values: Vec<_> = region.consts().iter().chain(defaults).collect();
    assert_eq!(values.len(), proto.initializer.len() + proto.sparse_initializer.len());
    for &value in values {
        let (value, name) = (graph.value(value), graph.value(value).name());
        let tensor = value.tensor().expect("a constant has numbers");
        if value.meta().is_some_and(|m| m.sparse) {
            continue;
        }
        let written = dense[&**name];
        assert_eq!(written.data_type, tensor.elem().onnx_code(), "{name}");
        assert_eq!(written.raw_data, tensor.bytes(), "{name}");
        assert_eq!(written.dims, tensor.dims().iter().map(|&d| d as i64).collect::<Vec<_>>(), "{name}");
        let strings: Vec<_> = tensor.as_strings().unwrap_or(&[]).iter().map(|s| s.to_vec()).collect();
        assert_eq!(written.string_data, strings, "{name}");
    }
    let defined: Vec<&NodeProto> = proto.node.iter().collect();
    let mut names: Vec<&str> = defined.iter().flat_map(|n| &n.output).map(String::as_str).collect();
    names.extend(proto.input.iter().map(|i| i.name.as_str()));
    names.retain(|n| !n.is_empty());
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "every name is given once");
}
