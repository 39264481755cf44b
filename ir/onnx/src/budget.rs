//! A look at the raw bytes before they are decoded: what they would fill in memory, and what the schema does not know.
//!
//! A message of two bytes becomes a record of hundreds, so a small file can ask for a lot of memory; and decoding drops
//! fields that it does not know. The tables list every message and field of `proto.rs`.

use std::collections::BTreeSet;
use std::mem::size_of;

use spaceevo_ir::{Diagnostic, Loc};

use crate::proto::*;

/// A message type: its name, its bytes in memory, its fields by number.
pub(crate) struct Shape {
    name: &'static str,
    size: usize,
    fields: &'static [(u32, Field)],
}

enum Field {
    /// A message.
    Sub(&'static Shape),
    /// A number, or a list of them (packed or not).
    Num,
    /// A text that is copied.
    Text,
    /// Bytes that are shared with the file.
    Blob,
}
use Field::{Blob, Num, Sub, Text};

macro_rules! shapes {
    ($($name:ident: $ty:ty { $($number:literal $field:expr),* })*) => {
        $(static $name: Shape =
            Shape { name: stringify!($ty), size: size_of::<$ty>(), fields: &[$(($number, $field)),*] };)*
    };
}

shapes! {
    MODEL_PROTO: ModelProto {
        1 Num, 2 Text, 3 Text, 4 Text, 5 Num, 6 Text, 7 Sub(&GRAPH), 8 Sub(&OPSET), 14 Sub(&ENTRY), 20 Sub(&TRAINING),
        25 Sub(&FUNCTION), 26 Sub(&CONFIGURATION)
    }
    CONFIGURATION: DeviceConfigurationProto { 1 Text, 2 Num, 3 Text }
    TRAINING: TrainingInfoProto { 1 Sub(&GRAPH), 2 Sub(&GRAPH), 3 Sub(&ENTRY), 4 Sub(&ENTRY) }
    OPSET: OperatorSetIdProto { 1 Text, 2 Num }
    ENTRY: StringStringEntryProto { 1 Text, 2 Text }
    FUNCTION: FunctionProto {
        1 Text, 4 Text, 5 Text, 6 Text, 7 Sub(&NODE), 8 Text, 9 Sub(&OPSET), 10 Text, 11 Sub(&ATTRIBUTE), 12 Sub(&INFO),
        13 Text, 14 Sub(&ENTRY)
    }
    GRAPH: GraphProto {
        1 Sub(&NODE), 2 Text, 5 Sub(&TENSOR_PROTO), 10 Text, 11 Sub(&INFO), 12 Sub(&INFO), 13 Sub(&INFO),
        14 Sub(&ANNOTATION), 15 Sub(&SPARSE), 16 Sub(&ENTRY)
    }
    ANNOTATION: TensorAnnotation { 1 Text, 2 Sub(&ENTRY) }
    NODE: NodeProto {
        1 Text, 2 Text, 3 Text, 4 Text, 5 Sub(&ATTRIBUTE), 6 Text, 7 Text, 8 Text, 9 Sub(&ENTRY), 10 Sub(&DEVICE)
    }
    DEVICE: NodeDeviceConfigurationProto { 1 Text, 2 Sub(&SHARDING), 3 Num }
    SHARDING: ShardingSpecProto { 1 Text, 2 Num, 3 Sub(&INT_ENTRY), 4 Sub(&SHARDED_DIM) }
    INT_ENTRY: IntIntListEntryProto { 1 Num, 2 Num }
    SHARDED_DIM: ShardedDimProto { 1 Num, 2 Sub(&SIMPLE_SHARDED_DIM) }
    SIMPLE_SHARDED_DIM: SimpleShardedDimProto { 1 Num, 2 Text, 3 Num }
    ATTRIBUTE: AttributeProto {
        1 Text, 2 Num, 3 Num, 4 Blob, 5 Sub(&TENSOR_PROTO), 6 Sub(&GRAPH), 7 Num, 8 Num, 9 Blob, 10 Sub(&TENSOR_PROTO),
        11 Sub(&GRAPH), 13 Text, 14 Sub(&TYPE), 15 Sub(&TYPE), 20 Num, 21 Text, 22 Sub(&SPARSE), 23 Sub(&SPARSE)
    }
    TENSOR_PROTO: TensorProto {
        1 Num, 2 Num, 3 Sub(&SEGMENT), 4 Num, 5 Num, 6 Blob, 7 Num, 8 Text, 9 Blob, 10 Num, 11 Num, 12 Text, 13 Sub(&ENTRY),
        14 Num, 16 Sub(&ENTRY)
    }
    SEGMENT: tensor_proto::Segment { 1 Num, 2 Num }
    SPARSE: SparseTensorProto { 1 Sub(&TENSOR_PROTO), 2 Sub(&TENSOR_PROTO), 3 Num }
    INFO: ValueInfoProto { 1 Text, 2 Sub(&TYPE), 3 Text, 4 Sub(&ENTRY) }
    TYPE: TypeProto {
        1 Sub(&TENSOR_TYPE), 4 Sub(&LIST_TYPE), 5 Sub(&MAP_TYPE), 6 Text, 7 Sub(&OPAQUE_TYPE), 8 Sub(&TENSOR_TYPE),
        9 Sub(&LIST_TYPE)
    }
    TENSOR_TYPE: type_proto::Tensor { 1 Num, 2 Sub(&TENSOR_SHAPE) }
    LIST_TYPE: type_proto::Sequence { 1 Sub(&TYPE) }
    MAP_TYPE: type_proto::Map { 1 Num, 2 Sub(&TYPE) }
    OPAQUE_TYPE: type_proto::Opaque { 1 Text, 2 Text }
    TENSOR_SHAPE: TensorShapeProto { 1 Sub(&DIMENSION) }
    DIMENSION: tensor_shape_proto::Dimension { 1 Num, 2 Text, 3 Text }
    SEQUENCE_PROTO: SequenceProto {
        1 Text, 2 Num, 3 Sub(&TENSOR_PROTO), 4 Sub(&SPARSE), 5 Sub(&SEQUENCE_PROTO), 6 Sub(&MAP), 7 Sub(&OPTIONAL_PROTO)
    }
    MAP: MapProto { 1 Text, 2 Num, 3 Num, 4 Blob, 5 Sub(&SEQUENCE_PROTO) }
    OPTIONAL_PROTO: OptionalProto {
        1 Text, 2 Num, 3 Sub(&TENSOR_PROTO), 4 Sub(&SPARSE), 5 Sub(&SEQUENCE_PROTO), 6 Sub(&MAP), 7 Sub(&OPTIONAL_PROTO)
    }
}

/// A model.
pub(crate) const MODEL: &Shape = &MODEL_PROTO;
/// A tensor.
pub(crate) const TENSOR: &Shape = &TENSOR_PROTO;
/// A sequence.
pub(crate) const SEQUENCE: &Shape = &SEQUENCE_PROTO;
/// An optional value.
pub(crate) const OPTIONAL: &Shape = &OPTIONAL_PROTO;

/// Messages may nest as deep as prost decodes them.
const DEEPEST: usize = 100;
/// Unknown fields that are named in the warning.
const NAMED: usize = 8;

/// Walks the bytes of a message.
///
/// Errors: bytes that are no protobuf, nesting deeper than 100 messages, more than about `limit` bytes in memory.
/// Returns a warning when there are fields that the schema does not know: they will not be written again.
pub(crate) fn check(bytes: &[u8], shape: &'static Shape, limit: usize, loc: &Loc) -> Result<Vec<Diagnostic>, Diagnostic> {
    let mut walk = Walk { left: limit, unknown: BTreeSet::new() };
    walk.message(bytes, shape, 0).map_err(|stop| match stop {
        Stop::Malformed => Diagnostic::error("onnx-malformed", loc.clone(), format!("these bytes are no {}", shape.name))
            .note("the file is damaged, cut off, or of another kind"),
        Stop::TooDeep => Diagnostic::error("onnx-malformed", loc.clone(), format!("messages nest deeper than {DEEPEST}")),
        Stop::TooLarge => {
            let message = format!("the messages of the file would fill more than {limit} bytes of memory");
            Diagnostic::error("onnx-too-large", loc.clone(), message)
                .note("raise ReadOptions::max_message_bytes if the file is to be trusted")
        }
    })?;
    if walk.unknown.is_empty() {
        return Ok(Vec::new());
    }
    let fields: Vec<String> = walk.unknown.iter().map(|(name, number)| format!("{name} field {number}")).collect();
    let message = format!("the file holds fields that are not known and will not be written again: {}", fields.join(", "));
    Ok(vec![Diagnostic::warning("onnx-unknown-field", loc.clone(), message)])
}

enum Stop {
    Malformed,
    TooDeep,
    TooLarge,
}

struct Walk {
    left: usize,
    unknown: BTreeSet<(&'static str, u32)>,
}

impl Walk {
    fn spend(&mut self, bytes: usize) -> Result<(), Stop> {
        self.left = self.left.checked_sub(bytes).ok_or(Stop::TooLarge)?;
        Ok(())
    }

