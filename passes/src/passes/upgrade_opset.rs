//! Rewrites a model for a newer version of ONNX's operator set.
//!
//! ```text
//! graph @main(%x: f32[2,4]) with {opset = 9} {          graph @main(%x: f32[2,4]) with {opset = 17} {
//!   %y = onnx.Clip %x {min = 0.0, max = 6.0}     ──▶      %y = onnx.Clip %x, %min, %max
//! ```
//!
//! What changes at which version, and how, stands in [`crate::upgrade`].

use spaceevo_ir::schema::OLDEST_OPSET;
use spaceevo_ir::verify::Form;
use spaceevo_ir::{Diagnostic, Graph, ONNX, OpId, RegionId, schema};

use crate::pass::{Aborted, Effect, OptionInfo, OptionKind, Outcome, Pass, PassContext, PassInfo};
use crate::upgrade;

/// See the module documentation.
pub(crate) struct UpgradeOpset;

static INFO: PassInfo = PassInfo {
    name: "upgrade-opset",
    summary: "rewrite the model for a newer version of ONNX's operator set",
    doc: "Versions are climbed one by one. Where an operator changed, the op is rewritten: attributes that became operands \
          (Clip, Dropout, Squeeze, Unsqueeze, Split, Pad, Slice, TopK, Resize, the reductions), operators that were replaced \
          (Upsample, Scatter), and meanings that moved (Softmax below 13 works on a matrix, the first half of whose axes \
          are rows). Where only types were added, nothing is to do; where a default changed, the old one is written out. \
          Functions of the model are upgraded likewise. Other domains stay.\n\n\
          A graph that cannot be upgraded is left as it was, with a diagnostic for every op that stands in the way. Versions \
          below 7 are not read. A model of that version, or a newer one, is left alone.",
    effect: Effect::Exact,
    accepts: Form::Any,
    leaves: Form::Any,
    options: &[OptionInfo { name: "to", kind: OptionKind::Int, default: "17", help: "version to reach" }],
};

impl Pass for UpgradeOpset {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let to = cx.int("to").and_then(|n| u64::try_from(n).ok()).unwrap_or(17);
        if to > schema::latest_opset(ONNX) || to < OLDEST_OPSET {
            let text = format!("opset {to} is not between {OLDEST_OPSET} and {}", schema::latest_opset(ONNX));
            return Err(cx.error(Diagnostic::error("opset-upgrade", spaceevo_ir::Loc::Unknown, text)));
        }
        let mut upgraded = graph.clone();
        let mut rewritten = Vec::new();
        let mut problems = Vec::new();
        let mut moved = false;
        for root in graph.root_regions() {
            let Some(from) = graph.opset_in(root, ONNX) else { continue };
            if from >= to {
                if let Some(op) = graph.ops_in(root).next() {
                    cx.declined(graph, op, format!("the opset is {from} already"));
                }
                continue;
            }
            if from < OLDEST_OPSET {
                let text = format!("opset {from} is older than {OLDEST_OPSET}, where broadcasting changed");
                let loc = graph.ops_in(root).next().map_or(spaceevo_ir::Loc::Unknown, |op| graph.op(op).loc().clone());
                problems
                    .push(Diagnostic::error("opset-upgrade", loc, text).note("export the model again, with a newer opset"));
                continue;
            }
            moved = true;
            for version in from + 1..=to {
                climb(&mut upgraded, root, version, &mut rewritten, &mut problems);
            }
            set_opset(&mut upgraded, root, to);
        }
        let last = problems.pop();
        problems.into_iter().for_each(|problem| cx.warn(problem));
        if let Some(problem) = last {
            return Err(cx.error(problem));
        }
        // All or nothing: a graph between two versions is none.
        let first = graph.all_ops().into_iter().next();
        if !moved || first.is_some_and(|op| !cx.rewrite(graph, op, format!("model upgraded to opset {to}"))) {
            return Ok(Outcome::Unchanged);
        }
        cx.count("ops", rewritten.len() as u64);
        upgraded.meta.ir_version = raised_ir_version(upgraded.meta.ir_version, to);
        upgraded.touch();
        *graph = upgraded;
        Ok(Outcome::Changed)
    }
}

/// Brings every op of a root region that changed at `version` there.
fn climb(graph: &mut Graph, root: RegionId, version: u64, rewritten: &mut Vec<OpId>, problems: &mut Vec<Diagnostic>) {
    let ops: Vec<OpId> = graph.all_ops().into_iter().filter(|&op| graph.encloses(root, graph.op(op).region())).collect();
    for op in ops {
        let name = graph.op(op).name().clone();
        let called = graph.functions.iter().any(|f| f.name == name);
        if &*name.domain != ONNX || called || !schema::since_versions(ONNX, &name.op).contains(&version) {
            continue;
        }
        let loc = graph.op(op).loc().clone();
        match upgrade::upgrade(graph, op, version) {
            Ok(true) => rewritten.push(op),
            Ok(false) => {}
            Err(why) => {
                let text = format!("{name} cannot be brought to opset {version}: {why}");
                problems.push(Diagnostic::error("opset-upgrade", loc, text));
            }
        }
    }
}

fn set_opset(graph: &mut Graph, root: RegionId, to: u64) {
    match graph.functions.iter_mut().find(|f| f.region == root) {
        Some(function) => drop(function.opsets.insert(ONNX.into(), to)),
        None => drop(graph.meta.opsets.insert(ONNX.into(), to)),
    }
}

/// The IR version that came with an operator set (ONNX's `Versioning.md`), where the file's is older. A graph that does
/// not come from a file has none.
fn raised_ir_version(ir_version: i64, opset: u64) -> i64 {
    let needed = match opset {
        ..=8 => 3,
        9 => 4,
        10 => 5,
        11 => 6,
        12..=14 => 7,
        15..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        23 => 11,
        _ => 12,
    };
    if ir_version == 0 { 0 } else { ir_version.max(needed) }
}
