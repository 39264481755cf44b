//! What a form allows, and the table of search parameters.

use crate::attr::Attr;
use crate::diagnostic::Diagnostic;
use crate::graph::{Loc, OpId, SPACE, ValueId};
use crate::nearest::nearest;
use crate::space::{Bind, Expr};
use crate::types::{Dim, Type};
use crate::verify::{Checker, Finding, Form};

/// Every parameter that an expression uses, and whether there is an expression at all.
#[derive(Default)]
struct Used {
    /// Names, and whether one value of a list is meant.
    params: Vec<(crate::types::Symbol, bool)>,
    elastic: bool,
}

impl Used {
    fn expr(&mut self, expr: &Expr) {
        self.elastic = true;
        let mut stack = vec![expr];
        while let Some(expr) = stack.pop() {
            match expr {
                Expr::Param(name) => self.params.push((name.clone(), false)),
                Expr::Element(name, index) => {
                    self.params.push((name.clone(), true));
                    stack.push(index);
                }
                Expr::Call(_, args) => stack.extend(args),
                Expr::Int(_) | Expr::Float(_) | Expr::Name(_) => {}
            }
        }
    }

    fn attr(&mut self, attr: &Attr) {
        let mut stack = vec![attr];
        while let Some(attr) = stack.pop() {
            match attr {
                Attr::Expr(expr) => self.expr(expr),
                Attr::List(items) => stack.extend(items),
                Attr::Type(ty) => self.ty(ty),
                Attr::Types(types) => types.iter().for_each(|ty| self.ty(ty)),
                _ => {}
            }
        }
    }

    fn ty(&mut self, ty: &Type) {
        let mut at = ty;
        let shape = loop {
            match at {
                Type::Tensor(t) | Type::Sparse(t) => break &t.shape,
                Type::Sequence(inner) | Type::Optional(inner) | Type::Map(_, inner) => at = inner,
                Type::Unknown => return,
            }
        };
        for dim in shape.iter().flatten() {
            if let Dim::Expr(expr) = dim {
                self.expr(expr);
            }
        }
    }
}

impl Checker<'_> {
    pub(super) fn form(&mut self, form: Form) {
        let graph = self.graph;
        let concrete = form >= Form::Concrete;
        self.table(concrete);
        for region in graph.all_regions() {
            let r = graph.region(region);
            for &value in r.inputs().iter().chain(r.consts()) {
                self.value_params(value, concrete);
            }
            for op in graph.ops_in(region) {
                self.op_params(op, concrete);
                graph.op(op).results().iter().for_each(|&value| self.value_params(value, concrete));
            }
        }
    }

    fn op_params(&mut self, id: OpId, concrete: bool) {
        let op = self.graph.op(id);
        if concrete && &*op.name().domain == SPACE {
            self.at(id, "form-space-op", "is left in a graph without choices".into());
        }
        for (name, attr) in op.attrs() {
            let mut used = Used::default();
            used.attr(attr);
            if concrete && used.elastic {
                self.at(id, "form-param", format!("attribute {name} = {attr} depends on parameters"));
            }
            let round = op.name().is(SPACE, "Repeat");
            for (param, element) in used.params.into_iter().filter(|(param, _)| !round || &**param != "i") {
                if let Some((code, message, note)) = self.misused(&param, element) {
                    self.push(id, code, message, note);
                }
            }
        }
    }

    fn value_params(&mut self, value: ValueId, concrete: bool) {
        let ty = self.graph.value(value).ty();
        let mut used = Used::default();
        used.ty(ty);
        if concrete && used.elastic {
            self.at_value(value, "form-param", format!("its type {ty} depends on parameters"));
        }
        for (param, element) in used.params {
            if let Some((code, message, _)) = self.misused(&param, element) {
                self.at_value(value, code, message);
            }
        }
    }

    /// A parameter that is not declared, or a list that is used as one value, or the other way round.
    fn misused(&self, name: &str, element: bool) -> Option<(&'static str, String, Option<String>)> {
        if let Some((message, note)) = self.undeclared(name) {
            return Some(("param-unknown", message, note));
        }
        match (self.graph.space.param(name)?.count, element) {
            (Some(_), false) => {
                Some(("param-domain", format!("${name} is a list"), Some(format!("say which of its values, ${name}[0]"))))
            }
            (None, true) => Some(("param-domain", format!("${name} is one value, no list"), None)),
            _ => None,
        }
    }

    fn undeclared(&self, name: &str) -> Option<(String, Option<String>)> {
        let space = &self.graph.space;
        if space.param(name).is_some() {
            return None;
        }
        let near = nearest(name, space.params.iter().map(|p| &*p.name));
        Some((format!("${name} is not declared"), near.map(|near| format!("did you mean ${near}?"))))
    }

    fn table(&mut self, concrete: bool) {
        let space = &self.graph.space;
        for param in &space.params {
            if let Some(why) = space.fault(&param.domain) {
                self.parameter(&param.loc, "param-domain", format!("${}: {why}", param.name), None);
            }
            if concrete {
                let message = format!("${} is declared in a graph without choices", param.name);
                self.parameter(&param.loc, "form-param", message, None);
            }
        }
        for block in space.blocks.iter().filter(|_| concrete) {
            let message = format!("block @{} is given in a graph without choices", block.name);
            self.parameter(&block.loc, "form-param", message, None);
        }
        for (name, Bind { value, loc }) in &space.binds {
            match space.param(name) {
                Some(param) => {
                    // A domain that depends on a parameter without value holds nothing against anybody yet.
                    if let Ok(Some(message)) = space.misfit(param, value) {
                        let note = format!("${name} may be {}", param.domain);
                        self.parameter(loc, "param-domain", message, Some(note));
                    }
                }
                None => {
                    if let Some((message, note)) = self.undeclared(name) {
                        self.parameter(loc, "param-unknown", message, note);
                    }
                }
            }
        }
    }

    /// An error about a line of the table, which no op is to blame for.
    fn parameter(&mut self, loc: &Loc, code: &'static str, message: String, note: Option<String>) {
        let mut diagnostic = Diagnostic::error(code, loc.clone(), message);
        diagnostic.notes.extend(note);
        self.found.push(Finding { op: None, diagnostic });
    }
}
