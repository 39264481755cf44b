//! What the table says about one version of one operator.

use super::elements::TypeSet;

/// One version of one operator.
#[derive(Clone, Debug, PartialEq)]
pub struct OpSchema {
    /// The operator set; `""` is the ONNX default domain.
    pub domain: &'static str,
    /// The operator's name.
    pub name: &'static str,
    /// The version of the domain from which this schema holds.
    pub since: u64,
    /// Whether the operator was withdrawn at `since`.
    pub deprecated: bool,
    /// The inputs in order; only the last can be variadic.
    pub inputs: Vec<Port>,
    /// The outputs in order; only the last can be variadic.
    pub outputs: Vec<Port>,
    /// The attributes, sorted by name.
    pub attrs: Vec<AttrSpec>,
    /// The type variables that ports refer to.
    pub types: Vec<TypeConstraint>,
}

/// An input or an output.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// The formal name.
    pub name: &'static str,
    /// How many values it takes.
    pub arity: Arity,
    /// Whether all values of a variadic port share one type; `true` for every other port.
    pub homogeneous: bool,
    /// Which types it takes.
    pub types: PortType,
}

/// How many values a port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Exactly one.
    Required,
    /// One or none.
    Optional,
    /// Any number from `min` on.
    Variadic {
        /// The fewest values allowed.
        min: usize,
    },
}

/// The type of a port.
#[derive(Clone, Debug, PartialEq)]
pub enum PortType {
    /// The type variable of this name: all ports that name it have the same type.
    Variable(&'static str),
    /// This type, whatever the other ports have.
    Concrete(TypeSet),
}

/// A type variable and what it may stand for.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeConstraint {
    /// The variable's name, such as `T`.
    pub name: &'static str,
    /// The types allowed.
    pub allowed: TypeSet,
}

/// An attribute of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct AttrSpec {
    /// The attribute's name.
    pub name: &'static str,
    /// What kind of value it holds.
    pub kind: AttrKind,
    /// Whether it must be present.
    pub required: bool,
    /// What it is when it is not present.
    pub default: AttrDefault,
}

/// The kind of value an attribute holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of ONNX")]
pub enum AttrKind {
    Int,
    Float,
    Str,
    Tensor,
    Graph,
    SparseTensor,
    Type,
    Ints,
    Floats,
    Strs,
    Tensors,
    Graphs,
    SparseTensors,
    Types,
}

/// What an attribute is when it is not present.
#[derive(Clone, Debug, PartialEq)]
pub enum AttrDefault {
    /// There is no default: the attribute is required, or its absence has a meaning of its own.
    Absent,
    /// The source of the table does not tell. So it is for every optional com.microsoft attribute.
    Unrecorded,
    /// This integer.
    Int(i64),
    /// This number.
    Float(f32),
    /// This text.
    Str(&'static str),
    /// These integers.
    Ints(Vec<i64>),
    /// These numbers.
    Floats(Vec<f32>),
    /// These texts.
    Strs(Vec<&'static str>),
}

impl OpSchema {
    /// The fewest inputs a node must list (left-out optional ones before a required one are listed as empty).
    pub fn min_inputs(&self) -> usize {
        fewest(&self.inputs)
    }

    /// The most inputs a node may list; `None` if there is no limit.
    pub fn max_inputs(&self) -> Option<usize> {
        most(&self.inputs)
    }

    /// The fewest outputs a node must list.
    pub fn min_outputs(&self) -> usize {
        fewest(&self.outputs)
    }

    /// The most outputs a node may list; `None` if there is no limit.
    pub fn max_outputs(&self) -> Option<usize> {
        most(&self.outputs)
    }

    /// The port that the input at `index` belongs to; a variadic port takes all from its place on.
    pub fn input(&self, index: usize) -> Option<&Port> {
        at(&self.inputs, index)
    }

    /// The port that the output at `index` belongs to; a variadic port takes all from its place on.
    pub fn output(&self, index: usize) -> Option<&Port> {
        at(&self.outputs, index)
    }

    /// The place of the input with this formal name.
    pub fn input_index(&self, name: &str) -> Option<usize> {
        self.inputs.iter().position(|port| port.name == name)
    }

    /// The place of the output with this formal name.
    pub fn output_index(&self, name: &str) -> Option<usize> {
        self.outputs.iter().position(|port| port.name == name)
    }

    /// The attribute of this name.
    pub fn attr(&self, name: &str) -> Option<&AttrSpec> {
        self.attrs.iter().find(|attr| attr.name == name)
    }

    /// What the type variable of this name may stand for.
    pub fn type_variable(&self, name: &str) -> Option<&TypeSet> {
        self.types.iter().find(|constraint| constraint.name == name).map(|constraint| &constraint.allowed)
    }

    /// The types that a port of this operator takes; `None` only for a port of another operator.
    pub fn allowed<'a>(&'a self, port: &'a Port) -> Option<&'a TypeSet> {
        match &port.types {
            PortType::Variable(name) => self.type_variable(name),
            PortType::Concrete(types) => Some(types),
        }
    }
}

impl Port {
    /// Whether no value need be given here.
    pub fn is_optional(&self) -> bool {
        matches!(self.arity, Arity::Optional | Arity::Variadic { min: 0 })
    }

    /// Whether the port takes all values from its place on.
    pub fn is_variadic(&self) -> bool {
        matches!(self.arity, Arity::Variadic { .. })
    }
}

fn fewest(ports: &[Port]) -> usize {
    let needed = |(index, port): (usize, &Port)| match port.arity {
        Arity::Required => Some(index + 1),
        Arity::Optional => None,
        Arity::Variadic { min } => Some(index + min),
    };
    ports.iter().enumerate().rev().find_map(needed).unwrap_or(0)
}

fn most(ports: &[Port]) -> Option<usize> {
    let unlimited = ports.last().is_some_and(Port::is_variadic);
    (!unlimited).then_some(ports.len())
}

fn at(ports: &[Port], index: usize) -> Option<&Port> {
    ports.get(index).or_else(|| ports.last().filter(|last| last.is_variadic()))
}
