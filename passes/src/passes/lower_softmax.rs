//! Writes Softmax so that it works on whole rows, and Softmax of two numbers as sigmoids of their differences.
//!
//! ```text
//!                                                          %t = onnx.Transpose %x {perm = [0, 2, 3, 1]}
//!                                                          %r = onnx.Reshape %t : f32[484,80]
//! %y = onnx.Softmax %x {axis = 1} : f32[1,80,22,22]  ──▶   %s = onnx.Softmax %r {axis = 1} : f32[484,80]
//!                                                          %m = onnx.Reshape %s : f32[1,22,22,80]
//!                                                          %y = onnx.Transpose %m {perm = [0, 3, 1, 2]}
//!
//!                                                          %a, %b = onnx.Split %x {axis = 1}
//! %y = onnx.Softmax %x {axis = 1} : f32[1,2,80,80]   ──▶   %c = onnx.Concat (%a - %b), (%b - %a) {axis = 1}
//!                                                          %y = onnx.Sigmoid %c
//! ```
//!
//! `e^a / (e^a + e^b) = 1 / (1 + e^(b - a)) = sigmoid(a - b)`. Where the two lie side by side, one product with
//! `[[1, -1], [-1, 1]]` makes both differences. Without the Reshapes a runtime would cancel the Transposes again.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Dim, Elem, Graph, NewOp, OpId, Place, Tensor, TensorType, Type, ValueId};

use crate::analysis::opset;
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct LowerSoftmax;

