//! `completions`: scripts that let a shell complete commands, flags and pass names.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use spaceevo::passes::Target;

use super::{Cli, Failure, print};

/// Print a completion script for a shell.
#[derive(Args)]
#[command(
    after_help = "Example:\n  spaceevo-opt completions bash > ~/.local/share/bash-completion/completions/spaceevo-opt"
)]
pub(crate) struct Arguments {
    /// Shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let registry = spaceevo::registry();
    // Leaked: clap keeps names for as long as the program runs, which is not long.
    let pipelines = registry.pipelines().map(|(name, _)| &*format!("@{name}").leak());
    let passes: Vec<&'static str> = registry.passes().map(|p| p.info().name).chain(pipelines).collect();
    let targets: Vec<&'static str> = Target::names().collect();
    // The values are open (a pipeline is more than one name, a target may be a file): known to the shell, not to the parser.
    let words = |words: &[&'static str]| clap::builder::PossibleValuesParser::new(words.to_vec());
    let mut command = Cli::command()
        .mut_subcommand("run", |c| {
            c.mut_arg("pipeline", |a| a.value_parser(words(&passes))).mut_arg("target", |a| a.value_parser(words(&targets)))
        })
        .mut_subcommand("reduce", |c| c.mut_arg("pipeline", |a| a.value_parser(words(&passes))));
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "spaceevo-opt", &mut script);
    print(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}
