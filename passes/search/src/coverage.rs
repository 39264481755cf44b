//! How much of another space the latencies of blocks cover that were recovered from tables.
//!
//! A block of the other space is known where some table's block of the same input, output, kernel, expansion and stride computes the
//! same: both are written out, and the texts compared. So MobileNetV2's block is known where its shapes agree (there the published
//! one with its residual everywhere is the same), and not where it changes the width. Losses are of whole sub-stages of the
//! tables' own spaces: a space of other stages gets latencies from here, never a score.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use spaceevo_ir::space::SpaceTable;
use spaceevo_ir::text::{PrintOptions, print};
use spaceevo_ir::{Attrs, Diagnostic, Graph};
use spaceevo_passes::unfold::{Weights, unfold};

use crate::one_block::one_block;
use crate::page::Page;
use crate::recover::{Blocks, Key, chained};
use crate::sample;

/// What of a sample of subnets is known.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Coverage {
    /// Subnets that were drawn.
    pub subnets: usize,
    /// Subnets all of whose searched blocks are known.
    pub whole: usize,
    /// Their mean latency in milliseconds, without stem and head.
    pub whole_ms: Option<f64>,
    /// Blocks of the searched stages of all subnets.
    pub blocks: usize,
    /// Those whose latency is known.
    pub known: usize,
    /// Mean latency of the known blocks of a subnet, in milliseconds.
    pub known_ms: f64,
    /// Why blocks are not known, with how many are concerned.
    pub unknown: BTreeMap<String, usize>,
}

/// Draws subnets of a space and looks their blocks up. `own` are the blocks of the tables' page.
///
/// # Errors
/// Those of [`unfold`].
pub fn coverage(
    graph: &Graph,
    page: &Page,
    own: &SpaceTable,
    blocks: &Blocks,
    subnets: usize,
    seed: u64,
) -> Result<Coverage, Vec<Diagnostic>> {
    let space = &page.hyperspace;
    let mut types: Vec<&str> = blocks.known.keys().map(|k| k.block.as_str()).collect();
    types.sort_unstable();
    types.dedup();
    let mut answers: HashMap<(usize, Key), Result<f64, String>> = HashMap::new();
    let mut found = Coverage { subnets, ..Coverage::default() };
    let mut whole_ms = 0.0;
    for n in 0..subnets as u64 {
        let choice = page.choice(&graph.space).unwrap_or_else(|| sample::choice(space, &[seed, n]));
        let subnet = sample::subnet(space, &choice, &[seed, n]);
        let stem = space.stem.len();
        let mut input = subnet.stages().take(stem).last().and_then(|b| b.last()).map_or(3, |b| b.width);
        let (mut ms, mut all) = (0.0, true);
        for (s, stage) in subnet.stages().skip(stem).enumerate() {
            let shape = &space.stages[s];
            let name = &shape.blocks[usize::from(choice.blocks[s])].name;
            for key in chained(name, shape.stride, input, space.input_size(s, subnet.resolution), stage) {
                input = key.output;
                let answer = match answers.entry((s, key)) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(open) => {
                        let answer = look_up(graph, &shape.name, own, blocks, &types, &open.key().1)?;
                        open.insert(answer)
                    }
                };
                found.blocks += 1;
                match answer {
                    Ok(latency) => {
                        found.known += 1;
                        ms += *latency;
                    }
                    Err(why) => {
                        all = false;
                        *found.unknown.entry(why.clone()).or_default() += 1;
                    }
                }
            }
        }
        found.known_ms += ms / subnets as f64;
        found.whole += usize::from(all);
        whole_ms += if all { ms } else { 0.0 };
    }
    found.whole_ms = (found.whole > 0).then(|| whole_ms / found.whole as f64);
    Ok(found)
}

fn look_up(
    graph: &Graph,
    stage: &str,
    own: &SpaceTable,
    blocks: &Blocks,
    types: &[&str],
    key: &Key,
) -> Result<Result<f64, String>, Vec<Diagnostic>> {
    let named = |block: &&str| Key { block: (*block).to_owned(), ..key.clone() };
    let same: Vec<(Key, f64)> = types.iter().map(named).filter_map(|k| Some((k.clone(), *blocks.known.get(&k)?))).collect();
    if same.is_empty() {
        let any = |test: &dyn Fn(&Key) -> bool| blocks.known.keys().any(test);
        let why = if !any(&|k| k.expand == key.expand) {
            "no table has its expansion"
        } else if !any(&|k| k.kernel == key.kernel) {
            "no table has its kernel"
        } else if !any(&|k| k.size == key.size) {
            "no table has its size of maps"
        } else if !any(&|k| (k.input, k.output) == (key.input, key.output)) {
            "no table has its widths"
        } else {
            "no table has all of them together"
        };
        return Ok(Err(why.to_owned()));
    }
    let mut attrs = Attrs::new();
    for id in graph.ops_in(graph.body()) {
        let op = graph.op(id);
        if op.results().first().is_some_and(|&v| &**graph.value(v).name() == stage) {
            attrs = op.attrs().clone();
        }
    }
    let text = written(&graph.space, attrs, key)?;
    for (other, ms) in same {
        if written(own, Attrs::new(), &other)? == text {
            return Ok(Ok(ms));
        }
    }
    Ok(Err("the shape is there, but no table's block computes the same".to_owned()))
}

/// What the shape of a block says already.
const SAID: [&str; 6] = ["block", "count", "width", "kernel", "expand", "stride"];

/// A block of one shape as text, whatever it is called.
fn written(table: &SpaceTable, attrs: Attrs, key: &Key) -> Result<String, Vec<Diagnostic>> {
    let mut graph = one_block(table, key);
    for op in graph.all_ops() {
        for (word, value) in attrs.iter().filter(|(word, _)| !SAID.contains(&&***word)) {
            graph.set_attr(op, word.clone(), value.clone());
        }
    }
    unfold(&mut graph, Weights::Declared)?;
    graph.space = SpaceTable::default();
    Ok(print(&graph, &PrintOptions::default()))
}
