//! ONNX Runtime: the fast one, and the one whose INT8 kernels are deployed. Its shared library is loaded at run time, so
//! nothing has to be installed to build or to start.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::environment::Environment;
use ort::ep::CPU;
use ort::logging::LogLevel;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{SessionInputValue, SessionOutputs};
use ort::value::{DynValue, TensorElementType, TensorRef, ValueType};
use spaceevo_ir::graph::Loc;
use spaceevo_ir::{Diagnostic, Dim, Elem, Tensor, TensorType, Type};

use super::library::{Candidate, candidates};
use super::{Between, LoadOptions, ModelSource, Port, Runtime, Session, TensorView, Trace, check_inputs, failed};
use crate::memory::GiveBack;

pub(super) const NAME: &str = "onnxruntime";

/// What installs the library for whoever has a Python.
pub const INSTALL: &str = "pip install onnxruntime";

/// A loaded library. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OnnxRuntime {
    environment: Environment,
    path: PathBuf,
    version: String,
}

/// A process can hold one library: the first that was loaded.
static LOADED: Mutex<Option<OnnxRuntime>> = Mutex::new(None);

impl OnnxRuntime {
    /// Loads the library: `explicit` if given, else the first of [`candidates`] that can be used.
    ///
    /// Errors: `runtime-missing` when there is none, `runtime-library` when the one that was named (or every one found)
    /// cannot be used, or when another one is already loaded.
    pub fn open(explicit: Option<&Path>) -> Result<OnnxRuntime, Diagnostic> {
        let mut loaded = LOADED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(runtime) = &*loaded {
            return match explicit {
                Some(path) if !same_file(path, &runtime.path) => Err(library_error(format!(
                    "cannot load {}: this process already uses {}",
                    path.display(),
                    runtime.path.display()
                ))),
                _ => Ok(runtime.clone()),
            };
        }
        let mut problems = Vec::new();
        for candidate in candidates(explicit) {
            match open_one(&candidate) {
                Ok(runtime) => return Ok(loaded.insert(runtime).clone()),
                Err(problem) => {
                    problems.push(format!("{} (from {}): {problem}", candidate.path.display(), candidate.origin));
                    if candidate.named {
                        break;
                    }
                }
            }
        }
        if problems.is_empty() {
            let missing = Diagnostic::error("runtime-missing", Loc::Unknown, "ONNX Runtime was not found");
            return Err(missing.note(format!("install it with `{INSTALL}`, or name its library with ORT_DYLIB_PATH")));
        }
        let error = library_error("ONNX Runtime cannot be loaded".into());
        Err(problems.into_iter().fold(error, Diagnostic::note))
    }

