//! Bounds on scores that are products over stages: millions of spaces are decided with one multiplication each.
//!
//! For any a > 0 and b >= 0 the part of a loss below l, within a limit T, is below an exponential,
//!
//! ```text
//! (l - L)+ [t <= T]  <=  exp(a (l - L) + b (T - t)) / (e a)
//! ```
//!
//! and the mean of an exponential of sums over independent stages is a product. Put into Rockafellar and Uryasev's formula (see
//! [`crate::tail`]) and maximized over l, that says of the mean loss of the lowest share q (Ahmadi-Javid 2012: an entropic value at risk)
//!
//! ```text
//! Lbar  >=  (ln q - ln K) / a        K = mean over resolutions of exp(b T) times, over stages, the mean of exp(-a L_s - b t_s)
//! p     <=  the same mean with a = 0 and another b
//! ```
//!
//! which holds for the rows themselves: no grid is in it. One pair of exponents, fitted to the best space, leaves 653 to 423,300 of the
//! 95,551,488 spaces of `onnxw` to be scored at limits of 10 to 25 ms.

use rayon::prelude::*;

use crate::hyperspace::Choice;
use crate::pool::{Pool, latency, loss};
use crate::score::Formula;

/// Exponents under one limit.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tilt {
    /// `a`, for one of loss.
    pub loss: f64,
    /// `b`, for a millisecond.
    pub latency: f64,
    /// The other `b`, of the share.
    pub share: f64,
}

/// Exponents that are tried.
const LEAST: f64 = 1e-4;
const MOST: f64 = 1e3;

/// What all factors of a product together are at least: less would leave what numbers can hold, and a product of 0 would bound
/// everything.
const SMALLEST: f64 = 1e-280;

/// Means of exponentials, `[stage][choice][resolution]`; `None` where rows are missing.
type Factors = Vec<Vec<Option<Vec<f64>>>>;

/// The factors of one limit: of `K`, and of the share.
struct Tilted {
    limit: u32,
    tilt: Tilt,
    factors: [Factors; 2],
    /// The largest products of the stages from each on, `[stage][resolution]`.
    rest: [Vec<Vec<f64>>; 2],
}

/// Bounds under all limits.
pub struct Bounds<'a> {
    pool: &'a Pool,
    formula: &'a Formula,
    limits: Vec<Tilted>,
}

impl Tilt {
    /// The exponents that bound a space's score under a limit best, by a search along each of them.
    pub fn fit(pool: &Pool, formula: &Formula, limit: u32, choice: &Choice) -> Tilt {
        let single = pool.single(choice);
        let bound = |tilt: Tilt| {
            let bounds = Bounds { pool: &single, formula, limits: vec![Tilted::new(&single, limit, tilt)] };
            // An exponent of 0 would bound nothing.
            bounds.at_most(&vec![0; choice.blocks.len()])
        };
        let milliseconds = f64::from(limit) / 1e6;
        let mut best = Tilt { loss: 30.0, latency: 1.0 / milliseconds, share: 1.0 / milliseconds };
        let mut least = bound(best);
        for step in [4.0, 2.0, 1.4, 1.1] {
            loop {
                let before = least;
                let edits: [fn(&mut Tilt) -> &mut f64; 3] = [|t| &mut t.loss, |t| &mut t.latency, |t| &mut t.share];
                for edit in edits {
                    for factor in [step, 1.0 / step] {
                        let mut next = best;
                        let exponent = edit(&mut next);
                        *exponent = (*exponent * factor).clamp(LEAST, MOST);
                        let score = bound(next);
                        if score < least {
                            (best, least) = (next, score);
                        }
                    }
                }
                if least >= before * (1.0 - 1e-6) {
                    break;
                }
            }
        }
        best
    }
}

