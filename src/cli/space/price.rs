//! `space price`: what a subnet takes in its best legal form.

use clap::Args;
use spaceevo::Target;

use super::super::arguments::find_target;
use super::super::{Failure, print};
use super::named::Named;

/// Predict what a subnet takes on a target: as it is written, and in the best form that computes the same
#[derive(Args)]
#[command(
    after_help = "Example:\n  spaceevo-opt space price onnxw-151122-023231 --subnet d1#1#2#2#2#2#2#1_k3#3#…_r160 --target x86-vnni"
)]
pub(crate) struct Arguments {
    /// Space: a shipped name, one with its blocks and windows (onnxw-151122-023231), or a .seir file
    space: String,
    /// Blocks and windows: a digit for each stage; needed where the name, the file and the subnet leave blocks open
    #[arg(long, value_name = "BLOCKS-WINDOWS")]
    choice: Option<String>,
    /// Subnet: depths, kernels, widths, expansions, resolution
    #[arg(long, value_name = "ENCODING")]
    subnet: String,
    /// Target with prices: a shipped name, or a file that 'measure-ops' wrote
    #[arg(long, value_name = "TARGET", default_value = "x86-vnni")]
    target: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let target: Target = find_target(&arguments.target)?;
    let named = Named::find(&arguments.space, arguments.choice.as_deref(), &arguments.subnet)?;
    let price = named.space.price(&named.choice, &named.subnet, &target, &spaceevo::registry())?;
    if arguments.json {
        print(&serde_json::to_string_pretty(&price).unwrap_or_default());
        return Ok(());
    }
    let ms = |us: f64| us / 1e3;
    print(&format!("predicted for {}", price.machine));
    print(&format!("  as written  {:8.3} ms", ms(price.written_us)));
    print(&format!("  best form   {:8.3} ms  ({:.3} ms all in float)", ms(price.best_us), ms(price.float_us)));
    let passes: Vec<String> = price.passes.iter().map(|(pass, rewrites)| format!("{pass} {rewrites}")).collect();
    print(&format!("  rewrites    {}", passes.join(", ")));
    Ok(())
}
