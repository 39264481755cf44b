//! Convolutions and pools on stored maps.

use std::fmt;

use super::{Allowed, Drawn, Family, ZEROS, between, bytes, nested, weights};
use crate::instance::Dice;

pub(super) const FAMILIES: &[Family] = &[
    Family { pass: "lower-avg-pool", about: "padding counts", draw: pool },
    Family { pass: "lower-avg-pool", about: "borders", draw: border },
    Family { pass: "merge-groups", about: "", draw: groups },
    Family { pass: "merge-siblings", about: "stored", draw: siblings },
    Family { pass: "pad-stem", about: "", draw: stem },
    Family { pass: "pair-pixels", about: "", draw: stem },
    Family { pass: "legalize-width", about: "", draw: width },
    Family { pass: "legalize-width", about: "cut", draw: cut },
    Family { pass: "lower-resize", about: "", draw: resize },
    Family { pass: "sink-channel-shuffle", about: "stored", draw: shuffle },
];

/// A type of bytes.
#[derive(Clone, Copy)]
struct Stored {
    scale: f32,
    zero: i64,
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "qu8({:?}, {})", self.scale, self.zero)
    }
}

/// A type of bytes, and that of a sum of `taps` products with weights that spreads over the result's type, or far beyond.
fn types(dice: &mut Dice, taps: usize) -> (Stored, Stored) {
    let scale = between(dice, 1e-3, 1.0);
    let to = scale * 0.01 * 60.0 * (taps as f64).sqrt() * between(dice, 0.05, 4.0);
    let mut stored = |scale: f64| Stored { scale: scale as f32, zero: dice.of(ZEROS) };
    (stored(scale), stored(to))
}

/// Stored weights `%name` with a scale for all or for each filter, a bias `%name.b` or none, and the operands that they are.
fn filters(dice: &mut Dice, name: &str, from: Stored, dims: [usize; 4], each: bool) -> (String, String) {
    let count = dims[0];
    let scales: Vec<f32> = (0..if each { count } else { 1 }).map(|_| between(dice, 1e-3, 1e-1) as f32).collect();
    let place = |scales: Vec<f32>| if each { format!("axis 0, {scales:?}") } else { format!("{:?}", scales[0]) };
    let stored = weights(dice, &dims);
    let text = format!("  %{name} = const {stored} : qi8({}, 0){dims:?}\n", place(scales.clone()));
    if dice.below(2) == 0 {
        return (text, format!("%{name}"));
    }
    let mut number = || if dice.below(8) == 0 { dice.of(&[0, 40000, -40000]) } else { dice.below(8000) as i64 - 4000 };
    let bias = nested(&[count], &mut || number().to_string());
    let units = place(scales.iter().map(|scale| from.scale * scale).collect());
    (format!("{text}  %{name}.b = const {bias} : qi32({units}, 0)[{count}]\n"), format!("%{name}, %{name}.b"))
}

/// Extent of a map behind a window.
fn behind(size: usize, window: usize, pad: usize, stride: usize) -> usize {
    (size + 2 * pad - window) / stride + 1
}

/// A result of a pool with its window, pads and stride, and the data of 3 x 24 x 24.
fn pooled(dice: &mut Dice, window: [usize; 2], pads: [usize; 2], stride: usize, counts: usize) -> Drawn {
    let scale = between(dice, 1e-4, 1e2);
    let to = (scale * between(dice, 0.1, 2.0)) as f32;
    let ([high, wide], [top, left]) = (window, pads);
    let (rows, columns) = (behind(24, high, top, stride), behind(24, wide, left, stride));
    let (zero, to_zero) = (dice.of(ZEROS), dice.of(ZEROS));
    let text = format!(
        "graph @main(%x: qu8({:?}, {zero})[1,3,24,24]) with {{opset = 17}} {{\n  %y = onnx.AveragePool %x {{kernel_shape = \
         [{high}, {wide}], pads = [{top}, {left}, {top}, {left}], strides = [{stride}, {stride}], count_include_pad = {counts}}} \
         : qu8({to:?}, {to_zero})[1,3,{rows},{columns}]\n  return %y\n}}\n",
        scale as f32
    );
    Drawn { text, inputs: vec![bytes(dice, &[1, 3, 24, 24])], allowed: Allowed::Ties }
}

fn pool(dice: &mut Dice) -> Drawn {
    let window = [1 + dice.below(5), 1 + dice.below(7)];
    let (pads, counts) = if dice.below(2) == 0 { ([0, 0], 0) } else { ([window[0] / 2, window[1] / 2], 1) };
    let stride = 1 + dice.below(2);
    pooled(dice, window, pads, stride, counts)
}

