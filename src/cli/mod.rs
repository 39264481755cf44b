//! Commands: one file each. Exit codes: 0 fine, 1 input rejected, 2 usage, 3 internal.

mod advise;
mod arguments;
mod build_predictor;
mod check;
mod completions;
mod convert;
mod diff;
mod doctor;
mod dump;
mod explain;
mod inspect;
mod learn_fusions;
mod list;
mod measure;
mod measure_kept;
mod measure_ops;
mod measure_shown;
mod predict;
mod progress;
mod reduce;
mod run;
mod samples;
mod signals;
mod space;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use spaceevo::ir::text::render;
use spaceevo::ir::{Diagnostic, Loc};

/// INT8 model transformation: an ONNX network goes in, a verified and faster one comes out.
#[derive(Parser)]
#[command(name = "spaceevo-opt", version, about, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Models are .onnx or .seir files, - is a standard stream.\nExit codes: 0 fine, 1 input rejected, 2 usage, 3 internal."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Convert(convert::Arguments),
    Run(run::Arguments),
    Inspect(inspect::Arguments),
    Diff(diff::Arguments),
    List(list::Arguments),
    Explain(explain::Arguments),
    Test(test::Arguments),
    Check(check::Arguments),
    Reduce(reduce::Arguments),
    Advise(advise::Arguments),
    Measure(Box<measure::Arguments>),
    MeasureOps(measure_ops::Arguments),
    BuildPredictor(build_predictor::Arguments),
    Predict(predict::Arguments),
    LearnFusions(learn_fusions::Arguments),
    Space(space::Arguments),
    Doctor(doctor::Arguments),
    Completions(completions::Arguments),
}

/// How a command ends when it does not end well.
pub(crate) enum Failure {
    /// The input is rejected: exit code 1.
    Rejected(Vec<Diagnostic>),
    /// The command line makes no sense: exit code 2.
    Usage(Diagnostic),
    /// The program is wrong: exit code 3.
    Internal(Diagnostic),
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
    spaceevo::cost::memory::keep_freed();
    signals::handle();
    let outcome = std::panic::catch_unwind(|| match cli.command {
        Command::Convert(arguments) => convert::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::List(arguments) => list::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Reduce(arguments) => reduce::run(&arguments),
        Command::Advise(arguments) => advise::run(&arguments),
        Command::Measure(arguments) => measure::run(&arguments),
        Command::MeasureOps(arguments) => measure_ops::run(&arguments),
        Command::BuildPredictor(arguments) => build_predictor::run(&arguments),
        Command::Predict(arguments) => predict::run(&arguments),
        Command::LearnFusions(arguments) => learn_fusions::run(&arguments),
        Command::Space(arguments) => space::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
    });
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(Failure::Rejected(diagnostics))) => {
            diagnostics.iter().for_each(show);
            ExitCode::from(1)
        }
        Ok(Err(Failure::Usage(diagnostic))) => {
            show(&diagnostic);
            ExitCode::from(2)
        }
        Ok(Err(Failure::Internal(diagnostic))) => internal(diagnostic),
        // The message of the panic is on standard error already.
        Err(_) => internal(Diagnostic::error("internal", Loc::Unknown, "the program broke an assumption of its own")),
    }
}

fn internal(diagnostic: Diagnostic) -> ExitCode {
    let diagnostic = Diagnostic { code: "internal", ..diagnostic };
    show(
        &diagnostic.note(
            "this is a mistake of the program, not of your input: please report it with the command line and the model",
        ),
    );
    ExitCode::from(3)
}

/// Prints a diagnostic on standard error, with the line of the text it is about.
pub(crate) fn show(diagnostic: &Diagnostic) {
    let source = match &diagnostic.loc {
        Loc::Text { file, .. } => std::fs::read_to_string(&**file).unwrap_or_default(),
        _ => String::new(),
    };
    say(&render(diagnostic, &source));
}

/// Prints a line for people on standard error.
pub(crate) fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints a result on standard output; a closed pipe is no error.
pub(crate) fn print(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}
