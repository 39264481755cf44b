//! Everything that can execute a model, behind one small trait: tract (embedded), ONNX Runtime (a library found at run
//! time) and the reference interpreter, which judges the other two.
//!
//! A [`Runtime`] loads a model into a [`Session`]; a session takes one tensor per input and hands out its outputs. Outputs
//! can be looked at where the runtime left them ([`Session::run_with`]): calibration streams hundreds of megabytes of
//! activations that nobody wants to copy.

use std::borrow::Cow;
use std::path::Path;

use spaceevo_ir::graph::Loc;
use spaceevo_ir::tensor::{Number, count};
use spaceevo_ir::{Diagnostic, Elem, Graph, Tensor, TensorType, Type};

pub mod find;
pub mod interp;
pub mod library;
pub mod ort;
mod ort_trace;
mod source;
pub mod tract;
mod tract_quantize;
mod tract_tables;
mod tract_weights;

pub use find::{Found, Purpose, available, best};

/// Loads models.
pub trait Runtime: Send + Sync {
    /// One word: `tract`, `onnxruntime`, `interpreter`.
    fn name(&self) -> &str;

    /// Version of the engine, as its makers write it; `unknown` where it does not say.
    fn version(&self) -> String;

    /// Makes a model ready to run. Errors have the code `runtime-load`.
    fn load(&self, model: ModelSource<'_>, options: &LoadOptions) -> Result<Box<dyn Session>, Diagnostic>;

    /// Loads a model, runs it `runs` times on one sample, and notes every kernel that ran. `between` is called before each run and
    /// behind the last. Errors: `profile-unsupported` from runtimes that cannot tell, `file-io` for its temporary files, and those of
    /// loading, running and `between`.
    fn trace(
        &self,
        _model: ModelSource<'_>,
        _options: &LoadOptions,
        _inputs: &[Tensor],
        _runs: usize,
        _between: Between<'_>,
    ) -> Result<Trace, Diagnostic> {
        let what = "does not say what its kernels take; profiles need ONNX Runtime";
        Err(failed("profile-unsupported", self.name(), Loc::Unknown, what))
    }
}

/// What is done between the runs of a trace.
pub type Between<'a> = &'a mut dyn FnMut() -> Result<(), Diagnostic>;

/// What a runtime noted while it ran: read by [`crate::measure::trace`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    /// Events in the trace format of Chrome: JSON, times in microseconds.
    pub events: Vec<u8>,
    /// The bytes of the model as the runtime rewrote it, whose nodes the events name.
    pub model: Vec<u8>,
}

/// A model that is ready to run.
pub trait Session: Send {
    /// Inputs to give, in order. Inputs that have a default are not among them.
    fn inputs(&self) -> &[Port];

    /// Outputs, in the order of the model.
    fn outputs(&self) -> &[Port];

    /// Runs once and shows every output, in order, where it lies. Errors: `runtime-input` for tensors that do not fit the
    /// inputs, `runtime-run` for what goes wrong inside.
    fn run_with(&mut self, inputs: &[Tensor], each: &mut dyn FnMut(usize, TensorView<'_>)) -> Result<(), Diagnostic>;

    /// Another session on the same loaded model, for another thread; `None` for runtimes that have threads of their own.
    fn fork(&self) -> Option<Box<dyn Session>> {
        None
    }

    /// Runs once and copies the outputs. Errors as [`Session::run_with`].
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Diagnostic> {
        let mut outputs = Vec::with_capacity(self.outputs().len());
        self.run_with(inputs, &mut |_, view| outputs.push(view.to_tensor()))?;
        Ok(outputs)
    }
}

/// Where a model comes from.
#[derive(Clone, Copy, Debug)]
pub enum ModelSource<'a> {
    /// The bytes of an ONNX file without external data.
    Bytes(&'a [u8]),
    /// An ONNX file; external data lies beside it.
    File(&'a Path),
    /// A graph without search parameters.
    Graph(&'a Graph),
}

impl ModelSource<'_> {
    /// Where diagnostics about the model point.
    fn loc(&self) -> Loc {
        match self {
            ModelSource::File(path) => Loc::Onnx { file: path.display().to_string().into(), node: "".into() },
            ModelSource::Bytes(_) | ModelSource::Graph(_) => Loc::Unknown,
        }
    }
}

/// How to load a model.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadOptions {
    /// Threads within one operator; 0 for one per processor. A runtime without threads ignores it.
    pub threads: usize,
    /// Let the runtime rewrite and fuse the model. Off, it computes op by op, which is slower and closer to the letter.
    pub optimize: bool,
    /// Give memory back after every run rather than keep it for the next: lower peak, a little slower.
    pub low_memory: bool,
    /// Use integer kernels that cannot overflow where the processor has no dot product of bytes
    /// ([`crate::machine::Machine::has_int8_dot`]): there the usual ones for unsigned activations and signed weights saturate
    /// sums at 16 bits, and the results are far from what the model says.
    pub exact_int8: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions { threads: 1, optimize: true, low_memory: false, exact_int8: false }
    }
}

/// An input or output of a session.
#[derive(Clone, PartialEq, Debug)]
pub struct Port {
    /// Name in the model.
    pub name: String,
    /// What the model declares about it: [`Type::Unknown`] where it says nothing.
    pub ty: Type,
}

impl Port {
    /// The tensor type, where it is declared to be one.
    pub fn tensor(&self) -> Option<&TensorType> {
        self.ty.tensor()
    }
}

/// A tensor where a runtime left it.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Element type.
    pub elem: Elem,
    /// Extents.
    pub dims: &'a [usize],
    /// Packed bytes, row major, little endian; empty for strings. Not necessarily aligned.
    pub bytes: &'a [u8],
    /// The elements of a tensor of strings, else empty.
    pub strings: &'a [bytes::Bytes],
}

