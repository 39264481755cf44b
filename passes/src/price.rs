//! What an op costs on a target: the table `[prices]` of its file, which `spaceevo-opt measure-ops` fills.
//!
//! ```text
//! time = call + work / speed(width)        nanoseconds; work per nanosecond
//! ```
//!
//! Work is products for ops with weights, taps for pools, and numbers of the larger side for all others. Width is what the
//! speed of a kernel depends on most: channels of a depthwise convolution, a pool or a gate, the geometric mean of what a product reads
//! and makes for other ops with weights (of a 1x1 convolution the harmonic one, of a stem that of products a number and
//! filters), and for the rest the numbers themselves, since large maps leave the processor's caches. A table is a model of the
//! first order: who decides by it asks for more than its `margin`.
//!
//! An op that a pass writes as others once it is stored has the price of those. The kinds are `conv1x1`, `conv`, `depthwise`,
//! `stem` (a convolution of several taps that reads at most three channels; without a price, a `conv`), `pixel` (a 1x1
//! convolution of a map of one number a channel; without a price, a `conv1x1`), `gate` (a product of a map and such a one;
//! without a price, an `onnx.Mul`), `silu` (a sigmoid and its product with what it reads), [`PLAIN_POOL`], names of operators,
//! and among the integer ones [`IMAGE`], [`QUANTIZE`], [`DEQUANTIZE`], [`LAYOUT`], [`PIXEL_LAYOUT`] and [`TRANSPOSE`].

mod load;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spaceevo_ir::{Dim, Graph, OpId, ValueId};

use self::load::Load;
use crate::analysis::map_extents;
use crate::passes::lower_avg_pool::Window;
use crate::target::{Provenance, Target};

/// The kind of a conversion from float to stored numbers; work is numbers.
pub const QUANTIZE: &str = "onnx.QuantizeLinear";
/// The kind of a conversion from stored numbers to float.
pub const DEQUANTIZE: &str = "onnx.DequantizeLinear";
/// What a conversion costs more when a convolution is at its float end: a tensor changes its layout, from that of integer
/// convolutions to the plain one and on to that of float ones.
pub const LAYOUT: &str = "layout";
/// [`LAYOUT`] of a map of one number a channel: no number moves, but ops are called that would move them. Without a price, nothing.
pub const PIXEL_LAYOUT: &str = "pixel-layout";
/// What it takes to bring stored numbers from the layout of integer convolutions to the plain one, or back; work is numbers.
pub const TRANSPOSE: &str = "transpose";
/// A max pool in the plain layout; work is taps. In float it is one of a map whose channels are no whole blocks
/// ([`Prices::block`]), behind a convolution that makes it in blocks and before one that reads it so, layouts changed.
pub const PLAIN_POOL: &str = "plain-pool";
/// The kind of `x * sigmoid(x)`.
pub const SILU: &str = "silu";
/// The kind of a 1x1 convolution of a map of one number a channel: its time is that of reading its weights.
pub const PIXEL: &str = "pixel";
/// The kind of a convolution that reads the channels of an image: none of its kernels has all its lanes filled by them.
pub const STEM: &str = "stem";
/// What it takes to bring an image into the layout of an integer stem; work is its numbers.
pub const IMAGE: &str = "image";
/// The kind of a product of a map and one number a channel, whose speed depends on how many channels lie side by side.
pub const GATE: &str = "gate";

/// More than any network has: a file may claim what it likes, and every divisor is tried.
pub(crate) const MOST_GROUPS: i64 = 1 << 16;

/// A quantity that depends on a width: rising widths, each with a positive number.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(try_from = "Vec<(usize, f64)>", into = "Vec<(usize, f64)>")]
pub struct Curve(Vec<(usize, f64)>);

impl Curve {
    /// The number at a width: between two entries on the line through their logarithms, beyond the ends as there.
    pub fn at(&self, width: f64) -> f64 {
        let next = self.0.partition_point(|(w, _)| (*w as f64) < width);
        let entry = |index: usize| self.0.get(index).map(|&(w, y)| (w as f64, y));
        match (next.checked_sub(1).and_then(entry), entry(next)) {
            (Some((low, from)), Some((high, to))) => from * (to / from).powf((width / low).ln() / (high / low).ln()),
            (Some((_, y)), None) | (None, Some((_, y))) => y,
            (None, None) => 1.0,
        }
    }

