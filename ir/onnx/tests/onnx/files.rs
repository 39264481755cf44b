//! Files on disk: external data, links, replacing.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use onnx_protobuf::tensor_proto::DataLocation;
use onnx_protobuf::{Message, ModelProto, StringStringEntryProto, TensorProto};
use spaceevo_ir::{Elem, Graph, NewOp, ONNX, Place, Tensor, TensorType};
use spaceevo_onnx::{External, ReadOptions, WriteOptions, read, read_bytes, to_bytes, write};

use crate::forms::{model, node};

/// A fresh folder that goes away.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("spaceevo-onnx-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }

    fn list(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("the folder");
        let mut names: Vec<_> = entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn weights() -> Graph {
    let mut graph = Graph::new("main");
    graph.meta.opsets.insert(ONNX.into(), 13);
    let body = graph.body();
    let ty = TensorType::of(Elem::F32, &[3000]);
    let mut value = graph.add_input(body, "x", ty.clone());
    for layer in 0..3 {
        let numbers: Vec<f32> = (0..3000).map(|i| (i * layer) as f32).collect();
        let weight = graph.add_const(body, format!("w{layer}"), Tensor::new(vec![3000], numbers));
        let add = NewOp::onnx("Add").operand(value).operand(weight).result(format!("y{layer}"), ty.clone());
        let add = graph.insert(Place::End(body), add);
        value = graph.op(add).result();
    }
    let small = graph.add_const(body, "small", Tensor::scalar(1.0f32));
    graph.set_results(body, vec![value, small]);
    graph
}

#[test]
fn external_data_is_aligned_and_found_again() {
    let folder = Folder::new("external");
    let path = folder.0.join("m.onnx");
    let graph = weights();
    write(&graph, &path, &WriteOptions { external: External::Always }).expect("it can be written");
    assert_eq!(folder.list(), ["m.onnx", "m.onnx.data"]);
    let proto = ModelProto::parse_from_bytes(&fs::read(&path).expect("the file")).expect("the oracle reads it");
    let outside: Vec<&TensorProto> = proto.graph.initializer.iter().filter(|t| !t.external_data.is_empty()).collect();
    assert_eq!(outside.len(), 3, "the small one stays inside");
    for tensor in outside {
        let offset = tensor.external_data.iter().find(|e| e.key == "offset").map(|e| e.value.parse::<usize>());
        assert!(offset.is_some_and(|o| o.is_ok_and(|o| o % 4096 == 0)));
    }
    let back = read(&path, &ReadOptions::default()).expect("it can be read").graph;
    assert_eq!(
        to_bytes(&back),
        to_bytes(&graph).map(|mut bytes| {
            // The IR version is the only thing that a file has and the graph had not.
            let again = read_bytes(Bytes::from(std::mem::take(&mut bytes)), "m.onnx", &ReadOptions::default());
            to_bytes(&again.expect("it can be read").graph).expect("it can be written")
        })
    );
    // Over itself: the mapped weights must survive the writing.
    write(&back, &path, &WriteOptions { external: External::Always }).expect("it can be written over itself");
    let again = read(&path, &ReadOptions::default()).expect("it can be read").graph;
    assert_eq!(to_bytes(&back), to_bytes(&again));
    write(&again, &path, &WriteOptions::default()).expect("it can be written into one file");
    assert_eq!(fs::read(&path).expect("the file"), to_bytes(&back).expect("bytes"));
    assert_eq!(folder.list(), ["m.onnx", "m.onnx.data"], "no temporary file is left");
}

fn external(folder: &Path, entries: &[(&str, &str)]) -> Result<(), &'static str> {
    let mut proto = model(vec![node("Relu", &["k"], &["y"])], &[], &["y"]);
    let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
        key: key.to_string(),
        value: value.to_string(),
        ..StringStringEntryProto::default()
    };
    proto.graph.as_mut().expect("a graph").initializer = vec![TensorProto {
        name: "k".to_string(),
        data_type: 1,
        dims: vec![2],
        data_location: DataLocation::EXTERNAL.into(),
        external_data: entries.iter().map(entry).collect(),
        ..TensorProto::default()
    }];
    let path = folder.join("m.onnx");
    fs::write(&path, proto.write_to_bytes().expect("the oracle writes")).expect("a file");
    read(&path, &ReadOptions::default()).map(drop).map_err(|d| d.code)
}

#[test]
fn external_data_stays_in_the_folder() {
    let folder = Folder::new("escape");
    let inside = folder.0.join("model");
    fs::create_dir_all(inside.join("sub")).expect("a folder");
    fs::write(folder.0.join("secret"), [0; 64]).expect("a file");
    fs::write(inside.join("data"), [0; 16]).expect("a file");
    fs::write(inside.join("sub/data"), [0; 8]).expect("a file");
    let outside = folder.0.join("secret").display().to_string();
    assert_eq!(external(&inside, &[("location", "data")]), Ok(()));
    assert_eq!(external(&inside, &[("location", "./sub/data"), ("length", "8")]), Ok(()));
    assert_eq!(external(&inside, &[("location", "data"), ("offset", "8")]), Ok(()));
    for entries in [
        &[("location", "../secret")][..],
        &[("location", "sub/../../secret")],
        &[("location", &outside)],
        &[("location", "")],
        &[],
        &[("location", "missing")],
        &[("location", "data"), ("offset", "9")],
        &[("location", "data"), ("offset", "18446744073709551615")],
        &[("location", "data"), ("offset", "-1")],
        &[("location", "data"), ("length", "16")],
        &[("location", "a\\b")],
    ] {
        assert_eq!(external(&inside, entries), Err("onnx-external-data"), "{entries:?}");
    }
    assert_eq!(external(&inside, &[("location", "sub")]), Err("file-io"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../secret", inside.join("link")).expect("a link");
        assert_eq!(external(&inside, &[("location", "link")]), Err("onnx-external-data"));
        std::os::unix::fs::symlink("data", inside.join("fine")).expect("a link");
        assert_eq!(external(&inside, &[("location", "fine")]), Ok(()));
    }
}

#[test]
fn what_cannot_be_read_or_written_is_said() {
    let folder = Folder::new("io");
    let missing = read(&folder.0.join("missing.onnx"), &ReadOptions::default()).expect_err("no file");
    assert_eq!(missing.code, "file-io");
    assert_eq!(read(&folder.0, &ReadOptions::default()).expect_err("a folder").code, "file-io");
    fs::write(folder.0.join("empty.onnx"), []).expect("a file");
    assert_eq!(read(&folder.0.join("empty.onnx"), &ReadOptions::default()).expect_err("empty").code, "onnx-malformed");
    let nowhere = write(&weights(), &folder.0.join("no/such/m.onnx"), &WriteOptions::default());
    assert_eq!(nowhere.expect_err("no folder").code, "file-io");
    fs::create_dir(folder.0.join("taken")).expect("a folder");
    let onto_folder = write(&weights(), &folder.0.join("taken"), &WriteOptions::default());
    assert_eq!(onto_folder.expect_err("a folder").code, "file-io");
    assert_eq!(folder.list(), ["empty.onnx", "taken"], "no temporary file is left");
}
