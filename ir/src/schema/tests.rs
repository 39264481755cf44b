use super::table::table;
use super::*;

fn op(name: &str, opset: u64) -> &'static OpSchema {
    lookup("", name, opset).unwrap_or_else(|| panic!("no {name} at opset {opset}"))
}

fn contrib(name: &str) -> &'static OpSchema {
    lookup("com.microsoft", name, 1).unwrap_or_else(|| panic!("no com.microsoft {name}"))
}

fn names(ports: &[Port]) -> Vec<&str> {
    ports.iter().map(|port| port.name).collect()
}

fn default(schema: &OpSchema, attr: &str) -> AttrDefault {
    schema.attr(attr).unwrap_or_else(|| panic!("no {attr}")).default.clone()
}

#[test]
fn every_line_of_the_table_is_understood() {
    let mut faults = table().faults.clone();
    faults.extend(table().all().filter_map(|schema| schema.as_ref().err().cloned()));
    assert_eq!(faults, []);
    assert_eq!(table().count, Some(operators().count()));
}

#[test]
fn the_table_is_sorted_and_each_port_has_types() {
    let keys: Vec<_> = operators().map(|op| (op.domain, op.name, op.since)).collect();
    assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
    for op in operators() {
        assert!(op.attrs.windows(2).all(|pair| pair[0].name < pair[1].name), "{op:?}");
        assert!(op.since <= latest_opset(op.domain), "{op:?}");
        for port in op.inputs.iter().chain(&op.outputs) {
            assert!(op.allowed(port).is_some_and(|types| *types != TypeSet::default()), "{op:?}");
        }
    }
}

