//! Functions of one stored number: every stored number under many types.

use spaceevo_ir::Tensor;

use super::{Allowed, Drawn, Family, ZEROS, between, bytes, weights};
use crate::instance::Dice;

pub(super) const FAMILIES: &[Family] = &[
    Family { pass: "lower-hard-swish", about: "", draw: hard_swish },
    Family { pass: "lower-hard-sigmoid", about: "", draw: hard_sigmoid },
    Family { pass: "clip-sums", about: "", draw: sum },
    Family { pass: "lower-silu", about: "", draw: silu },
    Family { pass: "lower-gelu", about: "", draw: gelu },
    Family { pass: "fold-clip", about: "", draw: clip },
    Family { pass: "lower-prelu", about: "stored", draw: prelu },
    Family { pass: "tile-gates", about: "", draw: gate },
];

/// All stored numbers.
fn all() -> Vec<Tensor> {
    vec![Tensor::new([1, 256], (0..=255u8).collect::<Vec<u8>>())]
}

/// Types of the operand and of a result of about its size.
struct Types {
    scale: f32,
    zero: i64,
    to: f32,
    to_zero: i64,
}

impl Types {
    fn draw(dice: &mut Dice) -> Types {
        let scale = between(dice, 1e-4, 10.0);
        let to = (scale * between(dice, 0.05, 5.0)) as f32;
        Types { scale: scale as f32, zero: dice.of(ZEROS), to, to_zero: dice.of(ZEROS) }
    }

    fn graph(&self, body: &str) -> String {
        let Types { scale, zero, .. } = self;
        format!("graph @main(%x: qu8({scale:?}, {zero})[1,256]) with {{opset = 17}} {{\n{body}  return %y\n}}\n")
    }

    fn result(&self) -> String {
        format!("qu8({:?}, {})[1,256]", self.to, self.to_zero)
    }

    /// A gate in steps of 1/255 is off by half of one, the product by `|x| / (510 to)` steps; each form rounds once more.
    fn gated(&self) -> Allowed {
        let off = |byte: i64| (f64::from(self.scale) * (byte - self.zero) as f64).abs() / (510.0 * f64::from(self.to));
        Allowed::Steps((0..256).map(|byte| off(byte) + 1.001).collect())
    }
}

fn hard_swish(dice: &mut Dice) -> Drawn {
    let types = Types::draw(dice);
    let text = types.graph(&format!("  %y = onnx.HardSwish %x : {}\n", types.result()));
    Drawn { text, inputs: all(), allowed: types.gated() }
}

/// The sum and the products of a hard swish of a type that has 3 in whole steps.
fn sum(dice: &mut Dice) -> Drawn {
    let steps = 1 + dice.below(120);
    let types = Types { scale: 3.0 / steps as f32, zero: (steps + dice.below(256 - steps)) as i64, ..Types::draw(dice) };
    let types = Types { to: (f64::from(types.scale) * between(dice, 0.05, 5.0)) as f32, ..types };
    let terms = dice.of(&["%x, %o", "%o, %x"]);
    let text = types.graph(&format!(
        "  %o = const 1 : qu8(3.0, 0)[]\n  %f = const 1 : qu8(0.16666667, 0)[]\n  \
         %s = onnx.Add {terms} : qu8(0.023529412, 0)[1,256]\n  %g = onnx.Mul %s, %f : qu8(0.003921569, 0)[1,256]\n  \
         %y = onnx.Mul %x, %g : {}\n",
        types.result()
    ));
    Drawn { text, inputs: all(), allowed: types.gated() }
}

fn silu(dice: &mut Dice) -> Drawn {
    let types = Types::draw(dice);
    let gate = "  %s = onnx.Sigmoid %x : qu8(0.003921569, 0)[1,256]\n";
    let text = types.graph(&format!("{gate}  %y = onnx.Mul %x, %s : {}\n", types.result()));
    Drawn { text, inputs: all(), allowed: types.gated() }
}

