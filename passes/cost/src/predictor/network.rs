//! Networks to measure kernels in. Two of three are of usual families ([`super::usual`]), of the others what they are made of is drawn:
//!
//! ```text
//! image ─▶ stem ─▶ block ─▶ block ─▶ … ─▶ global pool ─▶ Gemm ─▶ Gemm        maps become smaller on the way
//! block: 1x1 ─▶ what was drawn ─▶ an activation ─▶ 1x1 ─▶ a sum, gate, pool, … ([`super::blocks`])
//! ```
//!
//! Half of the drawn ones are convolutions only: these are most of what networks do, and there are more ways to be one.
//!
//! So each kernel reads what the one before has just made, in the layout in which the runtime keeps it, and weights come from
//! where they are when a whole network has run in between. A kernel in a network of its own would have neither. And a drawn
//! network is a network: what it takes beside its kernels is what others take, too ([`super::Overhead`]).

use spaceevo_ir::text::{self, NoBlobs};
use spaceevo_ir::{Diagnostic, Graph, Loc, Tensor};
use spaceevo_passes::{Manager, Pipeline, Registry, Target};

use super::draw::{Draws, MAP, Prior};

/// What a network computes with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Numbers {
    /// 32-bit floats.
    Float,
    /// Bytes, as the target stores them.
    Stored,
}

impl Numbers {
    /// What a graph computes with: bytes, where some are made.
    pub fn of(graph: &Graph) -> Numbers {
        let stored = graph.ops_in(graph.body()).any(|op| &*graph.op(op).name().op == "QuantizeLinear");
        if stored { Numbers::Stored } else { Numbers::Float }
    }
}

/// Blocks of a network, at least and at most: what a network takes beside its kernels shows in how many it has.
const BLOCKS: [usize; 2] = [1, 17];
/// Weights behind which no block is begun: few networks for devices have more.
const WEIGHTS: u64 = 40_000_000;
/// Scale of stored numbers: 3 is whole steps of it, as of most of what a hard swish reads in a converted network.
const SCALE: f32 = 0.04;
/// One of which 3 is no whole steps: there a hard swish has a sum of its own.
const UNEVEN: f32 = 0.047;
/// Extents of images.
const IMAGES: [u32; 14] = [32, 48, 64, 96, 128, 144, 160, 176, 192, 208, 224, 224, 320, 416];
/// A network to measure, and what it is given.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// As a runtime gets it.
    pub graph: Graph,
    /// One tensor per input.
    pub inputs: Vec<Tensor>,
}

/// The network beside which everything is timed: blocks of a mobile network on small maps, 0.4 ms of them. Always the same,
/// so that what it takes says how fast the machine is at the moment.
///
/// Its weights are more than a near cache holds, as those of most networks are. Who else uses caches and memory slows these down
/// together, for minutes, and what only calculates much less. In three minutes on an AMD EPYC of the Zen 4 kind the smallest subnets of
/// SpaceEvo varied by 10 %, beside convolutions that only calculate by 8 to 9, beside this network by 7; large networks by 2 to 3, and
/// beside it by 1.5. A wider one does more for the former and less for the latter. One in integers and one in floats: who else uses a
/// core slows floats down by more, and networks in floats calculate longer with each weight, so that theirs has fewer.
///
/// Errors: those of [`network`].
pub fn reference(numbers: Numbers, target: &Target, registry: &Registry) -> Result<Drawn, Diagnostic> {
    let mut writer = Writer::new(numbers);
    let channels = |n: u32| if numbers == Numbers::Float { n / 2 } else { n / 4 * 3 };
    let prior = |output, window, stride, groups| Prior { size: 0, input: 0, output, window, stride, groups };
    let mut map = writer.input(32, 28);
    for (wide, window, stride, narrow) in
        [(192, 3, 2, 64), (384, 3, 1, 96), (576, 5, 2, 160), (960, 5, 1, 160), (960, 3, 1, 320)]
    {
        let (wide, narrow) = (channels(wide), channels(narrow));
        for prior in [prior(wide, 1, 1, 1), prior(wide, window, stride, wide), prior(narrow, 1, 1, 1)] {
            map = writer.conv(&map, prior);
        }
    }
    let pooled = writer.op("GlobalAveragePool", &[&map.name], "", map.channels, 1);
    let wide = writer.conv(&pooled, prior(channels(1280), 1, 1, 1));
    let last = writer.conv(&wide, prior(channels(1000), 1, 1, 1));
    writer.outputs.push(last.name);
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
    let mut writer = Writer::new(numbers);
    writer.pairs = draws.below(2) == 0;
    writer.scale = draws.one(&[SCALE, SCALE, UNEVEN]);
    if draws.in_turn(&[true, true, false]) {
        let map = writer.usual(draws);
        writer.head(&map, draws);
        return writer.drawn(target, registry);
    }
    // Small networks live in nearer caches than large ones.
    let part = draws.one(&[1u64, 1, 2, 2, 6, 20, 60, 200]);
    writer.turn = draws.below(720);
    writer.bare = draws.below(2) == 0;
    let mut map = writer.stem(part, draws);
    for block in 0..BLOCKS[0] + draws.below(BLOCKS[1] - BLOCKS[0] + 1) {
        if writer.is_heavy() {
            break;
        }
        map = writer.block(&map, block, priors, part, draws);
        if map.size > 6 && draws.below(3) == 0 {
            let output = draws.channels(16.0, 160.0);
            map = writer.conv(&map, Prior { size: 0, input: 0, output, window: 3, stride: 2, groups: 1 });
        }
    }
    writer.head(&map, draws);
    writer.drawn(target, registry)
}

