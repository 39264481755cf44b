//! The matcher: finds all ways in which a pattern is made, from its root to its holes.

use std::collections::BTreeMap;

use spaceevo_ir::{Attr, Attrs, OpId, OpName, Symbol, Tensor, ValueId};

use crate::pass::Effect;
use crate::rule::terms::{Maker, Terms, default_of, is_idle, without_defaults};
use crate::rule::{ANY, Rule, expression};

/// What a value of a pattern stands for.
#[derive(Clone, PartialEq, Debug)]
pub enum Bound<V> {
    /// One value.
    One(V),
    /// The remaining operands of an op, or what they are made of.
    List(Vec<V>),
}

impl<V> Bound<V> {
    /// All values.
    pub fn all(&self) -> &[V] {
        match self {
            Bound::One(one) => std::slice::from_ref(one),
            Bound::List(list) => list,
        }
    }
}

/// An op that was found.
#[derive(Clone, Debug)]
pub struct Made<V> {
    /// Operator.
    pub name: OpName,
    /// The attributes that the pattern does not name.
    pub attrs: Attrs,
    /// Operands.
    pub operands: Vec<Option<V>>,
}

/// What the names of a rule stand for.
#[derive(Clone, Debug)]
pub struct Match<V> {
    /// Values.
    pub values: BTreeMap<ValueId, Bound<V>>,
    /// Attributes by `$name`.
    pub attrs: BTreeMap<Symbol, Attr>,
    /// Remaining attributes by `..$name`.
    pub rest: BTreeMap<Symbol, Attrs>,
    /// Operators by the `name` of `any.name`.
    pub ops: BTreeMap<Symbol, OpName>,
    /// How the ops of the pattern were found (of lists: the last one).
    pub found: BTreeMap<OpId, Made<V>>,
}

impl<V> Default for Match<V> {
    fn default() -> Self {
        Match {
            values: BTreeMap::new(),
            attrs: BTreeMap::new(),
            rest: BTreeMap::new(),
            ops: BTreeMap::new(),
            found: BTreeMap::new(),
        }
    }
}

/// More matches of one rule at one value are not looked at.
const MOST: usize = 64;

/// All matches of a rule that end in `root` and whose conditions hold; `refused` gets the conditions that did not, where all
/// else agrees.
pub fn matches<T: Terms>(rule: &Rule, terms: &T, root: T::Value, refused: &mut dyn FnMut(String)) -> Vec<Match<T::Value>> {
    let search = Search { rule, terms };
    let mut found = search.value(rule.root, root, None, Match::default());
    found.retain_mut(|found| {
        // What is rounded twice to stored numbers is another function by a whole step.
        let stored = || found.values.values().flat_map(Bound::all).find(|&&v| terms.ty(v).quant().is_some());
        if rule.effect == Effect::Rounding && stored().is_some() {
            refused("it holds for real numbers, and some here are stored".into());
            return false;
        }
        let broken = rule.text.guards.iter().find(|guard| !super::guard::holds(rule, guard, found, terms));
        if let Some(guard) = broken {
            refused(super::guard::shown(rule, guard));
        }
        broken.is_none()
    });
    found
}

struct Search<'a, T> {
    rule: &'a Rule,
    terms: &'a T,
}

