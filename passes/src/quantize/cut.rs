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

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::dinics;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
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

/// Ops that are placed together, and their time in nanoseconds.
#[derive(Clone, Copy, Default, Debug)]
struct Item {
    float: f64,
    integer: f64,
}

/// The end of a value at an op: the op's item, or `None` when it is float whatever happens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct End {
    item: Option<usize>,
    /// In float, the op's layout is another than that of integer convolutions.
    blocked: bool,
}

impl End {
    fn is_integer(&self, integers: &[bool]) -> bool {
        self.item.is_some_and(|item| integers[item])
    }
}

/// A value at whose ends ops are placed.
#[derive(Clone, Debug)]
struct Bridge {
    maker: End,
    /// A maker in integers gives floats, too, for nothing.
    free: bool,
    readers: Vec<End>,
    quantize: f64,
    dequantize: f64,
    layout: f64,
}

impl Bridge {
    fn items(&self) -> impl Iterator<Item = usize> {
        self.readers.iter().chain([&self.maker]).filter_map(|end| end.item)
    }

    /// True when the value is there as stored numbers.
    fn is_stored(&self, integers: &[bool]) -> bool {
        self.readers.iter().any(|r| r.is_integer(integers)) || self.maker.is_integer(integers) && !self.free
    }

    /// True when a DequantizeLinear makes floats of it.
    fn is_dequantized(&self, integers: &[bool]) -> bool {
        self.is_stored(integers) && self.maker.is_integer(integers)
    }

    fn time(&self, integers: &[bool]) -> f64 {
        if !self.is_stored(integers) {
            return 0.0;
        }
        let float = |end: &End| !end.is_integer(integers);
        let layout = |end: &End| if end.blocked { self.layout } else { 0.0 };
        let into = if float(&self.maker) { self.quantize + layout(&self.maker) } else { 0.0 };
        let blocked = if self.readers.iter().any(|r| float(r) && r.blocked) { self.layout } else { 0.0 };
        into + if self.readers.iter().any(float) { self.dequantize + blocked } else { 0.0 }
    }
}

/// An op that costs less in float behind a float convolution.
#[derive(Clone, Copy, Debug)]
struct Fused {
    convolution: usize,
    /// `None` when it is float whatever happens.
    op: Option<usize>,
    /// What it costs more alone.
    more: f64,
}

impl Fused {
    fn time(&self, integers: &[bool]) -> f64 {
        let paid = integers[self.convolution] && !self.op.is_some_and(|op| integers[op]);
        if paid { self.more } else { 0.0 }
    }
}

/// What an op on stored maps needs, so that it can be done in the layout of integer convolutions.
#[derive(Clone, Copy, Debug)]
enum Need {
    /// That this item is in integers.
    Item(usize),
    /// That this earlier one is done in that layout.
    Earlier(usize),
    /// What is not to be had: an operand that is float whatever happens.
    Never,
}

/// When an op runs on stored numbers.
#[derive(Clone, Copy, Debug)]
enum When {
    /// When this item is in integers.
    Item(usize),
    /// When this bridge's value is stored: ONNX Runtime moves a QuantizeLinear from behind a max pool to before it.
    Stored(usize),
}

/// An op that is dearer in the plain layout than in that of integer convolutions, where it is done in integers when all that it
/// needs is there. For a sum, or a product, of maps the maps of convolutions on both its sides are transposed: a residual chain
/// that begins in float takes that at every step. A max pool right behind a QuantizeLinear has a slow kernel.
#[derive(Clone, Debug)]
struct ByLayout {
    when: When,
    needs: Vec<Need>,
    plain: f64,
}

/// A convolution that must not be the only float op between a DequantizeLinear and a QuantizeLinear.
#[derive(Clone, Debug)]
struct Lone {
    item: usize,
    /// The bridge of what it reads.
    input: usize,
    /// The bridges of what it makes, and of that behind each clip that alone reads it.
    outputs: Vec<usize>,
}

/// What is to be placed, without the graph.
#[derive(Clone, Default, Debug)]
struct Problem {
    items: Vec<Item>,
    bridges: Vec<Bridge>,
    fused: Vec<Fused>,
    /// Each needs earlier ones at most.
    by_layout: Vec<ByLayout>,
    lone: Vec<Lone>,
    /// Time of what is float whatever happens.
    always: f64,
}

/// The network: ops in integers end up at the source's side of the cheapest cut.
struct Network {
    flow: DiGraph<(), u128>,
    source: NodeIndex,
    sink: NodeIndex,
}

impl Network {
    /// More than all prices of a graph together.
    const INFINITE: u128 = 1 << 100;

    /// Paid when `a` is in integers and `b` in float; prices count in picoseconds.
    fn pay(&mut self, a: NodeIndex, b: NodeIndex, nanoseconds: f64) {
        self.flow.add_edge(a, b, (nanoseconds * 1e3).round().clamp(0.0, 1e18) as u128);
    }

    /// When `a` is in integers, so is `b`.
    fn imply(&mut self, a: NodeIndex, b: NodeIndex) {
        self.flow.add_edge(a, b, Self::INFINITE);
    }

