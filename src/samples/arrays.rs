//! Samples out of NumPy files: one array per input, whose first axis counts samples.

use std::fs::File;
use std::path::{Path, PathBuf};

use spaceevo_cost::Port;
use spaceevo_ir::{Diagnostic, Elem, Tensor, TensorType};

use super::array::{Array, Stream};
use super::{SampleSource, batch_of_one, by, convert, error, expected, fits, unreadable, zip};

/// An `.npy` or `.npz` file.
pub(super) struct Arrays {
    path: PathBuf,
    len: usize,
    /// One per model input, in their order.
    columns: Vec<Column>,
}

struct Column {
    /// The input's name, for messages; empty for an `.npy`.
    name: String,
    array: Array,
    elem: Elem,
}

impl Arrays {
    /// One array for a model with one input.
    pub(super) fn open_npy(path: &Path, inputs: &[Port]) -> Result<Arrays, Diagnostic> {
        let [input] = inputs else {
            let names: Vec<_> = inputs.iter().map(|p| p.name.as_str()).collect();
            let what = format!("an .npy holds one input; the model has {}: {}", inputs.len(), names.join(", "));
            return Err(error("samples-missing-input", path, what).note("pass an .npz with one array per input name"));
        };
        let file = File::open(path).map_err(|e| unreadable(path, e))?;
        let size = file.metadata().map_err(|e| unreadable(path, e))?.len();
        let array = Array::open(Stream { file, start: 0, stored: size, size, deflated: false });
        let array = array.map_err(|what| error("samples-unsupported", path, what))?;
        let column = column(path, String::new(), array, batch_of_one(input, path)?)?;
        Arrays::new(path, vec![column])
    }

    /// One array per input, by name.
    pub(super) fn open_npz(path: &Path, inputs: &[Port]) -> Result<Arrays, Diagnostic> {
        let mut file = File::open(path).map_err(|e| unreadable(path, e))?;
        let unsupported = |what: String| error("samples-unsupported", path, what);
        let entries = zip::entries(&mut file).map_err(unsupported)?;
        let name_of = |entry: &zip::Entry| entry.name.strip_suffix(".npy").unwrap_or(&entry.name).to_string();
        let mut columns = Vec::new();
        for input in inputs {
            let Some(entry) = entries.iter().find(|e| name_of(e) == input.name) else {
                let present: Vec<_> = entries.iter().map(name_of).collect();
                let what = format!("has no array '{}'; it has: {}", input.name, present.join(", "));
                let wanted: Vec<_> = inputs.iter().map(|p| format!("'{}'", p.name)).collect();
                let note = format!("the model's inputs are {}", wanted.join(", "));
                return Err(error("samples-missing-input", path, what).note(note));
            };
            if !matches!(entry.method, 0 | 8) {
                let what = format!("array '{}' is compressed by method {}; NumPy uses 0 and 8", input.name, entry.method);
                return Err(unsupported(what));
            }
            let start = entry.start(&mut file).map_err(unsupported)?;
            // Each array has a position of its own in the file.
            let file = File::open(path).map_err(|e| unreadable(path, e))?;
            let stream = Stream { file, start, stored: entry.stored, size: entry.size, deflated: entry.method == 8 };
            let array = Array::open(stream).map_err(|what| unsupported(format!("array '{}' {what}", input.name)))?;
            columns.push(column(path, input.name.clone(), array, batch_of_one(input, path)?)?);
        }
        Arrays::new(path, columns)
    }

    fn new(path: &Path, columns: Vec<Column>) -> Result<Arrays, Diagnostic> {
        let len = columns.first().map_or(0, |c| c.array.len());
        if let Some(other) = columns.iter().find(|c| c.array.len() != len) {
            let first = &columns[0].name;
            let what = format!("array '{first}' has {len} samples, array '{}' has {}", other.name, other.array.len());
            return Err(error("samples-shape", path, what));
        }
        if len == 0 {
            return Err(error("samples-empty", path, "holds no samples"));
        }
        Ok(Arrays { path: path.to_path_buf(), len, columns })
    }
}

fn column(path: &Path, name: String, array: Array, ty: &TensorType) -> Result<Column, Diagnostic> {
    if !fits(ty, array.dims()) {
        let which = if name.is_empty() { String::new() } else { format!("array '{name}': ") };
        let found = by(std::iter::once(array.len()).chain(array.dims().iter().copied()));
        let what = format!("{which}expected the shape Nx{}, found {found}", expected(ty));
        return Err(error("samples-shape", path, what).note("the first axis counts samples; the rest is the input's shape"));
    }
    if array.elem() == Elem::Bool && ty.elem != Elem::Bool {
        return Err(error("samples-shape", path, format!("holds booleans, the model's input is of {}", ty.elem)));
    }
    Ok(Column { name, array, elem: ty.storage() })
}

impl SampleSource for Arrays {
    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize) -> Result<Vec<Tensor>, Diagnostic> {
        let read = |column: &Column| {
            let which = if column.name.is_empty() { String::new() } else { format!("array '{}' ", column.name) };
            let row = column.array.row(index).map_err(|what| error("samples-unreadable", &self.path, which.clone() + &what));
            convert(row?, column.elem)
                .map_err(|what| error("samples-not-finite", &self.path, format!("{which}sample {index}: {what}")))
        };
        self.columns.iter().map(read).collect()
    }

    fn name(&self, index: usize) -> String {
        format!("{}[{index}]", self.path.file_name().unwrap_or_default().to_string_lossy())
    }
}
