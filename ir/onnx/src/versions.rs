//! Which IR version a model needs.

use spaceevo_ir::Elem;

/// The IR version of the schema that `proto.rs` was made from.
pub const NEWEST_IR: i64 = 14;
/// IR version of a graph that does not come from a file, unless it needs more.
pub(crate) const DEFAULT_IR: i64 = 8;
/// Up to here, initializers had to be listed as inputs and were not overridable.
pub(crate) const LAST_IR_WITH_LISTED_INITIALIZERS: i64 = 3;

/// The IR version of the first ONNX release with that operator set (`onnx.helper.VERSION_TABLE`).
pub(crate) fn ir_of_opset(opset: u64) -> i64 {
    match opset {
        0..=8 => 3,
        9 => 4,
        10 => 5,
        11 => 6,
        12..=14 => 7,
        15..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        23 => 11,
        24 => 12,
        25..=27 => 13,
        _ => 14,
    }
}

/// The IR version that brought an element type.
pub(crate) fn ir_of_elem(elem: Elem) -> i64 {
    use Elem::*;
    match elem {
        Bf16 => 4,
        F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ => 9,
        U4 | I4 => 10,
        F4E2M1 => 11,
        F8E8M0 => 12,
        U2 | I2 => 13,
        F6E2M3 | F6E3M2 => 14,
        _ => 1,
    }
}
