//! Kernels of subnets, put together from those of their blocks.
//!
//! ```text
//! subnet  = block, block, …, head
//! kernels = those of each block, those of the head        first seen in a whole network, then copied
//! ```
//!
//! A search asks for the kernels of millions of subnets that some thousand blocks make up. So a subnet becomes a network, is quantized
//! and cut into kernels only where it has a block that none before had. Which kernels are whose is read off names, which begin with
//! those of stages. Where a block has other kernels in another network, networks with it are cut each time, and so are those with
//! widths that the target pads: how far is decided for all blocks together whose maps are added.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use spaceevo_cost::kernels::{Detector, Kernel, List, moved, surround};
use spaceevo_ir::graph::Range;
use spaceevo_ir::{Diagnostic, Elem, Graph, OpId, Tensor, ValueId};
use spaceevo_passes::target::WidthRule;
use spaceevo_passes::unfold::Weights;
use spaceevo_passes::{Registry, Target};
use spaceevo_search::{BlockChoice, Choice, Hyperspace, Subnet};

use super::block_prices::without_norms;
use super::{Space, concrete};
use crate::rewrite::rewrite;

/// Passes that make a float network what a runtime gets, with ranges that are known already.
const QUANTIZE: &str = "infer-shapes,upgrade-opset{to=17},@simplify,cancel-transposes,merge-reshapes,infer-shapes,quantize,fold-clip,\
     drop-dead,@suit-kernels,lower-silu,lower-gelu,lower-qoperator,drop-dead";

/// What decides which kernels a part of a subnet has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Part {
    /// Stages of the stem come first; the head is one behind the last.
    stage: usize,
    /// Type of the block.
    kind: u8,
    /// The first of its stage, which has the stride.
    is_first: bool,
    resolution: u32,
    /// Channels that it reads.
    input: u32,
    block: Option<BlockChoice>,
}

/// Kernels of a part, and the bytes that each moves and weighs.
#[derive(Clone, PartialEq, Debug)]
struct Kernels {
    kernels: Vec<Kernel>,
    bytes: Vec<[f64; 2]>,
}

/// Lists of the kernels of subnets of one hyperspace.
pub struct KernelLists<'a> {
    space: &'a Space,
    target: &'a Target,
    registry: &'a Registry,
    detector: Detector,
    /// None of a part that has other kernels in other networks.
    known: HashMap<Part, Option<Kernels>>,
    /// Of the kernels of the last list.
    bytes: Vec<[f64; 2]>,
}

impl<'a> KernelLists<'a> {
    /// Without any blocks.
    ///
    /// # Errors
    /// `kernels-unknown` where the target says nothing about kernels.
    pub fn new(space: &'a Space, target: &'a Target, registry: &'a Registry) -> Result<Self, Diagnostic> {
        Ok(KernelLists {
            space,
            target,
            registry,
            detector: Detector::new(target)?,
            known: HashMap::new(),
            bytes: Vec::new(),
        })
    }

    /// Blocks and heads whose kernels were seen.
    pub fn parts(&self) -> usize {
        self.known.len()
    }

    /// Makes `list` that of the kernels of a subnet, in order.
    ///
    /// # Errors
    /// Those of [`Space::quantized`].
    pub fn list(&mut self, choice: &Choice, subnet: &Subnet, list: &mut Vec<Kernel>) -> Result<(), Vec<Diagnostic>> {
        list.clear();
        if subnet.blocks.iter().any(|block| self.is_padded(block.width)) {
            *list = self.whole(choice, subnet)?.0.kernels().to_vec();
            return Ok(());
        }
        self.bytes.clear();
        for part in parts(&self.space.page.hyperspace, choice, subnet) {
            let Some(Some(known)) = self.known.get(&part) else {
                *list = self.cut(choice, subnet)?;
                return Ok(());
            };
            list.extend_from_slice(&known.kernels);
            self.bytes.extend_from_slice(&known.bytes);
        }
        surround(list, &self.bytes);
        Ok(())
    }

    /// True where the target's kernels want other channel counts.
    fn is_padded(&self, width: u32) -> bool {
        let padded = |rule: &WidthRule| {
            let multiples = [rule.input, rule.output, rule.depthwise];
            let width = width as usize;
            width < rule.least_output || multiples.into_iter().any(|multiple| !width.is_multiple_of(multiple.max(1)))
        };
        self.target.width.as_ref().is_some_and(padded)
    }

    /// A whole network and its kernels.
    fn whole(&self, choice: &Choice, subnet: &Subnet) -> Result<(List, Graph), Vec<Diagnostic>> {
        let graph = self.space.quantized(choice, subnet, self.target, self.registry)?;
        let mut list = List::default();
        self.detector.list(&graph, &mut list);
        Ok((list, graph))
    }

