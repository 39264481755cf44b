//! Published tables against the blocks of a page: what each row says that its stage costs, and what the page makes of it.

use rayon::prelude::*;
use spaceevo_ir::Diagnostic;

use crate::page::Page;
use crate::stage_counts::StageCounts;
use crate::tables::{Table, Tables};

/// What a sum of a few dozen numbers loses in single precision, in which the published ones were made, in parts of the sum: half a
/// unit in the last place (2^-24) for each of about twenty additions that do not come out even.
const SINGLE: f64 = 20.0 / (1 << 24) as f64;
/// Up to here single precision holds every whole number.
const WHOLE: u64 = 1 << 24;

/// What came of a comparison.
#[derive(Clone, Default, Debug)]
pub struct Agreement {
    /// Rows with the multiply-accumulates and parameters of the page, to the four decimals that are printed.
    pub equal: usize,
    /// Rows that differ by what sums in single precision lose.
    pub rounded: usize,
    /// Other rows: table, line, and what differs.
    pub different: Vec<(String, usize, String)>,
    /// Different blocks that were written out and counted.
    pub shapes: usize,
}

impl Agreement {
    fn plus(mut self, other: Agreement) -> Agreement {
        self.equal += other.equal;
        self.rounded += other.rounded;
        self.shapes += other.shapes;
        self.different.extend(other.different);
        self
    }
}

/// Counts every row of the tables anew.
///
/// # Errors
/// A row is malformed, or its block cannot be written out.
pub fn compare(page: &Page, tables: &Tables) -> Result<Agreement, Vec<Diagnostic>> {
    let space = &page.hyperspace;
    let kinds: Vec<(usize, usize)> =
        space.stages.iter().enumerate().flat_map(|(i, stage)| (0..stage.blocks.len()).map(move |b| (i, b))).collect();
    let each = kinds.into_par_iter().map(|(stage, block)| {
        let mut counts = StageCounts::new(&page.table);
        let mut found = Agreement::default();
        for window in 0..space.stages[stage].windows() {
            if let Some(table) = tables.table(stage, block, window) {
                found = found.plus(rows(page, table, stage, block, &mut counts)?);
            }
        }
        found.shapes = counts.shapes();
        Ok(found)
    });
    // In the order of the tables, whatever thread was first.
    each.collect::<Result<Vec<Agreement>, _>>().map(|all| all.into_iter().fold(Agreement::default(), Agreement::plus))
}

fn rows(
    page: &Page,
    table: &Table,
    stage: usize,
    block: usize,
    counts: &mut StageCounts,
) -> Result<Agreement, Vec<Diagnostic>> {
    let mut found = Agreement::default();
    let kind = &page.hyperspace.stages[stage];
    for (line, row) in table.rows.iter().enumerate() {
        let blocks = table.substage(row).map_err(|found| vec![found])?;
        let size = page.hyperspace.input_size(stage, row.resolution);
        let ours = counts.stage(&kind.blocks[block].name, &blocks, (row.channels, size), kind.stride)?;
        let pairs = [(ours.macs, row.macs), (ours.params_with_quantizers(), row.params)];
        // Four decimals of a million: what lies just between two of them may be printed as either.
        if pairs.iter().all(|(ours, row)| ours.abs_diff(*row) <= 50) {
            found.equal += 1;
        } else if pairs.iter().all(|&(ours, row)| ours.abs_diff(row) as f64 <= 50.0 + lost(row)) {
            found.rounded += 1;
        } else {
            let what = format!(
                "{} multiply-accumulates and {} parameters, where the page makes {} and {}",
                row.macs,
                row.params,
                ours.macs,
                ours.params_with_quantizers()
            );
            found.different.push((table.name.clone(), line + 1, what));
        }
    }
    Ok(found)
}

/// How far a sum in single precision may be off.
fn lost(sum: u64) -> f64 {
    if sum > WHOLE { SINGLE * sum as f64 } else { 0.0 }
}
