//! `check`: do rules and passes do what their effect says?

use clap::Args;
use spaceevo::convert::Progress;
use spaceevo::effects::{Line, check, subjects};
use spaceevo::ir::{Diagnostic, Loc};

use super::arguments::{find_runtime, unknown};
use super::progress::Bar;
use super::{Failure, print};

/// Hold rewrite rules and passes against their effects, on random graphs, through the interpreter and a runtime.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  spaceevo-opt check                        every rule and pass, 100000 numbers each\n  \
                  spaceevo-opt check lower-hard-swish pad-stem --cases 2000\n\n\
                  A case is one number of a result; a graph has as many as its result. Scales, zero points and data are from corners,\n\
                  saturation included. Passes are written with integer operators and run with all optimizations of the runtime, rules\n\
                  op by op. Graphs that a runtime does not take count for the interpreter only."
)]
pub(crate) struct Arguments {
    /// Rules or passes (default: all that promise something about numbers)
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Numbers to compare for each, in the interpreter and in the runtime
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    cases: usize,
    /// Seed of what is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runtime beside the interpreter
    #[arg(long, default_value = "onnxruntime", value_parser = ["onnxruntime", "tract", "none"])]
    runtime: String,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let all = subjects();
    let known: Vec<&str> = all.iter().map(|subject| subject.name()).collect();
    if let Some(name) = arguments.names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(unknown("rule or pass", name, &known));
    }
    let chosen = |name: &str| arguments.names.is_empty() || arguments.names.iter().any(|wanted| wanted == name);
    let chosen: Vec<_> = all.iter().filter(|subject| chosen(subject.name())).collect();
    let runtime = if arguments.runtime == "none" { None } else { Some(find_runtime(&arguments.runtime)?) };
    let bar = Bar::new(arguments.json);
    bar.stage("check", chosen.len());
    let mut lines = Vec::new();
    for subject in chosen {
        lines.push(check(*subject, arguments.cases, arguments.seed, runtime.as_deref())?);
        bar.advance(1);
    }
    drop(bar);
    print(&if arguments.json {
        serde_json::to_string_pretty(&lines).unwrap_or_default()
    } else {
        told(&lines, &arguments.runtime)
    });
    let broken: Vec<&Line> = lines.iter().filter(|line| line.beyond() > 0).collect();
    let Some(first) = broken.first() else { return Ok(()) };
    let names: Vec<&str> = broken.iter().map(|line| line.name.as_str()).collect();
    let message = format!("further apart than their effect allows: {}", names.join(", "));
    Err(Diagnostic::error("effect-broken", Loc::Unknown, message).note(first.first.clone().unwrap_or_default()).into())
}

fn told(lines: &[Line], runtime: &str) -> String {
    let head = format!("{:<44} {:<9} {:>7}   {:^28}   {runtime:^28}", "", "", "", "interpreter");
    let columns = format!("{:>10} {:>8} {:>8}", "numbers", "differ", "beyond");
    let mut text = vec![
        head.trim_end().to_owned(),
        format!("{:<44} {:<9} {:>7}   {columns}   {columns}  refused", "rule or pass", "effect", "graphs"),
    ];
    for line in lines {
        let name = if line.about.is_empty() { line.name.clone() } else { format!("{} ({})", line.name, line.about) };
        let count =
            |count: &spaceevo::effects::Count| format!("{:>10} {:>8} {:>8}", count.cases, count.differ, count.beyond);
        let ran = line.runtime.as_ref().map_or(String::new(), |ran| format!("   {}  {:>7}", count(ran), line.refused));
        text.push(format!("{name:<44} {:<9} {:>7}   {}{ran}", line.effect, line.graphs, count(&line.interpreter)));
    }
    let beyond: usize = lines.iter().map(Line::beyond).sum();
    text.push(format!("{} rules and passes, {beyond} numbers further apart than allowed", lines.len()));
    text.join("\n")
}
