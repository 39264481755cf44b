//! What fuzzing once found, minimised: shared by the tests of the crates.

use std::path::Path;

/// Holds every input of `testdata/fuzz/KIND` against the law of its fuzz target.
pub(crate) fn hold(kind: &str, law: fn(&[u8])) {
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|a| a.join("testdata/fuzz").join(kind));
    let folder = above.find(|folder| folder.is_dir()).expect("the folder of findings");
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("a folder").flatten().map(|e| e.path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        // Shown when the law panics.
        println!("{}", file.display());
        law(&std::fs::read(&file).expect("a finding"));
    }
}
