//! Random spaces and subnets: every parameter uniform over its values, as the published tables were drawn. And the least subnet.

use crate::encoding::{BlockChoice, Subnet};
use crate::hyperspace::{Block, Choice, Hyperspace, Stage};
use crate::random::Random;

/// A space whose block types and windows are drawn; `seeds` tell draws apart.
pub fn choice(space: &Hyperspace, seeds: &[u64]) -> Choice {
    let mut random = Random::new(&[&[1], seeds].concat());
    let mut choice = Choice { blocks: Vec::new(), windows: Vec::new() };
    for stage in &space.stages {
        choice.blocks.push(random.below(stage.blocks.len()) as u8);
        choice.windows.push(random.below(stage.windows()) as u8);
    }
    choice
}

/// A subnet of a space: depth, then kernel, width and expansion of each block, and the resolution.
pub fn subnet(space: &Hyperspace, choice: &Choice, seeds: &[u64]) -> Subnet {
    let mut random = Random::new(&[&[2], seeds].concat());
    let resolution = *random.pick(&space.resolutions);
    let mut subnet = Subnet { depths: Vec::new(), blocks: Vec::new(), resolution };
    for (stage, block, widths) in stages(space, choice) {
        let (least, most) = stage.depths;
        let depth = least + random.below((most - least + 1) as usize) as u32;
        subnet.depths.push(depth);
        for _ in 0..depth {
            let (kernel, width) = (*random.pick(&block.kernels), *random.pick(widths));
            let expand = (!block.expands.is_empty()).then(|| *random.pick(&block.expands));
            subnet.blocks.push(BlockChoice { kernel, width, expand });
        }
    }
    subnet
}

/// The subnet of a space with the fewest blocks, and the least kernel, width and expansion in each.
pub fn least(space: &Hyperspace, choice: &Choice, resolution: u32) -> Subnet {
    let mut subnet = Subnet { depths: Vec::new(), blocks: Vec::new(), resolution };
    for (stage, block, widths) in stages(space, choice) {
        let one = BlockChoice { kernel: block.kernels[0], width: widths[0], expand: block.expands.first().copied() };
        subnet.depths.push(stage.depths.0);
        subnet.blocks.extend(std::iter::repeat_n(one, stage.depths.0 as usize));
    }
    subnet
}

/// The stages of a subnet, with the block type and the widths that each has in a space.
fn stages<'a>(space: &'a Hyperspace, choice: &Choice) -> Vec<(&'a Stage, &'a Block, &'a [u32])> {
    let stem = space.stem.iter().map(|stage| (stage, &stage.blocks[0], &stage.widths[..]));
    let searched = space.stages.iter().zip(choice.blocks.iter().zip(&choice.windows));
    let searched = searched
        .map(|(stage, (&block, &window))| (stage, &stage.blocks[usize::from(block)], stage.window(usize::from(window))));
    stem.chain(searched).collect()
}
