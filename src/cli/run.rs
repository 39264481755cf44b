//! `run`: a pipeline of passes over one model, and every way to look at what they did.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use spaceevo::file::{Format, SaveOptions, load, save, write_whole};
use spaceevo::inspect::{inspect, operators};
use spaceevo::ir::text::{PrintOptions, print as print_ir};
use spaceevo::ir::{Diagnostic, Graph, Severity, view};
use spaceevo::line_diff;
use spaceevo::passes::{Manager, Observer, Pipeline, Report};

use super::arguments::{default_target, find_priced, shown, unknown, usage};
use super::dump::Dump;
use super::progress::Bar;
use super::samples::CalibrationArguments;
use super::{Failure, print, say, show};

/// Run a pipeline of passes on a model.
#[derive(Args)]
#[command(after_help = "Examples:
  spaceevo-opt run model.onnx -p @simplify -o simple.onnx
  spaceevo-opt run model.onnx -p 'fold-conv-bn,drop-dead' --emit diff --explain
  spaceevo-opt run model.onnx -p @simplify,fold-hard-sigmoid,calibrate,correct-bias,quantize,fold-clip,@suit-kernels,lower-qdq,drop-dead \\
      --calibrate pictures/ --preprocess model.toml -o model.int8.onnx
  spaceevo-opt run case.seir -p 'fixpoint(drop-identity,drop-dead)' --print-ir-after-change")]
pub(crate) struct Arguments {
    /// Model (.onnx or .seir; - for standard input)
    input: PathBuf,
    /// Passes, separated by commas: fold-conv-bn,fixpoint(drop-dead),@simplify
    #[arg(short, long, value_name = "PIPELINE")]
    pipeline: String,
    /// File to write (.onnx or .seir; - for standard output); without it the result is printed
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    #[command(flatten)]
    calibration: CalibrationArguments,
    /// Target: a name from 'list targets', or a .toml file
    #[arg(long, default_value = default_target())]
    target: String,
    /// Price ops by what 'build-predictor' wrote, instead of the target's table
    #[arg(long, value_name = "FILE")]
    predictor: Option<PathBuf>,
    /// What is printed, or written when OUT does not say it
    #[arg(long, value_enum)]
    emit: Option<Emit>,
    /// Print the IR before these passes
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    print_ir_before: Vec<String>,
    /// Print the IR after these passes
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    print_ir_after: Vec<String>,
    /// Print the IR after every pass
    #[arg(long)]
    print_ir_after_all: bool,
    /// Print the IR after every pass that changed it
    #[arg(long)]
    print_ir_after_change: bool,
    /// Put printed IR into numbered files of this folder
    #[arg(long, value_name = "DIR")]
    print_ir_dir: Option<PathBuf>,
    /// Verify the graph after every pass
    #[arg(long, value_name = "yes|no", default_value = "yes", value_parser = ["yes", "no"], hide_possible_values = true)]
    verify_each: String,
    /// Print how long each pass took
    #[arg(long)]
    timing: bool,
    /// Print what passes counted
    #[arg(long)]
    stats: bool,
    /// Print every rewrite, and why others almost happened but did not
    #[arg(long)]
    explain: bool,
    /// Print what happened to one value, and what almost did
    #[arg(long, value_name = "%VALUE")]
    why: Option<String>,
    /// Stop rewriting after N rewrites: halve N to find the one that breaks a model
    #[arg(long, value_name = "N")]
    bisect_limit: Option<u64>,
    /// When a pass fails, write the input and the pipeline to this file: it is a test case already
    #[arg(long, value_name = "FILE")]
    save_repro: Option<PathBuf>,
    /// Print the report as JSON instead
    #[arg(long)]
    json: bool,
    /// Overwrite files that exist
    #[arg(long)]
    force: bool,
}

/// What is printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Emit {
    /// The IR as text
    Seir,
    /// An ONNX file
    Onnx,
    /// A drawing for Graphviz
    Dot,
    /// What the model is, in one screen
    Summary,
    /// What changed, line by line
    Diff,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let registry = spaceevo::registry();
    let target = find_priced(&arguments.target, arguments.predictor.as_deref())?;
    let pipeline = Pipeline::parse(&arguments.pipeline, &registry).map_err(Failure::Usage)?;
    for name in arguments.print_ir_before.iter().chain(&arguments.print_ir_after) {
        if registry.pass(name).is_none() {
            let known: Vec<&str> = registry.passes().map(|p| p.info().name).collect();
            return Err(unknown("pass", name, &known));
        }
    }
    let loaded = load(&arguments.input)?;
    loaded.warnings.iter().for_each(show);
    let source = loaded.graph;
    if let Some(name) = &arguments.why {
        check_value(&source, name)?;
    }
    let calibration = arguments.calibration.open(&source, &arguments.input)?;

    let mut graph = source.clone();
    let mut dump = Dump {
        before: arguments.print_ir_before.clone(),
        after: arguments.print_ir_after.clone(),
        after_all: arguments.print_ir_after_all,
        after_change: arguments.print_ir_after_change,
        folder: arguments.print_ir_dir.clone(),
        ..Dump::default()
    };
    if let Some(folder) = &dump.folder {
        std::fs::create_dir_all(folder)
            .map_err(|e| Failure::Usage(usage(format!("the folder {} cannot be made: {e}", folder.display()))))?;
        // A folder of dumps without dumps would be a riddle.
        dump.after_change |= !dump.is_wanted();
    }
    // A bar among printed IR would garble both.
    let bar = Bar::new(arguments.json || dump.is_wanted());
    let mut observer = calibration.as_ref().map(|c| c.observer(&bar));
    let mut manager = Manager::new(&registry, &target);
    manager.verify_each = arguments.verify_each == "yes";
    manager.bisect_limit = arguments.bisect_limit;
    if dump.is_wanted() {
        manager.watchers.push(&mut dump);
    }
    let report =
        guarded(|| manager.run(&pipeline, &mut graph, observer.as_mut().map(|observer| observer as &mut dyn Observer)));
    drop(bar);
    if let Some(diagnostic) = dump.failed.take() {
        return Err(diagnostic.into());
    }
    let report = match report {
        Ok(report) if report.ok() => report,
        failed => return Err(fail(arguments, &source, failed)),
    };
    report.log.diagnostics.iter().for_each(show);
    details(arguments, &report);
    emit(arguments, &source, &graph, &report)
}

