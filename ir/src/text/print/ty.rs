//! Types and expressions.

use std::fmt;

use bytes::Bytes;

use crate::space::Expr;
use crate::text::blob::NoBlobs;
use crate::text::print::{PrintOptions, Writer};
use crate::types::{Dim, Quant, TensorType, Type};

impl Writer<'_> {
    pub(super) fn ty(&mut self, ty: &Type) {
        match ty {
            Type::Unknown => self.push("?"),
            Type::Tensor(t) => self.tensor_type(t),
            Type::Sparse(t) => {
                self.push("sparse<");
                self.tensor_type(t);
                self.push(">");
            }
            Type::Sequence(inner) => {
                self.push("seq<");
                self.ty(inner);
                self.push(">");
            }
            Type::Optional(inner) => {
                self.push("opt<");
                self.ty(inner);
                self.push(">");
            }
            Type::Map(key, inner) => {
                self.push(&format!("map<{key}, "));
                self.ty(inner);
                self.push(">");
            }
        }
    }

    pub(super) fn tensor_type(&mut self, ty: &TensorType) {
        match &ty.quant {
            Some(quant) => self.quant(quant, ty),
            None => self.push(ty.elem.short()),
        }
        let Some(shape) = &ty.shape else { return self.push("[*]") };
        self.push("[");
        for (index, dim) in shape.iter().enumerate() {
            if index > 0 {
                self.push(",");
            }
            self.dim(dim);
        }
        self.push("]");
    }

    fn quant(&mut self, quant: &Quant, ty: &TensorType) {
        self.push(&format!("q{}(", quant.store));
        if let Some(axis) = quant.axis {
            self.push(&format!("axis {axis}, "));
        }
        let bytes = || quant.scale.iter().flat_map(|s| s.to_le_bytes()).collect::<Bytes>();
        self.per_channel(&quant.scale, quant.axis.is_some(), bytes, |w, &scale| w.single(scale));
        self.push(", ");
        let bytes = || quant.zero.iter().flat_map(|z| z.to_le_bytes()).collect::<Bytes>();
        self.per_channel(&quant.zero, false, bytes, |w, zero| w.push(&zero.to_string()));
        if ty.elem != crate::types::Elem::F32 {
            self.push(&format!(", {}", ty.elem));
        }
        self.push(")");
    }

    /// One number, a list, or the hash of a long list.
    fn per_channel<T>(
        &mut self,
        items: &[T],
        listed: bool,
        bytes: impl FnOnce() -> Bytes,
        mut item: impl FnMut(&mut Self, &T),
    ) {
        match items {
            [one] if !listed => item(self, one),
            many if many.len() > self.inline => self.blob(&bytes()),
            many => {
                self.push("[");
                self.join(many, &mut item);
                self.push("]");
            }
        }
    }

    fn dim(&mut self, dim: &Dim) {
        match dim {
            Dim::Known(n) => self.push(&n.to_string()),
            Dim::Named(name) => self.word(name),
            Dim::Unknown => self.push("?"),
            Dim::Expr(expr) => self.marked_expr(expr, &["expr("]),
        }
    }

    /// An expression, inside `expr(…)` where it would read as something plain or as one of the `taken` beginnings.
    pub(super) fn marked_expr(&mut self, expr: &Expr, taken: &[&str]) {
        let start = self.out.len();
        self.expr(expr, 0);
        let plain = matches!(expr, Expr::Int(_) | Expr::Float(_) | Expr::Name(_));
        if plain || taken.iter().any(|t| self.out[start..].starts_with(t)) {
            self.out.insert_str(start, "expr(");
            self.push(")");
        }
    }

    /// `tight`: 0 in a sum, 1 right of a `-` or in a product, 2 right of a `/`.
    pub(super) fn expr(&mut self, expr: &Expr, tight: u8) {
        let (name, args) = match expr {
            Expr::Int(n) => return self.push(&n.to_string()),
            Expr::Float(x) => return self.double(*x),
            Expr::Param(name) => return self.name("$", name),
            Expr::Element(name, index) => {
                self.name("$", name);
                self.push("[");
                self.expr(index, 0);
                return self.push("]");
            }
            Expr::Name(name) => return self.word(name),
            Expr::Call(name, args) => (&**name, args),
        };
        let infix = match name {
            "add" => Some((" + ", 0)),
            "sub" => Some((" - ", 0)),
            "mul" => Some((" * ", 1)),
            "div" => Some((" / ", 1)),
            _ => None,
        };
        if let (Some((sign, level)), [left, right]) = (infix, &args[..]) {
            if level < tight {
                self.push("(");
            }
            self.expr(left, level);
            self.push(sign);
            self.expr(right, level + 1);
            if level < tight {
                self.push(")");
            }
            return;
        }
        self.word(name);
        self.push("(");
        self.join(args, |w, arg| w.expr(arg, 0));
        self.push(")");
    }
}

/// What `write` writes, as a message shows it.
pub(super) fn shown(f: &mut fmt::Formatter<'_>, write: impl FnOnce(&mut Writer<'_>)) -> fmt::Result {
    let mut sink = NoBlobs;
    let mut w = Writer::new(PrintOptions::default().inline, &mut sink);
    write(&mut w);
    f.write_str(&w.out)
}

/// As in the text format.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(f, |w| w.ty(self))
    }
}

/// As in the text format.
impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(f, |w| w.tensor_type(self))
    }
}

/// As in the text format.
impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(f, |w| w.dim(self))
    }
}

/// As in the text format.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(f, |w| w.expr(self, 0))
    }
}

/// As in the text format.
impl fmt::Display for crate::space::Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(f, |w| w.item(self))
    }
}

/// As in the text format.
impl fmt::Display for crate::space::Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(f, |w| w.domain(self))
    }
}
