//! `learn-fusions`: finds out what a runtime fuses, and prints it as target data.

use clap::Args;
use serde::Serialize;
use spaceevo::cost::learn_fusions::learn;
use spaceevo::passes::kernel_rules::KernelRules;

use super::arguments::{default_target, find_runtime, find_target};
use super::{Failure, print, say};

/// Find out by small models which ops a runtime runs within the kernel before them, and what it calls the others.
#[derive(Args)]
#[command(after_help = "Example:\n  spaceevo-opt learn-fusions --target portable >> mine.toml\n\n\
                  Prints a section [kernels] with 'fused', 'gated' and 'stored'. Layouts are not found by this: \
                  compare 'predict --kernels' with what the runtime ran.")]
pub(crate) struct Arguments {
    /// Target, which says how numbers are stored: a name or a .toml file
    #[arg(long, default_value = default_target())]
    target: String,
    /// Runtime that is looked at
    #[arg(long, default_value = "onnxruntime")]
    runtime: String,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// The section.
#[derive(Serialize)]
struct Section<'a> {
    kernels: &'a KernelRules,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let target = find_target(&arguments.target)?;
    let runtime = find_runtime(&arguments.runtime)?;
    let learned = learn(&*runtime, &target, &spaceevo::registry())?;
    let section = Section { kernels: &learned.rules };
    match arguments.json {
        true => print(&serde_json::to_string_pretty(&section).unwrap_or_default()),
        false => print(toml::to_string(&section).unwrap_or_default().trim_end()),
    }
    learned.remarks.iter().for_each(|remark| say(remark));
    Ok(())
}
