//! How fast a predictor answers: kernel lists of graphs, kernels through the trees, and networks from a table of kernels.
//!
//! ```sh
//! cargo bench --bench predict -- --predictor here.predictor models/*.onnx
//! ```

use std::collections::HashMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use spaceevo::cost::kernels::{Kernel, detect};
use spaceevo::cost::machine::Machine;
use spaceevo::cost::predictor::Predictor;
use spaceevo::{Diagnostic, Target, load};

/// Networks, kernels and lists in a second, on one thread.
#[derive(Parser)]
#[command(bin_name = "cargo bench --bench predict --")]
struct Arguments {
    /// Models
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// What 'build-predictor' wrote
    #[arg(long)]
    predictor: PathBuf,
    /// Target
    #[arg(long, default_value = "x86-vnni")]
    target: String,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// Repeats for a second; how often in a second, of `each` things at a time.
fn rate(each: usize, mut work: impl FnMut()) -> f64 {
    let (start, mut times) = (Instant::now(), 0usize);
    while start.elapsed() < Duration::from_secs(1) {
        work();
        times += 1;
    }
    (times * each) as f64 / start.elapsed().as_secs_f64()
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(diagnostics) => {
            diagnostics.iter().for_each(|d| eprintln!("{d}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Vec<Diagnostic>> {
    let one = |d: Diagnostic| vec![d];
    let text = std::fs::read_to_string(&arguments.predictor).unwrap_or_default();
    let predictor = Predictor::parse(&text, "predictor").map_err(one)?;
    let target = Target::named(&arguments.target).unwrap_or_else(|| panic!("no target {}", arguments.target));
    let graphs: Vec<_> = arguments.models.iter().map(|m| load(m).map(|l| l.graph)).collect::<Result<_, _>>()?;
    let mut networks: Vec<Vec<Kernel>> = Vec::new();
    for graph in &graphs {
        networks.push(detect(graph, &target).map_err(one)?.into_iter().map(|p| p.kernel).collect());
    }
    let all: Vec<Kernel> = networks.iter().flatten().cloned().collect();
    let each = all.len() as f64 / networks.len() as f64;
    println!("{}", Machine::detect());
    println!("{} networks of {each:.0} kernels", networks.len());
    let lists = rate(networks.len(), || graphs.iter().for_each(|graph| drop(black_box(detect(graph, &target)))));
    println!("{lists:>12.0} lists of kernels a second");
    let kernels = rate(all.len(), || drop(black_box(predictor.kernels(&all))));
    println!("{kernels:>12.0} kernels a second through the trees: {:.0} networks", kernels / each);
    // What a search does: it meets the same kernels again and again.
    let mut numbers: HashMap<&Kernel, u32> = HashMap::new();
    for kernel in &all {
        let next = numbers.len() as u32;
        numbers.entry(kernel).or_insert(next);
    }
    let mut distinct: Vec<(&Kernel, u32)> = numbers.iter().map(|(kernel, number)| (*kernel, *number)).collect();
    distinct.sort_by_key(|(_, number)| *number);
    let distinct: Vec<Kernel> = distinct.into_iter().map(|(kernel, _)| kernel.clone()).collect();
    let table = predictor.kernels(&distinct);
    let numbered: Vec<Vec<u32>> = networks.iter().map(|n| n.iter().map(|kernel| numbers[kernel]).collect()).collect();
    let sums = || numbered.iter().map(|n| n.iter().map(|&at| table[at as usize]).sum::<f64>()).sum::<f64>();
    let cached = rate(networks.len(), || {
        black_box(sums());
    });
    println!("{:>12.0} kernels a second from a table of {}: {cached:.0} networks", cached * each, table.len());
    Ok(())
}
