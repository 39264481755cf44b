//! What the tests of the text and of the verifier share.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::Path;

use bytes::Bytes;
use spaceevo_ir::block::{Block, BlockOp, Guard, Step};
use spaceevo_ir::edit::{NewOp, Place};
use spaceevo_ir::graph::{Loc, OpName, Range, RegionId, ValueId};
use spaceevo_ir::space::{Bind, Domain, Expr, Item, Let, Param};
use spaceevo_ir::tensor::Rand;
use spaceevo_ir::types::{Dim, Elem, Quant, TensorType, Type};
use spaceevo_ir::{Attr, Diagnostic, Graph, Tensor};

/// The `.seir` files of a folder below `testdata`, sorted: path and text.
pub(crate) fn testdata(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(folder);
    let entries = std::fs::read_dir(&root).unwrap_or_else(|e| panic!("{}: {e}", root.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "seir"));
    files.sort();
    let name = |path: &Path| path.file_name().expect("a file").to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), std::fs::read_to_string(path).expect("UTF-8"))).collect()
}

/// Compares diagnostics with the comments `//~ code: part of the message` on the lines they blame.
pub(crate) fn check_expectations(path: &str, text: &str, found: &[Diagnostic]) {
    let mut expected: Vec<(i64, &str, &str)> = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        for note in content.split("//~").skip(1) {
            let (code, message) = note.split_once(':').unwrap_or((note, ""));
            expected.push((line, code.trim(), message.trim()));
        }
    }
    assert!(!expected.is_empty(), "{path} expects nothing");
    let mut left: Vec<&Diagnostic> = found.iter().collect();
    for (line, code, message) in expected {
        let hit = left.iter().position(|d| {
            let at = if let Loc::Text { line, .. } = d.loc { i64::from(line) } else { 0 };
            at == line && d.code == code && d.to_string().contains(message)
        });
        match hit {
            Some(index) => drop(left.remove(index)),
            None => panic!("{path}:{line}: expected {code}: {message}\nfound:\n{}", list(found)),
        }
    }
    assert!(left.is_empty(), "{path}: unexpected:\n{}", left.iter().map(|d| format!("{d}\n")).collect::<String>());
    for d in found {
        assert!(spaceevo_ir::diagnostic::explain(d.code).is_some(), "{} is not in CODES", d.code);
    }
}

fn list(found: &[Diagnostic]) -> String {
    found.iter().map(|d| format!("{d}\n")).collect()
}

/// A small generator of pseudo-random numbers (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }
}

/// A graph of everything the text can say, well formed or not so much: the text must carry it all the same.
pub(crate) fn random_graph(seed: u64) -> Graph {
    let mut r = Random(seed);
    let name = text(&mut r);
    let mut graph = Graph::new(&name);
    let body = graph.body();
    let mut reach = Vec::new();
    fill(&mut graph, body, &mut r, 0, &mut reach);
    if r.chance(30) {
        let low = r.below(10) as i64;
        let domain = match r.chance(50) {
            true => Domain::Range { low, high: low + r.below(50) as i64, step: 1 + r.below(8) as i64 },
            false => Domain::Set(vec![Item::Int(-3), Item::Float(0.5), Item::Word(text(&mut r).into())]),
        };
        graph.space.params.push(Param { name: "p".into(), count: None, domain, loc: Loc::Unknown });
        space_lines(&mut graph, &mut r);
        graph.space.binds.insert(text(&mut r).into(), Bind { value: Item::Float(1e300), loc: Loc::Unknown });
    }
    if r.chance(40) {
        graph.meta.opsets.insert("onnx".into(), 17);
        graph.meta.opsets.insert(text(&mut r).into(), r.next());
        graph.meta.producer = text(&mut r);
        graph.meta.props.insert(text(&mut r), text(&mut r));
        graph.meta.opaque.insert(text(&mut r), vec![Bytes::from(vec![0xAB; r.below(200)])]);
    }
    graph
}

