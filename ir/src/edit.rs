//! Every change of a graph. Each edit keeps def-use links right and raises the revision.

use std::sync::Arc;

use crate::attr::{Attr, Attrs};
use crate::graph::*;
use crate::space::SpaceTable;
use crate::tensor::Tensor;
use crate::types::{Symbol, Type};

/// A new op, before it is placed. Built fluently:
///
/// ```
/// use spaceevo_ir::{edit::NewOp, graph::OpName, attr::Attr};
/// let relu = NewOp::new(OpName::onnx("LeakyRelu")).attr("alpha", Attr::Float(0.1));
/// ```
#[derive(Clone, Debug)]
pub struct NewOp {
    name: OpName,
    operands: Vec<Option<ValueId>>,
    results: Vec<(Symbol, Type)>,
    attrs: Attrs,
    loc: Loc,
    meta: Option<Box<OpMeta>>,
}

impl NewOp {
    /// An op without operands, results and attributes.
    pub fn new(name: OpName) -> Self {
        NewOp { name, operands: Vec::new(), results: Vec::new(), attrs: Attrs::new(), loc: Loc::Unknown, meta: None }
    }

    /// An operator of ONNX's default domain.
    pub fn onnx(op: &str) -> Self {
        NewOp::new(OpName::onnx(op))
    }

    /// Appends a present operand.
    pub fn operand(mut self, value: ValueId) -> Self {
        self.operands.push(Some(value));
        self
    }

    /// Appends operands, absent ones as `None`.
    pub fn operands(mut self, values: impl IntoIterator<Item = Option<ValueId>>) -> Self {
        self.operands.extend(values);
        self
    }

    /// Appends a result.
    pub fn result(mut self, name: impl Into<Symbol>, ty: impl Into<Type>) -> Self {
        self.results.push((name.into(), ty.into()));
        self
    }

    /// Sets an attribute.
    pub fn attr(mut self, name: &str, value: Attr) -> Self {
        self.attrs.insert(name.into(), value);
        self
    }

    /// Sets all attributes.
    pub fn attrs(mut self, attrs: Attrs) -> Self {
        self.attrs = attrs;
        self
    }

    /// Says where it came from.
    pub fn loc(mut self, loc: Loc) -> Self {
        self.loc = loc;
        self
    }

    /// Says that a pass made it from other ops.
    pub fn made(self, by: &str, from: &[&Loc]) -> Self {
        let from: Arc<[Loc]> = from.iter().map(|&l| l.clone()).collect();
        self.loc(Loc::Made { by: by.into(), from })
    }

    /// Attaches what ONNX nodes carry beside.
    pub fn meta(mut self, meta: OpMeta) -> Self {
        self.meta = (meta != OpMeta::default()).then(|| Box::new(meta));
        self
    }
}

/// Where a new op goes.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// Right before an op.
    Before(OpId),
    /// Right after an op.
    After(OpId),
    /// At the end of a region.
    End(RegionId),
    /// At the beginning of a region.
    Start(RegionId),
}

impl Default for Graph {
    fn default() -> Self {
        Graph::new("main")
    }
}

impl Graph {
    /// A graph without inputs, ops and results.
    pub fn new(name: &str) -> Self {
        let body = Region { name: name.into(), ..Region::default() };
        Graph {
            ops: Vec::new(),
            values: Vec::new(),
            regions: vec![Some(body)],
            body: RegionId(0),
            revision: 0,
            functions: Vec::new(),
            space: SpaceTable::default(),
            meta: ModelMeta::default(),
        }
    }

    /// Tells analyses that something changed that no other edit saw (metadata, parameters).
    pub fn touch(&mut self) {
        self.revision += 1;
    }

    fn new_value(&mut self, name: Symbol, ty: Type, def: Def, tensor: Option<Tensor>) -> ValueId {
        self.touch();
        let id = ValueId(u32::try_from(self.values.len()).expect("fewer than 2^32 values"));
        self.values.push(Value { name, ty, def, users: Vec::new(), tensor, range: None, meta: None });
        id
    }

