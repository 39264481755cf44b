//! Files as shared bytes: mapped into memory, never copied.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use memmap2::Mmap;
use spaceevo_ir::{Diagnostic, Loc};

/// The bytes of a regular file. Pages are read when they are touched, and can be given back under memory pressure.
///
/// Errors: the file is missing, unreadable, or no regular file (a folder, a pipe).
pub(crate) fn map(path: &Path, loc: &Loc) -> Result<Bytes, Diagnostic> {
    let fail = |why: String| Diagnostic::error("file-io", loc.clone(), format!("cannot read {}: {why}", path.display()));
    let info = std::fs::metadata(path).map_err(|e| fail(e.to_string()))?;
    if !info.is_file() {
        return Err(fail("it is not a regular file".to_string()));
    }
    let file = File::open(path).map_err(|e| fail(e.to_string()))?;
    if info.len() == 0 {
        return Ok(Bytes::new());
    }
    Ok(Bytes::from_owner(map_file(&file).map_err(|e| fail(e.to_string()))?))
}

#[allow(unsafe_code)]
fn map_file(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is private and read-only. Another process that overwrites the file in place while we hold the map
    // can change the bytes under us, or by truncating it end the process with SIGBUS; no reader of mapped files can
    // rule that out. The bytes are only ever read as numbers and validated text copies, so a change cannot break a type's
    // invariants. Our own writer never writes in place: it renames a finished file over the old one.
    unsafe { Mmap::map(file) }
}
