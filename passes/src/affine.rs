//! Per-channel affine maps `y[c] = scale[c] * x[c] + shift[c]`: what BatchNormalization and arithmetic with constants are.
//!
//! Channels are along axis 1, as ONNX's convolutions and BatchNormalization have it.

use spaceevo_ir::{Graph, OpId, ValueId};

use crate::analysis::{per_channel, reals};

/// A per-channel affine map.
#[derive(Clone, PartialEq, Debug)]
pub struct Affine {
    /// Factor of each channel.
    pub scale: Vec<f64>,
    /// Summand of each channel.
    pub shift: Vec<f64>,
}

impl Affine {
    /// What a BatchNormalization with constant statistics computes (Ioffe and Szegedy 2015, in inference):
    /// `scale = gamma / sqrt(variance + epsilon)`, `shift = beta - mean * scale`. Else a sentence why not.
    pub fn of_batch_norm(graph: &Graph, op: OpId) -> Result<Affine, String> {
        let norm = graph.op(op);
        let opset = crate::analysis::opset(graph, op);
        if norm.int("training_mode", 0) != 0 || (opset < 7 && norm.int("is_test", 0) == 0) {
            return Err("it is in training mode".into());
        }
        if norm.int("spatial", 1) != 1 {
            return Err("its statistics differ by position (spatial = 0)".into());
        }
        if norm.results()[1..].iter().any(|&v| graph.use_count(v) > 0) {
            return Err("its statistics are read".into());
        }
        let part = |index: usize, name: &str| {
            let numbers = norm.operand(index).and_then(|v| reals(graph, v));
            numbers.ok_or_else(|| format!("its {name} is no constant"))
        };
        let (gamma, beta, mean, variance) = (part(1, "scale")?, part(2, "bias")?, part(3, "mean")?, part(4, "variance")?);
        if [&beta, &mean, &variance].iter().any(|p| p.len() != gamma.len()) {
            return Err("its parameters differ in length".into());
        }
        let epsilon = f64::from(norm.float("epsilon", 1e-5));
        let scale: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
        let shift = beta.iter().zip(&mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
        let affine = Affine { scale, shift };
        if affine.is_finite() { Ok(affine) } else { Err("its scale is not finite".into()) }
    }

    /// What an Add, Sub, Mul or Div of a value of rank `rank` and a per-channel constant computes, with the value.
    pub fn of_arithmetic(graph: &Graph, op: OpId, channels: usize, rank: usize) -> Option<(ValueId, Affine)> {
        let (value, constant, index) = crate::analysis::constant_side(graph, op)?;
        let numbers = per_channel(graph, constant, channels, 1, rank)?;
        let same = |x: f64| vec![x; channels];
        let name = graph.op(op).name();
        let (scale, shift) = match index {
            _ if name.is_onnx("Mul") => (numbers, same(0.0)),
            _ if name.is_onnx("Add") => (same(1.0), numbers),
            1 if name.is_onnx("Sub") => (same(1.0), numbers.iter().map(|n| -n).collect()),
            1 if name.is_onnx("Div") => (numbers.iter().map(|n| 1.0 / n).collect(), same(0.0)),
            0 if name.is_onnx("Sub") => (same(-1.0), numbers),
            _ => return None,
        };
        let affine = Affine { scale, shift };
        affine.is_finite().then_some((value, affine))
    }

    /// True when it adds nothing.
    pub fn is_scaling(&self) -> bool {
        self.shift.iter().all(|&s| s == 0.0)
    }

    fn is_finite(&self) -> bool {
        self.scale.iter().chain(&self.shift).all(|n| n.is_finite())
    }
}
