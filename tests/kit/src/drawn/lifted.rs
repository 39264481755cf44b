//! Operators that an exporter wrote out, and what recognisers make of them.

use spaceevo_ir::Tensor;

use super::floats::{ROUNDING, constant, graph, map, numbers};
use super::{Allowed, Drawn, Family};
use crate::instance::Dice;

pub(super) const FAMILIES: &[Family] = &[
    Family { pass: "lift-silu", about: "", draw: silu },
    Family { pass: "lift-gelu", about: "", draw: gelu },
    Family { pass: "lift-layer-norm", about: "", draw: layer_norm },
    Family { pass: "lift-se", about: "", draw: gate },
    Family { pass: "lift-channel-shuffle", about: "", draw: shuffle },
    Family { pass: "merge-duplicates", about: "", draw: duplicates },
];

/// Two numbers that a commutative operator takes in any order.
fn either(dice: &mut Dice, a: &str, b: &str) -> String {
    if dice.below(2) == 0 { format!("{a}, {b}") } else { format!("{b}, {a}") }
}

/// Numbers that exponentials of do not overflow.
fn usual(dice: &mut Dice, dims: &[usize]) -> Tensor {
    let count = dims.iter().product();
    let one =
        |dice: &mut Dice| if dice.below(16) == 0 { dice.of(&[-0.0, 1e-30, -1e-30, 80.0, -80.0]) } else { dice.number() };
    Tensor::new(dims, (0..count).map(|_| one(dice)).collect::<Vec<f32>>())
}

fn silu(dice: &mut Dice) -> Drawn {
    let (channels, _, size) = map(dice);
    let shape = [1, channels, size, size];
    let ty = format!("f32{shape:?}");
    let sum = either(dice, "%e", "%one");
    let quotient = if dice.below(2) == 0 {
        format!("  %y = onnx.Div %x, %d : {ty}\n")
    } else {
        format!("  %g = onnx.Reciprocal %d : {ty}\n  %y = onnx.Mul {} : {ty}\n", either(dice, "%x", "%g"))
    };
    let body = format!(
        "  %one = const 1.0 : f32[]\n  %n = onnx.Neg %x : {ty}\n  %e = onnx.Exp %n : {ty}\n  %d = onnx.Add {sum} : {ty}\n{quotient}"
    );
    Drawn { text: graph(&shape, &body), inputs: vec![usual(dice, &shape)], allowed: ROUNDING }
}

fn gelu(dice: &mut Dice) -> Drawn {
    let (channels, _, size) = map(dice);
    let shape = [1, channels, size, size];
    let ty = format!("f32{shape:?}");
    let inner = if dice.below(2) == 0 {
        format!("  %root = const 1.4142135 : f32[]\n  %a = onnx.Div %x, %root : {ty}\n  %b = onnx.Erf %a : {ty}\n")
    } else {
        let sum = either(dice, "%x", "%q");
        format!(
            "  %three = const 3.0 : f32[]\n  %cubic = const 0.044715 : f32[]\n  %slope = const 0.7978846 : f32[]\n  \
             %p = onnx.Pow %x, %three : {ty}\n  %q = onnx.Mul %p, %cubic : {ty}\n  %a = onnx.Add {sum} : {ty}\n  \
             %s = onnx.Mul %a, %slope : {ty}\n  %b = onnx.Tanh %s : {ty}\n"
        )
    };
    let (sum, first) = (either(dice, "%b", "%one"), dice.below(2) == 0);
    let products = if first {
        format!(
            "  %h = onnx.Mul {} : {ty}\n  %y = onnx.Mul {} : {ty}\n",
            either(dice, "%x", "%c"),
            either(dice, "%h", "%half")
        )
    } else {
        format!(
            "  %h = onnx.Mul {} : {ty}\n  %y = onnx.Mul {} : {ty}\n",
            either(dice, "%x", "%half"),
            either(dice, "%h", "%c")
        )
    };
    let body =
        format!("  %one = const 1.0 : f32[]\n  %half = const 0.5 : f32[]\n{inner}  %c = onnx.Add {sum} : {ty}\n{products}");
    // The operator came with set 20.
    let text = graph(&shape, &body).replace("opset = 17", "opset = 20");
    Drawn { text, inputs: vec![usual(dice, &shape)], allowed: ROUNDING }
}

fn layer_norm(dice: &mut Dice) -> Drawn {
    let (rows, columns, _) = map(dice);
    let columns = columns + 3;
    let shape = [2, rows, columns];
    let (ty, mean) = (format!("f32{shape:?}"), format!("f32[2,{rows},1]"));
    let square = if dice.below(2) == 0 { "onnx.Mul %d, %d" } else { "onnx.Pow %d, %two" };
    let body = format!(
        "  %epsilon = const {} : f32[]\n  %gamma = const {} : f32[{columns}]\n  %beta = const {} : f32[{columns}]\n  \
         %two = const 2.0 : f32[]\n  %m = onnx.ReduceMean %x {{axes = [-1]}} : {mean}\n  %d = onnx.Sub %x, %m : {ty}\n  \
         %q = {square} : {ty}\n  %v = onnx.ReduceMean %q {{axes = [-1]}} : {mean}\n  %e = onnx.Add %v, %epsilon : {mean}\n  \
         %s = onnx.Sqrt %e : {mean}\n  %n = onnx.Div %d, %s : {ty}\n  %g = onnx.Mul {} : {ty}\n  %y = onnx.Add {} : {ty}\n",
        dice.of(&["0.00001", "0.001", "0.1"]),
        constant(dice, &[columns]),
        constant(dice, &[columns]),
        either(dice, "%n", "%gamma"),
        either(dice, "%g", "%beta")
    );
    let count: usize = shape.iter().product();
    let x = Tensor::new(shape, (0..count).map(|_| dice.number()).collect::<Vec<f32>>());
    // The difference from a mean of alike numbers has few digits.
    Drawn { text: graph(&shape, &body), inputs: vec![x], allowed: Allowed::Parts(1e-3) }
}

