//! The passes, one file each; the file's stem is the command-line name. To add one: `mod` line, entry line, golden cases.

use std::sync::Arc;

use crate::pass::Pass;

mod calibrate;
mod drop_dead;
mod fold_clip;
mod lower_qdq;
mod lower_qoperator;
mod quantize;
mod canonicalize_arith;
mod drop_dead;
mod drop_identity;
mod fold_constants;
mod fold_conv_affine;
mod fold_conv_bn;
mod fold_pad;
mod fuse_gemm;
mod infer_shapes;
mod lower_batch_norm;
mod merge_clips;
mod merge_duplicates;

/// Every pass that ships, alphabetical.
pub(crate) fn all() -> Vec<Arc<dyn Pass>> {
    vec![
        Arc::new(calibrate::Calibrate),
        Arc::new(drop_dead::DropDead),
        Arc::new(fold_clip::FoldClip),
        Arc::new(lower_qdq::LowerQdq),
        Arc::new(lower_qoperator::LowerQoperator),
        Arc::new(quantize::Quantize),
        Arc::new(canonicalize_arith::CanonicalizeArith),
        Arc::new(drop_dead::DropDead),
        Arc::new(drop_identity::DropIdentity),
        Arc::new(fold_constants::FoldConstants),
        Arc::new(fold_conv_affine::FoldConvAffine),
        Arc::new(fold_conv_bn::FoldConvBn),
        Arc::new(fold_pad::FoldPad),
        Arc::new(fuse_gemm::FuseGemm),
        Arc::new(infer_shapes::InferShapes),
        Arc::new(lower_batch_norm::LowerBatchNorm),
        Arc::new(merge_clips::MergeClips),
        Arc::new(merge_duplicates::MergeDuplicates),
    ]
}

/// Named pipelines: the files of `passes/pipelines`.
pub(crate) const PIPELINES: &[(&str, &str)] = &[];
