//! Fills a target's price table (`[prices]`, see `spaceevo_passes::price`) by measurement on this machine.
//!
//! For each kind of kernel, two chains of it are run that differ in length only: what one more op takes is the difference,
//! and whatever stands at the ends of the chain (conversions, changes of layout) cancels. Two map sizes separate what a call
//! costs from what the work costs; ops without weights are measured on larger maps, too, which do not stay in caches. All models of a kind take turns, so that a busy neighbour disturbs them alike, and all kinds
//! are gone through several times; the clock is the CPU time of the calling thread, medians are taken.
//!
//! Integer chains are written as `convert` writes them, with the target's own operators (`@suit-kernels`): the price of a
//! hard swish is that of the sums and products that it becomes. An AveragePool that becomes a convolution has the price of
//! one; what is measured under its name is the pool that does not.

use std::collections::BTreeMap;
use std::time::Duration;

use spaceevo_ir::text::{self, NoBlobs};
use spaceevo_ir::{Diagnostic, Loc, OpName, Tensor};
use spaceevo_passes::price::{
    Curve, DEQUANTIZE, GATE, LAYOUT, PIXEL, PLAIN_POOL, Price, Prices, QUANTIZE, SILU, TRANSPOSE, five_percent,
};
use spaceevo_passes::target::Provenance;
use spaceevo_passes::{Manager, Pipeline, Registry, Target};

use crate::machine::Machine;
use crate::measure::clock::Work;
use crate::measure::interleave::Contestant;
use crate::runtime::{LoadOptions, ModelSource, Runtime};

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Turns that each model takes, at least one in each of the sweeps.
    pub rounds: usize,
    /// Time of one turn.
    pub turn: Duration,
}

/// Told before each kind: how many there are, and the one that is next.
pub type Told<'a> = &'a dyn Fn(usize, usize, &str);

/// Measures every kind. `date` goes into the provenance. Errors: those of loading and running models.
pub fn measure_ops(
    runtime: &dyn Runtime,
    target: &Target,
    effort: Effort,
    date: &str,
    told: Told<'_>,
) -> Result<Prices, Diagnostic> {
    let provenance = Provenance {
        runtime: format!("{} {}", runtime.name(), runtime.version()),
        machine: Machine::detect().to_string(),
        date: date.to_owned(),
        method: format!(
            "spaceevo-opt measure-ops: chains of two lengths, medians of {} interleaved turns in {SWEEPS} sweeps",
            effort.rounds
        ),
    };
    let known = target.prices.as_ref();
    let mut prices = Prices {
        provenance,
        margin: known.map_or(five_percent(), |p| p.margin),
        fused: BTreeMap::new(),
        float: BTreeMap::new(),
        integer: BTreeMap::new(),
    };
    // Passes that choose by price shall not: all that there is to choose from is measured.
    let free = Target { prices: None, ..target.clone() };
    let bench = Bench { runtime, target: &free, registry: Registry::standard(), effort };
    let kinds = kinds();
    let wanted = |kind: &Kind| {
        let float = ![BORDER, TRANSPOSE, PLAIN_POOL].contains(&kind.name);
        let integer = kind.integer && runs(target, kind.name);
        [float.then_some(Numbers::Float), integer.then_some(Numbers::Integer)].into_iter().flatten().collect::<Vec<_>>()
    };
    let mut times: Vec<Vec<Vec<f64>>> = vec![Vec::new(); kinds.len()];
    for sweep in 0..SWEEPS {
        for (at, kind) in kinds.iter().enumerate() {
            told(sweep * kinds.len() + at, SWEEPS * kinds.len(), kind.name);
            times[at].push(bench.times(kind, &wanted(kind))?);
        }
    }
    for (kind, sweeps) in kinds.iter().zip(&times) {
        let points = sweeps.first().map_or(0, Vec::len);
        let middle: Vec<f64> =
            (0..points).map(|point| median(&mut sweeps.iter().map(|times| times[point]).collect::<Vec<_>>())).collect();
        let wanted = wanted(kind);
        for (numbers, times) in wanted.iter().zip(middle.chunks_exact((points / wanted.len().max(1)).max(1))) {
            let table = if *numbers == Numbers::Float { &mut prices.float } else { &mut prices.integer };
            table.insert(kind.name.to_owned(), price(kind, times)?);
        }
    }
    settle(&mut prices);
    Ok(prices)
}

