//! Blocks of drawn networks: a convolution like others, an activation, and something that maps are joined, gated or moved by.
//!
//! Both lists are gone through in turns rather than drawn, so that of each kind of op about as many are measured.

use super::draw::{Draws, Prior};
use super::network::{Map, Numbers, Writer};

/// Ops on single numbers. Integer networks have no clips, since types saturate.
const NUMBERWISE: [&str; 16] = [
    "silu",
    "HardSwish",
    "LeakyRelu",
    "Gelu",
    "silu",
    "HardSigmoid",
    "Tanh",
    "scaled",
    "Sigmoid",
    "Elu",
    "PRelu",
    "silu",
    "Clip",
    "BatchNormalization",
    "scalar",
    "Relu",
];
/// What else a block has.
const TAILS: [&str; 15] = [
    "sum", "gate", "pool", "concat", "sum", "gate", "mean", "split", "product", "resize", "rows", "shuffle", "sum", "view",
    "finer",
];

/// What moves numbers about behind that, which few networks have and few kernels would be measured of.
const MOVES: [&str; 7] = ["swap", "enlarge", "fold", "swap", "enlarge", "swap", "fold"];

/// Multiply-accumulates of a 1x1 convolution between blocks at most, of the largest part of a network.
const GLUE: u64 = 200_000_000;

fn one(output: u32) -> Prior {
    Prior { size: 0, input: 0, output, window: 1, stride: 1, groups: 1 }
}

/// With channels in eights, as nearly all networks in float have them.
fn eights(prior: Prior) -> Prior {
    let up = |channels: u32| channels.next_multiple_of(8);
    let groups = if prior.groups > 1 { up(prior.groups) } else { 1 };
    Prior { input: up(prior.input), output: up(prior.output), groups, ..prior }
}

impl Writer {
    /// One block. Some blocks of integer networks are in float, as converters leave them.
    pub(super) fn block(&mut self, read: &Map, number: usize, priors: &[Prior], part: u64, draws: &mut Draws) -> Map {
        self.turn += 1;
        let (numbers, turn) = (self.numbers, self.turn);
        let float = numbers == Numbers::Float || !self.bare && draws.below(9) == 0;
        if float {
            self.numbers = Numbers::Float;
        }
        let mut prior = draws.prior(read.size, priors, part);
        if float && [1, prior.input].contains(&prior.groups) && draws.below(4) > 0 {
            prior = eights(prior);
        }
        let pixels = u64::from(read.size * read.size);
        if pixels * u64::from(read.channels * prior.input) > GLUE / part {
            prior = Prior {
                size: read.size,
                input: read.channels,
                output: read.channels,
                window: 3,
                stride: 1,
                groups: read.channels,
            };
        }
        let wide = if read.channels == prior.input && number > 0 { read.clone() } else { self.conv(read, one(prior.input)) };
        let wide = if draws.below(2) == 0 { self.fused(&wide, draws) } else { wide };
        let made = self.conv(&wide, prior);
        let made = match draws.below(4) {
            0 => self.fused(&made, draws),
            1 | 2 if !self.bare => self.numberwise(&made, NUMBERWISE[turn % NUMBERWISE.len()]),
            _ => made,
        };
        let kind = TAILS[turn % TAILS.len()];
        let made = if self.bare {
            made
        } else {
            let made = self.tail(&made, &wide, kind, draws);
            self.moved(&made, MOVES[turn % MOVES.len()], draws)
        };
        self.numbers = numbers;
        if float && numbers == Numbers::Stored {
            return self.op("Sigmoid", &[&made.name], "", made.channels, made.size);
        }
        match draws.below(3) {
            0 => made,
            rest => {
                let output = draws.channels(8.0, f64::from(made.channels.clamp(16, 320)));
                self.conv(&made, if float && rest == 1 { eights(one(output)) } else { one(output) })
            }
        }
    }

    /// What a float kernel does as it stores its result; of integers the type does it.
    fn fused(&mut self, map: &Map, draws: &mut Draws) -> Map {
        match self.numbers {
            Numbers::Stored => map.clone(),
            Numbers::Float => self.numberwise(map, draws.one(&["Relu", "Relu", "Clip", "HardSwish"])),
        }
    }

