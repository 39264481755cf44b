//! Graph to text: one statement per line, two spaces per region. Printing depends on nothing but the graph.

mod attr;
mod literal;
mod rule;
mod settings;
mod space;
mod ty;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::graph::{Function, Graph, Loc, OpId, OpName, RegionId, SPACE, User, ValueId};
use crate::names::unique_names;
use crate::text::blob::{BlobHash, BlobSink, NoBlobs};
use crate::text::lexer::{escape, is_bare_name, is_bare_word};
use crate::text::parse::Limits;
use crate::text::rule::Marks;
use crate::types::Symbol;

pub use rule::print_rule;

/// What is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrintOptions {
    /// Where ops came from (`loc(…)`).
    pub locs: bool,
    /// What ONNX files carry beside (`meta {…}`, `node {…}`, names of nested regions and of their results, the model's metadata).
    pub meta: bool,
    /// Constants of up to so many elements are written out; larger ones stand as `blob(hash)`.
    pub inline: usize,
    /// Constants stand in the order of the file at the head of their region, not before their first reader.
    pub consts_first: bool,
}

impl Default for PrintOptions {
    /// What a reader wants to see.
    fn default() -> Self {
        PrintOptions { locs: false, meta: false, inline: 16, consts_first: false }
    }
}

impl PrintOptions {
    /// Everything: parsing gives back the same graph, so that writing it gives the same file.
    pub fn lossless() -> Self {
        PrintOptions { locs: true, meta: true, consts_first: true, ..PrintOptions::default() }
    }
}

/// The graph as text; large constants stand as hashes.
pub fn print(graph: &Graph, options: &PrintOptions) -> String {
    print_to(graph, options, &mut NoBlobs)
}

/// The graph as text; `sink` gets the bytes of what stands as hashes.
pub fn print_to(graph: &Graph, options: &PrintOptions, sink: &mut dyn BlobSink) -> String {
    let notes = BTreeMap::new();
    Printer::new(graph, *options, sink, &notes).graph()
}

/// As [`print()`], with comment lines under ops.
pub fn print_with_notes(graph: &Graph, options: &PrintOptions, notes: &BTreeMap<OpId, Vec<String>>) -> String {
    Printer::new(graph, *options, &mut NoBlobs, notes).graph()
}

/// One op as it prints in its graph, without indentation; ops with regions take several lines.
pub fn print_op(graph: &Graph, op: OpId) -> String {
    let notes = BTreeMap::new();
    let mut sink = NoBlobs;
    let mut printer = Printer::new(graph, PrintOptions::default(), &mut sink, &notes);
    printer.op(op, 0);
    printer.w.out.trim_end().to_owned()
}

/// Regions nested deeper than this are left out: no text that parses nests so deep.
const MAX_DEPTH: usize = 120;
/// Longest header that stands on one line.
const HEADER: usize = 120;

/// Text under construction, and what decides how parts of it look.
struct Writer<'a> {
    out: String,
    inline: usize,
    /// Elements that may still print as `rand` or `splat`: what a parser with default limits will draw.
    drawn_left: usize,
    sink: &'a mut dyn BlobSink,
}

impl<'a> Writer<'a> {
    fn new(inline: usize, sink: &'a mut dyn BlobSink) -> Self {
        Writer { out: String::new(), inline, drawn_left: Limits::default().drawn, sink }
    }

    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// Items with commas between.
    fn join<T>(&mut self, items: impl IntoIterator<Item = T>, mut item: impl FnMut(&mut Self, T)) {
        for (index, one) in items.into_iter().enumerate() {
            if index > 0 {
                self.push(", ");
            }
            item(self, one);
        }
    }

    fn quoted(&mut self, bytes: &[u8]) {
        self.push("\"");
        escape(&mut self.out, bytes);
        self.push("\"");
    }

    /// A name after its sigil.
    fn name(&mut self, sigil: &str, name: &str) {
        self.push(sigil);
        if is_bare_name(name) { self.push(name) } else { self.quoted(name.as_bytes()) }
    }

    /// A word, quoted where it would not read as one.
    fn word(&mut self, word: &str) {
        if is_bare_word(word) && !matches!(word, "nan" | "inf") { self.push(word) } else { self.quoted(word.as_bytes()) }
    }

