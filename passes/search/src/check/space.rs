//! The reader of certificates about spaces.

use std::collections::BTreeMap;

use rayon::prelude::*;
use spaceevo_ir::Diagnostic;

use super::grid::{Cells, Plane, Tail, excess, moments, spread};
use super::least::{Rows, least_score};
use super::{Head, ensure, read, wrong};
use crate::score::Formula;
use crate::tables::Tables;

/// What a score that was summed in single precision may differ by, relatively.
const AGREEMENT: f64 = 2e-5;
/// How many cells of latency, and of loss of all stages together, a certificate may ask for.
const MOST_CELLS: i64 = 10_000;

/// What a certificate was found to prove.
#[derive(Clone, PartialEq, Debug)]
pub struct CheckedSpace {
    /// The space, as printed.
    pub space: String,
    /// Its score.
    pub score: f64,
    /// Limits in milliseconds.
    pub limits_ms: Vec<f64>,
    /// What the score of the space is at least, whatever a grid makes of it: spaces bounded below that are decided.
    pub least: f64,
    /// What the score of any space is at most, whatever a grid makes of it.
    pub most: f64,
    /// Spaces with rows everywhere.
    pub spaces: u128,
    /// Those that bounds leave open, and whose scores were computed.
    pub open: usize,
}

/// A limit: nanoseconds, loss of a cell in millionths, cells of latency, exponents.
#[derive(Default)]
struct Limit {
    ns: u32,
    step: f64,
    cells: i64,
    tilt: [f64; 3],
}

#[derive(Default)]
struct Parts {
    formula: Formula,
    least: f64,
    limits: Vec<Limit>,
    claim: Option<(f64, u128)>,
    open: BTreeMap<u128, Vec<Option<i64>>>,
}

/// Replays a certificate against the tables that it names.
///
/// Errors: `certificate`, with the line where it is malformed, or with the step that does not follow.
pub fn check_space(text: &str, tables: &Tables) -> Result<CheckedSpace, Diagnostic> {
    let mut parts = Parts::default();
    let head = read(text, "space-certificate", &mut |words| parse(words, &mut parts))?;
    head.fits(tables)?;
    let (score, number) = parts.claim.ok_or_else(|| wrong("it claims nothing".into()))?;
    sensible(&parts, score)?;
    let hyperspace = &tables.hyperspace;
    ensure(number < hyperspace.spaces(), || format!("there is no space of number {number}"))?;
    ensure(parts.open.contains_key(&number), || "the claimed space is not among those that it names".into())?;
    let rows = rows(&head, tables);
    let own: Option<Vec<&Rows>> = rows.iter().zip(choices(number, &rows)).map(|(stage, c)| stage[c].as_ref()).collect();
    let formula = Formula { limits: parts.limits.iter().map(|l| l.ns).collect(), ..parts.formula.clone() };
    let least = least_score(&formula, &own.ok_or_else(|| wrong("it names a space without rows".into()))?);
    // Another machine's powers may differ in their last digits.
    ensure(parts.least <= least * (1.0 + 1e-9), || {
        format!("the claimed space has a score of at least {least:.7}, not {:.7}", parts.least)
    })?;
    let mut walk = Walk { parts: &parts, rows: &rows, factors: Vec::new(), rest: Vec::new(), left: 0, most: 0.0 };
    walk.prepare(tables.resolutions.len());
    let start = vec![1.0; walk.rest[0].len()];
    walk.below(0, 0, &start, least.min(parts.least))?;
    ensure(walk.left == parts.open.len(), || "it names spaces that there are not, or that need no word".into())?;
    let found = scores(&parts, &rows)?;
    for (other, found) in &found {
        let at_most = score * (1.0 + AGREEMENT);
        ensure(*found <= at_most, || format!("space {other} has a score of {found:.7}, above the claimed {score:.7}"))?;
        ensure(*other != number || *found >= score * (1.0 - AGREEMENT), || {
            format!("the claimed space has a score of {found:.7}, not {score:.7}")
        })?;
    }
    let complete = rows.iter().map(|stage| stage.iter().flatten().count() as u128).product();
    Ok(CheckedSpace {
        space: hyperspace.print_choice(&hyperspace.choice_at(number)),
        score,
        limits_ms: parts.limits.iter().map(|l| f64::from(l.ns) / 1e6).collect(),
        least: least.min(parts.least),
        most: walk.most,
        spaces: complete,
        open: parts.open.len(),
    })
}

