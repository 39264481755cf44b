//! Operators without weights, and ops that move bytes.

use super::{Stored, elem, graph};
use crate::drawn::{Allowed, Drawn, between, byte};
use crate::instance::Dice;

/// One operator without weights; what its result is about as large as, in units of the operands' scales, and its shape.
struct Op {
    name: &'static str,
    attrs: String,
    two: bool,
    to: f64,
    shape: Vec<usize>,
}

impl Op {
    fn draw(dice: &mut Dice, shape: &[usize], a: f64, b: f64) -> Op {
        let (spread, map) = (between(dice, 0.2, 4.0), shape.to_vec());
        let joined = vec![shape[0], 2 * shape[1], shape[2], shape[3]];
        let op = |name, attrs: &str, two, to, shape| Op { name, attrs: attrs.to_owned(), two, to, shape };
        match dice.below(7) {
            0 => op("Add", "", true, (a + b) * spread, map),
            1 => op("Mul", "", true, 128.0 * a * b * spread, map),
            2 => op("Concat", " {axis = 1}", true, a.max(b) * spread, joined),
            3 => op("LeakyRelu", " {alpha = 0.1}", false, a * spread, map),
            4 => op("Sigmoid", "", false, spread / 256.0, map),
            5 => op("GlobalAveragePool", "", false, a * spread, vec![shape[0], shape[1], 1, 1]),
            _ => {
                let (high, wide) = (1 + dice.below(shape[2]), 1 + dice.below(shape[3]));
                let attrs = format!(" {{kernel_shape = [{high}, {wide}]}}");
                let shape = vec![shape[0], shape[1], shape[2] - high + 1, shape[3] - wide + 1];
                op("AveragePool", &attrs, false, a * spread, shape)
            }
        }
    }
}

fn map(dice: &mut Dice) -> Vec<usize> {
    let size = 2 + dice.below(7);
    vec![1, 1 + dice.below(6), size, size]
}

/// An operator between pairs; what it makes is moved or its largest taken, in a pair of its own. Operands may be the same bytes,
/// read with two scales.
pub(super) fn pairs(dice: &mut Dice) -> Drawn {
    let (shape, elem) = (map(dice), elem(dice));
    let (a, b) = (between(dice, 1e-3, 1.0), between(dice, 1e-3, 1.0));
    let x = Stored::draw(dice, "x", elem, a);
    let z = Stored { zero: x.zero, ..Stored::draw(dice, "z", elem, b) };
    let op = Op::draw(dice, &shape, a, b);
    let r = Stored::draw(dice, "r", elem, op.to);
    let (second, read) = match dice.below(4) {
        0 => (String::new(), "%x_g"),
        1 => {
            // Stored in two ways: no type says that.
            let with = z.operands();
            let quantize = format!("  %o_q = onnx.QuantizeLinear %x, {with} : {elem}{shape:?}\n");
            (format!("{quantize}  %o = onnx.DequantizeLinear %o_q, {with} : f32{shape:?}\n"), "%o")
        }
        2 => (format!("  %o = onnx.DequantizeLinear %x_q, {} : f32{shape:?}\n", z.operands()), "%o"),
        _ => (z.pair(dice, &shape), "%z_f"),
    };
    let operands = if op.two { format!("%x_f, {read}") } else { "%x_f".to_owned() };
    let ty = format!("f32{:?}", op.shape);
    let stored = format!("{elem}{:?}", op.shape);
    let moved = match dice.below(3) {
        0 => String::new(),
        1 => format!("  %m = onnx.Transpose %t {{perm = [0, 1, 2, 3]}} : {ty}\n"),
        _ => format!("  %m = onnx.MaxPool %t {{kernel_shape = [1, 1]}} : {ty}\n"),
    };
    let with = r.operands();
    let end = if moved.is_empty() {
        format!("  %q = onnx.QuantizeLinear %r, {with} : {stored}\n")
    } else {
        format!(
            "  %p = onnx.QuantizeLinear %r, {with} : {stored}\n  %t = onnx.DequantizeLinear %p, {with} : {ty}\n{moved}  \
             %q = onnx.QuantizeLinear %m, {with} : {stored}\n"
        )
    };
    // What is rounded a second time lies on steps already: the numbers before the first time decide.
    let body = format!(
        "{}{}{}{}{second}  %r = onnx.{} {operands}{} : {ty}\n{end}  %y = onnx.DequantizeLinear %q, {with} : {ty}\n",
        x.constants(),
        z.constants(),
        r.constants(),
        x.pair(dice, &shape),
        op.name,
        op.attrs
    );
    let text = graph(&[(&x, &shape), (&z, &shape)], true, &body);
    Drawn { text, inputs: vec![x.numbers(dice, &shape), z.numbers(dice, &shape)], allowed: Allowed::Ties }
}

