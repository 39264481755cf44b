//! Which ops run in integers, and therefore which tensors are stored as such.
//!
//! The rule, in the order of the graph: ops with weights (Conv, Gemm, MatMul) run in integers wherever their form allows.
//! Light ops (Add, Mul, Concat, pools, look-ups) do when all their operands are stored already *and* an op with weights
//! still follows: behind the last of those, numbers stay float, where they cost little and lose nothing. Ops that move bytes
//! tie the types of what they read and make; they move them behind the last weights, too, if what they read is rounded anyway.
//! Where the runtime fuses an op into the integer op before it, nothing is rounded between the two.
//!
//! Where the target has prices, the ops among them that are faster in float then stay there ([`cut`]). All passes that plan
//! must come to the same plan: nothing here looks at the numbers of a graph, only at its ops, types and shapes.

use spaceevo_ir::{Attr, Def, Elem, Graph, OpId, ValueId};

use crate::analysis::splat;
use crate::passes::lift_gelu;
use crate::quantize::cut::{self, Prediction};
use crate::target::Target;

/// How an op runs.
#[derive(Clone, PartialEq, Debug)]
pub enum Kind {
    /// In integers; operands and result have types of their own.
    Integer,
    /// On stored bytes; operand and results have one type.
    Movement,
    /// Not at all: the result type of the op before it saturates just there.
    Saturating,
    /// Together with the integer op before it, on this operand before it is rounded; the other operands and the result are
    /// stored.
    Fused(ValueId),
    /// In float, and why.
    Float(String),
}

/// The plan for a graph.
pub struct Placement {
    kinds: Vec<Option<Kind>>,
    class: Vec<usize>,
    stored: Vec<bool>,
    prediction: Option<Prediction>,
}

impl Placement {
    /// How an op of the body runs; ops of nested regions run in float.
    pub fn kind(&self, op: OpId) -> &Kind {
        const NESTED: &Kind = &Kind::Float(String::new());
        self.kinds[op.index()].as_ref().unwrap_or(NESTED)
    }

    /// True when a value shall be stored as integers.
    pub fn is_stored(&self, value: ValueId) -> bool {
        self.stored[self.root(value.index())]
    }

    /// Equal for values that must have one type.
    pub fn class(&self, value: ValueId) -> usize {
        self.root(value.index())
    }

    /// The values to calibrate: stored ones, save those whose type comes from the op that saturates them.
    pub fn calibrated(&self, graph: &Graph) -> Vec<ValueId> {
        let body = graph.body();
        let results = graph.ops_in(body).flat_map(|op| graph.op(op).results().to_vec());
        let values = graph.region(body).inputs().iter().copied().chain(results);
        values.filter(|&v| self.is_stored(v) && self.saturated_by(graph, v).is_none()).collect()
    }

    /// The op that only clips what its value holds, when it vanishes into the type of that value.
    pub fn saturated_by(&self, graph: &Graph, value: ValueId) -> Option<OpId> {
        let user = graph.only_user(value)?;
        (*self.kind(user) == Kind::Saturating).then_some(user)
    }

    /// What the graph takes in float, by the rules alone, and as planned; `None` when the target has no prices.
    pub fn prediction(&self) -> Option<Prediction> {
        self.prediction
    }

    /// Plans a graph. `excluded` gives a reason for ops that shall stay in float. A target without prices
    /// (`target.prices = None`) leaves all ops in integers that the rules put there.
    pub fn plan(graph: &Graph, target: &Target, excluded: &dyn Fn(&Graph, OpId) -> Option<String>) -> Placement {
        Placement::plan_sized(graph, graph, target, excluded)
    }

