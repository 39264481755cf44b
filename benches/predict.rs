//! How fast a predictor answers: kernel lists of graphs, kernels through the trees, and networks from a table of kernels.
//!
//! ```sh
//! cargo bench --bench predict -- --predictor here.predictor
//! ```
//!
//! A network is a random subnet of a published search space, quantized, as the runtime would get it; or a model that is named. All
//! of one line is done for all networks in turn, on one thread.

use std::hint::black_box;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use spaceevo::cost::kernels::{Detector, Kernel, List, detect};
use spaceevo::cost::machine::Machine;
use spaceevo::cost::predictor::{Predictor, Table};
use spaceevo::ir::Graph;
use spaceevo::search::sample::{choice, subnet};
use spaceevo::search::{Choice, Subnet};
use spaceevo::spaces::{KernelLists, Space};
use spaceevo::{Diagnostic, Target, load, registry, spaces};

/// Networks, kernels and lists in a second, on one thread.
#[derive(Parser)]
#[command(bin_name = "cargo bench --bench predict --")]
struct Arguments {
    /// Models, in place of random subnets
    models: Vec<PathBuf>,
    /// What 'build-predictor' wrote
    #[arg(long)]
    predictor: PathBuf,
    /// Target
    #[arg(long, default_value = "x86-vnni")]
    target: String,
    /// Spaces to draw subnets of
    #[arg(long, default_value = "onnxw,mobilew", value_delimiter = ',')]
    spaces: Vec<String>,
    /// Subnets of each
    #[arg(long, default_value_t = 16)]
    subnets: u64,
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

/// A random subnet.
fn drawn(space: &Space, number: u64) -> (&Space, Choice, Subnet) {
    let choice = choice(&space.page.hyperspace, &[number]);
    let subnet = subnet(&space.page.hyperspace, &choice, &[number]);
    (space, choice, subnet)
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
    let mut graphs: Vec<Graph> = arguments.models.iter().map(|m| load(m).map(|l| l.graph)).collect::<Result<_, _>>()?;
    let registry = registry();
    let spaces = if graphs.is_empty() { arguments.spaces.as_slice() } else { &[] };
    let spaces: Vec<Space> = spaces.iter().map(|name| spaces::load(name)).collect::<Result<_, _>>()?;
    let subnets: Vec<(&Space, Choice, Subnet)> =
        spaces.iter().flat_map(|s| (0..arguments.subnets).map(move |n| drawn(s, n))).collect();
    for (space, choice, subnet) in &subnets {
        graphs.push(space.quantized(choice, subnet, &target, &registry)?);
    }
    let detector = Detector::new(&target).map_err(one)?;
    let mut list = List::default();
    let mut networks: Vec<Vec<Kernel>> = Vec::new();
    for graph in &graphs {
        detector.list(graph, &mut list);
        networks.push(list.kernels().to_vec());
    }
    let all: Vec<Kernel> = networks.iter().flatten().cloned().collect();
    let each = all.len() as f64 / networks.len() as f64;
    let ops = graphs.iter().map(|g| g.ops_in(g.body()).count()).sum::<usize>() as f64 / graphs.len() as f64;
    println!("{}", Machine::detect());
    println!("{} networks of {ops:.0} ops and {each:.0} kernels", networks.len());

    let lists = rate(networks.len(), || {
        graphs.iter().for_each(|graph| {
            detector.list(graph, &mut list);
            black_box(list.kernels());
        })
    });
    println!("{lists:>12.0} lists of kernels a second");
    let apart = rate(networks.len(), || graphs.iter().for_each(|graph| drop(black_box(detect(graph, &target)))));
    println!("{apart:>12.0} lists of kernels a second, each in room of its own, with a list of ops by kernel");

    for space in &spaces {
        let mut put_together = KernelLists::new(space, &target, &registry).map_err(one)?;
        let own: Vec<_> = subnets.iter().filter(|(of, ..)| std::ptr::eq(*of, space)).collect();
        let mut kernels = Vec::new();
        for (_, choice, subnet) in &own {
            put_together.list(choice, subnet, &mut kernels)?;
        }
        // Where the target pads widths, networks are cut each time.
        if put_together.parts() == 0 {
            continue;
        }
        let lists = rate(own.len(), || {
            for (_, choice, subnet) in &own {
                put_together.list(choice, subnet, &mut kernels).expect("all of its blocks are known");
                black_box(&kernels);
            }
        });
        println!(
            "{lists:>12.0} lists of kernels a second, put together from those of the blocks of {}",
            space.page.hyperspace.name
        );
    }

    let batch = predictor.batch();
    // By which two builds can be compared.
    let fold = |sum: u64, nanos: f64| sum.rotate_left(5).wrapping_add(nanos.to_bits());
    println!("{:>12x} folded from the bits of all predictions", batch.kernels(&all).into_iter().fold(0, fold) as u32);
    let kernels = rate(all.len(), || drop(black_box(batch.kernels(&all))));
    println!("{kernels:>12.0} kernels a second through the trees, all networks together: {:.0} networks", kernels / each);
    let singly = rate(networks.len(), || networks.iter().for_each(|network| drop(black_box(batch.kernels(network)))));
    println!("{:>12.0} kernels a second through the trees, network by network: {singly:.0} networks", singly * each);

    // What a search does: it meets the same kernels again and again.
    let mut table = Table::new(&predictor);
    let mut numbered: Vec<Vec<u32>> = Vec::new();
    for network in &networks {
        let mut numbers = Vec::new();
        table.number(network, &mut numbers);
        numbered.push(numbers);
    }
    println!("{:>12} kernels are distinct", table.nanos().len());
    let mut numbers = Vec::new();
    let known = rate(networks.len(), || {
        networks.iter().for_each(|network| {
            numbers.clear();
            table.number(network, &mut numbers);
            black_box(numbers.iter().map(|&at| table.nanos()[at as usize]).sum::<f64>());
        })
    });
    println!("{:>12.0} kernels a second looked up in a table: {known:.0} networks", known * each);
    let nanos = table.nanos();
    let sums = || numbered.iter().map(|n| n.iter().map(|&at| nanos[at as usize]).sum::<f64>()).sum::<f64>();
    let cached = rate(networks.len(), || {
        black_box(sums());
    });
    println!("{:>12.0} kernels a second by number from a table: {cached:.0} networks", cached * each);
    Ok(())
}
