//! Builds an ONNX graph node by node and writes it as a model file.

use crate::proto::{
    AttributeProto, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto,
    ValueInfoProto,
};
use prost::Message;

const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;
const FLOAT: i32 = 1;

/// A graph under construction. Each node is named after the layer it comes from and its output
/// carries the same name, so a value in a report can be traced to the layer that made it.
#[derive(Default)]
pub struct GraphBuilder {
    graph: GraphProto,
}

/// An attribute of a node.
pub enum Attribute<'a> {
    Int(i64),
    Ints(&'a [i64]),
    Float(f32),
}

impl GraphBuilder {
    pub fn new(name: &str) -> Self {
        Self {
            graph: GraphProto {
                name: name.into(),
                ..Default::default()
            },
        }
    }

    /// Declares a graph input whose first dimension is the symbolic batch.
    pub fn input(&mut self, name: &str, per_item: &[i64]) -> String {
        self.graph.input.push(batched(name, per_item));
        name.into()
    }

    /// Declares an existing value to be a graph output.
    pub fn output(&mut self, name: &str, per_item: &[i64]) {
        self.graph.output.push(batched(name, per_item));
    }

    /// Stores a constant tensor.
    pub fn constant(&mut self, name: String, dims: &[usize], values: &[f32]) -> String {
        assert_eq!(
            dims.iter().product::<usize>(),
            values.len(),
            "{name}: shape and data disagree"
        );
        self.graph.initializer.push(TensorProto {
            dims: dims.iter().map(|&d| d as i64).collect(),
            data_type: FLOAT,
            name: name.clone(),
            raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        });
        name
    }

    /// Adds a node with one output, which is named like the node, and returns that name.
    pub fn node(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
    ) -> String {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![name.into()],
            name: name.into(),
            op_type: op.into(),
            attribute: attributes
                .iter()
                .map(|(name, value)| attribute(name, value))
                .collect(),
        });
        name.into()
    }

    /// Ends the graph and returns the bytes of the model file.
    pub fn finish(self, metadata: &[(&str, String)]) -> Vec<u8> {
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: env!("CARGO_PKG_NAME").into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: OPSET,
            }],
            metadata_props: metadata
                .iter()
                .map(|(key, value)| StringStringEntryProto {
                    key: (*key).into(),
                    value: value.clone(),
                })
                .collect(),
        };
        model.encode_to_vec()
    }
}

fn attribute(name: &str, value: &Attribute) -> AttributeProto {
    let mut proto = AttributeProto {
        name: name.into(),
        ..Default::default()
    };
    match value {
        Attribute::Float(f) => (proto.r#type, proto.f) = (1, *f),
        Attribute::Int(i) => (proto.r#type, proto.i) = (2, *i),
        Attribute::Ints(ints) => (proto.r#type, proto.ints) = (7, ints.to_vec()),
    }
    proto
}

fn batched(name: &str, per_item: &[i64]) -> ValueInfoProto {
    let batch = Dimension {
        dim_value: None,
        dim_param: Some("batch".into()),
    };
    let fixed = per_item.iter().map(|&d| Dimension {
        dim_value: Some(d),
        dim_param: None,
    });
    let shape = TensorShapeProto {
        dim: std::iter::once(batch).chain(fixed).collect(),
    };
    let tensor_type = TensorTypeProto {
        elem_type: FLOAT,
        shape: Some(shape),
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            tensor_type: Some(tensor_type),
        }),
    }
}