/// True for kinds that the target runs in integers, and for those that are no operator's.
fn runs(target: &Target, kind: &str) -> bool {
    let Some(op) = kind.strip_prefix("onnx.").filter(|_| kind != ISLAND) else { return true };
    target.ops.is_integer(&OpName::onnx(op)) || target.ops.is_movement(&OpName::onnx(op))
}

/// Takes known prices off what could only be measured together.
fn settle(prices: &mut Prices) {
    for table in [&mut prices.float, &mut prices.integer] {
        for pool in POOLS {
            let (Some(whole), Some(conv)) = (table.get(pool), table.get("conv1x1")) else { continue };
            let rest = less(whole, &[&per_number(conv, POOLED, POOLED, taps(pool))], 1.0);
            table.insert(pool.to_owned(), rest);
        }
        if let (Some(gate), Some(pool), Some(conv)) = (table.get(GATE), table.get(POOLED_GATE), table.get("depthwise")) {
            let each = Price { speed: conv.speed.times(1.0 / 9.0), ..conv.clone() };
            let gate = less(gate, &[&each], 1.0);
            let pool = less(pool, &[&per_number(conv, GATED, 9, 1), &per_number(&gate, GATED, 1, 1)], 1.0);
            table.insert(GATE.to_owned(), gate);
            table.insert(POOLED_GATE.to_owned(), pool);
        }
    }
    let Prices { float, integer, fused, .. } = prices;
    for (kind, op) in FUSED {
        if let (Some(whole), Some(conv)) = (float.remove(kind), float.get("depthwise")) {
            let alone = per_number(conv, CHANNELS, 9, 1);
            let nanos = |price: &Price| 1.0 / price.speed.at(1.0);
            fused.insert(op.to_owned(), ((nanos(&whole) - nanos(&alone)).max(0.0) * 1e3).round() / 1e3);
        }
    }
    if let (Some(island), Some(alone)) = (integer.remove(ISLAND), float.remove(ISLAND)) {
        for operator in [QUANTIZE, DEQUANTIZE] {
            integer.insert(operator.to_owned(), less(&island, &[&alone], 2.0));
        }
    }
    if let (Some(border), Some(conv), Some(stored)) = (integer.remove(BORDER), float.get("conv1x1"), integer.get("conv1x1"))
        && let (Some(quantize), Some(dequantize)) = (integer.get(QUANTIZE), integer.get(DEQUANTIZE))
    {
        let (conv, stored) = (per_number(conv, NARROW, NARROW, 1), per_number(stored, NARROW, NARROW, 1));
        let known = [&conv, &conv, &stored, quantize, dequantize];
        integer.insert(LAYOUT.to_owned(), less(&border, &known, 2.0));
    }
    if let (Some(whole), Some(conv), Some(sum)) = (integer.get(TRANSPOSE), integer.get("conv1x1"), integer.get("onnx.Add")) {
        let alone = less(whole, &[&per_number(conv, NARROW, NARROW, 1), sum], 2.0);
        integer.insert(TRANSPOSE.to_owned(), alone);
    }
    if let (Some(whole), Some(sum)) = (integer.get(PLAIN_POOL), integer.get("onnx.Add")) {
        let sum = Price { speed: sum.speed.times(taps(PLAIN_POOL) as f64), call: sum.call };
        let alone = less(whole, &[&sum], 1.0);
        integer.insert(PLAIN_POOL.to_owned(), alone);
    }
}

/// The price of a convolution of so many channels and products for each number, with so many parts of a number that it makes as
/// the unit of work.
fn per_number(conv: &Price, channels: usize, products: usize, parts: usize) -> Price {
    let speed = Curve::try_from(vec![(1, conv.speed.at(channels as f64) * parts as f64 / products as f64)]);
    Price { call: conv.call, speed: speed.unwrap_or_else(|_| conv.speed.clone()) }
}

/// The price of what is left when known prices are taken off, divided by `parts`; at least a twentieth of the whole.
fn less(whole: &Price, known: &[&Price], parts: f64) -> Price {
    let all = |of: &dyn Fn(&Price) -> f64| known.iter().map(|price| of(price)).sum::<f64>();
    let rest = |whole: f64, known: f64| (whole - known).max(0.05 * whole) / parts;
    Price {
        call: round(rest(whole.call, all(&|price| price.call))),
        speed: (whole.speed).map(|n, speed| round(1.0 / rest(1.0 / speed, all(&|price| 1.0 / price.speed.at(n))))),
    }
}

