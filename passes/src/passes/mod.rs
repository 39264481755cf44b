//! The passes, one file each; the file's stem is the command-line name. To add one: `mod` line, entry line, golden cases.

use std::sync::Arc;

use crate::pass::Pass;

mod annotate_latency;
mod apply_rules;
mod calibrate;
mod cancel_transposes;
mod canonicalize_arith;
mod clip_sums;
mod correct_bias;
mod drop_dead;
mod drop_identity;
mod drop_se;
mod equalize_layers;
mod flush_subnormals;
mod fold_clip;
mod fold_constants;
mod fold_conv_affine;
mod fold_conv_bn;
mod fold_hard_sigmoid;
mod fold_pad;
mod freeze_inputs;
mod fuse_gemm;
mod hoist_sigmoid;
mod infer_shapes;
mod legalize_width;
mod lift_channel_shuffle;
pub(crate) mod lift_gelu;
mod lift_global_pool;
mod lift_hard_sigmoid;
mod lift_hard_swish;
mod lift_layer_norm;
mod lift_qdq;
mod lift_qoperator;
mod lift_se;
mod lift_silu;
pub(crate) mod lower_avg_pool;
mod lower_batch_norm;
mod lower_gelu;
mod lower_hard_sigmoid;
mod lower_hard_swish;
mod lower_matmul;
mod lower_prelu;
mod lower_qdq;
mod lower_qoperator;
mod lower_resize;
mod lower_silu;
mod lower_softmax;
mod merge_clips;
mod merge_duplicates;
mod merge_groups;
mod merge_reshapes;
mod merge_siblings;
mod pad_stem;
mod pair_pixels;
mod quantize;
mod shrink_kernels;
mod sink_channel_shuffle;
mod sink_dequantize;
mod specialize;
mod split_anchors;
mod substitute_prelu;
mod substitute_silu;
mod tie_scales;
mod tile_gates;
mod unfold_space;
mod upgrade_opset;

/// Every pass that ships, alphabetical.
pub(crate) fn all() -> Vec<Arc<dyn Pass>> {
    vec![
        Arc::new(annotate_latency::AnnotateLatency),
        Arc::new(apply_rules::ApplyRules),
        Arc::new(calibrate::Calibrate),
        Arc::new(cancel_transposes::CancelTransposes),
        Arc::new(canonicalize_arith::CanonicalizeArith),
        Arc::new(clip_sums::ClipSums),
        Arc::new(correct_bias::CorrectBias),
        Arc::new(drop_dead::DropDead),
        Arc::new(drop_identity::DropIdentity),
        Arc::new(drop_se::DropSe),
        Arc::new(equalize_layers::EqualizeLayers),
        Arc::new(flush_subnormals::FlushSubnormals),
        Arc::new(fold_clip::FoldClip),
        Arc::new(fold_constants::FoldConstants),
        Arc::new(fold_conv_affine::FoldConvAffine),
        Arc::new(fold_conv_bn::FoldConvBn),
        Arc::new(fold_hard_sigmoid::FoldHardSigmoid),
        Arc::new(fold_pad::FoldPad),
        Arc::new(freeze_inputs::FreezeInputs),
        Arc::new(fuse_gemm::FuseGemm),
        Arc::new(hoist_sigmoid::HoistSigmoid),
        Arc::new(infer_shapes::InferShapes),
        Arc::new(legalize_width::LegalizeWidth),
        Arc::new(lift_channel_shuffle::LiftChannelShuffle),
        Arc::new(lift_gelu::LiftGelu),
        Arc::new(lift_global_pool::LiftGlobalPool),
        Arc::new(lift_hard_sigmoid::LiftHardSigmoid),
        Arc::new(lift_hard_swish::LiftHardSwish),
        Arc::new(lift_layer_norm::LiftLayerNorm),
        Arc::new(lift_qdq::LiftQdq),
        Arc::new(lift_qoperator::LiftQoperator),
        Arc::new(lift_se::LiftSe),
        Arc::new(lift_silu::LiftSilu),
        Arc::new(lower_avg_pool::LowerAvgPool),
        Arc::new(lower_batch_norm::LowerBatchNorm),
        Arc::new(lower_gelu::LowerGelu),
        Arc::new(lower_hard_sigmoid::LowerHardSigmoid),
        Arc::new(lower_hard_swish::LowerHardSwish),
        Arc::new(lower_matmul::LowerMatmul),
        Arc::new(lower_prelu::LowerPrelu),
        Arc::new(lower_qdq::LowerQdq),
        Arc::new(lower_qoperator::LowerQoperator),
        Arc::new(lower_resize::LowerResize),
        Arc::new(lower_silu::LowerSilu),
        Arc::new(lower_softmax::LowerSoftmax),
        Arc::new(merge_clips::MergeClips),
        Arc::new(merge_duplicates::MergeDuplicates),
        Arc::new(merge_groups::MergeGroups),
        Arc::new(merge_reshapes::MergeReshapes),
        Arc::new(merge_siblings::MergeSiblings),
        Arc::new(pad_stem::PadStem),
        Arc::new(pair_pixels::PairPixels),
        Arc::new(quantize::Quantize),
        Arc::new(shrink_kernels::ShrinkKernels),
        Arc::new(sink_channel_shuffle::SinkChannelShuffle),
        Arc::new(sink_dequantize::SinkDequantize),
        Arc::new(specialize::Specialize),
        Arc::new(split_anchors::SplitAnchors),
        Arc::new(substitute_prelu::SubstitutePrelu),
        Arc::new(substitute_silu::SubstituteSilu),
        Arc::new(tie_scales::TieScales),
        Arc::new(tile_gates::TileGates),
        Arc::new(unfold_space::UnfoldSpace),
        Arc::new(upgrade_opset::UpgradeOpset),
    ]
}

/// Named pipelines: the files of `passes/pipelines`.
pub(crate) const PIPELINES: &[(&str, &str)] = &[
    ("simplify", include_str!("../../pipelines/simplify.pipeline")),
    ("suit-kernels", include_str!("../../pipelines/suit-kernels.pipeline")),
];