    fn op_name(&mut self, name: &OpName) {
        let (domain, op) = (&*name.domain, &*name.op);
        let plain = is_bare_word(domain) && !op.is_empty() && !op.contains('.');
        let whole = format!("{domain}.{op}");
        if plain && is_bare_word(&whole) {
            return self.push(&whole);
        }
        self.quoted(domain.as_bytes());
        self.push(".");
        self.quoted(op.as_bytes());
    }

    fn blob(&mut self, bytes: &Bytes) {
        let hash = BlobHash::of(bytes);
        self.sink.keep(hash, bytes);
        self.push(&format!("blob({hash})"));
    }

    fn loc(&mut self, loc: &Loc, depth: usize) {
        self.push("loc(");
        match loc {
            Loc::Unknown => self.push("?"),
            _ if depth > MAX_DEPTH / 2 => self.push("?"),
            Loc::Text { file, line, column } => {
                self.quoted(file.as_bytes());
                self.push(&format!(", {line}, {column}"));
            }
            Loc::Onnx { file, node } => {
                self.quoted(file.as_bytes());
                self.push(", ");
                self.quoted(node.as_bytes());
            }
            Loc::Made { by, from } => {
                self.word(by);
                for loc in from.iter() {
                    self.push(", ");
                    self.loc(loc, depth + 1);
                }
            }
        }
        self.push(")");
    }
}

struct Printer<'a> {
    graph: &'a Graph,
    options: PrintOptions,
    notes: &'a BTreeMap<OpId, Vec<String>>,
    names: Vec<Symbol>,
    /// Constants to print before an op.
    before: BTreeMap<OpId, Vec<ValueId>>,
    /// What only rules say of ops.
    marks: Option<&'a Marks>,
    w: Writer<'a>,
}

impl<'a> Printer<'a> {
    fn new(
        graph: &'a Graph,
        options: PrintOptions,
        sink: &'a mut dyn BlobSink,
        notes: &'a BTreeMap<OpId, Vec<String>>,
    ) -> Self {
        let w = Writer::new(options.inline, sink);
        let before = if options.consts_first { BTreeMap::new() } else { first_readers(graph) };
        Printer { graph, options, notes, names: unique_names(graph), before, marks: None, w }
    }

    fn graph(mut self) -> String {
        self.w.space(&self.graph.space);
        let graph = self.graph;
        let body = graph.body();
        self.w.name("graph @", graph.region(body).name());
        self.inputs(body, 0);
        self.with_model();
        self.body(body, 0);
        self.w.push("\n");
        for function in &graph.functions {
            self.w.push("\n");
            self.function(function);
        }
        self.w.out
    }

    fn function(&mut self, function: &Function) {
        self.w.push("function ");
        self.w.op_name(&function.name);
        self.inputs(function.region, 0);
        if !function.attrs.is_empty() || !function.defaults.is_empty() {
            self.w.push(" attrs {");
            self.w.join(&function.attrs, |w, name| w.word(name));
            if !function.attrs.is_empty() && !function.defaults.is_empty() {
                self.w.push(", ");
            }
            self.w.join(&function.defaults, |w, (name, attr)| w.setting(name, |w| w.attr(attr)));
            self.w.push("}");
        }
        self.with_function(function);
        self.body(function.region, 0);
        self.w.push("\n");
    }

    fn indent(&mut self, depth: usize) {
        (0..depth).for_each(|_| self.w.push("  "));
    }

    fn value(&mut self, value: ValueId) {
        let name = self.names[value.index()].clone();
        if name.is_empty() { self.w.push("_") } else { self.w.name("%", &name) }
    }

