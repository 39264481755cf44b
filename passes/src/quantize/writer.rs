//! What both writers of quantized graphs share: conversions, and constants for scales and zero points.

use std::collections::HashMap;

use spaceevo_ir::{
    Attr, Def, Diagnostic, Elem, Graph, Loc, MICROSOFT, NewOp, ONNX, OpId, OpName, Place, Quant, Tensor, TensorType, Type,
    ValueId, schema,
};

/// Writes scales, zero points and conversions into the body of a graph; equal constants are written once.
pub(crate) struct Writer {
    pass: &'static str,
    constants: HashMap<(Elem, Vec<usize>, Vec<u8>), ValueId>,
}

/// Oldest operator set whose conversions know an axis.
const OPSET: u64 = 13;

impl Writer {
    /// For a graph whose operator set is new enough for its stored types.
    pub(crate) fn new(graph: &mut Graph, pass: &'static str) -> Result<Writer, Diagnostic> {
        if let Some(refused) = unconvertible(graph) {
            return Err(refused);
        }
        match graph.meta.opset(ONNX) {
            Some(have) if have < OPSET => Err(Diagnostic::error(
                "opset-too-old",
                Loc::Unknown,
                format!("quantized graphs need operator set {OPSET}, this one has {have}"),
            )
            .note(format!("run 'upgrade-opset{{to={OPSET}}}' first"))),
            _ => {
                graph.meta.opsets.insert(MICROSOFT.into(), 1);
                graph.touch();
                Ok(Writer { pass, constants: HashMap::new() })
            }
        }
    }

    fn constant(&mut self, graph: &mut Graph, name: String, tensor: Tensor) -> ValueId {
        let key = (tensor.elem(), tensor.dims().to_vec(), tensor.bytes().to_vec());
        // What was only made for an op that is gone is gone, too.
        match self.constants.get(&key) {
            Some(&known) if graph.value(known).def() != Def::Erased => known,
            _ => {
                let fresh = graph.add_const(graph.body(), name, tensor);
                self.constants.insert(key, fresh);
                fresh
            }
        }
    }

    /// The scale as a scalar or vector.
    pub(crate) fn scale(&mut self, graph: &mut Graph, quant: &Quant, name: &str) -> ValueId {
        let dims = if quant.axis.is_some() { vec![quant.scale.len()] } else { vec![] };
        self.constant(graph, format!("{name}_scale"), Tensor::new(dims, quant.scale.clone()))
    }

    /// The zero point, in the type and shape that ONNX wants: stored type, as many as scales.
    pub(crate) fn zero(&mut self, graph: &mut Graph, quant: &Quant, name: &str) -> ValueId {
        let dims = if quant.axis.is_some() { vec![quant.scale.len()] } else { vec![] };
        let zeros: Vec<f64> = (0..quant.scale.len()).map(|c| f64::from(quant.at(c).1)).collect();
        // Integer element types always pack.
        let tensor = Tensor::from_f64(quant.store, dims, &zeros).unwrap_or_else(|| Tensor::scalar(0u8));
        let name = format!("{name}_zero_point");
        if quant.store == Elem::I8 {
            // Weights do not share theirs: ONNX Runtime rewrites signed weights and their zero points together when it is
            // asked for exact sums without VNNI, and cannot do it twice with one constant.
            return graph.add_const(graph.body(), name, tensor);
        }
        self.constant(graph, name, tensor)
    }

    /// `value, scale, zero`: the three operands that stand for a stored tensor in integer operators.
    pub(crate) fn triple(&mut self, graph: &mut Graph, value: ValueId, quant: &Quant, name: &str) -> [Option<ValueId>; 3] {
        [Some(value), Some(self.scale(graph, quant, name)), Some(self.zero(graph, quant, name))]
    }

    /// Inserts `QuantizeLinear` (float to stored) and returns the stored value.
    pub(crate) fn quantize(
        &mut self,
        graph: &mut Graph,
        place: Place,
        value: ValueId,
        quant: &Quant,
        name: &str,
    ) -> ValueId {
        self.convert(graph, place, "QuantizeLinear", value, quant, (name, format!("{name}_quantized")), quant.store)
    }

