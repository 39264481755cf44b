//! Files: models are read and written by their extension, `.onnx` or `.seir`; `-` stands for the standard streams.
//!
//! Nothing is overwritten unless asked for, and what is written appears whole or not at all: first under another name in
//! the same folder, then renamed. Large constants of a text stand beside it in `<file>.weights` (see [`crate::weights`]).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use spaceevo_ir::text::{self, BlobHash, NoBlobs, PrintOptions};
use spaceevo_ir::verify::{Form, verify};
use spaceevo_ir::{Diagnostic, Graph, Loc, Severity};

use crate::spaces::Library;
use crate::weights;

/// Bytes of text that are read at most.
const MAX_TEXT: u64 = 1 << 30;
/// Bytes that are read from standard input at most: what protobuf allows in one file.
const MAX_STREAM: u64 = 2 << 30;

/// The formats of models.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// ONNX protobuf.
    Onnx,
    /// The IR's text.
    Seir,
}

impl Format {
    /// The format that a file name's extension says, if it says one.
    pub fn of(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "onnx" => Some(Format::Onnx),
            "seir" => Some(Format::Seir),
            _ => None,
        }
    }

    /// The format that the first bytes show: a protobuf message begins with control characters, a text does not.
    pub fn sniff(bytes: &[u8]) -> Format {
        let head = &bytes[..bytes.len().min(256)];
        let binary = head.iter().any(|&b| b < b' ' && !matches!(b, b'\t' | b'\n' | b'\r'));
        if binary { Format::Onnx } else { Format::Seir }
    }

    /// The word of the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Format::Onnx => "onnx",
            Format::Seir => "seir",
        }
    }
}

/// A model that was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The graph.
    pub graph: Graph,
    /// The format it was in.
    pub format: Format,
    /// What is worth knowing about the file.
    pub warnings: Vec<Diagnostic>,
}

/// How to write a model.
#[derive(Clone, Debug, Default)]
pub struct SaveOptions {
    /// Overwrite a file that exists.
    pub force: bool,
    /// The format; `None`: as the extension says, text on standard output.
    pub format: Option<Format>,
    /// Write all constants of a text into the text itself, however large. Always so on standard output.
    pub inline: bool,
    /// Comment lines at the head of a text.
    pub comment: Vec<String>,
}

/// Reads a model; `-` is standard input, whose format its first bytes tell.
///
/// Errors: `file-io`, and those of the format (`onnx-*`, `text-*`, those of the verifier for texts, `weights-file`).
pub fn load(path: impl AsRef<Path>) -> Result<Loaded, Vec<Diagnostic>> {
    let path = path.as_ref();
    if path == Path::new("-") {
        let bytes = bounded(&mut io::stdin().lock(), MAX_STREAM).map_err(|e| vec![unreadable(path, &e)])?;
        return load_bytes(bytes.into(), "-", &Library::beside(None, &NoBlobs));
    }
    let format = match Format::of(path) {
        Some(format) => format,
        None => {
            let mut head = Vec::new();
            let read = File::open(path).and_then(|file| file.take(256).read_to_end(&mut head));
            read.map_err(|e| vec![unreadable(path, &e)])?;
            Format::sniff(&head)
        }
    };
    match format {
        Format::Onnx => {
            let imported = spaceevo_onnx::read(path, &Default::default()).map_err(|d| vec![d])?;
            Ok(Loaded { graph: imported.graph, format, warnings: imported.warnings })
        }
        Format::Seir => {
            let read = File::open(path).and_then(|mut file| bounded(&mut file, MAX_TEXT));
            let bytes = read.map_err(|e| vec![unreadable(path, &e)])?;
            let store = weights::read_beside(path).map_err(|d| vec![d])?;
            load_text(&bytes, &path.display().to_string(), &Library::beside(Some(path), &store))
        }
    }
}

/// Reads a model from bytes, whose first ones tell the format; `name` stands for the file in messages, `blobs` knows the
/// constants that a text names by their hashes.
///
/// Errors: as [`load`].
pub fn load_bytes(bytes: Bytes, name: &str, blobs: &dyn text::BlobSource) -> Result<Loaded, Vec<Diagnostic>> {
    match Format::sniff(&bytes) {
        Format::Onnx => {
            let imported = spaceevo_onnx::read_bytes(bytes, name, &Default::default()).map_err(|d| vec![d])?;
            Ok(Loaded { graph: imported.graph, format: Format::Onnx, warnings: imported.warnings })
        }
        Format::Seir => load_text(&bytes, name, blobs),
    }
}

