//! What every block that tables name takes on a target, in its best legal form: latencies for a search on another machine than the
//! one that the tables were measured on.
//!
//! Blocks are shared by millions of subnets and are priced once. Rewriting looks at channels, and prices at the size of the map, too:
//! so a block is rewritten once, at its largest map, and priced at every size. What a block costs within a network is
//!
//! ```text
//! cost(block, then a 1x1 convolution) - cost(that convolution) - conversions at both ends
//! ```
//!
//! since its neighbours hand over integers, and its last sum runs in integers only because a convolution follows.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use spaceevo_ir::{Attr, Def, Diagnostic, Graph, Loc, NewOp, OpName, Place, SPACE, Severity, Type, shape};
use spaceevo_passes::price::{DEQUANTIZE, QUANTIZE};
use spaceevo_passes::quantize::placement::Placement;
use spaceevo_passes::unfold::Weights;
use spaceevo_passes::{Registry, Target};
use spaceevo_search::one_block::{one_block, picture};
use spaceevo_search::recover::{Blocks, Key, keys, subnet_keys};
use spaceevo_search::sample::least;
use spaceevo_search::{Hyperspace, Tables};

use super::price::{PADDED, no_prices, rewritten};
use super::{Space, concrete};
use crate::convert::{PREPARE, Progress};

/// Channels of the convolution behind a block.
const HEAD: i64 = 16;
/// Blocks that are priced before the next are begun.
const AT_A_TIME: usize = 32;

/// What is told of priced blocks, in milliseconds, and may end the pricing.
pub type Seen<'a> = dyn FnMut(&[(Key, f64)]) -> Result<(), Diagnostic> + 'a;

impl Space {
    /// Prices blocks, in milliseconds. `known` are those that were priced before; `seen` is told of the others, some at a time and always
    /// in the same order, and may end it.
    ///
    /// # Errors
    /// `no-prices` when the target has none; `block-latency` for a block that they do not cover; those of unfolding, of the passes and of
    /// `seen`.
    pub fn priced_blocks(
        &self,
        blocks: impl IntoIterator<Item = Key>,
        target: &Target,
        registry: &Registry,
        progress: &(dyn Progress + Sync),
        mut known: BTreeMap<Key, f64>,
        seen: &mut Seen<'_>,
    ) -> Result<Blocks, Vec<Diagnostic>> {
        if target.pricing().is_none() {
            return Err(no_prices(target));
        }
        let mut sizes: BTreeMap<Key, BTreeSet<u32>> = BTreeMap::new();
        for key in blocks {
            let size = key.size;
            sizes.entry(Key { size: 0, ..key }).or_default().insert(size);
        }
        progress.stage("blocks", sizes.len());
        let all = sizes.len();
        sizes.retain(|key, sizes| sizes.iter().any(|&size| !known.contains_key(&Key { size, ..key.clone() })));
        progress.advance(all - sizes.len());
        for some in sizes.into_iter().collect::<Vec<_>>().chunks(AT_A_TIME) {
            let priced = some.par_iter().map(|(key, sizes)| {
                let found = self.priced_block(key, sizes, target, registry);
                progress.advance(1);
                found
            });
            // A block of which some sizes are known was priced anew, so that it was rewritten at the same size as before.
            let priced = priced.collect::<Result<Vec<_>, _>>()?.into_iter().flatten();
            let priced: Vec<_> = priced.filter(|(key, _)| !known.contains_key(key)).collect();
            seen(&priced).map_err(|found| vec![found])?;
            known.extend(priced);
        }
        Ok(Blocks { known, ..Blocks::default() })
    }

    /// Milliseconds of what is not searched (stem and head, and what it costs to go between numbers at both ends of a network), by
    /// resolution: what the least subnet of the first space takes on the target without its blocks. As published: one subnet stands for
    /// all.
    ///
    /// # Errors
    /// `block-latency` where the blocks of [`blocks_of_least`] are not among `blocks`; those of [`Space::price`].
    pub fn fixed_ms(
        &self,
        resolutions: &[u32],
        blocks: &Blocks,
        target: &Target,
        registry: &Registry,
    ) -> Result<Vec<(u32, f64)>, Vec<Diagnostic>> {
        let space = &self.page.hyperspace;
        let choice = space.homogeneous(0, 0);
        let fixed = |&resolution: &u32| {
            let subnet = least(space, &choice, resolution);
            let whole = self.price(&choice, &subnet, target, registry)?.best_us / 1e3;
            let searched = blocks.sum(&subnet_keys(space, &choice, &subnet)).map_err(|found| vec![found])?;
            Ok((resolution, (whole - searched).max(0.0)))
        };
        resolutions.par_iter().map(fixed).collect()
    }

