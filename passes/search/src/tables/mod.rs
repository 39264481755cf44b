//! Tables: what random sub-stages of every stage, block type and window cost, and how far they are from their teacher.
//!
//! A table is a file `stage{i}_{block}_{window}.csv` without header; a row is a sub-stage, the shape of its input, its loss, MACs
//! and parameters in millions, and latency in milliseconds:
//!
//! ```text
//! 3#32#None_5#48#None,1x32x80x80,0.3918,19.5072,0.0130,0.9899
//! ```
//!
//! Numbers are kept as integers (millionths of a loss, nanoseconds, MACs, parameters), so sums are exact in any order.

mod binary;
mod open;
mod row;
mod statistics;

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use spaceevo_ir::{Diagnostic, Loc};
use xxhash_rust::xxh3::xxh3_128;

pub use open::Sources;
pub use statistics::{Outlier, Spread, Statistics, outliers, statistics};

use crate::encoding::SubStage;
use crate::hyperspace::{Choice, Hyperspace};

/// Millionths in one.
pub const MILLION: f64 = 1e6;

/// One evaluated sub-stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Where its sub-stage stands in the bytes of the table.
    text: Range<u32>,
    /// Input channels.
    pub channels: u32,
    /// Output channels: the width of the last block.
    pub width: u32,
    /// Height and width of the picture at which the stage sees this input.
    pub resolution: u32,
    /// Distillation loss (noise over signal), in millionths.
    pub loss: u32,
    /// INT8 latency in nanoseconds.
    pub latency: u32,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Parameters, with three scalars of a quantizer for each convolution.
    pub params: u64,
}

/// The rows of one stage, block type and window.
#[derive(Clone, Debug)]
pub struct Table {
    /// File name, for messages.
    pub name: String,
    bytes: Arc<[u8]>,
    /// Rows in the order of the file.
    pub rows: Vec<Row>,
}

impl Table {
    /// The text of a row's sub-stage.
    pub fn substage_text(&self, row: &Row) -> &str {
        let range = row.text.start as usize..row.text.end as usize;
        self.bytes.get(range).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or_default()
    }

    /// A row's blocks.
    ///
    /// Errors: `space-encoding`; never for a row that was read.
    pub fn substage(&self, row: &Row) -> Result<SubStage, Diagnostic> {
        SubStage::parse(self.substage_text(row))
    }
}

/// Something that the tables of a hyperspace should have and do not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gap {
    /// Stage, block type and window.
    pub place: (usize, usize, usize),
    /// File name.
    pub name: String,
    /// The resolution without rows; without it, the whole file is missing.
    pub resolution: Option<u32>,
}

/// All tables of a hyperspace.
#[derive(Clone, Debug)]
pub struct Tables {
    /// What they are tables of.
    pub hyperspace: Hyperspace,
    /// Resolutions that have rows, ascending.
    pub resolutions: Vec<u32>,
    /// What is missing.
    pub gaps: Vec<Gap>,
    /// By stage, then block type and window.
    tables: Vec<Vec<Option<Table>>>,
}

impl Tables {
    /// Gathers tables; `tables[stage][block * windows + window]`.
    fn new(hyperspace: &Hyperspace, tables: Vec<Vec<Option<Table>>>) -> Tables {
        let present = |r: u32| tables.iter().flatten().flatten().any(|t| t.rows.iter().any(|row| row.resolution == r));
        let resolutions: Vec<u32> = hyperspace.resolutions.iter().copied().filter(|&r| present(r)).collect();
        let mut gaps = Vec::new();
        for (stage, (list, shape)) in tables.iter().zip(&hyperspace.stages).enumerate() {
            for (i, table) in list.iter().enumerate() {
                let (block, window) = (i / shape.windows(), i % shape.windows());
                let name = file_name(&shape.name, block, window);
                let gap = |resolution| Gap { place: (stage, block, window), name: name.clone(), resolution };
                match table {
                    None => gaps.push(gap(None)),
                    Some(table) => {
                        let missing = |r: &u32| table.rows.iter().all(|row| row.resolution != *r);
                        gaps.extend(resolutions.iter().copied().filter(missing).map(|r| gap(Some(r))));
                    }
                }
            }
        }
        Tables { hyperspace: hyperspace.clone(), resolutions, gaps, tables }
    }

