//! What the node tests of ONNX do not say: symbols, contradictions, hostile numbers.

use crate::attr::Attr;
use crate::edit::{NewOp, Place};
use crate::graph::{Graph, ValueId};
use crate::tensor::Tensor;
use crate::types::{Dim, Elem, Quant, TensorType, Type};

use super::{infer, infer_op, rule};

/// A graph under construction, in the words of these tests.
struct Net(Graph);

impl Net {
    fn new() -> Self {
        let mut graph = Graph::new("main");
        graph.meta.opsets.insert("onnx".into(), 18);
        Net(graph)
    }

    fn input(&mut self, dims: &[&str]) -> ValueId {
        let body = self.0.body();
        self.0.add_input(body, "x", f32_of(dims))
    }

    fn ints(&mut self, values: &[i64]) -> ValueId {
        let body = self.0.body();
        self.0.add_const(body, "c", Tensor::new(vec![values.len()], values.to_vec()))
    }

    fn weight(&mut self, dims: &[usize]) -> ValueId {
        let body = self.0.body();
        let count = dims.iter().product();
        self.0.add_const(body, "w", Tensor::new(dims.to_vec(), vec![0f32; count]))
    }

    fn op(&mut self, op: &str, operands: &[ValueId], attrs: &[(&str, Attr)]) -> ValueId {
        let body = self.0.body();
        let mut new = NewOp::onnx(op).operands(operands.iter().map(|&v| Some(v))).result("y", Type::Unknown);
        for (name, value) in attrs {
            new = new.attr(name, value.clone());
        }
        let id = self.0.insert(Place::End(body), new);
        self.0.op(id).result()
    }

    /// The shape of a value after inference that finds nothing wrong.
    fn shape(&mut self, value: ValueId) -> String {
        let found = infer(&mut self.0);
        assert!(found.is_empty(), "{found:?}");
        spelled(self.0.value(value).ty())
    }

    /// The code and message of the only finding.
    fn fault(&mut self) -> String {
        let found = infer(&mut self.0);
        assert_eq!(found.len(), 1, "{found:?}");
        format!("{}: {}", found[0].code, found[0].message)
    }
}

fn f32_of(dims: &[&str]) -> Type {
    let dim = |text: &&str| match text.parse() {
        Ok(n) => Dim::Known(n),
        Err(_) if *text == "?" => Dim::Unknown,
        Err(_) => Dim::Named((*text).into()),
    };
    Type::Tensor(TensorType::new(Elem::F32, dims.iter().map(dim).collect::<Vec<_>>()))
}

fn spelled(ty: &Type) -> String {
    let Some(shape) = ty.tensor().and_then(|t| t.shape.as_ref()) else { return "unknown".to_string() };
    let word = |dim: &Dim| match dim {
        Dim::Known(n) => n.to_string(),
        Dim::Named(name) => name.to_string(),
        _ => "?".to_string(),
    };
    shape.iter().map(word).collect::<Vec<_>>().join(",")
}

#[test]
fn shape_arithmetic_carries_a_symbolic_batch() {
    for batch in ["n", "?"] {
        let mut net = Net::new();
        let x = net.input(&[batch, "8", "4", "4"]);
        let shape = net.op("Shape", &[x], &[]);
        let zero = net.ints(&[0]);
        let n = net.op("Gather", &[shape, zero], &[]);
        let rest = net.ints(&[2, 4, -1]);
        let target = net.op("Concat", &[n, rest], &[("axis", Attr::Int(0))]);
        let y = net.op("Reshape", &[x, target], &[]);
        assert_eq!(net.shape(y), format!("{batch},2,4,16"));
    }
}

/// Classifiers of exporters that cast shapes to 32 bits and put the target together entry by entry.
#[test]
fn unknown_extents_stay_themselves_through_casts_and_slices() {
    let mut net = Net::new();
    let x = net.input(&["?", "8", "?", "?"]);
    let pooled = net.op("GlobalAveragePool", &[x], &[]);
    let shape = net.op("Shape", &[pooled], &[]);
    let narrow = net.op("Cast", &[shape], &[("to", Attr::Int(6))]);
    let entries = [0, 1].map(|at| {
        let bounds = [at, at + 1, 0, 1].map(|n| net.ints(&[n]));
        let entry = net.op("Slice", &[narrow, bounds[0], bounds[1], bounds[2], bounds[3]], &[]);
        net.op("Cast", &[entry], &[("to", Attr::Int(7))])
    });
    let target = net.op("Concat", &entries, &[("axis", Attr::Int(-1))]);
    let rows = net.op("Reshape", &[pooled, target], &[]);
    let weight = net.weight(&[8, 2]);
    let y = net.op("MatMul", &[rows, weight], &[]);
    let back = net.op("Reshape", &[rows, shape], &[]);
    let again = net.op("Mul", &[x, back], &[]);
    assert_eq!(net.shape(rows), "?,8");
    assert_eq!(net.shape(y), "?,2");
    assert_eq!(net.shape(back), "?,8,1,1");
    assert_eq!(net.shape(again), "?,8,?,?");
}