    /// The kernels of a whole network, which are noted by part.
    fn cut(&mut self, choice: &Choice, subnet: &Subnet) -> Result<Vec<Kernel>, Vec<Diagnostic>> {
        let (list, graph) = self.whole(choice, subnet)?;
        let hyperspace = &self.space.page.hyperspace;
        let all: Vec<Part> = parts(hyperspace, choice, subnet).collect();
        let mut found: Vec<Vec<Kernel>> = vec![Vec::new(); all.len()];
        let (mut at, mut waiting) = (0, Vec::new());
        for (kernel, ops) in list.kernels().iter().zip(list.ops()) {
            waiting.push(Kernel { around: 0, weights: 0, since: 0, ..kernel.clone() });
            // A change of layout, which is no op, belongs to what reads it.
            if let Some(&op) = ops.last() {
                at = place(&graph, op, hyperspace, subnet).unwrap_or(at).max(at);
                found[at].append(&mut waiting);
            }
        }
        found[at].append(&mut waiting);
        for (part, kernels) in all.into_iter().zip(found) {
            let kernels = Kernels { bytes: moved(&kernels), kernels };
            match self.known.entry(part) {
                Entry::Vacant(free) => drop(free.insert(Some(kernels))),
                Entry::Occupied(mut known) if known.get().as_ref() != Some(&kernels) => drop(known.insert(None)),
                Entry::Occupied(_) => {}
            }
        }
        Ok(list.kernels().to_vec())
    }
}

/// The blocks of a subnet, and its head.
fn parts<'a>(hyperspace: &'a Hyperspace, choice: &'a Choice, subnet: &'a Subnet) -> impl Iterator<Item = Part> + 'a {
    let stem = hyperspace.stem.len();
    let (mut blocks, mut depths) = (subnet.blocks.iter(), subnet.depths.iter().enumerate());
    let (mut stage, mut left, mut input, mut is_first) = (0, 0, 0, true);
    let mut is_over = false;
    std::iter::from_fn(move || {
        while left == 0 {
            match depths.next() {
                Some((next, &depth)) => (stage, left, is_first) = (next, depth, true),
                None if is_over => return None,
                None => {
                    is_over = true;
                    let stage = subnet.depths.len();
                    return Some(Part { stage, kind: 0, is_first, resolution: subnet.resolution, input, block: None });
                }
            }
        }
        let block = *blocks.next()?;
        let kind = stage.checked_sub(stem).and_then(|stage| choice.blocks.get(stage)).copied().unwrap_or_default();
        let part = Part { stage, kind, is_first, resolution: subnet.resolution, input, block: Some(block) };
        (left, input, is_first) = (left - 1, block.width, false);
        Some(part)
    })
}

/// The number of the part that an op belongs to, if its result's name begins with that of a stage: `stage1.0.a.y`, or `stage1` of the
/// last block's result.
fn place(graph: &Graph, op: OpId, hyperspace: &Hyperspace, subnet: &Subnet) -> Option<usize> {
    let name = &graph.value(*graph.op(op).results().first()?).name();
    let behind = |stage: &str| name.strip_prefix(stage).filter(|rest| rest.is_empty() || rest.starts_with(['.', '_']));
    if hyperspace.head.iter().any(|stage| behind(&stage.name).is_some()) {
        return Some(subnet.blocks.len());
    }
    let mut first = 0;
    for (stage, &depth) in hyperspace.stem.iter().chain(&hyperspace.stages).zip(&subnet.depths) {
        if let Some(rest) = behind(&stage.name) {
            let number = rest.strip_prefix('.').and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
            let last = (depth as usize).saturating_sub(1);
            return Some(first + number.map_or(last, |number| number.min(last)));
        }
        first += depth as usize;
    }
    None
}

impl Space {
    /// The network of a subnet as a runtime gets it on a target: quantized, with weights and ranges that are made up, since no kernel
    /// depends on them.
    ///
    /// # Errors
    /// As [`Space::network`], and those of the passes.
    pub fn quantized(
        &self,
        choice: &Choice,
        subnet: &Subnet,
        target: &Target,
        registry: &Registry,
    ) -> Result<Graph, Vec<Diagnostic>> {
        let mut graph = self.bound(choice, Some(subnet))?;
        concrete(&mut graph, Weights::Drawn(0))?;
        without_norms(&mut graph);
        on_a_grid(&mut graph);
        let inputs = graph.region(graph.body()).inputs().iter().map(|&v| (v, -2.0));
        let least = |op: &OpId| if ["Relu", "Clip"].contains(&graph.op(*op).name().onnx_op()) { 0.0 } else { -2.0 };
        let results = graph.all_ops().into_iter().flat_map(|op| graph.op(op).results().iter().map(move |&v| (v, op)));
        let ranges: Vec<(ValueId, f32)> = inputs.chain(results.map(|(v, op)| (v, least(&op)))).collect();
        for (value, min) in ranges {
            if graph.value(value).ty().elem() == Some(Elem::F32) {
                graph.set_range(value, Some(Range { min, max: 6.0 }));
            }
        }
        rewrite(QUANTIZE, &mut graph, target, registry)?;
        Ok(graph)
    }
}

