//! Types of operands and results against the type variables of the schema; types of constants against their numbers.

use std::collections::BTreeMap;

use crate::graph::{OpId, ValueId};
use crate::schema::{OpSchema, Port, PortType, TypeSet};
use crate::types::{Elem, TensorType, Type};
use crate::verify::Checker;

/// What type variables speak of: the wrapper and the element type; shapes and storage are no part of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Tensor(Elem),
    Sequence(Elem),
    Optional(Elem),
    OptionalSequence(Elem),
    Sparse(Elem),
}

/// `None` for what is not known or cannot be said in a [`TypeSet`].
fn class(ty: &Type) -> Option<Class> {
    Some(match ty {
        Type::Tensor(t) => Class::Tensor(t.elem),
        Type::Sparse(t) => Class::Sparse(t.elem),
        Type::Sequence(inner) => match &**inner {
            Type::Tensor(t) => Class::Sequence(t.elem),
            _ => return None,
        },
        Type::Optional(inner) => match &**inner {
            Type::Tensor(t) => Class::Optional(t.elem),
            Type::Sequence(inner) => Class::OptionalSequence(inner.tensor()?.elem),
            _ => return None,
        },
        Type::Unknown | Type::Map(..) => return None,
    })
}

fn allows(set: &TypeSet, class: Class) -> bool {
    match class {
        Class::Tensor(elem) => set.tensor.allows(elem.short()),
        Class::Sequence(elem) => set.sequence.allows(elem.short()),
        Class::Optional(elem) => set.optional.allows(elem.short()),
        Class::OptionalSequence(elem) => set.optional_sequence.allows(elem.short()),
        Class::Sparse(elem) => set.sparse.allows(elem.short()),
    }
}

impl Checker<'_> {
    pub(super) fn types(&mut self, id: OpId, schema: &OpSchema) {
        let op = self.graph.op(id);
        let mut bound: BTreeMap<&str, (Class, ValueId)> = BTreeMap::new();
        let operands = op.operands().iter().enumerate().filter_map(|(index, v)| Some(((*v)?, schema.input(index)?)));
        let results = op.results().iter().enumerate().filter_map(|(index, &v)| Some((v, schema.output(index)?)));
        // One fault makes others: the first is enough.
        let before = self.found.len();
        for (value, port) in operands.chain(results) {
            self.port(id, schema, value, port, &mut bound);
            if self.found.len() > before {
                return;
            }
        }
    }

    fn port<'s>(
        &mut self,
        id: OpId,
        schema: &'s OpSchema,
        value: ValueId,
        port: &'s Port,
        bound: &mut BTreeMap<&'s str, (Class, ValueId)>,
    ) {
        let graph = self.graph;
        let ty = graph.value(value).ty();
        let (Some(class), Some(allowed)) = (class(ty), schema.allowed(port)) else { return };
        let variable = match port.types {
            PortType::Variable(name) if port.homogeneous => Some(name),
            _ => None,
        };
        let first = variable.and_then(|name| bound.get(name).copied());
        match first {
            // What holds of one holds of all of the same class.
            Some((same, _)) if same == class => {}
            Some((_, other)) => {
                let (a, b) = (graph.label(other), graph.label(value));
                let both = format!("both are {}", variable.unwrap_or_default());
                self.at(id, "op-type", format!("{a} is {} and {b} is {ty}: {both}", graph.value(other).ty()));
            }
            None => {
                if let Some(name) = variable {
                    bound.insert(name, (class, value));
                }
                if !allows(allowed, class) {
                    let (label, name) = (graph.label(value), port.name);
                    let note = format!("{name} takes {allowed}");
                    self.push(id, "op-type", format!("{label} is {ty}, which {name} cannot be"), Some(note));
                }
            }
        }
    }

    /// Constants and defaults against their types, and quantized types against themselves.
    pub(super) fn values(&mut self) {
        let graph = self.graph;
        let regions = graph.all_regions();
        let listed = regions.iter().flat_map(|&region| {
            let r = graph.region(region);
            let made = graph.ops_in(region).flat_map(|op| graph.op(op).results());
            r.inputs().iter().chain(r.consts()).chain(made).copied()
        });
        for value in listed {
            self.quantized_types(value, graph.value(value).ty());
            self.numbers(value);
        }
    }

    fn numbers(&mut self, value: ValueId) {
        let graph = self.graph;
        let (Some(tensor), Some(ty)) = (graph.value(value).tensor(), graph.value(value).ty().tensor()) else { return };
        let differs = |shape: &crate::types::Shape| {
            let rank = shape.len() != tensor.dims().len();
            rank || shape.iter().zip(tensor.dims()).any(|(dim, &n)| dim.known().is_some_and(|known| known != n as u64))
        };
        if ty.storage() != tensor.elem() || ty.shape.as_ref().is_some_and(differs) {
            let numbers = TensorType::of(tensor.elem(), tensor.dims());
            self.at_value(value, "const-type", format!("its numbers are {numbers}, its type is {ty}"));
        }
    }
}
