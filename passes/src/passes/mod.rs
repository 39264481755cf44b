//! The passes, one file each; the file's stem is the command-line name. To add one: `mod` line, entry line, golden cases.

use std::sync::Arc;

use crate::pass::Pass;

mod drop_dead;

/// Every pass that ships, alphabetical.
pub(crate) fn all() -> Vec<Arc<dyn Pass>> {
    vec![Arc::new(drop_dead::DropDead)]
}

/// Named pipelines: the files of `passes/pipelines`.
pub(crate) const PIPELINES: &[(&str, &str)] = &[];
