//! Tests of the engine and of quantized types; operators are held against the ONNX backend tests in `ir/onnx/tests/node.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Datum, Limits, claimed, observe, run, run_all};
use crate::attr::{Attr, Attrs};
use crate::edit::{NewOp, Place};
use crate::graph::{Function, Graph, Loc, OpName, RegionId, ValueId};
use crate::tensor::Tensor;
use crate::types::{Elem, Quant, TensorType, Type};

fn f32s(dims: &[usize], values: &[f32]) -> Datum {
    Tensor::new(dims, values.to_vec()).into()
}

fn put(graph: &mut Graph, region: RegionId, op: NewOp) -> ValueId {
    let op = graph.insert(Place::End(region), op.result("", Type::Unknown));
    graph.op(op).result()
}

/// A graph with inputs `x` (f32, unknown shape) and one op chain that `build` makes.
fn graph(build: impl FnOnce(&mut Graph, RegionId, ValueId) -> ValueId) -> Graph {
    let mut graph = Graph::new("main");
    graph.meta.opsets.insert("onnx".into(), 21);
    let body = graph.body();
    let x = graph.add_input(body, "x", TensorType { elem: Elem::F32, shape: None, quant: None });
    let y = build(&mut graph, body, x);
    graph.set_results(body, vec![y]);
    graph
}

fn numbers(datum: &Datum) -> Vec<f64> {
    datum.tensor().unwrap().to_f64().unwrap()
}

#[test]
fn claims_no_operator_twice() {
    let names = claimed();
    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1], "claimed twice");
    }
    assert!(names.contains(&("onnx", "Add")));
}

#[test]
fn branches_see_values_around_them() {
    let graph = graph(|g, body, x| {
        let zero = g.add_const(body, "zero", Tensor::scalar(0f32));
        let sum = put(g, body, NewOp::onnx("ReduceSum").operand(x).attr("keepdims", Attr::Int(0)));
        let positive = put(g, body, NewOp::onnx("Greater").operand(sum).operand(zero));
        let op = g.insert(Place::End(body), NewOp::onnx("If").operand(positive).result("y", Type::Unknown));
        for (label, name) in [("then_branch", "Exp"), ("else_branch", "Neg")] {
            let region = g.add_region(op, label, label);
            let y = put(g, region, NewOp::onnx(name).operand(x));
            g.set_results(region, vec![y]);
        }
        g.op(op).result()
    });
    assert_eq!(numbers(&run(&graph, &[f32s(&[2], &[1.0, 0.0])]).unwrap()[0]), [f64::from(1f32.exp()), 1.0]);
    assert_eq!(numbers(&run(&graph, &[f32s(&[2], &[-1.0, -2.0])]).unwrap()[0]), [1.0, 2.0]);
}

/// A body that adds one to its carried value and goes on for ever.
fn endless(trips: Option<i64>) -> Graph {
    graph(|g, body, x| {
        let trips = trips.map(|n| g.add_const(body, "trips", Tensor::scalar(n)));
        let one = g.add_const(body, "one", Tensor::scalar(1f32));
        let op = NewOp::onnx("Loop").operands([trips, None, Some(x)]).result("y", Type::Unknown);
        let op = g.insert(Place::End(body), op.result("all", Type::Unknown));
        let region = g.add_region(op, "body", "body");
        g.add_input(region, "i", Type::Unknown);
        let going = g.add_input(region, "going", Type::Unknown);
        let v = g.add_input(region, "v", Type::Unknown);
        let next = put(g, region, NewOp::onnx("Add").operand(v).operand(one));
        g.set_results(region, vec![going, next, next]);
        g.op(op).results()[1]
    })
}

#[test]
fn loops_stack_what_they_yield() {
    let result = run(&endless(Some(3)), &[f32s(&[], &[0.5])]).unwrap();
    assert_eq!(result[0], f32s(&[3], &[1.5, 2.5, 3.5]));
}

#[test]
fn endless_loops_end() {
    let limits = Limits { steps: 1000, ..Limits::default() };
    let error = observe(&endless(None), &[f32s(&[], &[0.0])], limits, &mut |_, _| {}).unwrap_err();
    assert_eq!(error.code, "interp-limit");
}

#[test]
fn memory_is_bounded_before_it_is_taken() {
    let graph = graph(|g, body, _| {
        let shape = g.add_const(body, "shape", Tensor::new([3], vec![1i64 << 20, 1 << 20, 1 << 20]));
        put(g, body, NewOp::onnx("ConstantOfShape").operand(shape))
    });
    assert_eq!(run(&graph, &[f32s(&[], &[0.0])]).unwrap_err().code, "interp-limit");
}