    pub(super) fn numberwise(&mut self, map: &Map, kind: &str) -> Map {
        let (channels, size) = (map.channels, map.size);
        let by_channel = format!("[{channels}]");
        let kind = match (self.numbers, kind) {
            (Numbers::Stored, "Clip" | "Relu" | "BatchNormalization") => "silu",
            (_, kind) => kind,
        };
        match kind {
            "silu" => {
                let gate = self.op("Sigmoid", &[&map.name], "", channels, size);
                self.op("Mul", &[&map.name, &gate.name], "", channels, size)
            }
            "scaled" | "PRelu" => {
                // Slopes below zero are written in another way.
                let least = if self.count.is_multiple_of(2) { 0.1 } else { -0.1 };
                let each = self.floats(&format!("[{channels},1,1]"), least, 0.4);
                self.op(if kind == "PRelu" { kind } else { "Mul" }, &[&map.name, &each], "", channels, size)
            }
            "scalar" => {
                let (half, op) = (self.floats("[]", 0.4, 0.6), ["Add", "Sub", "Div", "Mul"][self.count % 4]);
                self.op(op, &[&map.name, &half], "", channels, size)
            }
            "Clip" => {
                let (low, high) = (self.floats("[]", 0.0, 0.0), self.floats("[]", 6.0, 6.0));
                self.op("Clip", &[&map.name, &low, &high], "", channels, size)
            }
            "BatchNormalization" => {
                let each = [[0.5, 1.5], [-0.1, 0.1], [-0.1, 0.1], [0.5, 1.5]].map(|[a, b]| self.floats(&by_channel, a, b));
                // Behind a sum it cannot be folded.
                let sum = self.op("Add", &[&map.name, &map.name], "", channels, size);
                self.op(kind, &[&sum.name, &each[0], &each[1], &each[2], &each[3]], "", channels, size)
            }
            "LeakyRelu" => self.op(kind, &[&map.name], " {alpha = 0.1}", channels, size),
            _ => self.op(kind, &[&map.name], "", channels, size),
        }
    }

    pub(super) fn tail(&mut self, map: &Map, before: &Map, kind: &str, draws: &mut Draws) -> Map {
        let (channels, size) = (map.channels, map.size);
        let float = self.numbers == Numbers::Float;
        match kind {
            "gate" => {
                let gate = draws.one(&["Sigmoid", "HardSigmoid"]);
                self.gate(map, gate, draws)
            }
            "pool" | "mean" if size > 4 => {
                let window = draws.one(&[2u32, 3, 3, 5]);
                let (stride, pad) = (draws.one(&[1u32, 2, 2]), window / 2);
                let attrs = format!(
                    " {{kernel_shape = [{window}, {window}], pads = [{pad}, {pad}, {pad}, {pad}], strides = [{stride}, {stride}]}}"
                );
                // Of integers the converter makes a convolution.
                let op = if kind == "mean" && float { "AveragePool" } else { "MaxPool" };
                self.op(op, &[&map.name], &attrs, channels, (size + 2 * pad - window) / stride + 1)
            }
            "concat" if before.size == size => {
                let all = self.concat(&[map, before], channels + before.channels, draws);
                self.conv(&all, one(channels))
            }
            "split" if channels.is_multiple_of(2) => {
                let half = channels / 2;
                let (left, right) = self.halves(map);
                let left = self.conv(&left, one(half));
                let third = self.conv(&right, one(half));
                let all = match draws.below(2) {
                    0 => self.concat(&[&left, &right], channels, draws),
                    _ => self.concat(&[&left, &right, &third], channels + half, draws),
                };
                self.conv(&all, one(channels))
            }
            "product" => {
                let other = self.conv(map, one(channels));
                self.op("Mul", &[&other.name, &map.name], "", channels, size)
            }
            "resize" if size <= 56 => {
                let fine = self.twice(map);
                self.coarse(&fine)
            }
            "finer" if size <= 40 => self.finer(map, draws),
            "rows" => self.rows(map),
            "shuffle" if channels.is_multiple_of(4) => {
                let (s, half) = (i64::from(size), i64::from(channels / 2));
                let (apart, together) = (self.ints(&[1, 2, half, s, s]), self.ints(&[1, 2 * half, s, s]));
                let five = self.value("Reshape", &[&map.name, &apart], "", &format!("[1,2,{half},{s},{s}]"));
                let turned =
                    self.value("Transpose", &[&five], " {perm = [0, 2, 1, 3, 4]}", &format!("[1,{half},2,{s},{s}]"));
                self.op("Reshape", &[&turned, &together], "", channels, size)
            }
            "view" => {
                self.view(map, draws);
                map.clone()
            }
            _ if before.size == size && before.channels == channels && draws.below(2) == 0 => {
                self.op("Add", &[&map.name, &before.name], "", channels, size)
            }
            _ => {
                // Of a map that was made before: it is no longer in a near cache.
                let stride = if before.size > size { 2 } else { 1 };
                let shortcut = self.conv(before, Prior { stride, ..one(channels) });
                self.op("Add", &[&map.name, &shortcut.name], "", channels, size)
            }
        }
    }

