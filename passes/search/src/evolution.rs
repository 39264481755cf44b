//! Aging evolution of spaces (SpaceEvo; Real et al. 2019): of a sample of the population the best becomes a parent, its children
//! join, and the oldest leave.
//!
//! Every iteration has a random stream of its own, and everything that was done is in the [`History`]; so an evolution can be
//! stopped after any entry and taken up again, and comes to the same end for any number of threads.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;

use crate::hyperspace::{Choice, Hyperspace};
use crate::moves::{Kind, Move};
use crate::random::Random;
use crate::score::Score;

/// How to evolve. The default is as published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Spaces that live at a time.
    pub population: usize,
    /// Spaces among which a parent is sought.
    pub tournament: usize,
    /// Spaces that are scored in all.
    pub cycles: usize,
    /// Seed.
    pub seed: u64,
    /// Draw every space at random instead (the baseline that evolution must beat).
    pub random: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { population: 500, tournament: 125, cycles: 5000, seed: 0, random: false }
    }
}

/// Where a space came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The same block and window in every stage.
    Homogeneous,
    /// Drawn.
    Random,
    /// A move from the space of that number.
    Child(usize, Move),
}

/// One scored space.
#[derive(Clone, PartialEq, Debug)]
pub struct Individual {
    /// The space.
    pub choice: Choice,
    /// Where it came from.
    pub origin: Origin,
    /// The iteration that made it.
    pub iteration: u64,
    /// Its score.
    pub score: f64,
}

/// All spaces scored so far, in order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct History {
    /// The spaces.
    pub entries: Vec<Individual>,
}

impl History {
    /// The best space; the first of equal ones.
    pub fn best(&self) -> Option<&Individual> {
        self.entries.iter().reduce(|a, b| if b.score > a.score { b } else { a })
    }

    /// The best spaces first; of equal ones the older.
    pub fn ranked(&self) -> Vec<&Individual> {
        let mut all: Vec<&Individual> = self.entries.iter().collect();
        all.sort_by(|a, b| b.score.total_cmp(&a.score));
        all
    }

    /// The best score after each entry.
    pub fn curve(&self) -> Vec<f64> {
        let best = |best: &mut f64, i: &Individual| {
            *best = best.max(i.score);
            Some(*best)
        };
        self.entries.iter().scan(f64::MIN, best).collect()
    }
}

/// Iterations without a new space after which the neighbourhood counts as exhausted.
const PATIENCE: u64 = 100_000;

