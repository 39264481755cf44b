//! `space sample`: random subnets.

use clap::Args;
use serde_json::{Value, json};
use spaceevo::search::sample::{choice, subnet};

use super::super::arguments::usage;
use super::super::{Failure, print};
use super::arguments::find_space;

/// Draw subnets: every parameter uniform over its values, the same ones for the same seed
#[derive(Args)]
#[command(after_help = "Examples:
  spaceevo-opt space sample onnxw-151122-023231 --count 5 --seed 1
  spaceevo-opt space sample onnxw --count 3            blocks and windows are drawn too")]
pub(crate) struct Arguments {
    /// Space: a shipped name, one with its blocks and windows (onnxw-151122-023231), or a .seir file
    space: String,
    /// Blocks and windows: a digit for each stage; without it they are drawn, unless the space says them
    #[arg(long, value_name = "BLOCKS-WINDOWS")]
    choice: Option<String>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u32,
    /// Seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.count > 1_000_000 {
        return Err(Failure::Usage(usage("--count is at most 1000000")));
    }
    let space = find_space(&arguments.space)?;
    let hyperspace = &space.page.hyperspace;
    let given = match &arguments.choice {
        Some(text) => Some(hyperspace.parse_choice(text)?),
        None => space.page.choice(&space.graph.space),
    };
    let mut out = Vec::new();
    for index in 0..arguments.count {
        let seeds = [arguments.seed, index.into()];
        let choice = given.clone().unwrap_or_else(|| choice(hyperspace, &seeds));
        let name = hyperspace.print_choice(&choice);
        let subnet = subnet(hyperspace, &choice, &seeds).to_string();
        if arguments.json {
            out.push(json!({"space": name, "subnet": subnet}));
        } else {
            print(&format!("{name} {subnet}"));
        }
    }
    if arguments.json {
        print(&serde_json::to_string_pretty(&Value::Array(out)).unwrap_or_default());
    }
    Ok(())
}
