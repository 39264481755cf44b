//! `shapes-mobile`: inverted residual blocks as in MobileNetV3, with squeeze-and-excitation gates,
//! hard-swish, 3x3 and 5x5 depthwise convolutions, and widths that are not multiples of 16.

use crate::draw::CLASSES;
use crate::layers::{Activation, Classifier, ConvBn, Shape, SqueezeExcite};
use crate::onnx::GraphBuilder;
use crate::train::Network;
use Activation::{HardSwish, Linear, Relu};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

const STEM: usize = 16;
const HEAD: usize = 120;

/// What one inverted residual block does.
struct Plan {
    name: &'static str,
    kernel: usize,
    /// Channels of the depthwise convolution.
    wide: usize,
    output: usize,
    /// Channels inside the squeeze-and-excitation gate, or none.
    gate: Option<usize>,
    activation: Activation,
    stride: usize,
}

#[rustfmt::skip]
const PLANS: [Plan; 6] = [
    Plan { name: "stage1.block0", kernel: 3, wide: 16,  output: 16, gate: Some(8),  activation: Relu,      stride: 2 },
    Plan { name: "stage2.block0", kernel: 3, wide: 40,  output: 24, gate: None,     activation: Relu,      stride: 2 },
    Plan { name: "stage2.block1", kernel: 3, wide: 72,  output: 24, gate: None,     activation: Relu,      stride: 1 },
    Plan { name: "stage3.block0", kernel: 5, wide: 72,  output: 40, gate: Some(24), activation: HardSwish, stride: 2 },
    Plan { name: "stage3.block1", kernel: 5, wide: 120, output: 40, gate: Some(32), activation: HardSwish, stride: 1 },
    Plan { name: "stage3.block2", kernel: 5, wide: 120, output: 40, gate: Some(32), activation: HardSwish, stride: 1 },
];

#[derive(Module, Debug)]
pub struct ShapesMobile {
    stem: ConvBn,
    blocks: Vec<Block>,
    head: ConvBn,
    classifier: Classifier,
}

/// Widen, filter each channel by itself, gate, narrow; and add the input where the shape allows.
#[derive(Module, Debug)]
struct Block {
    expand: Option<ConvBn>,
    depthwise: ConvBn,
    gate: Option<SqueezeExcite>,
    project: ConvBn,
    residual: bool,
}

impl Network for ShapesMobile {
    const NAME: &'static str = "shapes-mobile";
    const STEPS: u64 = 3600;

    fn new(device: &Device) -> Self {
        let mut channels = STEM;
        let blocks = PLANS
            .iter()
            .map(|plan| Block::new(std::mem::replace(&mut channels, plan.output), plan, device))
            .collect();
        Self {
            stem: ConvBn::new(Shape::dense(3, STEM, 3, 1), HardSwish, device),
            blocks,
            head: ConvBn::new(Shape::dense(channels, HEAD, 1, 1), HardSwish, device),
            classifier: Classifier::new(HEAD, CLASSES.len(), device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.stem.forward(x);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        self.classifier.forward(self.head.forward(x))
    }

    fn export(&self, graph: &mut GraphBuilder, image: &str) {
        let mut x = self.stem.export(graph, "stem", image);
        for (block, plan) in self.blocks.iter().zip(&PLANS) {
            x = block.export(graph, plan.name, &x);
        }
        let x = self.head.export(graph, "head", &x);
        self.classifier.export(graph, &x);
    }
}

impl Block {
    fn new(input: usize, plan: &Plan, device: &Device) -> Self {
        let &Plan {
            kernel,
            wide,
            output,
            gate,
            activation,
            stride,
            ..
        } = plan;
        Self {
            expand: (wide != input)
                .then(|| ConvBn::new(Shape::dense(input, wide, 1, 1), activation, device)),
            depthwise: ConvBn::new(Shape::depthwise(wide, kernel, stride), activation, device),
            gate: gate.map(|squeezed| SqueezeExcite::new(wide, squeezed, device)),
            project: ConvBn::new(Shape::dense(wide, output, 1, 1), Linear, device),
            residual: stride == 1 && input == output,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let wide = self
            .expand
            .as_ref()
            .map_or_else(|| x.clone(), |e| e.forward(x.clone()));
        let wide = self.depthwise.forward(wide);
        let wide = match &self.gate {
            Some(gate) => gate.forward(wide),
            None => wide,
        };
        let narrow = self.project.forward(wide);
        if self.residual { narrow + x } else { narrow }
    }

    fn export(&self, graph: &mut GraphBuilder, name: &str, x: &str) -> String {
        let wide = match &self.expand {
            Some(expand) => expand.export(graph, &format!("{name}.expand"), x),
            None => x.into(),
        };
        let mut wide = self
            .depthwise
            .export(graph, &format!("{name}.depthwise"), &wide);
        if let Some(gate) = &self.gate {
            wide = gate.export(graph, &format!("{name}.se"), &wide);
        }
        let narrow = self
            .project
            .export(graph, &format!("{name}.project"), &wide);
        if !self.residual {
            return narrow;
        }
        graph.node("Add", &format!("{name}.add"), &[&narrow, x], &[])
    }
}
