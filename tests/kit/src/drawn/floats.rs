//! Graphs of real numbers.

use spaceevo_ir::Tensor;

use super::{Allowed, Drawn, Family, nested};
use crate::instance::Dice;

pub(super) const FAMILIES: &[Family] = &[
    Family { pass: "lower-prelu", about: "float", draw: prelu },
    Family { pass: "lower-softmax", about: "", draw: softmax },
    Family { pass: "lower-matmul", about: "", draw: matmul },
    Family { pass: "cancel-transposes", about: "", draw: transposes },
    Family { pass: "fold-conv-bn", about: "", draw: normalized },
    Family { pass: "lower-batch-norm", about: "", draw: normalization },
    Family { pass: "fold-conv-affine", about: "", draw: affine },
    Family { pass: "fold-hard-sigmoid", about: "", draw: line },
    Family { pass: "fold-pad", about: "", draw: padded },
    Family { pass: "flush-subnormals", about: "", draw: next_to_nothing },
    Family { pass: "merge-clips", about: "", draw: clips },
    Family { pass: "lift-hard-swish", about: "", draw: hard_swish },
    Family { pass: "lift-hard-sigmoid", about: "", draw: hard_sigmoid },
    Family { pass: "canonicalize-arith", about: "", draw: arithmetic },
    Family { pass: "merge-reshapes", about: "", draw: views },
    Family { pass: "fuse-gemm", about: "", draw: product },
    Family { pass: "lift-global-pool", about: "", draw: mean },
];

/// What sums of single precision may differ by.
pub(super) const ROUNDING: Allowed = Allowed::Parts(1e-5);

/// Numbers where functions bend, tiny and large ones among them.
pub(super) fn numbers(dice: &mut Dice, dims: &[usize]) -> Tensor {
    let one = |dice: &mut Dice| if dice.below(16) == 0 { dice.of(&[-0.0, 1e-30, -1e-30, 1e6, -1e6]) } else { dice.number() };
    let count = dims.iter().product();
    Tensor::new(dims, (0..count).map(|_| one(dice)).collect::<Vec<f32>>())
}

/// A constant of usual numbers.
pub(super) fn constant(dice: &mut Dice, dims: &[usize]) -> String {
    nested(dims, &mut || format!("{:?}", dice.number()))
}

/// Channels, filters, and the side of a map.
pub(super) fn map(dice: &mut Dice) -> (usize, usize, usize) {
    (1 + dice.below(9), 1 + dice.below(9), 4 + dice.below(8))
}

pub(super) fn graph(shape: &[usize], body: &str) -> String {
    format!("graph @main(%x: f32{shape:?}) with {{opset = 17}} {{\n{body}  return %y\n}}\n")
}

fn prelu(dice: &mut Dice) -> Drawn {
    let (channels, _, size) = map(dice);
    let range = dice.of(&[&["0.0", "0.25", "1.0"][..], &["1.0", "1.5", "8.0"], &["-0.5", "2.0", "0.0", "0.3"]]);
    let slopes = nested(&[channels, 1, 1], &mut || dice.of(range).to_owned());
    let shape = [1, channels, size, size];
    let body = format!("  %s = const {slopes} : f32[{channels},1,1]\n  %y = onnx.PRelu %x, %s : f32{shape:?}\n");
    Drawn { text: graph(&shape, &body), inputs: vec![numbers(dice, &shape)], allowed: Allowed::Equal }
}

fn softmax(dice: &mut Dice) -> Drawn {
    let rank = 2 + dice.below(3);
    let axis = dice.below(rank);
    let mut shape: Vec<usize> = (0..rank).map(|_| 1 + dice.below(8)).collect();
    if dice.below(2) == 0 {
        shape[axis] = 2;
    }
    let named = if dice.below(2) == 0 { axis as i64 } else { axis as i64 - rank as i64 };
    let body = format!("  %y = onnx.Softmax %x {{axis = {named}}} : f32{shape:?}\n");
    Drawn { text: graph(&shape, &body), inputs: vec![numbers(dice, &shape)], allowed: ROUNDING }
}

