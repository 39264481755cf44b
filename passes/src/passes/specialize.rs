//! Makes a search space whose parameters are bound a plain model.
//!
//! ```text
//! param $w in 16..32 step 8
//! param $block in {plain, skip}
//! bind $w = 24
//! bind $block = plain                                               %w = const [..] : f32[24,16,3,3]
//! %w = space.Crop %w.max {to = [$w, 16, 3, 3]} : f32[$w,16,3,3]     %c = onnx.Conv %x, %w : f32[1,24,8,8]
//! %c = onnx.Conv %x, %w : f32[1,$w,8,8]                       ──▶   %r = onnx.Relu %c : f32[1,24,8,8]
//! %y = space.Choice %c {pick = $block} {
//!   option plain { %r = onnx.Relu %c  yield %r }
//!   option skip { yield %c }
//! }
//! ```

use std::collections::BTreeSet;

use spaceevo_ir::bind::{self, Unresolved};
use spaceevo_ir::nearest::nearest;
use spaceevo_ir::space::{Bind, Item};
use spaceevo_ir::verify::Form;
use spaceevo_ir::{Diagnostic, Graph, Loc, OpId, SPACE, Severity, Tensor, Type, User, ValueId, shape};

use crate::pass::{Aborted, Effect, OptionInfo, OptionKind, Outcome, Pass, PassContext, PassInfo};
use crate::rewrite;
use crate::unfold::{self, Weights};

/// See the module documentation.
pub(crate) struct Specialize;

static INFO: PassInfo = PassInfo {
    name: "specialize",
    summary: "make a search space whose parameters are bound a plain model",
    doc: "Blocks are written out, with weights of their final size. Every `space.Choice` becomes the ops of the option that it picks; every parameter in a type or attribute becomes \
          its value; every `space.Crop` of a constant becomes a constant of its own: the first channels, and the middle of \
          the kernel. What only options that were not picked read is dropped. The `param` and `bind` lines go, and shapes \
          are inferred anew. Names and locations of ops stay.\n\n\
          Values come from the `bind` lines of the graph and from the option `bind`, which wins: \
          `specialize{bind=w=24+block=plain}`; those of a list stand in brackets, `k=[3;5]`. It reports, and leaves the graph as it was: a parameter without a value, a \
          value outside of its domain, a value for a parameter that is not declared, a choice that picks an option that \
          it does not have, an expression without a value that fits its place, and a crop of what is computed or smaller.",
    effect: Effect::Exact,
    accepts: Form::Space,
    leaves: Form::Concrete,
    options: &[
        OptionInfo {
            name: "bind",
            kind: OptionKind::Text,
            default: "",
            help: "values of parameters, name=value, separated by +",
        },
        OptionInfo { name: "seed", kind: OptionKind::Int, default: "0", help: "where weights of blocks are drawn from" },
    ],
};

impl Pass for Specialize {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted> {
        // All or nothing: what fails halfway is neither a space nor a model. Copies of a graph share its weights.
        let seed = cx.int("seed").unwrap_or(0) as u64;
        let mut work = Work { graph: graph.clone(), found: Vec::new(), choices: 0, crops: 0, values: 0, made: 0, seed };
        work.bind(cx.text("bind"));
        work.check_table();
        for step in [Work::unfold, Work::choose, Work::fill_in, Work::crop, Work::check_left, Work::finish] {
            if work.found.iter().any(|d| d.severity == Severity::Error) {
                break;
            }
            step(&mut work);
        }
        let mut aborted = None;
        for diagnostic in std::mem::take(&mut work.found) {
            match diagnostic.severity {
                Severity::Error => aborted = Some(cx.error(diagnostic)),
                _ => cx.warn(diagnostic),
            }
        }
        if let Some(aborted) = aborted {
            return Err(aborted);
        }
        let ops = graph.all_ops();
        let changed = work.changed() || !graph.space.params.is_empty();
        let at = ops.iter().find(|&&op| &*graph.op(op).name().domain == SPACE).or(ops.first()).copied();
        if !changed || at.is_some_and(|op| !cx.rewrite(graph, op, "specialized")) {
            return Ok(Outcome::Unchanged);
        }
        cx.count("parameters", graph.space.params.len() as u64);
        cx.count("choices", work.choices);
        cx.count("crops", work.crops);
        *graph = work.graph;
        Ok(Outcome::Changed)
    }
}

