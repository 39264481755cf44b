//! What must hold for every text: it is refused with located diagnostics, or it gives a graph that prints, reads back as the
//! same graph and prints the same. The verifier may find what it likes.

use std::collections::BTreeMap;

use bytes::Bytes;
use spaceevo_ir::text::{BlobHash, Limits, NoBlobs, PrintOptions, parse, parse_within, print_to, render};
use spaceevo_ir::verify::{Form, annotate_findings, findings, verify};
use spaceevo_ir::{Graph, Tensor};

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
        if options == PrintOptions::lossless() {
            same(&graph, &again);
        }
    }
    for form in [Form::Space, Form::Concrete, Form::Quantized] {
        verify(&graph, form);
    }
    annotate_findings(&graph, findings(&graph, Form::Any));
}

/// Compares what the text must carry bit by bit: constants, types, attributes.
fn same(graph: &Graph, again: &Graph) {
    let values = |graph: &Graph| -> Vec<(Option<Tensor>, String)> {
        let regions = graph.all_regions().into_iter();
        let values = regions.flat_map(|r| [graph.region(r).inputs(), graph.region(r).consts()].concat());
        let shown = |value| (graph.value(value).tensor().cloned(), format!("{:?}", graph.value(value).ty()));
        values.map(shown).collect()
    };
    for (before, after) in values(graph).iter().zip(&values(again)) {
        assert_eq!(before, after, "a constant or an input changed");
    }
    // NaN attributes are not equal to themselves: their words are compared.
    let ops = |graph: &Graph| -> Vec<String> {
        let op = |op| format!("{:?} {:?}", graph.op(op).name(), graph.op(op).attrs());
        graph.all_ops().into_iter().map(op).collect()
    };
    assert_eq!(ops(graph), ops(again), "an op changed");
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
