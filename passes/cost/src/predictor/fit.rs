//! From measured kernels to models. Some kernels are held out, by what they are: whoever draws kernels cannot know which.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::base::FEW;
use super::{Base, Forest, Model, OTHER, Origin, Overhead, Predictor, Row, UNKNOWN, rules};
use crate::kernels::{Kernel, counts, features};

/// A measured kernel.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    /// What was run.
    pub kernel: Kernel,
    /// Nanoseconds, one number for each time that it was measured.
    pub times: Vec<f64>,
}

impl Sample {
    /// The mean without the ends: what a network takes is a sum, and where memory lies makes some sessions slower than others.
    pub fn time(&self) -> f64 {
        typical(&self.times)
    }
}

/// True for the fifth of all kernels that is held out: never fitted, and never a reason to draw others. Another `fold` holds out
/// other kernels.
pub fn held_out(kernel: &Kernel, fold: u64) -> bool {
    // In whatever network it is: what was fitted in one must not be held out in another.
    let alone = Kernel { around: 0, weights: 0, since: 0, ..kernel.clone() };
    xxh3_64_with_seed(alone.key().as_bytes(), fold).is_multiple_of(5)
}

/// How well a family is predicted, on kernels that were held out.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Held {
    /// Family.
    pub family: String,
    /// Kernels that were fitted.
    pub fitted: usize,
    /// Kernels that were held out.
    pub held: usize,
    /// Part of them that is predicted within 5 %.
    pub within_5: f64,
    /// Part within 10 %.
    pub within_10: f64,
    /// Part that every other round finds within 5 % of what the rounds between them do: the ceiling.
    pub ceiling_5: f64,
    /// Part that they find within 10 %.
    pub ceiling_10: f64,
    /// Part within 10 % by work alone: so many nanoseconds per multiply-accumulate, or per number.
    pub work_10: f64,
    /// What was found out: rule, and how many times as cheap kernels for which it does not hold would be if it did.
    pub rules: Vec<(String, f64)>,
    /// Those held out.
    pub points: Vec<Point>,
}

/// A kernel that was held out.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Point {
    /// Its key.
    pub kernel: String,
    /// Predicted nanoseconds.
    pub predicted: f64,
    /// Measured nanoseconds.
    pub measured: f64,
}

/// Kernels of a family that are fitted at most: of those measured, the first.
pub type Limits<'a> = &'a dyn Fn(&str) -> usize;

/// Of each family as many kernels as `limits` says, and a quarter as many of those that are held out: the first that were measured.
/// What is then left out is what networks have most of and what is known best: conversions, changes of layout.
pub fn strata(samples: Vec<Sample>, fold: u64, limits: Limits<'_>) -> Vec<Sample> {
    let mut strata = Strata::new(fold, limits);
    samples.into_iter().filter(|sample| strata.takes(&sample.kernel, 1.0, usize::MAX)).collect()
}

/// Kernels that are wanted so far: of each family no more than a limit, and a quarter of it of those that are held out.
pub(super) struct Strata<'a> {
    fold: u64,
    limits: Limits<'a>,
    counts: BTreeMap<(String, bool), usize>,
    taken: BTreeSet<Kernel>,
}

impl<'a> Strata<'a> {
    pub(super) fn new(fold: u64, limits: Limits<'a>) -> Self {
        Strata { fold, limits, counts: BTreeMap::new(), taken: BTreeSet::new() }
    }

    /// Kernels taken.
    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }

    /// True of a kernel that was taken, and of one that is now: as one of `most` in all, and of a `part` of what its family may have.
    pub(super) fn takes(&mut self, kernel: &Kernel, part: f64, most: usize) -> bool {
        if self.taken.contains(kernel) {
            return true;
        }
        let (family, held) = (kernel.family(), held_out(kernel, self.fold));
        let limit = (part * (self.limits)(&family) as f64) as usize;
        let of_family = if held { limit.div_ceil(4) } else { limit };
        let count = self.counts.entry((family, held)).or_default();
        if *count < of_family && self.taken.len() < most {
            *count += 1;
            self.taken.insert(kernel.clone());
        }
        self.taken.contains(kernel)
    }
}

