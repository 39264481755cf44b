//! Random legal graphs that a rule matches: how every rule is tested without anyone writing a test.
//!
//! The pattern is walked from its holes to its root. An operand that nothing is known of is drawn to fit its operator, names of
//! attributes are drawn where they first stand, and whatever turns out not to be legal is drawn again. Stored values take
//! types from corners: zero points at both ends, scales from tiny to large.

use std::collections::BTreeMap;
use std::sync::Arc;

use spaceevo_ir::space::Expr;
use spaceevo_ir::text::rule::Argument;
use spaceevo_ir::{Attr, Attrs, Elem, Graph, NewOp, OpId, OpName, Place, Quant, Symbol, Tensor, Type, ValueId, shape};
use spaceevo_passes::rule::{Bound, Rule};

/// A small generator (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }

    /// One of these.
    pub fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    /// A number that is often one where functions bend.
    pub fn number(&mut self) -> f32 {
        const CORNERS: &[f32] = &[0.0, 1.0, -1.0, 0.5, 3.0, -3.0, 6.0, -6.0, 0.25];
        if self.below(3) == 0 { self.of(CORNERS) } else { self.below(1 << 16) as f32 * 1.2347e-4 - 4.0457 }
    }
}

/// A graph that has the shape of a rule's pattern; whether the rule's conditions hold is for the matcher to say. `None` when
/// what was drawn is not legal: draw again.
pub fn instance(rule: &Rule, dice: &mut Dice, stored: bool) -> Option<Graph> {
    let mut graph = Graph::new("instance");
    graph.meta.opsets.insert("onnx".into(), 17);
    let quants = if stored { vec![quant(dice), quant(dice)] } else { Vec::new() };
    let alike = dice.below(3) > 0;
    let mut drawing = Drawing {
        rule,
        dice,
        graph,
        quants,
        alike,
        values: BTreeMap::new(),
        attrs: BTreeMap::new(),
        rest: BTreeMap::new(),
        ops: BTreeMap::new(),
    };
    for &op in rule.pattern() {
        drawing.op(op)?;
    }
    let root = *drawing.values.get(&rule.root())?.all().first()?;
    let mut graph = drawing.graph;
    // Somebody reads it, as real numbers: a result of the model could not be replaced by an input, and storing it again would
    // hide how it was stored.
    let mut real = graph.value(root).ty().clone();
    if let Type::Tensor(tensor) = &mut real {
        tensor.quant = None;
    }
    let copy = NewOp::onnx("Identity").operand(root).result("y", real);
    let copy = graph.insert(Place::End(graph.body()), copy);
    graph.set_results(graph.body(), vec![graph.op(copy).result()]);
    Some(graph)
}

fn quant(dice: &mut Dice) -> Arc<Quant> {
    let (store, zero) = dice.of(&[
        (Elem::U8, 0),
        (Elem::U8, 128),
        (Elem::U8, 255),
        (Elem::U8, 7),
        (Elem::I8, 0),
        (Elem::I8, -128),
        (Elem::I8, 127),
    ]);
    let scale = dice.of(&[0.0078125, 0.02, 1.0 / 255.0, 0.1, 1e-6, 50.0, 0.0473]);
    Arc::new(Quant::per_tensor(store, scale, zero))
}

struct Drawing<'a> {
    rule: &'a Rule,
    dice: &'a mut Dice,
    graph: Graph,
    quants: Vec<Arc<Quant>>,
    /// All stored values have one type.
    alike: bool,
    values: BTreeMap<ValueId, Bound<ValueId>>,
    attrs: BTreeMap<Symbol, Attr>,
    rest: BTreeMap<Symbol, Attrs>,
    ops: BTreeMap<Symbol, OpName>,
}

