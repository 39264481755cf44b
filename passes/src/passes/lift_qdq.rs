//! Reads pairs of QuantizeLinear and DequantizeLinear as quantized types: the inverse of `lower-qdq`.
//!
//! ```text
//! %w.f = onnx.DequantizeLinear %w, %ws, %wz {axis = 0}      %w = const [..] : qi8(axis 0, [..], 0)[..]
//! %y = onnx.Conv %x, %w.f : f32[..]                   ──▶   %y = onnx.Conv %x, %w : qu8(0.02, 3)[..]
//! %y.q = onnx.QuantizeLinear %y, %s, %z : u8[..]            %z = onnx.MaxPool %y
//! %y.f = onnx.DequantizeLinear %y.q, %s, %z : f32[..]
//! %z = onnx.MaxPool %y.f
//! ```
//!
//! Three steps, since a bias can only have a type once its neighbours have theirs: activations, weights, biases.

use std::sync::Arc;

use spaceevo_ir::verify::{Form, bias_scale_fault};
use spaceevo_ir::{Def, Elem, Graph, NewOp, OpId, Quant, Type, User, ValueId, interp};

use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::quantize::join::Joined;
use crate::quantize::reader::{conversion, is_dequantize, is_quantize};
use crate::quantize::rescale::one_step;
use crate::rewrite::{erase_unread, erase_unread_value, insert_before, replace};

/// See the module documentation.
pub(crate) struct LiftQdq;

static INFO: PassInfo = PassInfo {
    name: "lift-qdq",
    summary: "read QuantizeLinear and DequantizeLinear pairs as quantized types",
    doc: "For files that another tool has quantized. A value that is read through QuantizeLinear alone, and then through \
          DequantizeLinear with the same scale and zero point, gets the quantized type that the pair states; any number of \
          equal pairs will do. A DequantizeLinear of a constant becomes the type of the constant, one of a 32-bit bias \
          where its scale is the product of those of input and weights; a constant that is quantized in the file is stored \
          as integers. A DequantizeLinear of the same numbers with another scale becomes a Mul that changes nothing but the \
          scale, one with another zero point an Add that changes nothing but that. A join of bytes that one DequantizeLinear reads as they were quantized, with scales along the axis, becomes a \
          join to a type with these scales, or of floats where an operand gets no type.\n\n\
          No number changes but in one way: a Conv, Gemm or MatMul between quantized types adds up whole numbers exactly \
          and multiplies once by the product of scales, where the file added up floats. 'lower-qdq' writes the pairs back, \
          and the network is the one that came. 'lower-qoperator' writes what the types say: a stored number may move by \
          one step, where a sum lies so close to half a step that the float sum was rounded to the other side; Add, Mul, \
          pools and look-ups of stored numbers round in the order of the runtime's kernels likewise.\n\n\
          It declines where other readers see a value before it is rounded or its bytes, where scales are computed, per \
          block, where a subgraph reads a value or makes it, for activations with a scale \
          per channel, for types wider than 16 bits or of floating point, and for biases in other units. A bias in float \
          stays, and its op then runs in float.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for LiftQdq {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let (mut changed, mut joins) = (false, Vec::new());
        for op in graph.ops_in(graph.body()).collect::<Vec<_>>() {
            if let Some(joined) = Joined::read_by(graph, op) {
                if !cx.rewrite(graph, op, "a join of numbers, not of bytes") {
                    return Ok(Outcome::from(changed));
                }
                joined.separate(graph, INFO.name);
                joins.push(joined);
                changed = true;
            }
        }
        for step in [activation, weights, bias] {
            for op in graph.ops_in(graph.body()).collect::<Vec<_>>() {
                if !graph.is_live(op) {
                    continue;
                }
                match step(graph, op) {
                    None => {}
                    Some(Err(why)) => cx.declined(graph, op, why),
                    Some(Ok(lift)) => {
                        if !cx.rewrite(graph, op, format!("a type of {}", graph.label(lift.value))) {
                            return Ok(Outcome::from(changed));
                        }
                        cx.count(lift.counted, 1);
                        lift.apply(graph);
                        changed = true;
                    }
                }
            }
        }
        joins.into_iter().for_each(|joined| joined.store(graph));
        Ok(Outcome::from(changed))
    }
}

