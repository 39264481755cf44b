//! Laws of the house that a machine can hold: dependency arrows, homes of heavy dependencies, names, documented codes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Our crates, and which of ours each may use in its library.
const ARROWS: &[(&str, &str, &[&str])] = &[
    ("spaceevo-ir", "ir", &[]),
    ("spaceevo-onnx", "ir/onnx", &["spaceevo-ir"]),
    ("spaceevo-passes", "passes", &["spaceevo-ir"]),
    ("spaceevo-cost", "passes/cost", &["spaceevo-ir", "spaceevo-onnx", "spaceevo-passes"]),
    ("spaceevo-egraph", "passes/egraph", &["spaceevo-ir", "spaceevo-passes"]),
    ("spaceevo-search", "passes/search", &["spaceevo-ir", "spaceevo-passes"]),
    ("spaceevo-testkit", "tests/kit", &["spaceevo-ir", "spaceevo-passes"]),
    (
        "spaceevo",
        ".",
        &[
            "spaceevo-ir",
            "spaceevo-onnx",
            "spaceevo-passes",
            "spaceevo-cost",
            "spaceevo-egraph",
            "spaceevo-search",
            "spaceevo-testkit",
        ],
    ),
];

/// Dependencies that only one crate may have.
const HOMES: &[(&str, &str)] = &[
    ("clap", "."),
    ("prost", "ir/onnx"),
    ("tract-onnx", "passes/cost"),
    ("ort", "passes/cost"),
    ("rusqlite", "passes/cost"),
    ("egg", "passes/egraph"),
];

fn dependencies(folder: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    manifest.get("dependencies").and_then(|d| d.as_table()).map(|d| d.keys().cloned().collect()).unwrap_or_default()
}

#[test]
fn arrows_point_down() {
    for (name, folder, allowed) in ARROWS {
        for dependency in dependencies(folder).iter().filter(|d| d.starts_with("spaceevo")) {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
        }
        for (heavy, home) in HOMES.iter().filter(|(_, home)| home != folder) {
            assert!(!dependencies(folder).contains(*heavy), "{heavy} lives in {home}, not in {name}");
        }
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !matches!(name.as_str(), "target" | ".git" | "pictures") {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn names_say_something_and_files_stay_short() {
    let mut found = Vec::new();
    sources(&root(), &mut found);
    assert!(found.len() > 100);
    for path in found {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(!["utils", "util", "helpers", "helper", "common", "misc"].contains(&stem.as_str()), "{}", path.display());
        let text = std::fs::read_to_string(&path).unwrap();
        let generated = text.lines().next().is_some_and(|l| l.contains("enerated"));
        let limit = if path.display().to_string().contains("/src/passes/") { 400 } else { 800 };
        assert!(generated || text.lines().count() <= limit, "{} has more than {limit} lines", path.display());
    }
}

#[test]
fn every_diagnostic_code_is_explained() {
    let mut found = Vec::new();
    sources(&root(), &mut found);
    let mut missing: BTreeMap<String, String> = BTreeMap::new();
    for path in
        found.iter().filter(|p| p.display().to_string().contains("/src/") && !p.display().to_string().contains("testdata"))
    {
        let text = std::fs::read_to_string(path).unwrap();
        for call in ["Diagnostic::error(", "Diagnostic::warning("] {
            for part in text.split(call).skip(1) {
                let Some(code) = part.trim_start().strip_prefix('"').and_then(|r| r.split('"').next()) else { continue };
                if spaceevo::ir::diagnostic::explain(code).is_none() {
                    missing.insert(code.to_owned(), path.display().to_string());
                }
            }
        }
    }
    assert!(missing.is_empty(), "codes without a sentence in ir/src/diagnostic.rs: {missing:#?}");
}
