//! What the e-graph costs and gains on models: its size, its time, the peak memory of a whole process with it, what it is
//! predicted to save, and the rules that are behind.
//!
//! ```sh
//! cargo bench --bench saturate -- --target x86-avx2 models/*.onnx
//! ```

#[path = "convert/process.rs"]
mod process;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use spaceevo::egraph::extract::{Problem, exact, greedy};
use spaceevo::{Manager, Pipeline, Target};
use spaceevo_testkit::instance::Dice;

use process::{METRICS, run};

/// Size, time, memory and predicted gain of the pass 'saturate' on models.
#[derive(Parser)]
#[command(bin_name = "cargo bench --bench saturate --")]
struct Arguments {
    /// Float models
    models: Vec<PathBuf>,
    /// Target, which must have prices
    #[arg(long, default_value = "x86-avx2")]
    target: String,
    /// Options of the pass, as a pipeline has them: nodes=5000,rounds=3
    #[arg(long, default_value = "")]
    options: String,
    /// Hold the choice against the optimum instead, on so many random parts of all models' e-graphs
    #[arg(long, value_name = "N")]
    parts: Option<usize>,
    /// The spaceevo-opt whose memory is measured
    #[arg(long, default_value = env!("CARGO_BIN_EXE_spaceevo-opt"))]
    bin: PathBuf,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(parts) = arguments.parts {
        return match against_optimum(&arguments, parts) {
            Ok(told) => {
                println!("{told}");
                ExitCode::SUCCESS
            }
            Err(why) => {
                eprintln!("{why}");
                ExitCode::FAILURE
            }
        };
    }
    println!(
        "{:<38} {:>6} {:>7} {:>6} {:>8} {:>9} {:>9} {:>8}  rules",
        "model", "nodes", "classes", "rounds", "ms", METRICS[2], "us", "saved us"
    );
    let mut failed = false;
    // Before anything is read here: a process begins with the peak of the one that starts it.
    let peaks: Vec<Result<f64, String>> = arguments.models.iter().map(|model| peak(model, &arguments)).collect();
    for (model, peak) in arguments.models.iter().zip(peaks) {
        match peak.and_then(|peak| measure(model, peak, &arguments)) {
            Ok(row) => println!("{row}"),
            Err(why) => {
                eprintln!("{}: {why}", model.display());
                failed = true;
            }
        }
    }
    ExitCode::from(u8::from(failed))
}

/// What comes before the pass in 'convert', and the pass.
fn pipeline(options: &str) -> String {
    let before = spaceevo::convert::PREPARE.split("saturate").next().unwrap_or_default();
    if options.is_empty() { format!("{before}saturate") } else { format!("{before}saturate{{{options}}}") }
}

/// The e-graph of a model, as 'convert' would choose from it.
fn problem(model: &Path, target: &Target) -> Result<Problem, String> {
    let registry = spaceevo::registry();
    let shown = |list: Vec<spaceevo::Diagnostic>| format!("{}: {}", model.display(), list[0]);
    let mut graph = spaceevo::load(model).map_err(shown)?.graph;
    let before = spaceevo::convert::PREPARE.split(",saturate").next().unwrap_or_default();
    let before = before.trim_end().trim_end_matches(',');
    let pipeline = Pipeline::parse(before, &registry).map_err(|d| d.to_string())?;
    let report = Manager::new(&registry, target).run(&pipeline, &mut graph, None);
    if let Some(error) = report.errors().next() {
        return Err(error.to_string());
    }
    spaceevo::egraph::problem(&graph, target).ok_or_else(|| format!("the target '{}' has no prices", target.name))
}

/// Random parts in which several classes have alternatives.
fn against_optimum(arguments: &Arguments, parts: usize) -> Result<String, String> {
    let target = Target::named(&arguments.target).ok_or_else(|| format!("there is no target '{}'", arguments.target))?;
    let problems: Vec<Problem> = arguments.models.iter().map(|model| problem(model, &target)).collect::<Result<_, _>>()?;
    let (mut dice, mut drawn, mut proved, mut equal, mut worst) = (Dice(17), 0, 0, 0, 1.0f64);
    let (mut classes, mut choices) = (0, 0);
    while proved < parts && drawn < 1000 * parts {
        drawn += 1;
        let whole = &problems[dice.below(problems.len())];
        let part = whole.part(dice.below(whole.classes.len()), 10 + dice.below(50));
        let open = part.classes.iter().filter(|nodes| nodes.len() > 1).count();
        if open < 3 {
            continue;
        }
        let Some(best) = exact(&part, 1_000_000).and_then(|choice| part.cost(&choice)) else { continue };
        let found = greedy(&part, None).and_then(|choice| part.cost(&choice)).ok_or("greedy finds no choice")?;
        (proved, classes, choices) = (proved + 1, classes + part.classes.len(), choices + open);
        equal += usize::from(found <= best + 1e-9 * best);
        worst = worst.max(if best > 0.0 { found / best } else { 1.0 });
    }
    let mean = |sum: usize| sum as f64 / proved.max(1) as f64;
    Ok(format!(
        "{proved} parts with {:.0} classes, {:.1} of them with alternatives: the choice is optimal in {equal}, and at worst \
         {worst:.4} of the optimum",
        mean(classes),
        mean(choices)
    ))
}

/// Peak memory of a process that does just this, in MiB.
fn peak(model: &Path, arguments: &Arguments) -> Result<f64, String> {
    let log = std::env::temp_dir().join("spaceevo-bench-saturate.log");
    let mut whole = Command::new(&arguments.bin);
    whole.arg("run").arg(model).args(["-p", &pipeline(&arguments.options), "--target", &arguments.target]);
    let [_, _, peak] = run(whole.args(["--emit", "summary"]), &log)?;
    Ok(peak)
}

fn measure(model: &Path, peak: f64, arguments: &Arguments) -> Result<String, String> {
    let registry = spaceevo::registry();
    let target = Target::named(&arguments.target).ok_or_else(|| format!("there is no target '{}'", arguments.target))?;
    let text = pipeline(&arguments.options);
    let mut graph =
        spaceevo::load(model).map_err(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?.graph;
    let pipeline = Pipeline::parse(&text, &registry).map_err(|d| d.to_string())?;
    let report = Manager::new(&registry, &target).run(&pipeline, &mut graph, None);
    if let Some(error) = report.errors().next() {
        return Err(error.to_string());
    }
    let count = |name: &'static str| report.log.statistics.get(&("saturate", name)).copied().unwrap_or(0);
    let took = report.runs.iter().find(|run| run.pass == "saturate").map_or(0.0, |run| run.took.as_secs_f64() * 1e3);
    let events = report.log.rewrites.iter().filter(|event| event.pass == "saturate");
    let rules: BTreeSet<&str> =
        events.flat_map(|event| event.text.split(':').next().unwrap_or_default().split(", ")).collect();
    let name = model.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(format!(
        "{name:<38} {:>6} {:>7} {:>6} {took:>8.1} {peak:>9.1} {:>9.1} {:>8.1}  {}",
        count("nodes"),
        count("classes"),
        count("rounds"),
        count("ns before") as f64 / 1e3,
        count("ns saved") as f64 / 1e3,
        rules.into_iter().collect::<Vec<_>>().join(", ")
    ))
}
