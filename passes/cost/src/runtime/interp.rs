//! The reference interpreter as a runtime: slow, and right by definition.

use std::sync::Arc;

use spaceevo_ir::graph::Loc;
use spaceevo_ir::interp::{Datum, run};
use spaceevo_ir::names::unique_names;
use spaceevo_ir::{Diagnostic, Graph, Tensor};

use super::{LoadOptions, ModelSource, Port, Runtime, Session, TensorView, check_inputs, failed};

const NAME: &str = "interpreter";

/// The reference interpreter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interpreter;

impl Runtime for Interpreter {
    fn name(&self) -> &str {
        NAME
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").into()
    }

    /// Keeps the graph; there is nothing to prepare and no option to heed.
    fn load(&self, model: ModelSource<'_>, _options: &LoadOptions) -> Result<Box<dyn Session>, Diagnostic> {
        let graph = super::source::graph(model)?;
        let body = graph.region(graph.body());
        let names = unique_names(&graph);
        let inputs = body.inputs().iter().map(|&value| (graph.value(value), names[value.index()].to_string()));
        let inputs = inputs.filter(|(value, _)| value.tensor().is_none());
        let inputs = inputs.map(|(value, name)| Port { name, ty: value.ty().clone() }).collect();
        let outputs = body.results().iter().zip(body.result_names());
        let outputs = outputs.map(|(&v, name)| Port { name: name.to_string(), ty: graph.value(v).ty().clone() }).collect();
        Ok(Box::new(InterpreterSession { graph: Arc::new(graph), inputs, outputs }))
    }
}

struct InterpreterSession {
    graph: Arc<Graph>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl Session for InterpreterSession {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn fork(&self) -> Option<Box<dyn Session>> {
        let (inputs, outputs) = (self.inputs.clone(), self.outputs.clone());
        Some(Box::new(InterpreterSession { graph: self.graph.clone(), inputs, outputs }))
    }

    fn run_with(&mut self, inputs: &[Tensor], each: &mut dyn FnMut(usize, TensorView<'_>)) -> Result<(), Diagnostic> {
        check_inputs(&self.inputs, inputs)?;
        // The interpreter wants a tensor for every input of the body; those with a default get it.
        let mut given = inputs.iter();
        let body = self.graph.region(self.graph.body());
        let defaults = body.inputs().iter().map(|&value| self.graph.value(value).tensor());
        let all: Option<Vec<Datum>> = defaults.map(|d| d.or_else(|| given.next()).cloned().map(Datum::from)).collect();
        let outputs = run(&self.graph, &all.unwrap_or_default())?;
        for (index, (output, port)) in outputs.iter().zip(&self.outputs).enumerate() {
            let Some(tensor) = output.tensor() else {
                return Err(failed("runtime-run", NAME, Loc::Unknown, format!("output '{}' is no tensor", port.name)));
            };
            let bytes = tensor.bytes();
            let strings = tensor.as_strings().unwrap_or_default();
            each(index, TensorView { elem: tensor.elem(), dims: tensor.dims(), bytes: &bytes, strings });
        }
        Ok(())
    }
}
