//! In which order tensors shall hold their channels, so that as few of them as possible have to be shuffled.
//!
//! Movers that hand values to each other are a *net*. What enters a net from elsewhere is a *base*; a value of a net that
//! another op reads is a *sink*, and is made again: of parts of bases, joined. `width/groups.rs` says which values have
//! their channels in one order, and whether that order is free. A base's order is chosen such that what a sink takes of it
//! lies together; a sink's such that its parts need no reordering. Where an order is not free, or two sinks of a group
//! disagree, a Gather puts the channels right. A net is left alone where that takes as many Gathers as there were shuffles,
//! unless a Gather shall stand for a shuffle.

use std::collections::BTreeMap;

use spaceevo_ir::{Graph, OpId, User, ValueId};

use super::movers::{Mover, Pick, movers};
use crate::width::groups::Channels;

/// Neighbouring channels of a value, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// The base.
    pub value: ValueId,
    /// Its first channel, as it shall be.
    pub start: usize,
    /// One behind its last.
    pub end: usize,
}

/// How a sink is made.
#[derive(Clone, Debug)]
pub struct Sink {
    /// The value that it replaces.
    pub value: ValueId,
    /// What is joined.
    pub parts: Vec<Part>,
    /// Which channels of that are taken, where it is not all of them as they come.
    pub gather: Option<Vec<usize>>,
}

/// Movers that hand values to each other, at least one of which shuffles.
#[derive(Clone, Debug)]
pub struct Net {
    /// Positions in [`Plan::movers`].
    pub movers: Vec<usize>,
    /// How many of them shuffle.
    pub shuffles: usize,
    /// With how many Gathers it is better off than with these.
    pub most_gathers: usize,
    /// The last op of the first that does.
    pub at: OpId,
    /// How many Gathers would be left; a sentence when it is not worth it, and at which op.
    pub verdict: Result<usize, (OpId, String)>,
}

/// What shall become of a graph.
pub struct Plan {
    /// The movers of the graph.
    pub movers: Vec<Mover>,
    /// What they form.
    pub nets: Vec<Net>,
    /// The groups of values with one order, where the nets that are worth it are taken away.
    pub channels: Channels,
    /// By group, the orders that change: channel `i` shall be what channel `order[i]` is now.
    pub orders: BTreeMap<usize, Vec<usize>>,
    /// The values that are made in another way, in the order of the graph.
    pub sinks: Vec<Sink>,
}

/// More parts than joining them is worth.
const MOST_PARTS: usize = 24;

impl Plan {
    /// Plans for a graph; nets that `allowed` refuses (by their position) stay. With `gather`, one Gather is better than a
    /// shuffle that is written as Reshape, Transpose, Reshape.
    pub fn of(graph: &Graph, gather: bool, allowed: &dyn Fn(usize) -> bool) -> Plan {
        let movers = movers(graph);
        let mut nets = nets(graph, &movers);
        for net in &mut nets {
            let written_out = net.movers.iter().any(|&at| movers[at].shuffles && movers[at].ops.len() > 1);
            net.most_gathers = net.shuffles - usize::from(!(gather && written_out));
        }
        for (at, net) in nets.iter_mut().enumerate().filter(|(at, _)| !allowed(*at)) {
            net.verdict = Err((net.at, format!("net {at} may not change")));
        }
        let mut rounds = 0..ROUNDS;
        loop {
            let last = rounds.next().is_none();
            let around = Around::new(graph, &movers, &nets);
            let (orders, sinks, gathers) = around.decide();
            let refused = nets.iter_mut().enumerate().filter(|(_, net)| net.verdict.is_ok()).filter_map(|(at, net)| {
                let (gathers, why) = gathers.get(&at).cloned().unwrap_or_default();
                let pays = gathers <= net.most_gathers && !last;
                let late = || (net.at, "other shuffles around it stay".into());
                net.verdict = if pays { Ok(gathers) } else { Err(why.unwrap_or_else(late)) };
                net.verdict.is_err().then_some(at)
            });
            // What stays as it is forbids other orders: the rest is planned again.
            if refused.count() == 0 {
                let channels = around.channels;
                return Plan { movers, nets, channels, orders, sinks };
            }
        }
    }
}

/// More rounds than taking back ever took; a bound, not a parameter.
const ROUNDS: usize = 16;

/// The nets of which at least one mover shuffles.
fn nets(graph: &Graph, movers: &[Mover]) -> Vec<Net> {
    let made: BTreeMap<ValueId, usize> =
        movers.iter().enumerate().flat_map(|(at, m)| m.results.iter().map(move |(v, _)| (*v, at))).collect();
    let mut class: Vec<usize> = (0..movers.len()).collect();
    fn root(class: &[usize], mut at: usize) -> usize {
        while class[at] != at {
            at = class[at];
        }
        at
    }
    for (at, mover) in movers.iter().enumerate() {
        for value in mover.ops.iter().flat_map(|&op| graph.op(op).operands().iter().flatten()) {
            if let Some(&from) = made.get(value) {
                let (a, b) = (root(&class, at), root(&class, from));
                class[a.max(b)] = a.min(b);
            }
        }
    }
    let mut found: BTreeMap<usize, Net> = BTreeMap::new();
    for (at, mover) in movers.iter().enumerate() {
        let last = mover.ops[mover.ops.len() - 1];
        let empty = Net { movers: vec![], shuffles: 0, most_gathers: 0, at: last, verdict: Ok(0) };
        let net = found.entry(root(&class, at)).or_insert(empty);
        if mover.shuffles && net.shuffles == 0 {
            net.at = last;
        }
        net.shuffles += usize::from(mover.shuffles);
        net.movers.push(at);
    }
    found.into_values().filter(|net| net.shuffles > 0).collect()
}