/// Numbers between -1 and 1, no two alike: multiples of the golden ratio fill an interval evenly.
pub(super) fn filled(dims: &[usize]) -> Tensor {
    let count: usize = dims.iter().product();
    let number = |at: usize| ((at as f32 * 0.618_034).fract() - 0.5) * 2.0;
    Tensor::new(dims, (0..count).map(number).collect::<Vec<f32>>())
}

/// Writes a network as text.
pub(super) struct Writer {
    pub(super) lines: String,
    pub(super) outputs: Vec<String>,
    pub(super) numbers: Numbers,
    /// Values written so far.
    pub(super) count: usize,
    /// Which kind of block is next.
    pub(super) turn: usize,
    /// Blocks are convolutions only.
    pub(super) bare: bool,
    /// Converters write a stored SiLU either way: as a pair of look-up and product, or as one operator in float.
    pairs: bool,
    /// Scale of stored numbers that are written next.
    pub(super) scale: f32,
    /// Weights written so far.
    pub(super) weights: u64,
    /// Multiply-accumulates of convolutions written so far.
    pub(super) macs: u64,
    /// Extents and what the numbers are.
    inputs: Vec<(Vec<usize>, String)>,
}

/// A map within the text.
#[derive(Clone)]
pub(super) struct Map {
    pub(super) name: String,
    pub(super) channels: u32,
    pub(super) size: u32,
    /// Of its numbers, where they are stored.
    pub(super) scale: f32,
}

impl Map {
    pub(super) fn dims(&self) -> String {
        format!("[1,{},{s},{s}]", self.channels, s = self.size)
    }
}

impl Writer {
    pub(super) fn new(numbers: Numbers) -> Writer {
        let (lines, inputs, outputs) = (String::new(), Vec::new(), Vec::new());
        Writer {
            lines,
            inputs,
            outputs,
            numbers,
            count: 0,
            turn: 0,
            bare: false,
            pairs: false,
            scale: SCALE,
            weights: 0,
            macs: 0,
        }
    }

    pub(super) fn drawn(&self, target: &Target, registry: &Registry) -> Result<Drawn, Diagnostic> {
        let source = self.source();
        let parsed = text::parse(&source, "drawn network", &NoBlobs);
        let mut graph = match (parsed.graph, parsed.diagnostics.into_iter().next()) {
            (Some(graph), None) => graph,
            (_, problem) => return Err(problem.unwrap_or_else(|| Diagnostic::error("internal", Loc::Unknown, source))),
        };
        if self.numbers == Numbers::Stored {
            // What chooses by price or pads all channels would measure something else than what was drawn.
            let free = Target { prices: None, groups: None, ..target.clone() };
            let silu = if self.pairs { "" } else { "lower-silu," };
            let lower = format!(
                "infer-shapes,pad-stem,pair-pixels,{silu}lower-gelu,lower-prelu,lower-hard-sigmoid,lower-hard-swish,clip-sums,tile-gates,\
                 lower-qoperator,drop-dead"
            );
            let run = Manager::new(registry, &free).run(&Pipeline::parse(&lower, registry)?, &mut graph, None);
            if let Some(problem) = run.errors().next() {
                return Err(problem.clone());
            }
        }
        Ok(Drawn { inputs: self.inputs.iter().map(|(dims, _)| filled(dims)).collect(), graph })
    }

