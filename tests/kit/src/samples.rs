//! Samples for passes that calibrate: drawn inputs, run by the reference interpreter.

use spaceevo_ir::{Diagnostic, Graph, Loc, Tensor, ValueId, interp};
use spaceevo_passes::Observer;

use crate::inputs::{Draw, inputs};

/// So many drawn samples; seeds count on from that of `draw`.
#[derive(Clone, Debug)]
pub struct DrawnSamples {
    /// How the first sample is drawn.
    pub draw: Draw,
    /// How many there are.
    pub count: usize,
}

impl Observer for DrawnSamples {
    fn samples(&self) -> usize {
        self.count
    }

    fn observe(
        &mut self,
        graph: &Graph,
        values: &[ValueId],
        see: &(dyn Fn(usize, usize, &[f32]) + Sync),
    ) -> Result<(), Diagnostic> {
        let failed = |why: String| Diagnostic::error("samples-unreadable", Loc::Unknown, why);
        for sample in 0..self.count {
            let draw = Draw { seed: self.draw.seed + 1000 * (sample as u64 + 1), ..self.draw.clone() };
            let data = inputs(graph, &draw).map_err(failed)?;
            let (_, kept) = interp::run_all(graph, &data, values)?;
            for (slot, datum) in kept.iter().enumerate() {
                let numbers = datum.as_ref().and_then(interp::Datum::tensor).and_then(Tensor::to_f32);
                see(sample, slot, &numbers.ok_or_else(|| failed("a value has no numbers".into()))?);
            }
        }
        Ok(())
    }
}
