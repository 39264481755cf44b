//! Recurrent networks: RNN, GRU, LSTM.

use crate::graph::{MICROSOFT, ONNX};
use crate::interp::Fault;
use crate::types::{Dim, Type};

use super::Entry;
use super::dims::Num;
use super::site::{Site, tensor};

pub(super) const RULES: &[Entry] = &[
    (ONNX, "GRU", recurrent),
    (ONNX, "LSTM", recurrent),
    (ONNX, "RNN", recurrent),
    (MICROSOFT, "DynamicQuantizeLSTM", recurrent),
];

/// All hidden states, the last one, and the last cell state of LSTM. `layout` 0: sequence first; 1: batch first.
fn recurrent(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let directions = Dim::Known(if site.text("direction", "forward") == "bidirectional" { 2 } else { 1 });
    let hidden = match site.maybe_int("hidden_size") {
        Some(n) => Num::Known(n).dim()?,
        // R is [directions, gates * hidden, hidden].
        None => site.dim(2, 2),
    };
    if site.rank(0).is_some_and(|rank| rank != 3) {
        return Err("the input must be of rank 3".to_string());
    }
    let batch_first = site.int("layout", 0) == Some(1);
    let (sequence, batch) = if batch_first { (site.dim(0, 1), site.dim(0, 0)) } else { (site.dim(0, 0), site.dim(0, 1)) };
    let (all, last) = if batch_first {
        (vec![batch.clone(), sequence, directions.clone(), hidden.clone()], vec![batch, directions, hidden])
    } else {
        (vec![sequence, directions.clone(), batch.clone(), hidden.clone()], vec![directions, batch, hidden])
    };
    let elem = site.elem(0);
    Ok(vec![tensor(elem, Some(all)), tensor(elem, Some(last.clone())), tensor(elem, Some(last))])
}