/// A value that gets a quantized type, and the float copies of it that go.
struct Lift {
    value: ValueId,
    quant: Quant,
    /// DequantizeLinear ops whose readers read the value itself.
    copies: Vec<OpId>,
    /// DequantizeLinear ops that read the same numbers with another scale or zero point.
    rescales: Vec<(OpId, Quant)>,
    counted: &'static str,
}

impl Lift {
    fn apply(self, graph: &mut Graph) {
        let value = match graph.const_of(self.value) {
            Some(_) => self.constant(graph),
            None => {
                graph.set_type(self.value, quantized(graph.value(self.value).ty(), self.quant.clone()));
                self.value
            }
        };
        for op in self.copies {
            let copy = graph.op(op).result();
            let name = graph.value(copy).name().clone();
            graph.replace_all_uses(copy, value);
            // Writers append to the name that they find: the shorter one was there first.
            let shorter = name.len() < graph.value(value).name().len() && !name.is_empty();
            if shorter && graph.def_op(value).is_some() && !graph.is_returned(value) {
                graph.set_name(value, name);
            }
            erase_unread(graph, op);
        }
        for (op, quant) in self.rescales {
            reread(graph, op, value, &self.quant, quant);
        }
        erase_unread_value(graph, self.value);
    }

    /// The quantized twin of a constant, which is the constant itself when nobody else reads that.
    fn constant(&self, graph: &mut Graph) -> ValueId {
        let name = graph.value(self.value).name().clone();
        let copies = self.copies.iter().map(|&op| graph.value(graph.op(op).result()).name());
        let names = copies.map(|n| &**n).chain([name.strip_suffix("_quantized").unwrap_or(&name)]);
        let name = names.filter(|n| !n.is_empty()).min_by_key(|n| n.len()).unwrap_or_default().to_owned();
        let Some(tensor) = graph.const_of(self.value).cloned() else { return self.value };
        let region = match graph.value(self.value).def() {
            Def::Const(region) => region,
            _ => graph.body(),
        };
        let read = |user: &User| matches!(user, User::Op(op, _) if self.copies.contains(op));
        if tensor.elem() == self.quant.store && graph.value(self.value).users().iter().all(read) {
            graph.set_type(self.value, quantized(&Type::Tensor(tensor.ty()), self.quant.clone()));
            graph.set_name(self.value, name);
            return self.value;
        }
        let ty = quantized(&Type::Tensor(tensor.ty()), self.quant.clone());
        // What cannot be stored has been declined.
        let stored = if tensor.elem() == self.quant.store { Ok(tensor) } else { interp::quantize(&tensor, &self.quant) };
        stored.map_or(self.value, |stored| graph.add_typed_const(region, name, stored, ty))
    }
}