/// A graph on its way from space to model, and what is wrong with it.
struct Work {
    graph: Graph,
    found: Vec<Diagnostic>,
    choices: u64,
    crops: u64,
    /// Types and attributes that got a value.
    values: u64,
    /// Ops that blocks were written out as.
    made: u64,
    seed: u64,
}

impl Work {
    fn error(&mut self, code: &'static str, loc: Loc, message: String) -> &mut Diagnostic {
        self.found.push(Diagnostic::error(code, loc, message));
        let last = self.found.len() - 1;
        &mut self.found[last]
    }

    fn changed(&self) -> bool {
        self.choices + self.crops + self.values + self.made > 0
    }

    fn at(&mut self, op: OpId, code: &'static str, message: String) -> &mut Diagnostic {
        let record = self.graph.op(op);
        let (loc, name) = (record.loc().clone(), record.name().clone());
        self.error(code, loc, format!("{name}: {message}"))
    }

    /// Adds the values that the option gives.
    fn bind(&mut self, option: &str) {
        let mut given = BTreeSet::new();
        for part in option.split('+').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((name, value)) = part.split_once('=') else {
                self.error("pipeline-syntax", Loc::Unknown, format!("bind: '{part}' is not name=value"));
                continue;
            };
            let (name, value) = (name.trim().trim_start_matches('$'), value.trim());
            if !given.insert(name) {
                self.error("pipeline-syntax", Loc::Unknown, format!("bind: ${name} is given twice"));
            }
            let item = match value.strip_prefix('[').and_then(|list| list.strip_suffix(']')) {
                Some(list) => Item::List(list.split(';').map(|one| Item::from_text(one.trim())).collect()),
                None => Item::from_text(value),
            };
            self.graph.space.binds.insert(name.into(), Bind { value: item, loc: Loc::Unknown });
        }
    }

    /// Every parameter needs a value of its domain, and every value a parameter.
    fn check_table(&mut self) {
        let space = self.graph.space.clone();
        for param in &space.params {
            let (name, domain) = (&param.name, &param.domain);
            match space.binds.get(name) {
                None => {
                    let message = format!("${name} has no value; it may be {domain}");
                    let notes = &mut self.error("space-unbound", param.loc.clone(), message).notes;
                    notes.push(format!("add `bind ${name} = …` to the graph, or give the pass {{bind={name}=…}}"));
                }
                Some(bind) => match space.misfit(param, &bind.value) {
                    Ok(None) => {}
                    Ok(Some(message)) => {
                        let loc = if bind.loc == Loc::Unknown { &param.loc } else { &bind.loc };
                        let notes = &mut self.error("param-domain", loc.clone(), message).notes;
                        notes.push(format!("${name} may be {domain}"));
                    }
                    // That what its domain depends on has no value is said there.
                    Err(Unresolved::Unbound(_)) => {}
                    Err(why) => drop(self.error("param-domain", param.loc.clone(), format!("${name}: {why}"))),
                },
            }
        }
        for (name, bind) in space.binds.iter().filter(|(name, _)| space.param(name).is_none()) {
            let near = nearest(name, space.params.iter().map(|p| &*p.name));
            let notes = &mut self.error("param-unknown", bind.loc.clone(), format!("${name} is not declared")).notes;
            notes.extend(near.map(|near| format!("did you mean ${near}?")));
        }
    }

    /// Writes out blocks: with everything bound they have no choices left.
    fn unfold(&mut self) {
        if unfold::is_folded(&self.graph) {
            match unfold::unfold(&mut self.graph, Weights::Drawn(self.seed)) {
                Ok(made) => self.made += made as u64,
                Err(found) => self.found.extend(found),
            }
        }
    }

    /// Puts the picked option in the place of every choice. Those around come before those inside, so that nothing is asked
    /// of options that are not picked.
    fn choose(&mut self) {
        for op in self.graph.all_ops() {
            if !self.graph.is_live(op) || !self.graph.op(op).name().is(SPACE, "Choice") {
                continue;
            }
            let record = self.graph.op(op);
            let label = match bind::picked(&self.graph.space, record) {
                Ok(label) => label,
                Err(why) => {
                    self.at(op, "space-pick", why.to_string());
                    continue;
                }
            };
            let labels: Vec<String> = record.regions().iter().map(|(label, _)| label.to_string()).collect();
            match record.region_named(&label) {
                Some(region) if self.graph.region(region).inputs().is_empty() => self.take(op, &label),
                Some(_) => drop(self.at(op, "region-arity", format!("option {label} takes inputs"))),
                None => {
                    let message = format!("it picks {label}, which is none of its options");
                    self.at(op, "space-pick", message).notes.push(format!("its options: {}", labels.join(", ")));
                }
            }
        }
    }

    /// Puts the ops of an option in the place of its choice.
    fn take(&mut self, op: OpId, label: &str) {
        let Some(region) = self.graph.op(op).region_named(label) else { return };
        let results = self.graph.op(op).results().to_vec();
        let yielded = self.graph.region(region).results().len();
        if yielded != results.len() {
            self.at(op, "region-arity", format!("option {label} yields {yielded} values, not {}", results.len()));
            return;
        }
        for (index, &old) in results.iter().enumerate() {
            let new = self.graph.region(region).results()[index];
            let (Some(declared), Some(given)) = (self.bound(old), self.bound(new)) else { return };
            match shape::merge(&declared, &given) {
                Ok(ty) if self.graph.def_op(new).is_some() => self.graph.set_type(new, ty),
                Ok(_) => {}
                Err(why) => {
                    let message = format!("option {label} yields another {} than declared: {why}", self.graph.label(old));
                    self.at(op, "op-type", message);
                    return;
                }
            }
        }
        let outside = self.read_from_outside(op);
        let yielded = self.graph.inline_region(region);
        for (old, new) in results.into_iter().zip(yielded) {
            if self.graph.value(new).range().is_none() {
                let range = self.graph.value(old).range();
                self.graph.set_range(new, range);
            }
            self.graph.replace_all_uses(old, new);
        }
        self.graph.erase_op(op);
        for value in outside {
            if self.graph.use_count(value) == 0 {
                rewrite::erase_unread_value(&mut self.graph, value);
            }
        }
        self.choices += 1;
    }

    /// Values around an op that it or its regions read.
    fn read_from_outside(&self, op: OpId) -> BTreeSet<ValueId> {
        let graph = &self.graph;
        let inside = |v: ValueId| {
            graph.region_of(v).is_some_and(|r| graph.op(op).regions().iter().any(|(_, own)| graph.encloses(*own, r)))
        };
        let mut found: BTreeSet<ValueId> = graph.op(op).operands().iter().flatten().copied().collect();
        let mut stack: Vec<_> = graph.op(op).regions().iter().map(|(_, region)| *region).collect();
        while let Some(region) = stack.pop() {
            found.extend(graph.region(region).results().iter().filter(|&&v| !inside(v)));
            for inner in graph.ops_in(region) {
                found.extend(graph.op(inner).operands().iter().flatten().filter(|&&v| !inside(v)));
                stack.extend(graph.op(inner).regions().iter().map(|(_, region)| *region));
            }
        }
        found
    }

    /// The type of a value with values for its expressions; reports why there are none.
    fn bound(&mut self, value: ValueId) -> Option<Type> {
        let ty = self.graph.value(value).ty();
        match self.graph.space.bound_type(ty) {
            Ok(bound) => Some(bound.unwrap_or_else(|| ty.clone())),
            Err(why) => {
                let message = format!("{}: its type {ty}: {why}", self.graph.label(value));
                let op = self.graph.def_op(value).or_else(|| reader(&self.graph, value));
                let loc = op.map_or(Loc::Unknown, |op| self.graph.op(op).loc().clone());
                self.error("space-value", loc, message);
                None
            }
        }
    }

    /// Writes values into types and attributes.
    fn fill_in(&mut self) {
        for region in self.graph.all_regions() {
            let r = self.graph.region(region);
            let made = self.graph.ops_in(region).flat_map(|op| self.graph.op(op).results());
            let values: Vec<ValueId> = r.inputs().iter().chain(r.consts()).chain(made).copied().collect();
            for value in values {
                if let Some(ty) = self.bound(value).filter(|ty| ty != self.graph.value(value).ty()) {
                    self.graph.set_type(value, ty);
                    self.values += 1;
                }
            }
        }
        for op in self.graph.all_ops() {
            match bind::bound_attrs(&self.graph, op) {
                Ok(attrs) => {
                    self.values += attrs.len() as u64;
                    attrs.into_iter().for_each(|(name, attr)| self.graph.set_attr(op, name, attr));
                }
                Err((name, why)) => drop(self.at(op, "space-value", format!("attribute {name}: {why}"))),
            }
        }
        for index in 0..self.graph.functions.len() {
            for (name, attr) in self.graph.functions[index].defaults.clone() {
                match self.graph.space.bound_attr(&attr, None) {
                    Ok(Some(bound)) => drop(self.graph.functions[index].defaults.insert(name, bound)),
                    Ok(None) => {}
                    Err(why) => {
                        let message = format!("{}: attribute {name}: {why}", self.graph.functions[index].name);
                        self.error("space-value", Loc::Unknown, message);
                    }
                }
            }
        }
    }

    /// Makes every crop of a constant a constant.
    fn crop(&mut self) {
        for op in self.graph.all_ops() {
            if !self.graph.is_live(op) || !self.graph.op(op).name().is(SPACE, "Crop") {
                continue;
            }
            let record = self.graph.op(op);
            let (&[Some(source)], &[result]) = (record.operands(), record.results()) else {
                self.at(op, "op-arity", "takes one operand and makes one result".into());
                continue;
            };
            let Some(tensor) = self.graph.const_of(source).filter(|_| self.graph.value(source).ty().quant().is_none())
            else {
                let message = format!("{} is no constant of real numbers", self.graph.label(source));
                self.at(op, "space-crop", message).notes.push("cut what is computed with onnx.Slice".into());
                continue;
            };
            match bind::crop(&self.graph.space, record, tensor) {
                Ok(cropped) => self.exchange(op, result, cropped),
                Err(why @ Unresolved::Failed(_)) => drop(self.at(op, "space-crop", why.to_string())),
                Err(why) => drop(self.at(op, "space-value", why.to_string())),
            }
        }
    }

    /// Lets the readers of a crop read what it leaves.
    fn exchange(&mut self, op: OpId, result: ValueId, cropped: Tensor) {
        if let Err(why) = shape::merge(self.graph.value(result).ty(), &Type::Tensor(cropped.ty())) {
            let message = format!("the declared type of {} cannot be: {why}", self.graph.label(result));
            self.at(op, "op-type", message);
            return;
        }
        let name = self.graph.value(result).name().clone();
        let new = rewrite::constant(&mut self.graph, op, name, cropped);
        self.graph.replace_all_uses(result, new);
        rewrite::erase_unread(&mut self.graph, op);
        self.crops += 1;
    }

    /// What is left of the space has no meaning yet.
    fn check_left(&mut self) {
        for op in self.graph.all_ops() {
            if &*self.graph.op(op).name().domain == SPACE {
                self.at(op, "form-space-op", "specialize does not know this op".into());
            }
        }
    }

    /// Drops the table and infers shapes: what cannot be is a mistake of the space.
    fn finish(&mut self) {
        self.graph.space = Default::default();
        self.graph.touch();
        if self.changed() {
            self.found.extend(shape::infer(&mut self.graph));
        }
    }
}

/// An op that reads a value.
fn reader(graph: &Graph, value: ValueId) -> Option<OpId> {
    graph.value(value).users().iter().find_map(|user| if let User::Op(op, _) = user { Some(*op) } else { None })
}
