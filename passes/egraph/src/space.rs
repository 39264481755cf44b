//! What an e-graph of ops is made of.
//!
//! A node is a *head* and the classes that it reads. An op with its attributes and the type of its result is one head, so
//! that two nodes with one head compute the same of the same, stored in the same way. What no rule may look into (ops with
//! regions, with several results, random ones, operators that nobody knows) is a head of its own for each op, whose results
//! are parts of it. The analysis knows of each class its type, whether it depends on constants only, and small numbers.

use std::collections::{BTreeMap, HashMap};

use egg::{Analysis, DidMerge, EGraph, Id, Language};
use spaceevo_ir::interp::{self, Datum};
use spaceevo_ir::{Attr, Attrs, Graph, NewOp, OpId, OpName, Place, Symbol, Tensor, Type, ValueId, shape};
use spaceevo_passes::rule::{Build, Make, Maker, Terms, result_type, without_defaults};

/// Number of a head in [`Facts::heads`].
pub(crate) type HeadId = u32;
pub(crate) type Egraph = EGraph<Node, Facts>;

/// Constants up to so many elements are followed through ops: shapes, axes, bounds.
const FOLLOWED: usize = 256;

/// What a node computes.
#[derive(Clone, Debug)]
pub(crate) enum Head {
    /// A value that the region does not make: an input, or one of a region around.
    Leaf(ValueId),
    /// A constant of the graph.
    Const(ValueId),
    /// A constant that a rule brought.
    Fresh(Tensor),
    /// An op with one result; `present` says where its children stand among the operands.
    Op { name: OpName, attrs: Attrs, present: Vec<bool>, ty: Type },
    /// An op that is taken as it is.
    Opaque(OpId),
    /// A result of an op that is taken as it is.
    Part(u32, Type),
}

/// A head with the classes that it reads.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Node {
    pub(crate) head: HeadId,
    pub(crate) children: Vec<Id>,
}

impl Language for Node {
    type Discriminant = (HeadId, usize);

    fn discriminant(&self) -> Self::Discriminant {
        (self.head, self.children.len())
    }

    fn matches(&self, other: &Self) -> bool {
        self.discriminant() == other.discriminant()
    }

    fn children(&self) -> &[Id] {
        &self.children
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.children
    }
}

/// What is known of a class. It never gets weaker when classes merge.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) ty: Type,
    pub(crate) constant: bool,
    pub(crate) tensor: Option<Tensor>,
}

/// The analysis, and the table of heads.
pub(crate) struct Facts {
    pub(crate) heads: Vec<Head>,
    numbers: HashMap<String, HeadId>,
    /// What is known of leaves and constants of the graph.
    pub(crate) known: HashMap<ValueId, Fact>,
    pub(crate) opsets: BTreeMap<Symbol, u64>,
}

impl Facts {
    fn intern(&mut self, key: String, head: Head) -> HeadId {
        let next = self.heads.len() as HeadId;
        let id = *self.numbers.entry(key).or_insert(next);
        if id == next {
            self.heads.push(head);
        }
        id
    }
}

impl Analysis<Node> for Facts {
    type Data = Fact;

    fn make(egraph: &mut Egraph, node: &Node, _id: Id) -> Fact {
        let facts = &egraph.analysis;
        let children = || node.children.iter().map(|&id| &egraph[id].data);
        match &facts.heads[node.head as usize] {
            Head::Leaf(value) | Head::Const(value) => facts.known[value].clone(),
            Head::Fresh(tensor) => Fact { ty: Type::Tensor(tensor.ty()), constant: true, tensor: Some(tensor.clone()) },
            Head::Opaque(_) => Fact { ty: Type::Unknown, constant: false, tensor: None },
            Head::Part(_, ty) => Fact { ty: ty.clone(), constant: false, tensor: None },
            Head::Op { name, attrs, present, ty } => {
                let constant = children().all(|fact| fact.constant);
                let small = ty.dims().and_then(|d| spaceevo_ir::tensor::count(&d)).is_some_and(|n| n <= FOLLOWED);
                let operands: Option<Vec<_>> =
                    children().map(|fact| fact.tensor.clone().filter(|_| fact.ty.quant().is_none())).collect();
                let tensor = operands
                    .filter(|list| constant && small && ty.quant().is_none() && list.iter().all(|t| t.len() <= FOLLOWED))
                    .and_then(|list| compute(name, attrs, present, list, &facts.opsets));
                Fact { ty: ty.clone(), constant, tensor }
            }
        }
    }