/// An integer operator from bytes to bytes.
pub(super) fn operator(dice: &mut Dice) -> Drawn {
    let (shape, elem) = (map(dice), elem(dice));
    let (a, b) = (between(dice, 1e-3, 1.0), between(dice, 1e-3, 1.0));
    let (x, z) = (Stored::draw(dice, "x", elem, a), Stored::draw(dice, "z", elem, b));
    let op = Op::draw(dice, &shape, a, b);
    let y = Stored::draw(dice, "y", elem, op.to);
    let (of, with, to) = (format!("%x, {}", x.operands()), format!("%z, {}", z.operands()), y.operands());
    let operands = match op.name {
        "Concat" => format!("{to}, {of}, {with}"),
        _ if op.two => format!("{of}, {with}, {to}"),
        _ => format!("{of}, {to}"),
    };
    let call = format!("com.microsoft.QLinear{} {operands}{}", op.name, op.attrs);
    let body = format!(
        "{}{}{}  %q = {call} : {elem}{:?}\n  %y = onnx.DequantizeLinear %q, {to} : f32{:?}\n",
        x.constants(),
        z.constants(),
        y.constants(),
        op.shape,
        op.shape
    );
    let text = graph(&[(&x, &shape), (&z, &shape)], false, &body);
    Drawn { text, inputs: vec![x.bytes(dice, &shape), z.bytes(dice, &shape)], allowed: Allowed::Ties }
}

/// Ops that move bytes, with bytes for padding that stand for any number.
pub(super) fn movement(dice: &mut Dice) -> Drawn {
    let (mut shape, elem) = (map(dice), elem(dice));
    let (first, scale) = (shape.clone(), between(dice, 1e-3, 1.0));
    let x = Stored::draw(dice, "x", elem, scale);
    let byte = i64::from(byte(dice)) - if elem == "i8" { 128 } else { 0 };
    let byte = dice.of(&[byte, x.zero]);
    let mut body = format!(
        "{}  %byte = const {byte} : {elem}[]\n  %m0 = onnx.QuantizeLinear %x, {} : {elem}{shape:?}\n",
        x.constants(),
        x.operands()
    );
    let count = 1 + dice.below(3);
    for at in 0..count {
        let from = format!("%m{at}");
        let call = match dice.below(4) {
            0 => {
                let pads: Vec<usize> = (0..8).map(|_| dice.below(2)).collect();
                body += &format!("  %pads{at} = const {pads:?} : i64[8]\n");
                shape = (0..4).map(|axis| shape[axis] + pads[axis] + pads[axis + 4]).collect();
                format!("onnx.Pad {from}, %pads{at}, %byte")
            }
            1 => {
                shape = vec![shape[0], shape[2], shape[1], shape[3]];
                format!("onnx.Transpose {from} {{perm = [0, 2, 1, 3]}}")
            }
            2 => {
                let (high, wide) = (1 + dice.below(shape[2].min(3)), 1 + dice.below(shape[3].min(3)));
                shape = vec![shape[0], shape[1], shape[2] - high + 1, shape[3] - wide + 1];
                format!("onnx.MaxPool {from} {{kernel_shape = [{high}, {wide}]}}")
            }
            _ => {
                let to = vec![shape[0], shape[3], shape[1], shape[2]];
                body += &format!("  %to{at} = const {to:?} : i64[4]\n");
                shape = to;
                format!("onnx.Reshape {from}, %to{at}")
            }
        };
        body += &format!("  %m{} = {call} : {elem}{shape:?}\n", at + 1);
    }
    body += &format!("  %y = onnx.DequantizeLinear %m{count}, {} : f32{shape:?}\n", x.operands());
    let text = graph(&[(&x, &first)], true, &body);
    Drawn { text, inputs: vec![x.numbers(dice, &first)], allowed: Allowed::Ties }
}