/// Where a panic was, and what it said.
pub(super) struct Panicked(pub(super) String);

/// Runs passes; a panic of one of them becomes a message, so that a reproducer can still be written.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    thread_local! { static PLACE: RefCell<String> = const { RefCell::new(String::new()) } }
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| PLACE.with(|place| *place.borrow_mut() = info.to_string())));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    std::panic::set_hook(before);
    outcome.map_err(|_| Panicked(PLACE.with(|place| place.borrow().clone())))
}

/// Reports a failed run, and writes the reproducer.
fn fail(arguments: &Arguments, source: &Graph, failed: Result<Report, Panicked>) -> Failure {
    let repro = match &arguments.save_repro {
        None => "run again with --save-repro FILE.seir to get a reproducer".to_owned(),
        Some(path) => {
            let mut comment = vec![
                format!("Reproducer: this pipeline fails on this graph, which came from {}.", shown(&arguments.input)),
                format!("pipeline: {}", arguments.pipeline),
                format!("target: {}", arguments.target),
            ];
            if let Some(samples) = &arguments.calibration.calibrate {
                comment.insert(1, format!("It was given --calibrate {}.", samples.display()));
            }
            let options =
                SaveOptions { force: arguments.force, format: Some(Format::Seir), comment, ..SaveOptions::default() };
            match save(source, path, &options) {
                Ok(()) => format!("reproducer written to {}: shrink it with 'spaceevo-opt reduce'", path.display()),
                Err(diagnostic) => format!("no reproducer: {}", diagnostic.message),
            }
        }
    };
    match failed {
        Err(Panicked(what)) => Failure::Internal(usage(what).note(repro)),
        Ok(report) => {
            let mut diagnostics = report.log.diagnostics;
            if let Some(last) = diagnostics.iter_mut().rfind(|d| d.severity == Severity::Error) {
                last.notes.push(format!("not run any more: {}", report.unfinished.unwrap_or_default()));
                last.notes.push(repro);
            }
            Failure::Rejected(diagnostics)
        }
    }
}

