//! What a rule sees of its op.

use crate::attr::{Attr, Attrs};
use crate::graph::{Def, Graph, Op, OpId, ValueId};
use crate::interp::Fault;
use crate::tensor::Tensor;
use crate::types::{Dim, Elem, Shape, TensorType, Type};

use super::dims::{Num, axis};

/// No rank above this is taken from a file: no runtime goes there, and a rank costs memory.
pub(super) const MAX_RANK: usize = 64;
/// Longest integer tensor whose elements are followed.
pub(super) const MAX_KNOWN: usize = 4096;

/// One op with what is known of its operands.
pub(super) struct Site<'a> {
    pub(super) graph: &'a Graph,
    pub(super) op: OpId,
    /// Version of the operator set of the op's domain.
    pub(super) opset: u64,
    /// Types of the operands; `None` where absent.
    pub(super) types: Vec<Option<&'a Type>>,
    /// What is known of the integers in them.
    pub(super) known: Vec<Option<&'a [Num]>>,
    /// Attributes of the call, inside of a function.
    pub(super) call: Option<&'a Attrs>,
}

/// An integer list attribute.
pub(super) enum List<'a> {
    /// It is not given.
    Absent,
    /// It is given.
    Ints(&'a [i64]),
    /// It is given and depends on search parameters.
    Elastic,
}

