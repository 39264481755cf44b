//! The graph: a whole model, a whole search space, or anything between.
//!
//! An arena with four-byte ids. A graph has a body region; ops may own further regions (branches, loop bodies, choices),
//! and regions see the values of those around them, as ONNX subgraphs do. Constants are values without an op; each belongs
//! to a region and is visible from there inwards. Reading happens here, every change in [`crate::edit`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::attr::Attrs;
use crate::space::SpaceTable;
use crate::tensor::Tensor;
use crate::types::{Symbol, Type};

macro_rules! ids {
    ($($name:ident $prefix:literal $doc:literal;)*) => { $(
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(crate) u32);
        impl $name {
            /// Position in the arena: dense, so that side tables can be vectors.
            pub fn index(self) -> usize { self.0 as usize }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, concat!($prefix, "{}"), self.0) }
        }
    )* };
}

ids! {
    OpId "op" "Names an op of one graph.";
    ValueId "%" "Names a value of one graph.";
    RegionId "region" "Names a region of one graph.";
}

/// Name of an operator: `onnx.Conv` is domain `onnx` (ONNX's default domain, written `""` in files), op `Conv`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OpName {
    /// `onnx` for ONNX's own operators, else the domain as in the file (`com.microsoft`), or `space`, `quant`.
    pub domain: Symbol,
    /// Operator type.
    pub op: Symbol,
}

impl OpName {
    /// An operator of any domain.
    pub fn new(domain: &str, op: &str) -> Self {
        OpName { domain: domain.into(), op: op.into() }
    }

    /// An operator of ONNX's default domain.
    pub fn onnx(op: &str) -> Self {
        OpName::new(ONNX, op)
    }

    /// The operator where it is one of ONNX's own domain, else an empty word: operators of other domains may have the same names.
    pub fn onnx_op(&self) -> &str {
        if &*self.domain == ONNX { &self.op } else { "" }
    }

    /// True for ONNX's own operator of that name.
    pub fn is_onnx(&self, op: &str) -> bool {
        &*self.domain == ONNX && &*self.op == op
    }

    /// True for that domain and operator.
    pub fn is(&self, domain: &str, op: &str) -> bool {
        &*self.domain == domain && &*self.op == op
    }
}

impl fmt::Display for OpName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.domain, self.op)
    }
}

/// The word for ONNX's default domain, which files write as the empty string.
pub const ONNX: &str = "onnx";
/// The domain of ONNX Runtime's own operators.
pub const MICROSOFT: &str = "com.microsoft";
/// The domain of search-space operators (`space.Crop`, `space.Choice`).
pub const SPACE: &str = "space";

/// Where an op came from.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Loc {
    /// Nobody knows.
    #[default]
    Unknown,
    /// A line of a text file; both count from 1.
    Text {
        /// File name, or `-`.
        file: Symbol,
        /// Line.
        line: u32,
        /// Column.
        column: u32,
    },
    /// A node of an ONNX file.
    Onnx {
        /// File name.
        file: Symbol,
        /// Node name (may be empty).
        node: Symbol,
    },
    /// Made by a pass or rule from ops at other places: the history of every op for free.
    Made {
        /// Name of the pass or rule.
        by: Symbol,
        /// What it was made from.
        from: Arc<[Loc]>,
    },
}

impl Loc {
    /// The name of the first ONNX node in the history.
    pub fn node(&self) -> Option<&Symbol> {
        match self {
            Loc::Onnx { node, .. } => Some(node),
            Loc::Made { from, .. } => from.iter().find_map(Loc::node),
            _ => None,
        }
    }
}

/// What ONNX nodes carry that no pass looks at.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct OpMeta {
    /// `doc_string`.
    pub doc: String,
    /// `overload` (model-local functions, IR version 10).
    pub overload: String,
    /// `metadata_props`.
    pub props: BTreeMap<String, String>,
    /// `device_configurations`, as protobuf bytes.
    pub device: Vec<bytes::Bytes>,
}

/// An operation.
#[derive(Clone, Debug)]
pub struct Op {
    pub(crate) name: OpName,
    pub(crate) operands: Vec<Option<ValueId>>,
    pub(crate) results: Vec<ValueId>,
    pub(crate) attrs: Attrs,
    pub(crate) regions: Vec<(Symbol, RegionId)>,
    pub(crate) loc: Loc,
    pub(crate) meta: Option<Box<OpMeta>>,
    pub(crate) region: RegionId,
    pub(crate) prev: Option<OpId>,
    pub(crate) next: Option<OpId>,
}

