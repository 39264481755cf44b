//! Writing messages out: field by field, so that the numbers of tensors go from where they are straight to the file.
//!
//! The order of fields is that of their numbers, as every protobuf library writes them: the bytes equal `encode_to_vec`.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use spaceevo_ir::{Diagnostic, Loc};

use crate::entries::entry;
use crate::proto::tensor_proto::DataLocation;
use crate::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

/// Where large tensors go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum External {
    /// Into `<file>.data` when the model would come near the 2 GiB that protobuf allows.
    #[default]
    Auto,
    /// Always into `<file>.data`.
    Always,
    /// Never; a model that is too large is an error.
    Never,
}

/// How to write.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct WriteOptions {
    /// Where large tensors go.
    pub external: External,
}

/// Models above this go external on their own: 200 MB below protobuf's bound.
const AUTO_EXTERNAL: usize = 1_800_000_000;
/// Protobuf's bound on a message.
const LARGEST: usize = i32::MAX as usize;
/// Tensors below this stay in the model; also the alignment of those outside, so that they can be mapped.
const PAGE: usize = 4096;

/// Refuses what protobuf does not allow in one message.
pub(crate) fn check_size(size: usize) -> Result<(), Diagnostic> {
    if size <= LARGEST {
        return Ok(());
    }
    let message = format!("the model is {size} bytes, protobuf allows {LARGEST} in one file");
    Err(Diagnostic::error("onnx-too-large", Loc::Unknown, message).note("write it to a file with external data"))
}

/// The whole model as bytes.
pub(crate) fn to_bytes(model: ModelProto) -> Result<Vec<u8>, Diagnostic> {
    let size = model.encoded_len();
    check_size(size)?;
    let mut bytes = Vec::with_capacity(size);
    Stream::new(&mut bytes).model(model).map_err(|e| failed(Path::new("memory"), &e))?;
    Ok(bytes)
}

/// A model file, and `<file>.data` beside it where wanted.
pub(crate) fn to_file(mut model: ModelProto, path: &Path, options: &WriteOptions) -> Result<(), Diagnostic> {
    // A link is written through, a device or pipe is written directly.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let size = model.encoded_len();
    let external = match options.external {
        External::Auto => size > AUTO_EXTERNAL,
        External::Always => true,
        External::Never => false,
    };
    let mut blobs = Vec::new();
    if external && let (Some(name), Some(graph)) = (path.file_name(), &mut model.graph) {
        let mut name = name.to_os_string();
        name.push(".data");
        let location = name.to_str().ok_or_else(|| {
            let message = format!("the name of {} is not UTF-8, so external data cannot be named", path.display());
            Diagnostic::error("file-io", Loc::Unknown, message)
        })?;
        blobs = Blobs::take(graph, location);
    }
    check_size(model.encoded_len())?;
    if !blobs.is_empty() {
        let mut data = path.clone().into_os_string();
        data.push(".data");
        let data = PathBuf::from(data);
        replace(&data, |file| write_blobs(file, &blobs)).map_err(|e| failed(&data, &e))?;
    }
    replace(&path, |file| Stream::new(file).model(model)).map_err(|e| failed(&path, &e))
}

fn failed(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::error("file-io", Loc::Unknown, format!("cannot write {}: {error}", path.display()))
}

/// Writes a file beside `path` and renames it over it; what is no regular file is written in place.
fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|info| !info.is_file() && !info.is_dir()) {
        let mut file = BufWriter::new(OpenOptions::new().write(true).open(path)?);
        write(&mut file)?;
        return file.flush();
    }
    let (temporary, file) = create_beside(path)?;
    let mut file = BufWriter::with_capacity(1 << 16, file);
    let written = write(&mut file).and_then(|()| file.flush()).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// A new file of a name that nobody has: `.name.0.tmp`, in the folder of `path`.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it is no file name"))?;
    let mut number = u64::from(std::process::id());
    loop {
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{number}.tmp"));
        let temporary = path.with_file_name(temporary);
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(e) => return Err(e),
        }
    }
}

/// Tensors that go to the data file.
struct Blobs<'a> {
    location: &'a str,
    end: usize,
    found: Vec<(usize, Bytes)>,
}

