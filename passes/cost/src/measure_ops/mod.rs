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

mod kinds;
mod settle;

use std::collections::BTreeMap;
use std::time::Duration;

use spaceevo_ir::text::{self, NoBlobs};
use spaceevo_ir::{Diagnostic, Loc, OpName, Tensor};
use spaceevo_passes::price::{Curve, IMAGE, PIXEL_LAYOUT, PLAIN_POOL, Price, Prices, TRANSPOSE, five_percent};
use spaceevo_passes::target::Provenance;
use spaceevo_passes::{Manager, Pipeline, Registry, Target};

use self::kinds::{BORDER, ISLAND, Image, Kind, PARTIAL_POOL, kinds, taps};
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
        block: target.kernels.as_ref().and_then(|k| k.blocked.as_ref()).map_or(1, |blocked| blocked.block as usize),
        fused: BTreeMap::new(),
        float: BTreeMap::new(),
        integer: BTreeMap::new(),
    };
    // Passes that choose by price shall not: all that there is to choose from is measured.
    let free = Target { prices: None, ..target.clone() };
    let bench = Bench { runtime, target: &free, registry: Registry::standard(), effort };
    let kinds = kinds();
    let wanted = |kind: &Kind| {
        let float = ![BORDER, IMAGE, PIXEL_LAYOUT, TRANSPOSE, PLAIN_POOL].contains(&kind.name);
        let integer = kind.integer && kind.name != PARTIAL_POOL && runs(target, kind.name);
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
    settle::settle(&mut prices);
    Ok(prices)
}

/// True for kinds that the target runs in integers, and for those that are no operator's.
fn runs(target: &Target, kind: &str) -> bool {
    let Some(op) = kind.strip_prefix("onnx.").filter(|_| kind != ISLAND) else { return true };
    target.ops.is_integer(&OpName::onnx(op)) || target.ops.is_movement(&OpName::onnx(op))
}

/// What a chain computes with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbers {
    Float,
    Integer,
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
            let numbers = sizes.iter().flatten().map(|size| width * size * size * (kind.work)(*width));
            numbers.zip(at).skip(1).map(|(numbers, point)| (numbers, round(speed(&[*point])))).collect()
        }
        points => points.iter().map(|(width, at)| ((kind.width)(*width), round(speed(at)))).collect::<Vec<_>>(),
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
        let map = size.map_or(vec![1, width], |s| vec![1, width, s, s]);
        let name = |at: usize| if at == 0 { "x".to_owned() } else { format!("y{at}") };
        let image = |times: usize| size.map_or(vec![1, 3], |s| vec![1, 3, s * times, s * times]);
        let mut inputs = match kind.image {
            Image::None => vec![],
            Image::Shared(times) => vec![("image".to_owned(), image(times))],
            Image::Each(times) => (1..=length).map(|at| (format!("image.{}", name(at)), image(times))).collect(),
        };
        inputs.insert(0, ("x".to_owned(), if inputs.is_empty() { map.clone() } else { vec![1, width, 1, 1] }));
        let listed = |extents: &[usize]| extents.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let dims = listed(&inputs[0].1);
        let (elem, weights) = match numbers {
            Numbers::Float => ("f32", "f32"),
            Numbers::Integer => ("qu8(0.04, 128)", "qi8(0.01, 0)"),
        };
        let declared = inputs.iter().map(|(name, extents)| format!("%{name}: {elem}[{}]", listed(extents)));
        let mut source = format!("graph @chain({}) with {{opset = 17}} {{\n", declared.collect::<Vec<_>>().join(", "));
        if numbers == Numbers::Float {
            source += &format!(
                "  %zero = const 0.0 : f32[]\n  %six = const 6.0 : f32[]\n  %slope = const rand(1) : f32[{width},1,1]\n"
            );
        }
        if size.is_some() {
            source += &format!("  %pooled = onnx.GlobalAveragePool %x : {elem}[1,{width},1,1]\n");
        }
        for at in 0..length {
            let line = (kind.line)(width).replace("%FROM", &format!("%{}", name(at))).replace("TO", &name(at + 1));
            source += &line
                .replace("TYPE", "ELEM[DIMS]")
                .replace("ELEM", elem)
                .replace("DIMS", &dims)
                .replace("MAP", &listed(&map))
                .replace("SIDE", &size.unwrap_or(1).to_string());
            source = source.replace("WEIGHTS", weights).replace("SEED", &at.to_string()) + "\n";
        }
        source += &format!("  return %{}\n}}\n", name(length));
        let parsed = text::parse(&source, "measure-ops", &NoBlobs);
        let mut graph = match (parsed.graph, parsed.diagnostics.into_iter().next()) {
            (Some(graph), None) => graph,
            (_, problem) => return Err(problem.unwrap_or_else(|| Diagnostic::error("internal", Loc::Unknown, source))),
        };
        let pipeline = Pipeline::parse("lower-silu,@suit-kernels,clip-sums,lower-qoperator,drop-dead", &self.registry)?;
        let run = Manager::new(&self.registry, self.target).run(&pipeline, &mut graph, None);
        if let Some(problem) = run.errors().next() {
            return Err(problem.clone());
        }
        let session = self.runtime.load(ModelSource::Graph(&graph), &LoadOptions::default())?;
        // No two alike: kernels that compare branch by what they find. Multiples of the golden ratio fill an interval evenly.
        let number = |at: usize| (at as f32 * 0.618_034).fract() - 0.5;
        let filled = |extents: Vec<usize>| {
            let numbers: usize = extents.iter().product();
            Tensor::new(extents, (0..numbers).map(number).collect::<Vec<f32>>())
        };
        let inputs = inputs.into_iter().map(|(_, extents)| filled(extents)).collect();
        Ok(Chain { contestant: Contestant::new(vec![session], inputs), nanos: Vec::new() })
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
