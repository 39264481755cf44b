//! `explain`: the manual page of a pass, a pipeline, a rule, a target, or a diagnostic.

use clap::Args;
use serde_json::{Value, json};
use spaceevo::ir::diagnostic::{self, CODES};
use spaceevo::ir::text::print_rule;
use spaceevo::ir::verify::Form;
use spaceevo::passes::rule::guard::GUARDS;
use spaceevo::passes::rule::{self, Rule};
use spaceevo::passes::{Effect, OptionKind, PassInfo, Target};

use super::arguments::unknown;
use super::{Failure, print};

/// Explain a pass, a pipeline, a rule, a target, or the code of a diagnostic.
#[derive(Args)]
#[command(after_help = "Examples:\n  spaceevo-opt explain drop-dead\n  spaceevo-opt explain onnx-cycle")]
pub(crate) struct Arguments {
    /// Name, as 'list' prints it
    name: String,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let registry = spaceevo::registry();
    let name = arguments.name.trim_start_matches('@');
    let mut pages: Vec<(Value, String)> = Vec::new();
    if let Some(pass) = registry.pass(name) {
        pages.push(pass_page(pass.info()));
    }
    if let Some(text) = registry.pipeline(name) {
        let doc = registry.pipeline_doc(name).unwrap_or_default();
        let page = format!("pipeline @{name}\n\n{}\n\n  {}", indent(doc), text.replace("),", "),\n  "));
        pages.push((json!({"kind": "pipeline", "name": name, "doc": doc, "pipeline": text}), page));
    }
    if let Some(rule) = rule::named(name) {
        pages.push(rule_page(rule));
    }
    if let Some(target) = Target::named(name) {
        pages.push(target_page(&target));
    }
    if let Some(text) = diagnostic::explain(name) {
        pages.push((
            json!({"kind": "diagnostic", "name": name, "doc": text}),
            format!("diagnostic {name}\n\n{}", indent(text)),
        ));
    }
    if pages.is_empty() {
        let targets: Vec<&'static str> = Target::names().collect();
        let mut known: Vec<&str> = registry.passes().map(|p| p.info().name).collect();
        known.extend(registry.pipelines().map(|(name, _)| name));
        known.extend(rule::shipped().iter().map(Rule::name));
        known.extend_from_slice(&targets);
        known.extend(CODES.iter().map(|(code, _)| *code));
        return Err(unknown("name", name, &known));
    }
    for (value, page) in pages {
        print(&if arguments.json { serde_json::to_string_pretty(&value).unwrap_or_default() } else { page });
    }
    Ok(())
}

fn form(form: Form) -> String {
    format!("{form:?}").to_lowercase()
}

fn pass_page(info: &PassInfo) -> (Value, String) {
    let mut page = format!("pass {}: {}\n\n{}\n", info.name, info.summary, indent(info.doc));
    page.push_str(&format!("\n  effect   {} ({})\n", info.effect.word(), effect_meaning(info.effect)));
    page.push_str(&format!("  accepts  graphs of form {}\n", form(info.accepts)));
    page.push_str(&format!("  leaves   graphs of form {}\n", form(info.leaves.max(info.accepts))));
    if !info.options.is_empty() {
        page.push_str("\n  options\n");
    }
    let mut options = Vec::new();
    for option in info.options {
        let kind = match option.kind {
            OptionKind::Int => "an integer".to_owned(),
            OptionKind::Float => "a number".to_owned(),
            OptionKind::Flag => "true or false".to_owned(),
            OptionKind::Word(words) => words.join("|"),
            OptionKind::Text => "text".to_owned(),
        };
        let default = if option.default.is_empty() { "none".to_owned() } else { option.default.to_owned() };
        page.push_str(&format!("    {}={kind}   (default: {default})\n        {}\n", option.name, option.help));
        options.push(json!({"name": option.name, "kind": kind, "default": option.default, "help": option.help}));
    }
    let value = json!({
        "kind": "pass", "name": info.name, "summary": info.summary, "doc": info.doc, "effect": info.effect.word(),
        "accepts": form(info.accepts), "leaves": form(info.leaves.max(info.accepts)), "options": options,
    });
    (value, page.trim_end().to_owned())
}

