//! Damaged and hostile files: a diagnostic each, never a panic, never memory beyond the limits.

use bytes::Bytes;
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto};
use protobuf::MessageField;
use spaceevo_ir::Elem;
use spaceevo_onnx::{ReadOptions, read_bytes, to_bytes};

use crate::forms::{import, model, node};
use crate::models::rich;

fn code(model: &ModelProto) -> &'static str {
    import(model).expect_err("it must be refused").code
}

fn with_tensor(tensor: TensorProto) -> ModelProto {
    let mut proto = model(vec![node("Relu", &["k"], &["y"])], &[], &["y"]);
    proto.graph.as_mut().expect("a graph").initializer = vec![TensorProto { name: "k".to_string(), ..tensor }];
    proto
}

fn floats(dims: &[i64]) -> TensorProto {
    TensorProto { data_type: Elem::F32.onnx_code(), dims: dims.to_vec(), ..TensorProto::default() }
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    assert_eq!(code(&with_tensor(floats(&[1_000_000_000, 1_000_000_000]))), "onnx-tensor");
    assert_eq!(code(&with_tensor(floats(&[i64::MAX, i64::MAX]))), "onnx-tensor");
    assert_eq!(code(&with_tensor(floats(&[-1]))), "onnx-tensor");
    assert_eq!(code(&with_tensor(TensorProto { raw_data: vec![0; 7], ..floats(&[2]) })), "onnx-tensor");
    assert_eq!(code(&with_tensor(TensorProto { float_data: vec![0.0; 3], ..floats(&[2]) })), "onnx-tensor");
    assert_eq!(code(&with_tensor(TensorProto { data_type: 99, ..floats(&[]) })), "onnx-tensor");
    let text = TensorProto { data_type: Elem::Str.onnx_code(), ..floats(&[1 << 40]) };
    assert_eq!(code(&with_tensor(text)), "onnx-tensor");
}

#[test]
fn sparse_tensors_are_bounded() {
    let sparse = |dims: &[i64], index: i64| {
        let mut proto = model(vec![node("Relu", &["k"], &["y"])], &[], &["y"]);
        let indices = TensorProto {
            data_type: Elem::I64.onnx_code(),
            dims: vec![1],
            int64_data: vec![index],
            ..TensorProto::default()
        };
        proto.graph.as_mut().expect("a graph").sparse_initializer = vec![SparseTensorProto {
            values: MessageField::some(TensorProto { name: "k".into(), float_data: vec![1.0], ..floats(&[1]) }),
            indices: MessageField::some(indices),
            dims: dims.to_vec(),
            ..SparseTensorProto::default()
        }];
        proto
    };
    assert!(import(&sparse(&[3], 2)).is_ok());
    assert_eq!(code(&sparse(&[3], 3)), "onnx-tensor");
    assert_eq!(code(&sparse(&[3], -1)), "onnx-tensor");
    assert_eq!(code(&sparse(&[1 << 20, 1 << 20], 0)), "onnx-tensor");
}

#[test]
fn broken_graphs_are_refused() {
    let relu = |from: &str, to: &str| node("Relu", &[from], &[to]);
    assert_eq!(code(&model(vec![relu("x", "y"), relu("x", "y")], &["x"], &["y"])), "onnx-duplicate-name");
    assert_eq!(code(&model(vec![relu("x", "x")], &["x"], &["x"])), "onnx-cycle");
    assert_eq!(code(&model(vec![relu("a", "b"), relu("b", "a")], &["x"], &["a"])), "onnx-cycle");
    assert_eq!(code(&model(vec![relu("z", "y")], &["x"], &["y"])), "onnx-undefined-name");
    assert_eq!(code(&model(vec![relu("x", "y")], &["x"], &["z"])), "onnx-undefined-name");
    assert_eq!(code(&model(vec![relu("x", "y")], &["x", "x"], &["y"])), "onnx-duplicate-name");
    assert_eq!(code(&ModelProto::default()), "onnx-malformed");
    let message = import(&model(vec![relu("z", "y")], &["x"], &["y"])).expect_err("undefined").to_string();
    assert!(message.contains("node 'node of y'") && message.contains("'z'"), "{message}");
    let circle = (0..200_000).map(|i| relu(&format!("v{i}"), &format!("v{}", (i + 1) % 200_000))).collect();
    assert_eq!(code(&model(circle, &[], &["v0"])), "onnx-cycle");
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| {
        let mut graph = model(vec![node("Neg", &["x"], &["r"])], &[], &["r"]).graph.take().expect("a graph");
        for _ in 0..depth {
            let body = AttributeProto {
                name: "body".to_string(),
                type_: AttributeType::GRAPH.into(),
                g: MessageField::some(graph),
                ..AttributeProto::default()
            };
            let holder = NodeProto { attribute: vec![body], ..node("Odd", &["x"], &["r"]) };
            graph = model(vec![holder], &[], &["r"]).graph.take().expect("a graph");
        }
        let mut proto = model(Vec::new(), &["x"], &[]);
        let outer = GraphProto { input: proto.graph.take().expect("a graph").input, ..graph };
        proto.graph = MessageField::some(outer);
        proto
    };
    let imported = import(&nested(30)).expect("30 levels are fine");
    let bytes = to_bytes(&imported.graph).expect("and can be written");
    assert!(read_bytes(Bytes::from(bytes), "nested.onnx", &ReadOptions::default()).is_ok());
    assert_eq!(code(&nested(33)), "onnx-malformed");
    assert_eq!(code(&nested(80)), "onnx-malformed");
}

