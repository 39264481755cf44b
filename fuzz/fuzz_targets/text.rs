//! Text of strangers, read as a graph.
#![no_main]

#[path = "../laws/text.rs"]
mod law;
mod tokens;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(|data: &[u8]| law::check(data));
fuzz_mutator!(|data: &mut [u8], size: usize, most: usize, seed: u32| { tokens::mutate(data, size, most, seed) });
