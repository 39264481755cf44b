//! What ONNX files carry beside the graph: `with {…}` of the model, `meta {…}` of a value, `node {…}` of an op.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::graph::{Function, ModelMeta, OpMeta, ValueMeta};
use crate::text::lexer::{Kind, Token};
use crate::text::parse::cursor::{Read, Reader};
use crate::types::Symbol;

/// One setting: its place, its key, whether the key was quoted, its value.
struct Setting {
    token: Token,
    key: Symbol,
    value: Value,
}

enum Value {
    Int(i128),
    Text(Bytes),
    Texts(Vec<Bytes>),
    Map(Vec<Setting>),
}

impl Reader<'_> {
    fn settings(&mut self) -> Read<Vec<Setting>> {
        let mut settings = Vec::new();
        self.braced(|r| {
            let (token, key) = r.key("a setting's name")?;
            r.expect(b'=')?;
            let value = r.setting_value()?;
            settings.push(Setting { token, key, value });
            Ok(())
        })?;
        Ok(settings)
    }

    fn setting_value(&mut self) -> Read<Value> {
        let token = self.peek();
        Ok(match token.kind {
            Kind::Number => Value::Int(self.int("an integer")?),
            Kind::Punct(b'{') => {
                self.enter()?;
                let map = self.settings()?;
                self.leave();
                Value::Map(map)
            }
            Kind::Punct(b'[') => {
                self.bump();
                let mut texts = Vec::new();
                self.list(b']', |r| {
                    texts.push(r.text_or_blob()?);
                    Ok(())
                })?;
                Value::Texts(texts)
            }
            _ => Value::Text(self.text_or_blob()?),
        })
    }

    fn text_or_blob(&mut self) -> Read<Bytes> {
        let token = self.peek();
        if self.eat_word("blob") {
            let hash = self.blob_hash()?;
            return self.blob_bytes(token, hash);
        }
        let token = self.expect_kind(Kind::Str, "an integer, a string, `[…]` or `{…}`")?;
        Ok(self.string(token)?.into())
    }

    // -- values of one kind --------------------------------------------------------------------------------------------

    fn wrong(&mut self, setting: &Setting, what: &str) {
        self.error(setting.token, "text-type", format!("`{}` must be {what}", setting.key));
    }

    fn unknown(&mut self, setting: &Setting, known: &[&str]) {
        let loc = self.loc(setting.token);
        let message = format!("there is no setting `{}`", setting.key);
        let diagnostic = crate::diagnostic::Diagnostic::error("text-syntax", loc, message);
        self.report(diagnostic.note(format!("settings here: {}", known.join(", "))));
    }

    fn setting_text(&mut self, setting: &Setting) -> String {
        let text = match &setting.value {
            Value::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        };
        match text {
            Some(text) => text.to_owned(),
            None => {
                self.wrong(setting, "a string");
                String::new()
            }
        }
    }

    fn setting_int<T: TryFrom<i128> + Default>(&mut self, setting: &Setting) -> T {
        let int = if let Value::Int(n) = setting.value { T::try_from(n).ok() } else { None };
        int.unwrap_or_else(|| {
            self.wrong(setting, "an integer in range");
            T::default()
        })
    }

    fn setting_texts(&mut self, setting: &Setting) -> Vec<Bytes> {
        if let Value::Texts(texts) = &setting.value {
            return texts.clone();
        }
        self.wrong(setting, "a list of strings");
        Vec::new()
    }

    fn setting_props(&mut self, setting: &Setting) -> BTreeMap<String, String> {
        let Value::Map(entries) = &setting.value else {
            self.wrong(setting, "`{\"key\" = \"value\", …}`");
            return BTreeMap::new();
        };
        entries.iter().map(|entry| (entry.key.to_string(), self.setting_text(entry))).collect()
    }

    // -- the records ---------------------------------------------------------------------------------------------------

    /// `{opset = 17, "com.microsoft" = 1, producer = "pytorch", …}`: bare words are settings, strings are domains.
    pub(super) fn model_meta(&mut self) -> Read<ModelMeta> {
        let known = [
            "opset",
            "ir_version",
            "producer",
            "producer_version",
            "domain",
            "model_version",
            "doc",
            "graph_doc",
            "metadata",
            "graph_metadata",
            "opaque",
        ];
        let mut meta = ModelMeta::default();
        for s in self.settings()? {
            match &*s.key {
                _ if self.is_quoted(&s) => drop(meta.opsets.insert(s.key.clone(), self.setting_int(&s))),
                "opset" => drop(meta.opsets.insert(crate::graph::ONNX.into(), self.setting_int(&s))),
                "ir_version" => meta.ir_version = self.setting_int(&s),
                "producer" => meta.producer = self.setting_text(&s),
                "producer_version" => meta.producer_version = self.setting_text(&s),
                "domain" => meta.domain = self.setting_text(&s),
                "model_version" => meta.model_version = self.setting_int(&s),
                "doc" => meta.doc = self.setting_text(&s),
                "graph_doc" => meta.graph_doc = self.setting_text(&s),
                "metadata" => meta.props = self.setting_props(&s),
                "graph_metadata" => meta.graph_props = self.setting_props(&s),
                "opaque" => match &s.value {
                    Value::Map(entries) => {
                        meta.opaque = entries.iter().map(|e| (e.key.to_string(), self.setting_texts(e))).collect();
                    }
                    _ => self.wrong(&s, "`{field = [\"bytes\", …], …}`"),
                },
                _ => self.unknown(&s, &known),
            }
        }
        Ok(meta)
    }

    fn is_quoted(&self, setting: &Setting) -> bool {
        setting.token.kind == Kind::Str
    }

    /// `{opset = 17, overload = "…", doc = "…", metadata = {…}}` of a function.
    pub(super) fn function_meta(&mut self, function: &mut Function) -> Read<()> {
        for s in self.settings()? {
            match &*s.key {
                _ if self.is_quoted(&s) => drop(function.opsets.insert(s.key.clone(), self.setting_int(&s))),
                "opset" => drop(function.opsets.insert(crate::graph::ONNX.into(), self.setting_int(&s))),
                "overload" => function.overload = self.setting_text(&s),
                "doc" => function.doc = self.setting_text(&s),
                "metadata" => function.props = self.setting_props(&s),
                "body" => {
                    let name = self.setting_text(&s);
                    self.graph.set_region_name(function.region, name);
                }
                _ => self.unknown(&s, &["opset", "overload", "doc", "metadata", "body"]),
            }
        }
        Ok(())
    }

    /// `{doc = "…", overload = "…", metadata = {…}, device = ["…"]}`
    pub(super) fn op_meta(&mut self) -> Read<OpMeta> {
        let mut meta = OpMeta::default();
        for s in self.settings()? {
            match &*s.key {
                "doc" => meta.doc = self.setting_text(&s),
                "overload" => meta.overload = self.setting_text(&s),
                "metadata" => meta.props = self.setting_props(&s),
                "device" => meta.device = self.setting_texts(&s),
                _ => self.unknown(&s, &["doc", "overload", "metadata", "device"]),
            }
        }
        Ok(meta)
    }

    /// `{doc = "…", metadata = {…}, denotation = "IMAGE", dims = ["DATA_BATCH", ""], sparse = 1}`
    pub(super) fn value_meta(&mut self) -> Read<ValueMeta> {
        let mut meta = ValueMeta::default();
        for s in self.settings()? {
            match &*s.key {
                "doc" => meta.doc = self.setting_text(&s),
                "metadata" => meta.props = self.setting_props(&s),
                "denotation" => meta.denotation = self.setting_text(&s),
                "dims" => {
                    let texts = self.setting_texts(&s);
                    let names: Option<Vec<String>> = texts.into_iter().map(|t| String::from_utf8(t.to_vec()).ok()).collect();
                    match names {
                        Some(names) => meta.dim_denotations = names,
                        None => self.wrong(&s, "a list of UTF-8 strings"),
                    }
                }
                "sparse" => meta.sparse = self.setting_int::<u8>(&s) != 0,
                _ => self.unknown(&s, &["doc", "metadata", "denotation", "dims", "sparse"]),
            }
        }
        Ok(meta)
    }
}
