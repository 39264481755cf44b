//! The first estimate: a sum of counts with weights that are not negative.
//!
//! ```text
//! time = call + a macs + b numbers read + c numbers made + …
//! ```
//!
//! It holds for kernels that are larger than all that were measured. One sum for all kernels of a family: with a sum for each side of a
//! rule (a model tree), the trees behind it predict fewer of those held out, 66 and 70 instead of 70 and 71 of 100 within 5 %
//! (convolutions of stored numbers in two builds, five-fold cross-validation).

use crate::kernels::COUNTS;

use super::ROW;

/// Number of counts.
pub const TERMS: usize = COUNTS.len();
/// Rows below which what is moved has one weight.
const FEW: usize = 24;

/// Nanoseconds of each count.
#[derive(Clone, PartialEq, Debug)]
pub struct Base(pub [f64; TERMS]);

/// A measured kernel.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its counts.
    pub counts: [f64; TERMS],
    /// Its features.
    pub features: [f32; ROW],
    /// Nanoseconds.
    pub time: f64,
}

impl Base {
    /// Nanoseconds.
    pub fn time(&self, counts: &[f64; TERMS]) -> f64 {
        self.0.iter().zip(counts).map(|(w, c)| w * c).sum::<f64>().max(1.0)
    }

    /// Fits rows, of which there is at least one.
    pub fn fit(rows: &[&Row]) -> Base {
        // Few rows do not tell numbers read from numbers made: what a weight of its own would be is anybody's guess.
        if rows.len() < FEW { Base::of_few(rows) } else { Base(weights(rows)) }
    }

    /// A sum that needs few rows: of a call, multiply-accumulates, and numbers moved, whichever way.
    pub(super) fn of_few(rows: &[&Row]) -> Base {
        Base(weights_of_few(rows))
    }
}

/// The weights of a call, of a multiply-accumulate, of a number moved, whichever way, of one gathered for a window, and of a pixel.
fn weights_of_few(rows: &[&Row]) -> [f64; TERMS] {
    let joined = |row: &&Row| {
        let [calls, macs, read, made, weights, gathered, _, pixels, ..] = row.counts;
        let mut counts = [0.0; TERMS];
        let [gathered, pixels] = if macs > 0.0 { [0.0; 2] } else { [gathered, pixels] };
        counts[..5].copy_from_slice(&[calls, macs, read + made + weights, gathered, pixels]);
        Row { counts, ..(*row).clone() }
    };
    let rows: Vec<Row> = rows.iter().map(joined).collect();
    let [call, mac, moved, gathered, pixel, ..] = weights(&rows.iter().collect::<Vec<_>>());
    let mut all = [0.0; TERMS];
    all[..8].copy_from_slice(&[call, mac, moved, moved, moved, gathered, 0.0, pixel]);
    all
}

/// The weights of the least relative error, none of them negative: coordinate descent on the normal equations.
fn weights(rows: &[&Row]) -> [f64; TERMS] {
    // Columns in units of their mean, so that they are alike in size.
    let mut scale = [0.0; TERMS];
    for row in rows {
        for (scale, count) in scale.iter_mut().zip(row.counts) {
            *scale += count / row.time / rows.len() as f64;
        }
    }
    let mut gram = [[0.0; TERMS]; TERMS];
    let mut right = [0.0; TERMS];
    for row in rows {
        let column = |term: usize| if scale[term] > 0.0 { row.counts[term] / row.time / scale[term] } else { 0.0 };
        for a in 0..TERMS {
            right[a] += column(a);
            gram[a].iter_mut().enumerate().for_each(|(b, sum)| *sum += column(a) * column(b));
        }
    }
    let mut weights = [0.0; TERMS];
    for _ in 0..300 {
        for a in 0..TERMS {
            if gram[a][a] > 0.0 {
                let others: f64 = (0..TERMS).filter(|&b| b != a).map(|b| gram[a][b] * weights[b]).sum();
                weights[a] = ((right[a] - others) / gram[a][a]).max(0.0);
            }
        }
    }
    std::array::from_fn(|term| if scale[term] > 0.0 { weights[term] / scale[term] } else { 0.0 })
}
