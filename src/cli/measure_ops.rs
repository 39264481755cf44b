//! `measure-ops`: fills the price table of a target by measurement on this machine.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::Serialize;
use spaceevo::convert::Progress;
use spaceevo::cost::measure_ops::{Effort, measure_ops};
use spaceevo::file::{refuse_existing, write_whole};
use spaceevo::ir::{Diagnostic, Loc};
use spaceevo::passes::Target;
use spaceevo::passes::price::Prices;

use super::arguments::{default_target, find_runtime, find_target};
use super::progress::Bar;
use super::{Failure, print, say};

/// Measure what ops cost on this machine, in float and in integers, and write a target file with these prices.
#[derive(Args)]
#[command(after_help = "Example:\n  spaceevo-opt measure-ops --target x86-avx2 -o here.toml\n  \
                  spaceevo-opt convert model.onnx -o int8.onnx --calibrate pictures --target here.toml\n\n\
                  Takes about a minute. Prices are ratios that hold on the machine that they name, for the runtime that they name.")]
pub(crate) struct Arguments {
    /// Target whose other sections are taken over: a name or a .toml file
    #[arg(long, default_value = default_target())]
    target: String,
    /// Target file to write; without it, standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Runtime that is measured
    #[arg(long, default_value = "onnxruntime")]
    runtime: String,
    /// Turns that each model takes: more are slower and steadier
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Print as JSON instead
    #[arg(long)]
    json: bool,
    /// Overwrite the output
    #[arg(long)]
    force: bool,
}

/// The section of the target file.
#[derive(Serialize)]
struct Section<'a> {
    prices: &'a Prices,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let target = find_target(&arguments.target)?;
    if let Some(output) = &arguments.output {
        refuse_existing(output, arguments.force)?;
    }
    let runtime = find_runtime(&arguments.runtime)?;
    let effort = Effort { rounds: arguments.rounds.into(), turn: Duration::from_millis(3) };
    let bar = Bar::new(false);
    let told = |done: usize, all: usize, _kind: &str| if done == 0 { bar.stage("kernels", all) } else { bar.advance(1) };
    let prices = measure_ops(&*runtime, &target, effort, &today(), &told)?;
    drop(bar);
    let section = Section { prices: &prices };
    let failed = |why: String| Failure::Internal(Diagnostic::error("internal", Loc::Unknown, why));
    let text = match arguments.json {
        true => serde_json::to_string_pretty(&section).map_err(|e| failed(e.to_string()))?,
        false => {
            let section = toml::to_string(&section).map_err(|e| failed(e.to_string()))?;
            format!(
                "{}\n# What ops cost: nanoseconds of a call, and work per nanosecond by width.\n{section}",
                rest(arguments)?
            )
        }
    };
    match &arguments.output {
        None => print(text.trim_end()),
        Some(output) => {
            write_whole(output, text.as_bytes(), arguments.force)?;
            say(&format!("{}: {} float and {} integer kernels", output.display(), prices.float.len(), prices.integer.len()));
            say(&format!("  measured on {} with {}", prices.provenance.machine, prices.provenance.runtime));
        }
    }
    Ok(())
}

/// The target file as it is, without prices.
fn rest(arguments: &Arguments) -> Result<String, Failure> {
    let name = &arguments.target;
    let text = match Target::text(name) {
        Some(text) => text.to_owned(),
        None => std::fs::read_to_string(name)
            .map_err(|e| Diagnostic::error("target-file", Loc::Unknown, format!("{name}: {e}")))?,
    };
    let mut kept = String::new();
    let mut within = false;
    for line in text.lines() {
        if line.starts_with('[') {
            within = line.starts_with("[prices");
        }
        if !within && !line.starts_with("# What ops cost:") {
            kept += line;
            kept.push('\n');
        }
    }
    Ok(kept.trim_end().to_owned() + "\n")
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
