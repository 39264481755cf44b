//! Random inputs, where only the time of a network counts and nobody has samples at hand.

use spaceevo_cost::Port;
use spaceevo_cost::measure::inputs::{Shapes, drawn};
use spaceevo_ir::graph::Loc;
use spaceevo_ir::{Diagnostic, Tensor};

use super::SampleSource;

/// One sample of random numbers, the same on every machine.
pub struct Drawn {
    tensors: Vec<Tensor>,
}

impl Drawn {
    /// For a model with these inputs; an open batch is one. Errors: `measure-shape` for other open extents that `shapes` leaves
    /// out.
    pub fn new(inputs: &[Port], shapes: &Shapes) -> Result<Drawn, Diagnostic> {
        Ok(Drawn { tensors: drawn(inputs, shapes)? })
    }
}

impl SampleSource for Drawn {
    fn len(&self) -> usize {
        1
    }

    fn get(&self, index: usize) -> Result<Vec<Tensor>, Diagnostic> {
        let missing = || Diagnostic::error("samples-unreadable", Loc::Unknown, format!("there is no {}", self.name(index)));
        (index == 0).then(|| self.tensors.clone()).ok_or_else(missing)
    }

    fn name(&self, index: usize) -> String {
        format!("random sample {index}")
    }
}
