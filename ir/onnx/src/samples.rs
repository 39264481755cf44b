//! Tensors, sequences and optional values as files of their own: ONNX's test data (`test_data_set_0/input_0.pb`).

use bytes::Bytes;
use prost::Message;
use spaceevo_ir::interp::Datum;
use spaceevo_ir::{Diagnostic, Loc, Tensor, Type};

use crate::budget;
use crate::external::Store;
use crate::proto::{OptionalProto, SequenceProto, SparseTensorProto, TensorProto};
use crate::tensors::{sparse_in, tensor_in, tensor_out, to_dense};
use crate::{ReadOptions, decode};

/// Reads a `TensorProto`. `name` stands for the file in messages.
///
/// Errors: bytes that are no tensor, or a damaged one.
pub fn read_tensor(bytes: Bytes, name: &str) -> Result<Tensor, Diagnostic> {
    let mut reader = Reader::new(name);
    reader.tensor(reader.decoded::<TensorProto>(bytes, budget::TENSOR, "a tensor")?)
}

/// Reads the file of a value of type `ty`: a `SequenceProto` or `OptionalProto` for those types, else a `TensorProto`.
///
/// Errors: as [`read_tensor`]; also for maps, which the IR has no values of.
pub fn read_datum(bytes: Bytes, ty: &Type, name: &str) -> Result<Datum, Diagnostic> {
    let mut reader = Reader::new(name);
    match ty {
        Type::Sequence(_) => {
            let proto = reader.decoded::<SequenceProto>(bytes, budget::SEQUENCE, "a sequence")?;
            reader.sequence(proto)
        }
        Type::Optional(_) => {
            let proto = reader.decoded::<OptionalProto>(bytes, budget::OPTIONAL, "an optional value")?;
            reader.optional(proto)
        }
        Type::Map(..) => Err(reader.unsupported("a map")),
        _ => Ok(Datum::Tensor(read_tensor(bytes, name)?)),
    }
}

/// Writes a `TensorProto`, with a name where one is given.
pub fn tensor_to_bytes(tensor: &Tensor, name: &str) -> Vec<u8> {
    tensor_out(tensor, name).encode_to_vec()
}

struct Reader {
    loc: Loc,
    store: Store,
    limits: ReadOptions,
}

impl Reader {
    fn new(name: &str) -> Self {
        let loc = Loc::Onnx { file: name.into(), node: "".into() };
        Reader { loc, store: Store::new(None), limits: ReadOptions::default() }
    }

    fn decoded<M: Message + Default>(
        &self,
        bytes: Bytes,
        shape: &'static budget::Shape,
        what: &str,
    ) -> Result<M, Diagnostic> {
        budget::check(&bytes, shape, self.limits.max_message_bytes, &self.loc)?;
        decode(bytes, what, &self.loc)
    }

    fn unsupported(&self, what: &str) -> Diagnostic {
        Diagnostic::error("onnx-unsupported", self.loc.clone(), format!("the file holds {what}, which is not supported"))
    }

    fn tensor(&mut self, proto: TensorProto) -> Result<Tensor, Diagnostic> {
        tensor_in(proto, &mut self.store, &self.loc)
    }

    fn sparse(&mut self, proto: SparseTensorProto) -> Result<Tensor, Diagnostic> {
        let sparse = sparse_in(proto, &mut self.store, &self.loc)?;
        let dense = to_dense(&sparse, self.limits.max_dense_bytes, &self.loc)?;
        self.limits.max_dense_bytes -= dense.bytes().len();
        Ok(dense)
    }

    fn sequence(&mut self, proto: SequenceProto) -> Result<Datum, Diagnostic> {
        if !proto.map_values.is_empty() {
            return Err(self.unsupported("a map"));
        }
        let mut items = Vec::new();
        for tensor in proto.tensor_values {
            items.push(Datum::Tensor(self.tensor(tensor)?));
        }
        for sparse in proto.sparse_tensor_values {
            items.push(Datum::Tensor(self.sparse(sparse)?));
        }
        for sequence in proto.sequence_values {
            items.push(self.sequence(sequence)?);
        }
        for optional in proto.optional_values {
            items.push(self.optional(optional)?);
        }
        Ok(Datum::Sequence(items))
    }

    fn optional(&mut self, proto: OptionalProto) -> Result<Datum, Diagnostic> {
        if proto.map_value.is_some() {
            return Err(self.unsupported("a map"));
        }
        let mut value = None;
        if let Some(tensor) = proto.tensor_value {
            value = Some(Datum::Tensor(self.tensor(tensor)?));
        } else if let Some(sparse) = proto.sparse_tensor_value {
            value = Some(Datum::Tensor(self.sparse(sparse)?));
        } else if let Some(sequence) = proto.sequence_value {
            value = Some(self.sequence(sequence)?);
        } else if let Some(inner) = proto.optional_value {
            value = Some(self.optional(*inner)?);
        }
        Ok(Datum::Optional(value.map(Box::new)))
    }
}
