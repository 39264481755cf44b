//! Ops on stored values, which the writers turn into a runtime's operators: what the types say against what its kernels do.

use spaceevo_ir::Tensor;

use super::{Allowed, Drawn, Family, ZEROS, between, bytes, maps};
use crate::instance::Dice;

pub(super) const FAMILIES: &[Family] = &[
    Family { pass: "lower-qoperator", about: "", draw },
    Family { pass: "lower-qoperator", about: "convolutions", draw: convolution },
    Family { pass: "lower-qdq", about: "", draw },
    Family { pass: "lower-qdq", about: "convolutions", draw: convolution },
];

/// One op of each kind that has an integer kernel, with types of its own for operands and result. Both sides round once.
fn draw(dice: &mut Dice) -> Drawn {
    let (channels, size) = (1 + dice.below(6), 1 + dice.below(9));
    let dims = [1, channels, size, size];
    let mut scale = || between(dice, 1e-3, 1.0);
    let (a, b, spread) = (scale(), scale(), scale());
    let mut zero = || dice.of(ZEROS);
    let (za, zb, zy) = (zero(), zero(), zero());
    let spread = 0.2 + 3.0 * spread;
    // The type that the runtime's table and the schema of the operator ask for.
    let gate = "qu8(0.00390625, 0)";
    let op = dice.below(7);
    let (call, to, out) = match op {
        0 => ("onnx.Add %x, %z", (a + b) * spread, size),
        1 => ("onnx.Mul %x, %z", 128.0 * a * b * spread, size),
        2 => ("onnx.Concat %x, %z {axis = 1}", a.max(b) * spread, size),
        3 => ("onnx.LeakyRelu %x {alpha = 0.1}", a * spread, size),
        4 => ("onnx.Sigmoid %x", 0.0, size),
        5 => ("onnx.GlobalAveragePool %x", a * spread, 1),
        _ => ("onnx.AveragePool %x {kernel_shape = [1, 1]}", a * spread, size),
    };
    let made = if op == 2 { 2 * channels } else { channels };
    let ty = if op == 4 { gate.to_owned() } else { format!("qu8({:?}, {zy})", to as f32) };
    let (x, z) = (format!("qu8({:?}, {za})", a as f32), format!("qu8({:?}, {zb})", b as f32));
    let text = format!(
        "graph @main(%x: {x}{dims:?}, %z: {z}{dims:?}) with {{opset = 17}} {{\n  %y = {call} : {ty}[1,{made},{out},{out}]\n  \
         return %y\n}}\n"
    );
    let inputs: Vec<Tensor> = vec![bytes(dice, &dims), bytes(dice, &dims)];
    Drawn { text, inputs, allowed: Allowed::Ties }
}

fn convolution(dice: &mut Dice) -> Drawn {
    Drawn { allowed: Allowed::Ties, ..maps::stem(dice) }
}
