//! Stored ops that a pass writes as cheaper ones: every stored input under many types, the two forms side by side in the
//! interpreter, no further apart than the passes say.

use spaceevo_ir::interp::{self, Datum};
use spaceevo_ir::text::{NoBlobs, parse};
use spaceevo_ir::{Graph, Tensor};
use spaceevo_passes::{Manager, Pipeline, Registry, Target};

/// Zero points at the ends and in the middle.
const ZEROS: [i64; 6] = [0, 1, 127, 128, 254, 255];

/// Uniform numbers in [0, 1) from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in the exponent.
    fn scale(&mut self, low: f64, high: f64) -> f32 {
        (low * (high / low).powf(self.next())) as f32
    }

    fn zero(&mut self) -> i64 {
        ZEROS[(self.next() * ZEROS.len() as f64) as usize]
    }

    fn byte(&mut self) -> u8 {
        (self.next() * 256.0) as u8
    }
}

fn stored(graph: &Graph, input: &Tensor) -> Vec<i64> {
    let results = interp::run(graph, &[Datum::Tensor(input.clone())]).unwrap();
    results[0].tensor().unwrap().to_i64().unwrap()
}

/// Runs the text and what `pipeline` makes of it, which must be something else; the stored results of both.
fn both(text: &str, pipeline: &str, input: &Tensor) -> (Vec<i64>, Vec<i64>) {
    let registry = Registry::standard();
    // By prices, a SiLU may stay as it is.
    let target = Target { prices: None, ..Target::named("x86-vnni").unwrap() };
    let before = parse(text, "-", &NoBlobs).into_result().unwrap();
    let mut after = before.clone();
    let report = Manager::new(&registry, &target).run(&Pipeline::parse(pipeline, &registry).unwrap(), &mut after, None);
    assert!(report.ok() && report.runs[0].changed, "{text}\n{:?}", report.log);
    (stored(&before, input), stored(&after, input))
}

fn bytes() -> Tensor {
    Tensor::new([1, 256], (0..=255u8).collect::<Vec<u8>>())
}

#[test]
fn targets_name_passes_that_there_are() {
    let registry = Registry::standard();
    for name in Target::names() {
        for (op, pass) in Target::named(name).unwrap().ops.lowered {
            assert!(registry.pass(&pass).is_some(), "{name}: {op} is left to {pass}");
        }
    }
}

/// The gate is a multiple of 1/255, so it is off by at most half of one, 1/510: the product by `|x| / 510`, that is
/// `|x| / (510 scale)` steps. Each form rounds its result by half a step at most: one step more. What single precision
/// loses, a thousandth of a step here, comes on top.
#[test]
fn hard_swish_is_off_by_half_a_step_of_the_gate_and_one_of_the_result() {
    let mut random = Random(1);
    let mut compared = 0;
    for round in 0..400 {
        let (scale, zero) = (random.scale(1e-4, 10.0), ZEROS[round % 6]);
        // Results of about the operand's size, and types that saturate or have few steps.
        let (to, to_zero) = ((f64::from(scale) * f64::from(random.scale(0.05, 5.0))) as f32, random.zero());
        let text = format!(
            "graph @main(%x: qu8({scale:?}, {zero})[1,256]) with {{opset = 17}} {{\n  \
             %y = onnx.HardSwish %x : qu8({to:?}, {to_zero})[1,256]\n  return %y\n}}\n"
        );
        let (before, after) = both(&text, "lower-hard-swish", &bytes());
        for (byte, (b, a)) in before.iter().zip(&after).enumerate() {
            let x = f64::from(scale) * (byte as i64 - zero) as f64;
            let bound = x.abs() / (510.0 * f64::from(to)) + 1.001;
            assert!((a - b).abs() as f64 <= bound, "{text}{byte}: {b} became {a}, at most {bound} steps apart");
            compared += 1;
        }
    }
    assert!(compared >= 100_000, "{compared}");
}

/// Both forms round the same real number once, to the same steps: single precision decides ties, and nothing else.
#[test]
fn hard_sigmoid_differs_at_ties_only() {
    let mut random = Random(2);
    let (mut compared, mut differ) = (0, 0);
    for round in 0..400 {
        let (scale, zero) = (random.scale(1e-4, 10.0), ZEROS[round % 6]);
        let alpha = random.scale(0.01, 0.3);
        let beta = [0.5, 0.0, 1.0, -0.25, (random.next() * 3.0 - 1.0) as f32][round % 5];
        let text = format!(
            "graph @main(%x: qu8({scale:?}, {zero})[1,256]) with {{opset = 17}} {{\n  \
             %y = onnx.HardSigmoid %x {{alpha = {alpha:?}, beta = {beta:?}}} : qu8(0.003921569, 0)[1,256]\n  return %y\n}}\n"
        );
        let (before, after) = both(&text, "lower-hard-sigmoid", &bytes());
        for (byte, (b, a)) in before.iter().zip(&after).enumerate() {
            let real = f64::from(alpha) * f64::from(scale) * (byte as i64 - zero) as f64 + f64::from(beta);
            let from_tie = ((real * 255.0).rem_euclid(1.0) - 0.5).abs();
            let allowed = if from_tie < 1e-3 { 1 } else { 0 };
            assert!((a - b).abs() <= allowed, "{text}{byte}: {b} became {a}, {from_tie} from a tie");
            compared += 1;
            differ += (a - b).abs();
        }
    }
    assert!(compared >= 100_000 && differ < compared / 100, "{differ} of {compared}");
}

