//! Rounding of weights that looks at what they are multiplied with.
//!
//! Rounding each weight to its nearest step keeps each weight's error small, but the errors of one output add up over what
//! it reads. With `e` the errors in steps, the squared error of an output is, for inputs of mean `m`, variance `v` and
//! correlation `r` between taps of one channel,
//!
//! ```text
//! (sum m e)^2 + sum over channels v ((1 - r) sum e^2 + r (sum e)^2)
//! ```
//!
//! Rounding a weight to its other neighbour where that lowers this sum makes the errors cancel (the sums per kernel and per
//! output channel are those of SQuant, Guo et al., ICLR 2022; here measured moments weigh them).

use super::moments::Moments;

/// Sweeps over the weights of one output; the second finds little, the third next to nothing.
const SWEEPS: usize = 3;
/// Errors of fewer steps stay.
const LEAST: f64 = 0.05;

/// Rounds the weights of one output, given in steps, to integers within `-high..=high`.
///
/// `weights[c * taps + t]` meets channel `first + c` of the moments. Returns the integers, and the mean error that is left,
/// in steps times inputs: what a bias can take back.
pub fn round(weights: &[f64], taps: usize, high: i32, moments: &Moments, first: usize) -> (Vec<i32>, f64) {
    let high = f64::from(high);
    let mut stored: Vec<f64> = weights.iter().map(|w| w.round_ties_even().clamp(-high, high)).collect();
    let mean = &moments.mean[first * taps..][..weights.len()];
    let error = |stored: &[f64], i: usize| stored[i] - weights[i];
    let mut kernels: Vec<f64> =
        (0..weights.len() / taps).map(|c| (c * taps..(c + 1) * taps).map(|i| error(&stored, i)).sum()).collect();
    let mut total: f64 = (0..weights.len()).map(|i| error(&stored, i) * mean[i]).sum();
    // The closer to the middle between two integers, the less it costs to take the other one. Close to an integer it never
    // pays.
    let mut order: Vec<(f64, usize)> =
        (0..weights.len()).map(|i| (error(&stored, i).abs(), i)).filter(|e| e.0 > LEAST).collect();
    order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    for _ in 0..SWEEPS {
        let mut flipped = false;
        for &(_, i) in &order {
            let (own, c) = (error(&stored, i), i / taps);
            let (variance, alike) = (moments.variance[first + c], moments.alike[first + c]);
            let step = if own > 0.0 { -1.0 } else { 1.0 };
            let single = (own + step).powi(2) - own.powi(2);
            let kernel = (kernels[c] + step).powi(2) - kernels[c].powi(2);
            let mean_error = (total + step * mean[i]).powi(2) - total.powi(2);
            let gain = mean_error + variance * ((1.0 - alike) * single + alike * kernel);
            if gain < 0.0 && (stored[i] + step).abs() <= high {
                stored[i] += step;
                kernels[c] += step;
                total += step * mean[i];
                flipped = true;
            }
        }
        if !flipped {
            break;
        }
    }
    (stored.into_iter().map(|q| q as i32).collect(), total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(mean: &[f64], variance: f64, alike: f64) -> Moments {
        Moments { mean: mean.to_vec(), variance: vec![variance; mean.len()], alike: vec![alike; mean.len()] }
    }

    #[test]
    fn errors_of_one_sign_are_made_to_cancel() {
        // Nearest rounding loses 0.4 four times: 1.6 steps of an input that is always 1.
        let (stored, left) = round(&[0.4, 1.4, 2.4, 3.4], 1, 127, &moments(&[1.0; 4], 0.01, 0.0), 0);
        assert_eq!(stored.iter().sum::<i32>(), 8);
        assert!((left - 0.4).abs() < 1e-9, "{left}");
    }

    #[test]
    fn inputs_without_a_mean_are_rounded_to_the_nearest() {
        let (stored, left) = round(&[0.4, 1.4, 2.4, 3.4], 1, 127, &moments(&[0.0; 4], 1.0, 0.0), 0);
        assert_eq!((stored, left), (vec![0, 1, 2, 3], 0.0));
    }

    #[test]
    fn taps_of_one_channel_cancel_when_neighbours_are_alike() {
        let m = Moments { mean: vec![0.0; 4], variance: vec![1.0], alike: vec![0.95] };
        let (stored, _) = round(&[0.4, 1.4, 2.4, 3.4], 4, 127, &m, 0);
        assert!((7..=8).contains(&stored.iter().sum::<i32>()), "{stored:?}");
    }

    #[test]
    fn weights_on_the_grid_and_at_its_end_stay() {
        let m = moments(&[1.0; 3], 0.1, 0.0);
        assert_eq!(round(&[5.0, -7.0, 127.0], 1, 127, &m, 0), (vec![5, -7, 127], 0.0));
        assert!(round(&[126.6, 126.6, -126.6], 1, 127, &m, 0).0.iter().all(|q| q.abs() <= 127));
    }
}
