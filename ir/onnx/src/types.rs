//! Types of values: `TypeProto` and back.

use spaceevo_ir::graph::ValueMeta;
use spaceevo_ir::{Diagnostic, Dim, Elem, Loc, Shape, TensorType, Type};

use crate::entries;
use crate::proto::{TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto};

/// The type that a file declares. Extents below 0 and empty symbols are unknown extents, as old exporters mean them;
/// element types newer than the schema, and opaque types, are unknown types.
pub(crate) fn type_in(proto: &TypeProto) -> Type {
    use type_proto::Value;
    let nested = |elem: &Option<Box<TypeProto>>| Box::new(elem.as_deref().map_or(Type::Unknown, type_in));
    match &proto.value {
        Some(Value::TensorType(t)) => tensor_type_in(t.elem_type, t.shape.as_ref()).map_or(Type::Unknown, Type::Tensor),
        Some(Value::SparseTensorType(t)) => {
            tensor_type_in(t.elem_type, t.shape.as_ref()).map_or(Type::Unknown, Type::Sparse)
        }
        Some(Value::SequenceType(s)) => Type::Sequence(nested(&s.elem_type)),
        Some(Value::OptionalType(o)) => Type::Optional(nested(&o.elem_type)),
        Some(Value::MapType(m)) => {
            m.key_type.and_then(Elem::from_onnx_code).map_or(Type::Unknown, |key| Type::Map(key, nested(&m.value_type)))
        }
        Some(Value::OpaqueType(_)) | None => Type::Unknown,
    }
}

fn tensor_type_in(elem: Option<i32>, shape: Option<&TensorShapeProto>) -> Option<TensorType> {
    let elem = Elem::from_onnx_code(elem?)?;
    Some(TensorType { elem, shape: shape.map(|s| s.dim.iter().map(dim_in).collect()), quant: None })
}

fn dim_in(dim: &tensor_shape_proto::Dimension) -> Dim {
    use tensor_shape_proto::dimension::Value;
    match &dim.value {
        Some(Value::DimValue(n)) => u64::try_from(*n).map_or(Dim::Unknown, Dim::Known),
        Some(Value::DimParam(name)) if !name.is_empty() => Dim::Named(name.as_str().into()),
        _ => Dim::Unknown,
    }
}

/// What a `ValueInfoProto` says beside the type. Denotations are notes on a type: with one that is not known they go.
pub(crate) fn meta_in(info: &ValueInfoProto) -> ValueMeta {
    use type_proto::Value;
    let ty = info.r#type.as_ref().filter(|t| type_in(t) != Type::Unknown);
    let shape = ty.and_then(|t| match &t.value {
        Some(Value::TensorType(t)) => t.shape.as_ref(),
        Some(Value::SparseTensorType(t)) => t.shape.as_ref(),
        _ => None,
    });
    let mut dims: Vec<String> = shape.map_or(Vec::new(), |s| s.dim.iter().map(|d| d.denotation().to_string()).collect());
    if dims.iter().all(String::is_empty) {
        dims.clear();
    }
    ValueMeta {
        doc: info.doc_string().to_string(),
        props: entries::map_in(&info.metadata_props),
        denotation: ty.map_or(String::new(), |t| t.denotation().to_string()),
        dim_denotations: dims,
        sparse: false,
    }
}

/// Name, type and notes of a value as a file declares them.
///
/// Errors: the type cannot be written, see [`type_out`].
pub(crate) fn info_out(name: &str, ty: &Type, meta: Option<&ValueMeta>, loc: &Loc) -> Result<ValueInfoProto, Diagnostic> {
    use type_proto::Value;
    let mut proto = type_out(ty, name, loc)?;
    let none = ValueMeta::default();
    let meta = meta.unwrap_or(&none);
    if let Some(proto) = &mut proto {
        proto.denotation = entries::text_out(&meta.denotation);
        let shape = match &mut proto.value {
            Some(Value::TensorType(t)) => t.shape.as_mut(),
            Some(Value::SparseTensorType(t)) => t.shape.as_mut(),
            _ => None,
        };
        for (dim, denotation) in shape.into_iter().flat_map(|s| &mut s.dim).zip(&meta.dim_denotations) {
            dim.denotation = entries::text_out(denotation);
        }
    }
    Ok(ValueInfoProto {
        name: Some(name.to_string()),
        r#type: proto,
        doc_string: entries::text_out(&meta.doc),
        metadata_props: entries::map_out(&meta.props),
    })
}

/// The type as a file declares it; `None` for an unknown one.
///
/// Errors: a quantized type, which must have been lowered to operators before, or an extent that still depends on
/// search parameters. `what` names the value in the message.
pub(crate) fn type_out(ty: &Type, what: &str, loc: &Loc) -> Result<Option<TypeProto>, Diagnostic> {
    use type_proto::{Map, Optional, Sequence, SparseTensor, Tensor, Value};
    let nested = |inner: &Type| Ok::<_, Diagnostic>(type_out(inner, what, loc)?.map(Box::new));
    let value = match ty {
        Type::Unknown => return Ok(None),
        Type::Tensor(t) => {
            let (elem_type, shape) = tensor_type_out(t, what, loc)?;
            Value::TensorType(Tensor { elem_type, shape })
        }
        Type::Sparse(t) => {
            let (elem_type, shape) = tensor_type_out(t, what, loc)?;
            Value::SparseTensorType(SparseTensor { elem_type, shape })
        }
        Type::Sequence(inner) => Value::SequenceType(Box::new(Sequence { elem_type: nested(inner)? })),
        Type::Optional(inner) => Value::OptionalType(Box::new(Optional { elem_type: nested(inner)? })),
        Type::Map(key, inner) => {
            Value::MapType(Box::new(Map { key_type: Some(key.onnx_code()), value_type: nested(inner)? }))
        }
    };
    Ok(Some(TypeProto { denotation: None, value: Some(value) }))
}

type TensorTypeOut = (Option<i32>, Option<TensorShapeProto>);

fn tensor_type_out(ty: &TensorType, what: &str, loc: &Loc) -> Result<TensorTypeOut, Diagnostic> {
    if ty.quant.is_some() {
        let message = format!("'{what}' has a quantized type, which ONNX has no word for");
        return Err(Diagnostic::error("onnx-inexpressible", loc.clone(), message)
            .note("lower quantized types to QOperator or QDQ form before writing"));
    }
    let shape = ty.shape.as_ref().map(|s| shape_out(s, what, loc)).transpose()?;
    Ok((Some(ty.elem.onnx_code()), shape))
}

fn shape_out(shape: &Shape, what: &str, loc: &Loc) -> Result<TensorShapeProto, Diagnostic> {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let fail = |why: &str| Diagnostic::error("onnx-inexpressible", loc.clone(), format!("an extent of '{what}' {why}"));
    let dim = shape.iter().map(|dim| {
        let value = match dim {
            Dim::Known(n) => Some(Value::DimValue(i64::try_from(*n).map_err(|_| fail("is above 2^63"))?)),
            Dim::Named(name) => Some(Value::DimParam(name.to_string())),
            Dim::Unknown => None,
            Dim::Expr(_) => {
                return Err(fail("depends on search parameters").note("bind the parameters and specialize before writing"));
            }
        };
        Ok(Dimension { denotation: None, value })
    });
    Ok(TensorShapeProto { dim: dim.collect::<Result<_, _>>()? })
}
