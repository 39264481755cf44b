//! The kernels that a runtime executes: what latency is predicted for, and measured on.
//!
//! ```text
//! Graph, Target ──detect──▶ kernels in order ──counts, features──▶ numbers that a model prices
//! ```
//!
//! A [`Kernel`] says everything that its time is taken to depend on, and nothing else: two ops with the same kernel have the
//! same price. Its text form ([`Kernel::key`]) is the key of measurements and of caches.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

mod detect;
mod features;
mod folded;
mod fused;
mod layout;
mod nodes;
mod rules;
mod values;

pub use detect::{Detector, List, Placed, detect, moved, surround};
pub use features::{COUNTS, FEATURES, counts, features};
pub(crate) use features::{Does, PARTS, between, computed, counts_and_features, parts};
pub use fused::Fused;

/// The order of a tensor's numbers in memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Layout {
    /// As the model says: channels before pixels.
    Plain,
    /// Channels last.
    Last,
    /// Channels in blocks, pixels before those of a block.
    Blocked,
}

impl Layout {
    const WORDS: [(&'static str, Layout); 3] =
        [("plain", Layout::Plain), ("last", Layout::Last), ("blocked", Layout::Blocked)];

    /// The word of keys.
    pub fn word(self) -> &'static str {
        Layout::WORDS.iter().find(|(_, layout)| *layout == self).map_or("plain", |(word, _)| word)
    }
}

/// Extents of a tensor: batch, channels, height, width. Of other ranks: what is before the last axes is the batch or 1.
pub type Extents = [u32; 4];

/// How many numbers a tensor of these extents has.
pub fn numbers(extents: Extents) -> f64 {
    extents.iter().map(|&extent| f64::from(extent)).product()
}

/// A kernel, with all that its time depends on.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Kernel {
    /// Operator as the runtime's profile names it.
    pub op: Arc<str>,
    /// What it does to its results as it stores them.
    pub fused: Fused,
    /// Layout of what it reads and makes; of a change of layout: the one that it makes.
    pub layout: Layout,
    /// Bytes of a number that it reads, and of one that it makes.
    pub bytes: [u8; 2],
    /// First operand; of several without weights, the largest.
    pub input: Extents,
    /// First result.
    pub output: Extents,
    /// Height and width of the window; 1 for ops without one.
    pub window: [u32; 2],
    /// Steps of the window.
    pub strides: [u32; 2],
    /// Distance of taps.
    pub dilations: [u32; 2],
    /// Groups of channels; 1 for ops without.
    pub groups: u32,
    /// Numbers of all further operands that are no weights of a convolution or matrix product; of a join of stored maps those whose
    /// scale it changes, which takes five times as long as to copy them.
    pub others: u32,
    /// Binary logarithm of the bytes that the network around it moves in a run, in quarters: how much of what a kernel reads is still
    /// in a cache. The same convolution takes 1.3 times as long in a network that moves 32 MB as in one that moves 8 (measured on an
    /// AMD EPYC of the Zen 4 kind), so whole steps are too coarse.
    pub around: u8,
    /// The same of the bytes of all weights of the network: maps are written over and over in the same places, weights are read once a
    /// run.
    pub weights: u8,
    /// The same, in halves, of the bytes that the network moves between the last kernel of this operator and this one: whether a runtime's
    /// code for it is still in a cache. A pool over a whole map takes 3.5 us where the last one was just before, and 5 to 9 where it is
    /// the only one of a large network (the same processor).
    pub since: u8,
}

/// [`Kernel::around`] where the network is not known: that of a small mobile network, 16 MB.
pub const USUAL: u8 = 4 * 24;

/// [`Kernel::weights`] of such a network: 4 MB.
const USUAL_WEIGHTS: u8 = 4 * 22;

/// [`Kernel::since`] at least: what is moved since then fits into the nearest caches.
const JUST_NOW: u8 = 4 * 18;

impl Kernel {
    /// A kernel without window that makes as much as it reads.
    pub fn same(op: &str, layout: Layout, bytes: [u8; 2], extents: Extents) -> Kernel {
        Kernel::like(op.into(), layout, bytes, extents)
    }

    fn like(op: Arc<str>, layout: Layout, bytes: [u8; 2], extents: Extents) -> Kernel {
        Kernel {
            op,
            fused: Fused::Nothing,
            layout,
            bytes,
            input: extents,
            output: extents,
            window: [1, 1],
            strides: [1, 1],
            dilations: [1, 1],
            groups: 1,
            others: 0,
            around: USUAL,
            weights: USUAL_WEIGHTS,
            since: JUST_NOW,
        }
    }

