//! Symmetric trees on some kernels at once.
//!
//! ```text
//! questions × kernels ──ask──▶ bytes, all ones for a yes ──bits of a leaf's number──▶ leaves, added tree by tree
//! ```
//!
//! Trees ask the same questions again and again: each is asked once of 32 kernels, whose answers are 32 bytes. A tree then puts the
//! bits of these together to numbers of leaves. So nearly all of the work is on bytes in a row, which compilers make vectors of. What
//! they do not see is that the 32 leaves of five questions are two registers of AVX-512, out of which one instruction picks 16; there
//! the trees run about twice as fast. Every kernel's sum is made in the order of the trees whatever the vectors.

use super::{Forest, ROW};

/// Kernels that are looked at together.
pub(super) const LANES: usize = 32;
/// Levels of a tree that are looked at together: those of [`Forest::fit`].
const LEVELS: usize = 5;
const LEAVES: usize = 1 << LEVELS;

/// A number of each kernel.
pub(super) type Lanes = [f32; LANES];

/// Trees of at most five levels with their questions in a row.
#[derive(Debug)]
pub(super) struct Questions {
    /// Feature, and the least value of a yes.
    questions: Vec<(usize, f32)>,
    trees: Vec<Tree>,
}

#[derive(Debug)]
struct Tree {
    /// Missing levels ask a question that is never answered with yes.
    asked: [u16; LEVELS],
    leaves: [f32; LEAVES],
}

impl Questions {
    /// `None` of trees that are deeper, or ask too many questions.
    pub(super) fn new(forest: &Forest) -> Option<Questions> {
        let mut questions: Vec<(usize, f32)> = forest.trees.iter().flat_map(|tree| tree.questions.iter().copied()).collect();
        questions.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        questions.dedup();
        let never = u16::try_from(questions.len()).ok()?;
        let number = |question: &(usize, f32)| questions.iter().position(|q| q == question).map_or(never, |at| at as u16);
        let mut trees = Vec::new();
        for tree in &forest.trees {
            let mut flat = Tree { asked: [never; LEVELS], leaves: [0.0; LEAVES] };
            if tree.questions.len() > LEVELS {
                return None;
            }
            flat.asked.iter_mut().zip(&tree.questions).for_each(|(asked, question)| *asked = number(question));
            flat.leaves.iter_mut().zip(&tree.leaves).for_each(|(flat, leaf)| *flat = *leaf);
            trees.push(flat);
        }
        Some(Questions { questions, trees })
    }

    /// The sums of all trees; `answers` is room that is used again.
    pub(super) fn sums(&self, columns: &[Lanes; ROW], answers: &mut Vec<[u8; LANES]>) -> Lanes {
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V4::try_new() {
            return pulp::Simd::vectorize(
                simd,
                #[inline(always)]
                || {
                    self.ask(columns, answers);
                    self.picked(simd, answers)
                },
            );
        }
        self.ask(columns, answers);
        self.looked_up(answers)
    }

    #[inline(always)]
    fn ask(&self, columns: &[Lanes; ROW], answers: &mut Vec<[u8; LANES]>) {
        answers.resize(self.questions.len() + 1, [0; LANES]);
        for (&(feature, least), answers) in self.questions.iter().zip(&mut *answers) {
            let column = &columns[feature];
            for lane in 0..LANES {
                answers[lane] = u8::from(column[lane] >= least).wrapping_neg();
            }
        }
        answers[self.questions.len()] = [0; LANES];
    }

    fn looked_up(&self, answers: &[[u8; LANES]]) -> Lanes {
        let mut sums = [0.0; LANES];
        for tree in &self.trees {
            let leaf = tree.leaf(answers);
            for lane in 0..LANES {
                sums[lane] += tree.leaves[usize::from(leaf[lane]) % LEAVES];
            }
        }
        sums
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn picked(&self, simd: pulp::x86::V4, answers: &[[u8; LANES]]) -> Lanes {
        use std::arch::x86_64::__m512;
        let f = simd.avx512f;
        let mut sums: [__m512; 2] = [f._mm512_setzero_ps(); 2];
        for tree in &self.trees {
            let leaf: [[u8; 16]; 2] = pulp::cast(tree.leaf(answers));
            let [low, high]: [__m512; 2] = pulp::cast(tree.leaves);
            for (sum, leaf) in sums.iter_mut().zip(leaf) {
                let leaf = f._mm512_cvtepu8_epi32(pulp::cast(leaf));
                *sum = f._mm512_add_ps(*sum, f._mm512_permutex2var_ps(low, leaf, high));
            }
        }
        pulp::cast(sums)
    }
}

impl Tree {
    /// The number of each kernel's leaf.
    #[inline(always)]
    fn leaf(&self, answers: &[[u8; LANES]]) -> [u8; LANES] {
        let mut leaf = [0u8; LANES];
        for (level, &question) in self.asked.iter().enumerate() {
            let answers = &answers[usize::from(question)];
            for lane in 0..LANES {
                leaf[lane] |= answers[lane] & 1 << level;
            }
        }
        leaf
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predictor::Tree as Fitted;

    /// Both ways, whatever this processor has: [`Questions::sums`] takes one of them.
    #[test]
    fn sums_are_those_of_each_row_alone() {
        let tree = |questions: &[(usize, f32)]| Fitted {
            questions: questions.to_vec(),
            leaves: (0..1 << questions.len()).map(|leaf| 0.1 * leaf as f32 - 0.7).collect(),
        };
        let all = [(0, 3.0), (1, 9.0), (2, 20.5), (0, 17.0), (ROW - 1, 4.0)];
        let forest = Forest { trees: (1..=5).map(|levels| tree(&all[..levels])).collect() };
        let row = |lane: usize| -> [f32; ROW] { std::array::from_fn(|feature| (lane * (feature + 1) % 31) as f32) };
        let columns: [Lanes; ROW] = std::array::from_fn(|feature| std::array::from_fn(|lane| row(lane)[feature]));
        let questions = Questions::new(&forest).unwrap();
        let alone: Lanes = std::array::from_fn(|lane| forest.answer(&row(lane)));
        let mut answers = Vec::new();
        assert_eq!(questions.sums(&columns, &mut answers), alone);
        questions.ask(&columns, &mut answers);
        assert_eq!(questions.looked_up(&answers), alone);
        let deep = [(0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0), (4, 5.0), (5, 6.0)];
        assert!(Questions::new(&Forest { trees: vec![tree(&deep)] }).is_none());
    }
}