/// Kernels that a family has at least: a sum of counts is known from few, and better than what is known of another family.
const FEWEST: usize = 5;

/// Fits all families that have enough kernels, and says how well on those held out. `folded` is the number of the
/// held-out part.
pub fn fit(samples: &[Sample], origin: Origin, overhead: Overhead, fold: u64, limits: Limits<'_>) -> (Predictor, Vec<Held>) {
    let mut families: BTreeMap<String, Vec<&Sample>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for sample in samples.iter().filter(|s| s.time() > 0.0) {
        if seen.insert(&sample.kernel) {
            families.entry(sample.kernel.family()).or_default().push(sample);
        }
    }
    let simple = simple(samples, fold);
    let mut models = BTreeMap::new();
    let mut report = Vec::new();
    for (family, all) in &families {
        let (held, mut fitted): (Vec<&Sample>, Vec<&Sample>) = all.iter().partition(|s| held_out(&s.kernel, fold));
        fitted.truncate(limits(family));
        if fitted.len() < FEWEST {
            continue;
        }
        // The order in which kernels were drawn is no matter of theirs.
        fitted.sort_by(|a, b| a.kernel.cmp(&b.kernel));
        let rows: Vec<Row> = fitted.iter().map(|s| row(s)).collect();
        let rows: Vec<&Row> = rows.iter().collect();
        let alike = if rows.len() < FEW { alike(&families, family, fold) } else { Vec::new() };
        let is_simple = rows.len() < FEW && !all[0].kernel.multiplies();
        let others: Vec<&Row> = if alike.is_empty() && is_simple { simple.iter().collect() } else { alike.iter().collect() };
        let base = if others.is_empty() { Base::fit(&rows) } else { Base::beside(&rows, &others) };
        let targets: Vec<f64> = rows.iter().map(|r| libm::log(r.time / base.time(&r.counts, &r.features))).collect();
        let features: Vec<_> = rows.iter().map(|r| r.features).collect();
        let forest = Forest::fit(&features, &targets);
        let mut model = Model { samples: rows.len(), base, forest, spread: 0.0 };
        let judged = if held.len() >= 8 { &held } else { &fitted };
        let error = |s: &&Sample| libm::log(model.time(&s.kernel) / s.time());
        model.spread = libm::sqrt(judged.iter().map(|s| error(s) * error(s)).sum::<f64>() / judged.len() as f64);
        report.push(judge(family, &model, &rows, &held));
        models.insert(family.clone(), model);
    }
    // What a kernel without weights takes, whatever it does: a sum over all families alike.
    if simple.len() >= FEWEST {
        let base = Base::of_few(&simple.iter().collect::<Vec<_>>());
        let model = Model { samples: simple.len(), base, forest: Forest::default(), spread: UNKNOWN };
        models.insert(OTHER.to_owned(), model);
    }
    (Predictor { origin, overhead, models }, report)
}

/// Rows of the same operator on numbers of the same size, in other layouts or with other operands; none of ops whose work is products.
fn alike(families: &BTreeMap<String, Vec<&Sample>>, family: &str, fold: u64) -> Vec<Row> {
    let kind = |all: &[&Sample]| all.first().map(|s| (s.kernel.op.clone(), s.kernel.bytes));
    let own = families.get(family).and_then(|all| kind(all));
    let others = families.iter().filter(|(other, all)| *other != family && kind(all) == own);
    let kept =
        others.flat_map(|(_, all)| all.iter().filter(|s| !s.kernel.multiplies() && !held_out(&s.kernel, fold)).take(FEW));
    kept.map(|sample| row(sample)).collect()
}

