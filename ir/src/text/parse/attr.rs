//! Attributes: `{axis = 1, alpha = 0.1, mode = "constant", pads = [1, 1], to = [$w, 16], keep = centre}`.
//!
//! What a value looks like says which kind it is; a word in front says it where looks do not: `floats []`, `expr(3)`.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::attr::{Attr, Attrs, SparseTensor};
use crate::space::Expr;
use crate::text::lexer::{Kind, Token};
use crate::text::parse::cursor::{Read, Reader};
use crate::text::{REF_KINDS, list_of};
use crate::types::Symbol;

impl Reader<'_> {
    /// `{name = value, …}`, and in rules `{..$rest, name = value, …}`
    pub(super) fn attrs_and_rest(&mut self) -> Read<(Attrs, Option<Symbol>)> {
        let (mut attrs, mut rest) = (Attrs::new(), None);
        self.braced(|r| {
            if r.marks.is_some() && r.peek().kind == Kind::DotDot {
                r.bump();
                let token = r.expect_kind(Kind::Param, "a name such as `$rest`")?;
                rest = Some(r.name(token)?);
                return Ok(());
            }
            let (token, name) = r.key("an attribute's name")?;
            r.expect(b'=')?;
            let value = r.attr()?;
            if attrs.insert(name.clone(), value).is_some() {
                r.error(token, "text-duplicate", format!("attribute `{name}` is given twice"));
            }
            Ok(())
        })?;
        Ok((attrs, rest))
    }

    /// Names with or without default: `{alpha, beta = 1.0}`.
    pub(super) fn formal_attrs(&mut self) -> Read<(Vec<Symbol>, Attrs)> {
        let (mut plain, mut defaults) = (Vec::new(), Attrs::new());
        let mut names = BTreeSet::new();
        self.braced(|r| {
            let (token, name) = r.key("an attribute's name")?;
            if !names.insert(name.clone()) {
                r.error(token, "text-duplicate", format!("attribute `{name}` is given twice"));
            }
            if r.eat(b'=') {
                let value = r.attr()?;
                defaults.insert(name, value);
            } else {
                plain.push(name);
            }
            Ok(())
        })?;
        Ok((plain, defaults))
    }

    /// Items between braces that hold no statements.
    pub(super) fn braced(&mut self, item: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        self.expect(b'{')?;
        self.open_braces += 1;
        self.list(b'}', item)?;
        self.open_braces -= 1;
        Ok(())
    }

    /// A word or string before `=`, and where it stands.
    pub(super) fn key(&mut self, what: &str) -> Read<(Token, Symbol)> {
        let token = self.peek();
        Ok((token, self.word_or_string(what)?))
    }

    fn attr(&mut self) -> Read<Attr> {
        self.enter()?;
        let attr = self.attr_inside();
        self.leave();
        attr
    }

    fn attr_inside(&mut self) -> Read<Attr> {
        let token = self.peek();
        let next = self.peek_at(1).kind;
        let operated = matches!(next, Kind::Punct(b'+' | b'-' | b'*' | b'/'));
        match (token.kind, next) {
            (Kind::Punct(b'['), _) => return Ok(list_of(self.attr_list()?)),
            (Kind::Str, next) if !operated && next != Kind::Punct(b'(') => {
                self.bump();
                return Ok(Attr::Str(self.string(token)?.into()));
            }
            (Kind::Number, _) if !operated => return self.number_attr(),
            (Kind::Word, _) => {
                if let Some(attr) = self.marked_attr(self.slice(token), next)? {
                    return Ok(attr);
                }
            }
            _ => {}
        }
        Ok(match self.expr()? {
            Expr::Name(name) => Attr::Word(name),
            Expr::Int(n) => Attr::Int(n),
            expr => Attr::Expr(expr),
        })
    }

    fn number_attr(&mut self) -> Read<Attr> {
        let token = self.peek();
        let slice = self.slice(token);
        if slice.bytes().all(|b| b.is_ascii_digit() || b == b'-') && slice != "-inf" {
            return Ok(Attr::Int(self.int("a 64-bit integer")?));
        }
        Ok(Attr::Float(self.single()?))
    }

    /// A value whose kind a word in front tells; `None` when the word is no such word.
    fn marked_attr(&mut self, word: &str, next: Kind) -> Read<Option<Attr>> {
        let (paren, bracket) = (next == Kind::Punct(b'('), next == Kind::Punct(b'['));
        Ok(Some(match word {
            "nan" | "inf" if !matches!(next, Kind::Punct(b'+' | b'-' | b'*' | b'/')) => Attr::Float(self.single()?),
            "tensor" if next == Kind::Word => {
                self.bump();
                Attr::Tensor(self.typed_tensor()?)
            }
            "type" if matches!(next, Kind::Word | Kind::Punct(b'?')) => {
                self.bump();
                Attr::Type(self.ty()?)
            }
            "sparse" if paren => self.sparse()?,
            "ref" if paren => self.reference()?,
            "word" if paren => {
                self.bump();
                self.bump();
                let word = self.word_or_string("a word")?;
                self.expect(b')')?;
                Attr::Word(word)
            }
            "expr" if paren => {
                self.bump();
                self.bump();
                let expr = self.expr()?;
                self.expect(b')')?;
                Attr::Expr(expr)
            }
            "ints" | "floats" | "strs" | "tensors" | "types" | "list" if bracket => {
                let token = self.bump();
                let items = self.attr_list()?;
                let Some(list) = marked_list(word, items) else {
                    return Err(self.error(token, "text-type", format!("an item of this list is none of `{word}`")));
                };
                list
            }
            _ => return Ok(None),
        }))
    }

    fn attr_list(&mut self) -> Read<Vec<Attr>> {
        self.expect(b'[')?;
        let mut items = Vec::new();
        self.list(b']', |r| {
            items.push(r.attr()?);
            Ok(())
        })?;
        Ok(items)
    }

    /// `sparse([3, 4], f32[2] [1.0, 2.0], i64[2] [0, 5])`: dense shape, values, indices.
    fn sparse(&mut self) -> Read<Attr> {
        self.bump();
        self.expect(b'(')?;
        self.expect(b'[')?;
        let mut dims = Vec::new();
        self.list(b']', |r| {
            dims.push(r.int("an extent")?);
            Ok(())
        })?;
        self.expect(b',')?;
        let values = self.typed_tensor()?;
        self.expect(b',')?;
        let indices = self.typed_tensor()?;
        self.expect(b')')?;
        Ok(Attr::Sparse(Box::new(SparseTensor { values, indices, dims })))
    }

    /// `ref(alpha, float)`: in a function body, the attribute of the calling op.
    fn reference(&mut self) -> Read<Attr> {
        self.bump();
        self.expect(b'(')?;
        let name = self.word_or_string("an attribute's name")?;
        self.expect(b',')?;
        let token = self.peek();
        let kind = match token.kind {
            Kind::Number => self.int("a kind of attribute")?,
            _ => {
                let word = self.word_or_string("a kind of attribute")?;
                let Some(kind) = REF_KINDS.iter().position(|&k| k == &*word) else {
                    let message = format!("`{word}` is no kind of attribute");
                    let known = REF_KINDS[1..].join(", ");
                    let loc = self.loc(token);
                    let diagnostic = crate::diagnostic::Diagnostic::error("text-syntax", loc, message);
                    return Err(self.report(diagnostic.note(format!("kinds: {known}"))));
                };
                kind as i32
            }
        };
        self.expect(b')')?;
        Ok(Attr::Ref(name, kind))
    }
}

/// A list whose kind is given; `None` when an item is of another kind.
fn marked_list(word: &str, items: Vec<Attr>) -> Option<Attr> {
    fn all<T>(items: Vec<Attr>, pick: impl Fn(Attr) -> Option<T>) -> Option<Vec<T>> {
        items.into_iter().map(pick).collect()
    }
    Some(match word {
        "ints" => Attr::Ints(all(items, |a| a.as_int())?),
        "floats" => Attr::Floats(all(items, |a| a.as_float())?),
        "strs" => Attr::Strs(all(items, |a| if let Attr::Str(s) = a { Some(s) } else { None::<Bytes> })?),
        "tensors" => Attr::Tensors(all(items, |a| if let Attr::Tensor(t) = a { Some(t) } else { None })?),
        "types" => Attr::Types(all(items, |a| if let Attr::Type(t) = a { Some(t) } else { None })?),
        _ => Attr::List(items),
    })
}