/// What a chain computes with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbers {
    Float,
    Integer,
}

/// A kind of kernel, and how a chain of it is written.
struct Kind {
    /// As in the table.
    name: &'static str,
    /// Channels at which the speed is measured.
    widths: &'static [usize],
    /// Extents of the maps, rising; none for rows of features.
    maps: &'static [usize],
    /// One op, with the number of channels and the words that stand for types, that makes `%TO` of `%FROM`.
    line: fn(usize) -> String,
    /// Work of one op for each number that it makes.
    work: fn(usize) -> usize,
    /// Whether there is an integer kernel.
    integer: bool,
}

impl Kind {
    /// Extents of the maps; `None` for rows.
    fn sizes(&self) -> Vec<Option<usize>> {
        if self.maps.is_empty() { vec![None] } else { self.maps.iter().copied().map(Some).collect() }
    }
}

/// Lines of an op with weights: `WEIGHTS` is replaced by their type before extents.
fn weighted(op: &str, dims: &str, attrs: &str) -> String {
    format!("  %w.TO = const rand(SEED) : WEIGHTS{dims}\n  %TO = onnx.{op} %FROM, %w.TO{attrs} : TYPE")
}

/// The kinds, and for each the simplest op of it.
fn kinds() -> Vec<Kind> {
    const WIDTHS: &[usize] = &[8, 16, 24, 32, 64, 96, 128, 256];
    let kind = |name, line, integer| Kind { name, widths: &[CHANNELS], maps: &[7, 28, 56, 112], line, work: |_| 1, integer };
    vec![
        Kind {
            widths: WIDTHS,
            maps: &[7, 28],
            work: |c| c,
            ..kind("conv1x1", |c| weighted("Conv", &format!("[{c},{c},1,1]"), ""), true)
        },
        // Its call is part of its speed.
        Kind {
            widths: &[16, 64, 128, 256, 512],
            maps: &[1],
            work: |c| c,
            ..kind(PIXEL, |c| weighted("Conv", &format!("[{c},{c},1,1]"), ""), true)
        },
        Kind {
            widths: &[8, 16, 24, 32, 64, 128],
            maps: &[7, 21],
            work: |c| 9 * c,
            ..kind("conv", |c| weighted("Conv", &format!("[{c},{c},3,3]"), " {pads = [1, 1, 1, 1]}"), true)
        },
        Kind { widths: WIDTHS, maps: &[7, 28], work: |_| 9, ..kind("depthwise", depthwise, true) },
        Kind {
            widths: &[64, 256, 1024],
            maps: &[],
            work: |c| c,
            ..kind("onnx.Gemm", |c| weighted("Gemm", &format!("[{c},{c}]"), ""), true)
        },
        kind("onnx.Add", |_| "  %TO = onnx.Add %FROM, %x : TYPE".into(), true),
        kind("onnx.Mul", |_| "  %TO = onnx.Mul %FROM, %x : TYPE".into(), true),
        kind("onnx.Sigmoid", |_| "  %TO = onnx.Sigmoid %FROM : TYPE".into(), true),
        kind(SILU, |_| "  %g.TO = onnx.Sigmoid %FROM : TYPE\n  %TO = onnx.Mul %FROM, %g.TO : TYPE".into(), true),
        kind("onnx.LeakyRelu", |_| "  %TO = onnx.LeakyRelu %FROM {alpha = 0.1} : TYPE".into(), true),
        pool("onnx.MaxPool", |c| behind_conv(c) + &window("MaxPool", "c.TO")),
        // The sum brings the input's numbers in again: on maps that are smooth by now, branches would be foreseen.
        pool(PLAIN_POOL, |_| "  %s.TO = onnx.Add %FROM, %x : TYPE\n".to_owned() + &window("MaxPool", "s.TO")),
        pool("onnx.AveragePool", |c| behind_conv(c) + &window("AveragePool", "c.TO")),
        // As in networks, behind a depthwise convolution.
        Kind {
            widths: &[16, 32, 64, GATED, 256],
            maps: &[14, 56],
            ..kind(GATE, |c| behind_depthwise(c) + "  %TO = onnx.Mul %c.TO, %pooled : TYPE", true)
        },
        Kind {
            widths: &[GATED],
            maps: &[14, 42, 112],
            ..kind(
                POOLED_GATE,
                |c| {
                    let pooled = format!("  %g.TO = onnx.GlobalAveragePool %c.TO : ELEM[1,{c},1,1]\n");
                    behind_depthwise(c) + &pooled + "  %TO = onnx.Mul %c.TO, %g.TO : TYPE"
                },
                true,
            )
        },
        fused(FUSED[0].0, |c| behind_depthwise(c) + "  %TO = onnx.Relu %c.TO : TYPE"),
        fused(FUSED[1].0, |c| behind_depthwise(c) + "  %TO = onnx.Clip %c.TO, %zero, %six : TYPE"),
        fused(FUSED[2].0, |c| behind_depthwise(c) + "  %TO = onnx.LeakyRelu %c.TO {alpha = 0.1} : TYPE"),
        fused(FUSED[3].0, |c| behind_depthwise(c) + "  %TO = onnx.HardSigmoid %c.TO : TYPE"),
        fused(FUSED[4].0, |c| behind_depthwise(c) + "  %TO = onnx.HardSwish %c.TO : TYPE"),
        kind("onnx.Relu", |_| "  %TO = onnx.Relu %FROM : TYPE".into(), false),
        kind("onnx.Clip", |_| "  %TO = onnx.Clip %FROM, %zero, %six : TYPE".into(), false),
        kind("onnx.HardSigmoid", |_| "  %TO = onnx.HardSigmoid %FROM : TYPE".into(), true),
        kind("onnx.HardSwish", |_| "  %TO = onnx.HardSwish %FROM : TYPE".into(), true),
        kind("onnx.Tanh", |_| "  %TO = onnx.Tanh %FROM : TYPE".into(), false),
        kind("onnx.Softmax", |_| "  %TO = onnx.Softmax %FROM {axis = 1} : TYPE".into(), false),
        kind("onnx.PRelu", |_| "  %TO = onnx.PRelu %FROM, %slope : TYPE".into(), false),
        kind("onnx.Elu", |_| "  %TO = onnx.Elu %FROM : TYPE".into(), false),
        // Stored on both sides: what is cheap in float stands between two conversions.
        kind(ISLAND, |_| "  %TO = onnx.Neg %FROM : TYPE".into(), true),
        // Narrow, so that the convolutions themselves take little of the time.
        Kind {
            widths: &[NARROW],
            maps: &[14, 56, 112],
            ..kind(
                BORDER,
                // Two, since the runtime takes one alone for a quantized one whose weights were forgotten.
                |c| {
                    let weights = format!("  %f.TO = const rand(SEED) : f32[{c},{c},1,1]\n");
                    let first = "  %d.TO = onnx.Conv %c.TO, %f.TO : f32[DIMS]\n";
                    behind_conv(c) + &weights + first + "  %TO = onnx.Conv %d.TO, %f.TO : TYPE"
                },
                true,
            )
        },
        // The input is in the plain layout, so the sum is, and each convolution's map is transposed to it and back.
        Kind {
            widths: &[NARROW],
            maps: &[14, 56, 112],
            ..kind(TRANSPOSE, |c| behind_conv(c) + "  %TO = onnx.Add %c.TO, %x : TYPE", true)
        },
    ]
}

