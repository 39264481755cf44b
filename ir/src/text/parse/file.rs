//! The parts of a file: `graph`, `function`. Those of search spaces are in `space.rs`.

use std::collections::BTreeMap;

use crate::diagnostic::Severity;
use crate::graph::Function;
use crate::text::lexer::Kind;
use crate::text::parse::Parsed;
use crate::text::parse::cursor::{Read, Reader};
use crate::text::parse::region::TOP;

impl Reader<'_> {
    /// The whole file.
    pub(super) fn file(mut self) -> Parsed {
        let mut graphs = 0;
        while self.peek().kind != Kind::End {
            let (nesting, position) = (self.nesting(), self.position());
            if self.part(&mut graphs).is_err() {
                self.set_nesting(nesting);
                if self.position() <= position {
                    self.seek(position);
                    self.bump();
                }
                self.skip_part();
            }
        }
        if graphs == 0 && self.diagnostics.is_empty() {
            self.unexpected("`graph @main(…) { … }`");
        }
        // Unknown names are found at the end of their region: back into the order of the text.
        let mut diagnostics = self.diagnostics;
        diagnostics.sort_by_key(|d| match d.loc {
            crate::graph::Loc::Text { line, column, .. } => (line, column),
            _ => (0, 0),
        });
        let broken = diagnostics.iter().any(|d| d.severity == Severity::Error);
        Parsed { graph: (!broken).then_some(self.graph), diagnostics }
    }

    fn part(&mut self, graphs: &mut u32) -> Read<()> {
        let token = self.peek();
        match if token.kind == Kind::Word { self.slice(token) } else { "" } {
            "param" => self.param(),
            "bind" => self.bind(),
            "function" => self.function(),
            "graph" => {
                *graphs += 1;
                if *graphs > 1 {
                    return Err(self.error(token, "text-duplicate", "a file holds one graph; this is another".into()));
                }
                self.main_graph()
            }
            "let" => self.let_domain(),
            "block" => self.block(),
            "import" => self.import(),
            word @ "rule" => {
                Err(self.error(token, "text-reserved", format!("`{word}` is kept for later versions of the format")))
            }
            _ => Err(self.unexpected("`graph`, `function`, `param`, `bind`, `let`, `block` or `import`")),
        }
    }

    /// After an error: goes to the next part.
    pub(super) fn skip_part(&mut self) {
        loop {
            let token = self.peek();
            let starts = token.kind == Kind::Word && token.line_start && TOP.contains(&self.slice(token));
            if token.kind == Kind::End || starts {
                return;
            }
            self.bump();
        }
    }

    /// `graph @main(%x: f32[1]) with {opset = 17} { … }`
    fn main_graph(&mut self) -> Read<()> {
        self.bump();
        let token = self.expect_kind(Kind::At, "a name such as `@main`")?;
        let name = self.name(token)?;
        let body = self.graph.body();
        self.graph.set_region_name(body, name);
        self.open_scope();
        let read = self.main_graph_rest();
        self.close_scope();
        read
    }

    fn main_graph_rest(&mut self) -> Read<()> {
        let body = self.graph.body();
        self.inputs(body)?;
        if self.eat_word("with") {
            self.graph.meta = self.model_meta()?;
        }
        self.body(body)
    }

    /// `function com.acme.Gelu(%x) attrs {alpha, beta = 1.0} with {opset = 17} { … }`
    fn function(&mut self) -> Read<()> {
        self.bump();
        let name = self.op_name()?;
        let region = self.graph.add_root_region(name.op.clone());
        let mut function = Function {
            name,
            overload: String::new(),
            attrs: Vec::new(),
            defaults: BTreeMap::new(),
            opsets: BTreeMap::new(),
            doc: String::new(),
            props: BTreeMap::new(),
            region,
        };
        // A function sees nothing of the graph.
        let outer = std::mem::take(&mut self.scopes);
        self.open_scope();
        let read = self.function_rest(&mut function);
        self.close_scope();
        self.scopes = outer;
        self.graph.functions.push(function);
        read
    }

    fn function_rest(&mut self, function: &mut Function) -> Read<()> {
        self.inputs(function.region)?;
        if self.eat_word("attrs") {
            (function.attrs, function.defaults) = self.formal_attrs()?;
        }
        if self.eat_word("with") {
            self.function_meta(function)?;
        }
        self.body(function.region)
    }
}
