//! `shapes-resnet`: residual blocks of two 3x3 convolutions, halving the picture at every stage.

use crate::draw::CLASSES;
use crate::layers::{Activation, Classifier, ConvBn, Shape};
use crate::onnx::GraphBuilder;
use crate::train::Network;
use burn::module::Module;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

/// Channels that leave each stage, and its number of blocks.
const STAGES: [(usize, usize); 3] = [(16, 2), (32, 2), (48, 1)];

#[derive(Module, Debug)]
pub struct ShapesResnet {
    stem: ConvBn,
    stages: Vec<Vec<Block>>,
    classifier: Classifier,
}

/// Two convolutions and a way around them: the identity, or a 1x1 convolution where the shape
/// changes.
#[derive(Module, Debug)]
struct Block {
    first: ConvBn,
    second: ConvBn,
    shortcut: Option<ConvBn>,
}

impl Network for ShapesResnet {
    const NAME: &'static str = "shapes-resnet";
    const STEPS: u64 = 2400;

    fn new(device: &Device) -> Self {
        let mut channels = 16;
        let stem = ConvBn::new(Shape::dense(3, channels, 3, 1), Activation::Relu, device);
        let mut stage = |(output, blocks)| {
            let halve = Block::new(channels, output, 2, device);
            let keep = (1..blocks).map(|_| Block::new(output, output, 1, device));
            channels = output;
            std::iter::once(halve).chain(keep).collect()
        };
        let stages = STAGES.into_iter().map(&mut stage).collect();
        Self {
            stem,
            stages,
            classifier: Classifier::new(channels, CLASSES.len(), device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.stem.forward(x);
        self.classifier.forward(
            self.stages
                .iter()
                .flatten()
                .fold(x, |x, block| block.forward(x)),
        )
    }

    fn export(&self, graph: &mut GraphBuilder, image: &str) {
        let mut x = self.stem.export(graph, "stem", image);
        for (s, stage) in self.stages.iter().enumerate() {
            for (b, block) in stage.iter().enumerate() {
                x = block.export(graph, &format!("stage{}.block{b}", s + 1), &x);
            }
        }
        self.classifier.export(graph, &x);
    }
}

impl Block {
    fn new(input: usize, output: usize, stride: usize, device: &Device) -> Self {
        let linear = |shape| ConvBn::new(shape, Activation::Linear, device);
        Self {
            first: ConvBn::new(
                Shape::dense(input, output, 3, stride),
                Activation::Relu,
                device,
            ),
            second: linear(Shape::dense(output, output, 3, 1)),
            shortcut: (stride != 1 || input != output)
                .then(|| linear(Shape::dense(input, output, 1, stride))),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let around = self
            .shortcut
            .as_ref()
            .map_or_else(|| x.clone(), |s| s.forward(x.clone()));
        relu(self.second.forward(self.first.forward(x)) + around)
    }

    fn export(&self, graph: &mut GraphBuilder, name: &str, x: &str) -> String {
        let through = self.first.export(graph, &format!("{name}.first"), x);
        let through = self
            .second
            .export(graph, &format!("{name}.second"), &through);
        let around = match &self.shortcut {
            Some(shortcut) => shortcut.export(graph, &format!("{name}.shortcut"), x),
            None => x.into(),
        };
        let sum = graph.node("Add", &format!("{name}.add"), &[&through, &around], &[]);
        Activation::Relu.export(graph, name, &sum)
    }
}
