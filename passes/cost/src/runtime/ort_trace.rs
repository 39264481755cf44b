//! What ONNX Runtime's own profiler notes, and the model that it made of ours. Both are files to it; they are read and deleted.

use spaceevo_ir::graph::Loc;
use spaceevo_ir::{Diagnostic, Tensor};

use super::ort::{NAME, OnnxRuntime, commit};
use super::{Between, LoadOptions, ModelSource, Session, Trace, failed};

impl OnnxRuntime {
    /// See [`super::Runtime::trace`].
    pub(super) fn traced(
        &self,
        model: ModelSource<'_>,
        options: &LoadOptions,
        inputs: &[Tensor],
        runs: usize,
        between: Between<'_>,
    ) -> Result<Trace, Diagnostic> {
        let loc = model.loc();
        let load = |e: &dyn std::fmt::Display| failed("runtime-load", NAME, loc.clone(), e);
        let io = |what: &str, e: &dyn std::fmt::Display| {
            Diagnostic::error("file-io", Loc::Unknown, format!("{what} of a profile: {e}"))
        };
        let folder = tempfile::tempdir().map_err(|e| io("no folder for the temporary files", &e))?;
        let rewritten = folder.path().join("rewritten.onnx");
        let builder = self.builder(options).map_err(|e| load(&e))?;
        let builder = builder.with_optimized_model_path(&rewritten).map_err(|e| load(&e))?;
        let builder = builder.with_profiling(folder.path().join("profile")).map_err(|e| load(&e))?;
        let mut session = commit(builder, model)?;
        between()?;
        for _ in 0..runs {
            session.run_with(inputs, &mut |_, _| {})?;
            between()?;
        }
        let events = session.inner.end_profiling().map_err(|e| failed("runtime-run", NAME, Loc::Unknown, e))?;
        Ok(Trace {
            events: std::fs::read(&events).map_err(|e| io("the events", &e))?,
            model: std::fs::read(&rewritten).map_err(|e| io("the model", &e))?,
        })
    }
}