/// Kernels without weights, of each family as many.
fn simple(samples: &[Sample], fold: u64) -> Vec<Row> {
    let mut families: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for sample in samples.iter().filter(|s| s.time() > 0.0 && !s.kernel.multiplies() && !held_out(&s.kernel, fold)) {
        let rows = families.entry(sample.kernel.family()).or_default();
        if rows.len() < FEWEST {
            rows.push(row(sample));
        }
    }
    families.into_values().flatten().collect()
}

fn row(sample: &Sample) -> Row {
    Row { counts: counts(&sample.kernel), features: features(&sample.kernel), time: sample.time() }
}

fn point(model: &Model, sample: &Sample) -> Point {
    Point { kernel: sample.kernel.key(), predicted: model.time(&sample.kernel), measured: sample.time() }
}

fn judge(family: &str, model: &Model, rows: &[&Row], held: &[&Sample]) -> Held {
    let part = |of: &dyn Fn(&Sample) -> Option<bool>| {
        let known: Vec<bool> = held.iter().filter_map(|s| of(s)).collect();
        known.iter().filter(|&&yes| yes).count() as f64 / known.len().max(1) as f64
    };
    let within = |bound: f64| part(&|s| Some((model.time(&s.kernel) / s.time() - 1.0).abs() <= bound));
    let again = |bound: f64| {
        part(&|s| {
            let turn = |odd: usize| s.times.iter().skip(odd).step_by(2).copied().collect::<Vec<f64>>();
            let (first, second) = (turn(0), turn(1));
            (!second.is_empty()).then(|| (typical(&first) / typical(&second) - 1.0).abs() <= bound)
        })
    };
    let work = |counts: &[f64]| if counts[1] > 0.0 { counts[1] } else { counts[3].max(counts[2]) };
    let rate = median(&rows.iter().map(|r| r.time / work(&r.counts)).collect::<Vec<_>>());
    Held {
        family: family.to_owned(),
        fitted: rows.len(),
        held: held.len(),
        within_5: within(0.05),
        within_10: within(0.10),
        ceiling_5: again(0.05),
        ceiling_10: again(0.10),
        work_10: part(&|s| Some((rate * work(&counts(&s.kernel)) / s.time() - 1.0).abs() <= 0.10)),
        rules: rules(&model.base, rows).into_iter().map(|rule| (rule.words, rule.cheaper)).collect(),
        points: held.iter().map(|s| point(model, s)).collect(),
    }
}

/// The mean of all but the lowest and the highest eighth, each rounded up from three numbers on; 0 of nothing.
pub fn typical(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let cut = if sorted.len() < 3 { 0 } else { sorted.len().div_ceil(8) };
    let kept = &sorted[cut..sorted.len() - cut];
    // The sum of nothing is -0.
    (0.0 + kept.iter().sum::<f64>()) / kept.len().max(1) as f64
}

