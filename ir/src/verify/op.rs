//! Operands, results and attributes of an op against the schema of its operator.

use crate::attr::{Attr, NOTE};
use crate::graph::OpId;
use crate::nearest::nearest;
use crate::schema::{self, Arity, AttrKind, OpSchema, Port};
use crate::verify::Checker;

impl Checker<'_> {
    /// Everything that the schema says about an op.
    pub(super) fn op(&mut self, id: OpId) {
        let graph = self.graph;
        let op = graph.op(id);
        let name = op.name();
        // A function of the model goes before the operator of that name.
        if graph.functions.iter().any(|f| f.name == *name) {
            return;
        }
        // A text without `with {opset = …}` means the newest.
        let opset = graph.opset_in(op.region(), &name.domain).unwrap_or_else(|| schema::latest_opset(&name.domain));
        let Some(schema) = schema::lookup(&name.domain, &name.op, opset) else {
            if let Some(first) = schema::since_versions(&name.domain, &name.op).first() {
                let message = format!("came with operator set {first}; the graph names {opset}");
                self.push(id, "op-opset", message, Some("raise the operator set of the graph".into()));
            }
            return;
        };
        if schema.deprecated {
            let message = format!("was withdrawn at operator set {}; the graph names {opset}", schema.since);
            self.at(id, "op-deprecated", message);
            return;
        }
        let operands: Vec<bool> = op.operands().iter().map(Option::is_some).collect();
        self.arity(id, "operand", &operands, &schema.inputs);
        let results: Vec<bool> = op.results().iter().map(|&v| !is_absent(graph, v)).collect();
        self.arity(id, "result", &results, &schema.outputs);
        self.attributes(id, schema);
        self.types(id, schema);
    }

    /// Present and absent operands or results against the ports.
    fn arity(&mut self, id: OpId, what: &str, given: &[bool], ports: &[Port]) {
        let count = given.iter().rposition(|&present| present).map_or(0, |last| last + 1);
        let needed = ports.iter().enumerate().rev().find_map(|(index, port)| match port.arity {
            Arity::Required => Some(index + 1),
            Arity::Variadic { min } => Some(index + min),
            Arity::Optional => None,
        });
        let needed = needed.unwrap_or(0);
        let most = match ports.last() {
            Some(port) if port.is_variadic() => usize::MAX,
            _ => ports.len(),
        };
        // A result that nobody reads need not have a name, but it must be there.
        let listed = if what == "result" { given.len() } else { count };
        if count > most || listed < needed {
            let (few, plural) = if count > most { (most, "at most ") } else { (needed, "at least ") };
            let bound = if needed == most { "" } else { plural };
            let s = if few == 1 { "" } else { "s" };
            self.at(id, "op-arity", format!("takes {bound}{few} {what}{s}, has {listed}"));
            return;
        }
        if what == "operand" {
            for (index, port) in ports.iter().enumerate() {
                if port.arity == Arity::Required && !given.get(index).copied().unwrap_or(false) {
                    self.at(id, "op-arity", format!("operand {index} ({}) must not be absent", port.name));
                }
            }
        }
    }

    fn attributes(&mut self, id: OpId, schema: &OpSchema) {
        let op = self.graph.op(id);
        for (name, attr) in op.attrs() {
            match schema.attr(name) {
                None if name.starts_with(NOTE) => {}
                None => self.unknown(id, schema, "attribute", name),
                Some(spec) => {
                    if !is_kind(attr, spec.kind) {
                        let note = match (attr, spec.kind) {
                            (Attr::Int(n), AttrKind::Float) => Some(format!("write {n}.0")),
                            _ => None,
                        };
                        let message = format!("attribute {name} = {attr} must be {}", words(spec.kind));
                        self.push(id, "op-attr-kind", message, note);
                    }
                }
            }
        }
        for (label, _) in op.regions() {
            if !schema.attr(label).is_some_and(|spec| spec.kind == AttrKind::Graph) {
                self.unknown(id, schema, "region", label);
            }
        }
        for spec in schema.attrs.iter().filter(|spec| spec.required) {
            let (found, what) = match spec.kind {
                AttrKind::Graph => (op.region_named(spec.name).is_some(), "region"),
                _ => (op.attrs().contains_key(spec.name), "attribute"),
            };
            if !found {
                self.at(id, "op-attr-missing", format!("{what} {} is missing", spec.name));
            }
        }
    }

    fn unknown(&mut self, id: OpId, schema: &OpSchema, what: &str, name: &str) {
        let near = nearest(name, schema.attrs.iter().map(|spec| spec.name));
        let note = near.map(|near| format!("did you mean {near}?"));
        let message = format!("has no {what} {name} at operator set version {}", schema.since);
        self.push(id, "op-attr-unknown", message, note);
    }
}