    /// `(%x: f32[1,3], …)`, on lines of their own where they are long.
    fn inputs(&mut self, region: RegionId, depth: usize) {
        let graph = self.graph;
        let mut parts = Vec::new();
        let before = std::mem::take(&mut self.w.out);
        for &input in graph.region(region).inputs() {
            self.value(input);
            let value = graph.value(input);
            let suffix = value.tensor().is_some() || value.range().is_some() || value.meta().is_some() && self.options.meta;
            if *value.ty() != crate::types::Type::Unknown || suffix {
                self.w.push(": ");
                self.typed(input);
            }
            if let Some(tensor) = value.tensor() {
                self.w.push(" = ");
                self.w.numbers(tensor, value.ty());
            }
            parts.push(std::mem::take(&mut self.w.out));
        }
        self.w.out = before;
        let line = self.w.out.len() - self.w.out.rfind('\n').map_or(0, |at| at + 1);
        let long = line + parts.iter().map(|p| p.len() + 2).sum::<usize>() > HEADER && parts.len() > 1;
        self.w.push("(");
        for (index, part) in parts.iter().enumerate() {
            if long {
                self.w.push("\n");
                self.indent(depth + 1);
            } else if index > 0 {
                self.w.push(" ");
            }
            self.w.push(part);
            if index + 1 < parts.len() {
                self.w.push(",");
            }
        }
        if long {
            self.w.push("\n");
            self.indent(depth);
        }
        self.w.push(")");
    }

    /// The type of a value and what stands after it.
    fn typed(&mut self, id: ValueId) {
        let value = self.graph.value(id);
        self.w.ty(value.ty());
        if let Some(range) = value.range() {
            self.w.push(" range(");
            self.w.single(range.min);
            self.w.push(", ");
            self.w.single(range.max);
            self.w.push(")");
        }
        if let Some(meta) = value.meta().filter(|_| self.options.meta) {
            self.w.value_meta(meta);
        }
    }

    fn body(&mut self, region: RegionId, depth: usize) {
        let graph = self.graph;
        self.w.push(" {\n");
        let consts = graph.region(region).consts();
        if self.options.consts_first {
            consts.iter().for_each(|&value| self.constant(value, depth + 1));
        }
        for op in graph.ops_in(region) {
            self.op_with_constants(op, depth + 1);
        }
        if !self.options.consts_first {
            let unread = consts.iter().filter(|&&value| first_reader(graph, region, value).is_none());
            unread.for_each(|&value| self.constant(value, depth + 1));
        }
        self.indent(depth + 1);
        let root = graph.region(region).owner().is_none();
        self.w.push(if root { "return" } else { "yield" });
        let names = graph.region(region).result_names();
        for (index, &value) in graph.region(region).results().iter().enumerate() {
            self.w.push(if index == 0 { " " } else { ", " });
            self.value(value);
            let own = names.get(index).filter(|name| !name.is_empty() && **name != self.names[value.index()]);
            if let Some(name) = own.filter(|_| root || self.options.meta) {
                self.w.name(" as %", name);
            }
        }
        self.w.push("\n");
        self.indent(depth);
        self.w.push("}");
    }

    fn constant(&mut self, id: ValueId, depth: usize) {
        let value = self.graph.value(id);
        let Some(tensor) = value.tensor() else { return };
        self.indent(depth);
        self.value(id);
        self.w.push(" = const ");
        self.w.numbers(tensor, value.ty());
        self.w.push(" : ");
        self.typed(id);
        self.w.push("\n");
    }

    /// An op, and before it the constants that it is the first to read.
    fn op_with_constants(&mut self, op: OpId, depth: usize) {
        for value in self.before.remove(&op).unwrap_or_default() {
            self.constant(value, depth);
        }
        self.op(op, depth);
    }