/// Numbers with which the steps mean something.
fn sensible(parts: &Parts, score: f64) -> Result<(), Diagnostic> {
    let f = &parts.formula;
    let numbers = (1..=f.draws).contains(&f.top) && (0.0..=1.0).contains(&f.t0) && (0.0..=10.0).contains(&f.a);
    ensure(numbers && !parts.limits.is_empty(), || "its formula has no meaning".into())?;
    ensure(score > 1e-4 && score.is_finite(), || "its claim is no score of a space with subnets".into())?;
    ensure((1e-4..1e9).contains(&parts.least), || format!("a score of at least {} decides nothing", parts.least))?;
    for limit in &parts.limits {
        let [a, b, c] = limit.tilt;
        let bounds = (1e-9..1e9).contains(&a) && (0.0..1e9).contains(&b) && (0.0..1e9).contains(&c);
        ensure(bounds, || "its exponents bound nothing".into())?;
        ensure((1..=MOST_CELLS).contains(&limit.cells) && (1.0..=1e9).contains(&limit.step), || "its grid is none".into())?;
    }
    Ok(())
}

/// `rows[stage][choice]`
fn rows(head: &Head, tables: &Tables) -> Vec<Vec<Option<Rows>>> {
    let choice = |s: usize, i: usize| -> Option<Rows> {
        let windows = tables.hyperspace.stages[s].windows();
        let table = tables.table(s, i / windows, i % windows)?;
        let at = |&r: &u32| {
            let here = table.rows.iter().filter(|row| row.resolution == r);
            let priced: Vec<(u64, u64)> = here.map(|row| head.priced(s, i % windows, r, row.loss, row.latency)).collect();
            (!priced.is_empty()).then_some(priced)
        };
        tables.resolutions.iter().map(at).collect()
    };
    let stages = tables.hyperspace.stages.iter().enumerate();
    stages.map(|(s, stage)| (0..stage.blocks.len() * stage.windows()).map(|i| choice(s, i)).collect()).collect()
}

/// The walk through all spaces, with bounds on what begins alike.
struct Walk<'a> {
    parts: &'a Parts,
    rows: &'a [Vec<Option<Rows>>],
    /// Means of exponentials, `[stage][choice][limit, loss or share, resolution]`.
    factors: Vec<Vec<Option<Vec<f64>>>>,
    /// The largest products of the stages from each on.
    rest: Vec<Vec<f64>>,
    /// Spaces that bounds left open so far, and the highest bound of one.
    left: usize,
    most: f64,
}