#[test]
fn products_of_names_cancel() {
    let mut net = Net::new();
    let x = net.input(&["n", "8", "h", "w"]);
    let flat = net.ints(&[0, 8, -1]);
    let y = net.op("Reshape", &[x, flat], &[]);
    let all = net.op("Shape", &[x], &[]);
    let back = net.op("Reshape", &[y, all], &[]);
    let shuffled = net.op("Add", &[back, x], &[]);
    assert_eq!(net.shape(shuffled), "n,8,h,w");
    assert_eq!(net.shape(y), "n,8,?");
}

#[test]
fn equal_geometry_of_named_extents_stays_equal() {
    let mut net = Net::new();
    let x = net.input(&["n", "3", "h", "w"]);
    let w = net.weight(&[4, 3, 3, 3]);
    let attrs = [("strides", Attr::Ints(vec![2, 2])), ("pads", Attr::Ints(vec![1, 1, 1, 1]))];
    let (a, b) = (net.op("Conv", &[x, w], &attrs), net.op("Conv", &[x, w], &attrs));
    let sum = net.op("Add", &[a, b], &[]);
    let shape = net.op("Shape", &[sum], &[]);
    let flat = net.op("Reshape", &[a, shape], &[]);
    assert_eq!(net.shape(sum), "n,4,?,?");
    assert_eq!(net.shape(flat), "n,4,?,?");
    let same = net.op("Conv", &[x, w], &[("pads", Attr::Ints(vec![1, 1, 1, 1]))]);
    assert_eq!(net.shape(same), "n,4,h,w");
}

#[test]
fn declared_types_win_and_contradictions_are_told() {
    let mut net = Net::new();
    let x = net.input(&["n", "3"]);
    let y = net.op("Relu", &[x], &[]);
    net.0.set_type(y, f32_of(&["batch", "?"]));
    assert_eq!(net.shape(y), "batch,3");
    net.0.set_type(y, f32_of(&["2", "4"]));
    assert!(net.fault().starts_with("shape-mismatch: onnx.Relu: the declared type of %y cannot be: extent of axis 1"));
    assert_eq!(spelled(net.0.value(y).ty()), "2,4");
    net.0.set_type(y, TensorType::new(Elem::I64, vec![Dim::Unknown, Dim::Unknown]));
    assert!(net.fault().contains("elements are f32, not i64"));
}

#[test]
fn quantization_of_the_declared_type_stays() {
    let mut net = Net::new();
    let x = net.input(&["1", "3"]);
    let y = net.op("Relu", &[x], &[]);
    let quant = std::sync::Arc::new(Quant::per_tensor(Elem::U8, 0.5, 3));
    net.0.set_type(y, TensorType { elem: Elem::F32, shape: None, quant: Some(quant.clone()) });
    assert_eq!(net.shape(y), "1,3");
    assert_eq!(net.0.value(y).ty().quant(), Some(&quant));
}

#[test]
fn loops_settle_on_what_stays_the_same() {
    let mut net = Net::new();
    let x = net.input(&["2", "3"]);
    let trips = {
        let body = net.0.body();
        net.0.add_const(body, "trips", Tensor::scalar(5i64))
    };
    let body = net.0.body();
    let new = NewOp::onnx("Loop").operands([Some(trips), None, Some(x)]);
    let new = new.result("grown", Type::Unknown).result("scanned", Type::Unknown);
    let id = net.0.insert(Place::End(body), new);
    let inner = net.0.add_region(id, "body", "body");
    net.0.add_input(inner, "i", Type::Unknown);
    let go = net.0.add_input(inner, "go", Type::Unknown);
    let carried = net.0.add_input(inner, "carried", Type::Unknown);
    let grow = NewOp::onnx("Concat").operands([Some(carried), Some(carried)]).attr("axis", Attr::Int(0));
    let grow = net.0.insert(Place::End(inner), grow.result("two", Type::Unknown));
    let two = net.0.op(grow).result();
    net.0.set_results(inner, vec![go, two, x]);
    assert!(infer(&mut net.0).is_empty());
    let results = net.0.op(id).results().to_vec();
    assert_eq!(spelled(net.0.value(results[0]).ty()), "?,3");
    assert_eq!(spelled(net.0.value(results[1]).ty()), "5,2,3");
    assert_eq!(spelled(net.0.value(carried).ty()), "?,3");
}

