//! How far two runs of the same thing are apart: signal-to-noise ratio, largest difference, agreement of the top class.

/// Sums over everything that was compared so far.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Quality {
    signal: f64,
    noise: f64,
    /// Largest absolute difference.
    pub(crate) max_abs: f64,
    agreeing: usize,
    rows: usize,
}

impl Quality {
    /// Adds numbers and what became of them. Equal infinities, and NaN in both, are no difference; infinities are no signal.
    pub(crate) fn add<T: Copy + Into<f64>>(&mut self, real: &[T], other: &[T]) {
        for (&a, &b) in real.iter().zip(other) {
            let (a, b): (f64, f64) = (a.into(), b.into());
            let apart = (a - b).abs();
            let apart = match apart.is_finite() {
                true => apart,
                false if a == b || (a.is_nan() && b.is_nan()) => 0.0,
                false => f64::INFINITY,
            };
            if a.is_finite() {
                self.signal += a * a;
            }
            self.noise += apart * apart;
            self.max_abs = self.max_abs.max(apart);
        }
    }

    /// Adds an output of shape `dims`; the top class counts where these are rows of scores: `[rows, classes]`, further
    /// extents 1.
    pub(crate) fn add_output<T: Copy + Into<f64>>(&mut self, dims: &[usize], real: &[T], other: &[T]) {
        self.add(real, other);
        if dims.len() >= 2 && dims[1] >= 2 && dims[2..].iter().all(|&d| d == 1) {
            for (a, b) in real.chunks(dims[1]).zip(other.chunks(dims[1])) {
                self.rows += 1;
                self.agreeing += usize::from(top(a) == top(b));
            }
        }
    }

    /// Signal-to-noise ratio in dB, `10 log10(signal / noise)`; `None` when there is no noise.
    pub(crate) fn db(&self) -> Option<f64> {
        (self.noise > 0.0).then(|| 10.0 * (self.signal / self.noise).log10())
    }

    /// Share of rows whose largest score is at the same place; `None` when there were none.
    pub(crate) fn agreement(&self) -> Option<f64> {
        (self.rows > 0).then(|| self.agreeing as f64 / self.rows as f64)
    }
}

/// Index of the largest number; the first among equals.
pub(crate) fn top<T: Copy + Into<f64>>(scores: &[T]) -> Option<usize> {
    let scores = scores.iter().map(|&s| s.into()).enumerate();
    scores.max_by(|a: &(usize, f64), b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).map(|(i, _)| i)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_measured_in_parts_of_the_signal() {
        let mut quality = Quality::default();
        quality.add(&[3.0f32, 4.0], &[3.0, 4.0]);
        assert_eq!(quality.db(), None);
        quality.add(&[0.0f32], &[0.5]);
        assert_eq!(quality.db(), Some(20.0), "25 / 0.25");
        assert_eq!((quality.max_abs, quality.agreement()), (0.5, None));
    }

    #[test]
    fn what_is_infinite_or_no_number_in_both_is_equal() {
        let mut quality = Quality::default();
        quality.add(&[f64::INFINITY, f64::NAN, 1.0], &[f64::INFINITY, f64::NAN, 1.0]);
        assert_eq!(quality.db(), None);
        quality.add(&[1.0], &[f64::NAN]);
        assert_eq!((quality.db(), quality.max_abs), (Some(f64::NEG_INFINITY), f64::INFINITY));
    }

    #[test]
    fn the_first_of_equal_scores_wins_in_every_row() {
        let mut quality = Quality::default();
        quality.add_output(&[2, 3, 1], &[1.0, 1.0, 0.0, 0.0, 2.0, 1.0], &[2.0, 2.0, 0.0, 0.0, 1.0, 3.0]);
        assert_eq!(quality.agreement(), Some(0.5));
        assert_eq!(top(&[0.5f32, 0.5]), Some(0));
    }
}
