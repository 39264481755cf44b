//! The passes, one file each; the file's stem is the command-line name. To add one: `mod` line, entry line, golden cases.

use std::sync::Arc;

use crate::pass::Pass;

mod calibrate;
mod drop_dead;
mod fold_clip;
mod lower_qdq;
mod lower_qoperator;
mod quantize;

/// Every pass that ships, alphabetical.
pub(crate) fn all() -> Vec<Arc<dyn Pass>> {
    vec![
        Arc::new(calibrate::Calibrate),
        Arc::new(drop_dead::DropDead),
        Arc::new(fold_clip::FoldClip),
        Arc::new(lower_qdq::LowerQdq),
        Arc::new(lower_qoperator::LowerQoperator),
        Arc::new(quantize::Quantize),
    ]
}

/// Named pipelines: the files of `passes/pipelines`.
pub(crate) const PIPELINES: &[(&str, &str)] = &[];