/// Both forms divide the same sum of whole numbers and round once: single precision decides ties, and nothing else.
#[test]
fn average_pools_differ_at_ties_only() {
    let mut random = Random(3);
    let (mut compared, mut differ) = (0, 0);
    for round in 0..80 {
        let (scale, zero) = (random.scale(1e-4, 1e2), ZEROS[round % 6]);
        let (to, to_zero) = ((f64::from(scale) * f64::from(random.scale(0.1, 2.0))) as f32, random.zero());
        let (high, wide) = ([1, 2, 3, 5][round % 4], [3, 2, 3, 7][round / 4 % 4]);
        let (pads, count) = if round % 3 == 0 { ([0; 4], 0) } else { ([high / 2, wide / 2, high / 3, wide / 3], 1) };
        let extent = |axis: usize, window: usize| 24 + pads[axis] + pads[axis + 2] - window + 1;
        let shape = format!("[1,3,{},{}]", extent(0, high), extent(1, wide));
        let text = format!(
            "graph @main(%x: qu8({scale:?}, {zero})[1,3,24,24]) with {{opset = 17}} {{\n  %y = onnx.AveragePool %x \
             {{kernel_shape = [{high}, {wide}], pads = {pads:?}, count_include_pad = {count}}} \
             : qu8({to:?}, {to_zero}){shape}\n  return %y\n}}\n"
        );
        let image: Vec<u8> = (0..3 * 24 * 24).map(|_| random.byte()).collect();
        let (before, after) = both(&text, "lower-avg-pool", &Tensor::new([1, 3, 24, 24], image.clone()));
        let (rows, columns) = (extent(0, high), extent(1, wide));
        for (at, (b, a)) in before.iter().zip(&after).enumerate() {
            let (c, y, x) = (at / (rows * columns), at / columns % rows, at % columns);
            let tap = |i: usize, j: usize| match ((y + i).checked_sub(pads[0]), (x + j).checked_sub(pads[1])) {
                (Some(i @ ..24), Some(j @ ..24)) => i64::from(image[(c * 24 + i) * 24 + j]) - zero,
                _ => 0,
            };
            let sum: i64 = (0..high).flat_map(|i| (0..wide).map(move |j| (i, j))).map(|(i, j)| tap(i, j)).sum();
            let steps = sum as f64 / (high * wide) as f64 * f64::from(scale) / f64::from(to);
            let from_tie = (steps.rem_euclid(1.0) - 0.5).abs();
            let allowed = if from_tie < 1e-3 { 1 } else { 0 };
            assert!((a - b).abs() <= allowed, "{text}{at}: {b} became {a}, {from_tie} from a tie");
            compared += 1;
            differ += (a - b).abs();
        }
    }
    assert!(compared >= 100_000 && differ < compared / 10, "{differ} of {compared}");
}

/// The sigmoid is off by half of its steps `t` when it is stored: the product by `|x| t / 2`, that is `|x| t / (2 scale)`
/// steps, and by one step more for the rounding of both forms.
#[test]
fn silu_is_off_by_half_a_step_of_the_sigmoid_and_one_of_the_result() {
    let mut random = Random(4);
    let mut compared = 0;
    for round in 0..400 {
        let (scale, zero) = (random.scale(1e-4, 10.0), ZEROS[round % 6]);
        let (to, to_zero) = ((f64::from(scale) * f64::from(random.scale(0.05, 5.0))) as f32, random.zero());
        let text = format!(
            "graph @main(%x: qu8({scale:?}, {zero})[1,256]) with {{opset = 17}} {{\n  \
             %s = onnx.Sigmoid %x : qu8(0.003921569, 0)[1,256]\n  \
             %y = onnx.Mul %x, %s : qu8({to:?}, {to_zero})[1,256]\n  return %y\n}}\n"
        );
        let (before, after) = both(&text, "lower-silu", &bytes());
        for (byte, (b, a)) in before.iter().zip(&after).enumerate() {
            let x = f64::from(scale) * (byte as i64 - zero) as f64;
            let bound = x.abs() / (510.0 * f64::from(to)) + 1.001;
            assert!((a - b).abs() as f64 <= bound, "{text}{byte}: {b} became {a}, at most {bound} steps apart");
            compared += 1;
        }
    }
    assert!(compared >= 100_000, "{compared}");
}

