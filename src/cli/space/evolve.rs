//! `space evolve`: aging evolution of spaces.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};
use spaceevo::convert::Progress;
use spaceevo::ir::{Diagnostic, Loc};
use spaceevo::search::evolution::{History, Individual, Settings, evolve};
use spaceevo::search::exact::{Exact, Precision};
use spaceevo::search::log::{self, Chain};
use spaceevo::search::{Choice, Formula, Hyperspace};
use spaceevo::space_report;

use super::super::arguments::usage;
use super::super::progress::Bar;
use super::super::{Failure, print, say};
use super::arguments::Loaded;
use super::growing::{self, Growing};
use super::scoring::{PageArguments, Scored, Scoring};

/// Spaces that are told in the end.
const SHOWN: usize = 50;
/// Scores below are those of spaces without a subnet within any limit.
const NOTHING: f64 = 1e-4;

/// Evolve spaces: of a sample of the population the best becomes a parent, its children join, and the oldest leave
#[derive(Args)]
#[command(
    after_help = "Example:\n  spaceevo-opt space evolve onnxw --tables lut.tar.gz --fixed-ms 160=1.75,192=2.24,224=2.80 --limit 10 --limit 15 --seed 1 --log run.log"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    scoring: Scoring,
    /// Spaces that are scored in all
    #[arg(long, default_value_t = 5000)]
    cycles: usize,
    /// Spaces that live at a time
    #[arg(long, default_value_t = 500)]
    population: usize,
    /// Spaces among which a parent is sought
    #[arg(long, default_value_t = 125)]
    tournament: usize,
    /// Draw every space at random instead: what evolution has to beat
    #[arg(long)]
    random: bool,
    /// Write every space as a line; an evolution that was interrupted goes on from there with --resume
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Go on where the log ends
    #[arg(long, requires = "log")]
    resume: bool,
    #[command(flatten)]
    page: PageArguments,
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.population == 0 || arguments.tournament == 0 || arguments.tournament > arguments.population {
        return Err(Failure::Usage(usage("--tournament must be 1 to --population")));
    }
    arguments.page.check()?;
    let scored = arguments.scoring.load()?;
    scored.can_be_met()?;
    let (Scored { hyperspace, loaded, formula }, score) = (scored, &arguments.scoring.score);
    let settings = Settings {
        population: arguments.population,
        tournament: arguments.tournament,
        cycles: arguments.cycles,
        seed: score.seed,
        random: arguments.random,
    };
    let line = settings_line(arguments, &loaded);
    let (mut history, mut writer) = match &arguments.log {
        None => (History::default(), None),
        Some(path) if arguments.resume => resume(path, &hyperspace, &line)?,
        Some(path) => (History::default(), Some(Writer::create(path, &hyperspace, &line, arguments.page.force)?)),
    };
    let resumed = history.entries.len();
    let bar = Bar::new(arguments.scoring.json);
    bar.stage("evolving", arguments.cycles);
    bar.advance(resumed);
    let start = Instant::now();
    let judge = score.judge(&loaded.pool, &formula, Precision::FAST);
    let mut failed = None;
    let mut number = resumed;
    let seen = |individual: &Individual| {
        bar.advance(1);
        if let Some(writer) = &mut writer
            && let Err(error) = writer.add(number, individual, &hyperspace)
        {
            failed = Some(error);
            return ControlFlow::Break(());
        }
        number += 1;
        ControlFlow::Continue(())
    };
    evolve(&hyperspace, &settings, &mut history, |c| loaded.pool.covers(c), judge, seen);
    let seconds = start.elapsed().as_secs_f64();
    drop(bar);
    if let Some(error) = failed {
        return Err(error.into());
    }
    if history.entries.is_empty() {
        let what = format!("no space of {} has all its tables", hyperspace.name);
        return Err(Diagnostic::error("table-gap", Loc::Unknown, what).into());
    }
    let top = top(&history, &loaded, &formula);
    arguments.page.write(|| space_report::evolution(&loaded.tables, &loaded.pool, &formula, &history))?;
    if history.best().is_none_or(|best| best.score < NOTHING) {
        say(
            "warning: no space had a subnet within the limits among its draws: what is told is in no order; a higher --limit may help",
        );
    }
    if arguments.scoring.json {
        let whole = json!({
            "hyperspace": hyperspace.name, "settings": line, "evaluated": history.entries.len(), "resumed_at": resumed, "seconds": seconds,
            "best": top.first(), "top": top,
        });
        print(&serde_json::to_string_pretty(&whole).unwrap_or_default());
        return Ok(());
    }
    print(&format!("{} spaces in {seconds:.2} s, {resumed} of them before", history.entries.len()));
    print("rank  space                  score   exact   fastest ms  slowest ms");
    for (i, t) in top.iter().enumerate().take(if arguments.page.report.is_some() { SHOWN } else { 10 }) {
        let number = |key: &str| t[key].as_f64().unwrap_or(f64::NAN);
        print(&format!(
            "{:4}  {:21}  {:.4}  {:.4}  {:10.3}  {:10.3}",
            i + 1,
            t["space"].as_str().unwrap_or_default(),
            number("score"),
            number("exact"),
            number("fastest_ms"),
            number("slowest_ms")
        ));
    }
    Ok(())
}