#[test]
fn small_messages_are_bounded() {
    // Two bytes each: 30 MB of empty attributes in one node would fill gigabytes.
    let empty: Vec<u8> = [0x2a, 0x00].repeat(15_000_000);
    let field = |number: u8, content: Vec<u8>| {
        let mut bytes = vec![number << 3 | 2];
        let mut len = content.len();
        while len >= 128 {
            bytes.push(len as u8 | 128);
            len >>= 7;
        }
        bytes.push(len as u8);
        bytes.extend(content);
        bytes
    };
    let bytes = field(7, field(1, empty));
    let refused = read_bytes(Bytes::from(bytes), "bomb.onnx", &ReadOptions::default()).expect_err("it must be refused");
    assert_eq!(refused.code, "onnx-too-large");
}

#[test]
fn other_files_are_refused() {
    for bytes in [&b"\x89PNG\r\n\x1a\n"[..], b"PK\x03\x04", b"graph @main() {}", &[0xff; 64], b""] {
        let refused = read_bytes(Bytes::copy_from_slice(bytes), "other", &ReadOptions::default());
        assert_eq!(refused.expect_err("it is no model").code, "onnx-malformed");
    }
}

/// SplitMix64.
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Reads bytes; what is accepted must be written or refused, and when written be read again.
pub(crate) fn survive(bytes: &[u8]) -> bool {
    let Ok(imported) = read_bytes(Bytes::copy_from_slice(bytes), "fuzz.onnx", &ReadOptions::default()) else { return false };
    if let Ok(written) = to_bytes(&imported.graph) {
        let again = read_bytes(Bytes::from(written.clone()), "fuzz.onnx", &ReadOptions::default());
        let again = again.unwrap_or_else(|d| panic!("what we wrote is refused: {d}"));
        assert!(to_bytes(&again.graph).is_ok_and(|second| second == written), "the second writing differs");
    }
    true
}

/// Flips, cuts, doubles and overwrites bytes of a file, `count` times; returns how many were still accepted.
pub(crate) fn mutate(seed: &[u8], count: u64) -> usize {
    let mut accepted = 0;
    for round in 0..count {
        let state = &mut (round * 77 + seed.len() as u64);
        let mut bytes = seed.to_vec();
        for _ in 0..=next(state) % 4 {
            let at = (next(state) % bytes.len().max(1) as u64) as usize;
            match next(state) % 6 {
                0 => bytes.truncate(at),
                1 => {
                    let end = (at + (next(state) % 32) as usize).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                2 => drop(bytes.splice(at..(at + 1 + (next(state) % 8) as usize).min(bytes.len()), [])),
                3 => bytes.iter_mut().skip(at).take(1).for_each(|b| *b = next(state) as u8),
                _ => bytes.iter_mut().skip(at).take(1).for_each(|b| *b ^= 1 << (next(state) % 8)),
            }
        }
        accepted += usize::from(survive(&bytes));
    }
    accepted
}

#[test]
fn mutated_files_never_panic() {
    let bytes = to_bytes(&rich()).expect("it can be written");
    assert!(survive(&bytes));
    let accepted = mutate(&bytes, 4000);
    assert!((200..3800).contains(&accepted), "{accepted} of 4000 accepted: mutations should hit both ways");
}