    /// So many times the numbers.
    pub fn times(&self, factor: f64) -> Curve {
        self.map(|_, y| y * factor)
    }

    /// Another number for each entry, of its width and its number; they must be positive.
    pub fn map(&self, number: impl Fn(f64, f64) -> f64) -> Curve {
        Curve(self.0.iter().map(|&(width, y)| (width, number(width as f64, y))).collect())
    }
}

impl TryFrom<Vec<(usize, f64)>> for Curve {
    type Error = String;

    fn try_from(entries: Vec<(usize, f64)>) -> Result<Self, String> {
        let rising = entries.is_sorted_by(|a, b| a.0 < b.0);
        if entries.is_empty() || !rising || !entries.iter().all(|&(w, y)| w > 0 && y > 0.0 && y.is_finite()) {
            return Err("write rising widths, each with a positive number: [[16, 0.5], [32, 0.9]]".into());
        }
        Ok(Curve(entries))
    }
}

impl From<Curve> for Vec<(usize, f64)> {
    fn from(curve: Curve) -> Self {
        curve.0
    }
}

/// The price of one kind of kernel.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Nanoseconds of a call, whatever its size.
    pub call: f64,
    /// Work per nanosecond, by width.
    pub speed: Curve,
}

/// A float op that is done by the kernel of a convolution as it stores its result.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Fused {
    /// The convolution.
    pub maker: OpId,
    /// What the op adds to its time.
    pub nanos: f64,
}

/// Something that knows what ops cost: the table of a target, or a predictor. All times are nanoseconds; `None` where nothing is
/// known, the shape of an operand perhaps.
pub trait Pricing: std::fmt::Debug + Send + Sync {
    /// By how much float must win before an op that could run in integers does not, as a part of its time in float.
    fn margin(&self) -> f64;

    /// Time that an op takes in float.
    fn float(&self, graph: &Graph, op: OpId) -> Option<f64>;

    /// Time that an op takes on stored numbers, as what the passes make of it that the target asks for.
    fn integer(&self, graph: &Graph, target: &Target, op: OpId) -> Option<f64>;

    /// Time of a conversion ([`QUANTIZE`], [`DEQUANTIZE`], [`TRANSPOSE`], and of [`LAYOUT`] what comes on top) of a value of known
    /// size.
    fn conversion(&self, graph: &Graph, value: ValueId, kind: &str) -> Option<f64>;

    /// Time that a max pool takes more on stored numbers in the plain layout than in that of integer convolutions.
    fn plain_pool(&self, graph: &Graph, op: OpId) -> Option<f64>;

    /// The convolution whose float kernel also does this op.
    fn fused_into(&self, graph: &Graph, op: OpId) -> Option<Fused>;

    /// True when sigmoid and product on stored numbers are faster than one float operator between two conversions.
    fn silu_is_faster_as_pair(&self, graph: &Graph, product: OpId) -> bool;

    /// True when conversions have prices, without which nothing can be placed.
    fn converts(&self) -> bool;

    /// Time of the shortest call, and of a pass over so many floats that reads and writes each once.
    fn pass(&self, numbers: f64) -> Option<(f64, f64)>;
}

/// Prices of a target.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// What they were measured on.
    pub provenance: Provenance,
    /// By how much float must win before an op that could run in integers does not, as a part of its time in float.
    #[serde(default = "five_percent")]
    pub margin: f64,
    /// Channels of a block of the layout of float convolutions, in which pools are done of whole blocks only.
    #[serde(default = "one")]
    pub block: usize,
    /// Operators that a float convolution does as it stores its result, and what each number costs there, in nanoseconds.
    #[serde(default)]
    pub fused: BTreeMap<String, f64>,
    /// Float kernels by kind.
    pub float: BTreeMap<String, Price>,
    /// Integer kernels by kind.
    pub integer: BTreeMap<String, Price>,
}

fn one() -> usize {
    1
}

/// The usual [`Prices::margin`].
pub fn five_percent() -> f64 {
    0.05
}

impl Price {
    /// Nanoseconds.
    fn time(&self, work: f64, width: f64) -> f64 {
        self.call + work / self.speed.at(width)
    }
}