/// Evolves until the history is full, continuing where it ends.
///
/// `allowed` says which spaces can be scored, `judge` scores some of them (in any order, on all threads), and `seen` is told of every
/// entry and may end the evolution. Nothing else is random or kept.
pub fn evolve(
    hyperspace: &Hyperspace,
    settings: &Settings,
    history: &mut History,
    allowed: impl Fn(&Choice) -> bool,
    judge: impl Fn(&[Choice]) -> Vec<Score>,
    mut seen: impl FnMut(&Individual) -> ControlFlow<()>,
) {
    let mut numbers: HashMap<Choice, usize> =
        history.entries.iter().enumerate().map(|(n, i)| (i.choice.clone(), n)).collect();
    let most = usize::try_from(hyperspace.spaces()).unwrap_or(usize::MAX).min(settings.cycles);
    let first = settings.population.min(most);
    // The first population: homogeneous spaces, then random ones. All of them are named before any is scored.
    let begun = if settings.random { most } else { first };
    let mut named = homogeneous(hyperspace);
    named.truncate(if settings.random { 0 } else { begun });
    let mut founders: Vec<(Choice, Origin, u64)> = Vec::new();
    let mut known = std::collections::HashSet::new();
    for choice in named {
        if allowed(&choice) && known.insert(choice.clone()) {
            founders.push((choice, Origin::Homogeneous, 0));
        }
    }
    let mut iteration = 0;
    while founders.len() < begun && iteration < PATIENCE.max(10 * begun as u64) {
        iteration += 1;
        let choice = random_space(hyperspace, &mut Random::new(&[settings.seed, 1, iteration]));
        if allowed(&choice) && known.insert(choice.clone()) {
            founders.push((choice, Origin::Random, iteration));
        }
    }
    let add =
        |made: Vec<(Choice, Origin, u64)>, history: &mut History, seen: &mut dyn FnMut(&Individual) -> ControlFlow<()>| {
            let choices: Vec<Choice> = made.iter().map(|m| m.0.clone()).collect();
            for ((choice, origin, iteration), score) in made.into_iter().zip(judge(&choices)) {
                history.entries.push(Individual { choice, origin, iteration, score: score.score });
                if let Some(entry) = history.entries.last() {
                    seen(entry)?;
                }
            }
            ControlFlow::Continue(())
        };
    let count = founders.len();
    let mut left: VecDeque<_> = founders.into_iter().skip(history.entries.len()).collect();
    while !left.is_empty() {
        // Few at a time: what is interrupted has done some of them.
        let some = left.drain(..left.len().min(16)).collect();
        if add(some, history, &mut seen).is_break() {
            return;
        }
    }
    if settings.random || count == 0 {
        return;
    }
    numbers.extend(history.entries.iter().enumerate().map(|(n, i)| (i.choice.clone(), n)));
    let mut iteration = history.entries[count..].iter().map(|i| i.iteration).max().unwrap_or(0);
    let mut idle = 0;
    // An iteration may have been cut between its two children.
    iteration = iteration.saturating_sub(1);
    while history.entries.len() < most && idle < PATIENCE {
        iteration += 1;
        let done = history.entries[count..].iter().rev().take_while(|i| i.iteration >= iteration).count();
        let alive = history.entries.len() - done;
        let oldest = alive - count.min(alive);
        let mut random = Random::new(&[settings.seed, 2, iteration]);
        let Some(parent) = tournament(history, oldest..alive, settings.tournament, &mut random) else { return };
        let mut made = Vec::new();
        for kind in [Kind::SwapBlock, Kind::ShiftWindow] {
            let base = &history.entries[parent].choice;
            let Some(change) = Move::draw(kind, hyperspace, base, &mut random) else { continue };
            let choice = change.apply(base);
            if allowed(&choice) && !numbers.contains_key(&choice) && history.entries.len() + made.len() < most {
                numbers.insert(choice.clone(), history.entries.len() + made.len());
                made.push((choice, Origin::Child(parent, change), iteration));
            }
        }
        idle = if made.is_empty() && done == 0 { idle + 1 } else { 0 };
        if !made.is_empty() && add(made, history, &mut seen).is_break() {
            return;
        }
    }
}

/// The best of some that are drawn without replacement; of equal ones the older.
fn tournament(history: &History, alive: std::ops::Range<usize>, size: usize, random: &mut Random) -> Option<usize> {
    let mut numbers: Vec<usize> = alive.collect();
    let size = size.clamp(1, numbers.len().max(1));
    let mut best: Option<usize> = None;
    for i in 0..size.min(numbers.len()) {
        let j = i + random.below(numbers.len() - i);
        numbers.swap(i, j);
        let better = |b: usize| {
            let (new, old) = (history.entries[numbers[i]].score, history.entries[b].score);
            new > old || (new == old && numbers[i] < b)
        };
        if best.is_none_or(better) {
            best = Some(numbers[i]);
        }
    }
    best
}

/// Spaces with the same block type in every stage, and the same window, clipped where there are fewer.
pub fn homogeneous(hyperspace: &Hyperspace) -> Vec<Choice> {
    let blocks = hyperspace.stages.iter().map(|s| s.blocks.len()).max().unwrap_or(0);
    let windows = hyperspace.stages.iter().map(|s| s.windows()).max().unwrap_or(0);
    let all = (0..blocks).flat_map(|b| (0..windows).map(move |w| (b, w)));
    let mut found: Vec<Choice> = Vec::new();
    for (block, window) in all {
        let choice = hyperspace.homogeneous(block, window);
        if !found.contains(&choice) {
            found.push(choice);
        }
    }
    found
}

/// A space drawn uniformly.
pub fn random_space(hyperspace: &Hyperspace, random: &mut Random) -> Choice {
    Choice {
        blocks: hyperspace.stages.iter().map(|s| random.below(s.blocks.len()) as u8).collect(),
        windows: hyperspace.stages.iter().map(|s| random.below(s.windows()) as u8).collect(),
    }
}
