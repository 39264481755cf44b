//! Conv, ConvTranspose and Gemm with constant weights, and how they absorb affine maps before or behind them.

use spaceevo_ir::{Graph, NewOp, OpId, Symbol, Tensor, ValueId};

use crate::affine::Affine;
use crate::analysis::{is_plain, is_unpadded, per_channel, real_const};
use crate::rewrite;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    /// Weights `[out, in / groups, kernel...]`.
    Conv,
    /// Weights `[in, out / groups, kernel...]`.
    ConvTranspose,
    /// Weights `[in, out]`, or `[out, in]` with `transB`.
    Gemm,
}

/// A Conv, ConvTranspose or Gemm with constant weights and bias.
pub struct Linear {
    op: OpId,
    kind: Kind,
    weights: Tensor,
    numbers: Vec<f64>,
    /// The bias as it is added (for Gemm: `beta` times it).
    bias: Vec<f64>,
    bias_name: Option<Symbol>,
    groups: usize,
    transposed: bool,
    /// Factor of the product (`alpha` of Gemm).
    alpha: f64,
    /// Output channels.
    pub channels: usize,
    /// Rank of operand and result.
    pub rank: usize,
}

impl Linear {
    /// True for the operators that [`Linear::view`] knows.
    pub fn is_linear(graph: &Graph, op: OpId) -> bool {
        ["Conv", "ConvTranspose", "Gemm"].iter().any(|name| graph.op(op).name().is_onnx(name))
    }

    /// Reads weights and bias; a sentence why not when they are no constants.
    pub fn view(graph: &Graph, op: OpId) -> Result<Linear, String> {
        let record = graph.op(op);
        let kind = match record.name().onnx_op() {
            "Conv" => Kind::Conv,
            "ConvTranspose" => Kind::ConvTranspose,
            _ => Kind::Gemm,
        };
        let weights = record.operand(1).and_then(|w| real_const(graph, w)).ok_or("its weights are no constant")?.clone();
        let numbers = weights.to_f64().ok_or("its weights are no numbers")?;
        let groups = usize::try_from(record.int("group", 1)).ok().filter(|&g| g > 0).ok_or("its group is not positive")?;
        let transposed = record.int("transB", 0) != 0;
        let dims = weights.dims();
        if dims.len() < 2 || weights.is_empty() || (kind == Kind::Gemm && dims.len() != 2) {
            return Err("its weights are of an odd shape".into());
        }
        if dims[0] % groups != 0 {
            return Err("its group does not divide its channels".into());
        }
        let channels = match kind {
            Kind::Conv => dims[0],
            Kind::ConvTranspose => dims[1] * groups,
            Kind::Gemm => dims[usize::from(!transposed)],
        };
        let beta = if kind == Kind::Gemm { f64::from(record.float("beta", 1.0)) } else { 1.0 };
        let (mut bias, mut bias_name) = (vec![0.0; channels], None);
        if let Some(value) = record.operand(2) {
            let (axis, rank) = if kind == Kind::Gemm { (1, 2) } else { (0, 1) };
            let numbers = per_channel(graph, value, channels, axis, rank)
                .ok_or("its bias is no constant of one number each channel")?;
            bias = numbers.iter().map(|b| b * beta).collect();
            bias_name = Some(graph.value(value).name().clone());
        }
        let alpha = if kind == Kind::Gemm { f64::from(record.float("alpha", 1.0)) } else { 1.0 };
        let rank = dims.len();
        Ok(Linear { op, kind, weights, numbers, bias, bias_name, groups, transposed, alpha, channels, rank })
    }

    /// The weights, in the shape that the op holds them in.
    pub fn weights(&self) -> &[f64] {
        &self.numbers
    }

    /// Their shape.
    pub fn weight_dims(&self) -> &[usize] {
        self.weights.dims()
    }

    /// Multiplies every output channel: weights and bias.
    pub fn scale_outputs(&mut self, by: &[f64]) {
        for index in 0..self.numbers.len() {
            self.numbers[index] *= by[self.channels_of(index).0];
        }
        self.bias.iter_mut().zip(by).for_each(|(b, s)| *b *= s);
    }

    /// Divides the weights of every input channel: the result stays when the input is multiplied by the same.
    pub fn divide_inputs(&mut self, by: &[f64]) {
        for index in 0..self.numbers.len() {
            self.numbers[index] /= by[self.channels_of(index).1];
        }
    }