    /// True when each channel has a filter of its own.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.input[1]
    }

    /// True for ops whose work is multiply-accumulates.
    pub fn multiplies(&self) -> bool {
        multiplies(&self.op)
    }

    /// Tensors that it reads and makes, constants among them: an integer operator has a scale and a zero point for each that is computed.
    /// Where the operator does not say how many maps it joins or cuts, channels do.
    pub fn tensors(&self) -> u32 {
        let times = |all: u32, part: u32| all.div_ceil(part.max(1)).max(2);
        match &*self.op {
            "QLinearConv" | "QLinearAdd" | "QLinearMul" | "QLinearMatMul" => 9,
            "QLinearConcat" => 3 + 3 * times(self.output[1], self.input[1]),
            "QGemm" => 7,
            op if op.starts_with("QLinear") => 6,
            "Conv" | "FusedConv" | "QuantizeLinear" | "DequantizeLinear" | "Clip" | "Pad" | "Resize"
            | "LayerNormalization" => 4,
            "Slice" | "BatchNormalization" => 6,
            "Concat" => 1 + times(self.output[1], self.input[1]),
            "Split" => 2 + times(self.input[1], self.output[1]),
            "Add" | "Mul" | "Sub" | "Div" | "Pow" | "Min" | "Max" | "PRelu" => 3,
            "Gemm" | "FusedGemm" | "MatMul" | "FusedMatMul" | "Gather" | "Reshape" | "Expand" | "Tile" => 3,
            _ => 2,
        }
    }

    /// Reads two tensors of the same extents: no other kernel of its operator takes that long, or that short, for a number.
    pub fn is_of_two(&self) -> bool {
        self.groups == 1 && self.others > 1 && f64::from(self.others) >= numbers(self.output) && !self.multiplies()
    }

    /// The family that shares a model: the operator (which activation it does as it stores its result is a feature), its layout, of
    /// convolutions whether they have groups, and of sums and products whether both operands are whole.
    pub fn family(&self) -> String {
        let groups = match self.groups {
            1 if self.is_of_two() => "-both",
            1 => "",
            _ if self.is_depthwise() => "-depthwise",
            _ => "-grouped",
        };
        let bytes = if self.bytes == [1, 1] { "" } else { &format!("-{}{}", self.bytes[0], self.bytes[1]) };
        let op = self.op.strip_prefix("Fused").unwrap_or(&self.op);
        format!("{op}{groups}-{}{bytes}", self.layout.word())
    }

    /// Bytes that it reads and makes, weights among them.
    pub fn moved(&self) -> f64 {
        let [read, made] = self.bytes.map(f64::from);
        (numbers(self.input) + f64::from(self.others)) * read + numbers(self.output) * made + self.weighs()
    }

    /// Bytes of its weights.
    pub fn weighs(&self) -> f64 {
        let pixels = numbers(self.output) / f64::from(self.output[1].max(1));
        self.macs() / pixels.max(1.0) * f64::from(self.bytes[0])
    }

    /// Multiply-accumulates; 0 for ops without.
    pub fn macs(&self) -> f64 {
        if !self.multiplies() {
            return 0.0;
        }
        let each = f64::from(self.input[1] / self.groups.max(1));
        numbers(self.output) * each * f64::from(self.window[0] * self.window[1])
    }

    /// What the runtime's profile says of it: operator, and numbers read and made.
    pub fn signature(&self) -> (Arc<str>, u64, u64) {
        (self.op.clone(), numbers(self.input) as u64, numbers(self.output) as u64)
    }

    /// The text form, one line that is the same for equal kernels and that [`Kernel::from_str`] reads.
    pub fn key(&self) -> String {
        self.to_string()
    }
}

/// Quarters of a number from 0 to 63.
fn quarters(text: &str) -> Option<u8> {
    text.parse().ok().filter(|n: &f32| (0.0..64.0).contains(n)).map(|n| (4.0 * n) as u8)
}

fn multiplies(op: &str) -> bool {
    op.ends_with("Conv") || op.ends_with("Gemm") || op.ends_with("MatMul")
}

impl fmt::Display for Kernel {
    /// `QLinearConv last 1:1 1x32x28x28 1x64x28x28 k3x3 s1x1 d1x1 g1 +0 in24/22/18`; with an activation `Conv+Relu blocked …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = self.bytes;
        write!(f, "{}{} {} {a}:{b} ", self.op, self.fused, self.layout.word())?;
        for extents in [self.input, self.output] {
            let [n, c, h, w] = extents;
            write!(f, "{n}x{c}x{h}x{w} ")?;
        }
        for (letter, [y, x]) in [('k', self.window), ('s', self.strides), ('d', self.dilations)] {
            write!(f, "{letter}{y}x{x} ")?;
        }
        let [around, weights, since] = [self.around, self.weights, self.since].map(|quarters| f32::from(quarters) / 4.0);
        write!(f, "g{} +{} in{around}/{weights}/{since}", self.groups, self.others)
    }
}

impl FromStr for Kernel {
    type Err = String;

