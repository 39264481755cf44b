//! What fuzzing once found, minimised (`testdata/fuzz/pipelines`): each input keeps the law of its fuzz target now.

#[path = "../../fuzz/laws/findings.rs"]
mod findings;
#[path = "../../fuzz/laws/pipelines.rs"]
mod law;

#[test]
fn findings_stay_fixed() {
    findings::hold("pipelines", law::check);
}
