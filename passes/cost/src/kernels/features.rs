//! What models of latency are made of: counts, whose weighted sum is a first estimate, and features, by which it is corrected.
//!
//! Nothing here knows a runtime. How well channels are aligned is the largest power of two that divides them; which alignment
//! matters, and from where on, is found in measurements (`predictor::rules`).

use super::{Fused, Kernel, Layout, numbers};

/// Number of counts.
const COUNTED: usize = 20;

/// Names of the counts, in the order of [`counts`].
pub const COUNTS: [&str; COUNTED] = [
    "calls",
    "macs",
    "numbers read",
    "numbers made",
    "weights",
    "taps",
    "rows",
    "pixels",
    "macs in blocks of 16",
    "macs beyond blocks of 8",
    "weights from afar",
    "calls from afar",
    "numbers activated",
    "windows",
    "blocks of 64",
    "results beyond blocks of 4",
    "output channels",
    "macs in tiles of 16 by 64",
    "macs in tiles of 6 by 16",
    "calls from farther",
];

/// How far a logarithm of bytes, in quarters, is on the way between two others. In a network that moves a MB in a run
/// ([`Kernel::around`]) a kernel finds its code and constants in a near cache again, and weights stay there; in one that moves 64 MB
/// they do not. What it takes on the way is found by measuring.
fn between(quarters: u8, least: f64, most: f64) -> f64 {
    ((f64::from(quarters) / 4.0 - least) / (most - least)).clamp(0.0, 1.0)
}

/// What counts and features are made of; all of it whole numbers, so nothing is rounded.
struct Work {
    multiplies: bool,
    /// Channels that a result is made of, and numbers of the window.
    each: u32,
    taps: u32,
    read: f64,
    made: f64,
    pixels: f64,
    macs: f64,
    weights: f64,
    /// Numbers that are gathered for a window: what a convolution by a matrix product reads.
    gathered: f64,
}

impl Work {
    fn of(kernel: &Kernel) -> Work {
        let multiplies = kernel.multiplies();
        let [n, channels, height, width] = kernel.output;
        let pixels = f64::from(n) * f64::from(height) * f64::from(width);
        let (mut read, made) = (numbers(kernel.input), pixels * f64::from(channels));
        // What takes a part of a tensor reads no more than that.
        if ["Slice", "Gather"].contains(&&*kernel.op) {
            read = read.min(made);
        }
        let taps = kernel.window[0] * kernel.window[1];
        let each = kernel.input[1] / kernel.groups.max(1);
        let window = f64::from(each) * f64::from(taps);
        Work {
            multiplies,
            each,
            taps,
            read,
            made,
            pixels,
            macs: if multiplies { made * window } else { 0.0 },
            weights: if multiplies { f64::from(channels) * window } else { f64::from(kernel.others) },
            gathered: if multiplies || taps > 1 { pixels * f64::from(kernel.input[1]) * f64::from(taps) } else { 0.0 },
        }
    }

    fn counts(&self, kernel: &Kernel) -> [f64; COUNTED] {
        let &Work { multiplies, each, taps, read, made, pixels, macs, weights, gathered } = self;
        let [far, farther] = [between(kernel.around, 20.0, 23.0), between(kernel.around, 23.0, 26.0)];
        let channels = f64::from(kernel.output[1]);
        if !multiplies && taps == 1 {
            // What goes over numbers once has nothing to gather; where channels are last and it makes another map of them, it copies
            // a row for each pixel.
            let copied = if kernel.layout == Layout::Last && kernel.input != kernel.output { pixels } else { 0.0 };
            let first = [1.0, 0.0, read, made, weights, 0.0, 0.0, copied, 0.0, 0.0, 0.0, far];
            let mut counts = [0.0; COUNTED];
            counts[..first.len()].copy_from_slice(&first);
            (counts[16], counts[19]) = (channels, farther);
            return counts;
        }
        let result = f64::from(if multiplies { each * taps } else { taps });
        let depthwise = kernel.is_depthwise();
        // A group is a convolution of its own; depthwise ones go over all channels at once.
        let groups = if depthwise { 1 } else { kernel.groups.max(1) };
        let makes = kernel.output[1] / groups;
        let pixels = pixels * f64::from(groups);
        let rows = f64::from(kernel.output[2]) * f64::from(kernel.output[1].div_ceil(16));
        // Vector instructions make many results at once, matrices a tile of them; those left over are made one by one.
        let whole = |n: f64, of: f64| (n / of).ceil() * of;
        let wide = f64::from(makes.next_multiple_of(16));
        let over = pixels * result * f64::from(kernel.output[1] % 8);
        let matrix = if multiplies && !depthwise { whole(pixels, 16.0) * whole(result, 64.0) * wide } else { 0.0 };
        let blocks = pixels * f64::from(makes.div_ceil(64));
        let single = pixels * f64::from(makes % 4);
        let weights_from_afar = if multiplies { between(kernel.weights, 20.0, 26.0) * weights } else { 0.0 };
        // Results are clipped on the way; other activations go over them again.
        let activated = if kernel.fused > Fused::Relu { made } else { 0.0 };
        let (windows, tiles) = (pixels * f64::from(taps), whole(pixels, 6.0) * result * wide);
        let blocked = pixels * result * wide;
        [
            1.0,
            macs,
            read,
            made,
            weights,
            gathered,
            rows,
            pixels,
            blocked,
            over,
            weights_from_afar,
            far,
            activated,
            windows,
            blocks,
            single,
            channels,
            matrix,
            tiles,
            farther,
        ]
    }
}

