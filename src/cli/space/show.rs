//! `space show`: a space as a page of text.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use spaceevo::file::{SaveOptions, save};
use spaceevo::ir::text::{PrintOptions, print as print_ir};
use spaceevo::search::{Hyperspace, Stage};
use spaceevo::spaces::{names, summary};

use super::super::{Failure, print};
use super::arguments::find_space;
use super::named::Named;

/// Print a space as a page that can be read, changed and given to every command; without a space, list those that ship
#[derive(Args)]
#[command(after_help = "Examples:
  spaceevo-opt space show
  spaceevo-opt space show onnxw
  spaceevo-opt space show onnxw-151122-023231 -o mine.seir
  spaceevo-opt space show cifar --unfold")]
pub(crate) struct Arguments {
    /// Space: a shipped name, one with its blocks and windows (onnxw-151122-023231), or a .seir file
    space: Option<String>,
    /// Write the blocks out: choices between ops that share weights
    #[arg(long)]
    unfold: bool,
    /// File to write, .seir
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Overwrite a file that exists
    #[arg(long)]
    force: bool,
    /// Print stages, widths and blocks as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Some(name) = &arguments.space else {
        let width = names().map(str::len).max().unwrap_or_default();
        if arguments.json {
            let all: Vec<Value> = names().map(|name| json!({"name": name, "summary": summary(name)})).collect();
            print(&serde_json::to_string_pretty(&all).unwrap_or_default());
        } else {
            names().for_each(|name| print(&format!("{name:<width$}  {}", summary(name).unwrap_or_default())));
        }
        return Ok(());
    };
    let space = find_space(name)?;
    if arguments.json {
        print(&serde_json::to_string_pretty(&described(&space.page.hyperspace)).unwrap_or_default());
        return Ok(());
    }
    let graph = if arguments.unfold { Named::unfolded(&space)? } else { space.graph };
    match &arguments.output {
        Some(path) => save(&graph, path, &SaveOptions { force: arguments.force, ..SaveOptions::default() })?,
        None => print(print_ir(&graph, &PrintOptions::default()).trim_end()),
    }
    Ok(())
}

/// A hyperspace as JSON.
fn described(space: &Hyperspace) -> Value {
    let stage = |stage: &Stage| {
        let block = |block: &spaceevo::search::Block| {
            let expands: Vec<f64> = block.expands.iter().map(|e| e.ratio()).collect();
            json!({"name": block.name, "kernels": block.kernels, "expands": expands})
        };
        json!({
            "name": stage.name, "widths": stage.widths, "window": stage.window, "depths": [stage.depths.0, stage.depths.1],
            "stride": stage.stride, "blocks": stage.blocks.iter().map(block).collect::<Vec<Value>>(),
        })
    };
    let stages = |list: &[Stage]| list.iter().map(stage).collect::<Vec<Value>>();
    json!({
        "name": space.name, "resolutions": space.resolutions, "stem": stages(&space.stem), "stages": stages(&space.stages),
        "head": stages(&space.head),
    })
}
