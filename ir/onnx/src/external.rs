//! Tensor data in other files (`external_data`): only from the model's own folder, mapped, each file once.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use spaceevo_ir::{Diagnostic, Loc};

use crate::map::map;
use crate::proto::StringStringEntryProto;

/// The files that a model's tensors may lie in.
pub(crate) struct Store {
    /// `None`: the model is not a file, so it has no folder.
    folder: Option<PathBuf>,
    files: HashMap<String, Bytes>,
}

impl Store {
    /// Files of one folder.
    pub(crate) fn new(folder: Option<&Path>) -> Self {
        Store { folder: folder.map(Path::to_path_buf), files: HashMap::new() }
    }

    /// The `size` bytes that a tensor's `location`, `offset` and `length` point at.
    ///
    /// Errors: a location outside of the folder (absolute, with `..`, or through a link), a missing file, a length that is
    /// not `size`, an offset or end beyond the file.
    pub(crate) fn slice(
        &mut self,
        entries: &[StringStringEntryProto],
        size: usize,
        tensor: &str,
        loc: &Loc,
    ) -> Result<Bytes, Diagnostic> {
        let bad =
            |why: String| Diagnostic::error("onnx-external-data", loc.clone(), format!("data of tensor '{tensor}' {why}"));
        let find = |key: &str| entries.iter().find(|e| e.key() == key).map(|e| e.value());
        let number = |key: &str| match find(key).map(str::trim) {
            None | Some("") => Ok(None),
            Some(text) => text.parse::<usize>().map(Some).map_err(|_| bad(format!("has the impossible {key} '{text}'"))),
        };
        let location = find("location").ok_or_else(|| bad("lies in another file that is not named".to_string()))?;
        let offset = number("offset")?.unwrap_or(0);
        if let Some(length) = number("length")?
            && length != size
        {
            return Err(bad(format!("has the length {length}, its shape needs {size}")));
        }
        if !self.files.contains_key(location) {
            let path = self.resolve(location).map_err(bad)?;
            self.files.insert(location.to_string(), map(&path, loc)?);
        }
        let file = &self.files[location];
        let end = offset.checked_add(size).filter(|&end| end <= file.len());
        let end = end.ok_or_else(|| {
            bad(format!("are {size} bytes at offset {offset} of '{location}', which has only {}", file.len()))
        })?;
        Ok(file.slice(offset..end))
    }

    /// Where a location is, if it may be read.
    fn resolve(&self, location: &str) -> Result<PathBuf, String> {
        let folder = self.folder.as_deref().ok_or("lies in another file, but the model was not read from a folder")?;
        let relative = Path::new(location);
        let inside = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !inside || location.is_empty() || location.contains('\\') || location.contains('\0') {
            return Err(format!("lies in '{location}', which is not a path inside the model's folder"));
        }
        let path = folder.join(relative);
        let real = path.canonicalize().map_err(|e| format!("lies in '{location}', which cannot be read: {e}"))?;
        let home = folder.canonicalize().map_err(|e| format!("lies in a folder that cannot be read: {e}"))?;
        if !real.starts_with(&home) {
            return Err(format!("lies in '{location}', a link that leaves the model's folder"));
        }
        Ok(real)
    }
}
