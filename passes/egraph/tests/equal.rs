//! `saturate` on every graph of the test data: what comes out verifies, computes the same, and costs the same bytes again.

use std::path::PathBuf;

use spaceevo_egraph::Saturate;
use spaceevo_ir::Graph;
use spaceevo_ir::text::{NoBlobs, PrintOptions, parse, print};
use spaceevo_ir::verify::{Form, verify};
use spaceevo_passes::{Effect, Manager, Pipeline, Registry, Target};
use spaceevo_testkit::compare::{Closeness, compare};
use spaceevo_testkit::golden::Case;
use spaceevo_testkit::inputs::{Draw, inputs};
use spaceevo_testkit::stored;

fn saturated(graph: &Graph, registry: &Registry, target: &Target) -> Graph {
    let mut graph = graph.clone();
    let pipeline = Pipeline::parse("saturate{rounds=4},fold-constants,drop-dead", registry).unwrap();
    let report = Manager::new(registry, target).run(&pipeline, &mut graph, None);
    assert!(report.ok(), "{:?}", report.log.diagnostics);
    graph
}

#[test]
fn what_comes_out_is_equal() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden");
    let mut registry = Registry::standard();
    registry.add(Saturate);
    let target = Target::named("x86-avx2").unwrap();
    let (mut compared, mut changed) = (0, 0);
    for case in Case::all(&folder).unwrap() {
        let Some(before) = parse(&case.text, "-", &NoBlobs).graph.filter(|g| verify(g, Form::Concrete).is_empty()) else {
            continue;
        };
        let after = saturated(&before, &registry, &target);
        let (old, new) = (print(&before, &PrintOptions::default()), print(&after, &PrintOptions::default()));
        assert_eq!(new, print(&saturated(&before, &registry, &target), &PrintOptions::default()), "{}", case.file.display());
        changed += usize::from(old != new);
        let Ok(drawn) = inputs(&before, &Draw::default()) else { continue };
        let Ok(data) = stored::real_inputs(&before, &drawn) else { continue };
        let Ok(expected) = stored::run(&before, &data) else { continue };
        let found = stored::run(&after, &data).unwrap_or_else(|d| panic!("{}: {d}\n{old}\n{new}", case.file.display()));
        // Where numbers are stored at the end, what is rounded before may end one step away.
        let step = old.contains("qu8(") || old.contains("qi8(");
        let close = Closeness::of(Effect::Rounding, step.then_some(0.02)).unwrap();
        compare(&[], &expected, &found, close).unwrap_or_else(|why| panic!("{}: {why}\n{old}\n{new}", case.file.display()));
        compared += 1;
    }
    assert!(compared > 150 && changed > 30, "{compared} compared, {changed} changed");
}
