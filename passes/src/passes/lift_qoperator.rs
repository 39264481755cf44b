//! Writes integer operators as float operators between conversions, which `lift-qdq` then reads as types.
//!
//! ```text
//!                                                                   %x.f = onnx.DequantizeLinear %x, %xs, %xz
//! %y = onnx.QLinearConv %x, %xs, %xz, %w, %ws, %wz, %ys, %yz  ──▶   %w.f = onnx.DequantizeLinear %w, %ws, %wz
//!                                                                   %y.f = onnx.Conv %x.f, %w.f
//!                                                                   %y = onnx.QuantizeLinear %y.f, %ys, %yz
//! ```

use spaceevo_ir::verify::Form;
use spaceevo_ir::{
    Attr, Attrs, Elem, Graph, MICROSOFT, NewOp, ONNX, OpId, OpName, Place, Tensor, TensorType, Type, ValueId,
};

use crate::analysis::{model_ops, opset};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::quantize::reader::is_quantize;
use crate::rewrite;

/// See the module documentation.
pub(crate) struct LiftQoperator;

static INFO: PassInfo = PassInfo {
    name: "lift-qoperator",
    summary: "write QLinear operators as float operators between conversions",
    doc: "The inverse of 'lower-qoperator' together with 'lift-qdq', which is to run next: `lift-qoperator,lift-qdq`. \
          QLinearConv, QLinearMatMul, QGemm, QLinearAdd, QLinearMul, QLinearConcat, the QLinear pools, QLinearSigmoid, \
          QLinearLeakyRelu and QLinearSoftmax become the float operator, with its operands dequantized and its result \
          quantized as the integer operator says; a 32-bit bias is dequantized by the product of scales. Ops that move \
          or clip bytes which an op before them has quantized do so with the numbers instead.\n\n\
          What the integer operators add up in integers, the float ones add up in floats: a stored number may move by one \
          step until types have it back.\n\n\
          It declines where scales of a bias are computed, for channels that come last, for a scale per row, and below \
          operator set 13, whose conversions know no scale per channel (run upgrade-opset).",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for LiftQoperator {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for op in model_ops(graph) {
            if let Some((scale, zero)) = bytes_moved(graph, cx, op) {
                if !cx.rewrite(graph, op, "it moves numbers, no bytes") {
                    break;
                }
                move_numbers(graph, op, scale, zero);
                changed = true;
                continue;
            }
            match float_form(graph, op) {
                None => {}
                Some(Err(why)) => cx.declined(graph, op, why),
                Some(Ok(form)) => {
                    if !cx.rewrite(graph, op, format!("{} between conversions", form.name)) {
                        break;
                    }
                    form.place(graph, op);
                    changed = true;
                }
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// A stored operand with its scale and zero point; `axis` where it has a scale for each of its indices.
struct Stored {
    value: ValueId,
    scale: ValueId,
    zero: Option<ValueId>,
    axis: Option<usize>,
}

/// The float form of an integer operator.
struct FloatForm {
    name: OpName,
    attrs: Attrs,
    operands: Vec<Stored>,
    /// The bias, and its scales: one, or one for each channel.
    bias: Option<(ValueId, Vec<f32>)>,
    /// Scale and zero point of the result; `None` where it is float.
    result: Option<(ValueId, Option<ValueId>)>,
}

/// What an integer operator computes; `None` for other operators, a sentence when no float operator says it.
fn float_form(graph: &Graph, op: OpId) -> Option<Result<FloatForm, String>> {
    let name = graph.op(op).name();
    let float = match (&*name.domain, &*name.op) {
        (ONNX, "QLinearConv") => "Conv",
        (ONNX, "QLinearMatMul") => "MatMul",
        (MICROSOFT, "QGemm") => "Gemm",
        (MICROSOFT, "QLinearAdd" | "QLinearMul" | "QLinearConcat" | "QLinearSigmoid" | "QLinearLeakyRelu")
        | (MICROSOFT, "QLinearGlobalAveragePool" | "QLinearAveragePool" | "QLinearSoftmax") => &name.op["QLinear".len()..],
        _ => return None,
    };
    Some(read(graph, op, float))
}

fn read(graph: &Graph, op: OpId, float: &str) -> Result<FloatForm, String> {
    let record = graph.op(op);
    let at = |index: usize| record.operand(index);
    let need = |index: usize| at(index).ok_or_else(|| format!("operand {index} is absent"));
    let stored = |index: usize, axis: Option<usize>| -> Result<Stored, String> {
        let stored = Stored { value: need(index)?, scale: need(index + 1)?, zero: at(index + 2), axis };
        each_channel(graph, op, stored)
    };
    let rank = |index: usize| at(index).and_then(|v| graph.value(v).ty().rank());
    let mut attrs = record.attrs().clone();
    if attrs.remove("channels_last").is_some_and(|a| a.as_int() != Some(0)) {
        return Err("its channels come last".into());
    }
    if attrs.remove("opset").is_some_and(|a| a.as_int().is_some_and(|v| (v < 13) != (opset(graph, op) < 13))) {
        return Err("it is the Softmax of another operator set".into());
    }
    let (operands, result) = match float {
        "Conv" => (vec![stored(0, None)?, stored(3, Some(0))?], Some(6)),
        "MatMul" => (vec![stored(0, None)?, stored(3, rank(3).and_then(|r| r.checked_sub(1)))?], Some(6)),
        "Gemm" => {
            let columns = usize::from(record.int("transB", 0) == 0);
            (vec![stored(0, None)?, stored(3, Some(columns))?], at(7).map(|_| 7))
        }
        "Add" | "Mul" => (vec![stored(0, None)?, stored(3, None)?], Some(6)),
        "Concat" => {
            let parts = (2..record.operands().len()).step_by(3).map(|i| stored(i, None)).collect::<Result<_, _>>()?;
            (parts, Some(0))
        }
        _ => (vec![stored(0, None)?], Some(3)),
    };
    let bias = match float {
        "Conv" => at(8),
        "Gemm" => at(6),
        _ => None,
    };
    let factor = if float == "Gemm" { record.float("alpha", 1.0) } else { 1.0 };
    let bias = match bias {
        None => None,
        Some(bias) => {
            let numbers = |v: ValueId| graph.const_of(v).and_then(|t| t.values::<f32>().map(|n| n.to_vec()));
            let (x, w) = (numbers(operands[0].scale), numbers(operands[1].scale));
            let (x, w) = x.zip(w).filter(|(x, _)| x.len() == 1).ok_or("the scales of its bias are computed")?;
            Some((bias, w.iter().map(|w| factor * x[0] * w).collect()))
        }
    };
    let result = result.map(|i| Ok::<_, String>((need(i)?, at(i + 1)))).transpose()?;
    if result.is_some_and(|(scale, _)| !is_single(graph, scale)) {
        return Err("the scale of its result is no 32-bit float".into());
    }
    Ok(FloatForm { name: OpName::onnx(float), attrs, operands, bias, result })
}

/// True for scales that give and take 32-bit floats.
fn is_single(graph: &Graph, scale: ValueId) -> bool {
    graph.value(scale).ty().elem() == Some(Elem::F32)
}

/// Keeps the axis only where there is a scale for each of its indices.
fn each_channel(graph: &Graph, op: OpId, stored: Stored) -> Result<Stored, String> {
    if !is_single(graph, stored.scale) {
        return Err(format!("the scale of {} is no 32-bit float", graph.label(stored.value)));
    }
    let elem = |value: ValueId| graph.value(value).ty().elem();
    if stored.zero.is_some_and(|zero| elem(zero) != elem(stored.value)) {
        return Err(format!("{} and its zero point are of two types", graph.label(stored.value)));
    }
    let scales = graph.value(stored.scale).ty().dims();
    let scales = scales.ok_or_else(|| format!("the shape of {} is not known", graph.label(stored.scale)))?;
    let extent = stored.axis.and_then(|axis| graph.value(stored.value).ty().tensor()?.dim(axis));
    match scales[..] {
        [count] if extent == Some(count) && opset(graph, op) < 13 => {
            Err("it has a scale for each channel: run 'upgrade-opset{to=13}' first".into())
        }
        [count] if extent == Some(count) => Ok(stored),
        [] | [1] => Ok(Stored { axis: None, ..stored }),
        _ => Err(format!("the scales of {} are for no channels of its", graph.label(stored.value))),
    }
}

impl FloatForm {
    fn place(self, graph: &mut Graph, op: OpId) {
        let mut real: Vec<ValueId> = self.operands.iter().map(|stored| dequantized(graph, op, stored)).collect();
        if let Some((value, scales)) = self.bias {
            let axis = graph.value(value).ty().rank().and_then(|r| r.checked_sub(1)).filter(|_| scales.len() > 1);
            let dims = if axis.is_some() { vec![scales.len()] } else { vec![] };
            let name = format!("{}_scale", stem(graph, value));
            let scale = rewrite::constant(graph, op, name, Tensor::new(dims, scales));
            real.push(dequantized(graph, op, &Stored { value, scale, zero: None, axis }));
        }
        let new = NewOp::new(self.name).attrs(self.attrs).operands(real.into_iter().map(Some));
        let Some((scale, zero)) = self.result else {
            rewrite::replace(graph, op, INFO.name, &[], new);
            return;
        };
        let result = graph.op(op).result();
        let (name, ty) = (stem(graph, result), float(graph.value(result).ty()));
        let made = rewrite::insert_before(graph, op, INFO.name, name.as_str(), ty, new);
        let quantize = NewOp::onnx("QuantizeLinear").operands([Some(made), Some(scale), zero]);
        let quantize = rewrite::replace(graph, op, INFO.name, &[], quantize);
        graph.set_name(graph.op(quantize).result(), format!("{name}_quantized"));
    }
}

/// Scale and zero point of bytes that an op moves, where it is known that they are those of a QuantizeLinear.
fn bytes_moved(graph: &Graph, cx: &PassContext<'_>, op: OpId) -> Option<(ValueId, Option<ValueId>)> {
    let record = graph.op(op);
    let bytes = |v: ValueId| matches!(graph.value(v).ty().elem(), Some(Elem::U8 | Elem::I8));
    let blends = record.name().is_onnx("Resize") && record.str("mode", "nearest") != "nearest";
    let moves = cx.target.ops.is_movement(record.name()) || record.name().is_onnx("Clip");
    if !moves || blends || !record.results().iter().all(|&r| bytes(r)) {
        return None;
    }
    let maker = graph.def_op(record.operand(0)?).filter(|&m| is_quantize(graph.op(m).name()))?;
    let (scale, zero) = (graph.op(maker).operand(1)?, graph.op(maker).operand(2));
    let single = is_single(graph, scale) && graph.const_of(scale).is_some_and(|s| s.len() == 1);
    let known = numbers(graph, op, scale, zero).is_some();
    (single && known && graph.op(maker).int("block_size", 0) == 0).then_some((scale, zero))
}

/// The numbers that constant bytes beside the data stand for, by index of operand: what a Pad adds, where a Clip cuts off.
fn numbers(graph: &Graph, op: OpId, scale: ValueId, zero: Option<ValueId>) -> Option<Vec<(usize, f32)>> {
    let record = graph.op(op);
    let byte = |v: ValueId| graph.const_of(v)?.to_i64()?.first().copied();
    let zero = zero.map_or(Some(0), byte)?;
    let scale = *graph.const_of(scale)?.to_f32()?.first()?;
    let number = |byte: i64| Some(byte.checked_sub(zero)? as f32 * scale);
    match () {
        // Without a value, a Pad adds the byte 0.
        _ if record.name().is_onnx("Pad") => Some(vec![(2, number(record.operand(2).map_or(Some(0), byte)?)?)]),
        _ if record.name().is_onnx("Clip") => {
            let bounds = [1, 2].into_iter().filter_map(|index| Some((index, record.operand(index)?)));
            bounds.map(|(index, bound)| Some((index, number(byte(bound)?)?))).collect()
        }
        _ => Some(Vec::new()),
    }
}

fn move_numbers(graph: &mut Graph, op: OpId, scale: ValueId, zero: Option<ValueId>) {
    let Some(value) = graph.op(op).operand(0) else { return };
    let numbers = numbers(graph, op, scale, zero).unwrap_or_default();
    let real = dequantized(graph, op, &Stored { value, scale, zero, axis: None });
    graph.set_operand(op, 0, Some(real));
    for (index, number) in numbers {
        let number = rewrite::constant(graph, op, "number", Tensor::scalar(number));
        rewrite::exchange_operand(graph, op, index, Some(number));
    }
    let loc = graph.op(op).loc().clone();
    for result in graph.op(op).results().to_vec() {
        let (ty, users) = (graph.value(result).ty().clone(), graph.value(result).users().to_vec());
        let name = stem(graph, result);
        let new = NewOp::onnx("QuantizeLinear").operands([Some(result), Some(scale), zero]);
        let new = new.result(format!("{name}_quantized"), ty.clone()).made(INFO.name, &[&loc]);
        graph.set_type(result, float(&ty));
        graph.set_name(result, name);
        let quantize = graph.insert(Place::After(op), new);
        let bytes = graph.op(quantize).result();
        users.into_iter().for_each(|user| graph.replace_use(user, bytes));
    }
}

/// A DequantizeLinear of an operand, before `op`.
fn dequantized(graph: &mut Graph, op: OpId, stored: &Stored) -> ValueId {
    let name = format!("{}_dequantized", stem(graph, stored.value));
    let ty = float(graph.value(stored.value).ty());
    let mut new = NewOp::onnx("DequantizeLinear").operands([Some(stored.value), Some(stored.scale)]);
    if stored.zero.is_some() {
        new = new.operands([stored.zero]);
    }
    if let Some(axis) = stored.axis {
        new = new.attr("axis", Attr::Int(axis as i64));
    }
    rewrite::insert_before(graph, op, INFO.name, name, ty, new)
}

/// The name of the numbers that a stored value stands for.
fn stem(graph: &Graph, value: ValueId) -> String {
    let name = crate::quantize::writer::stem(graph, value);
    name.strip_suffix("_quantized").map_or(name.clone(), str::to_owned)
}

/// The same shape, in floats.
fn float(ty: &Type) -> Type {
    Type::Tensor(TensorType { elem: Elem::F32, quant: None, shape: ty.tensor().and_then(|t| t.shape.clone()) })
}
