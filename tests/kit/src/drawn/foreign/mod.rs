//! Networks that another tool has quantized: pairs of conversions around float operators, and integer operators.

mod operators;
mod products;

use spaceevo_ir::Tensor;

use super::{Family, ZEROS, byte};
use crate::instance::Dice;

pub(super) const FAMILIES: &[Family] = &[
    Family { pass: "lift-qdq", about: "", draw: operators::pairs },
    Family { pass: "lift-qdq", about: "products", draw: products::pairs },
    Family { pass: "lift-qoperator", about: "", draw: operators::operator },
    Family { pass: "lift-qoperator", about: "products", draw: products::operator },
    Family { pass: "lift-qoperator", about: "movement", draw: operators::movement },
    Family { pass: "lift-qoperator,lift-qdq", about: "", draw: operators::operator },
    Family { pass: "lift-qoperator,lift-qdq", about: "products", draw: products::operator },
];

/// How a tensor is stored: a scale and a zero point, which are constants of the graph.
struct Stored {
    name: &'static str,
    elem: &'static str,
    scale: f32,
    zero: i64,
}

impl Stored {
    fn draw(dice: &mut Dice, name: &'static str, elem: &'static str, scale: f64) -> Stored {
        let zero = dice.of(ZEROS) - if elem == "i8" { 128 } else { 0 };
        Stored { name, elem, scale: scale as f32, zero }
    }

    fn constants(&self) -> String {
        let Stored { name, elem, scale, zero } = self;
        format!("  %{name}s = const {scale:?} : f32[]\n  %{name}z = const {zero} : {elem}[]\n")
    }

    /// Scale and zero point as operands.
    fn operands(&self) -> String {
        format!("%{0}s, %{0}z", self.name)
    }

    /// `name_q` from `name`, and `name_f` from that. Some tools write a pair for each reader, some a DequantizeLinear.
    fn pair(&self, dice: &mut Dice, shape: &[usize]) -> String {
        let (Stored { name, elem, .. }, with) = (self, self.operands());
        let dequantize = |to: &str, from: &str| format!("  %{to} = onnx.DequantizeLinear %{from}, {with} : f32{shape:?}\n");
        let quantize = |to: &str| format!("  %{to} = onnx.QuantizeLinear %{name}, {with} : {elem}{shape:?}\n");
        let first = quantize(&format!("{name}_q")) + &dequantize(&format!("{name}_f"), &format!("{name}_q"));
        let again = match dice.below(3) {
            0 => quantize(&format!("{name}_r")) + &dequantize(&format!("{name}_g"), &format!("{name}_r")),
            _ => dequantize(&format!("{name}_g"), &format!("{name}_q")),
        };
        first + &again
    }

    /// Numbers on steps, between two, and beyond the last one.
    fn numbers(&self, dice: &mut Dice, dims: &[usize]) -> Tensor {
        let least = if self.elem == "i8" { -128 } else { 0 };
        let mut one = || match dice.below(32) {
            0 => dice.of(&[0.0, -0.0, 1e-30, 1e9, -1e9]),
            _ => {
                let off = dice.of(&[0.0, 0.0, 0.5, -0.5, 0.3, -0.49]);
                self.scale * ((i64::from(byte(dice)) + least - self.zero) as f32 + off)
            }
        };
        let count = dims.iter().product();
        Tensor::new(dims, (0..count).map(|_| one()).collect::<Vec<f32>>())
    }

    /// Bytes, as they are stored.
    fn bytes(&self, dice: &mut Dice, dims: &[usize]) -> Tensor {
        let count = dims.iter().product();
        let bytes: Vec<u8> = (0..count).map(|_| byte(dice)).collect();
        match self.elem {
            "i8" => Tensor::new(dims, bytes.into_iter().map(|b| b as i8).collect::<Vec<i8>>()),
            _ => Tensor::new(dims, bytes),
        }
    }
}

fn elem(dice: &mut Dice) -> &'static str {
    dice.of(&["u8", "u8", "i8"])
}

fn graph(inputs: &[(&Stored, &[usize])], real: bool, body: &str) -> String {
    let input = |(s, shape): &(&Stored, &[usize])| format!("%{}: {}{shape:?}", s.name, if real { "f32" } else { s.elem });
    let inputs: Vec<String> = inputs.iter().map(input).collect();
    format!("graph @main({}) with {{opset = 17, \"com.microsoft\" = 1}} {{\n{body}  return %y\n}}\n", inputs.join(", "))
}
