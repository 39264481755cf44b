//! Random numbers that depend on named things only, so that results are the same for any number of threads.

/// A stream of random numbers (wyrand, Wang Yi's public-domain generator: a Weyl sequence through one wide product).
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The stream of a list of numbers: a seed and whatever tells this stream from others.
    pub fn new(names: &[u64]) -> Random {
        let mix = |state: u64, &name: &u64| {
            let mut random = Random { state: state ^ name };
            random.next()
        };
        Random { state: names.iter().fold(0x9e37_79b9_7f4a_7c15, mix) }
    }

    /// 64 random bits.
    #[inline(always)]
    #[expect(clippy::should_implement_trait, reason = "a generator without end is no iterator to collect")]
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0xa076_1d64_78bd_642f);
        let product = u128::from(self.state) * u128::from(self.state ^ 0xe703_7ed1_a0b4_28db);
        (product >> 64) as u64 ^ product as u64
    }

    /// A number below `count`, which must not be 0; off from uniform by at most `count` in 2^64.
    pub fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }

    /// A number below `count` other than `not`; `None` where there is no other.
    pub fn other(&mut self, count: usize, not: usize) -> Option<usize> {
        (count > 1).then(|| (not + 1 + self.below(count - 1)) % count)
    }

    /// True with that probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        ((self.next() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }

    /// One of a list.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}
