//! Networks to measure kernels in: what they are made of is drawn, the rest is as in networks that people run.
//!
//! A network has some branches that begin at inputs of their own:
//!
//! ```text
//! input ─▶ 1x1 ─▶ what was drawn ─▶ a sum, gate, activation, pool, … ─▶ global pool (─▶ Gemm) ─▶ output
//! ```
//!
//! So each kernel reads what the one before has just made, in the layout in which the runtime keeps it, and weights come from
//! where they are when a whole network has run in between. A kernel in a network of its own would have neither.

use spaceevo_ir::text::{self, NoBlobs};
use spaceevo_ir::{Diagnostic, Graph, Loc, Tensor};
use spaceevo_passes::{Manager, Pipeline, Registry, Target};

use super::draw::{Draws, Prior};

/// What a network computes with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Numbers {
    /// 32-bit floats.
    Float,
    /// Bytes, as the target stores them.
    Stored,
}

/// Branches of a network, at least and at most: what a network takes beside its kernels shows in how many it has.
const BRANCHES: [usize; 2] = [2, 13];
/// A network to measure, and what it is given.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// As a runtime gets it.
    pub graph: Graph,
    /// One tensor per input.
    pub inputs: Vec<Tensor>,
}

/// The network beside which everything is timed: convolutions of a mobile network, about a millisecond of them. Always the same,
/// so that what it takes says how fast the machine is at the moment.
///
/// Errors: those of [`network`].
pub fn reference(target: &Target, registry: &Registry) -> Result<Drawn, Diagnostic> {
    let mut writer =
        Writer { lines: String::new(), inputs: Vec::new(), outputs: Vec::new(), numbers: Numbers::Stored, count: 0 };
    let mut map = writer.input(0, 32, 56);
    for (output, window, stride, groups) in
        [(96, 1, 1, 1), (96, 3, 2, 96), (48, 1, 1, 1), (64, 3, 1, 1), (192, 1, 1, 1), (192, 5, 2, 192), (96, 1, 1, 1)]
    {
        map = writer.conv(&map, Prior { size: 0, input: 0, output, window, stride, groups });
    }
    let pooled = writer.op("GlobalAveragePool", &[&map.name], "", map.channels, 1);
    writer.outputs.push(pooled.name);
    writer.drawn(target, registry)
}

/// A network with convolutions like the priors.
///
/// Errors: those of the passes that write stored numbers as operators, which are mistakes of the program.
pub fn network(
    draws: &mut Draws,
    priors: &[Prior],
    numbers: Numbers,
    target: &Target,
    registry: &Registry,
) -> Result<Drawn, Diagnostic> {
    let mut writer = Writer { lines: String::new(), inputs: Vec::new(), outputs: Vec::new(), numbers, count: 0 };
    // Small networks live in nearer caches than large ones.
    let part = draws.one(&[1u64, 2, 2, 6, 6, 20, 60]);
    for branch in 0..BRANCHES[0] + draws.below(BRANCHES[1] - BRANCHES[0] + 1) {
        let prior = draws.prior(priors, part);
        writer.branch(branch, prior, part, draws);
    }
    writer.drawn(target, registry)
}

struct Writer {
    lines: String,
    inputs: Vec<Vec<usize>>,
    outputs: Vec<String>,
    numbers: Numbers,
    count: usize,
}

/// A map within the text.
#[derive(Clone)]
struct Map {
    name: String,
    channels: u32,
    size: u32,
}

impl Map {
    fn dims(&self) -> String {
        format!("[1,{},{s},{s}]", self.channels, s = self.size)
    }
}

