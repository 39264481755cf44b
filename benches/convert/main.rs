//! What `spaceevo-opt` costs as a user pays for it: whole processes, with their start, their files and their runtime.
//!
//! ```sh
//! cargo bench --bench convert
//! cargo bench --bench convert -- --model model.onnx --calibrate samples.npy --against 'python quantize.py {in} {out} {calib}'
//! ```
//!
//! Jobs: `convert` with each method on each runtime that is there, and reading and writing a large model. They take turns,
//! each round beginning with another, so that a machine that slows down slows all of them; ratios are of the same round.

mod process;
mod statistics;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use spaceevo::cost::machine::Machine;
use spaceevo::ir::text::{Limits, NoBlobs, parse_within};

use process::{Cost, METRICS, run};
use statistics::Summary;

/// Measure whole processes: 'convert' on a model, and reading and writing a large one.
#[derive(Parser)]
#[command(bin_name = "cargo bench --bench convert --")]
struct Arguments {
    /// Float model
    #[arg(long, requires = "calibrate", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/models/shapes-mobile.onnx"))]
    model: PathBuf,
    /// Samples: what 'convert --calibrate' takes [default: pictures of this repository, for its model]
    #[arg(long, value_name = "SAMPLES")]
    calibrate: Option<PathBuf>,
    /// How pictures become inputs
    #[arg(long, value_name = "SPEC.toml")]
    preprocess: Option<PathBuf>,
    /// Calibration methods
    #[arg(long, value_delimiter = ',', default_value = "min-max,entropy")]
    methods: Vec<String>,
    /// Runtimes [default: those that 'spaceevo-opt list runtimes' finds, but for the interpreter]
    #[arg(long, value_delimiter = ',')]
    runtimes: Vec<String>,
    /// More arguments for 'convert', as one word: '--form qdq --threads 1'
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    options: String,
    /// A rival, run by sh: {in} is the model, {out} the file to write, {calib} the samples
    #[arg(long, value_name = "CMD")]
    against: Option<String>,
    /// Size of the large model's weights in MB; 0 leaves it out
    #[arg(long, default_value_t = 400)]
    megabytes: u32,
    /// Rounds that count; one goes before them
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The spaceevo-opt to measure
    #[arg(long, default_value = env!("CARGO_BIN_EXE_spaceevo-opt"))]
    bin: PathBuf,
    /// Only write the large model to this file: see `load_and_save`
    #[arg(long, hide = true)]
    write_large: Option<PathBuf>,
    /// Cargo passes this
    #[arg(long, hide = true)]
    bench: bool,
}

