//! Every shipped rule, on random legal graphs: both sides through the interpreter, compared as its effect demands.

use std::path::PathBuf;

use spaceevo_ir::verify::{Form, verify};
use spaceevo_ir::{Graph, interp};
use spaceevo_passes::rule::{Applied, Rule, apply, shipped};
use spaceevo_testkit::compare::{Closeness, compare};
use spaceevo_testkit::golden::Case;
use spaceevo_testkit::instance::{Dice, data, instance};
use spaceevo_testkit::stored;

/// `RULE_CASES=100000 cargo test -p spaceevo-passes --test rules` looks longer.
fn cases() -> usize {
    std::env::var("RULE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(60)
}

/// The graph after the rule was applied to the op before its last one, if it was.
fn applied(rule: &Rule, graph: &Graph) -> Option<Graph> {
    let mut after = graph.clone();
    let root = graph.region(graph.body()).results()[0];
    let op = graph.def_op(graph.op(graph.def_op(root)?).operand(0)?)?;
    (apply(rule, &mut after, op, &mut |_| true) == Applied::Yes).then_some(after)
}

fn check(rule: &Rule, cases: usize) -> Result<(usize, usize), String> {
    let mut dice = Dice(rule.name().bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into())));
    let (mut found, mut stored_ones, mut drawn) = (0, 0, 0);
    while found < cases && drawn < 400 * cases {
        drawn += 1;
        let stored = drawn % 2 == 0;
        let Some(before) = instance(rule, &mut dice, stored) else { continue };
        let Some(after) = applied(rule, &before) else { continue };
        found += 1;
        stored_ones += usize::from(stored);
        let text = || {
            let print = |graph| spaceevo_ir::text::print(graph, &Default::default());
            format!("{}\nbecame\n{}", print(&before), print(&after))
        };
        if let Some(broken) = verify(&after, Form::Concrete).first() {
            return Err(format!("{broken}\n{}", text()));
        }
        let Some(close) = Closeness::of(rule.effect, None) else { continue };
        let inputs = stored::real_inputs(&before, &data(&before, &mut dice)).map_err(|d| d.to_string())?;
        let expected = stored::run(&before, &inputs).map_err(|d| format!("{d}\n{}", text()))?;
        let made = stored::run(&after, &inputs).map_err(|d| format!("{d}\n{}", text()))?;
        compare(&["y".into()], &expected, &made, close).map_err(|why| format!("{why}\n{}", text()))?;
    }
    if found < cases.min(20) {
        Err(format!("{drawn} graphs were drawn, and it matched {found}"))
    } else {
        Ok((found, stored_ones))
    }
}

#[test]
fn rules_do_what_their_effect_says() {
    let only = std::env::var("RULE").unwrap_or_default();
    let mut failures = Vec::new();
    for rule in shipped().iter().filter(|rule| rule.name().contains(&only)) {
        match check(rule, cases()) {
            Ok((found, stored)) => println!("{}: {found} cases, {stored} of them stored", rule.name()),
            Err(why) => failures.push(format!("rule {}: {why}", rule.name())),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// A wrong rule must not pass: the test of the test.
#[test]
fn a_wrong_rule_is_caught() {
    let wrong = |effect: &str, guards: &str, replaced: &str| {
        let text = format!("/// wrong\nrule wrong : {effect} {{\n  match {{\n{guards}  replace %y {{\n{replaced}  }}\n}}\n");
        Rule::parse(&text, "wrong").unwrap().remove(0)
    };
    let mean_is_no_maximum = wrong(
        "exact",
        "    %f = onnx.Relu %x\n    %y = onnx.AveragePool %f {..$p}\n  }\n",
        "    %a = onnx.AveragePool %x {..$p}\n    %r = onnx.Relu %a\n    yield %r\n",
    );
    // Without asking whether the types are alike, what saturates first is not what saturates last.
    let types_differ = wrong(
        "exact",
        "    %f = onnx.Relu %x\n    %y = onnx.MaxPool %f {..$p}\n  }\n",
        "    %a = onnx.MaxPool %x {..$p} like %x\n    %r = onnx.Relu %a\n    yield %r\n",
    );
    let not_exact = wrong(
        "exact",
        "    %p = onnx.Add %x, %a\n    %y = onnx.Add %p, %b\n  }\n  where constant(%a, %b), plain(%x, %p, %y)\n",
        "    %c = onnx.Add %a, %b\n    %r = onnx.Add %x, %c\n    yield %r\n",
    );
    for rule in [mean_is_no_maximum, types_differ, not_exact] {
        assert!(check(&rule, 400).is_err(), "{}", spaceevo_ir::text::print_rule(&rule.text));
    }
}

/// What takes the place of a value must be stored as it is, whether or not a rule asks for that.
#[test]
fn types_that_differ_are_never_exchanged() {
    let text = "/// careless\nrule careless : exact {\n  match {\n    %a = onnx.Relu %x\n    %y = onnx.Relu %a\n  }\n  \
                replace %y {\n    yield %a\n  }\n}\n";
    let rule = Rule::parse(text, "careless").unwrap().remove(0);
    let (found, stored) = check(&rule, 200).unwrap();
    assert!(found == 200 && stored > 20, "{found} cases, {stored} stored");
}

#[test]
fn every_rule_matches_something_in_the_test_data() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata");
    let mut graphs: Vec<Graph> = Vec::new();
    for case in Case::all(&folder.join("golden")).unwrap() {
        graphs.extend(spaceevo_ir::text::parse(&case.text, "-", &spaceevo_ir::text::NoBlobs).graph);
    }
    assert!(graphs.len() > 100 && interp::claimed().len() > 100);
    let matches = |rule: &Rule, graph: &Graph| {
        graph.ops_in(graph.body()).any(|op| {
            let mut found = false;
            apply(rule, &mut graph.clone(), op, &mut |_| {
                found = true;
                false
            });
            found
        })
    };
    let unused = shipped().iter().filter(|rule| !graphs.iter().any(|graph| matches(rule, graph)));
    let unused: Vec<&str> = unused.map(Rule::name).collect();
    assert!(unused.is_empty(), "no case in testdata/golden shows {unused:?}: add one to testdata/golden/apply-rules");
}