impl Prices {
    /// What is wrong with the numbers.
    pub(crate) fn fault(&self) -> Option<String> {
        let call = |price: &Price| !(price.call.is_finite() && price.call >= 0.0);
        let wrong = self.float.iter().chain(&self.integer).find(|(_, price)| call(price));
        match wrong {
            Some((kind, price)) => Some(format!("prices: a call of {kind} takes {} ns", price.call)),
            None if !self.fused.values().all(|nanos| nanos.is_finite() && *nanos >= 0.0) => {
                Some("prices: what is fused takes nanoseconds for each number, 0 or more".into())
            }
            None if self.block == 0 => Some("prices: a block has at least one channel".into()),
            None if !(self.margin.is_finite() && self.margin >= 0.0) => {
                Some(format!("prices: margin {} is no part of a time", self.margin))
            }
            None => None,
        }
    }

    /// The best price of a convolution with wider groups (`merge-groups`), or more channels (`legalize-width`).
    fn widened(&self, graph: &Graph, target: &Target, op: OpId) -> Option<f64> {
        let load = Load::of(graph, op)?;
        let (price, width) = load.price(&self.integer)?;
        let Load { kind, work, .. } = load;
        if kind == "depthwise" {
            let multiple = target.width.as_ref()?.depthwise;
            let padded = (width as usize).next_multiple_of(multiple) as f64;
            return Some(price.time(work * padded / width, padded));
        }
        if kind == STEM {
            let (rule, filters) = (target.width.as_ref()?, graph.value(graph.op(op).result()).ty().tensor()?.dim(1)?);
            let wider = filters.next_multiple_of(rule.output).max(rule.least_output) as f64 / filters as f64;
            return Some(price.time(work * wider, width * wider.sqrt()));
        }
        let groups = graph.op(op).int("group", 1);
        let groups = if groups <= MOST_GROUPS { groups } else { 1 };
        let factors =
            (2..=groups).filter(|factor| target.groups.is_some() && groups % factor == 0).map(|factor| factor as f64);
        factors.map(|factor| price.time(work * factor, width * factor)).min_by(f64::total_cmp)
    }

    /// Time of a float pool of a map whose channels are no whole blocks.
    fn partial_pool(&self, graph: &Graph, op: OpId) -> Option<f64> {
        let (name, read) = (graph.op(op).name(), graph.op(op).operand(0)?);
        let is_pool = name.is_onnx("MaxPool") || name.is_onnx("AveragePool");
        if !is_pool || map_extents(graph, read)?[0].is_multiple_of(self.block) {
            return None;
        }
        let (load, read, made) = (Load::of(graph, op)?, numbers(graph, read)?, numbers(graph, graph.op(op).result())?);
        // The price is that of a pool that makes as many numbers as it reads.
        let more = self.integer.get(LAYOUT).map_or(0.0, |layout| layout.time((read - made).max(0.0), read));
        Some(self.float.get(PLAIN_POOL)?.time(load.work, load.width) + more)
    }

    /// What it takes to bring the image of an integer stem into its layout.
    fn image(&self, graph: &Graph, op: OpId) -> Option<f64> {
        let image = graph.op(op).operand(0).filter(|_| Load::of(graph, op).is_some_and(|load| load.kind == STEM))?;
        let moved = numbers(graph, image)?;
        Some(self.integer.get(IMAGE)?.time(moved, moved))
    }

    fn in_table(&self, table: &BTreeMap<String, Price>, graph: &Graph, op: OpId, load: Load) -> Option<f64> {
        let product = if gate_of_silu(graph, op).is_some() { Some(op) } else { graph.only_user(graph.op(op).result()) };
        let silu = product.filter(|&p| p == op || gate_of_silu(graph, p) == Some(op)).and_then(|p| silu(table, graph, p));
        match silu.filter(|(whole, pair)| pair.is_none_or(|pair| *whole <= pair)) {
            Some((whole, _)) => Some(if product == Some(op) { whole } else { 0.0 }),
            None => load.price(table).map(|(price, width)| price.time(load.work, width)),
        }
    }
}

impl Pricing for Prices {
    fn margin(&self) -> f64 {
        self.margin
    }

    fn float(&self, graph: &Graph, op: OpId) -> Option<f64> {
        let load = Load::of(graph, op)?.in_blocks(graph, op, self.block);
        self.partial_pool(graph, op).or_else(|| self.in_table(&self.float, graph, op, load))
    }

