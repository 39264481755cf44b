//! The interpreter against what ONNX Runtime answered for quantized operators, bit for bit.
//!
//! The cases are text that `testdata/ort/generate.py` wrote; its header explains the format. `SPACEEVO_ORT_CASES` names
//! another file of them, for a longer check.

use spaceevo_ir::interp::{self, Datum};
use spaceevo_ir::{Attr, Elem, Graph, NewOp, OpName, Place, Tensor, Type};

#[test]
fn quantized_operators_equal_onnx_runtime() {
    let fixed = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/ort/cases.txt");
    let path = std::env::var("SPACEEVO_ORT_CASES").unwrap_or_else(|_| fixed.to_owned());
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let cases: Vec<&str> = text.split("\n\n").filter(|case| !case.trim().is_empty()).collect();
    assert!(cases.len() > 30, "{path} holds {} cases", cases.len());
    let wrong: Vec<String> = cases.iter().filter_map(|case| check(case).err().map(|why| format!("{case}\n{why}"))).collect();
    assert!(wrong.is_empty(), "{} of {} cases differ:\n{}", wrong.len(), cases.len(), wrong.join("\n\n"));
}

/// Runs one case; the error says what came instead.
fn check(case: &str) -> Result<(), String> {
    let mut lines = case.trim().lines();
    let head: Vec<&str> = lines.next().unwrap().split(' ').collect();
    let ["case", op, "of", domain, version] = head[..] else { return Err(format!("unexpected {head:?}")) };
    let mut graph = Graph::new("case");
    graph.meta.opsets.insert(domain.into(), version.parse().unwrap());
    let body = graph.body();
    let mut new = NewOp::new(OpName::new(domain, op)).result("y", Type::Unknown);
    let (mut values, mut inputs, mut expected) = (Vec::new(), Vec::new(), None);
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["attr", name, kind, ref numbers @ ..] => {
                let attr = match kind {
                    "i" => Attr::Int(numbers[0].parse().unwrap()),
                    "f" => Attr::Float(numbers[0].parse().unwrap()),
                    "I" => Attr::Ints(numbers.iter().map(|n| n.parse().unwrap()).collect()),
                    _ => Attr::text(numbers[0]),
                };
                new = new.attr(name, attr);
            }
            ["none"] => values.push(None),
            ["in", ..] => {
                let tensor = tensor(&words[1..]);
                values.push(Some(graph.add_input(body, "", Type::from(tensor.ty()))));
                inputs.push(Datum::Tensor(tensor));
            }
            _ => expected = Some(tensor(&words[1..])),
        }
    }
    let id = graph.insert(Place::End(body), new.operands(values));
    let y = graph.op(id).result();
    let (_, made) = interp::run_all(&graph, &inputs, &[y]).map_err(|d| d.to_string())?;
    match (made[0].as_ref().and_then(Datum::tensor), expected) {
        (Some(found), Some(expected)) if *found == expected => Ok(()),
        (Some(found), _) => Err(format!("got {:?} {:?} {:?}", found.elem(), found.dims(), found.to_f64().unwrap())),
        (None, _) => Err("no result".into()),
    }
}

/// Element type, shape, numbers.
fn tensor(words: &[&str]) -> Tensor {
    let elem = Elem::from_short(words[0]).unwrap();
    let dims: Vec<usize> = words[1].split('x').filter(|d| *d != "-").map(|d| d.parse().unwrap()).collect();
    let numbers: Vec<f64> = words[2..].iter().map(|n| n.parse().unwrap()).collect();
    Tensor::from_f64(elem, dims, &numbers).unwrap()
}
