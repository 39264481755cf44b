//! What a trace says: how long each kernel took, and which kernel it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use spaceevo_ir::Diagnostic;

use super::fit::{median, typical};
use crate::kernels::{Kernel, has_scales};
use crate::measure::trace::{Data, Ran, parse};

/// ONNX Runtime cuts off parts of microseconds, half of one on average.
const CUT: f64 = 0.5;
/// Runs of a trace that are not counted.
pub(super) const WARM: usize = 3;

/// What a trace of several runs says, the first of them left out. `slow` says of each other run how many times as slow as it mostly
/// is the machine was, or that it does not count. Errors: `profile-format`.
pub(super) fn ran(events: &[u8], slow: &dyn Fn(usize) -> Option<f64>) -> Result<(Times, f64), Diagnostic> {
    let runs = parse(events, WARM)?;
    let mut ran = Times::new();
    let mut sum = 0.0;
    for kernel in &runs.kernels {
        let steady = kernel.micros.iter().enumerate().filter_map(|(run, micros)| Some((micros + CUT) / slow(run)?));
        let nanos = typical(&steady.collect::<Vec<f64>>()) * 1000.0;
        sum += nanos;
        let signature = signature(kernel);
        ran.entry(signature).or_default().push(nanos);
    }
    Ok((ran, sum))
}

/// The mean of the lower half: what disturbs a run makes it longer, never shorter.
pub fn quiet(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.truncate(sorted.len().div_ceil(2));
    sorted.iter().sum::<f64>() / sorted.len().max(1) as f64
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

/// Nanoseconds by [`Kernel::signature`].
pub(super) type Times = BTreeMap<(Arc<str>, u64, u64), Vec<f64>>;

/// Kernels that ran, and those of them that are told scales.
pub(super) fn counted(ran: &Times) -> [usize; 2] {
    let scaled = ran.iter().filter(|((op, ..), _)| has_scales(op)).map(|(_, times)| times.len());
    [ran.values().map(Vec::len).sum(), scaled.sum()]
}

/// Gives kernels the times of what ran with their signature: all of them, where all kernels of a signature are one, and none
/// where it is not clear which is which.
pub(super) fn assign(kernels: &[Kernel], ran: &Times) -> Vec<(Kernel, f64)> {
    let mut by: BTreeMap<_, Vec<&Kernel>> = BTreeMap::new();
    for kernel in kernels {
        by.entry(kernel.signature()).or_default().push(kernel);
    }
    let mut found = Vec::new();
    for (signature, kernels) in by {
        let Some(times) = ran.get(&signature) else { continue };
        if kernels.len() == times.len() && kernels.iter().all(|&kernel| kernel == kernels[0]) {
            found.push((kernels[0].clone(), median(times)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Layout;

    #[test]
    fn times_are_given_only_where_it_is_clear_whose_they_are() {
        let small = Kernel::same("QLinearConv", Layout::Last, [1, 1], [1, 8, 7, 7]);
        let other = Kernel { window: [3, 3], ..small.clone() };
        let ran: Times = [(small.signature(), vec![4.0, 6.0])].into();
        assert_eq!(assign(&[small.clone(), small.clone()], &ran), [(small.clone(), 5.0)]);
        assert_eq!(assign(&[small.clone(), other], &ran), []);
        assert_eq!(assign(std::slice::from_ref(&small), &ran), []);
    }
}
