//! Writing out what a search space says in blocks: every call becomes the ops of its block, every repetition its rounds, every
//! layer an op with weights of their own.
//!
//! What is bound is decided; what is open becomes `space.Choice`, and weights whose extents are open are stored at their largest
//! and cut by `space.Crop`. So the result is a space without blocks, whose choices share weights as the rounds of a stage do:
//! a *supernet*. With every parameter bound it is a plain network.
//!
//! The number of channels of every value is followed as an expression, since blocks compute with it (`round8(expand * c)`).

mod blocks;
mod channels;
mod layers;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use spaceevo_ir::bind::Unresolved;
use spaceevo_ir::block::Block;
use spaceevo_ir::space::{Expr, SpaceTable};
use spaceevo_ir::{
    Attr, Attrs, Diagnostic, Graph, Loc, NewOp, ONNX, OpId, OpName, Place, RegionId, SPACE, Symbol, Type, ValueId,
};

/// Where the numbers of weights come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weights {
    /// Drawn from a seed, uniform within `sqrt(6 / fan_in)` (He et al. 2015); batch normalizations change nothing.
    Drawn(u64),
    /// There are none: weights are inputs of the graph, of their type. For whoever counts, or has them elsewhere.
    Declared,
}

/// Ops, calls and rounds that one space may write out.
const MAX_MADE: usize = 200_000;
/// Elements that the weights of one space may have together.
const MAX_ELEMENTS: u64 = 1 << 29;
/// Numbers, names and functions that the expressions of one space may be made of together.
const MAX_PARTS: usize = 2_000_000;
/// Calls that may nest.
const MAX_CALLS: u32 = 24;
/// Before it, batch normalization and Gemm said more in attributes.
const LEAST_OPSET: u64 = 7;
/// Rounds of one repetition.
const MAX_ROUNDS: u32 = 64;

/// True when a graph says anything in blocks or layers that [`unfold`] writes out.
pub fn is_folded(graph: &Graph) -> bool {
    !graph.space.blocks.is_empty() || graph.all_ops().iter().any(|&op| is_layer(graph.op(op).name()))
}

/// The ops that are written out; `Choice` and `Crop` are what they are written as.
fn is_layer(name: &OpName) -> bool {
    &*name.domain == SPACE && matches!(&*name.op, "Call" | "Repeat" | "Conv" | "BatchNorm" | "Linear")
}

/// Writes out all blocks of a graph; returns how many ops that made.
///
/// # Errors
/// What is wrong with the space; the graph is then neither one nor the other, so work on a copy.
pub fn unfold(graph: &mut Graph, weights: Weights) -> Result<usize, Vec<Diagnostic>> {
    let table = graph.space.clone();
    let blocks = table.blocks.iter().map(|block| (block.name.clone(), Rc::new(block.clone()))).collect();
    for input in graph.region(graph.body()).inputs().to_vec() {
        if let Ok(Some(bound)) = table.bound_type(graph.value(input).ty()) {
            graph.set_type(input, bound);
        }
    }
    if let Some(old) = graph.opset_in(graph.body(), ONNX).filter(|&opset| opset < LEAST_OPSET) {
        let message = format!("layers are written in operator set {LEAST_OPSET} or a newer one, and the graph has {old}");
        return Err(vec![Diagnostic::error("opset-too-old", Loc::Unknown, message)]);
    }
    let layers: Vec<OpId> = graph.all_ops();
    let before = graph.value_bound();
    let mut work = Unfolder {
        graph,
        table,
        blocks,
        weights,
        channels: HashMap::new(),
        made: 0,
        elements: 0,
        drawn: 0,
        parts: Cell::new(0),
        seen: Vec::new(),
    };
    let mut found = Vec::new();
    for op in layers {
        if let Err(diagnostic) = work.top(op, before) {
            found.push(diagnostic);
        }
    }
    let made = work.made;
    graph.space.blocks.clear();
    graph.space.imports.clear();
    graph.space.lets.iter_mut().for_each(|one| one.import = None);
    graph.touch();
    if found.is_empty() { Ok(made) } else { Err(found) }
}

type Made<T> = Result<T, Diagnostic>;