/// How many Gathers a net needs, and why the first.
type Gathers = BTreeMap<usize, (usize, Option<(OpId, String)>)>;

/// A sink as channels of bases.
struct View {
    value: ValueId,
    /// The op that makes it.
    op: OpId,
    picks: Vec<Pick>,
    net: usize,
}

/// A graph without the nets that shall go.
struct Around<'a> {
    graph: &'a Graph,
    channels: Channels,
    /// In the order of the graph.
    sinks: Vec<View>,
    /// By group, which of its channels each sink takes; sinks by position, groups of bases only.
    taken: BTreeMap<usize, BTreeMap<usize, Vec<bool>>>,
}

impl<'a> Around<'a> {
    fn new(graph: &'a Graph, movers: &[Mover], nets: &[Net]) -> Self {
        let mut net_of: BTreeMap<usize, usize> = BTreeMap::new();
        for (at, net) in nets.iter().enumerate().filter(|(_, net)| net.verdict.is_ok()) {
            net_of.extend(net.movers.iter().map(|&mover| (mover, at)));
        }
        let mut gone: Vec<OpId> = net_of.keys().flat_map(|&at| movers[at].ops.iter().copied()).collect();
        gone.sort_unstable();
        let is_gone = |op: OpId| gone.binary_search(&op).is_ok();
        let channels = Channels::find_around(graph, &is_gone);
        let mut views: BTreeMap<ValueId, Vec<Pick>> = BTreeMap::new();
        let mut sinks = Vec::new();
        for (&at, &net) in &net_of {
            for (value, picks) in &movers[at].results {
                let resolve = |&(from, channel): &Pick| views.get(&from).map_or((from, channel), |view| view[channel]);
                let view: Vec<Pick> = picks.iter().map(resolve).collect();
                let stays = |user: &User| !matches!(user, User::Op(op, _) if is_gone(*op));
                let read = graph.value(*value).users().iter().any(stays);
                if let Some(op) = graph.def_op(*value).filter(|_| read) {
                    sinks.push(View { value: *value, op, picks: view.clone(), net });
                }
                views.insert(*value, view);
            }
        }
        // A mover of several results may end behind the next one.
        let place: BTreeMap<OpId, usize> = graph.ops_in(graph.body()).enumerate().map(|(at, op)| (op, at)).collect();
        sinks.sort_by_key(|sink: &View| place.get(&sink.op).copied());
        let mut around = Around { graph, channels, sinks, taken: BTreeMap::new() };
        for (at, sink) in around.sinks.iter().enumerate() {
            for &(base, channel) in &sink.picks {
                let Some(group) = around.channels.of(base) else { continue };
                let count = around.channels.groups[group].channels;
                let taken = around.taken.entry(group).or_default().entry(at).or_insert_with(|| vec![false; count]);
                if let Some(taken) = taken.get_mut(channel) {
                    *taken = true;
                }
            }
        }
        around
    }

