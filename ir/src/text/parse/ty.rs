//! Types: `f32[n,3,?,$w]`, `qi8(axis 0, [0.01, 0.02], 0)[4,3]`, `seq<f32[*]>`, `map<i64, f32[]>`, `?`.

use std::sync::Arc;

use crate::text::blob::BlobHash;
use crate::text::lexer::Kind;
use crate::text::parse::cursor::{Read, Reader};
use crate::types::{Dim, Elem, Quant, Shape, TensorType, Type};

impl Reader<'_> {
    /// A type.
    pub(super) fn ty(&mut self) -> Read<Type> {
        self.enter()?;
        let ty = self.ty_inside();
        self.leave();
        ty
    }

    fn ty_inside(&mut self) -> Read<Type> {
        if self.eat(b'?') {
            return Ok(Type::Unknown);
        }
        let token = self.peek();
        let word = if token.kind == Kind::Word { self.slice(token) } else { "" };
        let ty = match word {
            "seq" => {
                self.open_angle()?;
                Type::Sequence(Box::new(self.ty()?))
            }
            "opt" => {
                self.open_angle()?;
                Type::Optional(Box::new(self.ty()?))
            }
            "map" => {
                self.open_angle()?;
                let key = self.elem()?;
                self.expect(b',')?;
                Type::Map(key, Box::new(self.ty()?))
            }
            "sparse" => {
                self.open_angle()?;
                Type::Sparse(self.tensor_type()?)
            }
            _ => return Ok(Type::Tensor(self.tensor_type()?)),
        };
        self.expect(b'>')?;
        Ok(ty)
    }

    fn open_angle(&mut self) -> Read<()> {
        self.bump();
        self.expect(b'<').map(drop)
    }

    fn elem(&mut self) -> Read<Elem> {
        let token = self.peek();
        let word = if token.kind == Kind::Word { self.slice(token) } else { "" };
        match Elem::from_short(word) {
            Some(elem) => {
                self.bump();
                Ok(elem)
            }
            None => Err(self.expected("an element type such as `f32`")),
        }
    }

    /// An element type or a quantized one, and a shape.
    pub(super) fn tensor_type(&mut self) -> Read<TensorType> {
        let token = self.peek();
        let word = if token.kind == Kind::Word { self.slice(token) } else { "" };
        let store = word.strip_prefix('q').and_then(Elem::from_short).filter(|e| e.int_range().is_some());
        let (elem, quant) = match store {
            Some(store) => {
                self.bump();
                let (elem, quant) = self.quant(store)?;
                (elem, Some(Arc::new(quant)))
            }
            None => (self.elem()?, None),
        };
        if !self.is(b'[') {
            let short = self.slice(token);
            return Err(self.expected(&format!("a shape (`{short}[]` is a scalar, `{short}[*]` of any rank)")));
        }
        Ok(TensorType { elem, shape: self.shape()?, quant })
    }

    /// `(0.02, 128)`, `(axis 0, [0.01, 0.02], 0)`, with `, f16` where it does not stand for f32.
    fn quant(&mut self, store: Elem) -> Read<(Elem, Quant)> {
        self.expect(b'(')?;
        let axis = if self.eat_word("axis") {
            let axis = self.int("an axis")?;
            self.expect(b',')?;
            Some(axis)
        } else {
            None
        };
        let scale = self.per_channel("a scale", |r| {
            let at = r.position();
            let bytes = r.scalar_bytes(Elem::F32)?;
            <[u8; 4]>::try_from(bytes.as_slice()).map(f32::from_le_bytes).map_err(|_| {
                r.seek(at);
                r.expected("a scale")
            })
        })?;
        self.expect(b',')?;
        let zero = self.per_channel("a zero point", |r| r.int("a zero point"))?;
        let elem = if self.eat(b',') { self.elem()? } else { Elem::F32 };
        self.expect(b')')?;
        Ok((elem, Quant { store, axis, scale, zero }))
    }

    /// One number, a list of at least one, or a blob of four-byte numbers.
    fn per_channel<T: bytemuck::Pod>(&mut self, what: &str, mut one: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let token = self.peek();
        if self.eat_word("blob") {
            let hash = self.blob_hash()?;
            let bytes = self.blob_bytes(token, hash)?;
            if bytes.is_empty() || bytes.len() % 4 != 0 {
                return Err(self.error(token, "text-blob", format!("a blob of {} bytes cannot be {what}", bytes.len())));
            }
            return Ok(bytes.chunks_exact(4).map(bytemuck::pod_read_unaligned).collect());
        }
        if !self.eat(b'[') {
            return Ok(vec![one(self)?]);
        }
        let mut items = Vec::new();
        self.list(b']', |r| {
            items.push(one(r)?);
            Ok(())
        })?;
        if items.is_empty() {
            return Err(self.error(token, "text-type", format!("an empty list cannot be {what}")));
        }
        Ok(items)
    }

    /// `[n,3,?,$w]`; `[*]` is any rank.
    fn shape(&mut self) -> Read<Option<Shape>> {
        self.expect(b'[')?;
        if self.is(b'*') && self.is_at(1, b']') {
            self.bump();
            self.bump();
            return Ok(None);
        }
        let mut shape = Shape::new();
        self.list(b']', |r| {
            shape.push(r.dim()?);
            Ok(())
        })?;
        Ok(Some(shape))
    }

    fn dim(&mut self) -> Read<Dim> {
        use crate::space::Expr;
        if self.eat(b'?') {
            return Ok(Dim::Unknown);
        }
        if self.peek().kind == Kind::Number && (self.is_at(1, b',') || self.is_at(1, b']')) {
            return Ok(Dim::Known(self.int("an extent")?));
        }
        let marked = self.is_word("expr") && self.is_at(1, b'(');
        Ok(match self.expr()? {
            Expr::Name(name) if !marked => Dim::Named(name),
            Expr::Call(name, mut args) if marked && &*name == "expr" && args.len() == 1 => {
                Dim::Expr(Arc::new(args.remove(0)))
            }
            expr => Dim::Expr(Arc::new(expr)),
        })
    }

    /// `(hash)` after `blob`.
    pub(super) fn blob_hash(&mut self) -> Read<BlobHash> {
        self.expect(b'(')?;
        let token = self.peek();
        let hash = match token.kind {
            Kind::Word | Kind::Number => BlobHash::parse(self.slice(token)),
            _ => None,
        };
        let Some(hash) = hash else { return Err(self.expected("a hash of 32 hexadecimal digits")) };
        self.bump();
        self.expect(b')')?;
        Ok(hash)
    }
}
