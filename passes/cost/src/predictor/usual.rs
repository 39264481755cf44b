//! Whole networks as people run them: stages of the blocks that usual families have, with widths, depths and sizes of image drawn.
//!
//! ```text
//! image ─▶ stem ─▶ stage of blocks, each with a stride of 2 at its beginning ─▶ … ─▶ head
//! ```
//!
//! Kernels come here in the order, with the channel counts and in the caches that networks have: small networks on small images
//! live in near caches, and a map's work falls as its channels grow. Families are alike in what they measure, so each block is a few
//! lines; nothing here is the shape of a published network, but their blocks: MobileNet (Howard et al. 2017, Sandler et al. 2018,
//! Howard et al. 2019), EfficientNet (Tan and Le 2019, 2021), ResNet (He et al. 2016), RegNet (Radosavovic et al. 2020), ShuffleNet (Zhang et al. 2018, Ma et
//! al. 2018), SqueezeNet (Iandola et al. 2016), Inception (Szegedy et al. 2015), CSP with feature pyramids (Lin et al. 2017, Wang et
//! al. 2020), ConvNeXt (Liu et al. 2022).

use super::draw::{Draws, Prior};
use super::network::{Map, Numbers, Writer};

/// Blocks that stages are made of.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    /// Depthwise, then 1x1.
    Separable,
    /// 1x1 to more channels, depthwise, 1x1 back.
    Inverted,
    /// A window to more channels, 1x1 back.
    Fused,
    /// Two 3x3.
    Basic,
    /// 1x1 to fewer channels, 3x3, 1x1 back.
    Bottleneck,
    /// A bottleneck whose 3x3 is in groups.
    Grouped,
    /// 1x1 in groups, depthwise, 1x1 in groups.
    Pointwise,
    /// Half of the channels go around.
    Shuffle,
    /// 1x1 to few channels, 1x1 and 3x3 beside each other.
    Fire,
    /// Four branches beside each other.
    Inception,
    /// Half of the channels go through bottlenecks.
    Partial,
    /// Depthwise 7x7, then matrix products on rows.
    Rows,
}

/// What is between the convolutions of a network.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Activation {
    Clip,
    Hard,
    Smooth,
}

/// Activations, which networks have in this order.
const ACTIVATIONS: [Activation; 7] = [
    Activation::Clip,
    Activation::Hard,
    Activation::Smooth,
    Activation::Clip,
    Activation::Hard,
    Activation::Smooth,
    Activation::Clip,
];
/// Blocks, of which networks have one kind after the other: often those whose kernels are most unlike. Their number, those of
/// [`IMAGES`], [`ACTIVATIONS`] and [`WEIGHTS`], 2 and 3 have no divisor in common, so that each comes in integers and in floats and with
/// all extents.
const KINDS: [Kind; 25] = [
    Kind::Inverted,
    Kind::Bottleneck,
    Kind::Separable,
    Kind::Inverted,
    Kind::Grouped,
    Kind::Inverted,
    Kind::Basic,
    Kind::Shuffle,
    Kind::Inverted,
    Kind::Fused,
    Kind::Partial,
    Kind::Separable,
    Kind::Pointwise,
    Kind::Inverted,
    Kind::Basic,
    Kind::Fire,
    Kind::Grouped,
    Kind::Rows,
    Kind::Inverted,
    Kind::Grouped,
    Kind::Separable,
    Kind::Inception,
    Kind::Fused,
    Kind::Bottleneck,
    Kind::Pointwise,
];
/// Extents of images, which networks have in this order.
const IMAGES: [u32; 17] = [32, 48, 64, 96, 112, 128, 160, 160, 192, 192, 128, 224, 224, 224, 224, 256, 320];
/// Multiply-accumulates behind which no block is begun, of integers and of floats, which are slower.
const MACS: [u64; 2] = [2_400_000_000, 900_000_000];
/// Million weights of deep networks, half as many in float, which networks have in this order; 0 of networks that are not deep.
const WEIGHTS: [u64; 11] = [0, 8, 0, 0, 24, 0, 16, 0, 0, 36, 0];
/// Blocks of the last stage of a deep network at most.
const DEEPEST: usize = 24;

