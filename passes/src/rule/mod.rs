//! Rewrite rules: data that says what may take the place of what (`passes/rules/*.rules`, whose README has the laws).
//!
//! A rule is compiled once and serves two engines through one matcher: graphs, where every value is made in one way
//! ([`apply`]), and e-graphs, where a class is made in many (the crate `spaceevo-egraph`). What both must tell about their
//! values is [`Terms`]; how both grow is [`Build`].

mod apply;
mod build;
mod expression;
pub mod guard;
mod matching;
mod terms;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use spaceevo_ir::text::{self, rule::RuleText};
use spaceevo_ir::{Diagnostic, OpId, RegionId, ValueId};

use crate::pass::Effect;

pub use apply::{Applied, apply};
pub use build::{Build, Make, instantiate, result_type};
pub use matching::{Bound, Made, Match, matches};
pub use terms::{Maker, Terms, without_defaults};

/// Names and texts of files in `passes/rules`.
macro_rules! files {
    ($($name:literal),*) => { &[$(($name, include_str!(concat!("../../rules/", $name, ".rules")))),*] };
}

/// The rule files that ship.
const SHIPPED: &[(&str, &str)] =
    files!["activation", "affine", "arithmetic", "concat", "convolution", "movement", "pool", "retrain"];

/// Operators of this domain in a pattern stand for any operator of ONNX: `any.f` binds it to the name `f`.
pub(crate) const ANY: &str = "any";

/// A compiled rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// As it is written.
    pub text: RuleText,
    /// What it may do to the numbers.
    pub effect: Effect,
    root: ValueId,
    region: RegionId,
    pattern: Vec<OpId>,
    /// Values that stand for lists, with which an op is one op for each element.
    lists: BTreeSet<ValueId>,
}

impl Rule {
    /// Reads a file of rules; `file` is its name in messages.
    ///
    /// # Errors
    /// Everything that is wrong with it: `text-…` for what does not parse, `rule-invalid` for what cannot be compiled.
    pub fn parse(text: &str, file: &str) -> Result<Vec<Rule>, Vec<Diagnostic>> {
        let compiled = text::parse_rules(text, file)?.into_iter().map(Rule::compile);
        let (rules, faults): (Vec<_>, Vec<_>) = compiled.partition(Result::is_ok);
        if faults.is_empty() {
            Ok(rules.into_iter().filter_map(Result::ok).collect())
        } else {
            Err(faults.into_iter().filter_map(Result::err).collect())
        }
    }

    fn compile(text: RuleText) -> Result<Rule, Diagnostic> {
        let fail = |what: String| Diagnostic::error("rule-invalid", text.loc.clone(), format!("rule {}: {what}", text.name));
        let effect = Effect::from_word(&text.effect).ok_or_else(|| {
            fail(format!("'{}' is no effect", text.effect)).note("effects: exact, rounding, approximate, retrain")
        })?;
        if text.doc.is_empty() {
            return Err(fail("it has no comment".into()).note("state its equation in lines of '///' above it"));
        }
        let ([root], Some(region)) = (&text.replaced()[..], text.replacement()) else {
            return Err(fail("it must replace exactly one value".into()));
        };
        let pattern = text.pattern();
        let made = |&v: &ValueId| text.graph.def_op(v).is_some_and(|op| pattern.contains(&op));
        let Some(&root) = Some(root).filter(|v| made(v)) else {
            return Err(fail("what it replaces is not made by its pattern".into()));
        };
        let new = || text.graph.ops_in(region);
        if pattern.iter().copied().chain(new()).any(|op| text.graph.op(op).results().len() != 1) {
            return Err(fail("every op must have one result".into()));
        }
        for guard in &text.guards {
            guard::check(guard).map_err(|d| Diagnostic { message: format!("rule {}: {}", text.name, d.message), ..d })?;
        }
        let mut lists = BTreeSet::new();
        for op in pattern.iter().copied().chain(new()) {
            let spread = text.marks.spread.range((op, 0)..=(op, u32::MAX));
            lists.extend(spread.filter_map(|&(op, index)| text.graph.op(op).operand(index as usize)));
        }
        // An op with a list among its operands, not spread, is a list of ops.
        for op in pattern.iter().copied().chain(new()) {
            let mut operands = text.graph.op(op).operands().iter().enumerate();
            let mapped = |(index, v): (usize, &Option<ValueId>)| {
                v.is_some_and(|v| lists.contains(&v)) && !text.marks.spread.contains(&(op, index as u32))
            };
            if operands.any(mapped) {
                lists.insert(text.graph.op(op).result());
            }
        }
        if lists.contains(&root) {
            return Err(fail("what it replaces is a list".into()));
        }
        Ok(Rule { effect, root, region, pattern, lists, text })
    }