    fn integer(&self, graph: &Graph, target: &Target, op: OpId) -> Option<f64> {
        let name = graph.op(op).name();
        if name.is_onnx("AveragePool")
            && target.ops.is_lowered(name, "lower-avg-pool")
            && let Ok(window) = Window::of(graph, op)
        {
            let sum = self.integer.get("depthwise")?.time(Load::of(graph, op)?.work, window.channels as f64);
            let Some(_) = window.border else { return Some(sum) };
            let made = numbers(graph, graph.op(op).result())?;
            return Some(sum + self.integer.get("onnx.Mul")?.time(made, made));
        }
        let usual = self.in_table(&self.integer, graph, op, Load::of(graph, op)?)?;
        let wider = name.is_onnx("Conv").then(|| self.widened(graph, target, op)).flatten();
        Some(wider.map_or(usual, |wider| wider.min(usual)) + self.image(graph, op).unwrap_or(0.0))
    }

    fn conversion(&self, graph: &Graph, value: ValueId, kind: &str) -> Option<f64> {
        let moved = numbers(graph, value)?;
        let is_pixel = map_extents(graph, value).is_some_and(|[_, high, wide]| high * wide == 1);
        let kind = match kind {
            TRANSPOSE if is_pixel => return Some(0.0),
            LAYOUT if is_pixel && !self.integer.contains_key(PIXEL_LAYOUT) => return Some(0.0),
            LAYOUT if is_pixel => PIXEL_LAYOUT,
            _ => kind,
        };
        Some(self.integer.get(kind)?.time(moved, moved))
    }

    fn plain_pool(&self, graph: &Graph, op: OpId) -> Option<f64> {
        if !graph.op(op).name().is_onnx("MaxPool") {
            return None;
        }
        let (plain, load) = (self.integer.get(PLAIN_POOL)?, Load::of(graph, op)?);
        let usual = self.integer.get(&load.kind)?;
        Some((plain.time(load.work, load.width) - usual.time(load.work, load.width)).max(0.0))
    }

    fn fused_into(&self, graph: &Graph, op: OpId) -> Option<Fused> {
        let name = graph.op(op).name();
        let each = self.fused.get(&name.to_string())?;
        let nanos = each * numbers(graph, *graph.op(op).results().first()?)?;
        // Of two convolutions whose results are added, the first one adds the other's.
        let operands: &[_] = if name.is_onnx("Add") { graph.op(op).operands() } else { graph.op(op).operands().get(..1)? };
        let makers = operands.iter().flatten().filter(|&&v| graph.use_count(v) == 1).filter_map(|&v| graph.def_op(v));
        makers
            .filter_map(|maker| match graph.op(maker).name() {
                name if name.is_onnx("Conv") => Some(Fused { maker, nanos }),
                // A sum that is part of a convolution may be clipped there, too.
                sum if sum.is_onnx("Add") && !name.is_onnx("Add") => Some(Fused { nanos, ..self.fused_into(graph, maker)? }),
                _ => None,
            })
            .next()
    }

    fn silu_is_faster_as_pair(&self, graph: &Graph, product: OpId) -> bool {
        silu(&self.integer, graph, product).is_some_and(|(whole, pair)| pair.is_some_and(|pair| pair < whole))
    }

    fn converts(&self) -> bool {
        [QUANTIZE, DEQUANTIZE].iter().all(|kind| self.integer.contains_key(*kind))
    }

    fn pass(&self, numbers: f64) -> Option<(f64, f64)> {
        let call = self.float.values().map(|price| price.call).filter(|&call| call > 0.0).fold(f64::INFINITY, f64::min);
        let sum = self.float.get("onnx.Add")?;
        Some((if call.is_finite() { call } else { 0.0 }, sum.call + numbers / sum.speed.at(numbers)))
    }
}

/// Nanoseconds of a SiLU as one operator, and as a sigmoid and a product.
fn silu(table: &BTreeMap<String, Price>, graph: &Graph, product: OpId) -> Option<(f64, Option<f64>)> {
    let load = Load::of(graph, product)?;
    let time = |kind: &str| Some(table.get(kind)?.time(load.work, load.width));
    Some((time(SILU)?, time("onnx.Sigmoid").zip(time("onnx.Mul")).map(|(sigmoid, product)| sigmoid + product)))
}

/// The sigmoid that only this product reads, and multiplies with what the sigmoid reads.
pub fn gate_of_silu(graph: &Graph, product: OpId) -> Option<OpId> {
    let record = graph.op(product);
    let [Some(a), Some(b)] = record.operands() else { return None };
    let gate = |x: ValueId, gate: ValueId| {
        let sigmoid = graph.def_named(gate, "Sigmoid")?;
        (graph.op(sigmoid).operand(0) == Some(x) && graph.use_count(gate) == 1).then_some(sigmoid)
    };
    if record.name().is_onnx("Mul") { gate(*a, *b).or_else(|| gate(*b, *a)) } else { None }
}

