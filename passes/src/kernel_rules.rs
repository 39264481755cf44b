//! Which kernels a runtime makes of a graph: section `[kernels]` of a target file, as `spaceevo-opt learn-fusions` finds them.
//!
//! Operators are named as the runtime's profile names them, without a domain.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a runtime turns ops into kernels, and in which layouts these run.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct KernelRules {
    /// Ops on stored numbers (`onnx.Conv`), and the operators that run them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stored: BTreeMap<String, String>,
    /// Cost nothing: they hand on what they read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub free: Vec<String>,
    /// Run with channels last, and want to read so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels_last: Vec<String>,
    /// Run in the layout of what they read, where that is channels last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub follow_last: Vec<String>,
    /// Keep channels last where they read them so, even where what follows does not: what they make is small.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep_last: Vec<String>,
    /// Have another name with channels last.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub renamed: BTreeMap<String, String>,
    /// Operator that brings a tensor from the plain layout to channels last, or back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transpose: Option<String>,
    /// The layout of float kernels with channels in blocks, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Blocked>,
    /// Operators that kernels do as they store their result, by the operator before them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fused: BTreeMap<String, Vec<String>>,
    /// Other names of kernels in the plain layout that do more than their own operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub merged: BTreeMap<String, String>,
    /// Operators that the runtime has no kernel for by themselves, and those that it runs instead, on as many numbers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub written_as: BTreeMap<String, Vec<String>>,
    /// Operators of which all that read one value are one kernel, and its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub joined: BTreeMap<String, String>,
    /// What runs four Slices that take every second pixel each and the Concat of them: the first alone where they are in order, else both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folded: Option<[String; 2]>,
    /// An operator and the product of its result with what it reads, and the operator that runs both.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gated: BTreeMap<String, String>,
}

/// A layout whose channels come in blocks.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Blocked {
    /// Channels of a block.
    pub block: u32,
    /// Channel counts that are not a multiple of this stay in the plain layout.
    pub align: u32,
    /// Run in blocks. A convolution reads narrow operands (fewer channels than a block) in the plain layout.
    pub wanted: Vec<String>,
    /// Run in the layout of what they read, where that is blocks; a Resize only if it makes maps whole times as large.
    pub follow: Vec<String>,
    /// Run in blocks by the convolution that makes one of their operands, if nothing else reads that.
    #[serde(default)]
    pub joined: Vec<String>,
    /// Have another name in blocks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub renamed: BTreeMap<String, String>,
    /// Operators that bring a tensor into blocks and out of them.
    pub reorder: [String; 2],
}

impl KernelRules {
    /// True when `op` runs within the kernel of `maker`.
    pub fn fuses(&self, maker: &str, op: &str) -> bool {
        self.fused.get(maker).is_some_and(|ops| ops.iter().any(|o| o == op))
    }
}
