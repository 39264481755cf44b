//! A supernet under a binding computes what the subnet computes that is cut out of it, and that subnet is the one which the blocks
//! describe.

use spaceevo_ir::domain::MAX_VALUES;
use spaceevo_ir::interp::{self, Datum};
use spaceevo_ir::space::{Bind, Item, SpaceTable};
use spaceevo_ir::tensor::Rand;
use spaceevo_ir::text::{BlobHash, BlobSource, NoBlobs, PrintOptions, parse, print};
use spaceevo_ir::verify::{Form, verify};
use spaceevo_ir::{Diagnostic, Elem, Graph, Loc, Tensor};
use spaceevo_passes::count::count;
use spaceevo_passes::unfold::{Weights, unfold};
use spaceevo_passes::{Manager, Pipeline, Registry, Target};

/// The blocks of `testdata/spaces` in a net of two small stages.
const SPACE: &str = "\
import \"blocks\"
let types = {V1Dual, V2Res, V3Res, ResNet, ResNetSE, FusedRes, FusedSE, V2K3, V3K3, V2, V3, V1, Bug}
param $b1 in types
param $b2 in types
param $d1 in 1..2
param $d2 in 0..3
param $start in 0..1
param $w1[2] in window({8, 16, 24}, size 2, at $start)
param $w2[3] in {8, 16}
param $k1[2] in {3, 5, 7}
param $k2[3] in {3, 5, 7}
param $e1[2] in by $b1 {V2: {1, 2}, V3: {1, 2}, V1Dual: {0}, V2Res: {1, 2}, V3Res: {1, 2}, ResNet: {0.5, 1}, ResNetSE: {0.5, 1}, \
FusedRes: {1, 2}, FusedSE: {1, 2}, V2K3: {1, 2}, V3K3: {1, 2}, V1: {0}, Bug: {0}}
param $e2[3] in {0.5, 1, 1.5}

graph @main(%x: f32[1,4,6,6]) with {opset = 17} {
  %s1 = space.Repeat %x {block = $b1, count = $d1, width = $w1[$i], kernel = $k1[$i], expand = $e1[$i], stride = first(2, 1)}
  %s2 = space.Repeat %s1 {block = $b2, count = $d2, width = $w2[$i], kernel = $k2[$i], expand = $e2[$i]}
  %mean = onnx.GlobalAveragePool %s2
  %y = @Linear %mean {width = 3}
  return %y
}
";

struct Shipped;

impl BlobSource for Shipped {
    fn blob(&self, _: BlobHash) -> Option<bytes::Bytes> {
        None
    }

    fn import(&self, name: &str) -> Option<String> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/spaces/");
        std::fs::read_to_string(format!("{folder}{name}.seir")).ok()
    }
}

fn read(text: &str) -> Graph {
    parse(text, "-", &Shipped).into_result().unwrap_or_else(|found| panic!("{found:#?}\n{text}"))
}

fn run(graph: &Graph, pipeline: &str) -> Result<Graph, Vec<Diagnostic>> {
    let registry = Registry::standard();
    let target = Target::named(Target::names().next().expect("a target")).expect("it is there");
    let mut graph = graph.clone();
    let pipeline = Pipeline::parse(pipeline, &registry).expect("a pipeline");
    let report = Manager::new(&registry, &target).run(&pipeline, &mut graph, None);
    if report.ok() { Ok(graph) } else { Err(report.log.diagnostics.clone()) }
}

/// Numbers that look random.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % bound as u64) as usize
    }

    /// Binds all that is open.
    fn bind(&mut self, table: &mut SpaceTable) {
        for param in table.params.clone() {
            if table.binds.contains_key(&param.name) {
                continue;
            }
            let values = table.values(&param.domain).expect("a domain whose parameters come before it");
            assert!(values.len() < MAX_VALUES);
            let mut one = || values[self.below(values.len())].clone();
            let value = match param.count {
                None => one(),
                Some(count) => Item::List((0..count).map(|_| one()).collect()),
            };
            table.binds.insert(param.name, Bind { value, loc: Loc::Unknown });
        }
    }
}

#[test]
fn subnets_are_cut_out_of_their_supernet() {
    let page = read(SPACE);
    let mut draw = Draw(3);
    let rand = Rand { seed: 9, within: Some((-2.0, 2.0)) };
    let input = [Datum::Tensor(Tensor::random(Elem::F32, [1, 4, 6, 6], rand).expect("a small tensor"))];
    let mut seen = 0;
    for blocks in 0..20 {
        // A space: blocks and window are chosen, or, the last few times, nothing is.
        let mut chosen = page.clone();
        if blocks < 16 {
            for (name, value) in [
                ("b1", chosen.space.values(&page.space.params[0].domain).expect("blocks")[blocks % 13].clone()),
                ("b2", chosen.space.values(&page.space.params[1].domain).expect("blocks")[(blocks * 5 + 1) % 13].clone()),
                ("start", Item::Int((blocks % 2) as i64)),
            ] {
                chosen.space.binds.insert(name.into(), Bind { value, loc: Loc::Unknown });
            }
        }
        let supernet = run(&chosen, "unfold-space{seed=5}").expect("a supernet");
        assert_eq!(verify(&supernet, Form::Space), []);
        for _ in 0..10 {
            let mut bound = supernet.clone();
            draw.bind(&mut bound.space);
            let elastic = interp::run(&bound, &input).expect("a bound supernet runs");
            let subnet = run(&bound, "specialize").expect("a subnet");
            assert_eq!(verify(&subnet, Form::Concrete), []);
            assert_eq!(interp::run(&subnet, &input).expect("it runs"), elastic);
            // The net that the blocks describe has the same ops in the same order, of the same shapes.
            let mut meant = page.clone();
            meant.space.binds = bound.space.binds.clone();
            let meant = run(&meant, "specialize").expect("a net");
            assert_eq!(ops(&meant), ops(&subnet));
            assert_eq!(count(&meant), count(&subnet));
            seen += 1;
        }
    }
    assert_eq!(seen, 200);
}

