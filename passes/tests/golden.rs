//! Golden transforms: every case in `testdata/golden`, and that every pass has the cases it needs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use spaceevo_egraph::Saturate;
use spaceevo_passes::Registry;
use spaceevo_testkit::golden::Case;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/golden")
}

fn registry() -> Registry {
    let mut registry = Registry::standard();
    registry.add(Saturate);
    registry
}

/// `GOLDEN=fold-conv-bn cargo test -p spaceevo-passes --test golden` runs the cases whose path holds that word.
#[test]
fn cases_hold() {
    let registry = registry();
    let only = std::env::var("GOLDEN").unwrap_or_default();
    let mut failures = Vec::new();
    for case in Case::all(&folder()).unwrap() {
        let path = case.file.strip_prefix(folder()).unwrap().display().to_string();
        if !path.contains(&only) {
            continue;
        }
        let outcome = case.run(&registry).and_then(|ran| {
            // The checks come first: a snapshot of wrong numbers must not be accepted.
            case.check(&ran, &registry).map_err(|why| format!("{why}\n\n{}", case.snapshot(&ran)))?;
            Ok(case.snapshot(&ran))
        });
        let snapshot = match outcome {
            Ok(snapshot) => snapshot,
            Err(why) => {
                failures.push(format!("{path}: {why}"));
                continue;
            }
        };
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(case.file.parent().unwrap());
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        let name = case.file.file_stem().unwrap().to_str().unwrap().to_owned();
        let matches = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            settings.bind(|| insta::assert_snapshot!(name, snapshot));
        }));
        if matches.is_err() {
            failures.push(format!("{path}: the snapshot differs (see above)"));
        }
    }
    assert!(failures.is_empty(), "{} cases fail:\n\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn every_pass_has_a_case_that_rewrites_and_one_that_declines() {
    let registry = registry();
    let mut found: BTreeMap<&str, (bool, bool)> = registry.passes().map(|p| (p.info().name, (false, false))).collect();
    for case in Case::all(&folder()).unwrap() {
        let home = case.file.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        let Some(entry) = found.get_mut(home.as_str()) else { continue };
        let ran = case.run(&registry).unwrap_or_else(|why| panic!("{}: {why}", case.file.display()));
        let refused = !ran.report.ok() || !ran.report.log.diagnostics.is_empty();
        entry.0 |= ran.report.runs.iter().any(|run| run.pass == home && run.changed);
        entry.1 |= ran.report.log.declines.iter().any(|event| event.pass == home) || refused;
    }
    let missing: Vec<String> = found
        .into_iter()
        .filter(|(_, (rewrites, declines))| !(*rewrites && *declines))
        .map(|(name, (rewrites, declines))| format!("{name}: rewrites {rewrites}, leaves alone and says why {declines}"))
        .collect();
    assert!(missing.is_empty(), "testdata/golden lacks cases:\n{}", missing.join("\n"));
}

#[test]
fn every_folder_is_a_pass_or_a_pipeline() {
    let registry = registry();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            registry.pass(&name).is_some() || registry.pipeline(&name).is_some(),
            "testdata/golden/{name} names no pass"
        );
    }
}