impl<'a> Site<'a> {
    pub(super) fn op(&self) -> &'a Op {
        self.graph.op(self.op)
    }

    /// Number of operands, absent ones included.
    pub(super) fn count(&self) -> usize {
        self.types.len()
    }

    /// Number of results that somebody may read.
    pub(super) fn results(&self) -> usize {
        self.op().results().len()
    }

    /// True when operand `index` is given.
    pub(super) fn has(&self, index: usize) -> bool {
        self.types.get(index).is_some_and(Option::is_some)
    }

    pub(super) fn ty(&self, index: usize) -> Option<&'a Type> {
        self.types.get(index).copied().flatten()
    }

    pub(super) fn elem(&self, index: usize) -> Option<Elem> {
        self.ty(index)?.elem()
    }

    pub(super) fn shape(&self, index: usize) -> Option<&'a [Dim]> {
        self.ty(index)?.tensor()?.shape.as_deref()
    }

    pub(super) fn rank(&self, index: usize) -> Option<usize> {
        self.shape(index).map(<[Dim]>::len)
    }

    /// One extent of an operand; unknown where its rank is unknown or too low.
    pub(super) fn dim(&self, index: usize, axis: usize) -> Dim {
        self.shape(index).and_then(|s| s.get(axis)).cloned().unwrap_or(Dim::Unknown)
    }

    /// The type of an operand without quantization.
    pub(super) fn like(&self, index: usize) -> Type {
        match self.ty(index) {
            Some(Type::Tensor(t)) => Type::Tensor(TensorType { quant: None, ..t.clone() }),
            Some(other) => other.clone(),
            None => Type::Unknown,
        }
    }

    /// The numbers of an operand that is a constant.
    pub(super) fn constant(&self, index: usize) -> Option<&'a Tensor> {
        constant(self.graph, self.op().operand(index)?)
    }

    /// The numbers of a constant operand that are few enough to be looked at.
    pub(super) fn floats(&self, index: usize) -> Option<Vec<f64>> {
        self.constant(index).filter(|t| t.len() <= MAX_KNOWN)?.to_f64()
    }

    /// What is known of the integers of an operand, row major.
    pub(super) fn nums(&self, index: usize) -> Option<Vec<Num>> {
        if let Some(tensor) = self.constant(index) {
            return nums_of(tensor);
        }
        self.known.get(index).copied().flatten().map(<[Num]>::to_vec)
    }

    /// The integers of an operand, if all are known.
    pub(super) fn ints(&self, index: usize) -> Option<Vec<i64>> {
        self.nums(index)?.iter().map(Num::known).collect()
    }

    /// The integer of an operand with one element, if known.
    pub(super) fn scalar(&self, index: usize) -> Option<i64> {
        match self.ints(index)?[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// How many integers the operand has: the extent of a shape operand is the rank of a result.
    pub(super) fn length(&self, index: usize) -> Option<usize> {
        if let Some(nums) = self.nums(index) {
            return Some(nums.len());
        }
        self.dim(index, 0).known().and_then(|n| usize::try_from(n).ok())
    }

    /// An attribute; a reference to an attribute of the function's call is followed.
    pub(super) fn attr(&self, name: &str) -> Option<&'a Attr> {
        match self.op().attrs().get(name) {
            Some(Attr::Ref(outer, _)) if self.call.is_some() => self.call?.get(outer),
            found => found,
        }
    }

    /// An integer attribute or its default; `None` when it depends on search parameters.
    pub(super) fn int(&self, name: &str, default: i64) -> Option<i64> {
        self.attr(name).map_or(Some(default), Attr::as_int)
    }

    /// An integer attribute that has no default.
    pub(super) fn maybe_int(&self, name: &str) -> Option<i64> {
        self.attr(name).and_then(Attr::as_int)
    }

    pub(super) fn list(&self, name: &str) -> List<'a> {
        match self.attr(name) {
            None => List::Absent,
            Some(attr) => attr.as_ints().map_or(List::Elastic, List::Ints),
        }
    }

    /// A text attribute or its default.
    pub(super) fn text(&self, name: &str, default: &'a str) -> &'a str {
        self.attr(name).and_then(Attr::as_str).unwrap_or(default)
    }

    /// An element type attribute (`dtype`, `to`) or its default; `None` when it is none that ONNX has.
    pub(super) fn elem_attr(&self, name: &str, default: Option<Elem>) -> Option<Elem> {
        match self.attr(name) {
            None => default,
            Some(attr) => Elem::from_onnx_code(i32::try_from(attr.as_int()?).ok()?),
        }
    }

    /// The axis attribute `name` for operand `index`; `None` when rank or attribute are unknown.
    pub(super) fn axis(&self, name: &str, default: i64, index: usize) -> Result<Option<usize>, Fault> {
        match (self.int(name, default), self.rank(index)) {
            (Some(a), Some(rank)) => axis(a, rank).map(Some),
            _ => Ok(None),
        }
    }

    /// Axes from operand `input` or, where that is not given, from attribute `axes`: the same rule holds for operators
    /// that took them as an attribute first. `Ok(None)`: not given; `Err(())`: given but unknown.
    pub(super) fn axes(&self, input: usize) -> Result<Option<Vec<i64>>, ()> {
        if self.has(input) {
            return self.ints(input).map(Some).ok_or(());
        }
        match self.list("axes") {
            List::Absent => Ok(None),
            List::Ints(list) => Ok(Some(list.to_vec())),
            List::Elastic => Err(()),
        }
    }
}

/// The integers of a constant, if it is small.
pub(super) fn nums_of(tensor: &Tensor) -> Option<Vec<Num>> {
    let small = tensor.len() <= MAX_KNOWN && tensor.elem() != Elem::U64;
    let ints = if small { tensor.to_i64()? } else { return None };
    Some(ints.into_iter().map(Num::Known).collect())
}

/// A tensor type; unknown as a whole when the element type is.
pub(super) fn tensor(elem: Option<Elem>, shape: Option<Shape>) -> Type {
    elem.map_or(Type::Unknown, |elem| Type::Tensor(TensorType { elem, shape, quant: None }))
}

/// `rank` extents of which nothing is known.
pub(super) fn unknown(rank: usize) -> Shape {
    vec![Dim::Unknown; rank.min(MAX_RANK)]
}

/// The numbers of a value that is a constant, or an input with a default: files list weights and targets of `Reshape` as
/// inputs by habit (before IR version 4 they had to), and callers do not set those.
pub(super) fn constant(graph: &Graph, value: ValueId) -> Option<&Tensor> {
    let record = graph.value(value);
    match record.def() {
        Def::Const(_) | Def::Input(..) => record.tensor(),
        _ => None,
    }
}