/// A pool and the product with what it makes: the price of the product is taken off.
const POOLED_GATE: &str = "onnx.GlobalAveragePool";
/// An op of no other use that has no integer kernel: what it takes more in integers is two conversions.
const ISLAND: &str = "onnx.Neg";
/// An integer convolution and two float ones: what is left when they and two conversions are taken off are changes of layout.
const BORDER: &str = "border";
/// Channels where time does not depend on them.
const CHANNELS: usize = 64;
/// Channels of what is multiplied with a gate.
const GATED: usize = 96;
/// Activations behind a convolution, whose float kernel does them as it stores its result: a kind for each.
const FUSED: [(&str, &str); 5] = [
    ("fused Relu", "onnx.Relu"),
    ("fused Clip", "onnx.Clip"),
    ("fused LeakyRelu", "onnx.LeakyRelu"),
    ("fused HardSigmoid", "onnx.HardSigmoid"),
    ("fused HardSwish", "onnx.HardSwish"),
];
/// Channels of convolutions that are only there for the layout that they ask for.
const NARROW: usize = 16;
/// Channels of those whose maps are pooled.
const POOLED: usize = 32;

/// Kinds that are measured behind a convolution, whose layout they take over; its price is taken off.
const POOLS: [&str; 2] = ["onnx.MaxPool", "onnx.AveragePool"];

