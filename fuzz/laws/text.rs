//! What must hold for every text: it is refused with located diagnostics, or it gives a graph that prints, reads back and
//! prints the same. The verifier may find what it likes.

use std::collections::BTreeMap;

use bytes::Bytes;
use spaceevo_ir::Graph;
use spaceevo_ir::text::{BlobHash, Limits, NoBlobs, PrintOptions, parse, parse_within, print_to, render};
use spaceevo_ir::verify::{Form, annotate_findings, findings, verify};

/// Panics where a law is broken.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Few drawn numbers: filling memory up to the default bound is slow and shows nothing.
    let parsed = parse_within(text, "fuzz.seir", &NoBlobs, Limits { drawn: 1 << 12, ..Limits::default() });
    parsed.diagnostics.iter().for_each(|d| drop(render(d, text)));
    let Some(graph) = parsed.graph else {
        assert!(!parsed.diagnostics.is_empty(), "a text is refused without a word");
        return;
    };
    for options in [PrintOptions::default(), PrintOptions::lossless()] {
        let (first, again) = round(&graph, options);
        let (second, _) = round(&again, options);
        assert_eq!(first, second, "printing what was printed differs");
    }
    for form in [Form::Space, Form::Concrete, Form::Quantized] {
        verify(&graph, form);
    }
    annotate_findings(&graph, findings(&graph, Form::Any));
}

/// Prints a graph and reads it back.
fn round(graph: &Graph, options: PrintOptions) -> (String, Graph) {
    let mut blobs: BTreeMap<BlobHash, Bytes> = BTreeMap::new();
    let text = print_to(graph, &options, &mut blobs);
    match parse(&text, "fuzz.seir", &blobs).into_result() {
        Ok(graph) => (text, graph),
        Err(found) => panic!("what was printed does not parse: {found:?}\n{text}"),
    }
}
