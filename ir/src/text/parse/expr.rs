//! Small expressions over parameters and named dims: `round8($e * c)`.

use crate::space::Expr;
use crate::text::lexer::Kind;
use crate::text::parse::cursor::{Read, Reader};

impl Reader<'_> {
    /// Sums of products of atoms. A function of one argument called `expr` comes back as the call it looks like: attributes and
    /// dims use it to mark what would otherwise read as something plain.
    pub(super) fn expr(&mut self) -> Read<Expr> {
        let first = self.product()?;
        self.expr_after(first)
    }

    /// The rest of an expression whose first product was read.
    fn expr_after(&mut self, mut left: Expr) -> Read<Expr> {
        loop {
            let name = match self.peek().kind {
                Kind::Punct(b'+') => "add",
                Kind::Punct(b'-') => "sub",
                _ => return Ok(left),
            };
            self.bump();
            self.grow()?;
            left = Expr::Call(name.into(), vec![left, self.product()?]);
        }
    }

    fn product(&mut self) -> Read<Expr> {
        let mut left = self.atom()?;
        loop {
            let name = match self.peek().kind {
                Kind::Punct(b'*') => "mul",
                Kind::Punct(b'/') => "div",
                _ => return Ok(left),
            };
            self.bump();
            self.grow()?;
            left = Expr::Call(name.into(), vec![left, self.atom()?]);
        }
    }

    /// Chains of operators nest to the left, one level each: they count as depth until the statement ends.
    fn grow(&mut self) -> Read<()> {
        self.chain += 1;
        if self.chain > 1000 {
            return Err(self.error(self.peek(), "text-limit", "an expression of more than 1000 operators".into()));
        }
        Ok(())
    }

    fn atom(&mut self) -> Read<Expr> {
        let token = self.peek();
        match token.kind {
            Kind::Param => {
                self.bump();
                let name = self.name(token)?;
                if !self.eat(b'[') {
                    return Ok(Expr::Param(name));
                }
                self.enter()?;
                let index = self.expr();
                self.leave();
                let index = Box::new(index?);
                self.expect(b']')?;
                Ok(Expr::Element(name, index))
            }
            Kind::Punct(b'(') => {
                self.bump();
                self.enter()?;
                let inner = self.expr();
                self.leave();
                let inner = inner?;
                self.expect(b')')?;
                Ok(inner)
            }
            Kind::Number => {
                let slice = self.slice(token);
                self.bump();
                if let Ok(n) = slice.parse::<i64>() {
                    return Ok(Expr::Int(n));
                }
                self.float_of(token).map(Expr::Float)
            }
            Kind::Word if matches!(self.slice(token), "nan" | "inf") => {
                self.bump();
                self.float_of(token).map(Expr::Float)
            }
            Kind::Word | Kind::Str => {
                self.bump();
                let name = self.name(token)?;
                if !self.eat(b'(') {
                    return Ok(Expr::Name(name));
                }
                self.enter()?;
                let mut args = Vec::new();
                let read = self.list(b')', |r| {
                    args.push(r.expr()?);
                    Ok(())
                });
                self.leave();
                read?;
                Ok(Expr::Call(name, args))
            }
            _ => Err(self.expected("a number, a name, or a `$parameter`")),
        }
    }
}
