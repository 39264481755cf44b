//! Sequences, optionals and strings.

use crate::attr::Attr;
use crate::graph::ONNX;
use crate::interp::Fault;
use crate::types::{Dim, Elem, Shape, TensorType, Type};

use super::Entry;
use super::dims::axis;
use super::merge::join;
use super::site::{Site, tensor, unknown};

pub(super) const RULES: &[Entry] = &[
    (ONNX, "ConcatFromSequence", concat),
    (ONNX, "ImageDecoder", image),
    (ONNX, "Optional", optional),
    (ONNX, "OptionalGetElement", optional_get),
    (ONNX, "OptionalHasElement", optional_has),
    (ONNX, "SequenceAt", at),
    (ONNX, "SequenceConstruct", construct),
    (ONNX, "SequenceEmpty", empty),
    (ONNX, "SequenceErase", super::elementwise::same),
    (ONNX, "SequenceInsert", insert),
    (ONNX, "SequenceLength", length),
    (ONNX, "SplitToSequence", split),
    (ONNX, "StringNormalizer", normalize),
    (ONNX, "StringSplit", string_split),
    (ONNX, "TfIdfVectorizer", tf_idf),
];

fn element<'a>(site: &Site<'a>) -> Option<&'a Type> {
    match site.ty(0) {
        Some(Type::Sequence(element)) => Some(element),
        _ => None,
    }
}

fn plain(ty: &Type) -> Type {
    match ty {
        Type::Tensor(t) => Type::Tensor(TensorType { quant: None, ..t.clone() }),
        other => other.clone(),
    }
}

fn construct(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let all = (0..site.count()).map(|index| site.like(index)).reduce(|a, b| join(&a, &b));
    Ok(vec![all.map_or(Type::Unknown, |ty| Type::Sequence(Box::new(ty)))])
}

fn empty(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let ty = tensor(site.elem_attr("dtype", Some(Elem::F32)), None);
    Ok(vec![Type::Sequence(Box::new(ty))])
}

fn at(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![element(site).map_or(Type::Unknown, plain)])
}

fn insert(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![element(site).map_or(Type::Unknown, |ty| Type::Sequence(Box::new(join(ty, &site.like(1)))))])
}

fn length(_: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(Some(Elem::I64), Some(Shape::new()))])
}

/// ConcatFromSequence: how long the result is, the length of the sequence tells.
fn concat(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let Some(Type::Tensor(t)) = element(site) else { return Ok(vec![Type::Unknown]) };
    let new = site.int("new_axis", 0) == Some(1);
    let shape = match (&t.shape, site.maybe_int("axis")) {
        (Some(dims), Some(at)) if new => {
            let mut dims = dims.clone();
            dims.insert(axis(at, dims.len() + 1)?, Dim::Unknown);
            Some(dims)
        }
        (Some(dims), Some(at)) => {
            let mut dims = dims.clone();
            let at = axis(at, dims.len())?;
            dims[at] = Dim::Unknown;
            Some(dims)
        }
        _ => None,
    };
    Ok(vec![tensor(Some(t.elem), shape)])
}

/// SplitToSequence: pieces of one length where `split` is a number, of 1 where it is absent.
fn split(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let Some(shape) = site.shape(0) else {
        return Ok(vec![site.elem(0).map_or(Type::Unknown, |e| Type::Sequence(Box::new(tensor(Some(e), None))))]);
    };
    let Some(at) = site.axis("axis", 0, 0)? else { return Ok(vec![Type::Unknown]) };
    let mut dims: Option<Shape> = Some(shape.to_vec());
    if site.has(1) {
        let size = site.scalar(1).filter(|_| site.rank(1) == Some(0)).and_then(|n| u64::try_from(n).ok()).filter(|&n| n > 0);
        let all_equal = size.filter(|&n| shape[at].known().is_some_and(|whole| whole % n == 0));
        dims = dims.map(|mut d| {
            d[at] = all_equal.map_or(Dim::Unknown, Dim::Known);
            d
        });
    } else if site.int("keepdims", 1) == Some(1) {
        dims = dims.map(|mut d| {
            d[at] = Dim::Known(1);
            d
        });
    } else {
        dims = dims.map(|mut d| {
            d.remove(at);
            d
        });
    }
    Ok(vec![Type::Sequence(Box::new(tensor(site.elem(0), dims)))])
}

fn optional(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let inner = match site.attr("type") {
        Some(Attr::Type(ty)) if !site.has(0) => ty.clone(),
        _ => site.like(0),
    };
    Ok(vec![if inner == Type::Unknown { Type::Unknown } else { Type::Optional(Box::new(inner)) }])
}

/// OptionalGetElement: since opset 18 also of what is no optional at all.
fn optional_get(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![match site.ty(0) {
        Some(Type::Optional(inner)) => plain(inner),
        _ => site.like(0),
    }])
}

fn optional_has(_: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(Some(Elem::Bool), Some(Shape::new()))])
}

/// StringNormalizer: stop words may go, of a row or of a batch of one row.
fn normalize(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let shape = match site.shape(0) {
        Some([_]) => Some(vec![Dim::Unknown]),
        Some([_, _]) => Some(vec![Dim::Known(1), Dim::Unknown]),
        _ => None,
    };
    Ok(vec![tensor(Some(Elem::Str), shape)])
}

/// StringSplit: the words of each string, padded to the longest; and how many there are.
fn string_split(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let shape = site.shape(0).map(<[_]>::to_vec);
    let words = shape.clone().map(|mut dims| {
        dims.push(Dim::Unknown);
        dims
    });
    Ok(vec![tensor(Some(Elem::Str), words), tensor(Some(Elem::I64), shape)])
}

/// TfIdfVectorizer: one number per index that `ngram_indexes` names.
fn tf_idf(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let most = site.attr("ngram_indexes").and_then(Attr::as_ints).and_then(|list| list.iter().max().copied());
    let count = most.and_then(|n| u64::try_from(n).ok()).and_then(|n| n.checked_add(1)).map_or(Dim::Unknown, Dim::Known);
    let shape = match site.shape(0) {
        Some([]) | Some([_]) => Some(vec![count]),
        Some([batch, _]) => Some(vec![batch.clone(), count]),
        _ => None,
    };
    Ok(vec![tensor(Some(Elem::F32), shape)])
}

/// ImageDecoder: height, width, channels; `pixel_format` tells the last.
fn image(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let channels = if site.text("pixel_format", "RGB") == "Grayscale" { 1 } else { 3 };
    let mut dims = unknown(2);
    dims.push(Dim::Known(channels));
    Ok(vec![tensor(Some(Elem::U8), Some(dims))])
}