    /// The library's file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn library_error(message: String) -> Diagnostic {
    Diagnostic::error("runtime-library", Loc::Unknown, message)
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

/// Opens one library and checks that it is new enough, which the binding does before it calls anything in it.
fn open_one(candidate: &Candidate) -> Result<OnnxRuntime, String> {
    // A relative path would be looked up beside our own executable.
    let path = std::path::absolute(&candidate.path).map_err(|e| e.to_string())?;
    if !path.is_file() {
        return Err("no such file".into());
    }
    let builder = ort::init_from(&path).map_err(|e| e.to_string())?;
    let environment = builder.with_telemetry(false).build().map_err(|e| e.to_string())?;
    environment.set_log_level(LogLevel::Error);
    Ok(OnnxRuntime { environment, path, version: candidate.version().unwrap_or_else(|| "unknown".into()) })
}

impl Runtime for OnnxRuntime {
    fn name(&self) -> &str {
        NAME
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn load(&self, model: ModelSource<'_>, options: &LoadOptions) -> Result<Box<dyn Session>, Diagnostic> {
        let builder = self.builder(options).map_err(|e| failed("runtime-load", NAME, model.loc(), e))?;
        Ok(Box::new(commit(builder, model)?))
    }

    fn trace(
        &self,
        model: ModelSource<'_>,
        options: &LoadOptions,
        inputs: &[Tensor],
        runs: usize,
        between: Between<'_>,
    ) -> Result<Trace, Diagnostic> {
        self.traced(model, options, inputs, runs, between)
    }
}

/// Makes a session of a model.
pub(super) fn commit(mut builder: SessionBuilder, model: ModelSource<'_>) -> Result<OrtSession, Diagnostic> {
    let error = |e: ort::Error| failed("runtime-load", NAME, model.loc(), e);
    let inner = match model {
        ModelSource::File(path) => builder.commit_from_file(path).map_err(error)?,
        ModelSource::Bytes(bytes) => builder.commit_from_memory(bytes).map_err(error)?,
        ModelSource::Graph(graph) => super::source::written(graph, |model| match model {
            ModelSource::File(path) => builder.commit_from_file(path),
            ModelSource::Bytes(bytes) => builder.commit_from_memory(bytes),
            ModelSource::Graph(_) => unreachable!("a graph is written out"),
        })?
        .map_err(error)?,
    };
    let ports = |outlets: &[ort::value::Outlet]| -> Vec<Port> {
        outlets.iter().map(|o| Port { name: o.name().to_string(), ty: ty_of(o.dtype()) }).collect()
    };
    let (inputs, outputs) = (ports(inner.inputs()), ports(inner.outputs()));
    Ok(OrtSession { inner, inputs, outputs, _free: GiveBack })
}

impl OnnxRuntime {
    pub(super) fn builder(&self, options: &LoadOptions) -> ort::Result<SessionBuilder> {
        let level = if options.optimize { GraphOptimizationLevel::All } else { GraphOptimizationLevel::Disable };
        let arena = !options.low_memory;
        let mut builder = ort::session::Session::builder(&self.environment)?;
        // Where it is not needed, it would more than double the time that INT8 convolutions take.
        if options.exact_int8 && !crate::machine::has_int8_dot() {
            builder = builder.with_precise_qmm()?;
        }
        Ok(builder
            .with_intra_threads(options.threads)?
            // Threads that wait by spinning burn the CPU time that other work of this process needs.
            .with_intra_op_spinning(false)?
            .with_optimization_level(level)?
            .with_memory_pattern(arena)?
            .with_execution_providers([CPU::default().with_arena_allocator(arena).build()])?
            .with_log_level(LogLevel::Error)?)
    }
}

pub(super) struct OrtSession {
    pub(super) inner: ort::session::Session,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    /// Dropped last.
    _free: GiveBack,
}

impl Session for OrtSession {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn run_with(&mut self, inputs: &[Tensor], each: &mut dyn FnMut(usize, TensorView<'_>)) -> Result<(), Diagnostic> {
        check_inputs(&self.inputs, inputs)?;
        let error = |what: &dyn std::fmt::Display| failed("runtime-run", NAME, Loc::Unknown, what);
        // The bytes that are lent to the runtime stay here until it has finished.
        let held: Vec<Held> = inputs.iter().map(|t| Held::new(t).map_err(|e| error(&e))).collect::<Result<_, _>>()?;
        let given: Vec<SessionInputValue<'_>> =
            held.iter().map(|h| h.lend().map_err(|e| error(&e))).collect::<Result<_, _>>()?;
        let outputs: SessionOutputs<'_> = self.inner.run(given.as_slice()).map_err(|e| error(&e))?;
        for (index, (port, (_, value))) in self.outputs.iter().zip(&outputs).enumerate() {
            show(&value, &mut |view| each(index, view)).map_err(|e| error(&format!("output '{}': {e}", port.name)))?;
        }
        Ok(())
    }
}

/// For each element type that the binding can read and lend: the variant of [`Elem`], of [`TensorElementType`], the type.
macro_rules! for_numbers {
    ($apply:ident) => {
        $apply! {
            F32 Float32 f32, F64 Float64 f64, F16 Float16 half::f16, Bf16 Bfloat16 half::bf16,
            U8 Uint8 u8, I8 Int8 i8, U16 Uint16 u16, I16 Int16 i16, U32 Uint32 u32, I32 Int32 i32, U64 Uint64 u64, I64 Int64 i64
        }
    };
}

/// An input tensor in the form in which it can be lent: aligned numbers with their extents.
struct Held {
    dims: Vec<usize>,
    data: HeldData,
}

macro_rules! held {
    ($($elem:ident $ort:ident $t:ty),*) => {
        /// Shared bytes that are aligned for their type, or a copy that is.
        enum HeldData { $($elem(Lent<$t>),)* Bool(Vec<bool>), Str(Vec<String>) }

        impl Held {
            fn new(tensor: &Tensor) -> Result<Held, String> {
                let data = match tensor.elem() {
                    $(Elem::$elem => HeldData::$elem(Lent::new(tensor)),)*
                    Elem::Bool => HeldData::Bool(tensor.to_bools().unwrap_or_default()),
                    Elem::Str => HeldData::Str(strings(tensor)?),
                    other => return Err(format!("tensors of {other} cannot be passed in")),
                };
                Ok(Held { dims: tensor.dims().to_vec(), data })
            }

            fn lend(&self) -> ort::Result<SessionInputValue<'_>> {
                let dims = || self.dims.clone();
                Ok(match &self.data {
                    $(HeldData::$elem(lent) => TensorRef::<$t>::from_array_view((dims(), lent.slice()))?.into(),)*
                    HeldData::Bool(values) => TensorRef::<bool>::from_array_view((dims(), values.as_slice()))?.into(),
                    HeldData::Str(values) => ort::value::Tensor::from_string_array((dims(), values.as_slice()))?.into(),
                })
            }
        }
    };
}
for_numbers!(held);

/// Numbers of a tensor: its own shared bytes where they are aligned, else a copy.
enum Lent<T> {
    Shared(bytes::Bytes),
    Copied(Vec<T>),
}

impl<T: spaceevo_ir::tensor::Number> Lent<T> {
    fn new(tensor: &Tensor) -> Self {
        let bytes = tensor.bytes();
        match bytemuck::try_cast_slice::<u8, T>(&bytes) {
            Ok(_) => Lent::Shared(bytes),
            Err(_) => Lent::Copied(tensor.values().map(|values| values.into_owned()).unwrap_or_default()),
        }
    }