/// True for a product of a map and one number a channel.
pub(crate) fn is_gate(graph: &Graph, op: OpId) -> bool {
    Load::of(graph, op).is_some_and(|load| load.kind == GATE)
}

/// How many numbers a value holds; an unknown first extent is a batch of one.
pub(crate) fn numbers(graph: &Graph, value: ValueId) -> Option<f64> {
    let shape = graph.value(value).ty().tensor()?.shape.as_ref()?;
    let extent = |(axis, dim): (usize, &Dim)| dim.known().map(|n| n as f64).or((axis == 0).then_some(1.0));
    shape.iter().enumerate().map(extent).product()
}

#[cfg(test)]
mod tests {
    use spaceevo_ir::text;

    use super::*;

    #[test]
    fn speeds_lie_between_those_of_the_widths_around() {
        let curve = Curve::try_from(vec![(2, 0.01), (8, 0.16)]).unwrap();
        assert_eq!([1.0, 2.0, 8.0, 99.0].map(|w| curve.at(w)), [0.01, 0.01, 0.16, 0.16]);
        assert!((curve.at(4.0) - 0.04).abs() < 1e-12);
        for wrong in [vec![], vec![(8, 1.0), (2, 1.0)], vec![(2, 0.0)]] {
            assert!(Curve::try_from(wrong).is_err());
        }
    }

    fn parse(source: &str) -> Graph {
        text::parse(source, "test", &text::NoBlobs).graph.unwrap()
    }

    #[test]
    fn work_is_products_or_numbers() {
        let graph = parse(
            "graph @main(%x: f32[N,8,4,4]) with {opset = 17} {\n  %w = const rand(1) : f32[32,8,3,3]\n  \
             %c = onnx.Conv %x, %w {pads = [1, 1, 1, 1]} : f32[N,32,4,4]\n  \
             %d = const rand(1) : f32[32,1,3,3]\n  \
             %e = onnx.Conv %c, %d {pads = [1, 1, 1, 1], group = 32} : f32[N,32,4,4]\n  \
             %p = onnx.GlobalAveragePool %e : f32[N,32,1,1]\n  \
             %v = const rand(1) : f32[32,32,1,1]\n  %g = onnx.Conv %p, %v : f32[N,32,1,1]\n  \
             %m = onnx.Mul %g, %e : f32[N,32,4,4]\n  return %m\n}",
        );
        let loads: Vec<_> = graph.ops_in(graph.body()).map(|op| Load::of(&graph, op).unwrap()).collect();
        let load = |kind: &str, work, width, near| Load { kind: kind.into(), work, width, near };
        assert_eq!(loads[0], load("conv", 512.0 * 72.0, 16.0, None));
        assert_eq!(loads[1], load("depthwise", 512.0 * 9.0, 32.0, None));
        assert_eq!(loads[2], load("onnx.GlobalAveragePool", 512.0, 512.0, None));
        assert_eq!(loads[3], load(PIXEL, 1024.0, 32.0, Some(("conv1x1", 32.0))));
        assert_eq!(loads[4], load(GATE, 512.0, 32.0, Some(("onnx.Mul", 512.0))));
    }

    #[test]
    fn stems_and_pools_of_part_blocks_have_prices_of_their_own() {
        let graph = parse(
            "graph @main(%x: f32[1,3,8,8]) with {opset = 17} {\n  %w = const rand(1) : f32[12,3,3,3]\n  \
             %c = onnx.Conv %x, %w {pads = [1, 1, 1, 1]} : f32[1,12,8,8]\n  \
             %p = onnx.MaxPool %c {kernel_shape = [2, 2], strides = [2, 2]} : f32[1,12,4,4]\n  return %p\n}",
        );
        let ops: Vec<_> = graph.ops_in(graph.body()).collect();
        let stem = Load::of(&graph, ops[0]).unwrap();
        assert_eq!((&*stem.kind, stem.work, stem.width), (STEM, 768.0 * 27.0, 18.0));
        let price = |call| Price { call, speed: Curve(vec![(1, 1.0)]) };
        let priced = |block| Prices {
            provenance: Provenance { runtime: "".into(), machine: "".into(), date: "".into(), method: "".into() },
            margin: 0.05,
            block,
            fused: BTreeMap::new(),
            float: [(PLAIN_POOL.to_owned(), price(9.0)), ("onnx.MaxPool".to_owned(), price(1.0))].into(),
            integer: [(LAYOUT, 2.0), (STEM, 0.0), (IMAGE, 5.0)].map(|(kind, call)| (kind.to_owned(), price(call))).into(),
        };
        // 192 numbers of 4 taps; of 768 that are read, 576 more than are made.
        assert_eq!([4, 16].map(|block| priced(block).float(&graph, ops[1])), [Some(769.0), Some(777.0 + 578.0)]);
        let target = crate::Target::named("x86-vnni").unwrap();
        // As it is, not with the 16 filters that legalize-width gives it; the image has 192 numbers.
        assert_eq!(priced(16).integer(&graph, &target, ops[0]), Some(768.0 * 27.0 + 5.0 + 192.0));
    }

