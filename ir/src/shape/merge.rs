//! Two statements about one value: both at once, or either.

use crate::interp::Fault;
use crate::types::{Dim, Shape, TensorType, Type};

/// What is known of a value when `declared` and `inferred` are both true. Names and quantization of the declared type are
/// kept; a known extent wins over a name.
///
/// # Errors
/// Says what contradicts what.
pub fn merge(declared: &Type, inferred: &Type) -> Result<Type, Fault> {
    Ok(match (declared, inferred) {
        (Type::Unknown, other) | (other, Type::Unknown) => other.clone(),
        (Type::Tensor(a), Type::Tensor(b)) => Type::Tensor(merge_tensor(a, b)?),
        (Type::Sparse(a), Type::Sparse(b)) => Type::Sparse(merge_tensor(a, b)?),
        (Type::Sequence(a), Type::Sequence(b)) => Type::Sequence(Box::new(merge(a, b)?)),
        (Type::Optional(a), Type::Optional(b)) => Type::Optional(Box::new(merge(a, b)?)),
        (Type::Map(k, a), Type::Map(l, b)) if k == l => Type::Map(*k, Box::new(merge(a, b)?)),
        _ => return Err("it is another kind of value".to_string()),
    })
}

fn merge_tensor(declared: &TensorType, inferred: &TensorType) -> Result<TensorType, Fault> {
    // An operator on stored integers may make a value whose declared type says which real numbers they stand for.
    let stored = declared.quant.is_some() && declared.storage() == inferred.elem;
    if declared.elem != inferred.elem && !stored {
        return Err(format!("elements are {}, not {}", inferred.elem, declared.elem));
    }
    let shape = match (&declared.shape, &inferred.shape) {
        (None, other) | (other, None) => other.clone(),
        (Some(a), Some(b)) if a.len() == b.len() => {
            let dims = a.iter().zip(b).enumerate().map(|(axis, (a, b))| {
                merge_dim(a, b).ok_or_else(|| format!("extent of axis {axis} is {}, not {}", word(b), word(a)))
            });
            Some(dims.collect::<Result<Shape, Fault>>()?)
        }
        (Some(a), Some(b)) => return Err(format!("rank is {}, not {}", b.len(), a.len())),
    };
    Ok(TensorType { elem: declared.elem, shape, quant: declared.quant.clone() })
}

fn word(dim: &Dim) -> String {
    match dim {
        Dim::Known(n) => n.to_string(),
        Dim::Named(name) => name.to_string(),
        Dim::Expr(_) | Dim::Unknown => "?".to_string(),
    }
}

fn merge_dim(declared: &Dim, inferred: &Dim) -> Option<Dim> {
    Some(match (declared, inferred) {
        (Dim::Known(a), Dim::Known(b)) if a != b => return None,
        (Dim::Unknown, other) => other.clone(),
        (Dim::Named(_), Dim::Known(_)) => inferred.clone(),
        (kept, _) => kept.clone(),
    })
}

/// What is known of a value when `a` or `b` is true: of a result of two branches, of what a loop carries around.
pub(super) fn join(a: &Type, b: &Type) -> Type {
    match (a, b) {
        (Type::Tensor(a), Type::Tensor(b)) if a.elem == b.elem => Type::Tensor(join_tensor(a, b)),
        (Type::Sparse(a), Type::Sparse(b)) if a.elem == b.elem => Type::Sparse(join_tensor(a, b)),
        (Type::Sequence(a), Type::Sequence(b)) => Type::Sequence(Box::new(join(a, b))),
        (Type::Optional(a), Type::Optional(b)) => Type::Optional(Box::new(join(a, b))),
        (a, b) if a == b => a.clone(),
        _ => Type::Unknown,
    }
}

fn join_tensor(a: &TensorType, b: &TensorType) -> TensorType {
    let shape = match (&a.shape, &b.shape) {
        (Some(a), Some(b)) if a.len() == b.len() => {
            Some(a.iter().zip(b).map(|(a, b)| if a == b { a.clone() } else { Dim::Unknown }).collect())
        }
        _ => None,
    };
    TensorType { elem: a.elem, shape, quant: None }
}