    fn message(&mut self, mut bytes: &[u8], shape: &'static Shape, depth: usize) -> Result<(), Stop> {
        if depth > DEEPEST {
            return Err(Stop::TooDeep);
        }
        // Once as decoded, once as the part of the graph that comes of it.
        self.spend(2 * shape.size)?;
        while !bytes.is_empty() {
            let key = varint(&mut bytes)?;
            let number = u32::try_from(key >> 3).map_err(|_| Stop::Malformed)?;
            let field = shape.fields.iter().find(|(n, _)| *n == number).map(|(_, field)| field);
            if field.is_none() && self.unknown.len() < NAMED {
                self.unknown.insert((shape.name, number));
            }
            match key & 7 {
                0 => {
                    varint(&mut bytes)?;
                    self.spend(size_of::<u64>())?;
                }
                1 => drop(cut(&mut bytes, 8)?),
                5 => drop(cut(&mut bytes, 4)?),
                2 => {
                    let len = usize::try_from(varint(&mut bytes)?).map_err(|_| Stop::Malformed)?;
                    let content = cut(&mut bytes, len)?;
                    match field {
                        Some(Sub(inner)) => self.message(content, inner, depth + 1)?,
                        Some(Num) => self.spend(len.saturating_mul(size_of::<u64>()))?,
                        Some(Text) => self.spend(len.saturating_add(2 * size_of::<String>()))?,
                        Some(Blob) => self.spend(2 * size_of::<bytes::Bytes>())?,
                        None => {}
                    }
                }
                // Groups, which ONNX never had.
                _ => return Err(Stop::Malformed),
            }
        }
        Ok(())
    }
}

fn cut<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], Stop> {
    let (head, tail) = bytes.split_at_checked(len).ok_or(Stop::Malformed)?;
    *bytes = tail;
    Ok(head)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Stop> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Stop::Malformed)?;
        *bytes = rest;
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Ok(value);
        }
    }
    Err(Stop::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, HashSet};

    /// Field numbers of every message in the generated source.
    fn generated() -> BTreeMap<&'static str, BTreeSet<u32>> {
        let mut messages: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        let mut current = "";
        for line in include_str!("proto.rs").lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("pub struct ") {
                current = rest.split([' ', '{']).next().unwrap_or("");
                messages.entry(current).or_default();
            } else if line.starts_with("pub enum") {
                current = "";
            }
            let Some((_, tags)) = line.split_once("tag = \"").or_else(|| line.split_once("tags = \"")) else { continue };
            let numbers = tags.split('"').next().unwrap_or("").split(", ").map(|n| n.parse::<u32>().expect("a number"));
            if !current.is_empty() {
                messages.entry(current).or_default().extend(numbers);
            }
        }
        messages
    }

    #[test]
    fn the_tables_list_every_field_of_the_schema() {
        let generated = generated();
        let mut open = vec![MODEL, SEQUENCE, OPTIONAL];
        let mut seen = HashSet::new();
        while let Some(shape) = open.pop() {
            if !seen.insert(std::ptr::from_ref(shape)) {
                continue;
            }
            let numbers: BTreeSet<u32> = shape.fields.iter().map(|(n, _)| *n).collect();
            let name = shape.name.rsplit(' ').next().and_then(|n| n.rsplit("::").next()).unwrap_or("");
            assert_eq!(numbers, generated[name], "{name}");
            open.extend(shape.fields.iter().filter_map(|(_, f)| if let Sub(inner) = f { Some(*inner) } else { None }));
        }
        // Sparse tensor types and optional types have the shapes of their dense and list siblings.
        assert_eq!(seen.len(), generated.len() - 2);
    }
}
