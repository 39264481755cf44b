//! The table of contents of a ZIP archive (PKWARE APPNOTE 6.3, with ZIP64), as `numpy.savez` writes it. Only what is needed
//! to find an entry; reading one is the reader's affair.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// One file in the archive.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Compression: 0 stored, 8 deflated.
    pub(super) method: u16,
    /// Bytes in the archive.
    pub(super) stored: u64,
    /// Bytes when inflated.
    pub(super) size: u64,
    /// Position of its local header.
    header: u64,
}

/// Largest table of contents that is read: far above any archive of arrays.
const MAX_DIRECTORY: u64 = 16 << 20;

/// Lists the entries. Errors are sentences.
pub(super) fn entries(file: &mut File) -> Result<Vec<Entry>, String> {
    let size = file.seek(SeekFrom::End(0)).map_err(|e| e.to_string())?;
    // The end record is 22 bytes and a comment of up to 65535.
    let tail_start = size.saturating_sub(22 + 65_535);
    let tail = read_at(file, tail_start, (size - tail_start) as usize)?;
    let end = (0..tail.len().saturating_sub(21)).rev().find(|&at| tail[at..].starts_with(b"PK\x05\x06"));
    let end = end.ok_or("is no ZIP archive: its end record is missing")?;
    let (mut length, mut start) = (u64::from(u32_at(&tail, end + 12)?), u64::from(u32_at(&tail, end + 16)?));
    // The locator of the 64-bit end record stands right before the end record.
    if let Some(locator) = end.checked_sub(20).filter(|&at| tail[at..].starts_with(b"PK\x06\x07")) {
        let record = read_at(file, u64_at(&tail, locator + 8)?, 56)?;
        (length, start) = (u64_at(&record, 40)?, u64_at(&record, 48)?);
    }
    if length > MAX_DIRECTORY || start.checked_add(length).is_none_or(|end| end > size) {
        return Err("is a broken ZIP archive: its table of contents lies outside of it".into());
    }
    let table = read_at(file, start, length as usize)?;
    let (mut found, mut at) = (Vec::new(), 0);
    while table.get(at..).is_some_and(|rest| rest.starts_with(b"PK\x01\x02")) {
        let part = |from: usize, len: usize| table.get(from..from.saturating_add(len)).ok_or_else(broken);
        let [name_len, extra_len, comment_len] = [28, 30, 32].map(|offset| u16_at(&table, at + offset));
        let (name_len, extra_len, comment_len) = (name_len? as usize, extra_len? as usize, comment_len? as usize);
        let mut entry = Entry {
            name: String::from_utf8_lossy(part(at + 46, name_len)?).into_owned(),
            method: u16_at(&table, at + 10)?,
            stored: u64::from(u32_at(&table, at + 20)?),
            size: u64::from(u32_at(&table, at + 24)?),
            header: u64::from(u32_at(&table, at + 42)?),
        };
        widen(&mut entry, part(at + 46 + name_len, extra_len)?)?;
        if u16_at(&table, at + 8)? & 1 != 0 {
            return Err(format!("is encrypted ('{}')", entry.name));
        }
        found.push(entry);
        at += 46 + name_len + extra_len + comment_len;
    }
    Ok(found)
}

impl Entry {
    /// Where its bytes begin: after the local header, whose name and extra field may differ from the table's.
    pub(super) fn start(&self, file: &mut File) -> Result<u64, String> {
        let header = read_at(file, self.header, 30)?;
        if !header.starts_with(b"PK\x03\x04") {
            return Err(broken());
        }
        let skip = 30 + u64::from(u16_at(&header, 26)?) + u64::from(u16_at(&header, 28)?);
        self.header.checked_add(skip).ok_or_else(broken)
    }
}

/// Puts the 64-bit numbers of extra field 1 in place of those that are all ones.
fn widen(entry: &mut Entry, mut extra: &[u8]) -> Result<(), String> {
    while extra.len() >= 4 {
        let (id, len) = (u16_at(extra, 0)?, u16_at(extra, 2)? as usize);
        let field = extra.get(4..4 + len).ok_or_else(broken)?;
        if id == 1 {
            let mut at = 0;
            for number in [&mut entry.size, &mut entry.stored, &mut entry.header] {
                if *number == u64::from(u32::MAX) {
                    *number = u64_at(field, at)?;
                    at += 8;
                }
            }
        }
        extra = &extra[4 + len..];
    }
    Ok(())
}

fn broken() -> String {
    "is a broken ZIP archive".into()
}

fn read_at(file: &mut File, at: u64, len: usize) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; len];
    file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut bytes)).map_err(|_| broken())?;
    Ok(bytes)
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], String> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or_else(broken)
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, String> {
    number(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, String> {
    number(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, String> {
    number(bytes, at).map(u64::from_le_bytes)
}