fn matmul(dice: &mut Dice) -> Drawn {
    let (rows, columns, size) = map(dice);
    let (shape, product) = ([1, rows, size, size], format!("f32[1,{size},{size},{columns}]"));
    let (before, last) = match dice.below(2) {
        0 => ("", "%p"),
        _ => ("  %r = onnx.Relu %t : ", "%p"),
    };
    let turned = format!("f32[1,{size},{size},{rows}]");
    let (relu, input) = if before.is_empty() { (String::new(), "%t") } else { (format!("{before}{turned}\n"), "%r") };
    let bias = dice.below(3);
    let sum = match bias {
        0 => String::new(),
        1 => {
            format!("  %b = const {} : f32[{columns}]\n  %s = onnx.Add {last}, %b : {product}\n", constant(dice, &[columns]))
        }
        _ => format!("  %b = const {} : f32[1]\n  %s = onnx.Add %b, {last} : {product}\n", constant(dice, &[1])),
    };
    let body = format!(
        "  %w = const {} : f32[{rows},{columns}]\n  %t = onnx.Transpose %x {{perm = [0, 2, 3, 1]}} : {turned}\n{relu}  \
         %p = onnx.MatMul {input}, %w : {product}\n{sum}  \
         %y = onnx.Transpose {} {{perm = [0, 3, 1, 2]}} : f32[1,{columns},{size},{size}]\n",
        constant(dice, &[rows, columns]),
        if bias == 0 { last } else { "%s" }
    );
    Drawn { text: graph(&shape, &body), inputs: vec![numbers(dice, &shape)], allowed: ROUNDING }
}

fn transposes(dice: &mut Dice) -> Drawn {
    let shape: Vec<usize> = (0..4).map(|_| 1 + dice.below(8)).collect();
    let mut order: Vec<usize> = (0..4).collect();
    (1..4).rev().for_each(|last| order.swap(last, dice.below(last + 1)));
    let back: Vec<usize> = (0..4).map(|axis| order.iter().position(|&a| a == axis).unwrap_or(axis)).collect();
    let turned: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
    // Not 0: runtimes drop a sum with it, and the sign of a zero that goes through it.
    let number = dice.of(&["0.5", "-1.0", "3.25", "-6.0", "1e-3"]);
    let mut body =
        format!("  %c = const [{number}] : f32[1]\n  %v0 = onnx.Transpose %x {{perm = {order:?}}} : f32{turned:?}\n");
    let count = 1 + dice.below(4);
    for at in 0..count {
        let op = match dice.below(9) {
            0 => format!("onnx.Mul %v{at}, %c"),
            8 => format!("onnx.Softmax %v{at} {{axis = {}}}", dice.below(8) as i64 - 4),
            1 => format!("onnx.Add %c, %v{at}"),
            2 => format!("onnx.Mul %v{at}, %v0"),
            3 => format!("onnx.Sub %v0, %v{at}"),
            other => format!("onnx.{} %v{at}", ["Relu", "LeakyRelu", "Neg", "HardSwish"][other - 4]),
        };
        body += &format!("  %v{} = {op} : f32{turned:?}\n", at + 1);
    }
    body += &format!("  %y = onnx.Transpose %v{count} {{perm = {back:?}}} : f32{shape:?}\n");
    Drawn { text: graph(&shape, &body), inputs: vec![numbers(dice, &shape)], allowed: Allowed::Bits }
}

/// Parameters of a normalization whose variances are positive.
fn statistics(dice: &mut Dice, channels: usize) -> String {
    let [scale, shift, mean] =
        ["s", "b", "m"].map(|name| format!("  %{name} = const {} : f32[{channels}]\n", constant(dice, &[channels])));
    let variance = nested(&[channels], &mut || format!("{:?}", 0.01 + dice.number().abs()));
    format!("{scale}{shift}{mean}  %v = const {variance} : f32[{channels}]\n")
}

/// A convolution `%c` of `%x`, with padding or without.
fn convolution(dice: &mut Dice, padding: bool) -> (Vec<usize>, String, [usize; 2]) {
    let (channels, filters, size) = map(dice);
    let (kernel, pad) = (dice.of(&[1, 3]), if padding { dice.below(2) } else { 0 });
    let bias = if dice.below(2) == 0 { ", %k" } else { "" };
    let out = size + 2 * pad - kernel + 1;
    let body = format!(
        "  %w = const {} : f32[{filters},{channels},{kernel},{kernel}]\n  %k = const {} : f32[{filters}]\n  \
         %c = onnx.Conv %x, %w{bias} {{pads = [{pad}, {pad}, {pad}, {pad}]}} : f32[1,{filters},{out},{out}]\n",
        constant(dice, &[filters, channels, kernel, kernel]),
        constant(dice, &[filters])
    );
    (vec![1, channels, size, size], body, [filters, out])
}

fn normalized(dice: &mut Dice) -> Drawn {
    let (shape, body, [filters, out]) = convolution(dice, true);
    let ty = format!("f32[1,{filters},{out},{out}]");
    let body = format!("{body}{}  %y = onnx.BatchNormalization %c, %s, %b, %m, %v : {ty}\n", statistics(dice, filters));
    Drawn { text: graph(&shape, &body), inputs: vec![numbers(dice, &shape)], allowed: Allowed::Parts(1e-4) }
}

