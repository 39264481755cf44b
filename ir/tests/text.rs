//! The text format: what prints reads back, what is wrong is said at its place, and nothing makes it panic.

mod kit;

use std::collections::BTreeMap;

use bytes::Bytes;
use kit::{Random, check_expectations, random_graph, testdata};
use spaceevo_ir::text::{
    BlobHash, Limits, NoBlobs, PrintOptions, parse, parse_rules, parse_within, print, print_rule, print_to, render,
};
use spaceevo_ir::{Graph, Tensor};

fn read(text: &str) -> Graph {
    parse(text, "-", &NoBlobs)
        .into_result()
        .unwrap_or_else(|found| panic!("{}\n{text}", found.iter().map(|d| render(d, text)).collect::<Vec<_>>().join("\n")))
}

/// Prints with everything, reads it back, and gives both texts.
fn lossless(graph: &Graph) -> (String, String) {
    let mut blobs: BTreeMap<BlobHash, Bytes> = BTreeMap::new();
    let first = print_to(graph, &PrintOptions::lossless(), &mut blobs);
    let again = parse(&first, "-", &blobs).into_result().unwrap_or_else(|found| panic!("{found:?}\n{first}"));
    let second = print_to(&again, &PrintOptions::lossless(), &mut blobs);
    (first, second)
}

#[test]
fn canonical_texts_print_as_they_are() {
    let files = testdata("text/ok");
    assert!(files.len() >= 7);
    for (path, text) in files {
        let graph = read(&text);
        assert_eq!(print(&graph, &PrintOptions::default()), text, "{path}");
        let (first, second) = lossless(&graph);
        assert_eq!(first, second, "{path}");
    }
}

#[test]
fn errors_are_found_where_they_are() {
    let files = testdata("text/err");
    assert!(files.len() >= 6);
    for (path, text) in files {
        let parsed = parse(&text, &path, &NoBlobs);
        assert!(parsed.graph.is_none(), "{path} parses");
        check_expectations(&path, &text, &parsed.diagnostics);
    }
}

#[test]
fn a_diagnostic_shows_its_line() {
    let text = "graph @main(%x: f32[1]) {\n  %w = const [1.0] : f32[1]\n  %c = onnx.Conv %x, %ww\n  return %c\n}\n";
    let found = parse(text, "net.seir", &NoBlobs).diagnostics;
    let shown = "error[text-unknown-value] at net.seir:3:22: no value is called %ww\n  \
                 |\n3 |   %c = onnx.Conv %x, %ww\n  |                      ^^^\n  = did you mean %w?";
    assert_eq!(found.iter().map(|d| render(d, text)).collect::<Vec<_>>(), [shown]);
}

#[test]
fn loose_writing_is_understood() {
    let graph = read(
        "graph @main(%x: f32[2],) { %c = const [1, 2] : f32[2] // integers where floats are meant
           %y = onnx.Sum %x,
             %c,
             %x {} : f32[2] %z = onnx.Relu %y return %z }",
    );
    let expected = "graph @main(%x: f32[2]) {\n  %c = const [1.0, 2.0] : f32[2]\n  %y = onnx.Sum %x, %c, %x : f32[2]\n  \
                    %z = onnx.Relu %y\n  return %z\n}\n";
    assert_eq!(print(&graph, &PrintOptions::default()), expected);
}

#[test]
fn constants_stand_before_their_first_reader() {
    let text = "graph @main(%x: f32[1]) {\n  %y = onnx.Relu %x\n  %a = const 1.0 : f32[]\n  %z = onnx.Add %y, %a\n  \
                %late = const 2.0 : f32[]\n  return %z, %late\n}\n";
    let early = text.replace("  %late = const 2.0 : f32[]\n", "").replace("{\n", "{\n  %late = const 2.0 : f32[]\n");
    assert_eq!(print(&read(&early), &PrintOptions::default()), text);
}

#[test]
fn large_constants_stand_as_hashes_and_come_back() {
    let mut graph = Graph::new("main");
    let body = graph.body();
    let numbers = graph.add_const(body, "w", Tensor::new(vec![17], (0..17).map(|i| i as f32).collect()));
    let words = (0..20).map(|i| Bytes::from(format!("word {i}"))).collect();
    let words = graph.add_const(body, "s", Tensor::strings(vec![4, 5], words));
    graph.set_results(body, vec![numbers, words]);
    let mut blobs = BTreeMap::new();
    let text = print_to(&graph, &PrintOptions::default(), &mut blobs);
    assert_eq!(blobs.len(), 2);
    assert!(text.contains("%w = const blob(") && !text.contains("word 3"), "{text}");
    let again = parse(&text, "-", &blobs).into_result().expect("the blobs are known");
    let consts = again.region(again.body()).consts();
    assert_eq!(again.const_of(consts[0]), graph.const_of(numbers));
    assert_eq!(again.const_of(consts[1]), graph.const_of(words));
    assert_eq!(parse(&text, "-", &NoBlobs).diagnostics[0].code, "text-blob");
}