    /// By node: whether it is in integers. In float is only what must be, so that flow into the sink is still to be had.
    fn cut(&self) -> Vec<bool> {
        let (_, flows) = dinics(&self.flow, self.source, self.sink);
        let mut integers = vec![true; self.flow.node_count()];
        let mut stack = vec![self.sink];
        integers[self.sink.index()] = false;
        while let Some(node) = stack.pop() {
            let into = self.flow.edges_directed(node, petgraph::Incoming);
            let into = into.filter(|e| flows[e.id().index()] < *e.weight()).map(|e| e.source());
            // What flows out could be taken back.
            let back = self.flow.edges(node).filter(|e| flows[e.id().index()] > 0).map(|e| e.target());
            for next in into.chain(back) {
                if std::mem::replace(&mut integers[next.index()], false) {
                    stack.push(next);
                }
            }
        }
        integers
    }
}

impl Problem {
    /// Nanoseconds of a placement.
    fn time(&self, integers: &[bool]) -> f64 {
        let items = self.items.iter().zip(integers).map(|(item, &integer)| if integer { item.integer } else { item.float });
        let bridges = self.bridges.iter().map(|bridge| bridge.time(integers));
        let fused = self.fused.iter().map(|f| f.time(integers));
        self.always + items.chain(bridges).chain(fused).sum::<f64>() + self.plain(integers)
    }

    /// Nanoseconds of what is done in the plain layout, beyond those that it takes in the layout of convolutions.
    fn plain(&self, integers: &[bool]) -> f64 {
        let mut suits: Vec<bool> = Vec::with_capacity(self.by_layout.len());
        let mut time = 0.0;
        for op in &self.by_layout {
            let met = |need: &Need| match *need {
                Need::Item(item) => integers[item],
                Need::Earlier(earlier) => suits[earlier],
                Need::Never => false,
            };
            let active = match op.when {
                When::Item(item) => integers[item],
                When::Stored(bridge) => self.bridges[bridge].is_stored(integers),
            };
            let suited = active && op.needs.iter().all(met);
            time += if active && !suited { op.plain } else { 0.0 };
            suits.push(suited);
        }
        time
    }

    /// By item: whether it runs in integers. Where the margin would make the whole slower than float, there is none; where the
    /// whole gains less than the margin, all are.
    fn placed(&self, margin: f64) -> Vec<bool> {
        let [float, integer] = [false, true].map(|integer| vec![integer; self.items.len()]);
        let bound = self.time(&float);
        let found = [margin, 0.0].into_iter().map(|margin| self.cheapest(margin));
        let found = found.into_iter().find(|placed| self.time(placed) <= bound).unwrap_or(float);
        let all = self.time(&integer);
        if all <= bound && all < self.time(&found) * (1.0 + margin) { integer } else { found }
    }

    /// True when a float convolution stands alone between stored numbers.
    fn is_alone(&self, lone: &Lone, integers: &[bool]) -> bool {
        let stored = lone.outputs.iter().map(|&value| &self.bridges[value]).find(|value| value.is_stored(integers));
        !integers[lone.item]
            && self.bridges[lone.input].is_dequantized(integers)
            && stored.is_some_and(|value| value.readers.iter().all(|reader| reader.is_integer(integers)))
    }

    /// The cheapest placement, as far as no float convolution is alone in it.
    fn cheapest(&self, margin: f64) -> Vec<bool> {
        let mut pinned = BTreeSet::new();
        loop {
            let integers = self.cheapest_with(margin, &pinned);
            let before = pinned.len();
            pinned.extend(self.lone.iter().filter(|lone| self.is_alone(lone, &integers)).map(|lone| lone.item));
            if pinned.len() == before {
                return integers;
            }
        }
    }

