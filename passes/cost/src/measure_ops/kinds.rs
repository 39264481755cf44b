//! The kinds of kernels that are measured, and for each the simplest op of it, as a line of a chain.

use spaceevo_passes::price::{GATE, IMAGE, PIXEL, PIXEL_LAYOUT, PLAIN_POOL, SILU, STEM, TRANSPOSE};

/// The image that an op reads beside the number of the chain: three channels, and this many times the extents of the map.
#[derive(Clone, Copy)]
pub(super) enum Image {
    None,
    /// One for all ops of a chain, `%image`.
    Shared(usize),
    /// One for each op, `%image.TO`.
    Each(usize),
}

/// A kind of kernel, and how a chain of it is written.
pub(super) struct Kind {
    /// As in the table.
    pub(super) name: &'static str,
    /// Channels at which the speed is measured.
    pub(super) widths: &'static [usize],
    /// Extents of the maps, rising; none for rows of features.
    pub(super) maps: &'static [usize],
    /// One op, with the number of channels and the words that stand for types, that makes `%TO` of `%FROM`.
    pub(super) line: fn(usize) -> String,
    /// What it reads beside; maps of the chain are then of one number a channel.
    pub(super) image: Image,
    /// Work of one op for each number that it makes.
    pub(super) work: fn(usize) -> usize,
    /// The width in the table at a number of channels.
    pub(super) width: fn(usize) -> usize,
    /// Whether there is an integer kernel.
    pub(super) integer: bool,
}

impl Kind {
    /// Extents of the maps; `None` for rows.
    pub(super) fn sizes(&self) -> Vec<Option<usize>> {
        if self.maps.is_empty() { vec![None] } else { self.maps.iter().copied().map(Some).collect() }
    }
}

/// Lines of an op with weights: `WEIGHTS` is replaced by their type before extents.
fn weighted(op: &str, dims: &str, attrs: &str) -> String {
    format!("  %w.TO = const rand(SEED) : WEIGHTS{dims}\n  %TO = onnx.{op} %FROM, %w.TO{attrs} : TYPE")
}