fn normalization(dice: &mut Dice) -> Drawn {
    let (channels, _, size) = map(dice);
    let shape = [1, channels, size, size];
    let body = format!("{}  %y = onnx.BatchNormalization %x, %s, %b, %m, %v : f32{shape:?}\n", statistics(dice, channels));
    Drawn { text: graph(&shape, &body), inputs: vec![numbers(dice, &shape)], allowed: ROUNDING }
}

/// A factor or a summand for each channel, behind a convolution or before it.
fn affine(dice: &mut Dice) -> Drawn {
    let (shape, body, [filters, out]) = convolution(dice, false);
    let op = dice.of(&["Mul", "Add", "Sub"]);
    let body = format!(
        "{body}  %f = const {} : f32[{filters},1,1]\n  %y = onnx.{op} %c, %f : f32[1,{filters},{out},{out}]\n",
        constant(dice, &[filters, 1, 1])
    );
    Drawn { text: graph(&shape, &body), inputs: vec![numbers(dice, &shape)], allowed: ROUNDING }
}

/// A hard sigmoid behind a convolution; 1 more, so that the largest number is no small one.
fn line(dice: &mut Dice) -> Drawn {
    let (shape, body, [filters, out]) = convolution(dice, true);
    let (alpha, beta) =
        dice.of(&[("0.2", "0.5"), ("0.16666667", "0.5"), ("0.01", "-0.1"), ("1.0", "0.0"), ("-0.25", "0.75")]);
    let ty = format!("f32[1,{filters},{out},{out}]");
    let body = format!(
        "{body}  %h = onnx.HardSigmoid %c {{alpha = {alpha}, beta = {beta}}} : {ty}\n  %one = const 1.0 : f32[]\n  \
         %y = onnx.Add %h, %one : {ty}\n"
    );
    let count: usize = shape.iter().product();
    let input = Tensor::new(&shape[..], (0..count).map(|_| dice.number()).collect::<Vec<f32>>());
    Drawn { text: graph(&shape, &body), inputs: vec![input], allowed: Allowed::Parts(1e-4) }
}

fn padded(dice: &mut Dice) -> Drawn {
    let (channels, filters, size) = map(dice);
    let [top, left, bottom, right] = [0; 4].map(|_: usize| dice.below(3));
    let (high, wide) = (size + top + bottom, size + left + right);
    let shape = [1, channels, size, size];
    let body = format!(
        "  %n = const [0, 0, {top}, {left}, 0, 0, {bottom}, {right}] : i64[8]\n  \
         %p = onnx.Pad %x, %n : f32[1,{channels},{high},{wide}]\n  \
         %w = const {} : f32[{filters},{channels},3,3]\n  %y = onnx.Conv %p, %w : f32[1,{filters},{},{}]\n",
        constant(dice, &[filters, channels, 3, 3]),
        high - 2,
        wide - 2
    );
    Drawn { text: graph(&shape, &body), inputs: vec![numbers(dice, &shape)], allowed: ROUNDING }
}

fn clips(dice: &mut Dice) -> Drawn {
    let (channels, _, size) = map(dice);
    let shape = [1, channels, size, size];
    let bounds = [0; 4].map(|_: usize| format!("{:?}", dice.number()));
    let mut body: String = bounds.iter().enumerate().map(|(at, b)| format!("  %b{at} = const {b} : f32[]\n")).collect();
    body += &match dice.below(2) {
        0 => format!("  %a = onnx.Relu %x : f32{shape:?}\n"),
        _ => format!("  %a = onnx.Clip %x, %b0, %b1 : f32{shape:?}\n"),
    };
    body += &format!("  %y = onnx.Clip %a, %b2, %b3 : f32{shape:?}\n");
    Drawn { text: graph(&shape, &body), inputs: vec![numbers(dice, &shape)], allowed: Allowed::Equal }
}

/// Written out in one of the ways that people write it.
fn hard_swish(dice: &mut Dice) -> Drawn {
    let (channels, _, size) = map(dice);
    let shape = [1, channels, size, size];
    let (inner, last) = match dice.below(2) {
        0 => ("onnx.Div %c, %six", "onnx.Mul %x, %g"),
        _ => ("onnx.Mul %x, %c", "onnx.Div %g, %six"),
    };
    let body = format!(
        "  %three = const 3.0 : f32[]\n  %six = const 6.0 : f32[]\n  %zero = const 0.0 : f32[]\n  \
         %a = onnx.Add %x, %three : f32{shape:?}\n  %c = onnx.Clip %a, %zero, %six : f32{shape:?}\n  \
         %g = {inner} : f32{shape:?}\n  %y = {last} : f32{shape:?}\n"
    );
    Drawn { text: graph(&shape, &body), inputs: vec![numbers(dice, &shape)], allowed: ROUNDING }
}

