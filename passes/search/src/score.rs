//! The Q-T score: how good a space is under latency limits (SpaceEvo, ICCV 2023).
//!
//! ```text
//! p = share of subnets within the limit + 1e-5        P = max(1, (t0 / p)^a)
//! Lbar = mean loss of the best subnets within it      score = sum over limits of 1 / (P * Lbar)
//! ```
//!
//! Published, both come from 100,000 random subnets and their best 50 ([`crate::sampled`]). Ours computes what that tends to:
//! Lbar is the mean of the best 50/100,000 of the whole distribution ([`crate::exact`]).

use serde::Serialize;

/// The loss of a space without a subnet within the limit.
pub const NO_SUBNET: f64 = 1e5;
/// What keeps shares from being 0.
const FLOOR: f64 = 1e-5;

/// What a score is made of, whatever way it is computed.
#[derive(Clone, PartialEq, Debug)]
pub struct Formula {
    /// Limits in nanoseconds.
    pub limits: Vec<u32>,
    /// Share of subnets below which a space is penalized.
    pub t0: f64,
    /// Exponent of the penalty.
    pub a: f64,
    /// How many subnets the mean loss is of.
    pub top: usize,
    /// Of how many.
    pub draws: usize,
}

impl Default for Formula {
    /// As documented by the publication; no limit.
    fn default() -> Formula {
        Formula { limits: Vec::new(), t0: 0.08, a: 0.01, top: 50, draws: 100_000 }
    }
}

/// A score under one limit.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct LimitScore {
    /// The limit in milliseconds.
    pub limit_ms: f64,
    /// Share of subnets within the limit.
    pub feasible: f64,
    /// Mean loss of the best subnets within the limit; 1e5 where there is none.
    pub loss: f64,
    /// Factor for too small a share, at least 1.
    pub penalty: f64,
    /// 1 / (penalty * loss).
    pub score: f64,
}

/// A score under all limits.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Score {
    /// The sum.
    pub score: f64,
    /// Its parts.
    pub limits: Vec<LimitScore>,
}

impl Formula {
    /// The score under the limit in nanoseconds, of a share and a mean loss; `None` where no subnet is within the limit.
    pub fn under(&self, limit: u32, feasible: f64, loss: Option<f64>) -> LimitScore {
        let loss = loss.unwrap_or(NO_SUBNET);
        let penalty = (self.t0 / (feasible + FLOOR)).powf(self.a).max(1.0);
        LimitScore { limit_ms: f64::from(limit) / 1e6, feasible, loss, penalty, score: 1.0 / (penalty * loss) }
    }

    /// The sum over limits.
    pub fn sum(&self, limits: Vec<LimitScore>) -> Score {
        Score { score: limits.iter().map(|l| l.score).sum(), limits }
    }

    /// The share of all subnets that the mean loss is of.
    pub fn tail(&self) -> f64 {
        self.top as f64 / self.draws as f64
    }
}