    /// The same map, after its halves have changed places, after each pixel was there several times, or with pixels as channels on the way.
    fn moved(&mut self, map: &Map, kind: &str, draws: &mut Draws) -> Map {
        let (channels, size) = (map.channels, map.size);
        match kind {
            "swap" if channels.is_multiple_of(2) => {
                let (left, right) = self.halves(map);
                self.concat(&[&right, &left], channels, draws)
            }
            "enlarge" if size <= 40 => {
                let fine = match self.numbers {
                    Numbers::Float if draws.below(2) == 0 => self.twice_between(map),
                    _ => self.twice(map),
                };
                self.op("MaxPool", &[&fine.name], " {kernel_shape = [2, 2], strides = [2, 2]}", channels, size)
            }
            "fold" if size.is_multiple_of(2) => {
                let half = self.op("SpaceToDepth", &[&map.name], " {blocksize = 2}", 4 * channels, size / 2);
                self.op("DepthToSpace", &[&half.name], " {blocksize = 2}", channels, size)
            }
            _ => map.clone(),
        }
    }

    /// The first and the second half of the channels, of which there is an even number.
    pub(super) fn halves(&mut self, map: &Map) -> (Map, Map) {
        let half = Map { channels: map.channels / 2, ..map.clone() };
        let (a, b) = self.split(&map.name, 1, &half.dims());
        (Map { name: a, ..half.clone() }, Map { name: b, ..half })
    }

    /// Both halves along an axis, with the extents `dims` each.
    fn split(&mut self, whole: &str, axis: usize, dims: &str) -> (String, String) {
        self.count += 1;
        let (a, b) = (format!("%l{}", self.count), format!("%r{}", self.count));
        let ty = format!("{}{dims}", self.elem());
        self.lines += &format!("  {a}, {b} = onnx.Split {whole} {{axis = {axis}}} : {ty}, {ty}\n");
        (a, b)
    }

