//! The log of an evolution: one line for each space, a diff to its parent, chained by checksums, enough to replay and to resume.
//!
//! ```text
//! spaceevo evolution 1 | 8a2c...
//! hyperspace onnxw | 77f0...
//! settings tables=4f6f... seed=1 ... | 90b1...
//! 0 homogeneous 000000-000000 score 0.6105 iteration 0 | 1c0e...
//! 500 from 17 swap-block stage2.block: V2Res -> FusedRes = 151122-023231 score 0.8031 iteration 1 | d4a9...
//! ```
//!
//! A line's checksum is that of the checksum before it and its own text, so a line that was changed, lost or moved is found where
//! it is. It guards against damage, not against someone who computes all checksums again.

use spaceevo_ir::{Diagnostic, Loc};
use xxhash_rust::xxh3::xxh3_128;

use crate::evolution::{History, Individual, Origin};
use crate::hyperspace::Hyperspace;
use crate::moves::Move;

const TITLE: &str = "spaceevo evolution 1";

/// Writes lines that continue a chain.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    last: u128,
}

/// A log that was read.
#[derive(Clone, Debug)]
pub struct Log {
    /// What the evolution was run with, as [`head`] was given it.
    pub settings: String,
    /// Its spaces.
    pub history: History,
    /// Where to continue.
    pub chain: Chain,
    /// Bytes that are whole lines; what follows was cut off.
    pub whole: usize,
}

impl Chain {
    /// A line with its checksum and line end.
    pub fn line(&mut self, text: &str) -> String {
        self.last = self.next(text);
        format!("{text} | {:032x}\n", self.last)
    }

    fn next(&self, text: &str) -> u128 {
        let mut bytes = self.last.to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        xxh3_128(&bytes)
    }
}

/// The first lines of a log. `settings` is one line that says all that the result depends on.
pub fn head(chain: &mut Chain, hyperspace: &Hyperspace, settings: &str) -> String {
    [TITLE.to_owned(), format!("hyperspace {}", hyperspace.name), format!("settings {settings}")]
        .map(|l| chain.line(&l))
        .concat()
}

/// The line of a space.
pub fn entry(chain: &mut Chain, number: usize, individual: &Individual, hyperspace: &Hyperspace) -> String {
    let Individual { choice, origin, iteration, score } = individual;
    let origin = match origin {
        Origin::Homogeneous => "homogeneous".to_owned(),
        Origin::Random => "random".to_owned(),
        Origin::Child(parent, change) => format!("from {parent} {} =", change.print(hyperspace)),
    };
    chain.line(&format!("{number} {origin} {choice} score {score} iteration {iteration}"))
}

/// Reads a log and replays it: every diff must lead from its parent to the space that the line names.
///
/// Errors: `evolution-log`, at the line.
pub fn read(text: &str, file: &str, hyperspace: &Hyperspace) -> Result<Log, Diagnostic> {
    let wrong = |line: usize, what: &str| {
        Diagnostic::error("evolution-log", Loc::Text { file: file.into(), line: line as u32, column: 1 }, what)
    };
    let mut chain = Chain::default();
    let (mut settings, mut history, mut whole) = (String::new(), History::default(), 0);
    let mut number = 0;
    for line in text.split_inclusive('\n') {
        // An interrupted program may have written half of its last line.
        let Some(line_text) = line.strip_suffix('\n') else { break };
        number += 1;
        let parts = line_text.rsplit_once(" | ");
        let (body, sum) = parts.ok_or_else(|| wrong(number, "the line has no checksum"))?;
        chain.last = chain.next(body);
        if sum != format!("{:032x}", chain.last) {
            return Err(wrong(
                number,
                "the line, or one before it, was changed, lost or moved: its checksum is another one",
            ));
        }
        match number {
            1 if body == TITLE => {}
            1 => return Err(wrong(number, "this is no log of an evolution")),
            2 if body.strip_prefix("hyperspace ") == Some(&hyperspace.name) => {}
            2 => return Err(wrong(number, "the log is of another hyperspace")),
            3 => {
                settings =
                    body.strip_prefix("settings ").ok_or_else(|| wrong(number, "the settings are missing"))?.to_owned()
            }
            _ => {
                let individual = parse(body, history.entries.len(), &history, hyperspace);
                history.entries.push(individual.map_err(|what| wrong(number, &what))?);
            }
        }
        whole += line.len();
    }
    if number < 3 {
        return Err(wrong(number + 1, "the log ends before its settings"));
    }
    Ok(Log { settings, history, chain, whole })
}

fn parse(line: &str, number: usize, history: &History, hyperspace: &Hyperspace) -> Result<Individual, String> {
    let malformed = || "the line is malformed".to_owned();
    let rest = line.strip_prefix(&format!("{number} ")).ok_or_else(malformed)?;
    let (rest, iteration) = rest.rsplit_once(" iteration ").ok_or_else(malformed)?;
    let (rest, score) = rest.rsplit_once(" score ").ok_or_else(malformed)?;
    let (origin, choice) = rest.rsplit_once(' ').ok_or_else(malformed)?;
    let choice = hyperspace.parse_choice(choice).map_err(|d| d.message)?;
    let origin = match origin {
        "homogeneous" => Origin::Homogeneous,
        "random" => Origin::Random,
        _ => {
            let from = origin.strip_prefix("from ").and_then(|o| o.strip_suffix(" =")).and_then(|o| o.split_once(' '));
            let (parent, change) = from.ok_or_else(malformed)?;
            let parent: usize = parent.parse().map_err(|_| malformed())?;
            let base =
                &history.entries.get(parent).ok_or_else(|| format!("there is no space {parent} before this one"))?.choice;
            let change = Move::parse(change, hyperspace, base).map_err(|d| d.message)?;
            if change.apply(base) != choice {
                return Err(format!("the move leads from {base} to {}, not to {choice}", change.apply(base)));
            }
            Origin::Child(parent, change)
        }
    };
    let iteration = iteration.parse().map_err(|_| malformed())?;
    let score = score.parse().map_err(|_| malformed())?;
    Ok(Individual { choice, origin, iteration, score })
}
