//! From a decoded file to a graph.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem::take;

use bytes::Bytes;
use prost::Message;
use spaceevo_ir::graph::{ModelMeta, OpMeta, ValueMeta};
use spaceevo_ir::schema::OLDEST_OPSET;
use spaceevo_ir::{
    Attr, Attrs, Diagnostic, Function, Graph, Loc, NewOp, ONNX, OpName, Place, RegionId, Symbol, Tensor, Type, ValueId,
    schema,
};

use crate::attributes::{self, Content};
use crate::entries::{domain_in, map_in, opsets_in};
use crate::external::Store;
use crate::proto::{FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, ValueInfoProto};
use crate::types::{meta_in, type_in};
use crate::versions::NEWEST_IR;
use crate::{ReadOptions, order, tensors};

/// Builds the graph of a model; `file` is the name in locations.
pub(crate) fn import(
    mut model: ModelProto,
    file: &str,
    options: &ReadOptions,
) -> Result<(Graph, Vec<Diagnostic>), Diagnostic> {
    let file: Symbol = file.into();
    let loc = Loc::Onnx { file: file.clone(), node: "".into() };
    let Some(mut proto) = model.graph.take() else {
        return Err(Diagnostic::error("onnx-malformed", loc, "the file holds no graph")
            .note("is it an ONNX model, and not a tensor or another kind of file?"));
    };
    let functions = take(&mut model.functions);
    let mut graph = Graph::new("");
    graph.meta = model_meta(&model, &mut proto);
    let warnings = version_warnings(&graph.meta, &loc);
    let store = Store::new(options.folder.as_deref());
    let dense_left = options.max_dense_bytes;
    let mut importer = Importer { file, loc, graph, store, dense_left, scopes: Vec::new(), functions: HashSet::new() };
    let body = importer.graph.body();
    importer.fill(body, proto)?;
    for function in functions {
        importer.function(function)?;
    }
    Ok((importer.graph, warnings))
}

fn model_meta(model: &ModelProto, graph: &mut GraphProto) -> ModelMeta {
    let mut opaque: BTreeMap<String, Vec<Bytes>> = BTreeMap::new();
    let mut keep = |field: &str, messages: Vec<Bytes>| {
        if !messages.is_empty() {
            opaque.insert(field.to_string(), messages);
        }
    };
    keep("training_info", model.training_info.iter().map(encoded).collect());
    keep("configuration", model.configuration.iter().map(encoded).collect());
    keep("quantization_annotation", take(&mut graph.quantization_annotation).iter().map(encoded).collect());
    ModelMeta {
        opsets: opsets_in(&model.opset_import),
        ir_version: model.ir_version(),
        producer: model.producer_name().to_string(),
        producer_version: model.producer_version().to_string(),
        domain: model.domain().to_string(),
        model_version: model.model_version(),
        doc: model.doc_string().to_string(),
        graph_doc: graph.doc_string().to_string(),
        props: map_in(&model.metadata_props),
        graph_props: map_in(&graph.metadata_props),
        opaque,
    }
}

fn encoded(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn version_warnings(meta: &ModelMeta, loc: &Loc) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    if meta.ir_version > NEWEST_IR {
        let message = format!("the file is of IR version {}, the newest known is {NEWEST_IR}", meta.ir_version);
        warnings.push(
            Diagnostic::warning("onnx-ir-version", loc.clone(), message).note("what newer versions brought may be lost"),
        );
    }
    let newest = schema::latest_opset("");
    match meta.opset(ONNX) {
        Some(v) if v < OLDEST_OPSET => warnings.push(
            Diagnostic::warning("onnx-opset", loc.clone(), format!("operator set {v} is older than {OLDEST_OPSET}"))
                .note("operators pass through; passes and shape inference may not understand them"),
        ),
        Some(v) if v > newest => warnings.push(
            Diagnostic::warning("onnx-opset", loc.clone(), format!("operator set {v} is newer than {newest}"))
                .note(format!("operators are read as those of operator set {newest}")),
        ),
        _ => {}
    }
    warnings
}

/// Values by name, of one graph or function.
type Scope = HashMap<Symbol, ValueId>;

struct Importer {
    file: Symbol,
    /// The file as a whole.
    loc: Loc,
    graph: Graph,
    store: Store,
    /// What is left of [`ReadOptions::max_dense_bytes`].
    dense_left: usize,
    /// Innermost last.
    scopes: Vec<Scope>,
    /// Names and overloads of the functions so far.
    functions: HashSet<(OpName, String)>,
}

impl Importer {
    fn error(&self, code: &'static str, message: String) -> Diagnostic {
        Diagnostic::error(code, self.loc.clone(), message)
    }