    fn op_mut(&mut self, id: OpId) -> &mut Op {
        self.touch();
        self.ops[id.index()].as_mut().expect("op was erased")
    }

    fn region_mut(&mut self, id: RegionId) -> &mut Region {
        self.touch();
        self.regions[id.index()].as_mut().expect("region was erased")
    }

    fn value_mut(&mut self, id: ValueId) -> &mut Value {
        self.touch();
        &mut self.values[id.index()]
    }

    // -- values --------------------------------------------------------------------------------------------------------

    /// Appends an input to a region.
    pub fn add_input(&mut self, region: RegionId, name: impl Into<Symbol>, ty: impl Into<Type>) -> ValueId {
        let index = self.region(region).inputs.len() as u32;
        let id = self.new_value(name.into(), ty.into(), Def::Input(region, index), None);
        self.region_mut(region).inputs.push(id);
        id
    }

    /// Adds a constant to a region; its type is the tensor's.
    pub fn add_const(&mut self, region: RegionId, name: impl Into<Symbol>, tensor: Tensor) -> ValueId {
        let ty = Type::Tensor(tensor.ty());
        self.add_typed_const(region, name, tensor, ty)
    }

    /// Adds a constant whose type says more than the tensor does (quantization).
    pub fn add_typed_const(
        &mut self,
        region: RegionId,
        name: impl Into<Symbol>,
        tensor: Tensor,
        ty: impl Into<Type>,
    ) -> ValueId {
        let id = self.new_value(name.into(), ty.into(), Def::Const(region), Some(tensor));
        self.region_mut(region).consts.push(id);
        id
    }

    /// Gives an input a default (an initializer that is listed as an input), or takes it away.
    pub fn set_default(&mut self, input: ValueId, tensor: Option<Tensor>) {
        debug_assert!(matches!(self.value(input).def, Def::Input(..)));
        self.value_mut(input).tensor = tensor;
    }

    /// Makes an input that has a default a plain constant of the same region.
    pub fn input_to_const(&mut self, input: ValueId) {
        let Def::Input(region, _) = self.value(input).def else { return };
        if self.value(input).tensor.is_none() {
            return;
        }
        self.region_mut(region).inputs.retain(|&v| v != input);
        for (index, value) in self.region(region).inputs.clone().into_iter().enumerate() {
            self.value_mut(value).def = Def::Input(region, index as u32);
        }
        self.value_mut(input).def = Def::Const(region);
        self.region_mut(region).consts.push(input);
    }

    /// Replaces the numbers of a constant, and its type by theirs.
    pub fn set_const(&mut self, value: ValueId, tensor: Tensor) {
        debug_assert!(self.value(value).is_const());
        self.value_mut(value).ty = Type::Tensor(tensor.ty());
        self.value_mut(value).tensor = Some(tensor);
    }

    /// Sets the type of a value.
    pub fn set_type(&mut self, value: ValueId, ty: impl Into<Type>) {
        self.value_mut(value).ty = ty.into();
    }

    /// Sets the name of a value.
    pub fn set_name(&mut self, value: ValueId, name: impl Into<Symbol>) {
        self.value_mut(value).name = name.into();
    }

    /// Sets or removes the calibrated range of a value.
    pub fn set_range(&mut self, value: ValueId, range: Option<Range>) {
        self.value_mut(value).range = range;
    }

    /// Attaches what ONNX values carry beside.
    pub fn set_value_meta(&mut self, value: ValueId, meta: ValueMeta) {
        self.value_mut(value).meta = (meta != ValueMeta::default()).then(|| Box::new(meta));
    }