/// Domains of every kind, lists, and a block of every kind of line.
fn space_lines(graph: &mut Graph, r: &mut Random) {
    let cases =
        vec![(Item::Word(text(r).into()).text(), Domain::Set(vec![Item::Int(1)])), ("7".into(), Domain::Named("d".into()))];
    graph.space.lets.push(Let { name: text(r).into(), domain: Domain::Cases(cases), loc: Loc::Unknown, import: None });
    let of = Box::new(Domain::Named(text(r).into()));
    let domain = match r.chance(50) {
        true => Domain::Window { of, size: 1 + r.below(5) as u32, at: text(r).into() },
        false => Domain::By { param: text(r).into(), of },
    };
    let count = Some(1 + r.below(9) as u32);
    graph.space.params.push(Param { name: "q".into(), count, domain, loc: Loc::Unknown });
    let list = Item::List(vec![Item::Int(1), Item::Float(0.5), Item::Word(text(r).into())]);
    graph.space.binds.insert("q".into(), Bind { value: list, loc: Loc::Unknown });
    let op = BlockOp {
        result: text(r).into(),
        name: OpName::new("space", "Call"),
        operands: vec!["x".into()],
        attrs: [("block".into(), Attr::text(&text(r))), ("n".into(), Attr::Int(3))].into(),
        guard: r
            .chance(50)
            .then(|| Guard { unless: r.chance(50), equal: vec![(expr(r, 0), expr(r, 0)), (expr(r, 0), Expr::Int(1))] }),
        loc: Loc::Unknown,
    };
    let steps = vec![
        Step::Let { name: text(r).into(), value: expr(r, 0) },
        Step::Const { result: "c".into(), value: 0.1 },
        Step::Op(BlockOp { result: "y".into(), ..op }),
    ];
    graph.space.blocks.push(Block {
        name: text(r).into(),
        inputs: vec![("x".into(), ty(r, 0))],
        params: vec![("a".into(), None), ("b".into(), Some(expr(r, 0)))],
        steps,
        result: "y".into(),
        loc: Loc::Unknown,
        import: None,
    });
}

fn fill(graph: &mut Graph, region: RegionId, r: &mut Random, depth: usize, reach: &mut Vec<ValueId>) {
    let known = reach.len();
    for _ in 0..r.below(3) {
        let (name, ty) = (text(r), ty(r, 0));
        let input = graph.add_input(region, name, ty);
        if r.chance(20) {
            graph.set_default(input, Some(tensor(r)));
        }
        reach.push(input);
    }
    for _ in 0..r.below(6) {
        if r.chance(35) {
            let (name, tensor) = (text(r), tensor(r));
            let ty = if r.chance(70) { Type::Tensor(tensor.ty()) } else { ty(r, 0) };
            reach.push(graph.add_typed_const(region, name, tensor, ty));
            continue;
        }
        let domain = r.pick(&["onnx", "com.microsoft", "", "odd domain", "a-b"]);
        let op = r.pick(&["Conv", "If", "aten::add", "a.b", "2D"]);
        let mut new = NewOp::new(OpName::new(domain, op)).loc(loc(r, 0));
        for _ in 0..r.below(4) {
            let operand = if reach.is_empty() || r.chance(15) { None } else { Some(r.pick(reach)) };
            new = new.operands([operand]);
        }
        for _ in 0..r.below(4) {
            let (name, value) = (text(r), attr(r, 0));
            new = new.attr(&name, value);
        }
        let op = graph.insert(Place::End(region), new);
        for _ in 0..if depth < 3 && r.chance(25) { 1 + r.below(2) } else { 0 } {
            let (label, name) = (text(r), text(r));
            let inner = graph.add_region(op, label, name);
            let mut inside = reach.clone();
            fill(graph, inner, r, depth + 1, &mut inside);
        }
        for _ in 0..r.below(3) {
            let (name, ty) = (text(r), ty(r, 0));
            let result = graph.add_result(op, name, ty);
            if r.chance(10) {
                graph.set_range(result, Some(Range { min: float(r), max: float(r) }));
            }
            reach.push(result);
        }
    }
    let count = r.below(3);
    let mut results: Vec<ValueId> = if reach.is_empty() { Vec::new() } else { (0..count).map(|_| r.pick(reach)).collect() };
    results.extend(reach.get(known).copied());
    let names = results.iter().map(|_| text(r).into()).collect();
    graph.set_named_results(region, results, names);
}

fn text(r: &mut Random) -> String {
    let plain = [
        "x",
        "y",
        "conv.1",
        "0",
        "a/b:0",
        "",
        "nan",
        "_",
        "expr",
        "list",
        "return",
        "Größe",
        "a\"b\\c\n",
        "a..b",
        "\u{202e}",
        "a-b",
    ];
    r.pick(&plain).to_owned()
}

fn float(r: &mut Random) -> f32 {
    match r.below(4) {
        0 => r.pick(&[0.0, -0.0, 1.0, 0.1, f32::MAX, f32::MIN_POSITIVE, 1e-45, f32::INFINITY, f32::NEG_INFINITY, f32::NAN]),
        1 => r.below(100) as f32,
        _ => f32::from_bits(r.next() as u32),
    }
}