    /// Each pixel four times.
    pub(super) fn twice(&mut self, map: &Map) -> Map {
        self.resized(map, r#"mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor""#)
    }

    /// Between pixels what lies between them.
    fn twice_between(&mut self, map: &Map) -> Map {
        self.resized(map, r#"mode = "linear", coordinate_transformation_mode = "pytorch_half_pixel""#)
    }

    fn resized(&mut self, map: &Map, how: &str) -> Map {
        self.count += 1;
        let scales = format!("%s{}", self.count);
        self.lines += &format!("  {scales} = const [1.0, 1.0, 2.0, 2.0] : f32[4]\n");
        let attrs = format!(" {{{how}}}");
        self.op("Resize", &[&map.name, "_", &scales], &attrs, map.channels, 2 * map.size)
    }

    /// Maps beside each other. Some were stored with other scales than they are together.
    pub(super) fn concat(&mut self, maps: &[&Map], channels: u32, draws: &mut Draws) -> Map {
        let names: Vec<&str> = maps.iter().map(|map| map.name.as_str()).collect();
        let usual = self.scale;
        self.scale *= draws.one(&[1.0, 1.0, 1.5]);
        let all = self.op("Concat", &names, " {axis = 1}", channels, maps[0].size);
        self.scale = usual;
        all
    }

    /// Squeeze and excitation.
    pub(super) fn gate(&mut self, map: &Map, gate: &str, draws: &mut Draws) -> Map {
        let (channels, size) = (map.channels, map.size);
        let part = draws.one(&[2u32, 4, 4, 8, 16]);
        let pooled = self.op("GlobalAveragePool", &[&map.name], "", channels, 1);
        let squeezed = self.conv(&pooled, one((channels / part).max(1)));
        let squeezed = self.fused(&squeezed, draws);
        let excited = self.conv(&squeezed, one(channels));
        let gate = self.op(gate, &[&excited.name], "", channels, 1);
        self.op("Mul", &[&map.name, &gate.name], "", channels, size)
    }

    /// Back from a map twice as wide.
    fn coarse(&mut self, map: &Map) -> Map {
        self.conv(map, Prior { size: 0, input: 0, output: map.channels, window: 3, stride: 2, groups: map.channels })
    }

    /// A map twice as wide by a transposed convolution or out of channels, and back.
    fn finer(&mut self, map: &Map, draws: &mut Draws) -> Map {
        let (channels, size) = (map.channels.clamp(4, 64), map.size);
        if draws.below(2) == 0 {
            let coarse = self.conv(map, one(4 * channels));
            let fine = self.op("DepthToSpace", &[&coarse.name], " {blocksize = 2}", channels, 2 * size);
            return self.coarse(&fine);
        }
        let narrow = self.conv(map, one(channels));
        let numbers = std::mem::replace(&mut self.numbers, Numbers::Float);
        let most = (3.0 / channels as f32).sqrt();
        let weights = self.floats(&format!("[{channels},{channels},2,2]"), -most, most);
        self.numbers = numbers;
        let attrs = " {kernel_shape = [2, 2], strides = [2, 2]}";
        let fine = self.op("ConvTranspose", &[&narrow.name, &weights], attrs, channels, 2 * size);
        self.coarse(&fine)
    }

    /// What a ConvNeXt does: channels are last, normalized, and go through two matrix products.
    pub(super) fn rows(&mut self, map: &Map) -> Map {
        let (channels, size) = (map.channels.min(160), map.size);
        let map = if channels == map.channels { map.clone() } else { self.conv(map, one(channels)) };
        let numbers = std::mem::replace(&mut self.numbers, Numbers::Float);
        let pixels = size * size;
        let dims = |channels: u32| format!("[{pixels},{channels}]");
        let each = |channels: u32| format!("[{channels}]");
        let all = format!("[1,{size},{size},{channels}]");
        let turned = self.value("Transpose", &[&map.name], " {perm = [0, 2, 3, 1]}", &all);
        let flat = self.ints(&[i64::from(pixels), i64::from(channels)]);
        let last = self.value("Reshape", &[&turned, &flat], "", &dims(channels));
        let (scale, shift) = (self.floats(&each(channels), 0.5, 1.5), self.floats(&each(channels), -0.1, 0.1));
        let mut value = self.value("LayerNormalization", &[&last, &scale, &shift], " {axis = -1}", &dims(channels));
        let wide = 2 * channels;
        for (rows, columns) in [(channels, wide), (wide, channels)] {
            let (weights, bias) = self.weights(&[rows, columns], rows, 1, map.scale);
            let product = self.value("MatMul", &[&value, &weights], "", &dims(columns));
            value = self.value("Add", &[&product, &bias], "", &dims(columns));
            if columns == wide {
                value = self.value("Gelu", &[&value], "", &dims(columns));
            }
        }
        let sum = self.value("Add", &[&value, &last], "", &dims(channels));
        let whole = self.ints(&[1, i64::from(size), i64::from(size), i64::from(channels)]);
        let sum = self.value("Reshape", &[&sum, &whole], "", &all);
        let plain = self.value("Transpose", &[&sum], " {perm = [0, 3, 1, 2]}", &map.dims());
        self.numbers = numbers;
        let half = self.floats("[]", 0.4, 0.6);
        self.op("Mul", &[&plain, &half], "", channels, size)
    }

    /// What detectors return of a map: a part of it, one row for each pixel.
    pub(super) fn view(&mut self, map: &Map, draws: &mut Draws) {
        let columns = draws.one(&[2u32, 4, 10, 14, 16, 80]);
        let size = map.size;
        let found = self.conv(map, one(columns));
        let numbers = std::mem::replace(&mut self.numbers, Numbers::Float);
        let all = format!("[1,{size},{size},{columns}]");
        let last = self.value("Transpose", &[&found.name], " {perm = [0, 2, 3, 1]}", &all);
        let rows = size * size;
        let shape = self.ints(&[1, i64::from(rows), i64::from(columns)]);
        let flat = self.value("Reshape", &[&last, &shape], "", &format!("[1,{rows},{columns}]"));
        let half = i64::from(columns / 2);
        let [part, dims] = [half, 2 * half].map(|columns| format!("[1,{rows},{columns}]"));
        let left = if draws.below(2) == 0 {
            let [from, to, axis] = [[0], [half], [2]].map(|number: [i64; 1]| self.ints(&number));
            self.value("Slice", &[&flat, &from, &to, &axis], "", &part)
        } else {
            self.split(&flat, 2, &part).0
        };
        let op = draws.one(&["Softmax", "Sigmoid", "Exp"]);
        let mut made = self.value(op, &[&left], "", &part);
        if draws.below(2) == 0 {
            // Corners of a middle and an extent, in pairs.
            made = self.value("Concat", &[&made, &left], " {axis = 2}", &dims);
        }
        self.outputs.push(made);
        self.numbers = numbers;
    }
}
