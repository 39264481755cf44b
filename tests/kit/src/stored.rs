//! Real numbers at the edges of graphs whose inputs or results have quantized types.

use spaceevo_ir::interp::{self, Datum};
use spaceevo_ir::{Diagnostic, Graph, Loc, ValueId};

/// Runs a graph on real numbers: inputs of quantized types are stored first, results of such types are read back.
pub fn run(graph: &Graph, real: &[Datum]) -> Result<Vec<Datum>, Diagnostic> {
    let body = graph.region(graph.body());
    let stored = convert(graph, body.inputs(), real, interp::quantize)?;
    let results = interp::run(graph, &stored)?;
    convert(graph, body.results(), &results, interp::dequantize)
}

/// The real numbers that drawn inputs stand for: those of quantized types were drawn as they are stored.
pub fn real_inputs(graph: &Graph, drawn: &[Datum]) -> Result<Vec<Datum>, Diagnostic> {
    convert(graph, graph.region(graph.body()).inputs(), drawn, interp::dequantize)
}

type Conversion = fn(&spaceevo_ir::Tensor, &spaceevo_ir::Quant) -> Result<spaceevo_ir::Tensor, String>;

fn convert(graph: &Graph, values: &[ValueId], data: &[Datum], how: Conversion) -> Result<Vec<Datum>, Diagnostic> {
    let one = |(value, datum): (&ValueId, &Datum)| match (graph.value(*value).ty().quant(), datum) {
        (Some(quant), Datum::Tensor(tensor)) => {
            how(tensor, quant).map(Datum::Tensor).map_err(|why| Diagnostic::error("interp-failed", Loc::Unknown, why))
        }
        _ => Ok(datum.clone()),
    };
    values.iter().zip(data).map(one).collect()
}