impl Op {
    /// Operator.
    pub fn name(&self) -> &OpName {
        &self.name
    }

    /// Operands; `None` where an optional input is absent. Trailing absent ones may be left out.
    pub fn operands(&self) -> &[Option<ValueId>] {
        &self.operands
    }

    /// Operand `index`, if there is one and it is present.
    pub fn operand(&self, index: usize) -> Option<ValueId> {
        self.operands.get(index).copied().flatten()
    }

    /// Results. An optional output that is absent is a result without name and without users.
    pub fn results(&self) -> &[ValueId] {
        &self.results
    }

    /// The first result; every op of ONNX has one.
    ///
    /// # Panics
    /// For ops without results.
    pub fn result(&self) -> ValueId {
        self.results[0]
    }

    /// Attributes.
    pub fn attrs(&self) -> &Attrs {
        &self.attrs
    }

    /// Owned regions with their labels: the attribute's name in ONNX (`then_branch`), the option's in `space.Choice`.
    pub fn regions(&self) -> &[(Symbol, RegionId)] {
        &self.regions
    }

    /// The region with that label.
    pub fn region_named(&self, label: &str) -> Option<RegionId> {
        self.regions.iter().find(|(l, _)| &**l == label).map(|(_, r)| *r)
    }

    /// Where it came from.
    pub fn loc(&self) -> &Loc {
        &self.loc
    }

    /// What ONNX nodes carry beside.
    pub fn meta(&self) -> Option<&OpMeta> {
        self.meta.as_deref()
    }

    /// The region that it stands in.
    pub fn region(&self) -> RegionId {
        self.region
    }

    /// An integer attribute, or `default`.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attrs.get(name).and_then(crate::attr::Attr::as_int).unwrap_or(default)
    }

    /// A float attribute, or `default`.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.attrs.get(name).and_then(crate::attr::Attr::as_float).unwrap_or(default)
    }

    /// An integer list attribute, if present.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attrs.get(name).and_then(crate::attr::Attr::as_ints)
    }

    /// A text attribute, or `default`.
    pub fn str<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.attrs.get(name).and_then(crate::attr::Attr::as_str).unwrap_or(default)
    }
}

/// What makes a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Def {
    /// An input of a region (of the model, of a loop body, of a function).
    Input(RegionId, u32),
    /// Result `.1` of an op.
    Op(OpId, u32),
    /// A constant that belongs to a region.
    Const(RegionId),
    /// Nothing any more: the value was erased.
    Erased,
}

/// Who reads a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum User {
    /// Operand `.1` of an op.
    Op(OpId, u32),
    /// Result `.1` of a region.
    Return(RegionId, u32),
}

/// Numbers that a value took while calibrating.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Range {
    /// Smallest number that shall be representable.
    pub min: f32,
    /// Largest.
    pub max: f32,
}

/// A value: an input, a constant, or a result of an op.
#[derive(Clone, Debug)]
pub struct Value {
    pub(crate) name: Symbol,
    pub(crate) ty: Type,
    pub(crate) def: Def,
    pub(crate) users: Vec<User>,
    pub(crate) tensor: Option<Tensor>,
    pub(crate) range: Option<Range>,
    pub(crate) meta: Option<Box<ValueMeta>>,
}

/// What ONNX values carry that no pass looks at.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ValueMeta {
    /// `doc_string`.
    pub doc: String,
    /// `metadata_props`.
    pub props: BTreeMap<String, String>,
    /// `TypeProto.denotation`.
    pub denotation: String,
    /// Denotation of each dimension (`DATA_BATCH`), empty where none is given.
    pub dim_denotations: Vec<String>,
    /// A constant that the file stores as a sparse tensor.
    pub sparse: bool,
}

impl Value {
    /// Name as in the file; may be empty, and need not be unique (see [`crate::names`]).
    pub fn name(&self) -> &Symbol {
        &self.name
    }

    /// Type.
    pub fn ty(&self) -> &Type {
        &self.ty
    }

    /// What makes it.
    pub fn def(&self) -> Def {
        self.def
    }

    /// Who reads it, in no particular order; an op that reads it twice is listed twice.
    pub fn users(&self) -> &[User] {
        &self.users
    }

    /// The numbers of a constant, or the default of an input that has one.
    pub fn tensor(&self) -> Option<&Tensor> {
        self.tensor.as_ref()
    }

    /// Calibrated range.
    pub fn range(&self) -> Option<Range> {
        self.range
    }

    /// What ONNX values carry beside.
    pub fn meta(&self) -> Option<&ValueMeta> {
        self.meta.as_deref()
    }