#[test]
fn what_cannot_be_is_told_and_inference_goes_on() {
    let mut net = Net::new();
    let x = net.input(&["1", "3", "8", "8"]);
    let w = net.weight(&[4, 2, 3, 3]);
    let bad = net.op("Conv", &[x, w], &[]);
    let y = net.op("Relu", &[x], &[]);
    let text = net.fault();
    assert!(text.contains("the input has 3 channels, the weights take 2 for each of 1 groups"), "{text}");
    assert_eq!((spelled(net.0.value(bad).ty()), spelled(net.0.value(y).ty())), ("unknown".into(), "1,3,8,8".into()));
}

#[test]
fn deep_nesting_ends_in_declared_types() {
    let mut net = Net::new();
    let x = net.input(&["2"]);
    let mut region = net.0.body();
    for _ in 0..2000 {
        let branch = NewOp::onnx("If").operand(x).result("y", f32_of(&["?"]));
        let id = net.0.insert(Place::End(region), branch);
        let result = net.0.op(id).result();
        net.0.set_results(region, vec![result]);
        let other = net.0.add_region(id, "else_branch", "else");
        net.0.set_results(other, vec![x]);
        region = net.0.add_region(id, "then_branch", "then");
    }
    net.0.set_results(region, vec![x]);
    assert!(infer(&mut net.0).is_empty());
}

/// Every rule meets operands of every rank and attributes that no file should have: a rule may fault, never more.
#[test]
fn hostile_numbers_do_no_harm() {
    let numbers = [i64::MIN, i64::MIN + 1, -1, 0, 1, 2, 1 << 40, i64::MAX];
    let names =
        ["axis", "axes", "kernel_shape", "strides", "pads", "dilations", "group", "split", "num_outputs", "blocksize"];
    let more =
        ["shape", "perm", "start", "end", "output_shape", "output_padding", "to", "dtype", "k", "batch_dims", "hidden_size"];
    let texts = [("equation", "i...j,jk...->ik"), ("auto_pad", "SAME_UPPER")];
    for (domain, op) in super::claimed().into_iter().filter(|&(d, o)| rule(d, o).is_some()) {
        for (round, &number) in numbers.iter().enumerate() {
            let mut net = Net::new();
            let shapes: [&[&str]; 4] =
                [&["1", "18446744073709551615", "3"], &["n", "?", "0", "9223372036854775807"], &[], &["4"]];
            let mut operands: Vec<ValueId> =
                (0..9)
                    .map(|k| {
                        if (k + round) % 3 == 0 {
                            net.ints(&[number, 2, number])
                        } else {
                            net.input(shapes[(k + round) % 4])
                        }
                    })
                    .collect();
            operands.truncate(9 - round % 4);
            let body = net.0.body();
            let mut new = NewOp::new(crate::graph::OpName::new(domain, op)).operands(operands.into_iter().map(Some));
            for name in names.iter().chain(&more).skip(round % 3).step_by(1 + round % 2) {
                let list =
                    matches!(*name, "axes" | "kernel_shape" | "strides" | "pads" | "dilations" | "split" | "perm" | "shape");
                new = new.attr(name, if list { Attr::Ints(vec![number; round]) } else { Attr::Int(number) });
            }
            for (name, text) in texts.iter().skip(round % 2) {
                new = new.attr(name, Attr::text(text));
            }
            let id = net.0.insert(Place::End(body), new.result("a", Type::Unknown).result("b", Type::Unknown));
            let _ = infer_op(&net.0, id);
            for diagnostic in infer(&mut net.0) {
                assert!(["shape-invalid", "shape-mismatch"].contains(&diagnostic.code));
            }
        }
    }
}

#[test]
fn tables_are_sorted_and_name_each_operator_once() {
    for family in super::FAMILIES {
        assert!(family.iter().map(|&(d, o, _)| (d != "onnx", d, o)).is_sorted() || family.len() < 2, "{:?}", family[0].1);
    }
    let claimed = super::claimed();
    assert!(claimed.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(claimed.len() > 200, "{}", claimed.len());
}
