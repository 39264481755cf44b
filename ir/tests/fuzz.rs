//! What fuzzing once found, minimised (`testdata/fuzz/text`): each input keeps the law of its fuzz target now.

#[path = "../../fuzz/laws/text.rs"]
mod law;

#[test]
fn findings_stay_fixed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/fuzz/text");
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("the folder of findings").flatten().map(|e| e.path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        // Shown when the law panics.
        println!("{}", file.display());
        law::check(&std::fs::read(&file).expect("a finding"));
    }
}