/// The best spaces, with their exact scores (the ones they were chosen by may have been lucky) and their fastest and slowest subnets.
fn top(history: &History, loaded: &Loaded, formula: &Formula) -> Vec<Value> {
    let ranked = history.ranked();
    let best: Vec<Choice> = ranked.iter().take(SHOWN).map(|i| i.choice.clone()).collect();
    let exact =
        Exact::new(&loaded.pool, formula.clone(), Precision { loss_step: 10_000, latency_cells: 80 }).score_all(&best);
    let row = |(individual, exact): (&&Individual, &spaceevo::search::Score)| {
        let (least, most) = loaded.pool.latencies(&individual.choice);
        json!({
            "space": loaded.tables.hyperspace.print_choice(&individual.choice), "score": individual.score, "exact": exact.score,
            "fastest_ms": least as f64 / 1e6, "slowest_ms": most as f64 / 1e6, "limits": exact.limits,
        })
    };
    ranked.iter().zip(&exact).map(row).collect()
}

/// All that the result depends on.
fn settings_line(arguments: &Arguments, loaded: &Loaded) -> String {
    format!(
        "tables={:032x} terms={:032x} seed={} population={} tournament={} random={} {}",
        loaded.tables.checksum(),
        loaded.pool.terms.checksum(),
        arguments.scoring.score.seed,
        arguments.population,
        arguments.tournament,
        arguments.random,
        arguments.scoring.score.line()
    )
}

/// The log of an evolution.
struct Writer {
    log: Growing,
    chain: Chain,
}

impl Writer {
    fn create(path: &Path, hyperspace: &Hyperspace, line: &str, force: bool) -> Result<Writer, Diagnostic> {
        let mut writer = Writer { log: Growing::create(path, force)?, chain: Chain::default() };
        let head = log::head(&mut writer.chain, hyperspace, line);
        writer.log.add(&head)?;
        Ok(writer)
    }

    fn add(&mut self, number: usize, individual: &Individual, hyperspace: &Hyperspace) -> Result<(), Diagnostic> {
        self.log.add(&log::entry(&mut self.chain, number, individual, hyperspace))
    }
}

/// Opens a log to go on with it.
fn resume(path: &Path, hyperspace: &Hyperspace, line: &str) -> Result<(History, Option<Writer>), Failure> {
    let text = growing::read(path)?;
    let read = log::read(&text, &path.display().to_string(), hyperspace)?;
    growing::same_settings("evolution-log", path, &read.settings, line)?;
    let log = Growing::resume(path, read.whole, text.len())?;
    Ok((read.history, Some(Writer { log, chain: read.chain })))
}
