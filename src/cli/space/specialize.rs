//! `space specialize`: from the text for a subnet to a network.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use spaceevo::file::{SaveOptions, refuse_existing, save};

use super::super::{Failure, print};
use super::named::Named;

/// Make a subnet a plain network, with random weights by seed
#[derive(Args)]
#[command(after_help = "Examples:
  spaceevo-opt space specialize onnxw-151122-023231 --subnet d1#1#2#2#2#2#2#1_k3#3#…_r160 -o a0.onnx
  spaceevo-opt space specialize mine.seir --subnet $(spaceevo-opt space sample mine.seir | cut -d' ' -f2) --seed 7 -o net.seir

Weights are drawn as He et al. (2015) say; batch normalizations have the statistics of random pictures, so that activations
keep their size from layer to layer.")]
pub(crate) struct Arguments {
    /// Space: a shipped name, one with its blocks and windows (onnxw-151122-023231), or a .seir file
    space: String,
    /// Blocks and windows: a digit for each stage; needed where the name, the file and the subnet leave blocks open
    #[arg(long, value_name = "BLOCKS-WINDOWS")]
    choice: Option<String>,
    /// Subnet: depths, kernels, widths, expansions, resolution
    #[arg(long, value_name = "ENCODING")]
    subnet: String,
    /// Seed of the weights
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// File to write (.onnx or .seir)
    #[arg(short, long, value_name = "NET")]
    output: PathBuf,
    /// Overwrite a file that exists
    #[arg(long)]
    force: bool,
    /// Print what it costs as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    refuse_existing(&arguments.output, arguments.force)?;
    let named = Named::find(&arguments.space, arguments.choice.as_deref(), &arguments.subnet)?;
    let (macs, params, quantized) = named.cost()?;
    let network = named.space.network(&named.choice, &named.subnet, arguments.seed)?;
    save(&network, &arguments.output, &SaveOptions { force: arguments.force, ..SaveOptions::default() })?;
    let name = named.space.page.hyperspace.print_choice(&named.choice);
    if arguments.json {
        let out = json!({
            "space": name, "subnet": named.subnet.to_string(), "seed": arguments.seed, "macs": macs, "params": params,
            "params_with_quantizers": quantized, "output": arguments.output.display().to_string(),
        });
        print(&serde_json::to_string_pretty(&out).unwrap_or_default());
    } else {
        let (macs, params, quantized) = (macs as f64 / 1e6, params as f64 / 1e6, quantized as f64 / 1e6);
        print(&format!(
            "{}: {macs:.1} million multiply-accumulates, {params:.2} million parameters ({quantized:.2} with those of quantizers)",
            arguments.output.display()
        ));
    }
    Ok(())
}