    /// Plans a graph whose extents are open, with the times that it takes as `sized`: the same graph with other extents.
    pub fn plan_sized(
        graph: &Graph,
        sized: &Graph,
        target: &Target,
        excluded: &dyn Fn(&Graph, OpId) -> Option<String>,
    ) -> Placement {
        let mut plan = Placement::empty(graph);
        let ops: Vec<OpId> = graph.ops_in(graph.body()).collect();
        let leads = leads_to_weights(graph, &ops, target);
        let gelus = lift_gelu::parts(graph);
        for &op in &ops {
            let kind = match excluded(graph, op) {
                Some(why) => Kind::Float(why),
                // A product in integers among them would be rounded on its way into the curve.
                None if gelus.contains(&op) => Kind::Float("it is part of a GELU, which runs in float as a whole".into()),
                None => plan.decide(graph, target, op, &leads),
            };
            plan.apply(graph, op, kind);
        }
        // Prices are those of ops that run alone: they do not know what is saved by running two together.
        let priced = if target.ops.fused.is_empty() { cut::cheapest(sized, target, &plan.kinds) } else { None };
        if let Some((mut floats, prediction)) = priced {
            let kinds = std::mem::replace(&mut plan, Placement::empty(graph)).kinds;
            for &op in &ops {
                let kind = floats.remove(&op).map(Kind::Float).or_else(|| kinds[op.index()].clone());
                kind.into_iter().for_each(|kind| plan.apply(graph, op, kind));
            }
            plan.prediction = Some(prediction);
        }
        plan.keep_float_results(graph, target, &ops);
        plan
    }

    fn empty(graph: &Graph) -> Placement {
        Placement {
            kinds: vec![None; graph.op_bound()],
            class: (0..graph.value_bound()).collect(),
            stored: vec![false; graph.value_bound()],
            prediction: None,
        }
    }

    fn decide(&self, graph: &Graph, target: &Target, op: OpId, leads: &[bool]) -> Kind {
        let name = graph.op(op).name();
        let known = target.ops.is_integer(name) || target.ops.is_movement(name) || target.ops.is_saturating(name);
        if !known && !target.ops.is_fused(name) {
            let remark = target.ops.remarks.get(&name.to_string());
            return Kind::Float(remark.cloned().unwrap_or_else(|| "the target has no integer kernel for it".into()));
        }
        if let Some(why) = unfit(graph, op) {
            return Kind::Float(why);
        }
        let operands: Vec<ValueId> = data_operands(graph, op);
        if target.ops.is_saturating(name) {
            let input = operands[0];
            let before = graph.def_op(input).map(|o| self.kind(o));
            let absorbed = before == Some(&Kind::Integer) && graph.use_count(input) == 1;
            return if absorbed && leads[op.index()] {
                Kind::Saturating
            } else if absorbed && is_last_activation(graph, op) {
                // Behind the last weights the clipping is still free, and the type gains the room below zero.
                Kind::Saturating
            } else {
                Kind::Float("what it clips has other readers, or is no integer op's result".into())
            };
        }
        if target.ops.is_fused(name) {
            match self.unrounded(graph, target, &operands).filter(|_| leads[op.index()]) {
                Some(operand) => return Kind::Fused(operand),
                None if !known => return Kind::Float("no integer op runs it along, or no op with weights follows".into()),
                None => {}
            }
        }
        let all_stored = operands.iter().all(|&v| graph.value(v).is_const() || self.is_stored(v));
        let any_stored = operands.iter().any(|&v| self.is_stored(v));
        if target.ops.is_movement(name) {
            let maker = graph.def_op(operands[0]);
            let rounded = !maker.is_some_and(|op| target.ops.gives_floats(graph.op(op).name()));
            return if !any_stored {
                Kind::Float("what it moves is float".into())
            } else if leads[op.index()] || rounded {
                Kind::Movement
            } else {
                Kind::Float("no op with weights follows".into())
            };
        }
        if has_weights(graph, op) {
            return Kind::Integer;
        }
        match (all_stored && any_stored, leads[op.index()]) {
            (true, true) => Kind::Integer,
            (false, _) => Kind::Float("an operand is float".into()),
            (_, false) => Kind::Float("no op with weights follows".into()),
        }
    }

    /// Of the operands of an op that can be fused, the first one that an integer op makes for it alone, when all others are
    /// stored.
    fn unrounded(&self, graph: &Graph, target: &Target, operands: &[ValueId]) -> Option<ValueId> {
        let unrounded = |v: ValueId| {
            graph.use_count(v) == 1
                && graph.def_op(v).is_some_and(|maker| match self.kind(maker) {
                    Kind::Integer => target.ops.gives_floats(graph.op(maker).name()),
                    kind => matches!(kind, Kind::Fused(_)),
                })
        };
        let operand = operands.iter().copied().find(|&v| unrounded(v))?;
        let stored = |v: ValueId| v == operand || graph.value(v).is_const() || self.is_stored(v);
        operands.iter().all(|&v| stored(v)).then_some(operand)
    }

