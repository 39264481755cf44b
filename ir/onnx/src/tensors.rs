//! Tensors: `TensorProto` and `SparseTensorProto` and back. In the IR every tensor is packed bytes; a file may also hold
//! its numbers in typed lists, in another file, or as the non-zero ones only.

use bytes::Bytes;
use spaceevo_ir::attr::SparseTensor;
use spaceevo_ir::tensor::count;
use spaceevo_ir::{Diagnostic, Elem, Loc, Tensor};

use crate::external::Store;
use crate::proto::{SparseTensorProto, TensorProto, tensor_proto::DataLocation};

/// Reads a tensor. Its bytes are shared with the file where the file holds them raw.
///
/// Errors: an unknown element type, a negative or overflowing shape, and data that is not as long as shape and element type
/// demand; nothing is allocated before that is known.
pub(crate) fn tensor_in(proto: TensorProto, store: &mut Store, loc: &Loc) -> Result<Tensor, Diagnostic> {
    let name = proto.name().to_string();
    let bad = |why: String| Diagnostic::error("onnx-tensor", loc.clone(), format!("tensor '{name}' {why}"));
    let code = proto.data_type();
    let elem = Elem::from_onnx_code(code).ok_or_else(|| bad(format!("has the unknown element type {code}")))?;
    if proto.segment.is_some() {
        return Err(bad("is one segment of a larger tensor, which is not supported".to_string()));
    }
    let dims = dims_in(&proto.dims).ok_or_else(|| bad(format!("has the impossible shape {:?}", proto.dims)))?;
    let len = count(&dims).ok_or_else(|| bad(format!("has more elements than can be counted: {dims:?}")))?;
    let size = elem.byte_len(len).ok_or_else(|| bad(format!("has more bytes than can be counted: {dims:?}")))?;
    let short = |found: usize, needed: usize, unit: &str| {
        bad(format!("of type {elem}{dims:?} needs {needed} {unit}, the file has {found}"))
    };
    if elem == Elem::Str {
        let found = proto.string_data.len();
        let fits = found == len && proto.data_location() == DataLocation::Default;
        return if fits { Ok(Tensor::strings(dims, proto.string_data)) } else { Err(short(found, len, "strings")) };
    }
    let bytes = if proto.data_location() == DataLocation::External {
        store.slice(&proto.external_data, size, &name, loc)?
    } else {
        match proto.raw_data {
            Some(raw) if !raw.is_empty() => raw,
            _ => {
                let (found, needed) = typed_len(&proto, elem, len);
                if found != needed {
                    return Err(short(found, needed, "numbers"));
                }
                typed_bytes(&proto, elem)
            }
        }
    };
    let found = bytes.len();
    Tensor::from_bytes(elem, dims.clone(), bytes).ok_or_else(|| short(found, size, "bytes"))
}

fn dims_in(dims: &[i64]) -> Option<Vec<usize>> {
    dims.iter().map(|&d| usize::try_from(d).ok()).collect()
}

/// How many numbers the typed list of an element type holds, and how many `len` elements need.
fn typed_len(proto: &TensorProto, elem: Elem, len: usize) -> (usize, usize) {
    match elem {
        Elem::F32 => (proto.float_data.len(), len),
        Elem::C64 => (proto.float_data.len(), len.saturating_mul(2)),
        Elem::F64 => (proto.double_data.len(), len),
        Elem::C128 => (proto.double_data.len(), len.saturating_mul(2)),
        Elem::I64 => (proto.int64_data.len(), len),
        Elem::U32 | Elem::U64 => (proto.uint64_data.len(), len),
        Elem::F6E2M3 | Elem::F6E3M2 => (proto.int32_data.len(), len),
        _ if elem.bits() < 8 => (proto.int32_data.len(), len.div_ceil(8 / elem.bits())),
        _ => (proto.int32_data.len(), len),
    }
}

/// The numbers of a typed list, packed. Narrow types keep the low bits of each list entry.
fn typed_bytes(proto: &TensorProto, elem: Elem) -> Bytes {
    let ints = &proto.int32_data;
    let bytes: Vec<u8> = match elem {
        Elem::F32 | Elem::C64 => proto.float_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Elem::F64 | Elem::C128 => proto.double_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Elem::I64 => proto.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Elem::U64 => proto.uint64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Elem::U32 => proto.uint64_data.iter().flat_map(|&v| (v as u32).to_le_bytes()).collect(),
        Elem::F6E2M3 | Elem::F6E3M2 => pack_six(ints),
        _ if elem.bits() == 32 => ints.iter().flat_map(|v| v.to_le_bytes()).collect(),
        _ if elem.bits() == 16 => ints.iter().flat_map(|&v| (v as u16).to_le_bytes()).collect(),
        _ => ints.iter().map(|&v| v as u8).collect(),
    };
    bytes.into()
}

/// Six-bit numbers as one stream of bits, low bits first.
fn pack_six(numbers: &[i32]) -> Vec<u8> {
    let group = |four: &[i32]| {
        let bits = four.iter().rev().fold(0u32, |bits, &n| bits << 6 | (n as u32 & 63));
        bits.to_le_bytes().into_iter().take((four.len() * 6).div_ceil(8))
    };
    numbers.chunks(4).flat_map(group).collect()
}

