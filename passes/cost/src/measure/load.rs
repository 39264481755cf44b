//! Loads models to be timed, each several times.

use spaceevo_ir::{Diagnostic, Loc};

use super::inputs::{Shapes, drawn};
use super::interleave::Contestant;
use crate::runtime::{LoadOptions, ModelSource, Runtime};

/// A model and the shapes of its inputs.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    /// The model.
    pub source: ModelSource<'a>,
    /// Shapes of inputs that leave extents open.
    pub shapes: &'a Shapes,
}

/// `sessions` sessions of each model. They are loaded in turns, forwards and then backwards, so that no model always gets the
/// better memory.
///
/// Errors: those of loading, and `measure-shape`.
pub fn load(
    runtime: &dyn Runtime,
    models: &[Model<'_>],
    threads: usize,
    sessions: usize,
) -> Result<Vec<Contestant>, Diagnostic> {
    let options = LoadOptions { threads, ..LoadOptions::default() };
    let mut loaded: Vec<Vec<_>> = models.iter().map(|_| Vec::new()).collect();
    for time in 0..sessions.max(1) {
        for step in 0..models.len() {
            let at = if time % 2 == 0 { step } else { models.len() - 1 - step };
            loaded[at].push(runtime.load(models[at].source, &options)?);
        }
    }
    let contestant = |(sessions, model): (Vec<Box<dyn crate::Session>>, &Model<'_>)| {
        let first = &sessions[0];
        if first.outputs().is_empty() {
            return Err(Diagnostic::error(
                "runtime-load",
                Loc::Unknown,
                "the model has no outputs: there is nothing to run",
            ));
        }
        let inputs = drawn(first.inputs(), model.shapes)?;
        Ok(Contestant::new(sessions, inputs))
    };
    loaded.into_iter().zip(models).map(contestant).collect()
}
