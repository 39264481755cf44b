//! Latencies of the blocks of one space in arrays, for searches that ask for millions of subnets.

use crate::encoding::{BlockChoice, Subnet};
use crate::hyperspace::{Choice, Expand, Hyperspace};
use crate::recover::{Blocks, Key};

/// Latencies by stage, resolution, place in the stage, and block.
#[derive(Clone, Debug)]
pub struct BlockCache {
    resolutions: Vec<u32>,
    stem: usize,
    stages: Vec<CachedStage>,
}

#[derive(Clone, Debug)]
struct CachedStage {
    inputs: Vec<u32>,
    widths: Vec<u32>,
    kernels: Vec<u32>,
    expands: Vec<Option<Expand>>,
    /// `[resolution][first or later][input][width][kernel][expansion]`; NaN where nobody knows.
    first: Vec<f32>,
    later: Vec<f32>,
}

impl CachedStage {
    /// The place of a block in the arrays of one resolution; `inputs` are the widths that may come before it.
    fn at(&self, inputs: &[u32], resolution: usize, input: u32, block: &BlockChoice) -> Option<usize> {
        let place = |list: &[u32], value: u32| list.iter().position(|&v| v == value);
        let expand = self.expands.iter().position(|e| *e == block.expand)?;
        let (i, w, k) = (place(inputs, input)?, place(&self.widths, block.width)?, place(&self.kernels, block.kernel)?);
        let row = (resolution * inputs.len() + i) * self.widths.len() + w;
        Some((row * self.kernels.len() + k) * self.expands.len() + expand)
    }
}

impl BlockCache {
    /// Looks up everything that a subnet of the space can be made of.
    pub fn new(hyperspace: &Hyperspace, choice: &Choice, blocks: &Blocks) -> BlockCache {
        let stage = |s: usize| {
            let shape = &hyperspace.stages[s];
            let kind = &shape.blocks[usize::from(choice.blocks[s])];
            let expands =
                if kind.expands.is_empty() { vec![None] } else { kind.expands.iter().copied().map(Some).collect() };
            let mut cached = CachedStage {
                inputs: hyperspace.input_widths(s).to_vec(),
                widths: shape.window(usize::from(choice.windows[s])).to_vec(),
                kernels: kind.kernels.clone(),
                expands,
                first: Vec::new(),
                later: Vec::new(),
            };
            let fill = |inputs: &[u32], size: &dyn Fn(u32) -> u32, stride: u32| {
                let mut all = Vec::new();
                for &resolution in &hyperspace.resolutions {
                    for &input in inputs {
                        for &output in &cached.widths {
                            for &kernel in &cached.kernels {
                                for &expand in &cached.expands {
                                    let key = Key {
                                        block: kind.name.clone(),
                                        size: size(resolution),
                                        input,
                                        output,
                                        kernel,
                                        expand,
                                        stride,
                                    };
                                    all.push(blocks.known.get(&key).map_or(f32::NAN, |ms| *ms as f32));
                                }
                            }
                        }
                    }
                }
                all
            };
            let first = fill(&cached.inputs, &|r| hyperspace.input_size(s, r), shape.stride);
            let later = fill(&cached.widths, &|r| hyperspace.input_size(s, r).div_ceil(shape.stride), 1);
            (cached.first, cached.later) = (first, later);
            cached
        };
        BlockCache {
            resolutions: hyperspace.resolutions.clone(),
            stem: hyperspace.stem.len(),
            stages: (0..hyperspace.stages.len()).map(stage).collect(),
        }
    }

    /// Latency of the searched stages of a subnet in milliseconds; `None` where it does not belong to the space, or a block's latency is
    /// not known.
    pub fn latency(&self, subnet: &Subnet) -> Option<f64> {
        let resolution = self.resolutions.iter().position(|&r| r == subnet.resolution)?;
        let mut stages = subnet.stages();
        let mut input = 0;
        for _ in 0..self.stem {
            input = stages.next()?.last()?.width;
        }
        let mut sum = 0.0;
        for (cached, blocks) in self.stages.iter().zip(stages) {
            for (i, block) in blocks.iter().enumerate() {
                let (inputs, latencies) =
                    if i == 0 { (&cached.inputs, &cached.first) } else { (&cached.widths, &cached.later) };
                sum += f64::from(*latencies.get(cached.at(inputs, resolution, input, block)?)?);
                input = block.width;
            }
        }
        (!sum.is_nan()).then_some(sum)
    }
}
