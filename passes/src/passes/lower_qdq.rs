//! Writes quantized types as QuantizeLinear and DequantizeLinear around float ops: the portable form.
//!
//! ```text
//!                                                     %w.f = onnx.DequantizeLinear %w, %ws, %wz {axis = 0}
//! %y = onnx.Conv %x, %w : qu8(0.02, 3)[..]    ──▶     %y.f = onnx.Conv %x.f, %w.f : f32[..]
//!                                                     %y.q = onnx.QuantizeLinear %y.f, %s, %z : u8[..]
//!                                                     %y = onnx.DequantizeLinear %y.q, %s, %z : f32[..]
//! ```
//!
//! One quantizer per tensor, shared by all its readers. A Mul that only changes the scale of stored numbers becomes a second
//! DequantizeLinear of the same numbers. Inputs and results of the model stay float.
//!
//! A Pad between equal types pads the bytes themselves, with the one that means 0: runtimes run a Pad between a
//! DequantizeLinear and a QuantizeLinear in float.
//!
//! ```text
//! %p = onnx.Pad %x, %pads : qu8(0.02, 3)[..]    ──▶    %p.q = onnx.Pad %x.q, %pads, %z : u8[..]
//!                                                      %p = onnx.DequantizeLinear %p.q, %s, %z : f32[..]
//! ```
//!
//! So does a Concat whose result has the scale of each operand join bytes: no kernel of floats knows its type.

use std::collections::HashMap;

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Def, Elem, Graph, OpId, Place, Quant, User, ValueId};

use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::quantize::join::joins_bytes;
use crate::quantize::placement::unfit;
use crate::quantize::reader::conversion;
use crate::quantize::rescale::rescaled;
use crate::quantize::writer::{Writer, front, quant, set_plain, stem};
use crate::rewrite::{erase_unread, exchange_operand};

/// See the module documentation.
pub(crate) struct LowerQdq;

static INFO: PassInfo = PassInfo {
    name: "lower-qdq",
    summary: "write quantized types as QuantizeLinear and DequantizeLinear pairs",
    doc: "Every stored activation gets one QuantizeLinear and one DequantizeLinear behind the op that makes it; stored constants \
          get a DequantizeLinear. Runtimes recognise the groups and run them in integers; any runtime that knows the two \
          operators can run the file. Needs operator set 13.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for LowerQdq {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let values = stored(graph);
        if values.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        let mut writer = Writer::new(graph, INFO.name).map_err(|d| cx.error(d))?;
        let start = front(graph);
        let rescales = rescales(graph);
        let mut lows: HashMap<ValueId, ValueId> = HashMap::new();
        for value in values {
            let Some(q) = quant(graph, value) else { continue };
            if is_factor(graph, &rescales, value) {
                continue;
            }
            let name = stem(graph, value);
            let users: Vec<User> = graph.value(value).users().to_vec();
            let def = graph.value(value).def();
            if let Def::Op(op, _) = def
                && !cx.rewrite(graph, op, "stored between a QuantizeLinear and a DequantizeLinear")
            {
                break;
            }
            cx.count("tensors", 1);
            if let Def::Op(op, _) = def
                && let Some(&low) = rescales.get(&op).and_then(|source| lows.get(source))
            {
                let float = writer.dequantize(graph, Place::Before(op), low, &q, (&name, name.clone()));
                lows.insert(value, low);
                users.into_iter().for_each(|user| graph.replace_use(user, float));
                erase_unread(graph, op);
                continue;
            }
            let first = match def {
                Def::Op(op, _) => Place::After(op),
                _ => start,
            };
            let on_bytes = matches!(def, Def::Op(op, _) if runs_on_bytes(graph, &mut writer, op, &q, &name));
            let float = if on_bytes {
                set_plain(graph, value, q.store);
                let float = writer.dequantize(graph, first, value, &q, (&name, name.clone()));
                graph.set_name(value, format!("{name}_quantized"));
                float
            } else if let Def::Const(_) = def {
                set_plain(graph, value, q.store);
                let float = writer.dequantize(graph, first, value, &q, (&name, format!("{name}_dequantized")));
                graph.set_name(value, format!("{name}_quantized"));
                float
            } else {
                set_plain(graph, value, Elem::F32);
                let low = writer.quantize(graph, first, value, &q, &name);
                lows.insert(value, low);
                let after = graph.def_op(low).map_or(first, Place::After);
                let float = writer.dequantize(graph, after, low, &q, (&name, format!("{name}_dequantized")));
                if matches!(def, Def::Op(..)) {
                    // The name goes to what readers of the float file knew by it.
                    graph.set_name(float, name.as_str());
                    graph.set_name(value, format!("{name}_raw"));
                }
                float
            };
            users.into_iter().for_each(|user| graph.replace_use(user, float));
        }
        Ok(Outcome::Changed)
    }
}

