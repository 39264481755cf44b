//! Inputs for calibration and evaluation: pictures with a preprocessing spec, NumPy arrays, ONNX test data.
//!
//! A [`SampleSource`] knows how many samples there are and gives any of them on request: one tensor per model input, batch 1.
//! Nothing is held between requests, so memory does not grow with the number of samples. The order is that of the names or
//! the array, the same on every machine.

mod array;
mod arrays;
mod drawn;
mod picture;
mod pictures;
mod preprocess;
mod resize;
mod test_data;
mod zip;

use std::path::Path;

use spaceevo_cost::Port;
use spaceevo_ir::graph::Loc;
use spaceevo_ir::{Diagnostic, Dim, Elem, Tensor, TensorType};

pub use drawn::Drawn;
pub use preprocess::{Colour, Layout, Preprocess, Resize};

/// Samples by index. Requests may come from several threads.
pub trait SampleSource: Send + Sync {
    /// How many there are; at least one.
    fn len(&self) -> usize;

    /// Never true: a source without samples is a diagnostic when it is opened.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sample `index`: one tensor per model input, in their order, of extent 1 along the first axis. Errors name the sample:
    /// `samples-unreadable`, `samples-shape`, `samples-not-finite`.
    ///
    /// An `index` of [`SampleSource::len`] or more is `samples-unreadable`.
    fn get(&self, index: usize) -> Result<Vec<Tensor>, Diagnostic>;

    /// What to call sample `index` in messages: `0001.jpg`, `samples.npy[3]`.
    fn name(&self, index: usize) -> String;

    /// The class of sample `index`, where the source knows it.
    fn label(&self, _index: usize) -> Option<usize> {
        None
    }
}

/// Opens samples for a model with the given inputs.
///
/// `path` is a folder of pictures (needs `preprocess`), an `.npy` file for a model with one input, an `.npz` file with one
/// array per input name, or a folder of ONNX test data (`test_data_set_*/input_*.pb`).
/// Errors: `samples-unreadable`, `samples-empty`, `samples-unsupported`, `samples-shape`, `samples-missing-input`,
/// `samples-no-preprocess`.
pub fn open(path: &Path, inputs: &[Port], preprocess: Option<&Preprocess>) -> Result<Box<dyn SampleSource>, Diagnostic> {
    let data = std::fs::metadata(path).map_err(|e| unreadable(path, e))?;
    if data.is_dir() {
        return if test_data::is_test_data(path) {
            Ok(Box::new(test_data::TestData::open(path, inputs)?))
        } else {
            Ok(Box::new(pictures::Pictures::open(path, inputs, preprocess)?))
        };
    }
    match extension(path).as_str() {
        "npy" => Ok(Box::new(arrays::Arrays::open_npy(path, inputs)?)),
        "npz" => Ok(Box::new(arrays::Arrays::open_npz(path, inputs)?)),
        "onnx" => Err(unsupported(path, "is a model, not samples")),
        _ => Err(unsupported(path, "is no folder, .npy or .npz file")),
    }
}

/// Extension in lower case.
fn extension(path: &Path) -> String {
    path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase()
}

/// A file as the place of a diagnostic.
fn place(path: &Path) -> Loc {
    Loc::Onnx { file: path.display().to_string().into(), node: "".into() }
}

fn error(code: &'static str, path: &Path, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(code, place(path), message)
}

fn unreadable(path: &Path, why: impl std::fmt::Display) -> Diagnostic {
    error("samples-unreadable", path, format!("cannot be read: {why}"))
}

fn unsupported(path: &Path, what: &str) -> Diagnostic {
    let note = "samples are a folder of pictures, an .npy of shape N x (input shape without batch), an .npz with one such \
                array per input, or a folder of ONNX test data";
    error("samples-unsupported", path, what).note(note)
}

/// The tensor type of an input and that it can be fed one sample at a time.
fn batch_of_one<'a>(port: &'a Port, path: &Path) -> Result<&'a TensorType, Diagnostic> {
    let Some(ty) = port.tensor() else {
        return Err(error("samples-shape", path, format!("the model's input '{}' is no tensor", port.name)));
    };
    match ty.shape.as_deref() {
        Some([]) => {
            let what = format!("the model's input '{}' is a scalar and has no batch axis", port.name);
            Err(error("samples-shape", path, what))
        }
        Some([Dim::Known(n), ..]) if *n != 1 => {
            let what = format!("the model's input '{}' has a fixed batch of {n}; samples are fed one by one", port.name);
            Err(error("samples-shape", path, what).note("export the model with a symbolic batch dimension or with batch 1"))
        }
        _ => Ok(ty),
    }
}

/// True when a sample of these extents (without batch) fits the input.
fn fits(ty: &TensorType, dims: &[usize]) -> bool {
    let Some(shape) = &ty.shape else { return true };
    let rest = shape.get(1..).unwrap_or_default();
    rest.len() == dims.len() && rest.iter().zip(dims).all(|(dim, &n)| dim.known().is_none_or(|known| known == n as u64))
}

/// The input's shape without batch, for messages: `3x224x224`.
fn expected(ty: &TensorType) -> String {
    let Some(shape) = &ty.shape else { return "anything".into() };
    let dim = |dim: &Dim| dim.known().map_or("?".to_string(), |n| n.to_string());
    by(shape.iter().skip(1).map(dim))
}

/// Extents joined by `x`.
fn by(dims: impl IntoIterator<Item = impl ToString>) -> String {
    dims.into_iter().map(|d| d.to_string()).collect::<Vec<_>>().join("x")
}

/// The same numbers as another element type. Errors when a number is not finite or does not exist in that type.
fn convert(tensor: Tensor, elem: Elem) -> Result<Tensor, String> {
    if tensor.elem().is_float()
        && let Some(at) = first_not_finite(&tensor)
    {
        return Err(format!("element {at} is NaN or infinite"));
    }
    if tensor.elem() == elem {
        return Ok(tensor);
    }
    let dims = tensor.dims().to_vec();
    let converted = match tensor.values::<u8>() {
        // The one conversion that is common and large.
        Some(bytes) if elem == Elem::F32 => Some(Tensor::new(dims, bytes.iter().map(|&b| f32::from(b)).collect())),
        _ => tensor.to_f64().and_then(|values| Tensor::from_f64(elem, dims, &values)),
    };
    converted.ok_or_else(|| format!("{} cannot be converted to {elem}", tensor.elem()))
}

fn first_not_finite(tensor: &Tensor) -> Option<usize> {
    match tensor.values::<f32>() {
        Some(values) => {
            // Blocks without an early exit are looked through as vectors.
            const BLOCK: usize = 256;
            let broken = |block: &[f32]| block.iter().fold(false, |any, v| any | !v.is_finite());
            let block = values.chunks(BLOCK).position(broken)?;
            let from = block * BLOCK;
            values[from..].iter().position(|v| !v.is_finite()).map(|at| from + at)
        }
        None => tensor.to_f64()?.iter().position(|v| !v.is_finite()),
    }
}

#[cfg(test)]
mod tests;
