//! The verifier: what it finds, where, and that it finds nothing in what is right.

mod kit;

use kit::{check_expectations, random_graph, testdata};
use spaceevo_ir::attr::Attr;
use spaceevo_ir::diagnostic::CODES;
use spaceevo_ir::edit::{NewOp, Place};
use spaceevo_ir::text::{NoBlobs, parse};
use spaceevo_ir::verify::{Form, annotate, findings, verify};
use spaceevo_ir::view;
use spaceevo_ir::{Graph, OpName, Type};

fn read(text: &str) -> Graph {
    parse(text, "-", &NoBlobs).into_result().unwrap_or_else(|found| panic!("{found:?}\n{text}"))
}

#[test]
fn faults_are_found_where_they_are() {
    let files = testdata("verify");
    assert!(files.len() >= 9);
    for (path, text) in files {
        let form = if text.starts_with("// form: concrete") { Form::Concrete } else { Form::Space };
        check_expectations(&path, &text, &verify(&read(&text), form));
    }
}

#[test]
fn right_graphs_pass() {
    for (path, text) in testdata("text/ok") {
        let broken = ["attributes", "forward", "literals"].iter().any(|name| path.starts_with(name));
        let found = verify(&read(&text), Form::Space);
        assert!(broken || found.is_empty(), "{path}: {found:?}");
    }
    let (_, conv) = testdata("text/ok").into_iter().find(|(path, _)| path.starts_with("quantized")).expect("the example");
    assert_eq!(verify(&read(&conv), Form::Quantized), []);
}

#[test]
fn every_code_of_the_verifier_has_a_case() {
    let texts: String = testdata("verify").into_iter().map(|(_, text)| text).collect();
    let groups = ["const-", "form-", "op-", "param-", "quant-type", "quant-scale", "region-", "use-before"];
    let missing: Vec<_> = CODES
        .iter()
        .map(|(code, _)| *code)
        .filter(|code| groups.iter().any(|group| code.starts_with(group)) && !texts.contains(&format!("//~ {code}")))
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
    assert!(CODES.is_sorted_by_key(|(code, _)| *code));
}

#[test]
fn a_value_of_a_branch_cannot_be_read_outside() {
    let mut graph = read(
        "graph @main(%c: bool[]) {\n  %a = onnx.If %c {\n    then_branch {\n      %x = onnx.Identity %c : bool[]\n      yield %x\n    }\n    \
         else_branch {\n      yield %c\n    }\n  } : bool[]\n  return %a\n}\n",
    );
    assert_eq!(verify(&graph, Form::Any), []);
    let inner = graph.all_ops()[1];
    let value = graph.op(inner).result();
    let body = graph.body();
    graph.insert(Place::End(body), NewOp::onnx("Not").operand(value).result("y", Type::Unknown));
    let codes: Vec<_> = verify(&graph, Form::Any).iter().map(|d| d.code).collect();
    assert_eq!(codes, ["not-visible"]);
    graph.set_results(body, vec![value]);
    let codes: Vec<_> = verify(&graph, Form::Any).iter().map(|d| d.code).collect();
    assert_eq!(codes, ["not-visible", "not-visible"]);
}

#[test]
fn faults_are_shown_inside_the_graph() {
    let text =
        "graph @main(%x: f32[1]) with {opset = 17} {\n  %a = onnx.LeakyRelu %x {alfa = 0.1} : f32[1]\n  return %a\n}\n";
    let graph = read(text);
    let shown = annotate(&graph, &verify(&graph, Form::Any));
    let expected = text.replace(
        "  return",
        "  // ^ error[op-attr-unknown] at -:2:3: onnx.LeakyRelu: has no attribute alfa at operator set version 16\n  \
         //   = did you mean alpha?\n  return",
    );
    assert_eq!(shown, expected);
    assert_eq!(read(&shown).all_ops().len(), 1);
}

#[test]
fn nothing_makes_it_panic() {
    for seed in 0..300 {
        let graph = random_graph(seed);
        let found = findings(&graph, Form::Concrete);
        assert!(!spaceevo_ir::verify::annotate_findings(&graph, found).is_empty());
        assert!(view::dot(&graph).starts_with("digraph {"));
        assert!(view::is_ordered(&graph), "values are made before they are read");
    }
}

#[test]
fn functions_of_the_model_hide_operators() {
    let text = "graph @main(%x: f32[1]) with {opset = 17} {\n  %a = onnx.Relu %x, %x {odd = 1}\n  return %a\n}\n\n\
                function onnx.Relu(%a, %b) attrs {odd} with {opset = 17} {\n  %y = onnx.Add %a, %b\n  return %y\n}\n";
    assert_eq!(verify(&read(text), Form::Any), []);
}

#[test]
fn petgraph_sees_the_data_flow() {
    let graph = read(
        "graph @main(%x: f32[1]) {\n  %a = onnx.Relu %x\n  %b = onnx.Exp %a\n  %c = onnx.Abs %a\n  %d = onnx.Add %b, %c\n  return %d\n}\n",
    );
    let ops = graph.all_ops();
    let flow = view::dataflow(&graph, graph.body());
    assert_eq!((flow.node_count(), flow.edge_count()), (4, 4));
    assert_eq!(view::topological_order(&graph, graph.body()).map(|o| (o[0], o[3])), Some((ops[0], ops[3])));
    let (back, dominators) = view::post_dominators(&graph, graph.body());
    let first = back.node_indices().find(|&n| back[n] == Some(ops[0])).expect("the first op");
    let behind = dominators.immediate_dominator(first).and_then(|n| back[n]);
    assert_eq!(behind, Some(ops[3]), "what the first op makes reaches the result only through the last");
    let dot = view::dot(&graph);
    assert!(dot.contains("op0 -> op1 [label=\"a\"]") && dot.contains("label=\"onnx.Relu\\n?\""), "{dot}");
    assert!(view::is_ordered(&graph));
    assert!(!view::is_ordered(&read(
        "graph @main(%x: f32[1]) {\n  %a = onnx.Relu %b\n  %b = onnx.Relu %x\n  return %a\n}\n"
    )));
}

#[test]
fn unknown_operators_and_attribute_kinds_pass() {
    let mut graph = read("graph @main(%x: f32[1]) with {opset = 17} {\n  %a = onnx.NoSuchThing %x\n  return %a\n}\n");
    let op = graph.all_ops()[0];
    graph.set_attr(op, "anything", Attr::Word("goes".into()));
    graph.set_op_name(op, OpName::new("com.acme", "Anything"));
    assert_eq!(verify(&graph, Form::Quantized), []);
}
