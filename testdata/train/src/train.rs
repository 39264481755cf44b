//! Trains a network on pictures that are drawn as they are needed.
//!
//! No picture is shown twice, so the running accuracy is an honest one and there is nothing to
//! overfit. Batches need no shuffling: the classes alternate by index and all else is random.

use crate::draw::{Picture, SIDE, picture};
use crate::onnx::GraphBuilder;
use crate::pictures::{MEAN, SEED, STD};
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Pictures in one step of the optimizer.
pub const BATCH: u64 = 32;

const PEAK_RATE: f64 = 3e-3;
const WEIGHT_DECAY: f32 = 0.02;
const WARM_UP: u64 = 100;
const REPORT_EVERY: u64 = 50;

/// A network that can be trained here and written as ONNX.
pub trait Network: Module {
    const NAME: &'static str;

    /// Optimizer steps that bring the network close to its best.
    const STEPS: u64;

    fn new(device: &Device) -> Self;

    /// Normalized pictures to one score per class.
    fn forward(&self, images: Tensor<4>) -> Tensor<2>;

    /// Adds the network to `graph`, reading the value `image` and writing the output `logits`.
    fn export(&self, graph: &mut GraphBuilder, image: &str);
}

/// Trains for `steps` batches and returns the network in its inference form.
pub fn train<N: Network>(steps: u64) -> N {
    let device = Device::flex().autodiff();
    device.seed(SEED);
    let mut network = N::new(&device);
    println!(
        "{}: {} parameters, {steps} steps",
        N::NAME,
        network.num_params()
    );

    let criterion = CrossEntropyLossConfig::new().init(&device);
    let mut optimizer = AdamWConfig::new().with_weight_decay(WEIGHT_DECAY).init();
    let mut progress = Progress::new(N::NAME, steps);
    for step in 0..steps {
        let pictures = draw(step * BATCH..(step + 1) * BATCH);
        let logits = network.forward(images(&pictures, &device));
        let loss = criterion.forward(logits.clone(), labels(&pictures, &device));
        progress.record(
            step + 1,
            loss.clone().into_scalar(),
            right(logits, &pictures),
        );
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = optimizer.step(rate(step, steps), network, gradients);
    }
    network.valid()
}

/// The share of the pictures that a network in its inference form names right.
pub fn accuracy<N: Network>(network: &N, indices: Range<u64>) -> f32 {
    let device = Device::flex();
    let total = indices.end - indices.start;
    let batches = indices.clone().step_by(BATCH as usize);
    let right: usize = batches
        .map(|start| {
            let pictures = draw(start..(start + BATCH).min(indices.end));
            right(network.forward(images(&pictures, &device)), &pictures)
        })
        .sum();
    right as f32 / total as f32
}

/// The learning rate rises linearly while the batch statistics settle, then follows a half cosine.
fn rate(step: u64, steps: u64) -> f64 {
    let warm = ((step + 1) as f64 / WARM_UP as f64).min(1.0);
    let done = step as f64 / steps as f64;
    PEAK_RATE * warm * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
}

fn draw(indices: Range<u64>) -> Vec<Picture> {
    indices
        .into_par_iter()
        .map(|index| picture(SEED, index))
        .collect()
}

fn images(pictures: &[Picture], device: &Device) -> Tensor<4> {
    let planes = pictures.iter().flat_map(|picture| {
        (0..3).flat_map(|c| {
            let channel = picture.rgb.iter().skip(c).step_by(3);
            channel.map(move |&v| (f32::from(v) - MEAN[c]) / STD[c])
        })
    });
    let shape = [pictures.len(), 3, SIDE, SIDE];
    Tensor::from_data(TensorData::new(planes.collect::<Vec<f32>>(), shape), device)
}

fn labels(pictures: &[Picture], device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i64> = pictures
        .iter()
        .map(|picture| picture.label as i64)
        .collect();
    Tensor::from_data(TensorData::new(labels, [pictures.len()]), device)
}

fn right(logits: Tensor<2>, pictures: &[Picture]) -> usize {
    let named: Vec<i64> = logits.argmax(1).into_data().iter::<i64>().collect();
    named
        .iter()
        .zip(pictures)
        .filter(|&(&named, picture)| named == picture.label as i64)
        .count()
}

/// Reports the averages since the last report and the time that is left at the pace so far.
struct Progress {
    name: &'static str,
    steps: u64,
    start: Instant,
    loss: f32,
    right: usize,
}

impl Progress {
    fn new(name: &'static str, steps: u64) -> Self {
        Self {
            name,
            steps,
            start: Instant::now(),
            loss: 0.0,
            right: 0,
        }
    }

    fn record(&mut self, done: u64, loss: f32, right: usize) {
        self.loss += loss;
        self.right += right;
        if !done.is_multiple_of(REPORT_EVERY) {
            return;
        }
        let left = self
            .start
            .elapsed()
            .mul_f64((self.steps - done) as f64 / done as f64);
        println!(
            "{}: step {done}/{}, loss {:.3}, accuracy {:.1} %, {:?} left",
            self.name,
            self.steps,
            self.loss / REPORT_EVERY as f32,
            100.0 * self.right as f32 / (REPORT_EVERY * BATCH) as f32,
            Duration::from_secs(left.as_secs()),
        );
        (self.loss, self.right) = (0.0, 0);
    }
}