fn hard_sigmoid(dice: &mut Dice) -> Drawn {
    let types = Types::draw(dice);
    let (alpha, beta) = (between(dice, 0.01, 0.3) as f32, dice.of(&[0.5f32, 0.0, 1.0, -0.25, 0.73, 1.9]));
    let op = format!("  %y = onnx.HardSigmoid %x {{alpha = {alpha:?}, beta = {beta:?}}} : qu8(0.003921569, 0)[1,256]\n");
    Drawn { text: types.graph(&op), inputs: all(), allowed: Allowed::Ties }
}

fn gelu(dice: &mut Dice) -> Drawn {
    let types = Types::draw(dice);
    let factor = dice.of(&["0.5", "1.0", "0.37", "2.5"]);
    let text = types.graph(&format!(
        "  %k = const 0.70710678 : f32[]\n  %one = const 1.0 : f32[]\n  %f = const {factor} : f32[]\n  \
         %a = onnx.Mul %x, %k : f32[1,256]\n  %b = onnx.Erf %a : f32[1,256]\n  %c = onnx.Add %b, %one : f32[1,256]\n  \
         %d = onnx.Mul %x, %c : f32[1,256]\n  %y = onnx.Mul %d, %f : {}\n",
        types.result()
    ));
    Drawn { text, inputs: all(), allowed: Allowed::Ties }
}

/// Sums that are clipped where their type ends, or earlier.
fn clip(dice: &mut Dice) -> Drawn {
    let types = Types { to_zero: dice.of(&[0, 0, 3]), ..Types::draw(dice) };
    let sum = if dice.below(2) == 0 { types.result() } else { "f32[1,256]".to_owned() };
    let top = f64::from(types.to) * (255 - types.to_zero) as f64 * dice.of(&[1.0, 1.7, 0.8]);
    let clip = match dice.below(2) {
        0 => format!("onnx.Relu %a : {}", types.result()),
        _ => format!("onnx.Clip %a, %low, %high : {}", types.result()),
    };
    let text = types.graph(&format!(
        "  %low = const 0.0 : f32[]\n  %high = const {:?} : f32[]\n  %a = onnx.Add %x, %x : {sum}\n  %y = {clip}\n",
        top as f32
    ));
    Drawn { text, inputs: all(), allowed: Allowed::Ties }
}

fn prelu(dice: &mut Dice) -> Drawn {
    let types = Types::draw(dice);
    let slope = dice.of(&["0.0", "0.25", "1.0", "1.5", "-0.5", "7.0"]);
    let text = types.graph(&format!("  %s = const [{slope}] : f32[1]\n  %y = onnx.PRelu %x, %s : {}\n", types.result()));
    Drawn { text, inputs: all(), allowed: Allowed::Bits }
}

/// A map that a convolution makes and one number a channel, on either side.
fn gate(dice: &mut Dice) -> Drawn {
    let Types { scale, zero, to, to_zero } = Types::draw(dice);
    let (channels, high, wide) = (1 + dice.below(5), 20 + dice.below(9), 20 + dice.below(9));
    let (map, pixel, one) = ([1, channels, high, wide], [1, channels, 1, 1], [channels, 1, 1, 1]);
    let (gate, gate_zero) = (between(dice, 1e-4, 1.0) as f32, dice.of(ZEROS));
    let product = dice.of(&["%c, %g", "%g, %c"]);
    let text = format!(
        "graph @main(%x: qu8({scale:?}, {zero}){map:?}, %g: qu8({gate:?}, {gate_zero}){pixel:?}) with {{opset = 17}} {{\n  \
         %w = const {} : qi8(0.01, 0){one:?}\n  %c = onnx.Conv %x, %w {{group = {channels}}} : qu8({scale:?}, {zero}){map:?}\n  \
         %y = onnx.Mul {product} : qu8({to:?}, {to_zero}){map:?}\n  return %y\n}}\n",
        weights(dice, &one)
    );
    Drawn { text, inputs: vec![bytes(dice, &map), bytes(dice, &pixel)], allowed: Allowed::Bits }
}
