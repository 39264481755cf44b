//! Symmetric trees on 64 kernels at once, or on 16, 32 or 48 where there are not as many.
//!
//! ```text
//! questions × kernels ──ask──▶ bytes, all ones for a yes ──bits of a leaf's number──▶ leaves, added tree by tree
//! ```
//!
//! Trees ask the same questions again and again: each is asked once of all kernels, whose answers are a byte each. A tree then puts the
//! bits of these together to numbers of leaves. So nearly all of the work is on bytes in a row, which compilers make vectors of. What
//! they do not see is that the 32 leaves of five questions are two registers of AVX-512, out of which one instruction picks 16:
//! [`Vectors`] says it for a processor. Every kernel's sum is made in the order of the trees whatever the vectors.

#[cfg(target_arch = "x86_64")]
use bytemuck::{cast_slice, cast_slice_mut};

use super::{Forest, ROW};

/// Kernels that one instruction picks leaves for.
pub(super) const GROUP: usize = 16;
/// Such groups that are looked at together at most: as many as a word of four bytes has answers.
const GROUPS: usize = 4;
/// Kernels that are looked at together at most.
pub(super) const LANES: usize = GROUP * GROUPS;
/// Levels of a tree that are looked at together: those of [`Forest::fit`].
const LEVELS: usize = 5;
const LEAVES: usize = 1 << LEVELS;

/// A number of each kernel.
pub(super) type Lanes = [f32; LANES];
/// A byte of each kernel, those of a group [`GROUPS`] apart: that of lane `16 k + i` is in place `4 i + k`.
pub(super) type Answers = Aligned<[u8; LANES]>;

/// Begins where a register's worth of memory does: what is not aligned would be copied before it is looked at.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Aligned<T>(pub(super) T);

/// Trees of at most five levels with their questions in a row.
#[derive(Debug)]
pub(super) struct Questions {
    /// Feature, and the least value of a yes.
    questions: Vec<(usize, f32)>,
    trees: Vec<Tree>,
}

#[derive(Debug)]
pub(super) struct Tree {
    /// Missing levels ask a question that is never answered with yes.
    asked: [u16; LEVELS],
    leaves: Aligned<[f32; LEAVES]>,
}

/// How a processor does what compilers do not see, for the first `K` groups of kernels; here without any special way.
pub(super) trait Vectors: Copy {
    /// Writes all ones where a number is at least that, and zeros elsewhere.
    #[inline(always)]
    fn ask<const K: usize>(self, column: &Lanes, least: f32, answers: &mut Answers) {
        answers.0 = [0; LANES];
        for (lane, number) in column.iter().enumerate().take(K * GROUP) {
            answers.0[place(lane)] = u8::from(*number >= least).wrapping_neg();
        }
    }

    /// The sums of the leaves of all trees.
    #[inline(always)]
    fn sums<const K: usize>(self, trees: &[Tree], answers: &[Answers]) -> Lanes {
        let mut sums = [0.0; LANES];
        for tree in trees {
            let leaf = tree.leaf(answers);
            for lane in 0..K * GROUP {
                sums[lane] += tree.leaves.0[usize::from(leaf[place(lane)]) % LEAVES];
            }
        }
        sums
    }
}

fn place(lane: usize) -> usize {
    lane % GROUP * GROUPS + lane / GROUP
}

/// What is done with the vectors of a processor.
pub(super) trait Work {
    type Made;

    /// Inlined always, as all that it calls: vectors are wide where the compiler sees the whole of it.
    fn by(self, vectors: impl Vectors) -> Self::Made;
}

/// Does it with the widest vectors here.
pub(super) fn widest<W: Work>(work: W) -> W::Made {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V4::try_new() {
        return simd.vectorize(Wide { simd, work });
    }
    work.by(Plain)
}

#[cfg(target_arch = "x86_64")]
struct Wide<W> {
    simd: pulp::x86::V4,
    work: W,
}

#[cfg(target_arch = "x86_64")]
impl<W: Work> pulp::NullaryFnOnce for Wide<W> {
    type Output = W::Made;

    #[inline(always)]
    fn call(self) -> W::Made {
        self.work.by(self.simd)
    }
}

/// Any processor.
#[derive(Clone, Copy)]
pub(super) struct Plain;

impl Vectors for Plain {}

#[cfg(target_arch = "x86_64")]
impl Vectors for pulp::x86::V4 {
    #[inline(always)]
    fn ask<const K: usize>(self, column: &Lanes, least: f32, answers: &mut Answers) {
        use std::arch::x86_64::{__m512, __m512i, _CMP_GE_OQ};
        let f = self.avx512f;
        let least = f._mm512_set1_ps(least);
        let mut all = f._mm512_setzero_si512();
        for (group, column) in cast_slice::<f32, __m512>(column).iter().enumerate().take(K) {
            let yes = f._mm512_cmp_ps_mask::<_CMP_GE_OQ>(*column, least);
            all = f._mm512_mask_or_epi32(all, yes, all, f._mm512_set1_epi32(0xff << (8 * group)));
        }
        // In its place at once: as a value it would go through memory twice more.
        cast_slice_mut::<u8, __m512i>(&mut answers.0)[0] = all;
    }

