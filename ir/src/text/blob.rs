//! Large constants stand in the text as content hashes; a store beside it holds their bytes.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

/// 128-bit content hash (XXH3) of a constant's bytes: equal bytes, equal name, on every machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlobHash(pub u128);

impl BlobHash {
    /// The hash of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        BlobHash(xxhash_rust::xxh3::xxh3_128(bytes))
    }

    /// Inverse of `Display`.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then(|| u128::from_str_radix(text, 16).ok())?.map(BlobHash)
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Where the parser finds what a text refers to.
pub trait BlobSource {
    /// The bytes of that hash.
    fn blob(&self, hash: BlobHash) -> Option<Bytes>;

    /// The text of `import "name"`; only search spaces import.
    fn import(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }
}

/// Where the printer leaves the bytes of `blob(hash)`.
pub trait BlobSink {
    /// Keeps bytes; the same hash may come more than once.
    fn keep(&mut self, hash: BlobHash, bytes: &Bytes);
}

/// No store: as a source it knows nothing, as a sink it forgets.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoBlobs;

impl BlobSource for NoBlobs {
    fn blob(&self, _: BlobHash) -> Option<Bytes> {
        None
    }
}

impl BlobSink for NoBlobs {
    fn keep(&mut self, _: BlobHash, _: &Bytes) {}
}

impl BlobSource for BTreeMap<BlobHash, Bytes> {
    fn blob(&self, hash: BlobHash) -> Option<Bytes> {
        self.get(&hash).cloned()
    }
}

impl BlobSink for BTreeMap<BlobHash, Bytes> {
    fn keep(&mut self, hash: BlobHash, bytes: &Bytes) {
        self.entry(hash).or_insert_with(|| bytes.clone());
    }
}