/// Writes a DequantizeLinear of `value`'s stored numbers as another type as the sum and the product that say so.
fn reread(graph: &mut Graph, op: OpId, value: ValueId, from: &Quant, to: Quant) {
    let copy = graph.op(op).result();
    let (mut name, ty) = (graph.value(copy).name().clone(), graph.value(copy).ty().clone());
    // A copy that is named after the bytes has no name of its own; what it reads them by may.
    let (index, end) = if from.at(0).0 == to.at(0).0 { (2, "_zero_point") } else { (1, "_scale") };
    let by = graph.op(op).operand(index).map(|by| graph.value(by).name().clone());
    if let Some(stem) = by.as_ref().and_then(|by| by.strip_suffix(end)).filter(|_| name.ends_with("_dequantized")) {
        name = stem.into();
    }
    let ((step, zero), (to_step, to_zero)) = (from.at(0), to.at(0));
    let offset = (f64::from(zero) - f64::from(to_zero)) as f32 * step;
    let offset = (zero != to_zero).then(|| one_step(graph, op, format!("{name}_offset"), offset, to.store));
    let factor = (step != to_step).then(|| one_step(graph, op, format!("{name}_factor"), factor(from, &to), to.store));
    let moved = |offset: ValueId| NewOp::onnx("Add").operand(value).operand(offset);
    let last = match (offset, factor) {
        (Some(offset), None) => moved(offset),
        (offset, factor) => {
            let between = Quant { zero: to.zero.clone(), ..from.clone() };
            let moved = offset.map(|offset| {
                let ty = quantized(&ty, between);
                insert_before(graph, op, INFO.name, format!("{name}_moved"), ty, moved(offset))
            });
            NewOp::onnx("Mul").operand(moved.unwrap_or(value)).operands([factor])
        }
    };
    let last = replace(graph, op, INFO.name, &[], last);
    let result = graph.op(last).result();
    graph.set_type(result, quantized(&ty, to));
    if !graph.is_returned(result) {
        graph.set_name(result, name);
    }
}

/// The type of real numbers that are stored.
fn quantized(ty: &Type, quant: Quant) -> Type {
    let shape = ty.tensor().and_then(|t| t.shape.clone());
    Type::Tensor(spaceevo_ir::TensorType { elem: Elem::F32, shape, quant: Some(Arc::new(quant)) })
}

/// What a step makes of an op: nothing, a reason why not, or a lift.
type Found = Option<Result<Lift, String>>;

/// A QuantizeLinear.
fn activation(graph: &Graph, op: OpId) -> Found {
    if !is_quantize(graph.op(op).name()) {
        return None;
    }
    Some(pairs(graph, op))
}

fn pairs(graph: &Graph, op: OpId) -> Result<Lift, String> {
    let quant = conversion(graph, op)?;
    let value = graph.op(op).operand(0).ok_or("it has no operand")?;
    let label = || graph.label(value);
    if quant.store.bits() > 16 {
        return Err(format!("no activation is stored as {}", quant.store));
    }
    let constant = graph.value(value).is_const();
    match graph.value(value).def() {
        _ if graph.value(value).ty().quant().is_some() => return Err(format!("{} is quantized otherwise already", label())),
        Def::Input(..) if graph.value(value).tensor().is_some() => {
            return Err(format!("{} is an input with a default value", label()));
        }
        Def::Op(maker, _) if !graph.op(maker).regions().is_empty() => {
            return Err(format!("{} is made by an op with subgraphs", label()));
        }
        _ if quant.axis.is_some() && !constant => {
            return Err("no integer operator takes activations with a scale per channel".into());
        }
        _ => {}
    }
    let (mut copies, mut again) = (Vec::new(), Vec::new());
    // A constant may be read otherwise, too: its twin is another value.
    let quantizers: Vec<User> = if constant { vec![User::Op(op, 0)] } else { graph.value(value).users().to_vec() };
    for user in quantizers {
        let quantizer = match user {
            User::Op(q, 0) if is_quantize(graph.op(q).name()) && in_body(graph, q) => q,
            _ => return Err(format!("{} has other readers, which see it before it is rounded", label())),
        };
        if quantizer != op && conversion(graph, quantizer).as_ref() != Ok(&quant) {
            return Err(format!("{} is quantized in more than one way", label()));
        }
        let stored = graph.op(quantizer).result();
        for user in graph.value(stored).users() {
            let copy = match user {
                User::Op(dq, 0) if is_dequantize(graph.op(*dq).name()) && in_body(graph, *dq) => *dq,
                _ => return Err(format!("{} is read as it is stored", graph.label(stored))),
            };
            not_nested(graph, copy)?;
            match conversion(graph, copy)? {
                same if same == quant => copies.push(copy),
                other if !constant && rereads(&quant, &other) => again.push((copy, other)),
                _ => return Err(format!("{} is read with another type", graph.label(stored))),
            }
        }
    }
    if copies.is_empty() && again.is_empty() {
        return Err("nobody reads what it stores: run 'drop-dead'".into());
    }
    Ok(Lift { value, quant, copies, rescales: again, counted: if constant { "constants" } else { "activations" } })
}