    fn merge(&mut self, a: &mut Fact, b: Fact) -> DidMerge {
        let ty = shape::merge(&a.ty, &b.ty).unwrap_or_else(|_| a.ty.clone());
        let merged = Fact { ty, constant: a.constant || b.constant, tensor: a.tensor.clone().or(b.tensor.clone()) };
        let differs =
            |x: &Fact| x.ty != merged.ty || x.constant != merged.constant || x.tensor.is_some() != merged.tensor.is_some();
        let did = DidMerge(differs(a), differs(&b));
        *a = merged;
        did
    }
}

/// Runs one op on small constants.
fn compute(
    name: &OpName,
    attrs: &Attrs,
    present: &[bool],
    operands: Vec<Tensor>,
    opsets: &BTreeMap<Symbol, u64>,
) -> Option<Tensor> {
    let mut alone = Graph::new("constant");
    alone.meta.opsets = opsets.clone();
    let body = alone.body();
    let mut given = operands.into_iter();
    let mut values = Vec::new();
    for &there in present {
        values.push(if there { Some(alone.add_const(body, "", given.next()?)) } else { None });
    }
    let new = NewOp::new(name.clone()).operands(values).attrs(attrs.clone()).result("", Type::Unknown);
    let op = alone.insert(Place::End(body), new);
    let result = alone.op(op).result();
    alone.set_results(body, vec![result]);
    interp::run(&alone, &[]).ok()?.first().and_then(Datum::tensor).cloned()
}

/// An e-graph of a region, with names for what is in it.
pub(crate) struct Space {
    pub(crate) egraph: Egraph,
    /// Nodes that a rule made: the rule that is at work, and the class that it replaces.
    pub(crate) made: Vec<(Node, usize, Id)>,
    pub(crate) at_work: Option<(usize, Id)>,
}

impl Space {
    pub(crate) fn new(opsets: BTreeMap<Symbol, u64>) -> Space {
        let facts = Facts { heads: Vec::new(), numbers: HashMap::new(), known: HashMap::new(), opsets };
        Space { egraph: EGraph::new(facts), made: Vec::new(), at_work: None }
    }

    pub(crate) fn head(&self, id: HeadId) -> &Head {
        &self.egraph.analysis.heads[id as usize]
    }

    pub(crate) fn fact(&self, id: Id) -> &Fact {
        &self.egraph[self.egraph.find(id)].data
    }

