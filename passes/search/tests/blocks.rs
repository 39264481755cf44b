//! Blocks of the shipped page compute what the publication says, against convolutions written out as loops.

use std::collections::VecDeque;

use spaceevo_ir::interp::{Datum, run};
use spaceevo_ir::space::Expr;
use spaceevo_ir::tensor::Rand;
use spaceevo_ir::text::{BlobHash, BlobSource, parse};
use spaceevo_ir::{Attr, Elem, Graph, NewOp, OpName, Place, SPACE, Tensor, TensorType, Type, shape};
use spaceevo_passes::unfold::{Weights, unfold};

/// A picture: channels, height and width, numbers.
#[derive(Clone, Debug)]
struct Picture {
    channels: usize,
    size: usize,
    at: Vec<f64>,
}

impl Picture {
    fn map(&self, f: impl Fn(f64) -> f64) -> Picture {
        Picture { at: self.at.iter().map(|&x| f(x)).collect(), ..self.clone() }
    }

    fn plus(&self, other: &Picture) -> Picture {
        assert_eq!((self.channels, self.size), (other.channels, other.size));
        Picture { at: self.at.iter().zip(&other.at).map(|(a, b)| a + b).collect(), ..self.clone() }
    }
}

/// The weights of a block in the order of its layers: filters with their shape, and vectors.
struct Layers(VecDeque<(Vec<usize>, Vec<f64>)>);

impl Layers {
    fn of(graph: &Graph) -> Layers {
        let mut all = VecDeque::new();
        for op in graph.all_ops() {
            let op = graph.op(op);
            if !op.name().is_onnx("Conv") && !op.name().is_onnx("BatchNormalization") {
                continue;
            }
            let constants = op.operands().iter().flatten().filter_map(|&v| graph.const_of(v));
            all.extend(constants.map(|t| (t.dims().to_vec(), t.to_f64().expect("numbers"))));
        }
        Layers(all)
    }

    fn next(&mut self) -> (Vec<usize>, Vec<f64>) {
        self.0.pop_front().expect("another layer")
    }

    /// Zeros around, as many as half a kernel; no bias.
    fn conv(&mut self, x: &Picture, stride: usize, groups: usize) -> Picture {
        let (dims, filter) = self.next();
        let [out, part, k, _] = dims[..] else { panic!("{dims:?}") };
        assert_eq!(part * groups, x.channels);
        let size = x.size.div_ceil(stride);
        let mut y = Picture { channels: out, size, at: vec![0.0; out * size * size] };
        for o in 0..out {
            let first = o / (out / groups) * part;
            for (row, column) in (0..size).flat_map(|r| (0..size).map(move |c| (r, c))) {
                let mut sum = 0.0;
                for (i, ky, kx) in (0..part).flat_map(|i| (0..k * k).map(move |at| (i, at / k, at % k))) {
                    let at = |o: usize, k_at: usize| (o * stride + k_at).checked_sub(k / 2).filter(|&p| p < x.size);
                    if let (Some(py), Some(px)) = (at(row, ky), at(column, kx)) {
                        sum += x.at[((first + i) * x.size + py) * x.size + px] * filter[((o * part + i) * k + ky) * k + kx];
                    }
                }
                y.at[(o * size + row) * size + column] = sum;
            }
        }
        y
    }

    fn norm(&mut self, x: &Picture) -> Picture {
        let [scale, shift, mean, variance] = std::array::from_fn(|_| self.next().1);
        let plane = x.size * x.size;
        let one = |(i, &v): (usize, &f64)| {
            let c = i / plane;
            (v - mean[c]) / (variance[c] + 1e-5).sqrt() * scale[c] + shift[c]
        };
        Picture { at: x.at.iter().enumerate().map(one).collect(), ..x.clone() }
    }

    fn layer(&mut self, x: &Picture, stride: usize, groups: usize, act: fn(f64) -> f64) -> Picture {
        let y = self.conv(x, stride, groups);
        self.norm(&y).map(act)
    }