#[test]
fn everything_a_model_carries_survives_the_lossless_text() {
    let text = r#"graph @main(
  %x: f32[1,3] meta {doc = "input", metadata = {"k" = "v"}, denotation = "IMAGE", dims = ["DATA_BATCH", ""]},
  %y: f32[1] range(-1.0, 2.0) = [1.0]
) with {opset = 17, "a\"b" = 2, ir_version = 8, producer = "p", producer_version = "1", domain = "d", model_version = 3, doc = "x\ny", graph_doc = "g", metadata = {"author" = "nobody"}, graph_metadata = {"" = ""}, opaque = {training_info = ["\x00\xff", "b"]}} {
  %s = const [0.0, 1.0] : f32[2] meta {sparse = 1}
  %a = const 1.0 : f32[]
  %b = onnx.If %a {
    then_branch @"then graph" {
      yield %x as %inner
    }
  } : f32[1,3] meta {doc = "d"} loc("m.onnx", "If_1") node {overload = "o", doc = "d", metadata = {"a" = "b"}, device = ["\x01"]}
  %c = onnx.Add %b, %a : f32[1,3] loc(fold, loc("m.onnx", ""), loc("a b", 3, 5), loc("odd pass", loc(?)))
  return %c as %out
}

function f.G(%x) with {opset = 1, overload = "o", doc = "d", metadata = {"a" = "b"}, body = "other"} {
  return %x
}
"#;
    let (first, second) = lossless(&read(text));
    assert_eq!(first, text);
    assert_eq!(second, text);
}

#[test]
fn long_blobs_of_metadata_and_scales_leave_the_text() {
    let mut graph = read("graph @main(%x: qi8(axis 0, [0.5, 0.25], 0)[2]) {\n  return %x\n}\n");
    graph.meta.opaque.insert("training_info".into(), vec![Bytes::from(vec![7; 1000])]);
    let mut blobs = BTreeMap::new();
    let options = PrintOptions { inline: 1, ..PrintOptions::lossless() };
    let text = print_to(&graph, &options, &mut blobs);
    assert!(text.contains("qi8(axis 0, blob(") && text.contains("training_info = [blob("), "{text}");
    let again = parse(&text, "-", &blobs).into_result().expect("the blobs are known");
    assert_eq!(again.meta, graph.meta);
    let input = |g: &Graph| g.value(g.region(g.body()).inputs()[0]).ty().clone();
    assert_eq!(input(&again), input(&graph));
}

