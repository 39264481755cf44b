//! `inspect`: what a model is, in one screen.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use spaceevo::file::load;
use spaceevo::inspect::{Facts, inspect, size};

use super::arguments::shown;
use super::{Failure, print, show};

/// Say what a model is: inputs, operators, size, work, quantization.
#[derive(Args)]
#[command(after_help = "Example:\n  spaceevo-opt inspect model.onnx --json")]
pub(crate) struct Arguments {
    /// Model (.onnx or .seir; - for standard input)
    input: PathBuf,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct File {
    file: String,
    format: &'static str,
    bytes: Option<u64>,
    #[serde(flatten)]
    facts: Facts,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let loaded = load(&arguments.input)?;
    loaded.warnings.iter().for_each(show);
    let file = File {
        file: shown(&arguments.input),
        format: loaded.format.word(),
        bytes: std::fs::metadata(&arguments.input).ok().map(|m| m.len()),
        facts: inspect(&loaded.graph),
    };
    if arguments.json {
        print(&serde_json::to_string_pretty(&file).unwrap_or_default());
    } else {
        let bytes = file.bytes.map_or(String::new(), |n| format!(", {}", size(n)));
        print(&format!("{}: {}{bytes}\n{}", file.file, file.format, file.facts.to_string().trim_end()));
    }
    Ok(())
}