/// What the blocks of a network have in common.
struct Style {
    kind: Kind,
    activation: &'static str,
    /// Behind which stage blocks are gated; none where it is past the last.
    gated: usize,
    gate: &'static str,
    /// How many times as wide the middle of a block is, or as narrow.
    ratio: f64,
    window: u32,
    /// Channels are multiples of it.
    step: u32,
}

fn conv(output: u32, window: u32, stride: u32, groups: u32) -> Prior {
    Prior { size: 0, input: 0, output, window, stride, groups }
}

impl Style {
    fn drawn(kind: Kind, draws: &mut Draws) -> Style {
        let clip = ["Relu", "Relu", "Clip"];
        let (activation, gated, gate) = match draws.in_turn(&ACTIVATIONS) {
            Activation::Clip => (draws.one(&clip), 9, "Sigmoid"),
            Activation::Hard => (draws.one(&["HardSwish", "HardSwish", "PRelu"]), draws.below(3), "HardSigmoid"),
            Activation::Smooth => ("silu", draws.below(3), "Sigmoid"),
        };
        let ratio = match kind {
            Kind::Inverted => draws.one(&[2.0, 3.0, 4.0, 6.0, 6.0]),
            Kind::Fused => draws.one(&[1.0, 2.0, 3.0, 4.0]),
            Kind::Fire => 0.25,
            Kind::Basic => 1.0,
            _ => draws.one(&[0.25, 0.5, 0.5, 1.0]),
        };
        let window = match kind {
            Kind::Inverted | Kind::Separable => draws.one(&[3, 3, 5, 7]),
            Kind::Fused => draws.one(&[3, 3, 3, 5, 7]),
            _ => 3,
        };
        Style { kind, activation, gated, gate, ratio, window, step: draws.one(&[4, 8, 8, 8, 16, 16]) }
    }

    fn wide(&self, channels: f64) -> u32 {
        (channels.round().max(1.0) as u32).next_multiple_of(self.step)
    }
}

impl Writer {
    /// A whole network of a family that is drawn, up to what its head reads. Some are deep, with more weights than a cache holds that
    /// others use, too, and maps of 6 to 14 pixels where they are: of thirty subnets of SpaceEvo's spaces half have 16 to 47 MB,
    /// and whatever is in them takes a tenth longer than in networks of a few MB (AMD EPYC of the Zen 4 kind).
    pub(super) fn usual(&mut self, draws: &mut Draws) -> Map {
        self.of_kind(draws.in_turn(&KINDS), draws)
    }

    fn of_kind(&mut self, kind: Kind, draws: &mut Draws) -> Map {
        let style = Style::drawn(kind, draws);
        let wanted = draws.in_turn(&WEIGHTS) * 1_000_000 / if self.numbers == Numbers::Float { 2 } else { 1 };
        let is_deep = wanted > 0;
        let size = draws.in_turn(&IMAGES).max(if is_deep { 192 } else { 0 });
        let mut channels = f64::from(draws.one(&[8u32, 12, 16, 16, 24, 32, 32, 48, 64]).max(if is_deep { 24 } else { 0 }));
        let mut map = self.picture(size, style.wide(channels), &style, draws);
        let stages = if size < 64 { 3 } else { 4 + usize::from(size > 256) };
        let most = MACS[usize::from(self.numbers == Numbers::Float)];
        let mut fine = Vec::new();
        for stage in 0..stages {
            if stage > 0 || size >= 64 {
                channels *= draws.one(if is_deep { &[2.0, 2.0, 2.5] } else { &[1.0, 1.5, 1.5, 2.0, 2.0] });
            }
            let blocks = match (is_deep, stage + 1 == stages) {
                (false, _) => 1 + draws.below(5),
                (true, false) => 3 + draws.below(4),
                (true, true) => DEEPEST,
            };
            for block in 0..blocks {
                // Later stages have most of the weights.
                let is_full = self.macs * stages as u64 > most * (stage as u64 + 1) || self.is_heavy();
                if is_full || is_deep && self.weights > wanted {
                    break;
                }
                // Where the picture was pooled, the first stage is as fine as it.
                let halves = stage > 0 || size >= 96 && 2 * map.size >= size;
                let stride = if block == 0 && map.size > 3 && halves { 2 } else { 1 };
                map = self.usual_block(&map, style.wide(channels.min(640.0)), stride, &style, stage, draws);
            }
            fine.push(map.clone());
        }
        if style.kind == Kind::Partial || draws.below(6) == 0 {
            self.pyramid(&fine, &style, draws);
        }
        if draws.below(3) == 0 {
            let last = self.conv(&map, conv(style.wide(f64::from(map.channels) * draws.one(&[1.5, 3.0, 4.0])), 1, 1, 1));
            map = self.activated(&last, &style);
        }
        map
    }

