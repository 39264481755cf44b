//! The mean of the lowest share of all losses within a limit, of two halves of a space.
//!
//! ```text
//! G(l) = E[(l - L)+ ; t <= T] = sum over cells (x, y) of the first half of mass(x, y) * H(l - x, T - y)
//! H(l, t) = E[(l - L2)+ ; t2 <= t]    of the second half
//! ```
//!
//! The mean of the lowest share q is the maximum over l of `l - G(l) / q` (Rockafellar and Uryasev's formula for a conditional value
//! at risk), which is concave: one or two evaluations at five neighbouring places find it from a good guess.

use crate::grid::Grid;
use crate::halves::{Prefix, Suffix};

/// Places to the left and to the right of the middle one that are evaluated with it.
const AROUND: usize = 2;
/// Places that are evaluated together.
const PLACES: usize = 2 * AROUND + 1;
/// Cells of nothing before the least loss of a second half, so that no place lies outside of its row.
pub(crate) const BEFORE: usize = 2 * AROUND - 1;
/// Cells behind the highest loss, for the same reason.
pub(crate) const BEHIND: usize = AROUND + 1;
/// Numbers that are multiplied at a time: rows are followed by as many of nothing.
pub(crate) const LANES: usize = 8;

/// The maximum of a concave function of a whole number in 0..=most, refined by a parabola through its neighbours. `values` gives the
/// function at a place and around it.
fn climb(start: usize, most: usize, values: impl Fn(usize) -> [f64; PLACES]) -> (usize, f64) {
    let mut at = start;
    let mut went = 0;
    let mut longest = most as f64;
    // Rounding can make two neighbours each look higher than the other: either will do.
    let mut turns = 0;
    loop {
        let found = values(at);
        let top = (1..PLACES - 1).fold(1, |top, i| if found[i] > found[top] { i } else { top });
        let [left, here, right] = [found[top - 1], found[top], found[top + 1]];
        // Beyond the ends there is nothing to be found.
        let way = if right > here && at < most { 1 } else { -isize::from(left > here && at > AROUND) };
        if way == 0 || turns > 20 {
            let bend = left - 2.0 * here + right;
            let peak = if bend < 0.0 && left <= here && right <= here {
                here - (right - left).powi(2) / (8.0 * bend)
            } else {
                here
            };
            return (at + top - AROUND, peak);
        }
        // The mass below l, in units of q, is 1 at the peak and grows about exponentially towards it.
        let (below, above) = (1.0 - (here - left), 1.0 - (right - here));
        let steps = if below > 1e-6 && above > 1.02 * below { -above.ln() / (above / below).ln() } else { 4.0 * way as f64 };
        // Every turn halves what the next step may be, so the climb ends.
        if way != went && went != 0 {
            longest = (longest / 2.0).max(1.0);
            turns += 1;
        }
        went = way;
        let step = (steps * way as f64).round().clamp(1.0, longest) as isize + AROUND as isize - 1;
        at = at.saturating_add_signed(way * step).clamp(AROUND.min(most), most);
    }
}

impl Grid {
    /// The share of subnets within the limit, and the sum of their losses in cells, each times its share.
    pub(crate) fn moments(&self, prefix: &Prefix, suffix: &Suffix) -> (f64, f64) {
        let (mut share, mut sum) = (0.0, 0.0);
        for (a, b) in prefix.parts.iter().zip(&suffix.parts) {
            for (&(mass, loss), &(up_to, losses)) in a.by_latency.iter().zip(b.up_to.iter().rev()) {
                share += f64::from(mass * up_to);
                sum += f64::from(loss * up_to + mass * losses);
            }
        }
        let parts = prefix.parts.len() as f64;
        (share / parts, sum / parts)
    }

    /// The mean loss of the lowest share `tail`, in cells above the least. `guess` is where the last search ended, counted from the
    /// place of its first half: the next one's is near.
    pub(crate) fn tail_mean(&self, prefix: &Prefix, suffix: &Suffix, tail: f64, guess: &mut Option<isize>) -> f64 {
        let most = self.span(0..self.losses.len()) - 1;
        let values = |at: usize| {
            let excess = self.excess(prefix, suffix, at);
            std::array::from_fn(|i| at as f64 + i as f64 - AROUND as f64 - excess[i] / tail)
        };
        let start = guess.map_or(most / 3, |g| prefix.place.saturating_add_signed(g));
        let (at, best) = climb(start.clamp(AROUND.min(most), most), most, values);
        *guess = Some(at as isize - prefix.place as isize);
        best
    }

    /// `G` at a cell of loss and around it, in cells.
    fn excess(&self, prefix: &Prefix, suffix: &Suffix, at: usize) -> [f64; PLACES] {
        let latencies = self.latencies();
        let (first, row_length) = (prefix.losses + LANES, (suffix.parts[0].excess.len() - LANES) / latencies);
        let mut sums = [[0.0_f32; LANES]; PLACES];
        for (a, b) in prefix.parts.iter().zip(&suffix.parts) {
            for (y, &(begin, end)) in a.spans.iter().enumerate() {
                let row = latencies - 1 - y;
                // The i-th mass, counted backwards, meets H at `at - (losses - 1 - i)` and around it: begin where there is a cell for
                // all of them, and where the last is not 0.
                let there = prefix.losses.saturating_sub(at + AROUND);
                let filled = (prefix.losses + b.starts[row] as usize).saturating_sub(at + 3 * AROUND);
                let begin = (begin as usize).max(there).max(filled);
                if begin >= end as usize {
                    continue;
                }
                let length = (end as usize - begin).next_multiple_of(LANES);
                let masses = &a.mass[y * first + begin..][..length];
                let start = row * row_length + at + AROUND + begin - prefix.losses;
                add_products(masses, &b.excess[start..][..length + PLACES - 1], &mut sums);
            }
        }
        sums.map(|s| s.iter().map(|&x| f64::from(x)).sum::<f64>() / prefix.parts.len() as f64)
    }
}

/// Adds the products of `a` with `b`, with `b` from its second number on, and so forth. In independent sums, always in the same order:
/// fit for vector registers.
fn add_products(a: &[f32], b: &[f32], sums: &mut [[f32; LANES]; PLACES]) {
    for (shift, sums) in sums.iter_mut().enumerate() {
        let mut own = *sums;
        for (x, y) in a.as_chunks::<LANES>().0.iter().zip(b[shift..].as_chunks::<LANES>().0) {
            for i in 0..LANES {
                own[i] += x[i] * y[i];
            }
        }
        *sums = own;
    }
}