#[test]
fn functions_run_with_the_attributes_of_their_call() {
    let mut graph = graph(|g, body, x| {
        let call = NewOp::new(OpName::new("local", "Leaky")).operand(x);
        let once = put(g, body, call.clone().attr("slope", Attr::Float(0.5)));
        put(g, body, NewOp::new(OpName::new("local", "Leaky")).operand(once))
    });
    let region = graph.add_root_region("Leaky");
    let x = graph.add_input(region, "x", Type::Unknown);
    let y = put(&mut graph, region, NewOp::onnx("LeakyRelu").operand(x).attr("alpha", Attr::Ref("slope".into(), 1)));
    graph.set_results(region, vec![y]);
    graph.functions.push(Function {
        name: OpName::new("local", "Leaky"),
        overload: String::new(),
        attrs: vec![],
        defaults: Attrs::from([("slope".into(), Attr::Float(0.25))]),
        opsets: BTreeMap::from([("onnx".into(), 21)]),
        doc: String::new(),
        props: BTreeMap::new(),
        region,
    });
    assert_eq!(run(&graph, &[f32s(&[2], &[-8.0, 3.0])]).unwrap()[0], f32s(&[2], &[-1.0, 3.0]));
    // A function that calls itself ends in a diagnostic.
    let again = put(&mut graph, region, NewOp::new(OpName::new("local", "Leaky")).operand(y));
    graph.set_results(region, vec![again]);
    assert_eq!(run(&graph, &[f32s(&[2], &[-8.0, 3.0])]).unwrap_err().code, "interp-failed");
}

#[test]
fn unknown_operators_are_located() {
    let graph = graph(|g, body, x| {
        let loc = Loc::Text { file: "a.seir".into(), line: 3, column: 5 };
        put(g, body, NewOp::new(OpName::new("acme", "Warp")).operand(x).loc(loc))
    });
    let error = run(&graph, &[f32s(&[], &[0.0])]).unwrap_err();
    assert_eq!(error.code, "interp-unsupported");
    assert!(error.to_string().contains("a.seir:3:5: acme.Warp"), "{error}");
}

#[test]
fn misfitting_operands_are_diagnosed() {
    let graph = graph(|g, body, x| {
        let other = g.add_const(body, "other", Tensor::new([3], vec![1f32, 2.0, 3.0]));
        put(g, body, NewOp::onnx("Add").operand(x).operand(other))
    });
    let error = run(&graph, &[f32s(&[2], &[0.0, 0.0])]).unwrap_err();
    assert_eq!(error.code, "interp-failed");
    assert!(error.message.contains("do not broadcast"), "{error}");
    assert_eq!(run(&graph, &[]).unwrap_err().code, "interp-failed");
}

#[test]
fn defaults_stand_in_for_missing_inputs_and_values_can_be_kept() {
    let mut graph = graph(|g, body, x| {
        let e = put(g, body, NewOp::onnx("Exp").operand(x));
        put(g, body, NewOp::onnx("Neg").operand(e))
    });
    let x = graph.region(graph.body()).inputs()[0];
    graph.set_default(x, Some(Tensor::scalar(0f32)));
    let exp = graph.ops_in(graph.body()).next().map(|op| graph.op(op).result()).unwrap();
    let (results, kept) = run_all(&graph, &[], &[exp, x]).unwrap();
    assert_eq!(results[0], f32s(&[], &[-1.0]));
    assert_eq!(kept, [Some(f32s(&[], &[1.0])), Some(f32s(&[], &[0.0]))]);
}

fn quantized(dims: &[usize], quant: Quant) -> Type {
    TensorType { quant: Some(Arc::new(quant)), ..TensorType::of(Elem::F32, dims) }.into()
}

/// A graph of one op whose first operand is the input, with types for all.
fn one_op(op: NewOp, x: Type, consts: Vec<(Tensor, Type)>, result: Type) -> Graph {
    let mut graph = Graph::new("main");
    graph.meta.opsets.insert("onnx".into(), 21);
    let body = graph.body();
    let mut op = op.operand(graph.add_input(body, "x", x));
    for (tensor, ty) in consts {
        let value = graph.add_const(body, "", tensor);
        graph.set_type(value, ty);
        op = op.operand(value);
    }
    let op = graph.insert(Place::End(body), op.result("y", result));
    graph.set_results(body, vec![graph.op(op).result()]);
    graph
}

/// What is stored goes in and comes out; numbers in between are real, and results saturate.
#[test]
fn quantized_elements_are_computed_as_real_numbers() {
    let x = quantized(&[4], Quant::per_tensor(Elem::U8, 0.5, 100));
    let y = quantized(&[4], Quant::per_tensor(Elem::U8, 1.0, 3));
    let graph = one_op(NewOp::onnx("Relu"), x.clone(), vec![], y);
    let stored = Tensor::new([4], vec![0u8, 100, 103, 255]);
    // Real: -50, 0, 1.5, 77.5; 1.5 and 77.5 are ties and go to even.
    let expected = Tensor::new([4], vec![3u8, 3, 5, 81]);
    assert_eq!(run(&graph, &[stored.clone().into()]).unwrap()[0], expected.into());
    let floats = one_op(NewOp::onnx("Neg"), x, vec![], TensorType::of(Elem::F32, &[4]).into());
    assert_eq!(numbers(&run(&floats, &[stored.into()]).unwrap()[0]), [50.0, 0.0, -1.5, -77.5]);
    let narrow = quantized(&[3], Quant::per_tensor(Elem::I8, 0.1, 0));
    let entering = one_op(NewOp::onnx("Neg"), TensorType::of(Elem::F32, &[3]).into(), vec![], narrow);
    let result = run(&entering, &[f32s(&[3], &[1.0, -100.0, f32::NAN])]).unwrap();
    assert_eq!(result[0], Tensor::new([3], vec![-10i8, 127, -128]).into());
}

