//! From a graph to messages; the numbers of tensors stay shared with the graph.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use prost::Message;
use spaceevo_ir::attr::SparseTensor;
use spaceevo_ir::graph::{OpMeta, ValueMeta};
use spaceevo_ir::{
    Attr, Diagnostic, Function, Graph, Loc, MICROSOFT, ONNX, Op, OpId, RegionId, SPACE, Symbol, Tensor, Type, ValueId,
};

use crate::attributes::{attr_out, graph_out, graphs_out, list_name};
use crate::entries::{domain_out, map_out, opsets_out, text_out};
use crate::proto::{
    AttributeProto, DeviceConfigurationProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorAnnotation,
    TrainingInfoProto, ValueInfoProto,
};
use crate::scopes::Names;
use crate::tensors::{sparse_out, tensor_out, to_sparse};
use crate::types::info_out;
use crate::versions::{DEFAULT_IR, LAST_IR_WITH_LISTED_INITIALIZERS, ir_of_elem, ir_of_opset};

/// Operator set for nodes that the writer adds to a graph that imports none of ONNX's own.
const OPSET_OF_ADDED: u64 = 13;

/// Builds the messages of a graph.
///
/// Errors: see [`crate::write`].
pub(crate) fn export(graph: &Graph) -> Result<ModelProto, Diagnostic> {
    let names = Names::choose(graph)?;
    let mut exporter = Exporter { graph, names, node_names: made_names(graph), needs: Needs::default() };
    let mut main = exporter.graph_proto(graph.body())?;
    let meta = &graph.meta;
    main.doc_string = text_out(&meta.graph_doc);
    main.metadata_props = map_out(&meta.graph_props);
    main.quantization_annotation = decoded::<TensorAnnotation>(graph, "quantization_annotation")?;
    let mut opsets = meta.opsets.clone();
    exporter.complete(&mut opsets, &BTreeMap::new())?;
    let mut functions = Vec::new();
    for function in &graph.functions {
        functions.push(exporter.function(function)?);
    }
    Ok(ModelProto {
        ir_version: Some(exporter.ir_version(&opsets)),
        opset_import: opsets_out(&opsets),
        producer_name: text_out(&meta.producer),
        producer_version: text_out(&meta.producer_version),
        domain: text_out(&meta.domain),
        model_version: (meta.model_version != 0).then_some(meta.model_version),
        doc_string: text_out(&meta.doc),
        graph: Some(main),
        metadata_props: map_out(&meta.props),
        training_info: decoded::<TrainingInfoProto>(graph, "training_info")?,
        functions,
        configuration: decoded::<DeviceConfigurationProto>(graph, "configuration")?,
    })
}

/// Parts of the file that were kept as bytes.
fn decoded<M: Message + Default>(graph: &Graph, field: &str) -> Result<Vec<M>, Diagnostic> {
    let parts = graph.meta.opaque.get(field).map_or(&[][..], Vec::as_slice);
    parts.iter().map(|bytes| crate::decode(bytes.clone(), field, &Loc::Unknown)).collect()
}

/// Node names for ops that passes made, by op index: that of the first op they come from, made unique. Names from files stay
/// as they are.
fn made_names(graph: &Graph) -> Vec<Option<Symbol>> {
    let ops = graph.all_ops();
    let given = |op: OpId| match graph.op(op).loc() {
        Loc::Onnx { node, .. } => Some(node.clone()),
        _ => None,
    };
    let mut taken: HashSet<Symbol> = ops.iter().filter_map(|&op| given(op)).collect();
    let mut counts: HashMap<Symbol, u64> = HashMap::new();
    let mut names = vec![None; graph.op_bound()];
    for op in ops {
        let Some(wanted) = graph.op(op).loc().node().filter(|n| !n.is_empty()) else { continue };
        let mut name = wanted.clone();
        if given(op).is_none() {
            // One of several ops made from a node is called after what it makes: conversions around it, say.
            if taken.contains(&name) {
                let made = graph.op(op).results().first().map(|&v| graph.value(v).name().clone());
                name = made.filter(|n| !n.is_empty()).unwrap_or(name);
            }
            while taken.contains(&name) {
                let count = counts.entry(wanted.clone()).or_insert(0);
                *count += 1;
                name = format!("{wanted}/{count}").into();
            }
            taken.insert(name.clone());
        }
        names[op.index()] = Some(name);
    }
    names
}

