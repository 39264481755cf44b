//! Bytes of strangers, read as an ONNX model.
#![no_main]

#[path = "../laws/onnx.rs"]
mod law;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| law::check(data));