/// A rule as it is written, and what its conditions mean.
fn rule_page(rule: &Rule) -> (Value, String) {
    let text = print_rule(&rule.text);
    let effect = rule.effect;
    let mut page = format!("rule {}: {}\n\n{}", rule.name(), rule.summary(), indent(&text));
    page.push_str(&format!("\n\n  effect   {} ({})", effect.word(), effect_meaning(effect)));
    let mut conditions = Vec::new();
    for (name, _, _, says) in GUARDS.iter().filter(|(name, ..)| rule.text.guards.iter().any(|guard| &*guard.name == *name)) {
        page.push_str(&format!("\n  {name}   {says}"));
        conditions.push(json!({"name": name, "says": says}));
    }
    let value = json!({
        "kind": "rule", "name": rule.name(), "doc": rule.text.doc, "effect": effect.word(), "text": text, "conditions": conditions,
    });
    (value, page)
}

fn effect_meaning(effect: Effect) -> &'static str {
    match effect {
        Effect::Exact => "bit for bit the same numbers",
        Effect::Rounding => "the same real function, in another order of rounding",
        Effect::Approximate => "within a stated tolerance",
        Effect::Retrain => "another function: the network must be trained again",
    }
}

fn target_page(target: &Target) -> (Value, String) {
    let source = &target.provenance;
    let store = |rule: &spaceevo::passes::target::StoreRule| {
        let zero = if rule.symmetric { "zero point fixed" } else { "free zero point" };
        let scales = if rule.per_channel { ", one scale per output channel" } else { "" };
        format!("{}, {} bits, {zero}{scales}", rule.store, rule.bits)
    };
    let (activations, weights) = (store(&target.quant.activations), store(&target.quant.weights));
    let mut page = format!("target {}: {}\n", target.name, target.summary);
    page.push_str(&format!(
        "\n  activations  {activations}\n  weights      {weights}\n  written as   {}\n",
        target.quant.form
    ));
    for (title, names) in [
        ("run in integers", &target.ops.integer),
        ("move bytes", &target.ops.movement),
        ("absorbed by saturation", &target.ops.saturating),
        ("fused into the integer op before", &target.ops.fused),
    ]
    .into_iter()
    .filter(|(_, names)| !names.is_empty())
    {
        page.push_str(&format!("\n  {title}\n{}\n", wrapped(names)));
    }
    if !target.ops.lowered.is_empty() {
        page.push_str("\n  written as other operators\n");
        target.ops.lowered.iter().for_each(|(name, pass)| page.push_str(&format!("    {name}: {pass}\n")));
    }
    if !target.ops.remarks.is_empty() {
        page.push_str("\n  left in float\n");
        target.ops.remarks.iter().for_each(|(name, why)| page.push_str(&format!("    {name}: {why}\n")));
    }
    page.push_str(&format!("\n  says who  {}, {}, {}: {}", source.runtime, source.machine, source.date, source.method));
    let value = json!({
        "kind": "target", "name": target.name, "summary": target.summary, "form": target.quant.form,
        "activations": activations, "weights": weights, "integer": target.ops.integer, "movement": target.ops.movement,
        "saturating": target.ops.saturating, "fused": target.ops.fused, "lowered": target.ops.lowered, "remarks": target.ops.remarks,
        "provenance": {"runtime": source.runtime, "machine": source.machine, "date": source.date, "method": source.method},
    });
    (value, page)
}

/// Words over several lines.
fn wrapped(words: &[String]) -> String {
    let mut lines = vec![String::from("   ")];
    for word in words {
        if lines.last().is_some_and(|line| line.len() + word.len() > 96) {
            lines.push(String::from("   "));
        }
        if let Some(line) = lines.last_mut() {
            line.extend([" ", word]);
        }
    }
    lines.join("\n")
}

/// Paragraphs, two spaces in and at most 100 wide; lines that are indented already stay as they are.
fn indent(text: &str) -> String {
    let mut out = Vec::new();
    for line in text.lines() {
        if line.starts_with(' ') || line.len() <= 96 {
            out.push(format!("  {line}").trim_end().to_owned());
            continue;
        }
        let mut current = String::from(" ");
        for word in line.split(' ') {
            if current.chars().count() + word.chars().count() > 98 {
                out.push(std::mem::replace(&mut current, String::from(" ")));
            }
            current.extend([" ", word]);
        }
        out.push(current);
    }
    out.join("\n")
}