impl Blobs<'_> {
    /// Takes the large initializers out of a graph and its subgraphs; returns them with their offsets.
    fn take(graph: &mut GraphProto, location: &str) -> Vec<(usize, Bytes)> {
        let mut blobs = Blobs { location, end: 0, found: Vec::new() };
        blobs.graph(graph);
        blobs.found
    }

    fn graph(&mut self, graph: &mut GraphProto) {
        for tensor in &mut graph.initializer {
            self.tensor(tensor);
        }
        for attr in graph.node.iter_mut().flat_map(|n| &mut n.attribute) {
            attr.g.iter_mut().chain(&mut attr.graphs).for_each(|graph| self.graph(graph));
        }
    }

    fn tensor(&mut self, tensor: &mut TensorProto) {
        let Some(raw) = tensor.raw_data.take_if(|raw| raw.len() >= PAGE) else { return };
        let offset = self.end.next_multiple_of(PAGE);
        tensor.external_data = vec![
            entry("location", self.location),
            entry("offset", &offset.to_string()),
            entry("length", &raw.len().to_string()),
        ];
        tensor.data_location = Some(DataLocation::External as i32);
        self.end = offset + raw.len();
        self.found.push((offset, raw));
    }
}

fn write_blobs(file: &mut dyn Write, blobs: &[(usize, Bytes)]) -> io::Result<()> {
    let mut at = 0;
    for (offset, bytes) in blobs {
        file.write_all(&[0; PAGE][..offset - at])?;
        file.write_all(bytes)?;
        at = offset + bytes.len();
    }
    Ok(())
}

/// Writes messages in pieces.
struct Stream<'w> {
    out: &'w mut dyn Write,
    buffer: BytesMut,
}

impl<'w> Stream<'w> {
    fn new(out: &'w mut dyn Write) -> Self {
        Stream { out, buffer: BytesMut::new() }
    }

    /// Some fields of a message, in one go.
    fn fields(&mut self, message: &impl Message) -> io::Result<()> {
        self.buffer.clear();
        // Cannot fail: the buffer grows.
        message.encode(&mut self.buffer).map_err(io::Error::other)?;
        self.out.write_all(&self.buffer)
    }

    /// The head of a field that is `len` bytes long.
    fn head(&mut self, number: u32, len: usize) -> io::Result<()> {
        self.buffer.clear();
        encode_key(number, WireType::LengthDelimited, &mut self.buffer);
        encode_varint(len as u64, &mut self.buffer);
        self.out.write_all(&self.buffer)
    }

    /// A field that is a small message.
    fn field(&mut self, number: u32, message: &impl Message) -> io::Result<()> {
        self.buffer.clear();
        prost::encoding::message::encode(number, message, &mut self.buffer);
        self.out.write_all(&self.buffer)
    }

    fn model(&mut self, mut model: ModelProto) -> io::Result<()> {
        let graph = model.graph.take();
        let tail = ModelProto {
            opset_import: std::mem::take(&mut model.opset_import),
            metadata_props: std::mem::take(&mut model.metadata_props),
            training_info: std::mem::take(&mut model.training_info),
            functions: std::mem::take(&mut model.functions),
            configuration: std::mem::take(&mut model.configuration),
            ..ModelProto::default()
        };
        self.fields(&model)?;
        if let Some(graph) = graph {
            self.graph(7, graph)?;
        }
        self.fields(&tail)
    }

    fn graph(&mut self, number: u32, mut graph: GraphProto) -> io::Result<()> {
        self.head(number, graph.encoded_len())?;
        for node in std::mem::take(&mut graph.node) {
            self.node(node)?;
        }
        let name = graph.name.take();
        self.fields(&GraphProto { name, ..GraphProto::default() })?;
        for tensor in std::mem::take(&mut graph.initializer) {
            self.tensor(5, tensor)?;
        }
        self.fields(&graph)
    }

