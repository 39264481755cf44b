//! Text of a graph that is written op by op.

use spaceevo_ir::Tensor;

use super::floats::graph;
use super::{Allowed, Drawn};
use crate::instance::Dice;

/// Ops on 32-bit floats of which each reads what the one before it has made.
pub(super) struct Chain {
    /// What was written.
    pub(super) body: String,
    /// The last value.
    pub(super) last: String,
    /// Its shape.
    pub(super) shape: Vec<usize>,
    input: Vec<usize>,
    count: usize,
}

impl Chain {
    /// Begins with the graph's input `%x`.
    pub(super) fn new(shape: &[usize]) -> Chain {
        Chain { body: String::new(), last: "%x".into(), shape: shape.to_vec(), input: shape.to_vec(), count: 0 }
    }

    /// A name that nobody has.
    fn name(&mut self) -> String {
        self.count += 1;
        format!("%v{}", self.count)
    }

    /// An op that reads the last value where its text has `{}`.
    pub(super) fn then(&mut self, call: &str) {
        let made = self.name();
        self.body += &format!("  {made} = {} : f32{:?}\n", call.replace("{}", &self.last), self.shape);
        self.last = made;
    }

    /// One that makes another shape.
    pub(super) fn reshaped(&mut self, call: &str, shape: &[usize]) {
        self.shape = shape.to_vec();
        self.then(call);
    }

    /// A constant of floats.
    pub(super) fn constant(&mut self, numbers: &str, dims: &[usize]) -> String {
        self.typed(numbers, &format!("f32{dims:?}"))
    }

    /// A constant of whole numbers.
    pub(super) fn integers(&mut self, numbers: &[i64]) -> String {
        self.typed(&format!("{numbers:?}"), &format!("i64[{}]", numbers.len()))
    }

    fn typed(&mut self, numbers: &str, ty: &str) -> String {
        let made = self.name();
        self.body += &format!("  {made} = const {numbers} : {ty}\n");
        made
    }

    /// The graph, whose result is the last value with its sign turned: a name that no pass takes away.
    pub(super) fn finish(mut self, dice: &mut Dice, draw: fn(&mut Dice, &[usize]) -> Tensor, allowed: Allowed) -> Drawn {
        self.body += &format!("  %y = onnx.Neg {} : f32{:?}\n", self.last, self.shape);
        Drawn { text: graph(&self.input, &self.body), inputs: vec![draw(dice, &self.input)], allowed }
    }
}

/// Numbers from around zero.
pub(super) fn usual(dice: &mut Dice, dims: &[usize]) -> Tensor {
    let count = dims.iter().product();
    Tensor::new(dims, (0..count).map(|_| dice.number()).collect::<Vec<f32>>())
}