    fn op(&mut self, id: OpId, depth: usize) {
        let graph = self.graph;
        let op = graph.op(id);
        self.indent(depth);
        for (index, &result) in op.results().iter().enumerate() {
            if index > 0 {
                self.w.push(", ");
            }
            self.value(result);
        }
        if !op.results().is_empty() {
            self.w.push(" = ");
        }
        let block = self.w.called(op.name(), op.attrs());
        for (index, operand) in op.operands().iter().enumerate() {
            self.w.push(if index == 0 { " " } else { ", " });
            if self.marks.is_some_and(|marks| marks.spread.contains(&(id, index as u32))) {
                self.w.push("..");
            }
            match operand {
                Some(value) => self.value(*value),
                None => self.w.push("_"),
            }
        }
        let rest = self.marks.and_then(|marks| marks.rest.get(&id));
        self.w.attrs_behind(op.attrs(), block, rest);
        if !op.regions().is_empty() {
            self.regions(id, depth);
        }
        let meta = self.options.meta;
        let told = |value: ValueId| {
            let value = graph.value(value);
            *value.ty() != crate::types::Type::Unknown || value.range().is_some() || meta && value.meta().is_some()
        };
        if op.results().iter().any(|&value| told(value)) {
            for (index, &result) in op.results().iter().enumerate() {
                self.w.push(if index == 0 { " : " } else { ", " });
                self.typed(result);
            }
        }
        if let Some(&value) = self.marks.and_then(|marks| marks.like.get(&id)) {
            self.w.push(" like ");
            self.value(value);
        }
        if self.options.locs {
            self.w.push(" ");
            self.w.loc(op.loc(), 0);
        }
        if let Some(node) = op.meta() {
            self.w.op_meta(node, meta);
        }
        self.w.push("\n");
        for note in self.notes.get(&id).into_iter().flatten() {
            for line in note.lines() {
                self.indent(depth);
                self.w.push("// ");
                escape(&mut self.w.out, line.as_bytes());
                self.w.push("\n");
            }
        }
    }

    fn regions(&mut self, id: OpId, depth: usize) {
        let graph = self.graph;
        let op = graph.op(id);
        self.w.push(" {\n");
        for (label, region) in op.regions() {
            self.indent(depth + 1);
            if op.name().is(SPACE, "Choice") {
                self.w.push("option ");
            }
            self.w.word(label);
            let name = graph.region(*region).name();
            if self.options.meta && !name.is_empty() {
                self.w.name(" @", name);
            }
            if !graph.region(*region).inputs().is_empty() {
                self.inputs(*region, depth + 1);
            }
            if depth > MAX_DEPTH {
                self.w.push(" { yield } // nested too deeply to print\n");
                continue;
            }
            self.body(*region, depth + 1);
            self.w.push("\n");
        }
        self.indent(depth);
        self.w.push("}");
    }
}

impl Writer<'_> {
    /// `name = value`
    fn setting(&mut self, name: &str, value: impl FnOnce(&mut Self)) {
        self.word(name);
        self.push(" = ");
        value(self);
    }
}

/// The op of `region` before which a constant of it must stand: the first that reads it or holds a region that does, and
/// as which operand. `None` when nothing but the region's results reads it.
fn first_reader(graph: &Graph, region: RegionId, value: ValueId) -> Option<OpId> {
    graph.value(value).users().iter().find_map(|&user| reader_in(graph, region, user)).map(|(op, _)| op)
}

/// The op of `region` that a reader is or stands in.
fn reader_in(graph: &Graph, region: RegionId, user: User) -> Option<(OpId, u32)> {
    let (mut op, mut operand) = match user {
        User::Op(op, index) => (op, index),
        User::Return(inner, _) if inner != region => (graph.region(inner).owner()?, u32::MAX),
        User::Return(..) => return None,
    };
    while graph.op(op).region() != region {
        op = graph.region(graph.op(op).region()).owner()?;
        operand = u32::MAX;
    }
    Some((op, operand))
}

/// For each op the constants to print before it, in the order in which it reads them.
fn first_readers(graph: &Graph) -> BTreeMap<OpId, Vec<ValueId>> {
    let mut rank = vec![0usize; graph.op_bound()];
    graph.all_ops().iter().enumerate().for_each(|(index, op)| rank[op.index()] = index);
    let mut found: BTreeMap<OpId, Vec<(u32, ValueId)>> = BTreeMap::new();
    for region in graph.all_regions() {
        for &value in graph.region(region).consts() {
            let readers = graph.value(value).users().iter().filter_map(|&user| reader_in(graph, region, user));
            if let Some((op, operand)) = readers.min_by_key(|&(op, operand)| (rank[op.index()], operand)) {
                found.entry(op).or_default().push((operand, value));
            }
        }
    }
    let ordered = |mut values: Vec<(u32, ValueId)>| {
        values.sort_by_key(|&(operand, _)| operand);
        values.into_iter().map(|(_, value)| value).collect()
    };
    found.into_iter().map(|(op, values)| (op, ordered(values))).collect()
}