/// The kinds, and for each the simplest op of it.
pub(super) fn kinds() -> Vec<Kind> {
    const WIDTHS: &[usize] = &[8, 16, 24, 32, 64, 96, 128, 256];
    let kind = |name, line, integer| Kind {
        name,
        widths: &[CHANNELS],
        maps: &[7, 28, 56, 112],
        line,
        image: Image::None,
        work: |_| 1,
        width: |c| c,
        integer,
    };
    vec![
        Kind {
            widths: WIDTHS,
            maps: &[7, 28],
            work: |c| c,
            ..kind("conv1x1", |c| weighted("Conv", &format!("[{c},{c},1,1]"), ""), true)
        },
        // One image for all, so that what brings it into its layout cancels.
        Kind {
            widths: &[8, 16, 24, 32, 48, 64, 128],
            maps: &[28, 112],
            image: Image::Shared(2),
            work: |_| 27,
            width: |c| (27.0 * c as f64).sqrt().round() as usize,
            ..kind(STEM, |c| stem(c, "image", 3, 2), true)
        },
        // Few products, so that the convolution itself takes little of the time.
        Kind {
            widths: &[NARROW],
            maps: &[7, 14, 28],
            image: Image::Each(8),
            work: |_| IMAGE_NUMBERS,
            ..kind(IMAGE, |c| stem(c, "image.TO", 1, 8), true)
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
        Kind { widths: &[12, 24], ..pool(PARTIAL_POOL, |c| behind_conv(c) + &window("MaxPool", "c.TO")) },
        // The sum brings the input's numbers in again: on maps that are smooth by now, branches would be foreseen.
        Kind {
            widths: &[32, 64],
            ..pool(PLAIN_POOL, |_| "  %s.TO = onnx.Add %FROM, %x : TYPE\n".to_owned() + &window("MaxPool", "s.TO"))
        },
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
        Kind { widths: &[NARROW], maps: &[14, 56, 112], ..kind(BORDER, border, true) },
        Kind { widths: &[16, 64, 256], maps: &[1], ..kind(PIXEL_LAYOUT, border, true) },
        // The input is in the plain layout, so the sum is, and each convolution's map is transposed to it and back.
        Kind {
            widths: &[NARROW],
            maps: &[14, 56, 112],
            ..kind(TRANSPOSE, |c| behind_conv(c) + "  %TO = onnx.Add %c.TO, %x : TYPE", true)
        },
    ]
}

/// A pool and the product with what it makes: the price of the product is taken off.
pub(super) const POOLED_GATE: &str = "onnx.GlobalAveragePool";
/// An op of no other use that has no integer kernel: what it takes more in integers is two conversions.
pub(super) const ISLAND: &str = "onnx.Neg";
/// Convolutions of both types: what is left when they and two conversions are taken off are changes of layout.
pub(super) const BORDER: &str = "border";
/// Channels where time does not depend on them.
pub(super) const CHANNELS: usize = 64;
/// Numbers of an image for each that the kind [`IMAGE`] makes of it.
pub(super) const IMAGE_NUMBERS: usize = 3 * 8 * 8 / NARROW;
/// A max pool of channels that are no whole blocks of any layout, in float.
pub(super) const PARTIAL_POOL: &str = "partial pool";
/// Channels of what is multiplied with a gate.
pub(super) const GATED: usize = 96;
/// Activations behind a convolution, whose float kernel does them as it stores its result: a kind for each.
pub(super) const FUSED: [(&str, &str); 5] = [
    ("fused Relu", "onnx.Relu"),
    ("fused Clip", "onnx.Clip"),
    ("fused LeakyRelu", "onnx.LeakyRelu"),
    ("fused HardSigmoid", "onnx.HardSigmoid"),
    ("fused HardSwish", "onnx.HardSwish"),
];
/// Channels of convolutions that are only there for the layout that they ask for.
pub(super) const NARROW: usize = 16;

/// Kinds that are measured behind a convolution, whose layout they take over; its price is taken off.
pub(super) const POOLS: [&str; 2] = ["onnx.MaxPool", "onnx.AveragePool"];

fn pool(name: &'static str, line: fn(usize) -> String) -> Kind {
    Kind {
        name,
        widths: &[16, 32, 64, 128, 256],
        maps: &[14, 42],
        line,
        image: Image::None,
        work: |_| 1,
        width: |c| c,
        integer: true,
    }
}

/// A kind of [`FUSED`].
fn fused(name: &'static str, line: fn(usize) -> String) -> Kind {
    Kind { name, widths: &[CHANNELS], maps: &[7, 28], line, image: Image::None, work: |_| 1, width: |c| c, integer: false }
}

/// A convolution of an image, of so many taps a side, and one that takes a single pixel of its map, so that nothing else is done
/// with the map, in whatever layout it is.
fn stem(channels: usize, image: &str, taps: usize, stride: usize) -> String {
    let attrs = format!(" {{pads = [{0}, {0}, {0}, {0}], strides = [{stride}, {stride}]}}", taps / 2);
    let conv = weighted("Conv", &format!("[{channels},3,{taps},{taps}]"), &attrs).replace("%FROM", &format!("%{image}"));
    let attrs = format!(" {{group = {channels}, strides = [SIDE, SIDE]}}");
    let pixel = weighted("Conv", &format!("[{channels},1,1,1]"), &attrs).replace("%w.", "%v.").replace("%FROM", "%c.TO");
    let map = conv.replace("%TO", "%c.TO").replace("TYPE", "ELEM[MAP]");
    format!("{map}\n{}\n  %TO = onnx.Add %FROM, %p.TO : TYPE", pixel.replace("%TO", "%p.TO"))
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

/// An integer convolution and two float ones: the runtime takes one alone for a quantized one whose weights were forgotten.
fn border(channels: usize) -> String {
    let weights = format!("  %f.TO = const rand(SEED) : f32[{channels},{channels},1,1]\n");
    let first = "  %d.TO = onnx.Conv %c.TO, %f.TO : f32[DIMS]\n";
    behind_conv(channels) + &weights + first + "  %TO = onnx.Conv %d.TO, %f.TO : TYPE"
}

/// A pool of what is named.
fn window(op: &str, read: &str) -> String {
    format!("  %TO = onnx.{op} %{read} {{kernel_shape = [3, 3], pads = [1, 1, 1, 1]}} : TYPE")
}

/// Work of pools is counted in taps.
pub(super) fn taps(kind: &str) -> usize {
    if [PLAIN_POOL, PARTIAL_POOL, "onnx.MaxPool", "onnx.AveragePool"].contains(&kind) { 9 } else { 1 }
}
