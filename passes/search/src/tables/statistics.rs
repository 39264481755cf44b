//! What is in the tables: spreads by stage and block type, and rows that stand out.

use serde::Serialize;

use super::{MILLION, Row, Tables};

/// Least, mean and most of a column.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Spread {
    /// Least.
    pub least: f64,
    /// Mean.
    pub mean: f64,
    /// Most.
    pub most: f64,
}

/// One stage and block type, all windows together.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Statistics {
    /// Name of the stage.
    pub stage: String,
    /// Name of the block type.
    pub block: String,
    /// Tables.
    pub windows: usize,
    /// Rows.
    pub rows: usize,
    /// Distillation loss.
    pub loss: Spread,
    /// Milliseconds.
    pub latency_ms: Spread,
    /// Millions of multiply-accumulates.
    pub mmacs: Spread,
    /// Millions of parameters.
    pub mparams: Spread,
    /// Mean latency over mean MACs, in milliseconds for 1e9.
    pub ms_per_gmac: f64,
}

/// A row that takes far longer than rows of the same table with as many MACs.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Outlier {
    /// File name.
    pub table: String,
    /// Row, from 1.
    pub line: usize,
    /// Its blocks.
    pub substage: String,
    /// Resolution.
    pub resolution: u32,
    /// Milliseconds.
    pub latency_ms: f64,
    /// What the other rows of that table lead one to expect.
    pub expected_ms: f64,
}

fn spread(values: impl Iterator<Item = f64> + Clone) -> Spread {
    let count = values.clone().count().max(1) as f64;
    Spread {
        least: values.clone().fold(f64::INFINITY, f64::min),
        mean: values.clone().sum::<f64>() / count,
        most: values.fold(0.0, f64::max),
    }
}

/// Spreads by stage and block type, in order.
pub fn statistics(tables: &Tables) -> Vec<Statistics> {
    let mut all = Vec::new();
    for (i, stage) in tables.hyperspace.stages.iter().enumerate() {
        for (b, block) in stage.blocks.iter().enumerate() {
            let lists: Vec<_> = (0..stage.windows()).filter_map(|w| tables.table(i, b, w)).collect();
            let rows: Vec<&Row> = lists.iter().flat_map(|t| &t.rows).collect();
            if rows.is_empty() {
                continue;
            }
            let column = |value: fn(&Row) -> f64| spread(rows.iter().map(move |r| value(r) / MILLION));
            let (latency_ms, mmacs) = (column(|r| f64::from(r.latency)), column(|r| r.macs as f64));
            all.push(Statistics {
                stage: stage.name.clone(),
                block: block.name.clone(),
                windows: lists.len(),
                rows: rows.len(),
                loss: column(|r| f64::from(r.loss)),
                latency_ms,
                mmacs,
                mparams: column(|r| r.params as f64),
                ms_per_gmac: latency_ms.mean / mmacs.mean * 1e3,
            });
        }
    }
    all
}

/// Rows that take at least `factor` times what is expected: the median time per MAC of the rows of the same table, resolution and
/// depth. The farthest off first.
pub fn outliers(tables: &Tables, factor: f64) -> Vec<Outlier> {
    let mut found = Vec::new();
    for (.., table) in tables.iter() {
        let key = |row: &Row| (row.resolution, table.substage_text(row).split('_').count());
        let mut groups = std::collections::BTreeMap::<_, Vec<f64>>::new();
        let rate = |row: &Row| f64::from(row.latency) / row.macs.max(1) as f64;
        table.rows.iter().for_each(|row| groups.entry(key(row)).or_default().push(rate(row)));
        groups.values_mut().for_each(|rates| rates.sort_by(f64::total_cmp));
        for (i, row) in table.rows.iter().enumerate() {
            let Some(rates) = groups.get(&key(row)) else { continue };
            let expected = rates[rates.len() / 2] * row.macs as f64;
            if f64::from(row.latency) >= factor * expected {
                found.push(Outlier {
                    table: table.name.clone(),
                    line: i + 1,
                    substage: table.substage_text(row).to_owned(),
                    resolution: row.resolution,
                    latency_ms: f64::from(row.latency) / MILLION,
                    expected_ms: expected / MILLION,
                });
            }
        }
    }
    found.sort_by(|a, b| (b.latency_ms / b.expected_ms).total_cmp(&(a.latency_ms / a.expected_ms)));
    found
}