/// By what `other` takes the same stored numbers for larger than `quant` does.
fn factor(quant: &Quant, other: &Quant) -> f32 {
    (f64::from(other.at(0).0) / f64::from(quant.at(0).0)) as f32
}

/// True when a sum and a product with one number say what it means to read stored numbers of type `quant` as `other`.
fn rereads(quant: &Quant, other: &Quant) -> bool {
    let offset = (f64::from(quant.at(0).1) - f64::from(other.at(0).1)) as f32 * quant.at(0).0;
    let kind = |q: &Quant| (q.store, q.axis);
    let written = (offset == 0.0 || offset.is_normal()) && factor(quant, other).is_normal();
    quant.axis.is_none() && kind(quant) == kind(other) && written
}

/// A DequantizeLinear of a constant, or one that is left over.
fn weights(graph: &Graph, op: OpId) -> Found {
    let record = graph.op(op);
    if !is_dequantize(record.name()) {
        return None;
    }
    let stored = record.operand(0)?;
    if let Some(maker) = graph.def_op(stored) {
        // The reason why a pair stays stands at its QuantizeLinear.
        let name = graph.op(maker).name();
        return (!is_quantize(name)).then(|| Err(format!("the bytes that it reads are made by {name}")));
    }
    if !graph.value(stored).is_const() {
        return Some(Err("the bytes that it reads are an input".into()));
    }
    match constants(graph, op, stored) {
        Ok(lift) if lift.quant.store == Elem::I32 => None,
        found => Some(found),
    }
}

/// A DequantizeLinear of 32-bit integers.
fn bias(graph: &Graph, op: OpId) -> Found {
    let stored = graph.op(op).operand(0)?;
    if !is_dequantize(graph.op(op).name()) || graph.const_of(stored)?.elem() != Elem::I32 {
        return None;
    }
    let lift = match constants(graph, op, stored) {
        Ok(lift) => lift,
        // Declined among the weights.
        Err(_) => return None,
    };
    let users = lift.copies.iter().flat_map(|&copy| graph.value(graph.op(copy).result()).users());
    for user in users {
        let fault = match *user {
            User::Op(reader, 2) => bias_scale_fault(graph, reader, &lift.quant),
            _ => None,
        };
        if let Some((why, _)) = fault {
            return Some(Err(why));
        }
    }
    Some(Ok(lift))
}

/// The lift of constant `stored`: every DequantizeLinear that reads it as `op` does.
fn constants(graph: &Graph, op: OpId, stored: ValueId) -> Result<Lift, String> {
    let quant = conversion(graph, op)?;
    let same = |user: &User| match *user {
        User::Op(dq, 0) if is_dequantize(graph.op(dq).name()) && in_body(graph, dq) => {
            (conversion(graph, dq).as_ref() == Ok(&quant) && not_nested(graph, dq).is_ok()).then_some(dq)
        }
        _ => None,
    };
    not_nested(graph, op)?;
    let copies = graph.value(stored).users().iter().filter_map(same).collect();
    Ok(Lift { value: stored, quant, copies, rescales: Vec::new(), counted: "constants" })
}

fn in_body(graph: &Graph, op: OpId) -> bool {
    graph.op(op).region() == graph.body()
}

/// Subgraphs have no part in quantization: their readers, and the ops that hand values to them, keep the float copy.
fn not_nested(graph: &Graph, copy: OpId) -> Result<(), String> {
    let copy = graph.op(copy).result();
    let outside = |user: &User| match *user {
        User::Op(reader, _) => in_body(graph, reader) && graph.op(reader).regions().is_empty(),
        User::Return(region, _) => region == graph.body(),
    };
    if graph.value(copy).users().iter().all(outside) {
        Ok(())
    } else {
        Err(format!("a subgraph reads {}", graph.label(copy)))
    }
}
