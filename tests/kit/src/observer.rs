//! Real activations for passes under test: seeded samples, run by the interpreter.

use spaceevo_ir::interp::{self, Datum};
use spaceevo_ir::{Diagnostic, Graph, ValueId};
use spaceevo_passes::Observer;

/// Shows activations of seeded samples.
pub struct Seeded {
    /// One list of inputs for each sample.
    pub samples: Vec<Vec<Datum>>,
}

impl Observer for Seeded {
    fn samples(&self) -> usize {
        self.samples.len()
    }

    fn observe(
        &mut self,
        graph: &Graph,
        values: &[ValueId],
        samples: &[usize],
        see: &(dyn Fn(usize, usize, &[f32]) + Sync),
    ) -> Result<(), Diagnostic> {
        for &sample in samples {
            let inputs = &self.samples[sample];
            let kept = interp::run_all(graph, inputs, values)?.1;
            for (slot, datum) in kept.iter().enumerate() {
                let value = values[slot];
                let given = graph.region(graph.body()).inputs().iter().position(|&v| v == value).map(|i| &inputs[i]);
                let numbers = given.or(datum.as_ref()).and_then(Datum::tensor).and_then(spaceevo_ir::Tensor::to_f32);
                if let Some(numbers) = numbers {
                    see(sample, slot, &numbers);
                }
            }
        }
        Ok(())
    }
}
