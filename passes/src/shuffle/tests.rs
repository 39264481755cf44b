//! Random small networks of units that shuffle compute the same bits before and after.

use spaceevo_ir::interp::{self, Datum};
use spaceevo_ir::tensor::Rand;
use spaceevo_ir::{Elem, Graph, Tensor, ValueId, text};

use crate::{Manager, Pipeline, Registry, Target};

/// Small numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % n as u64) as usize
    }
}

/// Text of a network as it grows; `stored` says whether in bytes.
struct Text {
    dice: Dice,
    stored: bool,
    lines: Vec<String>,
    names: usize,
}

const SIDE: usize = 2;

impl Text {
    fn ty(&self, shape: &[usize]) -> String {
        let shape = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        if self.stored { format!("qu8(0.05, 128)[{shape}]") } else { format!("f32[{shape}]") }
    }

    fn image(&self, channels: usize) -> String {
        self.ty(&[1, channels, SIDE, SIDE])
    }

    fn fresh(&mut self) -> String {
        self.names += 1;
        format!("%v{}", self.names)
    }

    fn ints(&mut self, list: &[usize]) -> String {
        let name = self.fresh();
        let items = list.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        self.lines.push(format!("{name} = const [{items}] : i64[{}]", list.len()));
        name
    }

    /// `{result} = onnx.{call} : image with {channels}`.
    fn op(&mut self, call: &str, channels: usize) -> String {
        let (name, ty) = (self.fresh(), self.image(channels));
        self.lines.push(format!("{name} = onnx.{call} : {ty}"));
        name
    }

    /// A Conv of one tap, depthwise when `to` is 0, and perhaps a Relu.
    fn conv(&mut self, x: &str, from: usize, to: usize) -> String {
        let (name, seed) = (self.fresh(), self.dice.below(1 << 20));
        let (group, filters, width) = if to == 0 { (from, from, 1) } else { (1, to, from) };
        let scales = (0..filters).map(|i| format!("0.0{}", 1 + i % 4)).collect::<Vec<_>>().join(", ");
        let ty = if self.stored { format!("qi8(axis 0, [{scales}], 0)") } else { "f32".into() };
        self.lines.push(format!("{name} = const rand({seed}) : {ty}[{filters},{width},1,1]"));
        let made = self.op(&format!("Conv {x}, {name} {{group = {group}}}"), filters);
        if self.dice.below(2) == 0 { self.op(&format!("Relu {made}"), filters) } else { made }
    }

    fn shuffle(&mut self, x: &str, channels: usize, groups: usize) -> String {
        let each = channels / groups;
        let tail: &[usize] = if self.dice.below(2) == 0 { &[SIDE, SIDE] } else { &[SIDE * SIDE] };
        let perm = if tail.len() == 2 { "[0, 2, 1, 3, 4]" } else { "[0, 2, 1, 3]" };
        let apart = [&[1, groups, each], tail].concat();
        let turned = [&[1, each, groups], tail].concat();
        let (into, back) = (self.ints(&apart), self.ints(&[1, channels, SIDE, SIDE]));
        let (r, t) = (self.fresh(), self.fresh());
        let (apart, turned) = (self.ty(&apart), self.ty(&turned));
        self.lines.push(format!("{r} = onnx.Reshape {x}, {into} : {apart}"));
        self.lines.push(format!("{t} = onnx.Transpose {r} {{perm = {perm}}} : {turned}"));
        self.op(&format!("Reshape {t}, {back}"), channels)
    }

    fn halves(&mut self, x: &str, half: usize) -> (String, String) {
        if self.dice.below(2) == 0 {
            let (parts, left, right, ty) = (self.ints(&[half, half]), self.fresh(), self.fresh(), self.image(half));
            self.lines.push(format!("{left}, {right} = onnx.Split {x}, {parts} {{axis = 1}} : {ty}, {ty}"));
            return (left, right);
        }
        let [zero, one, middle, end] = [0, 1, half, 2 * half].map(|n| self.ints(&[n]));
        let left = self.op(&format!("Slice {x}, {zero}, {middle}, {one}"), half);
        (left, self.op(&format!("Slice {x}, {middle}, {end}, {one}"), half))
    }

