//! Ops that do nothing, depend on constants only, are read by nobody, or come from an older operator set.

use super::chain::{Chain, usual};
use super::floats::{ROUNDING, constant, numbers};
use super::{Allowed, Drawn, Family};
use crate::instance::Dice;

pub(super) const FAMILIES: &[Family] = &[
    Family { pass: "drop-identity", about: "", draw: idle },
    Family { pass: "fold-constants", about: "", draw: constants },
    Family { pass: "fold-constants", about: "shapes", draw: shapes },
    Family { pass: "drop-dead", about: "", draw: dead },
    Family { pass: "upgrade-opset", about: "", draw: old },
    Family { pass: "specialize", about: "", draw: space },
];

fn start(dice: &mut Dice) -> Chain {
    let shape: Vec<usize> = (0..3).map(|_| 1 + dice.below(6)).collect();
    Chain::new(&[1, shape[0], shape[1], shape[2]])
}

fn signed(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&n| n as i64).collect()
}

/// Ops that give back what they are given, others that nearly do, and others that do not.
fn idle(dice: &mut Dice) -> Drawn {
    let mut net = start(dice);
    for _ in 0..3 + dice.below(6) {
        let shape = net.shape.clone();
        match dice.below(20) {
            0 => net.then("onnx.Identity {}"),
            1 => net.then("onnx.Dropout {}"),
            2 => net.then("onnx.Cast {} {to = 1}"),
            3 => {
                let to = net.integers(&signed(&shape));
                net.then(&format!("onnx.Reshape {{}}, {to}"));
            }
            4 => net.then("onnx.Transpose {} {perm = [0, 1, 2, 3]}"),
            5 => {
                let turned = [shape[0], shape[2], shape[1], shape[3]];
                net.reshaped("onnx.Transpose {} {perm = [0, 2, 1, 3]}", &turned);
            }
            6 => {
                let mut pads = [0; 8];
                let (at, pad) = (1 + dice.below(3), dice.below(2));
                pads[at] = pad as i64;
                let pads = net.integers(&pads);
                let padded: Vec<usize> = (0..4).map(|axis| shape[axis] + if axis == at { pad } else { 0 }).collect();
                net.reshaped(&format!("onnx.Pad {{}}, {pads}"), &padded);
            }
            7 => {
                let (from, to) = (dice.of(&[0, -1000, -1]), dice.of(&[i64::MAX, 1000]));
                let (from_, to, axis) = (net.integers(&[from]), net.integers(&[to]), net.integers(&[2]));
                let left = if from == -1 { 1 } else { shape[2] };
                net.reshaped(&format!("onnx.Slice {{}}, {from_}, {to}, {axis}"), &[shape[0], shape[1], left, shape[3]]);
            }
            8 => {
                let pool = dice.of(&["MaxPool", "AveragePool"]);
                net.then(&format!("onnx.{pool} {{}} {{kernel_shape = [1, 1]}}"));
            }
            9 => net.then("onnx.Concat {} {axis = 1}"),
            10 => net.then(dice.of(&["onnx.Sum {}", "onnx.Max {}", "onnx.Mean {}", "onnx.Clip {}"])),
            11 => {
                let scales = net.constant("[1.0, 1.0, 1.0, 1.0]", &[4]);
                net.then(&format!("onnx.Resize {{}}, _, {scales} {{mode = \"nearest\"}}"));
            }
            12 => {
                let repeats = net.integers(&[1, 1, 1, 1]);
                net.then(&format!("onnx.Tile {{}}, {repeats}"));
            }
            13 => net.then(dice.of(&["onnx.Relu {}", "onnx.Neg {}", "onnx.LeakyRelu {}"])),
            _ => {
                let (op, number) = dice.of(&[
                    ("Mul", "1.0"),
                    ("Mul", "1.0000001"),
                    ("Mul", "-1.0"),
                    ("Div", "1.0"),
                    ("Div", "0.5"),
                    ("Add", "-0.0"),
                    ("Add", "1e-3"),
                    ("Sub", "0.0"),
                    ("Sub", "-1.5"),
                    ("Pow", "1.0"),
                ]);
                let dims = dice.of(&[vec![], vec![1], vec![shape[1], 1, 1]]);
                let number = net.constant(&super::nested(&dims, &mut || number.to_owned()), &dims);
                net.then(&format!("onnx.{op} {{}}, {number}"));
            }
        }
    }
    net.finish(dice, numbers, Allowed::Bits)
}