fn gate(dice: &mut Dice) -> Drawn {
    let (channels, middle, size) = map(dice);
    let shape = [1, channels, size, size];
    let transposed = dice.below(2) == 0;
    let (first, flag) = if transposed { ([middle, channels], " {transB = 1}") } else { ([channels, middle], "") };
    let act = dice.of(&["Relu", "HardSwish"]);
    let last = dice.of(&["Sigmoid", "HardSigmoid"]);
    let body = format!(
        "  %w1 = const {} : f32{first:?}\n  %b1 = const {} : f32[{middle}]\n  %w2 = const {} : f32[{middle},{channels}]\n  \
         %axes = const [2, 3] : i64[2]\n  %p = onnx.GlobalAveragePool %x : f32[1,{channels},1,1]\n  \
         %f = onnx.Flatten %p : f32[1,{channels}]\n  %a = onnx.Gemm %f, %w1, %b1{flag} : f32[1,{middle}]\n  \
         %r = onnx.{act} %a : f32[1,{middle}]\n  %b = onnx.Gemm %r, %w2 : f32[1,{channels}]\n  \
         %s = onnx.{last} %b : f32[1,{channels}]\n  %g = onnx.Unsqueeze %s, %axes : f32[1,{channels},1,1]\n  \
         %y = onnx.Mul {} : f32{shape:?}\n",
        constant(dice, &first),
        constant(dice, &[middle]),
        constant(dice, &[middle, channels]),
        either(dice, "%x", "%g")
    );
    let count: usize = shape.iter().product();
    let x = Tensor::new(shape, (0..count).map(|_| dice.number()).collect::<Vec<f32>>());
    Drawn { text: graph(&shape, &body), inputs: vec![x], allowed: ROUNDING }
}

/// Height and width are one axis in between, which is not how the recogniser leaves it.
fn shuffle(dice: &mut Dice) -> Drawn {
    let (groups, each, size) = (2 + dice.below(3), 2 + dice.below(4), 1 + dice.below(8));
    let (channels, area) = (groups * each, size * size);
    let shape = [1, channels, size, size];
    let body = format!(
        "  %split = const [1, {groups}, {each}, {area}] : i64[4]\n  %back = const [1, {channels}, {size}, {size}] : i64[4]\n  \
         %a = onnx.Reshape %x, %split : f32[1,{groups},{each},{area}]\n  \
         %b = onnx.Transpose %a {{perm = [0, 2, 1, 3]}} : f32[1,{each},{groups},{area}]\n  \
         %y = onnx.Reshape %b, %back : f32{shape:?}\n"
    );
    Drawn { text: graph(&shape, &body), inputs: vec![numbers(dice, &shape)], allowed: Allowed::Bits }
}

/// A tree of equal and of nearly equal ops: operators, order of operands, attributes and the sign of zero vary.
fn duplicates(dice: &mut Dice) -> Drawn {
    let (channels, _, size) = map(dice);
    let shape = [1, channels, size, size];
    let ty = format!("f32{shape:?}");
    let mut body = "  %c = const 2.0 : f32[]\n  %d = const 2.0 : f32[]\n  %zero = const 0.0 : f32[]\n  \
                    %minus = const -0.0 : f32[]\n"
        .to_owned();
    let mut made = vec!["%x".to_owned()];
    for at in 0..4 + dice.below(6) {
        let pick = |dice: &mut Dice| made[dice.below(made.len())].clone();
        let (a, b) = (pick(dice), pick(dice));
        let op = match dice.below(6) {
            0 => format!("onnx.Relu {a}"),
            1 => format!("onnx.LeakyRelu {a} {{alpha = {}}}", dice.of(&["0.1", "0.2"])),
            2 => format!("onnx.Mul {a}, {}", dice.of(&["%c", "%d"])),
            3 => format!("onnx.Add {a}, {}", dice.of(&["%c", "%zero", "%minus"])),
            4 => format!("onnx.Add {}", either(dice, &a, &b)),
            _ => format!("onnx.Sub {a}, {b}"),
        };
        body += &format!("  %v{at} = {op} : {ty}\n");
        made.push(format!("%v{at}"));
    }
    let sum = made.iter().skip(2).enumerate().fold((made[1].clone(), String::new()), |(last, text), (at, value)| {
        (format!("%s{at}"), format!("{text}  %s{at} = onnx.Add {last}, {value} : {ty}\n"))
    });
    body += &format!("{}  %y = onnx.Neg {} : {ty}\n", sum.1, sum.0);
    let count: usize = shape.iter().product();
    let x = Tensor::new(shape, (0..count).map(|_| dice.number()).collect::<Vec<f32>>());
    Drawn { text: graph(&shape, &body), inputs: vec![x], allowed: Allowed::Bits }
}