fn hard_sigmoid(dice: &mut Dice) -> Drawn {
    let (channels, _, size) = map(dice);
    let shape = [1, channels, size, size];
    let [offset, most] = dice.of(&[["3.0", "6.0"], ["2.5", "5.0"], ["1.0", "2.0"]]);
    let body = format!(
        "  %o = const {offset} : f32[]\n  %m = const {most} : f32[]\n  %zero = const 0.0 : f32[]\n  \
         %a = onnx.Add %x, %o : f32{shape:?}\n  %c = onnx.Clip %a, %zero, %m : f32{shape:?}\n  \
         %y = onnx.Div %c, %m : f32{shape:?}\n"
    );
    Drawn { text: graph(&shape, &body), inputs: vec![numbers(dice, &shape)], allowed: ROUNDING }
}

/// Differences and quotients by constants.
fn arithmetic(dice: &mut Dice) -> Drawn {
    let (channels, _, size) = map(dice);
    let shape = [1, channels, size, size];
    let divisors = nested(&[channels, 1, 1], &mut || format!("{:?}", 0.1 + dice.number().abs()));
    let op = dice.of(&["onnx.Sub %x, %c", "onnx.Div %x, %d", "onnx.Div %x, %d", "onnx.Sub %x, %d"]);
    let body = format!(
        "  %c = const {} : f32[{channels},1,1]\n  %d = const {divisors} : f32[{channels},1,1]\n  %y = {op} : f32{shape:?}\n",
        constant(dice, &[channels, 1, 1])
    );
    Drawn { text: graph(&shape, &body), inputs: vec![numbers(dice, &shape)], allowed: ROUNDING }
}

/// A chain of ops that only regroup axes.
fn views(dice: &mut Dice) -> Drawn {
    let (channels, rows, size) = map(dice);
    let shape = [1, channels, rows, size];
    let flat = channels * rows * size;
    let (middle, ty) = match dice.below(2) {
        0 => ("onnx.Flatten %x".to_owned(), format!("f32[1,{flat}]")),
        _ => ("onnx.Reshape %x, %one".to_owned(), format!("f32[{flat}]")),
    };
    let body = format!(
        "  %one = const [-1] : i64[1]\n  %to = const [{rows}, -1, {channels}] : i64[3]\n  %a = {middle} : {ty}\n  \
         %y = onnx.Reshape %a, %to : f32[{rows},{size},{channels}]\n"
    );
    Drawn { text: graph(&shape, &body), inputs: vec![numbers(dice, &shape)], allowed: Allowed::Bits }
}

/// A matrix product with its bias.
fn product(dice: &mut Dice) -> Drawn {
    let (rows, columns, batch) = map(dice);
    let shape = [batch, rows];
    let body = format!(
        "  %w = const {} : f32[{rows},{columns}]\n  %b = const {} : f32[{columns}]\n  \
         %p = onnx.MatMul %x, %w : f32[{batch},{columns}]\n  %y = onnx.Add %p, %b : f32[{batch},{columns}]\n",
        constant(dice, &[rows, columns]),
        constant(dice, &[columns])
    );
    Drawn { text: graph(&shape, &body), inputs: vec![numbers(dice, &shape)], allowed: ROUNDING }
}

fn next_to_nothing(dice: &mut Dice) -> Drawn {
    let (rows, columns, batch) = map(dice);
    let shape = [batch, rows];
    let mut weight =
        || if dice.below(3) == 0 { dice.of(&["1e-39", "-3e-42", "1.1e-38"]).into() } else { dice.number().to_string() };
    let weights = nested(&[rows, columns], &mut weight);
    let body = format!(
        "  %w = const {weights} : f32[{rows},{columns}]\n  %tiny = const splat(1e-40) : f32[{columns}]\n  \
         %g = onnx.Gemm %x, %w, %tiny : f32[{batch},{columns}]\n  %b = const {} : f32[{columns}]\n  \
         %y = onnx.Add %g, %b : f32[{batch},{columns}]\n",
        constant(dice, &[columns])
    );
    Drawn { text: graph(&shape, &body), inputs: vec![numbers(dice, &shape)], allowed: ROUNDING }
}

fn mean(dice: &mut Dice) -> Drawn {
    let shape = [1 + dice.below(8), 1 + dice.below(64), 2 + dice.below(6), 2 + dice.below(6)];
    let [batch, channels, high, wide] = shape;
    let pool = match dice.below(2) {
        0 => "onnx.ReduceMean %x {axes = [2, 3], keepdims = 1}".to_owned(),
        _ => format!("onnx.AveragePool %x {{kernel_shape = [{high}, {wide}]}}"),
    };
    let body = format!("  %y = {pool} : f32[{batch},{channels},1,1]\n");
    Drawn { text: graph(&shape, &body), inputs: vec![numbers(dice, &shape)], allowed: ROUNDING }
}