const X_QUANT: (f32, i32) = (0.02, 117);
const W_SCALES: [f32; 3] = [0.011, 0.007, 0.02];
const Y_QUANT: (f32, i32) = (0.07, 100);

fn per_channel(axis: usize, store: Elem, scale: [f32; 3]) -> Quant {
    Quant { store, axis: Some(axis), scale: scale.to_vec(), zero: vec![0] }
}

/// The numbers are those of QLinearMatMul in ONNX Runtime 1.32. Weights are so small that its kernels for machines without
/// VNNI do not saturate in between.
#[test]
fn quantized_matrix_products_are_those_of_onnx_runtime() {
    let x: Vec<u8> = vec![255, 228, 34, 121, 243, 189, 6, 131, 102, 168, 82, 193, 187, 150, 81, 243];
    let w: Vec<i8> =
        vec![36, -49, 51, -57, 56, 17, 49, 39, -8, 21, 39, 22, 23, 54, 19, -7, 36, -31, 15, -38, 40, -23, -8, -4];
    let graph = one_op(
        NewOp::onnx("MatMul"),
        quantized(&[2, 8], Quant::per_tensor(Elem::U8, X_QUANT.0, X_QUANT.1)),
        vec![(Tensor::new([8, 3], w), quantized(&[8, 3], per_channel(1, Elem::I8, W_SCALES)))],
        quantized(&[2, 3], Quant::per_tensor(Elem::U8, Y_QUANT.0, Y_QUANT.1)),
    );
    let result = run(&graph, &[Tensor::new([2, 8], x).into()]).unwrap();
    assert_eq!(result[0], Tensor::new([2, 3], vec![84u8, 120, 131, 82, 121, 102]).into());
}

/// The numbers are those of QLinearConv in ONNX Runtime 1.32: padding, stride 2, bias, one scale per channel.
#[test]
fn quantized_convolutions_are_those_of_onnx_runtime() {
    let x: Vec<u8> = vec![69, 31, 95, 108, 36, 109, 238, 69, 51, 81, 228, 211, 202, 58, 202, 65, 76, 70];
    let w: Vec<i8> = vec![
        -41, 58, 38, 17, -60, -40, 24, 6, -14, -60, 54, -51, -37, -47, -54, -57, -37, 11, 44, -39, -32, 48, 30, 17, 13, 41,
        12, 31, 32, 4, 12, -26, 38, -33, -25, -11, -21, -56, 40, 46, -6, 19, -5, 41, -28, -49, 27, -46, -39, 14, -24, -39,
        -55, -46,
    ];
    let bias = vec![-280i32, 2861, -2196];
    let pads = NewOp::onnx("Conv").attr("pads", Attr::Ints(vec![1; 4])).attr("strides", Attr::Ints(vec![2, 2]));
    let graph = one_op(
        pads,
        quantized(&[1, 2, 3, 3], Quant::per_tensor(Elem::U8, X_QUANT.0, X_QUANT.1)),
        vec![
            (Tensor::new([3, 2, 3, 3], w), quantized(&[3, 2, 3, 3], per_channel(0, Elem::I8, W_SCALES))),
            (Tensor::new([3], bias), quantized(&[3], per_channel(0, Elem::I32, W_SCALES.map(|s| X_QUANT.0 * s)))),
        ],
        quantized(&[1, 3, 2, 2], Quant::per_tensor(Elem::U8, Y_QUANT.0, Y_QUANT.1)),
    );
    let result = run(&graph, &[Tensor::new([1, 2, 3, 3], x).into()]).unwrap();
    let expected = vec![97u8, 66, 110, 155, 105, 91, 122, 94, 61, 35, 93, 124];
    assert_eq!(result[0], Tensor::new([1, 3, 2, 2], expected).into());
}

/// Each channel of a product may be stored in a type of its own.
#[test]
fn quantized_convolutions_store_each_channel_in_its_type() {
    let made = Quant { store: Elem::U8, axis: Some(1), scale: vec![1.0, 2.0], zero: vec![5, 7] };
    let graph = one_op(
        NewOp::onnx("Conv"),
        quantized(&[1, 1, 1, 2], Quant::per_tensor(Elem::U8, 1.0, 0)),
        vec![(Tensor::new([2, 1, 1, 1], vec![2i8, 3]), quantized(&[2, 1, 1, 1], Quant::per_tensor(Elem::I8, 1.0, 0)))],
        quantized(&[1, 2, 1, 2], made),
    );
    let result = run(&graph, &[Tensor::new([1, 1, 1, 2], vec![10u8, 20]).into()]).unwrap();
    // 2 x + 5, and 3 x / 2 + 7.
    assert_eq!(result[0], Tensor::new([1, 2, 1, 2], vec![25u8, 45, 22, 37]).into());
}
