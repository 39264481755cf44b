//! Measurements that stay: the store, and jobs for other machines.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use spaceevo::cost::measure::inputs::Shapes;
use spaceevo::cost::measure::job;
use spaceevo::cost::measure::report::Report;
use spaceevo::cost::measure::sequential::Settings;
use spaceevo::cost::measure::store::{Record, Store};
use spaceevo::file::write_whole;
use spaceevo::measure::{Subject, records};

use super::measure_shown::micros;
use super::{Failure, print};

/// Appends a report to a store.
pub(crate) fn record(store: &Path, report: &Report, commit: &str) -> Result<(), Failure> {
    Ok(Store::append_to(store)?.append(&records(report, &today(), commit))?)
}

/// Lists a store.
pub(crate) fn history(store: &Path, csv: Option<&Path>, as_json: bool, force: bool) -> Result<(), Failure> {
    show(&Store::read_from(store)?.list()?, csv, as_json, force)
}

/// Reads results of a job, and appends them to a store if one is given.
pub(crate) fn import(
    folder: &Path,
    results: Option<&Path>,
    store: Option<&Path>,
    commit: &str,
) -> Result<Vec<Record>, Failure> {
    let mut records = job::import(folder, results, Settings::default().confidence)?;
    records.iter_mut().for_each(|record| record.source = commit.to_owned());
    if let Some(store) = store {
        Store::append_to(store)?.append(&records)?;
    }
    Ok(records)
}

/// Writes a job.
pub(crate) fn export(
    folder: &Path,
    subjects: Vec<Subject>,
    shapes: &Shapes,
    settings: &Settings,
    as_json: bool,
    force: bool,
) -> Result<(), Failure> {
    let models: Vec<_> = subjects.into_iter().map(|subject| (subject.name, subject.graph)).collect();
    let manifest = job::export(folder, &models, shapes, settings, force)?;
    let count = manifest.models.len();
    print(&match as_json {
        true => serde_json::to_string_pretty(&manifest).unwrap_or_default(),
        false => format!(
            "{0}: {count} models, the reference network among them\n\
             there:  python measure.py\n\
             here:   spaceevo-opt measure --import-results {0}",
            folder.display()
        ),
    });
    Ok(())
}

/// Prints records, and writes them as CSV if a file is given.
pub(crate) fn show(records: &[Record], csv: Option<&Path>, as_json: bool, force: bool) -> Result<(), Failure> {
    if let Some(path) = csv {
        write_csv(records, path, force)?;
    }
    if as_json {
        let all: Vec<_> = records.iter().map(record_json).collect();
        print(&serde_json::to_string_pretty(&all).unwrap_or_default());
        return Ok(());
    }
    let mut lines =
        vec![format!("{:<10}  {:<32} {:>20} {:>16}  runtime, machine", "date", "model", "time of a run", "ratio")];
    for r in records {
        lines.push(format!(
            "{:<10}  {:<32} {:>20} {:>16}  {} {}, {}{}{}",
            r.date,
            r.model,
            micros(&r.time),
            format!("{:.3} ±{:.1} %", r.ratio.median, 100.0 * r.ratio.half_width()),
            r.runtime,
            r.version,
            r.machine,
            if r.source.is_empty() { String::new() } else { format!(", commit {}", r.source) },
            if r.disturbed.is_empty() { "" } else { ", disturbed" },
        ));
    }
    lines.push(format!("{} measurements", records.len()));
    print(&lines.join("\n"));
    Ok(())
}

fn record_json(r: &Record) -> serde_json::Value {
    json!({
        "date": r.date, "model": r.model, "hash": r.hash, "machine": r.machine, "runtime": r.runtime, "version": r.version,
        "settings": r.settings, "commit": r.source, "disturbed": r.disturbed, "time": r.time, "ratio": r.ratio,
        "samples": r.samples,
    })
}

/// Writes records as CSV: nanoseconds, one line each.
pub(crate) fn write_csv(records: &[Record], path: &Path, force: bool) -> Result<(), Failure> {
    let mut out =
        "date,model,hash,machine,runtime,version,settings,commit,median_ns,low_ns,high_ns,ratio,ratio_low,ratio_high\n"
            .to_owned();
    for r in records {
        let words = [&r.date, &r.model, &r.hash, &r.machine, &r.runtime, &r.version, &r.settings, &r.source];
        let numbers = [r.time.median, r.time.low, r.time.high, r.ratio.median, r.ratio.low, r.ratio.high];
        let cells = words.map(|word| quoted(word)).into_iter().chain(numbers.map(|number| number.to_string()));
        out += &(cells.collect::<Vec<_>>().join(",") + "\n");
    }
    Ok(write_whole(path, out.as_bytes(), force)?)
}

fn quoted(word: &str) -> String {
    if word.contains([',', '"', '\n']) { format!("\"{}\"", word.replace('"', "\"\"")) } else { word.to_owned() }
}

/// The date of today in universal time, ISO 8601 (Hinnant, chrono-compatible low-level date algorithms).
pub(crate) fn today() -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() / 86_400) + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    format!("{:04}-{month:02}-{day:02}", era * 400 + year_of_era + u64::from(month <= 2))
}
