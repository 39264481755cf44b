//! The lines of search spaces and their blocks.

use crate::block::{Block, Step};
use crate::space::{Domain, Item, SpaceTable};
use crate::text::print::Writer;
use crate::types::Type;

impl Writer<'_> {
    /// Everything that stands before the graph; what is imported stands where it comes from.
    pub(super) fn space(&mut self, space: &SpaceTable) {
        for name in &space.imports {
            self.push("import ");
            self.quoted(name.as_bytes());
            self.push("\n");
        }
        for one in space.lets.iter().filter(|one| one.import.is_none()) {
            self.push("let ");
            self.word(&one.name);
            self.push(" = ");
            self.domain(&one.domain);
            self.push("\n");
        }
        let mut group = "";
        for param in &space.params {
            // A blank line between the parameters of one stage and those of the next.
            let own = param.name.rsplit_once('.').map_or("", |(group, _)| group);
            if own != group && !self.out.is_empty() {
                self.push("\n");
            }
            group = own;
            self.name("param $", &param.name);
            if let Some(count) = param.count {
                self.push(&format!("[{count}]"));
            }
            self.push(" in ");
            self.domain(&param.domain);
            self.push("\n");
        }
        for (name, bind) in &space.binds {
            self.name("bind $", name);
            self.push(" = ");
            self.item(&bind.value);
            self.push("\n");
        }
        for block in space.blocks.iter().filter(|block| block.import.is_none()) {
            if !self.out.is_empty() {
                self.push("\n");
            }
            self.block(block);
        }
        if !self.out.is_empty() {
            self.push("\n");
        }
    }

    fn block(&mut self, block: &Block) {
        self.name("block @", &block.name);
        self.push("(");
        self.join(&block.inputs, |w, (name, ty)| {
            w.name("%", name);
            if *ty != Type::Unknown {
                w.push(": ");
                w.ty(ty);
            }
        });
        for (name, default) in &block.params {
            if !self.out.ends_with('(') {
                self.push(", ");
            }
            self.word(name);
            if let Some(default) = default {
                self.push(" = ");
                self.expr(default, 0);
            }
        }
        self.push(") {\n");
        for step in &block.steps {
            self.push("  ");
            self.step(step);
            self.push("\n");
        }
        self.name("  yield %", &block.result);
        self.push("\n}\n");
    }

    fn step(&mut self, step: &Step) {
        let op = match step {
            Step::Let { name, value } => {
                self.push("let ");
                self.word(name);
                self.push(" = ");
                return self.expr(value, 0);
            }
            Step::Const { result, value } => {
                self.name("%", result);
                self.push(" = const ");
                return self.single(*value);
            }
            Step::Op(op) => op,
        };
        self.name("%", &op.result);
        self.push(" = ");
        let block = self.called(&op.name, &op.attrs);
        for (index, operand) in op.operands.iter().enumerate() {
            self.name(if index == 0 { " %" } else { ", %" }, operand);
        }
        self.attrs_behind(&op.attrs, block);
        if let Some(guard) = &op.guard {
            self.push(if guard.unless { " unless " } else { " if " });
            for (index, (left, right)) in guard.equal.iter().enumerate() {
                self.push(if index == 0 { "" } else { " and " });
                self.expr(left, 0);
                self.push(" = ");
                self.expr(right, 0);
            }
        }
    }

    pub(super) fn domain(&mut self, domain: &Domain) {
        match domain {
            Domain::Range { low, high, step } => {
                self.push(&format!("{low}..{high}"));
                if *step != 1 {
                    self.push(&format!(" step {step}"));
                }
            }
            Domain::Set(items) => {
                self.push("{");
                self.join(items, |w, item| w.item(item));
                self.push("}");
            }
            Domain::Named(name) => self.word(name),
            Domain::Window { of, size, at } => {
                self.push("window(");
                self.domain(of);
                self.push(&format!(", size {size}, at "));
                self.name("$", at);
                self.push(")");
            }
            Domain::By { param, of } => {
                self.name("by $", param);
                self.push(" ");
                self.domain(of);
            }
            Domain::Cases(cases) => {
                self.push("{");
                self.join(cases, |w, (case, domain)| {
                    w.case(case);
                    w.push(": ");
                    w.domain(domain);
                });
                self.push("}");
            }
        }
    }

    /// The value that a case is for: numbers are numbers, all else words.
    fn case(&mut self, case: &str) {
        let number = case.parse::<i64>().is_ok_and(|n| n.to_string() == case);
        if number { self.push(case) } else { self.word(case) }
    }

    pub(super) fn item(&mut self, item: &Item) {
        match item {
            Item::Int(n) => self.push(&n.to_string()),
            Item::Float(x) => self.double(*x),
            Item::Word(word) => self.word(word),
            Item::List(items) => {
                self.push("[");
                self.join(items, |w, item| w.item(item));
                self.push("]");
            }
        }
    }
}
