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

/// Lines whose chain was checked.
#[derive(Clone, Debug)]
pub(crate) struct Lines<'a> {
    /// The title, what was searched, the settings: without the words in front.
    pub(crate) head: [&'a str; 3],
    /// What follows, with numbers of lines.
    pub(crate) entries: Vec<(usize, &'a str)>,
    /// Where to continue.
    pub(crate) chain: Chain,
    /// Bytes that are whole lines.
    pub(crate) whole: usize,
}

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
    head_of(chain, [TITLE, &hyperspace.name, settings])
}

/// The first lines of any log: its title, what was searched, the settings.
pub(crate) fn head_of(chain: &mut Chain, [title, searched, settings]: [&str; 3]) -> String {
    [title.to_owned(), format!("hyperspace {searched}"), format!("settings {settings}")].map(|l| chain.line(&l)).concat()
}

/// Checks the chain of a log and its first lines. A last line without its end is left out: an interrupted program may have written
/// half of it.
///
/// Errors: what is wrong, at the line.
pub(crate) fn lines<'a>(text: &'a str, title: &str) -> Result<Lines<'a>, (usize, String)> {
    let mut read = Lines { head: [""; 3], entries: Vec::new(), chain: Chain::default(), whole: 0 };
    let mut number = 0;
    for line in text.split_inclusive('\n') {
        let Some(line_text) = line.strip_suffix('\n') else { break };
        number += 1;
        let wrong = |what: &str| Err((number, what.to_owned()));
        let Some((body, sum)) = line_text.rsplit_once(" | ") else { return wrong("the line has no checksum") };
        read.chain.last = read.chain.next(body);
        if sum != format!("{:032x}", read.chain.last) {
            return wrong("the line, or one before it, was changed, lost or moved: its checksum is another one");
        }
        let said = match number {
            1 => Some(body).filter(|b| *b == title),
            2 => body.strip_prefix("hyperspace "),
            3 => body.strip_prefix("settings "),
            _ => Some(body),
        };
        match (number, said) {
            (1, None) => return wrong(&format!("this is no log that begins with '{title}'")),
            (2, None) => return wrong("the hyperspace is missing"),
            (_, None) => return wrong("the settings are missing"),
            (1..=3, Some(said)) => read.head[number - 1] = said,
            (_, Some(said)) => read.entries.push((number, said)),
        }
        read.whole += line.len();
    }
    if number < 3 { Err((number + 1, "the log ends before its settings".to_owned())) } else { Ok(read) }
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
    let read = lines(text, TITLE).map_err(|(line, what)| wrong(line, &what))?;
    if read.head[1] != hyperspace.name {
        return Err(wrong(2, "the log is of another hyperspace"));
    }
    let mut history = History::default();
    for (number, body) in read.entries {
        let individual = parse(body, history.entries.len(), &history, hyperspace);
        history.entries.push(individual.map_err(|what| wrong(number, &what))?);
    }
    Ok(Log { settings: read.head[2].to_owned(), history, chain: read.chain, whole: read.whole })
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
