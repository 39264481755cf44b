//! ONNX files to graphs and back, nothing lost.
//!
//! Reading maps the file into memory and shares the bytes of its tensors; writing streams them from there. What no pass
//! looks at (names, texts, metadata, training parts) is kept and written again; an operator nobody has heard of is an op
//! like any other. Writing is deterministic, and what was written once comes out the same when read and written again.
//!
//! Every damaged or hostile file ends in a [`Diagnostic`]. Memory is bounded: tensors are never allocated before their data
//! is known to be there, and [`ReadOptions`] limits what small messages and sparse tensors may unfold to.
//!
//! The feature `onnx-protobuf` (off by default) adds a module of that name: graphs from and to that crate's `ModelProto`.

mod attributes;
mod budget;
mod entries;
mod export;
mod external;
mod import;
mod map;
#[cfg(feature = "onnx-protobuf")]
pub mod onnx_protobuf;
mod order;
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod proto;
mod samples;
mod save;
mod scopes;
mod tensors;
mod types;
mod versions;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;
use spaceevo_ir::{Diagnostic, Graph, Loc};

pub use samples::{read_datum, read_tensor, tensor_to_bytes};
pub use save::{External, WriteOptions};
pub use versions::NEWEST_IR;

/// Limits of reading.
#[derive(Clone, PartialEq, Debug)]
pub struct ReadOptions {
    /// Bytes that the sparse tensors of a file may fill together when they are made dense.
    pub max_dense_bytes: usize,
    /// Bytes that the messages of a file (nodes, attributes, names; not the numbers of tensors) may fill in memory.
    pub max_message_bytes: usize,
    /// Where external data is looked for when the model itself is not a file.
    pub folder: Option<PathBuf>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions { max_dense_bytes: 1 << 30, max_message_bytes: 2 << 30, folder: None }
    }
}

/// A graph that was read, and what is worth knowing about its file.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The graph.
    pub graph: Graph,
    /// Warnings: a newer IR version or operator set than is known, fields that will not be written again.
    pub warnings: Vec<Diagnostic>,
}

/// Reads a model file. Tensors share the mapped file, so the file must not be changed in place while the graph lives
/// (replacing it, as [`write()`] does, is fine).
///
/// Errors: every way in which a file can be unreadable, damaged or hostile; codes `file-io` and `onnx-*`.
pub fn read(path: &Path, options: &ReadOptions) -> Result<Imported, Diagnostic> {
    let name = path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
    let loc = Loc::Onnx { file: name.as_str().into(), node: "".into() };
    let folder = path.parent().map(|p| if p.as_os_str().is_empty() { PathBuf::from(".") } else { p.to_path_buf() });
    let options = ReadOptions { folder, ..options.clone() };
    read_bytes(map::map(path, &loc)?, &name, &options)
}

/// Reads a model from bytes; tensors share them. `name` stands for the file in locations.
///
/// Errors: as [`read`].
pub fn read_bytes(bytes: Bytes, name: &str, options: &ReadOptions) -> Result<Imported, Diagnostic> {
    let loc = Loc::Onnx { file: name.into(), node: "".into() };
    let mut warnings = budget::check(&bytes, budget::MODEL, options.max_message_bytes, &loc)?;
    let model = decode(bytes, "an ONNX model", &loc)?;
    let (graph, more) = import::import(model, name, options)?;
    warnings.extend(more);
    Ok(Imported { graph, warnings })
}

/// Decodes one message.
fn decode<M: Message + Default>(bytes: Bytes, what: &str, loc: &Loc) -> Result<M, Diagnostic> {
    M::decode(bytes).map_err(|e| Diagnostic::error("onnx-malformed", loc.clone(), format!("this is not {what}: {e}")))
}

/// Writes a model file: first under another name in the same folder, then renamed, so that no half-written file is seen.
///
/// Large tensors go to `<file>.data` beside it when [`WriteOptions::external`] says so, or when the file would come near the
/// 2 GiB that protobuf allows.
///
/// Errors: `onnx-inexpressible` for what ONNX has no words for (quantized types, search parameters), `onnx-opset` for a
/// domain without version, `file-io`.
pub fn write(graph: &Graph, path: &Path, options: &WriteOptions) -> Result<(), Diagnostic> {
    save::to_file(export::export(graph)?, path, options)
}

/// A model as the bytes of a file without external data.
///
/// Errors: as [`write()`]; and models above 2 GiB.
pub fn to_bytes(graph: &Graph) -> Result<Vec<u8>, Diagnostic> {
    save::to_bytes(export::export(graph)?)
}
