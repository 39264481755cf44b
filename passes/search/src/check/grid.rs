//! Distributions of loss and latency on a grid, the plain way: in double precision, with nothing left out.

/// Latency and loss of a cell, and its mass.
pub(super) type Cells = Vec<(i64, i64, f64)>;

/// Rows as cells; both numbers of a row are given in cells. A row is spread over 3 x 3 cells that keep mean and variance.
pub(super) fn spread(rows: &[(f64, f64)]) -> Cells {
    let three = |value: f64| {
        let near = value.round();
        let f = value - near;
        (near as i64, [(f * f - f) / 2.0, 1.0 - f * f, (f * f + f) / 2.0])
    };
    let mut cells = std::collections::BTreeMap::<(i64, i64), f64>::new();
    for &(latency, loss) in rows {
        let ((y, ys), (x, xs)) = (three(latency), three(loss));
        for (dy, wy) in (-1..).zip(ys) {
            for (dx, wx) in (-1..).zip(xs) {
                *cells.entry((y + dy, x + dx)).or_default() += wy * wx / rows.len() as f64;
            }
        }
    }
    cells.into_iter().map(|((y, x), m)| (y, x, m)).collect()
}

/// The distribution of some stages together.
pub(super) struct Plane {
    latency_from: i64,
    loss_from: i64,
    losses: usize,
    /// `[latency][loss]`
    mass: Vec<f64>,
}

impl Plane {
    /// The sum of independent stages, without what is above `most` cells of latency.
    pub(super) fn of(stages: &[&Cells], most: i64) -> Plane {
        let mut plane = Plane { latency_from: 0, loss_from: 0, losses: 1, mass: vec![1.0] };
        for stage in stages {
            let y = |pick: fn(i64, i64) -> i64| stage.iter().map(|c| c.0).reduce(pick).unwrap_or(0);
            let x = |pick: fn(i64, i64) -> i64| stage.iter().map(|c| c.1).reduce(pick).unwrap_or(0);
            let (latency_from, loss_from) = (plane.latency_from + y(i64::min), plane.loss_from + x(i64::min));
            let losses = plane.losses + (x(i64::max) - x(i64::min)) as usize;
            let rows = plane.mass.len() / plane.losses;
            let last = (plane.latency_from + rows as i64 - 1 + y(i64::max)).min(most);
            let mut mass = vec![0.0; (last - latency_from + 1).max(0) as usize * losses];
            for &(dy, dx, m) in *stage {
                let (down, right) = ((dy - y(i64::min)) as usize, (dx - x(i64::min)) as usize);
                let targets = mass.chunks_mut(losses).skip(down);
                for (target, source) in targets.zip(plane.mass.chunks(plane.losses)) {
                    target[right..].iter_mut().zip(source).for_each(|(sum, s)| *sum += m * s);
                }
            }
            plane = Plane { latency_from, loss_from, losses, mass };
        }
        plane
    }

    fn rows(&self) -> impl Iterator<Item = (i64, &[f64])> {
        (self.latency_from..).zip(self.mass.chunks(self.losses))
    }

    fn losses(row: &[f64], from: i64) -> (f64, f64) {
        (row.iter().sum(), (from..).zip(row).map(|(x, m)| x as f64 * m).sum())
    }
}

/// What the last stages say up to each latency.
pub(super) struct Tail {
    latency_from: i64,
    loss_from: i64,
    losses: usize,
    /// Mass, mass times loss.
    up_to: Vec<(f64, f64)>,
    /// The mean of (l - loss)+ for l from `loss_from` on, `[latency][l]`.
    excess: Vec<f64>,
}

impl Tail {
    pub(super) fn of(plane: &Plane) -> Tail {
        let losses = plane.losses + 1;
        let (mut up_to, mut excess) = (Vec::new(), Vec::<f64>::new());
        let mut so_far = (0.0, 0.0);
        for (_, row) in plane.rows() {
            let (mass, loss) = Plane::losses(row, plane.loss_from);
            so_far = (so_far.0 + mass, so_far.1 + loss);
            up_to.push(so_far);
            let (mut below, mut value) = (0.0, 0.0);
            for l in 0..losses {
                let before = excess.len().checked_sub(losses).map_or(0.0, |at| excess[at]);
                excess.push(before + value);
                below += row.get(l).copied().unwrap_or(0.0);
                value += below;
            }
        }
        Tail { latency_from: plane.latency_from, loss_from: plane.loss_from, losses, up_to, excess }
    }

    fn row(&self, latency: i64) -> Option<usize> {
        let last = self.up_to.len().checked_sub(1)?;
        usize::try_from(latency - self.latency_from).ok().map(|at| at.min(last))
    }
}

/// The share within `most` cells of latency of a distribution at several resolutions, and the sum of shares times losses.
pub(super) fn moments(first: &[Plane], second: &[Tail], most: i64) -> (f64, f64) {
    let (mut share, mut sum) = (0.0, 0.0);
    for (a, b) in first.iter().zip(second) {
        for (y, row) in a.rows() {
            let Some(at) = b.row(most - y) else { continue };
            let ((mass, loss), (up_to, losses)) = (Plane::losses(row, a.loss_from), b.up_to[at]);
            share += mass * up_to;
            sum += loss * up_to + mass * losses;
        }
    }
    (share / first.len() as f64, sum / first.len() as f64)
}

/// The mean of (l - loss)+ within `most` cells of latency.
pub(super) fn excess(first: &[Plane], second: &[Tail], most: i64, l: i64) -> f64 {
    let mut all = 0.0;
    for (a, b) in first.iter().zip(second) {
        for (y, row) in a.rows() {
            let Some(at) = b.row(most - y) else { continue };
            let (mass, losses) = b.up_to[at];
            // Losses of the second half from its least one on are met by those of the first half below `l - b.loss_from`.
            for (x, m) in (a.loss_from..l - b.loss_from).zip(row) {
                let z = (l - x - b.loss_from) as usize;
                let here = if z < b.losses { b.excess[at * b.losses + z] } else { (l - x) as f64 * mass - losses };
                all += m * here;
            }
        }
    }
    all / first.len() as f64
}