#[test]
fn domains_have_their_newest_versions() {
    let domains: Vec<_> = known_domains().collect();
    assert_eq!(domains, ["", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training", "com.microsoft"]);
    assert_eq!(latest_opset(""), latest_opset("ai.onnx"));
    assert_eq!((latest_opset(""), latest_opset("ai.onnx.ml"), latest_opset("com.microsoft")), (28, 5, 1));
    assert_eq!(latest_opset("no.such.domain"), 0);
}

#[test]
fn lookup_takes_the_newest_version_that_is_not_too_new() {
    assert_eq!(since_versions("", "Conv"), [1, 11, 22]);
    assert_eq!([7, 10, 11, 21, 22, 99].map(|opset| op("Conv", opset).since), [1, 1, 11, 11, 22, 22]);
    assert!(lookup("", "Conv", 0).is_none());
    assert!(lookup("", "Gelu", 19).is_none() && lookup("", "Gelu", 20).is_some());
    assert!(lookup("", "NoSuchOp", 20).is_none() && since_versions("", "NoSuchOp").is_empty());
    assert!(std::ptr::eq(op("Conv", 11), lookup("ai.onnx", "Conv", 13).unwrap()));
    assert!(lookup("com.microsoft", "Conv", 13).is_none());
}

#[test]
fn conv_gains_bfloat16_at_22() {
    for opset in [7, 11, 22] {
        let conv = op("Conv", opset);
        assert_eq!((names(&conv.inputs), names(&conv.outputs)), (vec!["X", "W", "B"], vec!["Y"]));
        assert_eq!((conv.min_inputs(), conv.max_inputs()), (2, Some(3)));
        assert_eq!(default(conv, "group"), AttrDefault::Int(1));
        assert_eq!(default(conv, "auto_pad"), AttrDefault::Str("NOTSET"));
        assert_eq!(default(conv, "pads"), AttrDefault::Absent);
        assert_eq!(conv.attr("strides").unwrap().kind, AttrKind::Ints);
        let types = conv.allowed(conv.input(2).unwrap()).unwrap();
        assert!(types.allows("f32") && !types.allows("i8") && !types.allows("float") && types.is_tensor_only());
        assert_eq!(types.allows("bf16"), opset == 22);
    }
}

#[test]
fn clip_turns_attributes_into_inputs_at_11() {
    let old = op("Clip", 10);
    assert_eq!((old.since, old.max_inputs(), old.attrs.len()), (6, Some(1), 2));
    assert_eq!(default(old, "min"), AttrDefault::Float(f32::MIN));
    let new = op("Clip", 11);
    assert_eq!((names(&new.inputs), new.attrs.len()), (vec!["input", "min", "max"], 0));
    assert_eq!((new.min_inputs(), new.max_inputs()), (1, Some(3)));
    assert_eq!(since_versions("", "Clip"), [1, 6, 11, 12, 13]);
}

#[test]
fn dropout_takes_its_ratio_as_an_input_from_12() {
    assert_eq!(default(op("Dropout", 10), "ratio"), AttrDefault::Float(0.5));
    let new = op("Dropout", 12);
    assert_eq!(names(&new.inputs), ["data", "ratio", "training_mode"]);
    assert_eq!((new.min_outputs(), new.max_outputs()), (1, Some(2)));
    let mask = new.output(new.output_index("mask").unwrap()).unwrap();
    assert_eq!(new.allowed(mask).unwrap().to_string(), "bool");
    assert_eq!(default(new, "seed"), AttrDefault::Absent);
}

#[test]
fn batch_normalization_history() {
    assert_eq!(since_versions("", "BatchNormalization"), [1, 6, 7, 9, 14, 15]);
    let outputs = |opset| op("BatchNormalization", opset).max_outputs();
    assert_eq!([1, 9, 14, 15].map(outputs), [Some(5), Some(5), Some(3), Some(3)]);
    let attrs = |opset| op("BatchNormalization", opset).attrs.iter().map(|attr| attr.name).collect::<Vec<_>>();
    assert_eq!(attrs(1), ["consumed_inputs", "epsilon", "is_test", "momentum", "spatial"]);
    assert_eq!(attrs(9), ["epsilon", "momentum"]);
    assert_eq!(attrs(15), ["epsilon", "momentum", "training_mode"]);
    assert!(op("BatchNormalization", 1).attr("consumed_inputs").unwrap().required);
    assert_eq!(default(op("BatchNormalization", 15), "epsilon"), AttrDefault::Float(1e-5));
}

#[test]
fn qlinear_conv_has_one_type_variable_per_tensor() {
    let conv = op("QLinearConv", 13);
    assert_eq!((conv.min_inputs(), conv.max_inputs()), (8, Some(9)));
    let bias = conv.input(8).unwrap();
    assert_eq!((bias.name, bias.arity), ("B", Arity::Optional));
    assert_eq!(conv.allowed(bias).unwrap().to_string(), "i32");
    assert_eq!(conv.input(1).unwrap().types, conv.input(4).unwrap().types);
    assert_eq!(conv.type_variable("T1").unwrap().to_string(), "i8 u8");
    assert!(conv.input(9).is_none());
}

#[test]
fn contributed_operators() {
    let add = contrib("QLinearAdd");
    // The last required input is C_scale, behind two zero points that may be left empty.
    assert_eq!((add.min_inputs(), add.max_inputs()), (7, Some(8)));
    assert_eq!(add.input_index("C_scale"), Some(6));
    assert!(add.input(2).unwrap().is_optional() && add.input(7).unwrap().is_optional());
    assert_eq!(add.allowed(&add.inputs[0]).unwrap().to_string(), "i8 u8");
    let gemm = contrib("QGemm");
    assert_eq!((gemm.min_inputs(), gemm.max_inputs()), (6, Some(9)));
    assert_eq!(gemm.allowed(gemm.input(6).unwrap()).unwrap().to_string(), "i32");
    assert_eq!(gemm.type_variable("TY").unwrap().to_string(), "f32 i8 u8");
    assert_eq!(default(gemm, "transB"), AttrDefault::Unrecorded);
}

#[test]
fn variadic_ports_take_all_that_follow() {
    let concat = op("Concat", 13);
    assert_eq!((concat.min_inputs(), concat.max_inputs()), (1, None));
    assert_eq!(concat.input(41).unwrap().arity, Arity::Variadic { min: 1 });
    assert!(concat.attr("axis").unwrap().required && concat.input(41).unwrap().homogeneous);
    let cond = op("If", 16);
    assert!(!cond.output(3).unwrap().homogeneous);
    let types = cond.allowed(cond.output(0).unwrap()).unwrap();
    assert!(types.sequence.allows("f32") && types.optional_sequence.allows("i8") && !types.is_tensor_only());
}

#[test]
fn rare_defaults_and_types() {
    assert_eq!(default(op("MeanVarianceNormalization", 13), "axes"), AttrDefault::Ints(vec![0, 2, 3]));
    assert_eq!(default(op("RNN", 14), "activations"), AttrDefault::Strs(vec!["Tanh", "Tanh"]));
    let zip = lookup("ai.onnx.ml", "ZipMap", 3).unwrap();
    assert_eq!(zip.allowed(&zip.outputs[0]).unwrap().other, ["seq(map(i64,f32))", "seq(map(str,f32))"]);
    assert!(op("Upsample", 13).deprecated && !op("Upsample", 9).deprecated);
}

#[test]
fn element_sets_keep_the_order_of_their_names() {
    let all = op("Optional", 28).type_variable("V").unwrap().tensor;
    assert_eq!(all.iter().collect::<Vec<_>>(), ELEMENTS);
    assert_eq!((all.len(), all.is_empty()), (ELEMENTS.len(), false));
    assert!(ELEMENTS.iter().all(|name| all.allows(name)));
}
