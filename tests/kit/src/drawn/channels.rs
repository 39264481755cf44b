//! Channels of real numbers that are scaled between layers, or take another order.

use super::chain::{Chain, usual};
use super::floats::{ROUNDING, constant};
use super::{Allowed, Drawn, Family, between, nested};
use crate::instance::Dice;

pub(super) const FAMILIES: &[Family] = &[
    Family { pass: "equalize-layers", about: "", draw: layers },
    Family { pass: "merge-siblings", about: "heads", draw: heads },
    Family { pass: "sink-channel-shuffle", about: "units", draw: units },
];

fn start(dice: &mut Dice) -> Chain {
    let size = 4 + dice.below(5);
    Chain::new(&[1, 1 + dice.below(5), size, size])
}

/// How loud filters are.
fn loudness(dice: &mut Dice, filters: usize) -> Vec<f32> {
    let least = dice.of(&[1.0, 1e-1, 1e-3]);
    (0..filters).map(|_| between(dice, least, 1.01) as f32).collect()
}

/// Numbers for filters of this loudness.
fn filters(dice: &mut Dice, dims: &[usize], loud: &[f32]) -> String {
    let (mut at, each) = (0, dims[1..].iter().product::<usize>());
    nested(dims, &mut || {
        at += 1;
        format!("{:?}", dice.number() * loud[(at - 1) / each])
    })
}

/// A convolution, with a bias or without.
fn convolve(net: &mut Chain, dice: &mut Dice, groups: usize, loud: &[f32]) {
    let (channels, size) = (net.shape[1], net.shape[2]);
    let kernel = if size > 3 { dice.of(&[1, 1, 3]) } else { 1 };
    let pad = if kernel == 3 { dice.below(2) } else { 0 };
    let dims = [loud.len(), channels / groups, kernel, kernel];
    let mut operands = vec!["{}".to_owned(), net.constant(&filters(dice, &dims, loud), &dims)];
    if dice.below(3) > 0 {
        operands.push(net.constant(&filters(dice, &dims[..1], loud), &dims[..1]));
    }
    let extent = size + 2 * pad - kernel + 1;
    let call = format!("onnx.Conv {} {{group = {groups}, pads = [{pad}, {pad}, {pad}, {pad}]}}", operands.join(", "));
    net.reshaped(&call, &[1, loud.len(), extent, extent]);
}

/// What a factor for each channel travels through.
fn activate(net: &mut Chain, dice: &mut Dice) {
    let dims = [net.shape[1], 1, 1];
    match dice.below(7) {
        0 | 1 => net.then("onnx.Relu {}"),
        2 => net.then("onnx.LeakyRelu {} {alpha = 0.3}"),
        3 => {
            let slopes = nested(&dims, &mut || dice.of(&["0.25", "0.0", "1.5", "-0.5"]).to_owned());
            let slopes = net.constant(&slopes, &dims);
            net.then(&format!("onnx.PRelu {{}}, {slopes}"));
        }
        4 => {
            let summand = net.constant(&constant(dice, &dims), &dims);
            net.then(&dice.of(&[format!("onnx.Add {{}}, {summand}"), format!("onnx.Add {summand}, {{}}")]));
        }
        5 if net.shape[2] > 2 => {
            let (pool, size) = (dice.of(&["MaxPool", "AveragePool"]), net.shape[2] - 1);
            net.reshaped(&format!("onnx.{pool} {{}} {{kernel_shape = [2, 2]}}"), &[1, dims[0], size, size]);
        }
        _ => {}
    }
}

