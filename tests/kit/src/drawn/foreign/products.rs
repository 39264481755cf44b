//! Convolutions and products of matrices.

use super::{Stored, elem, graph};
use crate::drawn::{Allowed, Drawn, ZEROS, between, byte, nested, weights};
use crate::instance::Dice;

/// A convolution or a product of matrices, whose weights have one scale or one for each output.
struct Product {
    name: &'static str,
    attrs: String,
    shape: Vec<usize>,
    dims: Vec<usize>,
    out: Vec<usize>,
    /// The axis of the weights with an index for each output.
    axis: usize,
    outputs: usize,
    /// Type, scales, and zero points of the weights.
    elem: &'static str,
    each: bool,
    scales: Vec<f32>,
    zero: i64,
    /// What one of the bias stands for, in units of the products.
    unit: f32,
}

impl Product {
    fn draw(dice: &mut Dice, by: &str) -> Product {
        let kind = dice.below(4);
        let (name, attrs, shape, dims, out, axis, outputs) = match kind {
            0 | 1 => {
                let groups = dice.of(&[1, 1, 2, 3]);
                let (channels, filters) = (groups * (1 + dice.below(4)), groups * (1 + dice.below(5)));
                let (kernel, size, pad) = (dice.of(&[1, 3]), 3 + dice.below(4), dice.below(2));
                let extent = size + 2 * pad - kernel + 1;
                let attrs = format!(" {{group = {groups}, pads = [{pad}, {pad}, {pad}, {pad}]}}");
                let (shape, out) = (vec![1, channels, size, size], vec![1, filters, extent, extent]);
                ("Conv", attrs, shape, vec![filters, channels / groups, kernel, kernel], out, 0, filters)
            }
            2 => {
                let (rows, inner, columns) = (1 + dice.below(9), 1 + dice.below(12), 1 + dice.below(12));
                ("MatMul", String::new(), vec![rows, inner], vec![inner, columns], vec![rows, columns], 1, columns)
            }
            _ => {
                let (rows, inner, columns) = (1 + dice.below(9), 1 + dice.below(12), 1 + dice.below(12));
                let (turned, alpha) = (dice.below(2), dice.of(&["1.0", "0.5"]));
                let (dims, axis) = if turned == 0 { (vec![inner, columns], 1) } else { (vec![columns, inner], 0) };
                let attrs = format!(" {{alpha = {alpha}, transB = {turned}}}");
                ("Gemm", attrs, vec![rows, inner], dims, vec![rows, columns], axis, columns)
            }
        };
        let each = dice.below(2) == 0;
        let scales = (0..if each { outputs } else { 1 }).map(|_| between(dice, 1e-3, 1e-1) as f32).collect();
        let (elem, zero) = if by == "u8" && dice.below(4) == 0 { ("u8", dice.of(ZEROS)) } else { ("i8", 0) };
        Product { name, attrs, shape, dims, out, axis, outputs, elem, each, scales, zero, unit: 1.0 }
    }

    /// How much a result spreads, in units of the operand's scale.
    fn spread(&self, dice: &mut Dice) -> f64 {
        let taps = self.dims.iter().product::<usize>() / self.outputs;
        let scale = f64::from(self.scales[0]);
        scale * 60.0 * 60.0 * (taps as f64).sqrt() * between(dice, 0.05, 4.0) / 64.0
    }

    /// Scales and zero points of the weights, and of a bias in units of the products.
    fn constants(&self, x: &Stored) -> String {
        let shape = if self.each { format!("[{}]", self.outputs) } else { "[]".to_owned() };
        let listed = |numbers: Vec<String>| if self.each { format!("[{}]", numbers.join(", ")) } else { numbers[0].clone() };
        let scales = listed(self.scales.iter().map(|s| format!("{s:?}")).collect());
        let zeros = listed(self.scales.iter().map(|_| self.zero.to_string()).collect());
        let bias = listed(self.scales.iter().map(|s| format!("{:?}", x.scale * s * self.unit)).collect());
        format!(
            "  %ws = const {scales} : f32{shape}\n  %wz = const {zeros} : {}{shape}\n  %bs = const {bias} : f32{shape}\n",
            self.elem
        )
    }

    /// The weights as they are stored.
    fn weights(&self, dice: &mut Dice) -> String {
        let stored = match self.elem {
            "u8" => nested(&self.dims, &mut || byte(dice).to_string()),
            _ => weights(dice, &self.dims),
        };
        format!("  %w = const {stored} : {}{:?}\n", self.elem, self.dims)
    }

