//! `space subnets`: the published search for the best subnet of one space.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde_json::json;
use spaceevo::Target;
use spaceevo::convert::Progress;
use spaceevo::cost::kernels::Kernel;
use spaceevo::cost::predictor::{Batch, Predictor};
use spaceevo::file::{refuse_existing, write_whole};
use spaceevo::ir::{Diagnostic, Loc};
use spaceevo::passes::Registry;
use spaceevo::passes::count::count;
use spaceevo::search::subnet::{Evaluated, Settings, pareto, search};
use spaceevo::search::subnet_log;
use spaceevo::search::table_sum::TableSum;
use spaceevo::search::{Choice, Subnet};
use spaceevo::spaces::{KernelLists, Space};

use super::super::arguments::{find_target, usage};
use super::super::predict::read_predictor;
use super::super::progress::Bar;
use super::super::{Failure, print};
use super::arguments::{TableArguments, choices, find_space, limit_ns};

/// Search the best subnet of one space under a latency limit, by evolution as published, and say how far it is from the optimum
///
/// A subnet is good when the rows of the tables that it is made of have little loss together. With a predictor, latencies are those of
/// whole quantized networks, and how far from the optimum the best one is is not known.
#[derive(Args)]
#[command(
    after_help = "Example:\n  spaceevo-opt space subnets onnxw --choice 151122-023231 --tables lut.tar.gz --fixed-ms 160=1.75,192=2.24,224=2.80 --limit 10 --seed 1 --log subnets.log\n  spaceevo-opt space subnets onnxw --choice 151122-023231 --tables lut.tar.gz --fixed-ms 160=1.75,192=2.24,224=2.80 --limit 10 --predictor here.predictor"
)]
pub(crate) struct Arguments {
    /// Hyperspace
    space: String,
    /// The space: a digit for each stage's block, and one for each window
    #[arg(long, value_name = "BLOCKS-WINDOWS")]
    choice: String,
    #[command(flatten)]
    tables: TableArguments,
    /// Most milliseconds
    #[arg(long, value_name = "MS")]
    limit: f64,
    /// Evolution: subnets that are faster than the limit by more are left out
    #[arg(long, value_name = "MS", default_value_t = 5.0)]
    band: f64,
    /// 'evolution' is the published procedure, 'exact' only computes the optimum
    #[arg(long, default_value = "evolution", value_parser = ["evolution", "exact"])]
    method: String,
    /// Evolution: what 'build-predictor' wrote, for latencies of whole networks on its machine in place of those of the tables
    #[arg(long, value_name = "FILE")]
    predictor: Option<PathBuf>,
    /// Target, which says which kernels the runtime of the predictor has
    #[arg(long, value_name = "TARGET", default_value = "x86-vnni", requires = "predictor")]
    target: String,
    /// Evolution: subnets that live at a time; as many are evaluated first
    #[arg(long, default_value_t = 512)]
    population: usize,
    /// Evolution: generations after the first, each with half a population of children, by mutation and by crossover in turn
    #[arg(long, default_value_t = 20)]
    generations: usize,
    /// Seed of everything that is random
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write every evaluated subnet as the changes that lead to it from its parent, a line each, chained by checksums
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Overwrite files that exist
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A predictor, and what it needs to be asked about subnets.
struct Predicting {
    predictor: Predictor,
    target: Target,
    registry: Registry,
}

impl Predicting {
    fn read(file: &Path, target: &str) -> Result<Predicting, Failure> {
        Ok(Predicting { predictor: read_predictor(file)?, target: find_target(target)?, registry: spaceevo::registry() })
    }

    /// What a log says of it: the hash behind its last line, which is one of all lines.
    fn mark(&self) -> String {
        self.predictor.to_text().rsplit('#').next().map(|hash| format!(" predictor={}", hash.trim())).unwrap_or_default()
    }

    fn latencies<'a>(&'a self, space: &'a Space, choice: &'a Choice) -> Result<Predicted<'a>, Failure> {
        let lists = KernelLists::new(space, &self.target, &self.registry)?;
        Ok(Predicted { choice, batch: self.predictor.batch(), found: RefCell::new((lists, Vec::new(), Vec::new())) })
    }
}

/// Latencies of subnets by a predictor.
struct Predicted<'a> {
    choice: &'a Choice,
    batch: Batch<'a>,
    /// Lists of kernels, the last of them, and what went wrong.
    found: RefCell<(KernelLists<'a>, Vec<Kernel>, Vec<Diagnostic>)>,
}