impl Drawing<'_> {
    fn op(&mut self, op: OpId) -> Option<()> {
        let pattern = &self.rule.text.graph;
        let wanted = pattern.op(op).clone();
        let result = wanted.result();
        let name = self.name(op, wanted.name());
        let list = self.rule.is_list(result);
        let lanes = match self.length_of(op) {
            Some(known) => known,
            None if list => 2 + self.dice.below(2),
            None => 1,
        };
        let mut made = Vec::new();
        for lane in 0..lanes {
            let mut operands: Vec<Option<ValueId>> = Vec::new();
            for (index, operand) in wanted.operands().iter().enumerate() {
                let Some(value) = *operand else {
                    operands.push(None);
                    continue;
                };
                if self.rule.text.marks.spread.contains(&(op, index as u32)) {
                    self.spread(&name, value, &mut operands)?;
                } else {
                    let one = self.operand(&name, value, lane, list, &operands)?;
                    operands.push(Some(one));
                }
            }
            let attrs = self.attributes(op, &name, wanted.attrs(), &operands)?;
            let new = NewOp::new(name.clone()).operands(operands).attrs(attrs).result("", Type::Unknown);
            let op = self.graph.insert(Place::End(self.graph.body()), new);
            let mut ty = shape::infer_op(&self.graph, op).ok()?.into_iter().next()?;
            ty.dims()?;
            if let Type::Tensor(tensor) = &mut ty {
                tensor.quant = self.quant();
            }
            let value = self.graph.op(op).result();
            self.graph.set_type(value, ty);
            made.push(value);
        }
        self.values.insert(result, if list { Bound::List(made) } else { Bound::One(made[0]) });
        Some(())
    }

    fn quant(&mut self) -> Option<Arc<Quant>> {
        if self.quants.is_empty() {
            return None;
        }
        let other = !self.alike && self.dice.below(2) == 0;
        Some(self.quants[usize::from(other)].clone())
    }

    /// The operator; one that the conditions on it allow where the pattern leaves it open.
    fn name(&mut self, op: OpId, name: &OpName) -> OpName {
        if &*name.domain != "any" {
            return name.clone();
        }
        if let Some(known) = self.ops.get(&name.op) {
            return known.clone();
        }
        let result = self.rule.text.graph.op(op).result();
        let asked = |guard: &&spaceevo_ir::text::rule::GuardText| guard.arguments[..] == [Argument::Value(result)];
        // The operator may be named at several ops, and asked about at one of them.
        let names = self.rule.pattern().iter().filter(|&&other| self.rule.text.graph.op(other).name() == name);
        let results: Vec<ValueId> = names.map(|&other| self.rule.text.graph.op(other).result()).collect();
        let about = |guard: &&spaceevo_ir::text::rule::GuardText| {
            asked(guard) || matches!(guard.arguments[..], [Argument::Value(v)] if results.contains(&v))
        };
        let words: Vec<&str> = self.rule.text.guards.iter().filter(about).map(|guard| &*guard.name).collect();
        let any: &[&str] = match () {
            _ if words.contains(&"views") => &["Reshape", "Flatten", "Squeeze", "Unsqueeze"],
            _ if words.contains(&"moves") => {
                &["Transpose", "Reshape", "Flatten", "Unsqueeze", "Slice", "DepthToSpace", "SpaceToDepth", "Resize"]
            }
            _ if words.contains(&"averages") => &["AveragePool", "GlobalAveragePool"],
            _ => &["Relu", "Sigmoid", "Tanh", "HardSigmoid", "LeakyRelu", "Clip", "HardSwish", "Neg", "Abs"],
        };
        let chosen = OpName::onnx(self.dice.of(any));
        self.ops.insert(name.op.clone(), chosen.clone());
        chosen
    }

    /// How many ops an op of the pattern stands for, as far as its operands tell.
    fn length_of(&self, op: OpId) -> Option<usize> {
        let operands = self.rule.text.graph.op(op).operands().iter().enumerate();
        let mapped = operands.filter(|(index, _)| !self.rule.text.marks.spread.contains(&(op, *index as u32)));
        mapped
            .filter_map(|(_, v)| self.values.get(&(*v)?))
            .find_map(|b| if let Bound::List(l) = b { Some(l.len()) } else { None })
    }

    /// The remaining operands of an op.
    fn spread(&mut self, name: &OpName, value: ValueId, operands: &mut Vec<Option<ValueId>>) -> Option<()> {
        if let Some(known) = self.values.get(&value) {
            operands.extend(known.all().iter().map(|&v| Some(v)));
            return Some(());
        }
        let count = match name.onnx_op() {
            "Concat" => usize::from(operands.is_empty()) + self.dice.below(3),
            "Clip" => self.dice.below(3),
            "Conv" => self.dice.below(2),
            "Reshape" | "Squeeze" | "Unsqueeze" => 1,
            "Slice" => 3,
            "Resize" => 2,
            _ => 0,
        };
        let mut list = Vec::new();
        for _ in 0..count {
            let absent = name.is_onnx("Resize") && operands.len() == 1;
            let value = if absent { None } else { Some(self.fitting(name, value, operands)?) };
            // An absent operand cannot be bound: such ops are not drawn.
            list.push(value?);
            operands.push(value);
        }
        self.values.insert(value, Bound::List(list));
        Some(())
    }

    fn operand(
        &mut self,
        name: &OpName,
        value: ValueId,
        lane: usize,
        list: bool,
        operands: &[Option<ValueId>],
    ) -> Option<ValueId> {
        let in_lane = list && self.rule.is_list(value);
        match self.values.get(&value) {
            Some(Bound::One(known)) => return Some(*known),
            Some(Bound::List(known)) if known.len() > lane => return Some(known[lane]),
            _ => {}
        }
        let drawn = match self.rule.text.graph.const_of(value) {
            Some(tensor) => self.graph.add_const(self.graph.body(), "", tensor.clone()),
            None => self.fitting(name, value, operands)?,
        };
        match self.values.get_mut(&value) {
            Some(Bound::List(known)) => known.push(drawn),
            _ => _ = self.values.insert(value, if in_lane { Bound::List(vec![drawn]) } else { Bound::One(drawn) }),
        }
        Some(drawn)
    }

    /// True when a condition of that name is asked about the value.
    fn asked(&self, name: &str, value: ValueId) -> bool {
        let about = |guard: &&spaceevo_ir::text::rule::GuardText| guard.arguments.contains(&Argument::Value(value));
        self.rule.text.guards.iter().filter(about).any(|guard| &*guard.name == name)
    }

    /// An operand that fits behind those that an op has.
    fn fitting(&mut self, name: &OpName, value: ValueId, operands: &[Option<ValueId>]) -> Option<ValueId> {
        let before = operands.first().copied().flatten().and_then(|v| self.graph.value(v).ty().dims());
        let index = operands.len();
        let body = self.graph.body();
        let ints = |drawing: &mut Self, list: Vec<i64>| drawing.graph.add_const(body, "", Tensor::new([list.len()], list));
        let Some(before) = before else {
            let dims = self.first(name);
            return Some(self.data(value, dims));
        };
        Some(match (name.onnx_op(), index) {
            ("Conv", 1) => {
                let side = if self.asked_of_conv("pointwise") { 1 } else { self.dice.of(&[1, 1, 3]) };
                let dims = vec![1 + self.dice.below(3), *before.get(1)?, side, side];
                self.weights(value, dims)
            }
            ("Conv", 2) => {
                let weights = self.graph.value(operands[1]?).ty().dims()?;
                self.weights(value, vec![weights[0]])
            }
            ("Concat", _) => {
                let mut dims = before.clone();
                let axis = if self.dice.below(2) == 0 { 1.min(dims.len() - 1) } else { self.dice.below(dims.len()) };
                dims[axis] = 1 + self.dice.below(3);
                self.data(value, dims)
            }
            ("Clip", _) => {
                let number = if self.asked("numbers", value) { self.dice.number().abs() } else { self.dice.number() };
                self.graph.add_const(body, "", Tensor::scalar(number))
            }
            ("Reshape", _) => {
                let count = before.iter().product::<usize>() as i64;
                let list =
                    self.dice.of(&[vec![-1], vec![count], vec![1, -1], vec![*before.first()? as i64, -1], vec![0, -1]]);
                let same: Vec<i64> = before.iter().map(|&d| d as i64).collect();
                let list = if self.dice.below(3) == 0 { same } else { list };
                ints(self, list)
            }
            ("Squeeze", _) => {
                let axis = before.iter().position(|&d| d == 1)?;
                ints(self, vec![axis as i64])
            }
            ("Unsqueeze", _) => {
                let axis = self.dice.below(before.len() + 1);
                ints(self, vec![axis as i64])
            }
            ("Slice", 1) => ints(self, vec![0]),
            ("Slice", 2) => {
                let end = 1 + self.dice.below(3) as i64;
                ints(self, vec![end])
            }
            ("Slice", _) => {
                let axis = self.dice.below(before.len());
                ints(self, vec![axis as i64])
            }
            ("Resize", _) => self.graph.add_const(body, "", Tensor::new([4], vec![1.0f32, 1.0, 2.0, 2.0])),
            ("Add" | "Mul", _) if self.asked("numbers", value) => {
                let number: f32 = if name.is_onnx("Add") { 0.0 } else { 1.0 };
                self.graph.add_const(body, "", Tensor::scalar(number))
            }
            ("Add" | "Mul", _) if self.asked("per-channel", value) => {
                let channels = *before.get(1)?;
                self.weights(value, vec![channels, 1, 1])
            }
            ("Add" | "Mul", _) if self.asked("constant", value) => {
                let mut dims = before.clone();
                (0..dims.len()).for_each(|axis| dims[axis] = if self.dice.below(2) == 0 { 1 } else { dims[axis] });
                self.weights(value, dims)
            }
            _ => self.data(value, before),
        })
    }

    /// True when a condition of that name is asked about some convolution.
    fn asked_of_conv(&self, name: &str) -> bool {
        self.rule.text.guards.iter().any(|guard| &*guard.name == name)
    }

    /// The shape of an operand that nothing is known of.
    fn first(&mut self, name: &OpName) -> Vec<usize> {
        let places =
            ["Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize", "DepthToSpace", "SpaceToDepth", "ReduceMean"];
        let rank = if places.contains(&name.onnx_op()) || self.dice.below(3) > 0 { 4 } else { 1 + self.dice.below(3) };
        let mut dims: Vec<usize> = (0..rank).map(|_| 1 + self.dice.below(4)).collect();
        if rank == 4 {
            dims[0] = 1 + self.dice.below(2);
            (dims[2], dims[3]) = (2 + self.dice.below(4), 2 + self.dice.below(4));
        }
        if name.is_onnx("DepthToSpace") {
            dims[1] = 4;
        } else if name.is_onnx("SpaceToDepth") {
            (dims[2], dims[3]) = (4, 2);
        }
        dims
    }

    /// An input, or a constant where a condition wants one.
    fn data(&mut self, value: ValueId, dims: Vec<usize>) -> ValueId {
        if ["constant", "scalar", "numbers"].iter().any(|word| self.asked(word, value)) {
            return self.weights(value, dims);
        }
        let mut ty = spaceevo_ir::TensorType::of(Elem::F32, &dims);
        ty.quant = self.quant();
        let name = format!("x{}", self.graph.region(self.graph.body()).inputs().len());
        self.graph.add_input(self.graph.body(), name, ty)
    }

    fn weights(&mut self, value: ValueId, dims: Vec<usize>) -> ValueId {
        let dims = if self.asked("scalar", value) { Vec::new() } else { dims };
        let positive = self.asked("numbers", value);
        let count = dims.iter().product();
        let numbers = (0..count).map(|_| self.dice.number()).map(|n| if positive { n.abs() } else { n }).collect();
        self.graph.add_const(self.graph.body(), "", Tensor::new::<f32>(dims, numbers))
    }

    /// Attributes: those of the pattern, and random ones where it leaves them open.
    fn attributes(&mut self, op: OpId, name: &OpName, wanted: &Attrs, operands: &[Option<ValueId>]) -> Option<Attrs> {
        let rank = operands.first().copied().flatten().and_then(|v| self.graph.value(v).ty().rank())?;
        let mut attrs = Attrs::new();
        if let Some(rest) = self.rule.text.marks.rest.get(&op) {
            attrs = match self.rest.get(rest) {
                Some(known) => known.clone(),
                None => self.open(name, rank),
            };
            wanted.keys().for_each(|key| _ = attrs.remove(key));
            self.rest.insert(rest.clone(), attrs.clone());
        }
        for (key, attr) in wanted {
            let attr = match attr {
                Attr::Expr(Expr::Param(param)) => match self.attrs.get(param) {
                    Some(known) => known.clone(),
                    None => {
                        let drawn = match &**key {
                            "perm" => Attr::Ints(self.permutation(rank)),
                            _ if self.dice.below(2) == 0 => Attr::Int(1),
                            _ => Attr::Int(self.dice.below(rank) as i64),
                        };
                        self.attrs.insert(param.clone(), drawn.clone());
                        drawn
                    }
                },
                plain => plain.clone(),
            };
            attrs.insert(key.clone(), attr);
        }
        Some(attrs)
    }

    fn permutation(&mut self, rank: usize) -> Vec<i64> {
        let mut perm: Vec<i64> = (0..rank as i64).collect();
        if self.dice.below(4) > 0 {
            (1..rank).rev().for_each(|i| perm.swap(i, self.dice.below(i + 1)));
        }
        perm
    }

    /// Attributes that an operator may have.
    fn open(&mut self, name: &OpName, rank: usize) -> Attrs {
        let mut attrs = Attrs::new();
        let mut set = |key: &str, attr: Attr| _ = attrs.insert(key.into(), attr);
        match name.onnx_op() {
            "MaxPool" | "AveragePool" => {
                let side = 1 + self.dice.below(3) as i64;
                set("kernel_shape", Attr::Ints(vec![side, side]));
                if self.dice.below(2) == 0 {
                    set("strides", Attr::Ints(vec![2, 1 + self.dice.below(2) as i64]));
                }
                if side > 1 && self.dice.below(2) == 0 {
                    set("pads", Attr::Ints(vec![side / 2, 0, side / 2, 1]));
                }
                if name.is_onnx("AveragePool") && self.dice.below(3) == 0 {
                    set("count_include_pad", Attr::Int(1));
                }
                if self.dice.below(3) == 0 {
                    set("ceil_mode", Attr::Int(1));
                }
            }
            "Conv" if !self.asked_of_conv("pointwise") => {
                if self.dice.below(2) == 0 {
                    set("pads", Attr::Ints(vec![1, 1, 1, 1]));
                }
                if self.dice.below(3) == 0 {
                    set("strides", Attr::Ints(vec![2, 2]));
                }
            }
            "Transpose" => set("perm", Attr::Ints(self.permutation(rank))),
            "Flatten" => set("axis", Attr::Int(self.dice.below(rank + 1) as i64)),
            "DepthToSpace" | "SpaceToDepth" => set("blocksize", Attr::Int(2)),
            "HardSigmoid" | "LeakyRelu" => set("alpha", Attr::Float(self.dice.of(&[0.1, 0.25, -0.5]))),
            "Resize" => {
                set("mode", Attr::text("nearest"));
                set("coordinate_transformation_mode", Attr::text(self.dice.of(&["asymmetric", "half_pixel"])));
                set("nearest_mode", Attr::text(self.dice.of(&["floor", "round_prefer_floor"])));
            }
            _ => {}
        }
        attrs
    }
}

/// Inputs for an instance: numbers where functions bend, and all stored ones.
pub fn data(graph: &Graph, dice: &mut Dice) -> Vec<spaceevo_ir::interp::Datum> {
    let inputs = graph.region(graph.body()).inputs();
    let mut data = Vec::new();
    for &input in inputs {
        let ty = graph.value(input).ty().tensor().cloned();
        let dims = ty.as_ref().and_then(|t| t.dims()).unwrap_or_default();
        let count: usize = dims.iter().product();
        let numbers: Vec<f64> = match ty.as_ref().and_then(|t| t.quant.as_ref()) {
            None => (0..count).map(|_| f64::from(dice.number())).collect(),
            Some(quant) => {
                let (low, high) = quant.store.int_range().unwrap_or((0, 255));
                (0..count).map(|_| (low + dice.below((high - low + 1) as usize) as i64) as f64).collect()
            }
        };
        let elem = ty.map_or(Elem::F32, |t| t.storage());
        data.extend(Tensor::from_f64(elem, dims, &numbers).map(spaceevo_ir::interp::Datum::Tensor));
    }
    data
}