static INFO: PassInfo = PassInfo {
    name: "lower-softmax",
    summary: "write Softmax over rows, or of two numbers as Sigmoid",
    doc: "For runtimes whose Softmax is slow over an axis that is not the last one, or has few numbers on it (`ops.slow` of the \
          target). Over another axis than the last one it becomes a Softmax of rows between Transposes, which the runtime cancels \
          against its own behind a convolution; no bit changes. Over two numbers it becomes Sigmoid of their differences, which \
          may differ in the last bits.\n\n\
          It declines where extents are not known, where there is one row only, and where the target does not ask for it.",
    effect: Effect::Rounding,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for LowerSoftmax {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for op in graph.ops_in(graph.body()).collect::<Vec<_>>() {
            if !graph.op(op).name().is_onnx("Softmax") {
                continue;
            }
            if !cx.target.ops.is_slow(graph.op(op).name()) {
                cx.declined(graph, op, format!("target {} does not ask for it", cx.target.name));
                continue;
            }
            match Rows::of(graph, op) {
                Err(why) => cx.declined(graph, op, why),
                Ok(rows) => {
                    let what =
                        if rows.length() == 2 { "Softmax of two written as Sigmoid" } else { "Softmax written over rows" };
                    if !cx.rewrite(graph, op, what) {
                        break;
                    }
                    rows.write(graph);
                    changed = true;
                }
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// A Softmax whose rows lie along `axis` of an operand of these extents; of the first one the number may be open.
struct Rows {
    op: OpId,
    input: ValueId,
    axis: usize,
    dims: Vec<Dim>,
}

impl Rows {
    fn of(graph: &Graph, op: OpId) -> Result<Rows, &'static str> {
        let record = graph.op(op);
        let input = record.operand(0).ok_or("it lacks an operand")?;
        if opset(graph, op) < 13 {
            return Err("below opset 13 it joins axes: run upgrade-opset first");
        }
        let plain = |value: ValueId| {
            let ty = graph.value(value).ty();
            ty.elem() == Some(Elem::F32) && ty.quant().is_none_or(|quant| quant.axis.is_none())
        };
        if !plain(input) || !plain(record.result()) {
            return Err("it works on other numbers than float32, or on such with a scale for each channel");
        }
        let dims = graph.value(input).ty().tensor().and_then(|ty| ty.shape.clone()).ok_or("its shape is not known")?;
        let rank = dims.len() as i64;
        let axis = record.int("axis", -1);
        let axis = if axis < 0 { axis + rank } else { axis };
        let axis = usize::try_from(axis).ok().filter(|&axis| axis < dims.len()).ok_or("it has no such axis")?;
        if dims.iter().enumerate().any(|(at, dim)| dim.known().is_none() && (at > 0 || axis == 0)) {
            return Err("its extents are not known");
        }
        let rows = Rows { op, input, axis, dims };
        let others = rows.dims.iter().enumerate().filter(|(at, _)| *at != axis);
        if others.filter_map(|(_, dim)| dim.known()).all(|extent| extent == 1) {
            return Err("it is one row");
        }
        if rows.length() != 2 && rows.dims[axis + 1..].iter().all(|dim| dim.known() == Some(1)) {
            return Err("its rows are whole as they lie");
        }
        Ok(rows)
    }

    fn length(&self) -> u64 {
        self.dims[self.axis].known().unwrap_or(0)
    }

    fn write(&self, graph: &mut Graph) {
        match self.length() {
            2 if self.axis + 1 == self.dims.len() => self.product(graph),
            2 => self.differences(graph),
            _ => self.turned(graph),
        }
    }

    /// Both differences of numbers that lie side by side.
    fn product(&self, graph: &mut Graph) {
        let name = graph.value(graph.op(self.op).result()).name().clone();
        let signs = Tensor::new([2, 2], vec![1f32, -1.0, -1.0, 1.0]);
        let signs = rewrite::constant(graph, self.op, format!("{name}.signs"), signs);
        let product = NewOp::onnx("MatMul").operand(self.input).operand(signs);
        let both = self.step(graph, "differences", &real(graph, self.op), self.dims.clone(), product);
        rewrite::replace(graph, self.op, INFO.name, &[], NewOp::onnx("Sigmoid").operand(both));
    }

    /// Both differences of maps.
    fn differences(&self, graph: &mut Graph) {
        let axis = self.axis as i64;
        let one: Vec<Dim> =
            self.dims.iter().enumerate().map(|(at, d)| if at == self.axis { 1.into() } else { d.clone() }).collect();
        let name = graph.value(graph.op(self.op).result()).name().clone();
        let half = with_dims(graph.value(self.input).ty(), one.clone());
        let split = NewOp::onnx("Split").operand(self.input).attr("axis", Attr::Int(axis));
        let split = split.made(INFO.name, &[&graph.op(self.op).loc().clone()]);
        let split = split.result(format!("{name}.first"), half.clone()).result(format!("{name}.second"), half);
        let split = graph.insert(Place::Before(self.op), split);
        let [first, second] = [0, 1].map(|at| graph.op(split).results()[at]);
        let real = real(graph, self.op);
        let mut less = |word: &str, a: ValueId, b: ValueId| {
            self.step(graph, word, &real, one.clone(), NewOp::onnx("Sub").operand(a).operand(b))
        };
        let (ahead, behind) = (less("ahead", first, second), less("behind", second, first));
        let both = NewOp::onnx("Concat").operand(ahead).operand(behind).attr("axis", Attr::Int(axis));
        let both = self.step(graph, "differences", &real, self.dims.clone(), both);
        rewrite::replace(graph, self.op, INFO.name, &[], NewOp::onnx("Sigmoid").operand(both));
    }

    /// Rows between Transposes: what comes before the Softmax is stored as the operand is, and the rest as the result.
    fn turned(&self, graph: &mut Graph) {
        let rank = self.dims.len();
        let order: Vec<usize> = (0..rank).filter(|&axis| axis != self.axis).chain([self.axis]).collect();
        let back: Vec<i64> = (0..rank).filter_map(|axis| Some(order.iter().position(|&a| a == axis)? as i64)).collect();
        let last: Vec<Dim> = order.iter().map(|&axis| self.dims[axis].clone()).collect();
        let others: Option<u64> = last[..rank - 1].iter().map(Dim::known).product();
        let flat = vec![others.map_or(Dim::Unknown, Dim::Known), self.length().into()];
        let [read, made] = [self.input, graph.op(self.op).result()].map(|value| graph.value(value).ty().clone());
        let permuted =
            |read: ValueId, order: Vec<i64>| NewOp::onnx("Transpose").operand(read).attr("perm", Attr::Ints(order));
        let turned = permuted(self.input, order.iter().map(|&axis| axis as i64).collect());
        let turned = self.step(graph, "last", &read, last.clone(), turned);
        let rows = self.shaped(graph, turned, &flat);
        let rows = self.step(graph, "rows", &read, flat.clone(), rows);
        let softmax = NewOp::onnx("Softmax").operand(rows).attr("axis", Attr::Int(1));
        let softmax = self.step(graph, "softmax", &made, flat, softmax);
        let map = self.shaped(graph, softmax, &last);
        let map = self.step(graph, "map", &made, last, map);
        rewrite::replace(graph, self.op, INFO.name, &[], permuted(map, back));
    }

    /// A Reshape; an open extent is what the others leave.
    fn shaped(&self, graph: &mut Graph, read: ValueId, dims: &[Dim]) -> NewOp {
        let extents: Vec<i64> = dims.iter().map(|dim| dim.known().map_or(-1, |extent| extent as i64)).collect();
        rewrite::shaped(graph, self.op, "Reshape", read, &extents)
    }

    /// An op on the way.
    fn step(&self, graph: &mut Graph, word: &str, like: &Type, dims: Vec<Dim>, new: NewOp) -> ValueId {
        let name = format!("{}.{word}", graph.value(graph.op(self.op).result()).name());
        rewrite::insert_before(graph, self.op, INFO.name, name, with_dims(like, dims), new)
    }
}

/// The type of what an op makes before it is stored.
fn real(graph: &Graph, op: OpId) -> Type {
    match graph.value(graph.op(op).result()).ty() {
        Type::Tensor(ty) => Type::Tensor(TensorType { quant: None, ..ty.clone() }),
        other => other.clone(),
    }
}

fn with_dims(ty: &Type, dims: Vec<Dim>) -> Type {
    match ty.tensor() {
        Some(ty) => Type::Tensor(TensorType { shape: Some(dims), ..ty.clone() }),
        None => ty.clone(),
    }
}
