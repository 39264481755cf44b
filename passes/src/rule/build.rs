//! What takes the place of a pattern: made op by op in a graph or an e-graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use spaceevo_ir::{Attrs, Graph, NewOp, OpId, OpName, Place, Quant, Symbol, Tensor, Type, ValueId, schema, shape};

use crate::rule::matching::{Bound, Match};
use crate::rule::terms::Terms;
use crate::rule::{ANY, Rule, expression};

/// Terms that grow.
pub trait Build: Terms {
    /// Adds an op, and gives its result; `None` when there can be none such.
    fn add(&mut self, make: Make<Self::Value>) -> Option<Self::Value>;

    /// Adds a constant.
    fn constant(&mut self, tensor: Tensor) -> Self::Value;
}

/// An op to be made.
#[derive(Clone, Debug)]
pub struct Make<V> {
    /// Operator.
    pub name: OpName,
    /// Attributes.
    pub attrs: Attrs,
    /// Operands.
    pub operands: Vec<Option<V>>,
    /// How its result is stored.
    pub stored: Option<Arc<Quant>>,
    /// The type that its result must have, if it takes the place of another value.
    pub like: Option<Type>,
}

/// Makes what takes the place of the root of a match; `None` when it cannot be made, or would be another type.
pub fn instantiate<B: Build>(rule: &Rule, found: &Match<B::Value>, terms: &mut B) -> Option<B::Value> {
    let graph = &rule.text.graph;
    let &root = found.values.get(&rule.root)?.all().first()?;
    let root_type = terms.ty(root).clone();
    let yielded = *graph.region(rule.region).results().first()?;
    let mut values = found.values.clone();
    for &constant in graph.region(rule.region).consts() {
        let made = terms.constant(graph.const_of(constant)?.clone());
        values.insert(constant, Bound::One(made));
    }
    for op in graph.ops_in(rule.region) {
        let wanted = graph.op(op);
        let name = match &*wanted.name().domain {
            ANY => found.ops.get(&wanted.name().op)?.clone(),
            _ => wanted.name().clone(),
        };
        let mut attrs = match rule.text.marks.rest.get(&op) {
            Some(rest) => found.rest.get(rest)?.clone(),
            None => Attrs::new(),
        };
        for (key, attr) in wanted.attrs() {
            attrs.insert(key.clone(), expression::resolve(attr, &found.attrs)?);
        }
        let result = wanted.result();
        let lanes = if rule.is_list(result) { Some(lanes(rule, op, &values)?) } else { None };
        let mut made = Vec::new();
        for lane in 0..lanes.unwrap_or(1) {
            let mut operands = Vec::new();
            for (index, operand) in wanted.operands().iter().enumerate() {
                let spread = rule.text.marks.spread.contains(&(op, index as u32));
                match operand {
                    None => operands.push(None),
                    Some(value) => match values.get(value)? {
                        Bound::List(list) if spread => operands.extend(list.iter().map(|&v| Some(v))),
                        Bound::List(list) => operands.push(Some(*list.get(lane)?)),
                        Bound::One(one) => operands.push(Some(*one)),
                    },
                }
            }
            let like = (result == yielded).then(|| root_type.clone());
            let stored = match rule.text.marks.like.get(&op) {
                _ if result == yielded => root_type.quant().cloned(),
                Some(of) => {
                    let of = values.get(of)?.all();
                    terms.ty(*of.get(lane).or(of.first())?).quant().cloned()
                }
                None => None,
            };
            made.push(terms.add(Make { name: name.clone(), attrs: attrs.clone(), operands, stored, like })?);
        }
        values.insert(result, if lanes.is_some() { Bound::List(made) } else { Bound::One(made[0]) });
    }
    let &made = values.get(&yielded)?.all().first()?;
    agree(terms.ty(made), &root_type).then_some(made)
}

/// How many ops an op with lists among its operands stands for.
fn lanes<V>(rule: &Rule, op: OpId, values: &BTreeMap<ValueId, Bound<V>>) -> Option<usize> {
    let operands = rule.text.graph.op(op).operands().iter().enumerate();
    let mapped = operands.filter(|(index, _)| !rule.text.marks.spread.contains(&(op, *index as u32)));
    let list = mapped.filter_map(|(_, v)| v.filter(|v| rule.is_list(*v))).find_map(|v| values.get(&v));
    list.map(|list| list.all().len())
}

/// True when values of both types may take each other's place: elements, storage and, as far as known, shape are the same.
fn agree(made: &Type, wanted: &Type) -> bool {
    made.elem().is_some()
        && made.elem() == wanted.elem()
        && made.quant() == wanted.quant()
        && shape::merge(wanted, made).is_ok()
}

/// The type of the result of an op, from the types and known numbers of its operands; `None` where inference knows none, or
/// objects, and where the operator set does not have the operator yet.
pub fn result_type(
    name: &OpName,
    attrs: &Attrs,
    operands: &[Option<(Type, Option<Tensor>)>],
    opsets: &BTreeMap<Symbol, u64>,
) -> Option<Type> {
    let opset = opsets.get(&name.domain).copied().unwrap_or_else(|| schema::latest_opset(&name.domain));
    schema::lookup(&name.domain, &name.op, opset)?;
    let mut alone = Graph::new("alone");
    alone.meta.opsets = opsets.clone();
    let body = alone.body();
    let mut values = Vec::new();
    for operand in operands {
        values.push(operand.clone().map(|(ty, tensor)| match tensor {
            Some(tensor) => alone.add_typed_const(body, "", tensor, ty),
            None => alone.add_input(body, "", ty),
        }));
    }
    let new = NewOp::new(name.clone()).attrs(attrs.clone()).operands(values).result("", Type::Unknown);
    let op = alone.insert(Place::End(body), new);
    let ty = shape::infer_op(&alone, op).ok()?.into_iter().next()?;
    ty.tensor().is_some_and(|t| t.shape.is_some()).then_some(ty)
}