    /// The op that a node is, if rules may look into it.
    pub(crate) fn op<'a>(&'a self, node: &Node) -> Option<(&'a OpName, &'a Attrs, &'a [bool], &'a Type)> {
        match self.head(node.head) {
            Head::Op { name, attrs, present, ty } => Some((name, attrs, present, ty)),
            _ => None,
        }
    }

    /// The node with the classes that it reads by their present numbers.
    pub(crate) fn canonical(&self, node: &Node) -> Node {
        node.clone().map_children(|id| self.egraph.find(id))
    }

    /// The operands of a node, absent ones included.
    pub(crate) fn operands(present: &[bool], node: &Node) -> Vec<Option<Id>> {
        let mut children = node.children.iter().copied();
        present.iter().map(|&there| if there { children.next() } else { None }).collect()
    }

    fn node(&mut self, key: String, head: Head, children: Vec<Id>) -> Id {
        let head = self.egraph.analysis.intern(key, head);
        let node = Node { head, children };
        if let Some((rule, root)) = self.at_work
            && self.egraph.lookup(node.clone()).is_none()
        {
            self.made.push((node.clone(), rule, root));
        }
        self.egraph.add(node)
    }

    pub(crate) fn add_leaf(&mut self, value: ValueId, fact: Fact) -> Id {
        let head = if fact.constant { Head::Const(value) } else { Head::Leaf(value) };
        self.egraph.analysis.known.insert(value, fact);
        self.node(format!("leaf {value:?}"), head, Vec::new())
    }

    pub(crate) fn add_opaque(&mut self, op: OpId, children: Vec<Id>) -> Id {
        self.node(format!("opaque {op:?}"), Head::Opaque(op), children)
    }

    pub(crate) fn add_part(&mut self, whole: Id, index: u32, ty: Type) -> Id {
        self.node(format!("part {index} {ty} of {whole}"), Head::Part(index, ty), vec![whole])
    }

    /// Adds an op; absent operands at the end are left out.
    pub(crate) fn add_op(&mut self, name: &OpName, attrs: &Attrs, operands: &[Option<Id>], ty: Type) -> Id {
        let attrs = without_defaults(name, attrs, self.opset(name));
        let last = operands.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let present: Vec<bool> = operands[..last].iter().map(Option::is_some).collect();
        let shown: Vec<String> = attrs.iter().map(|(key, attr)| format!("{key} = {}", exactly(attr))).collect();
        let key = format!("{name} {present:?} {{{}}} : {ty}", shown.join(", "));
        self.node(key, Head::Op { name: name.clone(), attrs, present, ty }, operands.iter().flatten().copied().collect())
    }
}

/// An attribute as a text that is equal for equal bits alone.
fn exactly(attr: &Attr) -> String {
    match attr {
        Attr::Float(x) => format!("float {:08x}", x.to_bits()),
        Attr::Floats(list) => format!("floats {:08x?}", list.iter().map(|x| x.to_bits()).collect::<Vec<_>>()),
        other => format!("{other:?}"),
    }
}

impl Terms for Space {
    type Value = Id;

    fn makers(&self, value: Id) -> Vec<Maker<'_, Id>> {
        let class = &self.egraph[self.egraph.find(value)];
        let maker = |node: &Node| {
            let (name, attrs, present, _) = self.op(node)?;
            let operands = Space::operands(present, node).into_iter().map(|id| id.map(|id| self.egraph.find(id))).collect();
            Some(Maker { name, attrs, operands })
        };
        class.nodes.iter().filter_map(maker).collect()
    }

    fn ty(&self, value: Id) -> &Type {
        &self.fact(value).ty
    }

    fn tensor(&self, value: Id) -> Option<&Tensor> {
        self.fact(value).tensor.as_ref()
    }

    fn is_const(&self, value: Id) -> bool {
        self.fact(value).constant
    }

    fn opsets(&self) -> &BTreeMap<Symbol, u64> {
        &self.egraph.analysis.opsets
    }
}

impl Build for Space {
    fn add(&mut self, make: Make<Id>) -> Option<Id> {
        let known = |id: Id| (self.ty(id).clone(), self.tensor(id).cloned());
        let operands: Vec<_> = make.operands.iter().map(|id| id.map(known)).collect();
        let mut ty = result_type(&make.name, &make.attrs, &operands, self.opsets())?;
        if let Some(like) = &make.like {
            ty = shape::merge(like, &ty).ok()?;
        }
        if let Type::Tensor(tensor) = &mut ty {
            tensor.quant = make.stored;
        }
        Some(self.add_op(&make.name, &make.attrs, &make.operands, ty))
    }

    fn constant(&mut self, tensor: Tensor) -> Id {
        let key = format!("fresh {:?} {:?} {:?}", tensor.elem(), tensor.dims(), tensor.bytes());
        self.node(key, Head::Fresh(tensor), Vec::new())
    }
}