    /// Lets all readers of `old` read `new`. A name that callers of the model know stays theirs: where `old` was a result
    /// of the body and `new` is made by an op, `new` takes over its name.
    pub fn replace_all_uses(&mut self, old: ValueId, new: ValueId) {
        if old == new {
            return;
        }
        let users = std::mem::take(&mut self.value_mut(old).users);
        for &user in &users {
            match user {
                User::Op(op, index) => self.op_mut(op).operands[index as usize] = Some(new),
                User::Return(region, index) => self.region_mut(region).results[index as usize] = new,
            }
        }
        let returned = users.iter().any(|u| matches!(u, User::Return(..)));
        let already = self.is_returned(new);
        self.value_mut(new).users.extend(users);
        if (returned || self.value(new).name.is_empty()) && !already && matches!(self.value(new).def, Def::Op(..)) {
            let name = self.value(old).name.clone();
            self.value_mut(new).name = name;
        }
    }

    /// Lets one reader of a value read another.
    pub fn replace_use(&mut self, user: User, new: ValueId) {
        match user {
            User::Op(op, index) => self.set_operand(op, index as usize, Some(new)),
            User::Return(region, index) => {
                let old = self.region(region).results[index as usize];
                self.value_mut(old).users.retain(|&u| u != user);
                self.region_mut(region).results[index as usize] = new;
                self.value_mut(new).users.push(user);
            }
        }
    }

    /// Erases a constant or input that nobody reads; false when somebody does, or when an op makes it.
    pub fn erase_value(&mut self, value: ValueId) -> bool {
        if !self.value(value).users.is_empty() {
            return false;
        }
        match self.value(value).def {
            Def::Const(region) => self.region_mut(region).consts.retain(|&v| v != value),
            Def::Input(region, _) => {
                self.region_mut(region).inputs.retain(|&v| v != value);
                for (index, input) in self.region(region).inputs.clone().into_iter().enumerate() {
                    self.value_mut(input).def = Def::Input(region, index as u32);
                }
            }
            Def::Op(..) | Def::Erased => return false,
        }
        self.forget(value);
        true
    }

    /// Erases all constants of a region that nobody reads, in one sweep; returns how many.
    pub fn erase_unused_consts(&mut self, region: RegionId) -> usize {
        let (kept, dead): (Vec<_>, Vec<_>) =
            self.region(region).consts.iter().partition(|&&v| !self.value(v).users.is_empty());
        if !dead.is_empty() {
            self.region_mut(region).consts = kept;
        }
        dead.iter().for_each(|&v| self.forget(v));
        dead.len()
    }

    fn forget(&mut self, value: ValueId) {
        let value = self.value_mut(value);
        value.def = Def::Erased;
        value.tensor = None;
    }

    // -- ops -----------------------------------------------------------------------------------------------------------

    /// Places a new op.
    pub fn insert(&mut self, place: Place, new: NewOp) -> OpId {
        let id = OpId(u32::try_from(self.ops.len()).expect("fewer than 2^32 ops"));
        let region = match place {
            Place::Before(op) | Place::After(op) => self.op(op).region,
            Place::End(region) | Place::Start(region) => region,
        };
        let (prev, next) = match place {
            Place::Before(op) => (self.op(op).prev, Some(op)),
            Place::After(op) => (Some(op), self.op(op).next),
            Place::End(region) => (self.region(region).last, None),
            Place::Start(region) => (None, self.region(region).first),
        };
        let NewOp { name, operands, results, attrs, loc, meta } = new;
        self.ops.push(Some(Op {
            name,
            operands,
            results: Vec::new(),
            attrs,
            regions: Vec::new(),
            loc,
            meta,
            region,
            prev,
            next,
        }));
        self.link(id);
        for (index, operand) in self.op(id).operands.clone().into_iter().enumerate() {
            if let Some(value) = operand {
                self.value_mut(value).users.push(User::Op(id, index as u32));
            }
        }
        for (name, ty) in results {
            self.add_result(id, name, ty);
        }
        id
    }

