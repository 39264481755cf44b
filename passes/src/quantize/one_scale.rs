//! A convolution whose result has a scale and a zero point for each channel, written as one whose result has one of each.
//!
//! With `M[c] = x w[c] / y[c]`, of the scales of operand, weights and result, channel `c` stores `round(M[c] sum) + z[c]`. It
//! stores the same when its weights have the scale `w[c] y / y[c]` and the result the scale `y`; and, where the result has the zero
//! point `z`, when its sums are larger by `(z[c] - z) / M[c]`. That is rounded to a whole number, for a bias of 32 bits.

use std::sync::Arc;

use spaceevo_ir::{Elem, Graph, OpId, Quant, Tensor, TensorType};

use crate::rewrite::exchange_operand;

/// A shift moves what is stored by up to `M / 2` steps from where it was: so small a part of a step that it hardly ever shows.
const LARGEST: f64 = 1.0 / 32.0;

/// What takes the place of a type with an axis.
#[derive(Debug, PartialEq)]
pub(crate) struct OneScale {
    /// The weights' type: other scales, the same stored numbers.
    pub weights: Quant,
    /// What each channel's bias gains, as it is stored.
    pub shifts: Vec<i32>,
    /// The result's type.
    pub result: Quant,
}

/// For an operand with one scale, weights of a scale or one for each filter (axis 0), and a result with scales along axis 1.
/// `None` where its zero points are too far apart for the sums, or for other types.
pub(crate) fn one_scale(operand: &Quant, weights: &Quant, result: &Quant) -> Option<OneScale> {
    let channels = result.scale.len();
    let typed = operand.axis.is_none() && weights.axis.is_none_or(|axis| axis == 0) && result.axis == Some(1);
    let counted = [weights.scale.len(), weights.zero.len(), result.zero.len()].iter().all(|&n| n == 1 || n == channels);
    if !typed || !counted {
        return None;
    }
    let (scale, zero) = (result.at(0).0, usual_zero(result));
    let mut scales = Vec::with_capacity(channels);
    let mut shifts = Vec::with_capacity(channels);
    for channel in 0..channels {
        let (own, own_zero) = result.at(channel);
        let scaled = (f64::from(weights.at(channel).0) * f64::from(scale) / f64::from(own)) as f32;
        let step = f64::from(operand.at(0).0) * f64::from(weights.at(channel).0) / f64::from(own);
        let apart = f64::from(own_zero) - f64::from(zero);
        let shift = if apart == 0.0 { 0.0 } else { (apart / step).round() };
        // Half of what 32 bits hold is left to the sums; not a number fails, too.
        let fits = shift.abs() <= f64::from(i32::MAX / 2) && (apart == 0.0 || step <= LARGEST);
        if !fits || !scaled.is_normal() {
            return None;
        }
        scales.push(scaled);
        shifts.push(shift as i32);
    }
    let weights = Quant { axis: Some(0), scale: scales, ..weights.clone() };
    Some(OneScale { weights, shifts, result: Quant::per_tensor(result.store, scale, zero) })
}

/// Gives a Conv whose result has scales along its channels the weights and the bias that store it with one, and returns the type
/// that they are for. `None`, and nothing happens, for all others.
pub(crate) fn in_one_scale(graph: &mut Graph, op: OpId) -> Option<Quant> {
    let record = graph.op(op);
    let quant = |index: usize| record.operand(index).and_then(|v| graph.value(v).ty().quant());
    let result = graph.value(*record.results().first()?).ty().quant().filter(|q| q.axis.is_some())?;
    let (operand, weights) = (quant(0)?, record.operand(1).filter(|_| record.name().is_onnx("Conv"))?);
    let OneScale { weights: scales, shifts, result } = one_scale(operand, quant(1)?, result)?;
    let rows =
        graph.const_of(weights).filter(|t| graph.value(weights).is_const() && t.dims().first() == Some(&shifts.len()))?;
    let sums = match record.operand(2) {
        None => vec![0; shifts.len()],
        Some(bias) => graph.const_of(bias)?.values::<i32>()?.into_owned(),
    };
    if sums.len() != shifts.len() {
        return None;
    }
    let sums: Vec<i32> = sums.iter().zip(&shifts).map(|(sum, shift)| sum.checked_add(*shift)).collect::<Option<_>>()?;
    let of_bias = (0..shifts.len()).map(|channel| operand.at(0).0 * scales.at(channel).0).collect();
    let of_bias = Quant { store: Elem::I32, axis: Some(0), scale: of_bias, zero: vec![0] };
    let typed = |dims: &[usize], quant| TensorType { quant: Some(Arc::new(quant)), ..TensorType::of(Elem::F32, dims) };
    let (rows, name) = (rows.clone(), graph.value(weights).name().clone());
    let of_rows = typed(rows.dims(), scales);
    let bias_name = record.operand(2).map_or_else(|| format!("{name}_bias").into(), |bias| graph.value(bias).name().clone());
    let rows = graph.add_typed_const(graph.body(), name, rows, of_rows);
    let dims = [sums.len()];
    let bias = graph.add_typed_const(graph.body(), bias_name, Tensor::new(dims, sums), typed(&dims, of_bias));
    exchange_operand(graph, op, 1, Some(rows));
    exchange_operand(graph, op, 2, Some(bias));
    Some(result)
}

/// The zero point of the most channels, of such the first one.
fn usual_zero(result: &Quant) -> i32 {
    let zeros = || (0..result.scale.len()).map(|channel| result.at(channel).1);
    let share = |zero: i32| zeros().filter(|&other| other == zero).count();
    zeros().rev().max_by_key(|&zero| share(zero)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spaceevo_ir::Elem;

    fn along(axis: usize, scale: &[f32], zero: &[i32]) -> Quant {
        Quant { store: Elem::U8, axis: Some(axis), scale: scale.to_vec(), zero: zero.to_vec() }
    }

    #[test]
    fn each_channel_keeps_its_steps() {
        let operand = Quant::per_tensor(Elem::U8, 0.5, 3);
        let weights = Quant { store: Elem::I8, ..along(0, &[0.25, 0.5, 1.0], &[0]) };
        let result = along(1, &[16.0, 64.0, 32.0], &[7, 7, 9]);
        let found = one_scale(&operand, &weights, &result).unwrap();
        assert_eq!(found.result, Quant::per_tensor(Elem::U8, 16.0, 7));
        assert_eq!(found.weights, Quant { store: Elem::I8, ..along(0, &[0.25, 0.125, 0.5], &[0]) });
        // Two steps of 32 are 128 of 0.5.
        assert_eq!(found.shifts, [0, 0, 128]);
    }

    #[test]
    fn zero_points_that_the_sums_cannot_reach_are_refused() {
        let operand = Quant::per_tensor(Elem::U8, 1.0, 0);
        let weights = |scale| Quant::per_tensor(Elem::I8, scale, 0);
        let result = |zeros: &[i32]| along(1, &[1.0, 1.0], zeros);
        let fits = |scale, zeros: &[i32]| one_scale(&operand, &weights(scale), &result(zeros)).is_some();
        // A step of the sums is a step of the result: a shift may be half a step off.
        assert!(fits(1.0, &[3, 3]) && !fits(1.0, &[3, 4]) && fits(0.01, &[3, 4]));
        // 255 steps are more than 32 bits hold.
        assert!(fits(1e-6, &[0, 255]) && !fits(1e-8, &[0, 255]));
        let per_column = Quant { store: Elem::I8, ..along(1, &[0.01, 0.01], &[0]) };
        assert_eq!(one_scale(&operand, &per_column, &result(&[3, 3])), None);
    }
}
