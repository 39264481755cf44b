//! What models of latency are made of: counts, whose weighted sum is a first estimate, and features, by which it is corrected.
//!
//! Nothing here knows a runtime but for what it calls changes of layout. How well channels are aligned is the largest power of two
//! that divides them; which alignment matters, and from where on, is found in measurements (`predictor::discover`).
//!
//! A kernel is taken apart into whole numbers first ([`parts`]); what is made of them ([`computed`]) has no branch, so that it is made of
//! many kernels side by side.

use super::{Fused, Kernel, Layout};

/// Number of counts.
const COUNTED: usize = 29;

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
    "weights from farther",
    "pixels whose sums are not in blocks of 16",
    "bytes beyond a MB",
    "calls after long",
    "calls after longer",
    "numbers of planes on each other",
    "numbers beyond blocks",
    "macs at the ends of rows",
    "bytes from afar",
];

/// Number of features.
const FEATURED: usize = 35;

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
    "bytes since the operator ran, logarithm",
];

/// What counts and features are made of, all of it whole numbers, so that nothing is rounded: places in [`Parts`].
#[derive(Clone, Copy)]
enum Part {
    Batch,
    /// What is read: other maps where axes change their places.
    InputBatch,
    Input,
    InputHeight,
    InputWidth,
    Output,
    Height,
    Width,
    Taps,
    Stride,
    Dilation,
    Groups,
    /// Channels of a group that a result is made of, and that are made of them.
    Each,
    Makes,
    Others,
    /// What is below 256, four to a part ([`Byte`]).
    Network,
    Traits,
    /// Channels that a change of their order goes through together; 0 of other ops.
    Together,
    /// Runs of numbers beside each other that are gone over one by one ([`runs`]).
    Runs,
    /// Results of a row whose window reaches beyond it, if the row is padded.
    Ends,
}

/// What is below 256: its part, and which byte of it.
#[derive(Clone, Copy)]
struct Byte(Part, u32);

const AROUND: Byte = Byte(Part::Network, 0);
const WEIGHTS: Byte = Byte(Part::Network, 1);
const SINCE: Byte = Byte(Part::Network, 2);
const FUSED: Byte = Byte(Part::Network, 3);
/// Bytes of a number that is read, and of one that is made.
const READS: Byte = Byte(Part::Traits, 0);
const STORES: Byte = Byte(Part::Traits, 1);
/// 1 of ops that read no more than they make.
const TAKES: Byte = Byte(Part::Traits, 2);
/// 1 of ops whose work is multiply-accumulates, 2 more where each channel has a filter of its own.
const MULTIPLIES: Byte = Byte(Part::Traits, 3);

/// The parts of a kernel.
type Parts = [u32; PARTS];
/// How many there are.
pub(crate) const PARTS: usize = Part::Ends as usize + 1;

/// What of an operator counts and features depend on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Does {
    multiplies: bool,
    takes: bool,
    together: u32,
}

impl Does {
    pub(crate) fn of(op: &str) -> Does {
        // Blocks have 16 channels; without them all are gone through.
        let together = match op {
            "ReorderInput" | "ReorderOutput" => 16,
            "Transpose" => u32::MAX,
            _ => 0,
        };
        // What takes a part of a tensor reads no more than that.
        Does { multiplies: super::multiplies(op), takes: ["Slice", "Gather"].contains(&op), together }
    }
}