    /// The first convolutions. Converters leave them in float where that is faster: few channels in, many pixels out.
    fn picture(&mut self, size: u32, output: u32, style: &Style, draws: &mut Draws) -> Map {
        let window = if style.kind == Kind::Separable { 3 } else { draws.one(&[3u32, 3, 3, 5, 7]) };
        let stride = if size >= 64 { 2 } else { 1 };
        let float = self.numbers == Numbers::Stored && draws.below(2) == 0;
        let numbers = self.numbers;
        if float {
            self.numbers = Numbers::Float;
        }
        let mut map = self.input(3, size);
        if style.kind == Kind::Separable && self.numbers == Numbers::Float {
            // Some are separable from the picture on; three channels have no blocks to run in.
            map = self.conv(&map, conv(3, 3, 1, 3));
        }
        map = self.conv(&map, conv(output, window, stride, 1));
        map = self.activated(&map, style);
        if float {
            // The last float convolution's result is stored.
            let each = map.channels;
            let (weights, bias) = self.weights(&[each, 1, 3, 3], 9, 0, map.scale);
            self.numbers = numbers;
            map = self.convolved(&map, [&weights, &bias], conv(each, 3, 1, each));
        }
        if map.size >= 56 && draws.below(2) == 0 {
            map = self.halved(&map);
        }
        map
    }

    fn activated(&mut self, map: &Map, style: &Style) -> Map {
        match (self.numbers, style.activation) {
            // The type saturates.
            (Numbers::Stored, "Relu" | "Clip") => map.clone(),
            (_, kind) => self.numberwise(map, kind),
        }
    }

    fn active(&mut self, map: &Map, prior: Prior, style: &Style) -> Map {
        let made = self.conv(map, prior);
        self.activated(&made, style)
    }

