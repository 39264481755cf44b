//! Predicts how long kernels and networks take, from measurements of kernels.
//!
//! ```text
//! kernel ──counts──▶ Base: a sum ──▶ × exp(Forest: what the sum leaves) ──▶ nanoseconds
//! network = sum of (time × factor + step)
//! ```
//!
//! A family of kernels (an operator in a layout) has a [`Model`]; all of them and what a network costs beside its kernels make
//! a [`Predictor`], which [`file`] writes as text. [`collect`] measures kernels of networks that [`network`](mod@network) makes up, and [`fit`](fn@fit) fits.

use std::collections::BTreeMap;

use serde::Serialize;
use spaceevo_ir::{Diagnostic, Graph};
use spaceevo_passes::Target;

use crate::kernels::{FEATURES, Kernel, Placed, between, counts_and_features, detect};

mod base;
mod batch;
mod blocks;
pub mod collect;
mod curve;
mod discover;
pub mod draw;
mod file;
mod fit;
mod forest;
pub mod job;
pub mod judge;
mod known;
mod lanes;
pub mod measurements;
pub mod network;
pub mod pace;
mod pricing;
pub mod ran;
mod usual;
mod width;

pub use base::{Base, Row, TERMS, Threshold, Weights};
pub use batch::{Batch, Table};
pub use curve::{Curve, curves};
pub use discover::{Rule, rules, words};
pub use fit::{Held, Limits, Point, Sample, fit, held_out, strata, typical};
pub use forest::{Forest, Tree};
pub use pricing::priced;
pub use width::width;

/// Number of features.
pub const ROW: usize = FEATURES.len();

/// How long the kernels of one family take.
#[derive(Clone, PartialEq, Debug)]
pub struct Model {
    /// Kernels that it was fitted on.
    pub samples: usize,
    /// The first estimate.
    pub base: Base,
    /// Logarithms of what it is wrong by.
    pub forest: Forest,
    /// Root mean square of the logarithm of the error on kernels that were held out; of those it was fitted on where there
    /// are few.
    pub spread: f64,
}

impl Model {
    /// Nanoseconds.
    pub fn time(&self, kernel: &Kernel) -> f64 {
        let (counts, features) = counts_and_features(kernel);
        self.base.time(&counts, &features) * f64::from(libm::expf(self.forest.answer(&features)))
    }
}

/// What a network costs beside its kernels as they were traced, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Overhead {
    /// For each kernel; negative where tracing a kernel takes longer than what the runtime does between kernels.
    pub step: f64,
    /// For each of its tensors ([`Kernel::tensors`]), beside that: a trace writes down their extents.
    pub tensor: f64,
    /// For each kernel of a network that moves 16 MB in a run, beside that, and a part of it where one moves more than 1 MB: what a trace
    /// writes down is then in no near cache.
    pub cold: f64,
    /// Times as long as it was traced a kernel takes.
    pub factor: f64,
    /// Root mean square of the logarithm of the error of networks that were held out, beyond what errors of single kernels come to.
    pub spread: f64,
}

/// Binary logarithms of the bytes of a run between which a trace takes longer and longer.
const COLD: [f64; 2] = [20.0, 24.0];

impl Overhead {
    /// Nothing.
    pub const NONE: Overhead = Overhead { step: 0.0, tensor: 0.0, cold: 0.0, factor: 1.0, spread: 0.0 };

    /// How cold caches are in the network of a kernel, from 0 to 1.
    fn coldness(kernel: &Kernel) -> f64 {
        between(kernel.around.into(), COLD[0], COLD[1])
    }

    /// What a network takes for a kernel of which it takes `nanos` in a trace.
    pub fn untraced(&self, kernel: &Kernel, nanos: f64) -> f64 {
        let tensors = self.tensor * f64::from(kernel.tensors());
        self.factor * nanos + self.step + tensors + self.cold * Overhead::coldness(kernel)
    }
}

/// Where a predictor comes from: lines of its file.
pub type Origin = BTreeMap<String, String>;

/// Prices kernels and networks.
#[derive(Clone, PartialEq, Debug)]
pub struct Predictor {
    /// `target`, `machine`, `runtime`, `date`, and what else is worth knowing.
    pub origin: Origin,
    /// What networks cost beside their kernels.
    pub overhead: Overhead,
    /// By [`Kernel::family`].
    pub models: BTreeMap<String, Model>,
}

/// A predicted time.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Price {
    /// Nanoseconds, as a trace says them.
    pub nanos: f64,
    /// Nanoseconds that a network takes for it; negative where a trace says more than there is.
    pub untraced: f64,
    /// Standard deviation of its logarithm.
    pub spread: f64,
    /// False where nothing of its family was measured.
    pub known: bool,
}