    /// Lets the op hold the weights and the bias as they are here; others may still read the old ones. For ops that add
    /// their bias as it is, one number for each channel.
    pub fn write(&self, graph: &mut Graph) {
        for (index, numbers) in [(1, &self.numbers), (2, &self.bias)] {
            let Some(old) = graph.op(self.op).operand(index) else { continue };
            let dims = graph.const_of(old).map(|t| t.dims().to_vec()).unwrap_or_default();
            let Some(tensor) = Tensor::from_f64(self.weights.elem(), &dims[..], numbers) else { continue };
            let name = graph.value(old).name().clone();
            let new = rewrite::constant(graph, self.op, name, tensor);
            rewrite::exchange_operand(graph, self.op, index, Some(new));
        }
    }

    /// Output and input channel of weight `index`.
    pub fn channels_of(&self, index: usize) -> (usize, usize) {
        let dims = self.weights.dims();
        let inner: usize = dims[2..].iter().product();
        let (row, column) = (index / inner / dims[1], index / inner % dims[1]);
        let group = row / (dims[0] / self.groups);
        match self.kind {
            Kind::Conv => (row, group * dims[1] + column),
            Kind::ConvTranspose => (group * dims[1] + column, row),
            Kind::Gemm if self.transposed => (row, column),
            Kind::Gemm => (column, row),
        }
    }

    /// Weights and bias of the same op followed by `after`: `W'[o] = scale[o] W[o]`, `b'[o] = scale[o] b[o] + shift[o]`.
    fn then(&self, after: &Affine) -> Folded {
        let weights = self.numbers.iter().enumerate().map(|(i, w)| w * after.scale[self.channels_of(i).0]).collect();
        let bias = self.bias.iter().zip(&after.scale).zip(&after.shift).map(|((b, s), t)| b * s + t).collect();
        Folded { weights, bias }
    }

    /// Input channels.
    pub fn inputs(&self) -> usize {
        let dims = self.weights.dims();
        match self.kind {
            Kind::Conv => dims[1] * self.groups,
            Kind::ConvTranspose => dims[0],
            Kind::Gemm => dims[usize::from(self.transposed)],
        }
    }

    /// Weights and bias of the same op after `before`: `W'[o,i] = W[o,i] scale[i]`, `b'[o] = b[o] + sum W[o,i] shift[i]`.
    /// A shift is refused where the op pads: it would have to reach the padding, too.
    fn after(&self, graph: &Graph, before: &Affine) -> Result<Folded, String> {
        let op = graph.op(self.op);
        if self.kind == Kind::Gemm && op.int("transA", 0) != 0 {
            return Err("it transposes its input".into());
        }
        if before.scale.len() != self.inputs() {
            return Err("the channels do not match".into());
        }
        let padless = match self.kind {
            Kind::Conv => is_unpadded(graph, self.op),
            Kind::ConvTranspose => false,
            Kind::Gemm => true,
        };
        if !padless && !before.is_scaling() {
            return Err("a summand cannot move past padding with zeros".into());
        }
        let mut bias = self.bias.clone();
        let mut weights = self.numbers.clone();
        for (index, weight) in weights.iter_mut().enumerate() {
            let (out, input) = self.channels_of(index);
            bias[out] += self.alpha * *weight * before.shift[input];
            *weight *= before.scale[input];
        }
        Ok(Folded { weights, bias })
    }

    /// True when all folded numbers fit the element type.
    fn fits(&self, folded: &Folded) -> bool {
        let pack =
            |numbers: &[f64]| Tensor::from_f64(self.weights.elem(), [numbers.len()], numbers).and_then(|t| t.to_f64());
        let finite = |numbers: &[f64]| pack(numbers).is_some_and(|n| n.iter().all(|x| x.is_finite()));
        finite(&folded.weights) && finite(&folded.bias)
    }

    /// The new op, with its constants placed before `at`; a bias that it did not have is called `bias_name`.
    fn rebuilt(&self, graph: &mut Graph, at: OpId, input: ValueId, folded: &Folded, bias_name: Symbol) -> Option<NewOp> {
        let elem = self.weights.elem();
        let weights = Tensor::from_f64(elem, self.weights.dims(), &folded.weights)?;
        let bias = Tensor::from_f64(elem, [self.channels], &folded.bias)?;
        let weight_name = graph.op(self.op).operand(1).map_or_else(|| "weight".into(), |w| graph.value(w).name().clone());
        let needs_bias = self.bias_name.is_some() || folded.bias.iter().any(|&b| b != 0.0);
        let weights = rewrite::constant(graph, at, weight_name, weights);
        let bias = needs_bias.then(|| rewrite::constant(graph, at, self.bias_name.clone().unwrap_or(bias_name), bias));
        let mut attrs = graph.op(self.op).attrs().clone();
        attrs.remove("beta");
        let mut new = NewOp::new(graph.op(self.op).name().clone()).attrs(attrs).operand(input).operand(weights);
        if bias.is_some() {
            new = new.operands([bias]);
        }
        Some(new)
    }
}

