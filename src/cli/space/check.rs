//! `space check`: replays a certificate.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use spaceevo::ir::{Diagnostic, Loc};
use spaceevo::search::Tables;
use spaceevo::search::check::{check, check_space};

use super::super::{Failure, print};
use super::arguments::find_hyperspace;

/// Replay a certificate of 'space search --certify' or 'space certify' against the tables, and say what it proves
#[derive(Args)]
#[command(after_help = "Example:\n  spaceevo-opt space check best.cert --tables lut.tar.gz")]
pub(crate) struct Arguments {
    /// Certificate
    file: PathBuf,
    /// The tables that it is about
    #[arg(long, value_name = "DIR")]
    tables: PathBuf,
    /// The hyperspace as a .seir file, where it is none that ships
    #[arg(long, value_name = "SPACE")]
    space: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let unreadable = |e: std::io::Error| {
        Diagnostic::error("file-io", Loc::Unknown, format!("{} cannot be read: {e}", arguments.file.display()))
    };
    let text = std::fs::read_to_string(&arguments.file).map_err(unreadable)?;
    let name = text.lines().find_map(|l| l.strip_prefix("hyperspace ")).unwrap_or_default();
    if name.is_empty() {
        let what = format!("{} is no certificate", arguments.file.display());
        return Err(Diagnostic::error("certificate", Loc::Unknown, what).into());
    }
    let tables = Tables::open(&arguments.tables, &find_hyperspace(arguments.space.as_deref().unwrap_or(name))?)?;
    let start = Instant::now();
    if text.starts_with("spaceevo space-certificate") {
        return about_spaces(arguments, &text, &tables);
    }
    let checked = check(&text, &tables)?;
    let seconds = start.elapsed().as_secs_f64();
    if arguments.json {
        let best = checked.best.map(|(loss, latency, resolution)| {
            json!({"loss": loss as f64 / 1e6, "latency_ms": latency as f64 / 1e6, "resolution": resolution})
        });
        let whole = json!({
            "valid": true, "hyperspace": name, "limit_ms": checked.limit as f64 / 1e6, "best": best, "steps": checked.steps, "seconds": seconds,
        });
        print(&serde_json::to_string_pretty(&whole).unwrap_or_default());
        return Ok(());
    }
    let limit = checked.limit as f64 / 1e6;
    print(&match checked.best {
        Some((loss, latency, resolution)) => format!(
            "valid: no subnet of {name} within {limit} ms has a loss below {:.4}; one with that loss takes {:.4} ms at {resolution} pixels",
            loss as f64 / 1e6,
            latency as f64 / 1e6
        ),
        None => format!("valid: no subnet of {name} is within {limit} ms"),
    });
    print(&format!("{} steps in {seconds:.3} s", checked.steps));
    Ok(())
}

/// A certificate that a space is the best.
fn about_spaces(arguments: &Arguments, text: &str, tables: &Tables) -> Result<(), Failure> {
    let start = Instant::now();
    let checked = check_space(text, tables)?;
    let seconds = start.elapsed().as_secs_f64();
    if arguments.json {
        let whole = json!({
            "valid": true, "space": checked.space, "score": checked.score, "limits_ms": checked.limits_ms, "least": checked.least, "most": checked.most,
            "spaces": checked.spaces.to_string(), "scored": checked.open, "seconds": seconds,
        });
        print(&serde_json::to_string_pretty(&whole).unwrap_or_default());
        return Ok(());
    }
    let limits: Vec<String> = checked.limits_ms.iter().map(f64::to_string).collect();
    print(&format!("valid: {} has the highest score at {} ms, {:.5}", checked.space, limits.join(" and "), checked.score));
    print(&format!(
        "by its rows it is at least {:.5}; those of {} of {} spaces say that theirs are lower, the other {} were scored on a grid",
        checked.least,
        checked.spaces - checked.open as u128,
        checked.spaces,
        checked.open
    ));
    let above = 100.0 * (checked.most / checked.least - 1.0);
    print(&format!("whatever the grid makes of them, none is better by more than {above:.2} %; {seconds:.3} s"));
    Ok(())
}