    fn apply(&mut self, graph: &Graph, op: OpId, kind: Kind) {
        let operands: Vec<ValueId> = data_operands(graph, op).into_iter().filter(|&v| !graph.value(v).is_const()).collect();
        let results = graph.op(op).results().iter().copied();
        match &kind {
            Kind::Integer => operands.into_iter().chain(results).for_each(|v| self.store(v)),
            Kind::Movement => results.for_each(|r| {
                self.tie(operands[0], r);
                self.store(r);
            }),
            Kind::Saturating => results.for_each(|r| self.store(r)),
            Kind::Fused(operand) => {
                self.keep_float(*operand);
                results.for_each(|r| self.store(r));
            }
            Kind::Float(_) => {}
        }
        self.kinds[op.index()] = Some(kind);
    }

    /// What only float ops read stays float where the integer op that makes it can give floats right away.
    fn keep_float_results(&mut self, graph: &Graph, target: &Target, ops: &[OpId]) {
        for &op in ops {
            let result = graph.op(op).results().first().copied();
            let able = target.ops.gives_floats(graph.op(op).name()) && *self.kind(op) == Kind::Integer;
            let Some(result) = result.filter(|_| able) else { continue };
            let read = graph.value(result).users().iter().any(|u| match u {
                spaceevo_ir::User::Op(user, _) => !matches!(self.kind(*user), Kind::Float(_)),
                spaceevo_ir::User::Return(..) => false,
            });
            if !read {
                self.keep_float(result);
            }
        }
    }

    fn root(&self, mut at: usize) -> usize {
        while self.class[at] != at {
            at = self.class[at];
        }
        at
    }

    fn store(&mut self, value: ValueId) {
        let root = self.root(value.index());
        self.stored[root] = true;
    }

    fn keep_float(&mut self, value: ValueId) {
        let root = self.root(value.index());
        self.stored[root] = false;
    }

    fn tie(&mut self, a: ValueId, b: ValueId) {
        let (a, b) = (self.root(a.index()), self.root(b.index()));
        if a != b {
            self.class[b] = a;
            self.stored[a] |= self.stored[b];
        }
    }
}

/// Operands that carry activations or weights: all float ones; for movement ops, clips and Resize the first only.
pub fn data_operands(graph: &Graph, op: OpId) -> Vec<ValueId> {
    let record = graph.op(op);
    let several = ["Conv", "Gemm", "MatMul", "Add", "Mul", "Concat"].iter().any(|n| record.name().is_onnx(n));
    let count = match () {
        // The bias is no tensor of its own: its type follows from the others.
        _ if record.name().is_onnx("Conv") || record.name().is_onnx("Gemm") => 2,
        _ if several => record.operands().len(),
        _ => 1,
    };
    record.operands().iter().take(count).copied().flatten().collect()
}

/// True for the ops that hold a network's weights.
pub fn has_weights(graph: &Graph, op: OpId) -> bool {
    ["Conv", "Gemm", "MatMul"].iter().any(|n| graph.op(op).name().is_onnx(n))
}

/// By op index: an op with weights that can run in integers reads what comes out of this op, directly or not.
fn leads_to_weights(graph: &Graph, ops: &[OpId], target: &Target) -> Vec<bool> {
    let mut leads = vec![false; graph.op_bound()];
    for &op in ops.iter().rev() {
        let users = graph.op(op).results().iter().flat_map(|&r| graph.value(r).users());
        leads[op.index()] = users.into_iter().any(|user| match user {
            spaceevo_ir::User::Op(user, _) => {
                let runs = has_weights(graph, *user)
                    && target.ops.is_integer(graph.op(*user).name())
                    && unfit(graph, *user).is_none();
                runs || leads[user.index()]
            }
            spaceevo_ir::User::Return(..) => false,
        });
    }
    leads
}

/// True when what follows a clip is float only.
fn is_last_activation(graph: &Graph, op: OpId) -> bool {
    graph.value(graph.op(op).result()).users().iter().all(|u| match u {
        spaceevo_ir::User::Op(user, _) => !has_weights(graph, *user),
        spaceevo_ir::User::Return(..) => true,
    })
}

