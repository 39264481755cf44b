//! The lines of search spaces: `import`, `let`, `param`, `bind`, and the domains in them.

use crate::diagnostic::Diagnostic;
use crate::space::{Bind, Domain, Item, Let, Param};
use crate::text::lexer::{Kind, Token};
use crate::text::parse::cursor::{Read, Reader};
use crate::types::Symbol;

/// Values that a parameter which is a list may have.
const MAX_COUNT: u32 = 4096;
/// Texts that a text may import.
const MAX_IMPORTS: usize = 16;

impl Reader<'_> {
    /// `import "blocks"`: takes over the `let` and `block` lines of another text.
    pub(super) fn import(&mut self) -> Read<()> {
        self.bump();
        let token = self.peek();
        let name = self.word_or_string("a name such as \"blocks\"")?;
        if self.graph.space.imports.contains(&name) {
            return Err(self.error(token, "text-duplicate", format!("{name} is imported twice")));
        }
        if self.importing || self.graph.space.imports.len() >= MAX_IMPORTS {
            return Err(self.error(
                token,
                "text-limit",
                "imported texts import nothing themselves, and 16 are enough".into(),
            ));
        }
        let Some(text) = self.blobs.import(&name) else {
            let loc = self.loc(token);
            let diagnostic = Diagnostic::error("text-import", loc, format!("there is no text called {name} to import"));
            return Err(self.report(diagnostic.note("shipped ones and files beside the space can be imported")));
        };
        let (lets, blocks) = match self.imported(&text, &name) {
            Ok(parts) => parts,
            Err(found) => {
                for diagnostic in found {
                    self.report(diagnostic);
                }
                return Ok(());
            }
        };
        self.graph.space.imports.push(name.clone());
        for mut one in lets {
            one.import = Some(name.clone());
            self.add_let(token, one);
        }
        for mut block in blocks {
            block.import = Some(name.clone());
            self.add_block(token, block);
        }
        Ok(())
    }

    /// `let kernels = {3, 5, 7}`, `let by_block = {plain: {3}, wide: {3, 5}}`
    pub(super) fn let_domain(&mut self) -> Read<()> {
        self.bump();
        let token = self.peek();
        let name = self.word_or_string("a name such as `kernels`")?;
        self.expect(b'=')?;
        let domain = self.domain()?;
        let loc = self.loc(token);
        self.add_let(token, Let { name, domain, loc, import: None });
        Ok(())
    }

    fn add_let(&mut self, token: Token, one: Let) {
        if self.graph.space.named(&one.name).is_some() {
            self.error(token, "text-duplicate", format!("`let {}` is given twice", one.name));
        }
        self.graph.space.lets.push(one);
    }

    fn param_name(&mut self) -> Read<(Token, Symbol)> {
        self.bump();
        let token = self.expect_kind(Kind::Param, "a parameter such as `$w`")?;
        Ok((token, self.name(token)?))
    }

    /// `param $w in 16..32 step 8`, `param $k[4] in {3, 5}`
    pub(super) fn param(&mut self) -> Read<()> {
        let (token, name) = self.param_name()?;
        if &*name == "i" {
            return Err(self.error(token, "text-reserved", "`$i` is the round of a space.Repeat".into()));
        }
        let count = if self.eat(b'[') {
            let count = self.int("a number of values")?;
            if !(1..=MAX_COUNT).contains(&count) {
                return Err(self.error(token, "text-limit", format!("${name} may have 1 to {MAX_COUNT} values")));
            }
            self.expect(b']')?;
            Some(count)
        } else {
            None
        };
        if !self.eat_word("in") {
            return Err(self.expected("`in`"));
        }
        let start = self.peek();
        let domain = self.domain()?;
        let empty = match &domain {
            Domain::Range { low, high, step } => low > high || *step <= 0,
            Domain::Set(items) => items.is_empty(),
            Domain::Window { size, .. } => *size == 0,
            Domain::Cases(_) => {
                return Err(self.error(start, "text-type", "domains by case stand behind `by $parameter`".into()));
            }
            Domain::Named(_) | Domain::By { .. } => false,
        };
        if empty {
            return Err(self.error(start, "text-type", format!("${name} has no value to take")));
        }
        if self.graph.space.param(&name).is_some() {
            self.error(token, "text-duplicate", format!("${name} is declared twice"));
        }
        let loc = self.loc(token);
        self.graph.space.params.push(Param { name, count, domain, loc });
        Ok(())
    }

    /// `16..32 step 8`, `{3, 5}`, `kernels`, `window(16..64 step 16, size 2, at $s)`, `by $block {plain: {3}, …}`
    fn domain(&mut self) -> Read<Domain> {
        self.enter()?;
        let domain = self.domain_inside();
        self.leave();
        domain
    }

    fn domain_inside(&mut self) -> Read<Domain> {
        if self.is(b'{') {
            return self.set_or_cases();
        }
        if self.is_word("window") && self.is_at(1, b'(') {
            return self.window();
        }
        if self.is_word("by") && self.peek_at(1).kind == Kind::Param {
            self.bump();
            let token = self.bump();
            let param = self.name(token)?;
            return Ok(Domain::By { param, of: Box::new(self.domain()?) });
        }
        if matches!(self.peek().kind, Kind::Word | Kind::Str) {
            return Ok(Domain::Named(self.word_or_string("a domain")?));
        }
        let low = self.int("a first value, `{…}`, or the name of a `let`")?;
        self.expect_kind(Kind::DotDot, "`..`")?;
        let high = self.int("a last value")?;
        let step = if self.eat_word("step") { self.int("a step")? } else { 1 };
        Ok(Domain::Range { low, high, step })
    }

    fn set_or_cases(&mut self) -> Read<Domain> {
        let cased = matches!(self.peek_at(1).kind, Kind::Word | Kind::Str | Kind::Number) && self.is_at(2, b':');
        let (mut items, mut cases) = (Vec::new(), Vec::new());
        self.braced(|r| {
            if !cased {
                items.push(r.scalar_item()?);
                return Ok(());
            }
            let token = r.peek();
            let case = r.scalar_item()?.text();
            r.expect(b':')?;
            if cases.iter().any(|(known, _)| *known == case) {
                r.error(token, "text-duplicate", format!("the case {case} is given twice"));
            }
            cases.push((case, r.domain()?));
            Ok(())
        })?;
        Ok(if cased { Domain::Cases(cases) } else { Domain::Set(items) })
    }

    fn window(&mut self) -> Read<Domain> {
        self.bump();
        self.bump();
        let of = Box::new(self.domain()?);
        self.expect(b',')?;
        if !self.eat_word("size") {
            return Err(self.expected("`size`"));
        }
        let size = self.int("a number of values")?;
        self.expect(b',')?;
        if !self.eat_word("at") {
            return Err(self.expected("`at`"));
        }
        let token = self.expect_kind(Kind::Param, "a parameter such as `$start`")?;
        let at = self.name(token)?;
        self.expect(b')')?;
        Ok(Domain::Window { of, size, at })
    }

    /// `bind $w = 24`, `bind $k = [3, 5]`
    pub(super) fn bind(&mut self) -> Read<()> {
        let (token, name) = self.param_name()?;
        self.expect(b'=')?;
        let value = if self.eat(b'[') {
            let mut items = Vec::new();
            self.list(b']', |r| {
                items.push(r.scalar_item()?);
                Ok(())
            })?;
            Item::List(items)
        } else {
            self.scalar_item()?
        };
        let bind = Bind { value, loc: self.loc(token) };
        if self.graph.space.binds.insert(name.clone(), bind).is_some() {
            self.error(token, "text-duplicate", format!("${name} is bound twice"));
        }
        Ok(())
    }

    fn scalar_item(&mut self) -> Read<Item> {
        let token = self.peek();
        match token.kind {
            Kind::Number => {
                if let Ok(n) = self.slice(token).parse() {
                    self.bump();
                    return Ok(Item::Int(n));
                }
                Ok(Item::Float(self.float()?))
            }
            Kind::Word if matches!(self.slice(token), "nan" | "inf") => Ok(Item::Float(self.float()?)),
            _ => Ok(Item::Word(self.word_or_string("a value such as `3` or `plain`")?)),
        }
    }
}
