//! The layers that both networks are made of, each with its forward pass and its ONNX form.
//!
//! The two stand side by side so that what is trained and what is written cannot drift apart.

use crate::onnx::{Attribute, GraphBuilder};
use burn::module::{Initializer, Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::{hard_sigmoid, hard_swish, relu};
use burn::tensor::{Device, Tensor};

/// What follows a batch normalization.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    Linear,
    Relu,
    HardSwish,
}

impl Activation {
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Linear => x,
            Self::Relu => relu(x),
            Self::HardSwish => hard_swish(x),
        }
    }

    pub fn export(self, graph: &mut GraphBuilder, name: &str, x: &str) -> String {
        match self {
            Self::Linear => x.into(),
            Self::Relu => graph.node("Relu", &format!("{name}.relu"), &[x], &[]),
            Self::HardSwish => graph.node("HardSwish", &format!("{name}.hswish"), &[x], &[]),
        }
    }
}

/// Convolution without bias, batch normalization, activation.
#[derive(Module, Debug)]
pub struct ConvBn {
    conv: Conv2d,
    norm: BatchNorm,
    #[module(skip)]
    activation: Activation,
}

/// Input channels, output channels, kernel side, stride and groups of a convolution whose padding
/// keeps the picture's size at stride 1.
#[derive(Clone, Copy)]
pub struct Shape {
    pub channels: [usize; 2],
    pub kernel: usize,
    pub stride: usize,
    pub groups: usize,
}

impl Shape {
    pub fn dense(input: usize, output: usize, kernel: usize, stride: usize) -> Self {
        Self {
            channels: [input, output],
            kernel,
            stride,
            groups: 1,
        }
    }

    pub fn depthwise(channels: usize, kernel: usize, stride: usize) -> Self {
        Self {
            channels: [channels; 2],
            kernel,
            stride,
            groups: channels,
        }
    }

    fn config(self) -> Conv2dConfig {
        let pad = self.kernel / 2;
        Conv2dConfig::new(self.channels, [self.kernel; 2])
            .with_stride([self.stride; 2])
            .with_groups(self.groups)
            .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
            .with_initializer(Initializer::KaimingNormal {
                gain: std::f64::consts::SQRT_2,
                fan_out_only: false,
            })
    }
}

impl ConvBn {
    pub fn new(shape: Shape, activation: Activation, device: &Device) -> Self {
        Self {
            conv: shape.config().with_bias(false).init(device),
            norm: BatchNormConfig::new(shape.channels[1]).init(device),
            activation,
        }
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.activation
            .forward(self.norm.forward(self.conv.forward(x)))
    }

    pub fn export(&self, graph: &mut GraphBuilder, name: &str, x: &str) -> String {
        let x = export_conv(&self.conv, graph, &format!("{name}.conv"), x);
        let x = self.export_norm(graph, &format!("{name}.bn"), &x);
        self.activation.export(graph, name, &x)
    }

    fn export_norm(&self, graph: &mut GraphBuilder, name: &str, x: &str) -> String {
        let channels = self.norm.gamma.dims();
        let parts = [
            ("weight", values(self.norm.gamma.val())),
            ("bias", values(self.norm.beta.val())),
            ("running_mean", values(self.norm.running_mean.value_sync())),
            ("running_var", values(self.norm.running_var.value_sync())),
        ];
        let parts = parts.map(|(part, v)| graph.constant(format!("{name}.{part}"), &channels, &v));
        let [scale, bias, mean, var] = parts.each_ref().map(String::as_str);
        let epsilon = Attribute::Float(self.norm.epsilon as f32);
        graph.node(
            "BatchNormalization",
            name,
            &[x, scale, bias, mean, var],
            &[("epsilon", epsilon)],
        )
    }
}

/// Squeeze-and-excitation: every channel is scaled by a gate computed from all channels' means.
#[derive(Module, Debug)]
pub struct SqueezeExcite {
    reduce: Conv2d,
    expand: Conv2d,
}