    fn gate(&mut self, x: &Picture, middle: usize) -> Picture {
        let plane = x.size * x.size;
        let mean: Vec<f64> = x.at.chunks(plane).map(|c| c.iter().sum::<f64>() / plane as f64).collect();
        let mut dense = |x: &[f64], act: fn(f64) -> f64| -> Vec<f64> {
            let ((dims, filter), (_, bias)) = (self.next(), self.next());
            let row = |o: usize| (0..dims[1]).map(|i| x[i] * filter[o * dims[1] + i]).sum::<f64>() + bias[o];
            (0..dims[0]).map(|o| act(row(o))).collect()
        };
        let hidden = dense(&mean, relu);
        assert_eq!(hidden.len(), middle);
        let gate = dense(&hidden, |v| (v / 6.0 + 0.5).clamp(0.0, 1.0));
        Picture { at: x.at.iter().enumerate().map(|(i, v)| v * gate[i / plane]).collect(), ..x.clone() }
    }

    /// The shortcut: nothing is done where shapes agree.
    fn shortcut(&mut self, x: &Picture, width: usize, stride: usize) -> Picture {
        if x.channels == width && stride == 1 { x.clone() } else { self.layer(x, stride, 1, none) }
    }
}

fn none(x: f64) -> f64 {
    x
}

fn relu(x: f64) -> f64 {
    x.max(0.0)
}

fn relu6(x: f64) -> f64 {
    x.clamp(0.0, 6.0)
}

fn hard_swish(x: f64) -> f64 {
    x * (x / 6.0 + 0.5).clamp(0.0, 1.0)
}