    /// The cheapest placement that has these items in integers, where the float time of what could run in integers counts
    /// `1 + margin` times.
    fn cheapest_with(&self, margin: f64, pinned: &BTreeSet<usize>) -> Vec<bool> {
        let mut flow = DiGraph::new();
        let nodes: Vec<NodeIndex> = self.items.iter().map(|_| flow.add_node(())).collect();
        let (source, sink) = (flow.add_node(()), flow.add_node(()));
        let mut network = Network { flow, source, sink };
        let node = |item: Option<usize>| item.map_or(sink, |item| nodes[item]);
        for (item, &node) in self.items.iter().zip(&nodes) {
            network.pay(source, node, item.float * (1.0 + margin));
            network.pay(node, sink, item.integer);
        }
        pinned.iter().for_each(|&item| network.imply(source, nodes[item]));
        let stores: Vec<NodeIndex> = self.bridges.iter().map(|_| network.flow.add_node(())).collect();
        for (bridge, &stored) in self.bridges.iter().zip(&stores) {
            let maker = node(bridge.maker.item);
            if bridge.maker.item.is_some() && !bridge.free {
                network.imply(maker, stored);
            }
            network.pay(stored, maker, bridge.quantize + if bridge.maker.blocked { bridge.layout } else { 0.0 });
            let blocked = bridge.readers.iter().filter(|r| r.blocked);
            for (readers, price) in
                [(bridge.readers.iter().collect(), bridge.dequantize), (blocked.collect::<Vec<_>>(), bridge.layout)]
            {
                // The twin is float as soon as one of them is.
                let twin = network.flow.add_node(());
                network.pay(stored, twin, price);
                readers.iter().for_each(|reader| network.imply(twin, node(reader.item)));
            }
            bridge.readers.iter().filter(|r| r.item.is_some()).for_each(|r| network.imply(node(r.item), stored));
        }
        for fused in &self.fused {
            let weight = if fused.op.is_some() { 1.0 + margin } else { 1.0 };
            network.pay(nodes[fused.convolution], node(fused.op), fused.more * weight);
        }
        // A node for each: at the source's side when it is done in the layout of convolutions.
        let mut suits: Vec<NodeIndex> = Vec::with_capacity(self.by_layout.len());
        for op in &self.by_layout {
            let suited = network.flow.add_node(());
            let active = match op.when {
                When::Item(item) => nodes[item],
                When::Stored(bridge) => stores[bridge],
            };
            network.imply(suited, active);
            for need in &op.needs {
                network.imply(
                    suited,
                    match *need {
                        Need::Item(item) => nodes[item],
                        Need::Earlier(earlier) => suits[earlier],
                        Need::Never => sink,
                    },
                );
            }
            network.pay(active, suited, op.plain);
            suits.push(suited);
        }
        let mut integers = network.cut();
        integers.truncate(self.items.len());
        integers
    }

    /// For items in float: what it gains that they are, together with those in float around them.
    fn reasons(&self, integers: &[bool]) -> BTreeMap<usize, String> {
        let mut regions = Sets::new(self.items.len());
        for bridge in &self.bridges {
            let floats: Vec<usize> = bridge.items().filter(|&item| !integers[item]).collect();
            floats.windows(2).for_each(|pair| regions.join(pair[0], pair[1]));
        }
        let region = regions.roots();
        // The placement with one region in integers, too, and the times of what has an end in the region: as chosen, and so.
        let mut without: BTreeMap<usize, (Vec<bool>, f64, f64)> = BTreeMap::new();
        for item in (0..self.items.len()).filter(|&item| !integers[item] && region[item] == item) {
            let placed = integers.iter().zip(&region).map(|(&integer, &root)| integer || root == item);
            without.insert(item, (placed.collect(), 0.0, 0.0));
        }
        let mut add = |ends: Vec<usize>, time: &dyn Fn(&[bool]) -> f64| {
            let touched: BTreeSet<usize> = ends.into_iter().filter(|&e| !integers[e]).map(|e| region[e]).collect();
            for root in touched {
                let Some((placed, float, integer)) = without.get_mut(&root) else { continue };
                *float += time(integers);
                *integer += time(placed);
            }
        };
        for (index, item) in self.items.iter().enumerate() {
            add(vec![index], &|placed| if placed[index] { item.integer } else { item.float });
        }
        self.bridges.iter().for_each(|bridge| add(bridge.items().collect(), &|placed| bridge.time(placed)));
        self.fused.iter().for_each(|f| add(f.op.into_iter().chain([f.convolution]).collect(), &|placed| f.time(placed)));
        let needed = self.by_layout.iter().flat_map(|op| &op.needs).filter_map(|need| match *need {
            Need::Item(item) => Some(item),
            _ => None,
        });
        let active = self.by_layout.iter().flat_map(|op| match op.when {
            When::Item(item) => vec![item],
            When::Stored(bridge) => self.bridges[bridge].items().collect(),
        });
        add(needed.chain(active).collect(), &|placed| self.plain(placed));
        let floats = (0..self.items.len()).filter(|&item| !integers[item]);
        floats
            .filter_map(|item| {
                let (_, float, integer) = without.get(&region[item])?;
                let (float, integer) = (microseconds(*float), microseconds(*integer));
                Some((
                    item,
                    format!("float is predicted to be faster here: {float} us against {integer} us, conversions included"),
                ))
            })
            .collect()
    }
}

/// Microseconds with two or three digits.
fn microseconds(nanoseconds: f64) -> String {
    let time = nanoseconds / 1e3;
    match time {
        ..1.0 => format!("{time:.3}"),
        1.0..10.0 => format!("{time:.1}"),
        _ => format!("{time:.0}"),
    }
}

/// Disjoint sets of numbers from 0.
struct Sets(Vec<usize>);

impl Sets {
    fn new(len: usize) -> Self {
        Sets((0..len).collect())
    }

    fn root(&self, mut at: usize) -> usize {
        while self.0[at] != at {
            at = self.0[at];
        }
        at
    }

    /// Makes one set of two; its root is the smallest number.
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }

    /// By number: the root of its set.
    fn roots(mut self) -> Vec<usize> {
        (0..self.0.len()).for_each(|at| self.0[at] = self.0[self.0[at]]);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
