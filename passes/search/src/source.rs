//! Where losses and latencies come from: a table, sums over blocks, a predictor, or a measurement on a device.

use spaceevo_ir::Diagnostic;

use crate::encoding::{BlockChoice, Subnet};
use crate::hyperspace::{Choice, Hyperspace};
use crate::recover::{Blocks, keys, subnet_keys};
use crate::tables::{Row, Table, Tables};

/// A sub-stage in its place.
#[derive(Clone, Copy, Debug)]
pub struct SubStageAt<'a> {
    /// Index of the stage.
    pub stage: usize,
    /// Index of its block type.
    pub block: usize,
    /// Input channels.
    pub input: u32,
    /// Height and width of the picture.
    pub resolution: u32,
    /// The blocks.
    pub blocks: &'a [BlockChoice],
}

/// Something that knows how long a sub-stage takes, in nanoseconds.
pub trait LatencySource {
    /// The latency.
    ///
    /// Errors: where it is not known.
    fn latency(&self, at: &SubStageAt<'_>) -> Result<u32, Diagnostic>;
}

/// Something that knows how far a sub-stage is from its teacher, in millionths.
pub trait LossSource {
    /// The loss.
    ///
    /// Errors: where it is not known.
    fn loss(&self, at: &SubStageAt<'_>) -> Result<u32, Diagnostic>;
}

/// Latencies of blocks, added up.
#[derive(Clone, Copy, Debug)]
pub struct BlockSum<'a> {
    /// What is searched.
    pub hyperspace: &'a Hyperspace,
    /// What is known about blocks.
    pub blocks: &'a Blocks,
}

impl LatencySource for BlockSum<'_> {
    fn latency(&self, at: &SubStageAt<'_>) -> Result<u32, Diagnostic> {
        let size = self.hyperspace.input_size(at.stage, at.resolution);
        let keys = keys(self.hyperspace, at.stage, at.block, at.input, size, at.blocks);
        Ok((self.blocks.sum(&keys)?.max(0.0) * 1e6).round() as u32)
    }
}

impl BlockSum<'_> {
    /// Latency of the searched stages of a subnet, in milliseconds.
    ///
    /// Errors: `space-subnet` where it does not belong to the space, `block-latency`.
    pub fn subnet(&self, choice: &Choice, subnet: &Subnet) -> Result<f64, Vec<Diagnostic>> {
        self.hyperspace.check_subnet(choice, subnet)?;
        self.blocks.sum(&subnet_keys(self.hyperspace, choice, subnet)).map_err(|d| vec![d])
    }
}

/// The same sub-stages with losses and latencies of other sources; where none is given, those of the table stay.
///
/// Errors: those of the sources.
pub fn priced(
    tables: &Tables,
    losses: Option<&dyn LossSource>,
    latencies: Option<&dyn LatencySource>,
) -> Result<Tables, Diagnostic> {
    tables.priced(|stage, block, table: &Table, row: &Row| {
        let blocks = table.substage(row)?.0;
        let at = SubStageAt { stage, block, input: row.channels, resolution: row.resolution, blocks: &blocks };
        let loss = losses.map_or(Ok(row.loss), |source| source.loss(&at))?;
        Ok((loss, latencies.map_or(Ok(row.latency), |source| source.latency(&at))?))
    })
}
