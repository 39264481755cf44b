//! Chooses one node for each class that is needed, so that the sum of their prices is low, with what is shared paid once.
//!
//! The problem is NP-hard (it contains set cover). [`greedy`] is for whole models: it builds the cheapest choice bottom up,
//! each class with the set of classes that its choice needs, then improves it by changing one class at a time and, where
//! alternatives are near each other, several at once by [`exact`]. [`exact`] is a branch and bound for small problems.

use std::collections::{BTreeMap, BTreeSet};

/// Classes with the nodes that can make them.
#[derive(Clone, Debug, Default)]
pub struct Problem {
    /// Nodes by class.
    pub classes: Vec<Vec<Alternative>>,
    /// Classes that must be made.
    pub roots: Vec<usize>,
}

/// A node: what it costs, and the classes that it reads.
#[derive(Clone, PartialEq, Debug)]
pub struct Alternative {
    /// Its own price, at least 0.
    pub cost: f64,
    /// What it reads.
    pub children: Vec<usize>,
}

/// The node chosen for each class, where one is needed.
pub type Choice = Vec<Option<usize>>;

impl Problem {
    /// The sum of the prices of all nodes that a choice needs; `None` when it leaves one open or runs in a circle.
    pub fn cost(&self, choice: &Choice) -> Option<f64> {
        Some(self.needed(choice)?.into_iter().map(|class| self.classes[class][choice[class].unwrap_or(0)].cost).sum())
    }

    /// The classes that a choice needs, each behind those that it reads; `None` when it leaves one open or runs in a circle.
    pub fn needed(&self, choice: &Choice) -> Option<Vec<usize>> {
        let mut state = vec![0u8; self.classes.len()];
        let mut order = Vec::new();
        for &root in &self.roots {
            let mut stack = vec![(root, 0)];
            while let Some((class, next)) = stack.pop() {
                if next == 0 {
                    match state[class] {
                        0 => state[class] = 1,
                        1 => return None,
                        _ => continue,
                    }
                }
                let children = &self.classes[class].get(choice[class]?)?.children;
                match children.get(next) {
                    Some(&child) => {
                        stack.push((class, next + 1));
                        if state[child] != 2 {
                            stack.push((child, 0));
                        }
                    }
                    None => {
                        state[class] = 2;
                        order.push(class);
                    }
                }
            }
        }
        Some(order)
    }
}

impl Problem {
    /// The problem of making one class, down to so many classes; what lies below them is given.
    pub fn part(&self, root: usize, most: usize) -> Problem {
        let mut number = BTreeMap::from([(root, 0)]);
        let mut order = vec![root];
        for at in 0..most {
            let Some(&class) = order.get(at) else { break };
            for &child in self.classes[class].iter().flat_map(|node| &node.children) {
                number.entry(child).or_insert_with(|| {
                    order.push(child);
                    order.len() - 1
                });
            }
        }
        let renamed = |node: &Alternative| {
            let children = node.children.iter().map(|child| number[child]).collect();
            Alternative { cost: node.cost, children }
        };
        let given = || vec![Alternative { cost: 0.0, children: Vec::new() }];
        let classes = order.iter().enumerate().map(|(at, &class)| match at < most {
            true => self.classes[class].iter().map(renamed).collect(),
            false => given(),
        });
        Problem { classes: classes.collect(), roots: vec![0] }
    }
}

/// A low choice, no higher than `start`, if that is given; `None` when there is no choice at all.
pub fn greedy(problem: &Problem, start: Option<&Choice>) -> Option<Choice> {
    let mut best: Option<(f64, Choice)> = start.and_then(|choice| Some((problem.cost(choice)?, choice.clone())));
    let built = bottom_up(problem);
    if let Some(cost) = problem.cost(&built)
        && best.as_ref().is_none_or(|(known, _)| cost < *known)
    {
        best = Some((cost, built));
    }
    let (mut cost, mut choice) = best?;
    loop {
        let before = cost;
        one_by_one(problem, &mut cost, &mut choice);
        together(problem, &mut cost, &mut choice);
        if cost >= before - before * 1e-12 {
            return Some(choice);
        }
    }
}