/// What the nodes written so far need.
#[derive(Default)]
struct Needs {
    /// Lowest IR version.
    ir: i64,
    /// Domains used since the last [`Exporter::complete`], each with the first op that uses it.
    domains: BTreeMap<Symbol, Option<OpId>>,
}

struct Exporter<'g> {
    graph: &'g Graph,
    names: Names,
    node_names: Vec<Option<Symbol>>,
    needs: Needs,
}

impl Exporter<'_> {
    fn graph_proto(&mut self, region: RegionId) -> Result<GraphProto, Diagnostic> {
        let graph = self.graph;
        let this = graph.region(region);
        let mut proto = GraphProto { name: Some(this.name().to_string()), ..GraphProto::default() };
        for &input in this.inputs() {
            proto.input.push(self.info(input)?);
            if let Some(tensor) = graph.value(input).tensor() {
                self.initializer(&mut proto, input, tensor)?;
            }
        }
        for &value in this.consts() {
            if let Some(tensor) = graph.value(value).tensor() {
                self.plain(value)?;
                self.initializer(&mut proto, value, tensor)?;
            }
        }
        let results = self.names.results(region).to_vec();
        let written: HashSet<&str> = results.iter().map(|r| &*r.name).collect();
        for op in graph.ops_in(region) {
            proto.node.push(self.node(op)?);
            for &value in graph.op(op).results() {
                let name = self.names.of(value).clone();
                let value_ref = graph.value(value);
                let says = *value_ref.ty() != Type::Unknown || value_ref.meta().is_some();
                if says && !name.is_empty() && !written.contains(&*name) {
                    proto.value_info.push(self.info(value)?);
                }
            }
        }
        for (&value, result) in this.results().iter().zip(&results) {
            if result.copy {
                proto.node.push(self.identity(value, &result.name));
            }
            let mut info = self.info(value)?;
            info.name = Some(result.name.to_string());
            proto.output.push(info);
        }
        Ok(proto)
    }

    fn loc(&self, value: ValueId) -> Loc {
        self.graph.def_op(value).map_or(Loc::Unknown, |op| self.graph.op(op).loc().clone())
    }

    fn info(&mut self, value: ValueId) -> Result<ValueInfoProto, Diagnostic> {
        let value_ref = self.graph.value(value);
        self.need_type(value_ref.ty());
        info_out(self.names.of(value), value_ref.ty(), value_ref.meta(), &self.loc(value))
    }

    /// Refuses constants of quantized types.
    fn plain(&self, value: ValueId) -> Result<(), Diagnostic> {
        crate::types::type_out(self.graph.value(value).ty(), self.names.of(value), &Loc::Unknown).map(drop)
    }

    fn initializer(&mut self, proto: &mut GraphProto, value: ValueId, tensor: &Tensor) -> Result<(), Diagnostic> {
        let name = self.names.of(value).clone();
        self.needs.ir = self.needs.ir.max(ir_of_elem(tensor.elem()));
        let none = ValueMeta::default();
        let meta = self.graph.value(value).meta().unwrap_or(&none);
        if let Some(sparse) = self.sparse(meta, tensor) {
            proto.sparse_initializer.push(sparse_out(&sparse, &name));
            return Ok(());
        }
        let mut tensor = tensor_out(tensor, &name);
        if self.graph.value(value).is_const() {
            tensor.doc_string = text_out(&meta.doc);
            tensor.metadata_props = map_out(&meta.props);
        }
        proto.initializer.push(tensor);
        Ok(())
    }

    /// The non-zero numbers of a constant that the file stores so.
    fn sparse(&mut self, meta: &ValueMeta, tensor: &Tensor) -> Option<SparseTensor> {
        let sparse = meta.sparse.then(|| to_sparse(tensor)).flatten()?;
        self.needs.ir = self.needs.ir.max(6);
        Some(sparse)
    }

    fn need_type(&mut self, ty: &Type) {
        let ir = match ty {
            Type::Unknown => 0,
            Type::Tensor(t) => ir_of_elem(t.elem),
            Type::Sparse(t) => ir_of_elem(t.elem).max(8),
            Type::Sequence(inner) => return self.need_type(inner),
            Type::Map(_, inner) => return self.need_type(inner),
            Type::Optional(inner) => {
                self.need_type(inner);
                8
            }
        };
        self.needs.ir = self.needs.ir.max(ir);
    }

    fn node(&mut self, id: OpId) -> Result<NodeProto, Diagnostic> {
        let graph = self.graph;
        let op: &Op = graph.op(id);
        let name = |value: &Option<ValueId>| value.map_or(String::new(), |v| self.names.of(v).to_string());
        let input = op.operands().iter().map(name).collect();
        let output = op.results().iter().map(|v| self.names.of(*v).to_string()).collect();
        self.needs.domains.entry(op.name().domain.clone()).or_insert(Some(id));
        let mut attribute = Vec::with_capacity(op.attrs().len() + op.regions().len());
        for (name, attr) in op.attrs().iter().filter(|(name, _)| !name.starts_with(spaceevo_ir::attr::NOTE)) {
            if let Attr::Tensor(tensor) = attr {
                self.needs.ir = self.needs.ir.max(ir_of_elem(tensor.elem()));
            }
            attribute.push(attr_out(name, attr, op.loc())?);
        }
        self.regions(op, &mut attribute)?;
        let none = OpMeta::default();
        let meta = op.meta().unwrap_or(&none);
        if !meta.overload.is_empty() {
            self.needs.ir = self.needs.ir.max(10);
        }
        let device = meta.device.iter().map(|bytes| crate::decode(bytes.clone(), "a device configuration", op.loc()));
        Ok(NodeProto {
            input,
            output,
            name: self.node_names[id.index()].as_ref().map(|n| n.to_string()),
            op_type: Some(op.name().op.to_string()),
            domain: text_out(domain_out(&op.name().domain)),
            overload: text_out(&meta.overload),
            attribute,
            doc_string: text_out(&meta.doc),
            metadata_props: map_out(&meta.props),
            device_configurations: device.collect::<Result<_, _>>()?,
        })
    }

    /// Subgraphs as attributes.
    fn regions(&mut self, op: &Op, attributes: &mut Vec<AttributeProto>) -> Result<(), Diagnostic> {
        let mut lists: BTreeMap<&str, Vec<GraphProto>> = BTreeMap::new();
        for (label, region) in op.regions() {
            let proto = self.graph_proto(*region)?;
            match list_name(label) {
                Some(name) => lists.entry(name).or_default().push(proto),
                None => attributes.push(graph_out(label, proto)),
            }
        }
        attributes.extend(lists.into_iter().map(|(name, graphs)| graphs_out(name, graphs)));
        Ok(())
    }

    /// A node that gives a value one more name.
    fn identity(&mut self, value: ValueId, name: &str) -> NodeProto {
        self.needs.domains.entry(ONNX.into()).or_insert(None);
        NodeProto {
            input: vec![self.names.of(value).to_string()],
            output: vec![name.to_string()],
            op_type: Some("Identity".to_string()),
            ..NodeProto::default()
        }
    }

    /// A node that holds a constant: functions have no initializers.
    fn constant(&mut self, value: ValueId, tensor: &Tensor) -> Result<NodeProto, Diagnostic> {
        self.plain(value)?;
        self.needs.ir = self.needs.ir.max(ir_of_elem(tensor.elem()));
        self.needs.domains.entry(ONNX.into()).or_insert(None);
        let none = ValueMeta::default();
        let meta = self.graph.value(value).meta().unwrap_or(&none);
        let attribute = match self.sparse(meta, tensor) {
            Some(sparse) => attr_out("sparse_value", &Attr::Sparse(Box::new(sparse)), &Loc::Unknown)?,
            None => attr_out("value", &Attr::Tensor(tensor.clone()), &Loc::Unknown)?,
        };
        Ok(NodeProto {
            output: vec![self.names.of(value).to_string()],
            op_type: Some("Constant".to_string()),
            attribute: vec![attribute],
            doc_string: text_out(&meta.doc),
            metadata_props: map_out(&meta.props),
            ..NodeProto::default()
        })
    }

    fn function(&mut self, function: &Function) -> Result<FunctionProto, Diagnostic> {
        let graph = self.graph;
        let this = graph.region(function.region);
        self.needs.ir = self.needs.ir.max(8);
        let mut node = Vec::new();
        for &value in this.consts() {
            if let Some(tensor) = graph.value(value).tensor() {
                node.push(self.constant(value, tensor)?);
            }
        }
        let mut typed: Vec<ValueId> = this.inputs().to_vec();
        for op in graph.ops_in(function.region) {
            node.push(self.node(op)?);
            typed.extend(graph.op(op).results());
        }
        let results = self.names.results(function.region).to_vec();
        for (&value, result) in this.results().iter().zip(&results) {
            if result.copy {
                node.push(self.identity(value, &result.name));
            }
        }
        typed.retain(|&v| {
            let value = graph.value(v);
            (*value.ty() != Type::Unknown || value.meta().is_some()) && !self.names.of(v).is_empty()
        });
        if !typed.is_empty() {
            self.needs.ir = self.needs.ir.max(10);
        }
        let value_info = typed.into_iter().map(|v| self.info(v)).collect::<Result<_, _>>()?;
        if !function.overload.is_empty() {
            self.needs.ir = self.needs.ir.max(10);
        }
        if !function.defaults.is_empty() {
            self.needs.ir = self.needs.ir.max(9);
        }
        let mut opsets = function.opsets.clone();
        self.complete(&mut opsets, &graph.meta.opsets)?;
        let defaults = function.defaults.iter().map(|(name, attr)| attr_out(name, attr, &Loc::Unknown));
        Ok(FunctionProto {
            name: Some(function.name.op.to_string()),
            input: this.inputs().iter().map(|&v| self.names.of(v).to_string()).collect(),
            output: results.iter().map(|r| r.name.to_string()).collect(),
            attribute: function.attrs.iter().map(|a| a.to_string()).collect(),
            attribute_proto: defaults.collect::<Result<_, _>>()?,
            node,
            doc_string: text_out(&function.doc),
            opset_import: opsets_out(&opsets),
            domain: text_out(domain_out(&function.name.domain)),
            overload: text_out(&function.overload),
            value_info,
            metadata_props: map_out(&function.props),
        })
    }

    /// Adds the versions of domains that nodes use and that have only one (functions of the model, ONNX Runtime's), or that
    /// the model around a function imports.
    ///
    /// Errors: a domain that is used and has no version.
    fn complete(&mut self, opsets: &mut BTreeMap<Symbol, u64>, outer: &BTreeMap<Symbol, u64>) -> Result<(), Diagnostic> {
        let graph = self.graph;
        let local: BTreeSet<&Symbol> = graph.functions.iter().map(|f| &f.name.domain).collect();
        for (domain, op) in std::mem::take(&mut self.needs.domains) {
            if opsets.contains_key(&domain) {
                continue;
            }
            let version = match outer.get(&domain) {
                Some(&version) => version,
                None if &*domain == MICROSOFT || (local.contains(&domain) && &*domain != ONNX) => 1,
                None if &*domain == ONNX && op.is_none() => OPSET_OF_ADDED,
                None => return Err(self.no_version(&domain, op)),
            };
            opsets.insert(domain, version);
        }
        Ok(())
    }

    fn no_version(&self, domain: &str, op: Option<OpId>) -> Diagnostic {
        let (loc, what) = match op {
            Some(op) => (self.graph.op(op).loc().clone(), self.graph.op(op).name().to_string()),
            None => (Loc::Unknown, domain.to_string()),
        };
        if domain == SPACE || domain == "quant" {
            return Diagnostic::error("onnx-inexpressible", loc, format!("{what} is not an operator of ONNX")).note(
                "specialize search operators and lower quantization before writing, or import the domain if it is yours",
            );
        }
        Diagnostic::error("onnx-opset", loc, format!("{what} is of a domain without operator set version"))
            .note(format!("add `{domain}` to the operator sets that the model imports"))
    }

    /// The file's IR version, raised to what elements, features and operator sets need.
    fn ir_version(&self, opsets: &BTreeMap<Symbol, u64>) -> i64 {
        let graph = self.graph;
        let body = graph.region(graph.body());
        let of_opset = opsets.get(ONNX).map_or(0, |&v| ir_of_opset(v));
        let needed = self.needs.ir;
        match graph.meta.ir_version {
            ..=0 => DEFAULT_IR.max(of_opset).max(needed),
            // From version 4 on, initializers that are listed as inputs may be overridden, and runtimes stop folding them.
            old @ ..=LAST_IR_WITH_LISTED_INITIALIZERS => {
                let listed = body.inputs().iter().any(|&v| graph.value(v).tensor().is_some());
                let unlisted = !body.consts().is_empty();
                let floor = if unlisted { LAST_IR_WITH_LISTED_INITIALIZERS + 1 } else { old };
                let version = floor.max(needed);
                // Where the version is raised for another reason, there is nothing left to spare them.
                if listed && version <= LAST_IR_WITH_LISTED_INITIALIZERS { version } else { version.max(of_opset) }
            }
            version => version.max(of_opset).max(needed),
        }
    }
}