/// A graph whose blocks are being written out.
struct Unfolder<'g> {
    graph: &'g mut Graph,
    table: SpaceTable,
    blocks: BTreeMap<Symbol, Rc<Block>>,
    weights: Weights,
    /// What is known of the numbers of channels.
    channels: HashMap<ValueId, Expr>,
    made: usize,
    elements: u64,
    /// Weights drawn so far: each has a seed of its own.
    drawn: u64,
    /// Parts of expressions so far.
    parts: Cell<usize>,
    /// Blocks being written out, the outermost first.
    seen: Vec<Symbol>,
}

/// Where something is written out, and for whom.
#[derive(Clone)]
struct Site {
    place: Place,
    /// What its values are called.
    path: String,
    loc: Loc,
    calls: u32,
}

impl Site {
    fn named(&self, more: &str) -> Site {
        Site { path: if self.path.is_empty() { more.to_owned() } else { format!("{}.{more}", self.path) }, ..self.clone() }
    }

    fn error(&self, code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, self.loc.clone(), message)
    }

    fn value(&self, why: Unresolved) -> Diagnostic {
        self.error("space-value", format!("{}: {why}", self.path))
    }
}

/// What names stand for: parameters of the block, `let`s, extents of what came in.
type Names = BTreeMap<Symbol, Expr>;