impl Writer {
    fn drawn(&self, target: &Target, registry: &Registry) -> Result<Drawn, Diagnostic> {
        let source = self.source();
        let parsed = text::parse(&source, "drawn network", &NoBlobs);
        let mut graph = match (parsed.graph, parsed.diagnostics.into_iter().next()) {
            (Some(graph), None) => graph,
            (_, problem) => return Err(problem.unwrap_or_else(|| Diagnostic::error("internal", Loc::Unknown, source))),
        };
        if self.numbers == Numbers::Stored {
            // What chooses by price or pads all channels would measure something else than what was drawn.
            let free = Target { prices: None, groups: None, ..target.clone() };
            let lower =
                "infer-shapes,pad-stem,lower-silu,lower-gelu,lower-hard-sigmoid,lower-hard-swish,lower-qoperator,drop-dead";
            let run = Manager::new(registry, &free).run(&Pipeline::parse(lower, registry)?, &mut graph, None);
            if let Some(problem) = run.errors().next() {
                return Err(problem.clone());
            }
        }
        let tensor = |dims: &Vec<usize>| {
            let count: usize = dims.iter().product();
            // No two alike; multiples of the golden ratio fill an interval evenly.
            let number = |at: usize| ((at as f32 * 0.618_034).fract() - 0.5) * 2.0;
            Tensor::new(dims.clone(), (0..count).map(number).collect::<Vec<f32>>())
        };
        Ok(Drawn { inputs: self.inputs.iter().map(tensor).collect(), graph })
    }

