//! Every space of a hyperspace, scored: which are the best, and how many are better than a given one.
//!
//! Halves are shared, so first halves are made once, second halves as they come, and a score is one sum of products for each pair.

use rayon::prelude::*;

use crate::exact::{Exact, Prefix};
use crate::hyperspace::Choice;
use crate::pool::Pool;

/// What ranking found, under one limit.
#[derive(Clone, PartialEq, Debug)]
pub struct Ranking {
    /// Spaces that were scored: all that have rows everywhere.
    pub spaces: u64,
    /// Spaces without a subnet within the limit.
    pub infeasible: u64,
    /// The best spaces, best first.
    pub best: Vec<(f64, Choice)>,
    /// For each space that was asked about: its score, and 1 more than the number of spaces with a higher one.
    pub ranks: Vec<(f64, u64)>,
    /// Spaces by score: how many are at least `i` of the best score's hundredths, below `i + 1`.
    pub histogram: Vec<u64>,
}

/// Counts of one task.
struct Part {
    spaces: u64,
    infeasible: u64,
    best: Vec<(f64, u64)>,
    better: Vec<u64>,
    histogram: Vec<u64>,
}

/// Scores at which the histogram ends.
const HISTOGRAM_END: f64 = 1.0;

/// Scores all spaces under the `number`-th limit of a scorer, and ranks those `asked` about. `keep` best are kept; `done` is told of
/// spaces as they are scored.
///
/// Where the hyperspace is too large to hold all first halves (about 1 GB), a person will have narrowed it before.
pub fn rank(exact: &Exact<'_>, pool: &Pool, number: usize, asked: &[Choice], keep: usize, done: impl Fn(u64) + Sync) -> Ranking {
    let stages = pool.hyperspace.stages.len();
    let split = exact.split();
    let complete: Vec<Vec<usize>> =
        (0..stages).map(|s| (0..pool.choices(s)).filter(|&i| pool.complete(s, i)).collect()).collect();
    let firsts = products(&complete[..split]);
    let seconds = products(&complete[split..]);
    let prefixes: Vec<Prefix> = firsts.par_iter().map(|c| exact.prefix(number, c)).collect();
    let asked_scores: Vec<f64> = asked
        .iter()
        .map(|c| {
            let indices: Vec<usize> = (0..stages).map(|s| pool.choice_index(c, s)).collect();
            let (prefix, suffix) = (exact.prefix(number, &indices[..split]), exact.suffix(number, &indices[split..]));
            exact.join(number, &prefix, &suffix, &mut None).score
        })
        .collect();
    let task = |second: &[Vec<usize>]| {
        let mut part =
            Part { spaces: 0, infeasible: 0, best: Vec::new(), better: vec![0; asked.len()], histogram: vec![0; 1000] };
        let suffixes: Vec<_> = second.iter().map(|c| exact.suffix(number, c)).collect();
        let mut guesses = vec![None; suffixes.len()];
        for (first, prefix) in firsts.iter().zip(&prefixes) {
            for ((last, suffix), guess) in second.iter().zip(&suffixes).zip(&mut guesses) {
                let score = exact.join(number, prefix, suffix, guess);
                part.spaces += 1;
                part.infeasible += u64::from(score.loss == crate::score::NO_SUBNET);
                part.better.iter_mut().zip(&asked_scores).for_each(|(b, a)| *b += u64::from(score.score > *a));
                part.histogram[((score.score / HISTOGRAM_END * 1000.0) as usize).min(999)] += 1;
                if part.best.len() < keep || part.best.last().is_some_and(|b| score.score > b.0) {
                    let indices: Vec<usize> = first.iter().chain(last).copied().collect();
                    let index = pool.hyperspace.index_of(&choice(pool, &indices)) as u64;
                    part.best.push((score.score, index));
                    sort_best(&mut part.best, keep);
                }
            }
        }
        done(part.spaces);
        part
    };
    let parts: Vec<Part> = seconds.par_chunks(8).map(task).collect();
    let mut ranking =
        Ranking { spaces: 0, infeasible: 0, best: Vec::new(), ranks: Vec::new(), histogram: vec![0; 1000] };
    let mut best = Vec::new();
    let mut better = vec![0; asked.len()];
    for part in parts {
        ranking.spaces += part.spaces;
        ranking.infeasible += part.infeasible;
        best.extend(part.best);
        better.iter_mut().zip(&part.better).for_each(|(b, p)| *b += p);
        ranking.histogram.iter_mut().zip(&part.histogram).for_each(|(h, p)| *h += p);
    }
    sort_best(&mut best, keep);
    ranking.best = best.into_iter().map(|(s, i)| (s, pool.hyperspace.choice_at(i.into()))).collect();
    ranking.ranks = asked_scores.into_iter().zip(better).map(|(s, b)| (s, b + 1)).collect();
    ranking
}

/// The best first; of equal ones the lower number.
fn sort_best(best: &mut Vec<(f64, u64)>, keep: usize) {
    best.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    best.truncate(keep);
}

fn choice(pool: &Pool, indices: &[usize]) -> Choice {
    let each = |f: fn(usize, usize) -> usize| {
        indices.iter().zip(&pool.hyperspace.stages).map(|(&i, s)| f(i, s.windows()) as u8).collect::<Vec<u8>>()
    };
    Choice { blocks: each(|i, w| i / w), windows: each(|i, w| i % w) }
}

/// All lists with one item of each.
fn products(lists: &[Vec<usize>]) -> Vec<Vec<usize>> {
    lists.iter().fold(vec![Vec::new()], |all, list| {
        all.iter().flat_map(|head| list.iter().map(move |&i| head.iter().copied().chain([i]).collect())).collect()
    })
}
