//! A predictor's file gives the same bits wherever it is read: on another machine, from a build with other optimizations.

use spaceevo_cost::kernels::Kernel;
use spaceevo_cost::predictor::Predictor;

/// Written once, and never again: whoever changes the format raises its version.
const FILE: &str = include_str!("small.predictor");

/// Kernels of which the file knows the family, and two of which it does not.
const KERNELS: [&str; 7] = [
    "QLinearConv last 1:1 1x32x28x28 1x64x28x28 k3x3 s1x1 d1x1 g1 +0 in24/22.5/18.5",
    "QLinearConv+HardSwish last 1:1 1x30x28x28 1x65x14x14 k1x1 s2x2 d1x1 g1 +0 in21/19",
    "QLinearConv last 1:1 1x96x7x7 1x96x7x7 k5x5 s1x1 d1x1 g96 +0 in22",
    "QLinearAdd last 1:1 1x96x7x7 1x96x7x7 k1x1 s1x1 d1x1 g1 +96 in22/22/23.5",
    "QLinearMul last 1:1 1x96x7x7 1x96x7x7 k1x1 s1x1 d1x1 g1 +96 in22",
    "QLinearConv+Sigmoid last 1:1 1x64x112x112 1x64x112x112 k3x3 s1x1 d1x1 g64 +0 in25/20/19",
    "Transpose last 1:1 1x200x64x64 1x200x64x64 k1x1 s1x1 d1x1 g1 +0 in25/20/26",
];

/// Bits of the nanoseconds of [`KERNELS`].
const BITS: [u64; 7] = [
    0x40f2102796c57876,
    0x40cc1f838599db24,
    0x40adb87d30349631,
    0x40afc5152bbd64c2,
    0x40a619152bbd64c2,
    0x41234f70459762e2,
    0x410f80764eb2a3e6,
];

#[test]
fn predictions_have_the_bits_that_they_had() {
    let predictor = Predictor::parse(FILE, "small.predictor").unwrap();
    let kernels: Vec<Kernel> = KERNELS.iter().map(|key| key.parse().unwrap()).collect();
    let bits = |nanos: Vec<f64>| nanos.into_iter().map(f64::to_bits).collect::<Vec<u64>>();
    let alone = bits(kernels.iter().map(|kernel| predictor.kernel(kernel).nanos).collect());
    assert_eq!(alone, BITS, "{alone:#x?}");
    assert_eq!(bits(predictor.batch().kernels(&kernels)), BITS);
    let latency = predictor.network(kernels.iter().map(|kernel| predictor.kernel(kernel)));
    let network = [latency.nanos, latency.low, latency.high].map(f64::to_bits);
    assert_eq!(network, [0x412e4ac3b11fd5e8, 0x412631e5cc5f25f4, 0x4134abed392d4846], "{network:#x?}");
}

#[test]
fn the_file_is_written_as_it_was() {
    assert_eq!(Predictor::parse(FILE, "small.predictor").unwrap().to_text(), FILE);
}
