//! Tables in one compact file that is checked when it is read.
//!
//! ```text
//! magic "SEVTAB\r\n" | version u32 | checksum u64 (xxh3 of all that follows) | name | tables
//! name               length u16, bytes
//! table              stage u16, block u16, window u16, rows u32, then rows
//! row                length u16 and bytes of the sub-stage, channels u32, resolution u32, loss u32, latency u32, MACs u64, params u64
//! ```
//!
//! Numbers are little endian. Rows are held against the hyperspace like those of a text.

use spaceevo_ir::{Diagnostic, Loc};
use xxhash_rust::xxh3::xxh3_64;

use super::row::{self, Place};
use super::{Tables, decimal, file_name};
use crate::hyperspace::Hyperspace;

/// The first bytes; a transfer as text damages the line end in them.
pub(super) const MAGIC: &[u8; 8] = b"SEVTAB\r\n";
const VERSION: u32 = 1;

impl Tables {
    /// All tables as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.rows() * 64);
        body.extend((self.hyperspace.name.len() as u16).to_le_bytes());
        body.extend(self.hyperspace.name.as_bytes());
        for (stage, block, window, table) in self.iter() {
            for number in [stage, block, window] {
                body.extend((number as u16).to_le_bytes());
            }
            body.extend((table.rows.len() as u32).to_le_bytes());
            for row in &table.rows {
                let text = table.substage_text(row).as_bytes();
                body.extend((text.len() as u16).to_le_bytes());
                body.extend(text);
                for number in [row.channels, row.resolution, row.loss, row.latency] {
                    body.extend(number.to_le_bytes());
                }
                body.extend(row.macs.to_le_bytes());
                body.extend(row.params.to_le_bytes());
            }
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(xxh3_64(&body).to_le_bytes());
        bytes.extend(body);
        bytes
    }

    /// Reads what [`Tables::to_bytes`] wrote; `name` is for messages.
    ///
    /// Errors: `table-format` for another version, another hyperspace or damaged bytes; `table-row`.
    pub fn from_bytes(bytes: &[u8], name: &str, hyperspace: &Hyperspace) -> Result<Tables, Vec<Diagnostic>> {
        let wrong = |what: &str| vec![Diagnostic::error("table-format", Loc::Unknown, format!("{name}: {what}"))];
        let mut reader = Reader { bytes, at: 0 };
        let mut header = || {
            let magic = reader.take(MAGIC.len())? == MAGIC;
            Some((magic, reader.u32()?, reader.u64()?))
        };
        let Some((true, version, checksum)) = header() else { return Err(wrong("this is no file of tables")) };
        if version != VERSION {
            return Err(wrong(&format!("format version {version}, and this program reads {VERSION}")));
        }
        if xxh3_64(&bytes[reader.at..]) != checksum {
            return Err(wrong("the bytes are damaged: their checksum is another one"));
        }
        let own = (|| {
            let length = reader.u16()?;
            reader.take(usize::from(length))
        })();
        if own != Some(hyperspace.name.as_bytes()) {
            return Err(wrong(&format!("these are not the tables of {}", hyperspace.name)));
        }
        let mut tables: Vec<Vec<_>> = hyperspace.stages.iter().map(|s| vec![None; s.blocks.len() * s.windows()]).collect();
        while reader.at < bytes.len() {
            let Some([stage, block, window]) = (|| Some([reader.u16()?, reader.u16()?, reader.u16()?].map(usize::from)))()
            else {
                return Err(wrong("the file ends in the middle of a table"));
            };
            let shape = hyperspace.stages.get(stage).filter(|s| block < s.blocks.len() && window < s.windows());
            let Some(shape) = shape else { return Err(wrong("a table is of a stage, block or window that is not there")) };
            // Through the text, so that one reader decides what a row may be.
            let Some(text) = reader.table(hyperspace, stage) else {
                return Err(wrong("the file ends in the middle of a row"));
            };
            let place = Place::new(hyperspace, stage, block, window);
            let table = row::read(&file_name(&shape.name, block, window), text.into(), &place)?;
            tables[stage][block * shape.windows() + window] = Some(table);
        }
        Ok(Tables::new(hyperspace, tables))
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    /// The rows of one table as text.
    fn table(&mut self, hyperspace: &Hyperspace, stage: usize) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        for _ in 0..self.u32()? {
            let length = self.u16()?;
            text.extend(self.take(usize::from(length))?);
            let [channels, resolution, loss, latency] = [self.u32()?, self.u32()?, self.u32()?, self.u32()?];
            let (macs, params) = (self.u64()?, self.u64()?);
            let size = hyperspace.input_size(stage, resolution);
            let numbers = [u64::from(loss), macs, params, u64::from(latency)].map(decimal);
            text.extend(format!(",1x{channels}x{size}x{size},{}\n", numbers.join(",")).as_bytes());
        }
        Some(text)
    }
}
