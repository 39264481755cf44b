//! Graphs from the types of the crate `onnx-protobuf` and back, for callers who hold them (feature `onnx-protobuf`).
//!
//! ```
//! use spaceevo_onnx::ReadOptions;
//! use spaceevo_onnx::onnx_protobuf::{ModelProto, read_model, to_model};
//!
//! # fn main() -> Result<(), spaceevo_ir::Diagnostic> {
//! let mut model = ModelProto::new();
//! model.ir_version = 8;
//! model.graph.mut_or_insert_default().name = "empty".into();
//!
//! let graph = read_model(&model, "model", &ReadOptions::default())?.graph;
//! assert_eq!(to_model(&graph)?.graph.name, "empty");
//! # Ok(())
//! # }
//! ```
//!
//! Both ways go through the bytes of a file: what is accepted, kept and refused is the same as there, and fields of a newer
//! schema than that crate's survive as its unknown fields.

use ::onnx_protobuf::Message;
pub use ::onnx_protobuf::ModelProto;
use bytes::Bytes;
use spaceevo_ir::{Diagnostic, Graph, Loc};

use crate::{Imported, ReadOptions, read_bytes, save, to_bytes};

/// Reads a model that is in memory already; its tensors are copied once. `name` stands for the file in locations, and
/// [`ReadOptions::folder`] says where external data lies.
///
/// Errors: as [`crate::read`]; and `onnx-too-large` for models above the 2 GiB that protobuf allows.
pub fn read_model(model: &ModelProto, name: &str, options: &ReadOptions) -> Result<Imported, Diagnostic> {
    let loc = Loc::Onnx { file: name.into(), node: "".into() };
    // Beyond that size the library would write wrong lengths.
    save::check_size(usize::try_from(model.compute_size()).unwrap_or(usize::MAX))?;
    let bytes = model
        .write_to_bytes()
        .map_err(|e| Diagnostic::error("onnx-malformed", loc, format!("this model cannot be written as bytes: {e}")))?;
    read_bytes(Bytes::from(bytes), name, options)
}

/// The model of a graph, all data inside. Larger ones than 2 GiB can be written with [`crate::write()`], which puts data
/// outside, and parsed from that file.
///
/// Errors: as [`to_bytes`]; and `onnx-malformed` for subgraphs nested deeper than that crate reads.
pub fn to_model(graph: &Graph) -> Result<ModelProto, Diagnostic> {
    ModelProto::parse_from_bytes(&to_bytes(graph)?).map_err(|e| {
        Diagnostic::error("onnx-malformed", Loc::Unknown, format!("onnx-protobuf cannot read the model of this graph: {e}"))
    })
}
