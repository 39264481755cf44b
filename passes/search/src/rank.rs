//! Every space of a hyperspace, scored: which are the best, and how many are better than a given one.
//!
//! Halves are shared, so first halves are made once, second halves as they come, and a score is one sum of products for each pair.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use crate::exact::{Bounds, Exact, Prefix, Suffix};
use crate::hyperspace::Choice;
use crate::pool::Pool;

/// What ranking found.
#[derive(Clone, PartialEq, Debug)]
pub struct Ranking {
    /// Spaces that were ranked: all that have rows everywhere.
    pub spaces: u64,
    /// The best spaces, best first.
    pub best: Vec<(f64, Choice)>,
    /// For each space that was asked about: its score, and 1 more than the number of spaces with a higher one.
    pub ranks: Vec<(f64, u64)>,
}

/// Counts of one task.
struct Part {
    spaces: u64,
    best: Vec<(f64, u64)>,
    better: Vec<u64>,
}

/// Second halves that begin alike, with bounds on what they make of a first half; the children begin alike a little longer.
struct Node {
    /// Choices of the stages that begin alike; all of them in a leaf.
    choices: Vec<usize>,
    spaces: u64,
    /// By limit.
    suffixes: Vec<Suffix>,
    bounds: Vec<Bounds>,
    guesses: Vec<[Option<isize>; 3]>,
    children: Vec<Node>,
}

impl Node {
    /// `lists` are the choices of the stages to come; the last one is divided by block type before it is divided by window.
    fn new(exact: &Exact<'_>, pool: &Pool, choices: Vec<usize>, lists: &[Vec<usize>]) -> Node {
        let guesses = vec![[None; 3]; exact.limits()];
        let Some((list, rest)) = lists.split_first() else {
            let suffixes = (0..exact.limits()).map(|l| exact.suffix(l, &choices)).collect();
            return Node { choices, spaces: 1, suffixes, bounds: Vec::new(), guesses, children: Vec::new() };
        };
        let child = |i: usize| Node::new(exact, pool, choices.iter().copied().chain([i]).collect(), rest);
        let windows = pool.hyperspace.stages.last().map_or(1, |s| s.windows());
        let divided = rest.is_empty() && list.len() > windows;
        let children: Vec<Node> = if divided {
            let blocks = list.chunk_by(|a, b| a / windows == b / windows);
            blocks.map(|block| Node::new(exact, pool, choices.clone(), &[block.to_vec()])).collect()
        } else {
            list.iter().map(|&i| child(i)).collect()
        };
        let bounds = |l: usize| {
            let leaves = children.first().is_some_and(|c| c.bounds.is_empty());
            if leaves {
                Bounds::of(children.iter().map(|c| &c.suffixes[l]))
            } else {
                Bounds::over(children.iter().map(|c| &c.bounds[l]))
            }
        };
        let bounds = (0..exact.limits()).map(bounds).collect();
        let spaces = children.iter().map(|c| c.spaces).sum();
        Node { choices, spaces, suffixes: Vec::new(), bounds, guesses, children }
    }

    /// The score of a leaf.
    fn score(&mut self, exact: &Exact<'_>, prefixes: &[Prefix]) -> f64 {
        let limits = self.suffixes.iter().zip(&mut self.guesses).zip(prefixes).enumerate();
        limits.map(|(l, ((suffix, guesses), prefix))| exact.join(l, prefix, suffix, &mut guesses[0]).score).sum()
    }

    /// What scores are at most.
    fn at_most(&mut self, exact: &Exact<'_>, prefixes: &[Prefix]) -> f64 {
        let limits = self.bounds.iter().zip(&mut self.guesses).zip(prefixes).enumerate();
        limits
            .map(|(l, ((bounds, [a, b, _]), prefix))| {
                let mut guesses = [*a, *b];
                let high = exact.at_most(l, prefix, bounds, &mut guesses);
                [*a, *b] = guesses;
                high
            })
            .sum()
    }

    /// What scores are at least.
    fn at_least(&mut self, exact: &Exact<'_>, prefixes: &[Prefix]) -> f64 {
        let limits = self.bounds.iter().zip(&mut self.guesses).zip(prefixes).enumerate();
        limits.map(|(l, ((bounds, guesses), prefix))| exact.at_least(l, prefix, bounds, &mut guesses[2])).sum()
    }
}

