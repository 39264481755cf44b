//! Which networks are begun, and which of their kernels are kept: there is room for so many.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use super::fit::{Limits, Strata};
use super::measurements::Measured;
use super::network::Numbers;
use crate::kernels::Kernel;

/// Part of the room that networks which are given may fill, in all and of each family: they are few and alike, and what they do not
/// have is drawn.
const GIVEN: f64 = 0.4;
/// How many times as many kernels as there would be room for in each of the networks one of them may have: those of few large networks
/// would say little about others.
const UNEVEN: usize = 2;

/// In which order kernels of a network are asked for: convolutions in groups first, since most networks have few of them among many
/// others and each one more tells a lot (of depthwise ones 90, 130 and 162 were fitted: 90.4, 91.2 and 93.5 of 100 within 10 %); the
/// others in no order, so that those that are kept are of all kinds.
pub(super) fn rank(kernel: &Kernel) -> (bool, u64) {
    (kernel.groups == 1, xxh3_64(kernel.key().as_bytes()))
}

/// Networks that were begun, and kernels that are kept.
pub(super) struct Known<'a> {
    most: usize,
    /// Kernels of a network.
    each: usize,
    /// Says of a network whether it is given.
    given: &'a dyn Fn(Numbers, usize) -> bool,
    /// Those that were begun, and how many of the kernels of each are kept.
    networks: BTreeMap<(Numbers, usize), usize>,
    strata: Strata<'a>,
}

impl<'a> Known<'a> {
    /// Room for `most` kernels of so many networks, of each family for as many as `limits` says; what was measured so far is in it.
    pub(super) fn new(
        most: usize,
        networks: usize,
        fold: u64,
        limits: Limits<'a>,
        given: &'a dyn Fn(Numbers, usize) -> bool,
        measured: &Measured,
    ) -> Known<'a> {
        let each = UNEVEN * most / networks.max(1);
        let mut known = Known { most, each, given, networks: BTreeMap::new(), strata: Strata::new(fold, limits) };
        for traced in &measured.traced {
            let network = (traced.numbers, traced.number);
            known.begins(network);
            for (kernel, _) in &traced.times {
                known.takes(network, kernel);
            }
        }
        known
    }

    /// True of networks that were begun, and as long as more kernels are wanted.
    pub(super) fn begins(&mut self, network: (Numbers, usize)) -> bool {
        if self.strata.len() < self.room(network).1 {
            self.networks.entry(network).or_default();
        }
        self.networks.contains_key(&network)
    }

    /// True of a kernel that is kept: as many as there is room for.
    pub(super) fn takes(&mut self, network: (Numbers, usize), kernel: &Kernel) -> bool {
        let (part, most) = self.room(network);
        let (before, is_drawn) = (self.strata.len(), !(self.given)(network.0, network.1));
        let of_network = self.networks.entry(network).or_default();
        let most = if is_drawn && *of_network >= self.each { 0 } else { most };
        let is_taken = self.strata.takes(kernel, part, most);
        *of_network += self.strata.len() - before;
        is_taken
    }

    /// What kernels of a network may fill: the part of each family, and kernels in all.
    fn room(&self, (numbers, number): (Numbers, usize)) -> (f64, usize) {
        let part = if (self.given)(numbers, number) { GIVEN } else { 1.0 };
        (part, (part * self.most as f64) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Layout;

    fn kernel(channels: u32) -> Kernel {
        Kernel::same("QLinearConv", Layout::Last, [1, 1], [1, channels, 7, 7])
    }

    #[test]
    fn convolutions_in_groups_are_asked_for_first() {
        let mut kernels: Vec<Kernel> = (1..30).map(|at| Kernel { groups: 1 + at / 20, ..kernel(8 * at) }).collect();
        kernels.sort_by_cached_key(rank);
        let of = |least: u32| kernels.iter().take(10).filter(|kernel| kernel.groups >= least).count();
        assert_eq!((of(2), kernels.len()), (10, 29));
        assert!(!kernels[10..].is_sorted_by_key(|kernel| kernel.input[1]), "the others in no order");
    }

    #[test]
    fn no_network_is_begun_when_there_are_enough_kernels() {
        let network = |number: usize| (Numbers::Stored, number);
        let mut known = Known::new(3, 3, 0, &|_| usize::MAX, &|_, _| false, &Measured::default());
        let mut takes =
            |number: usize, channels: u32| known.begins(network(number)) && known.takes(network(number), &kernel(channels));
        assert!(takes(0, 8) && takes(0, 8) && takes(0, 16));
        assert!(takes(1, 24) && !takes(1, 32));
        assert!(takes(0, 8), "it was begun");
        assert!(!takes(2, 8));
    }

    #[test]
    fn networks_that_are_given_leave_room_for_others() {
        let (given, drawn) = ((Numbers::Stored, 7), (Numbers::Stored, 0));
        let is_given = |_: Numbers, number: usize| number >= 5;
        let take = |limit: usize, network, known: &mut Known<'_>| {
            (0..40).filter(|at| known.begins(network) && known.takes(network, &kernel(8 * (limit as u32 + at)))).count()
        };
        let mut known = Known::new(10, 2, 0, &|_| usize::MAX, &is_given, &Measured::default());
        assert_eq!((take(1, given, &mut known), take(100, drawn, &mut known)), (4, 6));
        // Of one family, too: of what is fitted, and of the quarter that is held out.
        let mut known = Known::new(1000, 2, 0, &|_| 20, &is_given, &Measured::default());
        assert_eq!((take(1, given, &mut known), take(100, drawn, &mut known)), (8 + 2, 12 + 3));
    }

    #[test]
    fn a_large_network_leaves_room_for_others() {
        let mut known = Known::new(20, 5, 0, &|_| usize::MAX, &|_, _| false, &Measured::default());
        let mut take = |number: usize| {
            let network = (Numbers::Stored, number);
            let of = |at: u32| kernel(8 + at + 100 * number as u32);
            (0..40).filter(|&at| known.begins(network) && known.takes(network, &of(at))).count()
        };
        assert_eq!([0, 1, 0, 2].map(&mut take), [8, 8, 8, 4]);
    }
}