    /// True for constants.
    pub fn is_const(&self) -> bool {
        matches!(self.def, Def::Const(_))
    }
}

/// A list of ops with inputs and results.
#[derive(Clone, Debug, Default)]
pub struct Region {
    pub(crate) name: Symbol,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) consts: Vec<ValueId>,
    pub(crate) results: Vec<ValueId>,
    pub(crate) result_names: Vec<Symbol>,
    pub(crate) first: Option<OpId>,
    pub(crate) last: Option<OpId>,
    /// The op that owns it; `None` for the body and for functions.
    pub(crate) owner: Option<OpId>,
}

impl Region {
    /// Name of the ONNX graph.
    pub fn name(&self) -> &Symbol {
        &self.name
    }

    /// Inputs.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// Constants that belong here, in the order of the file.
    pub fn consts(&self) -> &[ValueId] {
        &self.consts
    }

    /// Results.
    pub fn results(&self) -> &[ValueId] {
        &self.results
    }

    /// Names of the results as callers know them: they outlive rewrites of the values.
    pub fn result_names(&self) -> &[Symbol] {
        &self.result_names
    }

    /// The op that owns it; `None` for the body and for functions.
    pub fn owner(&self) -> Option<OpId> {
        self.owner
    }
}

/// What an ONNX model carries beside its graph.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ModelMeta {
    /// Operator set versions by domain (`onnx` for the default domain).
    pub opsets: BTreeMap<Symbol, u64>,
    /// `ir_version`; 0 when the graph does not come from a file.
    pub ir_version: i64,
    /// Producer, version, domain, model version, doc string.
    pub producer: String,
    /// `producer_version`.
    pub producer_version: String,
    /// `domain`.
    pub domain: String,
    /// `model_version`.
    pub model_version: i64,
    /// `doc_string` of the model.
    pub doc: String,
    /// `doc_string` of the graph.
    pub graph_doc: String,
    /// `metadata_props` of the model.
    pub props: BTreeMap<String, String>,
    /// `metadata_props` of the graph.
    pub graph_props: BTreeMap<String, String>,
    /// Parts that no pass looks at, as protobuf bytes by field (`training_info`, `quantization_annotation`, `configuration`).
    pub opaque: BTreeMap<String, Vec<bytes::Bytes>>,
}

impl ModelMeta {
    /// Version of a domain's operator set.
    pub fn opset(&self, domain: &str) -> Option<u64> {
        self.opsets.get(domain).copied()
    }
}

/// A function of the model (`FunctionProto`): ops may call it as `domain.name`.
#[derive(Clone, Debug)]
pub struct Function {
    /// Domain and name under which ops call it.
    pub name: OpName,
    /// `overload`.
    pub overload: String,
    /// Attributes without default.
    pub attrs: Vec<Symbol>,
    /// Attributes with default.
    pub defaults: Attrs,
    /// Operator sets of its body.
    pub opsets: BTreeMap<Symbol, u64>,
    /// `doc_string`.
    pub doc: String,
    /// `metadata_props`.
    pub props: BTreeMap<String, String>,
    /// Its body.
    pub region: RegionId,
}

/// A whole model, a whole search space, or anything between.
#[derive(Clone, Debug)]
pub struct Graph {
    pub(crate) ops: Vec<Option<Op>>,
    pub(crate) values: Vec<Value>,
    pub(crate) regions: Vec<Option<Region>>,
    pub(crate) body: RegionId,
    pub(crate) revision: u64,
    /// Model-local functions.
    pub functions: Vec<Function>,
    /// Search parameters and bound values; empty in a plain model.
    pub space: SpaceTable,
    /// What the file carries beside.
    pub meta: ModelMeta,
}

impl Graph {
    /// The region of the model itself.
    pub fn body(&self) -> RegionId {
        self.body
    }

    /// Grows with every edit; analyses remember the one they saw.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The op.
    ///
    /// # Panics
    /// When it was erased (see [`Graph::is_live`]).
    pub fn op(&self, id: OpId) -> &Op {
        self.ops[id.index()].as_ref().expect("op was erased")
    }

    /// False after the op was erased.
    pub fn is_live(&self, id: OpId) -> bool {
        self.ops[id.index()].is_some()
    }

    /// The value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The region.
    ///
    /// # Panics
    /// When its owner was erased.
    pub fn region(&self, id: RegionId) -> &Region {
        self.regions[id.index()].as_ref().expect("region was erased")
    }

    /// Bound of op indices, for side tables.
    pub fn op_bound(&self) -> usize {
        self.ops.len()
    }

