//! Takes the rows of a detector's head out of a map as slices of channels, one for each anchor, instead of turning it twice.
//!
//! ```text
//! %r = onnx.Reshape %x : [1,3,85,1600]                    %l = onnx.Transpose %x {perm = [0, 2, 3, 1]} : [1,40,40,255]
//! %t = onnx.Transpose %r {perm = [0, 1, 3, 2]}     ──▶    %a, %b, %c = slices of 85 channels of %l, as [1,1600,85]
//! %y = onnx.Reshape %t : [1,4800,85]                      %y = onnx.Concat %a, %b, %c {axis = 1} : [1,4800,85]
//! ```
//!
//! Behind an integer convolution, which makes its channels last, the runtime cancels the Transpose against its own, and each row of a
//! slice is copied at once. What is joined along that axis anyway is joined once.

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Graph, NewOp, OpId, ValueId};

use crate::analysis::{extents, ints, map_extents, opset};
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::price::TRANSPOSE;
use crate::rewrite;
use crate::target::Target;

/// See the module documentation.
pub(crate) struct SplitAnchors;

static INFO: PassInfo = PassInfo {
    name: "split-anchors",
    summary: "take rows of anchors out of a stored map as slices of its channels",
    doc: "A stored map [N, A*C, H, W] whose channels are split into A anchors of C numbers, which a Transpose brings last, is read \
          with channels last, in A slices that are joined. A Concat along the same axis that alone reads the result takes the \
          slices as its operands. No bit changes.\n\n\
          It declines where extents are not known, where slices are predicted to take longer than two Transposes, and below \
          operator set 10. It does nothing for a target without a price of slices (`cut` of the section [width]) and of \
          transposes (`transpose` of the section [prices]).",
    effect: Effect::Exact,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for SplitAnchors {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        for op in graph.ops_in(graph.body()).collect::<Vec<_>>() {
            let Some(head) = graph.is_live(op).then(|| Head::of(graph, op)).flatten() else { continue };
            match head.is_faster(graph, cx.target) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(why) => {
                    cx.declined(graph, op, why);
                    continue;
                }
            }
            if !cx.rewrite(graph, op, format!("{} anchors as slices", head.anchors)) {
                break;
            }
            head.write(graph);
            changed = true;
        }
        Ok(Outcome::from(changed))
    }
}

/// Rows of anchors.
struct Head {
    /// The map, whose first `anchors * each` channels are read, and its extents behind the batch.
    map: ValueId,
    extents: [usize; 3],
    anchors: usize,
    each: usize,
    /// Height and width, or their product, as the rows have them.
    pixels: Vec<usize>,
    /// The Transpose, or a Reshape behind it that joins anchors and pixels.
    last: OpId,
    /// Anchors and pixels are one axis of the result.
    joined: bool,
}

impl Head {
    fn of(graph: &Graph, transpose: OpId) -> Option<Head> {
        let record = graph.op(transpose);
        let reshape = graph.def_named(record.operand(0)?, "Reshape").filter(|_| record.name().is_onnx("Transpose"))?;
        let split = graph.op(reshape).result();
        let map = graph.op(reshape).operand(0)?;
        let [anchors, each, pixels @ ..] = &extents(graph, split)?[..] else { return None };
        let rank = pixels.len() as i64 + 3;
        let order: Vec<i64> = [0, 1].into_iter().chain(3..rank).chain([2]).collect();
        let [channels, high, wide] = map_extents(graph, map)?;
        let same = *pixels == [high * wide] || *pixels == [high, wide];
        if record.ints("perm") != Some(&order[..]) || anchors * each != channels || !same || graph.use_count(split) != 1 {
            return None;
        }
        let rows = record.result();
        let quant = |value: ValueId| graph.value(value).ty().quant();
        let reader = graph.only_user(rows).filter(|&op| {
            let flat = [anchors * high * wide, *each];
            graph.op(op).name().is_onnx("Reshape") && extents(graph, graph.op(op).result()) == Some(flat.to_vec())
        });
        let last = reader.unwrap_or(transpose);
        let stored = [split, rows, graph.op(last).result()].iter().all(|&value| quant(value) == quant(map));
        let plain = quant(map).is_some_and(|quant| quant.axis.is_none());
        let map = whole(graph, map, channels);
        let [channels, ..] = map_extents(graph, map)?;
        (stored && plain && *anchors > 1).then(|| Head {
            map,
            extents: [channels, high, wide],
            anchors: *anchors,
            each: *each,
            pixels: pixels.to_vec(),
            last,
            joined: reader.is_some(),
        })
    }