/// Quantities to which time can be proportional.
pub fn counts(kernel: &Kernel) -> [f64; COUNTED] {
    Work::of(kernel).counts(kernel)
}

/// Number of features.
const FEATURED: usize = 34;

/// Names of the features, in the order of [`features`].
pub const FEATURES: [&str; FEATURED] = [
    "input channels",
    "output channels",
    "alignment of input channels",
    "alignment of output channels",
    "input channels of a group",
    "alignment of input channels of a group",
    "output channels of a group",
    "groups",
    "window",
    "stride",
    "dilation",
    "pixels made",
    "row made",
    "alignment of the row made",
    "pixels read",
    "numbers read",
    "numbers made",
    "weights",
    "work",
    "fill of 16 output channels",
    "fill of 64 output channels",
    "fill of 64 input channels",
    "other numbers",
    "work of a number moved",
    "bytes around, logarithm",
    "input channels beyond blocks of 16",
    "output channels beyond blocks of 16",
    "numbers for a result",
    "pixels beyond blocks of 16",
    "bytes of all weights, logarithm",
    "work of the activation",
    "alignment of input channels and output channels",
    "numbers for a result beyond blocks of 64",
    "output channels of a group beyond blocks of 16",
];

/// What tells kernels of a family apart.
pub fn features(kernel: &Kernel) -> [f32; FEATURED] {
    Work::of(kernel).features(kernel)
}

/// Both at once, for whoever asks of many kernels.
pub(crate) fn counts_and_features(kernel: &Kernel) -> ([f64; COUNTED], [f32; FEATURED]) {
    let work = Work::of(kernel);
    (work.counts(kernel), work.features(kernel))
}

impl Work {
    fn features(&self, kernel: &Kernel) -> [f32; FEATURED] {
        let &Work { read, made, pixels, macs, weights, gathered, taps, .. } = self;
        let (input, output) = (kernel.input[1].max(1), kernel.output[1].max(1));
        let groups = kernel.groups.max(1);
        let each = self.each.max(1);
        let makes = if groups == 1 { output } else { (output / groups).max(1) };
        let alignment = |n: u32| (1u32 << n.trailing_zeros().min(6)) as f32;
        let fill = |n: u32, of: u32| n as f32 / n.next_multiple_of(of) as f32;
        let work = if macs > 0.0 { macs } else { gathered.max(made) };
        let moved = read + made + weights;
        [
            input as f32,
            output as f32,
            alignment(input),
            alignment(output),
            each as f32,
            alignment(each),
            makes as f32,
            groups as f32,
            taps as f32,
            kernel.strides[0].max(kernel.strides[1]) as f32,
            kernel.dilations[0].max(kernel.dilations[1]) as f32,
            pixels as f32,
            kernel.output[3] as f32,
            alignment(kernel.output[3].max(1)),
            (read / f64::from(input)) as f32,
            read as f32,
            made as f32,
            weights as f32,
            work as f32,
            fill(output, 16),
            fill(output, 64),
            fill(input, 64),
            kernel.others as f32,
            (work / moved.max(1.0)) as f32,
            f32::from(kernel.around) / 4.0,
            (input % 16) as f32,
            (output % 16) as f32,
            (each * taps) as f32,
            (pixels % 16.0) as f32,
            f32::from(kernel.weights) / 4.0,
            f32::from(kernel.fused.rank()),
            alignment(input).min(alignment(output)),
            (each * taps % 64) as f32,
            (makes % 16) as f32,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_afar_is_counted_by_what_a_network_moves_and_weighs() {
        let count = |op: &str, around: u8, weights: u8| {
            let kernel = Kernel { around, weights, ..Kernel::same(op, Layout::Last, [1, 1], [1, 8, 7, 7]) };
            let counts = counts(&kernel);
            let of = |name: &str| counts[COUNTS.iter().position(|count| *count == name).unwrap()];
            ["weights", "weights from afar", "calls from afar", "calls from farther"].map(of)
        };
        assert_eq!(count("QLinearConv", 4 * 20, 4 * 20), [64.0, 0.0, 0.0, 0.0]);
        assert_eq!(count("QLinearConv", 4 * 21 + 2, 4 * 23), [64.0, 32.0, 0.5, 0.0]);
        assert_eq!(count("QLinearConv", 4 * 27, 4 * 24 + 2), [64.0, 48.0, 1.0, 1.0]);
        assert_eq!(count("QLinearSigmoid", 4 * 26, 4 * 27), [0.0, 0.0, 1.0, 1.0]);
    }
}