    /// Bound of value indices, for side tables.
    pub fn value_bound(&self) -> usize {
        self.values.len()
    }

    /// Ops of one region, in order.
    pub fn ops_in(&self, region: RegionId) -> impl Iterator<Item = OpId> + '_ {
        std::iter::successors(self.region(region).first, |&id| self.op(id).next)
    }

    /// All live ops: the body and everything nested in it in order (an op before its regions), then functions.
    pub fn all_ops(&self) -> Vec<OpId> {
        let mut found = Vec::new();
        for region in self.root_regions() {
            self.collect_ops(region, &mut found);
        }
        found
    }

    /// The body and the bodies of functions.
    pub fn root_regions(&self) -> Vec<RegionId> {
        std::iter::once(self.body).chain(self.functions.iter().map(|f| f.region)).collect()
    }

    /// All live regions: the body, then nested ones as [`Graph::all_ops`] meets them, and functions with theirs.
    pub fn all_regions(&self) -> Vec<RegionId> {
        let mut found = Vec::new();
        for root in self.root_regions() {
            found.push(root);
            let mut ops = Vec::new();
            self.collect_ops(root, &mut ops);
            found.extend(ops.iter().flat_map(|&op| self.op(op).regions.iter().map(|(_, r)| *r)));
        }
        found
    }

    fn collect_ops(&self, region: RegionId, found: &mut Vec<OpId>) {
        // Explicit stack: files may nest subgraphs deeper than a thread's stack.
        let mut stack: Vec<Option<OpId>> = vec![self.region(region).first];
        while let Some(top) = stack.last_mut() {
            let Some(id) = *top else {
                stack.pop();
                continue;
            };
            *top = self.op(id).next;
            found.push(id);
            stack.extend(self.op(id).regions.iter().rev().map(|(_, r)| self.region(*r).first));
        }
    }

    /// The op that makes a value, if an op does.
    pub fn def_op(&self, value: ValueId) -> Option<OpId> {
        match self.value(value).def {
            Def::Op(op, _) => Some(op),
            _ => None,
        }
    }

    /// The numbers of a constant.
    pub fn const_of(&self, value: ValueId) -> Option<&Tensor> {
        let value = self.value(value);
        if value.is_const() { value.tensor.as_ref() } else { None }
    }

    /// The numbers of operand `index` of an op, if it is a constant.
    pub fn const_operand(&self, op: OpId, index: usize) -> Option<&Tensor> {
        self.const_of(self.op(op).operand(index)?)
    }

    /// The op that makes operand `index`, if it is an ONNX op of that name.
    pub fn def_named(&self, value: ValueId, onnx_op: &str) -> Option<OpId> {
        self.def_op(value).filter(|&op| self.op(op).name.is_onnx(onnx_op))
    }

    /// Number of readers, results of regions included.
    pub fn use_count(&self, value: ValueId) -> usize {
        self.value(value).users.len()
    }

    /// The only reading op, if there is one reader and it is an op.
    pub fn only_user(&self, value: ValueId) -> Option<OpId> {
        match self.value(value).users[..] {
            [User::Op(op, _)] => Some(op),
            _ => None,
        }
    }

    /// True when a region returns the value.
    pub fn is_returned(&self, value: ValueId) -> bool {
        self.value(value).users.iter().any(|u| matches!(u, User::Return(..)))
    }

    /// The region that a value belongs to; `None` for erased values.
    pub fn region_of(&self, value: ValueId) -> Option<RegionId> {
        match self.value(value).def {
            Def::Input(region, _) | Def::Const(region) => Some(region),
            Def::Op(op, _) => Some(self.op(op).region),
            Def::Erased => None,
        }
    }

    /// True when `inner` is `outer` or nested in it.
    pub fn encloses(&self, outer: RegionId, inner: RegionId) -> bool {
        let mut at = Some(inner);
        while let Some(region) = at {
            if region == outer {
                return true;
            }
            at = self.region(region).owner.map(|op| self.op(op).region);
        }
        false
    }

    /// Version of a domain's operator set that holds for ops of `region`: the function's, or the model's.
    pub fn opset_in(&self, region: RegionId, domain: &str) -> Option<u64> {
        let function = self.functions.iter().find(|f| self.encloses(f.region, region));
        function.map_or(&self.meta.opsets, |f| &f.opsets).get(domain).copied()
    }

    /// How a value is called in messages: its name, or its number.
    pub fn label(&self, value: ValueId) -> String {
        let name = &self.value(value).name;
        if name.is_empty() { format!("%{}", value.0) } else { format!("%{name}") }
    }
}
