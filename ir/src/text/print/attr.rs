//! Attributes.

use std::fmt;

use crate::attr::{Attr, Attrs};
use crate::graph::{OpName, SPACE};
use crate::text::print::Writer;
use crate::text::print::ty::shown;
use crate::text::{REF_KINDS, list_of};
use crate::types::Symbol;

/// Words that with a parenthesis after them start something else than a call of a function.
const TAKEN: [&str; 4] = ["sparse(", "ref(", "word(", "expr("];

impl Writer<'_> {
    /// The operator, or `@name` for a call whose block is a string, not a word that may stand for another; true in that case.
    pub(super) fn called(&mut self, op: &OpName, attrs: &Attrs) -> bool {
        match attrs.get("block").and_then(Attr::as_str) {
            Some(block) if op.is(SPACE, "Call") => {
                self.name("@", block);
                true
            }
            _ => {
                self.op_name(op);
                false
            }
        }
    }

    /// Attributes behind an op; that of the called block stands before already. In rules, `rest` names the remaining ones.
    pub(super) fn attrs_behind(&mut self, attrs: &Attrs, block: bool, rest: Option<&Symbol>) {
        let shown: Vec<_> = attrs.iter().filter(|(name, _)| !block || &***name != "block").collect();
        if shown.is_empty() && rest.is_none() {
            return;
        }
        self.push(" {");
        if let Some(rest) = rest {
            self.name("..$", rest);
            self.push(if shown.is_empty() { "" } else { ", " });
        }
        self.join(shown, |w, (name, attr)| w.setting(name, |w| w.attr(attr)));
        self.push("}");
    }

    pub(super) fn attr(&mut self, attr: &Attr) {
        match attr {
            Attr::Int(n) => self.push(&n.to_string()),
            Attr::Float(x) => self.single(*x),
            Attr::Str(bytes) => self.quoted(bytes),
            Attr::Tensor(tensor) => {
                self.push("tensor ");
                self.typed_tensor(tensor);
            }
            Attr::Sparse(sparse) => {
                self.push("sparse([");
                self.join(&sparse.dims, |w, dim| w.push(&dim.to_string()));
                self.push("], ");
                self.typed_tensor(&sparse.values);
                self.push(", ");
                self.typed_tensor(&sparse.indices);
                self.push(")");
            }
            Attr::Type(ty) => {
                self.push("type ");
                self.ty(ty);
            }
            Attr::Ints(items) => self.list("", items, |w, n| w.push(&n.to_string())),
            Attr::Floats(items) => self.list("floats ", items, |w, x| w.single(*x)),
            Attr::Strs(items) => self.list("strs ", items, |w, s| w.quoted(s)),
            Attr::Tensors(items) => self.list("tensors ", items, |w, t| {
                w.push("tensor ");
                w.typed_tensor(t);
            }),
            Attr::Types(items) => self.list("types ", items, |w, t| {
                w.push("type ");
                w.ty(t);
            }),
            Attr::Ref(name, kind) => {
                self.push("ref(");
                self.word(name);
                self.push(", ");
                match usize::try_from(*kind).ok().and_then(|kind| REF_KINDS.get(kind)) {
                    Some(word) => self.push(word),
                    None => self.push(&kind.to_string()),
                }
                self.push(")");
            }
            Attr::Expr(expr) => self.marked_expr(expr, &TAKEN),
            Attr::List(items) => {
                // A list that would read as one of a plain kind says that it is none.
                if !matches!(list_of(items.clone()), Attr::List(_)) {
                    self.push("list ");
                }
                self.push("[");
                self.join(items, |w, item| w.attr(item));
                self.push("]");
            }
            Attr::Word(word) => {
                let start = self.out.len();
                self.word(word);
                if self.out[start..].starts_with('"') {
                    self.out.insert_str(start, "word(");
                    self.push(")");
                }
            }
        }
    }

    /// A list; an empty one says of what.
    fn list<T>(&mut self, of: &str, items: &[T], item: impl FnMut(&mut Self, &T)) {
        if items.is_empty() {
            self.push(of);
        }
        self.push("[");
        self.join(items, item);
        self.push("]");
    }
}

/// As in the text format.
impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(f, |w| w.attr(self))
    }
}