    /// Points the neighbours of an op at it.
    fn link(&mut self, id: OpId) {
        let (region, prev, next) = (self.op(id).region, self.op(id).prev, self.op(id).next);
        match prev {
            Some(prev) => self.op_mut(prev).next = Some(id),
            None => self.region_mut(region).first = Some(id),
        }
        match next {
            Some(next) => self.op_mut(next).prev = Some(id),
            None => self.region_mut(region).last = Some(id),
        }
    }

    fn unlink(&mut self, id: OpId) {
        let (region, prev, next) = (self.op(id).region, self.op(id).prev, self.op(id).next);
        match prev {
            Some(prev) => self.op_mut(prev).next = next,
            None => self.region_mut(region).first = next,
        }
        match next {
            Some(next) => self.op_mut(next).prev = prev,
            None => self.region_mut(region).last = prev,
        }
    }

    /// Moves an op right before another one of the same region.
    pub fn move_before(&mut self, id: OpId, before: OpId) {
        if id == before {
            return;
        }
        debug_assert_eq!(self.op(id).region, self.op(before).region);
        self.unlink(id);
        let prev = self.op(before).prev;
        let op = self.op_mut(id);
        (op.prev, op.next) = (prev, Some(before));
        self.link(id);
    }

    /// Moves everything in a region that takes no inputs to right before the op that owns it: constants and ops keep their
    /// names and locations. Returns what the region returned; it is empty afterwards.
    pub fn inline_region(&mut self, region: RegionId) -> Vec<ValueId> {
        debug_assert!(self.region(region).inputs.is_empty());
        let Some(owner) = self.region(region).owner else { return Vec::new() };
        let outer = self.op(owner).region;
        let results = self.region(region).results.clone();
        self.set_results(region, Vec::new());
        for value in std::mem::take(&mut self.region_mut(region).consts) {
            self.value_mut(value).def = Def::Const(outer);
            self.region_mut(outer).consts.push(value);
        }
        for op in self.ops_in(region).collect::<Vec<_>>() {
            self.unlink(op);
            let prev = self.op(owner).prev;
            let moved = self.op_mut(op);
            (moved.region, moved.prev, moved.next) = (outer, prev, Some(owner));
            self.link(op);
        }
        results
    }

    /// Appends a result to an op.
    pub fn add_result(&mut self, op: OpId, name: impl Into<Symbol>, ty: impl Into<Type>) -> ValueId {
        let index = self.op(op).results.len() as u32;
        let id = self.new_value(name.into(), ty.into(), Def::Op(op, index), None);
        self.op_mut(op).results.push(id);
        id
    }

    /// Adds an empty region to an op; `label` is the attribute's name in ONNX, the option's in `space.Choice`.
    pub fn add_region(&mut self, op: OpId, label: impl Into<Symbol>, name: impl Into<Symbol>) -> RegionId {
        let id = self.new_region(name.into(), Some(op));
        self.op_mut(op).regions.push((label.into(), id));
        id
    }

    /// Adds a region that no op owns: the body of a function.
    pub fn add_root_region(&mut self, name: impl Into<Symbol>) -> RegionId {
        self.new_region(name.into(), None)
    }

    fn new_region(&mut self, name: Symbol, owner: Option<OpId>) -> RegionId {
        self.touch();
        let id = RegionId(u32::try_from(self.regions.len()).expect("fewer than 2^32 regions"));
        self.regions.push(Some(Region { name, owner, ..Region::default() }));
        id
    }

    /// Sets the name of a region.
    pub fn set_region_name(&mut self, region: RegionId, name: impl Into<Symbol>) {
        self.region_mut(region).name = name.into();
    }

    /// Sets what a region returns; the names are those of the values.
    pub fn set_results(&mut self, region: RegionId, results: Vec<ValueId>) {
        let names = results.iter().map(|&v| self.value(v).name.clone()).collect();
        self.set_named_results(region, results, names);
    }

