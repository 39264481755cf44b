//! Watchers that print the IR while a pipeline runs. Passes know nothing of them.

use std::path::PathBuf;
use std::time::Duration;

use spaceevo::file::write_whole;
use spaceevo::ir::text::{PrintOptions, print};
use spaceevo::ir::{Diagnostic, Graph};
use spaceevo::passes::{Outcome, PassInfo, Watch};

use super::say;

/// What is printed, and where.
#[derive(Default)]
pub(crate) struct Dump {
    /// Passes before which the IR is printed.
    pub before: Vec<String>,
    /// Passes after which the IR is printed.
    pub after: Vec<String>,
    /// After every pass.
    pub after_all: bool,
    /// After every pass that changed something.
    pub after_change: bool,
    /// One file for each, instead of standard error.
    pub folder: Option<PathBuf>,
    /// The first file that could not be written.
    pub failed: Option<Diagnostic>,
    /// Dumps so far.
    pub count: usize,
}

impl Dump {
    /// True when something may be printed.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.before.is_empty() || !self.after.is_empty() || self.after_all || self.after_change
    }

    fn show(&mut self, moment: &str, pass: &str, graph: &Graph) {
        let text = print(graph, &PrintOptions::default());
        self.count += 1;
        match &self.folder {
            None => say(&format!("// {moment} {pass}\n{text}")),
            Some(folder) => {
                let path = folder.join(format!("{:03}-{moment}-{pass}.seir", self.count));
                if let Err(diagnostic) = write_whole(&path, text.as_bytes(), true) {
                    self.failed.get_or_insert(diagnostic);
                }
            }
        }
    }
}

impl Watch for Dump {
    fn before(&mut self, pass: &PassInfo, graph: &Graph) {
        if self.before.iter().any(|name| name == pass.name) {
            self.show("before", pass.name, graph);
        }
    }

    fn after(&mut self, pass: &PassInfo, graph: &Graph, outcome: Outcome, _took: Duration) {
        let changed = self.after_change && outcome == Outcome::Changed;
        if self.after_all || changed || self.after.iter().any(|name| name == pass.name) {
            self.show("after", pass.name, graph);
        }
    }

    fn failed(&mut self, pass: &PassInfo, graph: &Graph) {
        if self.is_wanted() {
            self.show("failed", pass.name, graph);
        }
    }
}