    /// Inserts `DequantizeLinear` (stored to float) and returns the float value, called `result`.
    pub(crate) fn dequantize(
        &mut self,
        graph: &mut Graph,
        place: Place,
        value: ValueId,
        quant: &Quant,
        names: (&str, String),
    ) -> ValueId {
        self.convert(graph, place, "DequantizeLinear", value, quant, names, Elem::F32)
    }

    #[allow(clippy::too_many_arguments, reason = "one place that knows how a conversion is written")]
    fn convert(
        &mut self,
        graph: &mut Graph,
        place: Place,
        op: &str,
        value: ValueId,
        quant: &Quant,
        (stem, result): (&str, String),
        elem: Elem,
    ) -> ValueId {
        let operands = self.triple(graph, value, quant, stem);
        let ty = Type::Tensor(TensorType {
            elem,
            quant: None,
            shape: graph.value(value).ty().tensor().and_then(|t| t.shape.clone()),
        });
        let loc = graph.def_op(value).map(|op| graph.op(op).loc().clone()).unwrap_or_default();
        let mut new = NewOp::new(OpName::new(converter(graph, quant.store), op))
            .operands(operands)
            .result(result, ty)
            .made(self.pass, &[&loc]);
        if let Some(axis) = quant.axis {
            new = new.attr("axis", Attr::Int(axis as i64));
        }
        let id = graph.insert(place, new);
        graph.op(id).result()
    }
}

/// The domain whose operators convert a stored type: before operator set 21, ONNX itself does not convert 16 bits.
fn converter(graph: &Graph, store: Elem) -> &'static str {
    let old = graph.meta.opset(ONNX).is_some_and(|have| have < 21);
    if old && store.bits() == 16 { MICROSOFT } else { ONNX }
}

/// What is wrong with the first value of the body that is stored in a type which the conversions of the model's operator set
/// do not make (`QuantizeLinear`) or read (`DequantizeLinear`, for constants).
fn unconvertible(graph: &Graph) -> Option<Diagnostic> {
    let opset = graph.meta.opset(ONNX).unwrap_or_else(|| schema::latest_opset(ONNX));
    let region = graph.region(graph.body());
    let results = graph.ops_in(graph.body()).flat_map(|op| graph.op(op).results());
    let made = region.inputs().iter().chain(results).map(|&value| (value, "QuantizeLinear", 2));
    let read = region.consts().iter().map(|&value| (value, "DequantizeLinear", 0));
    made.chain(read).find_map(|(value, conversion, port)| {
        let store = Some(graph.value(value).ty().quant()?.store).filter(|&store| converter(graph, store) == ONNX)?;
        let schema = schema::lookup(ONNX, conversion, opset)?;
        if schema.allowed(schema.input(port)?)?.allows(store.short()) {
            return None;
        }
        let loc = graph.def_op(value).map(|op| graph.op(op).loc().clone()).unwrap_or_default();
        let message =
            format!("{} is stored as {store}, which {conversion} of operator set {opset} does not know", graph.label(value));
        Some(Diagnostic::error("opset-too-old", loc, message).note("run 'upgrade-opset' first, or store it in 8 bits"))
    })
}

/// Stem for the names of what is made for a value.
pub(crate) fn stem(graph: &Graph, value: ValueId) -> String {
    let name = graph.value(value).name();
    if name.is_empty() { format!("value{}", value.index()) } else { name.to_string() }
}

/// The quantization of an activation or constant, if it has one.
pub(crate) fn quant(graph: &Graph, value: ValueId) -> Option<Quant> {
    graph.value(value).ty().quant().map(|q| Quant::clone(q))
}

/// Gives a value the plain type of what is in memory.
pub(crate) fn set_plain(graph: &mut Graph, value: ValueId, elem: Elem) {
    let shape = graph.value(value).ty().tensor().and_then(|t| t.shape.clone());
    graph.set_type(value, TensorType { elem, shape, quant: None });
}

/// The place for what comes before everything that is in the body now. What is put there one by one stays in that order.
pub(crate) fn front(graph: &Graph) -> Place {
    let first: Option<OpId> = graph.ops_in(graph.body()).next();
    first.map_or(Place::End(graph.body()), Place::Before)
}
