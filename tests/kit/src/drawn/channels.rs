//! Channels of real numbers that are scaled between layers, or take another order.

use spaceevo_ir::Tensor;

use super::floats::{ROUNDING, constant, graph};
use super::{Allowed, Drawn, Family, between, nested};
use crate::instance::Dice;

pub(super) const FAMILIES: &[Family] = &[
    Family { pass: "equalize-layers", about: "", draw: layers },
    Family { pass: "sink-channel-shuffle", about: "units", draw: units },
];

/// A network under construction: its last value, and that value's channels and side.
struct Net {
    body: String,
    last: String,
    channels: usize,
    size: usize,
    count: usize,
}

impl Net {
    fn ty(&self) -> String {
        format!("f32[1,{0},{1},{1}]", self.channels, self.size)
    }

    /// An op on the last value, with other operands in its text where `{}` is not.
    fn then(&mut self, call: &str) -> &mut Net {
        let made = format!("%v{}", self.count);
        self.body += &format!("  {made} = {} : {}\n", call.replace("{}", &self.last), self.ty());
        (self.last, self.count) = (made, self.count + 1);
        self
    }

    fn constant(&mut self, numbers: String, dims: &[usize]) -> String {
        let made = format!("%k{}", self.count);
        self.body += &format!("  {made} = const {numbers} : f32{dims:?}\n");
        self.count += 1;
        made
    }

    /// A convolution whose filters are as loud as `loud` says, with a bias or without.
    fn convolve(&mut self, dice: &mut Dice, filters: usize, groups: usize, loud: &[f32]) {
        let kernel = if self.size > 3 { dice.of(&[1, 1, 3]) } else { 1 };
        let (each, of) = (self.channels / groups, if kernel == 3 { dice.below(2) } else { 0 });
        let dims = [filters, each, kernel, kernel];
        let mut at = 0;
        let weights = nested(&dims, &mut || {
            let filter = at / dims[1..].iter().product::<usize>();
            at += 1;
            format!("{:?}", dice.number() * loud[filter])
        });
        let weights = self.constant(weights, &dims);
        let bias = match dice.below(3) {
            0 => String::new(),
            _ => {
                let mut at = 0;
                let numbers = nested(&[filters], &mut || {
                    at += 1;
                    format!("{:?}", dice.number() * loud[at - 1])
                });
                format!(", {}", self.constant(numbers, &[filters]))
            }
        };
        self.channels = filters;
        self.size = self.size + 2 * of - kernel + 1;
        self.then(&format!("onnx.Conv {{}}, {weights}{bias} {{group = {groups}, pads = [{of}, {of}, {of}, {of}]}}"));
    }

    /// What a factor for each channel travels through.
    fn activate(&mut self, dice: &mut Dice) {
        let dims = [self.channels, 1, 1];
        match dice.below(7) {
            0 | 1 => drop(self.then("onnx.Relu {}")),
            2 => drop(self.then("onnx.LeakyRelu {} {alpha = 0.3}")),
            3 => {
                let slopes = nested(&dims, &mut || dice.of(&["0.25", "0.0", "1.5", "-0.5"]).to_owned());
                let slopes = self.constant(slopes, &dims);
                self.then(&format!("onnx.PRelu {{}}, {slopes}"));
            }
            4 => {
                let (numbers, first) = (constant(dice, &dims), dice.below(2) == 0);
                let summand = self.constant(numbers, &dims);
                self.then(&if first { format!("onnx.Add {{}}, {summand}") } else { format!("onnx.Add {summand}, {{}}") });
            }
            5 if self.size > 2 => {
                self.size -= 1;
                let pool = dice.of(&["MaxPool", "AveragePool"]);
                self.then(&format!("onnx.{pool} {{}} {{kernel_shape = [2, 2]}}"));
            }
            _ => {}
        }
    }
}

fn loudness(dice: &mut Dice, filters: usize) -> Vec<f32> {
    let least = dice.of(&[1.0, 1e-1, 1e-3]);
    (0..filters).map(|_| between(dice, least, 1.01) as f32).collect()
}

fn start(dice: &mut Dice) -> (Net, [usize; 4]) {
    let (channels, size) = (1 + dice.below(5), 4 + dice.below(5));
    let net = Net { body: String::new(), last: "%x".into(), channels, size, count: 0 };
    (net, [1, channels, size, size])
}