/// Correlation of the errors of two kernels of a network: many are of one kind, and live in the same caches.
const SHARED: f64 = 0.25;

/// What is thought of a kernel of which nothing was measured: it may take half or twice the time.
const UNKNOWN: f64 = 0.7;

/// Name of the model of kernels whose operator has none: what it says of their work is nothing.
pub const OTHER: &str = "other";

/// What names of families of kernels with two whole operands have ([`Kernel::family`]).
const TWO: &str = "-both";

/// Nanoseconds of a kernel of which nothing at all is known.
const NOTHING: f64 = 1000.0;

impl Predictor {
    /// The time of a kernel. Of a family that was not measured, it is that of what [`Predictor::model_of`] says.
    pub fn kernel(&self, kernel: &Kernel) -> Price {
        let (nanos, spread, known) = match self.model_of(kernel) {
            Some((name, model)) if name == kernel.family() => (model.time(kernel), model.spread, true),
            Some((_, model)) => (model.time(kernel), UNKNOWN, false),
            None => (NOTHING, UNKNOWN, false),
        };
        Price { nanos, untraced: self.overhead.untraced(kernel, nanos), spread, known }
    }

    /// The model of a kernel's family with its name, or else the nearest one: of the same operator otherwise laid out, or
    /// that of [`OTHER`] kernels.
    pub fn model_of(&self, kernel: &Kernel) -> Option<(&str, &Model)> {
        let family = kernel.family();
        if let Some((name, model)) = self.models.get_key_value(&family) {
            return Some((name, model));
        }
        let op = format!("{}-", family.split('-').next().unwrap_or_default());
        let alike = || self.models.iter().filter(|(name, _)| name.starts_with(&op));
        // What a small operand costs says nothing about a whole one.
        let alike = || alike().filter(|(name, _)| name.contains(TWO) == family.contains(TWO));
        // As many parts of the name as possible: groups, layout, bytes.
        let common = |name: &str| name.split('-').filter(|part| family.split('-').any(|other| other == *part)).count();
        let nearest = alike().max_by_key(|(name, _)| (common(name), std::cmp::Reverse(*name)));
        let other = || self.models.get_key_value(OTHER);
        nearest.or_else(other).map(|(name, model)| (name.as_str(), model))
    }

    /// The time of a network that is cut into kernels already.
    pub fn network(&self, kernels: impl IntoIterator<Item = Price>) -> Latency {
        let (mut total, mut untraced, mut line, mut square, mut count, mut unknown) = (0.0, 0.0, 0.0, 0.0, 0usize, 0.0);
        for price in kernels {
            (total, untraced) = (total + price.nanos, untraced + price.untraced);
            let own = price.nanos * price.spread;
            (line, square) = (line + own, square + own * own);
            count += 1;
            unknown += if price.known { 0.0 } else { price.nanos };
        }
        let nanos = whole(untraced, total);
        let both = (1.0 - SHARED) * square + SHARED * line * line;
        let spread = libm::sqrt(both / (nanos * nanos) + self.overhead.spread * self.overhead.spread);
        // 1.64 standard deviations on either side hold 90 of 100.
        let factor = libm::exp(1.64 * spread);
        Latency { nanos, low: nanos / factor, high: nanos * factor, kernels: count, unknown: unknown / nanos.max(1.0) }
    }

    /// The time of a graph, and of each of its kernels. Errors: those of [`detect`].
    pub fn graph(&self, graph: &Graph, target: &Target) -> Result<(Latency, Vec<(Placed, Price)>), Diagnostic> {
        let placed = detect(graph, target)?;
        let priced: Vec<(Placed, Price)> =
            placed.into_iter().map(|p| (self.kernel(&p.kernel), p)).map(|(a, b)| (b, a)).collect();
        Ok((self.network(priced.iter().map(|(_, price)| *price)), priced))
    }
}

/// Nanoseconds of a network whose kernels come to so many, untraced and traced: a trace is not most of what it says.
fn whole(untraced: f64, traced: f64) -> f64 {
    untraced.max(0.25 * traced).max(1.0)
}

/// The predicted time of a network.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Latency {
    /// Nanoseconds.
    pub nanos: f64,
    /// It takes less than this with a probability of one in twenty.
    pub low: f64,
    /// It takes more than this with a probability of one in twenty.
    pub high: f64,
    /// Kernels.
    pub kernels: usize,
    /// Part of the time that is in kernels of which nothing was measured.
    pub unknown: f64,
}
