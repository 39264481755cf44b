//! What a trace says: how long each kernel took, and which kernel it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use spaceevo_ir::Diagnostic;

use super::fit::{median, typical};
use super::pace::WARM;
use crate::kernels::Kernel;
use crate::measure::trace::{Data, Ran, parse};

/// ONNX Runtime cuts off parts of microseconds, half of one on average.
const CUT: f64 = 0.5;
/// Kernels of a branch that has a twin beside it, at most: two convolutions, each with what a stored hard swish becomes.
const BRANCH: usize = 12;

/// What a trace of several runs says, the first of them left out. `slow` says of each other run how many times as slow as it mostly
/// is the machine was, or that it does not count. Errors: `profile-format`.
pub(super) fn ran(events: &[u8], slow: &dyn Fn(usize) -> Option<f64>) -> Result<Times, Diagnostic> {
    let nanos = |kernel: &Ran| {
        let steady = kernel.micros.iter().enumerate().filter_map(|(run, micros)| Some((micros + CUT) / slow(run)?));
        typical(&steady.collect::<Vec<f64>>()) * 1000.0
    };
    let kernels = parse(events, WARM)?.kernels;
    let tensors = kernels.iter().map(|kernel| kernel.inputs.len() + kernel.outputs.len()).sum();
    Ok(Times { ran: kernels.iter().map(|kernel| (signature(kernel), nanos(kernel))).collect(), tensors })
}

/// The [`Kernel::signature`] of what ran.
pub fn signature(ran: &Ran) -> (Arc<str>, u64, u64) {
    let numbers = |data: &Data| data.dims.iter().product::<u64>();
    // Scales and zero points have no extents; of ops without weights, the largest operand counts.
    let mut tensors = ran.inputs.iter().filter(|d| !d.dims.is_empty()).map(numbers);
    let multiplies = ["Conv", "Gemm", "MatMul"].iter().any(|op| ran.op.ends_with(op));
    let read = if multiplies { tensors.next() } else { tensors.max() };
    (Arc::from(ran.op.as_str()), read.unwrap_or(1), ran.outputs.first().map_or(1, numbers))
}

/// What says of a kernel that ran which one it was ([`Kernel::signature`]).
type Signature = (Arc<str>, u64, u64);

/// Kernels that ran, in their order, with their nanoseconds.
#[derive(Debug)]
pub(super) struct Times {
    ran: Vec<(Signature, f64)>,
    tensors: usize,
}

impl Times {
    /// Nanoseconds of everything together.
    pub(super) fn sum(&self) -> f64 {
        self.ran.iter().map(|(_, nanos)| nanos).sum()
    }

    /// Kernels that ran, and tensors that they read and made.
    pub(super) fn counted(&self) -> [usize; 2] {
        [self.ran.len(), self.tensors]
    }

    /// Gives kernels, in the order that is foreseen, the times of what ran: where that is the order in which they ran, all of them; else
    /// those of what ran with their signature, or with it between two of the same signatures, where all such kernels are alike. None where
    /// it is not clear which is which: nobody knows which of two branches, alike but for a window, a runtime does first.
    pub(super) fn assign(&self, kernels: &[Kernel]) -> Vec<(Kernel, f64)> {
        let foreseen: Vec<Signature> = kernels.iter().map(Kernel::signature).collect();
        let ran: Vec<Signature> = self.ran.iter().map(|(signature, _)| signature.clone()).collect();
        let beside = |at: usize| at.saturating_sub(BRANCH)..(at + BRANCH + 1).min(kernels.len());
        // How long ago their operator ran may be different.
        let is_like = |a: &Kernel, b: &Kernel| *a == Kernel { since: a.since, ..b.clone() };
        let is_clear = |at: &usize| beside(*at).all(|b| foreseen[b] != foreseen[*at] || is_like(&kernels[b], &kernels[*at]));
        let mut by: BTreeMap<&Kernel, Vec<f64>> = BTreeMap::new();
        if foreseen == ran {
            (0..ran.len()).filter(is_clear).for_each(|at| by.entry(&kernels[at]).or_default().push(self.ran[at].1));
        } else {
            for around in [0, 1] {
                let (mut alike, mut times) = (BTreeMap::new(), BTreeMap::new());
                for at in (0..kernels.len()).filter(is_clear) {
                    alike.entry(near(&foreseen, at, around)).or_insert_with(Vec::new).push(&kernels[at]);
                }
                for (at, (_, nanos)) in self.ran.iter().enumerate() {
                    times.entry(near(&ran, at, around)).or_insert_with(Vec::new).push(*nanos);
                }
                let mut found: BTreeMap<&Kernel, Vec<f64>> = BTreeMap::new();
                for (place, kernels) in alike {
                    let times = times.remove(&place).filter(|times| times.len() == kernels.len());
                    let Some(times) = times.filter(|_| kernels.iter().all(|kernel| is_like(kernel, kernels[0]))) else {
                        continue;
                    };
                    kernels.into_iter().zip(times).for_each(|(kernel, time)| found.entry(kernel).or_default().push(time));
                }
                for (kernel, times) in found {
                    by.entry(kernel).or_insert(times);
                }
            }
        }
        by.into_iter().map(|(kernel, times)| (kernel.clone(), median(&times))).collect()
    }
}

