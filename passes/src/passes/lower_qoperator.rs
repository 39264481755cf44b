//! Writes quantized types as integer operators: the form that is fast at every optimization level of ONNX Runtime.
//!
//! ```text
//! %y = onnx.Conv %x, %w, %b : qu8(0.02, 3)[..]   ──▶   %y = onnx.QLinearConv %x, %xs, %xz, %w, %ws, %wz, %ys, %yz, %b : u8[..]
//! %z = onnx.Tanh %y : f32[..]                          %y.f = onnx.DequantizeLinear %y, %ys, %yz
//!                                                      %z = onnx.Tanh %y.f : f32[..]
//! ```
//!
//! Ops that move bytes run on them as they are, so does a Concat whose result has the scale of each operand, a Conv whose result has
//! a scale for each channel has them in its weights, a Clip whose bounds are whole steps clips bytes, and a Mul or an Add that only
//! changes scale or zero point is written as nothing: its readers take the same bytes with another type; between integer and float
//! ops stand conversions, one per tensor and direction. Inputs and results of the model stay float.

use std::collections::{BTreeMap, HashMap};

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Attrs, Elem, Graph, MICROSOFT, NewOp, OpId, OpName, Place, Quant, Tensor, User, ValueId};

use crate::analysis::{constant_side, opset};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::quantize::join::joins_bytes;
use crate::quantize::one_scale::in_one_scale;
use crate::quantize::placement::{has_weights, unfit};
use crate::quantize::rescale::{number, rescaled, whole_steps};
use crate::quantize::writer::{Writer, front, quant, set_plain, stem};
use crate::rewrite::{self, erase_unread, exchange_operand};

/// See the module documentation.
pub(crate) struct LowerQoperator;

static INFO: PassInfo = PassInfo {
    name: "lower-qoperator",
    summary: "write quantized types as QLinear operators",
    doc: "Conv, Gemm, MatMul, Add, Mul, Concat, pools, Sigmoid, LeakyRelu and Softmax between stored tensors become the QLinear \
          operators of ONNX and of the com.microsoft domain; a Gemm with float result becomes a QGemm without output scale. Ops \
          that move or clip bytes stay, and products and sums that only change a scale or a zero point vanish. Everything else runs \
          in float between conversions. Needs operator set 13.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for LowerQoperator {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let body = graph.body();
        let ops: Vec<OpId> = graph.ops_in(body).collect();
        let stored = |graph: &Graph, v: ValueId| graph.value(v).ty().quant().is_some();
        let inputs: Vec<ValueId> = graph.region(body).inputs().iter().copied().filter(|&v| stored(graph, v)).collect();
        let touched = |&op: &OpId| {
            graph.op(op).results().iter().chain(graph.op(op).operands().iter().flatten()).any(|&v| stored(graph, v))
        };
        let Some(first) = ops.iter().copied().find(touched) else { return Ok(Outcome::Unchanged) };
        let writer = Writer::new(graph, INFO.name).map_err(|d| cx.error(d))?;
        // All or nothing: a graph in which only some readers of a tensor see bytes would not be valid.
        if !cx.rewrite(graph, first, "this op and all others with stored tensors are written as integer operators") {
            return Ok(Outcome::Unchanged);
        }
        let mut lowering = Lowering { writer, floats: HashMap::new(), types: BTreeMap::new(), rescales: Vec::new() };
        let place = front(graph);
        for input in inputs {
            lowering.store(graph, input, place);
        }
        for op in ops {
            lowering.op(graph, cx, op);
        }
        lowering.results(graph);
        lowering.drop_rescales(graph);
        for (value, quant) in lowering.types {
            set_plain(graph, value, quant.store);
        }
        Ok(Outcome::Changed)
    }
}

/// True for an op that only moves bytes of one type: it runs on them as they are.
fn moves_bytes(graph: &Graph, cx: &PassContext<'_>, op: OpId, first: &Quant) -> bool {
    let record = graph.op(op);
    cx.target.ops.is_movement(record.name())
        && first.store.bits() == 8
        && unfit(graph, op).is_none()
        && match first.axis {
            None => record.results().iter().all(|&v| quant(graph, v).as_ref() == Some(first)),
            Some(axis) => record.name().is_onnx("Split") && splits_types(graph, op, first, axis),
        }
}