    /// Milliseconds of one block at maps of several sizes.
    fn priced_block(
        &self,
        key: &Key,
        sizes: &BTreeSet<u32>,
        target: &Target,
        registry: &Registry,
    ) -> Result<Vec<(Key, f64)>, Vec<Diagnostic>> {
        let largest = sizes.last().copied().unwrap_or_default();
        let mut written = one_block(&self.page.table, &Key { size: largest, ..key.clone() });
        let body = written.body();
        let y = written.region(body).results()[0];
        let head =
            NewOp::new(OpName::new(SPACE, "Conv")).operand(y).attr("out", Attr::Int(HEAD)).attr("kernel", Attr::Int(1));
        let head = written.insert(Place::End(body), head.result("head", Type::Unknown));
        let result = written.op(head).result();
        written.set_results(body, vec![result]);
        // Any weights will do: nothing but extents is priced.
        concrete(&mut written, Weights::Drawn(0))?;
        without_norms(&mut written);
        let mut best: BTreeMap<u32, f64> = BTreeMap::new();
        for form in [PREPARE, PADDED] {
            rewritten(&mut written, form, target, registry)?;
            for &size in sizes {
                resize(&mut written, picture(key.input, size))?;
                let ns = between(&written, target).ok_or_else(|| {
                    let what = format!("the prices of '{}' do not say what the block {key} takes", target.name);
                    vec![Diagnostic::error("block-latency", Loc::Unknown, what)]
                })?;
                let least = best.entry(size).or_insert(f64::INFINITY);
                *least = least.min(ns / 1e6);
            }
        }
        Ok(best.into_iter().map(|(size, ms)| (Key { size, ..key.clone() }, ms)).collect())
    }
}

/// The blocks that the rows of tables are made of.
///
/// # Errors
/// `space-encoding`; never for tables that were read.
pub fn blocks_of(tables: &Tables) -> Result<BTreeSet<Key>, Diagnostic> {
    let space = &tables.hyperspace;
    let mut all = BTreeSet::new();
    for (stage, block, _, table) in tables.iter() {
        for row in &table.rows {
            let size = space.input_size(stage, row.resolution);
            all.extend(keys(space, stage, block, row.channels, size, &table.substage(row)?.0));
        }
    }
    Ok(all)
}

/// The blocks that [`Space::fixed_ms`] has to know.
pub fn blocks_of_least(space: &Hyperspace, resolutions: &[u32]) -> Vec<Key> {
    let choice = space.homogeneous(0, 0);
    resolutions.iter().flat_map(|&r| subnet_keys(space, &choice, &least(space, &choice, r))).collect()
}

/// Takes batch normalizations out: all of them vanish into the convolutions before them, and folding tens of millions of numbers that
/// no price looks at would take most of the time.
pub(super) fn without_norms(graph: &mut Graph) {
    for op in graph.all_ops() {
        if graph.op(op).name().is_onnx("BatchNormalization")
            && let Some(input) = graph.op(op).operand(0)
        {
            graph.replace_op(op, input);
        }
    }
}

/// Gives the input another type, and all results those that follow from it.
fn resize(graph: &mut Graph, input: Type) -> Result<(), Vec<Diagnostic>> {
    let x = graph.region(graph.body()).inputs()[0];
    graph.set_type(x, input);
    for op in graph.all_ops() {
        for result in graph.op(op).results().to_vec() {
            graph.set_type(result, Type::Unknown);
        }
    }
    let found = shape::infer(graph);
    if found.iter().any(|d| d.severity == Severity::Error) { Err(found) } else { Ok(()) }
}

/// Nanoseconds of what lies between the input and the convolution that makes the result.
fn between(graph: &Graph, target: &Target) -> Option<f64> {
    let pricing = target.pricing()?;
    let plan = Placement::plan(graph, target, &|_, _| None);
    let region = graph.region(graph.body());
    let (input, result) = (*region.inputs().first()?, *region.results().first()?);
    let Def::Op(head, _) = graph.value(result).def() else { return None };
    let mut ns = plan.prediction()?.chosen;
    if plan.is_stored(input) {
        ns -= pricing.conversion(graph, input, QUANTIZE)?;
    }
    // The convolution gives floats, which is not free where it runs in integers.
    ns -= match plan.is_stored(graph.op(head).operand(0)?) {
        true => pricing.integer(graph, target, head)? + pricing.conversion(graph, result, DEQUANTIZE)?,
        false => pricing.float(graph, head)?,
    };
    Some(ns.max(0.0))
}
