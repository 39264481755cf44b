//! Random graphs that a pass rewrites, with numbers from corners: what `spaceevo-opt check` holds passes against.
//!
//! A [`Family`] draws graphs for one pass as text, so that a stranger can read them. Stored values take scales from tiny to large,
//! zero points at both ends and between, and data that saturates. A graph that the pass leaves alone is drawn again.

mod chain;
mod channels;
mod floats;
mod foreign;
mod gates;
mod joins;
mod lifted;
mod maps;
mod networks;
mod tidied;
mod written;

use spaceevo_ir::Tensor;

use crate::instance::Dice;

/// Graphs for one pass.
#[derive(Clone, Copy)]
pub struct Family {
    /// The pass, or the pipeline that is held against doing nothing.
    pub pass: &'static str,
    /// What is special about these graphs; empty where nothing is.
    pub about: &'static str,
    /// Draws a graph and its data.
    pub draw: fn(&mut Dice) -> Drawn,
}

/// A graph with its data.
pub struct Drawn {
    /// Text of the graph, with one result.
    pub text: String,
    /// One tensor for each input, as it is stored.
    pub inputs: Vec<Tensor>,
    /// How far both forms may be apart.
    pub allowed: Allowed,
}

/// How far results may be apart.
#[derive(Clone, PartialEq, Debug)]
pub enum Allowed {
    /// The same bits.
    Bits,
    /// The same numbers: zeros of either sign are one.
    Equal,
    /// One step of the stored result where the real number lies between two steps, as far as single precision tells.
    Ties,
    /// So many steps of the stored result, number by number.
    Steps(Vec<f64>),
    /// So large a part of the largest number.
    Parts(f64),
}

/// All families.
pub fn families() -> Vec<Family> {
    [
        gates::FAMILIES,
        maps::FAMILIES,
        joins::FAMILIES,
        floats::FAMILIES,
        channels::FAMILIES,
        tidied::FAMILIES,
        networks::FAMILIES,
        lifted::FAMILIES,
        foreign::FAMILIES,
        written::FAMILIES,
    ]
    .concat()
}

/// Zero points at the ends and in the middle.
const ZEROS: &[i64] = &[0, 1, 127, 128, 254, 255];

/// Uniform in the exponent.
fn between(dice: &mut Dice, low: f64, high: f64) -> f64 {
    low * (high / low).powf(dice.below(1 << 24) as f64 / f64::from(1 << 24))
}

/// A stored byte that is often at an end.
fn byte(dice: &mut Dice) -> u8 {
    if dice.below(4) == 0 { dice.of(&[0, 255, 1, 254, 128]) } else { dice.below(256) as u8 }
}

/// A tensor of such bytes.
fn bytes(dice: &mut Dice, dims: &[usize]) -> Tensor {
    let count = dims.iter().product();
    Tensor::new(dims, (0..count).map(|_| byte(dice)).collect::<Vec<u8>>())
}

/// A constant as text: lists in lists.
fn nested(dims: &[usize], next: &mut dyn FnMut() -> String) -> String {
    match dims {
        [] => next(),
        [count, rest @ ..] => format!("[{}]", (0..*count).map(|_| nested(rest, next)).collect::<Vec<_>>().join(", ")),
    }
}

/// Weights that are often at an end.
fn weights(dice: &mut Dice, dims: &[usize]) -> String {
    nested(dims, &mut || {
        if dice.below(4) == 0 {
            dice.of(&[-127, 127, 0, 1, -1]).to_string()
        } else {
            (dice.below(255) as i64 - 127).to_string()
        }
    })
}