impl<'a> TensorView<'a> {
    /// The numbers, if `T` is the element type; borrowed whenever the runtime aligned them.
    pub fn values<T: Number>(&self) -> Option<Cow<'a, [T]>> {
        if T::ELEM != self.elem {
            return None;
        }
        Some(match bytemuck::try_cast_slice(self.bytes) {
            Ok(slice) => Cow::Borrowed(slice),
            Err(_) => Cow::Owned(self.bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()),
        })
    }

    /// A copy that outlives the run.
    pub fn to_tensor(&self) -> Tensor {
        if self.elem == Elem::Str {
            return Tensor::strings(self.dims, self.strings.to_vec());
        }
        let bytes = bytes::Bytes::copy_from_slice(self.bytes);
        // A view whose bytes do not fit its extents is a mistake of the adapter that made it.
        Tensor::from_bytes(self.elem, self.dims, bytes).expect("view of a tensor")
    }
}

/// What is wrong with the tensors given to a session, as far as the declared types tell: their number, element types, ranks
/// and known extents.
fn check_inputs(ports: &[Port], inputs: &[Tensor]) -> Result<(), Diagnostic> {
    let error = |message: String| Err(Diagnostic::error("runtime-input", Loc::Unknown, message));
    if ports.len() != inputs.len() {
        let names: Vec<_> = ports.iter().map(|p| p.name.as_str()).collect();
        return error(format!(
            "the model has {} inputs ({}), {} tensors given",
            ports.len(),
            names.join(", "),
            inputs.len()
        ));
    }
    for (port, input) in ports.iter().zip(inputs) {
        if count(input.dims()).is_none() {
            return error(format!("input '{}': shape {:?} is too large", port.name, input.dims()));
        }
        let Some(ty) = port.tensor() else { continue };
        if ty.storage() != input.elem() {
            return error(format!("input '{}' is of {}, the tensor given of {}", port.name, ty.storage(), input.elem()));
        }
        let Some(shape) = &ty.shape else { continue };
        let fits = shape.len() == input.dims().len()
            && shape.iter().zip(input.dims()).all(|(dim, &n)| dim.known().is_none_or(|known| known == n as u64));
        if !fits {
            let expected = describe_shape(ty);
            return error(format!("input '{}' is of shape {expected}, the tensor given of {:?}", port.name, input.dims()));
        }
    }
    Ok(())
}

/// `[N, 3, 224, 224]`, unknown extents as `?`.
fn describe_shape(ty: &TensorType) -> String {
    use spaceevo_ir::Dim;
    let Some(shape) = &ty.shape else { return "of any rank".into() };
    let dims: Vec<String> = shape
        .iter()
        .map(|dim| match dim {
            Dim::Known(n) => n.to_string(),
            Dim::Named(name) => name.to_string(),
            Dim::Expr(_) | Dim::Unknown => "?".into(),
        })
        .collect();
    format!("[{}]", dims.join(", "))
}

/// An error that names the runtime.
fn failed(code: &'static str, runtime: &str, loc: Loc, what: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::error(code, loc, format!("{runtime}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use spaceevo_ir::Dim;

    fn image() -> Port {
        let shape = vec![Dim::Named("N".into()), Dim::Known(3), Dim::Unknown];
        Port { name: "x".into(), ty: TensorType::new(Elem::F32, shape).into() }
    }

    #[test]
    fn fitting_inputs_are_accepted_whatever_the_open_extents() {
        assert_eq!(check_inputs(&[image()], &[Tensor::new([5, 3, 7], vec![0f32; 105])]), Ok(()));
    }

    #[test]
    fn misfits_say_what_was_expected_and_what_was_found() {
        let message = |inputs: &[Tensor]| check_inputs(&[image()], inputs).unwrap_err().message;
        assert_eq!(message(&[]), "the model has 1 inputs (x), 0 tensors given");
        assert_eq!(message(&[Tensor::new([1, 3, 1], vec![0u8; 3])]), "input 'x' is of f32, the tensor given of u8");
        let wrong = Tensor::new([1, 4, 1], vec![0f32; 4]);
        assert_eq!(message(&[wrong]), "input 'x' is of shape [N, 3, ?], the tensor given of [1, 4, 1]");
        assert!(message(&[Tensor::scalar(1f32)]).ends_with("of []"));
    }

    #[test]
    fn views_read_unaligned_numbers() {
        let mut bytes = vec![0u8];
        bytes.extend_from_slice(&1.5f32.to_le_bytes());
        let view = TensorView { elem: Elem::F32, dims: &[1], bytes: &bytes[1..], strings: &[] };
        assert_eq!(view.values::<f32>().unwrap().as_ref(), [1.5]);
        assert!(view.values::<u8>().is_none());
        assert_eq!(view.to_tensor(), Tensor::new([1], vec![1.5f32]));
    }
}