/// The cheapest node of each class given the choices below it, every class with the set of those that it needs.
fn bottom_up(problem: &Problem) -> Choice {
    let count = problem.classes.len();
    let words = count.div_ceil(64);
    let mut choice: Choice = vec![None; count];
    let mut sets: Vec<Option<(Vec<u64>, f64)>> = vec![None; count];
    let mut price = vec![0.0; count];
    // A round goes through all classes; a choice that gets cheaper lets those above it look again.
    for _ in 0..count + 1 {
        let mut changed = false;
        for class in 0..count {
            for (index, node) in problem.classes[class].iter().enumerate() {
                if node.children.iter().any(|&child| sets[child].is_none()) {
                    continue;
                }
                let mut set = vec![0u64; words];
                for &child in &node.children {
                    if let Some((below, _)) = &sets[child] {
                        set.iter_mut().zip(below).for_each(|(word, more)| *word |= more);
                    }
                }
                if set[class / 64] >> (class % 64) & 1 == 1 {
                    continue;
                }
                let shared: f64 = members(&set).map(|member| price[member]).sum();
                let total = shared + node.cost;
                if sets[class].as_ref().is_none_or(|(_, known)| total < *known - known.abs() * 1e-12) {
                    set[class / 64] |= 1 << (class % 64);
                    sets[class] = Some((set, total));
                    choice[class] = Some(index);
                    price[class] = node.cost;
                    changed = true;
                }
            }
        }
        if !changed {
            break;
        }
    }
    choice
}

fn members(set: &[u64]) -> impl Iterator<Item = usize> + '_ {
    let bits = |word: u64| std::iter::successors((word != 0).then_some(word), |w| Some(w & (w - 1)).filter(|&w| w != 0));
    set.iter().enumerate().flat_map(move |(index, &word)| bits(word).map(move |w| index * 64 + w.trailing_zeros() as usize))
}

/// Changes the node of one class at a time, as long as that pays.
fn one_by_one(problem: &Problem, cost: &mut f64, choice: &mut Choice) {
    loop {
        let before = *cost;
        for class in 0..problem.classes.len() {
            for index in 0..problem.classes[class].len() {
                let Some(known) = choice[class].filter(|&known| known != index) else { continue };
                choice[class] = Some(index);
                match problem.cost(choice) {
                    Some(changed) if changed < *cost - *cost * 1e-12 => *cost = changed,
                    _ => choice[class] = Some(known),
                }
            }
        }
        if *cost >= before {
            return;
        }
    }
}

/// Most classes with alternatives that are chosen together.
const NEIGHBOURS: usize = 16;
/// Steps that are spent on them, times classes of the problem: each step looks at all of them.
const WORK: usize = 1_000_000;

/// Chooses anew for groups of classes with alternatives that are near each other.
fn together(problem: &Problem, cost: &mut f64, choice: &mut Choice) {
    let open: Vec<usize> = (0..problem.classes.len()).filter(|&class| problem.classes[class].len() > 1).collect();
    let mut above: Vec<Vec<usize>> = vec![Vec::new(); problem.classes.len()];
    for (class, nodes) in problem.classes.iter().enumerate() {
        nodes.iter().flat_map(|node| &node.children).for_each(|&child| above[child].push(class));
    }
    let steps = (WORK / problem.classes.len().max(1)).clamp(50, 4000);
    for &centre in &open {
        let mut group = BTreeSet::from([centre]);
        let mut seen = BTreeSet::from([centre]);
        let mut front = vec![centre];
        for _ in 0..3 {
            let mut next = Vec::new();
            for class in front {
                let below = problem.classes[class].iter().flat_map(|node| node.children.iter());
                for &near in below.chain(&above[class]) {
                    if seen.len() < 256 && seen.insert(near) {
                        next.push(near);
                        if problem.classes[near].len() > 1 && group.len() < NEIGHBOURS {
                            group.insert(near);
                        }
                    }
                }
            }
            front = next;
        }
        let fixed = |class: usize| (!group.contains(&class)).then_some(choice[class]).flatten();
        let fixed: Choice = (0..problem.classes.len()).map(fixed).collect();
        if let Some((found, _)) = branch_and_bound(problem, &fixed, Some(*cost), steps)
            && let Some(lower) = problem.cost(&found)
            && lower < *cost - *cost * 1e-12
        {
            let merged = found.iter().zip(&*choice).map(|(new, old)| new.or(*old)).collect();
            (*cost, *choice) = (lower, merged);
        }
    }
}

