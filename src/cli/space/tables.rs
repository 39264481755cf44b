//! `space tables`: what is in tables.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use spaceevo::file::{refuse_existing, write_whole};
use spaceevo::ir::text::{PrintOptions, print as print_text};
use spaceevo::search::Tables;
use spaceevo::search::block_log;
use spaceevo::search::coverage::{Coverage, coverage};
use spaceevo::search::log::Chain;
use spaceevo::search::recover::{Blocks, recover};
use spaceevo::search::source::{BlockSum, priced};
use spaceevo::search::tables::{Spread, outliers, statistics};
use spaceevo::spaces::{Space, blocks_of, blocks_of_least};

use super::super::arguments::{find_target, target_text};
use super::super::progress::Bar;
use super::super::{Failure, print};
use super::arguments::find_space;
use super::growing::{self, Growing};

/// Read tables, and say what is in them: spreads, gaps, rows that stand out
#[derive(Args)]
#[command(
    after_help = "Example:\n  spaceevo-opt space tables onnxw --tables lut.tar.gz --recover --binary lut.bin\n  spaceevo-opt space tables onnxw --tables lut.tar.gz --price x86-vnni --log here.blocks --binary here.bin"
)]
pub(crate) struct Arguments {
    /// Hyperspace
    space: String,
    /// Tables: a folder, an archive, or a file that this command wrote
    #[arg(long, value_name = "DIR")]
    tables: PathBuf,
    /// A row stands out when it takes so many times what its table leads one to expect
    #[arg(long, default_value_t = 3.0)]
    factor: f64,
    /// Also recover the latencies of single blocks from the sums that the rows are
    #[arg(long)]
    recover: bool,
    /// Another space (a shipped name, or a .seir file): how much of it the recovered blocks cover; may be given several times
    #[arg(long, value_name = "SPACE")]
    covers: Vec<String>,
    /// Random subnets of each such space that are looked at
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    subnets: u32,
    /// Write all tables as one compact, checked file
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Write all tables as published, into this folder
    #[arg(long, value_name = "FOLDER")]
    csv: Option<PathBuf>,
    /// Instead of the latencies of the tables, those that this target's prices give to each block in its best legal form; with --binary,
    /// such tables are written once and read by all verbs that take --tables. Ends with what stem and head take, as --fixed-ms takes it
    #[arg(long, value_name = "TARGET")]
    price: Option<String>,
    /// Note the price of every block as soon as it is known; what was interrupted goes on from there with --resume
    #[arg(long, value_name = "FILE", requires = "price")]
    log: Option<PathBuf>,
    /// Go on where the log ends
    #[arg(long, requires = "log")]
    resume: bool,
    /// Overwrite files that exist
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let own = find_space(&arguments.space)?;
    let hyperspace = own.page.hyperspace.clone();
    let others = arguments.covers.iter().map(|name| find_space(name)).collect::<Result<Vec<_>, _>>()?;
    let mut tables = Tables::open(&arguments.tables, &hyperspace)?;
    let mut fixed = Vec::new();
    if let Some(path) = &arguments.binary {
        refuse_existing(path, arguments.force)?;
    }
    if let Some(target) = &arguments.price {
        let blocks;
        (blocks, fixed) = prices(arguments, target, &own, &tables)?;
        tables = priced(&tables, None, Some(&BlockSum { hyperspace: &hyperspace, blocks: &blocks }))?;
    }
    if let Some(path) = &arguments.binary {
        write_whole(path, &tables.to_bytes(), arguments.force)?;
    }
    if let Some(folder) = &arguments.csv {
        std::fs::create_dir_all(folder).map_err(|e| {
            let what = format!("{} cannot be made: {e}", folder.display());
            spaceevo::Diagnostic::error("file-io", spaceevo::ir::Loc::Unknown, what)
        })?;
        for (stage, .., table) in tables.iter() {
            write_whole(&folder.join(&table.name), tables.to_csv(table, stage).as_bytes(), arguments.force)?;
        }
    }
    let statistics = statistics(&tables);
    let outliers = outliers(&tables, arguments.factor);
    let recovered = if arguments.recover || !others.is_empty() { Some(recover(&tables)?) } else { None };
    let mut covered: Vec<(String, Coverage)> = Vec::new();
    if let Some((blocks, _)) = &recovered {
        for other in &others {
            let found = coverage(&other.graph, &other.page, &own.page.table, blocks, arguments.subnets as usize, 0)?;
            covered.push((other.page.hyperspace.name.clone(), found));
        }
    }
    if arguments.json {
        let gaps: Vec<String> = tables.gaps.iter().map(|g| g.diagnostic().message).collect();
        let blocks = recovered.as_ref().map(|(blocks, report)| {
            let known: serde_json::Map<String, serde_json::Value> =
                blocks.known.iter().map(|(key, ms)| (key.to_string(), json!(ms))).collect();
            json!({"stages": report, "undetermined": blocks.undetermined, "residual_ms": blocks.residual, "ms": known})
        });
        let whole = json!({
            "rows": tables.rows(), "resolutions": tables.resolutions, "checksum": format!("{:032x}", tables.checksum()), "gaps": gaps,
            "fixed_ms": fixed.iter().map(|(r, ms)| (r.to_string(), json!(ms))).collect::<serde_json::Map<_, _>>(),
            "statistics": statistics, "outliers": outliers, "blocks": blocks,
            "covers": covered.iter().map(|(name, c)| (name.clone(), json!(c))).collect::<serde_json::Map<_, _>>(),
        });
        print(&serde_json::to_string_pretty(&whole).unwrap_or_default());
        return Ok(());
    }
    print(&format!(
        "{} rows in {} tables at {:?} pixels, {} gaps",
        tables.rows(),
        tables.iter().count(),
        tables.resolutions,
        tables.gaps.len()
    ));
    tables.gaps.iter().for_each(|gap| print(&format!("  {}", gap.diagnostic().message)));
    print(
        "stage   block     tables  loss                      ms                      MMACs                    Mparams                  ms/GMAC",
    );
    for s in &statistics {
        let three = |v: Spread, d: usize| format!("{:.d$} / {:.d$} / {:.d$}", v.least, v.mean, v.most);
        print(&format!(
            "{:7} {:9} {:6}  {:24}  {:22}  {:23}  {:23}  {:.1}",
            s.stage,
            s.block,
            s.windows,
            three(s.loss, 4),
            three(s.latency_ms, 3),
            three(s.mmacs, 1),
            three(s.mparams, 3),
            s.ms_per_gmac
        ));
    }
    print(&format!("{} rows take at least {} times what is expected", outliers.len(), arguments.factor));
    for o in outliers.iter().take(12) {
        print(&format!(
            "  {}:{}  {:.4} ms instead of {:.4}  {} at {} pixels",
            o.table, o.line, o.latency_ms, o.expected_ms, o.substage, o.resolution
        ));
    }
    if let Some((blocks, report)) = &recovered {
        let keys: usize = report.iter().map(|r| r.keys).sum();
        let determined: usize = report.iter().map(|r| r.determined).sum();
        print(&format!("{keys} blocks occur, {determined} are determined, largest residual {:.5} ms", blocks.residual));
        for r in report {
            print(&format!(
                "  {:7} {:9} {} of {} blocks, residual {:.5} ms",
                r.stage, r.block, r.determined, r.keys, r.residual_ms
            ));
        }
    }
    covered.iter().for_each(|(name, found)| print(&shown(name, found)));
    if !fixed.is_empty() {
        let each: Vec<String> = fixed.iter().map(|(r, ms)| format!("{r}={ms:.4}")).collect();
        print(&format!("stem and head: --fixed-ms {}", each.join(",")));
    }
    Ok(())
}

