//! Takes out Transposes on both sides of ops that treat each number by itself, or, as Softmax does, rows along an axis.
//!
//! ```text
//! %t = onnx.Transpose %x {perm = [0, 2, 3, 1]} : f32[1,4,4,8]
//! %r = onnx.Sigmoid %t                         : f32[1,4,4,8]            %r = onnx.Sigmoid %x : f32[1,8,4,4]
//! %m = onnx.Mul %t, %r                         : f32[1,4,4,8]            %m = onnx.Mul %x, %r : f32[1,8,4,4]
//! %y = onnx.Transpose %m {perm = [0, 3, 1, 2]} : f32[1,8,4,4]    ──▶     %y is %m
//! ```

use std::collections::BTreeSet;

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Def, Graph, OpId, TensorType, Type, User, ValueId};

use crate::analysis::opset;
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct CancelTransposes;

static INFO: PassInfo = PassInfo {
    name: "cancel-transposes",
    summary: "take out Transposes on both sides of elementwise ops and Softmax",
    doc: "A region of elementwise ops and Softmax, which gets another axis, whose operands are Transposes of one order and single numbers, and whose results only \
          Transposes of the inverse order read, does the same without any of them.\n\n\
          It declines where an op of another kind reads or makes a value of the region, where a constant has more than one \
          number, and where the model returns such a value.",
    effect: Effect::Exact,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

/// Ops of ONNX that compute each number from the numbers at its place.
const ELEMENTWISE: [&str; 20] = [
    "Abs",
    "Add",
    "Clip",
    "Div",
    "Elu",
    "Erf",
    "Exp",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Mul",
    "Neg",
    "Pow",
    "Relu",
    "Sigmoid",
    "Softplus",
    "Sqrt",
    "Sub",
    "Tanh",
    "Gelu",
];

impl Pass for CancelTransposes {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for last in graph.ops_in(graph.body()).collect::<Vec<_>>() {
            let Some(order) = (if graph.is_live(last) { order(graph, last) } else { None }) else { continue };
            let Some(start) = graph.op(last).operand(0).and_then(|v| graph.def_op(v)).filter(|&op| keeps(graph, op)) else {
                continue;
            };
            match Region::around(graph, start, &order) {
                Err(why) => cx.declined(graph, last, why),
                Ok(region) => {
                    if !cx.rewrite(graph, last, "Transposes around elementwise ops taken out") {
                        break;
                    }
                    region.apply(graph);
                    changed = true;
                }
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// The order of a Transpose.
fn order(graph: &Graph, op: OpId) -> Option<Vec<i64>> {
    let record = graph.op(op);
    record.name().is_onnx("Transpose").then(|| record.ints("perm").map(<[i64]>::to_vec))?
}

fn keeps(graph: &Graph, op: OpId) -> bool {
    ELEMENTWISE.iter().any(|name| graph.op(op).name().is_onnx(name)) || is_softmax(graph, op)
}

/// A Softmax of rows along one axis, which may be another one.
fn is_softmax(graph: &Graph, op: OpId) -> bool {
    let computed = graph.op(op).operand(0).is_some_and(|v| !graph.value(v).is_const());
    graph.op(op).name().is_onnx("Softmax") && computed && opset(graph, op) >= 13
}

fn is_inverse(a: &[i64], b: &[i64]) -> bool {
    a.len() == b.len() && b.iter().enumerate().all(|(at, &axis)| a.get(axis as usize) == Some(&(at as i64)))
}

/// Elementwise ops between Transposes.
struct Region {
    /// In the order of the graph.
    ops: BTreeSet<OpId>,
    before: BTreeSet<OpId>,
    behind: BTreeSet<OpId>,
    /// That of the Transposes behind.
    order: Vec<i64>,
}

impl Region {
    /// The region of an op, if Transposes of `order` behind it undo those before it; else a sentence.
    fn around(graph: &Graph, start: OpId, order: &[i64]) -> Result<Region, String> {
        let mut found =
            Region { ops: BTreeSet::new(), before: BTreeSet::new(), behind: BTreeSet::new(), order: order.to_vec() };
        let mut open = vec![start];
        while let Some(op) = open.pop() {
            if !found.ops.insert(op) {
                continue;
            }
            for value in graph.op(op).operands().iter().flatten().copied() {
                open.extend(found.read(graph, value)?);
            }
            for value in graph.op(op).results() {
                for user in graph.value(*value).users() {
                    open.extend(found.reader(graph, *value, user)?);
                }
            }
        }
        Ok(found)
    }

    /// Takes in what an op of the region reads: gives another op of the region, if that makes it.
    fn read(&mut self, graph: &Graph, value: ValueId) -> Result<Option<OpId>, String> {
        match graph.value(value).def() {
            Def::Const(_) if graph.const_of(value).is_some_and(|t| t.len() == 1) => Ok(None),
            Def::Op(op, _) if keeps(graph, op) => Ok(Some(op)),
            Def::Op(op, _) if self::order(graph, op).is_some_and(|first| is_inverse(&first, &self.order)) => {
                self.before.insert(op);
                Ok(None)
            }
            _ => Err(format!("{} comes in another order", graph.label(value))),
        }
    }

    /// Takes in what reads a value of the region.
    fn reader(&mut self, graph: &Graph, value: ValueId, user: &User) -> Result<Option<OpId>, String> {
        match *user {
            User::Op(op, _) if graph.op(op).region() != graph.body() => Err("a subgraph reads a value between them".into()),
            User::Op(op, _) if keeps(graph, op) => Ok(Some(op)),
            User::Op(op, _) if self::order(graph, op).is_some_and(|last| last == self.order) => {
                self.behind.insert(op);
                Ok(None)
            }
            _ => Err(format!("{} is read in this order, too", graph.label(value))),
        }
    }

    fn apply(self, graph: &mut Graph) {
        for &op in &self.ops {
            for index in 0..graph.op(op).operands().len() {
                let maker = graph.op(op).operand(index).and_then(|v| graph.def_op(v)).filter(|m| self.before.contains(m));
                if let Some(source) = maker.and_then(|transpose| graph.op(transpose).operand(0)) {
                    graph.set_operand(op, index, Some(source));
                }
            }
            if is_softmax(graph, op) {
                let axis = graph.op(op).int("axis", -1);
                let axis = if axis < 0 { axis + self.order.len() as i64 } else { axis };
                let moved = self.order.iter().position(|&from| from == axis).unwrap_or(0);
                graph.set_attr(op, "axis", Attr::Int(moved as i64));
            }
            for result in graph.op(op).results().to_vec() {
                let ty = graph.value(result).ty().clone();
                let Some(TensorType { elem, shape: Some(shape), quant }) = ty.tensor().cloned() else { continue };
                let shape = self.order.iter().filter_map(|&axis| shape.get(axis as usize).cloned()).collect();
                graph.set_type(result, Type::Tensor(TensorType { elem, shape: Some(shape), quant }));
            }
        }
        for &op in &self.behind {
            if let Some(value) = graph.op(op).operand(0) {
                rewrite::bypass(graph, op, value);
            }
        }
        self.before.iter().for_each(|&op| rewrite::erase_unread(graph, op));
    }
}
