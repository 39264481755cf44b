//! Products and sums as people write them out in pieces: a tree of Mul and Div with constants is one coefficient times
//! factors, whatever its order.

use spaceevo_ir::{Graph, OpId, ValueId};

use crate::analysis::{constant_side, is_plain, scalar};

/// `coefficient * factors[0] * factors[1] * ...`.
#[derive(Clone, PartialEq, Debug)]
pub struct Product {
    /// Product of all constants.
    pub coefficient: f64,
    /// What is no constant, in no particular order.
    pub factors: Vec<ValueId>,
    /// The ops that the tree is made of, its root first.
    pub ops: Vec<OpId>,
}

/// More factors than any known pattern has.
const MOST: usize = 4;

impl Product {
    /// The product that ends in `op`; `None` when it is neither Mul nor Div by a constant of one number. Inner results must
    /// have no other readers.
    pub fn of(graph: &Graph, op: OpId) -> Option<Product> {
        Some(graph.op(op)).filter(|record| record.results().first().is_some_and(|&r| is_plain(graph, r)))?;
        Product::then_stored(graph, op)
    }

    /// As [`Product::of`], but what `op` makes may be stored: the product is what it is before it is rounded.
    pub fn then_stored(graph: &Graph, op: OpId) -> Option<Product> {
        let mut product = Product { coefficient: 1.0, factors: Vec::new(), ops: Vec::new() };
        product.take(graph, op)?;
        Some(product)
    }

    fn take(&mut self, graph: &Graph, op: OpId) -> Option<()> {
        let record = graph.op(op);
        let (mul, div) = (record.name().is_onnx("Mul"), record.name().is_onnx("Div"));
        if !(mul || div) || record.operands().len() != 2 || self.ops.len() >= 2 * MOST {
            return None;
        }
        let constant =
            constant_side(graph, op).and_then(|(value, constant, index)| Some((value, scalar(graph, constant)?, index)));
        let values = match constant {
            Some((value, number, _)) if mul => {
                self.coefficient *= number;
                vec![value]
            }
            Some((value, number, 1)) => {
                self.coefficient /= number;
                vec![value]
            }
            None if mul => vec![record.operand(0)?, record.operand(1)?],
            _ => return None,
        };
        self.ops.push(op);
        for value in values {
            let inner = graph
                .def_op(value)
                .filter(|&inner| graph.only_user(value) == Some(op) && graph.op(inner).region() == record.region())
                .filter(|_| is_plain(graph, value));
            let before = (self.coefficient, self.factors.len(), self.ops.len());
            if inner.and_then(|inner| self.take(graph, inner)).is_none() {
                // A half-read inner op is a factor as it stands.
                self.coefficient = before.0;
                self.factors.truncate(before.1);
                self.ops.truncate(before.2);
                self.factors.push(value);
            }
        }
        (self.factors.len() <= MOST).then_some(())
    }

    /// The other factor when there are two and one of them is `factor`.
    pub fn beside(&self, factor: ValueId) -> Option<ValueId> {
        match self.factors[..] {
            [a, b] if a == factor => Some(b),
            [a, b] if b == factor => Some(a),
            _ => None,
        }
    }
}

/// `scale * input + shift` with single numbers, as far down as it is written out in Mul, Div, Add and Sub.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    /// Factor.
    pub scale: f64,
    /// Summand.
    pub shift: f64,
    /// What is no constant.
    pub input: ValueId,
    /// The ops that it is made of, the last one first.
    pub ops: Vec<OpId>,
}

impl Line {
    /// The line that `value` is, followed through at most four ops, each of which only the next one reads.
    pub fn of(graph: &Graph, value: ValueId) -> Line {
        let mut line = Line { scale: 1.0, shift: 0.0, input: value, ops: Vec::new() };
        while let Some(op) = graph.def_op(line.input).filter(|_| line.ops.len() < 4 && graph.use_count(line.input) == 1) {
            let name = graph.op(op).name();
            let Some((input, constant, index)) = constant_side(graph, op).filter(|_| is_plain(graph, line.input)) else {
                break;
            };
            let Some(number) = scalar(graph, constant) else { break };
            // One number of a higher rank than the value widens it.
            let rank = graph.const_of(constant).map_or(0, |t| t.dims().len());
            if rank > 0 && graph.value(input).ty().rank().is_none_or(|r| r < rank) {
                break;
            }
            // y = scale * (inner) + shift, inner = a * input + b.
            let (a, b) = match index {
                _ if name.is_onnx("Mul") => (number, 0.0),
                _ if name.is_onnx("Add") => (1.0, number),
                1 if name.is_onnx("Sub") => (1.0, -number),
                0 if name.is_onnx("Sub") => (-1.0, number),
                1 if name.is_onnx("Div") => (1.0 / number, 0.0),
                _ => break,
            };
            (line.scale, line.shift) = (line.scale * a, line.scale * b + line.shift);
            line.input = input;
            line.ops.push(op);
        }
        line
    }
}