/// Makes weights 1 and -1, for which every scale is found at once: the search for the best ones would take most of the time.
fn on_a_grid(graph: &mut Graph) {
    let operands = |op| graph.op(op).operands().iter().copied().flatten().collect::<Vec<ValueId>>();
    let weights: BTreeSet<ValueId> = graph.all_ops().into_iter().flat_map(operands).collect();
    for value in weights {
        let tensor = graph.value(value).tensor().filter(|tensor| tensor.elem() == Elem::F32 && tensor.dims().len() > 1);
        let Some((dims, drawn)) = tensor.and_then(|tensor| Some((tensor.dims().to_vec(), tensor.to_f32()?))) else {
            continue;
        };
        graph.set_const(value, Tensor::new(dims, drawn.into_iter().map(f32::signum).collect::<Vec<f32>>()));
    }
}

#[cfg(test)]
mod tests {
    use spaceevo_search::sample;

    use super::*;
    use crate::{registry, spaces};

    #[test]
    fn lists_that_are_put_together_are_those_of_whole_networks() {
        let (target, registry) = (Target::named("x86-vnni").expect("shipped"), registry());
        for (name, seed) in [("onnxw", 1), ("onnxw", 2), ("onnxw", 3), ("mobilew", 3)] {
            let space = spaces::load(name).expect("a shipped space");
            let hyperspace = &space.page.hyperspace;
            let choice = sample::choice(hyperspace, &[seed]);
            let drawn = sample::subnet(hyperspace, &choice, &[seed]);
            let stages: Vec<_> = drawn.stages().map(<[BlockChoice]>::to_vec).collect();
            // Each stage the same block over and over: two of them, and then as many as there may be.
            let bounds = || hyperspace.stem.iter().chain(&hyperspace.stages).map(|stage| stage.depths.1);
            let of_depths = |depths: Vec<u32>| Subnet {
                blocks: stages.iter().zip(&depths).flat_map(|(all, &depth)| vec![all[0]; depth as usize]).collect(),
                depths,
                resolution: drawn.resolution,
            };
            let (few, many) = (of_depths(bounds().map(|most| most.min(2)).collect()), of_depths(bounds().collect()));
            assert!(many.blocks.len() > few.blocks.len() + 8);
            let mut lists = KernelLists::new(&space, &target, &registry).expect("kernels are known");
            let (mut list, mut whole) = (Vec::new(), Vec::new());
            lists.list(&choice, &few, &mut list).expect("a network");
            let known = lists.known.clone();
            assert_eq!(lists.parts() == 0, name == "mobilew", "its widths are padded");
            lists.list(&choice, &many, &mut list).expect("a network");
            assert!(lists.known == known, "nothing of it was cut");
            KernelLists { known: HashMap::new(), ..lists }.list(&choice, &many, &mut whole).expect("a network");
            let other = list.iter().zip(&whole).enumerate().find(|(_, (one, all))| one != all);
            let other = other.map(|(at, (one, all))| format!("{at}: {one} for {all}"));
            assert!(list == whole, "{name}, {} for {} kernels, {other:?}", list.len(), whole.len());
        }
    }

    #[test]
    fn a_block_that_varies_is_cut_each_time() {
        let (target, registry) = (Target::named("x86-vnni").expect("shipped"), registry());
        let space = spaces::load("cifar").expect("a shipped space");
        let hyperspace = &space.page.hyperspace;
        let choice = hyperspace.choice_at(0);
        let subnet = sample::least(hyperspace, &choice, hyperspace.resolutions[0]);
        let mut lists = KernelLists::new(&space, &target, &registry).expect("kernels are known");
        let (mut first, mut again) = (Vec::new(), Vec::new());
        lists.list(&choice, &subnet, &mut first).expect("a network");
        let part = parts(hyperspace, &choice, &subnet).next().expect("a block");
        lists.known.insert(part, Some(Kernels { kernels: Vec::new(), bytes: Vec::new() }));
        lists.cut(&choice, &subnet).expect("a network");
        assert_eq!(lists.known[&part], None);
        lists.list(&choice, &subnet, &mut again).expect("a network");
        assert_eq!(first, again);
    }
}
