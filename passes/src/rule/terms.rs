//! What a pattern is matched against: values and the ways in which they are made.

use std::collections::BTreeMap;
use std::fmt::Debug;

use spaceevo_ir::schema::AttrDefault;
use spaceevo_ir::{Attr, Attrs, OpName, Symbol, Tensor, Type, schema};

/// Values of a graph, or classes of an e-graph.
pub trait Terms {
    /// Names a value.
    type Value: Copy + Eq + Ord + Debug;

    /// The ops with one result and without regions that make a value: none or one in a graph, any number in an e-graph.
    fn makers(&self, value: Self::Value) -> Vec<Maker<'_, Self::Value>>;

    /// Its type, quantization included.
    fn ty(&self, value: Self::Value) -> &Type;

    /// Its numbers, if they are known.
    fn tensor(&self, value: Self::Value) -> Option<&Tensor>;

    /// True when it depends on constants only.
    fn is_const(&self, value: Self::Value) -> bool;

    /// Versions of operator sets.
    fn opsets(&self) -> &BTreeMap<Symbol, u64>;

    /// The version of an operator's set; the newest known one where none is named.
    fn opset(&self, name: &OpName) -> u64 {
        self.opsets().get(&name.domain).copied().unwrap_or_else(|| schema::latest_opset(&name.domain))
    }
}

/// One way in which a value is made.
#[derive(Clone, Debug)]
pub struct Maker<'a, V> {
    /// Operator.
    pub name: &'a OpName,
    /// Attributes, as they are or without those that say what their default says.
    pub attrs: &'a Attrs,
    /// Operands; trailing absent ones are left out.
    pub operands: Vec<Option<V>>,
}

/// Attributes that say more than their absence would.
pub fn without_defaults(name: &OpName, attrs: &Attrs, opset: u64) -> Attrs {
    let Some(schema) = schema::lookup(&name.domain, &name.op, opset) else { return attrs.clone() };
    let says = |(key, value): &(&Symbol, &Attr)| {
        schema.attr(key).is_none_or(|spec| match &spec.default {
            AttrDefault::Absent => spec.required || !is_idle(key, value),
            known => default(known).as_ref() != Some(*value),
        })
    };
    attrs.iter().filter(says).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// What a window is where nothing is said: it moves by one place, its taps are neighbours, and nothing is padded. Schemas cannot say
/// that, since it depends on the rank.
pub(super) fn is_idle(key: &str, value: &Attr) -> bool {
    let all = |number: i64| matches!(value, Attr::Ints(list) if list.iter().all(|&n| n == number));
    match key {
        "strides" | "dilations" => all(1),
        "pads" => all(0),
        _ => false,
    }
}

/// What an attribute is where it is not given.
pub(super) fn default_of(name: &OpName, attr: &str, opset: u64) -> Option<Attr> {
    default(&schema::lookup(&name.domain, &name.op, opset)?.attr(attr)?.default)
}

fn default(of: &AttrDefault) -> Option<Attr> {
    Some(match of {
        AttrDefault::Absent | AttrDefault::Unrecorded => return None,
        AttrDefault::Int(n) => Attr::Int(*n),
        AttrDefault::Float(x) => Attr::Float(*x),
        AttrDefault::Str(text) => Attr::text(text),
        AttrDefault::Ints(list) => Attr::Ints(list.clone()),
        AttrDefault::Floats(list) => Attr::Floats(list.clone()),
        AttrDefault::Strs(list) => Attr::Strs(list.iter().map(|s| s.as_bytes().to_vec().into()).collect()),
    })
}