/// A command that is measured again and again.
struct Job {
    name: String,
    command: Command,
    output: PathBuf,
    costs: Vec<Cost>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.write_large {
        Some(path) => write_large(path, arguments.megabytes),
        None => measure(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let log = folder.path().join("log");
    let (mut jobs, samples) = conversions(arguments, folder.path())?;
    let compared = jobs.len();
    if arguments.megabytes > 0 {
        jobs.push(load_and_save(arguments, folder.path())?);
    }
    println!("program    {}\nprocessor  {}", arguments.bin.display(), Machine::detect());
    println!("model      {}\nsamples    {}", arguments.model.display(), samples.display());
    arguments.against.iter().for_each(|rival| println!("rival      {rival}"));
    println!("rounds     {}, after one that does not count\n", arguments.rounds);
    take_turns(&mut jobs, arguments.rounds as usize, &log)?;
    print_costs(&jobs);
    // The rival stands last among those that do the same work.
    let base = if arguments.against.is_some() { compared - 1 } else { 0 };
    print_ratios(&jobs[..compared], base);
    Ok(())
}

/// Runs all jobs once to warm up, and then so many times.
fn take_turns(jobs: &mut [Job], rounds: usize, log: &Path) -> Result<(), String> {
    for round in 0..=rounds {
        eprintln!("round {round} of {rounds}");
        for turn in 0..jobs.len() {
            let at = (turn + round) % jobs.len();
            let job = &mut jobs[at];
            // Every run starts without the file that it writes.
            let _ = fs::remove_file(&job.output);
            let cost = run(&mut job.command, log)?;
            if !job.output.is_file() {
                return Err(format!("{}: nothing was written to {}", job.name, job.output.display()));
            }
            if round > 0 {
                job.costs.push(cost);
            }
        }
    }
    Ok(())
}

/// What every job cost.
fn print_costs(jobs: &[Job]) {
    print_row("median (min, max)", METRICS.map(String::from));
    for job in jobs {
        let cell = |metric: usize| {
            let all = Summary::of(&job.costs.iter().map(|c| c[metric]).collect::<Vec<_>>());
            format!("{} ({}, {})", short(all.median), short(all.min), short(all.max))
        };
        print_row(&job.name, [0, 1, 2].map(cell));
    }
}

/// What jobs cost in terms of the one at `base`, if there are others.
fn print_ratios(jobs: &[Job], base: usize) {
    let ratios = |job: &Job, metric: usize| {
        let pairs = job.costs.iter().zip(&jobs[base].costs);
        Summary::of(&pairs.map(|(a, b)| a[metric] / b[metric]).collect::<Vec<_>>())
    };
    if jobs.len() < 2 {
        return;
    }
    println!();
    print_row(&format!("times {}", jobs[base].name), METRICS.map(String::from));
    for job in jobs.iter().enumerate().filter(|(at, _)| *at != base).map(|(_, job)| job) {
        let cell = |metric: usize| {
            let all = ratios(job, metric);
            format!("{} [{}, {}]", short(all.median), short(all.interval.0), short(all.interval.1))
        };
        print_row(&job.name, [0, 1, 2].map(cell));
    }
    let confidence = 100.0 * ratios(&jobs[base], 0).confidence;
    println!("Ratios of the same round: their median, and the interval that it lies in with {confidence:.0} % confidence.");
}

fn print_row(name: &str, cells: [String; 3]) {
    println!("{name:<26}{}", cells.map(|cell| format!("{cell:>30}")).concat());
}

/// `convert` with every method on every runtime, then the rival if there is one; and the samples that they are given.
fn conversions(arguments: &Arguments, folder: &Path) -> Result<(Vec<Job>, PathBuf), String> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/models");
    let (samples, preprocess) = match &arguments.calibrate {
        Some(samples) => (samples.clone(), arguments.preprocess.clone()),
        None => (models.join("pictures/calibrate"), Some(models.join("shapes.toml"))),
    };
    let runtimes = if arguments.runtimes.is_empty() { found(&arguments.bin)? } else { arguments.runtimes.clone() };
    let mut jobs = Vec::new();
    for (runtime, method) in runtimes.iter().flat_map(|r| arguments.methods.iter().map(move |m| (r, m))) {
        let output = folder.join(format!("{runtime}-{method}.onnx"));
        let mut command = Command::new(&arguments.bin);
        command.arg("convert").arg(&arguments.model).arg("-o").arg(&output).arg("--calibrate").arg(&samples);
        command.args(preprocess.iter().flat_map(|spec| [Path::new("--preprocess"), spec]));
        command.args(["--method", method, "--runtime", runtime]).args(arguments.options.split_whitespace());
        jobs.push(Job { name: format!("{runtime}, {method}"), command, output, costs: Vec::new() });
    }
    if let Some(rival) = &arguments.against {
        let output = folder.join("rival.onnx");
        let mut command = Command::new("sh");
        let line = [("{in}", &arguments.model), ("{out}", &output), ("{calib}", &samples)];
        let line = line.iter().fold(rival.clone(), |line, (name, path)| line.replace(name, &quoted(path)));
        command.arg("-c").arg(line);
        jobs.push(Job { name: "the rival".into(), command, output, costs: Vec::new() });
    }
    if jobs.is_empty() { Err("there is nothing to measure".into()) } else { Ok((jobs, samples)) }
}

/// The runtimes that the program finds, but for the interpreter, which is a judge and no racer.
fn found(program: &Path) -> Result<Vec<String>, String> {
    let listed = Command::new(program).args(["list", "runtimes", "--json"]).output();
    let listed = listed.map_err(|e| format!("{}: {e}", program.display()))?;
    let rows: Vec<serde_json::Value> =
        serde_json::from_slice(&listed.stdout).map_err(|e| format!("{}: {e}", program.display()))?;
    let there = rows.iter().filter(|row| row["version"].is_string()).filter_map(|row| row["name"].as_str());
    Ok(there.filter(|name| *name != "interpreter").map(str::to_owned).collect())
}

/// A large model is read and written again, with no pass between.
fn load_and_save(arguments: &Arguments, folder: &Path) -> Result<Job, String> {
    let (input, output) = (folder.join("large.onnx"), folder.join("saved.onnx"));
    // Another process makes it: memory of this one would count as that of every process that it starts.
    let this = std::env::current_exe().map_err(|e| format!("where this program is: {e}"))?;
    let megabytes = arguments.megabytes.to_string();
    let mut writer = Command::new(this);
    run(writer.arg("--write-large").arg(&input).args(["--megabytes", &megabytes]), &folder.join("log"))?;
    let mut command = Command::new(&arguments.bin);
    command.arg("run").arg(&input).args(["-p", ""]).arg("-o").arg(&output);
    Ok(Job { name: format!("load, save {megabytes} MB"), command, output, costs: Vec::new() })
}

/// Writes a model of four layers of random weights.
fn write_large(path: &Path, megabytes: u32) -> Result<(), String> {
    let width = (f64::from(megabytes) * 1e6 / 16.0).sqrt() as usize;
    let mut source = format!("graph @main(%v0: f32[1,{width}]) with {{opset = 17}} {{\n");
    for (at, operator) in ["MatMul", "Gemm", "MatMul", "Gemm"].into_iter().enumerate() {
        source += &format!("  %w{at} = const rand({at}) : f32[{width},{width}]\n");
        source += &format!("  %v{} = onnx.{operator} %v{at}, %w{at} : f32[1,{width}]\n", at + 1);
    }
    source += "  return %v4\n}\n";
    let limits = Limits { drawn: usize::MAX, ..Limits::default() };
    let parsed = parse_within(&source, "the large model", &NoBlobs, limits);
    let graph = parsed.into_result().map_err(|all| format!("{all:?}"))?;
    spaceevo::save(&graph, path, &Default::default()).map_err(|d| d.to_string())
}

/// Thousandths of small numbers, tenths of large ones.
fn short(number: f64) -> String {
    if number < 10.0 { format!("{number:.3}") } else { format!("{number:.1}") }
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
