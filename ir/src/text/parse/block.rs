//! Blocks: `block @conv(%x: f32[n,c,h,w], out, kernel = 1) { … yield %y }`, and texts that are imported for theirs.

use std::collections::BTreeSet;

use crate::attr::{Attr, Attrs};
use crate::block::{Block, BlockOp, Guard, Step};
use crate::diagnostic::{Diagnostic, Severity};
use crate::space::{Expr, Let};
use crate::text::lexer::{Kind, Token};
use crate::text::parse::cursor::{Read, Reader};
use crate::text::parse::region::TOP;
use crate::types::{Symbol, Type};

impl Reader<'_> {
    /// The `let` and `block` lines of an imported text.
    pub(super) fn imported(&self, text: &str, name: &str) -> Result<(Vec<Let>, Vec<Block>), Vec<Diagnostic>> {
        let mut reader = Reader::new(text, name, self.blobs, self.limits).map_err(|found| vec![found])?;
        reader.importing = true;
        while reader.peek().kind != Kind::End {
            let (nesting, position) = (reader.nesting(), reader.position());
            let token = reader.peek();
            let read = match if token.kind == Kind::Word { reader.slice(token) } else { "" } {
                "let" => reader.let_domain(),
                "block" => reader.block(),
                _ => Err(reader.unexpected("`let` or `block`: that is all that can be imported")),
            };
            if read.is_err() {
                reader.set_nesting(nesting);
                if reader.position() <= position {
                    reader.seek(position);
                    reader.bump();
                }
                reader.skip_part();
            }
        }
        match reader.diagnostics.iter().any(|d| d.severity == Severity::Error) {
            true => Err(reader.diagnostics),
            false => Ok((reader.graph.space.lets, reader.graph.space.blocks)),
        }
    }

    pub(super) fn add_block(&mut self, token: Token, block: Block) {
        if self.graph.space.block(&block.name).is_some() {
            self.error(token, "text-duplicate", format!("block @{} is given twice", block.name));
        }
        self.graph.space.blocks.push(block);
    }

    /// A whole block.
    pub(super) fn block(&mut self) -> Read<()> {
        self.bump();
        let token = self.expect_kind(Kind::At, "a name such as `@conv`")?;
        let (name, loc) = (self.name(token)?, self.loc(token));
        let mut block =
            Block { name, inputs: Vec::new(), params: Vec::new(), steps: Vec::new(), result: "".into(), loc, import: None };
        let mut values = BTreeSet::new();
        self.expect(b'(')?;
        self.list(b')', |r| r.formal(&mut block, &mut values))?;
        if block.inputs.is_empty() {
            self.error(token, "text-syntax", "a block takes at least one value, such as `%x: f32[n,c,h,w]`".into());
        }
        self.expect(b'{')?;
        let mut whole = true;
        loop {
            let at = self.peek();
            let word = if at.kind == Kind::Word { self.slice(at) } else { "" };
            if at.kind == Kind::End || self.at_margin(at) && TOP.contains(&word) || self.is(b'}') {
                return Err(self.unexpected("`yield` at the end of the block"));
            }
            let (nesting, position) = (self.nesting(), self.position());
            if word == "yield" {
                self.bump();
                block.result = self.known(&values)?.unwrap_or_else(|| "".into());
                self.expect(b'}')?;
                break;
            }
            match self.step(&mut values) {
                Ok(step) => block.steps.push(step),
                Err(_) => {
                    whole = false;
                    self.set_nesting(nesting);
                    self.next_line(position);
                }
            }
        }
        if whole {
            self.add_block(token, block);
        }
        Ok(())
    }

    /// After an error: goes to the next line.
    fn next_line(&mut self, started: usize) {
        if self.position() <= started {
            self.seek(started);
            self.bump();
        }
        while self.peek().kind != Kind::End && !self.peek().line_start {
            self.bump();
        }
    }

    /// `%x: f32[n,c,h,w]`, `width`, `kernel = 3`
    fn formal(&mut self, block: &mut Block, values: &mut BTreeSet<Symbol>) -> Read<()> {
        let token = self.peek();
        if token.kind == Kind::Value {
            self.bump();
            let name = self.name(token)?;
            let ty = if self.eat(b':') { self.ty()? } else { Type::Unknown };
            if !values.insert(name.clone()) {
                self.error(token, "text-duplicate", format!("%{name} is defined twice"));
            }
            block.inputs.push((name, ty));
            return Ok(());
        }
        let name = self.word_or_string("an input such as `%x: f32[n,c,h,w]`, or a parameter such as `width`")?;
        if block.params.iter().any(|(known, _)| *known == name) {
            self.error(token, "text-duplicate", format!("{name} is a parameter twice"));
        }
        let default = if self.eat(b'=') { Some(self.expr()?) } else { None };
        block.params.push((name, default));
        Ok(())
    }

    /// A value that must be known; its name when it is.
    fn known(&mut self, values: &BTreeSet<Symbol>) -> Read<Option<Symbol>> {
        let token = self.expect_kind(Kind::Value, "a value such as `%y`")?;
        let name = self.name(token)?;
        if values.contains(&name) {
            return Ok(Some(name));
        }
        self.error(token, "text-unknown-value", format!("no value of this block is called %{name}"));
        Ok(None)
    }

    fn step(&mut self, values: &mut BTreeSet<Symbol>) -> Read<Step> {
        if self.eat_word("let") {
            let name = self.word_or_string("a name such as `hidden`")?;
            self.expect(b'=')?;
            return Ok(Step::Let { name, value: self.expr()? });
        }
        let token = self.expect_kind(Kind::Value, "a result such as `%y`, `let` or `yield`")?;
        let result = self.name(token)?;
        // Known even if the rest is broken, so that one error stays one error.
        if !values.insert(result.clone()) {
            self.error(token, "text-duplicate", format!("%{result} is defined twice"));
        }
        self.expect(b'=')?;
        if self.is_word("const") {
            self.bump();
            return Ok(Step::Const { result, value: self.single()? });
        }
        let loc = self.loc(token);
        let (name, block) = self.op_or_block()?;
        let mut operands = Vec::new();
        while !self.peek().line_start || !operands.is_empty() {
            if self.peek().kind != Kind::Value {
                break;
            }
            operands.extend(self.known(values)?);
            if !self.eat(b',') {
                break;
            }
        }
        let mut attrs = if self.is(b'{') { self.attrs_and_rest()?.0 } else { Attrs::new() };
        attrs.extend(block.map(|block| ("block".into(), Attr::text(&block))));
        Ok(Step::Op(BlockOp { result, name, operands, attrs, guard: self.guard()?, loc }))
    }

    /// `if width = c and stride = 1`, `unless hidden = c`
    fn guard(&mut self) -> Read<Option<Guard>> {
        let unless = self.is_word("unless");
        if !unless && !self.is_word("if") {
            return Ok(None);
        }
        self.bump();
        let mut equal: Vec<(Expr, Expr)> = Vec::new();
        loop {
            let left = self.expr()?;
            self.expect(b'=')?;
            equal.push((left, self.expr()?));
            if !self.eat_word("and") {
                return Ok(Some(Guard { unless, equal }));
            }
        }
    }
}
