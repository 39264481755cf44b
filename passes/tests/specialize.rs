//! Every binding of a small space gives a model that is well formed and computes what the space says.

use std::fmt::Write;

use spaceevo_ir::interp::{self, Datum};
use spaceevo_ir::tensor::Rand;
use spaceevo_ir::text::{NoBlobs, PrintOptions, parse, print};
use spaceevo_ir::verify::{Form, verify};
use spaceevo_ir::{Elem, Graph, Tensor};
use spaceevo_passes::{Manager, Pipeline, Registry, Target};

const SPACE: &str = "\
param $w in 2..6 step 2
param $k in {1, 3, 5}
param $e in {0.5, 1, 2}
param $block in {plain, res, skip}
param $act in {relu, swish}

graph @main(%x: f32[1,3,6,6]) with {opset = 17} {
  %w.max = const rand(1) : f32[6,3,5,5]
  %w = space.Crop %w.max {to = [$w, 3, $k, $k]} : f32[$w,3,$k,$k]
  %c = onnx.Conv %x, %w {auto_pad = \"SAME_UPPER\", kernel_shape = [$k, $k]} : f32[1,$w,6,6]
  %y = space.Choice %c {pick = $block} {
    option plain {
      %u = space.Choice %c {pick = $act} {
        option relu { %r = onnx.Relu %c  yield %r }
        option swish { %r = onnx.HardSwish %c  yield %r }
      } : f32[1,$w,6,6]
      yield %u
    }
    option res {
      %v.max = const rand(2) : f32[12,6,1,1]
      %v = space.Crop %v.max {to = [$w * $e, $w, 1, 1]} : f32[$w * $e,$w,1,1]
      %h = onnx.Conv %c, %v : f32[1,$w * $e,6,6]
      %a = space.Choice %h {pick = $act} {
        option relu { %r = onnx.Relu %h  yield %r }
        option swish { %r = onnx.HardSwish %h  yield %r }
      }
      %u.max = const rand(3) : f32[6,12,1,1]
      %u = space.Crop %u.max {to = [$w, $w * $e, 1, 1]} : f32[$w,$w * $e,1,1]
      %r = onnx.Conv %a, %u : f32[1,$w,6,6]
      %s = onnx.Add %c, %r : f32[1,$w,6,6]
      yield %s
    }
    option skip { yield %c }
  } : f32[1,$w,6,6]
  return %y
}
";

struct Binding {
    w: usize,
    k: usize,
    e: f64,
    block: &'static str,
    act: &'static str,
}

fn bindings() -> Vec<Binding> {
    let mut all = Vec::new();
    for w in [2, 4, 6] {
        for k in [1, 3, 5] {
            for e in [0.5, 1.0, 2.0] {
                for block in ["plain", "res", "skip"] {
                    all.extend(["relu", "swish"].map(|act| Binding { w, k, e, block, act }));
                }
            }
        }
    }
    all
}

impl Binding {
    fn option(&self) -> String {
        let Binding { w, k, e, block, act } = self;
        format!("specialize{{bind=w={w}+k={k}+e={e}+block={block}+act={act}}}")
    }

    fn lines(&self) -> String {
        let Binding { w, k, e, block, act } = self;
        format!("bind $w = {w}\nbind $k = {k}\nbind $e = {e:?}\nbind $block = {block}\nbind $act = {act}\n")
    }

    /// The model that is meant, written down without any word of spaces: weights are cut by Slice.
    fn model(&self) -> String {
        let Binding { w, k, e, block, act } = *self;
        let hidden = (w as f64 * e) as usize;
        let mut text = String::from("graph @main(%x: f32[1,3,6,6]) with {opset = 17} {\n");
        let mut weights = |name: &str, seed: u64, from: [usize; 4], to: [usize; 4]| {
            let starts = [0, 0, (from[2] - to[2]) / 2, (from[3] - to[3]) / 2];
            let ends = [to[0], to[1], starts[2] + to[2], starts[3] + to[3]];
            let [a, b, c, d] = from;
            writeln!(text, "  %{name}.max = const rand({seed}) : f32[{a},{b},{c},{d}]").expect("memory");
            writeln!(text, "  %{name}.starts = const {starts:?} : i64[4]").expect("memory");
            writeln!(text, "  %{name}.ends = const {ends:?} : i64[4]").expect("memory");
            writeln!(text, "  %{name} = onnx.Slice %{name}.max, %{name}.starts, %{name}.ends").expect("memory");
        };
        weights("w", 1, [6, 3, 5, 5], [w, 3, k, k]);
        weights("v", 2, [12, 6, 1, 1], [hidden, w, 1, 1]);
        weights("u", 3, [6, 12, 1, 1], [w, hidden, 1, 1]);
        let act = if act == "relu" { "Relu" } else { "HardSwish" };
        text.push_str("  %c = onnx.Conv %x, %w {auto_pad = \"SAME_UPPER\"}\n");
        text.push_str(&match block {
            "plain" => format!("  %y = onnx.{act} %c\n"),
            "res" => {
                format!("  %h = onnx.Conv %c, %v\n  %a = onnx.{act} %h\n  %r = onnx.Conv %a, %u\n  %y = onnx.Add %c, %r\n")
            }
            _ => "  %y = onnx.Identity %c\n".to_owned(),
        });
        text + "  return %y\n}\n"
    }
}

fn read(text: &str) -> Graph {
    parse(text, "-", &NoBlobs).into_result().unwrap_or_else(|found| panic!("{found:?}\n{text}"))
}

fn specialized(graph: &Graph, pipeline: &str) -> Graph {
    let registry = Registry::standard();
    let target = Target::named(Target::names().next().expect("a target")).expect("it is there");
    let mut graph = graph.clone();
    let pipeline = Pipeline::parse(pipeline, &registry).expect("a pipeline");
    let report = Manager::new(&registry, &target).run(&pipeline, &mut graph, None);
    assert!(report.ok(), "{pipeline}: {:?}", report.log.diagnostics);
    assert!(report.log.diagnostics.is_empty(), "{pipeline}: {:?}", report.log.diagnostics);
    graph
}

#[test]
fn every_binding_gives_the_model_that_is_meant() {
    let space = read(SPACE);
    let rand = Rand { seed: 9, within: Some((-3.0, 3.0)) };
    let input = [Datum::Tensor(Tensor::random(Elem::F32, [1, 3, 6, 6], rand).expect("a small tensor"))];
    let all = bindings();
    assert_eq!(all.len(), 162);
    for binding in all {
        let what = binding.option();
        let model = specialized(&space, &what);
        assert_eq!(verify(&model, Form::Concrete), [], "{what}");
        let text = print(&model, &PrintOptions::default());
        assert!(!text.contains("space.") && !text.contains('$'), "{what}\n{text}");
        // Every type is known, and every op stands where it was written.
        for op in model.all_ops() {
            let record = model.op(op);
            assert!(model.value(record.result()).ty().dims().is_some(), "{what}\n{text}");
            let same =
                |&&old: &&spaceevo_ir::OpId| space.op(old).name() == record.name() && space.op(old).loc() == record.loc();
            assert!(space.all_ops().iter().find(same).is_some(), "{what}: {}", record.loc());
        }
        let found = interp::run(&model, &input).expect("a model that runs");
        assert_eq!(found, interp::run(&read(&binding.model()), &input).expect("the model that is meant"), "{what}\n{text}");
        // The lines of a file say the same as the option, and the bound space itself runs like the model.
        let bound = read(&format!("{}{SPACE}", binding.lines()));
        assert_eq!(print(&specialized(&bound, "specialize"), &PrintOptions::default()), text, "{what}");
        assert_eq!(interp::run(&bound, &input).expect("a bound space"), found, "{what}");
    }
}

#[test]
fn a_space_that_is_not_bound_does_not_run() {
    let input = [Datum::Tensor(Tensor::new([1, 3, 6, 6], vec![0.0f32; 108]))];
    let found = interp::run(&read(SPACE), &input).expect_err("no values");
    assert_eq!(found.to_string(), "error[interp-unsupported] at -:1:7: $w has no value: only a bound space can be run");
}
