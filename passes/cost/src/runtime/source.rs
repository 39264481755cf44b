//! Graphs as files for runtimes that read files.
use spaceevo_ir::{Diagnostic, Graph};
use super::ModelSource;
pub(super) fn with_bytes<T>(_graph: &Graph, work: impl FnOnce(ModelSource<'_>) -> T) -> Result<T, Diagnostic> {
    Ok(work(ModelSource::Bytes(&[])))
}
pub(super) fn graph(_model: ModelSource<'_>) -> Result<Graph, Diagnostic> {
    Err(Diagnostic::error("x", spaceevo_ir::Loc::Unknown, ""))
}