    pub(super) fn elem(&self) -> String {
        if self.numbers == Numbers::Float { "f32".to_owned() } else { format!("qu8({:?}, 128)", self.scale) }
    }

    fn source(&self) -> String {
        let input = |(at, (dims, elem)): (usize, &(Vec<usize>, String))| {
            let dims = dims.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
            format!("%x{at}: {elem}[{dims}]")
        };
        let inputs: Vec<String> = self.inputs.iter().enumerate().map(input).collect();
        let outputs = self.outputs.join(", ");
        format!(
            "graph @drawn({}) with {{opset = 17, \"com.microsoft\" = 1}} {{\n{}  return {outputs}\n}}\n",
            inputs.join(", "),
            self.lines
        )
    }

    /// A constant of floats between two bounds; the name.
    pub(super) fn floats(&mut self, dims: &str, low: f32, high: f32) -> String {
        self.count += 1;
        let at = self.count;
        self.lines += &format!("  %c{at} = const rand({at}, {low:?}, {high:?}) : f32{dims}\n");
        format!("%c{at}")
    }

    /// A constant of whole numbers; the name.
    pub(super) fn ints(&mut self, numbers: &[i64]) -> String {
        self.count += 1;
        self.lines += &format!("  %c{} = const {numbers:?} : i64[{}]\n", self.count, numbers.len());
        format!("%c{}", self.count)
    }

    /// Any op, whose result has the extents `dims`.
    pub(super) fn value(&mut self, op: &str, reads: &[&str], attrs: &str, dims: &str) -> String {
        self.count += 1;
        let (name, elem) = (format!("%v{}", self.count), self.elem());
        let domain = if op == "Gelu" { "com.microsoft" } else { "onnx" };
        self.lines += &format!("  {name} = {domain}.{op} {}{attrs} : {elem}{dims}\n", reads.join(", "));
        name
    }

    /// An op that makes a map.
    pub(super) fn op(&mut self, op: &str, reads: &[&str], attrs: &str, channels: u32, size: u32) -> Map {
        let map = Map { name: String::new(), channels, size, scale: self.scale };
        Map { name: self.value(op, reads, attrs, &map.dims()), ..map }
    }

    /// A convolution with a bias, as nearly all have that were a convolution and a normalization; weights have a scale for each
    /// channel, as converters write them.
    pub(super) fn conv(&mut self, read: &Map, prior: Prior) -> Map {
        let Prior { output, window, groups, .. } = prior;
        let each = read.channels / groups;
        let (weights, bias) = self.weights(&[output, each, window, window], each * window * window, 0, read.scale);
        self.convolved(read, [&weights, &bias], prior)
    }

    /// A convolution by given weights and bias.
    pub(super) fn convolved(&mut self, read: &Map, [weights, bias]: [&str; 2], prior: Prior) -> Map {
        let Prior { output, window, stride, groups, .. } = prior;
        let pad = window / 2;
        let size = (read.size + 2 * pad - window) / stride + 1;
        self.macs += u64::from(size * size) * u64::from(output * window * window) * u64::from(read.channels / groups);
        let attrs = format!(
            " {{kernel_shape = [{window}, {window}], pads = [{pad}, {pad}, {pad}, {pad}], strides = [{stride}, {stride}], group = {groups}}}"
        );
        self.op("Conv", &[&read.name, weights, bias], &attrs, output, size)
    }