/// The parts of a kernel, whose operator does `does`.
#[inline]
pub(crate) fn parts(kernel: &Kernel, does: Does) -> Parts {
    let ([batch, output, height, width], groups) = (kernel.output, kernel.groups.max(1));
    let [each, makes] = if groups == 1 { [kernel.input[1], output] } else { [kernel.input[1] / groups, output / groups] };
    let mut parts = [0; PARTS];
    let mut set = |part: Part, number: u32| parts[part as usize] = number;
    set(Part::Batch, batch);
    set(Part::InputBatch, kernel.input[0]);
    set(Part::Input, kernel.input[1]);
    set(Part::InputHeight, kernel.input[2]);
    set(Part::InputWidth, kernel.input[3]);
    set(Part::Output, output);
    set(Part::Height, height);
    set(Part::Width, width);
    set(Part::Taps, kernel.window[0].wrapping_mul(kernel.window[1]));
    set(Part::Stride, kernel.strides[0].max(kernel.strides[1]));
    set(Part::Dilation, kernel.dilations[0].max(kernel.dilations[1]));
    set(Part::Groups, groups);
    set(Part::Each, each);
    set(Part::Makes, makes);
    set(Part::Others, kernel.others);
    set(Part::Network, u32::from_le_bytes([kernel.around, kernel.weights, kernel.since, kernel.fused.rank()]));
    let multiplies = u8::from(does.multiplies) | u8::from(kernel.is_depthwise()) << 1;
    set(Part::Traits, u32::from_le_bytes([kernel.bytes[0], kernel.bytes[1], does.takes.into(), multiplies]));
    set(Part::Together, does.together.min(kernel.input[1]));
    let pixels = batch.wrapping_mul(height).wrapping_mul(width);
    // What is divided only where it counts: many kernels are asked for.
    set(Part::Runs, if does.multiplies { 0 } else { runs(kernel, pixels).max(pixels * does.together.min(1)) });
    let reach = (kernel.window[1].max(1) - 1).wrapping_mul(kernel.dilations[1]);
    set(Part::Ends, if reach == 0 { 0 } else { (reach / kernel.strides[1].max(1)).min(width) });
    parts
}

/// How many runs of numbers an op without a window goes over. Where channels are last, these are channels at each of `pixels`: those of
/// each map that is joined, about as many as the first one fits into the result; one of a map that a part is taken of, or that is scaled
/// by channel. Else they are what is behind the axis along which maps are joined or parts taken; whole maps are no runs.
fn runs(kernel: &Kernel, pixels: u32) -> u32 {
    let Kernel { input, output, others, .. } = kernel;
    let joined = |axis: usize| output[axis].div_ceil(input[axis].max(1)).max(1);
    let product = |extents: &[u32]| extents.iter().fold(1u32, |product, &extent| product.wrapping_mul(extent));
    match kernel.layout {
        Layout::Last if input != output => pixels.wrapping_mul(joined(1)),
        Layout::Last if output[1] > 1 && *others == output[1] => pixels,
        Layout::Plain if product(input) != product(output) => {
            let axis = (0..4).rfind(|&axis| input[axis] != output[axis]).unwrap_or(0);
            let before = product(&output[..axis]);
            if before > 1 { before.wrapping_mul(joined(axis)) } else { 0 }
        }
        _ => 0,
    }
}

