//! Commands: one file each. Exit codes: 0 fine, 1 input rejected, 2 usage, 3 internal.

mod convert;
mod progress;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use spaceevo::ir::Diagnostic;

/// INT8 model transformation: an ONNX network goes in, a verified and faster one comes out.
#[derive(Parser)]
#[command(name = "spaceevo-opt", version, about, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Convert(convert::Arguments),
}

/// How a command ends when it does not end well.
pub(crate) enum Failure {
    /// The input is rejected: exit code 1.
    Rejected(Vec<Diagnostic>),
    /// The command line makes no sense: exit code 2.
    Usage(Diagnostic),
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Failure::Rejected(vec![diagnostic])
    }
}

impl From<Vec<Diagnostic>> for Failure {
    fn from(diagnostics: Vec<Diagnostic>) -> Self {
        Failure::Rejected(diagnostics)
    }
}

/// Parses the command line, runs the command, prints what went wrong.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = std::panic::catch_unwind(|| match cli.command {
        Command::Convert(arguments) => convert::run(&arguments),
    });
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(Failure::Rejected(diagnostics))) => {
            diagnostics.iter().for_each(|d| say(&d.to_string()));
            ExitCode::from(1)
        }
        Ok(Err(Failure::Usage(diagnostic))) => {
            say(&diagnostic.to_string());
            ExitCode::from(2)
        }
        Err(_) => {
            say(
                "error[internal]: this is a mistake of the program, not of your input\n  = please report it with the command line and the model",
            );
            ExitCode::from(3)
        }
    }
}

/// Prints a line for people on standard error.
#[allow(clippy::print_stderr, reason = "the command line is where printing lives")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// Prints a result on standard output; a closed pipe is no error.
pub(crate) fn print(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}
