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
use spaceevo::{Manager, Pipeline, Target};

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
    /// The spaceevo-opt whose memory is measured
    #[arg(long, default_value = env!("CARGO_BIN_EXE_spaceevo-opt"))]
    bin: PathBuf,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// What comes before the pass in 'convert'.
const BEFORE: &str =
    "freeze-inputs,infer-shapes,upgrade-opset{to=17},@simplify,sink-channel-shuffle{gather=true},infer-shapes,drop-dead";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    println!(
        "{:<38} {:>6} {:>7} {:>6} {:>8} {:>9} {:>9} {:>8}  rules",
        "model", "nodes", "classes", "rounds", "ms", METRICS[2], "us", "saved us"
    );
    let mut failed = false;
    for model in &arguments.models {
        match measure(model, &arguments) {
            Ok(row) => println!("{row}"),
            Err(why) => {
                eprintln!("{}: {why}", model.display());
                failed = true;
            }
        }
    }
    ExitCode::from(u8::from(failed))
}

fn measure(model: &Path, arguments: &Arguments) -> Result<String, String> {
    let registry = spaceevo::registry();
    let target = Target::named(&arguments.target).ok_or_else(|| format!("there is no target '{}'", arguments.target))?;
    let pass = match arguments.options.as_str() {
        "" => "saturate".to_owned(),
        options => format!("saturate{{{options}}}"),
    };
    let text = format!("{BEFORE},{pass}");
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
    let log = std::env::temp_dir().join("spaceevo-bench-saturate.log");
    let mut whole = Command::new(&arguments.bin);
    whole.arg("run").arg(model).args(["-p", &text, "--target", &arguments.target, "--emit", "summary"]);
    let [_, _, peak] = run(&mut whole, &log)?;
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