    fn elem(&self) -> &'static str {
        if self.numbers == Numbers::Float { "f32" } else { "qu8(0.02, 128)" }
    }

    fn source(&self) -> String {
        let input = |(at, dims): (usize, &Vec<usize>)| {
            let dims = dims.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
            format!("%x{at}: {}[{dims}]", self.elem())
        };
        let inputs: Vec<String> = self.inputs.iter().enumerate().map(input).collect();
        let outputs = self.outputs.join(", ");
        format!(
            "graph @drawn({}) with {{opset = 17, \"com.microsoft\" = 1}} {{\n{}  return {outputs}\n}}\n",
            inputs.join(", "),
            self.lines
        )
    }

    fn op(&mut self, op: &str, reads: &[&str], attrs: &str, channels: u32, size: u32) -> Map {
        self.count += 1;
        let map = Map { name: format!("%v{}", self.count), channels, size };
        let (elem, dims) = (self.elem(), map.dims());
        let domain = if op == "Gelu" { "com.microsoft" } else { "onnx" };
        self.lines += &format!("  {} = {domain}.{op} {}{attrs} : {elem}{dims}\n", map.name, reads.join(", "));
        map
    }

    fn conv(&mut self, read: &Map, prior: Prior) -> Map {
        let Prior { output, window, stride, groups, .. } = prior;
        let weights = if self.numbers == Numbers::Float { "f32" } else { "qi8(0.01, 0)" };
        self.count += 1;
        let name = format!("%w{}", self.count);
        let (each, seed, pad) = (read.channels / groups, self.count, window / 2);
        self.lines += &format!("  {name} = const rand({seed}) : {weights}[{output},{each},{window},{window}]\n");
        let attrs = format!(
            " {{kernel_shape = [{window}, {window}], pads = [{pad}, {pad}, {pad}, {pad}], strides = [{stride}, {stride}], group = {groups}}}"
        );
        self.op("Conv", &[&read.name, &name], &attrs, output, (read.size + 2 * pad - window) / stride + 1)
    }

    /// What a branch is made of, from its input to what it returns.
    fn branch(&mut self, number: usize, prior: Prior, part: u64, draws: &mut Draws) {
        let one = |output: u32| Prior { output, window: 1, stride: 1, groups: 1, ..prior };
        let before = if draws.below(8) == 0 {
            self.stem(number, part, draws)
        } else {
            let narrow = draws.one(&[4u32, 8, 16, 16, 24, 32, 48, 64, 96]);
            let input = self.input(number, narrow, prior.size);
            self.conv(&input, one(prior.input))
        };
        let prior = Prior { size: before.size, ..prior };
        let before = match draws.below(2) {
            0 => self.op("Relu", &[&before.name], "", before.channels, before.size),
            _ => before,
        };
        // Behind a stem, something that it can read.
        let prior = match before.channels == prior.input {
            true => prior,
            false => one(draws.channels(8.0, 64.0)),
        };
        let after = self.conv(&before, prior);
        let tail = self.tail(&after, &before, draws);
        // What follows decides the layout of what is before it: a convolution in most networks.
        let tail = match draws.below(5) {
            0 => tail,
            _ => self.conv(&tail, one(draws.channels(8.0, 160.0))),
        };
        let pooled = if tail.size > 1 { self.op("GlobalAveragePool", &[&tail.name], "", tail.channels, 1) } else { tail };
        let last = if draws.below(4) == 0 { self.linear(&pooled, draws) } else { pooled.name };
        self.outputs.push(last);
    }

    fn input(&mut self, number: usize, channels: u32, size: u32) -> Map {
        self.inputs.push(vec![1, channels as usize, size as usize, size as usize]);
        Map { name: format!("%x{number}"), channels, size }
    }

    /// What networks on pictures begin with.
    fn stem(&mut self, number: usize, part: u64, draws: &mut Draws) -> Map {
        let size = match part {
            ..9 => draws.one(&[128u32, 144, 160, 176, 192, 208, 224, 256, 320]),
            _ => draws.one(&[32u32, 32, 48, 64, 96, 128]),
        };
        let window = draws.one(&[3u32, 3, 3, 5, 7]);
        let output = draws.one(&[8u32, 12, 16, 16, 24, 32, 32, 48, 64]);
        let input = self.input(number, 3, size);
        self.conv(&input, Prior { size, input: 3, output, window, stride: 2, groups: 1 })
    }

    fn linear(&mut self, read: &Map, draws: &mut Draws) -> String {
        let columns = draws.one(&[2u32, 10, 64, 100, 256, 1000]);
        let (channels, at) = (read.channels, self.count + 1);
        self.count += 1;
        let weights = if self.numbers == Numbers::Float { "f32" } else { "qi8(0.01, 0)" };
        let elem = self.elem();
        self.lines += &format!("  %f{at} = onnx.Flatten {} : {elem}[1,{channels}]\n", read.name);
        self.lines += &format!("  %m{at} = const rand({at}) : {weights}[{channels},{columns}]\n");
        // Behind the last product with weights numbers are real.
        self.lines += &format!("  %g{at} = onnx.Gemm %f{at}, %m{at} : f32[1,{columns}]\n");
        format!("%g{at}")
    }

    /// Something without weights, or a gate.
    fn tail(&mut self, map: &Map, before: &Map, draws: &mut Draws) -> Map {
        let (channels, size) = (map.channels, map.size);
        let same = |writer: &mut Self, op: &str, attrs: &str| writer.op(op, &[&map.name], attrs, channels, size);
        let pool = " {kernel_shape = [K, K], pads = [P, P, P, P], strides = [S, S]}";
        let window = draws.one(&[2u32, 3, 3, 5]);
        let stride = if size > 4 { draws.one(&[1u32, 2, 2]) } else { 1 };
        let pad = window / 2;
        let attrs = pool.replace('K', &window.to_string()).replace('P', &pad.to_string()).replace('S', &stride.to_string());
        let pooled = (size + 2 * pad - window) / stride + 1;
        match draws.below(19) {
            18 if self.numbers == Numbers::Float => {
                let at = self.count;
                self.lines += &format!("  %k{at} = const 0.5 : f32[]\n");
                let (op, half) = (draws.one(&["Mul", "Add", "Sub", "Div"]), format!("%k{at}"));
                self.op(op, &[&map.name, &half], "", channels, size)
            }
            16 if channels.is_multiple_of(2) => {
                let (half, elem) = (channels / 2, self.elem());
                self.count += 1;
                let (a, b) = (format!("%l{}", self.count), format!("%r{}", self.count));
                let part = format!("{elem}[1,{half},{size},{size}]");
                self.lines += &format!("  {a}, {b} = onnx.Split {} {{axis = 1}} : {part}, {part}\n", map.name);
                self.op("Concat", &[&b, &a], " {axis = 1}", channels, size)
            }
            17 if size <= 56 => {
                let at = self.count;
                self.lines += &format!("  %s{at} = const [1.0, 1.0, 2.0, 2.0] : f32[4]\n");
                let scales = format!("%s{at}");
                let attrs = r#" {mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"}"#;
                self.op("Resize", &[&map.name, "_", &scales], attrs, channels, 2 * size)
            }
            0..=3 => {
                let shortcut =
                    self.conv(map, Prior { size, input: channels, output: channels, window: 1, stride: 1, groups: 1 });
                self.op("Add", &[&shortcut.name, &map.name], "", channels, size)
            }
            4 => {
                let other =
                    self.conv(map, Prior { size, input: channels, output: channels, window: 1, stride: 1, groups: 1 });
                self.op("Mul", &[&other.name, &map.name], "", channels, size)
            }
            5..=7 => self.gate(map, draws),
            8 => same(self, "HardSwish", ""),
            9 | 10 => {
                let gate = same(self, "Sigmoid", "");
                self.op("Mul", &[&map.name, &gate.name], "", channels, size)
            }
            11 => same(self, "LeakyRelu", " {alpha = 0.1}"),
            12 if size > 2 => self.op("MaxPool", &[&map.name], &attrs, channels, pooled),
            13 if size > 2 && self.numbers == Numbers::Float => {
                self.op("AveragePool", &[&map.name], &attrs, channels, pooled)
            }
            13 => same(self, "Sigmoid", ""),
            14 if before.size == size => {
                let sum = channels + before.channels;
                self.op("Concat", &[&map.name, &before.name], " {axis = 1}", sum, size)
            }
            _ => same(self, draws.one(&["Gelu", "Gelu", "Tanh", "Elu", "Relu", "HardSigmoid"]), ""),
        }
    }

    /// Squeeze and excitation.
    fn gate(&mut self, map: &Map, draws: &mut Draws) -> Map {
        let (channels, size) = (map.channels, map.size);
        let part = draws.one(&[2u32, 4, 4, 8]);
        let pooled = self.op("GlobalAveragePool", &[&map.name], "", channels, 1);
        let one = |output: u32| Prior { size: 1, input: 1, output, window: 1, stride: 1, groups: 1 };
        let squeezed = self.conv(&pooled, one((channels / part).max(1)));
        let squeezed = self.op("Relu", &[&squeezed.name], "", squeezed.channels, 1);
        let excited = self.conv(&squeezed, one(channels));
        let gate = self.op(draws.one(&["Sigmoid", "HardSigmoid"]), &[&excited.name], "", channels, 1);
        self.op("Mul", &[&map.name, &gate.name], "", channels, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_networks_are_whole_and_the_same_for_the_same_seed() {
        let target = Target::named("x86-vnni").unwrap();
        let registry = Registry::standard();
        for numbers in [Numbers::Float, Numbers::Stored] {
            for number in 0..6 {
                let draw = || network(&mut Draws::new(3, number), &[], numbers, &target, &registry).unwrap();
                let (drawn, again) = (draw(), draw());
                let bytes = |graph: &Graph| spaceevo_onnx::to_bytes(graph).unwrap();
                assert_eq!(bytes(&drawn.graph), bytes(&again.graph));
                let convolutions = crate::kernels::detect(&drawn.graph, &target).unwrap();
                let convolutions = convolutions.iter().filter(|p| p.kernel.op.ends_with("Conv")).count();
                assert!(convolutions >= 2 * drawn.inputs.len(), "{convolutions}");
                assert!((BRANCHES[0]..=BRANCHES[1]).contains(&drawn.inputs.len()));
            }
        }
    }
}
