//! How many channels a value has: the extent of its axis 1, as an expression over the parameters.

use spaceevo_ir::space::Expr;
use spaceevo_ir::{Attrs, Dim, OpName, ValueId};

use super::{Made, Site, Unfolder};

/// ONNX operators whose result has the channels of their first operand.
const KEEPING: &[&str] = &[
    "Abs",
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Ceil",
    "Celu",
    "Clip",
    "Div",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Flatten",
    "Floor",
    "Gelu",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LeakyRelu",
    "Log",
    "MaxPool",
    "Mish",
    "Mul",
    "Neg",
    "PRelu",
    "Pow",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Sub",
    "Tanh",
    "ThresholdedRelu",
];

impl Unfolder<'_> {
    /// The channels of a value, if they are known.
    pub(super) fn channels(&self, value: ValueId) -> Option<Expr> {
        if let Some(known) = self.channels.get(&value) {
            return Some(known.clone());
        }
        match self.graph.value(value).ty().tensor()?.shape.as_ref()?.get(1)? {
            Dim::Known(n) => i64::try_from(*n).ok().map(Expr::Int),
            Dim::Expr(expr) => self.table.fold(expr).ok(),
            Dim::Named(_) | Dim::Unknown => None,
        }
    }

    /// As [`Unfolder::channels`], for whoever cannot do without.
    pub(super) fn known_channels(&self, value: ValueId, at: &Site) -> Made<Expr> {
        let label = || self.graph.label(value);
        self.channels(value).ok_or_else(|| {
            at.error("space-value", format!("{}: nothing says how many channels {} has", at.path, label()))
                .note("give it a type, such as f32[1,16,32,32]")
        })
    }

    /// The channels of what an ONNX op makes.
    pub(super) fn channels_after(&self, name: &OpName, attrs: &Attrs, operands: &[ValueId]) -> Option<Expr> {
        let first = self.channels(*operands.first()?);
        if !name.is_onnx(&name.op) {
            return None;
        }
        match &*name.op {
            op if KEEPING.binary_search(&op).is_ok() => first,
            "Concat" if attrs.get("axis").and_then(|axis| axis.as_int()) == Some(1) => {
                let all = operands.iter().map(|&value| self.channels(value)).collect::<Option<Vec<Expr>>>()?;
                let sum = all.into_iter().reduce(|a, b| Expr::Call("add".into(), vec![a, b]))?;
                self.table.fold(&sum).ok()
            }
            _ => None,
        }
    }
}
