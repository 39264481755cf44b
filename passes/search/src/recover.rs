//! Latencies of single blocks, recovered from tables that only have sums of them.
//!
//! A row's latency is the sum of its blocks' (what a table of measured blocks says). Rows of one stage and block type are equations,
//! blocks `(size, input, output, kernel, expansion, stride)` are unknowns. Conjugate gradients on the normal equations (CGLS) find
//! the least-squares solution; which unknowns are determined is read off the equations themselves.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;
use serde::Serialize;
use spaceevo_ir::{Diagnostic, Loc};

use crate::encoding::{BlockChoice, Subnet};
use crate::hyperspace::{Choice, Expand, Hyperspace};
use crate::tables::Tables;

/// A block in its place: what decides how long it takes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Key {
    /// Block type.
    pub block: String,
    /// Height and width of its input.
    pub size: u32,
    /// Input channels.
    pub input: u32,
    /// Output channels.
    pub output: u32,
    /// Kernel size.
    pub kernel: u32,
    /// Expansion ratio.
    pub expand: Option<Expand>,
    /// Stride.
    pub stride: u32,
}

/// Latencies of blocks in milliseconds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Blocks {
    /// Blocks whose latency is known.
    pub known: BTreeMap<Key, f64>,
    /// Blocks that occur, but only together with others that are not known either.
    pub undetermined: usize,
    /// Largest difference between a row and the sum of its blocks, in milliseconds.
    pub residual: f64,
}

/// What recovery found, by stage and block type.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Recovered {
    /// Name of the stage.
    pub stage: String,
    /// Name of the block type.
    pub block: String,
    /// Blocks that occur.
    pub keys: usize,
    /// Blocks whose latency the rows determine.
    pub determined: usize,
    /// Largest difference between a row and the sum of its blocks, in milliseconds.
    pub residual_ms: f64,
}

/// The keys of a stage's blocks, in order.
pub fn keys(hyperspace: &Hyperspace, stage: usize, block: usize, input: u32, size: u32, blocks: &[BlockChoice]) -> Vec<Key> {
    let shape = &hyperspace.stages[stage];
    chained(&shape.blocks[block].name, shape.stride, input, size, blocks)
}

/// The keys of a subnet's searched blocks, in order.
pub fn subnet_keys(hyperspace: &Hyperspace, choice: &Choice, subnet: &Subnet) -> Vec<Key> {
    let stem = hyperspace.stem.len();
    let mut input = subnet.stages().take(stem).last().and_then(|b| b.last()).map_or(0, |b| b.width);
    let mut all = Vec::new();
    for (stage, blocks) in subnet.stages().skip(stem).enumerate() {
        let size = hyperspace.input_size(stage, subnet.resolution);
        all.extend(keys(hyperspace, stage, usize::from(choice.blocks[stage]), input, size, blocks));
        input = blocks.last().map_or(input, |b| b.width);
    }
    all
}

/// The keys of a run of blocks of one type.
pub(crate) fn chained(name: &str, stride: u32, input: u32, size: u32, blocks: &[BlockChoice]) -> Vec<Key> {
    let (mut input, mut size) = (input, size);
    let key = |(i, b): (usize, &BlockChoice)| {
        let stride = if i == 0 { stride } else { 1 };
        let key = Key { block: name.to_owned(), size, input, output: b.width, kernel: b.kernel, expand: b.expand, stride };
        (input, size) = (b.width, size.div_ceil(stride));
        key
    };
    blocks.iter().enumerate().map(key).collect()
}

/// Recovers what the tables determine.
///
/// Errors: `space-encoding`; never for tables that were read.
pub fn recover(tables: &Tables) -> Result<(Blocks, Vec<Recovered>), Diagnostic> {
    let space = &tables.hyperspace;
    let places: Vec<(usize, usize)> =
        space.stages.iter().enumerate().flat_map(|(s, shape)| (0..shape.blocks.len()).map(move |b| (s, b))).collect();
    let systems: Vec<_> = places.into_par_iter().map(|(s, b)| solve(tables, s, b)).collect::<Result<_, _>>()?;
    let mut blocks = Blocks::default();
    let mut report = Vec::new();
    for (found, recovered) in systems {
        blocks.undetermined += recovered.keys - recovered.determined;
        blocks.residual = blocks.residual.max(recovered.residual_ms);
        blocks.known.extend(found);
        report.push(recovered);
    }
    Ok((blocks, report))
}

type Solved = (Vec<(Key, f64)>, Recovered);

