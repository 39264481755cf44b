//! Random small networks compute the same bits before and after padding.

use std::sync::Mutex;

use spaceevo_ir::interp::{self, Datum};
use spaceevo_ir::tensor::Rand;
use spaceevo_ir::{Diagnostic, Elem, Graph, Tensor, ValueId, text};

use crate::{Manager, Observer, Pipeline, Registry, Target};

/// Small numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
}

/// The text of a random inverted bottleneck, with what real ones have around them.
fn bottleneck(dice: &mut Dice) -> String {
    let mut lines = Vec::new();
    let mut seed = dice.below(1 << 20);
    let mut constant = |lines: &mut Vec<String>, shape: &str| {
        seed += 1;
        lines.push(format!("%k{seed} = const rand({seed}) : f32[{shape}]"));
        format!("%k{seed}")
    };
    let input = dice.one_of(&[3, 4, 6, 16]);
    let trunk = dice.one_of(&[6u64, 10, 14, 16, 18, 20]);
    let hidden = dice.one_of(&[11u64, 12, 18, 24, 30, 33]);
    let (kernel, stride) = (dice.one_of(&[3u64, 5]), dice.one_of(&[1u64, 1, 2]));
    let act = |lines: &mut Vec<String>, from: &str, to: &str, which: u64, ty: &str| {
        match which {
            0 => lines.push(format!("{to} = onnx.Relu {from} : {ty}")),
            1 => lines.push(format!("{to} = onnx.HardSwish {from} : {ty}")),
            2 => lines.push(format!("{to} = onnx.LeakyRelu {from} : {ty}")),
            _ => {
                lines.push(format!("{to}s = onnx.Sigmoid {from} : {ty}"));
                lines.push(format!("{to} = onnx.Mul {from}, {to}s : {ty}"));
            }
        };
    };
    let size = 4u64;
    let t = format!("f32[1,{trunk},{size},{size}]");
    let (w, b) = (constant(&mut lines, &format!("{trunk},{input},1,1")), constant(&mut lines, &format!("{trunk}")));
    lines.push(format!("%t = onnx.Conv %x, {w}, {b} : {t}"));
    let h = format!("f32[1,{hidden},{size},{size}]");
    let w = constant(&mut lines, &format!("{hidden},{trunk},1,1"));
    lines.push(format!("%e = onnx.Conv %t, {w} : {h}"));
    act(&mut lines, "%e", "%ea", dice.below(4), &h);
    let small = size.div_ceil(stride);
    let h = format!("f32[1,{hidden},{small},{small}]");
    let (w, b) =
        (constant(&mut lines, &format!("{hidden},1,{kernel},{kernel}")), constant(&mut lines, &format!("{hidden}")));
    let p = kernel / 2;
    lines.push(format!(
        "%d = onnx.Conv %ea, {w}, {b} {{group = {hidden}, pads = [{p}, {p}, {p}, {p}], strides = [{stride}, {stride}]}} : {h}"
    ));
    act(&mut lines, "%d", "%da", dice.below(4), &h);
    let mut last = "%da";
    if dice.below(2) == 0 {
        let squeezed = dice.one_of(&[5u64, 8, 10, 16]);
        let (s, g) = (format!("f32[1,{squeezed},1,1]"), format!("f32[1,{hidden},1,1]"));
        lines.push(format!("%g = onnx.GlobalAveragePool %da : {g}"));
        let w = constant(&mut lines, &format!("{squeezed},{hidden},1,1"));
        lines.push(format!("%g1 = onnx.Conv %g, {w} : {s}"));
        act(&mut lines, "%g1", "%g2", dice.below(3), &s);
        let w = constant(&mut lines, &format!("{hidden},{squeezed},1,1"));
        lines.push(format!("%g3 = onnx.Conv %g2, {w} : {g}"));
        lines.push(format!("%g4 = onnx.HardSigmoid %g3 : {g}"));
        lines.push(format!("%m = onnx.Mul %da, %g4 : {h}"));
        last = "%m";
    }
    if dice.below(3) == 0 {
        let c = constant(&mut lines, &format!("{hidden},1,1"));
        lines.push(format!("%n = onnx.Mul {c}, {last} : {h}"));
        last = "%n";
    }
    let t = format!("f32[1,{trunk},{small},{small}]");
    let w = constant(&mut lines, &format!("{trunk},{hidden},1,1"));
    lines.push(format!("%p = onnx.Conv {last}, {w} : {t}"));
    let mut last = "%p";
    if stride == 1 && dice.below(2) == 0 {
        lines.push(format!("%a = onnx.Add %p, %t : {t}"));
        last = "%a";
    }
    // A head: one of a Conv, or pooling and Gemm.
    if dice.below(2) == 0 {
        let w = constant(&mut lines, &format!("3,{trunk},1,1"));
        lines.push(format!("%y = onnx.Conv {last}, {w} : f32[1,3,{small},{small}]"));
    } else {
        lines.push(format!("%gp = onnx.GlobalAveragePool {last} : f32[1,{trunk},1,1]"));
        lines.push(format!("%f = onnx.Flatten %gp : f32[1,{trunk}]"));
        let w = constant(&mut lines, &format!("5,{trunk}"));
        lines.push(format!("%y = onnx.Gemm %f, {w} {{transB = 1}} : f32[1,5]"));
    }
    format!(
        "graph @main(%x: f32[1,{input},{size},{size}]) with {{opset = 17}} {{\n  {}\n  return %y\n}}\n",
        lines.join("\n  ")
    )
}

