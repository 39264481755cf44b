//! The cheapest placement: which of the ops that could run in integers do, by the prices of the target.
//!
//! The time of a placement is, with `x = 1` for what runs in integers and `x = 0` for what runs in float,
//!
//! ```text
//! sum over ops     x integer(op) + (1 - x) float(op)
//!  + over values   QuantizeLinear(v)     if its maker is float and some reader is not, + layout(v) if the value is a map
//!                  DequantizeLinear(v)   if it is stored and some reader is float,     + layout(v) likewise
//!  + over pairs    more(op)              if op is float, but the convolution whose float kernel would do it is not
//!  + over layouts  plain(op)             if op runs on stored numbers that do not come in the layout of convolutions
//! ```
//!
//! where a value is stored when its maker or some reader is in integers. Every term is a price for one op, or a price that is
//! paid once when something is in integers and something else is in float: such a sum is the capacity of a cut between a
//! source (integers) and a sink (float) in a network with a node for each op and two or three for each value (Kolmogorov and
//! Zabih 2004, "What energy functions can be minimized via graph cuts?"). So a maximum flow (Dinic's algorithm) finds a
//! placement that is the best of all 2^n, not only a good one. Among equals it is the one with the fewest ops in float.
//!
//! One thing is no term of the sum, but a rule. A float convolution that stands alone between a DequantizeLinear and a
//! QuantizeLinear does not stay in float: ONNX Runtime takes it for part of a quantized model whose weights were forgotten, and
//! quantizes them itself (`WeightBiasQuantization`), to other numbers and for a slower kernel. Such convolutions are put in
//! integers, and the cut is made again, until there are none.
//!
//! Ops are one node where they have no choice of their own: a clip and the op that saturates for it, a sigmoid and the
//! product with what it reads, and neighbours at a value whose size is not known. Ops without prices cost nothing, and follow
//! their neighbours. To decide, the float time of ops that could run in integers counts `1 + margin` times, as long as the
//! whole is not slower than float then; and where the whole gains less than the margin, all that can run in integers do.

mod builder;
mod problem;
mod reasons;
mod sets;
mod solve;

use std::collections::BTreeMap;

use spaceevo_ir::{Graph, OpId};

use crate::quantize::placement::Kind;
use crate::target::Target;
use builder::Builder;

/// Predicted times of a graph in nanoseconds, as far as the target has prices.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Prediction {
    /// With all ops in float.
    pub float: f64,
    /// With all ops in integers that can.
    pub integer: f64,
    /// As chosen.
    pub chosen: f64,
}