/// Weights and bias of a [`Linear`] op that has absorbed an affine map.
struct Folded {
    weights: Vec<f64>,
    bias: Vec<f64>,
}

/// An affine op that can disappear into the linear op before or behind it.
pub struct Absorption {
    linear: Linear,
    folded: Folded,
    /// The later one of the two ops.
    at: OpId,
    /// The other one.
    also: OpId,
    input: ValueId,
    /// `Conv`, `ConvTranspose` or `Gemm`, for messages.
    pub word: Symbol,
}

impl Absorption {
    /// `affine(linear(x))`, where the affine op `op` reads `middle`. `None` when no linear op makes that, a sentence when
    /// one does but cannot absorb the map.
    pub fn by_maker(
        graph: &Graph,
        op: OpId,
        middle: ValueId,
        affine: impl Fn(&Linear) -> Result<Affine, String>,
    ) -> Result<Option<Absorption>, String> {
        let Some(maker) = graph.def_op(middle).filter(|&m| Linear::is_linear(graph, m)) else { return Ok(None) };
        let word = graph.op(maker).name().op.clone();
        if graph.use_count(middle) != 1 {
            return Err(format!("{}, made by the {word} before it, has other readers", graph.label(middle)));
        }
        neighbours(graph, op, maker, middle)?;
        let blamed = |why: String| format!("the {word} before it: {why}");
        let linear = Linear::view(graph, maker).map_err(blamed)?;
        let affine = affine(&linear)?;
        if affine.scale.len() != linear.channels {
            return Err(format!("the {word} before it has {} channels, not {}", linear.channels, affine.scale.len()));
        }
        let folded = linear.then(&affine);
        let Some(input) = graph.op(maker).operand(0) else { return Ok(None) };
        Absorption { linear, folded, at: op, also: maker, input, word }.checked().map(Some)
    }

    /// `linear(affine(input))`, where `op` is the affine op. `None` when its reader is no linear op.
    pub fn by_reader(
        graph: &Graph,
        op: OpId,
        input: ValueId,
        affine: impl Fn(&Linear) -> Result<Affine, String>,
    ) -> Result<Option<Absorption>, String> {
        let middle = graph.op(op).result();
        let reads = |r: &OpId| Linear::is_linear(graph, *r) && graph.op(*r).operand(0) == Some(middle);
        let Some(reader) = graph.only_user(middle).filter(reads) else { return Ok(None) };
        let word = graph.op(reader).name().op.clone();
        neighbours(graph, op, reader, middle)?;
        let blamed = |why: String| format!("the {word} that reads it: {why}");
        let linear = Linear::view(graph, reader).map_err(blamed)?;
        let folded = linear.after(graph, &affine(&linear)?).map_err(blamed)?;
        Absorption { linear, folded, at: reader, also: op, input, word }.checked().map(Some)
    }

    fn checked(self) -> Result<Absorption, String> {
        if self.linear.fits(&self.folded) { Ok(self) } else { Err("the folded weights are not finite".into()) }
    }

    /// Lets it disappear; a bias that the linear op did not have is called `bias_name`. False when nothing happened.
    pub fn apply(self, graph: &mut Graph, by: &str, bias_name: Symbol) -> bool {
        let new = self.linear.rebuilt(graph, self.at, self.input, &self.folded, bias_name);
        new.map(|new| rewrite::replace(graph, self.at, by, &[self.also], new)).is_some()
    }

    /// Puts the linear op with the map before the later one of the two, which stays, and gives its result this name.
    pub fn insert(self, graph: &mut Graph, by: &str, name: impl Into<Symbol>, bias_name: Symbol) -> Option<ValueId> {
        let new = self.linear.rebuilt(graph, self.at, self.input, &self.folded, bias_name)?;
        let ty = graph.value(graph.op(self.at).result()).ty().clone();
        Some(rewrite::insert_before(graph, self.at, by, name, ty, new))
    }
}

/// Checks that two ops stand in one region, with nothing quantized between and at them.
fn neighbours(graph: &Graph, op: OpId, other: OpId, middle: ValueId) -> Result<(), String> {
    if graph.op(op).region() != graph.op(other).region() {
        return Err(format!("the {} beside it stands in another region", graph.op(other).name().op));
    }
    let values = [middle, graph.op(op).result(), graph.op(other).result()];
    match values.into_iter().find(|&v| !is_plain(graph, v)) {
        Some(value) => Err(format!("{} is quantized", graph.label(value))),
        None => Ok(()),
    }
}
