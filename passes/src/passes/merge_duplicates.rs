//! Merges ops that compute the same from the same, and equal constants.
//!
//! ```text
//! %a = onnx.Relu %x                 %a = onnx.Relu %x
//! %b = onnx.Relu %x          ──▶    %y = onnx.Mul %a, %a
//! %y = onnx.Mul %a, %b
//! ```

use std::collections::HashMap;

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Elem, Graph, OpId, OpName, User, ValueId};
use xxhash_rust::xxh3::xxh3_64;

use crate::analysis::is_random;
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};

/// See the module documentation.
pub(crate) struct MergeDuplicates;

static INFO: PassInfo = PassInfo {
    name: "merge-duplicates",
    summary: "merge equal ops and equal constants",
    doc: "Two ops with the same operator, operands and attributes compute the same: the later one goes, and its readers read \
          the earlier one. The operands of Add, Mul and the other commutative operators may stand in any order. Constants \
          with the same bits and the same type become one.\n\n\
          It declines for random ops, for operators that nobody knows (they may be random), and where both results are \
          results of the model, or of a branch: each needs an op of its own to carry its name.",
    effect: Effect::Exact,
    accepts: Form::Any,
    leaves: Form::Any,
    options: &[],
};

const COMMUTATIVE: &[&str] = &["Add", "Mul", "And", "Or", "Xor", "Equal"];

impl Pass for MergeDuplicates {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = merge_constants(graph, cx);
        // In the order of `all_ops`, an op that comes earlier in a region around another one is made before it.
        let mut seen: HashMap<(OpName, Vec<Option<ValueId>>), Vec<OpId>> = HashMap::new();
        for op in graph.all_ops() {
            let record = graph.op(op);
            // An op without results is there for what else it does: each of them once.
            if !record.regions().is_empty() || record.results().is_empty() {
                continue;
            }
            let mut operands = record.operands().to_vec();
            if COMMUTATIVE.iter().any(|name| record.name().is_onnx(name)) {
                operands.sort_unstable();
            }
            let earlier = seen.entry((record.name().clone(), operands)).or_default();
            let twin = earlier.iter().copied().find(|&twin| are_twins(graph, twin, op));
            let Some(twin) = twin else {
                earlier.push(op);
                continue;
            };
            if let Some(why) = keeps(graph, twin, op) {
                cx.declined(graph, op, why);
                continue;
            }
            if !cx.rewrite(graph, op, format!("merged with {}", graph.label(graph.op(twin).result()))) {
                break;
            }
            let pairs: Vec<_> = graph.op(op).results().iter().copied().zip(graph.op(twin).results().to_vec()).collect();
            pairs.into_iter().for_each(|(old, new)| graph.replace_all_uses(old, new));
            graph.erase_op(op);
            cx.count("ops", 1);
            changed = true;
        }
        Ok(Outcome::from(changed))
    }
}

fn are_twins(graph: &Graph, earlier: OpId, later: OpId) -> bool {
    let (a, b) = (graph.op(earlier), graph.op(later));
    let results = || a.results().iter().zip(b.results());
    graph.encloses(a.region(), b.region())
        && a.results().len() == b.results().len()
        && same_attrs(a.attrs(), b.attrs())
        && a.meta().map(|m| &m.overload) == b.meta().map(|m| &m.overload)
        // Quantization is part of what is computed; a shape that one of them knows better is not.
        && results().all(|(&x, &y)| graph.value(x).ty().quant() == graph.value(y).ty().quant())
}

/// Equal bit for bit: `==` takes 0 and -0 for the same.
fn same_attrs(a: &spaceevo_ir::Attrs, b: &spaceevo_ir::Attrs) -> bool {
    let bits = |list: &[f32]| list.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let same = |x: &Attr, y: &Attr| match (x, y) {
        (Attr::Float(x), Attr::Float(y)) => x.to_bits() == y.to_bits(),
        (Attr::Floats(x), Attr::Floats(y)) => bits(x) == bits(y),
        _ => x == y,
    };
    a.len() == b.len() && a.iter().zip(b).all(|((m, x), (n, y))| m == n && same(x, y))
}

/// Why two equal ops cannot become one.
fn keeps(graph: &Graph, twin: OpId, op: OpId) -> Option<String> {
    let (a, b) = (graph.op(twin), graph.op(op));
    let label = graph.label(a.result());
    if is_random(graph, op) {
        return Some(format!("{} may give other numbers than {label} does", b.name()));
    }
    let returned = |v: &ValueId| graph.is_returned(*v);
    if b.results().iter().any(returned) && (a.region() != b.region() || a.results().iter().any(returned)) {
        return Some(format!("it is a result, and so is {label}: each needs an op of its own"));
    }
    None
}

fn merge_constants(graph: &mut Graph, cx: &mut PassContext<'_>) -> bool {
    let mut changed = false;
    let mut seen: HashMap<(Elem, Vec<usize>, u64), Vec<ValueId>> = HashMap::new();
    for region in graph.all_regions() {
        for value in graph.region(region).consts().to_vec() {
            let Some(tensor) = graph.const_of(value) else { continue };
            let key = (tensor.elem(), tensor.dims().to_vec(), xxh3_64(&tensor.bytes()));
            let earlier = seen.entry(key).or_default();
            let reader = graph
                .value(value)
                .users()
                .iter()
                .filter_map(|u| if let User::Op(op, _) = u { Some(*op) } else { None })
                .min();
            let twin = earlier.iter().copied().find(|&twin| {
                let (a, b) = (graph.value(twin), graph.value(value));
                let visible = graph.region_of(twin).is_some_and(|outer| graph.encloses(outer, region));
                visible && a.ty() == b.ty() && a.tensor() == b.tensor() && a.meta() == b.meta() && a.range() == b.range()
            });
            let (Some(twin), Some(reader)) = (twin, reader) else {
                earlier.push(value);
                continue;
            };
            if graph.is_returned(value) {
                continue;
            }
            if !cx.rewrite(graph, reader, format!("reads {} instead of its copy {}", graph.label(twin), graph.label(value)))
            {
                return changed;
            }
            graph.replace_all_uses(value, twin);
            graph.erase_value(value);
            cx.count("constants", 1);
            changed = true;
        }
    }
    changed
}