/// Ops that are faster in float, each with a sentence that says so, and what was predicted; `None` when the target has no
/// prices, or none of conversions. `kinds` are those of the rules, by index of op: where they say float, float it is.
pub(crate) fn cheapest(
    graph: &Graph,
    target: &Target,
    kinds: &[Option<Kind>],
) -> Option<(BTreeMap<OpId, String>, Prediction)> {
    let prices = target.pricing().filter(|prices| prices.converts())?;
    let (problem, item) = Builder { graph, target, prices, kinds }.problem();
    let integers = problem.placed(prices.margin());
    let reasons = problem.reasons(&integers);
    let floats = item.iter().filter_map(|(&op, &item)| Some((op, reasons.get(&item)?.clone())));
    let uniform = |integer: bool| problem.time(&vec![integer; problem.items.len()]);
    let prediction = Prediction { float: uniform(false), integer: uniform(true), chosen: problem.time(&integers) };
    Some((floats.collect(), prediction))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::problem::{Bridge, ByLayout, End, Fused, Item, Lone, Need, Problem, When};
    use super::reasons::microseconds;

    /// Numbers from a linear congruential generator (Knuth's MMIX).
    struct Draw(u64);

    impl Draw {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 33) as usize % end
        }

        fn price(&mut self) -> f64 {
            self.below(50) as f64
        }

        fn flag(&mut self, of: usize) -> bool {
            self.below(of) == 0
        }

        fn end(&mut self, items: usize) -> End {
            End { item: Some(self.below(items)).filter(|_| !self.flag(5)), blocked: self.flag(3) }
        }

        fn problem(&mut self, items: usize) -> Problem {
            let bridge = |draw: &mut Draw| {
                let mut readers: Vec<End> = (0..draw.below(4)).map(|_| draw.end(items)).collect();
                readers.sort_unstable();
                readers.dedup();
                let maker = draw.end(items);
                let [quantize, dequantize, layout] = std::array::from_fn(|_| draw.price());
                Bridge { maker, free: draw.flag(4), readers, quantize, dequantize, layout }
            };
            let fused = |draw: &mut Draw| Fused {
                convolution: draw.below(items),
                op: Some(draw.below(items)).filter(|_| !draw.flag(3)),
                more: draw.price(),
            };
            let bridges = self.below(2 * items);
            let by_layout = |draw: &mut Draw, earlier: usize| ByLayout {
                when: if draw.flag(3) && bridges > 0 {
                    When::Stored(draw.below(bridges))
                } else {
                    When::Item(draw.below(items))
                },
                needs: (0..draw.below(3))
                    .map(|_| match draw.below(4) {
                        0 => Need::Never,
                        1 | 2 if earlier > 0 => Need::Earlier(draw.below(earlier)),
                        _ => Need::Item(draw.below(items)),
                    })
                    .collect(),
                plain: draw.price(),
            };
            Problem {
                by_layout: (0..self.below(items)).map(|earlier| by_layout(self, earlier)).collect(),
                items: (0..items).map(|_| Item { float: self.price(), integer: self.price() }).collect(),
                bridges: (0..bridges).map(|_| bridge(self)).collect(),
                fused: (0..self.below(items)).map(|_| fused(self)).collect(),
                always: self.price(),
                lone: Vec::new(),
            }
        }
    }

    /// Every placement of so many items.
    fn all(items: usize) -> impl Iterator<Item = Vec<bool>> {
        (0..1usize << items).map(move |bits| (0..items).map(|item| bits >> item & 1 == 1).collect())
    }

    #[test]
    fn no_placement_of_all_is_cheaper_than_the_cut() {
        let mut draw = Draw(1);
        let mut mixed = 0;
        for _ in 0..600 {
            let items = 1 + draw.below(10);
            let problem = draw.problem(items);
            let found = problem.cheapest(0.0);
            let best = all(items).map(|placed| problem.time(&placed)).fold(f64::INFINITY, f64::min);
            assert_eq!(problem.time(&found), best, "{problem:?}");
            // Of equals, the one with the fewest ops in float.
            let floats = |placed: &[bool]| placed.iter().filter(|&&integer| !integer).count();
            let equals = all(items).filter(|placed| problem.time(placed) == best);
            assert_eq!(Some(floats(&found)), equals.map(|placed| floats(&placed)).min(), "{problem:?}");
            mixed += usize::from(found.contains(&true) && found.contains(&false));
        }
        assert!(mixed > 200, "{mixed} placements are neither all float nor all integer");
    }

    #[test]
    fn float_must_win_by_the_margin() {
        let mut draw = Draw(2);
        for _ in 0..200 {
            let items = 1 + draw.below(12);
            let problem = draw.problem(items);
            let time = problem.time(&problem.placed(0.05));
            assert!(time <= problem.time(&vec![true; items]), "{problem:?}");
            assert!(time <= problem.time(&vec![false; items]), "{problem:?}");
        }
        let beside = |float| {
            let items = vec![Item { float, integer: 100.0 }, Item { float: 100.0, integer: 1.0 }];
            Problem { items, ..Problem::default() }
        };
        assert_eq!([94.0, 96.0].map(|float| beside(float).placed(0.05)), [[false, true], [true, true]]);
        // Alone, it would make the whole slower.
        let alone = Problem { items: vec![Item { float: 96.0, integer: 100.0 }], ..Problem::default() };
        assert_eq!(alone.placed(0.05), [false]);
    }

    #[test]
    fn no_float_convolution_is_left_alone() {
        let mut draw = Draw(3);
        let mut repaired = 0;
        for _ in 0..600 {
            let items = 1 + draw.below(10);
            let mut problem = draw.problem(items);
            problem.by_layout.clear();
            // A chain with cheap conversions: each item reads one value and makes the next.
            let end = |item: Option<usize>| End { item: item.filter(|&item| item < items), blocked: true };
            let value = |next: usize| Bridge {
                maker: end(next.checked_sub(1)),
                free: false,
                readers: vec![end(Some(next))],
                quantize: 1.0,
                dequantize: 1.0,
                layout: 1.0,
            };
            problem.bridges = (0..=items).map(value).collect();
            problem.lone = (0..items).map(|item| Lone { item, input: item, outputs: vec![item + 1] }).collect();
            let free = problem.cheapest_with(0.0, &BTreeSet::new());
            let found = problem.placed(0.0);
            let alone = |placed: &[bool]| problem.lone.iter().filter(|lone| problem.is_alone(lone, placed)).count();
            assert_eq!(alone(&found), 0, "{problem:?}");
            assert!(problem.time(&found) >= problem.time(&free));
            for uniform in [true, false] {
                assert!(problem.time(&found) <= problem.time(&vec![uniform; items]), "{problem:?}");
            }
            repaired += usize::from(alone(&free) > 0);
        }
        assert!(repaired > 20, "{repaired} placements had one alone at first");
    }

    #[test]
    fn a_reason_tells_what_a_region_costs_both_ways() {
        let end = |item| End { item, blocked: false };
        let bridge = |maker, readers: &[Option<usize>]| Bridge {
            maker: end(maker),
            free: false,
            readers: readers.iter().map(|&r| end(r)).collect(),
            quantize: 1e3,
            dequantize: 2e3,
            layout: 0.0,
        };
        let problem = Problem {
            items: vec![Item { float: 9e5, integer: 1e5 }, Item { float: 1e4, integer: 9e4 }],
            bridges: vec![bridge(None, &[Some(0)]), bridge(Some(0), &[Some(1)]), bridge(Some(1), &[None])],
            ..Problem::default()
        };
        let found = problem.cheapest(0.05);
        assert_eq!(found, [true, false]);
        let told = "float is predicted to be faster here: 12 us against 92 us, conversions included";
        assert_eq!(problem.reasons(&found), BTreeMap::from([(1, told.to_owned())]));
        assert_eq!(microseconds(9440.0), "9.4");
    }
}