fn finished(dice: &mut Dice, mut net: Net, shape: [usize; 4], allowed: Allowed) -> Drawn {
    net.body += &format!("  %y = onnx.Neg {} : {}\n", net.last, net.ty());
    let count = shape.iter().product();
    let x = Tensor::new(shape, (0..count).map(|_| dice.number()).collect::<Vec<f32>>());
    Drawn { text: graph(&shape, &net.body), inputs: vec![x], allowed }
}

/// Convolutions of loud and quiet channels, depthwise ones and residual sums among them.
fn layers(dice: &mut Dice) -> Drawn {
    let (mut net, shape) = start(dice);
    let hidden = 2 + dice.below(6);
    let loud = loudness(dice, hidden);
    net.convolve(dice, hidden, 1, &loud);
    for _ in 0..1 + dice.below(3) {
        net.activate(dice);
        let loud = loudness(dice, hidden);
        match dice.below(4) {
            0 => net.convolve(dice, hidden, hidden, &loud),
            1 => {
                let skip = net.last.clone();
                let numbers = constant(dice, &[hidden, hidden, 1, 1]);
                let weights = net.constant(numbers, &[hidden, hidden, 1, 1]);
                net.then(&format!("onnx.Conv {{}}, {weights}")).then(&format!("onnx.Add {{}}, {skip}"));
            }
            _ => net.convolve(dice, hidden, 1, &loud),
        }
    }
    net.activate(dice);
    let filters = 1 + dice.below(6);
    let loud = loudness(dice, filters);
    net.convolve(dice, filters, 1, &loud);
    finished(dice, net, shape, Allowed::Parts(3e-5))
}

/// Units of ShuffleNet V2: one half passes, the other goes through convolutions, and both are shuffled.
fn units(dice: &mut Dice) -> Drawn {
    let (mut net, shape) = start(dice);
    let half = 2 + dice.below(4);
    let whole = 2 * half;
    let loud = vec![1.0; whole];
    net.convolve(dice, whole, 1, &loud);
    let size = net.size;
    let part = format!("f32[1,{half},{size},{size}]");
    net.body += &format!(
        "  %apart = const [1, 2, {half}, {size}, {size}] : i64[5]\n  %whole = const [1, {whole}, {size}, {size}] : i64[4]\n"
    );
    for unit in 0..1 + dice.below(3) {
        net.body += &format!("  %p{unit}, %q{unit} = onnx.Split {} {{axis = 1}} : {part}, {part}\n", net.last);
        let (pass, through) = if dice.below(2) == 0 { ("p", "q") } else { ("q", "p") };
        let mut branch = Net { last: format!("%{through}{unit}"), channels: half, ..net };
        for groups in [1, half] {
            let weights = constant(dice, &[half, half / groups, 1, 1]);
            let weights = branch.constant(weights, &[half, half / groups, 1, 1]);
            let numbers = constant(dice, &[half]);
            let bias = branch.constant(numbers, &[half]);
            branch.then(&format!("onnx.Conv {{}}, {weights}, {bias} {{group = {groups}}}"));
            if dice.below(2) == 0 {
                branch.then("onnx.Relu {}");
            }
        }
        net = Net { channels: whole, ..branch };
        let ordered = if dice.below(2) == 0 { format!("%{pass}{unit}, {{}}") } else { format!("{{}}, %{pass}{unit}") };
        net.then(&format!("onnx.Concat {ordered} {{axis = 1}}"));
        net.body += &format!(
            "  %r{unit} = onnx.Reshape {}, %apart : f32[1,2,{half},{size},{size}]\n  \
             %t{unit} = onnx.Transpose %r{unit} {{perm = [0, 2, 1, 3, 4]}} : f32[1,{half},2,{size},{size}]\n",
            net.last
        );
        net.then(&format!("onnx.Reshape %t{unit}, %whole"));
    }
    if dice.below(2) == 0 {
        let filters = 1 + dice.below(5);
        let loud = vec![1.0; filters];
        net.convolve(dice, filters, 1, &loud);
    }
    finished(dice, net, shape, ROUNDING)
}