/// An optional result that is not there: no name, no reader.
fn is_absent(graph: &crate::graph::Graph, value: crate::graph::ValueId) -> bool {
    graph.value(value).name().is_empty() && graph.use_count(value) == 0
}

/// True when the attribute may stand where the schema wants this kind. Expressions become numbers later.
fn is_kind(attr: &Attr, kind: AttrKind) -> bool {
    let empty = match attr {
        Attr::Ints(list) => list.is_empty(),
        Attr::Floats(list) => list.is_empty(),
        Attr::Strs(list) => list.is_empty(),
        _ => false,
    };
    match attr {
        // An empty list of a file does not say of what it is.
        _ if empty => matches!(kind, AttrKind::Ints | AttrKind::Floats | AttrKind::Strs),
        Attr::Int(_) => kind == AttrKind::Int,
        Attr::Float(_) => kind == AttrKind::Float,
        Attr::Str(_) => kind == AttrKind::Str,
        Attr::Tensor(_) => kind == AttrKind::Tensor,
        Attr::Sparse(_) => kind == AttrKind::SparseTensor,
        Attr::Type(_) => kind == AttrKind::Type,
        Attr::Ints(_) => kind == AttrKind::Ints,
        Attr::Floats(_) => kind == AttrKind::Floats,
        Attr::Strs(_) => kind == AttrKind::Strs,
        Attr::Tensors(_) => kind == AttrKind::Tensors,
        Attr::Types(_) => kind == AttrKind::Types,
        Attr::Ref(_, number) => onnx_number(kind) == *number,
        // A parameter may also be a word, which becomes a string.
        Attr::Expr(_) => matches!(kind, AttrKind::Int | AttrKind::Float | AttrKind::Str),
        Attr::List(_) => matches!(kind, AttrKind::Ints | AttrKind::Floats),
        Attr::Word(_) => false,
    }
}

/// ONNX's `AttributeProto.AttributeType`.
fn onnx_number(kind: AttrKind) -> i32 {
    match kind {
        AttrKind::Float => 1,
        AttrKind::Int => 2,
        AttrKind::Str => 3,
        AttrKind::Tensor => 4,
        AttrKind::Graph => 5,
        AttrKind::Floats => 6,
        AttrKind::Ints => 7,
        AttrKind::Strs => 8,
        AttrKind::Tensors => 9,
        AttrKind::Graphs => 10,
        AttrKind::SparseTensor => 11,
        AttrKind::SparseTensors => 12,
        AttrKind::Type => 13,
        AttrKind::Types => 14,
    }
}

fn words(kind: AttrKind) -> &'static str {
    match kind {
        AttrKind::Int => "an integer",
        AttrKind::Float => "a float",
        AttrKind::Str => "a string",
        AttrKind::Tensor => "a tensor",
        AttrKind::Graph => "a region",
        AttrKind::SparseTensor => "a sparse tensor",
        AttrKind::Type => "a type",
        AttrKind::Ints => "a list of integers",
        AttrKind::Floats => "a list of floats",
        AttrKind::Strs => "a list of strings",
        AttrKind::Tensors => "a list of tensors",
        AttrKind::Graphs => "a list of regions",
        AttrKind::SparseTensors => "a list of sparse tensors",
        AttrKind::Types => "a list of types",
    }
}
