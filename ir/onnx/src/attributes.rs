//! Attributes: `AttributeProto` and back. Graphs are attributes in files and regions in the IR.

use spaceevo_ir::{Attr, Diagnostic, Loc, Symbol, Type};

use crate::external::Store;
use crate::proto::attribute_proto::AttributeType as Kind;
use crate::proto::{AttributeProto, GraphProto, TypeProto};
use crate::tensors::{sparse_in, sparse_out, tensor_in, tensor_out};
use crate::types::{type_in, type_out};

/// What an attribute of a file turns out to hold.
pub(crate) enum Content {
    /// A plain value.
    Attr(Attr),
    /// A subgraph.
    Graph(GraphProto),
    /// Several.
    Graphs(Vec<GraphProto>),
}

/// Reads an attribute.
///
/// Errors: a kind that the schema does not know or the IR has no word for, content that does not fit the kind.
pub(crate) fn attr_in(proto: AttributeProto, store: &mut Store, loc: &Loc) -> Result<Content, Diagnostic> {
    let name = proto.name().to_string();
    let fail = |code, why: &str| Diagnostic::error(code, loc.clone(), format!("attribute '{name}' {why}"));
    let empty = || fail("onnx-malformed", "has no value of its declared type");
    let kind = Kind::try_from(proto.r#type.unwrap_or(0)).map_err(|_| fail("onnx-unsupported", "is of an unknown type"))?;
    if !proto.ref_attr_name().is_empty() {
        return Ok(Content::Attr(Attr::Ref(proto.ref_attr_name().into(), kind as i32)));
    }
    let kind = if kind == Kind::Undefined { guess(&proto).ok_or_else(empty)? } else { kind };
    Ok(Content::Attr(match kind {
        Kind::Float => Attr::Float(proto.f.unwrap_or_default()),
        Kind::Int => Attr::Int(proto.i.unwrap_or_default()),
        Kind::String => Attr::Str(proto.s.unwrap_or_default()),
        Kind::Tensor => Attr::Tensor(tensor_in(proto.t.ok_or_else(empty)?, store, loc)?),
        Kind::SparseTensor => Attr::Sparse(Box::new(sparse_in(proto.sparse_tensor.ok_or_else(empty)?, store, loc)?)),
        Kind::TypeProto => Attr::Type(type_in(&proto.tp.ok_or_else(empty)?)),
        Kind::Floats => Attr::Floats(proto.floats),
        Kind::Ints => Attr::Ints(proto.ints),
        Kind::Strings => Attr::Strs(proto.strings),
        Kind::Tensors => {
            Attr::Tensors(proto.tensors.into_iter().map(|t| tensor_in(t, store, loc)).collect::<Result<_, _>>()?)
        }
        Kind::TypeProtos => Attr::Types(proto.type_protos.iter().map(type_in).collect()),
        Kind::Graph => return Ok(Content::Graph(proto.g.ok_or_else(empty)?)),
        Kind::Graphs => return Ok(Content::Graphs(proto.graphs)),
        Kind::SparseTensors => return Err(fail("onnx-unsupported", "is a list of sparse tensors, which is not supported")),
        Kind::Undefined => return Err(empty()),
    }))
}

/// The kind of an attribute of IR version 1, which had no field for it: by what is there.
fn guess(proto: &AttributeProto) -> Option<Kind> {
    let there = [
        (proto.f.is_some(), Kind::Float),
        (proto.i.is_some(), Kind::Int),
        (proto.s.is_some(), Kind::String),
        (proto.t.is_some(), Kind::Tensor),
        (proto.g.is_some(), Kind::Graph),
        (!proto.floats.is_empty(), Kind::Floats),
        (!proto.ints.is_empty(), Kind::Ints),
        (!proto.strings.is_empty(), Kind::Strings),
        (!proto.tensors.is_empty(), Kind::Tensors),
        (!proto.graphs.is_empty(), Kind::Graphs),
    ];
    there.into_iter().find(|(is, _)| *is).map(|(_, kind)| kind)
}

/// Label of the region of graph `index` of an attribute that is a list of graphs.
pub(crate) fn list_label(name: &str, index: usize) -> Symbol {
    format!("{name}[{index}]").into()
}

/// The attribute's name, if a region's label is one of [`list_label`].
pub(crate) fn list_name(label: &str) -> Option<&str> {
    let (name, index) = label.strip_suffix(']')?.rsplit_once('[')?;
    index.parse::<usize>().is_ok().then_some(name)
}

/// Writes an attribute.
///
/// Errors: search expressions, words and quantized types, which ONNX has no words for.
pub(crate) fn attr_out(name: &str, attr: &Attr, loc: &Loc) -> Result<AttributeProto, Diagnostic> {
    let mut proto = AttributeProto { name: Some(name.to_string()), ..AttributeProto::default() };
    let ty = |t: &Type| Ok::<TypeProto, Diagnostic>(type_out(t, name, loc)?.unwrap_or_default());
    let kind = match attr {
        Attr::Int(n) => {
            proto.i = Some(*n);
            Kind::Int
        }
        Attr::Float(x) => {
            proto.f = Some(*x);
            Kind::Float
        }
        Attr::Str(s) => {
            proto.s = Some(s.clone());
            Kind::String
        }
        Attr::Tensor(t) => {
            proto.t = Some(tensor_out(t, ""));
            Kind::Tensor
        }
        Attr::Sparse(s) => {
            proto.sparse_tensor = Some(sparse_out(s, ""));
            Kind::SparseTensor
        }
        Attr::Type(t) => {
            proto.tp = Some(ty(t)?);
            Kind::TypeProto
        }
        Attr::Ints(list) => {
            proto.ints = list.clone();
            Kind::Ints
        }
        Attr::Floats(list) => {
            proto.floats = list.clone();
            Kind::Floats
        }
        Attr::Strs(list) => {
            proto.strings = list.clone();
            Kind::Strings
        }
        Attr::Tensors(list) => {
            proto.tensors = list.iter().map(|t| tensor_out(t, "")).collect();
            Kind::Tensors
        }
        Attr::Types(list) => {
            proto.type_protos = list.iter().map(ty).collect::<Result<_, _>>()?;
            Kind::TypeProtos
        }
        Attr::Ref(outer, kind) => {
            proto.ref_attr_name = Some(outer.to_string());
            Kind::try_from(*kind).unwrap_or(Kind::Undefined)
        }
        Attr::Expr(_) | Attr::List(_) | Attr::Word(_) => {
            let message = format!("attribute '{name}' is a search expression or a word, which ONNX has no word for");
            return Err(Diagnostic::error("onnx-inexpressible", loc.clone(), message)
                .note("bind the parameters and specialize before writing"));
        }
    };
    proto.r#type = Some(kind as i32);
    Ok(proto)
}

/// An attribute that holds one graph.
pub(crate) fn graph_out(name: &str, graph: GraphProto) -> AttributeProto {
    let (name, kind) = (Some(name.to_string()), Some(Kind::Graph as i32));
    AttributeProto { name, g: Some(graph), r#type: kind, ..AttributeProto::default() }
}

/// An attribute that holds a list of graphs.
pub(crate) fn graphs_out(name: &str, graphs: Vec<GraphProto>) -> AttributeProto {
    let (name, kind) = (Some(name.to_string()), Some(Kind::Graphs as i32));
    AttributeProto { name, graphs, r#type: kind, ..AttributeProto::default() }
}