    fn bias(&self, dice: &mut Dice) -> String {
        let number =
            |dice: &mut Dice| if dice.below(8) == 0 { dice.of(&[0, 30000, -30000]) } else { dice.below(4000) as i64 - 2000 };
        format!("  %b = const {} : i32[{}]\n", nested(&[self.outputs], &mut || number(dice).to_string()), self.outputs)
    }
}

/// Weights that are stored, or that a pair in the file rounds; a bias in float, in units of the products, or none.
pub(super) fn pairs(dice: &mut Dice) -> Drawn {
    let elem = elem(dice);
    let product = Product { unit: dice.of(&[1.0, 1.0, 2.0]), ..Product::draw(dice, elem) };
    let scale = between(dice, 1e-3, 1.0);
    let x = Stored::draw(dice, "x", elem, scale);
    let to = scale * product.spread(dice);
    let r = Stored::draw(dice, "r", elem, to);
    let Product { name, attrs, shape, dims, out, axis, outputs, .. } = &product;
    let place = if product.each { format!(" {{axis = {axis}}}") } else { String::new() };
    let stored = match dice.below(2) {
        0 => product.weights(dice),
        _ => {
            let numbers = nested(dims, &mut || format!("{:?}", dice.number() * 20.0 * product.scales[0]));
            format!(
                "  %v = const {numbers} : f32{dims:?}\n  %w = onnx.QuantizeLinear %v, %ws, %wz{place} : {}{dims:?}\n",
                product.elem
            )
        }
    };
    let bias = if *name == "MatMul" { 0 } else { dice.below(3) };
    let (bias, read) = match bias {
        0 => (String::new(), ""),
        1 => {
            let numbers = nested(&[*outputs], &mut || format!("{:?}", dice.number() * x.scale * product.scales[0] * 500.0));
            (format!("  %c = const {numbers} : f32[{outputs}]\n"), ", %c")
        }
        _ => {
            let axis = if product.each { " {axis = 0}" } else { "" };
            let read = format!("  %c = onnx.DequantizeLinear %b, %bs{axis} : f32[{outputs}]\n");
            (product.bias(dice) + &read, ", %c")
        }
    };
    let body = format!(
        "{}{}{}{stored}{bias}{}  %w_f = onnx.DequantizeLinear %w, %ws, %wz{place} : f32{dims:?}\n  \
         %r = onnx.{name} %x_f, %w_f{read}{attrs} : f32{out:?}\n  %q = onnx.QuantizeLinear %r, {with} : {elem}{out:?}\n  \
         %y = onnx.DequantizeLinear %q, {with} : f32{out:?}\n",
        x.constants(),
        r.constants(),
        product.constants(&x),
        x.pair(dice, shape),
        with = r.operands()
    );
    let text = graph(&[(&x, shape)], true, &body);
    Drawn { text, inputs: vec![x.numbers(dice, shape)], allowed: Allowed::Ties }
}

/// The same as one operator on bytes.
pub(super) fn operator(dice: &mut Dice) -> Drawn {
    let elem = elem(dice);
    let product = Product::draw(dice, elem);
    let scale = between(dice, 1e-3, 1.0);
    let x = Stored::draw(dice, "x", elem, scale);
    let to = scale * product.spread(dice);
    let y = Stored::draw(dice, "y", elem, to);
    let Product { name, attrs, shape, out, .. } = &product;
    let bias = *name != "MatMul" && dice.below(2) == 0;
    let (of, to) = (format!("%x, {}, %w, %ws, %wz", x.operands()), y.operands());
    let call = match (*name, bias) {
        ("Gemm", false) => format!("com.microsoft.QGemm {of}, _, {to}{attrs}"),
        ("Gemm", true) => format!("com.microsoft.QGemm {of}, %b, {to}{attrs}"),
        (_, true) => format!("onnx.QLinear{name} {of}, {to}, %b{attrs}"),
        _ => format!("onnx.QLinear{name} {of}, {to}{attrs}"),
    };
    let body = format!(
        "{}{}{}{}{}  %q = {call} : {elem}{out:?}\n  %y = onnx.DequantizeLinear %q, {to} : f32{out:?}\n",
        x.constants(),
        y.constants(),
        product.constants(&x),
        product.weights(dice),
        if bias { product.bias(dice) } else { String::new() },
    );
    let text = graph(&[(&x, shape)], false, &body);
    Drawn { text, inputs: vec![x.bytes(dice, shape)], allowed: Allowed::Ties }
}
