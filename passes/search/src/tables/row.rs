//! One line of a table, checked against the stage that it is about.

use spaceevo_ir::{Diagnostic, Loc};

use super::{Row, Table};
use crate::hyperspace::{Block, Expand, Hyperspace, Stage};

/// Errors of one file that are told.
const MOST_ERRORS: usize = 8;

/// What rows of one table must fit.
pub(super) struct Place<'a> {
    stage: &'a Stage,
    block: &'a Block,
    widths: &'a [u32],
    channels: &'a [u32],
    /// Height and width of the input, and the resolution that it comes from.
    sizes: Vec<(u32, u32)>,
}

impl<'a> Place<'a> {
    pub(super) fn new(hyperspace: &'a Hyperspace, stage: usize, block: usize, window: usize) -> Place<'a> {
        let shape = &hyperspace.stages[stage];
        let mut sizes: Vec<(u32, u32)> =
            hyperspace.resolutions.iter().map(|&r| (hyperspace.input_size(stage, r), r)).collect();
        // Rounding up makes 6 of 176 / 32 as of 192 / 32: where two resolutions give one size, the one that divides is meant.
        sizes.sort_by_key(|&(size, r)| r.checked_rem(size) != Some(0));
        Place {
            stage: shape,
            block: &shape.blocks[block],
            widths: shape.window(window),
            channels: hyperspace.input_widths(stage),
            sizes,
        }
    }

    pub(super) fn resolution_of(&self, size: u32) -> Option<u32> {
        self.sizes.iter().find(|(s, _)| *s == size).map(|&(_, r)| r)
    }
}

/// Reads a table.
///
/// Errors: `table-row` at file, line and column, for the first few lines that are wrong.
pub(super) fn read(name: &str, bytes: std::sync::Arc<[u8]>, place: &Place<'_>) -> Result<Table, Vec<Diagnostic>> {
    let mut rows = Vec::with_capacity(bytes.len() / 60);
    let mut errors = Vec::new();
    let (mut at, mut line) = (0, 0);
    while at < bytes.len() {
        line += 1;
        let end = bytes[at..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |n| at + n);
        let text = bytes[at..end].strip_suffix(b"\r").unwrap_or(&bytes[at..end]);
        if !text.is_empty() {
            let mut scanner = Scanner { text, at: 0 };
            match scanner.row(place, at as u32) {
                Ok(row) => rows.push(row),
                Err(what) => {
                    let loc = Loc::Text { file: name.into(), line, column: scanner.at as u32 + 1 };
                    errors.push(Diagnostic::error("table-row", loc, what));
                    if errors.len() == MOST_ERRORS {
                        break;
                    }
                }
            }
        }
        at = end + 1;
    }
    if errors.is_empty() && rows.is_empty() {
        errors.push(Diagnostic::error(
            "table-row",
            Loc::Text { file: name.into(), line: 1, column: 1 },
            "the table has no row",
        ));
    }
    if errors.is_empty() { Ok(Table { name: name.to_owned(), bytes, rows }) } else { Err(errors) }
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn row(&mut self, place: &Place<'_>, start: u32) -> Result<Row, String> {
        let (depth, width) = self.blocks(place)?;
        let text = start..start + self.at as u32;
        let (least, most) = place.stage.depths;
        if !(least..=most).contains(&depth) {
            self.at = 0;
            return Err(format!("{} has {least} to {most} blocks, not {depth}", place.stage.name));
        }
        self.expect(b',')?;
        self.expect(b'1')?;
        self.expect(b'x')?;
        let from = self.at;
        let channels = self.number()?;
        if !place.channels.is_empty() && !place.channels.contains(&channels) {
            self.at = from;
            return Err(format!(
                "{} cannot have {channels} input channels, only one of {:?}",
                place.stage.name, place.channels
            ));
        }
        self.expect(b'x')?;
        let from = self.at;
        let height = self.number()?;
        self.expect(b'x')?;
        let resolution = if self.number()? == height { place.resolution_of(height) } else { None };
        let Some(resolution) = resolution else {
            self.at = from;
            return Err(format!("no resolution gives {} an input of this size", place.stage.name));
        };
        self.expect(b',')?;
        let loss = self.millionths(u64::from(u32::MAX))? as u32;
        self.expect(b',')?;
        let macs = self.millionths(u64::MAX)?;
        self.expect(b',')?;
        let params = self.millionths(u64::MAX)?;
        self.expect(b',')?;
        let latency = self.millionths(u64::from(u32::MAX))? as u32;
        if self.at != self.text.len() {
            return Err("there is more than six fields".into());
        }
        Ok(Row { text, channels, width, resolution, loss, latency, macs, params })
    }

    /// `3#48#4_5#32#6`: the number of blocks, and the width of the last.
    fn blocks(&mut self, place: &Place<'_>) -> Result<(u32, u32), String> {
        let mut depth = 0;
        loop {
            let from = self.at;
            let kernel = self.number()?;
            if !place.block.kernels.contains(&kernel) {
                self.at = from;
                return Err(format!("kernel {kernel} is none of {:?}", place.block.kernels));
            }
            self.expect(b'#')?;
            let from = self.at;
            let width = self.number()?;
            if !place.widths.contains(&width) {
                self.at = from;
                return Err(format!("width {width} is none of the window {:?}", place.widths));
            }
            self.expect(b'#')?;
            let from = self.at;
            while self.text.get(self.at).is_some_and(|b| !matches!(b, b'_' | b',')) {
                self.at += 1;
            }
            let expand = &self.text[from..self.at];
            let fits = match place.block.expands.as_slice() {
                [] => expand == b"None",
                list => std::str::from_utf8(expand).ok().and_then(Expand::parse).is_some_and(|e| list.contains(&e)),
            };
            if !fits {
                self.at = from;
                return Err(format!("'{}' is no expansion of {}", String::from_utf8_lossy(expand), place.block.name));
            }
            depth += 1;
            if self.text.get(self.at) != Some(&b'_') {
                return Ok((depth, width));
            }
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.text.get(self.at) != Some(&byte) {
            return Err(format!("'{}' was expected here", char::from(byte)));
        }
        self.at += 1;
        Ok(())
    }

    fn number(&mut self) -> Result<u32, String> {
        let from = self.at;
        let mut value = 0_u32;
        while let Some(digit @ b'0'..=b'9') = self.text.get(self.at) {
            value =
                value.checked_mul(10).and_then(|v| v.checked_add(u32::from(digit - b'0'))).ok_or("a number is too large")?;
            self.at += 1;
        }
        // One spelling for each number: rows are written again as they were read.
        if self.at == from || (self.text[from] == b'0' && self.at > from + 1) {
            self.at = from;
            return Err("a number was expected here".into());
        }
        Ok(value)
    }

    /// A decimal number in millionths; more than six decimals are rounded.
    fn millionths(&mut self, most: u64) -> Result<u64, String> {
        let from = self.at;
        let mut value = 0_u64;
        let mut decimals = None;
        let mut round = false;
        while let Some(&byte) = self.text.get(self.at) {
            match (byte, decimals) {
                (b'.', None) if self.at > from => decimals = Some(0),
                (b'0'..=b'9', Some(6..)) => {
                    round |= decimals == Some(6) && byte >= b'5';
                    decimals = Some(7);
                }
                (b'0'..=b'9', _) => {
                    value = value
                        .checked_mul(10)
                        .and_then(|v| v.checked_add(u64::from(byte - b'0')))
                        .ok_or("a number is too large")?;
                    decimals = decimals.map(|d| d + 1);
                }
                _ => break,
            }
            self.at += 1;
        }
        if self.at == from || decimals == Some(0) {
            self.at = from;
            return Err("a decimal number of at least 0 was expected here".into());
        }
        let scale = 10_u64.pow(6 - decimals.unwrap_or(0).min(6));
        let scaled = value.checked_mul(scale).and_then(|v| v.checked_add(u64::from(round)));
        scaled.filter(|&v| v <= most).ok_or_else(|| "a number is too large".to_owned())
    }
}
