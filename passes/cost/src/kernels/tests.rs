use spaceevo_ir::text::{self, NoBlobs};
use spaceevo_passes::Target;

use super::detect;

/// Operator and layout of each kernel of a graph that reads `%x: ELEM[1,32,8,8]` and has the weights `%w` and `%v`.
fn kernels(elem: &str, weights: &str, lines: &str, result: &str) -> Vec<String> {
    let source = format!(
        "graph @main(%x: ELEM[1,32,8,8]) with {{opset = 17}} {{\n  %w = const rand(1) : WEIGHTS[32,32,1,1]\n  \
         %v = const rand(2) : WEIGHTS[32,32,3,3]\n{lines}  return {result}\n}}\n"
    );
    let source = source.replace("ELEM", elem).replace("WEIGHTS", weights).replace("DIMS", "[1,32,8,8]");
    let graph = text::parse(&source, "test", &NoBlobs).into_result().unwrap();
    let placed = detect(&graph, &Target::named("x86-vnni").unwrap()).unwrap();
    placed.iter().map(|p| format!("{} {}", p.kernel.op, p.kernel.layout.word())).collect()
}

fn float(lines: &str, result: &str) -> Vec<String> {
    kernels("f32", "f32", lines, result)
}

fn stored(lines: &str, result: &str) -> Vec<String> {
    kernels("qu8(0.1, 0)", "qi8(0.1, 0)", lines, result)
}

#[test]
fn float_convolutions_run_in_blocks_with_what_follows_them() {
    let found = float(
        "  %c = onnx.Conv %x, %w : f32DIMS\n  %r = onnx.Relu %c : f32DIMS\n  \
         %d = onnx.Conv %r, %v {pads = [1, 1, 1, 1]} : f32DIMS\n  %s = onnx.Add %d, %r : f32DIMS\n  %t = onnx.Relu %s : f32DIMS\n",
        "%t",
    );
    assert_eq!(found, ["ReorderInput blocked", "Conv blocked", "Conv blocked", "ReorderOutput plain"]);
}

