//! `doctor`: what this machine has, what is missing, and the one command that brings it.

use clap::Args;
use serde_json::json;
use spaceevo::cost::machine::Machine;
use spaceevo::cost::runtime::{Found, available};

use super::{Failure, print};

/// Say which runtimes were found, what the processor can do, and what is missing.
#[derive(Args)]
#[command(after_help = "Example:\n  spaceevo-opt doctor")]
pub(crate) struct Arguments {
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (machine, found) = (Machine::detect(), available(None));
    if arguments.json {
        let runtimes: Vec<_> = found
            .iter()
            .map(|r| {
                json!({"name": r.name, "found": r.version.is_some(), "version": r.version, "path": r.path, "origin": r.origin,
                       "enables": r.enables, "install": r.install})
            })
            .collect();
        let value = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cpu": machine.cpu, "threads": machine.threads, "features": machine.features, "int8_dot": machine.has_int8_dot(),
            "runtimes": runtimes,
        });
        print(&serde_json::to_string_pretty(&value).unwrap_or_default());
        return Ok(());
    }
    print(&format!("spaceevo-opt {}", env!("CARGO_PKG_VERSION")));
    print(&format!("processor     {machine}"));
    print(match machine.has_int8_dot() {
        true => "              it adds up 8-bit products in one instruction: INT8 is fast here",
        false => "              no instruction for 8-bit dot products (VNNI): INT8 saves memory here, and little time",
    });
    found.iter().for_each(line);
    let missing: Vec<&Found> = found.iter().filter(|r| r.install.is_some()).collect();
    print(if missing.is_empty() { "\nNothing is missing." } else { "\nMissing:" });
    for runtime in missing {
        let command = runtime.install.unwrap_or_default();
        print(&format!("  {}: install it with\n\n      {command}\n\n  It enables {}.", runtime.name, runtime.enables));
    }
    Ok(())
}

fn line(runtime: &Found) {
    let version = runtime.version.as_deref().unwrap_or("not found");
    print(&format!("{:<13} {version}: {}", runtime.name, runtime.enables));
    if let Some(path) = &runtime.path {
        let why = runtime.origin.map_or(String::new(), |o| format!(" ({o})"));
        print(&format!("              {}{why}", path.display()));
    }
}