    #[inline(always)]
    fn sums<const K: usize>(self, trees: &[Tree], answers: &[Answers]) -> Lanes {
        use std::arch::x86_64::{__m512, __m512i};
        let f = self.avx512f;
        let mut sums = [f._mm512_setzero_ps(); GROUPS];
        for tree in trees {
            // The compiler would keep what it has of a leaf's number in memory, level by level.
            let mut leaf = f._mm512_setzero_si512();
            for (level, &question) in tree.asked.iter().enumerate() {
                let answers = cast_slice::<u8, __m512i>(&answers[usize::from(question)].0);
                leaf = f._mm512_or_si512(leaf, f._mm512_and_si512(answers[0], f._mm512_set1_epi32(0x0101_0101 << level)));
            }
            let leaves = cast_slice::<f32, __m512>(&tree.leaves.0);
            for sum in sums.iter_mut().take(K) {
                // It looks at five bits of each word.
                *sum = f._mm512_add_ps(*sum, f._mm512_permutex2var_ps(leaves[0], leaf, leaves[1]));
                leaf = f._mm512_srli_epi32::<8>(leaf);
            }
        }
        pulp::cast(sums)
    }
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
            let mut flat = Tree { asked: [never; LEVELS], leaves: Aligned([0.0; LEAVES]) };
            if tree.questions.len() > LEVELS {
                return None;
            }
            flat.asked.iter_mut().zip(&tree.questions).for_each(|(asked, question)| *asked = number(question));
            flat.leaves.0.iter_mut().zip(&tree.leaves).for_each(|(flat, leaf)| *flat = *leaf);
            trees.push(flat);
        }
        Some(Questions { questions, trees })
    }

    /// The sums of all trees; `answers` is room that is used again.
    #[inline(always)]
    pub(super) fn sums<const K: usize>(
        &self,
        vectors: impl Vectors,
        columns: &Aligned<[Lanes; ROW]>,
        answers: &mut Vec<Answers>,
    ) -> Lanes {
        answers.resize(self.questions.len() + 1, Aligned([0; LANES]));
        for (&(feature, least), answers) in self.questions.iter().zip(&mut *answers) {
            vectors.ask::<K>(&columns.0[feature], least, answers);
        }
        answers[self.questions.len()] = Aligned([0; LANES]);
        vectors.sums::<K>(&self.trees, answers)
    }
}

impl Tree {
    /// The number of each kernel's leaf.
    #[inline(always)]
    fn leaf(&self, answers: &[Answers]) -> [u8; LANES] {
        let mut leaf = [0u8; LANES];
        for (level, &question) in self.asked.iter().enumerate() {
            let answers = &answers[usize::from(question)].0;
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

    #[test]
    fn sums_are_those_of_each_row_alone_with_any_vectors() {
        let tree = |questions: &[(usize, f32)]| Fitted {
            questions: questions.to_vec(),
            leaves: (0..1 << questions.len()).map(|leaf| 0.1 * leaf as f32 - 0.7).collect(),
        };
        let all = [(0, 3.0), (1, 9.0), (2, 20.5), (0, 17.0), (ROW - 1, 4.0)];
        let forest = Forest { trees: (1..=5).map(|levels| tree(&all[..levels])).collect() };
        let row = |lane: usize| -> [f32; ROW] { std::array::from_fn(|feature| (lane * (feature + 1) % 31) as f32) };
        let columns = Aligned(std::array::from_fn(|feature| std::array::from_fn(|lane| row(lane)[feature])));
        let questions = Questions::new(&forest).unwrap();
        let alone: Lanes = std::array::from_fn(|lane| forest.answer(&row(lane)));
        assert_eq!(questions.sums::<GROUPS>(Plain, &columns, &mut Vec::new()), alone);
        assert_eq!(questions.sums::<1>(Plain, &columns, &mut Vec::new())[..GROUP], alone[..GROUP]);
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V4::try_new() {
            assert_eq!(questions.sums::<GROUPS>(simd, &columns, &mut Vec::new()), alone);
            assert_eq!(questions.sums::<3>(simd, &columns, &mut Vec::new())[..3 * GROUP], alone[..3 * GROUP]);
        }
        let deep = [(0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0), (4, 5.0), (5, 6.0)];
        assert!(Questions::new(&Forest { trees: vec![tree(&deep)] }).is_none());
    }
}