fn load_text(bytes: &[u8], name: &str, blobs: &dyn text::BlobSource) -> Result<Loaded, Vec<Diagnostic>> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        let message = format!("{name} is neither an ONNX model nor a text in UTF-8");
        return Err(vec![Diagnostic::error("file-format", Loc::Unknown, message)]);
    };
    let parsed = text::parse(text, name, blobs);
    let mut diagnostics = parsed.diagnostics;
    let Some(graph) = parsed.graph else { return Err(diagnostics) };
    // Text is written by hand: what parses need not be sound (values in a circle, a choice of no option).
    diagnostics.extend(verify(&graph, Form::Any));
    if diagnostics.iter().any(|d| d.severity == Severity::Error) {
        return Err(diagnostics);
    }
    Ok(Loaded { graph, format: Format::Seir, warnings: diagnostics })
}

/// Reads everything, but not more than `most` bytes.
fn bounded(from: &mut dyn Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("there are more than {most} bytes")));
    }
    Ok(bytes)
}

/// Writes a model; `-` is standard output.
///
/// Errors: `output-exists`, `file-format` for an extension that names no format, `file-io`, and `onnx-inexpressible` for
/// what ONNX has no words for.
pub fn save(graph: &Graph, path: impl AsRef<Path>, options: &SaveOptions) -> Result<(), Diagnostic> {
    let path = path.as_ref();
    let stream = path == Path::new("-");
    let format = match options.format.or(Format::of(path)) {
        Some(format) => format,
        None if stream => Format::Seir,
        None => {
            let message = format!("the name of {} does not say in which format to write it", path.display());
            return Err(Diagnostic::error("file-format", Loc::Unknown, message).note("end it in .onnx or .seir"));
        }
    };
    refuse_existing(path, options.force)?;
    match format {
        Format::Onnx if stream => write_whole(path, &spaceevo_onnx::to_bytes(graph)?, options.force),
        Format::Onnx => spaceevo_onnx::write(graph, path, &Default::default()),
        Format::Seir => {
            let inline = options.inline || stream;
            let mut store: BTreeMap<BlobHash, Bytes> = BTreeMap::new();
            let print = PrintOptions::lossless();
            let print = PrintOptions { inline: if inline { usize::MAX } else { print.inline }, ..print };
            let mut out: String = options.comment.iter().map(|line| format!("// {line}\n")).collect();
            out.push_str(&text::print_to(graph, &print, &mut store));
            if !store.is_empty() && !stream {
                write_whole(&weights::beside(path), &weights::pack(&store), true)?;
            }
            write_whole(path, out.as_bytes(), options.force)
        }
    }
}

/// Writes a file whole or not at all; `-` is standard output. Devices and pipes are written directly.
///
/// Errors: `output-exists`, `file-io`.
pub fn write_whole(path: &Path, bytes: &[u8], force: bool) -> Result<(), Diagnostic> {
    if path == Path::new("-") {
        let mut out = io::stdout().lock();
        return match out.write_all(bytes).and_then(|()| out.flush()) {
            // The reader has seen enough: `spaceevo-opt run … | head` is fine.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|e| unwritable(path, &e)),
        };
    }
    refuse_existing(path, force)?;
    let special = fs::metadata(path).is_ok_and(|m| !m.is_file());
    if special {
        return fs::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.flush()))
            .map_err(|e| unwritable(path, &e));
    }
    // A link is written through: what it points at is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let temporary = temporary_beside(&path);
    let written = File::create_new(&temporary).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.and_then(|()| fs::rename(&temporary, &path)).map_err(|e| {
        let _ = fs::remove_file(&temporary);
        unwritable(&path, &e)
    })
}

/// Errors when a regular file of that name exists and may not be overwritten.
///
/// Errors: `output-exists`.
pub fn refuse_existing(path: &Path, force: bool) -> Result<(), Diagnostic> {
    if !force && fs::metadata(path).is_ok_and(|m| m.is_file()) {
        let message = format!("{} exists", path.display());
        return Err(Diagnostic::error("output-exists", Loc::Unknown, message)
            .note("choose another name, or pass --force to overwrite it"));
    }
    Ok(())
}

fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::error("file-io", Loc::Unknown, format!("{} cannot be read: {error}", shown(path)))
}

fn unwritable(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::error("file-io", Loc::Unknown, format!("{} cannot be written: {error}", shown(path)))
        .note("nothing was left behind under that name")
}

fn shown(path: &Path) -> String {
    if path == Path::new("-") { "the standard stream".into() } else { path.display().to_string() }
}
