//! What the passes share that write stored ops as others which the target runs faster: which ops they take.

use spaceevo_ir::{Graph, ONNX, OpId, Quant, User, ValueId};

use crate::analysis::opset;
use crate::pass::{Outcome, PassContext};
use crate::quantize::placement::{has_weights, unfit};
use crate::quantize::writer::quant;

/// Shows `lower` every op of that name which reads and makes a stored tensor and which the target leaves to this pass. What it
/// gives as an error is why the op stays. `lower` asks before it edits, and answers whether it did.
pub(crate) fn each(
    graph: &mut Graph,
    cx: &mut PassContext<'_>,
    name: &str,
    mut lower: impl FnMut(&mut Graph, &mut PassContext<'_>, &Stored) -> Result<bool, String>,
) -> Outcome {
    let mut changed = false;
    for op in graph.ops_in(graph.body()).collect::<Vec<_>>() {
        if !graph.is_live(op) || !graph.op(op).name().is_onnx(name) {
            continue;
        }
        match Stored::of(graph, cx, op).and_then(|stored| lower(graph, cx, &stored)) {
            Ok(did) => changed |= did,
            Err(why) => cx.declined(graph, op, why),
        }
    }
    Outcome::from(changed)
}

/// An op whose first operand and only result are stored, per tensor.
pub(crate) struct Stored {
    /// The op.
    pub(crate) op: OpId,
    /// Its first operand.
    pub(crate) input: ValueId,
    /// The type of the operand.
    pub(crate) from: Quant,
    /// The type of the result.
    pub(crate) to: Quant,
}

impl Stored {
    fn of(graph: &Graph, cx: &PassContext<'_>, op: OpId) -> Result<Stored, String> {
        if !cx.target.ops.is_lowered(graph.op(op).name(), cx.pass.name) {
            return Err(format!("target {} does not leave it to this pass", cx.target.name));
        }
        if let Some(why) = unfit(graph, op) {
            return Err(why);
        }
        // `unfit` has seen to it that there are both.
        let record = graph.op(op);
        let (Some(input), Some(&result)) = (record.operand(0), record.results().first()) else {
            return Err("it has no operand or no result".into());
        };
        let typed = |value: ValueId, what: &str| match quant(graph, value) {
            None => Err(format!("its {what} is float")),
            Some(q) if q.axis.is_some() => Err(format!("its {what} is stored per channel")),
            Some(q) => Ok(q),
        };
        let (from, to) = (typed(input, "operand")?, typed(result, "result")?);
        if graph.meta.opsets.contains_key(ONNX) && opset(graph, op) < 7 {
            return Err("below opset 7 nothing broadcasts by itself: run upgrade-opset first".into());
        }
        Ok(Stored { op, input, from, to })
    }
}

/// Checks that every reader of a value reads stored numbers of any scale; a sentence about one that does not.
pub(crate) fn takes_any_scale(graph: &Graph, cx: &PassContext<'_>, value: ValueId) -> Result<(), String> {
    let fixed = |user: &User| match *user {
        User::Return(..) => Some("the model returns it".to_owned()),
        // Operators with weights have a bias whose steps are those of the operand times those of the weights.
        User::Op(op, _) if has_weights(graph, op) => Some(format!("{} reads it", graph.op(op).name())),
        User::Op(op, _) if !cx.target.ops.is_integer(graph.op(op).name()) => {
            Some(format!("{} reads it", graph.op(op).name()))
        }
        User::Op(..) => None,
    };
    graph.value(value).users().iter().find_map(fixed).map_or(Ok(()), Err)
}