impl Predicted<'_> {
    fn milliseconds(&self, subnet: &Subnet) -> Option<f64> {
        let (lists, kernels, failed) = &mut *self.found.borrow_mut();
        match lists.list(self.choice, subnet, kernels) {
            Ok(()) => Some(self.batch.network(kernels) / 1e6),
            Err(found) => {
                *failed = found;
                None
            }
        }
    }

    /// Errors: those of the last subnet that could not be made a network.
    fn failed(&self) -> Result<(), Failure> {
        let failed = self.found.borrow().2.clone();
        if failed.is_empty() { Ok(()) } else { Err(failed.into()) }
    }
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let limit = limit_ns(arguments.limit)?;
    let evolving = arguments.method == "evolution";
    if !(4..=100_000).contains(&arguments.population) || arguments.generations > 100_000 {
        return Err(Failure::Usage(usage("--population is 4 to 100000, --generations at most 100000")));
    }
    if arguments.band.is_nan() || arguments.band <= 0.0 {
        return Err(Failure::Usage(usage("--band is a number of milliseconds above 0")));
    }
    if arguments.predictor.is_some() && !evolving {
        return Err(Failure::Usage(usage("--predictor is of --method evolution")));
    }
    if let Some(path) = &arguments.log {
        if !evolving {
            return Err(Failure::Usage(usage("--log is of --method evolution")));
        }
        refuse_existing(path, arguments.force)?;
    }
    let space = find_space(&arguments.space)?;
    let hyperspace = &space.page.hyperspace;
    let loaded = arguments.tables.load(hyperspace)?;
    let choice = choices(&loaded, std::slice::from_ref(&arguments.choice))?.remove(0);
    let source = TableSum::new(&loaded.pool, &loaded.tables, &choice)?;
    let name = hyperspace.print_choice(&choice);
    let predicting = arguments.predictor.as_deref().map(|file| Predicting::read(file, &arguments.target)).transpose()?;
    let predicted = predicting.as_ref().map(|with| with.latencies(&space, &choice)).transpose()?;
    let optimum = if predicted.is_none() { source.best(limit.into()) } else { None };
    if predicted.is_none() && optimum.is_none() {
        let error =
            Diagnostic::error("space-limit", Loc::Unknown, format!("no subnet of {name} meets {} ms", arguments.limit));
        let fastest = loaded.pool.latencies(&choice).0 as f64 / 1e6;
        return Err(error.note(format!("rows whose widths need not join take {fastest:.4} ms or more")).into());
    }
    let settings = Settings {
        population: arguments.population,
        generations: arguments.generations,
        mutations: arguments.population / 4,
        crossovers: arguments.population / 4,
        ..Settings::published((arguments.limit - arguments.band, arguments.limit), arguments.seed)
    };
    let start = Instant::now();
    let bar = Bar::new(arguments.json || predicted.is_none());
    bar.stage("subnets", settings.population + settings.generations * (settings.mutations + settings.crossovers));
    let latency = |subnet: &Subnet| {
        let found = predicted.as_ref().map_or_else(|| source.latency(subnet), |by| by.milliseconds(subnet));
        found.filter(|ms| (settings.band.0..=settings.band.1).contains(ms)).inspect(|_| bar.advance(1))
    };
    let all = if evolving { search(hyperspace, &choice, &settings, &source, &latency) } else { Vec::new() };
    drop(bar);
    predicted.as_ref().map_or(Ok(()), Predicted::failed)?;
    let seconds = start.elapsed().as_secs_f64();
    // Of equal ones the first.
    let best = all.iter().reduce(|a, b| if b.fitness > a.fitness { b } else { a });
    if evolving && best.is_none() {
        let what = format!("the search found no subnet of {name} in {} to {} ms", settings.band.0, settings.band.1);
        return Err(Diagnostic::error("space-limit", Loc::Unknown, what).note("a wider --band may hold some").into());
    }
    if let Some(path) = &arguments.log {
        let line = format!(
            "tables={:032x} terms={:032x}{} seed={} band={},{} population={} generations={}",
            loaded.tables.checksum(),
            loaded.pool.terms.checksum(),
            predicting.as_ref().map(Predicting::mark).unwrap_or_default(),
            arguments.seed,
            settings.band.0,
            settings.band.1,
            settings.population,
            settings.generations
        );
        write_whole(path, subnet_log::write(hyperspace, &choice, &line, &all).as_bytes(), arguments.force)?;
    }
    let described = |e: &Evaluated| -> Result<serde_json::Value, Failure> {
        let counts = count(&space.skeleton(&choice, &e.subnet)?)?;
        Ok(json!({
            "subnet": e.subnet.to_string(), "loss": -e.fitness, "latency_ms": e.latency, "resolution": e.subnet.resolution,
            "mmacs": counts.macs as f64 / 1e6, "mparams": counts.params as f64 / 1e6,
        }))
    };
    let exact = optimum.as_ref().map(described).transpose()?;
    let found = best.map(described).transpose()?;
    let gap = best.zip(optimum.as_ref()).map(|(best, optimum)| (optimum.fitness - best.fitness, optimum.fitness));
    if arguments.json {
        let front: Vec<_> = pareto(&all).into_iter().map(|e| json!([e.latency, -e.fitness, e.subnet.to_string()])).collect();
        let above = gap.map(|(gap, _)| gap).or(exact.as_ref().map(|_| 0.0));
        let whole = json!({
            "space": name, "limit_ms": arguments.limit, "method": arguments.method, "evaluated": all.len(), "seconds": seconds,
            "best": found.as_ref().or(exact.as_ref()), "optimum": exact,
            "loss_above_optimum": above, "front": front,
        });
        print(&serde_json::to_string_pretty(&whole).unwrap_or_default());
        return Ok(());
    }
    let shown = |title: &str, d: &serde_json::Value| {
        let number = |key: &str| d[key].as_f64().unwrap_or(f64::NAN);
        print(&format!(
            "{title}  loss {:.4}  {:.4} ms  {:.1} MMACs, {:.2} M parameters\n  {}",
            number("loss"),
            number("latency_ms"),
            number("mmacs"),
            number("mparams"),
            d["subnet"].as_str().unwrap_or_default()
        ));
    };
    if let Some(found) = &found {
        print(&format!("{} subnets of {name} evaluated in {seconds:.2} s", all.len()));
        shown("best found", found);
    }
    if let Some(exact) = &exact {
        shown("optimum", exact);
    }
    if let Some((gap, optimum)) = gap {
        print(&format!("the loss is {gap:.4} ({:.2} %) above the optimum", -100.0 * gap / optimum));
    }
    Ok(())
}
