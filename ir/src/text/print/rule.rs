//! Rules as text.

use std::collections::BTreeMap;

use crate::text::blob::NoBlobs;
use crate::text::print::{PrintOptions, Printer};
use crate::text::rule::{Argument, RuleText};

/// The rule as text, which reads back as the same rule.
pub fn print_rule(rule: &RuleText) -> String {
    let (notes, mut sink) = (BTreeMap::new(), NoBlobs);
    let mut printer = Printer::new(&rule.graph, PrintOptions::default(), &mut sink, &notes);
    printer.marks = Some(&rule.marks);
    printer.rule(rule);
    printer.w.out
}

impl Printer<'_> {
    fn rule(&mut self, rule: &RuleText) {
        for line in rule.doc.lines() {
            self.w.push(format!("/// {line}").trim_end());
            self.w.push("\n");
        }
        self.w.push("rule ");
        self.w.word(&rule.name);
        self.w.push(" : ");
        self.w.word(&rule.effect);
        self.w.push(" {\n  match {\n");
        for op in rule.pattern() {
            self.op_with_constants(op, 2);
        }
        self.w.push("  }\n");
        for (index, guard) in rule.guards.iter().enumerate() {
            self.w.push(if index == 0 { "  where " } else { ", " });
            self.w.word(&guard.name);
            self.w.push("(");
            for (index, argument) in guard.arguments.iter().enumerate() {
                if index > 0 {
                    self.w.push(", ");
                }
                match argument {
                    Argument::Value(value) => self.value(*value),
                    Argument::Expr(expr) => self.w.push(&expr.to_string()),
                }
            }
            self.w.push(")");
        }
        self.w.push(if rule.guards.is_empty() { "  replace " } else { "\n  replace " });
        for (index, value) in rule.replaced().into_iter().enumerate() {
            if index > 0 {
                self.w.push(", ");
            }
            self.value(value);
        }
        if let Some(region) = rule.replacement() {
            self.body(region, 1);
        }
        self.w.push("\n}\n");
    }
}