fn parse(source: &str) -> Graph {
    match text::parse(source, "-", &text::NoBlobs).into_result() {
        Ok(graph) => graph,
        Err(list) => panic!("{}\n{source}", list[0]),
    }
}

fn draw(graph: &Graph, seed: u64) -> Vec<Datum> {
    let draw = |(i, &v): (usize, &ValueId)| {
        let ty = graph.value(v).ty().tensor().unwrap();
        let rand = Rand { seed: seed + i as u64, within: None };
        Datum::Tensor(Tensor::random(ty.storage(), ty.dims().unwrap(), rand).unwrap())
    };
    graph.region(graph.body()).inputs().iter().enumerate().map(draw).collect()
}

/// One drawn sample.
struct Drawn;

impl Observer for Drawn {
    fn samples(&self) -> usize {
        1
    }

    fn observe(
        &mut self,
        graph: &Graph,
        values: &[ValueId],
        _: &[usize],
        see: &(dyn Fn(usize, usize, &[f32]) + Sync),
    ) -> Result<(), Diagnostic> {
        let inputs = draw(graph, 7);
        let found = Mutex::new(interp::run_all(graph, &inputs, values)?.1);
        for (slot, &value) in values.iter().enumerate() {
            let given = graph.region(graph.body()).inputs().iter().position(|&v| v == value).map(|i| inputs[i].clone());
            let datum = given.or_else(|| found.lock().unwrap()[slot].clone()).unwrap();
            see(0, slot, &datum.tensor().unwrap().to_f32().unwrap());
        }
        Ok(())
    }
}

/// Runs a pipeline; returns how many rewrites its last pass made.
fn run(graph: &mut Graph, pipeline: &str) -> usize {
    let registry = Registry::standard();
    // By prices, networks that small would stay in float.
    let target = Target { prices: None, ..Target::named("x86-vnni").unwrap() };
    let parsed = Pipeline::parse(pipeline, &registry).unwrap();
    let report = Manager::new(&registry, &target).run(&parsed, graph, Some(&mut Drawn));
    if let Some(error) = report.errors().next() {
        panic!("{pipeline}: {error}\n{}", text::print(graph, &Default::default()));
    }
    report.runs.last().map_or(0, |run| run.rewrites)
}

fn bits(graph: &Graph, seed: u64) -> Vec<Tensor> {
    let results = interp::run(graph, &draw(graph, seed)).unwrap();
    results.iter().map(|d| d.tensor().unwrap().clone()).collect()
}

/// Runs both passes on random networks; returns how many networks each of them changed.
fn same_bits(prepare: &str, cases: u64) -> (usize, usize) {
    let (mut widened, mut stems) = (0, 0);
    for case in 0..cases {
        let source = bottleneck(&mut Dice(case));
        let mut before = parse(&source);
        if !prepare.is_empty() {
            run(&mut before, prepare);
        }
        let mut after = before.clone();
        stems += usize::from(run(&mut after, "pad-stem") > 0);
        widened += usize::from(run(&mut after, "legalize-width") > 0);
        for seed in [100, 200] {
            assert_eq!(bits(&before, seed), bits(&after, seed), "case {case}\n{source}");
        }
        let printed = text::print(&after, &Default::default());
        assert_eq!(run(&mut after, "pad-stem,legalize-width"), 0, "case {case} changes again:\n{printed}");
    }
    (widened, stems)
}

#[test]
fn float_networks_compute_the_same_bits() {
    let (widened, stems) = same_bits("", 150);
    assert!(widened > 90, "{widened} were padded");
    assert_eq!(stems, 0);
}

#[test]
fn typed_networks_compute_the_same_bits() {
    let (widened, stems) = same_bits("calibrate,quantize,fold-clip,drop-dead", 150);
    assert!(widened > 90 && stems > 20, "{widened} were padded, {stems} at the stem");
}

/// What is stored is exact; writing it down must not change that: the padded network is lowered to the same bits, too.
#[test]
fn lowered_networks_compute_the_same_bits() {
    for case in 0..40 {
        let mut before = parse(&bottleneck(&mut Dice(1000 + case)));
        run(&mut before, "calibrate,quantize,fold-clip,drop-dead");
        let mut after = before.clone();
        run(&mut after, "pad-stem,legalize-width");
        run(&mut before, "lower-qoperator");
        run(&mut after, "lower-qoperator");
        assert_eq!(bits(&before, 5), bits(&after, 5), "case {case}");
    }
}

/// The Pad of `pad-stem` is bytes in the portable form, and what reads it back finds the types that were there.
#[test]
fn the_pad_of_a_stem_is_bytes_in_both_forms_and_returns() {
    let source = "graph @main(%x: qu8(0.02, 114)[1,3,3,3]) with {opset = 17} {
        %w = const rand(1) : qi8(0.01, 0)[2,3,2,2]
        %y = onnx.Conv %x, %w : qu8(0.1, 100)[1,2,2,2]
        return %y\n}";
    let mut typed = parse(source);
    assert_eq!(run(&mut typed, "pad-stem"), 1);
    for lower in ["lower-qdq", "lower-qoperator"] {
        let mut written = typed.clone();
        run(&mut written, lower);
        let print = |graph: &Graph| text::print(graph, &Default::default());
        let pad = written.all_ops().into_iter().find(|&op| written.op(op).name().is_onnx("Pad")).unwrap();
        assert_eq!(written.value(written.op(pad).result()).ty().elem(), Some(Elem::U8), "{}", print(&written));
        let mut again = written.clone();
        run(&mut again, "lift-qoperator,lift-qdq");
        run(&mut again, lower);
        assert_eq!(print(&again), print(&written));
    }
}