/// The bounds, as they are stored, of a Clip that runs on bytes: they are whole steps of the one type of operand and result.
fn clip_of_bytes(graph: &Graph, cx: &PassContext<'_>, op: OpId, first: &Quant) -> Option<[Option<Tensor>; 2]> {
    let record = graph.op(op);
    let runs = cx.target.ops.clips_bytes && record.name().is_onnx("Clip") && first.axis.is_none() && first.store.bits() == 8;
    if !runs || quant(graph, record.result()).as_ref() != Some(first) || opset(graph, op) < 12 {
        return None;
    }
    let (scale, zero) = first.at(0);
    let (low, high) = first.store.int_range()?;
    let byte = |index: usize| match record.operand(index) {
        None => Some(None),
        Some(bound) => {
            let steps = whole_steps(number(graph, bound)?, scale)?;
            Some(Some(Tensor::from_f64(first.store, [0usize; 0], &[(steps + i64::from(zero)).clamp(low, high) as f64])?))
        }
    };
    Some([byte(1)?, byte(2)?])
}

/// True for a Split whose parts have the types of their channels.
fn splits_types(graph: &Graph, op: OpId, whole: &Quant, axis: usize) -> bool {
    let record = graph.op(op);
    let rank = record.operand(0).and_then(|v| graph.value(v).ty().rank()).unwrap_or(0) as i64;
    let along = record.int("axis", 0);
    let mut channel = 0;
    let mut same = |value: ValueId| {
        let count = graph.value(value).ty().tensor().and_then(|ty| ty.dim(axis))?;
        let part = quant(graph, value).filter(|q| q.store == whole.store && q.axis.is_none())?;
        let fits = (channel..channel + count).all(|c| c < whole.scale.len() && whole.at(c) == part.at(0));
        channel += count;
        Some(fits)
    };
    (if along < 0 { along + rank } else { along }) == axis as i64 && record.results().iter().all(|&v| same(v) == Some(true))
}

/// True for a Concat of bytes to a type with several scales.
fn joins(graph: &Graph, op: OpId, made: &Quant) -> bool {
    let types: Option<Vec<Quant>> = graph.op(op).operands().iter().flatten().map(|&v| quant(graph, v)).collect();
    unfit(graph, op).is_none() && types.is_some_and(|types| joins_bytes(graph, op, &types, made))
}

/// True for types that the integer operators take: activations of one 8-bit type, per tensor; weights of that type or
/// signed, with one scale or one for each output channel; a bias of 32 bits. Only a Gemm gives floats.
fn has_kernel(graph: &Graph, op: OpId, operands: &[Quant], result: Option<&Quant>) -> bool {
    let Some(store) = operands.first().map(|q| q.store).filter(|s| matches!(s, Elem::U8 | Elem::I8)) else { return false };
    let record = graph.op(op);
    let weighted = has_weights(graph, op);
    let fits = |(index, q): (usize, &Quant)| match index {
        1 if weighted => {
            let rank = record.operand(1).and_then(|w| graph.value(w).ty().rank());
            let channels = match record.name().onnx_op() {
                "Conv" => Some(0),
                "Gemm" => Some(usize::from(record.int("transB", 0) == 0)),
                _ => rank.and_then(|rank| rank.checked_sub(1)),
            };
            (q.store == store || q.store == Elem::I8) && (q.axis.is_none() || q.axis == channels)
        }
        2 if weighted => q.store == Elem::I32,
        _ => q.store == store && q.axis.is_none(),
    };
    let makes = result.map_or(record.name().is_onnx("Gemm"), |q| q.store == store && q.axis.is_none());
    operands.iter().enumerate().all(fits) && makes
}

struct Lowering {
    writer: Writer,
    /// Float twin of a stored value.
    floats: HashMap<ValueId, ValueId>,
    /// Every value that is now bytes.
    types: BTreeMap<ValueId, Quant>,
    /// Products that give the bytes of an operand another scale. They stay until their readers are written, who take the scale
    /// from the type of the result.
    rescales: Vec<OpId>,
}

