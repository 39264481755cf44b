//! Lets a stored convolution of few filters make two neighbouring pixels at once, so that its kernel's lanes are filled.
//!
//! ```text
//!                                                            %p = onnx.Conv %x, %w2 {strides = [2, 4]} : [1,32,112,56]
//! %y = onnx.Conv %x, %w {strides = [2, 2]} : [1,16,112,112]  %t = onnx.Transpose %p {perm = [0, 2, 3, 1]}
//!      of 3x3 taps                                    ──▶    %r = onnx.Reshape %t : [1,112,112,16]
//!                                                            %y = onnx.Transpose %r {perm = [0, 3, 1, 2]}
//! ```
//!
//! `%w2` has 3x5 taps: each filter twice, once at the left and once a stride further right, with zeros beside. With channels last, the
//! filters of two pixels lie behind each other as those of one, and the runtime cancels both Transposes against its own.

use std::sync::Arc;

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Attr, Graph, NewOp, OpId, Quant, Tensor, TensorType, ValueId};

use crate::analysis::map_extents;
use crate::pass::{Aborted, Effect, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;

/// See the module documentation.
pub(crate) struct PairPixels;

static INFO: PassInfo = PassInfo {
    name: "pair-pixels",
    summary: "let stems of few filters make two pixels at once",
    doc: "An ungrouped Conv of stored tensors that reads at most as many channels as the target pads a stem to (`width.input`), of at \
          most as many filters as its file says (`width.paired`) and several taps, makes the filters of two neighbouring pixels: with \
          zeros beside its taps, twice the filters, twice the stride along rows, and a Reshape with channels last. No bit changes: \
          what is added is multiplied with zeros. Run it behind pad-stem and legalize-width.\n\n\
          It declines for rows of an odd count of pixels or of unknown length, for padding that follows from the shape, for dilated \
          taps, for strides or pads larger than the window, for weights that are computed or whose stored zero is another number, and where the convolution leaves out more of \
          its operand at the right than it pads there. It does nothing for a target without that count.",
    effect: Effect::Exact,
    accepts: Form::Concrete,
    leaves: Form::Concrete,
    options: &[],
};

impl Pass for PairPixels {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        let mut changed = false;
        let Some((channels, most)) = cx.target.width.as_ref().and_then(|rule| Some((rule.input, rule.paired?))) else {
            return Ok(Outcome::Unchanged);
        };
        for op in graph.ops_in(graph.body()).collect::<Vec<_>>() {
            if !is_stem(graph, op, channels, most) {
                continue;
            }
            match Pair::of(graph, op) {
                Err(why) => cx.declined(graph, op, why),
                Ok(pair) => {
                    if !cx.rewrite(graph, op, "two pixels at once") {
                        break;
                    }
                    changed |= pair.write(graph, op);
                }
            }
        }
        Ok(Outcome::from(changed))
    }
}

/// True for a stored Conv of several taps that reads and makes few channels.
fn is_stem(graph: &Graph, op: OpId, channels: usize, most: usize) -> bool {
    let record = graph.op(op);
    let stored = |value: Option<ValueId>| value.is_some_and(|value| graph.value(value).ty().quant().is_some());
    let dims = record.operand(1).and_then(|weights| graph.value(weights).ty().dims());
    let fits = matches!(dims.as_deref(), Some(&[filters, read, high, wide]) if filters <= most && read <= channels && high * wide > 1);
    // What this pass has written is read as pixels of another width.
    let reader = |value: ValueId, name: &str| graph.only_user(value).filter(|&op| graph.op(op).name().is_onnx(name));
    let turned = record.results().first().and_then(|&made| reader(made, "Transpose"));
    let paired = turned.is_some_and(|turned| reader(graph.op(turned).result(), "Reshape").is_some());
    record.name().is_onnx("Conv")
        && record.int("group", 1) == 1
        && !paired
        && fits
        && [0, 1].iter().all(|&i| stored(record.operand(i)))
}

/// What the convolution of two pixels is made of.
struct Pair {
    /// Filters, channels, and taps along both axes.
    dims: [usize; 4],
    /// Height and width of the result.
    made: [usize; 2],
    strides: [i64; 2],
    /// Begins and ends of both axes.
    pads: [i64; 4],
}

