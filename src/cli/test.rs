//! `test`: golden cases, for people without a Rust toolchain.

use std::path::{Path, PathBuf};

use clap::Args;
use spaceevo::file::write_whole;
use spaceevo::ir::{Diagnostic, Loc};
use spaceevo::line_diff::line_diff;
use spaceevo::passes::Registry;
use spaceevo_testkit::golden::Case;

use super::arguments::usage;
use super::run::{Panicked, guarded};
use super::{Failure, print};

/// Run golden cases: .seir files whose header names a pipeline, each with its expected result beside it (.snap).
#[derive(Args)]
#[command(after_help = "Examples:\n  spaceevo-opt test testdata/golden\n  spaceevo-opt test case.seir --accept")]
pub(crate) struct Arguments {
    /// Cases, or folders of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Write what came out as what is expected, for cases whose other checks hold
    #[arg(long)]
    accept: bool,
}

/// How a case ended.
enum Outcome {
    Passed,
    Accepted,
    Failed(String),
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let registry = spaceevo::registry();
    let mut cases = Vec::new();
    for path in &arguments.paths {
        let found = if path.is_dir() { Case::all(path) } else { Case::read(path).map(|case| vec![case]) };
        let rejected = |why| Failure::from(Diagnostic::error("test-case", Loc::Unknown, why));
        cases.extend(found.map_err(rejected)?);
    }
    if cases.is_empty() {
        return Err(Failure::Usage(
            usage("there are no cases there").note("a case is a .seir file with a '// pipeline: …' line"),
        ));
    }
    let (mut accepted, mut failed) = (0, Vec::new());
    for case in &cases {
        match run_case(case, &registry, arguments.accept) {
            Outcome::Passed => {}
            Outcome::Accepted => accepted += 1,
            Outcome::Failed(why) => {
                print(&format!("FAILED {}\n  {}", case.file.display(), why.trim_end().replace('\n', "\n  ")));
                failed.push(case.file.display().to_string());
            }
        }
    }
    let passed = cases.len() - accepted - failed.len();
    let accepting = if accepted > 0 { format!(", {accepted} accepted") } else { String::new() };
    print(&format!("{} cases: {passed} passed{accepting}, {} failed", cases.len(), failed.len()));
    if failed.is_empty() {
        return Ok(());
    }
    let message = format!("{} of {} golden cases fail", failed.len(), cases.len());
    Err(Diagnostic::error("test-case", Loc::Unknown, message)
        .note("--accept takes over new results whose numbers hold")
        .into())
}

fn run_case(case: &Case, registry: &Registry, accept: bool) -> Outcome {
    let outcome = guarded(|| {
        let ran = case.run(registry)?;
        // Checks come first: a snapshot of wrong numbers cannot be accepted.
        let checked = case.check(&ran, registry);
        let snapshot = case.snapshot(&ran);
        checked.map_err(|why| format!("{why}\n\n{snapshot}"))?;
        Ok::<String, String>(snapshot)
    });
    let found = match outcome {
        Ok(Ok(snapshot)) => snapshot,
        Ok(Err(why)) => return Outcome::Failed(why),
        Err(Panicked(what)) => return Outcome::Failed(format!("the pipeline panics: {what}")),
    };
    let path = case.file.with_extension("snap");
    let expected = match expected(&path) {
        Ok(expected) => expected,
        Err(why) if !accept => return Outcome::Failed(why),
        Err(_) => String::new(),
    };
    match line_diff(expected.trim_end(), found.trim_end()) {
        same if same.is_empty() => Outcome::Passed,
        _ if accept => {
            let text = format!("---\nsource: passes/tests/golden.rs\n---\n{}\n", found.trim_end());
            write_whole(&path, text.as_bytes(), true).map_or_else(|d| Outcome::Failed(d.to_string()), |()| Outcome::Accepted)
        }
        different => Outcome::Failed(format!("the result is another (- expected, + found):\n{different}")),
    }
}

/// What a snapshot file expects: all after its header.
fn expected(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let body = text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n"));
    body.map(|(_, body)| body.to_owned()).ok_or_else(|| format!("{}: this is no snapshot", path.display()))
}
