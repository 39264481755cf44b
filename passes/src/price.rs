//! What an op costs on a target: the table `[prices]` of its file, which `spaceevo-opt measure-ops` fills.
//!
//! ```text
//! time = call + work / speed(width)        nanoseconds; work per nanosecond
//! ```
//!
//! Work is products for ops with weights and numbers of the larger side for all others. Width is what the speed of a kernel
//! depends on most: channels of a depthwise convolution, the geometric mean of what a product reads and makes for the others.
//! A table is a model of the first order, and whoever decides by it should ask for more than its error.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spaceevo_ir::{Graph, OpId, ValueId};

use crate::quantize::placement::clip_bounds;
use crate::target::Provenance;

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

/// Prices of a target.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// What they were measured on.
    pub provenance: Provenance,
    /// Operators that cost nothing right behind a float convolution.
    pub fused: Vec<String>,
    /// Float kernels by kind (see [`kind`]).
    pub float: BTreeMap<String, Price>,
    /// Integer kernels by kind.
    pub integer: BTreeMap<String, Price>,
}

/// How an op is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Numbers {
    /// In float.
    Float,
    /// On stored integers.
    Integer,
}

impl Prices {
    /// Nanoseconds that an op takes; `None` when the table has no price for it, or its shape is not known. An op whose only
    /// purpose is to be absorbed by its neighbour (a Relu behind a convolution) costs nothing.
    pub fn of(&self, graph: &Graph, op: OpId, numbers: Numbers) -> Option<f64> {
        let (kind, work, width) = kind(graph, op)?;
        let absorbed = match numbers {
            Numbers::Float => self.fused.contains(&kind) && follows_convolution(graph, op),
            Numbers::Integer => clip_bounds_only(graph, op),
        };
        if absorbed {
            return Some(0.0);
        }
        let table = if numbers == Numbers::Float { &self.float } else { &self.integer };
        Some(table.get(&kind)?.time(work, width))
    }

    /// Nanoseconds of a conversion (`onnx.QuantizeLinear`, `onnx.DequantizeLinear`) of a value.
    pub fn conversion(&self, graph: &Graph, value: ValueId, operator: &str) -> Option<f64> {
        Some(self.integer.get(operator)?.time(numbers_in(graph, value)?, 1.0))
    }
}

impl Price {
    fn time(&self, work: f64, width: f64) -> f64 {
        self.call + work / self.speed.at(width)
    }
}

/// Kind of kernel, work, width. Kinds are `conv1x1`, `conv`, `depthwise` and the names of operators.
pub fn kind(graph: &Graph, op: OpId) -> Option<(String, f64, f64)> {
    let record = graph.op(op);
    let name = record.name();
    let made = numbers_in(graph, *record.results().first()?)?;
    let weights = |index: usize| graph.value(record.operand(index)?).ty().dims();
    if name.is_onnx("Conv") {
        let dims = weights(1)?;
        let (filters, width, taps) = (*dims.first()?, *dims.get(1)?, dims[2..].iter().product::<usize>());
        let groups = usize::try_from(record.int("group", 1)).ok().filter(|&g| g > 0)?;
        let kind = match () {
            _ if groups > 1 && width == 1 => "depthwise",
            _ if taps == 1 => "conv1x1",
            _ => "conv",
        };
        let mean = if kind == "depthwise" { filters as f64 } else { ((width * filters / groups) as f64).sqrt() };
        return Some((kind.into(), made * (width * taps) as f64, mean));
    }
    if name.is_onnx("Gemm") || name.is_onnx("MatMul") {
        let dims = weights(1)?;
        let [rows, columns] = dims[..] else { return None };
        let read = if name.is_onnx("Gemm") && record.int("transB", 0) != 0 { columns } else { rows };
        return Some(("onnx.Gemm".into(), made * read as f64, ((rows * columns) as f64).sqrt()));
    }
    let read = record.operand(0).and_then(|v| numbers_in(graph, v)).unwrap_or(0.0);
    let taps: i64 = record.ints("kernel_shape").map_or(1, |k| k.iter().product());
    let work = if taps > 1 { made * taps as f64 } else { made.max(read) };
    Some((name.to_string(), work, 1.0))
}

/// How many numbers a value holds; an unknown first extent is a batch of one.
fn numbers_in(graph: &Graph, value: ValueId) -> Option<f64> {
    let shape = graph.value(value).ty().tensor()?.shape.as_ref()?;
    let extent = |(axis, dim): (usize, &spaceevo_ir::Dim)| dim.known().map(|n| n as f64).or((axis == 0).then_some(1.0));
    shape.iter().enumerate().map(extent).product()
}

fn follows_convolution(graph: &Graph, op: OpId) -> bool {
    let input = graph.op(op).operand(0);
    input.is_some_and(|v| {
        graph.def_op(v).is_some_and(|maker| graph.op(maker).name().is_onnx("Conv")) && graph.use_count(v) == 1
    })
}

/// True for a Relu or Clip: in integers the type of what comes before saturates.
fn clip_bounds_only(graph: &Graph, op: OpId) -> bool {
    let name = graph.op(op).name();
    (name.is_onnx("Relu") || name.is_onnx("Clip")) && clip_bounds(graph, op).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use spaceevo_ir::text;

    #[test]
    fn speeds_lie_between_those_of_the_widths_around() {
        let curve = Curve::try_from(vec![(2, 0.01), (8, 0.16)]).unwrap();
        assert_eq!([1.0, 2.0, 8.0, 99.0].map(|w| curve.at(w)), [0.01, 0.01, 0.16, 0.16]);
        assert!((curve.at(4.0) - 0.04).abs() < 1e-12);
        for wrong in [vec![], vec![(8, 1.0), (2, 1.0)], vec![(2, 0.0)]] {
            assert!(Curve::try_from(wrong).is_err());
        }
    }

    #[test]
    fn work_is_products_or_numbers() {
        let source = "graph @main(%x: f32[N,8,4,4]) with {opset = 17} {\n  %w = const rand(1) : f32[32,8,3,3]\n  \
                      %c = onnx.Conv %x, %w {pads = [1, 1, 1, 1]} : f32[N,32,4,4]\n  \
                      %d = const rand(1) : f32[32,1,3,3]\n  \
                      %e = onnx.Conv %c, %d {pads = [1, 1, 1, 1], group = 32} : f32[N,32,4,4]\n  \
                      %p = onnx.GlobalAveragePool %e : f32[N,32,1,1]\n  return %p\n}";
        let graph = text::parse(source, "test", &text::NoBlobs).graph.unwrap();
        let kinds: Vec<_> = graph.ops_in(graph.body()).map(|op| kind(&graph, op).unwrap()).collect();
        assert_eq!(kinds[0], ("conv".into(), 512.0 * 72.0, 16.0));
        assert_eq!(kinds[1], ("depthwise".into(), 512.0 * 9.0, 32.0));
        assert_eq!(kinds[2], ("onnx.GlobalAveragePool".into(), 512.0, 1.0));
    }
}
