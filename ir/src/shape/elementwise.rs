//! Operators that act on each element alone: the shape of the operand, or what the operands broadcast to.

use crate::graph::{MICROSOFT, ONNX};
use crate::interp::Fault;
use crate::types::{Elem, Shape, Type};

use super::Entry;
use super::dims::broadcast;
use super::site::{Site, tensor};

pub(super) const RULES: &[Entry] = &[
    (ONNX, "Abs", same),
    (ONNX, "Acos", same),
    (ONNX, "Acosh", same),
    (ONNX, "Add", arithmetic),
    (ONNX, "And", comparison),
    (ONNX, "Asin", same),
    (ONNX, "Asinh", same),
    (ONNX, "Atan", same),
    (ONNX, "Atanh", same),
    (ONNX, "Bernoulli", cast),
    (ONNX, "BitCast", bit_cast),
    (ONNX, "BitShift", arithmetic),
    (ONNX, "BitwiseAnd", arithmetic),
    (ONNX, "BitwiseNot", same),
    (ONNX, "BitwiseOr", arithmetic),
    (ONNX, "BitwiseXor", arithmetic),
    (ONNX, "Cast", cast),
    (ONNX, "CastLike", cast_like),
    (ONNX, "Ceil", same),
    (ONNX, "Celu", same),
    (ONNX, "Clip", same),
    (ONNX, "Cos", same),
    (ONNX, "Cosh", same),
    (ONNX, "CumProd", same),
    (ONNX, "CumSum", same),
    (ONNX, "Div", arithmetic),
    (ONNX, "Dropout", dropout),
    (ONNX, "Elu", same),
    (ONNX, "Equal", comparison),
    (ONNX, "Erf", same),
    (ONNX, "Exp", same),
    (ONNX, "Floor", same),
    (ONNX, "Gelu", same),
    (ONNX, "Greater", comparison),
    (ONNX, "GreaterOrEqual", comparison),
    (ONNX, "HardSigmoid", same),
    (ONNX, "HardSwish", same),
    (ONNX, "Hardmax", same),
    (ONNX, "IsInf", test),
    (ONNX, "IsNaN", test),
    (ONNX, "LeakyRelu", same),
    (ONNX, "Less", comparison),
    (ONNX, "LessOrEqual", comparison),
    (ONNX, "Log", same),
    (ONNX, "LogSoftmax", same),
    (ONNX, "Max", arithmetic),
    (ONNX, "Mean", arithmetic),
    (ONNX, "Min", arithmetic),
    (ONNX, "Mish", same),
    (ONNX, "Mod", arithmetic),
    (ONNX, "Mul", arithmetic),
    (ONNX, "Neg", same),
    (ONNX, "Not", same),
    (ONNX, "Or", comparison),
    (ONNX, "PRelu", same),
    (ONNX, "Pow", arithmetic),
    (ONNX, "RandomNormalLike", cast),
    (ONNX, "RandomUniformLike", cast),
    (ONNX, "Reciprocal", same),
    (ONNX, "RegexFullMatch", test),
    (ONNX, "Relu", same),
    (ONNX, "Round", same),
    (ONNX, "Selu", same),
    (ONNX, "Shrink", same),
    (ONNX, "Sigmoid", same),
    (ONNX, "Sign", same),
    (ONNX, "Sin", same),
    (ONNX, "Sinh", same),
    (ONNX, "Softmax", same),
    (ONNX, "Softplus", same),
    (ONNX, "Softsign", same),
    (ONNX, "Sqrt", same),
    (ONNX, "StringConcat", arithmetic),
    (ONNX, "Sub", arithmetic),
    (ONNX, "Sum", arithmetic),
    (ONNX, "SwiGLU", same),
    (ONNX, "Swish", same),
    (ONNX, "Tan", same),
    (ONNX, "Tanh", same),
    (ONNX, "ThresholdedRelu", same),
    (ONNX, "Trilu", same),
    (ONNX, "Where", select),
    (ONNX, "Xor", comparison),
    (MICROSOFT, "BiasGelu", same),
    (MICROSOFT, "FastGelu", same),
    (MICROSOFT, "Gelu", same),
    (MICROSOFT, "QuickGelu", same),
    (MICROSOFT, "Trilu", same),
];

/// The type of the first operand.
pub(super) fn same(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![site.like(0)])
}

/// What all given operands broadcast to; `None` when a rank is unknown.
fn all_broadcast(site: &Site<'_>) -> Result<Option<Shape>, Fault> {
    // Before opset 7 the second operand was fitted to the first by attributes.
    if site.attr("broadcast").is_some() && site.opset < 7 {
        return Ok(site.shape(0).map(<[_]>::to_vec));
    }
    let mut shape = Vec::new();
    for index in 0..site.count() {
        match site.shape(index) {
            Some(next) => shape = broadcast(&shape, next)?,
            None => return Ok(None),
        }
    }
    Ok(Some(shape))
}

/// Elements of the first operand, broadcast.
fn arithmetic(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(site.elem(0), all_broadcast(site)?)])
}

/// Booleans, broadcast.
fn comparison(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(Some(Elem::Bool), all_broadcast(site)?)])
}

/// Booleans of the first operand's shape.
fn test(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(Some(Elem::Bool), site.shape(0).map(<[_]>::to_vec))])
}

/// Where: elements of the second operand, all broadcast.
pub(super) fn select(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(site.elem(1).or(site.elem(2)), all_broadcast(site)?)])
}

/// Elements as attribute `to` or `dtype` says, else as they are.
fn cast(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let name = if site.op().name().is_onnx("Cast") { "to" } else { "dtype" };
    let elem = site.elem_attr(name, site.elem(0));
    Ok(vec![tensor(elem, site.shape(0).map(<[_]>::to_vec))])
}

/// Elements of the second operand.
fn cast_like(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(site.elem(1), site.shape(0).map(<[_]>::to_vec))])
}

/// Elements as attribute `to` says, which have the same width.
fn bit_cast(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let elem = site.elem_attr("to", None);
    match (site.elem(0), elem) {
        (Some(from), Some(to)) if from.bits() != to.bits() => Err(format!("{from} and {to} differ in width")),
        _ => Ok(vec![tensor(elem, site.shape(0).map(<[_]>::to_vec))]),
    }
}

/// Dropout: the data, and the mask, which was of the data's type before opset 10.
fn dropout(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let mask = if site.opset < 10 { site.elem(0) } else { Some(Elem::Bool) };
    Ok(vec![site.like(0), tensor(mask, site.shape(0).map(<[_]>::to_vec))])
}