    /// Makes a name of the innermost scope known.
    fn define(&mut self, name: &str, value: ValueId, loc: &Loc) -> Result<(), Diagnostic> {
        let scope = self.scopes.last_mut().expect("a scope is open while a region is filled");
        match scope.insert(name.into(), value) {
            None => Ok(()),
            Some(_) => {
                let message = format!("the name '{name}' is given to two values");
                Err(Diagnostic::error("onnx-duplicate-name", loc.clone(), message)
                    .note("every value of a graph needs a name of its own; rename one of them"))
            }
        }
    }

    fn find(&self, name: &str) -> Option<ValueId> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name)).copied()
    }

    /// Fills a region with a graph.
    fn fill(&mut self, region: RegionId, mut proto: GraphProto) -> Result<(), Diagnostic> {
        self.graph.set_region_name(region, proto.name());
        self.scopes.push(Scope::new());
        let loc = self.loc.clone();
        for info in &proto.input {
            let value = self.graph.add_input(region, info.name(), info.r#type.as_ref().map_or(Type::Unknown, type_in));
            self.graph.set_value_meta(value, meta_in(info));
            self.define(info.name(), value, &loc)?;
        }
        for tensor in take(&mut proto.initializer) {
            self.initializer(region, tensor)?;
        }
        for sparse in take(&mut proto.sparse_initializer) {
            self.sparse_initializer(region, sparse)?;
        }
        let infos: HashMap<&str, &ValueInfoProto> =
            proto.value_info.iter().chain(&proto.output).map(|info| (info.name(), info)).collect();
        for (name, info) in proto.value_info.iter().chain(&proto.output).map(|i| (i.name(), i)) {
            self.describe_const(name, info);
        }
        self.nodes(region, take(&mut proto.node), &infos)?;
        let names = proto.output.iter().map(|o| o.name());
        self.results(region, names)
    }

    /// Sets what a region returns and leaves its scope.
    fn results<'a>(&mut self, region: RegionId, names: impl Iterator<Item = &'a str>) -> Result<(), Diagnostic> {
        let (mut values, mut symbols) = (Vec::new(), Vec::new());
        for name in names {
            let value = self.find(name).ok_or_else(|| {
                self.error("onnx-undefined-name", format!("the graph returns '{name}', which nothing makes"))
            })?;
            values.push(value);
            symbols.push(Symbol::from(name));
        }
        self.graph.set_named_results(region, values, symbols);
        self.scopes.pop();
        Ok(())
    }

    /// What a file says about an initializer beside its numbers.
    fn describe_const(&mut self, name: &str, info: &ValueInfoProto) {
        let Some(&value) = self.scopes.last().and_then(|scope| scope.get(name)) else { return };
        if self.graph.value(value).is_const() {
            let old = self.graph.value(value).meta().cloned().unwrap_or_default();
            let new = meta_in(info);
            let doc = if new.doc.is_empty() { old.doc } else { new.doc };
            let props = if new.props.is_empty() { old.props } else { new.props };
            self.graph.set_value_meta(value, ValueMeta { doc, props, sparse: old.sparse, ..new });
        }
    }

    fn initializer(&mut self, region: RegionId, mut proto: TensorProto) -> Result<(), Diagnostic> {
        let name = proto.name.take().unwrap_or_default();
        let meta =
            ValueMeta { doc: proto.doc_string().into(), props: map_in(&proto.metadata_props), ..ValueMeta::default() };
        proto.name = Some(name.clone());
        let tensor = tensors::tensor_in(proto, &mut self.store, &self.loc)?;
        self.constant(region, &name, tensor, meta)
    }

    fn sparse_initializer(&mut self, region: RegionId, proto: SparseTensorProto) -> Result<(), Diagnostic> {
        let name = proto.values.as_ref().map_or(String::new(), |v| v.name().to_string());
        let tensor = self.dense(proto)?;
        self.constant(region, &name, tensor, ValueMeta { sparse: true, ..ValueMeta::default() })
    }

    fn dense(&mut self, proto: SparseTensorProto) -> Result<Tensor, Diagnostic> {
        let sparse = tensors::sparse_in(proto, &mut self.store, &self.loc)?;
        let tensor = tensors::to_dense(&sparse, self.dense_left, &self.loc)?;
        self.dense_left -= tensor.bytes().len();
        Ok(tensor)
    }

    /// A constant of a region, or the default of its input of that name.
    fn constant(&mut self, region: RegionId, name: &str, tensor: Tensor, meta: ValueMeta) -> Result<(), Diagnostic> {
        let known = self.scopes.last().and_then(|scope| scope.get(name)).copied();
        if let Some(input) = known.filter(|&v| !self.graph.value(v).is_const() && self.graph.value(v).tensor().is_none()) {
            let old = self.graph.value(input).meta().cloned().unwrap_or_default();
            let doc = if old.doc.is_empty() { meta.doc } else { old.doc };
            let props = if old.props.is_empty() { meta.props } else { old.props };
            self.graph.set_value_meta(input, ValueMeta { doc, props, sparse: meta.sparse, ..old });
            self.graph.set_default(input, Some(tensor));
            return Ok(());
        }
        let value = self.graph.add_const(region, name, tensor);
        self.graph.set_value_meta(value, meta);
        let loc = self.loc.clone();
        self.define(name, value, &loc)
    }

    /// Adds all nodes of a graph, producers first.
    fn nodes(
        &mut self,
        region: RegionId,
        nodes: Vec<NodeProto>,
        infos: &HashMap<&str, &ValueInfoProto>,
    ) -> Result<(), Diagnostic> {
        let order = order::sorted(&nodes).map_err(|circle| {
            let names: Vec<String> = circle.iter().take(8).map(|&i| label(&nodes[i])).collect();
            self.error("onnx-cycle", format!("{} nodes read each other in a circle: {}", circle.len(), names.join(" <- ")))
        })?;
        match order {
            None => nodes.into_iter().try_for_each(|node| self.node(region, node, infos)),
            Some(order) => {
                let mut nodes: Vec<Option<NodeProto>> = nodes.into_iter().map(Some).collect();
                order.into_iter().filter_map(|i| nodes[i].take()).try_for_each(|node| self.node(region, node, infos))
            }
        }
    }

    fn node(
        &mut self,
        region: RegionId,
        mut node: NodeProto,
        infos: &HashMap<&str, &ValueInfoProto>,
    ) -> Result<(), Diagnostic> {
        let loc = Loc::Onnx { file: self.file.clone(), node: node.name().into() };
        let fail = |code, message: String| Err(Diagnostic::error(code, loc.clone(), message));
        if node.op_type().is_empty() {
            return fail("onnx-malformed", "a node has no operator".to_string());
        }
        if node.domain() == ONNX {
            return fail("onnx-malformed", format!("the domain '{ONNX}' is reserved; ONNX's own is written as ''"));
        }
        if let Some((tensor, sparse)) = self.weight(&mut node, &loc)? {
            let meta = ValueMeta {
                doc: node.doc_string().to_string(),
                props: map_in(&node.metadata_props),
                sparse,
                ..ValueMeta::default()
            };
            let name = node.output[0].as_str();
            let value = self.graph.add_const(region, name, tensor);
            self.graph.set_value_meta(value, meta);
            self.define(name, value, &loc)?;
            if let Some(info) = infos.get(name) {
                self.describe_const(name, info);
            }
            return Ok(());
        }
        let mut operands = Vec::with_capacity(node.input.len());
        for name in &node.input {
            operands.push(match (name.as_str(), self.find(name)) {
                ("", _) => None,
                (_, Some(value)) => Some(value),
                (_, None) => {
                    let message = format!("{} reads '{name}', which nothing makes", node.op_type());
                    return fail("onnx-undefined-name", message);
                }
            });
        }
        let mut attrs = Attrs::new();
        let mut graphs = Vec::new();
        for attr in take(&mut node.attribute) {
            let name: Symbol = attr.name().into();
            let duplicate = match attributes::attr_in(attr, &mut self.store, &loc)? {
                Content::Attr(attr) => attrs.insert(name.clone(), attr).is_some(),
                Content::Graph(graph) => {
                    graphs.push((name.clone(), graph));
                    false
                }
                Content::Graphs(list) => {
                    graphs.extend(list.into_iter().enumerate().map(|(i, g)| (attributes::list_label(&name, i), g)));
                    false
                }
            };
            if duplicate {
                return fail("onnx-malformed", format!("the attribute '{name}' is given twice"));
            }
        }
        let meta = OpMeta {
            doc: node.doc_string().to_string(),
            overload: node.overload().to_string(),
            props: map_in(&node.metadata_props),
            device: node.device_configurations.iter().map(encoded).collect(),
        };
        let name = OpName::new(domain_in(node.domain()), node.op_type());
        let op = NewOp::new(name).operands(operands).attrs(attrs).loc(loc.clone()).meta(meta);
        let op = self.graph.insert(Place::End(region), op);
        for (label, graph) in graphs {
            let inner = self.graph.add_region(op, label, "");
            self.fill(inner, graph)?;
        }
        for name in &node.output {
            let info = infos.get(name.as_str()).filter(|_| !name.is_empty());
            let ty = info.and_then(|i| i.r#type.as_ref()).map_or(Type::Unknown, type_in);
            let value = self.graph.add_result(op, name.as_str(), ty);
            if let Some(info) = info {
                self.graph.set_value_meta(value, meta_in(info));
            }
            if !name.is_empty() {
                self.define(name, value, &loc)?;
            }
        }
        Ok(())
    }

    /// The numbers of a `Constant` node and whether it holds them sparse; `None` for other nodes, and for constants that
    /// are attributes of the calling op.
    fn weight(&mut self, node: &mut NodeProto, loc: &Loc) -> Result<Option<(Tensor, bool)>, Diagnostic> {
        let plain = node.op_type() == "Constant" && domain_in(node.domain()) == ONNX && node.input.is_empty();
        let ([output], [attr], true) = (&node.output[..], &node.attribute[..], plain) else { return Ok(None) };
        if output.is_empty() || !attr.ref_attr_name().is_empty() {
            return Ok(None);
        }
        if attr.name() == "sparse_value" && attr.sparse_tensor.is_some() {
            let sparse = node.attribute.swap_remove(0).sparse_tensor.unwrap_or_default();
            return Ok(Some((self.dense(sparse)?, true)));
        }
        let name = attr.name().to_string();
        let known = ["value", "value_int", "value_float", "value_string", "value_ints", "value_floats", "value_strings"];
        if !known.contains(&name.as_str()) {
            return Ok(None);
        }
        let attr = node.attribute[0].clone();
        let Content::Attr(attr) = attributes::attr_in(attr, &mut self.store, loc)? else { return Ok(None) };
        Ok(match (name.as_str(), attr) {
            ("value", Attr::Tensor(tensor)) => Some(tensor),
            ("value_int", Attr::Int(n)) => Some(Tensor::scalar(n)),
            ("value_float", Attr::Float(x)) => Some(Tensor::scalar(x)),
            ("value_string", Attr::Str(s)) => Some(Tensor::strings(Vec::new(), vec![s])),
            ("value_ints", Attr::Ints(list)) => Some(Tensor::new(vec![list.len()], list)),
            ("value_floats", Attr::Floats(list)) => Some(Tensor::new(vec![list.len()], list)),
            ("value_strings", Attr::Strs(list)) => Some(Tensor::strings(vec![list.len()], list)),
            _ => None,
        }
        .map(|tensor| (tensor, false)))
    }

    fn function(&mut self, mut proto: FunctionProto) -> Result<(), Diagnostic> {
        let region = self.graph.add_root_region(proto.name());
        let mut defaults = Attrs::new();
        for attr in take(&mut proto.attribute_proto) {
            let name: Symbol = attr.name().into();
            let Content::Attr(attr) = attributes::attr_in(attr, &mut self.store, &self.loc)? else {
                let message = format!("function '{}' has a graph as default of its attribute '{name}'", proto.name());
                return Err(self.error("onnx-unsupported", message));
            };
            defaults.insert(name, attr);
        }
        let function = Function {
            name: OpName::new(domain_in(proto.domain()), proto.name()),
            overload: proto.overload().to_string(),
            attrs: proto.attribute.iter().map(|a| a.as_str().into()).collect(),
            defaults,
            opsets: opsets_in(&proto.opset_import),
            doc: proto.doc_string().to_string(),
            props: map_in(&proto.metadata_props),
            region,
        };
        if !self.functions.insert((function.name.clone(), function.overload.clone())) {
            return Err(self.error("onnx-duplicate-name", format!("function '{}' is defined twice", function.name)));
        }
        self.graph.functions.push(function);
        self.scopes = vec![Scope::new()];
        let infos: HashMap<&str, &ValueInfoProto> = proto.value_info.iter().map(|info| (info.name(), info)).collect();
        let loc = self.loc.clone();
        for name in &proto.input {
            let info = infos.get(name.as_str());
            let ty = info.and_then(|i| i.r#type.as_ref()).map_or(Type::Unknown, type_in);
            let value = self.graph.add_input(region, name.as_str(), ty);
            if let Some(info) = info {
                self.graph.set_value_meta(value, meta_in(info));
            }
            self.define(name, value, &loc)?;
        }
        self.nodes(region, take(&mut proto.node), &infos)?;
        self.results(region, proto.output.iter().map(String::as_str))
    }
}

/// How a node is called in messages.
fn label(node: &NodeProto) -> String {
    let name = if node.name().is_empty() { node.output.first().map_or("", String::as_str) } else { node.name() };
    format!("{} '{name}'", node.op_type())
}
