//! Regions: how many values they take and yield.

use crate::graph::{OpId, SPACE};
use crate::verify::Checker;

impl Checker<'_> {
    pub(super) fn regions(&mut self, id: OpId) {
        let graph = self.graph;
        let op = graph.op(id);
        let results = op.results().len();
        // Inputs and results that each region must have.
        let wanted = match &*op.name().op {
            "If" if op.name().is_onnx("If") => (0, results),
            // Number of the iteration and condition, then what is carried; out come condition, carried, collected.
            "Loop" if op.name().is_onnx("Loop") => (op.operands().len().max(2), results + 1),
            "Scan" if op.name().is_onnx("Scan") && self.scan_is_plain(id) => (op.operands().len(), results),
            "Choice" if op.name().is(SPACE, "Choice") => {
                if op.regions().is_empty() {
                    self.at(id, "region-arity", "has no option".into());
                }
                (0, results)
            }
            _ => return,
        };
        for (label, region) in op.regions() {
            let region = graph.region(*region);
            let found = (region.inputs().len(), region.results().len());
            if found != wanted {
                let say = |(inputs, results): (usize, usize)| format!("takes {inputs} and yields {results}");
                self.at(id, "region-arity", format!("{label} {}, but must be one that {}", say(found), say(wanted)));
            }
        }
    }

    /// Before operator set 9 a Scan had one operand more, for the lengths of sequences.
    fn scan_is_plain(&self, id: OpId) -> bool {
        let region = self.graph.op(id).region();
        self.graph.opset_in(region, crate::graph::ONNX).is_none_or(|opset| opset >= 9)
    }
}