    fn node(&mut self, mut node: NodeProto) -> io::Result<()> {
        if node.attribute.iter().all(|a| a.g.is_none() && a.t.is_none()) {
            return self.field(1, &node);
        }
        self.head(1, node.encoded_len())?;
        let attributes = std::mem::take(&mut node.attribute);
        let head = NodeProto {
            input: std::mem::take(&mut node.input),
            output: std::mem::take(&mut node.output),
            name: node.name.take(),
            op_type: node.op_type.take(),
            ..NodeProto::default()
        };
        self.fields(&head)?;
        for attribute in attributes {
            self.attribute(attribute)?;
        }
        self.fields(&node)
    }

    fn attribute(&mut self, mut attribute: AttributeProto) -> io::Result<()> {
        self.head(5, attribute.encoded_len())?;
        let (f, i, s) = (attribute.f.take(), attribute.i.take(), attribute.s.take());
        self.fields(&AttributeProto { name: attribute.name.take(), f, i, s, ..AttributeProto::default() })?;
        if let Some(tensor) = attribute.t.take() {
            self.tensor(5, tensor)?;
        }
        if let Some(graph) = attribute.g.take() {
            self.graph(6, graph)?;
        }
        self.fields(&attribute)
    }

    fn tensor(&mut self, number: u32, mut tensor: TensorProto) -> io::Result<()> {
        self.head(number, tensor.encoded_len())?;
        let raw = tensor.raw_data.take();
        let tail = TensorProto {
            doc_string: tensor.doc_string.take(),
            external_data: std::mem::take(&mut tensor.external_data),
            data_location: tensor.data_location.take(),
            metadata_props: std::mem::take(&mut tensor.metadata_props),
            ..TensorProto::default()
        };
        self.fields(&tensor)?;
        if let Some(raw) = raw {
            self.head(9, raw.len())?;
            self.out.write_all(&raw)?;
        }
        self.fields(&tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{SparseTensorProto, StringStringEntryProto, ValueInfoProto};

    #[test]
    fn pieces_make_the_same_bytes_as_the_whole() {
        let tensor = TensorProto {
            dims: vec![2],
            data_type: Some(2),
            name: Some("t".into()),
            raw_data: Some(Bytes::from_static(b"ab")),
            doc_string: Some("doc".into()),
            external_data: vec![entry("k", "v")],
            data_location: Some(0),
            metadata_props: vec![entry("m", "n")],
            ..TensorProto::default()
        };
        let inner = GraphProto { initializer: vec![tensor.clone()], name: Some("inner".into()), ..GraphProto::default() };
        let attribute = |g, t| AttributeProto {
            name: Some("a".into()),
            f: Some(1.0),
            i: Some(2),
            s: Some(Bytes::from_static(b"s")),
            t,
            g,
            floats: vec![1.0],
            ints: vec![1],
            tensors: vec![tensor.clone()],
            doc_string: Some("d".into()),
            r#type: Some(5),
            ref_attr_name: Some("r".into()),
            sparse_tensor: Some(SparseTensorProto::default()),
            ..AttributeProto::default()
        };
        let node = NodeProto {
            input: vec!["x".into(), String::new()],
            output: vec!["y".into()],
            name: Some("n".into()),
            op_type: Some("If".into()),
            attribute: vec![attribute(Some(inner), None), attribute(None, Some(tensor.clone())), attribute(None, None)],
            doc_string: Some("d".into()),
            domain: Some("o".into()),
            overload: Some("v".into()),
            metadata_props: vec![StringStringEntryProto::default()],
            ..NodeProto::default()
        };
        let graph = GraphProto {
            node: vec![node, NodeProto::default()],
            name: Some("g".into()),
            initializer: vec![tensor.clone(), tensor],
            doc_string: Some("d".into()),
            input: vec![ValueInfoProto::default()],
            sparse_initializer: vec![SparseTensorProto::default()],
            metadata_props: vec![entry("a", "b")],
            ..GraphProto::default()
        };
        let model = ModelProto {
            ir_version: Some(8),
            producer_name: Some("p".into()),
            model_version: Some(0),
            doc_string: Some("d".into()),
            graph: Some(graph),
            opset_import: vec![Default::default()],
            metadata_props: vec![entry("a", "b")],
            ..ModelProto::default()
        };
        assert_eq!(to_bytes(model.clone()).expect("small"), model.encode_to_vec());
    }
}