    /// The table of a stage, block type and window.
    pub fn table(&self, stage: usize, block: usize, window: usize) -> Option<&Table> {
        let shape = self.hyperspace.stages.get(stage)?;
        self.tables[stage].get(block * shape.windows() + window)?.as_ref().filter(|_| window < shape.windows())
    }

    /// All tables with their stage, block type and window.
    pub fn iter(&self) -> impl Iterator<Item = (usize, usize, usize, &Table)> {
        self.tables.iter().enumerate().flat_map(|(stage, list)| {
            let windows = self.hyperspace.stages[stage].windows();
            let present = move |(i, t): (usize, &'_ Option<Table>)| t.as_ref().map(|_| (stage, i / windows, i % windows));
            let places: Vec<_> = list.iter().enumerate().filter_map(present).collect();
            places.into_iter().zip(list.iter().flatten()).map(|((s, b, w), t)| (s, b, w, t))
        })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.iter().map(|(.., t)| t.rows.len()).sum()
    }

    /// Whether everything that a space needs is there.
    ///
    /// Errors: `table-gap`, naming the file.
    pub fn covers(&self, choice: &Choice) -> Result<(), Diagnostic> {
        self.hyperspace.check(choice)?;
        let asked = |gap: &&Gap| {
            let (stage, block, window) = gap.place;
            usize::from(choice.blocks[stage]) == block && usize::from(choice.windows[stage]) == window
        };
        match self.gaps.iter().find(asked) {
            None => Ok(()),
            Some(gap) => {
                Err(gap.diagnostic().note(format!("{} cannot be scored without it", self.hyperspace.print_choice(choice))))
            }
        }
    }

    /// A number that changes with any byte of any row: what logs and certificates name their tables by.
    pub fn checksum(&self) -> u128 {
        xxh3_128(&self.to_bytes())
    }

    /// The text of one table, as published: six fields, four decimals (more where four do not say it).
    pub fn to_csv(&self, table: &Table, stage: usize) -> String {
        let mut out = String::with_capacity(table.rows.len() * 70);
        for row in &table.rows {
            let size = self.hyperspace.input_size(stage, row.resolution);
            let (loss, latency) = (decimal(u64::from(row.loss)), decimal(u64::from(row.latency)));
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "{},1x{}x{size}x{size},{loss},{},{},{latency}",
                table.substage_text(row),
                row.channels,
                decimal(row.macs),
                decimal(row.params),
            );
        }
        out
    }

    /// The same rows with other losses and latencies.
    ///
    /// Errors: those of `price`, and `table-row` for numbers that do not fit.
    pub fn priced(
        &self,
        mut price: impl FnMut(usize, usize, &Table, &Row) -> Result<(u32, u32), Diagnostic>,
    ) -> Result<Tables, Diagnostic> {
        let mut tables = self.tables.clone();
        for (stage, list) in tables.iter_mut().enumerate() {
            let windows = self.hyperspace.stages[stage].windows();
            for (i, table) in list.iter_mut().enumerate() {
                let Some(table) = table else { continue };
                let mut rows = table.rows.clone();
                for row in &mut rows {
                    (row.loss, row.latency) = price(stage, i / windows, table, row)?;
                }
                table.rows = rows;
            }
        }
        Ok(Tables { tables, ..self.clone() })
    }
}

impl Gap {
    /// The gap as a warning.
    pub fn diagnostic(&self) -> Diagnostic {
        let what = match self.resolution {
            None => format!("the table {} is missing", self.name),
            Some(r) => format!("the table {} has no row at resolution {r}", self.name),
        };
        Diagnostic::error("table-gap", Loc::Unknown, what)
    }
}

/// `stage1_0_2.csv`
fn file_name(stage: &str, block: usize, window: usize) -> String {
    format!("{stage}_{block}_{window}.csv")
}

/// Millionths as a decimal number with four decimals, or six where four do not say it.
fn decimal(value: u64) -> String {
    let (whole, fraction) = (value / 1_000_000, value % 1_000_000);
    if fraction.is_multiple_of(100) { format!("{whole}.{:04}", fraction / 100) } else { format!("{whole}.{fraction:06}") }
}