#[test]
fn random_graphs_print_and_read_back() {
    for seed in 0..400 {
        let graph = random_graph(seed);
        let text = print(&graph, &PrintOptions { inline: 64, ..PrintOptions::default() });
        let again = print(&read(&text), &PrintOptions { inline: 64, ..PrintOptions::default() });
        assert_eq!(text, again, "seed {seed}");
        let (first, second) = lossless(&graph);
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn depth_is_bounded() {
    let deep = |open: &str, middle: &str, close: &str| {
        let text = format!("{}{middle}{}", open.repeat(100_000), close.repeat(100_000));
        format!(
            "graph @main(%x: f32[1]) {{\n  %y = onnx.A %x {{a = {text}}}\n  %z = const {text} : f32[1]\n  return %x\n}}\n"
        )
    };
    for text in [deep("[", "1", "]"), deep("(", "$a", ")"), deep("type seq<", "f32[]", ">"), deep("f(", "1", ")")] {
        let parsed = parse(&text, "-", &NoBlobs);
        assert!(!parsed.diagnostics.is_empty() && parsed.graph.is_none());
    }
    for text in [deep("[", "1", "]"), deep("(", "$a", ")"), deep("f(", "1", ")")] {
        assert!(parse(&text, "-", &NoBlobs).diagnostics.iter().any(|d| d.code == "text-limit"));
    }
    let regions = format!("graph @m() {{\n{}{}\n return }}", "_ = a.B { r {".repeat(5000), " yield } }".repeat(5000));
    assert!(parse(&regions, "-", &NoBlobs).diagnostics.iter().any(|d| d.code == "text-limit"));
    let types = format!("graph @m(%x: {}f32[]{}) {{ return %x }}", "seq<".repeat(5000), ">".repeat(5000));
    assert!(parse(&types, "-", &NoBlobs).diagnostics.iter().any(|d| d.code == "text-limit"));
    let chain = format!("graph @m(%x: f32[{}1]) {{ return %x }}", "$a + ".repeat(100_000));
    assert!(parse(&chain, "-", &NoBlobs).diagnostics.iter().any(|d| d.code == "text-limit"));
}

#[test]
fn errors_are_bounded() {
    let text = format!("graph @main() {{\n{}  return\n}}\n", "  %a = onnx.Relu %b,\n".repeat(5000));
    let found = parse(&text, "-", &NoBlobs).diagnostics;
    assert!(found.len() <= 102, "{}", found.len());
    assert!(found.iter().any(|d| d.message.contains("too many errors")));
}

/// Changes bytes of every text at hand: whatever comes out is either a graph that prints and reads back, or errors.
#[test]
fn damaged_texts_do_no_harm() {
    let folders = ["text/ok", "text/err", "verify"];
    let mut texts: Vec<String> = folders.iter().flat_map(|d| testdata(d)).map(|(_, text)| text).collect();
    texts.push(print(&random_graph(1), &PrintOptions::lossless()));
    let limits = Limits { drawn: 1 << 12, ..Limits::default() };
    let pieces =
        ["%", "{", "}", "(", ")", "[", "]", "\"", "\\", "\n", "const ", "-", "9", "nan", "..", "expr(", "é", " : ", "$a"];
    let mut random = Random(42);
    let mut parsed = 0;
    for round in 0..6000 {
        let mut bytes = texts[round % texts.len()].clone().into_bytes();
        for _ in 0..=random.below(2) {
            let at = random.below(bytes.len());
            let other = random.below(bytes.len());
            match random.below(5) {
                0 => bytes[at] = random.below(256) as u8,
                1 => drop(bytes.splice(at..at, pieces[random.below(pieces.len())].bytes())),
                2 => drop(bytes.drain(at..(at + random.below(20)).min(bytes.len() - 1).max(at))),
                3 => bytes.swap(at, other),
                _ if random.below(10) == 0 => bytes.truncate(at + 1),
                _ => bytes[at] = bytes[other],
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let result = parse_within(&text, "-", &NoBlobs, limits);
        result.diagnostics.iter().for_each(|d| assert!(!render(d, &text).is_empty()));
        if let Some(graph) = result.graph {
            parsed += 1;
            let options = PrintOptions { inline: 1 << 12, ..PrintOptions::lossless() };
            let first = print(&graph, &options);
            assert_eq!(print(&read(&first), &options), first, "{text}");
        } else {
            assert!(!result.diagnostics.is_empty());
        }
    }
    assert!(parsed > 200, "only {parsed} damaged texts still parse");
}

#[test]
fn rules_print_as_they_read() {
    let text = "/// [f(x), …] = f([x, …])\n/// One call.\nrule join : exact {\n  match {\n    %fs = any.f %xs, ..%more {..$f, alpha = $a}\n    \
                %y = onnx.Concat ..%fs {axis = 1}\n  }\n  where alike(%fs, %y), extent(%y, 1, $n), identity(compose($p, $p))\n  \
                replace %y {\n    %zero = const 0.0 : f32[]\n    %c = onnx.Concat ..%xs, %zero {axis = 1} like %xs\n    \
                %z = any.f %c, ..%more {..$f, alpha = $a + 1}\n    yield %z\n  }\n}\n";
    let rules = parse_rules(text, "-").unwrap_or_else(|found| panic!("{found:#?}"));
    assert_eq!(print_rule(&rules[0]), text);
    assert_eq!((rules[0].pattern().len(), rules[0].guards.len()), (2, 3));
    // What rules alone may say is no graph.
    for wrong in ["%y = onnx.Relu ..%x", "%y = onnx.Relu %x {..$rest}", "%y = onnx.Relu %x like %x"] {
        let text = format!("graph @main(%x: f32[1]) {{\n  {wrong}\n  return %y\n}}\n");
        assert!(parse(&text, "-", &NoBlobs).graph.is_none(), "{wrong}");
    }
}

#[test]
fn broken_rules_are_reported_and_never_panic() {
    let text = "/// a\nrule a : exact {\n  match {\n    %y = onnx.Relu %x\n  }\n  where rank(%q, 4)\n  replace %y { yield %x }\n}\n\
                rule b : exact {\n  match {\n    %y = onnx.Relu %x\n  }\n  replace %y { yield %z }\n}\n";
    let found: Vec<String> = parse_rules(text, "r").unwrap_err().iter().map(|d| format!("{} {}", d.code, d.loc)).collect();
    assert_eq!(found, ["text-unknown-value r:6:14", "text-unknown-value r:13:22"]);
    // Cut anywhere, it is an error or shorter; never the end of the program.
    for end in 0..text.len() {
        let _ = parse_rules(&text[..end], "r");
    }
}
