//! Which groups of channels are worth padding, and to how many.
//!
//! What an op gains depends on both its sides: a Conv of 18 to 18 channels gains nothing when only one side becomes 20. So
//! the plan starts with every group that may be padded, and takes back what does not pay as long as something changes.

use spaceevo_ir::{Graph, ONNX, OpId, OpName};

use super::groups::{Channels, Group, Touch};
use super::price::time;
use crate::target::{Target, WidthRule};

/// What shall become of a group.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// Its channels suit the target.
    Fits,
    /// It shall have `to` channels; predicted nanoseconds of all its ops before and after.
    Pad {
        /// New channel count.
        to: usize,
        /// As it is.
        before: f64,
        /// Padded.
        after: f64,
    },
    /// Padding to `to` channels saves too little.
    Dear {
        /// The channel count that was considered.
        to: usize,
        /// As it is.
        before: f64,
        /// Padded.
        after: f64,
        /// Why readers would need a Slice of it, if they do.
        cut: Option<String>,
    },
    /// The target would like `to` channels, but something is in the way.
    Refused {
        /// The channel count that the target would like.
        to: usize,
        /// The op that is in the way.
        op: OpId,
        /// Why.
        why: String,
    },
}

/// More rounds than taking back ever took; a bound, not a parameter.
const ROUNDS: usize = 8;

/// A verdict for each group; all [`Verdict::Fits`] for a target without rules about widths.
pub fn plan(graph: &Graph, channels: &Channels, target: &Target) -> Vec<Verdict> {
    let Some(rule) = &target.width else { return vec![Verdict::Fits; channels.groups.len()] };
    let wanted: Vec<Vec<usize>> = channels.groups.iter().map(|group| candidates(group, rule)).collect();
    // A Slice moves stored numbers as they are, where the target does that; its bounds are operands from operator set 10 on.
    let old = graph.meta.opsets.get(ONNX).is_some_and(|&version| version < 10);
    let cut = rule.cut.filter(|_| !old && target.ops.is_movement(&OpName::onnx("Slice")));
    let open = |at: usize| channels.groups[at].refused.is_none() || cut.is_some() && channels.groups[at].can_be_cut();
    let typed =
        graph.ops_in(graph.body()).flat_map(|op| graph.op(op).results()).any(|&v| graph.value(v).ty().quant().is_some());
    let mut widths: Vec<usize> = channels.groups.iter().map(|group| group.channels).collect();
    for (at, wanted) in wanted.iter().enumerate().filter(|(at, _)| open(*at)) {
        widths[at] = wanted.last().copied().unwrap_or(widths[at]);
    }
    let cost = |at: usize, width: usize, widths: &[usize]| -> f64 {
        let side = |value| match channels.of(value) {
            Some(group) if group == at => width,
            Some(group) => widths[group],
            None => graph.value(value).ty().tensor().and_then(|t| t.dim(1)).unwrap_or(1),
        };
        let of = |&op: &OpId| {
            let record = graph.op(op);
            let (input, result) = (record.operand(0), record.results().first().copied());
            let float = typed && input.is_some_and(|v| graph.value(v).ty().quant().is_none());
            time(graph, op, (input.map_or(1, side), result.map_or(1, side)), target, float)
        };
        let group = &channels.groups[at];
        let cuts = group.cuts.iter().filter(|_| width != group.channels);
        let slices = cuts.filter_map(|&value| Some(cut?.time(graph, value)));
        group.ops().iter().map(of).sum::<f64>() + slices.sum::<f64>()
    };
    // The cheapest width, and what it and the present one cost.
    let best = |at: usize, widths: &[usize]| {
        let before = cost(at, channels.groups[at].channels, widths);
        let priced = wanted[at].iter().map(|&to| (to, cost(at, to, widths)));
        priced.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(to, after)| (to, before, after))
    };
    let pays = |before: f64, after: f64| after <= before * (1.0 - rule.gain);
    for _ in 0..ROUNDS {
        let mut changed = false;
        for at in (0..widths.len()).filter(|&at| open(at)) {
            let Some((to, before, after)) = best(at, &widths) else { continue };
            let width = if pays(before, after) { to } else { channels.groups[at].channels };
            changed |= std::mem::replace(&mut widths[at], width) != width;
        }
        if !changed {
            break;
        }
    }
    let verdict = |(at, group): (usize, &Group)| match (&group.refused, best(at, &widths)) {
        (_, None) => Verdict::Fits,
        (_, Some((_, before, _))) if widths[at] != group.channels => {
            Verdict::Pad { to: widths[at], before, after: cost(at, widths[at], &widths) }
        }
        (Some((op, why)), Some((to, ..))) if !open(at) => Verdict::Refused { to, op: *op, why: why.clone() },
        (cut, Some((to, before, after))) => {
            Verdict::Dear { to, before, after, cut: cut.as_ref().map(|(_, why)| why.clone()) }
        }
    };
    channels.groups.iter().enumerate().map(verdict).collect()
}

/// The channel counts that would suit some op of a group better than its present one, ascending.
fn candidates(group: &Group, rule: &WidthRule) -> Vec<usize> {
    let wish = |touch: &Touch| match touch {
        Touch::Makes => (rule.output, rule.least_output),
        Touch::Reads => (rule.input, 1),
        Touch::Depthwise => (rule.depthwise, 1),
        Touch::Keeps => (1, 1),
    };
    let wishes: Vec<(usize, usize)> = group.touches.iter().map(|(_, touch)| wish(touch)).collect();
    let least = wishes.iter().map(|w| w.1).max().unwrap_or(1);
    let mut found: Vec<usize> = wishes
        .iter()
        .flat_map(|&(multiple, own)| [own, least].map(|least| group.channels.max(least).checked_next_multiple_of(multiple)))
        .flatten()
        .filter(|&to| to > group.channels)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}