impl Walk<'_> {
    fn prepare(&mut self, resolutions: usize) {
        let exponents: Vec<(f64, f64, f64)> = self
            .parts
            .limits
            .iter()
            .flat_map(|l| {
                let ms = f64::from(l.ns) / 1e6;
                [(l.tilt[0], l.tilt[1], ms), (0.0, l.tilt[2], ms)]
            })
            .collect();
        // A product that leaves what numbers can hold would bound everything: a larger one is a bound, too.
        let floor = 1e-280_f64.powf(1.0 / self.rows.len() as f64);
        let factor = |stage: usize, rows: &Vec<Vec<(u64, u64)>>| -> Vec<f64> {
            let mean = |(a, b, ms): (f64, f64, f64), rows: &Vec<(u64, u64)>| {
                let one = |&(loss, latency): &(u64, u64)| (-a * loss as f64 / 1e6 - b * latency as f64 / 1e6).exp();
                let mean = (rows.iter().map(one).sum::<f64>() / rows.len() as f64).max(floor);
                if stage == 0 { mean * (b * ms).exp() / resolutions as f64 } else { mean }
            };
            exponents.iter().flat_map(|&e| rows.iter().map(move |rows| mean(e, rows))).collect()
        };
        let stage =
            |(s, all): (usize, &Vec<Option<Rows>>)| all.iter().map(|rows| rows.as_ref().map(|r| factor(s, r))).collect();
        self.factors = self.rows.iter().enumerate().map(stage).collect();
        let mut rest = vec![vec![1.0; exponents.len() * resolutions]];
        for stage in self.factors.iter().rev() {
            let most = |n: usize| stage.iter().flatten().map(|f| f[n]).fold(0.0, f64::max);
            let next = rest[rest.len() - 1].iter().enumerate().map(|(n, r)| r * most(n)).collect();
            rest.push(next);
        }
        rest.reverse();
        self.rest = rest;
    }

    /// Every space that begins so is named, or its bound is below the score.
    fn below(&mut self, stage: usize, number: u128, begun: &[f64], score: f64) -> Result<(), Diagnostic> {
        let most = self.at_most(begun, &self.rest[stage]);
        if most < score {
            return Ok(());
        }
        if stage == self.rows.len() {
            self.left += 1;
            self.most = self.most.max(most);
            return ensure(self.parts.open.contains_key(&number), || format!("it says nothing of space {number}"));
        }
        for choice in 0..self.factors[stage].len() {
            let Some(factors) = &self.factors[stage][choice] else { continue };
            let next: Vec<f64> = begun.iter().zip(factors).map(|(a, b)| a * b).collect();
            self.below(stage + 1, number * self.factors[stage].len() as u128 + choice as u128, &next, score)?;
        }
        Ok(())
    }

    fn at_most(&self, begun: &[f64], rest: &[f64]) -> f64 {
        let (formula, resolutions) = (&self.parts.formula, begun.len() / self.parts.limits.len() / 2);
        let one = |(n, limit): (usize, &Limit)| {
            let sum = |half: usize| -> f64 {
                let range = (2 * n + half) * resolutions..(2 * n + half + 1) * resolutions;
                begun[range.clone()].iter().zip(&rest[range]).map(|(a, b)| a * b).sum()
            };
            let (k, share) = (sum(0).max(f64::MIN_POSITIVE), sum(1).min(1.0));
            let (tail, single) = (formula.tail(), 1.0 / formula.draws as f64);
            let under = |share: f64, of: f64| {
                let loss = (of.ln() - k.ln()) / limit.tilt[0];
                formula.under(limit.ns, share, Some(loss.max(1e-9))).score
            };
            let none = formula.under(limit.ns, share.min(single), None).score;
            let few = if share < single { none } else { under(share.min(tail), single) };
            if share <= tail { few } else { few.max(under(share, tail)) }
        };
        self.parts.limits.iter().enumerate().map(one).sum()
    }
}

/// The choices of a space by stage, of its number.
fn choices(number: u128, rows: &[Vec<Option<Rows>>]) -> Vec<usize> {
    let mut left = number;
    let digit = |stage: &Vec<Option<Rows>>| {
        let digit = (left % stage.len() as u128) as usize;
        left /= stage.len() as u128;
        digit
    };
    let mut choices: Vec<usize> = rows.iter().rev().map(digit).collect();
    choices.reverse();
    choices
}

/// The scores of the spaces that are named, by number.
fn scores(parts: &Parts, rows: &[Vec<Option<Rows>>]) -> Result<Vec<(u128, f64)>, Diagnostic> {
    // Grouped by their last stages, whose distributions are made once.
    let split = rows.len().div_ceil(2);
    let mut groups: BTreeMap<Vec<usize>, Vec<(Vec<usize>, u128)>> = BTreeMap::new();
    for &number in parts.open.keys() {
        let mut choices = choices(number, rows);
        let last = choices.split_off(split);
        groups.entry(last).or_default().push((choices, number));
    }
    let mut total: BTreeMap<u128, f64> = parts.open.keys().map(|&n| (n, 0.0)).collect();
    for (n, limit) in parts.limits.iter().enumerate() {
        let cells = |rows: &Option<Rows>| -> Option<Vec<Cells>> {
            let step = f64::from(limit.ns) / (limit.cells as f64 + 0.5);
            let at = |rows: &Vec<(u64, u64)>| -> Cells {
                spread(&rows.iter().map(|&(loss, t)| (t as f64 / step, loss as f64 / limit.step)).collect::<Vec<_>>())
            };
            rows.as_ref().map(|r| r.iter().map(at).collect())
        };
        let cells: Vec<Vec<Option<Vec<Cells>>>> = rows.iter().map(|s| s.par_iter().map(cells).collect()).collect();
        let width = |s: &Vec<Option<Vec<Cells>>>| {
            let all = || s.iter().flatten().flatten().flatten().map(|c| c.1);
            all().max().unwrap_or(0) - all().min().unwrap_or(0)
        };
        ensure(cells.iter().map(width).sum::<i64>() <= MOST_CELLS, || "its grid is too fine".into())?;
        // A cell may lie one below 0: that much may be made up for by the other half.
        let most = limit.cells + rows.len() as i64;
        let planes = |from: usize, choices: &[usize]| -> Option<Vec<Plane>> {
            let at = |r: usize| {
                let stages: Option<Vec<&Cells>> =
                    choices.iter().enumerate().map(|(s, &c)| cells[from + s][c].as_ref().map(|all| &all[r])).collect();
                Some(Plane::of(&stages?, most))
            };
            (0..cells[0].iter().flatten().next()?.len()).map(at).collect()
        };
        let mut firsts: BTreeMap<&[usize], Option<Vec<Plane>>> =
            groups.values().flatten().map(|(first, _)| (first.as_slice(), None)).collect();
        firsts.par_iter_mut().for_each(|(first, made)| *made = planes(0, first));
        let group = |(last, list): (&Vec<usize>, &Vec<(Vec<usize>, u128)>)| -> Result<Vec<(u128, f64)>, Diagnostic> {
            let incomplete = || wrong("it names a space without rows".into());
            let tails: Vec<Tail> = planes(split, last).ok_or_else(incomplete)?.iter().map(Tail::of).collect();
            let one = |(first, number): &(Vec<usize>, u128)| {
                let first = firsts[first.as_slice()].as_ref().ok_or_else(incomplete)?;
                Ok((*number, score(&parts.formula, limit, first, &tails, parts.open[number].get(n).copied().flatten())?))
            };
            list.iter().map(one).collect()
        };
        let groups: Vec<_> = groups.iter().collect();
        let found: Vec<Vec<(u128, f64)>> = groups.into_par_iter().map(group).collect::<Result<_, _>>()?;
        for (number, score) in found.into_iter().flatten() {
            *total.entry(number).or_default() += score;
        }
    }
    Ok(total.into_iter().collect())
}

