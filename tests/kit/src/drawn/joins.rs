//! Joins of stored values, whose result is float or has the scale of each operand, and rows that are joined.

use spaceevo_ir::{Elem, Tensor};

use super::{Allowed, Drawn, Family, ZEROS, between, bytes};
use crate::instance::Dice;

pub(super) const FAMILIES: &[Family] = &[
    Family { pass: "sink-dequantize", about: "", draw: float },
    Family { pass: "sink-dequantize,lower-qdq,lift-qdq", about: "", draw: float },
    Family { pass: "lower-qoperator", about: "joins", draw: stored },
    Family { pass: "lower-qdq", about: "joins", draw: stored },
    Family { pass: "split-anchors", about: "", draw: anchors },
    Family { pass: "hoist-sigmoid", about: "", draw: sigmoid },
];

fn float(dice: &mut Dice) -> Drawn {
    join(dice, false)
}

fn stored(dice: &mut Dice) -> Drawn {
    join(dice, true)
}

/// A scale and a zero point, at an end of what they can be or between.
fn kind(dice: &mut Dice, elem: &str) -> (f32, i64) {
    let scale = if dice.below(4) == 0 { dice.of(&[1e-45, 1e-40, 3e38, 1.0]) } else { between(dice, 1e-6, 1e3) };
    (scale as f32, dice.of(ZEROS) - if elem == "i8" { 128 } else { 0 })
}

/// One to four operands of any extents along an axis, with rows as long as the target wants them or not, of one type or of several.
fn join(dice: &mut Dice, typed: bool) -> Drawn {
    let elem = dice.of(&["u8", "u8", "i8"]);
    let axis = dice.below(3);
    let mut shape: Vec<usize> = (0..axis + 1).map(|_| 1 + dice.below(3)).collect();
    shape.extend(dice.of(&[&[32][..], &[4, 9], &[8, 2, 4], &[64], &[31], &[]]));
    let one = kind(dice, elem);
    let alike = dice.below(6) == 0;
    let (mut inputs, mut given, mut names) = (Vec::new(), Vec::new(), Vec::new());
    let (mut scales, mut zeros) = (Vec::new(), Vec::new());
    for at in 0..1 + dice.below(4) {
        let dims: Vec<usize> =
            shape.iter().enumerate().map(|(i, &n)| if i == axis { 1 + dice.below(5) } else { n }).collect();
        let (scale, zero) = if alike { one } else { kind(dice, elem) };
        given.push(format!("%x{at}: q{elem}({scale:?}, {zero}){dims:?}"));
        names.push(format!("%x{at}"));
        scales.extend(vec![scale; dims[axis]]);
        zeros.extend(vec![zero; dims[axis]]);
        let drawn = bytes(dice, &dims);
        let signed = Tensor::from_bytes(Elem::I8, dims, drawn.bytes());
        inputs.push(signed.filter(|_| elem == "i8").unwrap_or(drawn));
    }
    shape[axis] = scales.len();
    let ty = if typed { format!("q{elem}(axis {axis}, {scales:?}, {zeros:?})") } else { "f32".to_owned() };
    let counted = if dice.below(2) == 0 { axis as i64 } else { axis as i64 - shape.len() as i64 };
    let text = format!(
        "graph @main({}) with {{opset = 17}} {{\n  %j = onnx.Concat {} {{axis = {counted}}} : {ty}{shape:?}\n  \
         %y = onnx.Neg %j : f32{shape:?}\n  return %y\n}}\n",
        given.join(", "),
        names.join(", ")
    );
    Drawn { text, inputs, allowed: Allowed::Bits }
}

/// A head of two or three anchors with long rows, and what is joined with it or not.
fn anchors(dice: &mut Dice) -> Drawn {
    let (anchors, each) = (2 + dice.below(2), 120 + dice.below(80));
    let (high, wide) = (8 + dice.below(8), 8 + dice.below(8));
    let (channels, pixels) = (anchors * each, high * wide);
    let surplus = dice.below(2) * dice.below(9);
    let (scale, zero) = kind(dice, "u8");
    let ty = |dims: &[usize]| format!("qu8({scale:?}, {zero}){dims:?}");
    let list = |dims: &[usize]| format!("const {dims:?} : i64[{}]", dims.len());
    let shape = [1, channels + surplus, high, wide];
    let mut body = String::new();
    if surplus > 0 {
        body += &format!(
            "  %from = const [0] : i64[1]\n  %to = const [{channels}] : i64[1]\n  %along = const [1] : i64[1]\n  \
             %c = onnx.Slice %x, %from, %to, %along : {}\n",
            ty(&[1, channels, high, wide])
        );
    }
    let apart = dice.below(2) == 0;
    let area = if apart { vec![high, wide] } else { vec![pixels] };
    let split = [&[1, anchors, each][..], &area].concat();
    let turned = [&[1, anchors][..], &area, &[each]].concat();
    let perm = if apart { "[0, 1, 3, 4, 2]" } else { "[0, 1, 3, 2]" };
    body += &format!(
        "  %s = {}\n  %r = onnx.Reshape %{}, %s : {}\n  %t = onnx.Transpose %r {{perm = {perm}}} : {}\n",
        list(&split),
        if surplus > 0 { "c" } else { "x" },
        ty(&split),
        ty(&turned)
    );
    let flat = [1, anchors * pixels, each];
    let rows = format!("  %f = {}\n  %g = onnx.Reshape %t, %f : {}\n", list(&flat), ty(&flat));
    let end = match dice.below(3) {
        0 => format!("  %y = onnx.Neg %t : f32{turned:?}"),
        1 => format!("{rows}  %y = onnx.Neg %g : f32{flat:?}"),
        _ => {
            let twice = [1, anchors * pixels + 1, each];
            format!("{rows}  %o = const splat(0.5) : f32[1,1,{each}]\n  %y = onnx.Concat %o, %g {{axis = 1}} : f32{twice:?}")
        }
    };
    let text = format!("graph @main(%x: {}) with {{opset = 17}} {{\n{body}{end}\n  return %y\n}}\n", ty(&shape));
    Drawn { text, inputs: vec![bytes(dice, &shape)], allowed: Allowed::Bits }
}

/// The sigmoid of a join, stored in steps as coarse as those of its parts: half a step, and what is between two steps.
fn sigmoid(dice: &mut Dice) -> Drawn {
    let (mut inputs, mut given, mut names, mut rows) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for at in 0..1 + dice.below(4) {
        let dims = [1, 1 + dice.below(3), 64];
        let (scale, zero) = (between(dice, 1e-3, 1.0) as f32, dice.of(ZEROS));
        given.push(format!("%x{at}: qu8({scale:?}, {zero}){dims:?}"));
        names.push(format!("%x{at}"));
        inputs.push(bytes(dice, &dims));
        rows += dims[1];
    }
    let text = format!(
        "graph @main({}) with {{opset = 17}} {{\n  %j = onnx.Concat {} {{axis = 1}} : f32[1,{rows},64]\n  \
         %s = onnx.Sigmoid %j : f32[1,{rows},64]\n  %y = onnx.Neg %s : qu8(0.003921569, 255)[1,{rows},64]\n  return %y\n}}\n",
        given.join(", "),
        names.join(", ")
    );
    Drawn { text, inputs, allowed: Allowed::Ties }
}
