//! What an op asks of its kernel: kind, work, and the width that its speed depends on.

use std::collections::BTreeMap;

use spaceevo_ir::{Graph, OpId};

use super::{GATE, PIXEL, Price, STEM, numbers};
use crate::analysis::map_extents;

/// Channels of an image in colours.
const IMAGE_CHANNELS: usize = 3;

/// What a kernel is asked to do.
#[derive(PartialEq, Debug)]
pub(super) struct Load {
    pub(super) kind: String,
    pub(super) work: f64,
    pub(super) width: f64,
    /// The kind whose price counts where this one has none, and the width there.
    pub(super) near: Option<(&'static str, f64)>,
}

impl Load {
    /// The price, and the width at which it holds.
    pub(super) fn price<'a>(&self, table: &'a BTreeMap<String, Price>) -> Option<(&'a Price, f64)> {
        let own = table.get(&self.kind).map(|price| (price, self.width));
        own.or_else(|| self.near.and_then(|(kind, width)| Some((table.get(kind)?, width))))
    }

    pub(super) fn of(graph: &Graph, op: OpId) -> Option<Load> {
        let record = graph.op(op);
        let name = record.name();
        let made = numbers(graph, *record.results().first()?)?;
        let dims = |index: usize| graph.value(record.operand(index)?).ty().dims();
        if name.is_onnx("Conv") {
            let [filters, width, ref kernel @ ..] = dims(1)?[..] else { return None };
            let taps: f64 = kernel.iter().map(|&k| k as f64).product();
            let groups = record.int("group", 1).max(1) as f64;
            let (filters, each) = (filters as f64, width as f64);
            let kind = match () {
                _ if groups > 1.0 && width == 1 => "depthwise",
                _ if groups == 1.0 && width <= IMAGE_CHANNELS && taps > 1.0 => STEM,
                _ if taps == 1.0 && made == filters => PIXEL,
                _ if taps == 1.0 => "conv1x1",
                _ => "conv",
            };
            let made_each = filters / groups;
            let width = match kind {
                "depthwise" => filters,
                // The narrower side counts more: 16 to 96 channels run at 0.6 of the speed of 40 to 40.
                STEM => (each * taps * filters).sqrt(),
                "conv1x1" => 2.0 * each * made_each / (each + made_each),
                _ => (each * made_each).sqrt(),
            };
            let near = match kind {
                STEM => Some(("conv", (each * made_each).sqrt())),
                PIXEL => Some(("conv1x1", width)),
                _ => None,
            };
            return Some(Load { kind: kind.into(), work: made * each * taps, width, near });
        }
        if name.is_onnx("Gemm") || name.is_onnx("MatMul") {
            let [.., rows, columns] = dims(1)?[..] else { return None };
            let read = if name.is_onnx("Gemm") && record.int("transB", 0) != 0 { columns } else { rows };
            let width = (rows as f64 * columns as f64).sqrt();
            return Some(Load { kind: "onnx.Gemm".into(), work: made * read as f64, width, near: None });
        }
        let read = record.operand(0).and_then(|v| numbers(graph, v)).unwrap_or(0.0);
        let taps: f64 = record.ints("kernel_shape").map_or(1.0, |k| k.iter().map(|&k| k as f64).product());
        let larger = made.max(read);
        let sides = [0, 1].map(|index| record.operand(index).and_then(|v| map_extents(graph, v)));
        if let [Some([channels, h, w]), Some([others, 1, 1])] | [Some([others, 1, 1]), Some([channels, h, w])] = sides
            && name.is_onnx("Mul")
            && channels == others
            && h * w > 1
        {
            let near = Some(("onnx.Mul", larger));
            return Some(Load { kind: GATE.into(), work: larger, width: channels as f64, near });
        }
        let channels =
            record.operand(0).and_then(|v| map_extents(graph, v)).map_or(larger, |[channels, ..]| channels as f64);
        let (work, width) = if taps > 1.0 { (made * taps, channels) } else { (larger, larger) };
        Some(Load { kind: name.to_string(), work, width, near: None })
    }
}

impl Load {
    /// In a layout of blocks: of less than a block, a 1x1 convolution reads one channel after the other (8 to 32 channels run at a
    /// third of the speed of 16 to 32).
    pub(super) fn in_blocks(self, graph: &Graph, op: OpId, block: usize) -> Load {
        let read = graph.op(op).operand(0).and_then(|v| map_extents(graph, v)).map_or(block, |[channels, ..]| channels);
        let narrow = self.kind == "conv1x1" && read < block;
        Load { width: if narrow { (self.width * read as f64).sqrt() } else { self.width }, ..self }
    }
}
