//! What `calibrate` measures on the way is what `correct-bias` would have run the samples for.

use spaceevo_ir::interp::Datum;
use spaceevo_ir::tensor::Rand;
use spaceevo_ir::text::{NoBlobs, PrintOptions, parse, print};
use spaceevo_ir::{Diagnostic, Elem, Graph, Tensor, ValueId};
use spaceevo_passes::{Manager, Observer, Pipeline, Registry, Target};
use spaceevo_testkit::observer::Seeded;

const NETWORK: &str = "\
graph @main(%x: f32[1,3,6,6]) with {opset = 17} {
  %v = const rand(1) : f32[4,3,3,3]
  %a = onnx.Conv %x, %v {pads = [1, 1, 1, 1]} : f32[1,4,6,6]
  %r = onnx.Relu %a : f32[1,4,6,6]
  %w = const rand(2) : f32[2,4,1,1]
  %c = onnx.Conv %r, %w : f32[1,2,6,6]
  return %c
}
";

/// Counts the samples that are run.
struct Counting(Seeded, usize);

impl Observer for Counting {
    fn samples(&self) -> usize {
        self.0.samples()
    }

    fn observe(
        &mut self,
        graph: &Graph,
        values: &[ValueId],
        samples: &[usize],
        see: &(dyn Fn(usize, usize, &[f32]) + Sync),
    ) -> Result<(), Diagnostic> {
        self.1 += samples.len();
        self.0.observe(graph, values, samples, see)
    }
}

/// The graph that the pipeline leaves, and how many samples it ran.
fn after(pipeline: &str) -> (String, usize) {
    let mut graph = parse(NETWORK, "network", &NoBlobs).graph.unwrap();
    let (registry, target) = (Registry::standard(), Target::named("portable").unwrap());
    let sample =
        |seed| vec![Datum::Tensor(Tensor::random(Elem::F32, vec![1, 3, 6, 6], Rand { seed, within: None }).unwrap())];
    let mut observer = Counting(Seeded { samples: (0..40).map(sample).collect() }, 0);
    let run = Manager::new(&registry, &target).run(
        &Pipeline::parse(pipeline, &registry).unwrap(),
        &mut graph,
        Some(&mut observer),
    );
    assert!(run.ok(), "{:?}", run.log.diagnostics);
    (print(&graph, &PrintOptions::default()), observer.1)
}

#[test]
fn moments_that_calibrate_leaves_save_the_runs_and_change_nothing() {
    let (apart, runs) = after("calibrate,correct-bias");
    let (together, fewer) = after("calibrate{moments=16},correct-bias");
    assert_eq!(apart, together);
    assert_eq!((runs, fewer), (40 + 16, 40));
}

#[test]
fn moments_of_another_graph_or_other_samples_are_not_believed() {
    let (expected, _) = after("calibrate,correct-bias{samples=8}");
    let (found, runs) = after("calibrate{moments=16},correct-bias{samples=8}");
    assert_eq!((expected, 40 + 8), (found, runs));
    // The second calibration touches the graph that the first has measured.
    let (_, runs) = after("calibrate{moments=16},calibrate,correct-bias");
    assert_eq!(runs, 40 + 40 + 16);
}
