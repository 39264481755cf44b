//! Files in the making: written and checked under their own names in a folder beside their place, then moved there together.
//!
//! A model with external data is two files, and the model names the other one: so both are written under the names that they
//! will have. Nothing is seen at the place itself before everything is there.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use spaceevo_ir::{Diagnostic, Loc};

use crate::file::refuse_existing;

/// Folders in the making: what an interrupted program removes.
static OPEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Removes everything that is in the making; for a program that is about to be ended by a signal.
pub fn remove_all() {
    for folder in &*OPEN.lock().unwrap_or_else(PoisonError::into_inner) {
        // The program ends: there is nobody left to tell.
        let _ = fs::remove_dir_all(folder);
    }
}

/// A file in the making, and what belongs to it; vanishes unless it is published.
#[derive(Debug)]
pub struct Staged {
    folder: PathBuf,
    output: PathBuf,
    /// The output is a device or a pipe: it is written to, not replaced.
    device: bool,
}

impl Staged {
    /// Opens a folder beside `output`, a link followed; in the system's folder for temporary files when `output` is a device.
    ///
    /// Errors: `file-io` when it cannot be made.
    pub fn beside(output: &Path) -> Result<Staged, Diagnostic> {
        let shown = output;
        let failed =
            |e: io::Error| Diagnostic::error("file-io", Loc::Unknown, format!("{} cannot be written: {e}", shown.display()));
        let output = fs::canonicalize(output).unwrap_or_else(|_| output.to_path_buf());
        let name = output.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
        let info = fs::metadata(&output);
        if info.as_ref().is_ok_and(fs::Metadata::is_dir) {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let device = info.is_ok_and(|info| !info.is_file());
        let parent = if device { std::env::temp_dir() } else { output.with_file_name("") };
        let mut number = u64::from(std::process::id());
        loop {
            let mut folder = OsString::from(".");
            folder.push(name);
            folder.push(format!(".{number}.tmp"));
            let folder = parent.join(folder);
            // Noted before it is there: a signal may come in between.
            OPEN.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.clone());
            match fs::create_dir(&folder) {
                Ok(()) => return Ok(Staged { folder, output, device }),
                Err(e) => {
                    OPEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&folder);
                    if e.kind() != io::ErrorKind::AlreadyExists {
                        return Err(failed(e));
                    }
                    number += 1;
                }
            }
        }
    }

    /// Where to write the file; other files beside it belong to it.
    pub fn path(&self) -> PathBuf {
        self.folder.join(self.output.file_name().unwrap_or_default())
    }

    /// Moves everything into place; returns the bytes of all files. An interruption at any point leaves the old file, or
    /// none, but never a file beside the data of another.
    ///
    /// Errors: `output-exists` for a file that is in the way and may not be overwritten, `file-io`.
    pub fn publish(self, force: bool) -> Result<u64, Diagnostic> {
        let failed = |e: io::Error| {
            Diagnostic::error("file-io", Loc::Unknown, format!("{} cannot be written: {e}", self.output.display()))
        };
        let main = self.path();
        let mut bytes = fs::metadata(&main).map_err(failed)?.len();
        let mut companions = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.path() != main {
                bytes += entry.metadata().map_err(failed)?.len();
                companions.push((entry.path(), self.output.with_file_name(entry.file_name())));
            }
        }
        if self.device {
            if !companions.is_empty() {
                let message = format!("{} takes one file, and the data of the model is in another", self.output.display());
                return Err(Diagnostic::error("file-io", Loc::Unknown, message).note("write to a file"));
            }
            let copied = File::open(&main)
                .and_then(|mut from| io::copy(&mut from, &mut OpenOptions::new().write(true).open(&self.output)?));
            return copied.map_err(failed);
        }
        for target in companions.iter().map(|(_, target)| target).chain([&self.output]) {
            refuse_existing(target, force)?;
        }
        if !companions.is_empty() && self.output.exists() {
            // Between the moves it would stand beside data that is not its own.
            fs::remove_file(&self.output).map_err(failed)?;
        }
        let moves = companions.iter().chain([&(main, self.output.clone())]).try_for_each(|(from, to)| fs::rename(from, to));
        if moves.is_err() {
            for (from, to) in companions.iter().filter(|(from, _)| !from.exists()) {
                // Back to where the end removes it; the first error is the one to report.
                let _ = fs::rename(to, from);
            }
        }
        moves.map_err(failed).map(|()| bytes)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What was published has left; the rest is garbage. A failure changes nothing.
        let _ = fs::remove_dir_all(&self.folder);
        OPEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spaceevo_ir::{Graph, Tensor};
    use spaceevo_onnx::{External, WriteOptions};

    /// A model whose numbers go into a file of their own.
    fn large(first: f32) -> Graph {
        let mut graph = Graph::new("g");
        graph.meta.opsets.insert("onnx".into(), 17);
        let body = graph.body();
        let mut numbers = vec![0.5; 4096];
        numbers[0] = first;
        let constant = graph.add_const(body, "w", Tensor::new(vec![4096], numbers));
        graph.set_results(body, vec![constant]);
        graph
    }

    fn stage(graph: &Graph, output: &Path) -> Staged {
        let staged = Staged::beside(output).expect("a folder");
        spaceevo_onnx::write(graph, &staged.path(), &WriteOptions { external: External::Always }).expect("written");
        staged
    }

    fn first(path: &Path) -> f32 {
        let graph = spaceevo_onnx::read(path, &Default::default()).expect("model and data fit").graph;
        let constant = graph.region(graph.body()).results()[0];
        graph.const_of(constant).and_then(Tensor::to_f32).expect("numbers")[0]
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> = entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_model_and_its_data_arrive_together() {
        let folder = tempfile::tempdir().expect("a folder");
        let output = folder.path().join("m.onnx");
        for number in [1.0, 2.0] {
            let staged = stage(&large(number), &output);
            assert!(staged.publish(true).expect("published") > 4 * 4096);
            assert_eq!(names(folder.path()), ["m.onnx", "m.onnx.data"]);
            assert_eq!(first(&output), number);
        }
    }

    #[test]
    fn what_is_not_published_vanishes() {
        let folder = tempfile::tempdir().expect("a folder");
        let output = folder.path().join("m.onnx");
        drop(stage(&large(1.0), &output));
        assert!(names(folder.path()).is_empty());
        stage(&large(1.0), &output).publish(false).expect("nothing is in the way");
        for gone in ["m.onnx", "m.onnx.data"] {
            let refused = stage(&large(2.0), &output).publish(false).expect_err("it is in the way");
            assert_eq!((refused.code, first(&output)), ("output-exists", 1.0), "{gone}");
        }
        // A file that happens to be called like the data is not overwritten either.
        fs::remove_file(&output).expect("removed");
        let refused = stage(&large(2.0), &output).publish(false).expect_err("the data is in the way");
        assert_eq!(refused.code, "output-exists");
        assert_eq!(names(folder.path()), ["m.onnx.data"]);
    }

    #[test]
    fn a_failed_move_leaves_no_pair() {
        let folder = tempfile::tempdir().expect("a folder");
        let output = folder.path().join("m.onnx");
        let staged = stage(&large(1.0), &output);
        // What came in the meantime and cannot be replaced by a file.
        fs::create_dir(&output).expect("a folder in the way");
        assert_eq!(staged.publish(true).expect_err("a folder is in the way").code, "file-io");
        assert_eq!(names(folder.path()), ["m.onnx"]);
    }
}