/// Written with integer operators, the integer form has the stored numbers of the types: the scale that nothing computes is
/// the one that the readers take.
#[test]
fn writers_keep_what_types_say() {
    let mut random = Random(5);
    for (form, allowed) in [("lower-qoperator", 1), ("lower-qdq", 1)] {
        let mut differ = 0;
        for round in 0..60 {
            let (scale, zero) = (random.scale(1e-3, 1.0), ZEROS[round % 6]);
            let text = format!(
                "graph @main(%x: qu8({scale:?}, {zero})[1,256]) with {{opset = 17}} {{\n  \
                 %h = onnx.HardSwish %x : qu8({scale:?}, {zero})[1,256]\n  \
                 %g = onnx.HardSigmoid %h : qu8(0.003921569, 0)[1,256]\n  \
                 %y = onnx.Mul %h, %g : qu8({scale:?}, {zero})[1,256]\n  return %y\n}}\n"
            );
            let real: Vec<f32> = (0..256).map(|byte| scale * (byte - zero) as f32).collect();
            let registry = Registry::standard();
            let target = Target::named("x86-vnni").unwrap();
            let mut graph = parse(&text, "-", &NoBlobs).into_result().unwrap();
            let run = |graph: &mut Graph, pipeline: &str| {
                let pipeline = Pipeline::parse(pipeline, &registry).unwrap();
                let report = Manager::new(&registry, &target).run(&pipeline, graph, None);
                assert!(report.ok(), "{:?}", report.log);
            };
            run(&mut graph, "lower-hard-sigmoid,lower-hard-swish");
            let typed = stored(&graph, &bytes());
            run(&mut graph, form);
            let written = interp::run(&graph, &[Datum::Tensor(Tensor::new([1, 256], real))]).unwrap();
            let written = written[0].tensor().unwrap().to_f32().unwrap();
            for (t, w) in typed.iter().zip(written) {
                let w = (w / scale).round() as i64 + zero;
                assert!((t - w).abs() <= allowed, "{text}{form}: {t} became {w}");
                differ += (t - w).abs();
            }
        }
        assert!(differ < 60 * 256 / 50, "{form}: {differ}");
    }
}

/// The sum is rounded to a step of the result and then multiplied by at most `kh kw / inside`, which moves it by half of that;
/// the product is rounded once more, by half a step, as the mean is. Inside the border nothing is multiplied.
#[test]
fn average_pools_whose_padding_does_not_count_are_off_by_what_the_border_multiplies() {
    let mut random = Random(7);
    let mut compared = 0;
    for round in 0..96 {
        let (scale, zero) = (random.scale(1e-4, 1e2), ZEROS[round % 6]);
        let (to, to_zero) = ((f64::from(scale) * f64::from(random.scale(0.1, 2.0))) as f32, random.zero());
        let ([high, wide], stride) = ([[3, 3], [2, 3], [3, 1]][round % 3], 1 + round / 3 % 2);
        let extent = |window: usize| (24 + 2 * (window / 2) - window) / stride + 1;
        let (rows, columns) = (extent(high), extent(wide));
        let text = format!(
            "graph @main(%x: qu8({scale:?}, {zero})[1,3,24,24]) with {{opset = 17}} {{\n  %y = onnx.AveragePool %x \
             {{kernel_shape = [{high}, {wide}], pads = [{}, {}, {0}, {1}], strides = [{stride}, {stride}]}} \
             : qu8({to:?}, {to_zero})[1,3,{rows},{columns}]\n  return %y\n}}\n",
            high / 2,
            wide / 2
        );
        let image: Vec<u8> = (0..3 * 24 * 24).map(|_| random.byte()).collect();
        let (before, after) = both(&text, "lower-avg-pool", &Tensor::new([1, 3, 24, 24], image));
        let inside = |at: usize, window: usize| {
            let first = (at * stride) as i64 - (window / 2) as i64;
            (first + window as i64).min(24) - first.max(0)
        };
        for (at, (b, a)) in before.iter().zip(&after).enumerate() {
            let (y, x) = (at / columns % rows, at % columns);
            let factor = (high * wide) as f64 / (inside(y, high) * inside(x, wide)) as f64;
            let bound = if factor > 1.0 { 0.5 * factor + 1.001 } else { 1.0 };
            assert!((a - b).abs() as f64 <= bound, "{text}{at}: {b} became {a}, at most {bound} steps apart");
            compared += 1;
        }
    }
    assert!(compared >= 100_000, "{compared}");
}
