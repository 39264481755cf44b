//! `build-predictor`: measures kernels on this machine until a budget is over, and fits a predictor.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use spaceevo::convert::Progress;
use spaceevo::cost::kernels::detect;
use spaceevo::cost::machine::Machine;
use spaceevo::cost::measure::inputs::{Shapes, settle};
use spaceevo::cost::predictor::collect::{Collector, Plan, given, priors_of};
use spaceevo::cost::predictor::draw::{Prior, priors};
use spaceevo::cost::predictor::measurements::Measured;
use spaceevo::cost::predictor::network::Numbers;
use spaceevo::cost::predictor::{Held, Origin, Predictor, curves, fit, job, strata, width};
use spaceevo::file::{load, refuse_existing, write_whole};
use spaceevo::ir::{Diagnostic, Loc};
use spaceevo::passes::Target;
use spaceevo::passes::target_text::with_width;
use spaceevo::rewrite::as_loaded;

use super::arguments::{default_target, find_runtime, find_target, target_text, usage};
use super::measure_kept::today;
use super::progress::Bar;
use super::{Failure, print, say};

/// Build a latency predictor for this machine: measure kernels in drawn networks, fit, and say how well it predicts others.
#[derive(Args)]
#[command(after_help = "Example:\n  spaceevo-opt build-predictor --name here --budget 10min\n  \
                  spaceevo-opt build-predictor --name here --models mine/*.int8.onnx mine/*.fp32.onnx\n\n\
                  Writes here.predictor and here.html, and appends to here.measurements, from which the command goes on \
                  where it stopped. A fifth of all kernels is held out by what they are, and never steers what is drawn.")]
pub(crate) struct Arguments {
    /// Beginning of the names of the files
    #[arg(long)]
    name: PathBuf,
    /// Target, which says how numbers are stored and what kernels there are: a name or a .toml file
    #[arg(long, default_value = default_target())]
    target: String,
    /// How long to measure: 90s, 10min
    #[arg(long, default_value = "10min", value_parser = duration)]
    budget: Duration,
    /// Runtime that is measured
    #[arg(long, default_value = "onnxruntime")]
    runtime: String,
    /// Tables of published networks to draw convolutions like: a folder of .csv with columns input_h, cin, cout, ks, stride, groups
    #[arg(long, value_name = "FOLDER")]
    priors: Option<PathBuf>,
    /// Models to draw convolutions like; may be given several times
    #[arg(long, value_name = "MODEL")]
    like: Vec<PathBuf>,
    /// Models to measure as they are, before drawn networks: some like those that it shall predict, as 'convert' writes them or in
    /// float; may be given several times
    #[arg(long, value_name = "MODEL", num_args = 1..)]
    models: Vec<PathBuf>,
    /// Networks to draw in integers, and three fifths as many in float, if there are not enough kernels before
    #[arg(long, default_value_t = 70)]
    networks: usize,
    /// Kernels to keep at most
    #[arg(long, default_value_t = 5000)]
    kernels: usize,
    /// Kernels of a family that are fitted at most, by a part of its name; the first part that a name has counts
    #[arg(long, value_name = "FAMILY=N", value_delimiter = ',', value_parser = limit, default_value = "depthwise=200,conv=1400,=50")]
    limit: Vec<(String, usize)>,
    /// Number of the hold-out: another number holds out other kernels
    #[arg(long, default_value_t = 0)]
    hold_out: u64,
    /// Of random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Measure nothing here, but write the networks into this folder, with a list and a program that traces them elsewhere
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["import", "from"])]
    export: Option<PathBuf>,
    /// Measure nothing here, but fit what was traced in a folder that --export wrote
    #[arg(long, value_name = "FOLDER", conflicts_with = "from")]
    import: Option<PathBuf>,
    /// Measure nothing here, but fit a table of another device: columns kernel, nanoseconds, with kernels as 'predict --kernels' says
    #[arg(long, value_name = "CSV")]
    from: Option<PathBuf>,
    /// Machine that the times are of, where they were not taken here
    #[arg(long)]
    machine: Option<String>,
    /// Also write the target as a file whose wishes for channel counts are those found here: 'convert --target' takes it
    #[arg(long, value_name = "TOML")]
    target_out: Option<PathBuf>,
    /// Print how well it predicts as JSON
    #[arg(long)]
    json: bool,
    /// Overwrite the predictor and its page
    #[arg(long)]
    force: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match &text[split..] {
        "" | "s" => 1,
        "min" | "m" => 60,
        "h" => 3600,
        _ => return Err("write 90s, 10min or 1h".into()),
    };
    text[..split].parse::<u64>().map(|n| Duration::from_secs(n.saturating_mul(unit))).map_err(|e| e.to_string())
}

fn limit(text: &str) -> Result<(String, usize), String> {
    let (family, count) = text.split_once('=').ok_or("write FAMILY=N")?;
    Ok((family.to_owned(), count.parse().map_err(|_| "N is a number")?))
}

/// What is printed.
#[derive(Serialize)]
struct Report<'a> {
    origin: &'a Origin,
    done: bool,
    kernels: usize,
    /// Microseconds of each kernel, beside that of each of its tensors, and of each in networks that move 16 MB; times as long as traced.
    overhead: [f64; 4],
    families: &'a [Held],
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let target = find_target(&arguments.target)?;
    let output = arguments.name.with_extension("predictor");
    refuse_existing(&output, arguments.force)?;
    if let Some(file) = &arguments.target_out {
        refuse_existing(file, arguments.force)?;
    }
    let runtime = find_runtime(&arguments.runtime)?;
    let registry = spaceevo::registry();
    let priors = drawn_like(arguments, &target)?;
    let read = |model: &PathBuf| {
        let here = |found: Diagnostic| found.note(format!("the model is {}", model.display()));
        let (numbers, mut drawn) = given(load(model)?.graph).map_err(here)?;
        // What is measured is cut into kernels as what is predicted.
        settle(&mut drawn.graph, &Shapes::new()).map_err(here)?;
        as_loaded(&mut drawn.graph, &target, &registry)?;
        Ok((numbers, drawn))
    };
    let models = arguments.models.iter().map(read).collect::<Result<Vec<_>, Failure>>()?;
    let plan = Plan {
        stored: arguments.networks,
        float: (3 * arguments.networks).div_ceil(5),
        kernels: arguments.kernels,
        ..Plan::usual(arguments.seed)
    };
    let limits = |family: &str| {
        let family = family.to_lowercase();
        let found = arguments.limit.iter().find(|(name, _)| family.contains(name.to_lowercase().as_str()));
        found.map_or(usize::MAX, |(_, count)| *count)
    };
    let collector = Collector {
        runtime: &*runtime,
        target: &target,
        registry: &registry,
        priors: &priors,
        given: &models,
        plan,
        hold_out: arguments.hold_out,
        limits: &limits,
    };
    if let Some(folder) = &arguments.export {
        let count = job::export(&collector, folder)?;
        print(&format!("{}: {count} networks; run trace.py there, and --import the folder", folder.display()));
        return Ok(());
    }
    let (measured, done) = match (&arguments.import, &arguments.from) {
        (Some(folder), _) => (job::import(&collector, folder)?, true),
        (None, Some(table)) => (job::table(table)?, true),
        (None, None) => here(arguments, &collector)?,
    };
    let [stored, float] = [Numbers::Stored, Numbers::Float].map(|numbers| format!("{:.1}", measured.reference(numbers)));
    let measured = measured.steady();
    let samples = strata(measured.samples(), arguments.hold_out, &limits);
    let mut origin = Origin::new();
    for (key, value) in [
        ("target", target.name.clone()),
        ("machine", arguments.machine.clone().unwrap_or_else(|| Machine::detect().to_string())),
        ("runtime", format!("{} {}, one thread", runtime.name(), runtime.version())),
        ("date", today()),
        ("reference", stored),
        ("reference-float", float),
        ("kernels", samples.len().to_string()),
        ("seed", arguments.seed.to_string()),
    ] {
        origin.insert(key.to_owned(), value);
    }
    let (predictor, held) = fit(&samples, origin, measured.overhead(), arguments.hold_out, &|_| usize::MAX);
    write_whole(&output, predictor.to_text().as_bytes(), arguments.force)?;
    let curves = curves(&samples, measured.overhead(), arguments.hold_out, &held);
    let page = spaceevo::predictor_report::page(&predictor, &held, &curves, &samples);
    write_whole(&arguments.name.with_extension("html"), page.as_bytes(), arguments.force)?;
    if let Some(file) = &arguments.target_out {
        write_target(file, arguments, &predictor, &target)?;
    }
    if arguments.json {
        let overhead = predictor.overhead;
        let overhead = [overhead.step / 1e3, overhead.tensor / 1e3, overhead.cold / 1e3, overhead.factor];
        let report = Report { origin: &predictor.origin, done, kernels: samples.len(), overhead, families: &held };
        print(&serde_json::to_string_pretty(&report).unwrap_or_default());
    } else {
        summary(&output, samples.len(), &predictor, &held);
    }
    if !done {
        say("the budget is over before all was measured: run the command again, with --force, to go on");
    }
    Ok(())
}

/// Writes the target with the section `[width]` that the predictor knows.
fn write_target(file: &Path, arguments: &Arguments, predictor: &Predictor, target: &Target) -> Result<(), Failure> {
    let wishes = target.width.as_ref().and_then(|usual| width(predictor, target, usual));
    let Some(rule) = wishes else {
        let why = if target.width.is_some() {
            "no integer convolution was measured"
        } else {
            "it has no section [width] to begin with"
        };
        let message = format!("nothing is known of channel counts on the target '{}': {why}", target.name);
        return Err(Diagnostic::error("target-file", Loc::Unknown, message).into());
    };
    let origin = |key: &str| predictor.origin.get(key).map_or("", String::as_str);
    let said = [
        "Channel counts, as build-predictor found them: multiples to which padding is cheapest on average over 16 to 256 channels,".to_owned(),
        "rates in GMAC/s, geometric means on maps of 7 to 28. What was not measured is as it was.".to_owned(),
        format!("{}, {}, {}", origin("machine"), origin("runtime"), origin("date")),
    ];
    let text = with_width(&target_text(&arguments.target)?, &rule, &said);
    Target::parse(&text, &file.display().to_string())?;
    write_whole(file, text.as_bytes(), arguments.force)?;
    Ok(())
}

/// Measures on this machine until the budget is over.
fn here(arguments: &Arguments, collector: &Collector<'_>) -> Result<(Measured, bool), Failure> {
    let bar = Bar::new(false);
    bar.stage("measure", collector.steps());
    let seen = std::cell::Cell::new(0);
    let told = |steps: usize| bar.advance(steps - seen.replace(steps));
    let file = arguments.name.with_extension("measurements");
    Ok(collector.collect(&file, arguments.budget, &told)?)
}

fn summary(output: &Path, kernels: usize, predictor: &spaceevo::cost::predictor::Predictor, held: &[Held]) {
    print(&format!("{}: {kernels} kernels of {} families", output.display(), predictor.models.len()));
    print(&format!("  {}", predictor.origin.get("machine").map_or("", String::as_str)));
    let overhead = predictor.overhead;
    let (factor, cold) = (overhead.factor, overhead.cold / 1e3);
    let (step, tensor) = (overhead.step / 1e3, overhead.tensor / 1e3);
    print(&format!(
        "  a run takes {factor:.3} times what was traced of its kernels, {step:.2} us for each of them and {tensor:.2} us"
    ));
    print(&format!("  for each tensor that it reads or makes; {cold:.2} us more for each in networks that move 16 MB"));
    print("within 10 % (5 %), on kernels that were held out; again: by a second measurement; work: by work alone");
    let percent = |part: f64| format!("{:.1}", 100.0 * part);
    print(&format!("{:<40} {:>6} {:>5}  {:>14} {:>14} {:>6}", "family", "fitted", "held", "predicted", "again", "work"));
    for h in held.iter().filter(|h| h.held >= 8) {
        let both = |ten: f64, five: f64| format!("{} ({})", percent(ten), percent(five));
        let (predicted, again) = (both(h.within_10, h.within_5), both(h.ceiling_10, h.ceiling_5));
        let (fitted, count, work) = (h.fitted, h.held, percent(h.work_10));
        print(&format!("{:<40} {fitted:>6} {count:>5}  {predicted:>14} {again:>14} {work:>6}", h.family));
    }
    for h in held {
        for (rule, cheaper) in h.rules.iter().filter(|(_, cheaper)| *cheaper > 1.3) {
            print(&format!("  {}: {cheaper:.1}x cheaper when {rule}", h.family));
        }
    }
}

fn drawn_like(arguments: &Arguments, target: &Target) -> Result<Vec<Prior>, Failure> {
    let mut found = Vec::new();
    if let Some(folder) = &arguments.priors {
        let io = |e: std::io::Error| Diagnostic::error("file-io", Loc::Unknown, format!("{}: {e}", folder.display()));
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(folder).map_err(io)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort();
        for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "csv")) {
            found.extend(priors(&std::fs::read_to_string(file).map_err(io)?));
        }
        if found.is_empty() {
            return Err(Failure::Usage(usage(format!("{}: no .csv there has rows of convolutions", folder.display()))));
        }
    }
    for model in &arguments.like {
        let kernels = detect(&load(model)?.graph, target)?;
        found.extend(priors_of(kernels.iter().map(|placed| &placed.kernel)));
    }
    Ok(found)
}