/// The sum is rounded to a step and multiplied by `kh kw / inside` at the border, which moves it by half of that; each form rounds
/// once more.
fn border(dice: &mut Dice) -> Drawn {
    let [high, wide] = dice.of(&[[3, 3], [2, 3], [3, 1], [3, 2]]);
    let (pads, stride) = ([high / 2, wide / 2], 1 + dice.below(2));
    let drawn = pooled(dice, [high, wide], pads, stride, 0);
    let inside = |at: usize, window: usize, pad: usize| {
        let first = (at * stride) as i64 - pad as i64;
        ((first + window as i64).min(24) - first.max(0)) as f64
    };
    let (rows, columns) = (behind(24, high, pads[0], stride), behind(24, wide, pads[1], stride));
    let bound = |at: usize| {
        let (y, x) = (at / columns % rows, at % columns);
        0.5 * (high * wide) as f64 / (inside(y, high, pads[0]) * inside(x, wide, pads[1])) + 1.001
    };
    Drawn { allowed: Allowed::Steps((0..3 * rows * columns).map(bound).collect()), ..drawn }
}

/// A convolution in a graph of its own.
fn convolution(dice: &mut Dice, channels: usize, filters: usize, groups: usize, kernel: usize) -> Drawn {
    let (size, pad, stride) = (kernel + 2 + dice.below(5), dice.below(kernel), 1 + dice.below(2));
    let each = channels / groups;
    let (from, to) = types(dice, each * kernel * kernel);
    let out = behind(size, kernel, pad, stride);
    let shared = dice.below(3) == 0;
    let (constants, operands) = self::filters(dice, "w", from, [filters, each, kernel, kernel], !shared);
    let text = format!(
        "graph @main(%x: {from}[1,{channels},{size},{size}]) with {{opset = 17}} {{\n{constants}  \
         %y = onnx.Conv %x, {operands} {{group = {groups}, pads = [{pad}, {pad}, {pad}, {pad}], strides = [{stride}, {stride}]}} : \
         {to}[1,{filters},{out},{out}]\n  return %y\n}}\n"
    );
    Drawn { text, inputs: vec![bytes(dice, &[1, channels, size, size])], allowed: Allowed::Bits }
}

fn groups(dice: &mut Dice) -> Drawn {
    let groups = dice.of(&[2, 3, 4, 6, 8]);
    let (each, filters, kernel) = (2 + dice.below(7), 1 + dice.below(8), dice.of(&[1, 3]));
    convolution(dice, groups * each, groups * filters, groups, kernel)
}

pub(super) fn stem(dice: &mut Dice) -> Drawn {
    let (filters, kernel) = (1 + dice.below(20), dice.of(&[1, 2, 3, 5, 7]));
    convolution(dice, 3, filters, 1, kernel)
}

/// An inverted bottleneck of odd widths.
/// Few filters, whose channels a reader needs as they are.
fn cut(dice: &mut Dice) -> Drawn {
    let (channels, count, size) = (4 * (8 + dice.below(5)), 9 + dice.below(7), 24 + dice.below(9));
    let (from, to) = types(dice, 9 * channels);
    let (w, with_w) = filters(dice, "w", from, [count, channels, 3, 3], true);
    let text = format!(
        "graph @main(%x: {from}[1,{channels},{size},{size}]) with {{opset = 17}} {{\n{w}  \
         %c = onnx.Conv %x, {with_w} {{pads = [1, 1, 1, 1]}} : {to}[1,{count},{size},{size}]\n  \
         %y = onnx.Transpose %c {{perm = [0, 2, 3, 1]}} : {to}[1,{size},{size},{count}]\n  return %y, %c\n}}\n"
    );
    Drawn { text, inputs: vec![bytes(dice, &[1, channels, size, size])], allowed: Allowed::Bits }
}

/// Convolutions of few filters that read the same map, of which one is the result. A zero point that others do not share is a bias
/// in whole numbers.
fn siblings(dice: &mut Dice) -> Drawn {
    let (channels, kernel, size) = (8 * (4 + dice.below(9)), dice.of(&[1, 3]), 3 + dice.below(6));
    let (from, first) = types(dice, channels * kernel * kernel);
    let (count, shared) = (3 + dice.below(3), dice.below(2) == 0);
    let (made, out) = (dice.below(count), size + 1 - kernel);
    let (mut body, mut filters_made) = (String::new(), 0);
    for head in 0..count {
        let filters = 1 + dice.below(3);
        let name = format!("w{head}");
        let (constants, operands) = self::filters(dice, &name, from, [filters, channels, kernel, kernel], true);
        let scale = first.scale * between(dice, 0.3, 10.0) as f32;
        let to = Stored { scale, zero: if shared { first.zero } else { dice.of(ZEROS) } };
        body += &format!("{constants}  %h{head} = onnx.Conv %x, {operands} : {to}[1,{filters},{out},{out}]\n");
        filters_made = if head == made { filters } else { filters_made };
    }
    let text =
        format!("graph @main(%x: {from}[1,{channels},{size},{size}]) with {{opset = 17}} {{\n{body}  return %h{made}\n}}\n");
    let allowed = if shared { Allowed::Ties } else { Allowed::Steps(vec![1.0; filters_made * out * out]) };
    Drawn { text, inputs: vec![bytes(dice, &[1, channels, size, size])], allowed }
}

