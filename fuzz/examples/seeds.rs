//! Makes `corpus/` and the dictionaries from files of the repository: `cargo run --example seeds` in this folder.
//!
//! Texts come from `testdata`; ONNX files are written from those texts that ONNX can express, and copied from the ONNX backend
//! test data where `SPACEEVO_ONNX_TESTS` names its folder. Findings of the past (`testdata/fuzz`) are seeds, too.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};

use spaceevo_ir::text::{NoBlobs, parse};
use spaceevo_passes::Registry;

/// Larger files teach the fuzzer nothing and make it slow.
const LARGEST: u64 = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let data = home.join("../testdata");
    let mut words: BTreeSet<String> = Registry::standard().passes().map(|pass| pass.info().name.to_owned()).collect();
    for file in [files(&data.join("golden"))?, files(&data.join("text"))?].concat() {
        if file.extension().is_none_or(|e| e != "seir") {
            continue;
        }
        let text = std::fs::read_to_string(&file)?;
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        words.extend(text.split(|c| !is_part(c)).filter(|word| (3..40).contains(&word.len())).map(str::to_owned));
        let name = name(&file, &data);
        keep(home, "text", &name, text.as_bytes())?;
        let pipeline = text.lines().find_map(|line| line.strip_prefix("// pipeline: ")).unwrap_or("@simplify");
        let model: String = text.lines().filter(|l| !l.starts_with("//")).map(|l| format!("{l}\n")).collect();
        keep(home, "pipelines", &name, format!("{pipeline}\n{model}").as_bytes())?;
        keep(home, "pipelines", &format!("all-{name}"), format!("{}\n{model}", convert(pipeline)).as_bytes())?;
        let written = parse(&text, "seed.seir", &NoBlobs).graph.and_then(|graph| spaceevo_onnx::to_bytes(&graph).ok());
        if let Some(bytes) = written {
            keep(home, "onnx", &name, &bytes)?;
            keep(home, "pipelines", &format!("onnx-{name}"), &[pipeline.as_bytes(), b"\n", &bytes].concat())?;
        }
    }
    if let Some(root) = std::env::var_os("SPACEEVO_ONNX_TESTS") {
        for file in files(Path::new(&root))? {
            if file.file_name().is_some_and(|n| n == "model.onnx") && file.metadata()?.len() <= LARGEST {
                keep(home, "onnx", &name(&file, Path::new(&root)), &std::fs::read(&file)?)?;
            }
        }
    }
    for target in ["text", "onnx", "pipelines"] {
        for file in files(&data.join("fuzz").join(target))? {
            keep(home, target, &format!("finding-{}", name(&file, &data)), &std::fs::read(&file)?)?;
        }
    }
    let lines: String = words.iter().map(|word| format!("\"{word}\"\n")).collect();
    Ok(std::fs::write(home.join("words.dict"), lines)?)
}

/// What `convert` does, behind the pipeline of a case.
fn convert(first: &str) -> String {
    format!("{first},@simplify,calibrate,quantize,fold-clip,@suit-kernels,lower-qdq,drop-dead")
}

/// All files below a folder; none when it is not there.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    Ok(found)
}

/// A path below `root` as one word.
fn name(file: &Path, root: &Path) -> String {
    file.strip_prefix(root).unwrap_or(file).display().to_string().replace(['/', '\\'], "-")
}

fn keep(home: &Path, target: &str, name: &str, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let folder = home.join("corpus").join(target);
    std::fs::create_dir_all(&folder)?;
    Ok(std::fs::write(folder.join(name), bytes)?)
}