/// Writes a tensor: raw bytes shared with it, or strings.
pub(crate) fn tensor_out(tensor: &Tensor, name: &str) -> TensorProto {
    let (raw_data, string_data) = match tensor.as_strings() {
        Some(strings) => (None, strings.to_vec()),
        None => (Some(tensor.bytes()), Vec::new()),
    };
    TensorProto {
        // An extent above 2^63 cannot be in memory unless another one is 0.
        dims: tensor.dims().iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect(),
        data_type: Some(tensor.elem().onnx_code()),
        name: crate::entries::text_out(name),
        raw_data,
        string_data,
        ..TensorProto::default()
    }
}

/// Reads a sparse tensor as it is.
pub(crate) fn sparse_in(proto: SparseTensorProto, store: &mut Store, loc: &Loc) -> Result<SparseTensor, Diagnostic> {
    let bad = |why: &str| Diagnostic::error("onnx-tensor", loc.clone(), format!("a sparse tensor {why}"));
    let values = tensor_in(proto.values.ok_or_else(|| bad("has no values"))?, store, loc)?;
    let indices = tensor_in(proto.indices.ok_or_else(|| bad("has no indices"))?, store, loc)?;
    let dims = dims_in(&proto.dims).ok_or_else(|| bad("has a negative extent"))?;
    Ok(SparseTensor { values, indices, dims })
}

/// Writes a sparse tensor as it is.
pub(crate) fn sparse_out(sparse: &SparseTensor, name: &str) -> SparseTensorProto {
    SparseTensorProto {
        values: Some(tensor_out(&sparse.values, name)),
        indices: Some(tensor_out(&sparse.indices, "")),
        dims: sparse.dims.iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect(),
    }
}

/// Fills in the zeros of a sparse tensor of whole-byte elements.
///
/// Errors: element types that are not whole bytes, more than `limit` bytes, indices that do not fit the shape.
pub(crate) fn to_dense(sparse: &SparseTensor, limit: usize, loc: &Loc) -> Result<Tensor, Diagnostic> {
    let bad = |why: String| Diagnostic::error("onnx-tensor", loc.clone(), format!("a sparse tensor {why}"));
    let SparseTensor { values, indices, dims } = sparse;
    let width = whole_bytes(values.elem()).ok_or_else(|| bad(format!("of {} is not supported", values.elem())))?;
    let len = count(dims).ok_or_else(|| bad(format!("has more elements than can be counted: {dims:?}")))?;
    let size = len.checked_mul(width).filter(|&s| s <= limit).ok_or_else(|| {
        bad(format!("of shape {dims:?} would fill more than {limit} bytes when dense"))
            .note("raise ReadOptions::max_dense_bytes if the file is to be trusted")
    })?;
    let linear =
        linear_indices(sparse, len).ok_or_else(|| bad(format!("has indices that do not fit the shape {dims:?}")))?;
    if indices.elem() != Elem::I64 || values.dims() != [linear.len()] {
        return Err(bad("needs as many i64 indices as values".to_string()));
    }
    let (source, mut bytes) = (values.bytes(), vec![0u8; size]);
    for (value, at) in source.chunks_exact(width).zip(linear) {
        bytes[at * width..(at + 1) * width].copy_from_slice(value);
    }
    Tensor::from_bytes(values.elem(), dims.clone(), bytes).ok_or_else(|| bad("has a wrong size".to_string()))
}

/// Positions in the dense tensor of `len` elements; `None` where one lies outside.
fn linear_indices(sparse: &SparseTensor, len: usize) -> Option<Vec<usize>> {
    let numbers = sparse.indices.to_i64()?;
    match *sparse.indices.dims() {
        [_] => numbers.iter().map(|&i| usize::try_from(i).ok().filter(|&i| i < len)).collect(),
        [_, rank] if rank == sparse.dims.len() && rank > 0 => {
            let position = |coordinates: &[i64]| {
                coordinates.iter().zip(&sparse.dims).try_fold(0usize, |at, (&c, &dim)| {
                    let c = usize::try_from(c).ok().filter(|&c| c < dim)?;
                    at.checked_mul(dim)?.checked_add(c)
                })
            };
            numbers.chunks_exact(rank).map(position).collect()
        }
        _ => None,
    }
}

/// The non-zero elements of a dense tensor, with linear indices. `None` for element types that are not whole bytes.
pub(crate) fn to_sparse(tensor: &Tensor) -> Option<SparseTensor> {
    let width = whole_bytes(tensor.elem())?;
    let bytes = tensor.bytes();
    let (mut values, mut indices) = (Vec::new(), Vec::new());
    for (at, element) in bytes.chunks_exact(width).enumerate() {
        if element.iter().any(|&b| b != 0) {
            values.extend_from_slice(element);
            indices.push(at as i64);
        }
    }
    let values = Tensor::from_bytes(tensor.elem(), vec![indices.len()], values)?;
    let indices = Tensor::new(vec![indices.len()], indices);
    Some(SparseTensor { values, indices, dims: tensor.dims().to_vec() })
}

fn whole_bytes(elem: Elem) -> Option<usize> {
    (elem.bits() > 0 && elem.bits().is_multiple_of(8)).then_some(elem.bits() / 8)
}