    /// The orders that change, the sinks, and what each net is left with.
    fn decide(&self) -> (BTreeMap<usize, Vec<usize>>, Vec<Sink>, Gathers) {
        let mut orders = Orders::default();
        let mut gathers = Gathers::new();
        let mut sinks = Vec::new();
        for View { value, op, picks: view, net } in &self.sinks {
            let mut bases: Vec<ValueId> = Vec::new();
            for &(base, _) in view {
                if bases.last() != Some(&base) && !bases.contains(&base) {
                    bases.push(base);
                }
            }
            for &base in &bases {
                if let Some(group) = self.free(base) {
                    orders.settle(group, || self.order_of_base(group));
                }
            }
            let place =
                |&(base, channel): &Pick| (base, self.channels.of(base).map_or(channel, |g| orders.place(g, channel)));
            let placed: Vec<Pick> = view.iter().map(place).collect();
            // A channel that is taken twice comes again behind all others.
            let mut seen: BTreeMap<Pick, usize> = BTreeMap::new();
            let mut again = |pick: Pick| {
                let count = seen.entry(pick).or_default();
                *count += 1;
                *count
            };
            let rank: BTreeMap<ValueId, usize> = bases.iter().enumerate().map(|(at, &base)| (base, at)).collect();
            let keys: Vec<_> = placed.iter().map(|&pick| (again(pick), rank[&pick.0], pick.1)).collect();
            let mut natural: Vec<usize> = (0..view.len()).collect();
            natural.sort_by_key(|&i| keys[i]);
            let cheapest = parts(natural.iter().map(|&i| placed[i]));
            let entry = gathers.entry(*net).or_default();
            if cheapest.len() > MOST_PARTS {
                // No net has so many shuffles that this could pay.
                let why = format!("{} would be joined of {} parts", self.graph.label(*value), cheapest.len());
                (entry.0, entry.1) = (usize::MAX, Some((*op, why)));
                continue;
            }
            if parts(placed.iter().copied()).len() <= cheapest.len() {
                natural = (0..view.len()).collect();
            }
            let group = self.channels.of(*value);
            if let Some(group) = self.free(*value) {
                orders.settle(group, || natural.clone());
            }
            let wanted: Vec<usize> = group.and_then(|g| orders.order(g)).unwrap_or_else(|| (0..view.len()).collect());
            let direct = parts(wanted.iter().map(|&i| placed[i]));
            if direct.len() <= cheapest.len() {
                sinks.push(Sink { value: *value, parts: direct, gather: None });
                continue;
            }
            entry.0 = entry.0.saturating_add(1);
            entry.1.get_or_insert_with(|| (*op, self.why(*value)));
            let mut at = vec![0; view.len()];
            natural.iter().enumerate().for_each(|(place, &i)| at[i] = place);
            let gather = Some(wanted.iter().map(|&i| at[i]).collect());
            sinks.push(Sink { value: *value, parts: cheapest, gather });
        }
        (orders.changed(), sinks, gathers)
    }

    /// The group of a value, if its order is free.
    fn free(&self, value: ValueId) -> Option<usize> {
        self.channels.of(value).filter(|&group| self.channels.groups[group].refused.is_none())
    }

    /// Why the channels of a sink do not go into an order of their own.
    fn why(&self, value: ValueId) -> String {
        let refused = self.channels.of(value).and_then(|g| self.channels.groups[g].refused.as_ref());
        let label = self.graph.label(value);
        match refused {
            Some((_, why)) => format!("the channels of {label} must be in order: {why}"),
            None => format!("{label} and what it is combined with would have their channels in different orders"),
        }
    }

    /// An order of a base's channels in which what each sink takes lies together: channels that the same sinks take stand
    /// side by side, the largest sets outermost. As it is, when that is as good.
    fn order_of_base(&self, group: usize) -> Vec<usize> {
        let count = self.channels.groups[group].channels;
        let none = BTreeMap::new();
        let mut sets: Vec<&Vec<bool>> = self.taken.get(&group).unwrap_or(&none).values().collect();
        sets.sort_by_key(|set| std::cmp::Reverse(set.iter().filter(|&&taken| taken).count()));
        let pieces = |order: &[usize]| -> usize {
            let starts = |set: &&Vec<bool>| {
                order.iter().enumerate().filter(|&(i, &c)| set[c] && (i == 0 || !set[order[i - 1]])).count()
            };
            sets.iter().map(starts).sum()
        };
        let own: Vec<usize> = (0..count).collect();
        let mut sorted = own.clone();
        sorted.sort_by_cached_key(|&channel| sets.iter().map(|set| !set[channel]).collect::<Vec<_>>());
        if pieces(&sorted) < pieces(&own) { sorted } else { own }
    }
}

/// The orders of groups as far as they are settled.
#[derive(Default)]
struct Orders {
    /// Channel `i` shall be what `order[i]` is now; and the inverse of that.
    settled: BTreeMap<usize, (Vec<usize>, Vec<usize>)>,
}

impl Orders {
    /// Takes an order for a group that has none yet.
    fn settle(&mut self, group: usize, order: impl FnOnce() -> Vec<usize>) {
        self.settled.entry(group).or_insert_with(|| {
            let order = order();
            let mut place = vec![0; order.len()];
            order.iter().enumerate().for_each(|(at, &channel)| place[channel] = at);
            (order, place)
        });
    }

    fn order(&self, group: usize) -> Option<Vec<usize>> {
        self.settled.get(&group).map(|(order, _)| order.clone())
    }

    /// Where a channel shall be.
    fn place(&self, group: usize, channel: usize) -> usize {
        self.settled.get(&group).and_then(|(_, place)| place.get(channel).copied()).unwrap_or(channel)
    }

    fn changed(self) -> BTreeMap<usize, Vec<usize>> {
        let moves = |order: &[usize]| order.iter().enumerate().any(|(at, &channel)| at != channel);
        self.settled.into_iter().map(|(group, (order, _))| (group, order)).filter(|(_, order)| moves(order)).collect()
    }
}

/// Neighbours put together.
fn parts(picks: impl Iterator<Item = Pick>) -> Vec<Part> {
    let mut found: Vec<Part> = Vec::new();
    for (value, channel) in picks {
        match found.last_mut() {
            Some(last) if last.value == value && last.end == channel => last.end += 1,
            _ => found.push(Part { value, start: channel, end: channel + 1 }),
        }
    }
    found
}
