//! Regions and their statements.

use std::collections::HashMap;

use crate::attr::Attr;
use crate::diagnostic::Diagnostic;
use crate::edit::{NewOp, Place};
use crate::graph::{Loc, OpId, OpName, Range, RegionId, SPACE, ValueId};
use crate::nearest::nearest;
use crate::text::lexer::{Kind, Token};
use crate::text::parse::cursor::{Read, Reader, Stop};
use crate::types::{Symbol, Type};

/// Names in reach, innermost region last.
#[derive(Default)]
pub(super) struct Scopes {
    stack: Vec<Scope>,
    /// Every name so far: what a misspelt one is compared with.
    seen: Vec<Symbol>,
    /// Names looked up in vain.
    missed: usize,
}

#[derive(Default)]
struct Scope {
    names: HashMap<Symbol, ValueId>,
    /// Operands whose names were not known when they were read; they may be defined further down, which the verifier judges.
    pending: Vec<Pending>,
}

struct Pending {
    op: OpId,
    index: usize,
    name: Symbol,
    token: Token,
}

/// Words that start a part of the file when they stand at the margin.
pub(super) const TOP: [&str; 8] = ["graph", "function", "param", "bind", "block", "rule", "let", "import"];

impl Reader<'_> {
    // -- names ---------------------------------------------------------------------------------------------------------

    pub(super) fn open_scope(&mut self) {
        self.scopes.stack.push(Scope::default());
    }

    /// Leaves a region: operands that are still unknown may be known around it.
    pub(super) fn close_scope(&mut self) {
        let Some(scope) = self.scopes.stack.pop() else { return };
        for pending in scope.pending {
            if let Some(&value) = scope.names.get(&pending.name) {
                self.graph.set_operand(pending.op, pending.index, Some(value));
            } else if let Some(outer) = self.scopes.stack.last_mut() {
                outer.pending.push(pending);
            } else {
                self.unknown_value(pending.token, &pending.name);
            }
        }
    }

    /// Values of a pattern that are still unknown at its end are holes: inputs of it.
    pub(super) fn holes(&mut self, region: RegionId) {
        let Some(scope) = self.scopes.stack.last_mut() else { return };
        for pending in std::mem::take(&mut scope.pending) {
            let hole = self.look_up(&pending.name).unwrap_or_else(|| {
                let hole = self.graph.add_input(region, pending.name.clone(), Type::Unknown);
                self.define(pending.token, &pending.name, hole);
                hole
            });
            self.graph.set_operand(pending.op, pending.index, Some(hole));
        }
    }

    /// The value that is read next, which must be known.
    pub(super) fn known_value(&mut self) -> Read<ValueId> {
        let token = self.expect_kind(Kind::Value, "a value such as `%y`")?;
        let name = self.name(token)?;
        self.look_up(&name).ok_or_else(|| self.unknown_value(token, &name))
    }

    fn look_up(&self, name: &str) -> Option<ValueId> {
        self.scopes.stack.iter().rev().find_map(|scope| scope.names.get(name).copied())
    }

    fn unknown_value(&mut self, token: Token, name: &Symbol) -> Stop {
        const SUGGESTIONS: usize = 16;
        self.scopes.missed += 1;
        let loc = self.loc(token);
        let mut diagnostic = Diagnostic::error("text-unknown-value", loc, format!("no value is called %{name}"));
        if self.scopes.missed <= SUGGESTIONS
            && let Some(near) = nearest(name, self.scopes.seen.iter().map(|s| &**s))
        {
            diagnostic = diagnostic.note(format!("did you mean %{near}?"));
        }
        self.report(diagnostic)
    }

    fn define(&mut self, token: Token, name: &Symbol, value: ValueId) {
        if self.look_up(name).is_some() {
            self.error(token, "text-duplicate", format!("%{name} is defined twice"));
        }
        self.scopes.seen.push(name.clone());
        if let Some(scope) = self.scopes.stack.last_mut() {
            scope.names.insert(name.clone(), value);
        }
    }

    // -- regions -------------------------------------------------------------------------------------------------------

    /// `(%x: f32[1,3], %mode: i64[] = 0)`
    pub(super) fn inputs(&mut self, region: RegionId) -> Read<()> {
        self.expect(b'(')?;
        self.list(b')', |r| {
            let token = r.expect_kind(Kind::Value, "an input such as `%x: f32[1,3]`, or `)`")?;
            let name = r.name(token)?;
            let value = r.graph.add_input(region, name.clone(), Type::Unknown);
            r.define(token, &name, value);
            if r.eat(b':') {
                let ty = r.ty()?;
                r.graph.set_type(value, ty.clone());
                r.value_suffix(value)?;
                if r.eat(b'=') {
                    let token = r.peek();
                    let tensor = if r.eat_word("tensor") {
                        r.typed_tensor()?
                    } else {
                        let literal = r.literal()?;
                        r.tensor(token, &literal, ty.tensor())?
                    };
                    r.graph.set_default(value, Some(tensor));
                }
            }
            Ok(())
        })
    }

    /// Range and metadata after a type.
    fn value_suffix(&mut self, value: ValueId) -> Read<()> {
        if self.is_word("range") && self.is_at(1, b'(') {
            self.bump();
            self.bump();
            let min = self.single()?;
            self.expect(b',')?;
            let max = self.single()?;
            self.expect(b')')?;
            self.graph.set_range(value, Some(Range { min, max }));
        }
        if self.is_word("meta") && self.is_at(1, b'{') {
            self.bump();
            let meta = self.value_meta()?;
            self.graph.set_value_meta(value, meta);
        }
        Ok(())
    }

    /// `{ statements return … }`. The scope is open and holds the inputs.
    pub(super) fn body(&mut self, region: RegionId) -> Read<()> {
        self.statements(region, true)
    }

    /// `{ statements }`, with what the region returns at the end or, for patterns, without.
    pub(super) fn statements(&mut self, region: RegionId, returning: bool) -> Read<()> {
        self.expect(b'{')?;
        let mut ended = !returning;
        loop {
            let token = self.peek();
            let slice = self.slice(token);
            if token.kind == Kind::Punct(b'}') {
                if !ended {
                    self.error(token, "text-syntax", "a region must end with `return` or `yield`".into());
                }
                self.bump();
                return Ok(());
            }
            if token.kind == Kind::End || token.kind == Kind::Word && self.at_margin(token) && TOP.contains(&slice) {
                return Err(self.unexpected("`}` at the end of the region"));
            }
            let returns = matches!(slice, "return" | "yield");
            if ended && returning {
                self.unexpected("`}` after what the region returns");
            }
            let (nesting, position) = (self.nesting(), self.position());
            if ended && returning || self.statement(region, returns).is_err() {
                self.recover(nesting, position);
            }
            ended |= returns;
        }
    }

    /// After an error: goes to where the next statement seems to start.
    fn recover(&mut self, nesting: (u32, u32), started: usize) {
        let mut open = self.open_braces.saturating_sub(nesting.1);
        self.set_nesting(nesting);
        if self.position() <= started {
            self.seek(started);
            self.bump();
        }
        loop {
            let token = self.peek();
            let slice = self.slice(token);
            let starts = match token.kind {
                Kind::Value => true,
                Kind::Word => slice.contains('.') || matches!(slice, "return" | "yield") || TOP.contains(&slice),
                _ => false,
            };
            match token.kind {
                Kind::End => return,
                Kind::Punct(b'}') if open == 0 => return,
                Kind::Punct(b'}') => open -= 1,
                // Braces that hold lines of their own are regions: pass over them as a whole.
                Kind::Punct(b'{') if self.peek_at(1).line_start => {
                    self.skip_braces();
                    continue;
                }
                Kind::Punct(b'{') => open += 1,
                _ if token.line_start && starts => return,
                _ => {}
            }
            self.bump();
        }
    }

    fn skip_braces(&mut self) {
        let mut open = 0u32;
        loop {
            match self.bump().kind {
                Kind::End => return,
                Kind::Punct(b'{') => open += 1,
                Kind::Punct(b'}') if open <= 1 => return,
                Kind::Punct(b'}') => open -= 1,
                _ => {}
            }
        }
    }

    // -- statements ----------------------------------------------------------------------------------------------------

    fn statement(&mut self, region: RegionId, returns: bool) -> Read<()> {
        if returns {
            self.bump();
            return self.returned(region);
        }
        let start = self.peek();
        if self.is_word("let") {
            return Err(self.error(start, "text-syntax", "`let` with an expression stands in a `block`".into()));
        }
        let mut results: Vec<(Token, Symbol)> = Vec::new();
        let nameless = self.is_word("_") && (self.is_at(1, b',') || self.is_at(1, b'='));
        if start.kind == Kind::Value || nameless {
            loop {
                let token = self.peek();
                let name = match token.kind {
                    Kind::Word if self.is_word("_") => Symbol::from(""),
                    Kind::Value => self.name(token)?,
                    _ => return Err(self.expected("a result such as `%y`, or `_`")),
                };
                self.bump();
                results.push((token, name));
                if !self.eat(b',') {
                    break;
                }
            }
        }
        let made = match results.is_empty() {
            true => self.op(region, start, &results),
            false => self.expect(b'=').and_then(|_| self.defined(region, start, &results)),
        };
        if made.is_err() {
            // Names of a broken statement count as known, so that one error stays one error.
            for (_, name) in &results {
                if !name.is_empty() && self.look_up(name).is_none() {
                    let value = self.graph.add_input(region, name.clone(), Type::Unknown);
                    self.scopes.seen.push(name.clone());
                    if let Some(scope) = self.scopes.stack.last_mut() {
                        scope.names.insert(name.clone(), value);
                    }
                }
            }
        }
        made
    }

    /// What follows `return`: `%a, %b as %"name"`.
    fn returned(&mut self, region: RegionId) -> Read<()> {
        let (mut values, mut names) = (Vec::new(), Vec::new());
        if self.peek().kind == Kind::Value {
            loop {
                let token = self.expect_kind(Kind::Value, "a value such as `%y`")?;
                let name = self.name(token)?;
                let value = self.look_up(&name);
                let mut result = name.clone();
                if self.eat_word("as") {
                    let token = self.expect_kind(Kind::Value, "a name such as `%y`")?;
                    result = self.name(token)?;
                }
                match value {
                    Some(value) => {
                        values.push(value);
                        names.push(result);
                    }
                    None => drop(self.unknown_value(token, &name)),
                }
                if !self.eat(b',') {
                    break;
                }
            }
        }
        self.graph.set_named_results(region, values, names);
        Ok(())
    }

    /// What follows `%a, %b =`.
    fn defined(&mut self, region: RegionId, start: Token, results: &[(Token, Symbol)]) -> Read<()> {
        if !self.is_word("const") || self.is_at(1, b'.') {
            return self.op(region, start, results);
        }
        self.bump();
        let (tensor, ty) = self.constant()?;
        let [(token, name)] = results else {
            return Err(self.error(start, "text-syntax", "a constant is one value".into()));
        };
        let value = self.graph.add_typed_const(region, name.clone(), tensor, ty);
        if !name.is_empty() {
            self.define(*token, name, value);
        }
        self.value_suffix(value)
    }

    fn op(&mut self, region: RegionId, start: Token, results: &[(Token, Symbol)]) -> Read<()> {
        let (name, block) = self.op_or_block()?;
        let (mut operands, mut unknown, mut spread) = (Vec::new(), Vec::new(), Vec::new());
        // Operands start on the line of the operator: a value on the next line is the next statement.
        while !self.peek().line_start || !operands.is_empty() {
            if self.marks.is_some() && self.peek().kind == Kind::DotDot {
                self.bump();
                spread.push(operands.len() as u32);
            }
            let token = self.peek();
            if self.eat_word("_") {
                operands.push(None);
            } else if token.kind == Kind::Value && !self.is_at(1, b'=') {
                self.bump();
                let name = self.name(token)?;
                let value = self.look_up(&name);
                if value.is_none() {
                    unknown.push((operands.len(), token, name));
                }
                operands.push(value);
            } else if operands.is_empty() {
                break;
            } else {
                return Err(self.expected("an operand such as `%x`, or `_` for an absent one"));
            }
            if !self.eat(b',') {
                break;
            }
        }
        let rest = self.marks.is_some() && self.peek_at(1).kind == Kind::DotDot;
        let key = matches!(self.peek_at(1).kind, Kind::Word | Kind::Str) && self.is_at(2, b'=');
        let (mut attrs, rest) = match self.is(b'{') && (key || rest || self.is_at(1, b'}')) {
            true => self.attrs_and_rest()?,
            false => Default::default(),
        };
        attrs.extend(block.map(|block| ("block".into(), Attr::text(&block))));
        for word in ["if", "unless"] {
            if self.is_word(word) && self.peek_at(1).kind == Kind::Word {
                return Err(self.error(self.peek(), "text-syntax", format!("`{word}` stands behind ops of a `block`")));
            }
        }
        let choice = name.is(SPACE, "Choice");
        let new = NewOp::new(name).operands(operands).attrs(attrs).loc(self.loc(start));
        let op = self.graph.insert(Place::End(region), new);
        if let Some(marks) = &mut self.marks {
            marks.spread.extend(spread.into_iter().map(|index| (op, index)));
            marks.rest.extend(rest.map(|name| (op, name)));
        }
        if let Some(scope) = self.scopes.stack.last_mut() {
            scope.pending.extend(unknown.into_iter().map(|(index, token, name)| Pending { op, index, name, token }));
        }
        if self.is(b'{') {
            self.regions(op, choice)?;
        }
        let colon = self.peek();
        let mut typed = 0;
        if self.eat(b':') {
            for index in 0.. {
                let ty = self.ty()?;
                let value = match results.get(index) {
                    Some((token, name)) => self.result(op, *token, name, ty),
                    None => self.graph.add_result(op, "", ty),
                };
                self.value_suffix(value)?;
                typed += 1;
                if !self.eat(b',') {
                    break;
                }
            }
            if typed != results.len() {
                let message = format!("{typed} types for {} results", results.len());
                self.error(colon, "text-type", message);
            }
        }
        for (token, name) in results.iter().skip(typed) {
            self.result(op, *token, name, Type::Unknown);
        }
        if self.marks.is_some() && self.eat_word("like") {
            let value = self.known_value()?;
            self.marks.iter_mut().for_each(|marks| _ = marks.like.insert(op, value));
        }
        if self.is_word("loc") && self.is_at(1, b'(') {
            let loc = self.location()?;
            self.graph.set_loc(op, loc);
        }
        if self.is_word("node") && self.is_at(1, b'{') {
            self.bump();
            let meta = self.op_meta()?;
            self.graph.set_op_meta(op, meta);
        }
        Ok(())
    }

    fn result(&mut self, op: OpId, token: Token, name: &Symbol, ty: Type) -> ValueId {
        let value = self.graph.add_result(op, name.clone(), ty);
        if !name.is_empty() {
            self.define(token, name, value);
        }
        value
    }

    /// The name of an operator, or `@name`, which calls a block.
    pub(super) fn op_or_block(&mut self) -> Read<(OpName, Option<Symbol>)> {
        let token = self.peek();
        if token.kind != Kind::At {
            return Ok((self.op_name()?, None));
        }
        self.bump();
        Ok((OpName::new(SPACE, "Call"), Some(self.name(token)?)))
    }

    /// `onnx.Conv`, `com.microsoft.QGemm`, `"odd domain"."odd.name"`
    pub(super) fn op_name(&mut self) -> Read<OpName> {
        let token = self.peek();
        let domain = self.word_or_string("an operator such as `onnx.Relu`")?;
        if self.eat(b'.') {
            return Ok(OpName { domain, op: self.word_or_string("the name of an operator")? });
        }
        match domain.rsplit_once('.') {
            Some((domain, op)) if token.kind == Kind::Word => Ok(OpName::new(domain, op)),
            _ => {
                let loc = self.loc(token);
                let message = format!("operator `{domain}` has no domain");
                Err(self
                    .report(Diagnostic::error("text-syntax", loc, message).note(format!("did you mean `onnx.{domain}`?"))))
            }
        }
    }

    /// `{ then_branch { … } else_branch { … } }`, `{ body(%i: i64[]) { … } }`, `{ option plain { … } }`
    fn regions(&mut self, op: OpId, choice: bool) -> Read<()> {
        self.expect(b'{')?;
        self.open_braces += 1;
        self.enter()?;
        while !self.eat(b'}') {
            let named = matches!(self.peek_at(1).kind, Kind::Word | Kind::Str);
            if choice && named && self.is_word("option") {
                self.bump();
            }
            let label = self.word_or_string("a region such as `then_branch { … }`, or `}`")?;
            let region = self.graph.add_region(op, label, "");
            if self.peek().kind == Kind::At {
                let token = self.bump();
                let name = self.name(token)?;
                self.graph.set_region_name(region, name);
            }
            self.open_scope();
            let read = if self.is(b'(') { self.inputs(region) } else { Ok(()) };
            let read = read.and_then(|()| self.body(region));
            self.close_scope();
            read?;
        }
        self.leave();
        self.open_braces -= 1;
        Ok(())
    }

    /// `loc("a.onnx", "Conv_1")`, `loc("a.seir", 3, 5)`, `loc(fold-conv-bn, loc(…), …)`, `loc(?)`
    fn location(&mut self) -> Read<Loc> {
        self.bump();
        self.enter()?;
        self.expect(b'(')?;
        if self.eat(b'?') {
            self.expect(b')')?;
            self.leave();
            return Ok(Loc::Unknown);
        }
        let quoted = self.peek().kind == Kind::Str;
        let first = self.word_or_string("a file or the name of a pass")?;
        let next = if quoted && self.is(b',') { self.peek_at(1).kind } else { Kind::End };
        let loc = match next {
            Kind::Str => {
                self.bump();
                Loc::Onnx { file: first, node: self.word_or_string("the name of a node")? }
            }
            Kind::Number => {
                self.bump();
                let line = self.int("a line")?;
                self.expect(b',')?;
                Loc::Text { file: first, line, column: self.int("a column")? }
            }
            _ => {
                let mut from = Vec::new();
                while self.eat(b',') {
                    if !self.is_word("loc") {
                        return Err(self.expected("`loc(…)`"));
                    }
                    from.push(self.location()?);
                }
                Loc::Made { by: first, from: from.into() }
            }
        };
        self.expect(b')')?;
        self.leave();
        Ok(loc)
    }
}
