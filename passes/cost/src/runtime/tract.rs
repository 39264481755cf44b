//! tract, embedded: nothing to install. Runs float and QDQ models on one thread; [`Session::fork`] lets several threads share
//! one loaded model. It computes quantized convolutions in float, so its INT8 times say nothing about INT8.

use std::collections::HashMap;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use spaceevo_ir::graph::Loc;
use spaceevo_ir::{Diagnostic, Dim, Elem, Tensor, TensorType, Type};
use tract_onnx::pb;
use tract_onnx::prelude::{
    Arc, DatumType, Framework, InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable, TValue, TVec,
    Tensor as TractTensor, TractResult, TypedRunnableModel,
};

use super::{LoadOptions, ModelSource, Port, Runtime, Session, TensorView, check_inputs, failed};

const NAME: &str = "tract";

/// The version this program is built with.
pub const VERSION: &str = "0.23.9";

/// The embedded engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tract;

impl Runtime for Tract {
    fn name(&self) -> &str {
        NAME
    }

    fn version(&self) -> String {
        VERSION.into()
    }

    fn load(&self, model: ModelSource<'_>, options: &LoadOptions) -> Result<Box<dyn Session>, Diagnostic> {
        let error = |what: String| failed("runtime-load", NAME, model.loc(), what);
        let parsed = match model {
            ModelSource::Graph(graph) => super::source::written(graph, parse)?,
            other => parse(other),
        };
        let (model, inputs, outputs) = parsed.map_err(error)?;
        let mut session =
            TractSession { model: Arc::new(model), optimize: options.optimize, inputs, outputs, plans: HashMap::new() };
        // Where the model leaves no extent open, what tract cannot do shows now and not in the middle of a run.
        let dims: Option<Vec<_>> = session.inputs.iter().map(|p| p.tensor().and_then(TensorType::dims)).collect();
        if let Some(dims) = dims {
            session.plan(&dims).map_err(error)?;
        }
        Ok(Box::new(session))
    }
}

/// A parsed model with its ports.
type Parsed = (InferenceModel, Vec<Port>, Vec<Port>);

/// Reads a model without choosing extents for open dimensions.
fn parse(model: ModelSource<'_>) -> Result<Parsed, String> {
    guarded(|| {
        // Declared shapes of inner values and outputs may be wrong or bound to names; tract finds them itself.
        let onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
        let (mut proto, folder) = match model {
            ModelSource::File(path) => (onnx.proto_model_for_path(path)?, path.parent().and_then(Path::to_str)),
            ModelSource::Bytes(mut bytes) => (onnx.proto_model_for_read(&mut bytes)?, None),
            ModelSource::Graph(_) => (pb::ModelProto::default(), None),
        };
        if let Some(graph) = &mut proto.graph {
            // An operand that is left out at the end may be written as an empty name, which tract looks up.
            for node in &mut graph.node {
                let given = node.input.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
                node.input.truncate(given);
            }
            super::tract_weights::fold(graph);
        }
        let parsed = onnx.parse(&proto, folder)?;
        if let Some(name) = parsed.unresolved_inputs.first() {
            return Err(failure(format!("nothing makes the value '{name}'")));
        }
        let graph = proto.graph.as_ref();
        let ports = |infos: &[pb::ValueInfoProto]| infos.iter().map(port).collect::<Vec<_>>();
        let constant: Vec<&str> = graph.map_or(Vec::new(), |g| g.initializer.iter().map(|t| t.name.as_str()).collect());
        let mut inputs = graph.map_or(Vec::new(), |g| ports(&g.input));
        inputs.retain(|port| !constant.contains(&port.name.as_str()));
        Ok((parsed.model, inputs, graph.map_or(Vec::new(), |g| ports(&g.output))))
    })
}

fn failure(message: String) -> tract_onnx::prelude::TractError {
    tract_onnx::prelude::TractError::msg(message)
}

/// Runs tract code: it reports most of what it cannot do, but panics on some of it.
fn guarded<T>(work: impl FnOnce() -> TractResult<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|e| format!("{e:#}")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(format!("gave up: {}", text.unwrap_or("no reason given")))
        }
    }
}

/// A plan for each set of input extents that was asked for; models with open extents are planned when these are known.
struct TractSession {
    model: Arc<InferenceModel>,
    optimize: bool,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    plans: HashMap<Vec<Vec<usize>>, Arc<TypedRunnableModel>>,
}

/// Plans kept at a time: each holds its own packed weights.
const MAX_PLANS: usize = 4;

impl TractSession {
    fn plan(&mut self, dims: &[Vec<usize>]) -> Result<Arc<TypedRunnableModel>, String> {
        if let Some(plan) = self.plans.get(dims) {
            return Ok(plan.clone());
        }
        let built = match guarded(|| self.build(dims, self.optimize)) {
            // Some of tract's rewrites fail on models that it runs well as they stand.
            Err(why) if self.optimize => guarded(|| self.build(dims, false)).map_err(|_| why),
            built => built,
        };
        let plan = built?;
        if self.plans.len() >= MAX_PLANS {
            self.plans.clear();
        }
        self.plans.insert(dims.to_vec(), plan.clone());
        Ok(plan)
    }

