//! `list`: what there is to name on the command line.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use spaceevo::cost::runtime::available;
use spaceevo::ir::diagnostic::CODES;
use spaceevo::passes::Target;
use spaceevo::passes::rule::shipped;

use super::{Failure, print};

/// List passes, rules, targets, pipelines, diagnostics or runtimes.
#[derive(Args)]
#[command(after_help = "Example:\n  spaceevo-opt list passes")]
pub(crate) struct Arguments {
    /// What to list
    #[arg(value_enum)]
    what: What,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Passes, with their effect on the numbers
    Passes,
    /// Rewrite rules, with their effect on the numbers
    Rules,
    /// Devices with their runtimes
    Targets,
    /// Named pipelines
    Pipelines,
    /// Codes of diagnostics
    Diagnostics,
    /// Engines that run models
    Runtimes,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let rows = rows(arguments.what);
    if arguments.json {
        print(&serde_json::to_string_pretty(&rows).unwrap_or_default());
        return Ok(());
    }
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let width = rows.iter().map(|row| text(row, "name").len()).max().unwrap_or(0);
    for row in &rows {
        let mut line = format!("{:<width$}", text(row, "name"));
        for key in ["effect", "version"] {
            if !row[key].is_null() {
                line.push_str(&format!("  {:<11}", text(row, key)));
            }
        }
        print(&format!("{line}  {}", text(row, "summary")));
    }
    if arguments.what != What::Runtimes {
        print("\n'spaceevo-opt explain NAME' says more about each.");
    }
    Ok(())
}

fn rows(what: What) -> Vec<Value> {
    let registry = spaceevo::registry();
    match what {
        What::Passes => registry
            .passes()
            .map(|p| json!({"name": p.info().name, "effect": p.info().effect.word(), "summary": p.info().summary}))
            .collect(),
        What::Rules => shipped()
            .iter()
            .map(|rule| json!({"name": rule.name(), "effect": rule.effect.word(), "summary": rule.summary()}))
            .collect(),
        What::Targets => Target::names()
            .filter_map(Target::named)
            .map(|t| json!({"name": t.name, "summary": t.summary, "runtime": t.provenance.runtime}))
            .collect(),
        What::Pipelines => registry
            .pipelines()
            .map(|(name, text)| {
                let doc = registry.pipeline_doc(name).unwrap_or_default();
                let sentence = doc.replace('\n', " ");
                let sentence = sentence.split_inclusive(". ").next().unwrap_or_default().trim();
                json!({"name": format!("@{name}"), "summary": sentence, "pipeline": text})
            })
            .collect(),
        What::Diagnostics => CODES.iter().map(|(name, text)| json!({"name": name, "summary": text})).collect(),
        What::Runtimes => available(None)
            .into_iter()
            .map(|found| {
                let version = found.version.unwrap_or_else(|| "not found".to_owned());
                json!({"name": found.name, "version": version, "summary": found.enables})
            })
            .collect(),
    }
}
