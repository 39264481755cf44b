//! `advise`: what would make a network faster if it were trained again.

use std::path::PathBuf;

use clap::Args;
use spaceevo::advise::advise;
use spaceevo::file::load;

use super::arguments::{default_target, find_target, shown};
use super::{Failure, print, show};

/// Say which substitutions would make a network faster, and by how much; each wants the network to be trained again.
#[derive(Args)]
#[command(after_help = "Example:\n  spaceevo-opt advise model.onnx --target x86-avx2\n  \
                  spaceevo-opt convert model.onnx -o changed.onnx --calibrate pictures --apply drop-se\n\n\
                  Gains are predicted from the target's prices. 'convert --apply' makes a substitution, and reports what is \
                  left of the quality before any training.")]
pub(crate) struct Arguments {
    /// Float model (.onnx or .seir; - for standard input)
    input: PathBuf,
    /// Target with prices: a name from 'list targets', or a .toml file
    #[arg(long, default_value = default_target())]
    target: String,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let target = find_target(&arguments.target)?;
    let loaded = load(&arguments.input)?;
    loaded.warnings.iter().for_each(show);
    let advice = advise(&loaded.graph, &target, &spaceevo::registry())?;
    if arguments.json {
        print(&serde_json::to_string_pretty(&advice).unwrap_or_default());
        return Ok(());
    }
    let mut lines = vec![
        format!("{}, on {} by the prices of {}", shown(&arguments.input), advice.target, advice.machine),
        format!("  {:>9.1} us  as it is, INT8 where that is faster ({:.1} us in float)", advice.as_is_us, advice.float_us),
    ];
    for s in &advice.suggestions {
        let ops = if s.ops == 1 { "op" } else { "ops" };
        lines.push(format!("  {:>9.1} us  {:.2}x  {:<24} {} {ops}", s.us, s.speedup, s.pass, s.ops));
    }
    if advice.suggestions.is_empty() {
        lines.push("  nothing here that a substitution would replace".to_owned());
    }
    print(&lines.join("\n"));
    Ok(())
}
