//! Gradient boosting of symmetric trees, on squares of logarithms.
//!
//! A symmetric (oblivious) tree asks one question per level, whatever the answers before, as CatBoost's do (Prokhorenkova et al.
//! 2018). A tree is then a line of text, and its answer is found without a branch: the answers are the bits of the leaf's index.
//! Such trees are weak learners that seldom overfit a few hundred rows. How many there are is chosen by cross-validation.
//!
//! Own code rather than a crate because of what it must give: the same bytes for the same rows on every machine and for any
//! number of threads, a file that people can read, and answers at the speed of a search.

use super::ROW;

/// Levels of a tree at most.
const DEPTH: usize = 5;
/// Part of the fitted step that a tree takes.
const RATE: f64 = 0.1;
/// Rows that a leaf is thought to have more, of mean zero.
const SHRINK: f64 = 2.0;
/// Trees at most.
const TREES: usize = 400;
/// Thresholds of a feature at most.
const BINS: usize = 48;
/// Parts of the cross-validation.
const FOLDS: usize = 5;

/// One tree: a question per level, and what is added for each row of answers.
#[derive(Clone, PartialEq, Debug)]
pub struct Tree {
    /// Feature, and the least value of a yes; the first question is the lowest bit of the leaf's index.
    pub questions: Vec<(usize, f32)>,
    /// Two to the number of questions.
    pub leaves: Vec<f32>,
}

/// Trees whose answers are added.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Forest {
    /// In the order of fitting.
    pub trees: Vec<Tree>,
}

impl Tree {
    /// What the tree adds for a row.
    fn answer(&self, row: &[f32; ROW]) -> f32 {
        let bit = |(level, &(feature, least)): (usize, &(usize, f32))| usize::from(row[feature] >= least) << level;
        self.leaves[self.questions.iter().enumerate().map(bit).sum::<usize>()]
    }
}

impl Forest {
    /// The sum of all answers.
    pub fn answer(&self, row: &[f32; ROW]) -> f32 {
        self.trees.iter().map(|tree| tree.answer(row)).sum()
    }

    /// Fits the targets of rows. The number of trees is the one that predicts left-out fifths best.
    pub fn fit(rows: &[[f32; ROW]], targets: &[f64]) -> Forest {
        if rows.len() < 4 * FOLDS {
            return Forest::default();
        }
        let mut errors = vec![0.0; TREES + 1];
        for fold in 0..FOLDS {
            let within = |at: usize| at % FOLDS != fold;
            let pick = |wanted: bool| (0..rows.len()).filter(move |&at| within(at) == wanted);
            let fitted = Grower::new(pick(true).map(|at| rows[at]).collect(), pick(true).map(|at| targets[at]).collect());
            let trees = fitted.grow(TREES).trees;
            for at in pick(false) {
                let mut left = targets[at];
                errors[0] += left * left;
                for (count, error) in errors.iter_mut().enumerate().skip(1) {
                    left -= trees.get(count - 1).map_or(0.0, |tree| f64::from(tree.answer(&rows[at])));
                    *error += left * left;
                }
            }
        }
        let best = (0..=TREES).min_by(|&a, &b| errors[a].total_cmp(&errors[b])).unwrap_or(0);
        Grower::new(rows.to_vec(), targets.to_vec()).grow(best).merged()
    }

    /// The same answers by fewer trees: what asks the same questions is one tree. A fifth of what is grown on measured kernels is.
    fn merged(self) -> Forest {
        let mut trees: Vec<Tree> = Vec::new();
        for tree in self.trees {
            match trees.iter_mut().find(|other| other.questions == tree.questions) {
                Some(other) => other.leaves.iter_mut().zip(tree.leaves).for_each(|(sum, leaf)| *sum += leaf),
                None => trees.push(tree),
            }
        }
        Forest { trees }
    }
}

struct Grower {
    rows: Vec<[f32; ROW]>,
    left: Vec<f64>,
    /// By feature, rising.
    thresholds: Vec<Vec<f32>>,
    /// By feature and row: how many thresholds are at most the row's value.
    bins: Vec<Vec<u8>>,
}

impl Grower {
    fn new(rows: Vec<[f32; ROW]>, targets: Vec<f64>) -> Grower {
        let thresholds: Vec<Vec<f32>> = (0..ROW).map(|feature| thresholds(&rows, feature)).collect();
        let bin = |feature: usize, row: &[f32; ROW]| thresholds[feature].partition_point(|&t| t <= row[feature]) as u8;
        let bins = (0..ROW).map(|feature| rows.iter().map(|row| bin(feature, row)).collect()).collect();
        Grower { rows, left: targets, thresholds, bins }
    }

    fn grow(mut self, trees: usize) -> Forest {
        let mut forest = Forest::default();
        for _ in 0..trees {
            let Some(tree) = self.tree() else { break };
            for (row, left) in self.rows.iter().zip(&mut self.left) {
                *left -= f64::from(tree.answer(row));
            }
            forest.trees.push(tree);
        }
        forest
    }