impl Lowering {
    /// Lets a float value be converted right behind `place`; its readers read the bytes.
    fn store(&mut self, graph: &mut Graph, value: ValueId, place: Place) {
        let Some(q) = quant(graph, value) else { return };
        let users: Vec<User> = graph.value(value).users().to_vec();
        let name = stem(graph, value);
        set_plain(graph, value, Elem::F32);
        let low = self.writer.quantize(graph, place, value, &q, &name);
        users.into_iter().for_each(|user| graph.replace_use(user, low));
        let ty = graph.value(low).ty().tensor().cloned();
        if let Some(ty) = ty {
            graph.set_type(
                low,
                spaceevo_ir::TensorType { elem: Elem::F32, quant: Some(std::sync::Arc::new(q.clone())), ..ty },
            );
        }
        self.types.insert(low, q);
    }

    /// The float twin of a stored value, made right before `op` when there is none yet.
    fn float(&mut self, graph: &mut Graph, value: ValueId, place: Place, name: Option<String>) -> ValueId {
        if let Some(&twin) = self.floats.get(&value) {
            return twin;
        }
        let Some(q) = quant(graph, value) else { return value };
        let own = stem(graph, value);
        let stem = own.trim_end_matches("_quantized").to_owned();
        let name = name.unwrap_or_else(|| format!("{stem}_dequantized"));
        let twin = self.writer.dequantize(graph, place, value, &q, (&stem, name));
        self.types.insert(value, q);
        self.floats.insert(value, twin);
        twin
    }

    fn op(&mut self, graph: &mut Graph, cx: &mut PassContext<'_>, op: OpId) {
        let record = graph.op(op);
        let (operands, results) = (record.operands().to_vec(), record.results().to_vec());
        let typed = |v: ValueId| quant(graph, v);
        let (first, made) = (operands.first().copied().flatten().and_then(typed), results.first().copied().and_then(typed));
        if let Some(q) = first.as_ref().filter(|q| moves_bytes(graph, cx, op, q)) {
            if graph.op(op).name().is_onnx("Pad") {
                // Bytes are padded with the one that means 0.
                let name = stem(graph, results[0]);
                let zero = self.writer.zero(graph, q, name.trim_end_matches("_quantized"));
                exchange_operand(graph, op, 2, Some(zero));
            }
            results.into_iter().for_each(|value| _ = self.types.insert(value, q.clone()));
            return;
        }
        if let Some((q, bounds)) = first.as_ref().and_then(|q| Some((q, clip_of_bytes(graph, cx, op, q)?))) {
            for (index, bound) in bounds.into_iter().enumerate() {
                let bound = bound.map(|bound| rewrite::constant(graph, op, "bound", bound));
                exchange_operand(graph, op, index + 1, bound);
            }
            self.types.insert(results[0], q.clone());
            return;
        }
        if let Some(q) = made.as_ref().filter(|q| joins(graph, op, q)) {
            self.types.insert(results[0], q.clone());
            for value in operands.into_iter().flatten() {
                quant(graph, value).into_iter().for_each(|q| _ = self.types.insert(value, q));
            }
            return;
        }
        if rescaled(graph, op).is_some() {
            self.rescales.push(op);
            return;
        }
        if let Some((name, attrs, new)) = self.integer(graph, cx, op) {
            cx.count("integer ops", 1);
            let place = Place::Before(op);
            let result = results[0];
            let (text, loc) = (stem(graph, result), graph.op(op).loc().clone());
            let ty = graph.value(result).ty().clone();
            let id =
                graph.insert(place, NewOp::new(name).operands(new).attrs(attrs).result("", ty).made(INFO.name, &[&loc]));
            let fresh = graph.op(id).result();
            graph.replace_op(op, fresh);
            let is_stored = made.is_some();
            graph.set_name(fresh, if is_stored { format!("{text}_quantized") } else { text });
            if let Some(q) = made {
                self.types.insert(fresh, q);
            }
            return;
        }
        for (index, value) in operands.iter().enumerate() {
            if let Some(value) = value.filter(|&v| quant(graph, v).is_some()) {
                let twin = self.float(graph, value, Place::Before(op), None);
                graph.set_operand(op, index, Some(twin));
            }
        }
        for value in results {
            self.store(graph, value, Place::After(op));
        }
    }