impl SqueezeExcite {
    pub fn new(channels: usize, squeezed: usize, device: &Device) -> Self {
        Self {
            reduce: Shape::dense(channels, squeezed, 1, 1).config().init(device),
            expand: Shape::dense(squeezed, channels, 1, 1).config().init(device),
        }
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let squeezed = relu(self.reduce.forward(x.clone().mean_dim(3).mean_dim(2)));
        x * hard_sigmoid(self.expand.forward(squeezed), 1.0 / 6.0, 0.5)
    }

    pub fn export(&self, graph: &mut GraphBuilder, name: &str, x: &str) -> String {
        let gate = graph.node("GlobalAveragePool", &format!("{name}.pool"), &[x], &[]);
        let gate = export_conv(&self.reduce, graph, &format!("{name}.reduce"), &gate);
        let gate = graph.node("Relu", &format!("{name}.relu"), &[&gate], &[]);
        let gate = export_conv(&self.expand, graph, &format!("{name}.expand"), &gate);
        let slope = [
            ("alpha", Attribute::Float(1.0 / 6.0)),
            ("beta", Attribute::Float(0.5)),
        ];
        let gate = graph.node("HardSigmoid", &format!("{name}.gate"), &[&gate], &slope);
        graph.node("Mul", &format!("{name}.scale"), &[x, &gate], &[])
    }
}

/// Global average pooling and the fully connected layer that names the class.
#[derive(Module, Debug)]
pub struct Classifier {
    linear: Linear,
}

impl Classifier {
    pub fn new(channels: usize, classes: usize, device: &Device) -> Self {
        Self {
            linear: LinearConfig::new(channels, classes).init(device),
        }
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        self.linear.forward(x.mean_dim(3).mean_dim(2).flatten(1, 3))
    }

    pub fn export(&self, graph: &mut GraphBuilder, x: &str) {
        let x = graph.node("GlobalAveragePool", "classifier.pool", &[x], &[]);
        let x = graph.node(
            "Flatten",
            "classifier.flatten",
            &[&x],
            &[("axis", Attribute::Int(1))],
        );
        let [channels, classes] = self.linear.weight.dims();
        let rows = values(self.linear.weight.val().transpose());
        let weight = graph.constant("classifier.weight".into(), &[classes, channels], &rows);
        let bias = export_bias(self.linear.bias.as_ref(), graph, "classifier");
        let inputs: Vec<&str> = [&x, &weight]
            .into_iter()
            .chain(&bias)
            .map(String::as_str)
            .collect();
        graph.node("Gemm", "logits", &inputs, &[("transB", Attribute::Int(1))]);
        graph.output("logits", &[classes as i64]);
    }
}

fn export_conv(conv: &Conv2d, graph: &mut GraphBuilder, name: &str, x: &str) -> String {
    let weight = conv.weight.val();
    let kernel = conv.kernel_size.map(|k| k as i64);
    let weight = graph.constant(format!("{name}.weight"), &weight.dims(), &values(weight));
    let bias = export_bias(conv.bias.as_ref(), graph, name);
    let inputs: Vec<&str> = [x, &weight].into_iter().chain(bias.as_deref()).collect();
    let [h, w] = kernel.map(|k| k / 2);
    graph.node(
        "Conv",
        name,
        &inputs,
        &[
            ("kernel_shape", Attribute::Ints(&kernel)),
            ("strides", Attribute::Ints(&conv.stride.map(|s| s as i64))),
            ("pads", Attribute::Ints(&[h, w, h, w])),
            ("group", Attribute::Int(conv.groups as i64)),
        ],
    )
}

fn export_bias(
    bias: Option<&Param<Tensor<1>>>,
    graph: &mut GraphBuilder,
    name: &str,
) -> Option<String> {
    bias.map(|b| graph.constant(format!("{name}.bias"), &b.dims(), &values(b.val())))
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor
        .into_data()
        .try_to_vec()
        .expect("networks are trained in 32-bit floats")
}
