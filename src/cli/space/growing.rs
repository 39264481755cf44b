//! Logs that grow by whole lines. They are the one kind of file that is written in place: what they hold is of use at any time.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use spaceevo::file::refuse_existing;
use spaceevo::ir::{Diagnostic, Loc};

use super::super::say;

/// A log that is open for more lines.
pub(super) struct Growing {
    file: File,
    path: PathBuf,
}

impl Growing {
    /// A new log.
    pub(super) fn create(path: &Path, force: bool) -> Result<Growing, Diagnostic> {
        refuse_existing(path, force)?;
        let file = File::create(path).map_err(|e| unwritable(path, &e))?;
        Ok(Growing { file, path: path.to_path_buf() })
    }

    /// A log that goes on behind its first `whole` bytes, of `length`: what follows them was cut off.
    pub(super) fn resume(path: &Path, whole: usize, length: usize) -> Result<Growing, Diagnostic> {
        if whole < length {
            say("the last line of the log was cut off and is made again");
        }
        let file = OpenOptions::new().append(true).open(path).map_err(|e| unwritable(path, &e))?;
        file.set_len(whole as u64).map_err(|e| unwritable(path, &e))?;
        Ok(Growing { file, path: path.to_path_buf() })
    }

    /// Adds lines.
    pub(super) fn add(&mut self, lines: &str) -> Result<(), Diagnostic> {
        self.file.write_all(lines.as_bytes()).map_err(|e| unwritable(&self.path, &e))
    }
}

/// The text of a log.
pub(super) fn read(path: &Path) -> Result<String, Diagnostic> {
    std::fs::read_to_string(path)
        .map_err(|e| Diagnostic::error("file-io", Loc::Unknown, format!("{} cannot be read: {e}", path.display())))
}

/// Refuses to go on with a log of other settings.
pub(super) fn same_settings(code: &'static str, path: &Path, log: &str, asked: &str) -> Result<(), Diagnostic> {
    if log == asked {
        return Ok(());
    }
    let what = format!("{} is a log of other settings than these", path.display());
    let error = Diagnostic::error(code, Loc::Unknown, what).note(format!("the log has: {log}"));
    Err(error.note(format!("asked for: {asked}")).note("ask for the same again, or begin another log"))
}

fn unwritable(path: &Path, e: &std::io::Error) -> Diagnostic {
    Diagnostic::error("file-io", Loc::Unknown, format!("{} cannot be written: {e}", path.display()))
}