#[test]
fn a_sum_that_somebody_else_reads_a_part_of_is_a_kernel() {
    let found = float(
        "  %c = onnx.Conv %x, %w : f32DIMS\n  %d = onnx.Conv %c, %v {pads = [1, 1, 1, 1]} : f32DIMS\n  \
         %s = onnx.Add %d, %c : f32DIMS\n  %t = onnx.Tanh %d : f32DIMS\n",
        "%s, %t",
    );
    let expected = [
        "ReorderInput blocked",
        "Conv blocked",
        "Conv blocked",
        "Add blocked",
        "Tanh blocked",
        "ReorderOutput plain",
        "ReorderOutput plain",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_resize_runs_in_blocks_where_it_makes_whole_times_as_many_pixels() {
    let found = |attrs: &str, size: usize| {
        float(
            &format!(
                "  %s = const [1.0, 1.0, {0}.0, {0}.0] : f32[4]\n  %c = onnx.Conv %x, %w : f32DIMS\n  \
                 %y = onnx.Resize %c, _, %s {{{attrs}}} : f32[1,32,{1},{1}]\n",
                size,
                8 * size
            ),
            "%y",
        )
    };
    let copies = r#"mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor""#;
    let blocked = ["ReorderInput blocked", "Conv blocked", "Upsample blocked", "ReorderOutput plain"];
    assert_eq!(found(copies, 2), blocked);
    assert_eq!(found(r#"mode = "linear", coordinate_transformation_mode = "align_corners""#, 2), blocked);
    let plain = ["ReorderInput blocked", "Conv blocked", "ReorderOutput plain", "Resize plain"];
    assert_eq!(found(r#"mode = "cubic""#, 2), plain);
    assert_eq!(found(r#"mode = "nearest""#, 2), plain);
}

#[test]
fn stored_numbers_have_channels_last_between_convolutions() {
    let found = stored(
        "  %c = onnx.Conv %x, %w : qu8(0.1, 0)DIMS\n  %d = onnx.Conv %c, %w : qu8(0.1, 0)DIMS\n  \
         %s = onnx.Add %d, %c : qu8(0.1, 0)DIMS\n",
        "%s",
    );
    assert_eq!(found, ["Transpose last", "QLinearConv last", "QLinearConv last", "QLinearAdd last", "Transpose plain"]);
}

#[test]
fn a_sum_with_something_in_the_plain_layout_is_made_there() {
    let found = stored("  %c = onnx.Conv %x, %w : qu8(0.1, 0)DIMS\n  %s = onnx.Add %c, %x : qu8(0.1, 0)DIMS\n", "%s");
    assert_eq!(found, ["Transpose last", "QLinearConv last", "Transpose plain", "QLinearAdd plain"]);
}

#[test]
fn a_transposition_of_the_model_undoes_a_change_of_layout() {
    let found = stored(
        "  %c = onnx.Conv %x, %w : qu8(0.1, 0)DIMS\n  %t = onnx.Transpose %c {perm = [0, 2, 3, 1]} : qu8(0.1, 0)[1,8,8,32]\n",
        "%t",
    );
    assert_eq!(found, ["Transpose last", "QLinearConv last"]);
}

#[test]
fn a_sigmoid_and_its_product_are_one_kernel() {
    let found = float("  %s = onnx.Sigmoid %x : f32DIMS\n  %m = onnx.Mul %x, %s : f32DIMS\n", "%m");
    assert_eq!(found, ["QuickGelu plain"]);
}

/// Four Slices that begin at these pixels, in rows and columns at once.
fn every_second(firsts: [[i64; 2]; 4]) -> String {
    let mut lines =
        "  %end = const [8, 8] : i64[2]\n  %axes = const [2, 3] : i64[2]\n  %two = const [2, 2] : i64[2]\n".to_owned();
    for (at, first) in firsts.iter().enumerate() {
        lines += &format!(
            "  %f{at} = const {first:?} : i64[2]\n  %p{at} = onnx.Slice %x, %f{at}, %end, %axes, %two : f32[1,32,4,4]\n"
        );
    }
    lines + "  %y = onnx.Concat %p0, %p1, %p2, %p3 {axis = 1} : f32[1,128,4,4]\n"
}

#[test]
fn pixels_that_become_channels_are_one_kernel_or_two() {
    let in_order = [[0, 0], [0, 1], [1, 0], [1, 1]];
    assert_eq!(float(&every_second(in_order), "%y"), ["SpaceToDepth plain"]);
    let by_columns = [[0, 0], [1, 0], [0, 1], [1, 1]];
    assert_eq!(float(&every_second(by_columns), "%y"), ["SpaceToDepth plain", "Gather plain"]);
    let twice = [[0, 0], [0, 1], [1, 0], [1, 0]];
    let as_written = ["Slice plain", "Slice plain", "Slice plain", "Slice plain", "Concat plain"];
    assert_eq!(float(&every_second(twice), "%y"), as_written);
    let crop = every_second(in_order).replace("const [8, 8]", "const [7, 7]");
    assert_eq!(float(&crop, "%y"), as_written);
    // Rows first, then the columns of each.
    let mut lines = "  %end = const [8] : i64[1]\n  %two = const [2] : i64[1]\n  %rows = const [2] : i64[1]\n".to_owned();
    lines += "  %columns = const [3] : i64[1]\n  %f0 = const [0] : i64[1]\n  %f1 = const [1] : i64[1]\n";
    for row in 0..2 {
        lines += &format!("  %r{row} = onnx.Slice %x, %f{row}, %end, %rows, %two : f32[1,32,4,8]\n");
        for column in 0..2 {
            lines += &format!("  %p{row}{column} = onnx.Slice %r{row}, %f{column}, %end, %columns, %two : f32[1,32,4,4]\n");
        }
    }
    lines += "  %y = onnx.Concat %p00, %p10, %p01, %p11 {axis = 1} : f32[1,128,4,4]\n";
    assert_eq!(float(&lines, "%y"), ["SpaceToDepth plain", "Gather plain"]);
    lines += "  %z = onnx.Relu %r1 : f32[1,32,4,8]\n";
    let found = float(&lines, "%y, %z");
    assert_eq!(found, ["SpaceToDepth plain", "Gather plain", "Slice plain", "Relu plain"]);
}

#[test]
fn without_rules_nothing_is_said() {
    let graph = text::parse("graph @main(%x: f32[1]) {\n  return %x\n}", "test", &NoBlobs).graph.unwrap();
    let error = detect(&graph, &Target::named("portable").unwrap()).unwrap_err();
    assert_eq!(error.code, "kernels-unknown");
}

#[test]
fn blocks_have_as_many_channels_as_the_target_says() {
    let source = "graph @main(%x: f32[1,32,8,8]) with {opset = 17} {\n  %w = const rand(1) : f32[20,32,1,1]\n  \
        %y = onnx.Conv %x, %w : f32[1,20,8,8]\n  return %y\n}\n";
    let graph = text::parse(source, "test", &NoBlobs).into_result().unwrap();
    for (name, channels) in [("x86-vnni", 32), ("x86-avx2", 24)] {
        let placed = detect(&graph, &Target::named(name).unwrap()).unwrap();
        let conv = placed.iter().find(|p| &*p.kernel.op == "Conv").unwrap();
        assert_eq!(conv.kernel.output[1], channels, "{name}");
    }
}

#[test]
fn room_that_is_used_again_holds_nothing_of_the_graph_before() {
    let target = Target::named("x86-vnni").unwrap();
    let detector = super::Detector::new(&target).unwrap();
    let parse = |source: &str| text::parse(source, "test", &NoBlobs).into_result().unwrap();
    let small = parse("graph @main(%x: f32[1,8]) with {opset = 17} {\n  %y = onnx.Einsum %x : f32[1,8]\n  return %y\n}\n");
    let large = parse(
        "graph @main(%x: qu8(0.1, 0)[1,32,8,8]) with {opset = 17} {\n  %w = const rand(1) : qi8(0.1, 0)[32,32,1,1]\n  \
         %y = onnx.Conv %x, %w : qu8(0.1, 0)[1,32,8,8]\n  %z = onnx.Relu %y : qu8(0.1, 0)[1,32,8,8]\n  return %z\n}\n",
    );
    let mut list = super::List::default();
    for graph in [&large, &small, &large, &small] {
        detector.list(graph, &mut list);
        let alone = detect(graph, &target).unwrap();
        let found: Vec<_> = list.kernels().iter().cloned().zip(list.ops().map(<[_]>::to_vec)).collect();
        assert_eq!(found, alone.into_iter().map(|p| (p.kernel, p.ops)).collect::<Vec<_>>());
    }
    assert_eq!(&*list.kernels()[0].op, "Einsum");
}

#[test]
fn a_sum_with_a_constant_leaves_the_blocks() {
    let found = float(
        "  %k = const 3.0 : f32[]\n  %c = onnx.Conv %x, %w : f32DIMS\n  %s = onnx.Add %c, %k : f32DIMS\n  \
         %d = onnx.Conv %s, %w : f32DIMS\n",
        "%d",
    );
    let expected = [
        "ReorderInput blocked",
        "Conv blocked",
        "ReorderOutput plain",
        "Add plain",
        "ReorderInput blocked",
        "Conv blocked",
        "ReorderOutput plain",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_product_of_rows_and_its_bias_are_one_kernel_whose_channels_are_columns() {
    let source = "graph @main(%x: f32[1,6,5,32], %z: f32[1,6,5,64]) with {opset = 17} {\n  %w = const rand(1) : f32[32,64]\n  \
                  %b = const rand(2) : f32[64]\n  %p = onnx.MatMul %x, %w : f32[1,6,5,64]\n  \
                  %s = onnx.Add %p, %b : f32[1,6,5,64]\n  %q = onnx.MatMul %x, %w : f32[1,6,5,64]\n  \
                  %t = onnx.Add %q, %z : f32[1,6,5,64]\n  return %s, %t\n}\n";
    let graph = text::parse(source, "test", &NoBlobs).into_result().unwrap();
    let placed = detect(&graph, &Target::named("x86-vnni").unwrap()).unwrap();
    let found: Vec<(&str, f64)> = placed.iter().map(|p| (&*p.kernel.op, p.kernel.macs())).collect();
    let macs = 30.0 * 32.0 * 64.0;
    assert_eq!(found, [("Gemm", macs), ("MatMul", macs), ("Add", 0.0)]);
}

#[test]
fn of_a_join_those_numbers_count_that_are_looked_up() {
    let join = |name: &str, operands: &str| {
        let source = format!(
            "graph @main(%x: qu8(0.1, 0)[1,32,8,8], %z: qu8(0.2, 0)[1,16,8,8], %a: u8[1,32,8,8], %b: u8[1,16,8,8]) \
             with {{opset = 17, \"com.microsoft\" = 1}} {{\n  %s = const 0.2 : f32[]\n  %t = const 0.2 : f32[]\n  \
             %o = const 0.1 : f32[]\n  %n = const 0 : u8[]\n  %y = {name} {operands} {{axis = 1}} : {}[1,48,8,8]\n  return %y\n}}\n",
            if name.starts_with("onnx") { "qu8(0.2, 0)" } else { "u8" }
        );
        let graph = text::parse(&source, "test", &NoBlobs).into_result().unwrap();
        detect(&graph, &Target::named("x86-vnni").unwrap()).unwrap().remove(0).kernel.others
    };
    let written = "com.microsoft.QLinearConcat";
    assert_eq!(join("onnx.Concat", "%x, %z"), 32 * 64);
    assert_eq!(join(written, "%s, %n, %a, %o, %n, %b, %t, %n"), 32 * 64);
    assert_eq!(join(written, "%s, %n, %a, %t, %n, %b, %s, %n"), 0);
    assert_eq!(join(written, "%o, %n, %a, %t, %n, %b, %s, %n"), 48 * 64);
}
