//! Ops that are placed together, and regions of them.

/// Disjoint sets of numbers from 0.
pub(super) struct Sets(Vec<usize>);

impl Sets {
    pub(super) fn new(len: usize) -> Self {
        Sets((0..len).collect())
    }

    pub(super) fn root(&self, mut at: usize) -> usize {
        while self.0[at] != at {
            at = self.0[at];
        }
        at
    }

    /// Makes one set of two; its root is the smallest number.
    pub(super) fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }

    /// By number: the root of its set.
    pub(super) fn roots(mut self) -> Vec<usize> {
        (0..self.0.len()).for_each(|at| self.0[at] = self.0[self.0[at]]);
        self.0
    }
}