    /// Weights and bias of what reads numbers of scale `read`; results lie along `axis`, and each is a sum of `terms`, whose spread
    /// stays what it was.
    pub(super) fn weights(&mut self, dims: &[u32], terms: u32, axis: usize, read: f32) -> (String, String) {
        let results = dims[axis];
        self.weights += dims.iter().map(|&extent| u64::from(extent)).product::<u64>();
        if self.numbers == Numbers::Float {
            let most = (3.0 / terms.max(1) as f32).sqrt();
            return (self.floats(&format!("{dims:?}"), -most, most), self.floats(&format!("[{results}]"), -0.1, 0.1));
        }
        self.count += 1;
        let at = self.count;
        let scale = |channel: u32, times: f32| format!("{:?}", times * (1.0 + (channel % 7) as f32 / 8.0));
        let scales = |times: f32| (0..results).map(|channel| scale(channel, times)).collect::<Vec<_>>().join(", ");
        self.lines += &format!("  %w{at} = const rand({at}) : qi8(axis {axis}, [{}], 0){dims:?}\n", scales(0.007_812_5));
        self.lines += &format!("  %b{at} = const splat(7) : qi32(axis 0, [{}], 0)[{results}]\n", scales(read * 0.007_812_5));
        (format!("%w{at}"), format!("%b{at}"))
    }

    /// True where so many weights were written that no further block is begun.
    pub(super) fn is_heavy(&self) -> bool {
        self.weights > WEIGHTS
    }

    pub(super) fn input(&mut self, channels: u32, size: u32) -> Map {
        self.inputs.push((vec![1, channels as usize, size as usize, size as usize], self.elem()));
        Map { name: format!("%x{}", self.inputs.len() - 1), channels, size, scale: self.scale }
    }

    /// What networks on pictures begin with.
    fn stem(&mut self, part: u64, draws: &mut Draws) -> Map {
        let output = draws.one(&[8u32, 12, 16, 16, 24, 32, 32, 48, 64]);
        // The map behind the stem is at most half of what a map may be.
        let fits = |size: &u32| u64::from(size * size / 4 * output) <= MAP / part / 2;
        let images: Vec<u32> = IMAGES.into_iter().filter(fits).collect();
        let size = if images.is_empty() { IMAGES[0] } else { draws.one(&images) };
        let window = draws.one(&[3u32, 3, 3, 5, 7]);
        let input = self.input(3, size);
        self.conv(&input, Prior { size, input: 3, output, window, stride: if size > 48 { 2 } else { 1 }, groups: 1 })
    }

    /// What networks that name classes end in.
    pub(super) fn head(&mut self, map: &Map, draws: &mut Draws) {
        let mut pooled =
            if map.size > 1 { self.op("GlobalAveragePool", &[&map.name], "", map.channels, 1) } else { map.clone() };
        if draws.below(3) == 0 {
            let output = draws.one(&[512u32, 768, 1024, 1280, 1536, 1920]);
            pooled = self.conv(&pooled, Prior { size: 1, input: 0, output, window: 1, stride: 1, groups: 1 });
            pooled = self.numberwise(&pooled, draws.one(&["HardSwish", "silu"]));
        }
        let mut rows = pooled.channels;
        let mut read = self.value("Flatten", &[&pooled.name], "", &format!("[1,{rows}]"));
        for _ in 0..draws.below(3) {
            let columns = draws.one(&[8u32, 16, 32, 64, 128, 256, 480, 640, 1024, 1280, 1536, 1920]);
            let (weights, bias) = self.weights(&[rows, columns], rows, 1, self.scale);
            read = self.value("Gemm", &[&read, &weights, &bias], "", &format!("[1,{columns}]"));
            rows = columns;
        }
        let columns = draws.one(&[2u32, 10, 100, 256, 1000, 1000]);
        let (weights, bias) = self.weights(&[rows, columns], rows, 1, self.scale);
        self.count += 1;
        // Behind the last product with weights numbers are real.
        self.lines += &format!("  %g{} = onnx.Gemm {read}, {weights}, {bias} : f32[1,{columns}]\n", self.count);
        self.outputs.push(format!("%g{}", self.count));
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
                assert!(convolutions > 2 * BLOCKS[0], "{convolutions}");
                assert_eq!(drawn.inputs.len(), 1);
            }
        }
    }

    #[test]
    fn networks_like_the_widest_convolutions_are_drawn() {
        let (target, registry) = (Target::named("x86-vnni").unwrap(), Registry::standard());
        let wide = |size| Prior { size, input: 1843, output: 1820, window: 5, stride: 1, groups: 1 };
        let priors = [1, 2, 4, 7, 14].map(wide);
        for number in 0..12 {
            network(&mut Draws::new(5, number), &priors, Numbers::Stored, &target, &registry).unwrap();
        }
    }
}
