//! The published VNNI hyperspace, until it can be read from a space file.

use crate::hyperspace::{Block, Expand, Hyperspace, Stage};

/// `onnxw`.
pub fn onnxw() -> Hyperspace {
    let steps = |low: u32, high: u32| (low..=high).step_by(16).collect::<Vec<u32>>();
    let block = |name: &str, kernels: &[u32], thousandths: &[u32], decimals| Block {
        name: name.into(),
        kernels: kernels.into(),
        expands: thousandths.iter().map(|&t| Expand::new(t, decimals)).collect(),
    };
    let blocks = vec![
        block("V1Dual", &[3, 5], &[], false),
        block("V2Res", &[3, 5], &[4000, 6000, 8000], false),
        block("V3Res", &[3, 5], &[4000, 6000, 8000], false),
        block("ResNet", &[3, 5, 7], &[500, 1000, 1500], true),
        block("ResNetSE", &[3, 5, 7], &[500, 1000, 1500], true),
        block("FusedRes", &[3, 5, 7], &[1000, 2000, 3000, 4000], false),
    ];
    let stage = |name: &str, widths: Vec<u32>, window, depths, stride, blocks: &[Block]| Stage {
        name: name.into(),
        widths,
        window,
        depths,
        stride,
        blocks: blocks.into(),
    };
    let fixed = |name: &str, widths: Vec<u32>, depths, stride, only: Block| {
        let window = widths.len();
        stage(name, widths, window, depths, stride, &[only])
    };
    Hyperspace {
        name: "onnxw".into(),
        resolutions: vec![160, 176, 192, 208, 224],
        stem: vec![
            fixed("first_conv", steps(16, 32), (1, 1), 2, block("Conv", &[3], &[], false)),
            fixed("stage0", steps(16, 32), (1, 2), 1, block("ResNet", &[3], &[500], true)),
        ],
        stages: vec![
            stage("stage1", steps(32, 64), 2, (2, 4), 2, &blocks),
            stage("stage2", steps(32, 96), 2, (2, 4), 2, &blocks),
            stage("stage3", steps(64, 144), 3, (2, 6), 2, &blocks),
            stage("stage4", steps(112, 192), 3, (2, 6), 1, &blocks),
            stage("stage5", steps(192, 304), 5, (2, 6), 2, &blocks),
            stage("stage6", steps(304, 448), 7, (1, 2), 1, &blocks),
        ],
        head: vec![
            fixed("final_expand", vec![1280], (1, 1), 1, block("Conv", &[1], &[], false)),
            fixed("feature_mix", vec![1920], (1, 1), 1, block("PoolConv", &[1], &[], false)),
            fixed("logits", vec![1000], (1, 1), 1, block("Linear", &[0], &[], false)),
        ],
    }
}