    fn build(&self, dims: &[Vec<usize>], optimize: bool) -> TractResult<Arc<TypedRunnableModel>> {
        let mut model = (*self.model).clone();
        for (index, (dims, port)) in dims.iter().zip(&self.inputs).enumerate() {
            let fact = match port.tensor().and_then(|t| datum_of(t.elem)) {
                Some(ty) => InferenceFact::dt_shape(ty, dims),
                None => InferenceFact::shape(dims),
            };
            model.set_input_fact(index, fact)?;
        }
        let mut typed = model.into_typed()?;
        if optimize {
            super::tract_tables::prevent(&mut typed)?;
            typed = typed.into_optimized()?;
            super::tract_quantize::exchange(&mut typed)?;
        }
        typed.into_runnable()
    }
}

impl Session for TractSession {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn fork(&self) -> Option<Box<dyn Session>> {
        Some(Box::new(TractSession {
            model: self.model.clone(),
            optimize: self.optimize,
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            plans: self.plans.clone(),
        }))
    }

    fn run_with(&mut self, inputs: &[Tensor], each: &mut dyn FnMut(usize, TensorView<'_>)) -> Result<(), Diagnostic> {
        check_inputs(&self.inputs, inputs)?;
        let error = |what: &dyn Display| failed("runtime-run", NAME, Loc::Unknown, what);
        let dims: Vec<Vec<usize>> = inputs.iter().map(|t| t.dims().to_vec()).collect();
        let plan = self.plan(&dims).map_err(|e| error(&e))?;
        let given: TVec<TValue> =
            inputs.iter().map(|t| Ok(to_tract(t)?.into())).collect::<Result<_, String>>().map_err(|e| error(&e))?;
        let outputs = guarded(|| plan.run(given)).map_err(|e| error(&e))?;
        for (index, output) in outputs.iter().enumerate() {
            let name = || self.outputs.get(index).map_or("", |port| &port.name);
            show(output, &mut |view| each(index, view)).map_err(|e| error(&format!("output '{}': {e}", name())))?;
        }
        Ok(())
    }
}

/// For each element type that is the same in both: the variant of [`Elem`], of [`DatumType`], the type.
macro_rules! for_numbers {
    ($apply:ident) => {
        $apply! { F32 f32, F64 f64, F16 tract_onnx::prelude::f16, U8 u8, I8 i8, U16 u16, I16 i16, U32 u32, I32 i32, U64 u64, I64 i64 }
    };
}

fn to_tract(tensor: &Tensor) -> Result<TractTensor, String> {
    macro_rules! numbers {
        ($($elem:ident $t:ty),*) => {
            match tensor.elem() {
                $(Elem::$elem => TractTensor::from_shape(tensor.dims(), &tensor.values::<$t>().unwrap_or_default()),)*
                Elem::Bool => TractTensor::from_shape(tensor.dims(), &tensor.to_bools().unwrap_or_default()),
                other => return Err(format!("tensors of {other} cannot be passed in")),
            }
        };
    }
    for_numbers!(numbers).map_err(|e| e.to_string())
}

/// Shows one output where it lies. Results of shape arithmetic are symbolic numbers in tract and 64-bit integers in ONNX.
fn show(value: &TractTensor, see: &mut dyn FnMut(TensorView<'_>)) -> Result<(), String> {
    let cast;
    let value = if value.datum_type() == DatumType::TDim {
        cast = value.cast_to::<i64>().map_err(|e| e.to_string())?;
        &*cast
    } else {
        value
    };
    let elem = elem_of(value.datum_type()).ok_or_else(|| format!("outputs of {:?} cannot be read", value.datum_type()))?;
    if !value.is_plain_ram() {
        return Err("is not laid out plainly".into());
    }
    see(TensorView { elem, dims: value.shape(), bytes: value.as_bytes(), strings: &[] });
    Ok(())
}

fn elem_of(ty: DatumType) -> Option<Elem> {
    macro_rules! numbers {
        ($($elem:ident $t:ty),*) => {
            match ty.unquantized() {
                $(DatumType::$elem => Some(Elem::$elem),)*
                DatumType::Bool => Some(Elem::Bool),
                _ => None,
            }
        };
    }
    for_numbers!(numbers)
}

fn datum_of(elem: Elem) -> Option<DatumType> {
    macro_rules! numbers {
        ($($elem:ident $t:ty),*) => {
            match elem {
                $(Elem::$elem => Some(DatumType::$elem),)*
                Elem::Bool => Some(DatumType::Bool),
                _ => None,
            }
        };
    }
    for_numbers!(numbers)
}

/// The declared type of an input or output.
fn port(info: &pb::ValueInfoProto) -> Port {
    use pb::tensor_shape_proto::dimension::Value as Extent;
    let dim = |dim: &pb::tensor_shape_proto::Dimension| match &dim.value {
        Some(Extent::DimValue(n)) => u64::try_from(*n).map_or(Dim::Unknown, Dim::Known),
        Some(Extent::DimParam(name)) if !name.is_empty() => Dim::Named(name.as_str().into()),
        _ => Dim::Unknown,
    };
    let ty = match info.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(pb::type_proto::Value::TensorType(t)) => match Elem::from_onnx_code(t.elem_type) {
            Some(elem) => {
                let shape = t.shape.as_ref().map(|s| s.dim.iter().map(dim).collect());
                Type::Tensor(TensorType { elem, shape, quant: None })
            }
            None => Type::Unknown,
        },
        None => Type::Unknown,
    };
    Port { name: info.name.clone(), ty }
}
