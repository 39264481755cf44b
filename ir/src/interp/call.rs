//! What a kernel sees of its op.

use super::{Datum, Env, Fault};
use crate::attr::Attr;
use crate::graph::{Graph, Op, OpId, RegionId};
use crate::tensor::{Tensor, count};
use crate::types::Elem;

/// What a kernel sees: its op, the graph around it, its operands.
pub struct Call<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// The op to run.
    pub op: OpId,
    /// Version of the operator set of the op's domain.
    pub opset: u64,
    /// Operand values; `None` where absent. Never shorter than the op's operand list.
    pub operands: Vec<Option<Datum>>,
    /// Values visible to nested regions.
    pub(super) env: &'a Env<'a>,
}

impl<'a> Call<'a> {
    /// The op itself. Attributes are better asked for here than there: these accessors see through references to the
    /// attributes of a function's call.
    pub fn op(&self) -> &'a Op {
        self.graph.op(self.op)
    }

    /// Operand `index`, if it is present and a tensor. An empty optional counts as absent: that is how an absent operand
    /// reaches the body of a function.
    pub fn get(&self, index: usize) -> Option<&Tensor> {
        self.operands.get(index)?.as_ref()?.tensor()
    }

    /// Operand `index`, which must be a tensor.
    pub fn tensor(&self, index: usize) -> Result<&Tensor, Fault> {
        self.get(index).ok_or_else(|| format!("operand {index} is absent or no tensor"))
    }

    /// Operand `index` of any kind, which must be present.
    pub fn datum(&self, index: usize) -> Result<&Datum, Fault> {
        self.operands.get(index).and_then(Option::as_ref).ok_or_else(|| format!("operand {index} is absent"))
    }

    /// All operands, which must be tensors: for operators that take any number.
    pub fn tensors(&self) -> Result<Vec<&Tensor>, Fault> {
        (0..self.operands.len()).map(|i| self.tensor(i)).collect()
    }

    /// Operand `index` as 64-bit integers, if present (axes, shapes, sizes).
    pub fn ints_at(&self, index: usize) -> Result<Option<Vec<i64>>, Fault> {
        let list = |t: &Tensor| t.to_i64().ok_or_else(|| format!("operand {index} is of type {}, not integers", t.elem()));
        self.get(index).map(list).transpose()
    }

    /// Number of results that the op declares.
    pub fn results(&self) -> usize {
        self.op().results().len()
    }

    /// An attribute, references of function bodies and search parameters resolved.
    pub fn attr(&self, name: &str) -> Option<&'a Attr> {
        self.env.attr(self.op, name)
    }

    /// An integer attribute, or `default`.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attr(name).and_then(Attr::as_int).unwrap_or(default)
    }

    /// A float attribute, or `default`.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.attr(name).and_then(Attr::as_float).unwrap_or(default)
    }

    /// An integer list attribute, if present.
    pub fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.attr(name).and_then(Attr::as_ints)
    }

    /// A text attribute, or `default`.
    pub fn str<'b>(&self, name: &str, default: &'b str) -> &'b str
    where
        'a: 'b,
    {
        self.attr(name).and_then(Attr::as_str).unwrap_or(default)
    }

    /// A region of the op that must be there.
    pub fn region(&self, label: &str) -> Result<RegionId, Fault> {
        self.op().region_named(label).ok_or_else(|| format!("it has no {label}"))
    }

    /// Runs a region of the op with the given inputs.
    pub fn run_region(&self, region: RegionId, inputs: Vec<Datum>) -> Result<Vec<Datum>, Fault> {
        self.env.enter(region, inputs)
    }

    /// Asks for room for a result; returns its number of elements. To be called before anything is allocated whose size
    /// comes from numbers of the model.
    pub fn reserve(&self, elem: Elem, dims: &[usize]) -> Result<usize, Fault> {
        let elements = count(dims);
        // A string takes at least its handle.
        let bytes = elements.and_then(|n| if elem == Elem::Str { n.checked_mul(32) } else { elem.byte_len(n) });
        self.env.afford(bytes.unwrap_or(usize::MAX))?;
        elements.ok_or_else(|| format!("a tensor of shape {dims:?} is too large"))
    }
}

/// An axis counted from the end when negative, as an index below `rank`.
pub(super) fn axis_in(axis: i64, rank: usize) -> Result<usize, Fault> {
    let at = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    at.and_then(|a| usize::try_from(a).ok())
        .filter(|&a| a < rank)
        .ok_or_else(|| format!("axis {axis} does not exist in a tensor of rank {rank}"))
}