/// The signature of what is at a place, and those of so many on either side.
fn near(all: &[Signature], at: usize, around: usize) -> Vec<Option<&Signature>> {
    (at..=at + 2 * around).map(|place| place.checked_sub(around).and_then(|place| all.get(place))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Layout;

    #[test]
    fn times_are_given_only_where_it_is_clear_whose_they_are() {
        let small = Kernel::same("QLinearConv", Layout::Last, [1, 1], [1, 8, 7, 7]);
        let other = Kernel { window: [3, 3], ..small.clone() };
        let sum = Kernel::same("QLinearAdd", Layout::Last, [1, 1], [1, 8, 7, 7]);
        let ran = |kernels: &[&Kernel]| {
            let time = |(at, kernel): (usize, &&Kernel)| (kernel.signature(), 2.0 * (at + 1) as f64);
            Times { ran: kernels.iter().enumerate().map(time).collect(), tensors: 9 * kernels.len() }
        };
        assert_eq!(ran(&[&small, &small]).assign(&[small.clone(), small.clone()]), [(small.clone(), 3.0)]);
        // In the order that is foreseen each is the one that it looks like, but for branches that are alike.
        let last = Kernel::same("Transpose", Layout::Plain, [1, 1], [1, 8, 7, 7]);
        let mut chain = vec![&sum; BRANCH + 2];
        (chain[0], chain[BRANCH + 1]) = (&small, &other);
        let found = ran(&chain).assign(&chain.iter().map(|&kernel| kernel.clone()).collect::<Vec<_>>());
        let end = 2.0 * (BRANCH + 2) as f64;
        assert_eq!(found, [(sum.clone(), (4.0 + end - 2.0) / 2.0), (small.clone(), 2.0), (other.clone(), end)]);
        let branches = [&small, &other, &sum];
        assert_eq!(ran(&branches).assign(&branches.map(Clone::clone)), [(sum.clone(), 6.0)]);
        let branches = [&small, &sum, &sum, &sum, &sum, &sum, &other, &sum, &sum, &sum, &sum, &sum];
        let found = ran(&branches).assign(&branches.map(Clone::clone));
        assert_eq!(found, [(sum.clone(), 14.0)], "with an activation of five kernels behind each");
        // In another order those are known that are between the same.
        let between = [&sum; BRANCH];
        let all = [&[&small][..], &between, &[&other, &last]].concat();
        let moved = [&[&small, &sum, &last][..], &between[1..], &[&other]].concat();
        let found = ran(&moved).assign(&all.into_iter().cloned().collect::<Vec<_>>());
        // Sums are second, and fourth to last but one.
        let middle = (2 * BRANCH + 10) as f64 / 2.0;
        assert_eq!(found, [(sum.clone(), middle), (small.clone(), 2.0), (last, 6.0)]);
        assert_eq!(ran(&[&small, &small]).assign(std::slice::from_ref(&small)), []);
        // How long ago the operator ran makes no other kernel of it.
        let later = Kernel { since: 4 * 24, ..small.clone() };
        let found = ran(&[&small, &later]).assign(&[small.clone(), later.clone()]);
        assert_eq!(found, [(small.clone(), 2.0), (later.clone(), 4.0)]);
        let found = ran(&[&small, &later, &sum]).assign(&[small.clone(), sum.clone(), later.clone()]);
        assert_eq!(found, [(sum, 6.0), (small.clone(), 2.0), (later, 4.0)]);
    }

    #[test]
    fn a_trace_says_how_many_tensors_its_kernels_have() {
        let event = |name: &str, cat: &str, args: &str| {
            format!(
                r#"{{"cat": "{cat}", "pid": 1, "tid": 1, "dur": 8, "ts": 0, "ph": "X", "name": "{name}", "args": {{{args}}}}}"#
            )
        };
        let sum = r#""op_name": "Add", "input_type_shape": [{"float": [1, 8]}, {"float": []}], "output_type_shape": [{"float": [1, 8]}]"#;
        let one = r#""op_name": "Relu", "input_type_shape": [{"float": [1, 8]}], "output_type_shape": [{"float": [1, 8]}]"#;
        let run =
            [event("a_kernel_time", "Node", sum), event("b_kernel_time", "Node", one), event("model_run", "Session", "")];
        let events = format!("[{}]", vec![run.join(","); WARM + 2].join(","));
        let times = ran(events.as_bytes(), &|_| Some(1.0)).unwrap();
        assert_eq!((times.counted(), times.sum()), ([2, 5], 17_000.0));
    }
}
