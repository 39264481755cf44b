//! `spaceevo-opt`: the command line. Everything it does is in the library; this binary parses, prints and exits.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
