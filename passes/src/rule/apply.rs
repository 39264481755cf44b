//! Rules on a graph, greedily: where a pattern ends in an op, what the rule says takes its place.

use std::collections::BTreeMap;

use spaceevo_ir::{Def, Graph, NewOp, OpId, Place, Symbol, Tensor, Type, ValueId};

use crate::rewrite;
use crate::rule::Rule;
use crate::rule::build::{Build, Make, instantiate, result_type};
use crate::rule::matching::{Bound, Match, matches};
use crate::rule::terms::{Maker, Terms};

/// What became of a rule at an op.
#[derive(Clone, PartialEq, Debug)]
pub enum Applied {
    /// The pattern does not end here.
    No,
    /// It does, but the rule does not hold: why.
    Declined(String),
    /// The op was replaced.
    Yes,
}

/// Applies a rule where its pattern ends in `op`, once `allowed` says so; until then nothing is edited.
pub fn apply(rule: &Rule, graph: &mut Graph, op: OpId, allowed: &mut dyn FnMut(&Graph) -> bool) -> Applied {
    let [result] = graph.op(op).results()[..] else { return Applied::No };
    let mut why = None;
    let mut draft = Draft { graph, ops: Vec::new() };
    let mut all = matches(rule, &draft, Term::Old(result), &mut |reason| why = Some(reason));
    all.retain(|found| {
        let other = read_elsewhere(rule, graph, found);
        why = other.map(|v| format!("{} has other readers", graph.label(v))).or(why.take());
        other.is_none()
    });
    let Some(found) = all.into_iter().next() else { return why.map_or(Applied::No, Applied::Declined) };
    let Some(new) = instantiate(rule, &found, &mut draft) else {
        return Applied::Declined("what would take its place is of another type".into());
    };
    // Where the result is one of the model's, it takes an op of its own to carry its name.
    let nameless = |v: ValueId| graph.is_returned(v) || !matches!(graph.value(v).def(), Def::Op(..));
    if graph.is_returned(result) && matches!(new, Term::Old(v) if nameless(v)) {
        return Applied::Declined("it is a result of the model, and so is what would take its place".into());
    }
    let ops = draft.ops;
    if !allowed(graph) {
        return Applied::No;
    }
    let new = write(graph, op, rule.name(), ops, new);
    if graph.value(new).range().is_none() {
        let range = graph.value(result).range();
        graph.set_range(new, range);
    }
    graph.replace_all_uses(result, new);
    rewrite::erase_unread(graph, op);
    Applied::Yes
}

/// A value of the pattern that others read, too: the op that makes it would stay, and nothing would be saved.
fn read_elsewhere(rule: &Rule, graph: &Graph, found: &Match<Term>) -> Option<ValueId> {
    let inner = rule.pattern().iter().map(|&op| rule.text.graph.op(op).result()).filter(|&v| v != rule.root());
    let inner = inner.filter_map(|v| found.values.get(&v)).flat_map(Bound::all);
    let mut old = inner.filter_map(|term| if let Term::Old(v) = term { Some(*v) } else { None });
    let readers: Vec<OpId> = old
        .clone()
        .chain(found.values[&rule.root()].all().iter().filter_map(Term::old))
        .filter_map(|v| graph.def_op(v))
        .collect();
    old.find(|&v| {
        graph.value(v).users().iter().any(|user| !matches!(user, spaceevo_ir::User::Op(op, _) if readers.contains(op)))
    })
}

/// Puts drafted ops before `at`; gives what `term` became.
fn write(graph: &mut Graph, at: OpId, by: &str, drafted: Vec<Drafted>, term: Term) -> ValueId {
    let mut values: Vec<ValueId> = Vec::new();
    let value = |values: &[ValueId], term: Term| match term {
        Term::Old(value) => value,
        Term::New(index) => values[index],
    };
    for drafted in drafted {
        let new = match drafted {
            Drafted::Const(tensor, _) => rewrite::constant(graph, at, "", tensor),
            Drafted::Op(make, ty) => {
                let operands = make.operands.iter().map(|term| term.map(|term| value(&values, term)));
                let loc = graph.op(at).loc().clone();
                let new = NewOp::new(make.name).attrs(make.attrs).operands(operands).made(by, &[&loc]).result("", ty);
                let op = graph.insert(Place::Before(at), new);
                graph.op(op).result()
            }
        };
        values.push(new);
    }
    value(&values, term)
}

/// A value of the graph, or one of the draft.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Term {
    Old(ValueId),
    New(usize),
}

impl Term {
    fn old(&self) -> Option<ValueId> {
        if let Term::Old(value) = self { Some(*value) } else { None }
    }
}

enum Drafted {
    Op(Make<Term>, Type),
    Const(Tensor, Type),
}

/// A graph, and what shall be added to it.
struct Draft<'a> {
    graph: &'a Graph,
    ops: Vec<Drafted>,
}

impl Terms for Draft<'_> {
    type Value = Term;

    fn makers(&self, value: Term) -> Vec<Maker<'_, Term>> {
        let Some(op) = value.old().and_then(|v| self.graph.def_op(v)).map(|op| self.graph.op(op)) else { return Vec::new() };
        if op.results().len() != 1 || !op.regions().is_empty() || op.meta().is_some_and(|meta| !meta.overload.is_empty()) {
            return Vec::new();
        }
        let present = op.operands().iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let operands = op.operands()[..present].iter().map(|v| v.map(Term::Old)).collect();
        vec![Maker { name: op.name(), attrs: op.attrs(), operands }]
    }

    fn ty(&self, value: Term) -> &Type {
        match value {
            Term::Old(value) => self.graph.value(value).ty(),
            Term::New(index) => match &self.ops[index] {
                Drafted::Op(_, ty) | Drafted::Const(_, ty) => ty,
            },
        }
    }

    fn tensor(&self, value: Term) -> Option<&Tensor> {
        match value {
            Term::Old(value) => self.graph.const_of(value),
            Term::New(index) => match &self.ops[index] {
                Drafted::Const(tensor, _) => Some(tensor),
                Drafted::Op(..) => None,
            },
        }
    }

    fn is_const(&self, value: Term) -> bool {
        self.tensor(value).is_some()
    }

    fn opsets(&self) -> &BTreeMap<Symbol, u64> {
        &self.graph.meta.opsets
    }
}

impl Build for Draft<'_> {
    fn add(&mut self, make: Make<Term>) -> Option<Term> {
        let known = |term: Term| (self.ty(term).clone(), self.tensor(term).cloned());
        let operands: Vec<_> = make.operands.iter().map(|term| term.map(known)).collect();
        let mut ty = result_type(&make.name, &make.attrs, &operands, self.opsets())?;
        if let Some(like) = &make.like {
            ty = spaceevo_ir::shape::merge(like, &ty).ok()?;
        }
        if let Type::Tensor(tensor) = &mut ty {
            tensor.quant = make.stored.clone();
        }
        self.ops.push(Drafted::Op(make, ty));
        Some(Term::New(self.ops.len() - 1))
    }

    fn constant(&mut self, tensor: Tensor) -> Term {
        let ty = Type::Tensor(tensor.ty());
        self.ops.push(Drafted::Const(tensor, ty));
        Term::New(self.ops.len() - 1)
    }
}