    #[test]
    fn a_map_of_one_number_a_channel_has_its_own_price_of_layouts() {
        let graph = parse("graph @main(%x: f32[1,8,1,1], %y: f32[1,8,2,1]) with {opset = 17} {\n  return %x, %y\n}");
        let [pixel, map] = graph.region(graph.body()).inputs()[..] else { panic!() };
        let price = |call| Price { call, speed: Curve(vec![(1, 1.0)]) };
        let mut prices = Prices {
            provenance: Provenance { runtime: "".into(), machine: "".into(), date: "".into(), method: "".into() },
            margin: 0.05,
            block: 1,
            fused: BTreeMap::new(),
            float: BTreeMap::new(),
            integer: [(LAYOUT, 100.0), (TRANSPOSE, 50.0), (QUANTIZE, 7.0)]
                .map(|(kind, call)| (kind.into(), price(call)))
                .into(),
        };
        let times =
            |prices: &Prices, value| [LAYOUT, TRANSPOSE, QUANTIZE].map(|kind| prices.conversion(&graph, value, kind));
        assert_eq!(times(&prices, map), [Some(116.0), Some(66.0), Some(23.0)]);
        assert_eq!(times(&prices, pixel), [Some(0.0), Some(0.0), Some(15.0)]);
        prices.integer.insert(PIXEL_LAYOUT.into(), price(30.0));
        assert_eq!(times(&prices, pixel), [Some(38.0), Some(0.0), Some(15.0)]);
    }

    #[test]
    fn what_is_done_together_is_paid_together() {
        let graph = parse(
            "graph @main(%x: f32[1,8,4,4]) with {opset = 17} {\n  %w = const rand(1) : f32[8,8,1,1]\n  \
             %c = onnx.Conv %x, %w : f32[1,8,4,4]\n  %a = onnx.Add %x, %c : f32[1,8,4,4]\n  \
             %r = onnx.Relu %a : f32[1,8,4,4]\n  %g = onnx.Sigmoid %r : f32[1,8,4,4]\n  \
             %y = onnx.Mul %g, %r : f32[1,8,4,4]\n  return %y\n}",
        );
        let price = |call| Price { call, speed: Curve(vec![(1, 1.0)]) };
        let prices = Prices {
            provenance: Provenance { runtime: "".into(), machine: "".into(), date: "".into(), method: "".into() },
            margin: 0.05,
            block: 1,
            fused: [("onnx.Add".to_owned(), 0.0), ("onnx.Relu".to_owned(), 0.5)].into(),
            float: [(SILU.to_owned(), price(7.0)), ("onnx.Mul".to_owned(), price(1.0))].into(),
            integer: [("onnx.Mul".to_owned(), price(2.0)), ("onnx.Sigmoid".to_owned(), price(3.0))].into(),
        };
        let ops: Vec<_> = graph.ops_in(graph.body()).collect();
        let [conv, add, relu, sigmoid, product] = ops[..] else { panic!() };
        let into = |op| prices.fused_into(&graph, op).map(|fused| (fused.maker, fused.nanos));
        assert_eq!([into(conv), into(add), into(relu), into(product)], [None, Some((conv, 0.0)), Some((conv, 64.0)), None]);
        assert_eq!([sigmoid, product].map(|op| prices.float(&graph, op)), [Some(0.0), Some(135.0)]);
        let target = crate::Target::named("x86-avx2").unwrap();
        assert_eq!([sigmoid, product].map(|op| prices.integer(&graph, &target, op)), [Some(131.0), Some(130.0)]);
    }
}