impl Pair {
    fn of(graph: &Graph, op: OpId) -> Result<Pair, String> {
        let record = graph.op(op);
        let extents = |value: Option<ValueId>| value.and_then(|value| map_extents(graph, value));
        let [_, read @ ..] = extents(record.operand(0)).ok_or("the extents of its operand are not known")?;
        let [_, made @ ..] = extents(Some(record.result())).ok_or("the extents of its result are not known")?;
        if made[1] % 2 != 0 {
            return Err(format!("a row has {} pixels", made[1]));
        }
        let result = graph.value(record.result()).ty().quant();
        if result.is_none_or(|quant| quant.axis.is_some()) {
            return Err("its result is float, or has a scale for each channel".into());
        }
        if record.str("auto_pad", "NOTSET") != "NOTSET" {
            return Err("its padding follows from the shape".into());
        }
        let list = |name: &str, usual: [i64; 2]| match record.ints(name) {
            None => Some(usual),
            Some(&[high, wide]) => Some([high, wide]),
            Some(_) => None,
        };
        if list("dilations", [1, 1]) != Some([1, 1]) {
            return Err("its taps are dilated".into());
        }
        let strides = list("strides", [1, 1]).ok_or("it has an odd list of strides")?;
        let pads = match record.ints("pads") {
            None => [0; 4],
            Some(&[top, left, bottom, right]) => [top, left, bottom, right],
            Some(_) => return Err("it has an odd list of pads".into()),
        };
        let weights = record.operand(1).and_then(|w| Some((w, graph.const_of(w)?))).filter(|(_, t)| t.elem().bits() == 8);
        let (weights, tensor) = weights.ok_or("its weights are computed, or no bytes")?;
        let zeros = graph.value(weights).ty().quant().is_some_and(|quant| quant.zero.iter().all(|&zero| zero == 0));
        let bias = record.operand(2).is_none_or(|bias| graph.const_of(bias).is_some());
        let &[filters, channels, high, wide] = tensor.dims() else { return Err("its weights are of an odd shape".into()) };
        if !zeros || !bias {
            return Err("its bias is computed, or the zero of its weights is another number".into());
        }
        // Neighbours share taps, or touch; what a file says else is no stem's, and may be any number.
        let usual = strides.iter().zip([high, wide]).all(|(&step, taps)| 0 < step && step <= taps as i64);
        if !usual || pads.iter().any(|&pad| !(0..=wide.max(high) as i64).contains(&pad)) {
            return Err("its strides or pads are larger than its window".into());
        }
        // The last of the pairs ends where the last pixel did.
        let right = (made[1] as i64 - 1) * strides[1] + wide as i64 - read[1] as i64 - pads[1];
        if right < 0 {
            return Err("it leaves out what is right of its last pixel".into());
        }
        Ok(Pair { dims: [filters, channels, high, wide], made, strides, pads: [pads[0], pads[1], pads[2], right] })
    }

    fn write(self, graph: &mut Graph, op: OpId) -> bool {
        let ([filters, channels, high, wide], [rows, columns]) = (self.dims, self.made);
        let step = self.strides[1] as usize;
        let taps = wide + step;
        let record = graph.op(op);
        let (attrs, input, bias) = (record.attrs().clone(), record.operand(0), record.operand(2));
        let Some(weights) = record.operand(1) else { return false };
        let paired = |old: &[u8]| {
            let mut bytes = vec![0; 2 * filters * channels * high * taps];
            let lines = bytes.chunks_exact_mut(taps).enumerate();
            lines.for_each(|(line, to)| {
                let (second, from) = (line / (filters * channels * high), line % (filters * channels * high));
                to[second * step..second * step + wide].copy_from_slice(&old[from * wide..(from + 1) * wide]);
            });
            bytes
        };
        let weights = twice(graph, op, weights, vec![2 * filters, channels, high, taps], paired);
        let bias = bias.map(|bias| twice(graph, op, bias, vec![2 * filters], |old| [old, old].concat()));
        let mut conv = NewOp::onnx("Conv").attrs(attrs).operands([input, weights].into_iter().chain(bias));
        for (name, list) in [
            ("kernel_shape", vec![high as i64, taps as i64]),
            ("strides", vec![self.strides[0], 2 * self.strides[1]]),
            ("pads", self.pads.to_vec()),
        ] {
            conv = conv.attr(name, Attr::Ints(list));
        }
        let permuted =
            |read: ValueId, order: [i64; 4]| NewOp::onnx("Transpose").operand(read).attr("perm", Attr::Ints(order.to_vec()));
        let map = |graph: &mut Graph, word, extents: [usize; 3], new| {
            rewrite::insert_map(graph, op, INFO.name, word, &extents, new)
        };
        let pairs = map(graph, "pairs", [2 * filters, rows, columns / 2], conv);
        let last = map(graph, "last", [rows, columns / 2, 2 * filters], permuted(pairs, [0, 2, 3, 1]));
        let shape = [0, rows as i64, columns as i64, filters as i64];
        let reshape = rewrite::shaped(graph, op, "Reshape", last, &shape);
        let pixels = map(graph, "pixels", [rows, columns, filters], reshape);
        rewrite::replace(graph, op, INFO.name, &[], permuted(pixels, [0, 3, 1, 2]));
        true
    }
}

/// A constant for two pixels, with the scales of each filter twice.
fn twice(graph: &mut Graph, op: OpId, old: ValueId, dims: Vec<usize>, bytes: impl Fn(&[u8]) -> Vec<u8>) -> Option<ValueId> {
    let tensor = graph.const_of(old)?;
    let stored = Tensor::from_bytes(tensor.elem(), dims, bytes(&tensor.bytes()))?;
    let elem = graph.value(old).ty().elem().unwrap_or(stored.elem());
    let quant = graph.value(old).ty().quant().map(|quant| {
        let mut quant = Quant::clone(quant);
        if quant.axis == Some(0) {
            quant.scale.extend_from_within(..);
            if quant.zero.len() > 1 {
                quant.zero.extend_from_within(..);
            }
        }
        Arc::new(quant)
    });
    let ty = TensorType { quant, ..TensorType::of(elem, stored.dims()) };
    let (name, region) = (format!("{}.pairs", graph.value(old).name()), graph.op(op).region());
    Some(graph.add_typed_const(region, name, stored, ty))
}
