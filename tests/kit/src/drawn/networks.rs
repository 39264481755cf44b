//! Pieces of networks of which a price may say that another form is cheaper.

use super::chain::{Chain, usual};
use super::floats::constant;
use super::{Allowed, Drawn, Family, nested};
use crate::instance::Dice;

pub(super) const FAMILIES: &[Family] = &[Family { pass: "saturate", about: "", draw: network }];

fn network(dice: &mut Dice) -> Drawn {
    let size = 6 + 2 * dice.below(5);
    let mut net = Chain::new(&[1, 4 + dice.below(20), size, size]);
    for _ in 0..2 + dice.below(4) {
        piece(&mut net, dice);
    }
    // Few numbers of each, for many networks.
    let filters = 1 + dice.below(3);
    convolve(&mut net, dice, filters);
    net.finish(dice, usual, Allowed::Parts(1e-4))
}

fn activate(net: &mut Chain, dice: &mut Dice) {
    let [low, high] = ["-0.5", "2.0"].map(|number| net.constant(number, &[]));
    let clip = format!("onnx.Clip {{}}, {low}, {high}");
    let call = dice.of(&["onnx.Relu {}", "onnx.HardSwish {}", "onnx.Sigmoid {}", "onnx.LeakyRelu {}", &clip]).to_owned();
    net.then(&call);
}

fn convolve(net: &mut Chain, dice: &mut Dice, filters: usize) {
    let (n, channels) = (net.shape[0], net.shape[1]);
    let dims = [filters, channels, 1, 1];
    let mut operands = vec!["{}".to_owned(), net.constant(&constant(dice, &dims), &dims)];
    if dice.below(2) == 0 {
        operands.push(net.constant(&constant(dice, &[filters]), &[filters]));
    }
    let made = [n, filters, net.shape[2], net.shape[3]];
    net.reshaped(&format!("onnx.Conv {}", operands.join(", ")), &made);
}

/// A window of `size` that leaves out places or none.
fn pool(net: &mut Chain, kind: &str, size: usize, stride: usize) {
    let pad = (size - 1) / 2;
    let shape = net.shape.clone();
    let behind = |extent: usize| (extent + 2 * pad - size) / stride + 1;
    let call = format!(
        "onnx.{kind} {{}} {{kernel_shape = [{size}, {size}], pads = [{pad}, {pad}, {pad}, {pad}], strides = [{stride}, {stride}]}}"
    );
    net.reshaped(&call, &[shape[0], shape[1], behind(shape[2]), behind(shape[3])]);
}

/// Values of one shape, each made from the last value, joined.
fn branches(net: &mut Chain, dice: &mut Dice, each: &dyn Fn(&mut Chain, &mut Dice)) {
    let (from, shape) = (net.last.clone(), net.shape.clone());
    let (mut parts, mut channels) = (Vec::new(), 0);
    for _ in 0..2 + dice.below(2) {
        (net.last, net.shape) = (from.clone(), shape.clone());
        each(net, dice);
        parts.push(net.last.clone());
        channels += net.shape[1];
    }
    let joined = [net.shape[0], channels, net.shape[2], net.shape[3]];
    net.reshaped(&format!("onnx.Concat {} {{axis = 1}}", parts.join(", ")), &joined);
}

fn piece(net: &mut Chain, dice: &mut Dice) {
    let shape = net.shape.clone();
    let (channels, size) = (shape[1], shape[2]);
    match dice.below(10) {
        0 if size > 3 => {
            activate(net, dice);
            pool(net, "MaxPool", 2, 2);
        }
        1 if channels < 40 => branches(net, dice, &|net, dice| {
            let window = dice.of(&[1, 5, 9, 13]);
            pool(net, "MaxPool", window, 1);
        }),
        2 => branches(net, dice, &|net, dice| {
            let filters = 1 + dice.below(12);
            convolve(net, dice, filters);
            activate(net, dice);
        }),
        3 => {
            let filters = 1 + dice.below(12);
            pool(net, "AveragePool", 3, 1);
            convolve(net, dice, filters);
        }
        4 if size > 3 => {
            let filters = 1 + dice.below(24);
            convolve(net, dice, filters);
            pool(net, "AveragePool", 2, 2);
        }
        5 => {
            net.reshaped("onnx.Transpose {} {perm = [0, 2, 3, 1]}", &[1, size, size, channels]);
            activate(net, dice);
            net.reshaped("onnx.Transpose {} {perm = [0, 3, 1, 2]}", &shape);
        }
        6 if size < 16 => {
            let (scales, filters) = (net.constant("[1.0, 1.0, 2.0, 2.0]", &[4]), 1 + dice.below(24));
            let resize = format!(
                "onnx.Resize {{}}, _, {scales} {{coordinate_transformation_mode = \"asymmetric\", mode = \"nearest\", nearest_mode = \"floor\"}}"
            );
            net.reshaped(&resize, &[1, channels, 2 * size, 2 * size]);
            convolve(net, dice, filters);
        }
        7 => {
            let dims = [channels, 1, 1];
            for op in ["Mul", "Mul", "Add", "Add"] {
                let number = nested(&dims, &mut || format!("{:?}", dice.number()));
                let number = net.constant(&number, &dims);
                net.then(&format!("onnx.{op} {{}}, {number}"));
            }
        }
        8 => {
            let skip = net.last.clone();
            convolve(net, dice, channels);
            net.then(&format!("onnx.Add {{}}, {skip}"));
            activate(net, dice);
        }
        _ => {
            let filters = 1 + dice.below(24);
            convolve(net, dice, filters);
            activate(net, dice);
            activate(net, dice);
        }
    }
}