/// Arithmetic of constants that rounds once, and moves.
fn constants(dice: &mut Dice) -> Drawn {
    let mut net = start(dice);
    let shape = net.shape.clone();
    let (ty, dims) = (format!("f32[{},1,1]", shape[1]), [shape[1], 1, 1]);
    let mut made = vec![net.constant(&constant(dice, &dims), &dims), net.constant(&constant(dice, &dims), &dims)];
    for at in 0..2 + dice.below(6) {
        let (a, b) = (dice.of(&made), dice.of(&made));
        let op = dice.of(&["Add", "Sub", "Mul", "Max", "Min", "Neg", "Abs", "Relu", "Floor", "Transpose"]);
        let call = match op {
            "Transpose" => format!("onnx.Transpose {a} {{perm = [0, 2, 1]}}"),
            "Neg" | "Abs" | "Relu" | "Floor" => format!("onnx.{op} {a}"),
            _ => format!("onnx.{op} {a}, {b}"),
        };
        net.body += &format!("  %c{at} = {call} : {ty}\n");
        made.push(format!("%c{at}"));
        if dice.below(3) == 0 {
            net.then(&format!("onnx.{} {{}}, %c{at}", dice.of(&["Add", "Mul"])));
        }
    }
    net.then(&format!("onnx.Mul {{}}, {}", made[made.len() - 1]));
    // The larger one of 0 and -0 is either.
    net.finish(dice, numbers, Allowed::Equal)
}

/// Shapes that are computed, as exporters write views.
fn shapes(dice: &mut Dice) -> Drawn {
    let mut net = start(dice);
    for at in 0..1 + dice.below(3) {
        let shape = net.shape.clone();
        let (kept, axis) = (dice.below(3), net.integers(&[0]));
        let (first, rest) = (net.integers(&[kept as i64]), net.integers(&[-1]));
        let flat: usize = shape.iter().product();
        net.body += &format!(
            "  %s{at} = onnx.Shape {} : i64[{}]\n  %g{at} = onnx.Gather %s{at}, {first} {{axis = 0}} : i64[1]\n",
            net.last,
            shape.len()
        );
        let extent = match dice.below(2) {
            0 => format!("  %e{at} = onnx.Identity %g{at} : i64[1]\n"),
            _ => {
                let end = net.integers(&[kept as i64 + 1]);
                format!("  %e{at} = onnx.Slice %s{at}, {first}, {end}, {axis} : i64[1]\n")
            }
        };
        net.body += &extent;
        let order = dice.below(2);
        let (list, to) = match order {
            0 => (format!("%e{at}, {rest}"), vec![shape[kept], flat / shape[kept]]),
            _ => (format!("{rest}, %e{at}"), vec![flat / shape[kept], shape[kept]]),
        };
        let one = net.integers(&[1]);
        net.body += &format!("  %t{at} = onnx.Concat {list}, {one} {{axis = 0}} : i64[3]\n");
        net.reshaped(&format!("onnx.Reshape {{}}, %t{at}"), &[to[0], to[1], 1]);
        net.then("onnx.Relu {}");
    }
    net.finish(dice, numbers, Allowed::Bits)
}

/// Ops of which some are read by others that nobody reads.
fn dead(dice: &mut Dice) -> Drawn {
    let mut net = start(dice);
    let ty = format!("f32{:?}", net.shape);
    let mut made = vec!["%x".to_owned()];
    for at in 0..4 + dice.below(8) {
        let (a, b) = (dice.of(&made), dice.of(&made));
        let call = dice.of(&[format!("Relu {a}"), format!("Add {a}, {b}"), format!("Sub {a}, {b}"), format!("Neg {a}")]);
        net.body += &format!("  %d{at} = onnx.{call} : {ty}\n");
        made.push(format!("%d{at}"));
    }
    net.last = dice.of(&made);
    net.finish(dice, usual, Allowed::Bits)
}