    /// Name.
    pub fn name(&self) -> &str {
        &self.text.name
    }

    /// The first sentence of its comment.
    pub fn summary(&self) -> &str {
        self.text.doc.lines().next().unwrap_or_default()
    }

    /// The value of the pattern that is replaced.
    pub fn root(&self) -> ValueId {
        self.root
    }

    /// Ops of the pattern, in order.
    pub fn pattern(&self) -> &[OpId] {
        &self.pattern
    }

    /// True when a value of the pattern or of what replaces it stands for a list.
    pub fn is_list(&self, value: ValueId) -> bool {
        self.lists.contains(&value)
    }

    /// True for equalities, which an e-graph may hold: `exact` and `rounding` rules.
    pub fn is_equality(&self) -> bool {
        self.effect <= Effect::Rounding
    }
}

/// The rules that ship, file by file.
///
/// # Panics
/// Never: a test compiles every file.
pub fn shipped() -> &'static [Rule] {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    RULES.get_or_init(|| SHIPPED.iter().flat_map(|(name, text)| Rule::parse(text, name).unwrap_or_default()).collect())
}

/// The shipped rule of that name.
pub fn named(name: &str) -> Option<&'static Rule> {
    shipped().iter().find(|rule| rule.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_files_compile_and_print_as_they_read() {
        for (name, source) in SHIPPED {
            let file = format!("{name}.rules");
            let rules = Rule::parse(source, &file).unwrap_or_else(|found| panic!("{found:#?}"));
            assert!(!rules.is_empty(), "{file}");
            for rule in rules {
                let once = text::print_rule(&rule.text);
                let again = text::parse_rules(&once, "-").unwrap_or_else(|found| panic!("{found:#?}\n{once}"));
                assert_eq!(text::print_rule(&again[0]), once);
                assert_eq!((&again[0].doc, &again[0].marks), (&rule.text.doc, &rule.text.marks), "{once}");
            }
        }
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/rules")).unwrap();
        let files = folder.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "rules"));
        assert_eq!(files.count(), SHIPPED.len(), "a file of passes/rules is not in the list");
    }

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<&str> = shipped().iter().map(Rule::name).collect();
        assert_eq!(names.len(), shipped().len());
    }

    #[test]
    fn what_cannot_be_a_rule_is_refused_at_its_place() {
        let rule = |head: &str, guards: &str, replaced: &str| {
            format!(
                "{head} {{\n  match {{\n    %y = onnx.Relu %x\n  }}\n  {guards}\n  replace {replaced} {{\n    yield %x\n  }}\n}}\n"
            )
        };
        for (text, code, line) in [
            (rule("/// y\nrule a : exakt", "", "%y"), "rule-invalid", 2),
            (rule("rule a : exact", "", "%y"), "rule-invalid", 1),
            (rule("/// y\nrule a : exact", "where plane(%x)", "%y"), "rule-invalid", 6),
            (rule("/// y\nrule a : exact", "where rank(%x)", "%y"), "rule-invalid", 6),
            (rule("/// y\nrule a : exact", "", "%x"), "rule-invalid", 2),
            (rule("/// y\nrule a : exact", "", "%z"), "text-unknown-value", 7),
            (rule("/// y\nrule a exact", "", "%y"), "text-syntax", 2),
            (rule("/// y\nrule a : exact", "", "%y, %y"), "text-type", 7),
        ] {
            let found = Rule::parse(&text, "t").unwrap_err();
            assert_eq!(found[0].code, code, "{text}");
            let place = format!("t:{line}:");
            assert!(found[0].loc.to_string().starts_with(&place), "{} is not at line {line}\n{text}", found[0]);
        }
    }
}