    fn from_str(text: &str) -> Result<Kernel, String> {
        let fields: Vec<&str> = text.split(' ').collect();
        let [op, layout, bytes, input, output, window, strides, dilations, groups, others, around] = fields[..] else {
            return Err(format!("'{text}' has {} fields, a kernel has 11", fields.len()));
        };
        let wrong = |field: &str| format!("'{field}' is no part of a kernel");
        let (_, layout) = *Layout::WORDS.iter().find(|(word, _)| *word == layout).ok_or_else(|| wrong(layout))?;
        let number = |text: &str| text.parse::<u32>().ok().filter(|&n| n <= 1 << 28).ok_or_else(|| wrong(text));
        let list = |text: &str, separator: char| text.split(separator).map(number).collect::<Result<Vec<u32>, String>>();
        let pair = |text: &str, letter: char| -> Result<[u32; 2], String> {
            let rest = text.strip_prefix(letter).ok_or_else(|| wrong(text))?;
            list(rest, 'x')?.try_into().map_err(|_| wrong(text))
        };
        let four = |text: &str| -> Result<Extents, String> { list(text, 'x')?.try_into().map_err(|_| wrong(text)) };
        let network = around.strip_prefix("in").ok_or_else(|| wrong(around))?;
        // Tables of other devices need not know more than what is moved.
        let mut network = network.split('/');
        let mut next = |usual: u8| network.next().map_or(Some(usual), quarters).ok_or_else(|| wrong(around));
        let (moves, weighs, since) = (next(USUAL)?, next(USUAL_WEIGHTS)?, next(JUST_NOW)?);
        if network.next().is_some() {
            return Err(wrong(around));
        }
        let (op, fused) = op.split_once('+').map_or((op, Fused::Nothing), |(op, fused)| (op, Fused::of(fused)));
        let sizes: [u32; 2] = list(bytes, ':')?.try_into().map_err(|_| wrong(bytes))?;
        Ok(Kernel {
            op: op.into(),
            fused,
            layout,
            bytes: sizes.map(|size| size.min(255) as u8),
            input: four(input)?,
            output: four(output)?,
            window: pair(window, 'k')?,
            strides: pair(strides, 's')?,
            dilations: pair(dilations, 'd')?,
            groups: number(groups.strip_prefix('g').ok_or_else(|| wrong(groups))?)?,
            others: number(others.strip_prefix('+').ok_or_else(|| wrong(others))?)?,
            around: moves,
            weights: weighs,
            since,
        })
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod detecting;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_operators_have_a_scale_and_a_zero_point_for_each_tensor() {
        let tensors = |op: &str, read: u32, made: u32| {
            let kernel = Kernel::same(op, Layout::Last, [1, 1], [1, read, 7, 7]);
            Kernel { output: [1, made, 7, 7], ..kernel }.tensors()
        };
        assert_eq!(["QLinearConv", "QLinearSigmoid", "Conv", "Transpose"].map(|op| tensors(op, 8, 8)), [9, 6, 4, 2]);
        assert_eq!(
            [tensors("QLinearConcat", 8, 24), tensors("QLinearConcat", 16, 24), tensors("Concat", 8, 24)],
            [12, 9, 4]
        );
        assert_eq!([tensors("Split", 24, 8), tensors("Split", 5, 4)], [5, 4]);
    }

    #[test]
    fn a_key_is_read_as_the_kernel_that_wrote_it() {
        let conv = Kernel {
            window: [3, 5],
            strides: [2, 1],
            groups: 16,
            others: 7,
            ..Kernel::same("QLinearConv", Layout::Last, [1, 4], [1, 32, 28, 14])
        };
        assert_eq!(conv.key().parse::<Kernel>().unwrap(), conv);
        assert_eq!(conv.key(), "QLinearConv last 1:4 1x32x28x14 1x32x28x14 k3x5 s2x1 d1x1 g16 +7 in24/22/18");
        let finer = Kernel { around: 4 * 24 + 1, weights: 4 * 20 + 2, since: 4 * 22 + 2, ..conv.clone() };
        assert!(finer.key().ends_with(" in24.25/20.5/22.5"));
        assert_eq!(finer.key().parse::<Kernel>().unwrap(), finer);
        for known in ["/22/18", "/18"] {
            assert_eq!(conv.key().replace(known, "").parse::<Kernel>().unwrap(), conv);
        }
        let activated = Kernel { fused: Fused::HardSwish, ..conv.clone() };
        assert!(activated.key().starts_with("QLinearConv+HardSwish last "));
        assert_eq!(activated.key().parse::<Kernel>().unwrap(), activated);
        let other = |from: &str, to: &str| conv.key().replace(from, to);
        for wrong in [
            "",
            "QLinearConv",
            &other("k3", "k-3"),
            &other("last", "first"),
            &other("in24", "in64"),
            &other("/22", "/64"),
            &other("/18", "/18/18"),
        ] {
            assert!(wrong.parse::<Kernel>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn convolutions_have_families_by_their_groups() {
        let mut conv = Kernel::same("QLinearConv", Layout::Last, [1, 1], [1, 32, 7, 7]);
        assert_eq!((conv.family().as_str(), conv.macs()), ("QLinearConv-last", 32.0 * 49.0 * 32.0));
        conv.groups = 32;
        assert_eq!((conv.family().as_str(), conv.macs()), ("QLinearConv-depthwise-last", 32.0 * 49.0));
        let gate = Kernel { others: 32, ..Kernel::same("QLinearMul", Layout::Last, [1, 1], [1, 32, 7, 7]) };
        assert_eq!(gate.family(), "QLinearMul-last");
        assert_eq!(Kernel { others: 32 * 49, ..gate }.family(), "QLinearMul-both-last");
    }
}
