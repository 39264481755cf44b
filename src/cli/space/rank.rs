//! `space rank`: every space of a hyperspace, scored.

use std::time::Instant;

use clap::Args;
use serde_json::json;
use spaceevo::convert::Progress;
use spaceevo::search::exact::{Exact, Precision};
use spaceevo::search::rank::rank;

use super::super::arguments::usage;
use super::super::progress::Bar;
use super::super::{Failure, print};
use super::arguments::choices;
use super::scoring::{Scored, Scoring};

/// Score all spaces of a hyperspace: the best ones, and the rank of named ones among all
#[derive(Args)]
#[command(
    after_help = "Example:\n  spaceevo-opt space rank onnxw --choice 151122-023231 --tables lut.tar.gz --fixed-ms 160=1.75,192=2.24,224=2.80 --limit 15"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    scoring: Scoring,
    /// Space whose rank is asked for; may be given several times
    #[arg(long, value_name = "BLOCKS-WINDOWS")]
    choice: Vec<String>,
    /// So many of the best spaces are shown
    #[arg(long, value_name = "K", default_value_t = 20)]
    best: usize,
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let scored = arguments.scoring.load_exact("all spaces are ranked by their exact scores")?;
    scored.can_be_met()?;
    let (Scored { hyperspace, loaded, formula }, json) = (scored, arguments.scoring.json);
    let asked = choices(&loaded, &arguments.choice)?;
    let spaces = hyperspace.spaces();
    if spaces > 4_000_000_000 {
        return Err(Failure::Usage(usage(format!("{} has {spaces} spaces: more than can be ranked", hyperspace.name))));
    }
    let bar = Bar::new(json);
    bar.stage("ranking", usize::try_from(spaces).unwrap_or(usize::MAX));
    let start = Instant::now();
    let exact = Exact::new(&loaded.pool, formula, Precision::FAST);
    let ranking = rank(&exact, &loaded.pool, &asked, arguments.best.max(1), |n| bar.advance(n as usize));
    let seconds = start.elapsed().as_secs_f64();
    drop(bar);
    let names = |choice| hyperspace.print_choice(choice);
    if json {
        let best: Vec<_> = ranking.best.iter().map(|(s, c)| json!({"space": names(c), "score": s})).collect();
        let row = |(c, (s, r)): (_, &(f64, u64))| json!({"space": names(c), "score": s, "rank": r});
        let ranks: Vec<_> = asked.iter().zip(&ranking.ranks).map(row).collect();
        let whole = json!({"hyperspace": hyperspace.name, "spaces": ranking.spaces, "seconds": seconds, "best": best, "ranks": ranks});
        print(&serde_json::to_string_pretty(&whole).unwrap_or_default());
        return Ok(());
    }
    print(&format!("{} spaces in {seconds:.1} s", ranking.spaces));
    for (i, (score, choice)) in ranking.best.iter().enumerate() {
        print(&format!("{:9}  {:21}  {score:.5}", i + 1, names(choice)));
    }
    for (choice, (score, rank)) in asked.iter().zip(&ranking.ranks) {
        print(&format!("{rank:9}  {:21}  {score:.5}", names(choice)));
    }
    Ok(())
}
