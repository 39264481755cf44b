//! Text to graph. Recursive descent over tokens; every error is reported where it is, then the parser goes on with the
//! next statement. Depth, numbers of elements and numbers of errors are bounded.

mod attr;
mod block;
mod cursor;
mod expr;
mod file;
mod literal;
mod region;
mod rule;
mod settings;
mod space;
mod ty;

use crate::diagnostic::Diagnostic;
use crate::graph::Graph;
use crate::text::blob::BlobSource;
use cursor::Reader;

pub use rule::parse_rules;

/// What a text says.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The graph; `None` when an error was found.
    pub graph: Option<Graph>,
    /// What is wrong or worth knowing, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// The graph, or what is wrong with the text.
    pub fn into_result(self) -> Result<Graph, Vec<Diagnostic>> {
        self.graph.ok_or(self.diagnostics)
    }
}

/// Bounds on what a text may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Elements of all constants together that the text does not spell out (`rand`, `splat`).
    pub drawn: usize,
    /// Errors after which the parser gives up.
    pub errors: usize,
}

impl Default for Limits {
    /// 2^26 elements (256 MiB of singles), 100 errors.
    fn default() -> Self {
        Limits { drawn: 1 << 26, errors: 100 }
    }
}

/// Reads a graph. `file` is the name that locations carry, `blobs` knows the constants that stand as hashes.
///
/// Never panics; takes memory in proportion to the text, and what `Limits::default()` allows beside.
pub fn parse(text: &str, file: &str, blobs: &dyn BlobSource) -> Parsed {
    parse_within(text, file, blobs, Limits::default())
}

/// As [`parse`], with other bounds.
pub fn parse_within(text: &str, file: &str, blobs: &dyn BlobSource, limits: Limits) -> Parsed {
    match Reader::new(text, file, blobs, limits) {
        Ok(reader) => reader.file(),
        Err(diagnostic) => Parsed { graph: None, diagnostics: vec![diagnostic] },
    }
}
