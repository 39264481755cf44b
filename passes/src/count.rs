//! Multiply-accumulates and parameters of a graph whose shapes are known.
//!
//! MACs are those of convolutions and matrix products with weights: every element of the result costs as many as one filter
//! has weights. Parameters are the weights and biases of these ops and the scale and bias of batch normalizations; running
//! statistics are none.

use spaceevo_ir::{Diagnostic, Graph, Op, ValueId};

/// What was counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Multiply-accumulates.
    pub macs: u64,
    /// Parameters.
    pub params: u64,
    /// Convolutions.
    pub convolutions: u64,
}

impl Counts {
    /// Parameters as SpaceEvo's tables count them: three numbers more for every convolution, the scale of its weights and scale
    /// and offset of its activations (LSQ+).
    pub fn params_with_quantizers(&self) -> u64 {
        self.params + 3 * self.convolutions
    }

    /// Both together.
    pub fn plus(self, other: Counts) -> Counts {
        Counts {
            macs: self.macs + other.macs,
            params: self.params + other.params,
            convolutions: self.convolutions + other.convolutions,
        }
    }
}

/// Counts the ops of a graph, those of nested regions included.
///
/// # Errors
/// `shape-invalid` where the extents of weights or of a result are not known: infer shapes first.
pub fn count(graph: &Graph) -> Result<Counts, Diagnostic> {
    let mut total = Counts::default();
    for id in graph.all_ops() {
        let op = graph.op(id);
        if !op.name().is_onnx(&op.name().op) {
            continue;
        }
        total = total.plus(of_op(graph, op).map_err(|what| {
            Diagnostic::error("shape-invalid", op.loc().clone(), format!("{}: {what}", op.name()))
                .note("what a graph costs can be counted when all its extents are known")
        })?);
    }
    Ok(total)
}

fn of_op(graph: &Graph, op: &Op) -> Result<Counts, String> {
    let extents = |value: Option<ValueId>| match value {
        Some(value) => match extents(graph, value) {
            Some(extents) => Ok(extents),
            None => Err(format!("the extents of {} are not known", graph.label(value))),
        },
        None => Ok(Vec::new()),
    };
    let product = |extents: &[u64]| extents.iter().fold(1u64, |n, &extent| n.saturating_mul(extent));
    let optional = |index: usize| extents(op.operand(index)).map(|e| if e.is_empty() { 0 } else { product(&e) });
    Ok(match &*op.name().op {
        "Conv" | "ConvTranspose" => {
            let weights = extents(op.operand(1))?;
            // Of a transposed convolution, every element that comes in meets all weights of its channel.
            let side = if &*op.name().op == "Conv" { Some(op.result()) } else { op.operand(0) };
            let one_filter = product(&weights) / weights.first().copied().unwrap_or(1).max(1);
            Counts {
                macs: product(&extents(side)?).saturating_mul(one_filter),
                params: product(&weights) + optional(2)?,
                convolutions: 1,
            }
        }
        "Gemm" | "MatMul" if op.operand(1).is_some_and(|w| is_weight(graph, w)) => {
            let weights = extents(op.operand(1))?;
            let out = extents(Some(op.result()))?;
            let inner = product(&weights) / out.last().copied().unwrap_or(1).max(1);
            Counts { macs: product(&out).saturating_mul(inner), params: product(&weights) + optional(2)?, convolutions: 0 }
        }
        "BatchNormalization" => Counts { params: optional(1)? + optional(2)?, ..Counts::default() },
        _ => Counts::default(),
    })
}

/// Constants, and weights that are only declared: inputs.
fn is_weight(graph: &Graph, value: ValueId) -> bool {
    graph.def_op(value).is_none()
}

fn extents(graph: &Graph, value: ValueId) -> Option<Vec<u64>> {
    let shape = graph.value(value).ty().tensor()?.shape.as_ref()?;
    shape.iter().map(|dim| dim.known()).collect()
}

#[cfg(test)]
mod tests {
    use spaceevo_ir::{shape, text};

    use super::*;

    #[test]
    fn a_net_is_counted_by_hand() {
        let text = "graph @main(%x: f32[1,4,6,6], %v: f32[2,3]) with {opset = 17} {\n  \
             %w = const rand(1) : f32[8,2,3,3]\n  %b = const rand(2) : f32[8]\n  \
             %c = onnx.Conv %x, %w, %b {group = 2, strides = [2, 2], pads = [1, 1, 1, 1]}\n  \
             %s = const rand(3) : f32[8]\n  %m = const rand(4) : f32[8]\n  %r = const rand(5, 0.5, 1.0) : f32[8]\n  \
             %n = onnx.BatchNormalization %c, %s, %b, %m, %r\n  \
             %u = const rand(6) : f32[3,5]\n  %y = onnx.MatMul %v, %u\n  return %n, %y\n}\n";
        let mut graph = text::parse(text, "-", &text::NoBlobs).into_result().expect("a net");
        assert_eq!(shape::infer(&mut graph), []);
        let counts = count(&graph).expect("known shapes");
        assert_eq!(counts.macs, 8 * 3 * 3 * (2 * 3 * 3) + 2 * 3 * 5);
        assert_eq!(counts.params, 8 * 2 * 9 + 8 + 2 * 8 + 15);
        assert_eq!(counts.params_with_quantizers(), counts.params + 3);
    }
}