impl<T: Terms> Search<'_, T> {
    /// All ways in which the value `wanted` of the pattern is `found`; `lane` is the place in lists.
    fn value(
        &self,
        wanted: ValueId,
        found: T::Value,
        lane: Option<usize>,
        mut so_far: Match<T::Value>,
    ) -> Vec<Match<T::Value>> {
        let lane = lane.filter(|_| self.rule.is_list(wanted));
        match (so_far.values.get_mut(&wanted), lane) {
            (Some(Bound::One(known)), None) => return if *known == found { vec![so_far] } else { Vec::new() },
            (Some(Bound::List(list)), Some(lane)) => match list.get(lane) {
                Some(&known) => return if known == found { vec![so_far] } else { Vec::new() },
                None => list.push(found),
            },
            (None, None) => drop(so_far.values.insert(wanted, Bound::One(found))),
            (None, Some(0)) => drop(so_far.values.insert(wanted, Bound::List(vec![found]))),
            _ => return Vec::new(),
        }
        let graph = &self.rule.text.graph;
        if let Some(tensor) = graph.const_of(wanted) {
            let number = |t: &spaceevo_ir::Tensor| t.to_f64().filter(|n| n.len() == 1).map(|n| n[0]);
            let same = number(tensor).is_some() && self.terms.tensor(found).and_then(number) == number(tensor);
            return if same { vec![so_far] } else { Vec::new() };
        }
        let Some(op) = graph.def_op(wanted) else { return vec![so_far] };
        let mut all = Vec::new();
        for maker in self.terms.makers(found) {
            let mut one = so_far.clone();
            if self.head(op, &maker, &mut one) {
                all.extend(self.operands(op, &maker, lane, one));
            }
            all.truncate(MOST);
        }
        all
    }

    /// True when operator and attributes agree.
    fn head(&self, op: OpId, maker: &Maker<'_, T::Value>, so_far: &mut Match<T::Value>) -> bool {
        let wanted = self.rule.text.graph.op(op);
        if &*wanted.name().domain == ANY {
            let known = so_far.ops.entry(wanted.name().op.clone()).or_insert_with(|| maker.name.clone());
            if known != maker.name {
                return false;
            }
        } else if wanted.name() != maker.name {
            return false;
        }
        let opset = self.terms.opset(maker.name);
        let mut left = without_defaults(maker.name, maker.attrs, opset);
        for (key, pattern) in wanted.attrs() {
            let found = left.remove(key).or_else(|| default_of(maker.name, key, opset));
            let found = found.or_else(|| is_idle(key, pattern).then(|| pattern.clone()));
            if !found.is_some_and(|found| expression::unify(pattern, &found, &mut so_far.attrs)) {
                return false;
            }
        }
        let record = Made { name: maker.name.clone(), attrs: left.clone(), operands: maker.operands.clone() };
        so_far.found.insert(op, record);
        match self.rule.text.marks.rest.get(&op) {
            Some(name) => *so_far.rest.entry(name.clone()).or_insert_with(|| left.clone()) == left,
            None => left.is_empty(),
        }
    }

    fn operands(
        &self,
        op: OpId,
        maker: &Maker<'_, T::Value>,
        lane: Option<usize>,
        so_far: Match<T::Value>,
    ) -> Vec<Match<T::Value>> {
        let wanted = self.rule.text.graph.op(op).operands();
        let mut all = self.in_order(op, wanted, &maker.operands, lane, so_far.clone());
        let turned = maker.operands.len() == 2 && is_commutative(maker.name);
        if turned && maker.operands[0] != maker.operands[1] {
            all.extend(self.in_order(op, wanted, &[maker.operands[1], maker.operands[0]], lane, so_far));
        }
        all
    }

    fn in_order(
        &self,
        op: OpId,
        wanted: &[Option<ValueId>],
        found: &[Option<T::Value>],
        lane: Option<usize>,
        so_far: Match<T::Value>,
    ) -> Vec<Match<T::Value>> {
        let mut all = vec![so_far];
        let mut at = 0;
        for (index, &value) in wanted.iter().enumerate() {
            let spread = self.rule.text.marks.spread.contains(&(op, index as u32));
            let rest = if spread { found.len().saturating_sub(at) } else { 1 };
            if let (true, Some(value)) = (spread, value) {
                // A list that was bound before has so many operands as it has now.
                all.retain(|one| one.values.get(&value).is_none_or(|list| list.all().len() == rest));
                all.iter_mut().for_each(|one| _ = one.values.entry(value).or_insert_with(|| Bound::List(Vec::new())));
            }
            for place in 0..rest {
                let lane = if spread { Some(place) } else { lane };
                all = match (value, found.get(at + place).copied().flatten()) {
                    (None, None) => all,
                    // Some exporters write an empty tensor for a region or sizes that are not given.
                    (None, Some(found)) if self.terms.tensor(found).is_some_and(Tensor::is_empty) => all,
                    (Some(value), Some(found)) => {
                        all.into_iter().flat_map(|one| self.value(value, found, lane, one)).take(MOST).collect()
                    }
                    _ => return Vec::new(),
                };
            }
            at += rest;
        }
        if found.len() > at { Vec::new() } else { all }
    }
}

fn is_commutative(name: &OpName) -> bool {
    ["Add", "Mul"].iter().any(|op| name.is_onnx(op))
}
