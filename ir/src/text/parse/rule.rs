//! Rules: `rule NAME : EFFECT { match {…} where …, … replace %v {…} }`.

use crate::diagnostic::{Diagnostic, Severity};
use crate::edit::{NewOp, Place};
use crate::graph::{Graph, OpName};
use crate::text::blob::NoBlobs;
use crate::text::lexer::{Kind, Token};
use crate::text::parse::Limits;
use crate::text::parse::cursor::{Read, Reader};
use crate::text::rule::{Argument, GuardText, Marks, REPLACE, RuleText};

/// Reads a file of rules. `file` is the name that locations carry.
///
/// # Errors
/// Everything that is wrong with the text, in its order.
pub fn parse_rules(text: &str, file: &str) -> Result<Vec<RuleText>, Vec<Diagnostic>> {
    let mut reader = Reader::new(text, file, &NoBlobs, Limits::default()).map_err(|d| vec![d])?;
    let mut rules = Vec::new();
    while reader.peek().kind != Kind::End {
        let start = reader.position();
        if let Ok(rule) = reader.rule() {
            rules.push(rule);
            continue;
        }
        // The next rule starts at the margin.
        reader.seek(start);
        reader.set_nesting((0, 0));
        reader.bump();
        while !(reader.is_word("rule") && reader.at_margin(reader.peek()) || reader.peek().kind == Kind::End) {
            reader.bump();
        }
    }
    let broken = reader.diagnostics.iter().any(|d| d.severity == Severity::Error);
    if broken { Err(reader.diagnostics) } else { Ok(rules) }
}

impl Reader<'_> {
    fn rule(&mut self) -> Read<RuleText> {
        let start = self.peek();
        if !self.eat_word("rule") {
            return Err(self.unexpected("`rule`"));
        }
        (self.graph, self.scopes, self.marks) = (Graph::new("rule"), Default::default(), Some(Marks::default()));
        let name = self.word_or_string("the name of the rule")?;
        self.expect(b':')?;
        let effect = self.word_or_string("an effect such as `exact`")?;
        self.expect(b'{')?;
        self.keyword("match")?;
        let body = self.graph.body();
        self.open_scope();
        self.statements(body, false)?;
        self.holes(body);
        let guards = if self.eat_word("where") { self.guards()? } else { Vec::new() };
        self.replacement()?;
        self.close_scope();
        self.expect(b'}')?;
        let (graph, marks) = (std::mem::take(&mut self.graph), self.marks.take().unwrap_or_default());
        Ok(RuleText { name, doc: self.comment_above(start), effect, graph, marks, guards, loc: self.loc(start) })
    }

    fn keyword(&mut self, word: &str) -> Read<()> {
        if self.eat_word(word) { Ok(()) } else { Err(self.expected(&format!("`{word}`"))) }
    }

    /// `plain(%x, %y), rank(%x, 4)`
    fn guards(&mut self) -> Read<Vec<GuardText>> {
        let mut guards = Vec::new();
        loop {
            let token = self.peek();
            let name = self.word_or_string("a condition such as `plain(%x)`")?;
            let mut arguments = Vec::new();
            self.expect(b'(')?;
            self.list(b')', |r| {
                let argument = match r.peek().kind {
                    Kind::Value => Argument::Value(r.known_value()?),
                    _ => Argument::Expr(r.expr()?),
                };
                arguments.push(argument);
                Ok(())
            })?;
            guards.push(GuardText { name, arguments, loc: self.loc(token) });
            if !self.eat(b',') {
                return Ok(guards);
            }
        }
    }

    /// `replace %a, %b { … yield %x, %y }`
    fn replacement(&mut self) -> Read<()> {
        let start = self.peek();
        self.keyword("replace")?;
        let mut replaced = Vec::new();
        loop {
            replaced.push(Some(self.known_value()?));
            if !self.eat(b',') {
                break;
            }
        }
        let new = NewOp::new(OpName::new(REPLACE.0, REPLACE.1)).operands(replaced.iter().copied()).loc(self.loc(start));
        let op = self.graph.insert(Place::End(self.graph.body()), new);
        let region = self.graph.add_region(op, REPLACE.1, "");
        self.open_scope();
        let known = self.diagnostics.len();
        self.body(region)?;
        self.close_scope();
        // A value that is not known is missing among the results: one error stays one error.
        if known == self.diagnostics.len() && self.graph.region(region).results().len() != replaced.len() {
            let message =
                format!("{} values take the place of {}", self.graph.region(region).results().len(), replaced.len());
            return Err(self.error(start, "text-type", message));
        }
        Ok(())
    }

    /// The lines of comment right above a token, without their slashes.
    fn comment_above(&self, token: Token) -> String {
        let above = self.text_before(token);
        let mut lines: Vec<&str> = above.lines().rev().map_while(|line| line.trim().strip_prefix("//")).collect();
        lines.reverse();
        lines.iter().map(|line| line.trim_start_matches('/').trim()).collect::<Vec<_>>().join("\n")
    }
}