    /// Whether the target's prices say so; `false` where it has none.
    fn is_faster(&self, graph: &Graph, target: &Target) -> Result<bool, String> {
        let cut = target.width.as_ref().and_then(|rule| rule.cut);
        let transpose =
            target.pricing().and_then(|prices| prices.conversion(graph, graph.op(self.last).result(), TRANSPOSE));
        let (Some(cut), Some(transpose)) = (cut, transpose) else { return Ok(false) };
        if opset(graph, self.last) < 10 {
            return Err("below operator set 10 a Slice has no operands: run upgrade-opset first".into());
        }
        let (slices, transposes) = (self.anchors as f64 * cut.time(graph, self.map), 2.0 * transpose);
        if slices > transposes {
            return Err(format!("slices are predicted to take {slices:.0} ns, two Transposes {transposes:.0}"));
        }
        Ok(true)
    }

    fn write(&self, graph: &mut Graph) {
        let op = self.last;
        let result = graph.op(op).result();
        let [channels, high, wide] = self.extents;
        let last = NewOp::onnx("Transpose").operand(self.map).attr("perm", Attr::Ints(vec![0, 2, 3, 1]));
        let last = rewrite::insert_map(graph, op, INFO.name, "last", &[high, wide, channels], last);
        let rows: Vec<usize> = match self.joined {
            true => vec![high * wide, self.each],
            false => [&[1][..], &self.pixels, &[self.each]].concat(),
        };
        let shape: Vec<i64> = [0].into_iter().chain(rows.iter().map(|&extent| extent as i64)).collect();
        let mut parts = Vec::with_capacity(self.anchors);
        for anchor in 0..self.anchors {
            let bounds = [anchor * self.each, (anchor + 1) * self.each];
            let slice = rewrite::slice(graph, op, last, 3, bounds);
            let word = format!("anchor{anchor}");
            let slice = rewrite::insert_map(graph, op, INFO.name, &word, &[high, wide, self.each], slice);
            let shaped = rewrite::shaped(graph, op, "Reshape", slice, &shape);
            parts.push(rewrite::insert_map(graph, op, INFO.name, &format!("rows{anchor}"), &rows, shaped));
        }
        let join = NewOp::onnx("Concat").operands(parts.iter().map(|&part| Some(part))).attr("axis", Attr::Int(1));
        let outer = graph.only_user(result).filter(|&outer| {
            let record = graph.op(outer);
            let rank = rows.len() as i64 + 1;
            record.name().is_onnx("Concat") && [1, 1 - rank].contains(&record.int("axis", 0))
        });
        let Some(outer) = outer else {
            rewrite::replace(graph, op, INFO.name, &[], join);
            return;
        };
        let operands = graph.op(outer).operands().to_vec();
        let spread = operands.into_iter().flat_map(|operand| match operand == Some(result) {
            true => parts.iter().map(|&part| Some(part)).collect(),
            false => vec![operand],
        });
        let join = NewOp::onnx("Concat").operands(spread.collect::<Vec<_>>()).attr("axis", Attr::Int(1));
        rewrite::replace(graph, outer, INFO.name, &[op], join);
    }
}

/// What a Slice of the first so many channels reads; else the value itself.
fn whole(graph: &Graph, value: ValueId, channels: usize) -> ValueId {
    let source = graph.def_named(value, "Slice").and_then(|slice| {
        let known = |name: &str, index: usize| ints(graph, slice, name, index).known();
        // So many channels that end there are the first ones.
        let first = known("ends", 2)? == [channels as i64] && known("axes", 3)? == [1];
        let source = graph.op(slice).operand(0)?;
        let alike = graph.value(source).ty().quant() == graph.value(value).ty().quant();
        (first && alike && graph.op(slice).operand(4).is_none()).then_some(source)
    });
    source.filter(|&source| map_extents(graph, source).is_some()).unwrap_or(value)
}