/// What blocks take on a target, and what stem and head take by resolution.
fn prices(arguments: &Arguments, target: &str, own: &Space, tables: &Tables) -> Result<(Blocks, Vec<(u32, f64)>), Failure> {
    let (hyperspace, registry) = (&own.page.hyperspace, spaceevo::registry());
    let settings = block_log::settings(target, &target_text(target)?, &print_text(&own.graph, &PrintOptions::default()));
    let mut known = BTreeMap::new();
    let mut log: Option<(Growing, Chain)> = None;
    if let Some(path) = &arguments.log {
        log = Some(if arguments.resume {
            let text = growing::read(path)?;
            let read = block_log::read(&text, &path.display().to_string(), &hyperspace.name)?;
            growing::same_settings("block-log", path, &read.settings, &settings)?;
            known = read.known;
            (Growing::resume(path, read.whole, text.len())?, read.chain)
        } else {
            let (mut log, mut chain) = (Growing::create(path, arguments.force)?, Chain::default());
            log.add(&block_log::head(&mut chain, &hyperspace.name, &settings))?;
            (log, chain)
        });
    }
    let mut seen = |priced: &[_]| match &mut log {
        Some((log, chain)) => log.add(&block_log::entries(chain, priced)),
        None => Ok(()),
    };
    let mut all = blocks_of(tables)?;
    all.extend(blocks_of_least(hyperspace, &tables.resolutions));
    let target = find_target(target)?;
    let blocks = own.priced_blocks(all, &target, &registry, &Bar::new(arguments.json), known, &mut seen)?;
    let fixed = own.fixed_ms(&tables.resolutions, &blocks, &target, &registry)?;
    Ok((blocks, fixed))
}

fn shown(name: &str, c: &Coverage) -> String {
    let share = 100.0 * c.known as f64 / c.blocks.max(1) as f64;
    let whole = c.whole_ms.map_or(String::new(), |ms| format!(", which take {ms:.3} ms in the mean"));
    let mut text = format!(
        "{name}: {} of {} blocks known ({share:.1} %), {:.3} ms of a subnet; {} of {} subnets known throughout{whole}",
        c.known, c.blocks, c.known_ms, c.whole, c.subnets
    );
    for (why, count) in &c.unknown {
        text += &format!("\n  {count:6} blocks: {why}");
    }
    if c.whole == 0 { text + "\n  no subnet can be given a latency: blocks do not exist in these tables" } else { text }
}