    /// Even and odd channels.
    fn parities(&mut self, x: &str, half: usize) -> (String, String) {
        let (pairs, apart) = (self.ints(&[half, 2, SIDE * SIDE]), self.ints(&[2, 1, half, SIDE, SIDE]));
        let (p, t, h) = (self.fresh(), self.fresh(), self.fresh());
        let types = [vec![half, 2, SIDE * SIDE], vec![2, half, SIDE * SIDE], vec![2, 1, half, SIDE, SIDE]];
        let [a, b, c] = types.map(|shape| self.ty(&shape));
        self.lines.push(format!("{p} = onnx.Reshape {x}, {pairs} : {a}"));
        self.lines.push(format!("{t} = onnx.Transpose {p} {{perm = [1, 0, 2]}} : {b}"));
        self.lines.push(format!("{h} = onnx.Reshape {t}, {apart} : {c}"));
        [0, 1]
            .map(|n| {
                let index = self.fresh();
                self.lines.push(format!("{index} = const {n} : i64[]"));
                self.op(&format!("Gather {h}, {index} {{axis = 0}}"), half)
            })
            .into()
    }
}

/// The text of a random network of units like those of ShuffleNet V2, with what may come between.
fn network(seed: u64, stored: bool) -> String {
    let mut text = Text { dice: Dice(seed), stored, lines: Vec::new(), names: 0 };
    let half = 2 + text.dice.below(6);
    let (mut left, mut right) = (text.conv("%x", 3, half), text.conv("%x", 3, half));
    for _ in 0..1 + text.dice.below(4) {
        let mut joined = text.op(&format!("Concat {left}, {right} {{axis = 1}}"), 2 * half);
        match text.dice.below(8) {
            0 => joined = text.op(&format!("Relu {joined}"), 2 * half),
            1 => joined = text.op(&format!("MaxPool {joined} {{kernel_shape = [1, 1]}}"), 2 * half),
            2 => joined = text.op(&format!("Concat {right}, {right} {{axis = 1}}"), 2 * half),
            _ => {}
        }
        let branch;
        if text.dice.below(3) == 0 {
            (left, branch) = text.parities(&joined, half);
        } else {
            let groups = if text.dice.below(3) == 0 { half } else { 2 };
            joined = text.shuffle(&joined, 2 * half, groups);
            match text.dice.below(6) {
                0 => joined = text.conv(&joined, 2 * half, 0),
                1 => joined = text.op(&format!("Relu {joined}"), 2 * half),
                _ => {}
            }
            (left, branch) = text.halves(&joined, half);
        }
        right = text.conv(&branch, half, half);
        right = text.conv(&right, half, 0);
        match text.dice.below(4) {
            0 => right = text.op(&format!("Add {right}, {left}"), half),
            1 => right = text.op(&format!("Add {branch}, {right}"), half),
            _ => right = text.conv(&right, half, half),
        }
    }
    let joined = text.op(&format!("Concat {left}, {right} {{axis = 1}}"), 2 * half);
    let last = text.shuffle(&joined, 2 * half, 2);
    let y = if text.dice.below(4) == 0 { last } else { text.conv(&last, 2 * half, 3) };
    let input = text.ty(&[1, 3, SIDE, SIDE]);
    format!("graph @main(%x: {input}) with {{opset = 17}} {{\n  {}\n  return {y}\n}}\n", text.lines.join("\n  "))
}

fn parse(source: &str) -> Graph {
    match text::parse(source, "-", &text::NoBlobs).into_result() {
        Ok(graph) => graph,
        Err(list) => panic!("{}\n{source}", list[0]),
    }
}

/// -1, 0 and 1 in place of the numbers drawn from [-1, 1): sums of these are exact in any order.
fn whole(tensor: &Tensor) -> Tensor {
    let numbers = tensor.to_f32().unwrap().into_iter().map(|x| (1.4 * x).round()).collect::<Vec<f32>>();
    Tensor::new(tensor.dims(), numbers)
}

/// Runs the pass; returns how many rewrites it made.
fn run(graph: &mut Graph) -> usize {
    run_as(graph, "sink-channel-shuffle")
}

fn run_as(graph: &mut Graph, pipeline: &str) -> usize {
    let registry = Registry::standard();
    let target = Target::named("x86-vnni").unwrap();
    let parsed = Pipeline::parse(pipeline, &registry).unwrap();
    let report = Manager::new(&registry, &target).run(&parsed, graph, None);
    if let Some(error) = report.errors().next() {
        panic!("{error}\n{}", text::print(graph, &Default::default()));
    }
    report.log.rewrites.len()
}

