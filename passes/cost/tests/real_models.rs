//! Every real model loads and runs, and ONNX Runtime and tract agree on the numbers. Needs the folder that `SPACEEVO_DATA`
//! names; ONNX Runtime is compared where its library is found.

use std::path::{Path, PathBuf};

use spaceevo_cost::runtime::ort::OnnxRuntime;
use spaceevo_cost::runtime::tract::Tract;
use spaceevo_cost::{LoadOptions, ModelSource, Port, Runtime, Session};
use spaceevo_ir::tensor::Rand;
use spaceevo_ir::{Elem, Tensor};

/// Models that tract cannot run, with a word of the reason it gives.
const TRACT_CANNOT: &[(&str, &str)] = &[("mobilenetv2_imagenet_int8_qoperator", "QLinear")];

fn models() -> Option<Vec<PathBuf>> {
    let Some(data) = std::env::var_os("SPACEEVO_DATA") else {
        eprintln!("skipped: SPACEEVO_DATA is not set");
        return None;
    };
    let entries = std::fs::read_dir(Path::new(&data).join("models")).expect("models under SPACEEVO_DATA");
    let mut found: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    found.retain(|p| p.extension().is_some_and(|e| e == "onnx"));
    found.sort();
    Some(found)
}

/// Numbers between 0 and 1 for an input: batch 1, and 48 by 192 where nothing else is said.
fn sample(port: &Port) -> Tensor {
    let ty = port.tensor().expect("a tensor input");
    let open = [1, 3, 48, 192];
    let shape = ty.shape.as_ref().expect("a known rank");
    let dims: Vec<usize> = shape.iter().enumerate().map(|(i, d)| d.known().map_or(open[i % 4], |n| n as usize)).collect();
    Tensor::random(Elem::F32, dims, Rand { seed: 1, within: Some((0.0, 1.0)) }).unwrap()
}

fn run(session: &mut dyn Session) -> Result<Vec<Tensor>, spaceevo_ir::Diagnostic> {
    let inputs: Vec<Tensor> = session.inputs().iter().map(sample).collect();
    session.run(&inputs)
}

#[test]
fn every_model_runs_in_both_runtimes_with_the_same_numbers() {
    let Some(models) = models() else { return };
    let ort = OnnxRuntime::open(None);
    if let Err(missing) = &ort {
        assert!(std::env::var_os("SPACEEVO_REQUIRE_RUNTIME").is_none(), "{missing}");
        eprintln!("not compared with ONNX Runtime: {missing}");
    }
    assert!(!models.is_empty());
    for path in &models {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let options = LoadOptions::default();
        let tract = Tract.load(ModelSource::File(path), &options).and_then(|mut session| run(session.as_mut()));
        let expected = ort.as_ref().ok().map(|ort| {
            let mut session = ort.load(ModelSource::File(path), &options).unwrap();
            run(session.as_mut()).unwrap()
        });
        if let Some((_, reason)) = TRACT_CANNOT.iter().find(|(name, _)| *name == stem) {
            let error = tract.expect_err("tract can run it now: take it off the list").to_string();
            assert!(error.contains(reason), "{stem}: {error}");
            continue;
        }
        let tract = tract.unwrap_or_else(|e| panic!("{stem}: {e}"));
        let Some(expected) = expected else { continue };
        assert_eq!(tract.len(), expected.len(), "{stem}");
        for (index, (a, b)) in tract.iter().zip(&expected).enumerate() {
            assert_eq!((a.elem(), a.dims()), (b.elem(), b.dims()), "{stem} output {index}");
            let (a, b) = (a.to_f32().unwrap(), b.to_f32().unwrap());
            let largest = b.iter().fold(0f32, |m, v| m.max(v.abs()));
            let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            assert!(worst <= 1e-3 * largest.max(1e-3), "{stem} output {index}: {worst} of {largest}");
        }
    }
}
