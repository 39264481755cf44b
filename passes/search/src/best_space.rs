//! The best space of a whole hyperspace by its exact score: climb to a good one, bound all others, score what the bounds leave open.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::check::{Rows, least_score};
use crate::evolution::homogeneous;
use crate::exact::{Exact, Prefix};
use crate::hyperspace::Choice;
use crate::pool::{Pool, latency, loss};
use crate::tilt::{Bounds, Tilt};

/// What was found.
#[derive(Clone, PartialEq, Debug)]
pub struct BestSpace {
    /// The space; the first by number of equal ones.
    pub choice: Choice,
    /// Its score.
    pub score: f64,
    /// What its score is at least, whatever the grid makes of it: spaces bounded below that are decided.
    pub least: f64,
    /// The exponents of the bounds, one for each limit.
    pub tilts: Vec<Tilt>,
    /// All spaces that bounds do not decide, the best one among them.
    pub contenders: Vec<Contender>,
}

/// A space that had to be scored.
#[derive(Clone, PartialEq, Debug)]
pub struct Contender {
    /// `block * windows + window`, by stage.
    pub choices: Vec<usize>,
    /// Its score.
    pub score: f64,
    /// The cells of loss, counted from 0, where its mean loss was read off, by limit; `None` where it has too few subnets for that.
    pub places: Vec<Option<i64>>,
}

/// Finds the best space of those with rows everywhere. `None` where there is none, or where so few subnets of the best are within a limit
/// that nothing can be told apart.
pub fn best_space(exact: &Exact<'_>, pool: &Pool) -> Option<BestSpace> {
    let formula = exact.formula();
    let mut incumbent = climb(exact, pool)?;
    // Below that a space has no subnet within any limit; nothing could be told apart.
    if incumbent.0 <= 1e-4 {
        return None;
    }
    loop {
        let fit = |&limit: &u32| Tilt::fit(pool, formula, limit, &incumbent.1);
        let tilts: Vec<Tilt> = formula.limits.iter().map(fit).collect();
        let least = least_score(formula, &rows_of(pool, &incumbent.1).iter().collect::<Vec<_>>());
        if least <= 1e-4 {
            return None;
        }
        let open = Bounds::new(pool, formula, &tilts).contenders(least);
        let contenders = scored(exact, open);
        let best = contenders.iter().reduce(|a, b| if b.score > a.score { b } else { a })?;
        let found = pool.choice(&best.choices);
        if found == incumbent.1 {
            return Some(BestSpace { choice: found, score: best.score, least, tilts, contenders });
        }
        // Bounds are tightest near the best: once more, from there.
        incumbent = (best.score, found);
    }
}

/// The rows of a space, by stage and resolution.
fn rows_of(pool: &Pool, choice: &Choice) -> Vec<Rows> {
    let rows = |s: usize, r: usize| {
        let pairs = pool.entry(s, pool.choice_index(choice, s), r).pairs.iter();
        pairs.map(|&p| (loss(p).into(), latency(p).into())).collect()
    };
    let stage = |s: usize| (0..pool.resolutions.len()).map(|r| rows(s, r)).collect();
    (0..pool.hyperspace.stages.len()).map(stage).collect()
}

/// From the best homogeneous space, one stage at a time, while that improves the score.
fn climb(exact: &Exact<'_>, pool: &Pool) -> Option<(f64, Choice)> {
    let best_of = |all: Vec<Choice>| {
        let all: Vec<Choice> = all.into_iter().filter(|c| pool.covers(c)).collect();
        let scores = exact.score_all(&all);
        let scored = scores.into_iter().map(|s| s.score).zip(all);
        scored.reduce(|a, b| if b.0 > a.0 { b } else { a })
    };
    let stages = pool.hyperspace.stages.len();
    let first = (0..stages).map(|s| (0..pool.choices(s)).find(|&i| pool.complete(s, i))).collect::<Option<Vec<usize>>>()?;
    let starts = homogeneous(&pool.hyperspace).into_iter().chain([pool.choice(&first)]);
    let mut best = best_of(starts.collect())?;
    loop {
        let before = best.0;
        for stage in 0..stages {
            let own: Vec<usize> = (0..stages).map(|s| pool.choice_index(&best.1, s)).collect();
            let other = |i: usize| {
                let mut indices = own.clone();
                indices[stage] = i;
                pool.choice(&indices)
            };
            if let Some(next) = best_of((0..pool.choices(stage)).map(other).collect())
                && next.0 > best.0
            {
                best = next;
            }
        }
        if best.0 <= before {
            return Some(best);
        }
    }
}

/// Scores spaces; halves are made once. In the order that they came in.
fn scored(exact: &Exact<'_>, open: Vec<Vec<usize>>) -> Vec<Contender> {
    let split = exact.split();
    let mut firsts: BTreeMap<&[usize], Vec<Prefix>> = open.iter().map(|c| (&c[..split], Vec::new())).collect();
    firsts.par_iter_mut().for_each(|(first, made)| *made = (0..exact.limits()).map(|l| exact.prefix(l, first)).collect());
    let mut seconds: BTreeMap<&[usize], Vec<usize>> = BTreeMap::new();
    for (number, choices) in open.iter().enumerate() {
        seconds.entry(&choices[split..]).or_default().push(number);
    }
    let seconds: Vec<(&[usize], Vec<usize>)> = seconds.into_iter().collect();
    let group = |(second, numbers): &(&[usize], Vec<usize>)| {
        let suffixes: Vec<_> = (0..exact.limits()).map(|l| exact.suffix(l, second)).collect();
        let mut guesses = vec![None; exact.limits()];
        let one = |&number: &usize| {
            let choices = open[number].clone();
            let mut contender = Contender { score: 0.0, places: Vec::new(), choices };
            for (l, (prefix, suffix)) in firsts[&contender.choices[..split]].iter().zip(&suffixes).enumerate() {
                let (found, place) = exact.placed(l, prefix, suffix, &mut guesses[l]);
                contender.score += found.score;
                contender.places.push(place);
            }
            (number, contender)
        };
        numbers.iter().map(one).collect::<Vec<_>>()
    };
    let mut found: Vec<(usize, Contender)> = seconds.par_iter().flat_map_iter(group).collect();
    found.sort_unstable_by_key(|(number, _)| *number);
    found.into_iter().map(|(_, contender)| contender).collect()
}
