//! Proofs that a space is the best of a hyperspace by its exact score. [`crate::check`] replays them.
//!
//! A certificate has exponents, from which a reader makes bounds on the scores of all spaces by itself ([`crate::tilt`] has the
//! equations), and names every space that these bounds leave open. Of each it says where its mean loss is to be read off, so that one
//! evaluation on the grid shows that its score is not above the claim.
//!
//! ```text
//! spaceevo space-certificate 1
//! hyperspace onnxw
//! tables 4f6f...                         checksum of the tables
//! weights 1 1 1 1 1 1                    factors of the stages' losses
//! resolution 160 fixed 1750000 added 0   a resolution, what is not searched, and what is added to the loss
//! formula 0.08 0.01 50 100000            t0, a, top, draws
//! least 0.38427                          what the rows alone say the best score is at least: spaces bounded below it are decided
//! limit 10000000 step 10000 cells 40     nanoseconds, loss of a cell in millionths, cells of latency
//! tilt 87.2 3.9 1.2                      exponents of the last limit: loss, latency, latency of the share
//! claim 0.38453 8125634                  score and number of the best space
//! open 8125634 249                       number of a space, and by limit the cell of loss, or `-`
//! end 1f2e...                            checksum of all lines before
//! ```

use std::fmt::Write;

use crate::best_space::BestSpace;
use crate::certificate::{head, sealed};
use crate::exact::Exact;
use crate::hyperspace::Hyperspace;
use crate::pool::Pool;

/// Writes the proof that `best` is the best space. `tables` is the checksum of the tables that the pool was made of.
pub fn certify_space(best: &BestSpace, exact: &Exact<'_>, pool: &Pool, tables: u128) -> String {
    let mut out = head("space-certificate", pool, tables);
    let (formula, cells) = (exact.formula(), exact.precision().latency_cells);
    // Writing to a string cannot fail.
    let _ = writeln!(out, "formula {} {} {} {}", formula.t0, formula.a, formula.top, formula.draws);
    let _ = writeln!(out, "least {}", best.least);
    for (number, (limit, tilt)) in formula.limits.iter().zip(&best.tilts).enumerate() {
        let _ = writeln!(out, "limit {limit} step {} cells {cells}", exact.loss_step(number));
        let _ = writeln!(out, "tilt {} {} {}", tilt.loss, tilt.latency, tilt.share);
    }
    let _ = writeln!(out, "claim {} {}", best.score, pool.hyperspace.index_of(&best.choice));
    for contender in &best.contenders {
        let _ = write!(out, "open {}", number_of(&pool.hyperspace, &contender.choices));
        for place in &contender.places {
            let _ = match place {
                Some(cell) => write!(out, " {cell}"),
                None => write!(out, " -"),
            };
        }
        out.push('\n');
    }
    sealed(out)
}

/// The number of a space whose choices are `block * windows + window` by stage.
fn number_of(hyperspace: &Hyperspace, choices: &[usize]) -> u128 {
    let stages = hyperspace.stages.iter().zip(choices);
    stages.fold(0, |number, (s, &c)| number * (s.blocks.len() * s.windows()) as u128 + c as u128)
}
