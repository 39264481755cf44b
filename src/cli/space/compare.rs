//! `space compare`: spaces side by side.

use clap::Args;
use serde_json::json;
use spaceevo::search::evolution::homogeneous;
use spaceevo::search::exact::Precision;
use spaceevo::search::score::NO_SUBNET;
use spaceevo::search::{Choice, Score};
use spaceevo::space_report;

use super::super::{Failure, print};
use super::arguments::choices;
use super::scoring::{PageArguments, Scored, Scoring};

/// Compare spaces with each other and with those that have the same block type in every stage
#[derive(Args)]
#[command(
    after_help = "Example:\n  spaceevo-opt space compare onnxw --choice 151122-023231 --choice 121122-133333 --tables lut.tar.gz --fixed-ms 160=1.75,192=2.24,224=2.80 --limit 15 --report compare.html"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    scoring: Scoring,
    /// Space; may be given several times
    #[arg(long, value_name = "BLOCKS-WINDOWS")]
    choice: Vec<String>,
    #[command(flatten)]
    page: PageArguments,
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.page.check()?;
    let Scored { hyperspace, loaded, formula } = arguments.scoring.load()?;
    let mut all = choices(&loaded, &arguments.choice)?;
    // The same block everywhere is what spaces designed by hand do; their widths are taken from the middle of the lists.
    let manual = homogeneous(&hyperspace).into_iter().filter(|c| c.windows[hyperspace.stages.len() - 1] == 1);
    let manual: Vec<Choice> = manual.filter(|c| loaded.pool.covers(c) && !all.contains(c)).collect();
    all.extend(manual);
    let scores = arguments.scoring.score.judge(&loaded.pool, &formula, Precision::FINE)(&all);
    let mut rows: Vec<(Choice, Score)> = all.into_iter().zip(scores).collect();
    rows.sort_by(|a, b| b.1.score.total_cmp(&a.1.score));
    arguments.page.write(|| space_report::comparison(&loaded.tables, &loaded.pool, &formula, &rows))?;
    if arguments.scoring.json {
        let row =
            |(c, s): &(Choice, Score)| json!({"space": hyperspace.print_choice(c), "score": s.score, "limits": s.limits});
        print(&serde_json::to_string_pretty(&json!(rows.iter().map(row).collect::<Vec<_>>())).unwrap_or_default());
        return Ok(());
    }
    for (choice, score) in &rows {
        let parts: Vec<String> = score
            .limits
            .iter()
            .map(|l| match l.loss {
                loss if loss >= NO_SUBNET => format!("{} ms: no subnet", l.limit_ms),
                loss => format!("{} ms: loss {loss:.3}, {:.2} % within", l.limit_ms, 100.0 * l.feasible),
            })
            .collect();
        print(&format!(
            "{:21}  {:.4}  {}  {}",
            hyperspace.print_choice(choice),
            score.score,
            hyperspace.block_names(choice),
            parts.join("; ")
        ));
    }
    Ok(())
}