fn tensor(r: &mut Random) -> Tensor {
    let elem = r.pick(Elem::ALL);
    let dims: Vec<usize> = (0..r.below(4)).map(|_| r.below(5)).collect();
    let n: usize = dims.iter().product();
    if elem == Elem::Str {
        let strings = (0..n).map(|_| Bytes::from(text(r))).collect();
        return Tensor::strings(dims, strings);
    }
    if r.chance(20) && !matches!(elem, Elem::C64 | Elem::C128) {
        let within = r.chance(50).then(|| (-1.5, f64::from(r.below(9) as u32)));
        return Tensor::random(elem, dims, Rand { seed: r.next(), within }).expect("a small tensor of numbers");
    }
    let bytes = elem.byte_len(n).expect("few elements");
    let uniform = r.chance(20);
    let mut data: Vec<u8> = (0..bytes).map(|_| if uniform { 0x11 } else { r.next() as u8 }).collect();
    // Spare bits of the last byte are zero in every tensor that was made of elements.
    let spare = bytes * 8 - n * elem.bits();
    if let Some(last) = data.last_mut() {
        *last &= 0xFFu8 >> spare;
    }
    Tensor::from_bytes(elem, dims, data).expect("as many bytes as it takes")
}

fn expr(r: &mut Random, depth: usize) -> Expr {
    match r.below(if depth < 3 { 7 } else { 4 }) {
        4 => Expr::Element(text(r).into(), Box::new(expr(r, depth + 1))),
        0 => Expr::Int(r.next() as i64 >> 40),
        1 => Expr::Float(f64::from(float(r))),
        2 => Expr::Param(text(r).into()),
        3 => Expr::Name(text(r).into()),
        _ => {
            let name = r.pick(&["add", "sub", "mul", "div", "round8", "ref", "nan", "expr", "odd name"]);
            let args = if r.chance(80) { 2 } else { r.below(4) };
            Expr::Call(name.into(), (0..args).map(|_| expr(r, depth + 1)).collect())
        }
    }
}

fn ty(r: &mut Random, depth: usize) -> Type {
    match r.below(if depth < 3 { 9 } else { 5 }) {
        0 => Type::Unknown,
        1..5 => Type::Tensor(tensor_type(r)),
        5 => Type::Sparse(tensor_type(r)),
        6 => Type::Sequence(Box::new(ty(r, depth + 1))),
        7 => Type::Optional(Box::new(ty(r, depth + 1))),
        _ => Type::Map(Elem::Str, Box::new(ty(r, depth + 1))),
    }
}

fn tensor_type(r: &mut Random) -> TensorType {
    let dim = |r: &mut Random| match r.below(6) {
        0 => Dim::Unknown,
        1 => Dim::Named(text(r).into()),
        2 => Dim::Expr(expr(r, 0).into()),
        3 => Dim::Known(r.next()),
        _ => Dim::Known(r.below(9) as u64),
    };
    let shape = (!r.chance(15)).then(|| (0..r.below(4)).map(|_| dim(r)).collect());
    let quant = r.chance(30).then(|| {
        let channels = 1 + r.below(20);
        let axis = r.chance(50).then(|| r.below(4));
        let zero = if r.chance(50) { vec![r.next() as i32] } else { (0..channels).map(|c| c as i32).collect() };
        let store = r.pick(&[Elem::U8, Elem::I8, Elem::I32, Elem::U4]);
        Quant { store, axis, scale: (0..channels).map(|_| float(r)).collect(), zero }.into()
    });
    let elem = if quant.is_some() && r.chance(80) { Elem::F32 } else { r.pick(Elem::ALL) };
    TensorType { elem, shape, quant }
}

fn attr(r: &mut Random, depth: usize) -> Attr {
    let some = |r: &mut Random| r.below(3);
    match r.below(if depth < 3 { 16 } else { 14 }) {
        0 => Attr::Int(r.next() as i64),
        1 => Attr::Float(float(r)),
        2 => Attr::Str(Bytes::from((0..r.below(6)).map(|_| r.next() as u8).collect::<Vec<_>>())),
        3 => Attr::text(&text(r)),
        4 => Attr::Tensor(tensor(r)),
        5 => Attr::Type(ty(r, 0)),
        6 => Attr::Ints((0..some(r)).map(|_| r.next() as i64).collect()),
        7 => Attr::Floats((0..some(r)).map(|_| float(r)).collect()),
        8 => Attr::Strs((0..some(r)).map(|_| Bytes::from(text(r))).collect()),
        9 => Attr::Tensors((0..some(r)).map(|_| tensor(r)).collect()),
        10 => Attr::Types((0..some(r)).map(|_| ty(r, 0)).collect()),
        11 => Attr::Ref(text(r).into(), r.below(20) as i32 - 2),
        12 => Attr::Expr(expr(r, 0)),
        13 => Attr::Word(text(r).into()),
        _ => Attr::List((0..some(r)).map(|_| attr(r, depth + 1)).collect()),
    }
}

fn loc(r: &mut Random, depth: usize) -> Loc {
    match r.below(if depth < 3 { 4 } else { 3 }) {
        0 => Loc::Unknown,
        1 => Loc::Text { file: text(r).into(), line: r.below(99) as u32, column: 1 },
        2 => Loc::Onnx { file: text(r).into(), node: text(r).into() },
        _ => Loc::Made { by: text(r).into(), from: (0..r.below(3)).map(|_| loc(r, depth + 1)).collect() },
    }
}
