//! Every value is made before it is read, in the region of the reader or one around it.

use crate::graph::{Def, OpId, RegionId, ValueId};
use crate::verify::Checker;

impl Checker<'_> {
    pub(super) fn dominance(&mut self) {
        let graph = self.graph;
        let mut rank = vec![0usize; graph.op_bound()];
        let ops = graph.all_ops();
        ops.iter().enumerate().for_each(|(index, op)| rank[op.index()] = index);
        for &op in &ops {
            for &operand in graph.op(op).operands().iter().flatten() {
                if let Some((code, what)) = self.misread(operand, graph.op(op).region(), Some(op), &rank) {
                    self.at(op, code, format!("operand {} {what}", graph.label(operand)));
                }
            }
        }
        for region in graph.all_regions() {
            for &result in graph.region(region).results() {
                let Some((code, what)) = self.misread(result, region, None, &rank) else { continue };
                let message = format!("result {} {what}", graph.label(result));
                match graph.region(region).owner() {
                    Some(owner) => self.at(owner, code, message),
                    None => self.anywhere(code, message, None),
                }
            }
        }
    }

    /// Why `value` cannot be read in `region` by `op`, or by the region's end.
    fn misread(
        &self,
        value: ValueId,
        region: RegionId,
        op: Option<OpId>,
        rank: &[usize],
    ) -> Option<(&'static str, &'static str)> {
        let graph = self.graph;
        let home = graph.region_of(value)?;
        // Outwards to the home of the value; `reader` is the op there that reads it or holds the region that does.
        let (mut at, mut reader) = (region, op);
        while at != home {
            let Some(owner) = graph.region(at).owner() else {
                return Some(("not-visible", "belongs to a region that does not enclose the reader"));
            };
            (at, reader) = (graph.op(owner).region(), Some(owner));
        }
        match (graph.value(value).def(), reader) {
            (Def::Op(maker, _), Some(reader)) if rank[maker.index()] >= rank[reader.index()] => {
                Some(("use-before-def", "is made after it is read"))
            }
            _ => None,
        }
    }
}