impl Unfolder<'_> {
    /// An op of the graph itself.
    fn top(&mut self, op: OpId, before: usize) -> Made<()> {
        let record = self.graph.op(op);
        let (name, attrs, loc) = (record.name().clone(), record.attrs().clone(), record.loc().clone());
        let operands: Vec<ValueId> = record.operands().iter().flatten().copied().collect();
        if !is_layer(&name) {
            if let (Some(&result), Some(channels)) =
                (record.results().first(), self.channels_after(&name, &attrs, &operands))
            {
                self.channels.insert(result, channels);
            }
            return Ok(());
        }
        let &[result] = record.results() else {
            return Err(Diagnostic::error("op-arity", loc, format!("{name}: it makes one value")));
        };
        let label = self.graph.value(result).name().clone();
        let site = Site { place: Place::Before(op), path: label.to_string(), loc, calls: 0 };
        let new = self.op(&name, &attrs, operands, &Names::new(), &site)?;
        let (declared, range) = (self.graph.value(result).ty().clone(), self.graph.value(result).range());
        self.graph.replace_all_uses(result, new);
        if new.index() >= before && self.graph.def_op(new).is_some() {
            self.graph.set_name(new, label);
            self.graph.set_range(new, range);
            if declared != Type::Unknown {
                self.graph.set_type(new, declared);
            }
        }
        self.graph.erase_op(op);
        Ok(())
    }

    /// Any op, of the graph or of a block.
    fn op(&mut self, name: &OpName, attrs: &Attrs, operands: Vec<ValueId>, names: &Names, at: &Site) -> Made<ValueId> {
        self.count(at)?;
        if &*name.domain != SPACE {
            return self.plain(name, attrs, operands, names, at);
        }
        match &*name.op {
            "Call" => self.call(attrs, &operands, names, at),
            "Repeat" => self.repeat(attrs, &operands, names, at),
            "Conv" => self.conv(attrs, &operands, names, at),
            "BatchNorm" => self.batch_norm(attrs, &operands, names, at),
            "Linear" => self.linear(attrs, &operands, names, at),
            _ => Err(at.error("space-block", format!("{name}: blocks know Call, Repeat, Conv, BatchNorm and Linear"))),
        }
    }

    fn count(&mut self, at: &Site) -> Made<()> {
        self.made += 1;
        if self.made > MAX_MADE {
            return Err(at.error("space-size", format!("{}: more than {MAX_MADE} ops, calls and rounds", at.path)));
        }
        Ok(())
    }

    /// An ONNX op with values for its attributes.
    fn plain(&mut self, name: &OpName, attrs: &Attrs, operands: Vec<ValueId>, names: &Names, at: &Site) -> Made<ValueId> {
        let mut own = Attrs::new();
        for (key, attr) in attrs {
            own.insert(key.clone(), self.attr(attr, names, at)?);
        }
        let channels = self.channels_after(name, &own, &operands);
        let new = NewOp::new(name.clone()).operands(operands.into_iter().map(Some)).attrs(own);
        Ok(self.insert(new, channels, at))
    }

    /// Places an op whose result is called as the site is.
    fn insert(&mut self, new: NewOp, channels: Option<Expr>, at: &Site) -> ValueId {
        let op = self.graph.insert(at.place, new.result(at.path.as_str(), Type::Unknown).loc(at.loc.clone()));
        let result = self.graph.op(op).result();
        self.channels.extend(channels.map(|channels| (result, channels)));
        result
    }

    /// An attribute with values in the place of names.
    fn attr(&self, attr: &Attr, names: &Names, at: &Site) -> Made<Attr> {
        let fold = |expr: &Expr| -> Made<Attr> {
            Ok(match self.fold(expr, names, at)? {
                Expr::Int(n) => Attr::Int(n),
                Expr::Float(x) => Attr::Float(x as f32),
                Expr::Name(word) => Attr::text(&word),
                open => Attr::Expr(open),
            })
        };
        match attr {
            Attr::Word(word) if names.contains_key(word) => fold(&Expr::Name(word.clone())),
            Attr::Expr(expr) => fold(expr),
            Attr::List(items) => {
                let items = items.iter().map(|item| self.attr(item, names, at)).collect::<Made<Vec<Attr>>>()?;
                Ok(spaceevo_ir::text::list_of(items))
            }
            other => Ok(other.clone()),
        }
    }

    /// An expression with values in the place of names, and what can be computed computed.
    fn fold(&self, expr: &Expr, names: &Names, at: &Site) -> Made<Expr> {
        let put_in = expr.with(names).map_err(|why| at.value(why))?;
        self.parts.set(self.parts.get() + put_in.parts());
        if self.parts.get() > MAX_PARTS {
            return Err(at.error("space-size", format!("{}: expressions of more than {MAX_PARTS} parts", at.path)));
        }
        self.table.fold(&put_in).map_err(|why| at.value(why))
    }

    /// A number or word that an attribute holds.
    fn argument(&self, attr: &Attr, names: &Names, at: &Site) -> Made<Expr> {
        let expr = match attr {
            Attr::Int(n) => Expr::Int(*n),
            // By way of its digits: 0.1 means the number that it says, not the nearest single.
            Attr::Float(x) => Expr::Float(x.to_string().parse().unwrap_or(f64::from(*x))),
            Attr::Word(word) => Expr::Name(word.clone()),
            Attr::Str(bytes) => Expr::Name(String::from_utf8_lossy(bytes).into()),
            Attr::Expr(expr) => expr.clone(),
            other => return Err(at.error("space-value", format!("{}: {other} is neither number nor word", at.path))),
        };
        self.fold(&expr, names, at)
    }

    /// An argument by name.
    fn given(&self, attrs: &Attrs, name: &str, names: &Names, at: &Site) -> Made<Option<Expr>> {
        attrs.get(name).map(|attr| self.argument(attr, names, at)).transpose()
    }

    /// A choice between options that are built one after the other; their results become its result.
    fn choose(
        &mut self,
        pick: Expr,
        labels: &[Symbol],
        at: &Site,
        mut build: impl FnMut(&mut Self, usize, &Site) -> Made<ValueId>,
    ) -> Made<(ValueId, Vec<ValueId>)> {
        self.count(at)?;
        let new = NewOp::new(OpName::new(SPACE, "Choice")).attr("pick", Attr::Expr(pick)).loc(at.loc.clone());
        let op = self.graph.insert(at.place, new);
        let mut built = Vec::new();
        for (index, label) in labels.iter().enumerate() {
            let region = self.graph.add_region(op, label.clone(), "");
            let value = build(self, index, &Site { place: Place::End(region), ..at.clone() })?;
            self.graph.set_results(region, vec![value]);
            built.push(value);
        }
        let result = self.graph.add_result(op, at.path.as_str(), Type::Unknown);
        Ok((result, built))
    }

    fn region(&self, at: &Site) -> RegionId {
        match at.place {
            Place::Before(op) | Place::After(op) => self.graph.op(op).region(),
            Place::End(region) | Place::Start(region) => region,
        }
    }
}
