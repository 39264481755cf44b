//! `space search`: the best subnet of a whole hyperspace.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use spaceevo::file::write_whole;
use spaceevo::ir::{Diagnostic, Loc};
use spaceevo::search::Tables;
use spaceevo::search::best::{Best, Described};
use spaceevo::search::certificate::certify;
use spaceevo::search::consistent;
use spaceevo::search::next::next;
use spaceevo::search::objectives::{Limits, search};
use spaceevo::search::recover::recover;
use spaceevo::search::source::{BlockSum, LatencySource};
use spaceevo::space_report;

use super::super::arguments::usage;
use super::super::{Failure, print};
use super::arguments::{TableArguments, find_hyperspace, limit_ns};
use super::scoring::PageArguments;

/// Find the best subnet under a latency limit, over all spaces of a hyperspace at once
#[derive(Args)]
#[command(
    after_help = "Example:\n  spaceevo-opt space search onnxw --tables lut.tar.gz --fixed-ms 160=1.75,192=2.24,224=2.80 --limit 10 --certify best.cert"
)]
pub(crate) struct Arguments {
    /// Hyperspace
    space: String,
    #[command(flatten)]
    tables: TableArguments,
    /// Latency limit in milliseconds
    #[arg(long, value_name = "MS")]
    limit: f64,
    /// Write a proof that nothing is better, for 'space check'
    #[arg(long, value_name = "FILE", conflicts_with_all = ["top", "max_mmacs", "max_mparams", "also"])]
    certify: Option<PathBuf>,
    /// Also give the best subnets for so many limits, from the fastest subnet to the best
    #[arg(long, value_name = "N", default_value_t = 0)]
    curve: usize,
    /// So many of the best subnets
    #[arg(long, value_name = "K", default_value_t = 1)]
    top: usize,
    /// Most millions of multiply-accumulates in the searched stages
    #[arg(long, value_name = "M")]
    max_mmacs: Option<f64>,
    /// Most millions of parameters in the searched stages
    #[arg(long, value_name = "M")]
    max_mparams: Option<f64>,
    /// Another target's tables and the limit there, for the searched stages: DIR:MS; may be given several times
    #[arg(long, value_name = "DIR:MS")]
    also: Vec<String>,
    /// Only subnets whose widths join: every stage is fed what the stage before puts out
    #[arg(long, conflicts_with_all = ["certify", "top", "max_mmacs", "max_mparams", "also", "curve"])]
    consistent: bool,
    /// Steps after which a search under several limits ends with what it has, and says how much better an answer could be
    #[arg(long, default_value_t = 1_000_000)]
    steps: usize,
    #[command(flatten)]
    page: PageArguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let limit = u64::from(limit_ns(arguments.limit)?);
    arguments.page.check()?;
    let hyperspace = find_hyperspace(&arguments.space)?;
    let loaded = arguments.tables.load(&hyperspace)?;
    let (tables, pool) = (&loaded.tables, &loaded.pool);
    let start = Instant::now();
    let best = Best::new(pool);
    let several =
        arguments.top > 1 || arguments.max_mmacs.is_some() || arguments.max_mparams.is_some() || !arguments.also.is_empty();
    let (found, bound, complete) = if several {
        let others = arguments.also.iter().map(|text| target(text, tables)).collect::<Result<Vec<_>, _>>()?;
        let sums: Vec<BlockSum<'_>> =
            others.iter().map(|(blocks, _)| BlockSum { hyperspace: &hyperspace, blocks }).collect();
        let targets = sums.iter().zip(&others).map(|(sum, (_, limit))| (sum as &dyn LatencySource, *limit)).collect();
        let millions = |m: f64| (m.max(0.0) * 1e6) as u64;
        let limits = Limits {
            latency: limit,
            macs: arguments.max_mmacs.map(millions),
            params: arguments.max_mparams.map(millions),
            targets,
        };
        let answer = search(pool, tables, &limits, arguments.top.max(1), arguments.steps)?;
        (answer.found, answer.bound, answer.complete)
    } else if arguments.consistent {
        (consistent::within(pool, limit).into_iter().collect(), None, true)
    } else {
        (best.within(limit).into_iter().collect(), None, true)
    };
    let seconds = start.elapsed().as_secs_f64();
    let wishes = next(tables, pool, limit);
    if found.is_empty() && complete {
        let what = format!("no subnet of {} meets the limits", hyperspace.name);
        let error = Diagnostic::error("space-limit", Loc::Unknown, what);
        let fastest = best.curve(1).first().map_or(0, |f| f.latency);
        let error = match fastest > limit {
            true => error
                .note(format!("the fastest subnet takes {:.4} ms: --limit must not be below that", fastest as f64 / 1e6)),
            false if arguments.consistent => error.note("without --consistent some do: their widths do not join"),
            false => error.note(format!("some meet --limit {}, but not the others with it", arguments.limit)),
        };
        if let Some(path) = &arguments.certify {
            write_certificate(path, arguments, &certify(&best, pool, tables.checksum(), limit))?;
        }
        return Err(error.into());
    }
    let described: Vec<Described> = found.iter().map(|f| f.describe(pool, tables)).collect::<Result<_, _>>()?;
    let curve: Vec<Described> =
        best.curve(arguments.curve).iter().map(|f| f.describe(pool, tables)).collect::<Result<_, _>>()?;
    let by_resolution: Vec<Described> =
        best.by_resolution(limit).iter().map(|f| f.describe(pool, tables)).collect::<Result<_, _>>()?;
    if let Some(path) = &arguments.certify {
        write_certificate(path, arguments, &certify(&best, pool, tables.checksum(), limit))?;
    }
    if let Some(first) = described.first() {
        let claim = match () {
            () if !complete => "the best that was found before the steps were used up".into(),
            () if arguments.consistent => format!("the least within {} ms of all whose widths join", arguments.limit),
            () if several => format!("the least within {} ms and the other limits", arguments.limit),
            () => format!("the least within {} ms, of all spaces", arguments.limit),
        };
        arguments.page.write(|| space_report::search(tables, pool, limit as u32, first, &claim, &curve))?;
    }
    if arguments.json {
        let whole = json!({
            "hyperspace": hyperspace.name, "spaces": hyperspace.spaces().to_string(), "spaces_with_tables": pool.spaces_with_rows().to_string(), "limit_ms": arguments.limit, "seconds": seconds,
            "best": described.first(), "top": described, "by_resolution": by_resolution, "curve": curve,
            "unfound_loss_at_least": bound.map(|b| b as f64 / 1e6), "complete": complete, "next_tables": wishes,
        });
        print(&serde_json::to_string_pretty(&whole).unwrap_or_default());
        return Ok(());
    }
    let (all, with_rows) = (hyperspace.spaces(), pool.spaces_with_rows());
    let of = if with_rows < all { format!(" of {all}, the others lack tables,") } else { String::new() };
    print(&format!("{with_rows} spaces{of} searched in {:.1} ms", seconds * 1e3));
    described.iter().for_each(|d| print(&shown(d)));
    if !complete {
        let bound = bound.map_or(0.0, |b| b as f64 / 1e6);
        print(&format!("the steps were used up: what is not found has a loss of at least {bound:.4} (--steps)"));
    }
    if by_resolution.len() > 1 && !several && !arguments.consistent {
        let part = |d: &Described| format!("{} pixels: {:.4}", d.resolution, d.loss);
        print(&format!("best loss by resolution  {}", by_resolution.iter().map(part).collect::<Vec<_>>().join(", ")));
    }
    for wish in wishes.iter().filter(|w| w.gain > 0.0).take(5) {
        print(&format!("missing: {} could lower the loss by {:.4}", wish.table, wish.gain));
    }
    for d in &curve {
        print(&format!("{:9.4} ms  loss {:.4}  {} at {} pixels", d.latency_ms, d.loss, d.space, d.resolution));
    }
    Ok(())
}

fn write_certificate(path: &std::path::Path, arguments: &Arguments, text: &str) -> Result<(), Failure> {
    Ok(write_whole(path, text.as_bytes(), arguments.page.force)?)
}

fn shown(d: &Described) -> String {
    let head = format!(
        "loss {:.4}  {:.4} ms  {:.1} MMACs, {:.2} M parameters searched  {} at {} pixels",
        d.loss, d.latency_ms, d.mmacs, d.mparams, d.space, d.resolution
    );
    format!("{head}\n  {}", d.stages.join("\n  "))
}

/// Another target's latencies by block, and the limit there in nanoseconds.
fn target(text: &str, own: &Tables) -> Result<(spaceevo::search::recover::Blocks, u64), Failure> {
    let wrong = || Failure::Usage(usage(format!("--also takes DIR:MILLISECONDS, not '{text}'")));
    let (path, ms) = text.rsplit_once(':').ok_or_else(wrong)?;
    let limit = limit_ns(ms.parse().map_err(|_| wrong())?)?;
    let tables = Tables::open(path.as_ref(), &own.hyperspace)?;
    Ok((recover(&tables)?.0, limit.into()))
}