/// Ops, attributes, and types of results.
fn ops(graph: &Graph) -> Vec<String> {
    let shown = |op: &spaceevo_ir::OpId| {
        let record = graph.op(*op);
        format!("{} {:?} {}", record.name(), record.attrs(), graph.value(record.result()).ty())
    };
    graph.all_ops().iter().map(shown).collect()
}

#[test]
fn declared_weights_are_inputs() {
    let mut page = read(SPACE);
    Draw(1).bind(&mut page.space);
    let drawn = run(&page, "specialize").expect("a net");
    unfold(&mut page, Weights::Declared).expect("a net");
    assert_eq!(spaceevo_ir::shape::infer(&mut page), []);
    assert_eq!(count(&page), count(&drawn));
    assert!(page.region(page.body()).consts().iter().all(|&value| page.const_of(value).is_some_and(|t| t.len() == 1)));
}

#[test]
fn a_supernet_reads_back() {
    let mut page = read(SPACE);
    for (name, value) in [("b1", Item::Word("V2Res".into())), ("b2", Item::Word("ResNetSE".into()))] {
        page.space.binds.insert(name.into(), Bind { value, loc: Loc::Unknown });
    }
    let supernet = run(&page, "unfold-space").expect("a supernet");
    let text = print(&supernet, &PrintOptions { inline: 32, ..PrintOptions::default() });
    let again = parse(&text, "-", &NoBlobs).into_result().unwrap_or_else(|found| panic!("{found:#?}\n{text}"));
    assert_eq!(print(&again, &PrintOptions { inline: 32, ..PrintOptions::default() }), text);
}

/// What strangers may send: an answer, at its place, and soon.
#[test]
fn hostile_spaces_are_refused() {
    let deep: String = (0..40)
        .map(|i| format!("block @b{i}(%x: f32[n,c,h,w]) {{\n  %a = @b{} %x\n  %b = @b{0} %a\n  yield %b\n}}\n", i + 1))
        .collect();
    let doubling: String = (0..60).map(|i| format!("  let a{} = a{i} + a{i}\n", i + 1)).collect();
    let graph = |op: &str| format!("graph @main(%x: f32[1,4,6,6]) with {{opset = 17}} {{\n  %y = {op}\n  return %y\n}}\n");
    let cases = [
        (format!("block @a(%x) {{\n  %y = @a %x\n  yield %y\n}}\n{}", graph("@a %x")), "call each other more than 24 deep"),
        (format!("{deep}block @b40(%x) {{\n  yield %x\n}}\n{}", graph("@b0 %x")), "call each other"),
        (format!("{}{}", deep, graph("@b20 %x")), "there is no block @b40"),
        (
            format!(
                "param $p in 1..3\nblock @a(%x) {{\n  let a0 = $p\n{doubling}  %y = space.Conv %x {{out = a60}}\n  yield %y\n}}\n{}",
                graph("@a %x")
            ),
            "more than 500 parts",
        ),
        (graph("space.Repeat %x {block = a, count = 1000000000}"), "at most 64"),
        (
            format!(
                "param $d in 1..1000000000\nblock @a(%x) {{\n  yield %x\n}}\n{}",
                graph("space.Repeat %x {block = a, count = $d}")
            ),
            "at most 64",
        ),
        (graph("space.Conv %x {out = 1000000000}"), "can be"),
        (graph("space.Conv %x {out = 16000000, kernel = 31}"), "2 GiB"),
        (graph("space.Conv %x {out = 4, groups = 3}"), "no extent"),
        (graph("space.Conv %x {out = 4, kernal = 3}"), "has no attribute kernal"),
        (graph("space.Conv %x {kernel = 3}"), "needs the attribute out"),
        (graph("space.Conv %x {out = 0}"), "no extent"),
        (graph("space.Conv %x {out = 4 / 0}"), "not finite"),
        (graph("@nothing %x"), "there is no block @nothing"),
        (format!("block @a(%x, width) {{\n  yield %x\n}}\n{}", graph("@a %x {with = 3, width = 4}")), "@a takes no with"),
        (format!("block @a(%x, width) {{\n  yield %x\n}}\n{}", graph("@a %x")), "@a needs width"),
        (format!("block @a(%x, %y) {{\n  yield %x\n}}\n{}", graph("@a %x")), "takes 2 values, not 1"),
        (format!("block @a(%x) {{\n  %y = space.Shortcut %x\n  yield %y\n}}\n{}", graph("@a %x")), "blocks know Call"),
        (
            format!("param $b in {{a, q}}\nblock @a(%x) {{\n  yield %x\n}}\n{}", graph("space.Call %x {block = $b}")),
            "there is no block @q",
        ),
        (format!("let a = b\nlet b = a\nparam $p in a\n{}", graph("onnx.Relu %x")), "without end"),
        (format!("param $p in by $q {{a: {{1}}}}\n{}", graph("onnx.Relu %x")), "$q, which is not declared"),
    ];
    for (text, expected) in cases {
        let graph = read(&text);
        let mut found = verify(&graph, Form::Space);
        if found.is_empty() {
            found = run(&graph, "unfold-space").expect_err(expected);
        }
        assert!(found.iter().any(|d| d.to_string().contains(expected)), "{expected}: {found:#?}\n{text}");
    }
}