/// The median; 0 of nothing.
pub(crate) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Layout;

    fn samples(op: &str, count: u32) -> Vec<Sample> {
        let sample = |at: u32| {
            let kernel = Kernel::same(op, Layout::Last, [1, 1], [1, 8 + at, 7, 7]);
            Sample { times: vec![500.0 + 2.0 * f64::from(at); 3], kernel }
        };
        (0..count).map(sample).collect()
    }

    #[test]
    fn a_time_is_a_mean_that_no_end_moves() {
        assert_eq!((typical(&[]), typical(&[3.0]), typical(&[2.0, 4.0])), (0.0, 3.0, 3.0));
        assert_eq!(typical(&[900.0, 4.0, 1.0, 6.0]), 5.0);
        assert!(typical(&[]).is_sign_positive(), "it is written into files");
    }

    #[test]
    fn families_keep_the_kernels_that_came_first() {
        let both = [samples("QLinearConv", 200), samples("Transpose", 200)].concat();
        let kept = strata(both.clone(), 0, &|family| if family.contains("Conv") { 1000 } else { 20 });
        let count =
            |op: &str, held: bool| kept.iter().filter(|s| &*s.kernel.op == op && held_out(&s.kernel, 0) == held).count();
        assert_eq!(count("QLinearConv", false) + count("QLinearConv", true), 200);
        assert_eq!((count("Transpose", false), count("Transpose", true)), (20, 5));
        let first = both.iter().find(|s| &*s.kernel.op == "Transpose" && !held_out(&s.kernel, 0)).unwrap();
        assert!(kept.contains(first));
    }

    #[test]
    fn small_kernels_alone_do_not_say_what_a_number_costs() {
        // Sums of two maps of all sizes, and of a map and one number, which are all small and whose calls by chance took longer and longer.
        let both = |at: u32| {
            let kernel = Kernel::same("QLinearAdd", Layout::Last, [1, 1], [1, 8 + 40 * at, 7, 7]);
            let numbers = 49 * (8 + 40 * at);
            Sample { times: vec![4000.0 + 0.15 * f64::from(numbers)], kernel: Kernel { others: numbers, ..kernel } }
        };
        let one = |at: u32| {
            let kernel = Kernel::same("QLinearAdd", Layout::Last, [1, 1], [1, 8 + 8 * at, 1, 1]);
            Sample { times: vec![4000.0 + 160.0 * f64::from(at)], kernel }
        };
        let all: Vec<Sample> = (0..40).map(both).chain((0..12).map(one)).collect();
        let overhead = Overhead::NONE;
        let (predictor, _) = fit(&all, Origin::new(), overhead, 0, &|_| usize::MAX);
        let large = Kernel::same("QLinearAdd", Layout::Last, [1, 1], [1, 1632, 7, 7]);
        let price = predictor.kernel(&large);
        assert!(price.known && price.nanos < 2.0 * (4000.0 + 0.15 * 1632.0 * 49.0), "{price:?}");
    }

    #[test]
    fn few_kernels_without_relatives_learn_from_all_others() {
        let sample = |op: &str, channels: u32, nanos: u32| {
            let kernel = Kernel::same(op, Layout::Plain, [4, 4], [1, channels, 1, 1]);
            Sample { times: vec![f64::from(nanos); 3], kernel }
        };
        let large = (0..40).map(|at| sample("Tanh", 8 + 4000 * at, 4000 + 800 * at));
        // All of them small, and by chance each took longer than the one before.
        let small = (0..9).map(|at| sample("Softmax", 8 + 8 * at, 4000 + 200 * at));
        let overhead = Overhead::NONE;
        let (predictor, _) = fit(&large.chain(small).collect::<Vec<_>>(), Origin::new(), overhead, 0, &|_| usize::MAX);
        let price = predictor.kernel(&sample("Softmax", 100_000, 0).kernel);
        assert!(price.known && (20_000.0..60_000.0).contains(&price.nanos), "{price:?}");
    }

    #[test]
    fn what_has_no_model_takes_what_the_nearest_kernel_does() {
        let overhead = Overhead::NONE;
        let all = [samples("FusedConv", 40), samples("Transpose", 40), samples("Tanh", 40)].concat();
        let (predictor, _) = fit(&all, Origin::new(), overhead, 0, &|_| usize::MAX);
        let of = |op: &str| Kernel::same(op, Layout::Plain, [1, 1], [1, 30, 7, 7]);
        let name = |op: &str| predictor.model_of(&of(op)).map(|(name, _)| name.to_owned());
        assert_eq!(name("Conv").as_deref(), Some("Conv-last"));
        assert_eq!(name("Elu").as_deref(), Some(OTHER));
        assert_eq!(name("Gemm").as_deref(), Some(OTHER), "a call, and what it moves");
        assert!(!predictor.kernel(&of("Elu")).known);
        // One operand of a few numbers says nothing about two whole ones.
        let sum = Kernel { others: 30 * 49, ..of("Tanh") };
        assert_eq!(predictor.model_of(&sum).map(|(name, _)| name), Some(OTHER));
        // 22 more channels than the first, at 2 ns each.
        assert!((predictor.kernel(&of("Elu")).nanos / 544.0 - 1.0).abs() < 0.05, "{:?}", predictor.kernel(&of("Elu")));
    }
}