fn pool(name: &'static str, line: fn(usize) -> String) -> Kind {
    Kind { name, widths: &[POOLED], maps: &[14, 42, 112], line, work: |_| 1, integer: true }
}

/// A kind of [`FUSED`].
fn fused(name: &'static str, line: fn(usize) -> String) -> Kind {
    Kind { name, widths: &[CHANNELS], maps: &[7, 28], line, work: |_| 1, integer: false }
}

/// A depthwise convolution.
fn depthwise(channels: usize) -> String {
    weighted("Conv", &format!("[{channels},1,3,3]"), &format!(" {{pads = [1, 1, 1, 1], group = {channels}}}"))
}

/// A depthwise convolution that makes `%c.TO`.
fn behind_depthwise(channels: usize) -> String {
    depthwise(channels).replace("%TO", "%c.TO") + "\n"
}

/// A convolution that makes `%c.TO`.
fn behind_conv(channels: usize) -> String {
    weighted("Conv", &format!("[{channels},{channels},1,1]"), "").replace("%TO", "%c.TO") + "\n"
}

/// A pool of what is named.
fn window(op: &str, read: &str) -> String {
    format!("  %TO = onnx.{op} %{read} {{kernel_shape = [3, 3], pads = [1, 1, 1, 1]}} : TYPE")
}

/// Work of pools is counted in taps.
fn taps(kind: &str) -> usize {
    if [PLAIN_POOL, "onnx.MaxPool", "onnx.AveragePool"].contains(&kind) { 9 } else { 1 }
}

/// The price of a kind: `times` are nanoseconds of one op, for each width and size.
fn price(kind: &Kind, times: &[f64]) -> Result<Price, Diagnostic> {
    let sizes = kind.sizes();
    let work = |width: usize, size: Option<usize>| {
        (width * size.map_or(1, |s| s * s) * (kind.work)(width) * taps(kind.name)) as f64
    };
    let points: Vec<(usize, Vec<(f64, f64)>)> = (kind.widths.iter().zip(times.chunks_exact(sizes.len())))
        .map(|(&width, times)| (width, sizes.iter().map(|&s| work(width, s)).zip(times.iter().copied()).collect()))
        .collect();
    let mut calls: Vec<f64> = points.iter().map(|(_, at)| intercept(at)).collect();
    let call = median(&mut calls).max(0.0);
    let speed = |at: &[(f64, f64)]| at.last().map_or(1.0, |&(work, time)| work / (time - call).max(0.05 * time));
    let curve = match &points[..] {
        // Without weights, by numbers; the smallest map says what a call costs.
        [(width, at)] => {
            let numbers = sizes.iter().flatten().map(|size| width * size * size);
            numbers.zip(at).skip(1).map(|(numbers, point)| (numbers, round(speed(&[*point])))).collect()
        }
        points => points.iter().map(|(width, at)| (*width, round(speed(at)))).collect::<Vec<_>>(),
    };
    let speed = Curve::try_from(curve).map_err(|e| Diagnostic::error("internal", Loc::Unknown, e))?;
    Ok(Price { call: round(call), speed })
}

struct Bench<'a> {
    runtime: &'a dyn Runtime,
    target: &'a Target,
    registry: Registry,
    effort: Effort,
}

/// Times that all kinds are gone through: a processor that is slow for some seconds is so for a few kinds of one sweep only.
const SWEEPS: usize = 5;
/// Lengths of the two chains.
const SHORT: usize = 1;
const LONG: usize = 4;