impl Tilted {
    fn new(pool: &Pool, limit: u32, tilt: Tilt) -> Tilted {
        let milliseconds = f64::from(limit) / 1e6;
        let floor = SMALLEST.powf(1.0 / pool.hyperspace.stages.len() as f64);
        let factors = |a: f64, b: f64| -> Factors {
            let factor = |s: usize, i: usize, r: usize| {
                let pairs = &pool.entry(s, i, r).pairs;
                let one = |&p: &u64| (-a * f64::from(loss(p)) / 1e6 - b * f64::from(latency(p)) / 1e6).exp();
                let mean = (pairs.iter().map(one).sum::<f64>() / pairs.len() as f64).max(floor);
                if s == 0 { mean * (b * milliseconds).exp() / pool.resolutions.len() as f64 } else { mean }
            };
            let choice = |s: usize, i: usize| {
                pool.complete(s, i).then(|| (0..pool.resolutions.len()).map(|r| factor(s, i, r)).collect())
            };
            let stage = |s: usize| (0..pool.choices(s)).map(|i| choice(s, i)).collect();
            (0..pool.hyperspace.stages.len()).into_par_iter().map(stage).collect()
        };
        let factors = [factors(tilt.loss, tilt.latency), factors(0.0, tilt.share)];
        let rest = factors.each_ref().map(|factors| largest(factors, pool.resolutions.len()));
        Tilted { limit, tilt, factors, rest }
    }

    /// What a score is at most, of what its factors come to.
    fn score(&self, formula: &Formula, k: f64, share: f64) -> f64 {
        let (share, tail, one) = (share.min(1.0), formula.tail(), 1.0 / formula.draws as f64);
        let under = |share: f64, of: f64| {
            let loss = (of.ln() - k.max(f64::MIN_POSITIVE).ln()) / self.tilt.loss;
            formula.under(self.limit, share, Some(loss.max(1e-9))).score
        };
        // With fewer subnets within the limit than are counted, the mean is of all of them, and they pay for being few.
        let few = if share < one { formula.under(self.limit, share, None).score } else { under(share.min(tail), one) };
        if share <= tail { few } else { few.max(under(share, tail)) }
    }
}

fn largest(factors: &Factors, resolutions: usize) -> Vec<Vec<f64>> {
    let mut rest = vec![vec![1.0; resolutions]];
    for stage in factors.iter().rev() {
        let most = |r: usize| stage.iter().flatten().map(|f| f[r]).fold(0.0, f64::max);
        let next = (0..resolutions).map(|r| rest[rest.len() - 1][r] * most(r)).collect();
        rest.push(next);
    }
    rest.reverse();
    rest
}

impl<'a> Bounds<'a> {
    /// The bounds with those exponents, one for each limit.
    pub fn new(pool: &'a Pool, formula: &'a Formula, tilts: &[Tilt]) -> Bounds<'a> {
        let limits = formula.limits.iter().zip(tilts).map(|(&limit, &tilt)| Tilted::new(pool, limit, tilt)).collect();
        Bounds { pool, formula, limits }
    }

    /// What the score of a space that begins with those choices is at most.
    pub fn at_most(&self, begun: &[usize]) -> f64 {
        let product = |limit: &Tilted, which: usize| -> f64 {
            let one = |r: usize| {
                let start = limit.rest[which][begun.len()][r];
                let known =
                    begun.iter().enumerate().map(|(s, &i)| limit.factors[which][s][i].as_ref().map_or(0.0, |f| f[r]));
                known.product::<f64>() * start
            };
            (0..self.pool.resolutions.len()).map(one).sum()
        };
        self.limits.iter().map(|l| l.score(self.formula, product(l, 0), product(l, 1))).sum()
    }

    /// The spaces with rows everywhere whose score could be as high as that, as choices by stage, in the order of counting.
    pub fn contenders(&self, score: f64) -> Vec<Vec<usize>> {
        let first = (0..self.pool.choices(0)).into_par_iter();
        first
            .flat_map_iter(|i| {
                let mut found = Vec::new();
                self.follow(&mut vec![i], score, &mut found);
                found
            })
            .collect()
    }

    fn follow(&self, begun: &mut Vec<usize>, score: f64, found: &mut Vec<Vec<usize>>) {
        let stage = begun.len();
        if !self.pool.complete(stage - 1, begun[stage - 1]) || self.at_most(begun) < score {
            return;
        }
        if stage == self.pool.hyperspace.stages.len() {
            found.push(begun.clone());
            return;
        }
        for next in 0..self.pool.choices(stage) {
            begun.push(next);
            self.follow(begun, score, found);
            begun.pop();
        }
    }
}