/// What all tasks know.
struct Search<'a> {
    exact: &'a Exact<'a>,
    pool: &'a Pool,
    asked: &'a [f64],
    keep: usize,
    /// The worst of the best that any task has, as bits: positive numbers are ordered like them.
    bar: &'a AtomicU64,
}

impl Search<'_> {
    fn visit(&self, node: &mut Node, first: &[usize], prefixes: &[Prefix], part: &mut Part) {
        if node.children.is_empty() {
            part.spaces += 1;
            let score = node.score(self.exact, prefixes);
            part.better.iter_mut().zip(self.asked).for_each(|(b, a)| *b += u64::from(score > *a));
            if part.best.len() < self.keep || part.best.last().is_some_and(|b| score > b.0) {
                let indices: Vec<usize> = first.iter().chain(&node.choices).copied().collect();
                part.best.push((score, self.pool.hyperspace.index_of(&choice(self.pool, &indices)) as u64));
                sort_best(&mut part.best, self.keep);
                if part.best.len() == self.keep {
                    self.bar.fetch_max(part.best.last().map_or(0, |b| b.0.to_bits()), Ordering::Relaxed);
                }
            }
            return;
        }
        let high = node.at_most(self.exact, prefixes);
        if high < f64::from_bits(self.bar.load(Ordering::Relaxed)) {
            let above: Vec<usize> = (0..self.asked.len()).filter(|&i| self.asked[i] <= high).collect();
            let low = if above.is_empty() { 0.0 } else { node.at_least(self.exact, prefixes) };
            if above.iter().all(|&i| self.asked[i] < low) {
                part.spaces += node.spaces;
                above.into_iter().for_each(|i| part.better[i] += node.spaces);
                return;
            }
        }
        for child in &mut node.children {
            self.visit(child, first, prefixes, part);
        }
    }
}

/// Ranks all spaces, those `asked` about among them. `keep` best are kept; `done` is told of spaces as they are decided.
///
/// Spaces whose second halves begin alike are decided together where bounds on their scores say all that is asked. Holds the first
/// halves of all spaces at a time: 0.6 GB for each limit in `onnxw`.
pub fn rank(exact: &Exact<'_>, pool: &Pool, asked: &[Choice], keep: usize, done: impl Fn(u64) + Sync) -> Ranking {
    let stages = pool.hyperspace.stages.len();
    let split = exact.split();
    let complete: Vec<Vec<usize>> =
        (0..stages).map(|s| (0..pool.choices(s)).filter(|&i| pool.complete(s, i)).collect()).collect();
    let firsts = products(&complete[..split]);
    let halves = |first: &[usize]| (0..exact.limits()).map(|l| exact.prefix(l, first)).collect::<Vec<Prefix>>();
    let prefixes: Vec<Vec<Prefix>> = firsts.par_iter().map(|f| halves(f)).collect();
    let score = |c: &Choice| {
        let indices: Vec<usize> = (0..stages).map(|s| pool.choice_index(c, s)).collect();
        Node::new(exact, pool, indices[split..].to_vec(), &[]).score(exact, &halves(&indices[..split]))
    };
    let asked_scores: Vec<f64> = asked.iter().map(score).collect();
    let bar = AtomicU64::new(0);
    let search = Search { exact, pool, asked: &asked_scores, keep, bar: &bar };
    let (head, rest) = complete[split..].split_at((stages - split).min(1));
    let task = |root: &Vec<usize>| {
        let mut part = Part { spaces: 0, best: Vec::new(), better: vec![0; asked.len()] };
        let mut node = Node::new(exact, pool, root.clone(), rest);
        for (first, prefixes) in firsts.iter().zip(&prefixes) {
            let before = part.spaces;
            search.visit(&mut node, first, prefixes, &mut part);
            done(part.spaces - before);
        }
        part
    };
    let parts: Vec<Part> = products(head).par_iter().map(task).collect();
    let mut ranking = Ranking { spaces: 0, best: Vec::new(), ranks: Vec::new() };
    let mut best = Vec::new();
    let mut better = vec![0; asked.len()];
    for part in parts {
        ranking.spaces += part.spaces;
        best.extend(part.best);
        better.iter_mut().zip(&part.better).for_each(|(b, p)| *b += p);
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
