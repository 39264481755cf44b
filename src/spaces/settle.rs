//! Statistics for the batch normalizations of a network that was never trained: those of random pictures, so that activations
//! keep their size from layer to layer, as they do in a trained network.

use spaceevo_ir::interp::{self, Datum};
use spaceevo_ir::tensor::Rand;
use spaceevo_ir::{Attr, Diagnostic, Elem, Graph, OpId, Tensor, Type};

/// Pictures that the statistics are of.
const PICTURES: usize = 8;
/// Extent of these pictures: statistics do not need large ones.
const EXTENT: usize = 64;

/// Sets mean and variance of every batch normalization whose statistics are constants to what random pictures give.
///
/// # Errors
/// `interp-*`: the network cannot be run.
pub fn settle(graph: &mut Graph, seed: u64) -> Result<(), Diagnostic> {
    let body = graph.body();
    let (Some(&input), [_]) = (graph.region(body).inputs().first(), graph.region(body).inputs()) else { return Ok(()) };
    let dims = graph.value(input).ty().tensor().and_then(|t| t.dims()).unwrap_or_default();
    let &[_, channels, height, width] = &dims[..] else { return Ok(()) };
    let norms: Vec<OpId> = graph
        .ops_in(body)
        .filter(|&op| graph.op(op).name().is_onnx("BatchNormalization") && graph.const_operand(op, 4).is_some())
        .collect();
    let mut trial = graph.clone();
    trial.set_type(input, Type::Unknown);
    let mut statistics = Vec::new();
    for &op in &norms {
        trial.set_attr(op, "training_mode", Attr::Int(1));
        trial.set_attr(op, "momentum", Attr::Float(0.0));
        statistics.extend(["mean", "var"].map(|name| trial.add_result(op, name, Type::Unknown)));
    }
    // Shapes that were inferred for one picture do not hold for several.
    for op in trial.all_ops() {
        for result in trial.op(op).results().to_vec() {
            trial.set_type(result, Type::Unknown);
        }
    }
    trial.set_results(body, statistics);
    let pictures = pictures(channels, height.min(EXTENT), width.min(EXTENT), seed);
    let found = interp::run(&trial, &[Datum::Tensor(pictures)])?;
    for (&op, pair) in norms.iter().zip(found.chunks(2)) {
        let numbers = |datum: &Datum| match datum {
            Datum::Tensor(tensor) => tensor.to_f32().unwrap_or_default(),
            _ => Vec::new(),
        };
        let (Some(mean), Some(variance)) = (graph.op(op).operand(3), graph.op(op).operand(4)) else { continue };
        let (means, variances) = (numbers(&pair[0]), numbers(&pair[1]));
        // A channel that hardly varies among a few pictures would be blown up by others, and noise with it: what is behind a
        // mean over all positions is such a one.
        let average = variances.iter().sum::<f32>() / variances.len().max(1) as f32;
        let steady = |(m, v): (&f32, &f32)| v.max(0.05 * average).max(0.05 * m * m).max(1e-6);
        let variances: Vec<f32> = means.iter().zip(&variances).map(steady).collect();
        graph.set_const(mean, Tensor::new([means.len()], means));
        graph.set_const(variance, Tensor::new([variances.len()], variances));
    }
    Ok(())
}

/// Pictures of coarse and fine noise: neighbouring pixels are alike, as in photographs.
fn pictures(channels: usize, height: usize, width: usize, seed: u64) -> Tensor {
    let mut all = vec![0f32; PICTURES * channels * height * width];
    for (octave, cells) in [1usize, 4, 16, 64].into_iter().enumerate() {
        let rand = Rand { seed: seed ^ ((octave as u64 + 1) << 40), within: Some((-1.0, 1.0)) };
        let noise = Tensor::random(Elem::F32, [PICTURES, channels, cells, cells], rand).and_then(|t| t.to_f32());
        let noise = noise.unwrap_or_default();
        for (index, pixel) in all.iter_mut().enumerate() {
            let (y, x) = (index / width % height, index % width);
            let plane = index / (width * height);
            let at = (plane * cells + y * cells / height) * cells + x * cells / width;
            *pixel += noise.get(at).copied().unwrap_or_default();
        }
    }
    Tensor::new([PICTURES, channels, height, width], all)
}