/// Prints what was asked for about the run.
fn details(arguments: &Arguments, report: &Report) {
    if arguments.timing {
        let total: Duration = report.runs.iter().map(|r| r.took).sum();
        say("timing:");
        for run in &report.runs {
            let share = 100.0 * run.took.as_secs_f64() / total.as_secs_f64().max(1e-9);
            say(&format!("  {:>10.3} ms  {share:>5.1} %  {:<24} {} rewrites", ms(run.took), run.pass, run.rewrites));
        }
        say(&format!("  {:>10.3} ms  100.0 %  total", ms(total)));
    }
    if arguments.stats {
        say("statistics:");
        for ((pass, counter), n) in &report.log.statistics {
            say(&format!("  {n:>8}  {pass}: {counter}"));
        }
    }
    if arguments.explain {
        for (title, events) in [("rewritten:", &report.log.rewrites), ("declined:", &report.log.declines)] {
            say(title);
            events.iter().for_each(|e| say(&format!("  {} [{}] {}", e.at, e.pass, e.text)));
        }
    }
    if let Some(name) = &arguments.why {
        let name = with_sigil(name);
        let about = |e: &&spaceevo::passes::pass::Event| e.at == name;
        let done = report.log.rewrites.iter().filter(about).map(|e| format!("  [{}] rewrote it: {}", e.pass, e.text));
        let not = report.log.declines.iter().filter(about).map(|e| format!("  [{}] left it alone: {}", e.pass, e.text));
        let lines: Vec<String> = done.chain(not).collect();
        say(&format!("{name}:"));
        lines.iter().for_each(|line| say(line));
        if lines.is_empty() {
            say("  no pass of this pipeline rewrote it, or almost did");
        }
    }
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

fn with_sigil(name: &str) -> String {
    format!("%{}", name.strip_prefix('%').unwrap_or(name))
}

/// Errors when no value of the model has that name.
fn check_value(graph: &Graph, name: &str) -> Result<(), Failure> {
    let labels: Vec<String> =
        graph.all_ops().iter().flat_map(|&op| graph.op(op).results().to_vec()).map(|v| graph.label(v)).collect();
    let wanted = with_sigil(name);
    if labels.contains(&wanted) {
        return Ok(());
    }
    let known: Vec<&str> = labels.iter().map(String::as_str).collect();
    Err(unknown("value", &wanted, &known))
}

/// Writes or prints the result.
fn emit(arguments: &Arguments, source: &Graph, graph: &Graph, report: &Report) -> Result<(), Failure> {
    let options = SaveOptions { force: arguments.force, ..SaveOptions::default() };
    let stream = arguments.output.as_deref() == Some(Path::new("-"));
    match (&arguments.output, arguments.emit) {
        (Some(path), None) => save(graph, path, &options)?,
        (Some(path), Some(Emit::Seir)) => save(graph, path, &SaveOptions { format: Some(Format::Seir), ..options })?,
        (Some(path), Some(Emit::Onnx)) => save(graph, path, &SaveOptions { format: Some(Format::Onnx), ..options })?,
        (None, Some(Emit::Onnx)) => save(graph, "-", &SaveOptions { format: Some(Format::Onnx), ..options })?,
        (path, kind) => {
            let text = match kind {
                Some(Emit::Dot) => view::dot(graph),
                Some(Emit::Summary) => inspect(graph).to_string(),
                Some(Emit::Diff) => {
                    let text = |graph| print_ir(graph, &PrintOptions::default());
                    line_diff::line_diff(&text(source), &text(graph))
                }
                _ if arguments.json => String::new(),
                _ => print_ir(graph, &PrintOptions::default()),
            };
            match path {
                Some(path) => write_whole(path, text.as_bytes(), arguments.force)?,
                None if text.is_empty() => {}
                None => print(text.trim_end()),
            }
        }
    }
    if arguments.json {
        let text = serde_json::to_string_pretty(&json(arguments, source, graph, report)).unwrap_or_default();
        if stream || arguments.emit.is_some() && arguments.output.is_none() { say(&text) } else { print(&text) }
    } else if let (Some(path), false) = (&arguments.output, stream) {
        print(&summary(arguments, path, source, graph, report));
    }
    Ok(())
}

/// What the run did, in a few lines.
fn summary(arguments: &Arguments, path: &Path, source: &Graph, graph: &Graph, report: &Report) -> String {
    let took: Duration = report.runs.iter().map(|r| r.took).sum();
    let mut out = format!(
        "{} -> {}: {} ops -> {}, {} rewrites by {} passes in {:.1} ms",
        shown(&arguments.input),
        path.display(),
        source.all_ops().len(),
        graph.all_ops().len(),
        report.log.rewrites.len(),
        report.runs.iter().filter(|r| r.changed).count(),
        ms(took)
    );
    let (before, after) = (operators(source), operators(graph));
    let mut changed: Vec<String> = Vec::new();
    for name in before.keys().chain(after.keys().filter(|k| !before.contains_key(*k))) {
        let (old, new) = (before.get(name).copied().unwrap_or(0), after.get(name).copied().unwrap_or(0));
        if old != new {
            changed.push(format!("  {name} {old} -> {new}"));
        }
    }
    let more = changed.len().saturating_sub(20);
    changed.truncate(20);
    changed.iter().for_each(|line| out.extend(["\n", line]));
    if more > 0 {
        out.push_str(&format!("\n  … and {more} more operators"));
    }
    if !report.log.declines.is_empty() && !arguments.explain {
        out.push_str(&format!("\n  {} rewrites were declined: --explain says why", report.log.declines.len()));
    }
    out
}

fn json(arguments: &Arguments, source: &Graph, graph: &Graph, report: &Report) -> serde_json::Value {
    use serde_json::{Value, json};
    let events = |events: &[spaceevo::passes::pass::Event]| -> Vec<Value> {
        events.iter().map(|e| json!({"pass": e.pass, "at": e.at, "from": e.loc.to_string(), "text": e.text})).collect()
    };
    let run = |r: &spaceevo::passes::manager::Run| json!({"pass": r.pass, "ms": ms(r.took), "changed": r.changed, "rewrites": r.rewrites});
    let statistic = |((pass, counter), n): (&(&str, &str), &u64)| json!({"pass": pass, "counter": counter, "value": n});
    json!({
        "input": shown(&arguments.input),
        "output": arguments.output.as_ref().map(|p| p.display().to_string()),
        "pipeline": arguments.pipeline,
        "target": arguments.target,
        "ops_before": operators(source),
        "ops_after": operators(graph),
        "passes": report.runs.iter().map(run).collect::<Vec<_>>(),
        "rewrites": events(&report.log.rewrites),
        "declines": events(&report.log.declines),
        "statistics": report.log.statistics.iter().map(statistic).collect::<Vec<_>>(),
        "diagnostics": report.log.diagnostics.iter().map(Diagnostic::to_string).collect::<Vec<_>>(),
    })
}
