//! `space score`: the Q-T score of named spaces.

use clap::Args;
use serde_json::json;
use spaceevo::search::exact::{Precision, table_noise};
use spaceevo::search::score::NO_SUBNET;
use spaceevo::search::{Score, share::share};
use spaceevo::space_report;

use super::super::{Failure, print, say};
use super::arguments::choices;
use super::scoring::{PageArguments, Scored, Scoring, score_line};

/// Score spaces: how good their best subnets are under latency limits
#[derive(Args)]
#[command(
    after_help = "Example:\n  spaceevo-opt space score onnxw --choice 151122-023231 --tables lut.tar.gz --fixed-ms 160=1.75,192=2.24,224=2.80 --limit 10"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    scoring: Scoring,
    /// Space: a digit for each stage's block type, and one for its window; may be given several times
    #[arg(long, value_name = "BLOCKS-WINDOWS", required = true)]
    choice: Vec<String>,
    /// Exact: how often the tables are drawn again for the interval that their own noise allows; 0 for none
    #[arg(long, default_value_t = 32)]
    replicates: usize,
    #[command(flatten)]
    page: PageArguments,
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.page.check()?;
    let score = &arguments.scoring.score;
    let Scored { hyperspace, loaded, formula } = arguments.scoring.load()?;
    let choices = choices(&loaded, &arguments.choice)?;
    let judge = score.judge(&loaded.pool, &formula, Precision::FINE);
    let exact = score.method == "exact";
    let (mut out, mut rows) = (Vec::new(), Vec::new());
    for (choice, mut found) in choices.iter().zip(judge(&choices)) {
        let name = hyperspace.print_choice(choice);
        if exact {
            // The grid's share is near; this one is exact.
            let limits =
                found.limits.iter().zip(&formula.limits).map(|(part, &limit)| match share(&loaded.pool, choice, limit) {
                    Some(p) => formula.under(limit, p, (part.loss < NO_SUBNET).then_some(part.loss)),
                    None => *part,
                });
            found = formula.sum(limits.collect());
        }
        rows.push((choice.clone(), found.clone()));
        warn(&name, &found);
        let noise =
            (exact && arguments.replicates > 1).then(|| table_noise(&loaded.pool, choice, &formula, arguments.replicates));
        if arguments.scoring.json {
            let interval = noise.map(|sd| [found.score - 1.96 * sd, found.score + 1.96 * sd]);
            out.push(json!({
                "space": name, "method": score.method, "seed": score.seed,
                "score": found.score, "interval_95": interval, "limits": found.limits,
            }));
        } else {
            print(&score_line(&name, &found));
            if let Some(sd) = noise {
                print(&format!(
                    "  other tables of as many rows: {:.4} to {:.4} (95 %)",
                    found.score - 1.96 * sd,
                    found.score + 1.96 * sd
                ));
            }
        }
    }
    rows.sort_by(|a, b| b.1.score.total_cmp(&a.1.score));
    arguments.page.write(|| space_report::comparison(&loaded.tables, &loaded.pool, &formula, &rows))?;
    if arguments.scoring.json {
        let whole = if out.len() == 1 { out.remove(0) } else { json!(out) };
        print(&serde_json::to_string_pretty(&whole).unwrap_or_default());
    }
    Ok(())
}

/// Says where no subnet is within a limit: the score is then a number near 0, and no failure.
pub(super) fn warn(name: &str, score: &Score) {
    for part in score.limits.iter().filter(|l| l.loss >= NO_SUBNET) {
        say(&format!(
            "warning: {name} has no subnet within {} ms (or fewer than one is to be expected among the draws)",
            part.limit_ms
        ));
    }
}