/// Why the form of an op does not allow integers; `None` when it does.
pub(crate) fn unfit(graph: &Graph, op: OpId) -> Option<String> {
    let record = graph.op(op);
    let body = graph.body();
    let bad = |why: &str| Some(why.to_owned());
    if record.operand(0).is_none() || record.results().is_empty() {
        return bad("it has no operand or no result");
    }
    let operands = data_operands(graph, op);
    if operands.iter().chain(record.results()).any(|&v| graph.value(v).ty().elem() != Some(Elem::F32)) {
        return bad("it works on other numbers than float32");
    }
    if operands.iter().all(|&v| graph.value(v).is_const()) {
        return bad("all its operands are constants");
    }
    if operands.iter().any(|&v| graph.value(v).ty().dims().is_some_and(|dims| dims.contains(&0))) {
        return bad("an operand is empty");
    }
    let nested = |v: ValueId| {
        graph.value(v).users().iter().any(|u| matches!(u, spaceevo_ir::User::Op(o, _) if graph.op(*o).region() != body))
    };
    if record.results().iter().any(|&v| nested(v)) || operands.iter().any(|&v| nested(v)) {
        return bad("a subgraph reads its operand or result");
    }
    let with_default = |v: ValueId| matches!(graph.value(v).def(), Def::Input(..)) && graph.value(v).tensor().is_some();
    if operands.iter().any(|&v| with_default(v)) {
        return bad("an operand is an input with a default value");
    }
    let constant = |index: usize| record.operand(index).is_none_or(|v| graph.value(v).is_const());
    let name = record.name().onnx_op();
    match name {
        "Conv" | "Gemm" if !constant(1) || !constant(2) => bad("weights or bias are no constants"),
        "Gemm" if record.float("alpha", 1.0) != 1.0 || record.float("beta", 1.0) != 1.0 || record.int("transA", 0) != 0 => {
            bad("alpha, beta or transA is not the default")
        }
        "Conv" | "Gemm" => {
            let dims = |index: usize| record.operand(index).and_then(|v| graph.value(v).ty().dims());
            let channels = match (name, dims(1).as_deref()) {
                ("Conv", Some([filters, _, _, ..])) => *filters,
                ("Gemm", Some([_, columns])) if record.int("transB", 0) == 0 => *columns,
                ("Gemm", Some([rows, _])) => *rows,
                _ => return bad("the rank of its weights is not one that it takes"),
            };
            let fits = dims(2).is_none_or(|d| d.iter().product::<usize>() == channels);
            if fits { None } else { bad("the bias is no vector of one number per channel") }
        }
        "MatMul" => match graph.value(operands[1]).ty().rank() {
            Some(2) if graph.value(operands[1]).is_const() => None,
            _ if operands.iter().all(|&v| !graph.value(v).is_const()) => None,
            _ => bad("the constant operand is no matrix on the right"),
        },
        "AveragePool" if record.ints("dilations").is_some_and(|d| d.iter().any(|&d| d != 1)) => bad("it has dilations"),
        "MaxPool" if record.results().len() > 1 => bad("it also gives indices"),
        "Resize" if record.str("mode", "nearest") != "nearest" => bad("it interpolates"),
        "Pad" => {
            let zero = record.operand(2).is_none_or(|v| splat(graph, v) == Some(0.0));
            if record.str("mode", "constant") != "constant" || zero {
                None
            } else {
                bad("it pads with another number than zero")
            }
        }
        "Relu" | "Clip" => match clip_bounds(graph, op) {
            Some((low, high)) if low <= 0.0 && high > 0.0 => None,
            _ => bad("its bounds are no constants around zero"),
        },
        _ => None,
    }
}

/// Bounds of a Relu or Clip, infinite where it has none; `None` when they are computed.
pub fn clip_bounds(graph: &Graph, op: OpId) -> Option<(f32, f32)> {
    let record = graph.op(op);
    if record.name().is_onnx("Relu") {
        return Some((0.0, f32::INFINITY));
    }
    let bound = |index: usize, name: &str, default: f32| match (record.operand(index), record.attrs().get(name)) {
        (Some(value), _) => splat(graph, value),
        (None, Some(attr)) => Attr::as_float(attr),
        (None, None) => Some(default),
    };
    Some((bound(1, "min", f32::NEG_INFINITY)?, bound(2, "max", f32::INFINITY)?))
}
