//! Networks that another tool has quantized: pairs of conversions around float operators, and integer operators.

use spaceevo_ir::Tensor;

use super::{Allowed, Drawn, Family, between, byte, nested, weights};
use crate::instance::Dice;

pub(super) const FAMILIES: &[Family] = &[
    Family { pass: "lift-qdq", about: "", draw: pairs },
    Family { pass: "lift-qdq", about: "products", draw: product_of_pairs },
    Family { pass: "lift-qoperator", about: "", draw: operator },
    Family { pass: "lift-qoperator", about: "products", draw: product },
    Family { pass: "lift-qoperator,lift-qdq", about: "", draw: operator },
    Family { pass: "lift-qoperator,lift-qdq", about: "products", draw: product },
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
        let zero = dice.of(super::ZEROS) - if elem == "i8" { 128 } else { 0 };
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

fn graph(inputs: &[(&Stored, &[usize])], real: bool, body: &str) -> String {
    let input = |(s, shape): &(&Stored, &[usize])| format!("%{}: {}{shape:?}", s.name, if real { "f32" } else { s.elem });
    let inputs: Vec<String> = inputs.iter().map(input).collect();
    format!("graph @main({}) with {{opset = 17, \"com.microsoft\" = 1}} {{\n{body}  return %y\n}}\n", inputs.join(", "))
}

/// An operator between pairs; what it makes is moved or its largest taken, in a pair of its own. Operands may be the same bytes,
/// read with two scales.
fn pairs(dice: &mut Dice) -> Drawn {
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
fn operator(dice: &mut Dice) -> Drawn {
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
        let (elem, zero) = if by == "u8" && dice.below(4) == 0 { ("u8", dice.of(super::ZEROS)) } else { ("i8", 0) };
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
fn product_of_pairs(dice: &mut Dice) -> Drawn {
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
fn product(dice: &mut Dice) -> Drawn {
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