    fn usual_block(&mut self, map: &Map, output: u32, stride: u32, style: &Style, stage: usize, draws: &mut Draws) -> Map {
        let widens = [Kind::Inverted, Kind::Fused].contains(&style.kind);
        let middle = style.wide(style.ratio * f64::from(if widens { map.channels } else { output }));
        let window = style.window;
        let gated = |writer: &mut Writer, map: &Map, draws: &mut Draws| match stage >= style.gated {
            true => writer.gate(map, style.gate, draws),
            false => map.clone(),
        };
        match style.kind {
            Kind::Separable => {
                let deep = self.active(map, conv(map.channels, window, stride, map.channels), style);
                self.active(&deep, conv(output, 1, 1, 1), style)
            }
            Kind::Inverted | Kind::Fused => {
                let deep = if style.kind == Kind::Fused {
                    self.active(map, conv(middle, window, stride, 1), style)
                } else {
                    let wide = self.active(map, conv(middle, 1, 1, 1), style);
                    self.active(&wide, conv(middle, window, stride, middle), style)
                };
                let deep = gated(self, &deep, draws);
                let made = self.conv(&deep, conv(output, 1, 1, 1));
                if stride == 1 && map.channels == output { self.sum(&made, map) } else { made }
            }
            Kind::Basic | Kind::Bottleneck | Kind::Grouped => {
                let groups =
                    if style.kind == Kind::Grouped { (middle / (draws.one(&[1, 2]) * style.step)).max(1) } else { 1 };
                let middle = middle.next_multiple_of(groups);
                let inner = if style.kind == Kind::Basic {
                    self.active(map, conv(output, 3, stride, 1), style)
                } else {
                    let narrow = self.active(map, conv(middle, 1, 1, 1), style);
                    self.active(&narrow, conv(middle, 3, stride, groups), style)
                };
                let inner = gated(self, &inner, draws);
                let made = self.conv(&inner, conv(output, if style.kind == Kind::Basic { 3 } else { 1 }, 1, 1));
                let same = made.size == map.size && map.channels == output;
                let around = if same { map.clone() } else { self.conv(map, conv(output, 1, stride, 1)) };
                let sum = self.sum(&made, &around);
                self.activated(&sum, style)
            }
            Kind::Pointwise => {
                let groups = draws.one(&[2, 2, 3, 4, 8]);
                let grouped = |channels: u32| channels.next_multiple_of(groups * style.step);
                let (middle, output) = (grouped(middle), grouped(output));
                let read = if map.channels.is_multiple_of(groups) { groups } else { 1 };
                let narrow = self.active(map, conv(middle, 1, 1, read), style);
                let deep = self.conv(&narrow, conv(middle, window, stride, middle));
                let made = self.active(&deep, conv(output, 1, 1, groups), style);
                if stride == 1 && map.channels == output { self.sum(&made, map) } else { made }
            }
            Kind::Shuffle => {
                let half = output.next_multiple_of(2 * style.step) / 2;
                let (left, right) = match stride {
                    1 if map.channels == 2 * half => self.halves(map),
                    _ => {
                        let deep = self.conv(map, conv(map.channels, 3, stride, map.channels));
                        (self.active(&deep, conv(half, 1, 1, 1), style), map.clone())
                    }
                };
                let wide = self.active(&right, conv(half, 1, 1, 1), style);
                let deep = self.conv(&wide, conv(half, 3, stride, half));
                let made = self.active(&deep, conv(half, 1, 1, 1), style);
                let all = self.concat(&[&left, &made], 2 * half, draws);
                self.tail(&all, &all, "shuffle", draws)
            }
            Kind::Fire => {
                let map = if stride == 2 { self.halved(map) } else { map.clone() };
                let narrow = self.active(&map, conv(middle, 1, 1, 1), style);
                let half = output.div_ceil(2);
                let (one, three) =
                    (self.active(&narrow, conv(half, 1, 1, 1), style), self.active(&narrow, conv(half, 3, 1, 1), style));
                self.concat(&[&one, &three], 2 * half, draws)
            }
            Kind::Inception => {
                let map = if stride == 2 { self.halved(map) } else { map.clone() };
                let part = style.wide(f64::from(output) / 4.0);
                let branch = |writer: &mut Writer, windows: &[u32]| {
                    let narrow = conv(style.wide(f64::from(part) / 2.0), 1, 1, 1);
                    let first = writer.active(&map, if windows.is_empty() { conv(part, 1, 1, 1) } else { narrow }, style);
                    windows.iter().fold(first, |map, &window| writer.active(&map, conv(part, window, 1, 1), style))
                };
                let all = [branch(self, &[]), branch(self, &[3]), branch(self, &[5]), branch(self, &[3, 3])];
                self.concat(&all.each_ref(), 4 * part, draws)
            }
            Kind::Partial => {
                let map = if stride == 2 { self.active(map, conv(output, 3, 2, 1), style) } else { map.clone() };
                let half = style.wide(f64::from(output) / 2.0);
                let (around, first) =
                    (self.active(&map, conv(half, 1, 1, 1), style), self.active(&map, conv(half, 1, 1, 1), style));
                let inner = self.active(&first, conv(half, 1, 1, 1), style);
                let inner = self.active(&inner, conv(half, 3, 1, 1), style);
                let sum = self.sum(&inner, &first);
                let all = self.concat(&[&sum, &around], 2 * half, draws);
                self.active(&all, conv(output, 1, 1, 1), style)
            }
            Kind::Rows => {
                let (window, same) = (if stride == 2 { 3 } else { 1 }, stride == 1 && map.channels == output);
                let map = if same { map.clone() } else { self.conv(map, conv(output, window, stride, 1)) };
                let deep = self.conv(&map, conv(map.channels, 7, 1, map.channels));
                let made = self.rows(&deep);
                if made.channels == map.channels { self.sum(&made, &map) } else { made }
            }
        }
    }