fn resize(dice: &mut Dice) -> Drawn {
    let [channels, high, wide] = [1 + dice.below(20), 1 + dice.below(12), 1 + dice.below(12)];
    let [by_high, by_wide] = [1 + dice.below(4), 1 + dice.below(4)];
    let twice = by_high.max(by_wide) <= 2;
    let (mapping, nearest) = match dice.below(4) {
        0 => ("asymmetric", "floor"),
        1 if twice => ("asymmetric", "round_prefer_floor"),
        2 => ("pytorch_half_pixel", "round_prefer_ceil"),
        _ => ("half_pixel", "round_prefer_floor"),
    };
    let (ty, _) = types(dice, 9);
    let (to_high, to_wide) = (high * by_high, wide * by_wide);
    let (constant, operand) = if dice.below(2) == 0 {
        (format!("const [1.0, 1.0, {by_high}.0, {by_wide}.0] : f32[4]"), "%size")
    } else {
        (format!("const [2, {channels}, {to_high}, {to_wide}] : i64[4]"), "_, %size")
    };
    let text = format!(
        "graph @main(%x: {ty}[2,{channels},{high},{wide}]) with {{opset = 17}} {{\n  %size = {constant}\n  \
         %y = onnx.Resize %x, _, {operand} {{mode = \"nearest\", coordinate_transformation_mode = \"{mapping}\", \
         nearest_mode = \"{nearest}\"}} : {ty}[2,{channels},{to_high},{to_wide}]\n  return %y\n}}\n"
    );
    Drawn { text, inputs: vec![bytes(dice, &[2, channels, high, wide])], allowed: Allowed::Bits }
}

fn width(dice: &mut Dice) -> Drawn {
    let (channels, hidden, count) = (4 * (1 + dice.below(4)), 17 + dice.below(40), 4 * (1 + dice.below(6)));
    let (kernel, size) = (dice.of(&[3, 5]), 6 + dice.below(5));
    let pad = kernel / 2;
    let ((from, middle), (_, next), (_, to)) = (types(dice, channels), types(dice, kernel * kernel), types(dice, hidden));
    let (a, with_a) = filters(dice, "a", from, [hidden, channels, 1, 1], true);
    let (b, with_b) = filters(dice, "b", middle, [hidden, 1, kernel, kernel], true);
    let (c, with_c) = filters(dice, "c", next, [count, hidden, 1, 1], true);
    let text = format!(
        "graph @main(%x: {from}[1,{channels},{size},{size}]) with {{opset = 17}} {{\n{a}{b}{c}  \
         %e = onnx.Conv %x, {with_a} : {middle}[1,{hidden},{size},{size}]\n  \
         %d = onnx.Conv %e, {with_b} {{group = {hidden}, pads = [{pad}, {pad}, {pad}, {pad}]}} : {next}[1,{hidden},{size},{size}]\n  \
         %y = onnx.Conv %d, {with_c} : {to}[1,{count},{size},{size}]\n  return %y\n}}\n"
    );
    Drawn { text, inputs: vec![bytes(dice, &[1, channels, size, size])], allowed: Allowed::Bits }
}

/// A shuffle before a depthwise convolution, or right before the one that takes it in.
fn shuffle(dice: &mut Dice) -> Drawn {
    let (groups, each, count, size) = (2 + dice.below(3), 2 + dice.below(6), 1 + dice.below(12), 3 + dice.below(6));
    let channels = groups * each;
    let ((from, middle), (_, to)) = (types(dice, 9), types(dice, channels));
    let map = format!("[1,{channels},{size},{size}]");
    let (mut depthwise, mut last, mut read) = (String::new(), "%u", from);
    if dice.below(2) == 0 {
        let (k, with_k) = filters(dice, "k", from, [channels, 1, 3, 3], true);
        depthwise =
            format!("{k}  %d = onnx.Conv %u, {with_k} {{group = {channels}, pads = [1, 1, 1, 1]}} : {middle}{map}\n");
        (last, read) = ("%d", middle);
    }
    let (w, with_w) = filters(dice, "w", read, [count, channels, 1, 1], true);
    let text = format!(
        "graph @main(%x: {from}{map}) with {{opset = 17}} {{\n  \
         %apart = const [1, {groups}, {each}, {size}, {size}] : i64[5]\n  %whole = const [1, {channels}, {size}, {size}] : i64[4]\n  \
         %r = onnx.Reshape %x, %apart : {from}[1,{groups},{each},{size},{size}]\n  \
         %t = onnx.Transpose %r {{perm = [0, 2, 1, 3, 4]}} : {from}[1,{each},{groups},{size},{size}]\n  \
         %u = onnx.Reshape %t, %whole : {from}{map}\n{depthwise}{w}  \
         %y = onnx.Conv {last}, {with_w} : {to}[1,{count},{size},{size}]\n  return %y\n}}\n"
    );
    Drawn { text, inputs: vec![bytes(dice, &[1, channels, size, size])], allowed: Allowed::Bits }
}