/// Products that give stored numbers another scale, and the values whose numbers they are.
fn rescales(graph: &Graph) -> HashMap<OpId, ValueId> {
    graph.ops_in(graph.body()).filter_map(|op| Some((op, rescaled(graph, op)?))).collect()
}

/// True for a constant that only such products read.
fn is_factor(graph: &Graph, rescales: &HashMap<OpId, ValueId>, value: ValueId) -> bool {
    let users = graph.value(value).users();
    let reads = |user: &User| matches!(user, User::Op(op, _) if rescales.contains_key(op));
    graph.value(value).is_const() && !users.is_empty() && users.iter().all(reads)
}

/// Lets a Pad or a Concat to a type `made` read bytes in place of their float twins, if it can; true if it does.
fn runs_on_bytes(graph: &mut Graph, writer: &mut Writer, op: OpId, made: &Quant, name: &str) -> bool {
    if let Some(bytes) = bytes_to_pad(graph, op, made) {
        let zero = writer.zero(graph, made, name);
        exchange_operand(graph, op, 0, Some(bytes));
        exchange_operand(graph, op, 2, Some(zero));
        return true;
    }
    let joined = bytes_to_join(graph, op, made);
    for (index, &bytes) in joined.iter().flatten().enumerate() {
        exchange_operand(graph, op, index, Some(bytes));
    }
    joined.is_some()
}

/// The bytes that a Pad to a type `made` can read in place of their float twin.
fn bytes_to_pad(graph: &Graph, pad: OpId, made: &Quant) -> Option<ValueId> {
    let record = graph.op(pad);
    let fits = record.name().is_onnx("Pad")
        && record.str("mode", "constant") == "constant"
        && made.axis.is_none()
        && made.store.bits() == 8
        && unfit(graph, pad).is_none();
    // What it reads has been written already: `unfit` lets no default of an input and no subgraph through.
    let twin = graph.def_named(record.operand(0).filter(|_| fits)?, "DequantizeLinear")?;
    (conversion(graph, twin).as_ref() == Ok(made)).then(|| graph.op(twin).operand(0)).flatten()
}

/// The bytes that a Concat to a type `made` of several scales can join in place of their float twins.
fn bytes_to_join(graph: &Graph, concat: OpId, made: &Quant) -> Option<Vec<ValueId>> {
    let of = |value: &Option<ValueId>| {
        let twin = graph.def_named((*value)?, "DequantizeLinear")?;
        Some((conversion(graph, twin).ok()?, graph.op(twin).operand(0)?))
    };
    made.axis.filter(|_| unfit(graph, concat).is_none())?;
    let (types, bytes): (Vec<Quant>, Vec<ValueId>) = graph.op(concat).operands().iter().map(of).collect::<Option<_>>()?;
    joins_bytes(graph, concat, &types, made).then_some(bytes)
}

/// The stored values of the body: inputs, constants in the order in which ops read them first, results of ops.
fn stored(graph: &Graph) -> Vec<ValueId> {
    let region = graph.region(graph.body());
    let mut position = vec![usize::MAX; graph.op_bound()];
    graph.all_ops().into_iter().enumerate().for_each(|(at, op)| position[op.index()] = at);
    let reader = |user: &User| match *user {
        User::Op(op, port) => (position[op.index()], port),
        User::Return(_, port) => (usize::MAX, port),
    };
    let mut constants = region.consts().to_vec();
    // Passes add constants in an order of their own.
    constants.sort_by_cached_key(|&v| graph.value(v).users().iter().map(reader).min());
    let results = graph.ops_in(graph.body()).flat_map(|op| graph.op(op).results()).copied();
    let values = region.inputs().iter().copied().chain(constants).chain(results);
    values.filter(|&v| graph.value(v).ty().quant().is_some()).collect()
}
