//! `space certify`: the best space of a hyperspace, with a proof.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use spaceevo::file::{refuse_existing, write_whole};
use spaceevo::ir::{Diagnostic, Loc};
use spaceevo::search::best_space::best_space;
use spaceevo::search::exact::{Exact, Precision};
use spaceevo::search::space_certificate::certify_space;

use super::super::{Failure, print};
use super::scoring::{Scored, Scoring};

/// Find the best space of a hyperspace by its exact score, and write a proof that 'space check' replays
#[derive(Args)]
#[command(
    after_help = "Example:\n  spaceevo-opt space certify onnxw --tables lut.tar.gz --fixed-ms 160=1.75,192=2.24,224=2.80 --limit 15 -o space.cert\n  spaceevo-opt space check space.cert --tables lut.tar.gz"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    scoring: Scoring,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Overwrite a file that exists
    #[arg(long)]
    force: bool,
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    refuse_existing(&arguments.output, arguments.force)?;
    let scored = arguments.scoring.load_exact("only exact scores can be proved")?;
    scored.can_be_met()?;
    let Scored { hyperspace, loaded, formula } = scored;
    let start = Instant::now();
    let exact = Exact::new(&loaded.pool, formula, Precision::FAST);
    let Some(best) = best_space(&exact, &loaded.pool) else {
        let what =
            format!("no space of {} has so many subnets within the limits that the best could be told", hyperspace.name);
        let note =
            "one in --draws, 100,000 by default, is the least that a score counts: with a higher --limit there are more";
        return Err(Diagnostic::error("space-limit", Loc::Unknown, what).note(note).into());
    };
    let seconds = start.elapsed().as_secs_f64();
    let text = certify_space(&best, &exact, &loaded.pool, loaded.tables.checksum());
    write_whole(&arguments.output, text.as_bytes(), arguments.force)?;
    let (name, scored) = (hyperspace.print_choice(&best.choice), best.contenders.len());
    if arguments.scoring.json {
        let whole = json!({
            "space": name, "score": best.score, "least": best.least, "spaces": hyperspace.spaces().to_string(), "scored": scored, "seconds": seconds,
            "output": arguments.output.display().to_string(),
        });
        print(&serde_json::to_string_pretty(&whole).unwrap_or_default());
        return Ok(());
    }
    print(&format!("{name}  score {:.5}, by its rows at least {:.5}", best.score, best.least));
    print(&format!(
        "of {} spaces {scored} were scored, the others are bounded below that, in {seconds:.1} s; proof in {}",
        hyperspace.spaces(),
        arguments.output.display()
    ));
    Ok(())
}
