//! Stretches of a profile that compute with the same numbers: where integers begin and end, and what the borders cost.

use super::profile::{Kernel, Profile};

/// What kernels compute with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Numbers {
    /// Results are stored as bytes.
    Integer,
    /// Results are anything else.
    Float,
    /// Bytes become other numbers, or come from them.
    Border,
}

impl Numbers {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Numbers::Integer => "integer",
            Numbers::Float => "float",
            Numbers::Border => "border",
        }
    }

    fn of(kernel: &Kernel) -> Numbers {
        match &*kernel.op.op {
            "QuantizeLinear" | "DequantizeLinear" | "Cast" => Numbers::Border,
            _ if kernel.is_integer() => Numbers::Integer,
            _ => Numbers::Float,
        }
    }
}

/// Kernels that hang together and compute with the same numbers.
#[derive(Clone, PartialEq, Debug)]
pub struct Stretch {
    /// With what.
    pub numbers: Numbers,
    /// Which, in the order in which they ran.
    pub kernels: Vec<usize>,
    /// Microseconds together.
    pub micros: f64,
}

/// The stretches, by their first kernel.
pub fn stretches(profile: &Profile) -> Vec<Stretch> {
    let kernels = &profile.kernels;
    let numbers: Vec<Numbers> = kernels.iter().map(Numbers::of).collect();
    // Each kernel's stretch is named by its first one.
    let mut first: Vec<usize> = (0..kernels.len()).collect();
    for at in 0..kernels.len() {
        for &read in kernels[at].reads.iter().filter(|&&read| numbers[read] == numbers[at]) {
            let (a, b) = (first[read].min(first[at]), first[read].max(first[at]));
            first.iter_mut().filter(|f| **f == b).for_each(|f| *f = a);
        }
    }
    let mut found: Vec<Stretch> = Vec::new();
    for name in 0..kernels.len() {
        let members: Vec<usize> = (0..kernels.len()).filter(|&at| first[at] == name).collect();
        if let Some(&at) = members.first() {
            let micros = members.iter().map(|&at| kernels[at].micros).sum();
            found.push(Stretch { numbers: numbers[at], kernels: members, micros });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::profile::Role;
    use crate::measure::trace::Data;
    use spaceevo_ir::{Elem, OpName};

    #[test]
    fn integers_begin_and_end_at_conversions() {
        let kernel = |op: &str, elem, reads: &[usize], micros| Kernel {
            node: String::new(),
            op: OpName::onnx(op),
            role: Role::Op,
            ops: vec![],
            reads: reads.to_vec(),
            inputs: vec![],
            outputs: vec![Data { elem: Some(elem), dims: vec![] }],
            micros,
        };
        let kernels = vec![
            kernel("QuantizeLinear", Elem::U8, &[], 1.0),
            kernel("QLinearConv", Elem::U8, &[0], 2.0),
            kernel("DequantizeLinear", Elem::F32, &[1], 4.0),
            kernel("Softmax", Elem::F32, &[2], 8.0),
            kernel("QLinearConv", Elem::U8, &[1], 16.0),
        ];
        let found = stretches(&Profile { kernels, folded: vec![], whole: 40.0, runs: 1 });
        let lines: Vec<_> = found.iter().map(|s| (s.numbers, s.kernels.clone(), s.micros)).collect();
        let expected = [
            (Numbers::Border, vec![0], 1.0),
            (Numbers::Integer, vec![1, 4], 18.0),
            (Numbers::Border, vec![2], 4.0),
            (Numbers::Float, vec![3], 8.0),
        ];
        assert_eq!(lines, expected);
    }
}
