//! The log of a search for subnets: one line for each, the changes that lead to it from its parent, chained as [`crate::log`] is.
//!
//! ```text
//! spaceevo subnets 1 | 8a2c...
//! hyperspace onnxw-151122-023231 | 77f0...
//! settings tables=4f6f... seed=1 ... | 90b1...
//! 0 drawn d1#1#2_... fitness -2.9 latency 9.7 | 1c0e...
//! 512 from 17 resolution: 160 -> 192; kernel stage2.kernel[1]: 3 -> 5 = d1#1#2_... fitness -2.8 latency 9.1 | d4a9...
//! 640 from 17 crossover 23 width stage4.width[0]: 112 -> 128 then depth stage6.depth: 2 -> 1 = d1#1#2_... | 0b77...
//! ```
//!
//! In front of `then` stands what a crossover takes from the second parent, behind it what else changes so that the source of the
//! accuracy knows the subnet.

use spaceevo_ir::{Diagnostic, Loc};

use crate::encoding::Subnet;
use crate::hyperspace::{Choice, Hyperspace};
use crate::log::{Chain, head_of, lines};
use crate::subnet::{Evaluated, Origin};
use crate::subnet_moves::{Edit, edits};

const TITLE: &str = "spaceevo subnets 1";

/// A log that was read.
#[derive(Clone, Debug)]
pub struct Log {
    /// What the search was run with, as [`write`] was given it.
    pub settings: String,
    /// Its subnets.
    pub all: Vec<Evaluated>,
}

/// The log of a search. `settings` is one line that says all that the result depends on.
pub fn write(hyperspace: &Hyperspace, choice: &Choice, settings: &str, all: &[Evaluated]) -> String {
    let mut chain = Chain::default();
    let mut text = head_of(&mut chain, [TITLE, &hyperspace.print_choice(choice), settings]);
    for (number, one) in all.iter().enumerate() {
        let origin = match one.origin {
            Origin::Drawn => "drawn".to_owned(),
            Origin::Mutation(a) => {
                format!("from {a} {} =", printed(&edits(&all[a].subnet, &one.subnet), hyperspace))
            }
            Origin::Crossover(a, b) => {
                let (taken, other): (Vec<Edit>, Vec<Edit>) =
                    edits(&all[a].subnet, &one.subnet).into_iter().partition(|e| e.holds(&all[b].subnet));
                let then = if other.is_empty() { "" } else { &*format!(" then {}", printed(&other, hyperspace)) };
                format!("from {a} crossover {b} {}{then} =", printed(&taken, hyperspace))
            }
        };
        let Evaluated { subnet, fitness, latency, .. } = one;
        text += &chain.line(&format!("{number} {origin} {subnet} fitness {fitness} latency {latency}"));
    }
    text
}

fn printed(edits: &[Edit], hyperspace: &Hyperspace) -> String {
    let each: Vec<String> = edits.iter().map(|e| e.print(hyperspace)).collect();
    if each.is_empty() { "nothing".to_owned() } else { each.join("; ") }
}

/// Reads a log and replays it: the changes must lead from the parent to the subnet that the line names, what a crossover takes must
/// be the second parent's, and every subnet must be one of the space.
///
/// Errors: `subnet-log`, at the line.
pub fn read(text: &str, file: &str, hyperspace: &Hyperspace, choice: &Choice) -> Result<Log, Diagnostic> {
    let wrong = |line: usize, what: &str| {
        Diagnostic::error("subnet-log", Loc::Text { file: file.into(), line: line as u32, column: 1 }, what)
    };
    let read = lines(text, TITLE).map_err(|(line, what)| wrong(line, &what))?;
    if read.head[1] != hyperspace.print_choice(choice) {
        return Err(wrong(2, "the log is of another space"));
    }
    if read.whole < text.len() {
        return Err(wrong(read.entries.len() + 4, "the last line was cut off"));
    }
    let mut all: Vec<Evaluated> = Vec::new();
    for (line, body) in read.entries {
        let one = parse(body, &all, hyperspace).map_err(|what| wrong(line, &what))?;
        if let Err(found) = hyperspace.check_subnet(choice, &one.subnet) {
            return Err(found.first().map_or_else(|| wrong(line, "no subnet"), |d| wrong(line, &d.message)));
        }
        all.push(one);
    }
    Ok(Log { settings: read.head[2].to_owned(), all })
}

fn parse(line: &str, all: &[Evaluated], hyperspace: &Hyperspace) -> Result<Evaluated, String> {
    let malformed = || "the line is malformed".to_owned();
    let rest = line.strip_prefix(&format!("{} ", all.len())).ok_or_else(malformed)?;
    let (rest, latency) = rest.rsplit_once(" latency ").ok_or_else(malformed)?;
    let (rest, fitness) = rest.rsplit_once(" fitness ").ok_or_else(malformed)?;
    let (origin, subnet) = rest.rsplit_once(' ').ok_or_else(malformed)?;
    let subnet = Subnet::parse(subnet).map_err(|d| d.message)?;
    let number = |text: &str| text.parse::<f64>().map_err(|_| malformed());
    let origin = if origin == "drawn" { Origin::Drawn } else { replayed(origin, &subnet, all, hyperspace)? };
    Ok(Evaluated { subnet, fitness: number(fitness)?, latency: number(latency)?, origin })
}

/// What `from 17 ... =` says, if it leads to the subnet.
fn replayed(text: &str, subnet: &Subnet, all: &[Evaluated], hyperspace: &Hyperspace) -> Result<Origin, String> {
    let malformed = || "the line is malformed".to_owned();
    let parent = |text: &str| -> Result<usize, String> {
        let number = text.parse().map_err(|_| malformed())?;
        if number < all.len() { Ok(number) } else { Err(format!("there is no subnet {number} before this one")) }
    };
    let body = text.strip_prefix("from ").and_then(|t| t.strip_suffix(" =")).ok_or_else(malformed)?;
    let (first, body) = body.split_once(' ').ok_or_else(malformed)?;
    let first = parent(first)?;
    let list = |text: &str| -> Result<Vec<Edit>, String> {
        let items = text.split("; ").filter(|item| *item != "nothing");
        items.map(|item| Edit::parse(item, hyperspace).map_err(|d| d.message)).collect()
    };
    let (origin, changes) = match body.strip_prefix("crossover ") {
        None => (Origin::Mutation(first), list(body)?),
        Some(rest) => {
            let (second, rest) = rest.split_once(' ').ok_or_else(malformed)?;
            let second = parent(second)?;
            let (taken, other) = rest.split_once(" then ").unwrap_or((rest, "nothing"));
            let taken = list(taken)?;
            if let Some(edit) = taken.iter().find(|e| !e.holds(&all[second].subnet)) {
                return Err(format!("'{}' is not what subnet {second} has", edit.print(hyperspace)));
            }
            (Origin::Crossover(first, second), [taken, list(other)?].concat())
        }
    };
    let mut made = all[first].subnet.clone();
    for edit in &changes {
        made = edit.apply(&made).ok_or_else(|| format!("'{}' is no change of {made}", edit.print(hyperspace)))?;
    }
    if made == *subnet { Ok(origin) } else { Err(format!("the changes lead to {made}, not to {subnet}")) }
}
