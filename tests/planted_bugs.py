#!/usr/bin/env python3
"""Plants bugs, one at a time, in what makes integer networks fast, and says which of them the tests of the passes catch.

    python tests/planted_bugs.py [WORD...]        only those whose description holds one of the words

Each bug is built in a copy of the last commit; about half a minute each. Exit code 1 when a bug survives, 2 when the list no
longer fits the code. Needs Python and git only; CARGO_TARGET_DIR is respected, else one of its own is kept.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

# What goes wrong, the file below passes/src, what it says, what the bug makes of it.
BUGS = [
    ("a stem is padded in front of its channels", "passes/pad_stem.rs", "pads.get_mut(rank + 1)", "pads.get_mut(1)"),
    ("the stem of a grouped convolution is padded", "passes/pad_stem.rs", 'record.int("group", 1) != 1', 'record.int("group", 1) < 1'),
    ("the second of two pixels lies right beside the first", "passes/pair_pixels.rs", "let step = self.strides[1] as usize;", "let step = 1;"),
    ("two pixels are padded as one", "passes/pair_pixels.rs", "pads[1], pads[2], right]", "pads[1], pads[2], pads[3]]"),
    ("a row of an odd count is made of pairs", "passes/pair_pixels.rs", "made[1] % 2 != 0", "made[1] % 3 == 4"),
    ("what is left over at the right is read", "passes/pair_pixels.rs", "if right < 0 {", "if right < -9 {"),
    ("merged groups put weights beside each other in another order", "passes/merge_groups.rs",
     "filter / (filters / self.count) % merged", "filter % merged"),
    ("merged groups are filled with 0 instead of the zero point", "passes/merge_groups.rs",
     "quant.at(if quant.axis.is_some() { filter } else { 0 }).1 as u8", "0u8"),
    ("merged groups forget to say how many are left", "passes/merge_groups.rs", "self.count / merged) as i64", "self.count) as i64"),
    ("parts that lie behind each other share the scale of the first", "quantize/join.rs",
     ".map(|index| part.at(index).0));", ".map(|index| part.at(index).0));\n        all.scale = vec![all.scale[0]; all.scale.len()];"),
    ("siblings that read in different ways are merged", "passes/merge_siblings.rs", "attrs(a) == attrs(b) && ", ""),
    ("a result of the model is split behind its conversion", "passes/merge_siblings.rs", "User::Return(..) => false", "User::Return(..) => true"),
    ("a merged depthwise convolution stays one of one group", "passes/merge_siblings.rs", "if step > 0 {", "if step > 1 {"),
    ("a channel's zero point is forgotten in its bias", "quantize/one_scale.rs", "sum.checked_add(*shift)", "sum.checked_add(0 * shift)"),
    ("a channel's scale is multiplied the wrong way", "quantize/one_scale.rs", "* f64::from(scale) / f64::from(own)) as f32", "* f64::from(own) / f64::from(scale)) as f32"),
    ("bytes of other types are split as they are", "passes/lower_qoperator.rs", "whole.at(c) == part.at(0)", "whole.at(0) == part.at(0)"),
    ("anchors are taken out of each other's channels", "passes/split_anchors.rs", "[anchor * self.each, (anchor + 1) * self.each]", "[anchor, anchor + self.each]"),
    ("pixels of anchors come in any order", "passes/split_anchors.rs", "record.ints(\"perm\") != Some(&order[..]) || ", ""),
    ("a slice of any channels is taken for the first ones", "passes/split_anchors.rs", "known(\"ends\", 2)? == [channels as i64] && ", ""),
    ("a sum is clipped above its lowest number", "passes/clip_sums.rs", '("low", -self.offset)', '("low", -0.5 * self.offset)'),
    ("clipped bytes mean what they meant before", "passes/clip_sums.rs", "(i64::from(zero) - self.steps) as i32", "zero"),
    ("a sum that another reader needs is clipped", "passes/clip_sums.rs", "takes_any_scale(graph, cx, value)", "Ok::<(), String>(())"),
    ("any sum is taken for another zero point", "quantize/rescale.rs", " && whole_steps(constant_number, scale) == Some(moved)", " && moved != 0"),
    ("a bound of bytes forgets the zero point", "passes/lower_qoperator.rs", "(steps + i64::from(zero)).clamp", "(steps + 0 * i64::from(zero)).clamp"),
    ("steps become twice as coarse for an offset", "quantize/scales.rs", "scale <= 1.25 * ", "scale <= 3.0 * "),
    ("hard swish gets the offset of another function", "passes/lower_hard_swish.rs", "1.0 / 6.0, 0.5)?", "1.0 / 6.0, 0.6)?"),
    ("a gate is stored on a symmetric target", "quantize/gate.rs", "if rule.symmetric || rule", "if rule"),
    ("hard sigmoid changes a type that its readers rely on", "passes/lower_hard_sigmoid.rs", "if !fits {\n                takes", "if false {\n                takes"),
    ("SiLU is written although its sigmoid is read elsewhere", "passes/lower_silu.rs", "use_count(gate) != 1", "use_count(gate) > 2"),
    ("a pooling divides by one side of its window", "passes/lower_avg_pool.rs", "1.0 / taps as f64", "1.0 / kernel[0] as f64"),
    ("a pooling counts padding that it must not count", "passes/lower_avg_pool.rs", 
     'unpadded || record.int("count_include_pad", 0) != 0', 'true'),
    ("a pooling that rounds up is taken for one that does not", "passes/lower_avg_pool.rs", 'record.int("ceil_mode", 0) != 0', 'record.int("ceil_mode", 0) > 1'),
    ("a clip goes although one of its bounds is inside the type", "passes/fold_clip.rs", "step * 0.5 && most", "step * 0.5 || most"),
    ("a clip goes although others read what it clips", "passes/fold_clip.rs", "graph.only_user(input) != Some(clip) || ", ""),
    ("surplus channels are cut off at the wrong end", "passes/legalize_width.rs", "[0, group.channels]", "[1, group.channels + 1]"),
    ("a result keeps its surplus channels", "passes/legalize_width.rs", "readers.into_iter().for_each(|user|", "readers.into_iter().skip(1).for_each(|user|"),
    ("what others read gets the type of a join", "passes/tie_scales.rs", "*op == reader)", "*op == reader || true)"),
    ("what moves numbers does not get the type of what it moves", "passes/tie_scales.rs", "way.push(moved);", "way[0] = moved;"),
    ("what is clipped gets the type of a join", "passes/tie_scales.rs", "target.ops.is_saturating(record.name())", "false"),
    ("what keeps its size is made again for a join", "passes/tie_scales.rs", " || !doubles(graph, value, operand)", ""),
    ("a product with weights is made again for a join", "passes/tie_scales.rs", " || has_weights(graph, maker)", ""),
    ("what others read as well gets the type of a join", "passes/tie_scales.rs", "first: others.then_some((reader, index))", "first: None"),
    ("a gate is repeated along the height", "passes/tile_gates.rs", "tile(graph, op, gate, wide)", "tile(graph, op, gate, high)"),
    ("a map in planes gets a row", "passes/tile_gates.rs", ".filter(|gate| is_channels_last(graph, op, 1 - gate))", ""),
    ("a number for all channels is taken for a gate", "passes/tile_gates.rs", " && channels(a) == channels(b)", ""),
    ("the summand of a hard sigmoid is forgotten", "passes/fold_hard_sigmoid.rs", 'record.float("beta", 0.5)', '0.0 * record.float("beta", 0.5)'),
    ("a hard sigmoid is clipped at 6", "passes/fold_hard_sigmoid.rs", '"high", 1.0', '"high", 6.0'),
    ("sigmoids are stored in halves of a step", "passes/hoist_sigmoid.rs", "max: 1.0", "max: 2.0"),
    ("a join that others read is looked up", "passes/hoist_sigmoid.rs", "graph.use_count(read) == 1 && ", ""),
    ("joined bytes have the zero point of the first ones", "quantize/join.rs",
     "if all.zero.iter().all(|&zero| zero == all.zero[0]) {", "if !all.zero.is_empty() {"),
    ("numbers are joined as bytes although they are read before", "passes/sink_dequantize.rs", "op == concat || ", "true || op == concat || "),
    ("joined bytes are converted in the wrong order", "passes/sink_dequantize.rs", "made.get(at + 1..)", "made.get(axis + 1..)"),
    ("bytes are joined to a type that is not theirs", "passes/lower_qoperator.rs", "types.is_some_and(|types| joins_bytes(graph, op, &types, made))", "types.is_some() && made.axis.is_some()"),
    ("bytes are joined to another type in pairs", "passes/lower_qdq.rs", "joins_bytes(graph, concat, &types, made).then_some(bytes)", "(types.len() > 1).then_some(bytes)"),
    ("joined bytes that are read otherwise are taken for the same", "quantize/join.rs", "(made == read).then_some", "(made.store == read.store).then_some"),
    ("a resize takes its factors for each other", "passes/lower_resize.rs", "[1, by_high as i64, 1, by_wide as i64, 1]", "[1, by_wide as i64, 1, by_high as i64, 1]"),
    ("a resize rounds thirds up", "passes/lower_resize.rs", "&& most <= 2", "&& most <= 3"),
    ("padded weights are filled with 0 instead of the zero point", "width/extend.rs", "Some(q) => q.zero.first().copied().unwrap_or(0)", "Some(_) => 0"),
    ("an operator that makes infinity of zero may be padded", "width/groups.rs", '    "Relu",\n', '    "Reciprocal",\n    "Relu",\n'),
    ("several filters for each channel are taken for one", "width/groups.rs", "&& group == read && group == made", "&& group == read"),
    ("operators of other domains are taken for ONNX's", "passes/lift_silu.rs", "graph.op(op).name().onnx_op()", "&*graph.op(op).name().op"),
    ("an infinite constant meets padding", "width/groups.rs", "_ if !finite(graph, value)", "_ if false && !finite(graph, value)"),
    ("a shuffle is read backwards", "shuffle/movers.rs", "to % groups * each + to / groups", "to % each * groups + to / each"),
    ("even and odd channels are exchanged", "shuffle/movers.rs", "2 * i + parity", "2 * i + 1 - parity"),
    ("a negative start counts from the front", "shuffle/movers.rs", "n.saturating_add(count).max(0) } else { n.min(count) };\n    let (start", "n.max(0) } else { n.min(count) };\n    let (start"),
    ("weights move, and their scales stay", "shuffle/place.rs", "quant.scale = order.iter().map(|&from| scale[from]).collect();", ""),
    ("bytes are kept although the zero point changes", "quantize/rescale.rs", "zero == to_zero && same_scale(scale * ", "same_scale(scale * "),
    ("bytes are padded with 0 instead of the zero point", "passes/lower_qoperator.rs", "exchange_operand(graph, op, 2, Some(zero));", "_ = zero;"),
    ("bytes are padded between two types", "passes/lower_qdq.rs", ".as_ref() == Ok(made)).then(", ".is_ok()).then("),
    ("QGemm gets its scale before its bias", "passes/lower_qoperator.rs", 'if name == "Gemm" {\n                    new.push(bias);', 'if false {\n                    new.push(bias);'),
    ("placement forgets what a conversion back costs", "quantize/cut/solve.rs", "network.pay(stored, twin, price);", "network.pay(stored, twin, price * 0.5);"),
    ("placement forgets the transposes around sums", "quantize/cut/solve.rs", "suited, op.plain)", "suited, 0.0)"),
    ("placement ignores the layout of convolutions", "quantize/cut/solve.rs", "if bridge.maker.blocked { bridge.layout }", "if false { bridge.layout }"),
    ("a rule puts a value in the place of one that is stored otherwise", "rule/build.rs",
     "made.quant() == wanted.quant()", "true"),
    ("a rule composes permutations backwards", "rule/expression.rs",
     "q.iter().map(pick)", "p.iter().map(|&i| q.get(i as usize).copied())"),
    ("a rule takes types for alike that are stored otherwise", "rule/guard.rs",
     "|pair| pair[0] == pair[1]", "|pair| pair[0].0 == pair[1].0"),
    ("a rule takes a falling function for a rising one", "rule/guard.rs",
     "|slope| slope >= 0.0", "|slope| slope >= -9.0"),
    ("a rule that rounds is applied to stored numbers", "rule/matching.rs",
     "rule.effect == Effect::Rounding && stored", "false && stored"),
    ("a rule forgets that a pool counts its padding", "rule/guard.rs",
     'attrs.get("count_include_pad").is_none_or(|a| *a == Attr::Int(0))', "true"),
    ("the border of a pooling counts taps behind the image", "passes/lower_avg_pool.rs", "window).min(size) -", "window) -"),
    ("the border of a pooling is turned", "passes/lower_avg_pool.rs", "vec![1, 1, self.extents[0], self.extents[1]]", "vec![1, 1, self.extents[1], self.extents[0]]"),
    ("the factors of a border do not fit their bytes", "passes/lower_avg_pool.rs", "any(|&n| n > 255)", "any(|&n| n > 510)"),
    ("a multiple of GELU keeps the scale of another", "passes/lower_gelu.rs", "scale / factor as f32", "scale * factor as f32"),
    ("a GELU whose half went elsewhere is taken for a whole one", "passes/lower_gelu.rs", "if near(factor, 1.0)", "if near(factor, 1.0) || factor > 1.0"),
    ("an approximation of GELU is taken for GELU", "passes/lower_gelu.rs", "let Some((x, also, false))", "let Some((x, also, _))"),
    ("PRelu with slopes above 1 is a maximum", "passes/lower_prelu.rs", '(0.0..=1.0)', '(0.0..=9.0)'),
    ("PRelu loses its negative side", "passes/lower_prelu.rs", '"below", NewOp::onnx("Min")', '"below", NewOp::onnx("Max")'),
    ("what PRelu makes on the way is stored", "passes/lower_prelu.rs", "quant: None, ..ty.clone()", "..ty.clone()"),
    ("Softmax of two is the sigmoid of the wrong difference", "passes/lower_softmax.rs", 'less("ahead", first, second)', 'less("ahead", second, first)'),
    ("rows of Softmax come back in another order", "passes/lower_softmax.rs", "Some(order.iter().position(|&a| a == axis)? as i64)", "Some(*order.get(axis)? as i64)"),
    ("Softmax keeps its axis between transposes", "passes/cancel_transposes.rs", "position(|&from| from == axis).unwrap_or(0)", "position(|&from| from == axis).map_or(0, |_| axis as usize)"),
    ("transposes of any order cancel each other", "passes/cancel_transposes.rs", "a.get(axis as usize) == Some(&(at as i64))", "a.get(axis as usize).is_some() && at < 9"),
    ("a constant map keeps its order between transposes", "passes/cancel_transposes.rs", "t.len() == 1)", "t.len() >= 1)"),
    ("what others read loses its order", "passes/cancel_transposes.rs", "_ => Err(format!(\"{} is read in this order, too\", graph.label(value))),", "_ => Ok(None),"),
    ("a matrix is taken for a convolution without being turned", "passes/lower_matmul.rs", "i * columns + o)", "o * rows + i)"),
    ("a product in any layout is taken for a convolution", "passes/lower_matmul.rs", "if !is_channels_last(graph, input)", "if false"),
    ("any sum behind a product is taken for its bias", "passes/lower_matmul.rs", "graph.const_of(bias)?.dims() == [columns] && ", ""),
    ("a shuffle is sunk for some of its readers", "shuffle/place.rs", "&group.edits {", "group.edits.iter().skip(1) {"),
    ("a part of a base is taken from its start", "shuffle/place.rs", "for number in [start, end, 1]", "for number in [0, end - start, 1]"),
    ("slices of one base are taken for one", "shuffle/place.rs", "made.parts.get(&(base, start, end))", "made.parts.values().next()"),
    ("a value that is stored in two ways gets the first type", "passes/lift_qdq.rs",
     "quantizer != op && conversion(graph, quantizer).as_ref() != Ok(&quant)", "false"),
    ("bytes with another scale are multiplied by the inverse", "passes/lift_qdq.rs",
     "f64::from(other.at(0).0) / f64::from(quant.at(0).0)", "f64::from(quant.at(0).0) / f64::from(other.at(0).0)"),
    ("bytes that are read otherwise are taken for the same", "passes/lift_qdq.rs", "same if same == quant", "same if same.zero == quant.zero"),
    ("weights of QGemm have a scale for each row", "passes/lift_qoperator.rs", 'record.int("transB", 0) == 0', 'record.int("transB", 0) != 0'),
    ("the bias of QGemm forgets the factor of its product", "passes/lift_qoperator.rs",
     'if float == "Gemm" { record.float("alpha", 1.0) } else { 1.0 }', "1.0"),
    ("a byte that pads is taken for its number", "passes/lift_qoperator.rs", "byte.checked_sub(zero)? as f32", "byte as f32"),
    ("a constant summand is not scaled with its channels", "passes/equalize_layers.rs", "(n * s) as f32", "(n * (s / s)) as f32"),
    ("a scaled layer keeps its bias", "linear.rs", "self.bias.iter_mut().zip(by)", "self.bias.iter_mut().take(0).zip(by)"),
    ("a mean of one number is dropped as if it were exact", "passes/drop_identity.rs", "&& before.quant().is_none()", "&& false"),
    ("a stride of two is taken for none", "rule/terms.rs", '"strides" | "dilations" => all(1)', '"strides" | "dilations" => all(1) || all(2)'),
    ("one side of a sum keeps its factors", "quantize/scalable.rs", "if same { Ok(both) }", "if same { Ok(both[..1].to_vec()) }"),
]  # fmt: skip
TESTS = ["--lib", "--test", "golden", "--test", "lower", "--test", "lift", "--test", "rules"]
root = pathlib.Path(__file__).resolve().parent.parent


def test(folder, environment):
    command = ["cargo", "test", "--quiet", "-p", "spaceevo-passes", *TESTS]
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    except subprocess.TimeoutExpired:
        return "it runs forever"
    if done.returncode == 0:
        return None
    text = done.stdout + done.stderr
    if "could not compile" in text:
        sys.exit(f"does not compile:\n{text[-2000:]}")
    failed = [line.split()[1] for line in text.splitlines() if line.startswith("test ") and line.endswith("FAILED")]
    failed += [line.split("'")[1] for line in text.splitlines() if line.startswith("thread '") and "panicked" in line]
    return ", ".join(dict.fromkeys(failed)) or "a test ends"


def main():
    words = sys.argv[1:]
    chosen = [bug for bug in BUGS if not words or any(word in bug[0] for word in words)]
    with tempfile.TemporaryDirectory() as scratch:
        copy = pathlib.Path(scratch, "copy")
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(copy)], cwd=root, check=True)
        environment = {"CARGO_TARGET_DIR": str(root / "target/planted"), **os.environ}
        environment.update(INSTA_UPDATE="no", CARGO_PROFILE_DEV_OPT_LEVEL="0")
        try:
            return plant(copy, environment, chosen)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(copy)], cwd=root, check=True)


def plant(copy, environment, bugs):
    for what, file, says, _ in bugs:
        if (copy / "passes/src" / file).read_text().count(says) != 1:
            print(f"{file} does not say once what '{what}' changes: {says!r}")
            return 2
    if failed := test(copy, environment):
        print(f"without any bug: {failed}")
        return 2
    survived = 0
    for what, file, says, bug in bugs:
        path = copy / "passes/src" / file
        text = path.read_text()
        path.write_text(text.replace(says, bug))
        caught = test(copy, environment)
        path.write_text(text)
        survived += caught is None
        print(f"{'caught  ' if caught else 'SURVIVED'} {what}" + (f": {caught}" if caught else ""), flush=True)
    print(f"{len(bugs) - survived} of {len(bugs)} bugs caught")
    return 1 if survived else 0


sys.exit(main())