/// Operators as sets 9 and 11 had them.
fn old(dice: &mut Dice) -> Drawn {
    let (mut net, opset) = (start(dice), dice.of(&[9, 11]));
    for at in 0..2 + dice.below(4) {
        let shape = net.shape.clone();
        let [n, c, high, wide] = [shape[0], shape[1], shape[2], shape[3]];
        match dice.below(10) {
            0 if opset == 9 => net.then("onnx.Clip {} {max = 2.5, min = -0.5}"),
            1 if opset == 9 => {
                let pads = [0, 0, 1, 0, 0, 1, 0, 2];
                let mode = dice.of(&["mode = \"constant\", value = 1.5", "mode = \"edge\""]);
                net.reshaped(&format!("onnx.Pad {{}} {{pads = {pads:?}, {mode}}}"), &[n, c + 1, high + 1, wide + 2]);
            }
            2 if opset == 9 => {
                net.reshaped("onnx.Slice {} {axes = [2], ends = [100], starts = [-1]}", &[n, c, 1, wide]);
            }
            3 if opset == 9 => {
                let (mode, scales) = (dice.of(&["nearest", "linear"]), net.constant("[1.0, 1.0, 2.0, 2.0]", &[4]));
                net.reshaped(&format!("onnx.Upsample {{}}, {scales} {{mode = \"{mode}\"}}"), &[n, c, 2 * high, 2 * wide]);
            }
            4 => {
                net.reshaped("onnx.Unsqueeze {} {axes = [0]}", &[1, n, c, high, wide]);
                net.reshaped("onnx.Squeeze {} {axes = [0]}", &shape);
            }
            5 => net.reshaped("onnx.ReduceSum {} {axes = [3], keepdims = 1}", &[n, c, high, 1]),
            6 => net.then(&format!("onnx.Softmax {{}} {{axis = {}}}", dice.of(&[1, 2, 3]))),
            7 if c > 1 => {
                let (p, q) = ([n, 1, high, wide], [n, c - 1, high, wide]);
                net.body += &format!(
                    "  %p{at}, %q{at} = onnx.Split {} {{axis = 1, split = [1, {}]}} : f32{p:?}, f32{q:?}\n",
                    net.last,
                    c - 1
                );
                net.reshaped(&format!("onnx.Concat %q{at}, %p{at} {{axis = 1}}"), &shape);
            }
            8 => net.then("onnx.Dropout {} {ratio = 0.5}"),
            _ => {
                let [s, b, m] = [0; 3].map(|_| net.constant(&constant(dice, &[c]), &[c]));
                let v = net.constant(&super::nested(&[c], &mut || "0.5".to_owned()), &[c]);
                net.then(&format!("onnx.BatchNormalization {{}}, {s}, {b}, {m}, {v}"));
            }
        }
    }
    let drawn = net.finish(dice, usual, ROUNDING);
    Drawn { text: drawn.text.replace("opset = 17", &format!("opset = {opset}")), ..drawn }
}

/// A stage of elastic width and kernel, with a choice, bound.
fn space(dice: &mut Dice) -> Drawn {
    let (channels, size, width) = (1 + dice.below(4), 3 + dice.below(5), 1 + dice.below(6));
    let (kernel, block) = (dice.of(&[1, 3, 5]), dice.of(&["plain", "skip", "deep"]));
    let (shape, ty) = ([1, channels, size, size], format!("f32[1,$w,{size},{size}]"));
    let text = format!(
        "param $w in 1..6\nparam $k in {{1, 3, 5}}\nparam $block in {{plain, skip, deep}}\nbind $w = {width}\nbind $k = \
         {kernel}\nbind $block = {block}\n\ngraph @main(%x: f32{shape:?}) with {{opset = 17}} {{\n  %m = const {} : \
         f32[6,{channels},5,5]\n  %n = const {} : f32[6]\n  %u = const {} : f32[6,6,1,1]\n  \
         %w = space.Crop %m {{keep = centre, to = [$w, {channels}, $k, $k]}} : f32[$w,{channels},$k,$k]\n  \
         %b = space.Crop %n {{to = [$w]}} : f32[$w]\n  %c = onnx.Conv %x, %w, %b {{auto_pad = \"SAME_UPPER\"}} : {ty}\n  \
         %y = space.Choice %c {{pick = $block}} {{\n    option plain {{\n      %r = onnx.Relu %c : {ty}\n      yield %r\n    }}\n    \
         option skip {{\n      yield %c\n    }}\n    option deep {{\n      \
         %v = space.Crop %u {{to = [$w, $w, 1, 1]}} : f32[$w,$w,1,1]\n      %d = onnx.Conv %c, %v : {ty}\n      \
         %s = onnx.Add %c, %d : {ty}\n      yield %s\n    }}\n  }} : {ty}\n  return %y\n}}\n",
        constant(dice, &[6, channels, 5, 5]),
        constant(dice, &[6]),
        constant(dice, &[6, 6, 1, 1])
    );
    Drawn { text, inputs: vec![usual(dice, &shape)], allowed: ROUNDING }
}
