//! Graphs as files, for runtimes that read files, and files as graphs, for the one that reads graphs.

use std::path::Path;

use bytes::Bytes;
use spaceevo_ir::graph::Loc;
use spaceevo_ir::{Diagnostic, Graph};
use spaceevo_onnx::{ReadOptions, WriteOptions};

use super::ModelSource;

/// Above this many bytes of constants a graph goes through a file: bytes would be held twice while a runtime reads them.
const LARGE: usize = 1 << 20;

/// Writes a graph and hands it on as bytes, or as a file that is deleted afterwards.
///
/// Errors: those of writing; `file-io` when the folder for temporary files cannot be written.
pub(super) fn written<T>(graph: &Graph, load: impl FnOnce(ModelSource<'_>) -> T) -> Result<T, Diagnostic> {
    let regions = graph.all_regions();
    let consts = regions.iter().flat_map(|&region| graph.region(region).consts());
    let size: usize = consts.filter_map(|&value| graph.value(value).tensor()).map(|t| t.bytes().len()).sum();
    if size < LARGE {
        return Ok(load(ModelSource::Bytes(&spaceevo_onnx::to_bytes(graph)?)));
    }
    let folder = tempfile::tempdir().map_err(|e| {
        let what = format!("no folder for the temporary file of a large model: {e}");
        Diagnostic::error("file-io", Loc::Unknown, what)
    })?;
    let path = folder.path().join("model.onnx");
    spaceevo_onnx::write(graph, &path, &WriteOptions::default())?;
    Ok(load(ModelSource::File(&path)))
}

/// The graph of a model.
///
/// Errors: those of reading.
pub(super) fn graph(model: ModelSource<'_>) -> Result<Graph, Diagnostic> {
    let read =
        |bytes: &[u8], name: &str| spaceevo_onnx::read_bytes(Bytes::copy_from_slice(bytes), name, &ReadOptions::default());
    Ok(match model {
        ModelSource::Graph(graph) => graph.clone(),
        ModelSource::File(path) => spaceevo_onnx::read(Path::new(path), &ReadOptions::default())?.graph,
        ModelSource::Bytes(bytes) => read(bytes, "model")?.graph,
    })
}