/// The lowest choice of all, with a proof; `None` when there is none, or `steps` do not suffice to prove it.
pub fn exact(problem: &Problem, steps: usize) -> Option<Choice> {
    let (choice, proved) = branch_and_bound(problem, &vec![None; problem.classes.len()], None, steps)?;
    proved.then_some(choice)
}

/// Branch and bound: takes the next class that is needed and not decided, and tries its nodes, the cheapest first. What a
/// partial choice costs at least is what it has decided, and the cheapest node of every class that it needs beside. Says
/// whether nothing lower was overlooked.
fn branch_and_bound(problem: &Problem, fixed: &Choice, below: Option<f64>, steps: usize) -> Option<(Choice, bool)> {
    let least =
        problem.classes.iter().map(|nodes| nodes.iter().map(|node| node.cost).fold(f64::INFINITY, f64::min)).collect();
    let mut search = Search { problem, fixed, least, best: below.unwrap_or(f64::INFINITY), found: None, steps };
    let mut choice = vec![None; problem.classes.len()];
    let mut open: Vec<usize> = Vec::new();
    let mut wanted = vec![false; problem.classes.len()];
    for &root in &problem.roots {
        if !std::mem::replace(&mut wanted[root], true) {
            open.push(root);
        }
    }
    let rest = open.iter().map(|&class| search.least[class]).sum();
    search.go(&mut choice, &mut wanted, open, 0.0, rest);
    let proved = search.steps > 0;
    search.found.map(|found| (found, proved))
}

struct Search<'a> {
    problem: &'a Problem,
    fixed: &'a Choice,
    least: Vec<f64>,
    best: f64,
    found: Option<Choice>,
    steps: usize,
}

impl Search<'_> {
    /// `decided` is the price of what was chosen, `rest` the least price of what is open.
    fn go(&mut self, choice: &mut Choice, wanted: &mut Vec<bool>, mut open: Vec<usize>, mut decided: f64, mut rest: f64) {
        let mut forced = Vec::new();
        // Classes without a choice need no branch.
        let class = loop {
            if self.steps == 0 || decided + rest >= self.best - self.best.min(1e300) * 1e-12 {
                break None;
            }
            let single = |class: &usize| self.fixed[*class].is_some() || self.problem.classes[*class].len() == 1;
            let Some(at) = open.iter().position(single).or(open.len().checked_sub(1)) else {
                if self.problem.cost(choice).is_some() {
                    self.best = decided;
                    self.found = Some(choice.clone());
                }
                break None;
            };
            let class = open.swap_remove(at);
            if !single(&class) {
                open.push(class);
                break Some(class);
            }
            let index = self.fixed[class].unwrap_or(0);
            let Some(node) = self.problem.classes[class].get(index) else { break None };
            choice[class] = Some(index);
            decided += node.cost;
            rest -= self.least[class];
            forced.push((class, Vec::new()));
            for &child in &node.children {
                if !std::mem::replace(&mut wanted[child], true) {
                    open.push(child);
                    rest += self.least[child];
                    forced.last_mut().expect("pushed above").1.push(child);
                }
            }
        };
        if let Some(class) = class {
            open.pop();
            self.steps -= 1;
            let nodes = &self.problem.classes[class];
            let mut order: Vec<usize> = (0..nodes.len()).collect();
            order.sort_by(|&a, &b| nodes[a].cost.total_cmp(&nodes[b].cost));
            for index in order {
                let node = &nodes[index];
                let (mut inner, mut rest, mut new) = (open.clone(), rest - self.least[class], Vec::new());
                for &child in &node.children {
                    if !std::mem::replace(&mut wanted[child], true) {
                        inner.push(child);
                        rest += self.least[child];
                        new.push(child);
                    }
                }
                choice[class] = Some(index);
                self.go(choice, wanted, inner, decided + node.cost, rest);
                choice[class] = None;
                new.into_iter().for_each(|child| wanted[child] = false);
            }
        }
        for (class, children) in forced.into_iter().rev() {
            choice[class] = None;
            children.into_iter().for_each(|child| wanted[child] = false);
        }
    }
}
