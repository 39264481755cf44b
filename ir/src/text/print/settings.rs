//! What ONNX files carry beside the graph.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::graph::{Function, ONNX, OpMeta, ValueMeta};
use crate::text::print::{Printer, Writer};
use crate::types::Symbol;

/// Byte strings of up to this length stand in the text itself.
const SHORT: usize = 64;

impl Writer<'_> {
    fn text_or_blob(&mut self, bytes: &Bytes) {
        if bytes.len() <= SHORT { self.quoted(bytes) } else { self.blob(bytes) }
    }

    fn texts(&mut self, texts: &[Bytes]) {
        self.push("[");
        self.join(texts, |w, text| w.text_or_blob(text));
        self.push("]");
    }

    fn props(&mut self, props: &BTreeMap<String, String>) {
        self.push("{");
        self.join(props, |w, (key, value)| {
            w.quoted(key.as_bytes());
            w.push(" = ");
            w.quoted(value.as_bytes());
        });
        self.push("}");
    }

    pub(super) fn value_meta(&mut self, meta: &ValueMeta) {
        let mut s = Settings::start(self, " meta");
        s.text("doc", &meta.doc);
        s.props("metadata", &meta.props);
        s.text("denotation", &meta.denotation);
        if !meta.dim_denotations.is_empty() {
            s.next("dims").push("[");
            s.w.join(&meta.dim_denotations, |w, name| w.quoted(name.as_bytes()));
            s.w.push("]");
        }
        s.int("sparse", i64::from(meta.sparse));
        s.end();
    }

    /// Without `all` only what decides the op's meaning.
    pub(super) fn op_meta(&mut self, meta: &OpMeta, all: bool) {
        let mut s = Settings::start(self, " node");
        s.text("overload", &meta.overload);
        if all {
            s.text("doc", &meta.doc);
            s.props("metadata", &meta.props);
            if !meta.device.is_empty() {
                s.next("device").texts(&meta.device);
            }
        }
        s.end();
    }
}

impl Printer<'_> {
    pub(super) fn with_model(&mut self) {
        let meta = &self.graph.meta;
        let mut s = Settings::start(&mut self.w, " with");
        s.opsets(&meta.opsets);
        if self.options.meta {
            s.int("ir_version", meta.ir_version);
            s.text("producer", &meta.producer);
            s.text("producer_version", &meta.producer_version);
            s.text("domain", &meta.domain);
            s.int("model_version", meta.model_version);
            s.text("doc", &meta.doc);
            s.text("graph_doc", &meta.graph_doc);
            s.props("metadata", &meta.props);
            s.props("graph_metadata", &meta.graph_props);
            if !meta.opaque.is_empty() {
                s.next("opaque").push("{");
                s.w.join(&meta.opaque, |w, (field, parts)| w.setting(field, |w| w.texts(parts)));
                s.w.push("}");
            }
        }
        s.end();
    }

    pub(super) fn with_function(&mut self, function: &Function) {
        let body = self.graph.region(function.region).name();
        let mut s = Settings::start(&mut self.w, " with");
        s.opsets(&function.opsets);
        s.text("overload", &function.overload);
        if self.options.meta {
            s.text("doc", &function.doc);
            s.props("metadata", &function.props);
            if *body != function.name.op {
                s.next("body").quoted(body.as_bytes());
            }
        }
        s.end();
    }
}

/// `word {a = 1, b = "x"}`, or nothing where there is nothing to say.
struct Settings<'w, 'a> {
    w: &'w mut Writer<'a>,
    word: &'static str,
    empty: bool,
}

impl<'w, 'a> Settings<'w, 'a> {
    fn start(w: &'w mut Writer<'a>, word: &'static str) -> Self {
        Settings { w, word, empty: true }
    }

    /// Writes the key of the next setting; the caller writes its value.
    fn next(&mut self, key: &str) -> &mut Writer<'a> {
        if self.empty {
            self.w.push(self.word);
            self.w.push(" {");
        } else {
            self.w.push(", ");
        }
        self.empty = false;
        self.w.push(key);
        self.w.push(" = ");
        self.w
    }

    fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.next(key).quoted(text.as_bytes());
        }
    }

    fn int(&mut self, key: &str, value: i64) {
        if value != 0 {
            self.next(key).push(&value.to_string());
        }
    }

    fn props(&mut self, key: &str, props: &BTreeMap<String, String>) {
        if !props.is_empty() {
            self.next(key).props(props);
        }
    }

    /// ONNX's own set is `opset`, others go by their quoted domain.
    fn opsets(&mut self, opsets: &BTreeMap<Symbol, u64>) {
        if let Some(version) = opsets.get(ONNX) {
            self.next("opset").push(&version.to_string());
        }
        for (domain, version) in opsets.iter().filter(|(domain, _)| &***domain != ONNX) {
            let mut key = String::from("\"");
            crate::text::lexer::escape(&mut key, domain.as_bytes());
            self.next(&format!("{key}\"")).push(&version.to_string());
        }
    }

    fn end(self) {
        if !self.empty {
            self.w.push("}");
        }
    }
}
