//! `space count`: how many spaces and subnets there are, and what one of them costs.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use spaceevo::ir::{Diagnostic, Loc};
use spaceevo::search::Tables;
use spaceevo::search::agreement::compare;

use super::super::{Failure, print};
use super::arguments::find_space;
use super::named::Named;

/// Count the spaces of a hyperspace, the subnets of a space, or the multiply-accumulates and parameters of a subnet
#[derive(Args)]
#[command(after_help = "Examples:
  spaceevo-opt space count onnxw
  spaceevo-opt space count onnxw-151122-023231
  spaceevo-opt space count onnxw --tables lut.tar.gz
  spaceevo-opt space count onnxw --choice 151122-023231 --subnet d1#1#2#2#2#2#2#1_k3#3#…_r160")]
pub(crate) struct Arguments {
    /// Space: a shipped name, one with its blocks and windows (onnxw-151122-023231), or a .seir file
    space: String,
    /// Blocks and windows: a digit for each stage
    #[arg(long, value_name = "BLOCKS-WINDOWS")]
    choice: Option<String>,
    /// Subnet: depths, kernels, widths, expansions, resolution
    #[arg(long, value_name = "ENCODING")]
    subnet: Option<String>,
    /// Published tables (a folder or an archive): count every row anew, and say which differ
    #[arg(long, value_name = "DIR")]
    tables: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let space = find_space(&arguments.space)?;
    let hyperspace = &space.page.hyperspace;
    let choice = match &arguments.choice {
        Some(text) => Some(hyperspace.parse_choice(text)?),
        None if hyperspace.spaces() == 1 => Some(hyperspace.choice_at(0)),
        None => space.page.choice(&space.graph.space),
    };
    let mut out = json!({"space": hyperspace.name, "spaces": hyperspace.spaces().to_string()});
    let mut lines = vec![format!("spaces                   {}", grouped(hyperspace.spaces()))];
    if let Some(choice) = &choice {
        let subnets = hyperspace.subnets(choice);
        out["choice"] = json!(hyperspace.print_choice(choice));
        out["subnets_per_resolution"] = json!(subnets);
        lines.push(format!("subnets per resolution   {subnets:.3e}, of {}", hyperspace.print_choice(choice)));
    }
    lines.push(format!("resolutions              {}", hyperspace.resolutions.len()));
    out["resolutions"] = json!(hyperspace.resolutions);
    if let Some(subnet) = &arguments.subnet {
        let named = Named::find(&arguments.space, arguments.choice.as_deref(), subnet)?;
        let (macs, params, quantized) = named.cost()?;
        out["macs"] = json!(macs);
        out["params"] = json!(params);
        out["params_with_quantizers"] = json!(quantized);
        lines.push(format!("multiply-accumulates     {:.4} million", macs as f64 / 1e6));
        lines.push(format!("parameters               {:.4} million", params as f64 / 1e6));
        lines.push(format!("with those of quantizers {:.4} million", quantized as f64 / 1e6));
    }
    let mut differ = None;
    if let Some(path) = &arguments.tables {
        let tables = Tables::open(path, hyperspace)?;
        let found = compare(&space.page, &tables)?;
        let rows = found.equal + found.rounded + found.different.len();
        out["rows"] = json!({
            "all": rows, "equal": found.equal, "rounded": found.rounded, "different": found.different.len(),
            "shapes": found.shapes,
        });
        lines.push(format!("rows of the tables       {rows}, blocks of {} shapes", found.shapes));
        lines.push(format!("equal to four decimals   {}", found.equal));
        lines.push(format!("equal in single precision{:>6}", found.rounded));
        lines.push(format!("different                {}", found.different.len()));
        let first = found.different.first();
        differ = first
            .map(|(table, row, what)| Diagnostic::error("space-count", Loc::Unknown, format!("{table}, row {row}: {what}")));
    }
    if arguments.json {
        print(&serde_json::to_string_pretty(&out).unwrap_or_default());
    } else {
        print(&lines.join("\n"));
    }
    differ.map_or(Ok(()), |found| Err(found.into()))
}

/// Digits in groups of three.
fn grouped(n: u128) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
