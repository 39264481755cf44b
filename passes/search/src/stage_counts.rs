//! MACs and parameters of the blocks of a space, each shape written out and counted once.
//!
//! Rows of published tables name thousands of blocks of a few hundred shapes. What a block costs is counted on the graph that the
//! page makes of it, not by formulas beside it.

use std::collections::HashMap;

use spaceevo_ir::space::SpaceTable;
use spaceevo_ir::{Diagnostic, Severity, shape};
use spaceevo_passes::count::{Counts, count};
use spaceevo_passes::unfold::{Weights, unfold};

use crate::encoding::{BlockChoice, SubStage};
use crate::one_block::one_block;
use crate::recover::Key;

/// Counts blocks of one page.
pub struct StageCounts {
    blocks: SpaceTable,
    known: HashMap<Key, Counts>,
}

impl StageCounts {
    /// For the blocks of a page.
    pub fn new(table: &SpaceTable) -> StageCounts {
        StageCounts { blocks: table.clone(), known: HashMap::new() }
    }

    /// How many different blocks were written out so far.
    pub fn shapes(&self) -> usize {
        self.known.len()
    }

    /// The blocks of a stage one after the other; `channels` and `size` are what comes into the first, which has the stride.
    ///
    /// # Errors
    /// Those of [`unfold`].
    pub fn stage(
        &mut self,
        block: &str,
        stage: &SubStage,
        (mut channels, mut size): (u32, u32),
        stride: u32,
    ) -> Result<Counts, Vec<Diagnostic>> {
        let mut total = Counts::default();
        for (index, &choice) in stage.0.iter().enumerate() {
            let stride = if index == 0 { stride } else { 1 };
            total = total.plus(self.block(block, choice, channels, size, stride)?);
            (channels, size) = (choice.width, size.div_ceil(stride.max(1)));
        }
        Ok(total)
    }

    /// One block.
    ///
    /// # Errors
    /// Those of [`unfold`].
    pub fn block(
        &mut self,
        block: &str,
        choice: BlockChoice,
        channels: u32,
        size: u32,
        stride: u32,
    ) -> Result<Counts, Vec<Diagnostic>> {
        let BlockChoice { kernel, width: output, expand } = choice;
        let key = Key { block: block.to_owned(), size, input: channels, output, kernel, expand, stride };
        if let Some(&known) = self.known.get(&key) {
            return Ok(known);
        }
        let mut graph = one_block(&self.blocks, &key);
        unfold(&mut graph, Weights::Declared)?;
        let found = shape::infer(&mut graph);
        if found.iter().any(|d| d.severity == Severity::Error) {
            return Err(found);
        }
        let counts = count(&graph).map_err(|found| vec![found])?;
        self.known.insert(key, counts);
        Ok(counts)
    }
}
