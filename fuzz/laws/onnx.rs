//! What must hold for every file: it is refused with a diagnostic, or it gives a graph of sound structure that is written,
//! read again as the same graph and written as the same bytes, also by way of the text.

use std::collections::BTreeMap;

use bytes::Bytes;
use spaceevo_ir::Graph;
use spaceevo_ir::text::{self, BlobHash, PrintOptions};
use spaceevo_ir::verify::{Form, verify};
use spaceevo_onnx::{ReadOptions, read_bytes, to_bytes};

/// What a file cannot get wrong: the reader makes links, and puts what it reads in order.
const STRUCTURE: &[&str] = &["ir-links", "use-before-def", "not-visible"];

/// Panics where a law is broken.
pub(crate) fn check(data: &[u8]) {
    let Some(graph) = read(data) else { return };
    for found in verify(&graph, Form::Any) {
        assert!(!STRUCTURE.contains(&found.code), "{found}");
    }
    let Ok(first) = to_bytes(&graph) else { return };
    let again = read(&first).expect("what was written can be read");
    let second = to_bytes(&again).expect("what was written once can be written again");
    assert!(first == second, "writing what was written differs");
    let mut blobs: BTreeMap<BlobHash, Bytes> = BTreeMap::new();
    let printed = text::print_to(&again, &PrintOptions::lossless(), &mut blobs);
    match text::parse(&printed, "fuzz.seir", &blobs).into_result() {
        Ok(parsed) => assert!(to_bytes(&parsed).is_ok_and(|third| third == first), "the text lost something:\n{printed}"),
        Err(found) => panic!("the text does not parse: {found:?}\n{printed}"),
    }
}

fn read(data: &[u8]) -> Option<Graph> {
    let options = ReadOptions { max_dense_bytes: 1 << 20, max_message_bytes: 256 << 20, folder: None };
    read_bytes(Bytes::copy_from_slice(data), "fuzz.onnx", &options).ok().map(|imported| imported.graph)
}
