//! The best combinations of one candidate per stage, under any number of limits, by bounded enumeration.
//!
//! Best-first search: what is begun is continued in the order of its loss plus the least loss that the stages to come can have. The
//! latter is read off the front of loss over each cost, and the largest of those bounds counts. So combinations come out in order
//! of their loss, and when the search is stopped early the first thing in the queue says how much better an answer could be.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::front::{Point, extend, front, within};

/// Something that a stage can be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Loss in millionths.
    pub loss: u64,
    /// Costs: latency on one or several targets, MACs, parameters; as many as there are limits.
    pub costs: Vec<u64>,
    /// What the caller knows it by.
    pub tag: u64,
}

/// A combination: one candidate for each stage.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Combination {
    /// Sum of losses.
    pub loss: u64,
    /// Sums of costs.
    pub costs: Vec<u64>,
    /// Tags of the candidates.
    pub tags: Vec<u64>,
}

/// What an enumeration found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Enumerated {
    /// The best combinations, best first.
    pub found: Vec<Combination>,
    /// No combination that is missing has a lower loss; `None` where none is missing.
    pub bound: Option<u64>,
    /// Whether the search ended because it had all that was asked for, and not because its steps were used up.
    pub complete: bool,
}

/// Finds the `count` combinations of least loss whose costs are all within `limits`, in at most `steps` continuations.
pub fn enumerate(stages: &[Vec<Candidate>], limits: &[u64], count: usize, steps: usize) -> Enumerated {
    // fronts[cost][stage]: least loss of the stages from there on, over that cost.
    let bounds: Vec<Vec<Vec<Point>>> = (0..limits.len()).map(|cost| suffix_fronts(stages, cost)).collect();
    let free: Vec<u64> = (0..=stages.len())
        .map(|s| stages[s..].iter().map(|list| list.iter().map(|c| c.loss).min().unwrap_or(0)).sum())
        .collect();
    let bound = |stage: usize, loss: u64, costs: &[u64]| -> Option<u64> {
        let mut least = free[stage];
        for (cost, fronts) in bounds.iter().enumerate() {
            least = least.max(within(&fronts[stage], limits[cost].checked_sub(costs[cost])?)?.1.loss);
        }
        Some(loss + least)
    };
    let mut queue = BinaryHeap::new();
    let start = Combination { loss: 0, costs: vec![0; limits.len()], tags: Vec::new() };
    if !stages.is_empty()
        && let Some(b) = bound(0, 0, &start.costs)
    {
        queue.push(Reverse((b, start)));
    }
    let mut result = Enumerated { found: Vec::new(), bound: None, complete: true };
    let mut left = steps;
    while let Some(Reverse((least, begun))) = queue.pop() {
        if result.found.len() == count {
            result.bound = Some(least);
            return result;
        }
        let Some(list) = stages.get(begun.tags.len()) else {
            result.found.push(begun);
            continue;
        };
        if left == 0 {
            return Enumerated { bound: Some(least), complete: false, ..result };
        }
        left -= 1;
        for candidate in list {
            let loss = begun.loss + candidate.loss;
            let costs: Vec<u64> = begun.costs.iter().zip(&candidate.costs).map(|(a, b)| a + b).collect();
            if let Some(least) = bound(begun.tags.len() + 1, loss, &costs) {
                let tags = begun.tags.iter().copied().chain([candidate.tag]).collect();
                queue.push(Reverse((least, Combination { loss, costs, tags })));
            }
        }
    }
    result
}

fn suffix_fronts(stages: &[Vec<Candidate>], cost: usize) -> Vec<Vec<Point>> {
    let mut fronts = vec![vec![Point { latency: 0, loss: 0, from: 0, item: 0 }]];
    for list in stages.iter().rev() {
        let items = front(list.iter().map(|c| Point { latency: c.costs[cost], loss: c.loss, from: 0, item: 0 }).collect());
        let next = extend(&fronts[fronts.len() - 1], &items);
        fronts.push(next);
    }
    fronts.reverse();
    fronts
}

/// The candidates that no other one beats in loss and all costs; of equal ones the first by tag.
pub fn undominated(mut list: Vec<Candidate>) -> Vec<Candidate> {
    list.sort_by(|a, b| (a.loss, &a.costs, a.tag).cmp(&(b.loss, &b.costs, b.tag)));
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in list {
        if !kept.iter().any(|k| k.costs.iter().zip(&candidate.costs).all(|(a, b)| a <= b)) {
            kept.push(candidate);
        }
    }
    kept
}
