//! The log of pricing blocks: one line for each, chained as [`crate::log`] is, so that hours of work can be stopped and taken up again.
//!
//! ```text
//! spaceevo blocks 1 | 8a2c...
//! hyperspace onnxw | 77f0...
//! settings target=x86-vnni prices=4f6f... page=90b1... version=0.1.0 | 90b1...
//! V2Res_112_16_32_3_4_2 0.4123 | 1c0e...
//! ```
//!
//! A line has a block as published tables key it (type, size, input, output, kernel, expansion, stride) and milliseconds.

use std::collections::BTreeMap;

use spaceevo_ir::{Diagnostic, Loc};
use xxhash_rust::xxh3::xxh3_128;

use crate::hyperspace::Expand;
use crate::log::{Chain, head_of, lines};
use crate::recover::Key;

const TITLE: &str = "spaceevo blocks 1";

/// A log that was read.
#[derive(Clone, Debug)]
pub struct Log {
    /// What the blocks were priced with, as [`head`] was given it.
    pub settings: String,
    /// The blocks, in milliseconds.
    pub known: BTreeMap<Key, f64>,
    /// Where to continue.
    pub chain: Chain,
    /// Bytes that are whole lines; what follows was cut off.
    pub whole: usize,
}

/// One line that says all that prices depend on: the target's file, the page with the blocks, and the rules of this version.
pub fn settings(target: &str, target_text: &str, page: &str) -> String {
    let (prices, page) = (xxh3_128(target_text.as_bytes()), xxh3_128(page.as_bytes()));
    format!("target={target} prices={prices:032x} page={page:032x} version={}", env!("CARGO_PKG_VERSION"))
}

/// The first lines of a log.
pub fn head(chain: &mut Chain, hyperspace: &str, settings: &str) -> String {
    head_of(chain, [TITLE, hyperspace, settings])
}

/// The lines of some blocks.
pub fn entries(chain: &mut Chain, priced: &[(Key, f64)]) -> String {
    priced.iter().map(|(key, ms)| chain.line(&format!("{key} {ms}"))).collect()
}

/// Reads a log.
///
/// Errors: `block-log`, at the line.
pub fn read(text: &str, file: &str, hyperspace: &str) -> Result<Log, Diagnostic> {
    let wrong = |line: usize, what: &str| {
        Diagnostic::error("block-log", Loc::Text { file: file.into(), line: line as u32, column: 1 }, what)
    };
    let read = lines(text, TITLE).map_err(|(line, what)| wrong(line, &what))?;
    if read.head[1] != hyperspace {
        return Err(wrong(2, &format!("the log is of {}, not of {hyperspace}", read.head[1])));
    }
    let mut known = BTreeMap::new();
    for (line, body) in read.entries {
        let (key, ms) = parse(body).ok_or_else(|| wrong(line, "the line is malformed"))?;
        known.insert(key, ms);
    }
    Ok(Log { settings: read.head[2].to_owned(), known, chain: read.chain, whole: read.whole })
}

fn parse(line: &str) -> Option<(Key, f64)> {
    let (key, ms) = line.split_once(' ')?;
    // The type's name may have underscores of its own.
    let mut parts = key.rsplitn(7, '_');
    let stride = parts.next()?.parse().ok()?;
    let expand = parts.next()?;
    let expand = if expand == "0" { None } else { Some(Expand::parse(expand)?) };
    let mut number = || parts.next()?.parse::<u32>().ok();
    let (kernel, output, input, size) = (number()?, number()?, number()?, number()?);
    let block = parts.next()?.to_owned();
    let ms = ms.parse::<f64>().ok().filter(|ms| ms.is_finite() && *ms >= 0.0)?;
    Some((Key { block, size, input, output, kernel, expand, stride }, ms))
}