    fn slice(&self) -> &[T] {
        match self {
            Lent::Shared(bytes) => bytemuck::try_cast_slice(bytes).unwrap_or_default(),
            Lent::Copied(values) => values,
        }
    }
}

fn strings(tensor: &Tensor) -> Result<Vec<String>, String> {
    let strings = tensor.as_strings().unwrap_or_default();
    let text = |s: &bytes::Bytes| String::from_utf8(s.to_vec()).map_err(|_| "a string is not UTF-8".to_string());
    strings.iter().map(text).collect()
}

/// Shows one output where it lies.
fn show(value: &DynValue, see: &mut dyn FnMut(TensorView<'_>)) -> Result<(), String> {
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
        return Err(format!("is no tensor but {}", value.dtype()));
    };
    let dims: Vec<usize> = shape.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
    let elem = elem_of(*ty).ok_or_else(|| format!("element type {ty} is unknown"))?;
    macro_rules! bytes {
        ($($elem:ident $ort:ident $t:ty),*) => {
            match elem {
                $(Elem::$elem => bytemuck::cast_slice(value.try_extract_tensor::<$t>().map_err(|e| e.to_string())?.1),)*
                Elem::Bool => bytemuck::cast_slice(value.try_extract_tensor::<bool>().map_err(|e| e.to_string())?.1),
                Elem::Str => {
                    let (_, strings) = value.try_extract_strings().map_err(|e| e.to_string())?;
                    let strings: Vec<bytes::Bytes> = strings.into_iter().map(bytes::Bytes::from).collect();
                    see(TensorView { elem, dims: &dims, bytes: &[], strings: &strings });
                    return Ok(());
                }
                other => return Err(format!("outputs of {other} cannot be read")),
            }
        };
    }
    let bytes = for_numbers!(bytes);
    see(TensorView { elem, dims: &dims, bytes, strings: &[] });
    Ok(())
}

fn elem_of(ty: TensorElementType) -> Option<Elem> {
    use TensorElementType as T;
    macro_rules! numbers {
        ($($elem:ident $ort:ident $t:ty),*) => {
            match ty {
                $(T::$ort => Elem::$elem,)*
                T::Bool => Elem::Bool,
                T::String => Elem::Str,
                T::Complex64 => Elem::C64,
                T::Complex128 => Elem::C128,
                T::Float8E4M3FN => Elem::F8E4M3FN,
                T::Float8E4M3FNUZ => Elem::F8E4M3FNUZ,
                T::Float8E5M2 => Elem::F8E5M2,
                T::Float8E5M2FNUZ => Elem::F8E5M2FNUZ,
                T::Float8E8M0 => Elem::F8E8M0,
                T::Float4E2M1 => Elem::F4E2M1,
                T::Uint4 => Elem::U4,
                T::Int4 => Elem::I4,
                T::Uint2 => Elem::U2,
                T::Int2 => Elem::I2,
                _ => return None,
            }
        };
    }
    Some(for_numbers!(numbers))
}

fn ty_of(ty: &ValueType) -> Type {
    match ty {
        ValueType::Tensor { ty, shape, dimension_symbols } => {
            let Some(elem) = elem_of(*ty) else { return Type::Unknown };
            let dim = |(index, &extent): (usize, &i64)| match (u64::try_from(extent), dimension_symbols.get(index)) {
                (Ok(extent), _) => Dim::Known(extent),
                (Err(_), Some(name)) if !name.is_empty() => Dim::Named(name.as_str().into()),
                _ => Dim::Unknown,
            };
            TensorType::new(elem, shape.iter().enumerate().map(dim).collect::<Vec<_>>()).into()
        }
        ValueType::Sequence(inner) => Type::Sequence(Box::new(ty_of(inner))),
        ValueType::Optional(inner) => Type::Optional(Box::new(ty_of(inner))),
        ValueType::Map { .. } => Type::Unknown,
    }
}