    fn sum(&mut self, a: &Map, b: &Map) -> Map {
        self.op("Add", &[&a.name, &b.name], "", a.channels, a.size)
    }

    fn halved(&mut self, map: &Map) -> Map {
        let attrs = " {kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]}";
        self.op("MaxPool", &[&map.name], attrs, map.channels, map.size.div_ceil(2))
    }

    /// What detectors look for things of several sizes with: coarse maps go up to finer ones, and each level has a head.
    fn pyramid(&mut self, fine: &[Map], style: &Style, draws: &mut Draws) {
        let each = style.wide(draws.one(&[32.0, 48.0, 64.0, 96.0]));
        let mut above: Option<Map> = None;
        for map in fine.iter().rev().take(3) {
            let side = self.active(map, conv(each, 1, 1, 1), style);
            let level = match above.filter(|above| 2 * above.size == map.size) {
                Some(above) => {
                    let up = self.twice(&above);
                    let all = self.concat(&[&up, &side], 2 * each, draws);
                    self.active(&all, conv(each, 1, 1, 1), style)
                }
                None => side,
            };
            let deep = self.active(&level, conv(each, 3, 1, draws.one(&[1, each])), style);
            self.view(&deep, draws);
            above = Some(level);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::detect;
    use spaceevo_passes::{Registry, Target};

    #[test]
    fn every_seed_draws_of_all_families_and_extents() {
        let parts = [3, KINDS.len(), IMAGES.len(), ACTIVATIONS.len(), WEIGHTS.len()];
        for seed in [0, 7, 1 << 60] {
            // Of either numbers every other stream.
            let drawn = |first: u64| (0..70).map(move |number| Draws::new(seed, 2 * number + first));
            for first in [0, 1] {
                for part in parts {
                    let list: Vec<usize> = (0..part).collect();
                    let mut times = vec![0usize; part];
                    drawn(first).for_each(|draws| times[draws.in_turn(&list)] += 1);
                    assert!(times.iter().max().unwrap() - times.iter().min().unwrap() <= 1, "{times:?}");
                }
            }
        }
        let is_odd_and_alone = |part: usize| part % 2 == 1 && parts.iter().all(|&other| other == part || other % part > 0);
        assert!(parts.into_iter().all(is_odd_and_alone), "lists are gone through together");
    }

    #[test]
    fn some_networks_have_more_weights_than_a_shared_cache_holds() {
        let weights = |number: u64| {
            let mut writer = Writer::new(Numbers::Stored);
            writer.usual(&mut Draws::new(5, 2 * number + 1));
            writer.weights
        };
        let heavy = (0..60).filter(|&number| weights(number) > 12_000_000).count();
        assert!((5..20).contains(&heavy), "{heavy} of 60");
    }

    #[test]
    fn each_family_is_a_whole_network_in_floats_and_in_integers() {
        let (target, registry) = (Target::named("x86-vnni").unwrap(), Registry::standard());
        for (at, kind) in KINDS.into_iter().enumerate() {
            for numbers in [Numbers::Float, Numbers::Stored] {
                for number in 0..3 {
                    let mut draws = Draws::new(at as u64, number);
                    let mut writer = Writer::new(numbers);
                    let map = writer.of_kind(kind, &mut draws);
                    writer.head(&map, &mut draws);
                    assert!(writer.macs < 4 * MACS[0], "{kind:?} has {} multiply-accumulates", writer.macs);
                    let drawn = writer.drawn(&target, &registry).unwrap_or_else(|d| panic!("{kind:?} {numbers:?}: {d}"));
                    let kernels: Vec<_> = detect(&drawn.graph, &target).unwrap().into_iter().map(|p| p.kernel).collect();
                    let stored = kernels.iter().filter(|kernel| &*kernel.op == "QLinearConv").count();
                    assert_eq!(stored > 0, numbers == Numbers::Stored, "{kind:?}");
                    assert!(kernels.iter().filter(|kernel| kernel.multiplies()).count() > 4, "{kind:?}");
                }
            }
        }
    }
}