/// Convolutions of loud and quiet channels, depthwise ones and residual sums among them.
fn layers(dice: &mut Dice) -> Drawn {
    let (mut net, hidden) = (start(dice), 2 + dice.below(6));
    let loud = loudness(dice, hidden);
    convolve(&mut net, dice, 1, &loud);
    for _ in 0..1 + dice.below(3) {
        activate(&mut net, dice);
        let loud = loudness(dice, hidden);
        match dice.below(4) {
            0 => convolve(&mut net, dice, hidden, &loud),
            1 => {
                let (skip, dims) = (net.last.clone(), [hidden, hidden, 1, 1]);
                let weights = net.constant(&constant(dice, &dims), &dims);
                net.then(&format!("onnx.Conv {{}}, {weights}"));
                net.then(&format!("onnx.Add {{}}, {skip}"));
            }
            _ => convolve(&mut net, dice, 1, &loud),
        }
    }
    activate(&mut net, dice);
    let count = 1 + dice.below(6);
    let loud = loudness(dice, count);
    convolve(&mut net, dice, 1, &loud);
    net.finish(dice, usual, Allowed::Parts(3e-5))
}

/// Heads of few filters with a depthwise convolution each.
fn heads(dice: &mut Dice) -> Drawn {
    let mut net = start(dice);
    let (map, whole, count) = (net.last.clone(), net.shape.clone(), 2 + dice.below(3));
    let (mut parts, mut all) = (Vec::new(), 0);
    for _ in 0..count {
        (net.last, net.shape) = (map.clone(), whole.clone());
        let (filters, size) = (1 + dice.below(4), whole[2]);
        let [first, second] = [[filters, whole[1], 1, 1], [filters, 1, 3, 3]].map(|dims| (constant(dice, &dims), dims));
        let first = net.constant(&first.0, &first.1);
        net.reshaped(&format!("onnx.Conv {{}}, {first}"), &[1, filters, size, size]);
        let second = net.constant(&second.0, &second.1);
        net.then(&format!("onnx.Conv {{}}, {second} {{group = {filters}, pads = [1, 1, 1, 1]}}"));
        parts.push(net.last.clone());
        all += filters;
    }
    net.reshaped(&format!("onnx.Concat {} {{axis = 1}}", parts.join(", ")), &[1, all, whole[2], whole[3]]);
    net.finish(dice, usual, ROUNDING)
}

/// Units of ShuffleNet V2: one half passes, the other goes through convolutions, and both are shuffled.
fn units(dice: &mut Dice) -> Drawn {
    let (mut net, half) = (start(dice), 2 + dice.below(4));
    convolve(&mut net, dice, 1, &vec![1.0; 2 * half]);
    let whole = net.shape.clone();
    let size = whole[2];
    let parted = [1, half, size, size];
    let part = format!("f32{parted:?}");
    let integers = |net: &mut Chain, shape: &[usize]| net.integers(&shape.iter().map(|&n| n as i64).collect::<Vec<_>>());
    let (apart, together) = (integers(&mut net, &[1, 2, half, size, size]), integers(&mut net, &whole));
    for unit in 0..1 + dice.below(3) {
        net.body += &format!("  %p{unit}, %q{unit} = onnx.Split {} {{axis = 1}} : {part}, {part}\n", net.last);
        let [pass, through] = dice.of(&[["p", "q"], ["q", "p"]]);
        (net.last, net.shape) = (format!("%{through}{unit}"), parted.to_vec());
        for groups in [1, half] {
            let dims = [half, half / groups, 1, 1];
            let weights = net.constant(&constant(dice, &dims), &dims);
            let bias = net.constant(&constant(dice, &[half]), &[half]);
            net.then(&format!("onnx.Conv {{}}, {weights}, {bias} {{group = {groups}}}"));
            if dice.below(2) == 0 {
                net.then("onnx.Relu {}");
            }
        }
        let ordered = dice.of(&[format!("%{pass}{unit}, {{}}"), format!("{{}}, %{pass}{unit}")]);
        net.reshaped(&format!("onnx.Concat {ordered} {{axis = 1}}"), &whole);
        net.reshaped(&format!("onnx.Reshape {{}}, {apart}"), &[1, 2, half, size, size]);
        net.reshaped("onnx.Transpose {} {perm = [0, 2, 1, 3, 4]}", &[1, half, 2, size, size]);
        net.reshaped(&format!("onnx.Reshape {{}}, {together}"), &whole);
    }
    if dice.below(2) == 0 {
        let count = 1 + dice.below(5);
        convolve(&mut net, dice, 1, &vec![1.0; count]);
    }
    net.finish(dice, usual, ROUNDING)
}