    /// The next tree; `None` where no question tells rows apart.
    fn tree(&self) -> Option<Tree> {
        let mut leaf = vec![0usize; self.rows.len()];
        let mut questions: Vec<(usize, f32)> = Vec::new();
        let mut reached = 0.0;
        for level in 0..DEPTH {
            let leaves = 1 << level;
            let mut best: Option<(f64, usize, usize)> = None;
            for feature in 0..ROW {
                if let Some((gain, at)) = self.best_threshold(feature, &leaf, leaves)
                    && best.is_none_or(|(most, ..)| gain > most)
                {
                    best = Some((gain, feature, at));
                }
            }
            let Some((gain, feature, at)) = best.filter(|(gain, ..)| *gain > reached + 1e-12) else { break };
            reached = gain;
            questions.push((feature, self.thresholds[feature][at]));
            for (row, leaf) in leaf.iter_mut().enumerate() {
                *leaf |= usize::from(usize::from(self.bins[feature][row]) > at) << level;
            }
        }
        let mut sums = vec![(0.0, 0.0); 1 << questions.len()];
        for (&leaf, left) in leaf.iter().zip(&self.left) {
            sums[leaf].0 += left;
            sums[leaf].1 += 1.0;
        }
        let leaves = sums.iter().map(|(sum, count)| (RATE * sum / (count + SHRINK)) as f32).collect();
        (!questions.is_empty()).then_some(Tree { questions, leaves })
    }

    /// The threshold that explains most of what is left, and how much all leaves explain then.
    fn best_threshold(&self, feature: usize, leaf: &[usize], leaves: usize) -> Option<(f64, usize)> {
        let bins = self.thresholds[feature].len() + 1;
        let mut sums = vec![(0.0f64, 0.0f64); leaves * bins];
        for ((&leaf, &bin), left) in leaf.iter().zip(&self.bins[feature]).zip(&self.left) {
            let cell = &mut sums[leaf * bins + usize::from(bin)];
            cell.0 += left;
            cell.1 += 1.0;
        }
        let mut gains = vec![0.0f64; bins - 1];
        for leaf in sums.chunks_exact(bins) {
            let all = leaf.iter().fold((0.0, 0.0), |(s, n), cell| (s + cell.0, n + cell.1));
            let mut low = (0.0, 0.0);
            for (gain, cell) in gains.iter_mut().zip(leaf) {
                low = (low.0 + cell.0, low.1 + cell.1);
                let part = |(sum, count): (f64, f64)| sum * sum / (count + SHRINK);
                *gain += part(low) + part((all.0 - low.0, all.1 - low.1));
            }
        }
        // The first of equals.
        gains.iter().copied().enumerate().map(|(at, gain)| (gain, at)).reduce(|a, b| if b.0 > a.0 { b } else { a })
    }
}

/// Values between which a feature's values fall, at most [`BINS`] of them, as evenly as rows allow.
fn thresholds(rows: &[[f32; ROW]], feature: usize) -> Vec<f32> {
    let mut values: Vec<f32> = rows.iter().map(|row| row[feature]).collect();
    values.sort_unstable_by(f32::total_cmp);
    let mut cuts: Vec<f32> = Vec::new();
    let between = |low: f32, high: f32| low + (high - low) / 2.0;
    let mut distinct = values.clone();
    distinct.dedup();
    if distinct.len() <= BINS {
        cuts.extend(distinct.windows(2).map(|w| between(w[0], w[1])));
    } else {
        for part in 1..=BINS {
            let at = part * values.len() / (BINS + 1);
            if at > 0 && values[at - 1] < values[at] {
                cuts.push(between(values[at - 1], values[at]));
            } else if let Some(next) = values[at..].iter().find(|&&v| v > values[at]) {
                cuts.push(between(values[at], *next));
            }
        }
        cuts.dedup();
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows whose target is a step of one feature and a slope of another.
    fn steps(rows: usize) -> (Vec<[f32; ROW]>, Vec<f64>) {
        let row = |at: usize| {
            let mut row = [0.0; ROW];
            row[3] = (at * 37 % 100) as f32;
            row[5] = (at * 61 % 64) as f32;
            row
        };
        let rows: Vec<_> = (0..rows).map(row).collect();
        let targets = rows.iter().map(|r| f64::from(r[5] >= 16.0) + f64::from(r[3]) / 200.0).collect();
        (rows, targets)
    }

    #[test]
    fn a_step_and_a_slope_are_learned_and_the_rest_is_not_invented() {
        let (rows, targets) = steps(400);
        let forest = Forest::fit(&rows, &targets);
        let error = |(row, target): (&[f32; ROW], &f64)| (f64::from(forest.answer(row)) - target).abs();
        let worst = rows.iter().zip(&targets).map(error).fold(0.0, f64::max);
        assert!(worst < 0.06, "{worst}");
        assert!(forest.trees.iter().all(|tree| tree.questions.iter().all(|(f, _)| [3, 5].contains(f))));
    }

    #[test]
    fn no_two_trees_ask_the_same() {
        let tree = |feature: usize, leaves: [f32; 2]| Tree { questions: vec![(feature, 2.0)], leaves: leaves.to_vec() };
        let grown = Forest { trees: vec![tree(0, [1.0, 2.0]), tree(1, [0.5, 0.0]), tree(0, [0.25, -2.0])] };
        let merged = grown.clone().merged();
        assert_eq!(merged.trees, [tree(0, [1.25, 0.0]), tree(1, [0.5, 0.0])]);
        for first in [1.0, 3.0] {
            let row: [f32; ROW] = std::array::from_fn(|feature| if feature == 0 { first } else { 0.0 });
            assert_eq!(merged.answer(&row), grown.answer(&row));
        }
    }

    #[test]
    fn noise_grows_no_forest() {
        let (rows, _) = steps(60);
        let targets: Vec<f64> = (0..60).map(|at| if at * 7 % 5 % 2 == 0 { 1e-9 } else { -1e-9 }).collect();
        let forest = Forest::fit(&rows, &targets);
        assert!(rows.iter().all(|row| forest.answer(row).abs() < 1e-8));
    }
}
