//! What a predictor finds out about channel counts decides what `legalize-width` does.

use spaceevo_cost::predictor::{Base, Forest, Model, Overhead, Predictor, width};
use spaceevo_ir::Graph;
use spaceevo_ir::text::{self, NoBlobs};
use spaceevo_passes::target_text::with_width;
use spaceevo_passes::{Manager, Pipeline, Registry, Target};

/// A machine whose depthwise convolutions are three times as fast when channels are a multiple of `least`.
fn predictor(least: f32) -> Predictor {
    let weights = |factor: f64| std::array::from_fn(|term| factor * [100.0, 0.03].get(term).copied().unwrap_or(0.0));
    let base = Base { weights: weights(1.0), below: vec![((2, least), weights(2.0))] };
    let model = Model { samples: 200, base, forest: Forest::default(), spread: 0.03 };
    let overhead = Overhead::NONE;
    let models = [("QLinearConv-depthwise-last".to_owned(), model)].into();
    Predictor { origin: Default::default(), overhead, models }
}

/// Channels of the depthwise convolution between two others, behind the pass.
fn channels(target: &Target) -> Option<usize> {
    let source = "graph @main(%x: qu8(0.1, 0)[1,24,28,28]) with {opset = 17} {\n  \
        %w = const rand(1) : qi8(0.1, 0)[72,24,1,1]\n  %v = const rand(2) : qi8(0.1, 0)[72,1,3,3]\n  \
        %u = const rand(3) : qi8(0.1, 0)[24,72,1,1]\n  %h = onnx.Conv %x, %w : qu8(0.1, 0)[1,72,28,28]\n  \
        %d = onnx.Conv %h, %v {group = 72, pads = [1, 1, 1, 1]} : qu8(0.1, 0)[1,72,28,28]\n  \
        %y = onnx.Conv %d, %u : qu8(0.1, 0)[1,24,28,28]\n  return %y\n}\n";
    let mut graph: Graph = text::parse(source, "test", &NoBlobs).into_result().unwrap();
    let registry = Registry::standard();
    let pipeline = Pipeline::parse("legalize-width", &registry).unwrap();
    assert!(Manager::new(&registry, target).run(&pipeline, &mut graph, None).ok());
    let groups = graph.all_ops().into_iter().map(|op| graph.op(op).int("group", 1)).max()?;
    usize::try_from(groups).ok()
}

#[test]
fn a_rule_that_was_found_changes_what_is_padded() {
    let (text, shipped) = (Target::text("x86-vnni").unwrap(), Target::named("x86-vnni").unwrap());
    let found = |least: f32| {
        let rule = width(&predictor(least), &shipped, shipped.width.as_ref().unwrap()).unwrap();
        Target::parse(&with_width(text, &rule, &[]), "found").unwrap()
    };
    assert_eq!(channels(&shipped), Some(80));
    // A machine that likes multiples of 16 as the target's does: as before.
    assert_eq!(channels(&found(16.0)), Some(80));
    // 72 is a multiple of 8 already, and none of 32.
    assert_eq!(channels(&found(8.0)), Some(72));
    assert_eq!(channels(&found(32.0)), Some(96));
}