impl Bench<'_> {
    /// Nanoseconds of one op of a kind, for each kind of numbers, width and size. Float and integers take turns, too: what
    /// decides is how they compare.
    fn times(&self, kind: &Kind, wanted: &[Numbers]) -> Result<Vec<f64>, Diagnostic> {
        let mut chains = Vec::new();
        for &numbers in wanted {
            for &width in kind.widths {
                for size in kind.sizes() {
                    for length in [SHORT, LONG] {
                        chains.push(self.chain(kind, numbers, width, size, length)?);
                    }
                }
            }
        }
        self.take_turns(&mut chains)?;
        Ok(chains.chunks_exact_mut(2).map(|pair| difference(pair).max(1.0)).collect())
    }

    /// A chain of `length` ops, ready to run.
    fn chain(
        &self,
        kind: &Kind,
        numbers: Numbers,
        width: usize,
        size: Option<usize>,
        length: usize,
    ) -> Result<Chain, Diagnostic> {
        let extents = size.map_or(vec![1, width], |s| vec![1, width, s, s]);
        let dims = extents.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let (elem, weights) = match numbers {
            Numbers::Float => ("f32", "f32"),
            Numbers::Integer => ("qu8(0.02, 128)", "qi8(0.01, 0)"),
        };
        let mut source = format!("graph @chain(%x: {elem}[{dims}]) with {{opset = 17}} {{\n");
        if numbers == Numbers::Float {
            source += &format!(
                "  %zero = const 0.0 : f32[]\n  %six = const 6.0 : f32[]\n  %slope = const rand(1) : f32[{width},1,1]\n"
            );
        }
        if size.is_some() {
            source += &format!("  %pooled = onnx.GlobalAveragePool %x : {elem}[1,{width},1,1]\n");
        }
        let name = |at: usize| if at == 0 { "x".to_owned() } else { format!("y{at}") };
        for at in 0..length {
            let line = (kind.line)(width).replace("%FROM", &format!("%{}", name(at))).replace("TO", &name(at + 1));
            source += &line.replace("TYPE", "ELEM[DIMS]").replace("ELEM", elem).replace("DIMS", &dims);
            source = source.replace("WEIGHTS", weights).replace("SEED", &at.to_string()) + "\n";
        }
        source += &format!("  return %{}\n}}\n", name(length));
        let parsed = text::parse(&source, "measure-ops", &NoBlobs);
        let mut graph = match (parsed.graph, parsed.diagnostics.into_iter().next()) {
            (Some(graph), None) => graph,
            (_, problem) => return Err(problem.unwrap_or_else(|| Diagnostic::error("internal", Loc::Unknown, source))),
        };
        let pipeline = Pipeline::parse("lower-silu,@suit-kernels,lower-qoperator,drop-dead", &self.registry)?;
        let run = Manager::new(&self.registry, self.target).run(&pipeline, &mut graph, None);
        if let Some(problem) = run.errors().next() {
            return Err(problem.clone());
        }
        let session = self.runtime.load(ModelSource::Graph(&graph), &LoadOptions::default())?;
        let numbers: usize = extents.iter().product();
        // No two alike: kernels that compare branch by what they find. Multiples of the golden ratio fill an interval evenly.
        let number = |at: usize| (at as f32 * 0.618_034).fract() - 0.5;
        let input = Tensor::new(extents, (0..numbers).map(number).collect::<Vec<f32>>());
        Ok(Chain { contestant: Contestant::new(vec![session], vec![input]), nanos: Vec::new() })
    }

    fn take_turns(&self, chains: &mut [Chain]) -> Result<(), Diagnostic> {
        for _ in 0..self.effort.rounds.div_ceil(SWEEPS) {
            for chain in &mut *chains {
                chain.turn(self.effort.turn)?;
            }
        }
        Ok(())
    }
}

struct Chain {
    contestant: Contestant,
    /// Of one run, by turn.
    nanos: Vec<f64>,
}

impl Chain {
    fn turn(&mut self, least: Duration) -> Result<(), Diagnostic> {
        self.nanos.push(self.contestant.turn(0, least, Work::Thread)?.cpu);
        Ok(())
    }
}

/// What one op more takes: the median over turns of the long chain less the short one.
fn difference(pair: &mut [Chain]) -> f64 {
    let [short, long] = pair else { return 0.0 };
    let mut each: Vec<f64> = long.nanos.iter().zip(&short.nanos).map(|(l, s)| (l - s) / (LONG - SHORT) as f64).collect();
    median(&mut each)
}

/// Where the line through the first two points meets no work at all; with one point, nothing.
fn intercept(points: &[(f64, f64)]) -> f64 {
    match points {
        [(small, fast), (large, slow), ..] if large > small => fast - small * (slow - fast) / (large - small),
        _ => 0.0,
    }
}

fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

/// Three digits: more would not be there again the next time.
fn round(number: f64) -> f64 {
    format!("{number:.2e}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_costs_is_where_the_line_meets_no_work() {
        assert_eq!(intercept(&[(10.0, 25.0), (30.0, 65.0)]), 5.0);
        assert_eq!(intercept(&[(10.0, 25.0)]), 0.0);
        assert_eq!((median(&mut [3.0, 1.0, 2.0]), round(0.123456)), (2.0, 0.123));
    }
}