/// A score under one limit, read off at a place.
fn score(formula: &Formula, limit: &Limit, first: &[Plane], second: &[Tail], place: Option<i64>) -> Result<f64, Diagnostic> {
    let (share, sum) = moments(first, second, limit.cells);
    if share * (formula.draws as f64) < 1.0 {
        return Ok(formula.under(limit.ns, share.max(0.0), None).score);
    }
    let under = |cells: f64| formula.under(limit.ns, share, Some(cells * limit.step / 1e6)).score;
    let tail = formula.tail();
    if share <= tail {
        return Ok(under(sum / share));
    }
    let place = place.ok_or_else(|| wrong("a place is missing".into()))?;
    let [left, here, right] = [-1, 0, 1].map(|d| (place + d) as f64 - excess(first, second, limit.cells, place + d) / tail);
    // The function is concave: what is a peak here is the peak. Its top is that of a parabola through three places.
    let peak = here + 1e-3 >= left && here + 1e-3 >= right;
    ensure(peak, || format!("the place {place} is no peak"))?;
    let bend = left - 2.0 * here + right;
    Ok(under(if bend < 0.0 { here - (right - left).powi(2) / (8.0 * bend) } else { here }))
}

fn parse(words: &[&str], parts: &mut Parts) -> Option<()> {
    match words {
        ["formula", t0, a, top, draws] => {
            let (t0, a, top, draws) = (t0.parse().ok()?, a.parse().ok()?, top.parse().ok()?, draws.parse().ok()?);
            parts.formula = Formula { limits: Vec::new(), t0, a, top, draws };
        }
        ["least", least] => parts.least = least.parse().ok()?,
        ["limit", ns, "step", step, "cells", cells] => {
            let (ns, step, cells) = (ns.parse().ok()?, step.parse().ok()?, cells.parse().ok()?);
            parts.limits.push(Limit { ns, step, cells, ..Limit::default() });
        }
        ["tilt", tilt @ ..] => {
            let tilt: Vec<f64> = tilt.iter().map(|t| t.parse().ok()).collect::<Option<_>>()?;
            parts.limits.last_mut()?.tilt = tilt.try_into().ok()?;
        }
        ["claim", score, number] => parts.claim = Some((score.parse().ok()?, number.parse().ok()?)),
        ["open", number, places @ ..] => {
            let place = |p: &&str| if *p == "-" { Some(None) } else { p.parse().ok().map(Some) };
            let places: Vec<Option<i64>> = places.iter().map(place).collect::<Option<_>>()?;
            if places.len() != parts.limits.len() || places.iter().flatten().any(|p| p.abs() > 1_000_000) {
                return None;
            }
            parts.open.insert(number.parse().ok()?, places);
        }
        _ => return None,
    }
    Some(())
}