fn bits(graph: &Graph, seed: u64) -> Vec<Tensor> {
    let draw = |(i, &v): (usize, &ValueId)| {
        let ty = graph.value(v).ty().tensor().unwrap();
        let rand = Rand { seed: seed + i as u64, within: None };
        let drawn = Tensor::random(ty.storage(), ty.dims().unwrap(), rand).unwrap();
        Datum::Tensor(if ty.storage() == Elem::F32 { whole(&drawn) } else { drawn })
    };
    let inputs: Vec<Datum> = graph.region(graph.body()).inputs().iter().enumerate().map(draw).collect();
    interp::run(graph, &inputs).unwrap().iter().map(|d| d.tensor().unwrap().clone()).collect()
}

fn transposes(graph: &Graph) -> usize {
    graph.all_ops().into_iter().filter(|&op| graph.op(op).name().is_onnx("Transpose")).count()
}

/// Runs the pass on random networks; returns how many Transposes there were, and how many are left.
fn same_bits(stored: bool, cases: u64) -> (usize, usize) {
    let (mut before_all, mut after_all) = (0, 0);
    for case in 0..cases {
        let source = network(case, stored);
        let mut before = parse(&source);
        for value in before.region(before.body()).consts().to_vec() {
            let tensor = before.const_of(value).filter(|t| t.elem() == Elem::F32).map(whole);
            tensor.into_iter().for_each(|tensor| before.set_const(value, tensor));
        }
        let mut after = before.clone();
        run(&mut after);
        for seed in [100, 200] {
            assert_eq!(bits(&before, seed), bits(&after, seed), "case {case}\n{source}");
        }
        before_all += transposes(&before);
        after_all += transposes(&after);
        let printed = text::print(&after, &Default::default());
        assert_eq!(run(&mut after), 0, "case {case} changes again:\n{printed}");
        // What is left becomes Gathers.
        let whole = "sink-channel-shuffle{gather}";
        run_as(&mut after, whole);
        assert_eq!(transposes(&after), 0, "case {case}\n{source}");
        assert_eq!(bits(&before, 300), bits(&after, 300), "case {case}\n{source}");
        assert_eq!(run_as(&mut after, whole), 0, "case {case} changes again");
    }
    (before_all, after_all)
}

#[test]
fn float_networks_compute_the_same_bits() {
    let (before, after) = same_bits(false, 200);
    assert!(before > 600 && after * 8 < before, "{after} of {before} shuffles are left");
}

#[test]
fn typed_networks_compute_the_same_bits() {
    let (before, after) = same_bits(true, 100);
    assert!(before > 300 && after * 8 < before, "{after} of {before} shuffles are left");
}

/// The ops of one shuffle may stand far apart: what two sinks share is made before the first of them.
#[test]
fn shared_parts_are_made_before_their_first_reader() {
    let apart = |n: u32| {
        format!(
            "%p{n} = onnx.Reshape %c, %pairs : f32[2,2,4]\n  \
             %t{n} = onnx.Transpose %p{n} {{perm = [1, 0, 2]}} : f32[2,2,4]\n  \
             %h{n} = onnx.Reshape %t{n}, %halves : f32[2,1,2,2,2]\n  "
        )
    };
    let odd = |n: u32| {
        format!(
            "%o{n} = onnx.Gather %h{n}, %one {{axis = 0}} : f32[1,2,2,2]\n  \
             %d{n} = onnx.Conv %o{n}, %v : f32[1,1,2,2]\n  "
        )
    };
    let source = format!(
        "graph @main(%x: f32[1,3,2,2]) with {{opset = 17}} {{\n  \
         %k = const rand(1) : f32[4,3,1,1]\n  %v = const rand(2) : f32[1,2,1,1]\n  %one = const 1 : i64[]\n  \
         %pairs = const [2, 2, 4] : i64[3]\n  %halves = const [2, 1, 2, 2, 2] : i64[5]\n  \
         %c = onnx.Conv %x, %k : f32[1,4,2,2]\n  {}{}{}{}return %d1, %d2\n}}\n",
        apart(1),
        apart(2),
        odd(2),
        odd(1)
    );
    let before = parse(&source);
    let mut after = before.clone();
    assert_eq!(run(&mut after), 2);
    assert_eq!(bits(&before, 1), bits(&after, 1));
    assert_eq!(transposes(&after), 0);
}
