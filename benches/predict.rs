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
use spaceevo::ir::graph::Range;
use spaceevo::ir::shape::infer;
use spaceevo::ir::{Elem, Graph, OpId, ValueId};
use spaceevo::passes::unfold::{Weights, unfold};
use spaceevo::passes::{Manager, Pipeline};
use spaceevo::search::sample::{choice, subnet};
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

/// Passes that make a float network what the runtime gets.
const QUANTIZE: &str = "infer-shapes,upgrade-opset{to=17},@simplify,cancel-transposes,merge-reshapes,infer-shapes,quantize,fold-clip,\
     drop-dead,@suit-kernels,lower-silu,lower-gelu,lower-qoperator,drop-dead";

/// A random subnet, quantized with ranges that are made up.
fn drawn(space: &str, number: u64, target: &Target) -> Result<Graph, Vec<Diagnostic>> {
    let space = spaces::load(space)?;
    let hyperspace = &space.page.hyperspace;
    let choice = choice(hyperspace, &[number]);
    let mut graph = space.bound(&choice, Some(&subnet(hyperspace, &choice, &[number])))?;
    unfold(&mut graph, Weights::Drawn(number))?;
    graph.space = Default::default();
    infer(&mut graph);
    let inputs = graph.region(graph.body()).inputs().iter().map(|&v| (v, -2.0));
    let least = |op: &OpId| if ["Relu", "Clip"].contains(&graph.op(*op).name().onnx_op()) { 0.0 } else { -2.0 };
    let results = graph.all_ops().into_iter().flat_map(|op| graph.op(op).results().iter().map(move |&v| (v, op)));
    let ranges: Vec<(ValueId, f32)> = inputs.chain(results.map(|(v, op)| (v, least(&op)))).collect();
    for (value, min) in ranges {
        if graph.value(value).ty().elem() == Some(Elem::F32) {
            graph.set_range(value, Some(Range { min, max: 6.0 }));
        }
    }
    let registry = registry();
    let pipeline = Pipeline::parse(QUANTIZE, &registry).map_err(|d| vec![d])?;
    let report = Manager::new(&registry, target).run(&pipeline, &mut graph, None);
    if report.ok() { Ok(graph) } else { Err(report.log.diagnostics) }
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
    if graphs.is_empty() {
        for space in &arguments.spaces {
            for number in 0..arguments.subnets {
                graphs.push(drawn(space, number, &target)?);
            }
        }
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