fn solve(tables: &Tables, stage: usize, block: usize) -> Result<Solved, Diagnostic> {
    let space = &tables.hyperspace;
    let mut numbers = HashMap::<Key, u32>::new();
    let mut equations: Vec<(Vec<u32>, f64)> = Vec::new();
    for (.., table) in tables.iter().filter(|(s, b, ..)| (*s, *b) == (stage, block)) {
        for row in &table.rows {
            let size = space.input_size(stage, row.resolution);
            let keys = keys(space, stage, block, row.channels, size, &table.substage(row)?.0);
            let number = |key: Key| {
                let next = numbers.len() as u32;
                *numbers.entry(key).or_insert(next)
            };
            equations.push((keys.into_iter().map(number).collect(), f64::from(row.latency) / 1e6));
        }
    }
    let solution = least_squares(&equations, numbers.len());
    let determined = determined(&equations, numbers.len());
    let error = |(unknowns, ms): &(Vec<u32>, f64)| (unknowns.iter().map(|&u| solution[u as usize]).sum::<f64>() - ms).abs();
    let recovered = Recovered {
        stage: space.stages[stage].name.clone(),
        block: space.stages[stage].blocks[block].name.clone(),
        keys: numbers.len(),
        determined: determined.iter().filter(|d| **d).count(),
        residual_ms: equations.iter().map(error).fold(0.0, f64::max),
    };
    let known =
        numbers.into_iter().filter(|(_, n)| determined[*n as usize]).map(|(k, n)| (k, solution[n as usize])).collect();
    Ok((known, recovered))
}

/// CGLS: the least-squares solution with the least norm. Rows count each occurrence of an unknown once.
fn least_squares(equations: &[(Vec<u32>, f64)], unknowns: usize) -> Vec<f64> {
    let transposed = |residual: &[f64]| {
        let mut sums = vec![0.0; unknowns];
        for ((row, _), r) in equations.iter().zip(residual) {
            row.iter().for_each(|&u| sums[u as usize] += r);
        }
        sums
    };
    let mut x = vec![0.0; unknowns];
    let mut residual: Vec<f64> = equations.iter().map(|(_, ms)| *ms).collect();
    let mut gradient = transposed(&residual);
    let mut direction = gradient.clone();
    let mut norm: f64 = gradient.iter().map(|g| g * g).sum();
    let first = norm;
    for _ in 0..4000 {
        if norm <= first * 1e-22 {
            break;
        }
        let moved: Vec<f64> = equations.iter().map(|(row, _)| row.iter().map(|&u| direction[u as usize]).sum()).collect();
        let step = norm / moved.iter().map(|m| m * m).sum::<f64>();
        x.iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
        residual.iter_mut().zip(&moved).for_each(|(r, m)| *r -= step * m);
        gradient = transposed(&residual);
        let next: f64 = gradient.iter().map(|g| g * g).sum();
        direction.iter_mut().zip(&gradient).for_each(|(d, g)| *d = g + next / norm * *d);
        norm = next;
    }
    x
}

/// Which unknowns have one value only: those that no vector of the null space touches. A generic vector of the null space is what
/// is left of a random one when its projection onto the rows is taken away.
fn determined(equations: &[(Vec<u32>, f64)], unknowns: usize) -> Vec<bool> {
    let mut random = crate::random::Random::new(&[unknowns as u64]);
    let probe: Vec<f64> = (0..unknowns).map(|_| (random.next() >> 11) as f64 / (1_u64 << 53) as f64 - 0.5).collect();
    let seen: Vec<(Vec<u32>, f64)> =
        equations.iter().map(|(row, _)| (row.clone(), row.iter().map(|&u| probe[u as usize]).sum())).collect();
    let projected = least_squares(&seen, unknowns);
    probe.iter().zip(&projected).map(|(p, q)| (p - q).abs() < 1e-6).collect()
}

impl Blocks {
    /// Latency of a stage's blocks in milliseconds.
    ///
    /// Errors: `block-latency` naming the first block that is not known.
    pub fn sum(&self, keys: &[Key]) -> Result<f64, Diagnostic> {
        keys.iter().map(|key| self.latency(key)).sum()
    }

    /// Latency of one block in milliseconds.
    ///
    /// Errors: `block-latency` where it is not known.
    pub fn latency(&self, key: &Key) -> Result<f64, Diagnostic> {
        self.known.get(key).copied().ok_or_else(|| {
            Diagnostic::error("block-latency", Loc::Unknown, format!("no latency is known for the block {key}"))
                .note("it occurs in no table, or only beside others that are not known")
        })
    }
}

impl std::fmt::Display for Key {
    /// `V2Res_112_16_32_3_4_2`, as published tables of blocks are keyed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let expand = self.expand.map_or("0".to_owned(), |e| e.to_string());
        let Key { block, size, input, output, kernel, stride, .. } = self;
        write!(f, "{block}_{size}_{input}_{output}_{kernel}_{expand}_{stride}")
    }
}