/// Counts and features of a kernel, whose parts `part` says. Without a branch, so that compilers make vectors of many kernels.
#[inline(always)]
pub(crate) fn computed(part: impl Fn(usize) -> u32) -> ([f64; COUNTED], [f32; FEATURED]) {
    use Part::{
        Batch, Dilation, Each, Ends, Groups, Height, Input, InputBatch, InputHeight, InputWidth, Makes, Others, Output,
        Runs, Stride, Taps, Together, Width,
    };
    let whole = |p: Part| part(p as usize);
    let is = |p: Part| part(p as usize) != 0;
    let n = |p: Part| f64::from(part(p as usize));
    let byte = |Byte(p, at): Byte| whole(p) >> (8 * at) & 0xff;
    let (multiplies, depthwise) = (byte(MULTIPLIES) & 1 > 0, byte(MULTIPLIES) & 2 > 0);
    let only = |yes: bool, n: f64| if yes { n } else { 0.0 };
    let next = |n: u32, of: u32| n.wrapping_add(of - 1) & !(of - 1);

    let maps = n(Batch) * n(Height) * n(Width);
    let made = maps * n(Output);
    let of_input = n(InputBatch) * n(InputHeight) * n(InputWidth);
    let all = of_input * n(Input);
    let read = if byte(TAKES) > 0 { all.min(made) } else { all };
    let window = n(Each) * n(Taps);
    let macs = only(multiplies, made * window);
    let weights = if multiplies { n(Output) * window } else { n(Others) };
    let windowed = multiplies | (whole(Taps) > 1);
    // Numbers that are gathered for a window: what a convolution by a matrix product reads.
    let gathered = only(windowed, maps * n(Input) * n(Taps));
    // What a single pixel makes is read where it is.
    let copied = (whole(Taps) > 1) | (whole(Stride) > 1);

    // In a network that moves a MB in a run ([`Kernel::around`]) a kernel finds its code and constants in a near cache again, and
    // weights stay there; in one that moves 64 MB they do not. What it takes on the way is found by measuring.
    // What goes over numbers once has nothing to gather, but it may have loops for each pixel. A group is a convolution of its own;
    // depthwise ones go over all channels at once.
    let makes = if depthwise { whole(Output) } else { whole(Makes) };
    let pixels = maps * if depthwise { 1.0 } else { n(Groups) };
    let result = only(windowed, if multiplies { window } else { n(Taps) });
    // Vector instructions make many results at once, matrices a tile of them; those left over are made one by one.
    let tiles = |n: f64, of: f64| (n / of).ceil() * of;
    let wide = f64::from(next(makes, 16));
    let matrix = only(multiplies & !depthwise, tiles(pixels, 16.0) * tiles(result, 64.0) * wide);
    let sums = whole(Each).max(1).wrapping_mul(whole(Taps));
    // Results are clipped on the way; other activations go over them again, and an exponential takes three times as long as what is
    // only added, multiplied and clipped (0.3 ns to 0.1, AMD EPYC of the Zen 4 kind).
    let again = if byte(FUSED) < u32::from(Fused::Clip.rank()) {
        0.0
    } else if byte(FUSED) < u32::from(Fused::Sigmoid.rank()) {
        1.0
    } else {
        3.0
    };
    let activated = only(windowed, again * made);
    // What does not fit into a near cache comes from memory that is slower.
    let bytes = (read + if multiplies { 0.0 } else { n(Others) }) * f64::from(byte(READS)) + made * f64::from(byte(STORES));
    // A near cache has eight places for what is so many pages apart; what goes through more such planes together finds nothing again.
    let plane = whole(InputHeight).wrapping_mul(whole(InputWidth)).wrapping_mul(byte(READS));
    let each_on_other = whole(Together).min(4096).wrapping_mul((plane & plane.wrapping_neg()).min(PAGE)) > 8 * PAGE;
    let counts = [
        1.0,
        macs,
        read,
        made,
        weights,
        only(copied, gathered),
        only(windowed, n(Height) * f64::from(next(whole(Output), 16) / 16)),
        if windowed { pixels } else { n(Runs) },
        pixels * result * wide,
        pixels * result * f64::from(whole(Output) % 8),
        only(multiplies, between(byte(WEIGHTS), 20.0, 26.0) * weights),
        between(byte(AROUND), 20.0, 23.0),
        activated,
        only(windowed & copied, pixels * n(Taps)),
        only(windowed, pixels * f64::from(next(makes, 64) / 64)),
        only(windowed, pixels * f64::from(makes % 4)),
        n(Output),
        matrix,
        only(windowed, tiles(pixels, 6.0) * result * wide),
        between(byte(AROUND), 23.0, 26.0),
        only(multiplies, between(byte(AROUND), 21.0, 26.0) * weights),
        only(multiplies & !depthwise & (sums % 16 != 0), pixels),
        (bytes - 1_048_576.0).max(0.0),
        between(byte(SINCE), 18.0, 21.0),
        between(byte(SINCE), 21.0, 25.0),
        only(each_on_other, made),
        // Of bytes blocks of eight channels change their order at once, of floats blocks of sixteen.
        only(is(Together), of_input * f64::from(whole(Input) % if byte(READS) > 1 { 16 } else { 8 })),
        // Where a window reaches over the end of a row, results are made one by one; of integers, windows are gathered before.
        only(multiplies & (byte(READS) > 1), macs * n(Ends) / n(Width).max(1.0)),
        // Maps of a network that moves much are in no near cache when they are made anew; of what multiplies, weights say it.
        only(!multiplies, between(byte(AROUND), 21.0, 26.0) * bytes),
    ];

    let f = |p: Part| part(p as usize) as f32;
    let one = |p: Part| part(p as usize).max(1);
    let alignment = |n: u32| (n & n.wrapping_neg()).min(64) as f32;
    let fill = |n: u32, of: u32| n as f32 / next(n, of) as f32;
    let [input, output, each, made_of] = [one(Input), one(Output), one(Each), one(Makes)];
    let work = if macs > 0.0 { macs } else { gathered.max(made) };
    let moved = read + made + weights;
    let features = [
        input as f32,
        output as f32,
        alignment(input),
        alignment(output),
        each as f32,
        alignment(each),
        made_of as f32,
        f(Groups),
        f(Taps),
        f(Stride),
        f(Dilation),
        maps as f32,
        f(Width),
        alignment(one(Width)),
        (read / f64::from(input)) as f32,
        read as f32,
        made as f32,
        weights as f32,
        work as f32,
        fill(output, 16),
        fill(output, 64),
        fill(input, 64),
        f(Others),
        (work / moved.max(1.0)) as f32,
        byte(AROUND) as f32 / 4.0,
        (input % 16) as f32,
        (output % 16) as f32,
        sums as f32,
        (whole(Batch).wrapping_mul(whole(Height)).wrapping_mul(whole(Width)) % 16) as f32,
        byte(WEIGHTS) as f32 / 4.0,
        byte(FUSED) as f32,
        alignment(input).min(alignment(output)),
        (sums % 64) as f32,
        (made_of % 16) as f32,
        byte(SINCE) as f32 / 4.0,
    ];
    (counts, features)
}