fn swish(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn round8(x: f64) -> usize {
    let near = ((x + 4.0) / 8.0).floor().max(1.0) * 8.0;
    (if near < 0.9 * x { near + 8.0 } else { near }) as usize
}

/// A block as the publication's table has it.
fn published(
    block: &str,
    layers: &mut Layers,
    x: &Picture,
    width: usize,
    kernel: usize,
    expand: f64,
    stride: usize,
) -> Picture {
    let act: fn(f64) -> f64 = match block {
        "V2Res" | "V2" | "V2K3" => relu6,
        "V3Res" => hard_swish,
        "V3K3" | "FusedRes" | "FusedSE" => swish,
        _ => relu,
    };
    let c = x.channels;
    let y = match block {
        "V1Dual" => {
            let y = layers.layer(x, stride, c, act);
            let y = layers.layer(&y, 1, 1, act);
            let y = layers.layer(&y, 1, width, act);
            layers.layer(&y, 1, 1, act)
        }
        "ResNet" | "ResNetSE" => {
            let y = layers.layer(x, 1, 1, act);
            assert_eq!(y.channels, round8(expand * width as f64));
            let mut y = layers.layer(&y, stride, 1, act);
            if block == "ResNetSE" {
                y = layers.gate(&y, round8((c / 4) as f64));
            }
            layers.layer(&y, 1, 1, none)
        }
        "FusedRes" | "FusedSE" => {
            let mut y = layers.layer(x, stride, 1, act);
            if block == "FusedSE" {
                y = layers.gate(&y, round8((c / 4) as f64));
            }
            layers.layer(&y, 1, 1, none)
        }
        _ => {
            let hidden = round8(expand * c as f64);
            let y = if hidden == c { x.clone() } else { layers.layer(x, 1, 1, act) };
            assert_eq!(y.channels, hidden);
            let mut y = if block.ends_with("K3") {
                let mut y = layers.conv(&y, stride, hidden);
                for _ in 0..(kernel - 3) / 2 {
                    y = layers.conv(&y, 1, hidden);
                }
                layers.norm(&y).map(act)
            } else {
                layers.layer(&y, stride, hidden, act)
            };
            if block.starts_with("V3") {
                y = layers.gate(&y, round8((hidden / 4) as f64));
            }
            layers.layer(&y, 1, 1, none)
        }
    };
    if block == "V2" && (c != width || stride != 1) {
        return y;
    }
    let sum = y.plus(&layers.shortcut(x, width, stride));
    if block.starts_with("ResNet") { sum.map(relu) } else { sum }
}

struct NoFiles;

impl BlobSource for NoFiles {
    fn blob(&self, _: BlobHash) -> Option<bytes::Bytes> {
        None
    }
}

/// The block of the shipped page, with weights by seed.
fn shipped(block: &str, channels: usize, size: usize, choice: &[(&str, f64)]) -> Graph {
    let text = include_str!("../../../testdata/spaces/blocks.seir");
    let text = format!("{text}\ngraph @main(%x: f32[1,{channels},{size},{size}]) {{\n  return %x\n}}\n");
    let blocks = parse(&text, "blocks", &NoFiles).into_result().expect("the page").space.blocks;
    let mut graph = Graph::new("block");
    graph.meta.opsets.insert("onnx".into(), 17);
    graph.space.blocks = blocks;
    let body = graph.body();
    let x = graph.add_input(body, "x", Type::Tensor(TensorType::of(Elem::F32, &[1, channels, size, size])));
    let mut call = NewOp::new(OpName::new(SPACE, "Call")).operand(x).attr("block", Attr::Expr(Expr::Name(block.into())));
    for &(name, value) in choice {
        let whole = value.fract() == 0.0;
        call = call.attr(name, if whole { Attr::Int(value as i64) } else { Attr::Expr(Expr::Float(value)) });
    }
    let op = graph.insert(Place::End(body), call.result("y", Type::Unknown));
    let y = graph.op(op).result();
    graph.set_results(body, vec![y]);
    unfold(&mut graph, Weights::Drawn(3)).expect("a block");
    graph.space = Default::default();
    graph.touch();
    let found = shape::infer(&mut graph);
    assert!(found.iter().all(|d| d.severity != spaceevo_ir::Severity::Error), "{found:#?}");
    graph
}

#[test]
fn blocks_compute_what_loops_compute() {
    let blocks = ["V1Dual", "V2Res", "V2", "V3Res", "V2K3", "V3K3", "ResNet", "ResNetSE", "FusedRes", "FusedSE"];
    for block in blocks {
        // With and without a shortcut of its own: all four cases of the residual rule.
        for (c, width, stride) in [(8, 8, 1), (8, 8, 2), (8, 16, 1), (16, 8, 2)] {
            for (kernel, expand) in [(3, 1.0), (5, 1.5), (7, 2.0)] {
                let mut choice = vec![("width", width as f64), ("kernel", f64::from(kernel)), ("stride", stride as f64)];
                if block != "V1Dual" {
                    choice.push(("expand", expand));
                }
                let graph = shipped(block, c, 7, &choice);
                let rand = Rand { seed: 5, within: Some((-2.0, 2.0)) };
                let input = Tensor::random(Elem::F32, [1, c, 7, 7], rand).expect("a picture");
                let x = Picture { channels: c, size: 7, at: input.to_f64().expect("numbers") };
                let Ok([Datum::Tensor(found)]) =
                    run(&graph, &[Datum::Tensor(input)]).map(|r| <[_; 1]>::try_from(r).expect("one"))
                else {
                    panic!("{block} does not run")
                };
                let mut layers = Layers::of(&graph);
                let want = published(block, &mut layers, &x, width, kernel as usize, expand, stride);
                let case = format!("{block} {c} to {width}, stride {stride}, kernel {kernel}, expansion {expand}");
                assert!(layers.0.is_empty(), "{case}: it has more layers");
                assert_eq!(found.dims(), [1, want.channels, want.size, want.size], "{case}");
                let far =
                    found.to_f64().expect("numbers").iter().zip(&want.at).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                let size = want.at.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
                assert!(far < 1e-4 * size, "{case}: {far} of {size}");
            }
        }
    }
}
