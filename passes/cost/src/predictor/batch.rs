//! Many kernels at once: what a search over networks needs. The same bits as one by one.

use std::collections::HashMap;

use super::{Predictor, ROW};
use crate::kernels::{Kernel, Layout, counts, features};

/// What tells families apart, without the allocation of a name.
type Family<'a> = (&'a str, Layout, [u8; 2], [bool; 2]);

fn family(kernel: &Kernel) -> Family<'_> {
    (&kernel.op, kernel.layout, kernel.bytes, [kernel.groups > 1, kernel.is_depthwise()])
}

impl Predictor {
    /// Nanoseconds of each kernel, in their order.
    pub fn kernels(&self, kernels: &[Kernel]) -> Vec<f64> {
        let mut groups: HashMap<Family<'_>, usize> = HashMap::new();
        let mut members: Vec<Vec<usize>> = Vec::new();
        for (at, kernel) in kernels.iter().enumerate() {
            let next = members.len();
            let group = *groups.entry(family(kernel)).or_insert(next);
            if group == next {
                members.push(Vec::new());
            }
            members[group].push(at);
        }
        let mut times = vec![0.0; kernels.len()];
        for members in members {
            let first = &kernels[members[0]];
            let Some(model) = self.models.get(&first.family()) else {
                members.iter().for_each(|&at| times[at] = self.kernel(&kernels[at]).nanos);
                continue;
            };
            let mut columns: Vec<Vec<f32>> = (0..ROW).map(|_| Vec::with_capacity(members.len())).collect();
            for &at in &members {
                let row = features(&kernels[at]);
                columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
                times[at] = model.base.time(&counts(&kernels[at]), &row);
            }
            let mut sums = vec![0.0f32; members.len()];
            model.forest.add_answers(&columns, &mut sums);
            for (&at, sum) in members.iter().zip(sums) {
                times[at] *= libm::exp(f64::from(sum));
            }
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Base, Forest, Model, Origin, Overhead, Tree};
    use super::*;

    #[test]
    fn many_at_once_have_the_bits_of_each_alone() {
        let base = Base::Sum([900.0, 0.01, 0.1, 0.1, 0.0, 0.0, 3.0, 0.0]);
        let tree = |feature: usize, least: f32| Tree { questions: vec![(feature, least)], leaves: vec![0.125, -0.3] };
        let forest = Forest { trees: vec![tree(0, 16.0), tree(11, 50.0), tree(3, 8.0)] };
        let model = Model { samples: 9, base, forest, spread: 0.1 };
        let kernel = |at: u32| {
            let op = if at.is_multiple_of(3) { "QLinearAdd" } else { "QLinearConv" };
            Kernel::same(op, Layout::Last, [1, 1], [1, 4 * at, at, at])
        };
        let kernels: Vec<Kernel> = (1..40).map(kernel).collect();
        let models = [("QLinearConv-last".to_owned(), model)].into();
        let overhead = Overhead { call: 0.0, step: 0.0, factor: 1.0, spread: 0.0 };
        let predictor = Predictor { origin: Origin::new(), overhead, models };
        let alone: Vec<f64> = kernels.iter().map(|k| predictor.kernel(k).nanos).collect();
        assert_eq!(predictor.kernels(&kernels), alone);
    }
}