/// How far a binary logarithm, in quarters, is on the way between two others, from 0 to 1.
#[inline(always)]
pub(crate) fn between(quarters: u32, least: f64, most: f64) -> f64 {
    ((f64::from(quarters) - 4.0 * least) * (0.25 / (most - least))).clamp(0.0, 1.0)
}

/// Bytes after which places of a near cache come again.
const PAGE: u32 = 4096;

/// Quantities to which time can be proportional.
pub fn counts(kernel: &Kernel) -> [f64; COUNTED] {
    counts_and_features(kernel).0
}

/// What tells kernels of a family apart.
pub fn features(kernel: &Kernel) -> [f32; FEATURED] {
    counts_and_features(kernel).1
}

/// Both at once.
pub(crate) fn counts_and_features(kernel: &Kernel) -> ([f64; COUNTED], [f32; FEATURED]) {
    let parts = parts(kernel, Does::of(&kernel.op));
    computed(|part| parts[part])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_single_pixel_makes_is_not_gathered() {
        let gathered = |window: u32, stride: u32| {
            let kernel = Kernel {
                window: [window; 2],
                strides: [stride; 2],
                ..Kernel::same("QLinearConv", Layout::Last, [1, 1], [1, 8, 7, 7])
            };
            let counts = counts(&kernel);
            ["taps", "windows"].map(|name| counts[COUNTS.iter().position(|count| *count == name).unwrap()])
        };
        assert_eq!(gathered(1, 1), [0.0, 0.0]);
        assert_eq!(gathered(1, 2), [49.0 * 8.0, 49.0]);
        assert_eq!(gathered(3, 1), [49.0 * 8.0 * 9.0, 49.0 * 9.0]);
    }

    #[test]
    fn sums_that_are_not_in_blocks_are_counted_by_pixel() {
        let pixels = |input: u32, window: u32, groups: u32| {
            let kernel = Kernel {
                window: [window; 2],
                groups,
                ..Kernel::same("QLinearConv", Layout::Last, [1, 1], [1, input, 7, 7])
            };
            counts(&kernel)[COUNTS.iter().position(|count| count.starts_with("pixels whose sums")).unwrap()]
        };
        assert_eq!([pixels(16, 1, 1), pixels(24, 1, 1), pixels(16, 3, 1), pixels(8, 3, 1)], [0.0, 49.0, 0.0, 49.0]);
        assert_eq!(pixels(24, 3, 24), 0.0, "a channel for itself has no sum over channels");
    }

    #[test]
    fn what_comes_from_afar_is_counted_by_what_a_network_moves_and_weighs() {
        let count = |op: &str, around: u8, weights: u8| {
            let kernel = Kernel { around, weights, ..Kernel::same(op, Layout::Last, [1, 1], [1, 8, 7, 7]) };
            let counts = counts(&kernel);
            let of = |name: &str| counts[COUNTS.iter().position(|count| *count == name).unwrap()];
            ["weights", "weights from afar", "calls from afar", "calls from farther", "weights from farther"].map(of)
        };
        assert_eq!(count("QLinearConv", 4 * 20, 4 * 20), [64.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(count("QLinearConv", 4 * 21 + 2, 4 * 23), [64.0, 32.0, 0.5, 0.0, 6.4]);
        assert_eq!(count("QLinearConv", 4 * 27, 4 * 24 + 2), [64.0, 48.0, 1.0, 1.0, 64.0]);
        assert_eq!(count("QLinearSigmoid", 4 * 26, 4 * 27), [0.0, 0.0, 1.0, 1.0, 0.0]);
    }

    fn count(kernel: &Kernel, name: &str) -> f64 {
        counts(kernel)[COUNTS.iter().position(|count| *count == name).unwrap()]
    }

    #[test]
    fn bytes_are_counted_beyond_a_mb() {
        let beyond = |channels: u32| {
            let kernel = Kernel::same("QuantizeLinear", Layout::Plain, [4, 1], [1, channels, 64, 64]);
            count(&Kernel { others: 64 * 64, ..kernel }, "bytes beyond a MB")
        };
        assert_eq!([beyond(50), beyond(60)], [0.0, f64::from(64 * 64 * (4 * 61 + 60)) - 1_048_576.0]);
    }

    #[test]
    fn bytes_from_afar_are_counted_by_what_a_network_moves() {
        let of = |op: &str, around: u8| {
            let kernel = Kernel { around, ..Kernel::same(op, Layout::Last, [1, 1], [1, 8, 5, 5]) };
            count(&kernel, "bytes from afar")
        };
        assert_eq!([20, 21, 26, 30].map(|around| of("QLinearSigmoid", 4 * around)), [0.0, 0.0, 400.0, 400.0]);
        assert_eq!(of("QLinearSigmoid", 4 * 23 + 2), 200.0);
        assert_eq!(of("QLinearConv", 4 * 26), 0.0, "its weights are");
    }

    #[test]
    fn of_changes_of_order_planes_on_each_other_count_and_what_is_beyond_blocks() {
        let moved = |op: &str, byte: u8, channels: u32, size: u32| {
            let kernel = Kernel::same(op, Layout::Last, [byte; 2], [1, channels, size, size]);
            ["numbers of planes on each other", "numbers beyond blocks", "pixels"].map(|name| count(&kernel, name))
        };
        assert_eq!(moved("Transpose", 1, 24, 64), [24.0 * 4096.0, 0.0, 4096.0], "planes of a page");
        assert_eq!(moved("Transpose", 1, 28, 56), [0.0, 4.0 * 3136.0, 3136.0]);
        assert_eq!(moved("Transpose", 4, 24, 56), [0.0, 8.0 * 3136.0, 3136.0]);
        assert_eq!(moved("Transpose", 1, 8, 64)[0], 0.0, "as many as there is room for");
        assert_eq!(moved("Transpose", 1, 33, 32)[0], 33.0 * 1024.0, "four to a page");
        assert_eq!(moved("ReorderInput", 4, 64, 32)[0], 64.0 * 1024.0);
        assert_eq!(moved("ReorderInput", 4, 64, 16)[0], 0.0, "of sixteen, four in each place");
        assert_eq!(moved("Clip", 1, 24, 64), [0.0; 3]);
    }

    #[test]
    fn windows_that_reach_over_the_ends_of_rows_are_counted() {
        let part = |window: u32, stride: u32, width: u32| {
            let kernel = Kernel {
                window: [window; 2],
                strides: [stride; 2],
                ..Kernel::same("Conv", Layout::Blocked, [4, 4], [1, 8, width, width])
            };
            count(&kernel, "macs at the ends of rows") / count(&kernel, "macs")
        };
        assert_eq!([part(1, 1, 10), part(7, 1, 10), part(7, 2, 10), part(7, 1, 4)], [0.0, 0.6, 0.3, 1.0]);
        let stored = Kernel { window: [7; 2], ..Kernel::same("QLinearConv", Layout::Last, [1, 1], [1, 8, 10, 10]) };
        assert_eq!(count(&stored, "macs at the ends of rows"), 0.0);
    }

    #[test]
    fn exponentials_count_three_times() {
        let activated = |fused: Fused| {
            let kernel = Kernel::same("Conv", Layout::Blocked, [4, 4], [1, 8, 5, 5]);
            count(&Kernel { fused, ..kernel }, "numbers activated")
        };
        let found =
            [Fused::Nothing, Fused::Relu, Fused::Clip, Fused::HardSwish, Fused::Sigmoid, Fused::Other].map(activated);
        assert_eq!(found, [0.0, 0.0, 200.0, 200.0, 600.0, 600.0]);
    }

    #[test]
    fn calls_after_long_are_counted() {
        let kernel = |since: u8| Kernel { since, ..Kernel::same("Softmax", Layout::Plain, [4, 4], [1, 8, 1, 1]) };
        let of = |since: u8| ["calls after long", "calls after longer"].map(|name| count(&kernel(since), name));
        assert_eq!([of(4 * 18), of(4 * 19 + 2), of(4 * 23), of(4 * 30)], [[0.0, 0.0], [0.5, 0.0], [1.0, 0.5], [1.0, 1.0]]);
    }

    #[test]
    fn where_channels_are_last_pixels_count_that_have_a_loop_of_their_own() {
        let pixels = |layout: Layout, input: u32, others: u32| {
            let kernel = Kernel::same("Mul", layout, [1, 1], [1, 24, 5, 5]);
            count(&Kernel { input: [1, input, 5, 5], others, ..kernel }, "pixels")
        };
        assert_eq!(pixels(Layout::Last, 24, 0), 0.0, "one loop over all");
        assert_eq!(pixels(Layout::Last, 24, 24), 25.0, "a factor for each channel");
        assert_eq!(pixels(Layout::Last, 8, 0), 75.0, "three maps are joined");
        assert_eq!(pixels(Layout::Last, 48, 0), 25.0, "half of a map");
        assert_eq!(pixels(Layout::Plain, 24, 24), 0.0);
    }

    #[test]
    fn where_channels_are_first_runs_are_what_is_behind_the_axis_of_a_join() {
        let runs = |input: [u32; 4], output: [u32; 4]| {
            let kernel = Kernel { input, ..Kernel::same("Concat", Layout::Plain, [4, 4], output) };
            count(&kernel, "pixels")
        };
        assert_eq!(runs([1, 4420, 2, 1], [1, 4420, 4, 1]), 2.0 * 4420.0, "pairs");
        assert_eq!(runs([1, 80, 13, 13], [1, 85, 13, 13]), 0.0, "whole maps");
        assert_eq!(runs([1, 4420, 4, 1], [1, 4420, 2, 1]), 4420.0, "half of each");
        assert_eq!(runs([1, 85, 52, 52], [1, 85, 2704, 1]), 0.0, "no number moves");
    }
}
