//! `<file>.weights`: the large constants of a text, by content hash.
//!
//! ```text
//! magic    8 bytes  "SEIRWTS1"
//! count    u64
//! entries  count times: hash (16 bytes), offset (u64), length (u64); ascending by hash
//! data     at the offsets, each a multiple of 64
//! ```
//!
//! All numbers are little endian. Equal constants are stored once. The hash (XXH3, 128 bits) is checked on reading, so a
//! damaged file is found out before it spoils a model.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use spaceevo_ir::text::BlobHash;
use spaceevo_ir::{Diagnostic, Loc};

const MAGIC: &[u8; 8] = b"SEIRWTS1";
const HEAD: usize = 16;
const ENTRY: usize = 32;
const ALIGN: usize = 64;

/// Name of the weights file of a text.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".weights");
    name.into()
}

/// The bytes of a weights file.
pub fn pack(store: &BTreeMap<BlobHash, Bytes>) -> Vec<u8> {
    let mut at = (HEAD + ENTRY * store.len()).next_multiple_of(ALIGN);
    let mut out = Vec::from(*MAGIC);
    out.extend((store.len() as u64).to_le_bytes());
    for (hash, bytes) in store {
        out.extend(hash.0.to_le_bytes());
        out.extend((at as u64).to_le_bytes());
        out.extend((bytes.len() as u64).to_le_bytes());
        at = (at + bytes.len()).next_multiple_of(ALIGN);
    }
    for bytes in store.values() {
        out.resize(out.len().next_multiple_of(ALIGN), 0);
        out.extend_from_slice(bytes);
    }
    out
}

/// Inverse of [`pack`]; the constants share the given bytes. `file` is its name in messages.
///
/// Errors: `weights-file`.
pub fn unpack(bytes: &Bytes, file: &str) -> Result<BTreeMap<BlobHash, Bytes>, Diagnostic> {
    let broken = |what: &str| Diagnostic::error("weights-file", Loc::Unknown, format!("{file}: {what}"));
    let number =
        |at: usize| -> Option<u64> { Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?)) };
    if bytes.get(..8) != Some(MAGIC) {
        return Err(broken("this is no weights file"));
    }
    let count = number(8).filter(|&n| n <= (bytes.len() / ENTRY) as u64);
    let count = count.ok_or_else(|| broken("it is shorter than its table"))?;
    let mut store = BTreeMap::new();
    for index in 0..count as usize {
        let at = HEAD + index * ENTRY;
        let entry = || {
            let hash = u128::from_le_bytes(bytes.get(at..at + 16)?.try_into().ok()?);
            let start = usize::try_from(number(at + 16)?).ok()?;
            let end = start.checked_add(usize::try_from(number(at + 24)?).ok()?)?;
            (end <= bytes.len()).then(|| (BlobHash(hash), bytes.slice(start..end)))
        };
        let (hash, data) = entry().ok_or_else(|| broken("it is cut off"))?;
        if BlobHash::of(&data) != hash {
            return Err(broken(&format!("the bytes of constant {hash} are damaged")));
        }
        store.insert(hash, data);
    }
    Ok(store)
}

/// The constants beside a text; none when there is no weights file.
///
/// Errors: `weights-file`, `file-io`.
pub(crate) fn read_beside(path: &Path) -> Result<BTreeMap<BlobHash, Bytes>, Diagnostic> {
    let path = beside(path);
    match std::fs::read(&path) {
        Ok(bytes) => unpack(&bytes.into(), &path.display().to_string()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(e) => Err(Diagnostic::error("file-io", Loc::Unknown, format!("{} cannot be read: {e}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> BTreeMap<BlobHash, Bytes> {
        let blobs = [vec![1u8; 100], vec![2u8; 64], vec![3u8; 10]];
        blobs.into_iter().map(|b| (BlobHash::of(&b), Bytes::from(b))).collect()
    }

    #[test]
    fn packing_and_unpacking_are_inverse() {
        assert_eq!(unpack(&pack(&store()).into(), "w").unwrap(), store());
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_of_the_data_is_found_out() {
        let whole = pack(&store());
        for length in 0..whole.len() {
            assert!(unpack(&Bytes::copy_from_slice(&whole[..length]), "w").is_err(), "{length}");
        }
        let mut damaged = whole.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(unpack(&damaged.into(), "w").unwrap_err().message.contains("damaged"));
    }

    #[test]
    fn absurd_counts_allocate_nothing() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(u64::MAX.to_le_bytes());
        assert!(unpack(&bytes.into(), "w").is_err());
    }
}