    /// The integer operator for an op, with its attributes and operands.
    fn integer(
        &mut self,
        graph: &mut Graph,
        cx: &PassContext<'_>,
        op: OpId,
    ) -> Option<(OpName, Attrs, Vec<Option<ValueId>>)> {
        let name = graph.op(op).name();
        if !cx.target.ops.is_integer(name) || &*name.domain != spaceevo_ir::ONNX {
            return None;
        }
        let one = in_one_scale(graph, op);
        let record = graph.op(op);
        let name = record.name().op.to_string();
        let mut attrs = record.attrs().clone();
        let present: Vec<ValueId> = record.operands().iter().copied().flatten().collect();
        let quants: Vec<Quant> = present.iter().map(|&v| quant(graph, v)).collect::<Option<_>>()?;
        let result = record.result();
        let made = one.or_else(|| quant(graph, result));
        if unfit(graph, op).is_some() || !has_kernel(graph, op, &quants, made.as_ref()) {
            return None;
        }
        let out_name = stem(graph, result);
        let stems: Vec<String> = present.iter().map(|&v| stem(graph, v).trim_end_matches("_quantized").to_owned()).collect();
        for (value, q) in present.iter().zip(&quants) {
            self.types.insert(*value, q.clone());
        }
        let mut triple = |graph: &mut Graph, i: usize| self.writer.triple(graph, present[i], &quants[i], &stems[i]);
        let bias = present.get(2).copied();
        let mut new: Vec<Option<ValueId>> = Vec::new();
        let target = match name.as_str() {
            "Conv" | "MatMul" | "Add" | "Mul" | "Gemm" => {
                new.extend(triple(graph, 0));
                new.extend(triple(graph, 1));
                match name.as_str() {
                    "Conv" => OpName::onnx("QLinearConv"),
                    "MatMul" => OpName::onnx("QLinearMatMul"),
                    "Gemm" => OpName::new(MICROSOFT, "QGemm"),
                    other => OpName::new(MICROSOFT, &format!("QLinear{other}")),
                }
            }
            "GlobalAveragePool" | "AveragePool" | "Sigmoid" | "LeakyRelu" | "Softmax" => {
                new.extend(triple(graph, 0));
                if name == "Softmax" {
                    attrs.insert("opset".into(), Attr::Int(graph.meta.opset(spaceevo_ir::ONNX).unwrap_or(13) as i64));
                }
                OpName::new(MICROSOFT, &format!("QLinear{name}"))
            }
            "Concat" => {
                for i in 0..present.len() {
                    new.extend(triple(graph, i));
                }
                OpName::new(MICROSOFT, "QLinearConcat")
            }
            _ => return None,
        };
        match (&made, name.as_str()) {
            (Some(q), "Concat") => {
                let [_, scale, zero] = self.writer.triple(graph, result, q, &out_name);
                new.splice(0..0, [scale, zero]);
            }
            (Some(q), _) => {
                if name == "Gemm" {
                    new.push(bias);
                }
                let [_, scale, zero] = self.writer.triple(graph, result, q, &out_name);
                new.extend([scale, zero]);
                if name == "Conv" {
                    new.extend(bias.map(Some));
                }
            }
            (None, "Gemm") => new.push(bias),
            (None, _) => return None,
        }
        if name == "Gemm" {
            attrs.remove("beta");
        }
        Some((target, attrs, new))
    }

    /// Lets the readers of rescaled bytes take the bytes as they were made. The first of a chain goes first.
    fn drop_rescales(&mut self, graph: &mut Graph) {
        for op in std::mem::take(&mut self.rescales) {
            let Some((bytes, _, _)) = constant_side(graph, op) else { continue };
            graph.replace_all_uses(graph.op(op).result(), bytes);
            erase_unread(graph, op);
        }
    }

    /// Converts stored results of the model; the float twin takes the name that callers know.
    fn results(&mut self, graph: &mut Graph) {
        let body = graph.body();
        let names = graph.region(body).result_names().to_vec();
        for (index, value) in graph.region(body).results().to_vec().into_iter().enumerate() {
            if quant(graph, value).is_none() {
                continue;
            }
            if **graph.value(value).name() == *names[index] {
                graph.set_name(value, format!("{}_quantized", names[index]));
            }
            let twin = self.float(graph, value, Place::End(body), Some(names[index].to_string()));
            if graph.value(twin).users().is_empty() {
                graph.set_name(twin, names[index].clone());
            }
            graph.replace_use(User::Return(body, index as u32), twin);
        }
    }
}