    /// Sets what a region returns and under which names.
    pub fn set_named_results(&mut self, region: RegionId, results: Vec<ValueId>, names: Vec<Symbol>) {
        debug_assert_eq!(results.len(), names.len());
        for value in self.region(region).results.clone() {
            self.value_mut(value).users.retain(|u| !matches!(u, User::Return(r, _) if *r == region));
        }
        for (index, &value) in results.iter().enumerate() {
            self.value_mut(value).users.push(User::Return(region, index as u32));
        }
        let region = self.region_mut(region);
        (region.results, region.result_names) = (results, names);
    }

    /// Sets or removes one operand; grows the list of operands as needed.
    pub fn set_operand(&mut self, op: OpId, index: usize, value: Option<ValueId>) {
        if let Some(old) = self.op(op).operand(index) {
            self.value_mut(old).users.retain(|&u| u != User::Op(op, index as u32));
        }
        let operands = &mut self.op_mut(op).operands;
        if operands.len() <= index {
            operands.resize(index + 1, None);
        }
        operands[index] = value;
        if let Some(new) = value {
            self.value_mut(new).users.push(User::Op(op, index as u32));
        }
    }

    /// Replaces all operands.
    pub fn set_operands(&mut self, op: OpId, operands: Vec<Option<ValueId>>) {
        for index in 0..self.op(op).operands.len() {
            self.set_operand(op, index, None);
        }
        self.op_mut(op).operands.clear();
        for (index, value) in operands.into_iter().enumerate() {
            self.set_operand(op, index, value);
        }
    }

    /// Sets an attribute.
    pub fn set_attr(&mut self, op: OpId, name: impl Into<Symbol>, value: Attr) {
        self.op_mut(op).attrs.insert(name.into(), value);
    }

    /// Removes an attribute; returns what it was.
    pub fn remove_attr(&mut self, op: OpId, name: &str) -> Option<Attr> {
        self.op_mut(op).attrs.remove(name)
    }

    /// Makes an op another operator with the same operands and results.
    pub fn set_op_name(&mut self, op: OpId, name: OpName) {
        self.op_mut(op).name = name;
    }

    /// Says where an op came from.
    pub fn set_loc(&mut self, op: OpId, loc: Loc) {
        self.op_mut(op).loc = loc;
    }

    /// Attaches what ONNX nodes carry beside.
    pub fn set_op_meta(&mut self, op: OpId, meta: OpMeta) {
        self.op_mut(op).meta = (meta != OpMeta::default()).then(|| Box::new(meta));
    }

    /// Erases an op whose results nobody reads, with its regions; false (and nothing happens) when somebody does.
    pub fn erase_op(&mut self, id: OpId) -> bool {
        if self.op(id).results.iter().any(|&v| !self.value(v).users.is_empty()) {
            return false;
        }
        let mut doomed = vec![id];
        while let Some(op) = doomed.pop() {
            for (_, region) in self.op(op).regions.clone() {
                doomed.extend(self.ops_in(region).collect::<Vec<_>>());
                self.set_results(region, Vec::new());
                let region = self.region(region);
                let values: Vec<_> = region.inputs.iter().chain(&region.consts).copied().collect();
                values.into_iter().for_each(|v| self.forget(v));
            }
            for index in 0..self.op(op).operands.len() {
                self.set_operand(op, index, None);
            }
            self.op(op).results.clone().into_iter().for_each(|v| self.forget(v));
            if op == id {
                self.unlink(op);
            }
            let regions = std::mem::take(&mut self.op_mut(op).regions);
            self.ops[op.index()] = None;
            // Nested ops still name their region until they are erased too; nobody looks it up any more.
            for (_, region) in regions {
                let emptied = Region { owner: None, ..Region::default() };
                self.regions[region.index()] = Some(emptied);
            }
        }
        true
    }

    /// Erases an op after letting the readers of its first result read `new`.
    pub fn replace_op(&mut self, id: OpId, new: ValueId) {
        self.replace_all_uses(self.op(id).result(), new);
        self.erase_op(id);
    }
}
